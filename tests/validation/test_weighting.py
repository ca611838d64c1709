"""By which weights samples are compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import uproot
from cli_toys import run

from hepgan.errors import InputError
from hepgan.events import Field, Runs, read_events, read_runs, schema_of, write_events
from hepgan.events.schema import EventSchema
from hepgan.events.weights import WEIGHT_TITLE, marked
from hepgan.validation import compare, compare_files
from hepgan.validation.weighting import weighting

N = 3000


def schema(*names: str, weight: str | None = None, written: bool = False) -> EventSchema:
    scalars = tuple(Field(name=n, branches=(n,)) for n in names)
    made = EventSchema(scalars=scalars, weight=weight)
    return marked(made) if written else made


def write(path: Path, seed: int, *, generated: bool = False, name: str = "nSig_sw", **more: float) -> str:
    """A signal and a background in x, with weights by which only the signal counts; or the signal alone."""
    rng = np.random.default_rng(seed)
    signal = np.ones(N, bool) if generated else rng.random(N) < 0.5
    x = np.where(signal, rng.normal(1, 1, N), rng.normal(-1, 1, N))
    data = {"x": x, "y": rng.normal(size=N), name: np.where(signal, 1.0, 0.0)}
    data |= {n: np.full(N, v) for n, v in more.items()}
    with uproot.recreate(path) as file:
        file.mktree("t", dict.fromkeys(data, "float64")).extend(data)
    return str(path)


def test_true_events_have_the_weight_that_is_asked_for_or_that_of_generated_ones_or_their_own():
    reference = schema("x", "genWeight", "mine", weight="genWeight")
    plain = schema("x")
    assert weighting(reference, {"g": plain}, None)[0].weight == "genWeight"
    true, made = weighting(reference, {"g": schema("x", "mine", weight="mine", written=True)}, None)
    assert (true.weight, made["g"].weight) == ("mine", "mine")
    assert true.scalar_names == ("x", "mine")
    true, made = weighting(reference, {"g": schema("x", "mine", "genWeight", weight="genWeight")}, "mine")
    assert (true.weight, made["g"].weight) == ("mine", "mine")
    assert made["g"].scalar_names == ("x", "mine")
    true, made = weighting(reference, {"g": schema("x", "genWeight", weight="genWeight")}, "none")
    assert (true.weight, made["g"].weight) == (None, None)
    assert true.scalar_names == ("x", "mine")
    with pytest.raises(InputError, match=r"^ref.root: no number of the events is called 'w'"):
        weighting(reference, {}, "w", "ref.root")


def test_weights_that_hepgan_has_written_are_those_of_generated_events():
    reference = schema("x", "genWeight", weight="genWeight")
    made = schema("x", "genWeight", "weight", weight="weight", written=True)
    true, others = weighting(reference, {"g": made}, "genWeight")
    assert (true.weight, others["g"].weight) == ("genWeight", "weight")
    assert others["g"].scalar_names == ("x", "weight")


def test_validate_weights_true_events_as_the_recipe_does(tmp_path, capsys, monkeypatch):
    name = "strange"  # which no rule knows
    monkeypatch.setattr("hepgan.validation.report.picture", lambda *_, **__: "data:,")
    files = [write(tmp_path / f"{k}.root", k, name=name, generated=k == 2) for k in range(3)]
    recipe = tmp_path / "r.yaml"
    recipe.write_text(f"events: {{weight: {name}}}\nmodel: {{kind: flow}}\nobservables: {{x: x}}\n")
    arguments = ("validate", files[0], files[2], "--train", files[1], "-o", tmp_path / "report")
    assert run(*arguments, "--recipe", recipe) == 0
    told = capsys.readouterr().out
    assert f"reference events: weighted by {name}" in told
    assert f"generated events: weighted by {name}" in told
    found = compare_files(files[0], files[2], {"x": "x"}, train=files[1], weight=name)
    assert found.metrics["observables"]["x"]["ks"]["value"] < 0.05
    assert found.metrics["classifier"]["auc"]["value"] < 0.55
    assert set(found.metrics["classifier"]["importance"]) <= {"x", "y"}
    assert found.provenance["weighted by"] == {"reference": name, "generated": name}
    without = compare_files(files[0], files[2], {"x": "x"}, train=files[1], weight="none")
    assert without.metrics["observables"]["x"]["ks"]["value"] > 0.2
    assert "weighted by" not in without.provenance


def test_what_is_the_same_in_all_events_is_no_column_and_does_no_harm(tmp_path):
    files = [write(tmp_path / f"{k}.root", k, generated=True, xsec=831.76) for k in range(3)]
    found = compare_files(files[0], files[1], {"x": "x", "y": "y"}, train=files[2])
    assert found.metrics["memorisation"]["ratio_of_medians"]["value"] == pytest.approx(1, abs=0.1)
    assert set(found.metrics["classifier"]["importance"]) == {"x", "y"}
    other = write(tmp_path / "other.root", 5, generated=True, xsec=1.0)
    assert compare_files(files[0], other, {"x": "x"}).metrics["classifier"]["auc"]["value"] > 0.99


def test_events_in_memory_are_weighted_alike(tmp_path):
    reference, made = (read_events(write(tmp_path / f"{k}.root", k, generated=k == 1)) for k in range(2))
    found = compare(reference, made, {"x": "x"}, classifier=False)
    assert found.metrics["observables"]["x"]["ks"]["value"] < 0.05
    found = compare(reference, made, {"x": "x"}, weight="none", classifier=False)
    assert found.metrics["observables"]["x"]["ks"]["value"] > 0.2


def test_reweighted_files_are_known_by_their_new_weight(tmp_path):
    files = [write(tmp_path / f"{k}.root", k, generated=k == 2, name="genWeight") for k in range(3)]
    before = Runs(count=9, sum_of_weights=8.0, sum_of_squares=7.0).columns(run=1)
    with uproot.update(files[2]) as file:
        file.mktree("Runs", {n: v.dtype for n, v in before.items()}).extend(before)
    files[2] += ":t"
    out = tmp_path / "out.root"
    assert run("reweight", files[0], files[2], "-o", out, "--classifier", "trees", "--members", 2) == 0
    assert read_runs(out) == read_runs(files[2])
    events = read_events(f"{out}:t")
    known = schema_of(events)
    assert known.weight == "weight"
    assert known.scalar("weight").title == WEIGHT_TITLE
    assert "genWeight" in known.scalar_names
    again = tmp_path / "again.root"
    write_events(again, events)
    assert schema_of(read_events(again)).weight == "weight"
