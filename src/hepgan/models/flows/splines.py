"""Monotonic rational-quadratic splines.

Reference: C. Durkan et al., Neural spline flows, arXiv:1906.04032.

Parameters come first and events last in memory, so that what runs over the bins of a spline runs over long
rows.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["parameters_of", "spline"]

_LEAST = 1e-3
"""The least width and height of a bin, as a share of all, and the least slope at a knot."""

_UNIT_SLOPE = math.log(math.expm1(1.0 - _LEAST))
"""What has slope 1 at a knot."""


def parameters_of(bins: int, *, circular: bool) -> int:
    """How many parameters a spline has: widths, heights, and slopes at the knots.

    The slopes at the ends are 1, or on the circle one and the same.
    """
    return 3 * bins if circular else 3 * bins - 1


def spline(
    x: Tensor, raw: Tensor, *, bins: int, bound: float, circular: bool = False, inverse: bool = False
) -> tuple[Tensor, Tensor]:
    """Monotonic functions of [-bound, bound] onto itself; beyond, the identity.

    Parameters of 0 make the identity.

    Args:
        x: Arguments (F, N).
        raw: Parameters (P, F, N), any numbers.
        bins: Bins of a spline, at least 2.
        bound: Where splines begin and end.
        circular: Whether the slopes at both ends are the same, so that the function is smooth on a circle.
        inverse: Whether to take the inverse functions.

    Returns:
        The values (F, N), and the logarithms of the slopes (F, N) of the functions (not of the inverse
        ones) there.
    """
    unit = (x + bound) / (2.0 * bound)
    inside = (unit >= 0.0) & (unit <= 1.0)
    unit = unit.clamp(0.0, 1.0)
    piece = _piece(unit, raw, bins, circular=circular, inverse=inverse)
    t = piece.backward(unit) if inverse else (unit - piece.left) / piece.width
    # Rounding leads a little out of a narrow bin, where a steep piece has no positive slope.
    t = t.clamp(0.0, 1.0)
    value, log_slope = piece.forward(t)
    if inverse:
        value = piece.left + piece.width * t
    return torch.where(inside, 2.0 * bound * value - bound, x), torch.where(inside, log_slope, 0.0)


class _Piece(NamedTuple):
    """The spline in one bin: where that is, and the slopes at its ends, each (F, N)."""

    width: Tensor
    height: Tensor
    left: Tensor
    low: Tensor
    first: Tensor
    last: Tensor

    def forward(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Value and logarithm of the slope at this share of the bin."""
        mean = self.height / self.width
        rest = 1.0 - t
        both = t * rest
        square = t * t
        denominator = mean + (self.first + self.last - 2.0 * mean) * both
        value = self.low + self.height * (mean * square + self.first * both) / denominator
        slope = self.last * square + 2.0 * mean * both + self.first * rest * rest
        return value, slope.log() + 2.0 * (mean / denominator).log()

    def backward(self, value: Tensor) -> Tensor:
        """The share of the bin where this is the value."""
        mean = self.height / self.width
        rise = value - self.low
        bend = rise * (self.first + self.last - 2.0 * mean)
        a = self.height * (mean - self.first) + bend
        b = self.height * self.first - bend
        c = -mean * rise
        # Where b is positive, this form of the root has no difference of numbers that are nearly the same.
        root = (b * b - 4.0 * a * c).clamp(min=torch.finfo(b.dtype).tiny).sqrt()
        return 2.0 * c / (-b - root)


def _piece(unit: Tensor, raw: Tensor, bins: int, *, circular: bool, inverse: bool) -> _Piece:
    """The bin that each argument (F, N) in [0, 1] is in."""
    share = torch.softmax(raw[: 2 * bins].view(2, bins, *unit.shape), 1)
    sizes = _LEAST + (1.0 - bins * _LEAST) * share
    ends = sizes.cumsum(1)
    number = (ends[1 if inverse else 0, :-1] <= unit).sum(0, keepdim=True)
    both = number.expand(2, 1, *unit.shape)
    size = sizes.gather(1, both)[:, 0]
    start = ends.gather(1, both)[:, 0] - size
    # Only the two slopes of each bin are made positive, not those of all knots.
    slopes = raw[2 * bins :]
    if circular:
        first, last = slopes.gather(0, number), slopes.gather(0, (number + 1) % bins)
    else:
        first = slopes.gather(0, (number - 1).clamp(min=0)).masked_fill(number == 0, 0.0)
        last = slopes.gather(0, number.clamp(max=bins - 2)).masked_fill(number == bins - 1, 0.0)
    first, last = (_LEAST + functional.softplus(s[0] + _UNIT_SLOPE) for s in (first, last))
    return _Piece(size[0], size[1], start[0], start[1], first, last)
