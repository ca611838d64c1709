"""Convolutional classifiers of arrays against what can be known of them, and the transfer test."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from hepgan.observables.table import Table
from hepgan.stats.convolution import Grids, convolution_test, learn_classes
from hepgan.stats.transfer import _Seen, learn_classes_of_tables, transfer_test


def blobs(size: int, seed: int, shift: int = 0, shape: tuple[int, ...] = (12, 10)) -> Grids:
    """Arrays with one cell in each event that is not 0, at random around a place."""
    rng = np.random.default_rng(seed)
    x = np.zeros((size, *shape), np.float32)
    at = [np.clip(rng.normal(n / 2, n / 6, size), 0, n - 1).astype(int) for n in shape]
    at[-1] = np.clip(at[-1] + shift, 0, shape[-1] - 1)
    x[(np.arange(size), *at)] = rng.exponential(10, size)
    return Grids({"Image": x}, np.zeros((size, 0)), np.ones(size))


def test_one_distribution_is_not_told_apart_and_shifted_ones_are():
    true, train = blobs(700, 0), blobs(700, 1)
    same, moved = (convolution_test(true, blobs(700, 2, shift), train) for shift in (0, 3))
    assert abs(same.auc.value - 0.5) < 4 * same.auc.error
    assert same.auc.floor == pytest.approx(moved.auc.floor)
    assert abs(same.auc.floor - 0.5) < 4 * same.auc.floor_error
    # Of Gaussians with a standard deviation of 10/6 cells, 3 cells apart.
    assert moved.auc.value == pytest.approx(norm.cdf(3 / (10 / 6) / np.sqrt(2)), abs=0.06)
    assert moved.n_events == (700, 700)


@pytest.mark.parametrize("shape", [(30,), (9, 7), (3, 6, 9), (1, 20)])
def test_arrays_of_any_number_of_indices_are_seen(shape):
    true, made = blobs(300, 3, 0, shape), blobs(300, 4, shape[-1] // 3, shape)
    assert convolution_test(true, made).auc.value > 0.75


def test_several_arrays_are_seen_together():
    """Which alone are the same, and differ only in what they have to do with each other."""

    def pair(size: int, seed: int, sign: float) -> Grids:
        rng = np.random.default_rng(seed)
        first = rng.normal(size=(size, 1, 1))
        second = sign * first + 0.3 * rng.normal(size=(size, 1, 1))
        arrays = {
            name: np.broadcast_to(x, (size, 4, 4)).astype(np.float32)
            for name, x in (("a", first), ("b", second))
        }
        return Grids(arrays, np.zeros((size, 0)), np.ones(size))

    assert convolution_test(pair(600, 5, 1.0), pair(600, 6, -1.0)).auc.value > 0.8


def test_the_same_seed_gives_the_same_classifier_and_few_events_none():
    true, made = blobs(250, 7), blobs(250, 8, 2)
    one, other = (convolution_test(true, made, seed=4) for _ in range(2))
    assert one.auc == other.auc
    assert convolution_test(true, blobs(100, 9)) is None


def test_torch_s_own_generator_is_left_alone():
    import torch

    torch.manual_seed(1)
    expected = torch.get_rng_state()
    learn_classes(blobs(200, 10), np.arange(200) % 2, 2, 0)
    assert torch.equal(torch.get_rng_state(), expected)


# ------------------------------------------------------------------------------------- transfer


def classed(size: int, seed: int, apart: float) -> tuple[Table, np.ndarray]:
    """A number that is normal around 0 or around ``apart``, by class."""
    rng = np.random.default_rng(seed)
    classes = rng.integers(2, size=size)
    values = rng.normal(size=(size, 2))
    values[:, 0] += apart * classes
    return Table(("x", "noise"), values, np.ones(size)), classes


def test_classes_of_good_events_transfer_both_ways():
    found = transfer_test(
        learn_classes_of_tables, classed(3000, 0, 2.0), classed(3000, 1, 2.0), classed(3000, 2, 2.0), (0, 1)
    )
    best = norm.cdf(2 / np.sqrt(2))
    for metric in (found.generated_to_true, found.true_to_generated):
        assert best - 0.02 < metric.value < best + 4 * metric.error
        assert abs(metric.significance) < 4
    assert found.found.value == pytest.approx(norm.cdf(1.0), abs=0.02)
    assert abs(found.grey.value - found.grey.floor) < 4 * np.hypot(found.grey.error, found.grey.floor_error)
    # The output is 0.3 to 0.7 where 2 x - 2 is within the logarithm of 7/3.
    width = np.log(7 / 3) / 2
    assert found.grey.value == pytest.approx(norm.cdf(1 + width) - norm.cdf(1 - width), abs=0.05)
    assert found.n_events == (3000, 3000, 3000)


def test_classes_that_are_confused_are_found():
    made, classes = classed(2000, 3, 2.0)
    wrong = np.random.default_rng(0).random(2000) < 0.2
    found = transfer_test(
        learn_classes_of_tables,
        classed(4000, 4, 2.0),
        (made, np.where(wrong, 1 - classes, classes)),
        None,
        (0, 1),
    )
    assert found.found.floor - found.found.value == pytest.approx(0.2 * (2 * norm.cdf(1.0) - 1), abs=0.04)
    assert found.true_to_generated.value < found.true_to_generated.floor - 0.05


def test_classes_of_arrays_transfer():
    both = []
    for seed in (0, 1):
        parts = [blobs(400, 10 + seed, 0), blobs(400, 20 + seed, 4)]
        both.append((Grids.together(parts), np.repeat([0, 1], 400)))
    found = transfer_test(learn_classes, both[0], both[1], None, ("QCD", "W"))
    assert found.generated_to_true.value > 0.85
    assert found.classes == ("QCD", "W")


def test_few_events_of_a_class_are_told():
    few = classed(2000, 5, 1.0)
    rare = few[0], np.where(np.arange(2000) < 50, few[1], 0)
    found = transfer_test(learn_classes_of_tables, few, rare, None, ("a", "b"))
    assert isinstance(found, str)
    assert "100 generated events of each class" in found
    assert found.endswith("of b")


def test_the_auc_of_several_classes_is_that_of_sklearn():
    rng = np.random.default_rng(6)
    classes = rng.integers(3, size=900)
    logits = rng.normal(size=(900, 3)) + np.eye(3)[classes]
    scores = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    seen = _Seen.of(scores, classes, np.ones(900))
    expected = np.mean([roc_auc_score(classes == k, scores[:, k]) for k in range(3)])
    assert seen.auc[0] == pytest.approx(expected, abs=1e-9)
    recall = np.mean([(scores.argmax(1) == k)[classes == k].mean() for k in range(3)])
    assert seen.found[0] == pytest.approx(recall)
