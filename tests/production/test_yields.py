"""Weighted yields of files: those of the training sample, or of a cross section."""

from __future__ import annotations

import json
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot
from toys import dimuons

from hepgan.errors import InputError, RecipeError
from hepgan.events import Runs, read_events, read_runs, schema_of, write_events
from hepgan.generator import EventGenerator
from hepgan.production import produce

N = 4000
SUFFIX = {"ttree": ".root", "rntuple": ".root", "parquet": ".parquet"}
RECIPE = {
    "name": "quick",
    "events": {"select": ["MET", "npv"], "weight": "genWeight"},
    "model": {
        "kind": "flow_matching",
        "network": {"kind": "mlp", "widths": [32]},
        "time": "logit_normal",
        "steps": 4,
    },
    "training": {"steps": 50, "batch_size": 128},
}
BEFORE = Runs(count=10_000, sum_of_weights=30_000.0, sum_of_squares=400_000.0)


def weighted(n: int, seed: int, *, dtype: str = "float32") -> ak.Array:
    """Events of weights +-3.5 (or 2 in whole numbers), more negative ones of many vertices."""
    events = dimuons(n, seed)
    rng = np.random.default_rng(seed)
    negative = rng.random(n) < np.where(np.asarray(events.npv) > 20, 0.3, 0.05)
    size = 3.5 if np.dtype(dtype).kind == "f" else 2
    return ak.with_field(events, np.where(negative, -size, size).astype(dtype), "genWeight")


def learned(events: ak.Array, runs: Runs | None = BEFORE, **of_events: object) -> EventGenerator:
    recipe = {**RECIPE, "events": {**RECIPE["events"], **of_events}}
    return EventGenerator(recipe).fit(events, runs=runs, seed=1, device="cpu")


@pytest.fixture(scope="module")
def events() -> ak.Array:
    return weighted(N, 1)


@pytest.fixture(scope="module")
def generator(events: ak.Array) -> EventGenerator:
    return learned(events)


@pytest.fixture(scope="module")
def signed(events: ak.Array) -> EventGenerator:
    return learned(events, signs=True)


def yields(events: ak.Array) -> np.ndarray:
    """Sums of weights in three bins of vertices, and the squares of their errors."""
    weights, number = np.asarray(events.genWeight, np.float64), np.asarray(events.npv)
    edges = [0.0, 17.5, 22.5, np.inf]
    return np.array([np.histogram(number, edges, weights=w)[0] for w in (weights, weights**2)])


def numbers(path: Path) -> tuple[float, float, float]:
    """Those of ``Runs``."""
    runs = read_runs(path)
    assert runs is not None
    return runs.count, runs.sum_of_weights, runs.sum_of_squares


def agree(a: ak.Array, b: ak.Array) -> bool:
    """Whether yields agree within errors."""
    (first, error), (second, other) = yields(a), yields(b)
    return bool((np.abs(first - second) < 4 * np.sqrt(error + other)).all())


@pytest.mark.parametrize("format", SUFFIX)
def test_yields_of_files_are_those_of_the_training_sample(generator, events, tmp_path, format):
    path = tmp_path / f"out{SUFFIX[format]}"
    made = produce(generator, 20_000, path, seed=2, format=format)
    total = float(np.sum(np.asarray(events.genWeight, np.float64)))
    assert made.sum_of_weights == pytest.approx(total, rel=1e-6)
    found = read_events(path)
    assert agree(events, found)
    assert len(np.unique(np.asarray(found.genWeight))) == 1
    squares = 400_000.0 * total**2 / 20_000 / (N * 3.5**2)
    assert numbers(path) == pytest.approx((50_000, 30_000.0, squares), rel=1e-6)


@pytest.mark.parametrize("size", [7_000, 20_000])
def test_weights_of_either_sign_are_generated_where_they_are_asked_for(signed, events, tmp_path, size):
    made = produce(signed, 20_000, tmp_path / "out", seed=2, shard_size=size)
    found = read_events([str(f) for f in made.files])
    weights = np.asarray(found.genWeight, np.float64)
    assert len(np.unique(np.abs(weights))) == 1
    true = np.asarray(events.genWeight)
    assert (weights < 0).mean() == pytest.approx((true < 0).mean(), abs=0.02)
    many = np.asarray(found.npv) > 20
    assert (weights[many] < 0).mean() == pytest.approx(0.3, abs=0.05)
    assert (weights[~many] < 0).mean() == pytest.approx(0.05, abs=0.03)
    assert agree(events, found)
    parts = [uproot.open(f)["Runs"].arrays(library="np") for f in made.files]
    sums = [p["genEventSumw"][0] for p in parts]
    efficiency = true.sum(dtype=np.float64) / BEFORE.sum_of_weights
    assert sum(sums) == pytest.approx(weights.sum() / efficiency, rel=1e-6)
    assert sum(p["genEventCount"][0] for p in parts) == 50_000
    assert "sign" not in " ".join(found.fields)


def test_yields_normalised_by_runs_are_those_of_the_original(generator, signed, events, tmp_path):
    section, luminosity = 3.0, 1000.0
    true, squares = yields(events)
    expected, error = (v * section * luminosity / BEFORE.sum_of_weights for v in (true, np.sqrt(squares)))
    for number, source in enumerate((generator, signed)):
        path = tmp_path / f"{number}.root"
        produce(source, 20_000, path, seed=2, cross_section=section, luminosity=luminosity)
        found = read_events(path)
        runs = read_runs(path)
        assert runs is not None
        scale = section * luminosity / runs.sum_of_weights
        assert (np.abs(yields(found)[0] * scale - expected) < 4 * error).all()
        # The weights themselves are of these units, too.
        assert runs.sum_of_weights == pytest.approx(section * luminosity, rel=0.05)
        assert scale == pytest.approx(1, rel=0.05)


def test_a_fileset_tells_what_to_normalise_by(generator, tmp_path):
    made = produce(generator, 6000, tmp_path / "out", seed=2, shard_size=2500, cross_section=12.0)
    (part,) = json.loads(made.fileset.read_text()).values()
    assert part["metadata"]["cross_section"] == 12.0
    assert part["metadata"]["sum_of_weights"] == pytest.approx(12.0, rel=1e-6)
    runs = read_runs([str(f) for f in made.files])
    assert runs is not None
    assert runs.sum_of_weights == pytest.approx(12.0, rel=1e-6)
    assert runs.count == 15_000
    assert made.sum_of_weights == pytest.approx(12.0 * _sum(weighted(N, 1)) / 30_000, rel=1e-6)


def _sum(events: ak.Array) -> float:
    return float(np.sum(np.asarray(events.genWeight, np.float64)))


def test_a_production_that_goes_on_knows_the_weights_of_what_is_there(generator, tmp_path, monkeypatch):
    whole = produce(generator, 6000, tmp_path / "whole", seed=2, shard_size=2500)
    from hepgan.production import shards

    written, calls = shards._written, []

    def killed(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return written(*arguments)

    monkeypatch.setattr(shards, "_written", killed)
    with pytest.raises(KeyboardInterrupt):
        produce(generator, 6000, tmp_path / "out", seed=2, shard_size=2500)
    monkeypatch.undo()
    made = produce(generator, 6000, tmp_path / "out", seed=2, shard_size=2500)
    assert made.kept == 1
    assert made.sum_of_weights == whole.sum_of_weights
    with pytest.raises(InputError, match="cross section must be positive"):
        produce(generator, 100, tmp_path / "none", cross_section=0.0)
    with pytest.raises(InputError, match="needs a cross section"):
        produce(generator, 100, tmp_path / "none", luminosity=1.0)


@pytest.mark.parametrize("place", ["{}/jobs", "memory://yields{}"])
def test_a_job_that_comes_when_all_is_done_knows_the_weights_too(generator, tmp_path, place):
    settings = {"seed": 2, "shard_size": 200}
    output = place.format(tmp_path)
    made = [produce(generator, 600, output, **settings, part=(k, 2)) for k in (1, 2)]
    again = [produce(generator, 600, output, **settings, part=(k, 2)) for k in (1, 2)]
    assert [one.made for one in again] == [0, 0]
    assert [one.sum_of_weights for one in again] == [one.sum_of_weights for one in made]
    assert again[0].sum_of_weights != 200


def test_events_without_weights_get_some_by_a_cross_section_alone(tmp_path):
    source = EventGenerator({**RECIPE, "events": {"select": ["MET"]}})
    source.fit(dimuons(600, 3), device="cpu")
    plain = produce(source, 1000, tmp_path / "plain.root", seed=1)
    assert "genWeight" not in read_events(tmp_path / "plain.root").fields
    assert read_runs(tmp_path / "plain.root") is None
    (part,) = json.loads(plain.fileset.read_text()).values()
    assert part["metadata"]["sum_of_weights"] == plain.sum_of_weights == 1000
    produce(source, 1000, tmp_path / "w.root", seed=1, cross_section=50.0, luminosity=2.0)
    found = read_events(tmp_path / "w.root")
    assert schema_of(found).weight == "genWeight"
    assert np.asarray(found.genWeight) == pytest.approx(np.full(1000, 0.1))
    assert numbers(tmp_path / "w.root") == pytest.approx((1000, 100.0, 10.0), rel=1e-6)


def test_whole_weights_become_numbers_that_hold_the_sum_and_a_strange_name_is_known(tmp_path):
    events = weighted(800, 2, dtype="int32")
    renamed = ak.with_field(events[["MET", "npv"]], events.genWeight, "w")
    source = EventGenerator({**RECIPE, "events": {"select": ["MET"], "weight": "w"}})
    source.fit(renamed, device="cpu")
    produce(source, 3000, tmp_path / "w.root", seed=1)
    found = read_events(tmp_path / "w.root")
    assert schema_of(found).weight == "w"
    assert np.sum(np.asarray(found.w)) == pytest.approx(_sum(events), rel=1e-9)
    # Files without Runs, whose weight has another name than in NanoAOD, get none.
    assert read_runs(tmp_path / "w.root") is None


def test_what_is_known_of_yields_is_kept_in_the_model_file(signed, tmp_path):
    signed.save(tmp_path / "m.safetensors")
    again = EventGenerator.load(tmp_path / "m.safetensors", device="cpu")
    assert again.summary["yields"] == signed.summary["yields"]
    assert any("4,000 events have the sum" in line for line in again.describe())
    assert any("10,000 events before the selection" in line for line in again.describe())
    a, b = signed.generate(300, seed=4), again.generate(300, seed=4)
    assert a.genWeight.tolist() == b.genWeight.tolist()
    assert set(np.unique(np.asarray(a.genWeight))) == {-1.0, 1.0}


def test_signed_models_have_a_likelihood_of_events_with_their_signs(signed, events):
    some = events[:200]
    flipped = ak.with_field(some, -some.genWeight, "genWeight")
    right, wrong = signed.log_prob(some), signed.log_prob(flipped)
    assert np.isfinite(right).all()
    assert right.mean() > wrong.mean() + 0.5
    with pytest.raises(InputError, match="no genWeight, whose signs"):
        signed.log_prob(some[["MET", "npv"]])


def test_signs_need_weights():
    source = EventGenerator({**RECIPE, "events": {"select": ["MET"], "signs": True}})
    with pytest.raises(RecipeError, match=r"events\.signs: the events have no weights"):
        source.fit(dimuons(100, 3), device="cpu")


def test_runs_of_several_files_are_summed_and_a_missing_one_is_told(tmp_path):
    events = weighted(50, 1)
    files = [tmp_path / f"{k}.root" for k in range(3)]
    for k, file in enumerate(files):
        write_events(file, events)
        if k < 2:
            with uproot.update(file) as tree:
                tree.mktree("Runs", {n: v.dtype for n, v in BEFORE.columns(1).items()}).extend(
                    BEFORE.columns(1)
                )
    assert read_runs(files[2]) is None
    assert read_runs(str(files[0]) + ":Events") == BEFORE
    assert read_runs(files[:2]) == Runs(count=20_000, sum_of_weights=60_000.0, sum_of_squares=800_000.0)
    with pytest.warns(UserWarning, match=r"2\.root has no Runs"):
        assert read_runs(files) is None
    bad = tmp_path / "bad.root"
    write_events(bad, events)
    with uproot.update(bad) as tree:
        columns = {n: 0 * v for n, v in BEFORE.columns(1).items()}
        tree.mktree("Runs", {n: v.dtype for n, v in columns.items()}).extend(columns)
    with pytest.raises(InputError, match=r"bad\.root: Runs has 0 events"):
        read_runs(bad)


def test_runs_of_an_early_nanoaod_are_read(shared_data):
    runs = read_runs(shared_data / "real" / "nano_dy.root")
    assert runs is not None
    assert runs.count == 850_098
    assert runs.sum_of_weights == pytest.approx(1.51666867e10, rel=1e-8)
    assert runs.columns(run=1).keys() == {"run", "genEventCount", "genEventSumw", "genEventSumw2"}
