"""Knots of a quantile function in the space of normal scores."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

__all__ = ["Knots", "quantile_knots"]

Array = NDArray[np.float64]

#: Entries between neighbouring knots: fewer would turn the spacing of single events into density.
_ENTRIES_PER_KNOT = 5
#: Smallest step in y; keeps the inverse good to 1e-9 even across a gap in the data.
_STEP = 1e-6

#: No slope overflows for widths above this.
_TINY = 1e-200


class Knots(NamedTuple):
    """Strictly increasing x and y (at least 2 of each), and dx/dy beyond the first and the last."""

    x: Array
    y: Array
    slopes: tuple[float, float]


def quantile_knots(values: Array, weights: Array, count: int, low: float, high: float) -> Knots:
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
    return Knots(x_knots, y_knots, _tail_slopes(x_knots, y_knots, spread))


def _cumulative(values: Array, weights: Array) -> tuple[Array, Array]:
    """Sorted values and, at each, the cumulative probability in the middle of its own weight."""
    order = np.argsort(values, kind="stable")
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
    segments = segments[np.argsort(-widest[segments], kind="stable")[:most]]
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
