from __future__ import annotations

import hist
import numpy as np
import pytest
from scipy import stats

from hepgan.stats import distances
from hepgan.stats.histograms import pulls, shape
from hepgan.stats.metrics import Metric, Values, unbinned
from hepgan.stats.moments import effective_size


def _values(rng: np.random.Generator, n: int, mean: float = 0.0, weights: np.ndarray | None = None) -> Values:
    return Values(rng.normal(mean, 2.0, n), np.arange(n), np.ones(n) if weights is None else weights)


def test_values_are_those_of_scipy():
    rng = np.random.default_rng(1)
    a, b = _values(rng, 700), _values(rng, 900, 0.3)
    found = unbinned(a, b, rng=rng)
    assert found["ks"].value == pytest.approx(stats.ks_2samp(a.values, b.values).statistic, abs=1e-12)
    assert found["wasserstein"].value == pytest.approx(
        stats.wasserstein_distance(a.values, b.values) / a.values.std(), rel=1e-9
    )


def test_negative_weights_enter_as_in_the_objectives():
    rng = np.random.default_rng(2)
    weights = rng.choice([-1.0, 1.0], 2000, p=[0.2, 0.8])
    a, b = _values(rng, 2000, weights=weights), _values(rng, 1500, 0.1)
    found = unbinned(a, b, rng=rng)
    assert found["ks"].value == pytest.approx(distances.ks(a.values, b.values, weights, b.weights), abs=1e-12)
    scaled = distances.wasserstein_scaled(a.values, b.values, weights, b.weights)
    assert found["wasserstein"].value == pytest.approx(scaled, rel=1e-9)


@pytest.mark.parametrize("trained", [False, True])
def test_the_floor_is_the_expectation_between_true_samples_of_the_compared_sizes(trained):
    """Its ratio to what independent samples give must be 1, though halves are smaller and train is larger."""
    n_r, n_g = 4000, 1000
    rng = np.random.default_rng(3)
    expected = np.mean(
        [stats.ks_2samp(rng.normal(size=n_r), rng.normal(size=n_g)).statistic for _ in range(200)]
    )
    floors = []
    for _ in range(12):
        train = _values(rng, 8000) if trained else None
        metric = unbinned(_values(rng, n_r), _values(rng, n_g), train, rng=rng, replicates=2)["ks"]
        floors.append(metric.floor)
    assert np.mean(floors) == pytest.approx(expected, rel=0.12)


def test_the_error_is_the_scatter_over_independent_samples():
    rng = np.random.default_rng(4)
    values, errors = [], []
    for _ in range(40):
        found = unbinned(_values(rng, 800), _values(rng, 800, 1.0), rng=rng, splits=2)["wasserstein"]
        values.append(found.value)
        errors.append(found.error)
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.35)


def test_values_of_one_event_stay_together():
    """Three copies of each value tell no more than one: floor and error must be those of the events."""
    rng = np.random.default_rng(5)
    once = [_values(rng, 1500) for _ in range(2)]
    thrice = [Values(np.repeat(v.values, 3), np.repeat(v.event, 3), v.weights) for v in once]
    one = unbinned(*once, rng=np.random.default_rng(6), splits=30, replicates=30)["ks"]
    three = unbinned(*thrice, rng=np.random.default_rng(6), splits=30, replicates=30)["ks"]
    assert three.value == pytest.approx(one.value, abs=1e-12)
    assert three.floor == pytest.approx(one.floor, rel=0.05)
    assert three.error == pytest.approx(one.error, rel=0.05)


def test_constant_values_are_at_no_distance():
    same = Values(np.full(50, 0.105), np.arange(50), np.ones(50))
    found = unbinned(same, same, rng=np.random.default_rng(0))
    assert found["ks"].value == 0
    assert found["wasserstein"].value == 0


def _histogram(values: np.ndarray, weights: np.ndarray | None = None) -> hist.Hist:
    h = hist.Hist(hist.axis.Regular(20, -2, 2), storage=hist.storage.Weight())
    return h.fill(values, weight=np.ones(len(values)) if weights is None else weights)


def test_p_values_of_true_samples_are_uniform():
    rng = np.random.default_rng(7)
    found = []
    for _ in range(150):
        weights = rng.choice([-0.5, 1.0, 2.0], 3000, p=[0.1, 0.6, 0.3])
        a, b = _histogram(rng.normal(size=3000), weights), _histogram(rng.normal(size=2000))
        found.append(shape(a.view(flow=True), b.view(flow=True)).p)
    assert stats.kstest(found, "uniform").pvalue > 1e-3


def test_events_outside_the_range_count():
    rng = np.random.default_rng(8)
    inside = rng.uniform(-2, 2, 5000)
    outside = np.concatenate([inside[:4500], np.full(500, 99.0)])
    found = shape(_histogram(inside).view(flow=True), _histogram(outside).view(flow=True))
    assert found.p < 1e-20


def test_pulls_are_standard_normal_between_true_samples():
    rng = np.random.default_rng(9)
    a, b = _histogram(rng.normal(size=50_000)), _histogram(rng.normal(size=80_000))
    found = pulls(a, b)
    assert found.shape == (20,)
    expected = (b.values() / 80_000 - a.values() / 50_000) / np.sqrt(
        b.variances() / 80_000**2 + a.variances() / 50_000**2
    )
    np.testing.assert_allclose(found, expected, atol=0.05)
    assert np.abs(found).max() < 4


def test_effective_size_of_equal_weights_is_their_number():
    assert effective_size(np.full(10, 0.3)) == pytest.approx(10)
    assert effective_size(np.array([1.0, 1.0, -1.0, 1.0])) == pytest.approx(1.0)


def test_what_is_not_a_number_is_null_in_json():
    found = Metric(float("nan"), 0.0, float("inf")).to_dict()
    assert found["value"] is None
    assert found["ratio"] is None
    assert found["error"] is None
