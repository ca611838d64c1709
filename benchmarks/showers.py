"""Toy events with fields that have a shape: showers in three layers of a calorimeter, and waveforms."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SHAPES = {"layer_0": (3, 96), "layer_1": (12, 12), "layer_2": (12, 6)}
"""Cells along eta and phi of strips, of square cells, and of the deepest layer."""

THRESHOLD = 0.01
"""GeV, below which a cell is not read out."""


def showers(number: int, seed: int = 1) -> dict[str, NDArray[np.float32]]:
    """Electromagnetic showers of 10 to 100 GeV: energy deposits (GeV) of spots around a common axis.

    Depth follows a gamma distribution whose maximum fluctuates; the width grows with the depth; a layer
    samples its energy with the fluctuations of as many spots; cells below a threshold are 0.

    Args:
        number: How many.
        seed: Of the random numbers.
    """
    rng = np.random.default_rng(seed)
    energy = np.exp(rng.uniform(np.log(10.0), np.log(100.0), number))
    depth = rng.gamma(20.0, 0.05, number) * (1.0 + 0.1 * np.log(energy / 10.0))
    shares = np.stack([np.exp(-0.5 * ((d - depth) / 0.35) ** 2) for d in (0.4, 1.0, 1.7)], 1)
    shares *= rng.uniform(0.7, 1.3, shares.shape)
    shares *= (0.8 + 0.15 * rng.random(number))[:, None] / shares.sum(1, keepdims=True)
    axis = rng.normal(0.0, 0.04, (number, 2))
    found: dict[str, NDArray[np.float32]] = {"energy": energy.astype(np.float32)}
    for (name, shape), share, width in zip(SHAPES.items(), shares.T, (0.05, 0.1, 0.16), strict=True):
        spots = np.maximum(rng.poisson(4.0 * share * energy), 1)
        owner = np.repeat(np.arange(number), spots)
        reach = width * rng.gamma(1.5, 0.7, len(owner))
        turn = rng.uniform(0.0, 2 * np.pi, len(owner))
        cell = np.zeros(len(owner), dtype=np.int64)
        for k, (size, direction) in enumerate(zip(shape, (np.cos(turn), np.sin(turn)), strict=True)):
            place = axis[owner, k] + reach * direction
            cell = cell * size + np.clip(((place + 0.5) * size).astype(np.int64), 0, size - 1)
        deposit = (share * energy / spots)[owner] * rng.gamma(4.0, 0.25, len(owner))
        cells = int(np.prod(shape))
        image = np.bincount(owner * cells + cell, deposit, number * cells).reshape(number, *shape)
        found[name] = np.where(image < THRESHOLD, 0.0, image).astype(np.float32)
    return found


def pulses(number: int, seed: int = 1) -> dict[str, NDArray[np.generic]]:
    """Waveforms of 30 samples, as voltages and as counts of an ADC of 10 bits over a pedestal.

    Args:
        number: How many.
        seed: Of the random numbers.
    """
    rng = np.random.default_rng(seed)
    charge = rng.gamma(2.0, 20.0, number)
    time = np.arange(30) - 8.0 - rng.normal(0.0, 1.0, (number, 1))
    rising = np.maximum(time, 0.0) / 3.0
    wave = charge[:, None] * rising * np.exp(1.0 - rising) + rng.normal(0.0, 1.5, (number, 30))
    counts = np.clip(np.round(50.0 + 3.0 * wave), 0, 1023).astype(np.int16)
    return {
        "charge": charge.astype(np.float32),
        "wave": wave.astype(np.float32),
        "adc": counts,
    }
