"""Distances of arrays of one shape against sums done by hand, scipy, and sklearn."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import wasserstein_distance

from hepgan.stats.image_distances import EVERYTHING, Images, compare_images


def images(size: int, seed: int, factor: float = 1.0, shape: tuple[int, ...] = (6, 5)) -> Images:
    rng = np.random.default_rng(seed)
    full = rng.random((size, *shape)) < 0.3
    contents = np.where(full, factor * rng.lognormal(0, 1, full.shape), 0).astype(np.float32)
    return Images(contents, rng.uniform(0.5, 1.5, size), rng.integers(2, size=size))


def compared(*samples: Images, **options):
    return compare_images(*samples, rng=np.random.default_rng(0), **options)


def test_means_occupancies_and_contents_are_those_of_numpy_and_scipy():
    true, made = images(800, 1), images(700, 2, 1.3)
    found = compared(true, made, names=("a", "b"))
    for name, rows in ((EVERYTHING, slice(None)), ("b", 1)):
        parts = []
        for s in (true, made):
            chosen = s.classes == rows if isinstance(rows, int) else rows
            parts.append(np.average(s.contents[chosen], axis=0, weights=s.weights[chosen]))
        expected = np.abs(parts[1] - parts[0]).sum() / parts[0].sum()
        assert found.mean_image[name].value == pytest.approx(expected, rel=1e-4)
    shares = [np.average(s.contents > 0, axis=0, weights=s.weights) for s in (true, made)]
    assert found.occupancy.value == pytest.approx(
        np.abs(shares[1] - shares[0]).sum() / shares[0].sum(), rel=1e-4
    )
    logs, weights = [], []
    for s in (true, made):
        event, *cell = np.nonzero(s.contents)
        logs.append(np.log10(s.contents[(event, *cell)].astype(float)))
        weights.append(s.weights[event])
    spread = np.sqrt(np.cov(logs[0], aweights=weights[0], ddof=0))
    assert found.content.value == pytest.approx(wasserstein_distance(*logs, *weights) / spread, rel=1e-3)


@pytest.mark.parametrize("with_train", [True, False])
def test_true_images_are_at_the_floor_and_others_beyond(with_train):
    train = images(2000, 3) if with_train else None
    good, bad = (compared(images(1000, 4), images(1000, seed, f), train) for seed, f in ((5, 1.0), (6, 1.2)))
    for metric in (good.mean_image[EVERYTHING], good.occupancy, good.content):
        assert 0.4 < metric.ratio < 2.5
    assert bad.mean_image[EVERYTHING].ratio > 1.5
    assert bad.content.ratio > 3
    assert good.mean_image[EVERYTHING].floor == pytest.approx(bad.mean_image[EVERYTHING].floor, rel=0.2)


def test_copies_of_training_images_are_found():
    true, made, train = images(600, 7), images(600, 8), images(1500, 9)
    copied = made._replace(contents=np.concatenate([train.contents[:500], made.contents[500:]]))
    fine, found = (compared(true, one, train).neighbours for one in (made, copied))
    assert fine.memorisation.ratio_of_medians.value == pytest.approx(1, abs=0.1)
    assert found.memorisation.ratio_of_medians.value < 0.1
    assert found.distances[0] == pytest.approx(0, abs=1e-3)
    np.testing.assert_array_equal(found.generated[0], found.training[0])
    gaps = np.sqrt(((fine.generated - fine.training) ** 2).sum(axis=(1, 2)))
    np.testing.assert_allclose(fine.distances, gaps, rtol=1e-3)
    assert (np.diff(fine.distances) >= 0).all()
    for one, nearest in zip(fine.generated, fine.distances, strict=True):
        assert np.sqrt(((train.contents - one) ** 2).sum(axis=(1, 2))).min() == pytest.approx(
            nearest, rel=1e-3
        )


def test_arrays_of_zeros_and_of_negative_numbers_have_no_spectrum():
    nothing = Images(np.zeros((300, 4), np.float32), np.ones(300), np.zeros(300, np.int64))
    found = compared(nothing, nothing)
    assert found.spectra is None
    assert found.content is None
    assert np.isnan(found.mean_image[EVERYTHING].value)


def test_the_same_seed_gives_the_same_numbers():
    samples = images(400, 10), images(300, 11), images(500, 12)
    assert compared(*samples).to_dict() == compared(*samples).to_dict()


def test_images_in_any_order_of_their_classes_have_the_same_neighbours():
    faint, bright = images(3000, 10), images(3000, 11, 30.0)

    def ordered(first: Images, second: Images, part: slice) -> Images:
        return Images(*(np.concatenate([a[part], b[part]]) for a, b in zip(first, second, strict=True)))

    reference, train = (ordered(faint, bright, part) for part in (slice(0, 1500), slice(1500, 3000)))
    generated = ordered(images(1500, 12, 30.0), images(1500, 13), slice(None))
    found = compared(reference, generated, train).neighbours.memorisation
    assert found.ratio_of_medians.value == pytest.approx(1, abs=max(0.2, 4 * found.ratio_of_medians.error))
    assert found.close_fraction.value < 0.05
