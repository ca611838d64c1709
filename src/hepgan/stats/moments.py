"""Weighted moments and quantiles, and what weights are worth.

Samples and weights are numpy arrays (n,). Weights may be negative.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hepgan.arguments import checked

__all__ = [
    "checked_sample",
    "checked_weights",
    "effective_entries",
    "effective_size",
    "mean_and_spread",
    "quantile",
    "standard_deviation",
]

Array = NDArray[np.float64]


def checked_sample(x: ArrayLike, weight: ArrayLike | None = None) -> tuple[Array, Array]:
    """Float64 values (n,) and their weights (n,), normalised to a sum of 1.

    Raises:
        ValueError: An empty sample, entries or weights that are not finite or do not match, a sum of weights
            that is not positive.
    """
    values = np.asarray(x, dtype=np.float64)
    w = np.ones_like(values) if weight is None else np.asarray(weight, dtype=np.float64)
    if values.ndim != 1 or values.shape != w.shape or not len(values):
        msg = f"a sample and its weights need one shape (n,) with n > 0, got {values.shape} and {w.shape}"
        raise ValueError(msg)
    for name, array in (("sample", values), ("weight", w)):
        finite = np.isfinite(array)
        if not finite.all():
            first = int(np.argmin(finite))
            msg = f"{name} is {array[first]} in entry {first}, but must be finite"
            raise ValueError(msg)
    total = w.sum()
    if not total > 0:
        msg = f"the sum of the weights is {total:g}, but must be positive"
        raise ValueError(msg)
    return values, w / total


def checked_weights(weights: ArrayLike | None, size: int) -> Array:
    """Weights (N,) of N events, 1 if there are none.

    Raises:
        ValueError: If there is not one for each event.
    """
    w = np.ones(size) if weights is None else np.asarray(weights, dtype=np.float64)
    if w.shape != (size,):
        msg = f"weights of the shape {w.shape} for {size} events"
        raise ValueError(msg)
    return w


def effective_entries(sums: ArrayLike, squares: ArrayLike) -> Array:
    """Kish's effective number of entries, (sum of w)^2 / sum of w^2, of bins; 0 where there are no squares.

    Args:
        sums: Sums of weights, of any shape.
        squares: Sums of squared weights, of the same shape.
    """
    total, variance = np.asarray(sums, dtype=np.float64), np.asarray(squares, dtype=np.float64)
    return np.divide(np.square(total), variance, out=np.zeros_like(total), where=variance > 0)


def effective_size(weights: ArrayLike) -> float:
    """Kish's effective number of entries, (sum of w)^2 / sum of w^2; 0 for no entries."""
    w = np.asarray(weights, dtype=np.float64)
    return float(effective_entries(w.sum(), np.square(w).sum()))


def standard_deviation(values: Array, weights: Array) -> float:
    """The weighted standard deviation (0 where it is not defined)."""
    total = float(weights.sum())
    if not total > 0:
        return 0.0
    mean = float(np.dot(values, weights)) / total
    return math.sqrt(max(float(np.dot((values - mean) ** 2, weights)) / total, 0.0))


def mean_and_spread(rows: Sequence[Array]) -> tuple[Array, Array]:
    """Mean and standard deviation of the columns over the rows; NaN where there are too few."""
    if not rows:
        return np.full(2, np.nan), np.full(2, np.nan)
    table = np.array(rows)
    spread = table.std(axis=0, ddof=1) if len(table) > 1 else np.full(table.shape[1:], np.nan)
    return table.mean(axis=0), spread


@checked
def quantile(x: ArrayLike, q: ArrayLike, weight: ArrayLike | None = None) -> Array:
    """The smallest entries at which the cumulative weight reaches the fractions q.

    With negative weights the cumulative is replaced by its smallest increasing majorant.

    Args:
        x: Sample (n,).
        q: Fractions in [0, 1], of any shape.
        weight: Weights (n,), 1 by default.

    Returns:
        Quantiles of the shape of q.

    Raises:
        ValueError: As for :func:`checked_sample`, and fractions outside [0, 1].
    """
    values, _ = checked_sample(x, weight)
    w = np.ones_like(values) if weight is None else np.asarray(weight, dtype=np.float64)
    fractions = np.asarray(q, dtype=np.float64)
    if not bool(((fractions >= 0) & (fractions <= 1)).all()):
        msg = f"fractions must lie in [0, 1], got {fractions}"
        raise ValueError(msg)
    order = np.argsort(values)
    order = order[w[order] != 0]
    cumulative = np.maximum.accumulate(np.cumsum(w[order]))
    # Rounding of the last sum must not put the fraction 1 beyond the sample.
    index = np.searchsorted(cumulative, fractions * min(cumulative[-1], w.sum()))
    return np.asarray(values[order][np.minimum(index, len(order) - 1)], dtype=np.float64)
