from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from hepgan.stats.distances import Pooled, ks, ks_floor, ks_from_normal, wasserstein
from hepgan.stats.moments import (
    checked_weights,
    effective_entries,
    effective_size,
    quantile,
    standard_deviation,
)


def test_effective_entries_of_bins_are_those_of_their_weights():
    rng = np.random.default_rng(1)
    weight, place = rng.exponential(size=500), rng.integers(0, 5, 500)
    sums, squares = (np.bincount(place, weight**power, 6) for power in (1, 2))
    found = effective_entries(sums, squares)
    assert found[:5].tolist() == pytest.approx([effective_size(weight[place == k]) for k in range(5)])
    assert found[5] == effective_size([]) == 0.0
    assert effective_size(np.full(7, 3.0)) == pytest.approx(7)


def test_weights_count_as_repetitions():
    rng = np.random.default_rng(2)
    x, number = rng.normal(size=200), rng.integers(1, 4, 200)
    repeated = np.repeat(x, number)
    assert standard_deviation(x, number.astype(float)) == pytest.approx(repeated.std())
    assert quantile(x, [0.1, 0.5, 0.9], number).tolist() == quantile(repeated, [0.1, 0.5, 0.9]).tolist()
    assert standard_deviation(x, np.zeros(200)) == 0.0


def test_there_is_a_weight_for_each_event():
    assert checked_weights(None, 3).tolist() == [1.0] * 3
    with pytest.raises(ValueError, match=r"\(2,\) for 3 events"):
        checked_weights([1, 2], 3)


def test_samples_sorted_once_have_the_distances_of_samples_sorted_anew():
    rng = np.random.default_rng(3)
    # Equal values and values of both signs of weights among them.
    x, y = rng.integers(0, 30, 400) / 7.0, rng.integers(0, 40, 300) / 7.0
    pooled, alone = Pooled(x, y), Pooled(x)
    for _ in range(3):
        v, w = rng.normal(1, 0.8, 400), rng.exponential(size=300)
        assert pooled.distances(v, w) == pytest.approx((ks(x, y, v, w), wasserstein(x, y, v, w)), rel=1e-12)
        u = rng.exponential(size=400)
        assert alone.distances(v, u) == pytest.approx((ks(x, x, v, u), wasserstein(x, x, v, u)), rel=1e-12)
    assert np.isnan(pooled.distances(np.zeros(400), w)).all()
    assert alone.distances(v, 3 * v) == (0.0, 0.0)


def test_floors_of_ks_are_its_mean_between_samples_of_one_distribution():
    rng = np.random.default_rng(4)
    two = [ks(rng.normal(size=300), rng.normal(size=500)) for _ in range(200)]
    assert np.mean(two) == pytest.approx(ks_floor(300, 500), rel=0.1)
    one = [ks_from_normal(rng.normal(size=400), np.ones(400)) for _ in range(200)]
    assert np.mean([value for value, _ in one]) == pytest.approx(one[0][1], rel=0.1)
    assert one[0][1] == pytest.approx(ks_floor(400))
    z = rng.normal(size=400)
    assert ks_from_normal(z, np.ones(400))[0] == pytest.approx(stats.kstest(z, "norm").statistic)
