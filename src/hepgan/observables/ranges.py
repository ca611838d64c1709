"""Histogram ranges found from values."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

__all__ = ["MOST_BINS", "MOST_INTEGERS", "Span", "find_span", "is_small"]

_TAIL = 0.001
_REPEATED = 0.001
MOST_INTEGERS = 200
"""Whole numbers over a wider range share bins."""


class Span(NamedTuple):
    """A range and its bins.

    Attributes:
        low: Lower end.
        high: Upper end; inclusive for whole numbers.
        bins: Number of bins; None if the values do not suggest one.
        log: Whether bins of equal widths in the logarithm suit the values.
        integer: Whether the values are whole numbers, few enough for a bin each.
    """

    low: float
    high: float
    bins: int | None = None
    log: bool = False
    integer: bool = False


_LARGEST, _SMALLEST = 1e300, 1e-300
"""Beyond these, differences and ratios of numbers are no numbers."""

MOST_BINS = 100_000

_ROUNDING = 1e-10
"""Numbers that differ by less, relatively, are the same number."""


def find_span(values: Any, weights: Any = None, unit: str = "") -> Span:
    """A range that holds 99.8% of the values, with ends at nice numbers.

    Args:
        values: (n,) numbers; those that are not finite, or beyond 1e300, are left out.
        weights: (n,) weights, whose absolute values count.
        unit: The unit; angles (``rad``) get their natural range.

    Raises:
        ValueError: If no finite value is left, or the weights are not one for each value.
    """
    values = np.asarray(values)
    if weights is not None and np.shape(weights) != values.shape:
        msg = f"{np.size(weights)} weights for {values.size} values"
        raise ValueError(msg)
    finite = np.isfinite(values)
    if values.dtype == np.float64:
        finite &= (values <= _LARGEST) & (values >= -_LARGEST)
    values = values[finite]
    if not values.size:
        msg = "a range needs at least one finite value"
        raise ValueError(msg)
    weight = np.ones(values.size) if weights is None else np.abs(np.asarray(weights)[finite])
    smallest, largest = float(values.min()), float(values.max())
    whole = values.dtype.kind in "biu" or (not unit and bool(np.all(values == np.floor(values))))
    if whole and largest - smallest <= MOST_INTEGERS and is_small(smallest) and is_small(largest):
        return Span(smallest, largest, integer=True)
    if unit == "rad" and smallest >= -1.0001 * math.pi and largest <= 1.0001 * math.pi:
        return Span(-math.pi if smallest < 0 else 0.0, math.pi, 50)
    low, middle, high = _quantiles(values.astype(np.float64), weight, (_TAIL, 0.5, 1 - _TAIL))
    if not low < high:
        low, high = smallest, largest
    if not high - low > max(_ROUNDING * max(abs(low), abs(high)), _SMALLEST):
        half = abs(low) / 2 if abs(low) > _SMALLEST else 0.5
        return Span(_clean(low - half), _clean(high + half), 50)
    if low > _SMALLEST and high > 30 * middle and high > 100 * low:
        return Span(_nice(low, up=False), _nice(high, up=True), 50, log=True)
    span = _linear(low, high)
    # Bins leave their upper end out; values that occur again and again there (a beam energy) get a bin.
    # They were float32 in the file, and may miss the end by their rounding.
    if span.bins is None or np.mean(np.isclose(values, span.high, rtol=1e-6, atol=0.0)) < _REPEATED:
        return span
    width = (span.high - span.low) / span.bins
    return Span(span.low, _clean(span.high + width), span.bins + 1)


def is_small(number: float) -> bool:
    """Whether a whole number may have a bin of its own, which boost-histogram numbers in 32 bits."""
    return abs(number) < 2**31 - 1


def _linear(low: float, high: float) -> Span:
    if 0 < low < 0.15 * (high - low):
        low = 0.0
    unit = _nice((high - low) / 20, up=True)
    first, last = math.floor(low / unit * (1 + 1e-12)), math.ceil(high / unit * (1 - 1e-12))
    last = max(last, first + 1)
    number = last - first
    return Span(_clean(first * unit), _clean(last * unit), number * max(1, round(50 / number)))


def _nice(value: float, *, up: bool) -> float:
    """The next of 1, 2, 5, 10, ... from a positive number."""
    power = 10.0 ** math.floor(math.log10(value))
    steps = [s * power for s in (1.0, 2.0, 5.0, 10.0)]
    if up:
        return _clean(next((s for s in steps if s >= value * (1 - 1e-12)), steps[-1]))
    return _clean(next((s for s in reversed(steps) if s <= value * (1 + 1e-12)), steps[0]))


def _clean(value: float) -> float:
    return float(f"{value:.12g}")


def _quantiles(values: Any, weight: Any, levels: tuple[float, ...]) -> tuple[float, ...]:
    order = np.argsort(values)
    total = np.cumsum(weight[order])
    if not total[-1] > 0:
        total = np.arange(1, len(values) + 1, dtype=np.float64)
    found = values[order][np.searchsorted(total, np.asarray(levels) * total[-1]).clip(max=len(values) - 1)]
    return tuple(float(v) for v in found)
