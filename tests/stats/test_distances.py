from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from hepgan.stats.distances import (
    chi2_binned,
    kl,
    ks,
    pulls,
    quantile,
    wasserstein,
    wasserstein_scaled,
)

SAMPLE = arrays(np.float64, st.integers(1, 40), elements=st.floats(-1e3, 1e3).map(lambda v: round(v, 1)))


def _weighted(rng, n, shift=0.0):
    return rng.normal(shift, 1.0, n), rng.uniform(0.1, 3.0, n)


@given(SAMPLE, SAMPLE)
def test_unweighted_distances_agree_with_scipy(a, b):
    # Doubled, since scipy's p-value fails for two samples of one entry.
    expected = stats.ks_2samp(np.tile(a, 2), np.tile(b, 2), method="asymp").statistic
    assert ks(a, b) == pytest.approx(expected, abs=1e-12)
    assert wasserstein(a, b) == pytest.approx(stats.wasserstein_distance(a, b), rel=1e-9, abs=1e-9)


def test_weighted_distances_agree_with_scipy():
    rng = np.random.default_rng(1)
    (a, wa), (b, wb) = _weighted(rng, 1000), _weighted(rng, 700, 0.3)
    assert wasserstein(a, b, wa, wb) == pytest.approx(stats.wasserstein_distance(a, b, wa, wb), rel=1e-12)


def test_integer_weights_count_as_repeated_entries():
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=300), rng.normal(0.2, 1, 200)
    wa = rng.integers(0, 5, 300)
    repeated = np.repeat(a, wa)
    assert ks(a, b, wa) == pytest.approx(stats.ks_2samp(repeated, b).statistic, abs=1e-12)
    assert wasserstein(a, b, wa) == pytest.approx(stats.wasserstein_distance(repeated, b), rel=1e-12)


def test_a_negative_weight_cancels_its_twin():
    rng = np.random.default_rng(3)
    a, b, extra = rng.normal(size=300), rng.normal(size=200), rng.normal(size=50)
    with_twins = np.concatenate([a, extra, extra])
    weights = np.concatenate([np.ones(300), np.ones(50), -np.ones(50)])
    assert ks(with_twins, b, weights) == pytest.approx(ks(a, b), abs=1e-12)
    assert wasserstein(with_twins, b, weights) == pytest.approx(wasserstein(a, b), rel=1e-9)
    assert quantile(with_twins, [0.1, 0.5, 0.9], weights).shape == (3,)


def test_distances_of_shifted_samples_are_the_shift():
    a = np.random.default_rng(4).normal(5.0, 2.0, 5000)
    assert wasserstein(a, a + 3.0) == pytest.approx(3.0)
    assert wasserstein_scaled(a, a + 3.0) == pytest.approx(3.0 / a.std())
    assert wasserstein_scaled(1e3 * a, 1e3 * (a + 3.0)) == pytest.approx(3.0 / a.std())


def test_scaled_distance_from_a_constant_reference():
    assert wasserstein_scaled(np.ones(3), np.ones(5)) == 0.0
    assert wasserstein_scaled(np.ones(3), np.zeros(5)) == np.inf


def test_distances_do_not_depend_on_the_scale_of_the_weights_or_the_order():
    rng = np.random.default_rng(5)
    (a, wa), (b, wb) = _weighted(rng, 500), _weighted(rng, 400, 0.5)
    shuffled = rng.permutation(500)
    for distance in (ks, wasserstein):
        value = distance(a, b, wa, wb)
        assert distance(a[shuffled], b, 7 * wa[shuffled], wb) == pytest.approx(value, rel=1e-9)
        assert distance(b, a, wb, wa) == pytest.approx(value, rel=1e-9)


@pytest.mark.parametrize(
    ("a", "w", "message"),
    [
        ([], None, "n > 0"),
        ([1.0, np.nan], None, "entry 1"),
        ([1.0, 2.0], [1.0, np.inf], "weight is inf in entry 1"),
        ([1.0, 2.0], [1.0], "shape"),
        ([1.0, 2.0], [1.0, -1.0], "sum of the weights is 0"),
    ],
)
def test_unusable_samples_are_refused(a, w, message):
    with pytest.raises(ValueError, match=message):
        ks(np.array(a), np.array([1.0]), w)


def test_divergence_of_histograms_agrees_with_scipy():
    rng = np.random.default_rng(3)
    (a, wa), (b, wb) = _weighted(rng, 3000), _weighted(rng, 2000, 0.2)
    edges = np.concatenate([[-np.inf], quantile(a, np.arange(1, 20) / 20, wa), [np.inf]])
    # An entry at an edge belongs below it; numpy has it above.
    p, q = (np.histogram(-x, -edges[::-1], weights=w)[0][::-1] for x, w in ((a, wa), (b, wb)))
    assert p.min() > 0.9 * p.mean()
    assert kl(a, b, wa, wb, bins=20) == pytest.approx(stats.entropy(p, q), rel=1e-9)


def test_divergence_of_shifted_gaussians_is_half_the_square_of_the_shift():
    x = stats.norm.ppf((np.arange(200_000) + 0.5) / 200_000)
    # Binning can but lose.
    assert 0.95 * 0.02 < kl(x, x + 0.2, bins=100) < 0.02
    assert kl(x, x) == pytest.approx(0.0, abs=1e-12)


def test_divergence_of_samples_of_one_distribution_has_the_stated_mean():
    rng = np.random.default_rng(5)
    found = [kl(rng.normal(size=2000), rng.normal(size=8000)) for _ in range(100)]
    expected = 49 / 2 * (1 / 2000 + 1 / 8000)
    # chi2-distributed: the spread is the mean times sqrt(2 / 49).
    assert np.mean(found) == pytest.approx(expected, rel=4 * (2 / 49) ** 0.5 / 10 + 0.03)


def test_divergence_from_an_empty_bin_is_infinite_and_of_repeated_values_finite():
    x = np.linspace(0, 1, 100)
    assert kl(x, x[:50]) == float("inf")
    assert kl(x[:50], x) < float("inf")
    assert kl([1, 1, 1, 2], [1, 2, 2, 2]) == pytest.approx(0.75 * np.log(3) - 0.25 * np.log(3))
    with pytest.raises(ValueError, match="two bins or more"):
        kl(x, x, bins=1)


@pytest.mark.parametrize("distance", [ks, wasserstein])
def test_a_million_entries_take_about_a_second(distance):
    rng = np.random.default_rng(6)
    a, b, w = rng.normal(size=1_000_000), rng.normal(size=1_000_000), rng.uniform(size=1_000_000)
    start = time.process_time()
    distance(a, b, w, w)
    assert time.process_time() - start < 3.0


@given(SAMPLE, st.lists(st.floats(0, 1), min_size=1, max_size=5))
@settings(max_examples=50)
def test_weighted_quantile_agrees_with_numpy(x, q):
    w = np.arange(1.0, len(x) + 1)
    np.testing.assert_array_equal(quantile(x, q, w), np.quantile(x, q, weights=w, method="inverted_cdf"))


def test_quantile_refuses_fractions_outside_the_unit_interval():
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        quantile([1.0, 2.0], [0.5, 1.5])


def test_chi2_of_unweighted_histograms_is_pearsons_test_of_homogeneity():
    rng = np.random.default_rng(7)
    a, b = rng.poisson(20, 12), rng.poisson(35, 12)
    result = chi2_binned(a, a, b, b, min_entries=0)
    expected = stats.chi2_contingency(np.stack([a, b]), correction=False)
    assert result.chi2 == pytest.approx(expected.statistic, rel=1e-12)
    assert result.ndf == expected.dof
    assert result.p == pytest.approx(expected.pvalue, rel=1e-9)


def test_chi2_against_an_exact_expectation_is_pearsons_goodness_of_fit():
    expected = np.array([10.0, 20.0, 40.0, 30.0])
    observed = np.array([14.0, 16.0, 45.0, 25.0])
    result = chi2_binned(expected, np.zeros(4), observed, observed)
    assert result.chi2 == pytest.approx(stats.chisquare(observed, expected).statistic)
    assert result.ndf == 3


def test_empty_bins_do_not_count():
    a, b = np.array([0, 30, 0, 40, 50, 0]), np.array([0, 35, 0, 44, 45, 0])
    filled = a > 0
    for min_entries in (0, 5):
        result = chi2_binned(a, a, b, b, min_entries=min_entries)
        assert result == chi2_binned(a[filled], a[filled], b[filled], b[filled])
        assert result.ndf == 2


def test_sparse_neighbours_are_merged():
    a, b = np.array([1, 2, 1, 40, 50, 1]), np.array([0, 1, 2, 35, 45, 1])
    merged_a, merged_b = np.array([4, 40, 51]), np.array([3, 35, 46])
    result = chi2_binned(a, a, b, b, min_entries=7)
    expected = stats.chi2_contingency(np.stack([merged_a, merged_b]), correction=False)
    assert result.chi2 == pytest.approx(expected.statistic)
    assert result.ndf == 2


@pytest.mark.parametrize("kind", ["unweighted", "weighted", "negative"])
def test_p_values_of_equal_shapes_are_uniform(kind):
    rng = np.random.default_rng(8)
    edges = np.linspace(-2.5, 2.5, 16)

    def histogram(n):
        x = rng.normal(size=n)
        w = {
            "unweighted": np.ones(n),
            "weighted": rng.lognormal(0.0, 0.5, n),
            "negative": np.where(rng.random(n) < 0.15, -1.0, 1.0),
        }[kind]
        return np.histogram(x, edges, weights=w)[0], np.histogram(x, edges, weights=w**2)[0]

    p = [chi2_binned(*histogram(1500), *histogram(4000)).p for _ in range(400)]
    assert stats.kstest(p, "uniform").pvalue > 1e-3
    assert np.mean(np.array(p) < 0.01) < 0.03


def test_different_shapes_are_found():
    rng = np.random.default_rng(9)
    a = np.histogram(rng.normal(size=5000), 20, (-3, 3))[0]
    b = np.histogram(rng.normal(0.15, 1, size=5000), 20, (-3, 3))[0]
    assert chi2_binned(a, a, b, b).p < 1e-4


def test_squared_pulls_sum_to_chi2_and_have_the_sign_of_the_excess():
    rng = np.random.default_rng(10)
    a, b = rng.poisson(30, (3, 4)), rng.poisson(60, (3, 4))
    a[0, 0] = b[0, 0] = 0
    pull = pulls(a, a, b, b)
    assert pull.shape == (3, 4)
    assert np.isnan(pull[0, 0])
    assert np.isfinite(pull).sum() == 11
    assert np.nansum(pull**2) == pytest.approx(chi2_binned(a, a, b, b, min_entries=0).chi2)
    excess = b / b.sum() > a / a.sum()
    np.testing.assert_array_equal((pull > 0)[1:], excess[1:])


@pytest.mark.parametrize(
    ("histograms", "message"),
    [
        (([1, 2], [1, 2], [1, 2, 3], [1, 2, 3]), "shape"),
        (([1, 2], [1, -2], [1, 2], [1, 2]), "var_a"),
        (([1, 2], [1, 2], [1, -1], [1, 1]), "counts_b"),
        (([1, np.nan], [1, 2], [1, 2], [1, 2]), "counts_a must be finite"),
        (([1, 2], [0, 0], [1, 2], [0, 0]), "variances"),
    ],
)
def test_unusable_histograms_are_refused(histograms, message):
    with pytest.raises(ValueError, match=message):
        chi2_binned(*histograms)
