"""Weighted sums over the real entries of each column."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["column_weights", "moments", "range_of_present"]


def column_weights(present: Tensor, weight: Tensor) -> Tensor:
    """Weights (N, D) that sum to 1 in each column, or are all 0 where nothing is present.

    Signed weights are kept unless a column's sum is not positive: then their absolute values serve.
    """
    w = torch.where(present, weight.unsqueeze(1), 0.0)
    w = torch.where(w.sum(0) > 0, w, w.abs())
    total = w.sum(0)
    return w / torch.where(total > 0, total, 1.0)


def moments(x: Tensor, present: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (D,); 0 and 1 where nothing is present, deviation 1 for a constant column.

    Signed weights can give a variance that is not positive; it is then taken with absolute weights.
    """
    w = column_weights(present, weight)
    mean = (w * x).sum(0)
    square = (x - mean).square()
    absolute = column_weights(present, weight.abs())
    variance = (w * square).sum(0)
    variance = torch.where(variance > 0, variance, (absolute * square).sum(0))
    deviation = variance.sqrt()
    rounding = 1e-12 * (absolute * x.abs()).sum(0)
    return mean, torch.where(deviation > rounding, deviation, 1.0)


def range_of_present(x: Tensor, present: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Smallest and largest real entry (D,), and where there is one (D,)."""
    low = torch.where(present, x, torch.inf).amin(0)
    high = torch.where(present, x, -torch.inf).amax(0)
    return low, high, present.any(0)
