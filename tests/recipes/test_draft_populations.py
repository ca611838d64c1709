"""Which numbers a draft takes to be of two populations."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest

import hepgan
from hepgan.events.memory import as_events
from hepgan.recipes import draft_recipe, load_recipe
from hepgan.recipes.document import parse_yaml
from hepgan.recipes.drafting.populations import _valley

N = 6000
RNG = np.random.default_rng(3)


def drafted(tmp_path, **scalars):
    counts = RNG.integers(1, 4, N)
    total = counts.sum()
    b = RNG.random(total) < 0.2
    jets = {
        "pt": RNG.exponential(30, total) + 20,
        "eta": RNG.normal(size=total),
        "phi": RNG.uniform(-np.pi, np.pi, total),
        "btag": np.where(b, RNG.beta(8, 1, total), RNG.beta(1, 8, total)),
        "iso": RNG.exponential(0.1, total),
        "area": RNG.normal(0.5, 0.01, total),
    }
    listed = {k: ak.unflatten(v.astype(np.float32), counts) for k, v in jets.items()}
    events = ak.Array({"Jet": ak.zip(listed), **{k: v.astype(np.float32) for k, v in scalars.items()}})
    hepgan.write_events(tmp_path / "events.root", as_events(events))
    text = draft_recipe(str(tmp_path / "events.root"), name="drafted")
    return text, load_recipe(parse_yaml(text, "drafted"))


def test_a_score_near_0_or_1_is_found_and_told_and_nothing_else(tmp_path):
    text, recipe = drafted(
        tmp_path,
        bdt=np.where(RNG.random(N) < 0.5, RNG.normal(-2, 0.5, N), RNG.normal(2, 0.5, N)),
        flat=RNG.random(N),
        normal=RNG.normal(size=N),
        shoulder=np.where(RNG.random(N) < 0.5, RNG.normal(-1, 1, N), RNG.normal(1, 1, N)),
    )
    found = recipe.features.populations
    assert set(found) == {"Jet.btag", "bdt"}
    assert 0.3 < found["Jet.btag"][0] < 0.7
    assert abs(found["bdt"][0]) < 0.5
    assert "Scores with two populations" in text


@pytest.mark.parametrize("seed", range(5))
def test_chance_makes_no_populations(seed):
    rng = np.random.default_rng(seed)
    for size in (1000, 2000, 100_000):
        for values in (
            rng.random(size),
            rng.normal(size=size),
            rng.exponential(size=size),
            rng.standard_cauchy(size),
        ):
            assert _valley(values) is None
