"""Conditions that are drawn follow those of the training events, with their weights."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest
import torch

from hepgan.generator import EventGenerator, conditions
from hepgan.generator.conditions import Pool

DRAWS = torch.linspace(0, 1, 200_001, dtype=torch.float64)[:-1]
"""Evenly spread numbers instead of random ones: what is drawn has no error but the spacing."""


def pool(values, weight, given=None):
    condition = torch.as_tensor(np.asarray(values), dtype=torch.float64).reshape(len(weight), -1)
    given = None if given is None else torch.as_tensor(given)
    return Pool.of(condition, torch.as_tensor(weight).double(), given, torch.Generator().manual_seed(1))


def drawn(found):
    return found.draw(DRAWS)[0].numpy()


@pytest.mark.parametrize("signs", [1.0, np.array([1.0, 1.0, 1.0, -1.0])])
def test_values_of_a_few_kinds_come_with_their_share_of_the_weights(signs):
    rng = np.random.default_rng(1)
    values = rng.integers(0, 3, 20_000)
    weight = rng.uniform(0.5, 1.5, 20_000) * np.array([1.0, 5.0, 0.2])[values]
    weight = weight * np.resize(signs, 20_000)
    found = drawn(pool(values, weight))[:, 0]
    for value in range(3):
        expected = weight[values == value].sum() / weight.sum()
        assert (found == value).mean() == pytest.approx(expected, abs=2e-5)


def test_continuous_values_follow_the_weighted_distribution():
    rng = np.random.default_rng(2)
    values, weight = rng.normal(size=5000), rng.exponential(size=5000) ** 2
    found, order = np.sort(drawn(pool(values, weight))[:, 0]), np.argsort(values)
    expected = np.cumsum(weight[order]) / weight.sum()
    share = np.searchsorted(found, values[order], side="right") / len(found)
    assert np.abs(share - expected).max() < 2e-5


@pytest.mark.parametrize("dimensions", [1, 2])
def test_negative_weights_are_set_against_their_neighbours(dimensions):
    """Where they are frequent, nothing but their number tells of it: both sums stay, and none is negative."""
    rng = np.random.default_rng(3)
    values = rng.uniform(-1, 1, (20_000, dimensions))
    weight = np.where(rng.random(20_000) < 0.2 + 0.2 * values[:, 0], -1.0, 1.0)
    found = pool(values, weight)
    assert float(found.weight.min()) >= 0
    assert float(found.weight.sum()) == pytest.approx(weight.sum())
    made, known = drawn(found)[:, 0], values[:, 0]
    for edge in np.linspace(-0.8, 0.8, 9):
        assert (made < edge).mean() == pytest.approx(weight[known < edge].sum() / weight.sum(), abs=2e-3)
    # Without the negative ones it would be another distribution.
    assert abs((made < 0).mean() - (known[weight > 0] < 0).mean()) > 0.02


def test_events_of_equal_weight_are_drawn_alike():
    found = pool(np.arange(30_000.0), np.full(30_000, 0.7))
    assert found.weight is None
    assert np.unique(drawn(found)).size == 30_000


def test_rows_without_weight_are_never_drawn():
    found = pool([0.0, 1.0, 2.0, 3.0], [0.0, 1.0, 2.0, 0.0])
    assert set(drawn(found)[:, 0]) == {1.0, 2.0}
    assert found.draw(torch.tensor([1.0 - 1e-16]).double())[0].tolist() == [[2.0]]


def test_given_objects_stay_with_their_conditions_and_weights():
    rng = np.random.default_rng(4)
    values, weight = rng.normal(size=500), rng.exponential(size=500)
    found = pool(values, weight, given=np.stack([values, 2 * values], 1))
    condition, objects = found.draw(DRAWS)
    assert torch.equal(objects[:, 0], condition[:, 0])
    assert drawn(found).mean() == pytest.approx(np.average(values, weights=weight), abs=1e-3)


def test_as_many_are_kept_as_there_is_room_for(monkeypatch):
    monkeypatch.setattr(conditions, "MAX_POOL", 1000)
    values = np.random.default_rng(5).normal(size=(5000, 2))
    assert len(pool(values, np.ones(5000)).condition) == 500
    few = pool(np.arange(5000) % 3, np.ones(5000))
    assert few.condition[:, 0].tolist() == [0.0, 1.0, 2.0]


@pytest.mark.parametrize("signed", [False, True])
def test_generated_conditions_have_the_weighted_share(signed):
    rng = np.random.default_rng(6)
    channel = rng.integers(0, 2, 4000).astype(np.int32)
    weight = np.where(channel == 1, 9.0, 1.0)
    if signed:
        weight[(channel == 0) & (rng.random(4000) < 0.3)] *= -1
    events = ak.zip({"x": rng.normal(size=4000) + channel, "channel": channel, "w": weight})
    recipe = {
        "name": "toy",
        "events": {"weight": "w", "kinds": {"channel": "category"}},
        "conditions": ["channel"],
        "model": {"kind": "flow_matching", "network": {"kind": "mlp", "widths": [8]}, "steps": 1},
        "training": {"steps": 2, "validation_fraction": 0.0},
    }
    made = EventGenerator(recipe).fit(events, device="cpu").generate(20_000, seed=1)
    expected = weight[channel == 1].sum() / weight.sum()
    error = (expected * (1 - expected) / 20_000) ** 0.5
    assert abs(float(np.mean(ak.to_numpy(made.channel) == 1)) - expected) < 4 * error
