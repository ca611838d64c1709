"""How far training events reach in each feature, beyond which nothing has been learned."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from scipy.special import ndtri
from torch import Tensor

from hepgan.features.space import FeatureBatch, Reach

__all__ = ["reach_of", "reached"]

_SHARE = 0.1
"""Of its range in the training events, how far beyond it on either side a feature may be."""

_EXPECTED = 0.05
"""Events that a normal distribution, which these are a sample of, has beyond what is allowed on one side."""


def reach_of(
    features: FeatureBatch,
    periodic: tuple[int, ...] = (),
    hard: Sequence[tuple[bool, bool]] = (),
) -> Reach:
    """The least and the largest value that each feature may have, by the training events.

    It is the range of the training events, and on either side a tenth of it more, or as much as it takes for
    few events to be a fair sample of a normal distribution; but nothing beyond an end at which their density
    ends abruptly. Angles have no ends.

    Args:
        features: The training events.
        periodic: Numbers of the features that are angles.
        hard: Whether densities end abruptly at the least and the largest value of each feature.
    """
    x = features.x
    mask = torch.ones_like(x, dtype=torch.bool) if features.mask is None else features.mask
    found = []
    for number in range(x.shape[1]):
        values = x[mask[:, number], number]
        if number in periodic or not len(values):
            found.append((-math.inf, math.inf))
            continue
        low, high = float(values.min()), float(values.max())
        few = float(ndtri(0.5 / len(values)) - ndtri(_EXPECTED / len(values)))
        beyond = max(_SHARE * (high - low), few)
        ends = hard[number] if hard else (False, False)
        found.append((low if ends[0] else low - beyond, high if ends[1] else high + beyond))
    return tuple(found)


def reached(features: FeatureBatch, low: Tensor, high: Tensor) -> Tensor:
    """Which events (N,) have all their features between what is least (D,) and largest (D,)."""
    inside = (features.x >= low) & (features.x <= high)
    return (inside if features.mask is None else inside | ~features.mask).all(1)
