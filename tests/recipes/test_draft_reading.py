"""What a draft is made of: what can be read of all files; and what is said where that is nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot
from damage import damage

from hepgan.errors import InputError
from hepgan.recipes import draft, load_recipe
from hepgan.recipes.document import parse_yaml
from hepgan.recipes.drafting.contents import look_at

N = 600


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: str, parts: int = 1, **columns: Any) -> str:
    with uproot.recreate(path) as file:
        tree = file.mktree("t", {k: v.dtype for k, v in columns.items()})
        for rows in np.array_split(np.arange(N), parts):
            tree.extend({k: v[rows] for k, v in columns.items()})
    return path


def learned(text: str) -> tuple[str, ...]:
    return load_recipe(parse_yaml(text, "r")).events.select


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"data": np.arange(N)}, "data: nearly every event has its own value: it names the event"),
        ({"x": np.full(N, 3.5), "k": np.full(N, 2)}, "x: always 3.5; k: always 2"),
        ({"event": np.arange(N), "x": np.full(N, 3.5)}, "x: always 3.5; event: names the event"),
        ({"b": np.arange(N) % 3 == 0}, "b: a category, and no number varies continuously beside it"),
        ({"weight": np.linspace(1, 2, N)}, "weight: the weight of the events"),
        ({"x": np.full(N, np.inf)}, "x: 600 of 600 values are not finite"),
        (
            {f"c{i}x": np.full(N, float(i)) for i in range(210)},
            "c0x: always 0; c1x: always 1; c2x: always 2; c3x: always 3; c4x: always 4; c5x: always 5; "
            "c6x: always 6; c7x: always 7; and 202 more reasons",
        ),
        ({f"u{i}v": np.full(N, np.inf) for i in range(210)}, "u0v, u1v, u2v, u3v and 206 others: 600 of"),
    ],
)
def test_a_file_of_which_nothing_can_be_learned_says_why(columns: dict[str, Any], reason: str) -> None:
    file = write("a.root", **columns)
    with pytest.raises(InputError, match=r"^a\.root:t: nothing in it can be learned: ") as caught:
        draft(f"{file}:t", name="r")
    assert reason in str(caught.value)


def test_a_number_that_is_always_the_same_is_no_harm_beside_others() -> None:
    x = np.random.default_rng(1).normal(size=N)
    text = draft(write("a.root", x=x, xsec=np.full(N, 831.76)), name="r").text
    assert learned(text) == ()
    assert "xsec: always 831.76" in text


def test_drafts_are_of_what_all_files_have_in_any_order() -> None:
    rng = np.random.default_rng(1)
    data = {"x": rng.normal(size=N), "y": rng.normal(size=N)}
    files = [write("a.root", **data), write("b.root", z=rng.normal(size=N), **data)]
    for paths in (files, files[::-1]):
        for new, old in zip(("first.root", "second.root"), paths, strict=True):
            Path(new).unlink(missing_ok=True)
            os.link(old, new)
        text = draft("[fs]*.root:t", name="r").text
        assert learned(text) in ((), ("x", "y"))
        lacking = "first" if paths[0] == "a.root" else "second"
        assert f"z: {lacking}.root:t lacks it" in text


def test_damaged_branches_are_left_out_with_the_reason_unless_they_are_asked_for() -> None:
    rng = np.random.default_rng(1)
    # In single precision, so that they are compressed.
    numbers = {n: rng.normal(size=N).astype(np.float32).astype(np.float64) for n in ("x", "y", "z")}
    file = write("a.root", 3, **numbers)
    damage(file, "y", 1, tree="t")
    damage(file, "z", 2, tree="t")
    text = draft(f"{file}:t", name="r").text
    told = " ".join(line.strip("# ") for line in text.splitlines())
    assert learned(text) == ("x",)
    assert "from event 200 on in a.root:t" in told
    assert "from event 400 on in a.root:t" in told
    with pytest.raises(InputError, match=r"branch y: --select y: damaged.*from event 200 on"):
        draft(f"{file}:t", name="r", select=["x", "y"])


def test_arrays_are_in_the_draft_s_contents_and_told_where_none_of_them_is_learned(tmp_path):
    rng = np.random.default_rng(1)
    columns = {"x": rng.normal(size=500).astype("f4"), "image": rng.random((500, 3, 4)).astype("f4")}
    with uproot.recreate(tmp_path / "in.root") as file:
        kinds = {n: np.dtype((v.dtype, v.shape[1:])) for n, v in columns.items()}
        file.mktree("Events", kinds).extend(columns)
    contents = look_at(str(tmp_path / "in.root"), (), 500)
    assert [(f.name, f.shape) for f in contents.arrays] == [("image", (3, 4))]
    text = draft(str(tmp_path / "in.root"), name="images").text
    assert "image" in text
