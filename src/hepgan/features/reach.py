"""How far training events reach in each feature, beyond which nothing has been learned."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
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
    below: Sequence[int] = (),
) -> Reach:
    """The least and the largest value that each feature may have, by the training events.

    It is the range of the training events, and on either side a tenth of it more, or as much as it takes for
    few events to be a fair sample of a normal distribution; but nothing beyond an end at which their density
    ends abruptly. Angles have no ends.

    Args:
        features: The training events.
        periodic: Numbers of the features that are angles, or have no ends for another reason.
        hard: Whether densities end abruptly at the least and the largest value of each feature.
        below: Numbers of the features that may be as small as they like, since that means nothing; where one
            never varies, it may be as large as it likes, too.
    """
    x = features.x
    mask = torch.ones_like(x, dtype=torch.bool) if features.mask is None else features.mask
    number = mask.sum(0).cpu().numpy()
    lows, highs = (
        t.to(torch.float64).cpu().numpy()
        for t in (torch.where(mask, x, torch.inf).amin(0), torch.where(mask, x, -torch.inf).amax(0))
    )
    counts = np.maximum(number, 1)
    beyond = np.maximum(_SHARE * (highs - lows), ndtri(0.5 / counts) - ndtri(_EXPECTED / counts))
    ends = np.array(hard or [(False, False)] * len(number), dtype=bool).reshape(-1, 2)
    same = [k for k in below if lows[k] == highs[k]]
    lows = np.where(ends[:, 0], lows, lows - beyond)
    highs = np.where(ends[:, 1], highs, highs + beyond)
    endless = number == 0
    endless[list(periodic)] = True
    lows[endless], highs[endless] = -math.inf, math.inf
    lows[list(below)] = -math.inf
    highs[same] = math.inf
    return tuple(zip(lows.tolist(), highs.tolist(), strict=True))


def reached(features: FeatureBatch, low: Tensor, high: Tensor) -> Tensor:
    """Which events (N,) have all their features between what is least (D,) and largest (D,)."""
    inside = (features.x >= low) & (features.x <= high)
    return (inside if features.mask is None else inside | ~features.mask).all(1)
