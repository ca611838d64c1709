"""Factors to weights, on average over events that look the same."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest
from scipy.stats import norm

from hepgan.errors import InputError
from hepgan.reweighting import Reweighter
from hepgan.stats import classifiers


def noisy(n, seed):
    """Events with a number, and factors of them that scatter around a known mean."""
    rng = np.random.default_rng(seed)
    t = rng.normal(size=n)
    mean = np.exp(0.4 * t)
    return ak.Array({"t": t}), mean, mean * rng.exponential(1.0, n)


@pytest.mark.parametrize("classifier", ["trees", "mlp"])
def test_factors_are_averaged_over_events_that_look_the_same(classifier, monkeypatch):
    monkeypatch.setattr(classifiers, "BATCH", 512)
    monkeypatch.setattr(classifiers, "EPOCHS", 6)
    events, mean, factors = noisy(12_000, 1)
    found = Reweighter(classifier=classifier, members=2, seed=1).fit_factors(events, factors)
    expected = mean / mean.mean()
    middle = np.abs(ak.to_numpy(events.t)) < norm.ppf(0.975)
    for weights in (found.fitted_weights.weight, found(events).weight):
        assert np.abs(weights / expected - 1)[middle].mean() < 0.08
    assert found.reliability.chi2 < 3


def test_factors_of_events_that_all_look_the_same_leave_no_trace():
    events, _, _ = noisy(6000, 2)
    factors = np.random.default_rng(3).exponential(1.0, 6000)
    found = Reweighter(classifier="trees", members=2, seed=1).fit_factors(events, factors)
    assert found.fitted_weights.weight.std() < 0.1


def test_the_mean_weight_is_1_whatever_the_factors():
    events, _, factors = noisy(3000, 4)
    weighted = ak.with_field(events, np.where(ak.to_numpy(events.t) > 0, 2.0, 1.0), "weight")
    found = Reweighter(classifier="trees", members=2, seed=1).fit_factors(weighted, 7 * factors)
    own = ak.to_numpy(weighted.weight)
    assert np.average(found.fitted_weights.weight, weights=own) == pytest.approx(1.0)
    assert found.columns == ("t",)


def test_negative_factors_are_not_for_trees():
    events, _, factors = noisy(3000, 5)
    with pytest.raises(InputError, match="not for trees"):
        Reweighter(classifier="trees", members=2).fit_factors(events, factors - 0.2)
