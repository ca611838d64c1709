from __future__ import annotations

from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
from numpy.typing import NDArray

from hepgan.events import read_events, schema_of, write_events
from hepgan.generator import EventGenerator
from hepgan.observables import Condition
from hepgan.recipes import draft_recipe, load_recipe
from hepgan.recipes.document import parse_yaml
from hepgan.recipes.drafting.rules import find_rules, kept_by

N = 12_000


pytestmark = pytest.mark.usefixtures("short_trainings_of_what_is_discrete")


def objects(rng: np.random.Generator, n: int, mean: float, least: float) -> ak.Array:
    """Objects that descend in pt, exponential above its least value."""
    counts = rng.poisson(mean, n)
    m = int(counts.sum())

    def lists(values: NDArray[np.float64]) -> ak.Array:
        return ak.unflatten(values.astype(np.float32), counts)

    pt = ak.sort(lists(least + rng.exponential(20.0, m)), ascending=False)
    eta, phi = lists(rng.uniform(-2.4, 2.4, m)), lists(rng.uniform(-3.1, 3.1, m))
    return ak.zip({"pt": pt, "eta": eta, "phi": phi, "mass": lists(np.full(m, 0.1))}, with_name="Momentum4D")


def hardest(these: ak.Array, slot: int = 0) -> NDArray[np.float64]:
    return np.asarray(ak.fill_none(ak.pad_none(these.pt, slot + 1)[:, slot], 0.0), np.float64)


@pytest.fixture(scope="module")
def free() -> dict[str, Any]:
    """Leptons and flags, before any selection."""
    rng = np.random.default_rng(3)
    muon, electron = objects(rng, N, 1.2, 5.0), objects(rng, N, 0.9, 7.0)
    met = rng.exponential(30.0, N).astype(np.float32)

    def often(share: float) -> NDArray[np.bool_]:
        return rng.random(N) < share

    return {
        "Muon": muon,
        "Electron": electron,
        "met": met,
        "single": (hardest(muon) > 24) & often(0.9),
        "electron": (hardest(electron) > 27) & often(0.9),
        "double": (hardest(muon, 1) > 17) & often(0.8),
        "veto": ((met < 40) & often(0.7)).astype(np.int32),
        "coin": often(0.5),
        "soft": often(1.0) & (rng.random(N) < 1 / (1 + np.exp(-(hardest(muon) - 30) / 5))),
    }


def expressions(events: ak.Array) -> set[str]:
    rules = find_rules(events, schema_of(events))
    for rule in rules:
        assert Condition(rule.expression)(events).all()
    return {rule.expression for rule in rules}


def test_thresholds_of_flags_are_found_and_nothing_else(free: dict[str, Any]) -> None:
    assert expressions(ak.Array(free)) == {
        "not single or any(Muon.pt > 24)",
        "not electron or any(Electron.pt > 27)",
        "not double or count(Muon[Muon.pt > 17]) > 1",
        "not veto or met < 40",
    }


def test_at_least_one_flag_hides_what_follows_from_it(free: dict[str, Any]) -> None:
    events = ak.Array({n: free[n] for n in ("Muon", "Electron", "single", "electron", "coin")})
    assert expressions(events[events.single | events.electron]) == {
        "single or electron",
        "not single or any(Muon.pt > 24)",
        "not electron or any(Electron.pt > 27)",
    }


def test_at_least_one_object_is_found_without_flags(free: dict[str, Any]) -> None:
    events = ak.Array({n: free[n] for n in ("Muon", "Electron", "met")})
    chosen = (hardest(events.Muon) > 24) | (hardest(events.Electron) > 27)
    assert expressions(events[chosen]) == {"any(Muon.pt > 24) or any(Electron.pt > 27)"}
    enough = ak.num(events.Muon) + ak.num(events.Electron) >= 2
    assert expressions(events[enough]) == {"count(Muon) + count(Electron) >= 2"}
    assert expressions(events) == set()


def test_rules_that_later_events_break_are_not_taken(free: dict[str, Any], tmp_path: Path) -> None:
    events = ak.Array({n: free[n] for n in ("Muon", "single", "veto", "met")})
    late = ak.with_field(events[-1:], np.array([True]), "single")
    late = ak.with_field(late, late.Muon[late.Muon.pt < 20], "Muon")
    path = tmp_path / "late.root"
    write_events(path, ak.concatenate([events[:-1], late]))
    rules = find_rules(events, schema_of(events))
    assert {r.expression for r in rules} == {"not single or any(Muon.pt > 24)", "not veto or met < 40"}
    kept = kept_by(str(path), rules, schema_of(events))
    assert [r.expression for r in kept] == ["not veto or met < 40"]


def test_drafted_rules_hold_in_generated_events(free: dict[str, Any], tmp_path: Path) -> None:
    events = ak.Array({n: free[n] for n in ("Muon", "Electron", "single", "electron")})
    path = tmp_path / "triggered.root"
    write_events(path, events[events.single | events.electron])
    text = draft_recipe(str(path), name="triggered")
    assert "single is never true with a largest Muon.pt below 24 (nearest 24.0" in " ".join(
        line.strip(" #") for line in text.splitlines()
    )
    fast = ["training.steps=5", "training.batch_size=128", "model.network.width=16", "model.steps=2"]
    recipe = load_recipe(parse_yaml(text, "triggered")).with_settings(fast)
    assert len(recipe.features.rules) == 3
    generator = EventGenerator(recipe).fit(read_events(path), device="cpu")
    made = generator.generate(3000)
    assert made.single.layout.dtype == np.bool_
    for rule in recipe.features.rules:
        assert Condition(rule)(made).all()
    shares = generator.summary["redrawn"]
    assert 0 < shares["not single or any(Muon.pt > 24)"] <= shares["all"] < 1
    assert any("against the rule not single or any(Muon.pt > 24)" in line for line in generator.describe())


def tracked(n: int) -> ak.Array:
    """Jets whose score is missing outside the tracker, and only there, beside a flag of any jet."""
    rng = np.random.default_rng(4)
    counts = rng.poisson(2.0, n)
    m = int(counts.sum())
    eta = rng.normal(0.0, 2.0, m).astype(np.float32)
    score = np.where(np.abs(eta) > 2.5, -1.0, rng.uniform(0.0, 1.0, m)).astype(np.float32)
    columns = {
        "pt": (20 + rng.exponential(25.0, m)).astype(np.float32),
        "eta": eta,
        "phi": rng.uniform(-3.1, 3.1, m).astype(np.float32),
        "mass": rng.gamma(3.0, 2.0, m).astype(np.float32),
        "score": score,
        "tight": rng.random(m) < 0.7,
    }
    jets = {name: ak.unflatten(values, counts) for name, values in columns.items()}
    return ak.Array({"Jet": ak.zip(jets, with_name="Momentum4D")})


def test_what_objects_lack_beyond_a_threshold_is_a_rule(tmp_path: Path) -> None:
    path = tmp_path / "jets.root"
    write_events(path, tracked(8000))
    rules = {
        "all(not missing(Jet.score) or abs(Jet.eta) > 2.5)",
        "all(missing(Jet.score) or abs(Jet.eta) < 2.5)",
    }
    assert expressions(read_events(path)) == rules
    text = draft_recipe(str(path), name="jets")
    fast = ["training.steps=5", "training.batch_size=128", "model.network.width=16", "model.steps=2"]
    recipe = load_recipe(parse_yaml(text, "jets")).with_settings(fast)
    assert rules <= {*recipe.features.rules}
    generator = EventGenerator(recipe).fit(read_events(path), device="cpu")
    made = generator.generate(2000, seed=1).Jet
    assert ((abs(made.eta) > 2.5) == (made.score == -1)).to_list() == ak.ones_like(
        made.eta, dtype=bool
    ).to_list()
    assert 0.05 < float(ak.mean(made.score == -1)) < 0.5
    assert 0.001 < generator.summary["redrawn"]["all"] < 0.9
