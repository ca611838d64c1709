from __future__ import annotations

from math import comb

import numpy as np
import pytest
from scipy.linalg import sqrtm
from scipy.stats import norm

from hepgan.stats.frechet import fpd, frechet_distance, kpd, physics_distances


def points(value: float, size: int = 1000) -> np.ndarray:
    return np.full((size, 2), value)


def test_distances_of_points_two_apart_are_those_of_the_definition():
    """Of (0, 0) and (2, 2): 8 and 624; of (0, 0) and (1, 1), which scaling makes of it: 2 and 15."""
    true, made = points(2.0), points(0.0)
    assert fpd(true, made).value == pytest.approx(2)
    assert fpd(true, made, normalise=False).value == pytest.approx(8)
    assert kpd(true, made).value == pytest.approx(15)
    assert kpd(true, made, normalise=False).value == pytest.approx(624)


def test_gaussians_two_standard_deviations_apart_in_two_features():
    rng = np.random.default_rng(0)
    true, made = rng.normal(2, 1, (60_000, 2)), rng.normal(0, 1, (60_000, 2))
    found = fpd(true, made, normalise=False, draws=4)
    assert found.batch == 50_000
    assert found.value == pytest.approx(8, abs=4 * 2 * np.sqrt(2 * 4 / 60_000))
    moments = {m: [norm(m).moment(k) if k else 1.0 for k in range(5)] for m in (0.0, 2.0)}

    def kernel(a: float, b: float) -> float:
        """The mean of (x.y/2 + 1)^4, by moments."""
        one = [moments[a][k] * moments[b][k] for k in range(5)]
        sums = [sum(comb(n, k) * one[k] * one[n - k] for k in range(n + 1)) for n in range(5)]
        return sum(comb(4, n) * sums[n] / 2**n for n in range(5))

    expected = kernel(2.0, 2.0) + kernel(0.0, 0.0) - 2 * kernel(2.0, 0.0)
    measured = kpd(true, made, normalise=False)
    assert measured.value == pytest.approx(expected, abs=4 * measured.error)
    assert measured.batch == 5000


def test_the_frechet_distance_is_that_of_the_matrices():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(500, 4)) @ rng.normal(size=(4, 4)), rng.normal(size=(400, 4)) + 0.3
    v = rng.uniform(0.5, 2, 500)
    a, b = np.cov(x.T, aweights=v), np.cov(y.T)
    between = np.average(x, axis=0, weights=v) - y.mean(0)
    expected = between @ between + np.trace(a + b - 2 * sqrtm(a @ b).real)
    assert frechet_distance(x, y, v) == pytest.approx(expected, rel=1e-10)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-9)


def test_extrapolation_removes_what_finite_batches_add():
    """Batches of N events are at about tr(S) D (1/N + 1/N) even where samples are one distribution."""
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(100_000, 8)), rng.normal(size=(100_000, 8))
    found = fpd(x, y, normalise=False, draws=5)
    finite = frechet_distance(x[:20_000], y[:20_000])
    assert found.value < 0.5 * finite
    assert found.error < finite


def test_weights_make_the_distribution():
    rng = np.random.default_rng(3)
    true = rng.normal(size=(20_000, 2))
    made = np.concatenate([rng.normal(size=(20_000, 2)), rng.normal(3, 1, (8_000, 2))])
    weights = np.concatenate([np.ones(24_000), -np.ones(4_000)])
    assert fpd(true, made, None, weights, normalise=False, draws=4).value < 0.01
    assert fpd(true, made, normalise=False, draws=4).value > 1
    weighted = kpd(true, made, None, weights, normalise=False)
    assert abs(weighted.value) < 4 * weighted.error
    assert kpd(true, made, normalise=False).value > 10 * weighted.error


def test_true_samples_are_at_the_floor_and_others_beyond():
    rng = np.random.default_rng(4)
    ones, three = np.ones(4000), ("a", "b", "c")
    true, same, other = (rng.normal(m, 1, (4000, 3)) for m in (0, 0, 0.2))
    for train in (None, (rng.normal(size=(6000, 3)), np.ones(6000))):
        good, bad = (
            physics_distances(three, (true, ones), (x, ones), train, rng=np.random.default_rng(0))
            for x in (same, other)
        )
        assert good.fpd.floor == bad.fpd.floor
        assert 0.2 < good.fpd.ratio < 4
        assert bad.fpd.ratio > 10
        assert abs(good.kpd.value - good.kpd.floor) < 5 * np.hypot(good.kpd.error, good.kpd.floor_error)
        assert bad.kpd.value > 5 * bad.kpd.error
        assert good.batches == (4000, 2000)
    assert physics_distances(three, (true, ones), (same[:50], ones[:50]), rng=rng) is None


def test_the_same_seed_gives_the_same_distances():
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(2000, 3)), rng.normal(size=(1500, 3))
    assert fpd(x, y, seed=3) == fpd(x, y, seed=3) != fpd(x, y, seed=4)
    assert kpd(x, y, seed=3) == kpd(x, y, seed=3) != kpd(x, y, seed=4)


@pytest.mark.parametrize("measure", [fpd, kpd, frechet_distance])
def test_bad_features_and_weights_are_named(measure):
    good = np.zeros((10, 2))
    bad = good.copy()
    bad[3, 1] = np.nan
    with pytest.raises(ValueError, match="event 3"):
        measure(good, bad)
    with pytest.raises(ValueError, match="same features"):
        measure(good, np.zeros((10, 3)))
    with pytest.raises(ValueError, match="at least 2 events"):
        measure(good[:1], good)
    with pytest.raises(ValueError, match="sum positive"):
        measure(good, good, -np.ones(10))
    with pytest.raises(ValueError, match="10 events"):
        measure(good, good, np.ones(9))
