"""Cuts that a number of a file may be made by: counts and sums of what passes, and flags."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Cut", "Literal", "both", "counting", "simplest", "single", "summing"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


class Cut(NamedTuple):
    """A threshold that objects pass.

    Attributes:
        operator: ``>``, ``>=``, ``<`` or ``<=``.
        number: The threshold.
    """

    operator: str
    number: float

    def of(self, expression: str) -> str:
        """The condition."""
        return f"{expression} {self.operator} {self.number:.10g}"


class Literal(NamedTuple):
    """A side of a quantity.

    Attributes:
        column: The number of the quantity.
        upper: Whether it is below a threshold, instead of above.
        cut: The cut.
    """

    column: int
    upper: bool
    cut: Cut


def simplest(low: float, high: float) -> float | None:
    """The number of fewest digits in [low, high]; None if an end is infinite, or there is none."""
    if not (math.isfinite(low) and math.isfinite(high)) or low > high:
        return None
    if low <= 0 <= high:
        return 0.0
    for digits in range(-6, 10):
        for factor in (5, 2, 1):
            step = factor * 10.0**-digits
            number = float(f"{math.ceil(low / step - 1e-9) * step:.12g}")
            if low <= number <= high:
                return number
    return None


def _cut(low: float, high: float, upper: bool, *, inclusive: bool = False) -> Cut | None:
    """The cut between what does not pass and what does.

    Args:
        low: The largest number that does not pass.
        high: The smallest that does.
        upper: Whether the numbers have the opposite sign, since those below the threshold pass.
        inclusive: Whether the threshold itself passes, if both can be.
    """
    if not low < high:
        return None
    neighbours = high - low == 1 and high == round(high)
    number = high if neighbours else simplest(low, high)
    if number is None:
        return None
    equal = number == high or (inclusive and number > low)
    operator = ("<" if upper else ">") + ("=" if equal else "")
    return Cut(operator, -number + 0.0 if upper else number)


def _ends(number: NDArray[np.int64], values: Floats) -> tuple[float, float]:
    """Between which numbers a threshold lies above which there are so many in each event.

    Args:
        number: (N,) how many.
        values: (N, M) descending, -inf where there is none.
    """
    padded = np.pad(values, ((0, 0), (1, 1)), constant_values=((0, 0), (np.inf, -np.inf)))
    rows = np.arange(len(values))
    return float(padded[rows, number + 1].max()), float(padded[rows, number].min())


def counting(number: Floats, values: Floats, upper: bool) -> Cut | None:
    """The cut that so many objects pass in each event.

    Args:
        number: (N,) how many.
        values: (N, M) of objects, NaN where there is none.
        upper: Whether those below it pass.
    """
    if number.min() < 0 or number.max() > values.shape[1]:
        return None
    signed = np.where(np.isnan(values), -np.inf, -values if upper else values)
    return _cut(*_ends(number.astype(np.int64), -np.sort(-signed, axis=1)), upper)


def summing(total: Floats, values: Floats, precision: float = 1e-5) -> Cut | None:
    """The threshold of numbers whose sum is the total in each event.

    Args:
        total: (N,) the sums.
        values: (N, M) not negative, NaN where there is none.
        precision: How far sums may be off.
    """
    ordered = -np.sort(-np.where(np.isnan(values), -np.inf, values), axis=1)
    sums = np.cumsum(np.pad(np.where(np.isinf(ordered), 0.0, ordered), ((0, 0), (1, 0))), axis=1)
    off = np.abs(sums - total[:, None])
    number = off.argmin(1)
    if (off.min(1) > precision * np.abs(total) + 1e-3 * precision).any():
        return None
    return _cut(*_ends(number, ordered), upper=False)


# ---------------------------------------------------------------------- flags


def _sides(columns: Floats, missing: bool) -> Floats:
    """(N, 2 m) the quantities and their opposites; infinite where there is none, which passes or does not."""
    signed = np.concatenate([columns, -columns], 1)
    return np.where(np.isnan(signed), np.inf if missing else -np.inf, signed)


def single(flag: Flags, columns: Floats, *, missing: bool = False) -> Iterator[Literal]:
    """The cuts that are true where a flag is, and nowhere else.

    Args:
        flag: (N,).
        columns: (N, m) quantities, NaN where there is none.
        missing: Whether what is not there passes.
    """
    sides = _sides(columns, missing)
    low, high = sides[~flag].max(0), sides[flag].min(0)
    for k in np.flatnonzero(low < high).tolist():
        upper = k >= columns.shape[1]
        cut = _cut(float(low[k]), float(high[k]), upper, inclusive=missing)
        if cut is not None:
            yield Literal(k % columns.shape[1], upper, cut)


def both(
    flag: Flags, columns: Floats, most: int = 50, *, missing: bool = False
) -> Iterator[tuple[Literal, Literal]]:
    """Pairs of cuts that are both true where a flag is, and nowhere else.

    Args:
        flag: (N,).
        columns: (N, m) quantities, NaN where there is none.
        most: How many are found.
        missing: Whether what is not there passes.
    """
    sides, m = _sides(columns, missing), columns.shape[1]
    least, others = sides[flag].min(0), sides[~flag]
    useful = np.flatnonzero((others < least).any(0) & np.isfinite(least))
    passing = (others[:, useful] >= least[useful]).astype(np.float32)
    first, second = np.nonzero(np.triu(passing.T @ passing == 0, 1))
    found = 0
    for i, j in zip(useful[first].tolist(), useful[second].tolist(), strict=True):
        pair = _pair(sides, flag, (i, j), m, inclusive=missing)
        if pair is not None:
            yield pair
            found += 1
            if found == most:
                return


def _pair(
    sides: Floats, flag: Flags, chosen: Sequence[int], m: int, *, inclusive: bool
) -> tuple[Literal, Literal] | None:
    least, others = sides[flag].min(0), sides[~flag]
    literals = []
    for k, other in (chosen, chosen[::-1]):
        failing = others[others[:, other] >= least[other], k]
        if not failing.size:
            return None
        cut = _cut(float(failing.max()), float(least[k]), k >= m, inclusive=inclusive)
        if cut is None:
            return None
        literals.append(Literal(k % m, k >= m, cut))
    return literals[0], literals[1]
