from __future__ import annotations

import awkward as ak
import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from hepgan import compare
from hepgan.observables.table import Table
from hepgan.plotting.comparison import classifier
from hepgan.stats.two_sample import two_sample_test, weighted_auc


def _table(rng: np.random.Generator, n: int, shift: float = 0.0) -> Table:
    values = rng.normal(size=(n, 3))
    values[:, 1] += shift
    return Table(("a", "b", "c"), values, np.ones(n))


def test_auc_approaches_the_optimum_for_shifted_gaussians():
    rng = np.random.default_rng(0)
    found = two_sample_test(_table(rng, 6000), _table(rng, 6000, 1.0), n_jobs=1)
    best = norm.cdf(1 / np.sqrt(2))
    assert best - 0.03 < found.auc.value < best + 3 * found.auc.error
    assert abs(found.auc.floor - 0.5) < 4 * found.auc.floor_error
    assert next(iter(found.importance)) == "b"


def test_weights_estimate_the_density_ratio():
    """For unit Gaussians a distance d apart, the log of the ratio has a mean of -d^2/2 over one of them."""
    rng = np.random.default_rng(1)
    found = two_sample_test(_table(rng, 8000), _table(rng, 8000, 1.0), n_jobs=1)
    h = found.weights["generated"]
    centres = h.axes[0].centers * np.log(10)
    mean = np.sum(h.values() * centres) / h.values().sum()
    assert mean == pytest.approx(-0.5, abs=0.1)


def test_auc_is_one_half_where_the_samples_are_one():
    rng = np.random.default_rng(2)
    found = two_sample_test(_table(rng, 4000), _table(rng, 4000), _table(rng, 4000), n_jobs=1)
    assert abs(found.auc.value - 0.5) < 4 * found.auc.error
    assert found.auc.error == pytest.approx(np.sqrt(2 / 12 / 4000), rel=0.1)


def test_events_that_do_not_occur_are_in_the_low_tail():
    rng = np.random.default_rng(3)
    made = _table(rng, 4000)
    made.values[:100] = 8.0
    found = two_sample_test(_table(rng, 4000), made, n_jobs=1)
    assert found.weight_low.value < 0.2 < found.weight_low.floor


def test_few_events_are_not_judged():
    rng = np.random.default_rng(4)
    assert two_sample_test(_table(rng, 5000), _table(rng, 150)) is None


def test_missing_objects_and_negative_weights_are_handled():
    rng = np.random.default_rng(5)
    true, made = _table(rng, 3000), _table(rng, 3000)
    true.values[rng.random(3000) < 0.2, 0] = np.nan
    made.values[rng.random(3000) < 0.6, 0] = np.nan
    true.weights[:300] = -1
    found = two_sample_test(true, made, n_jobs=1)
    # The presence of one object alone separates by half the difference of its probabilities.
    assert found.auc.value == pytest.approx(0.7, abs=0.04)


def test_weighted_auc_is_that_of_sklearn_with_ties():
    rng = np.random.default_rng(6)
    score, positive = rng.integers(0, 20, 500).astype(float), rng.random(500) < 0.4
    weights = rng.uniform(0, 2, 500)
    found, _ = weighted_auc(score + positive, positive, weights)
    assert found == pytest.approx(roc_auc_score(positive, score + positive, sample_weight=weights), abs=1e-12)


def test_delong_error_is_the_scatter_of_the_auc():
    rng = np.random.default_rng(7)
    positive = np.arange(600) < 250
    found = [weighted_auc(rng.normal(size=600) + positive, positive, np.ones(600)) for _ in range(300)]
    values, errors = np.array(found).T
    assert errors.mean() == pytest.approx(values.std(), rel=0.15)


def test_columns_that_hardly_any_event_has_are_no_obstacle():
    rng = np.random.default_rng(6)
    true, made = _table(rng, 1000), _table(rng, 1000)
    for table, number in ((true, 0), (made, 1)):
        table.values[number:, 2] = np.nan
    assert two_sample_test(true, made, n_jobs=1).auc.value == pytest.approx(0.5, abs=0.06)


def test_events_of_kinds_that_are_not_true_are_told():
    def events(kinds, seed):
        rng = np.random.default_rng(seed)
        return ak.zip({"x": rng.normal(size=3000), "kind": np.array(list(kinds))[rng.integers(0, 3, 3000)]})

    found = compare(events("abc", 0), {"same": events("abc", 1), "other": events("bcd", 2)}, n_jobs=1)
    same, other = (found.results[label].classifier.auc.value for label in ("same", "other"))
    assert same == pytest.approx(0.5, abs=0.03)
    # The third that is "a" is above all; of the others, a third of those of the other sample are below.
    assert other == pytest.approx(1 / 3 + 2 / 3 * (1 / 3 + 1 / 3), abs=0.03)


def test_a_picture_of_weights_that_are_all_beyond_its_axis_is_drawn():
    rng = np.random.default_rng(8)
    found = two_sample_test(_table(rng, 6000), _table(rng, 6000, 60.0), n_jobs=1)
    assert not any(h.values().any() for h in found.weights.values())
    classifier(found).draw_without_rendering()


def test_the_result_does_not_depend_on_the_number_of_threads():
    rng = np.random.default_rng(11)
    samples = [_table(rng, 600), _table(rng, 600, 0.3), _table(rng, 600)]
    first, second = (two_sample_test(*samples, n_jobs=n) for n in (1, 2))
    for part in ("auc", "weight_low", "weight_high", "importance"):
        assert getattr(first, part) == getattr(second, part)


def test_tails_of_weights_count_events_with_their_weights():
    """A tenth of the generated events is where none are, with hardly any weight."""
    rng = np.random.default_rng(8)
    generated = _table(rng, 5000)
    generated.values[:500, 0] += 20.0
    lost = two_sample_test(_table(rng, 5000), generated, n_jobs=1)
    light = Table(generated.names, generated.values, np.where(np.arange(5000) < 500, 0.02, 1.0))
    found = two_sample_test(_table(rng, 5000), light, n_jobs=1)
    assert lost.weight_low.value < 0.05
    assert found.weight_low.value > 0.3
