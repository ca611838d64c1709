from __future__ import annotations

import numpy as np
import pytest

from hepgan.observables.table import Table
from hepgan.stats.correlations import correlations, pearson
from hepgan.stats.memorisation import memorisation


def _correlated(rng: np.random.Generator, n: int, rho: float) -> Table:
    values = rng.multivariate_normal([0, 5, -3], [[1, rho, 0], [rho, 1, 0], [0, 0, 1]], n)
    return Table(("x", "y", "z"), values, np.ones(n), frozenset("xyz"))


def test_pearson_is_that_of_numpy_with_weights_as_counts():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(300, 4)) @ rng.normal(size=(4, 4)) + 1e4
    counts = rng.integers(0, 4, 300)
    expected = np.corrcoef(np.repeat(values, counts, axis=0), rowvar=False)
    np.testing.assert_allclose(pearson(values, counts.astype(float)), expected, atol=1e-8)


def test_pairs_are_correlated_over_events_that_have_both():
    rng = np.random.default_rng(1)
    values = _correlated(rng, 4000, 0.7).values
    values[rng.random(4000) < 0.3, 0] = np.nan
    both = np.isfinite(values[:, 0])
    expected = np.corrcoef(values[both, 0], values[both, 1])[0, 1]
    assert pearson(values, np.ones(4000))[0, 1] == pytest.approx(expected, abs=1e-12)


def test_constants_have_no_correlation():
    found = pearson(np.column_stack([np.full(50, 0.1056583), np.arange(50.0)]), np.ones(50))
    assert np.isnan(found[0]).all()
    assert found[1, 1] == pytest.approx(1)


def test_a_lost_correlation_is_found_and_named():
    rng = np.random.default_rng(2)
    found = correlations(_correlated(rng, 5000, 0.6), _correlated(rng, 5000, 0.0), rng=rng)
    assert found.worst == ("x", "y")
    assert found.max_difference.value == pytest.approx(0.6, abs=0.06)
    assert found.max_difference.ratio > 10


def test_true_correlations_lie_at_the_floor():
    rng = np.random.default_rng(3)
    ratios = [
        correlations(_correlated(rng, 2000, 0.6), _correlated(rng, 1000, 0.6), rng=rng).max_difference.ratio
        for _ in range(40)
    ]
    assert np.mean(ratios) == pytest.approx(1.0, abs=0.25)


def test_new_events_are_as_far_from_the_training_events_as_true_ones():
    rng = np.random.default_rng(4)
    found = memorisation(*(_correlated(rng, n, 0.3) for n in (1500, 1500, 4000)), rng=rng)
    assert found.ratio_of_medians.value == pytest.approx(1.0, abs=4 * found.ratio_of_medians.error)
    assert found.ratio_of_medians.floor == pytest.approx(1.0, abs=0.15)
    assert found.close_fraction.value == pytest.approx(0.01, abs=0.012)


def test_blurred_copies_lie_nearer():
    rng = np.random.default_rng(5)
    train = _correlated(rng, 4000, 0.3)
    copies = Table(train.names, train.values[:1500] + rng.normal(0, 0.005, (1500, 3)), np.ones(1500))
    found = memorisation(_correlated(rng, 1500, 0.3), copies, train, rng=rng)
    assert found.ratio_of_medians.value < 0.3


def test_few_copies_are_found_by_the_close_fraction():
    rng = np.random.default_rng(6)
    train, made = _correlated(rng, 4000, 0.3), _correlated(rng, 1500, 0.3)
    made.values[:150] = train.values[:150]
    found = memorisation(_correlated(rng, 1500, 0.3), made, train, rng=rng)
    assert found.ratio_of_medians.value > 0.8
    assert found.close_fraction.value > 0.08


def test_of_many_columns_the_first_that_vary_are_correlated_and_the_others_counted(monkeypatch):
    monkeypatch.setattr("hepgan.stats.correlations.MOST", 4)
    rng = np.random.default_rng(3)
    values = rng.normal(size=(2, 200, 8))
    values[:, :, 1] = 7.0
    tables = [Table(tuple("abcdefgh"), v, np.ones(200), frozenset("abcdefgh")) for v in values]
    found = correlations(*tables, rng=rng)
    assert found.names == ("a", "c", "d", "e")
    assert found.reference.shape == (4, 4)
    assert found.left_out == 3
    np.testing.assert_allclose(found.reference[0, 1], np.corrcoef(values[0, :, 0], values[0, :, 2])[0, 1])


def test_correlations_without_missing_values_are_those_with_them():
    rng = np.random.default_rng(4)
    values, weights = rng.normal(size=(100, 5)) @ rng.normal(size=(5, 5)), rng.normal(1.0, 0.5, 100)
    more = np.concatenate([values, np.full((1, 5), np.nan)])
    np.testing.assert_allclose(pearson(more, np.append(weights, 1.0)), pearson(values, weights), rtol=1e-9)


def test_true_events_of_another_density_with_weights_are_no_nearer_or_farther():
    """Training and true events reach farther out than they weigh; generated ones lie where the weight is."""
    rng = np.random.default_rng(7)

    def wide(n: int) -> Table:
        values = rng.normal(0, 2, (n, 2))
        # From a width of 2 to a width of 1.
        return Table(("x", "y"), values, np.exp(-(values**2).sum(1) * (1 - 1 / 4) / 2), frozenset("xy"))

    generated = Table(("x", "y"), rng.normal(0, 1, (3000, 2)), np.ones(3000), frozenset("xy"))
    found = memorisation(wide(12_000), generated, wide(12_000), rng=rng, max_queries=6000)
    assert found.ratio_of_medians.value == pytest.approx(1.0, abs=4 * found.ratio_of_medians.error)
    assert found.ratio_of_medians.error < 0.05
    assert found.close_fraction.value == pytest.approx(0.01, abs=0.01)
    # Without weights the same distances would look like memorised events.
    plain = np.median(found.generated.distances) / np.median(found.reference.distances)
    assert plain < 0.85
