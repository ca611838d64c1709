"""Marginal distributions made normal, of thousands of columns at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hepgan.features.transforms.base import Transform

__all__ = ["QuantileTable"]

_MOST = 5_000_000
"""Numbers that are sorted, of events spread evenly over the sample."""

_FEWEST = 2000
"""Events that are used in any case."""

_STEP = 1e-9
"""Least distance of neighbouring knots, in units of a column's range."""

_ALIKE = 1e-12
"""Relative distance up to which numbers are the same."""

_LEAST_SCALE = 1e-290
"""Of a column's range, so that the steps are numbers."""

_SLOPE = 1e-6
"""Least slope of a tail, likewise."""


class QuantileTable(Transform, kind="quantile_table"):
    """As `quantile`, with knots at the same normal scores in all columns, so that all are fitted at once.

    It is for the cells of grids, of which there are thousands: straight lines between ``knots`` quantiles,
    which go on beyond the outermost ones. Sharp edges, peaks and gaps have no knots of their own. Quantiles
    are those of at most 5 million numbers, of events spread evenly over the sample.

    Args:
        size: Number of columns D.
        knots: Quantiles of each column.
        shared: Whether one table serves all columns, that of all their numbers together.
        names: Names of the columns for error messages.

    Raises:
        ValueError: Fewer than 8 knots.
    """

    table: Tensor
    furthest: Tensor
    tails: Tensor

    def __init__(
        self, size: int, *, knots: int = 200, shared: bool = False, names: Sequence[str] | None = None
    ) -> None:
        super().__init__(size, names=names)
        if knots < 8:
            msg = f"at least 8 knots are needed, got {knots}"
            raise ValueError(msg)
        self.options = {"knots": knots, "shared": shared}
        self.rows = 1 if shared else size
        line = torch.linspace(-1.0, 1.0, knots, dtype=torch.float64)
        self.register_buffer("table", line.expand(self.rows, -1).clone())
        self.register_buffer("furthest", torch.ones((), dtype=torch.float64))
        self.register_buffer("tails", torch.ones(2, self.rows, dtype=torch.float64))

    @property
    def step(self) -> Tensor:
        """The distance of neighbouring knots in y."""
        return self.furthest * (2.0 / (self.table.shape[1] - 1))

    def _fit(self, x: Tensor, present: Tensor, weight: Tensor) -> None:
        counts = (weight != 0).nonzero()[:, 0]
        ends = _ends(x, present, counts) if self.rows > 1 else None
        most = max(_FEWEST, _MOST // self.size)
        if len(counts) > most:
            chosen = torch.linspace(0, len(counts) - 1, most, dtype=torch.float64, device=x.device)
            counts = counts[chosen.round().long()]
        values = torch.where(present, x, torch.inf)[counts].T.reshape(self.rows, -1)
        weights = torch.where(present, weight.unsqueeze(1), 0.0)[counts].T.reshape(self.rows, -1)
        if self.rows == 1:
            there = torch.isfinite(values[0])
            values, weights = values[:, there], weights[:, there]
        number = torch.isfinite(values).sum(1)
        filled = number > 0
        if not bool(filled.any()):
            return
        self.furthest.fill_(-float(torch.special.ndtri(x.new_tensor(0.5 / max(int(number.max()), 100)))))
        knots, scale = self._knots(values[filled], weights[filled], number[filled])
        if ends is not None:
            # Those that were left out count as the outermost ones do.
            knots[:, 0] = torch.minimum(knots[:, 0], ends[0][filled])
            knots[:, -1] = torch.maximum(knots[:, -1], ends[1][filled])
        self.table[filled] = knots
        inner = max(round(0.5 / float(self.step)), 1)
        low = (knots[:, inner] - knots[:, 0]) / (inner * self.step)
        high = (knots[:, -1] - knots[:, -1 - inner]) / (inner * self.step)
        self.tails[:, filled] = torch.stack((low, high)).clamp(min=_SLOPE * scale)

    def _scores(self) -> Tensor:
        """The normal scores (K,) of the knots."""
        far = float(self.furthest)
        return torch.linspace(-far, far, self.options["knots"], dtype=torch.float64, device=self.table.device)

    def _knots(self, values: Tensor, weights: Tensor, number: Tensor) -> tuple[Tensor, Tensor]:
        """Strictly ascending quantiles (R, K), and the ranges (R,), of numbers (R, n), the rest infinite."""
        values, order = torch.sort(values, dim=1)
        weights = weights.gather(1, order)
        totals = weights.sum(1, keepdim=True)
        weights = torch.where(totals > 0, weights, weights.abs())
        upto = torch.cumsum(weights, 1) / weights.sum(1, keepdim=True)
        if bool((weights < 0).any()):
            falling = upto.flip(1).cummin(1).values.flip(1)
            upto = ((upto.cummax(1).values + falling) / 2).clamp(0.0, 1.0)
        middle = _places(values, upto, number)
        wanted = torch.special.ndtr(self._scores()).expand(len(values), -1).contiguous()
        last = number.unsqueeze(1) - 1
        right = torch.minimum(torch.searchsorted(middle, wanted), last)
        left = (right - 1).clamp(min=0)
        start, end = middle.gather(1, left), middle.gather(1, right)
        share = ((wanted - start) / torch.where(end > start, end - start, 1.0)).clamp(0.0, 1.0)
        knots = torch.lerp(values.gather(1, left), values.gather(1, right), share)
        scale = knots[:, -1] - knots[:, 0]
        scale = torch.where(scale > 0, scale, torch.where(knots[:, 0] != 0, knots[:, 0].abs(), 1.0))
        # A part of the smallest numbers would be none.
        scale = scale.clamp(min=_LEAST_SCALE)
        # A value of many entries has the middle of its scores.
        least = _STEP * scale.unsqueeze(1)
        first = torch.searchsorted(knots, knots - 0.25 * least).to(torch.float64)
        final = torch.searchsorted(knots, knots + 0.25 * least, right=True).to(torch.float64) - 1.0
        ramp = torch.arange(knots.shape[1], dtype=torch.float64, device=knots.device)
        knots = knots + (ramp - 0.5 * (first + final)) * least
        return (knots - ramp * 0.5 * least).cummax(1).values + ramp * 0.5 * least, scale

    def forward(self, x: Tensor) -> Tensor:
        """Normal scores."""
        columns = self._rows(self._promoted(x))
        right = torch.searchsorted(self.table, columns.detach()).clamp(1, self.table.shape[1] - 1)
        low, high = self.table.gather(1, right - 1), self.table.gather(1, right)
        y = -self.furthest + self.step * (right - 1 + (columns - low) / (high - low))
        first, last = self.table[:, :1], self.table[:, -1:]
        under = -self.furthest - (first - columns) / self.tails[0].unsqueeze(1)
        over = self.furthest + (columns - last) / self.tails[1].unsqueeze(1)
        return self._columns(torch.where(columns < first, under, torch.where(columns > last, over, y)))

    def inverse(self, y: Tensor) -> Tensor:
        """The quantiles of normal scores."""
        scores = self._rows(self._promoted(y))
        place = (scores + self.furthest) / self.step
        left = place.detach().floor().clamp(0, self.table.shape[1] - 2).to(torch.int64)
        low, high = self.table.gather(1, left), self.table.gather(1, left + 1)
        x = low + (place - left) * (high - low)
        under = self.table[:, :1] + (scores + self.furthest) * self.tails[0].unsqueeze(1)
        over = self.table[:, -1:] + (scores - self.furthest) * self.tails[1].unsqueeze(1)
        x = torch.where(scores < -self.furthest, under, torch.where(scores > self.furthest, over, x))
        return self._columns(x)

    def log_abs_det(self, x: Tensor) -> Tensor:
        """Log of the slope; at a knot, that of the segment below it."""
        columns = self._rows(self._promoted(x))
        right = torch.searchsorted(self.table, columns.detach()).clamp(1, self.table.shape[1] - 1)
        slope = (self.table.gather(1, right) - self.table.gather(1, right - 1)) / self.step
        first, last = self.table[:, :1], self.table[:, -1:]
        slope = torch.where(columns < first, self.tails[0].unsqueeze(1), slope)
        slope = torch.where(columns > last, self.tails[1].unsqueeze(1), slope)
        return self._columns(-slope.log())

    def _rows(self, x: Tensor) -> Tensor:
        return x.T.reshape(self.rows, -1).contiguous()

    def _columns(self, rows: Tensor) -> Tensor:
        return rows.reshape(self.size, -1).T


def _ends(x: Tensor, present: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """The least and the largest number of each column (D,), of some events."""
    some, there = x[rows], present[rows]
    low = torch.where(there, some, torch.inf).amin(0)
    return low, torch.where(there, some, -torch.inf).amax(0)


def _places(values: Tensor, upto: Tensor, number: Tensor) -> Tensor:
    """The cumulative probability (R, n) at each of ascending numbers (R, n).

    The first and the last of equal ones are half an entry within their common range, in whatever order these
    come; others do not matter.
    """
    every = torch.arange(values.shape[1], device=values.device).expand_as(values)
    new = torch.ones_like(values, dtype=torch.bool)
    new[:, 1:] = values[:, 1:] - values[:, :-1] > _ALIKE * values[:, 1:].abs()
    first = torch.where(new, every, 0).cummax(1).values
    closing = torch.cat((new[:, 1:], torch.ones_like(new[:, :1])), 1)
    last = torch.where(closing, every, values.shape[1] - 1).flip(1).cummin(1).values.flip(1)
    low = torch.nn.functional.pad(upto, (1, 0)).gather(1, first)
    high = upto.gather(1, last)
    half = torch.minimum(0.5 / number.unsqueeze(1), (high - low) / 2)
    return torch.where(new, low + half, high - half)
