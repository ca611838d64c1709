"""Every public entry looks at its arguments first, and names the one that is garbage."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import awkward as ak
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike

import hepgan
from hepgan.arguments import checked
from hepgan.cli import cli
from hepgan.cli.console import run
from hepgan.errors import HepganError, InputError

ROOMS = [
    "hepgan",
    *(f"hepgan.{m.name}" for m in pkgutil.iter_modules(hepgan.__path__) if m.ispkg and m.name != "cli"),
]

METHODS = {
    "EventGenerator": (
        "fit",
        "generate",
        "iterate",
        "pieces",
        "log_prob",
        "latents",
        "save",
        "load",
        "member",
    ),
    "Reweighter": ("__init__", "fit", "__call__"),
    "ComparisonProcessor": ("__init__",),
}

FACE = {"hepgan.generator", "hepgan.reweighting", "hepgan.coffea"}


def entries() -> Iterator[tuple[str, Callable[..., Any]]]:
    """The functions that users call, by name, and the methods of what they make."""
    for room in sorted(FACE & set(ROOMS)):
        module = importlib.import_module(room)
        for name in module.__all__:
            found = getattr(module, name)
            if inspect.isfunction(found) and found.__module__.startswith(room):
                yield f"{room}.{name}", found
            for method in METHODS.get(name, ()) if inspect.isclass(found) else ():
                yield f"{room}.{name}.{method}", inspect.getattr_static(found, method)


ENTRIES: dict[str, Callable[..., Any]] = {}
for _name, _entry in entries():
    _function = getattr(_entry, "__func__", _entry)
    if inspect.signature(_function).parameters and _function not in ENTRIES.values():
        ENTRIES[_name] = _function


@pytest.mark.parametrize("name", ENTRIES)
def test_every_entry_looks_at_its_arguments(name: str) -> None:
    assert ENTRIES[name].__code__ is checked(print).__code__, f"{name} lacks @checked"


garbage = st.one_of(
    st.builds(object),
    st.complex_numbers(),
    st.binary(max_size=3),
)
"""What no argument of any function may be."""


@pytest.mark.parametrize("name", ENTRIES)
@settings(derandomize=True, max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
@given(value=garbage)
def test_garbage_is_refused_by_name_before_anything_is_done(name: str, value: Any) -> None:
    function = ENTRIES[name]
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD or parameter.name in ("self", "cls"):
            continue
        others = [
            p for p in inspect.signature(function).parameters.values() if p.default is p.empty and p.kind != 4
        ]
        given = {p.name: value for p in others} | {parameter.name: value}
        with pytest.raises(InputError) as error:
            function(**given)
        assert any(str(error.value).startswith(f"{n} must be ") for n in given), error.value


# ------------------------------------------------------------------- the check


@checked
def taken(
    n: int = 1,
    seed: int = 0,
    *,
    workers: int | None = None,
    rate: float = 1.0,
    flag: bool = False,
    kind: Literal["a", "b"] = "a",
    names: tuple[str, ...] | list[str] | None = None,
    file: str | Path = "",
    numbers: ArrayLike = 0.0,
    events: ak.Array | None = None,
    **others: Any,
) -> dict[str, Any]:
    """What has been given."""
    return {**locals(), **others}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n", 0),
        ("n", np.int64(3)),
        ("n", np.uint8(3)),
        ("seed", 2**64 - 1),
        ("workers", None),
        ("rate", 1),
        ("rate", np.float32(0.5)),
        ("flag", np.bool(True)),
        ("kind", "b"),
        ("names", ["x"]),
        ("file", Path("x")),
        ("numbers", [1, 2.5]),
        ("numbers", np.zeros((2, 2))),
        ("events", ak.Array({"x": [1.0]})),
        ("anything", 1j),
    ],
)
def test_what_an_argument_may_be_is_taken(name: str, value: Any) -> None:
    found = taken(**{name: value})[name]
    assert found is value or (found == value and type(found) is int)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("n", 1.5, "n must be a whole number of at least 0, not 1.5"),
        ("n", "10", "n must be a whole number of at least 0, not '10'"),
        ("n", True, "not True"),
        ("n", -1, "not -1"),
        ("n", np.array([3]), "not ndarray"),
        ("seed", 2**64, "seed must be a whole number from 0 to 18,446,744,073,709,551,615"),
        ("workers", 1.5, "workers must be a whole number"),
        ("rate", float("nan"), "rate must be a number, not nan"),
        ("rate", "fast", "rate must be a number"),
        ("flag", 1, "flag must be a bool, not 1"),
        ("kind", "c", "kind must be 'a' or 'b', not 'c'"),
        ("kind", ["a"], "kind must be 'a' or 'b', not list"),
        ("names", [1], "names must be"),
        ("file", 3, "file must be text, a Path, not 3"),
        ("file", "a\0b", "file must be"),
        ("numbers", "a", "numbers must be numbers"),
        ("numbers", [[1], [2, 3]], "numbers must be numbers"),
        ("events", ak.Array([1, 2]), "events must be events"),
        ("events", {"x": np.zeros(3)}, r"events must be .*\.as_events\(ak.Array"),
        ("events", np.zeros(3), "hepgan.read_events reads events"),
    ],
)
def test_what_an_argument_may_not_be_is_said(name: str, value: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        taken(**{name: value})


# ---------------------------------------------------------- the command line

words = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=6)
odd = st.one_of(
    words, st.sampled_from(["-1", "nan", "1e400", "1" * 400, "²", "\udcff", "a=b=c", "@", "[", "~x"])
)


@pytest.mark.parametrize("name", cli.commands)
@settings(derandomize=True, max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_garbage_in_the_options_of_a_command_is_wrong_usage(
    name: str, data: st.DataObject, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    options = [o for p in cli.commands[name].params for o in p.opts if o.startswith("--") and o != "--help"]
    line = [name, "nosuch-file"]
    for option in data.draw(st.lists(st.sampled_from(options), max_size=3)) if options else []:
        line += [option, data.draw(odd)]
    line += data.draw(st.lists(odd, max_size=2))
    status = run(cli, line)
    assert status in (0, 2)
    assert not list(tmp_path.iterdir())


def test_errors_of_arguments_are_hepgan_s_own() -> None:
    assert issubclass(InputError, HepganError)
    assert issubclass(InputError, ValueError)
