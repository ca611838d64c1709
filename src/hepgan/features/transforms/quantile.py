"""Marginal distributions made normal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri
from torch import Tensor, nn

from hepgan.features.transforms.base import Transform

__all__ = ["QuantileNormal"]

Array = NDArray[np.float64]

_ENTRIES_PER_KNOT = 5
"""Entries between neighbouring knots: fewer would turn the spacing of single events into density."""

_STEP = 1e-6
"""Smallest step in y; keeps the inverse good to 1e-9 even across a gap in the data."""

_TINY = 1e-200
"""No slope overflows for widths above this."""

_LANES = 64
"""A multiple of how many numbers any CPU takes at once."""


class QuantileNormal(Transform, kind="quantile"):
    """Maps each column's weighted empirical distribution onto the standard normal one, and back.

    The map is strictly increasing and piecewise linear between knots that lie densely both in probability
    and in the normal quantile, so that peaks and tails are kept: the inverse of y ~ N(0, 1) follows the
    fitted marginal up to the data's own statistics. Beyond the outermost entries it goes on linearly, or,
    on a side that has a bound, approaches the bound exponentially and never passes it. Where data lie on the
    bound itself, the map ends there: the bound is in the domain, and the inverse of anything beyond is the
    bound.

    A value that many entries share keeps its probability within a width of about 1e-9 of the column's spread,
    and its image is the middle of its probability. With negative weights the cumulative is made monotone as
    the mean of its smallest increasing majorant and largest increasing minorant.

    Args:
        size: Number of columns D.
        knots: Most knots in a column, K, at least 8; short samples and repeated values use fewer.
        low: Bound that the inverse never falls below, one for all columns or one each; None for none.
        high: Bound that the inverse never exceeds, likewise.
        names: Names of the columns for error messages.

    Raises:
        ValueError: Fewer than 8 knots, or a low bound that is not below the high one.
    """

    x_knots: Tensor
    y_knots: Tensor
    last: Tensor
    tails: Tensor
    bounds: Tensor

    def __init__(
        self,
        size: int,
        *,
        knots: int = 1000,
        low: float | Sequence[float | None] | None = None,
        high: float | Sequence[float | None] | None = None,
        names: Sequence[str] | None = None,
    ) -> None:
        super().__init__(size, names=names)
        if knots < 8:
            msg = f"at least 8 knots are needed, got {knots}"
            raise ValueError(msg)
        self.options = {"knots": knots, "low": _plain(low), "high": _plain(high)}
        edges = torch.stack([self._bound(low, -torch.inf), self._bound(high, torch.inf)])
        # Closer bounds would leave no room for a repeated value's width.
        if not bool((edges[1] - edges[0] > 1e-9 * edges.nan_to_num(posinf=0, neginf=0).abs().amax(0)).all()):
            msg = f"low must be below high by more than 1e-9 of either, got {low} and {high}"
            raise ValueError(msg)
        self.domain = "within its bounds"
        # Unused knots are infinite, so that a search among the knots needs no length.
        start = torch.full((size, knots), torch.inf, dtype=torch.float64)
        start[:, 0], start[:, 1] = -1.0, 1.0
        center, half = _middle(edges)
        self.register_buffer("x_knots", start * half.unsqueeze(1) + center.unsqueeze(1))
        self.register_buffer("y_knots", start)
        self.register_buffer("last", torch.ones(size, dtype=torch.int64))
        self.register_buffer("tails", half.expand(2, size).clone())
        self.register_buffer("bounds", edges)

    def _bound(self, values: float | Sequence[float | None] | None, none: float) -> Tensor:
        each = _plain(values)
        each = each if isinstance(each, list) else [each] * self.size
        if len(each) != self.size:
            msg = f"a bound must be one number or one for each of {self.size} columns, got {values}"
            raise ValueError(msg)
        return torch.tensor([none if v is None else float(v) for v in each], dtype=torch.float64)

    def inside(self, x: Tensor) -> Tensor:
        """Finite, and strictly within the bounds, or on one that data touch."""
        x = self._promoted(x)
        first, final = self._ends(self.x_knots)
        above = (x > self.bounds[0]) | ((x == self.bounds[0]) & (first == self.bounds[0]))
        below = (x < self.bounds[1]) | ((x == self.bounds[1]) & (final == self.bounds[1]))
        return torch.isfinite(x) & above & below

    def _fit(self, x: Tensor, present: Tensor, weight: Tensor) -> None:
        within = (x >= self.bounds[0]) & (x <= self.bounds[1])
        self._refuse(x, present & ~within, self.domain)
        device = self.x_knots.device
        weights = weight.cpu().numpy()
        for column in range(self.size):
            real = (present[:, column] & (weight != 0)).cpu()
            if not bool(real.any()):
                continue
            low, high = self.bounds[:, column].tolist()
            fitted = _quantile_knots(
                x[:, column].cpu()[real].numpy(), weights[real.numpy()], self.options["knots"], low, high
            )
            count = len(fitted.x)
            for buffer, values in ((self.x_knots, fitted.x), (self.y_knots, fitted.y)):
                buffer[column] = torch.inf
                buffer[column, :count] = torch.from_numpy(values).to(device)
            self.last[column] = count - 1
            self.tails[0, column], self.tails[1, column] = fitted.slopes

    def forward(self, x: Tensor) -> Tensor:
        """Normal scores; NaN or infinite beyond a bound."""
        x = self._promoted(x)
        (x0, x1), (y0, y1) = self._segments(x, self.x_knots, self.y_knots)
        (first_x, last_x), (first_y, last_y) = self._ends(self.x_knots), self._ends(self.y_knots)
        inner = y0 + (x - x0) * ((y1 - y0) / (x1 - x0))
        below = first_y - _tail_score(first_x - x, self.tails[0], first_x - self.bounds[0])
        above = last_y + _tail_score(x - last_x, self.tails[1], self.bounds[1] - last_x)
        return torch.where(x < first_x, below, torch.where(x > last_x, above, inner))

    def inverse(self, y: Tensor) -> Tensor:
        """The quantiles of the normal scores y, never beyond a bound."""
        # A row for each column: the search and all that follows run along contiguous memory.
        y = self._promoted(y).T.contiguous()
        last = self.last.unsqueeze(1)
        left = torch.minimum((torch.searchsorted(self.y_knots, y.detach()) - 1).clamp_(min=0), last - 1)
        right = left + 1
        (y0, y1), (x0, x1) = ((t.gather(1, left), t.gather(1, right)) for t in (self.y_knots, self.x_knots))
        x = torch.addcmul(x0, y - y0, (x1 - x0) / (y1 - y0))
        first_y, last_y = self.y_knots[:, :1], self.y_knots.gather(1, last)
        outside = (y < first_y) | (y > last_y)
        if torch.compiler.is_compiling():
            every = torch.arange(y.numel(), device=y.device)
            x = torch.where(outside, self._beyond(y, every).view_as(x), x)
        elif len(outside := outside.flatten().nonzero()[:, 0]):
            x = x.flatten().index_put((outside,), self._beyond(y, outside)).view_as(x)
        low, high = self.bounds.unsqueeze(2)
        return torch.minimum(torch.maximum(x, low), high).T

    def _beyond(self, y: Tensor, places: Tensor) -> Tensor:
        """The quantiles of some of the scores y (D, N), at flat places (n,), in the tails."""
        # The last few numbers of a tensor are rounded differently, so they are padding.
        padded = places
        if not torch.compiler.is_compiling():
            padded = nn.functional.pad(places, (0, -len(places) % _LANES), value=int(places[0]))
        column = torch.div(padded, y.shape[1], rounding_mode="floor")
        score, last = y.flatten()[padded], self.last[column]
        first_y, last_y = self.y_knots[column, 0], self.y_knots[column, last]
        first_x, last_x = self.x_knots[column, 0], self.x_knots[column, last]
        low, high = self.bounds[:, column]
        under = first_x - _tail_distance(first_y - score, self.tails[0, column], first_x - low)
        over = last_x + _tail_distance(score - last_y, self.tails[1, column], high - last_x)
        return torch.where(score < first_y, under, over)[: len(places)]

    def log_abs_det(self, x: Tensor) -> Tensor:
        """Log of the slope; at a knot, that of the segment below it."""
        x = self._promoted(x)
        (x0, x1), (y0, y1) = self._segments(x, self.x_knots, self.y_knots)
        first_x, last_x = self._ends(self.x_knots)
        inner = (y1 - y0).log() - (x1 - x0).log()
        below = _tail_log_slope(first_x - x, self.tails[0], first_x - self.bounds[0])
        above = _tail_log_slope(x - last_x, self.tails[1], self.bounds[1] - last_x)
        return torch.where(x < first_x, below, torch.where(x > last_x, above, inner))

    def _ends(self, knots: Tensor) -> tuple[Tensor, Tensor]:
        return knots[:, 0], knots.gather(1, self.last.unsqueeze(1)).squeeze(1)

    def _segments(
        self, values: Tensor, knots: Tensor, images: Tensor
    ) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Ends (N, D) of the segment of each value, and the images of these ends."""
        columns = values.detach().T.contiguous()
        right = torch.searchsorted(knots, columns).clamp(min=1)
        right = torch.minimum(right, self.last.unsqueeze(1))
        ends = [table.gather(1, index).T for table in (knots, images) for index in (right - 1, right)]
        return (ends[0], ends[1]), (ends[2], ends[3])


def _plain(values: float | Sequence[float | None] | None) -> float | list[float | None] | None:
    """Bounds as JSON can hold them: None for infinity."""
    if values is None or isinstance(values, (int, float)):
        return None if values is None or math.isinf(values) else float(values)
    return [None if v is None or math.isinf(v) else float(v) for v in values]


def _middle(bounds: Tensor) -> tuple[Tensor, Tensor]:
    """Centre and half width (D,) of the knots before the fit, inside whatever bounds (2, D) there are."""
    low, high = bounds
    width = torch.where(torch.isfinite(high - low), high - low, 4.0)
    half = width / 4
    only_low = torch.isfinite(low)
    center = torch.where(only_low, low + width / 2, torch.where(torch.isfinite(high), high - width / 2, 0.0))
    return center, half


# The tails, in terms of distances outside the last knot that grow outwards: d in x, t in y, with slope
# dd/dt = s at the knot and, where there is a bound, the room left up to it.


def _tail_distance(t: Tensor, s: Tensor, room: Tensor) -> Tensor:
    # Both branches see only values at which they are finite: a NaN in the one not taken would still reach
    # the gradient.
    t = t.clamp(min=0.0)
    bounded = torch.isfinite(room)
    rate = s / torch.where(bounded & (room > 0), room, 1.0)
    room = torch.where(bounded, room, 0.0)
    return torch.where(bounded, -room * torch.expm1(-rate * t), s * t)


def _tail_score(d: Tensor, s: Tensor, room: Tensor) -> Tensor:
    outside = d > 0
    d = d.clamp(min=0.0)
    bounded = torch.isfinite(room)
    safe = torch.where(bounded & (room > 0), room, 1.0)
    fraction = torch.where(outside & bounded, d / torch.where(outside & bounded, room, 1.0), 0.0)
    return torch.where(bounded, -safe / s * torch.log1p(-fraction), d / s)


def _tail_log_slope(d: Tensor, s: Tensor, room: Tensor) -> Tensor:
    d = d.clamp(min=0.0)
    bounded = torch.isfinite(room)
    fraction = torch.where(bounded & (room > 0), d / torch.where(room > 0, room, 1.0), 0.0)
    return -s.log() - torch.where(bounded, torch.log1p(-fraction), 0.0)


# The knots of the map, as numpy arrays: all sorting is done once, when the map is fitted.


class _Knots(NamedTuple):
    """Strictly increasing x and y (at least 2 of each), and dx/dy beyond the first and the last."""

    x: Array
    y: Array
    slopes: tuple[float, float]


def _quantile_knots(values: Array, weights: Array, count: int, low: float, high: float) -> _Knots:
    """Knots of the map between ``values`` and normal scores.

    Args:
        values: The real entries of a column (n,), all within [low, high]; n > 0.
        weights: Their weights (n,), none of them 0.
        count: Most knots, at least 8.
        low: Lower bound, or minus infinity.
        high: Upper bound, or infinity.
    """
    if not weights.sum() > 0:
        weights = np.abs(weights)
    x, cumulative = _cumulative(values, weights)
    effective = weights.sum() ** 2 / np.square(weights).sum()
    scores = ndtri(cumulative)
    # Room is left for the ends of gaps, and for repeated values, which take up to three knots for two.
    y = _grid(scores[0], scores[-1], effective, count // 2)
    y = _with_gaps(y, x, scores, count // 12)
    knots = np.interp(y, scores, x)
    spread = _spread(x, cumulative)
    x_knots, y_knots = _with_repeats(knots, y, x, scores, spread)
    keep = (x_knots >= low) & (x_knots <= high)
    x_knots, y_knots = x_knots[keep], y_knots[keep]
    # Values within rounding of one on the bound share its knot.
    x_knots[0] = low if x[0] == low else x_knots[0]
    x_knots[-1] = high if x[-1] == high else x_knots[-1]
    steps = _STEP * np.arange(len(y_knots))
    y_knots = np.maximum.accumulate(y_knots - steps) + steps
    return _Knots(x_knots, y_knots, _tail_slopes(x_knots, y_knots, spread))


def _cumulative(values: Array, weights: Array) -> tuple[Array, Array]:
    """Sorted values and, at each, the cumulative probability in the middle of its own weight."""
    # Equal values in the order of their weights, so that the order of events plays no part.
    alike = weights.min() == weights.max()
    order = np.argsort(values, kind="stable") if alike else np.lexsort((weights, values))
    w = weights[order] / weights.sum()
    total = np.cumsum(w)
    if weights.min() < 0:
        majorant = np.maximum.accumulate(total)
        minorant = np.minimum.accumulate(total[::-1])[::-1]
        total = np.clip((majorant + minorant) / 2, 0.0, 1.0)
        middle = (total + np.append(0.0, total[:-1])) / 2
    else:
        middle = total - w / 2
    edge = 0.5 / len(values)
    return values[order], np.clip(middle, edge, 1 - edge)


def _grid(first: float, last: float, effective: float, count: int) -> Array:
    """Normal scores of knots, half of them uniform in the score and half in probability."""
    if not first < last:
        return np.array([first])
    half = max(count // 2 - 2, 1)
    probability = np.concatenate([ndtr(np.linspace(first, last, half)), (np.arange(half) + 0.5) / half])
    # Work from both ends, as 1 - p has no precision left in an upper tail.
    cell = _ENTRIES_PER_KNOT / effective
    upper = probability > 0.5
    distance = np.where(upper, 1 - probability, probability)
    distance = (np.floor(distance / cell) + 0.5) * cell
    lower_part = ndtri(np.unique(distance[~upper]))
    upper_part = -ndtri(np.unique(distance[upper]))[::-1]
    inner = np.concatenate([lower_part[lower_part < 0], upper_part[upper_part > 0]])
    return np.unique(np.concatenate([[first], inner[(inner > first) & (inner < last)], [last]]))


def _with_gaps(y: Array, x: Array, scores: Array, most: int) -> Array:
    """Add the scores on both sides of an empty range that a segment would otherwise fill."""
    knots = np.interp(y, scores, x)
    begin = np.searchsorted(scores, y[:-1])
    entries = np.diff(np.append(begin, len(x) - 1))
    if most == 0 or len(y) < 2 or not (entries > 0).all():
        return y
    widest = np.maximum.reduceat(np.diff(x), begin)
    share = np.divide(widest, np.diff(knots), out=np.zeros_like(widest), where=np.diff(knots) > 0)
    # Among ten entries or more, a gap of half the segment is hardly ever chance.
    segments = np.flatnonzero((share > 0.5) & (entries >= 2 * _ENTRIES_PER_KNOT))
    # Gaps in equal steps differ by rounding; of those the first are taken.
    digits = np.round(np.log(widest[segments]), 6)
    segments = segments[np.argsort(-digits, kind="stable")[:most]]
    sides = [begin[s] + int(np.argmax(np.diff(x[begin[s] : begin[s] + entries[s] + 1]))) for s in segments]
    inner = np.array(sides, dtype=np.int64)
    return np.unique(np.concatenate([y, scores[inner], scores[inner + 1]]))


def _spread(x: Array, cumulative: Array) -> float:
    """A width of the bulk of the data: the narrowest central range that is not zero."""
    for tail in (0.25, 0.05, 0.01, 0.0):
        low, high = np.interp([tail, 1 - tail], cumulative, x)
        if high > low:
            return max(float(high - low), _TINY)
    return max(float(abs(x[0])), _TINY) if x[0] else 1.0


def _gap(x: Array, spread: float) -> Array:
    """The distance below which two knots count as one value."""
    return np.maximum(1e-9 * spread, 1e-12 * np.abs(x))


def _with_repeats(knots: Array, y: Array, x: Array, scores: Array, spread: float) -> tuple[Array, Array]:
    """Replace each run of knots at one value by the ends and the middle of that value's probability."""
    gap = _gap(knots, spread)
    starts = np.append(True, np.diff(knots) > gap[1:])
    first = np.flatnonzero(starts)
    last = np.append(first[1:], len(knots)) - 1
    repeated = (last > first) | (len(first) == 1)
    single = first[~repeated]
    low, high = knots[first[repeated]], knots[last[repeated]]
    begin = scores[np.searchsorted(x, low, "left")]
    end = scores[np.searchsorted(x, high, "right") - 1]
    middle = ndtri((ndtr(begin) + ndtr(end)) / 2)
    center = x[np.minimum(np.searchsorted(scores, middle), len(x) - 1)]
    if x[0] == x[-1]:
        # A constant column has no scores of its own; these keep every sample within the value's width.
        begin, middle, end = np.array([-8.0]), np.array([0.0]), np.array([8.0])
    width = _gap(center, spread) / 4
    x_all = np.concatenate([knots[single], low - width, center, high + width])
    y_all = np.concatenate([y[single], begin, middle, end])
    order = np.argsort(x_all, kind="stable")
    return x_all[order], y_all[order]


def _tail_slopes(x: Array, y: Array, spread: float) -> tuple[float, float]:
    """dx/dy over the outermost half unit of y, which no single extreme event dominates."""
    inner_low = max(int(np.searchsorted(y, y[0] + 0.5)), 1)
    inner_high = min(int(np.searchsorted(y, y[-1] - 0.5)), len(y) - 2)
    inner_low, inner_high = min(inner_low, len(y) - 1), max(inner_high, 0)
    smallest = 1e-6 * spread
    low = (x[inner_low] - x[0]) / (y[inner_low] - y[0])
    high = (x[-1] - x[inner_high]) / (y[-1] - y[inner_high])
    return max(float(low), smallest), max(float(high), smallest)
