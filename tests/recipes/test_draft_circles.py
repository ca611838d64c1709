"""Which numbers a draft takes for angles that go all the way round, and that they are learned so."""

from __future__ import annotations

import math

import awkward as ak
import numpy as np
import pytest

import hepgan
from hepgan.events import as_events
from hepgan.recipes import draft_recipe, load_recipe
from hepgan.recipes.document import parse_yaml
from hepgan.recipes.drafting.circles import _turn

N = 3000


def sky(rng, n=N):
    """A direction in degrees, and one that is measured 5 degrees beside it; ends, ranges and distances."""
    azimuth = rng.uniform(0, 360, n)
    return {
        "azimuth": azimuth,
        "recoAzimuth": (azimuth + rng.normal(0, 5, n)) % 360,
        "zenith": np.degrees(np.arccos(rng.uniform(-1, 1, n))),
        "longitude": rng.normal(0, 300, n) % 360 - 180,
        "psi": np.mod(rng.normal(0, 2, n), 2 * math.pi).astype("f4"),
        "cos": rng.uniform(-1, 1, n),
        "half": rng.uniform(0, math.pi, n),
        "energy": 100 / rng.uniform(0.01, 1, n),
        "tilted": 360 * np.sqrt(rng.uniform(0, 1, n)),
    }


@pytest.fixture(scope="module")
def drafted(tmp_path_factory):
    path = tmp_path_factory.mktemp("sky") / "sky.root"
    rng = np.random.default_rng(1)
    number = rng.integers(1, 5, N)
    tracks = {
        "p": rng.exponential(1, number.sum()),
        "phi": rng.uniform(-np.pi, np.pi, number.sum()).astype("f4"),
    }
    listed = ak.zip({n: ak.unflatten(v, number) for n, v in tracks.items()})
    hepgan.write_events(path, as_events(ak.zip({"trk": listed, **sky(rng)}, depth_limit=1)))
    text = draft_recipe(str(path), name="sky")
    return path, text, load_recipe(parse_yaml(text, "sky"))


def test_what_fills_a_turn_is_an_angle_and_nothing_else_is(drafted):
    _, text, recipe = drafted
    (block,) = recipe.features.blocks
    ends = {n: (t.get("low"), t.get("high")) for n, t in block.transforms.items()}
    assert ends == {
        "azimuth": (0.0, 360.0),
        "recoAzimuth": (0.0, 360.0),
        "longitude": (-180.0, 180.0),
        "psi": (0.0, 2 * math.pi),
        "trk.phi": (None, None),
    }
    assert not set(ends) & set(recipe.features.bounds)
    assert "a circle, which has no ends" in text


@pytest.mark.parametrize("size", [100, 1000, 100_000])
def test_other_ranges_are_no_turns(size):
    rng = np.random.default_rng(size)
    for values in (
        rng.uniform(0, 359, size) if size > 10_000 else rng.uniform(0, 300, size),
        rng.uniform(0, 180, size),
        rng.normal(0, 50, size).clip(-180, 180),
        np.degrees(np.arccos(rng.uniform(-1, 1, size))),
        360 * rng.beta(1, 2, size),
        rng.uniform(-1, 1, size),
    ):
        assert _turn(values) is None


def test_what_crosses_the_cut_is_near_in_generated_events(drafted):
    path, _, recipe = drafted
    small = recipe.with_settings(["events.select=[azimuth, recoAzimuth]", "training.steps=400"])
    block = {"kind": "fields", "fields": ["azimuth", "recoAzimuth"]}
    turns = {n: {"kind": "angle", "low": 0.0, "high": 360.0} for n in block["fields"]}
    small = hepgan.load_recipe(
        small.model_dump(exclude={"features", "observables"})
        | {"features": {"blocks": [block | {"transforms": turns}]}}
    )
    made = hepgan.EventGenerator(small).fit(hepgan.read_events(path)).generate(3000, seed=1)
    values = [made[n].to_numpy() for n in block["fields"]]
    assert all(v.min() >= 0 and v.max() <= 360 for v in values)
    off = np.abs((values[1] - values[0] + 180) % 360 - 180)
    cut = (values[0] < 10) | (values[0] > 350)
    assert np.quantile(off, 0.9) < 30
    assert np.quantile(off[cut], 0.9) < 30  # half of these are beyond the cut from each other
    assert 0.04 < cut.mean() < 0.08
