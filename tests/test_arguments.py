"""Every public entry looks at its arguments first, and names the one that is garbage."""

from __future__ import annotations

import importlib
import inspect
import shutil
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from decimal import Decimal
from fractions import Fraction
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import awkward as ak
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike
from pydantic import ValidationError
from response_toys import jet_pairs
from toys import dimuons

from hepgan import EventGenerator, EventSchema, Observable, write_events
from hepgan.arguments import checked
from hepgan.cli import cli
from hepgan.cli.console import run
from hepgan.detector import Folding, Level, folding_recipe
from hepgan.errors import HepganError, InputError
from hepgan.events import EventWriter, schema_of, to_batch
from hepgan.explanation import labels_of
from hepgan.production import Plan
from hepgan.reweighting import Reweighter, reweight_file

ROOMS = [
    "hepgan",
    *(
        f"hepgan.{room}"
        for room in (
            *("events", "observables", "reweighting", "detector", "production"),
            *("validation", "explanation", "coffea", "datasets"),
        )
    ),
    *(f"hepgan.stats.{module}" for module in ("distances", "frechet", "weights")),
]

METHODS = {
    "EventGenerator": (
        *("fit", "generate", "iterate", "pieces", "efficiency", "schema_of", "member"),
        *("log_prob", "latents", "save", "load"),
    ),
    "EventWriter": ("extend",),
    "Folding": ("fit", "fold", "pieces", "save", "load"),
    "Level": (),
    "Observable": ("flat", "per_event", "column", "check", "with_range_from"),
    "Reweighter": ("fit", "fit_factors", "__call__"),
    "ComparisonProcessor": (),
}
"""What users call of the classes that they make something of, besides these themselves."""


def entries() -> dict[str, Callable[..., Any]]:
    """The functions and classes that users call, and the methods of what they make, by name."""
    found: dict[str, Callable[..., Any]] = {}
    for room in ROOMS:
        module = importlib.import_module(room)
        for name in module.__all__:
            entry = getattr(module, name)
            if entry in found.values():
                continue
            if inspect.isfunction(entry) and inspect.signature(entry).parameters:
                found[f"{room}.{name}"] = entry
            if inspect.isclass(entry) and name in METHODS:
                found[f"{room}.{name}"] = entry
                found |= {f"{room}.{name}.{m}": getattr(entry, m) for m in METHODS[name]}
    return found


ENTRIES = entries()


class Valid:
    """Arguments that can be, and the things whose methods are called."""

    def __init__(self, folder: Path, generator: EventGenerator, folding: Folding) -> None:
        events = dimuons(40, seed=1)
        file = write_events(folder / "events.root", events)
        (folder / "quantity.py").write_text("def quantity(events): return events.MET.pt\n")
        generator.save(folder / "model.safetensors")
        more = write_events(folder / "more.root", dimuons(200, seed=2))
        reweighted = reweight_file(more, more, folder / "weighted.root", members=2)
        rng = np.random.default_rng(1)
        met = Observable("met", "MET.pt", range=(0.0, 100.0))
        numbers = rng.normal(size=30)
        plan = Plan.of(generator, 5, seed=1, shard_size=3, format="ttree", identifiers=False)
        self.things: dict[str, Callable[[], Any]] = {
            "EventGenerator": lambda: generator,
            "EventWriter": lambda: EventWriter(Path("written.root"), schema_of(events)),
            "Folding": lambda: folding,
            "Observable": lambda: met,
            "Reweighter": lambda: reweighted.reweighter,
        }
        self.fresh = {
            "EventGenerator": lambda: EventGenerator(generator.recipe),
            "Folding": lambda: Folding(folding.generator.recipe),
            "Reweighter": Reweighter,
        }
        self.common: dict[str, Any] = {
            **dict.fromkeys(("events", "reference", "generated", "simulation", "data", "array"), events),
            **dict.fromkeys(("generator", "prior"), generator),
            **dict.fromkeys(("vertex", "detector"), Level(("MET",))),
            **dict.fromkeys(("paths", "first", "second", "file", "test"), file),
            **dict.fromkeys(("output", "path", "folder"), Path("made")),
            "folding": folding,
            "observables": {"met": met},
            "observable": met,
            "schema": schema_of(events),
            "batch": to_batch(events),
            "recipe": "drell-yan",
            "n": 5,
            "seed": 1,
            "weigh": lambda events: np.ones(len(events)),
            "convert": len,
            "values": numbers,
            "x": numbers,
            "by": numbers,
            "a": numbers,
            "b": numbers,
            "q": 0.5,
            "edges": [-1.0, 0.0, 1.0],
            "weights": np.ones(30),
            "weight": np.ones(30),
            "rng": rng,
            "name": "weight",
        }
        self.own: dict[str, dict[str, Any]] = {
            "hepgan.events.coordinates": {"names": ("pt", "eta", "phi")},
            "hepgan.events.select": {"names": ["MET"]},
            "hepgan.events.to_grid": {
                "cells": ak.zip({"cell": ak.Array([[1], []]), "value": ak.Array([[2.0], []])}),
                "shape": (2, 2),
            },
            "hepgan.events.to_cells": {"values": np.ones((5, 2))},
            "hepgan.events.with_grids": {"grids": {}},
            "hepgan.events.with_kinds": {"kinds": {"MET.pt": "continuous"}},
            "hepgan.events.write_fileset": {"content": {"events": {"files": {}}}},
            "hepgan.EventGenerator.member": {"number": 0},
            "hepgan.EventGenerator.efficiency": {"where": "MET.pt > 0", "passed": 5},
            "hepgan.distill": {"pairs": 20},
            "hepgan.refine": {"events": 20},
            "hepgan.detector.unfold": {"events": 20},
            "hepgan.Observable": {"name": "met", "expression": "MET.pt"},
            "hepgan.compare": {"observables": {"met": met}, "classifier": False, "max_events": 20},
            "hepgan.reweight": {"generated": dimuons(40, seed=2)},
            "hepgan.observables.from_config": {"config": "MET.pt"},
            "hepgan.observables.from_python_file": {"path": folder / "quantity.py", "name": "quantity"},
            "hepgan.observables.needs": {"expressions": ["MET.pt"]},
            "hepgan.observables.standard": {"quantity": "pt"},
            "hepgan.events.count_events": {"paths": file},
            "hepgan.reweighting.Reweighter.fit_factors": {"factors": np.ones(40)},
            "hepgan.reweighting.reweight_file": {"reference": file, "generated": file},
            "hepgan.detector.folding_recipe": {"vertex": ["Muon"], "detector": ["Jet"]},
            "hepgan.detector.fold_file": {"vertex": str(file)},
            "hepgan.detector.pairs": {"vertex": "Muon", "detector": "Jet"},
            "hepgan.detector.response": {"vertex": met, "detector": met},
            "hepgan.detector.unfold_through": {
                "config": {"penalties": [{"kind": "energy", "observables": "met"}]}
            },
            "hepgan.validation.compare_files": {
                "reference": file,
                "generated": file,
                "observables": {"met": met},
                "classifier": False,
            },
            "hepgan.validation.compare_reweighted": {"generated": file, "reweighted": reweighted},
            "hepgan.validation.equivalent_size": {"reference": numbers, "generated": numbers},
            "hepgan.validation.latent_metrics": {"latents": generator.latents(events)},
            "hepgan.validation.reduced_cross_section": {
                "luminosity": 1.0,
                "x_edges": [0.1, 0.5, 1.0],
                "Q2_edges": [1.0, 10.0],
                "beams": (10.0, 100.0),
                "events": ak.zip({"Electron": events.Muon[:, 0]}, depth_limit=1),
            },
            "hepgan.validation.sample_labels": {"files": ["a.root"], "given": ["a"]},
            "hepgan.explanation.activations": {"n": 20},
            "hepgan.explanation.clusters": {"points": rng.normal(size=(40, 2)), "min_samples": 3},
            "hepgan.explanation.explain": {"n": 40, "perplexity": 5.0},
            "hepgan.explanation.loss_surface": {"points": 3, "n": 20},
            "hepgan.explanation.principal_components": {"true": rng.normal(size=(40, 3))},
            "hepgan.explanation.purity": {
                "cluster": np.zeros(40, np.int64),
                "labels": labels_of(met, events),
            },
            "hepgan.explanation.tsne": {"values": rng.normal(size=(40, 3)), "perplexity": 5.0},
            "hepgan.coffea.branches_read": {
                "file": str(file),
                "processor": SimpleNamespace(process=lambda events: events.MET.pt),
                "schema": "HepganSchema",
                "events": 20,
            },
            "hepgan.coffea.run_comparison": {
                "reference": file,
                "generated": file,
                "observables": {"met": met},
            },
            "hepgan.coffea.process_generated": {
                "work": SimpleNamespace(process=len, postprocess=lambda found: found)
            },
            "hepgan.datasets.make_dataset": {"name": "zmumu", "events": 1},
            "hepgan.stats.distances.kl": {"reference": numbers, "sample": numbers},
            "hepgan.stats.distances.wasserstein_scaled": {"reference": numbers, "sample": numbers},
            "hepgan.stats.distances.ks_from_normal": {"z": numbers, "w": np.ones(30)},
            **{
                f"hepgan.stats.distances.{n}": dict.fromkeys(
                    ("counts_a", "var_a", "counts_b", "var_b"), np.full(4, 9.0)
                )
                for n in ("chi2_binned", "pulls")
            },
            "hepgan.observables.energy_flow_polynomials": {"objects": "Muon"},
            **{
                f"hepgan.stats.frechet.{n}": dict.fromkeys(parts, np.ones((30, 2)))
                for n, parts in (
                    ("fpd", ("reference", "generated")),
                    ("kpd", ("reference", "generated")),
                    ("frechet_distance", ("first", "second")),
                )
            },
            "hepgan.stats.frechet.physics_distances": {
                "names": ("a", "b"),
                **dict.fromkeys(("reference", "generated"), (np.ones((120, 2)), np.ones(120))),
            },
            "hepgan.stats.weights.accepted": {"top": 1.0},
            "hepgan.detector.Level": {"fields": ("MET",)},
            "hepgan.production.produce_plan": {"plan": plan},
            "hepgan.production.submit_file": {"system": "slurm", "order": Path("a.plan.json"), "jobs": 2},
            "hepgan.production.write_shard": {"plan": plan, "number": 0},
            "hepgan.production.write_shards": {"plan": plan, "numbers": [0]},
        }

    def call(self, name: str) -> Callable[..., Any]:
        """An entry; of a new thing if it is a method that changes it."""
        kind, method = name.split(".")[-2:]
        things = self.fresh if method.startswith("fit") else self.things
        return getattr(things[kind](), method) if kind in things else ENTRIES[name]

    def arguments(self, name: str, parameters: Iterable[inspect.Parameter]) -> dict[str, Any]:
        """All that an entry must be given."""
        known = self.common | self.own.get(name, {})
        kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
        needed = [p.name for p in parameters if p.default is p.empty and p.kind not in kinds]
        return {n: known[n] for n in [*needed, *self.own.get(name, {})]}


@pytest.fixture(scope="module")
def valid(tmp_path_factory, toy_generator) -> Valid:
    pairs = jet_pairs(60, 1)
    draft = folding_recipe(schema_of(pairs), vertex=["GenJet"], detector=["Jet"], conditions=["rho"])
    quick = ["model.blocks=1", "model.network.widths=[8]", "training.steps=2"]
    folding = Folding(draft.with_settings(quick)).fit(pairs, device="cpu")
    return Valid(tmp_path_factory.mktemp("valid"), toy_generator, folding)


ODD: tuple[Callable[[], Any], ...] = (
    *(object, dict, list, set, tuple, lambda: int),
    *(lambda: None, lambda: True, lambda: 0, lambda: -1, lambda: 10**400, lambda: 1.5, lambda: 2.0),
    *(lambda: float("nan"), lambda: float("inf"), lambda: 1j, lambda: Fraction(1, 2), lambda: Decimal(1)),
    *(
        lambda: "",
        lambda: "a b",
        lambda: "\0",
        lambda: "\udcff",
        lambda: "1",
        lambda: b"a",
        lambda: "nosuch.root",
    ),
    *(lambda: [None], lambda: ["a", 1], lambda: [[1], [2, 3]], lambda: [1j], lambda: (1, 2, 3)),
    *(
        lambda: {"x": 1j},
        lambda: {1: 2},
        lambda: {"npv": None},
        lambda: {"npv": [1.0, 2.0]},
        lambda: {"": ""},
    ),
    *(
        lambda: np.zeros((2, 2, 2)),
        lambda: np.array([np.nan] * 5),
        lambda: np.array(["a"]),
        lambda: np.array(None),
    ),
    *(lambda: np.ma.masked_all(5), lambda: np.array("2020", "M8[D]"), lambda: np.float32(1e30)),
    *(
        lambda: ak.Array([]),
        lambda: ak.Array([[1], []]),
        lambda: ak.Array([None]),
        lambda: ak.Array([{"x": 1}]),
    ),
    *(lambda: ak.Array([{"x": [{"y": "a"}]}, {"x": []}]), lambda: ak.Array({"MET": [1j]})),
    *(lambda: torch.zeros(3), lambda: iter([1]), lambda: Path("nosuch"), lambda: EventSchema()),
)
"""What few arguments may be."""

leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 5),
    st.floats(),
    st.complex_numbers(),
    st.text(max_size=3),
    st.binary(max_size=3),
)
garbage = st.recursive(
    leaves,
    lambda s: st.lists(s, max_size=3) | st.dictionaries(st.text(max_size=3), s, max_size=2),
    max_leaves=4,
)


def thrown(call: Callable[..., Any], given: dict[str, Any]) -> str:
    """What is wrong with the way in which a call ends that has garbage for one argument."""
    wrong = ""
    try:
        found = call(**given)
        if isinstance(found, Iterator):
            next(found, None)
        if isinstance(found, ExitStack):
            found.close()
    except HepganError:
        pass
    except Exception as error:
        line = traceback.extract_tb(error.__traceback__)[-1].line or ""
        ours = isinstance(error, ValidationError) or (
            isinstance(error, ValueError) and line.startswith("raise ")
        )
        wrong = "" if ours else f"{type(error).__name__}: {error}"
    else:
        clean()
    left = sorted(p.name for p in Path.cwd().iterdir())
    clean()
    return wrong or (f"leaves {left}" if left else "")


def clean() -> None:
    for path in Path.cwd().iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def unforeseen(name: str, values: Sequence[Any], valid: Valid) -> str:
    """How an entry fails that has garbage for one of its arguments, if not by an error of hepgan's own."""
    wrong = []
    parameters = inspect.signature(valid.call(name)).parameters.values()
    must = valid.arguments(name, parameters)
    for parameter in parameters:
        calls = parameter.name == "folding" or any(
            word in str(parameter.annotation) for word in ("Callable", "Weigh")
        )
        for value in values if parameter.kind is not parameter.VAR_KEYWORD else ():
            if calls and callable(value):
                continue
            call, given = valid.call(name), must | {parameter.name: value}
            if parameter.kind is parameter.VAR_POSITIONAL:
                call, given = partial(call, *must.values(), value), {}
            said = thrown(call, given)
            if name.endswith("EventWriter.extend"):
                said = ""
            if said:
                wrong.append(f"{parameter.name}={value!r:.60}: {said:.200}")
    return "\n".join(wrong)


@pytest.fixture
def begun(monkeypatch, tmp_path):
    """Stops where long work would begin, in an empty folder."""

    def run(*args: Any, **kwargs: Any) -> None:
        message = "what was given has been looked at"
        raise HepganError(message)

    for work in (
        "hepgan.features.Representation.fit",
        "hepgan.training.trainer.Trainer.run",
        "hepgan.validation.samples.SampleBuilder.begin",
        "coffea.processor.Runner.__call__",
    ):
        monkeypatch.setattr(work, run)
    # A function hides the module of its name.
    monkeypatch.setattr(sys.modules["hepgan.explanation.explain"], "activations", run)
    monkeypatch.setattr("hepgan.datasets.make.require_pythia", run)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("begun")
@pytest.mark.parametrize("name", ENTRIES)
def test_the_argument_that_is_wrong_is_named(name, valid):
    parameters = inspect.signature(valid.call(name)).parameters.values()
    must = valid.arguments(name, parameters)
    for p in parameters:
        if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL) and p.annotation != "Any":
            with pytest.raises(InputError, match=f"^{p.name} must be "):
                valid.call(name)(**must | {p.name: object()})


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("begun")
@pytest.mark.parametrize("name", ENTRIES)
def test_odd_arguments_end_in_errors_of_hepgan_s_own(name, valid):
    wrong = unforeseen(name, [odd() for odd in ODD], valid)
    assert not wrong, wrong


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("begun")
@pytest.mark.parametrize("name", ENTRIES)
@settings(
    derandomize=True,
    max_examples=3,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
)
@given(values=st.lists(garbage, min_size=3, max_size=3))
def test_garbage_ends_in_errors_of_hepgan_s_own(name, values, valid):
    wrong = unforeseen(name, values, valid)
    assert not wrong, wrong


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
    assert found is value or (found == value and type(found) in (int, float))


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
        ("file", 3, "file must be a path, not 3"),
        ("file", "a\0b", "file must be"),
        ("numbers", "a", "numbers must be numbers"),
        ("numbers", [[1], [2, 3]], "numbers must be numbers"),
        ("events", ak.Array([1, 2]), "events must be events"),
        ("events", {"x": np.zeros(3)}, r"events must be .*\.as_events makes events of tables"),
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
