"""Histograms of fields with a shape, against numpy."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

from hepgan.errors import InputError
from hepgan.stats.images import difference, intensity_spectrum, mean_image, occupancy


class Axis(NamedTuple):
    name: str
    low: float
    high: float
    unit: str = ""


AXES = (Axis("phi", -1.25, 1.25, "rad"), Axis("eta", -1.0, 1.0))


@pytest.fixture
def images() -> np.ndarray:
    rng = np.random.default_rng(1)
    contents = np.exp(rng.normal(size=(400, 5, 4)))
    return np.where(rng.random(contents.shape) < 0.3, contents, 0).astype(np.float32)


def test_means_and_their_errors_are_those_of_numpy(images) -> None:
    found = mean_image(images, axes=AXES)
    assert np.allclose(found.values(), images.mean(0), rtol=1e-6)
    assert np.allclose(found.variances(), images.var(0) / len(images), rtol=1e-5)
    assert [a.name for a in found.axes] == ["phi", "eta"]
    assert [a.label for a in found.axes] == ["phi [rad]", "eta"]
    assert np.allclose(found.axes[0].edges, np.linspace(-1.25, 1.25, 6))
    assert np.allclose(occupancy(images).values(), (images > 0).mean(0))


def test_weights_of_either_sign_enter_means(images) -> None:
    w = np.random.default_rng(2).choice([2.0, 1.0, -0.5], len(images))
    found = mean_image(images, w)
    assert np.allclose(found.values(), np.average(images, axis=0, weights=w), rtol=1e-5)
    again = mean_image(images, 7 * w)
    assert np.allclose(found.variances(), again.variances())


def test_errors_of_weighted_means_are_how_far_they_scatter() -> None:
    rng = np.random.default_rng(3)
    w = rng.exponential(size=(2000, 100))
    values = rng.normal(1.0, 2.0, size=(2000, 100))
    means = [mean_image(v[:, None], u) for v, u in zip(values, w, strict=True)]
    scatter = np.std([m.values()[0] for m in means])
    assert np.mean([m.variances()[0] for m in means]) ** 0.5 == pytest.approx(scatter, rel=0.06)


def test_differences_have_the_errors_of_both(images) -> None:
    a, b = mean_image(images[:200], axes=AXES), mean_image(images[200:], axes=AXES)
    found = difference(a, b)
    assert np.allclose(found.values(), a.values() - b.values())
    assert np.allclose(found.variances(), a.variances() + b.variances())
    with pytest.raises(InputError, match="axes"):
        difference(a, mean_image(images))


def test_a_spectrum_counts_cells_in_each_event(images) -> None:
    found = intensity_spectrum(images, unit="GeV")
    assert found.axes[0].label == "content of a cell [GeV]"
    assert found.sum(flow=True).value == pytest.approx((images > 0).sum() / len(images))
    counted, _ = np.histogram(images[images > 0], bins=found.axes[0].edges)
    assert np.allclose(found.values(), counted / len(images))
    each = np.stack([np.histogram(i[i > 0], bins=found.axes[0].edges)[0] for i in images])
    assert np.allclose(found.variances(), each.var(0) / len(images))
    short = intensity_spectrum(images, range=(1.0, 10.0), bins=5)
    assert short.view(flow=True)["value"].sum() == pytest.approx((images > 0).sum() / len(images))


def test_what_is_no_image_is_told(images) -> None:
    with pytest.raises(InputError, match="as many weights"):
        mean_image(images, np.ones(3))
    with pytest.raises(InputError, match="2 indices"):
        mean_image(images, axes=AXES[:1])
    with pytest.raises(InputError, match="no content is above 0"):
        intensity_spectrum(np.zeros((3, 2)))
    with pytest.raises(InputError, match="0 < low < high"):
        intensity_spectrum(images, range=(0, 1))
    with pytest.raises(InputError, match="images must be"):
        mean_image(np.zeros(3))
