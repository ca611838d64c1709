"""Where weights of either sign leave less than nothing."""

from __future__ import annotations

import numpy as np
import pytest

from hepgan.stats.weights import negative_density


def splot(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Masses with a peak, an independent quantity, and the sWeights of the peak that the masses give."""
    rng = np.random.default_rng(seed)
    signal = rng.random(n) < 0.4
    mass = np.where(signal, rng.normal(5279, 20, n), 5000 + 600 * rng.random(n))
    peak = np.exp(-0.5 * ((mass - 5279) / 20) ** 2) / (20 * np.sqrt(2 * np.pi))
    flat = np.full(n, 1 / 600)
    density = signal.sum() * peak + (~signal).sum() * flat
    v = np.linalg.inv([[np.sum(a * b / density**2) for b in (peak, flat)] for a in (peak, flat)])
    pt = np.where(signal, rng.gamma(4, 2000, n), rng.gamma(2, 1500, n))
    return mass, pt, (v[0, 0] * peak + v[0, 1] * flat) / density


def test_the_quantity_that_sweights_were_made_from_has_a_negative_density_and_others_have_none():
    mass, pt, weights = splot(20_000, 1)
    assert (weights < 0).mean() > 0.3
    found = negative_density(mass, weights)
    assert found is not None
    assert 5000 <= found.low < found.high <= 5600
    assert not found.low < 5279 < found.high
    assert found.share < -0.02
    assert found.significance > 10
    assert negative_density(pt, weights) is None


@pytest.mark.parametrize("seed", range(20))
def test_chance_alone_makes_no_density_negative(seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=5000)
    # Nothing is left below 0, but for chance.
    signs = np.where(rng.random(5000) < np.where(x < 0, 0.5, 0.1), -1.0, 1.0)
    assert negative_density(x, signs) is None
    assert negative_density(x, np.abs(signs)) is None


def test_values_that_are_alike_are_in_one_bin():
    x = np.repeat([0.0, 1.0, 2.0], 1000)
    signs = np.where(np.arange(3000) % 2, 1.0, -1.0)
    assert negative_density(x, signs) is None
    signs[1000:1300] = -1.0
    found = negative_density(np.append(x, np.nan), np.append(signs + 0.0, -1e9))
    assert found is not None
    assert (found.low, found.high) == (1.0, 1.0)


def test_there_is_a_weight_for_each_value():
    with pytest.raises(ValueError, match=r"one shape"):
        negative_density([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="bins must be positive"):
        negative_density([1.0], [1.0], bins=0)
