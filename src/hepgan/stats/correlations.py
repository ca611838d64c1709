"""Linear correlations between observables, of true and of generated events."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from hepgan.observables.table import Table
from hepgan.stats.metrics import Metric, Once
from hepgan.stats.moments import effective_size

MOST = 400
"""Observables, at most, whose correlations are looked at: a matrix grows with the square of their number."""

PRODUCTS = 4e9
"""Rows times columns squared, at most; rows are left out at random beyond that."""

__all__ = ["Correlations", "correlations", "largest_correlation", "pearson"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Correlations:
    """Weighted Pearson matrices of the per-event observables.

    Attributes:
        names: The observables (D), without those that are constant in the reference.
        reference: Of the true events (D, D); NaN where two observables never occur together.
        generated: Of the generated events (D, D).
        max_difference: The largest absolute difference of two elements, with its floor.
        left_out: Further observables that vary, but are beyond the first 400.
    """

    names: tuple[str, ...]
    reference: Floats
    generated: Floats
    max_difference: Metric
    left_out: int = 0

    @property
    def difference(self) -> Floats:
        """Generated less reference (D, D)."""
        return np.asarray(self.generated - self.reference)

    @property
    def worst(self) -> tuple[str, str] | None:
        """The pair of observables whose correlation differs most."""
        size = np.abs(np.nan_to_num(self.difference))
        if size.size == 0 or not size.any():
            return None
        i, j = np.unravel_index(int(np.argmax(size)), size.shape)
        return self.names[min(i, j)], self.names[max(i, j)]


def correlations(
    reference: Table,
    generated: Table,
    train: Table | None = None,
    *,
    rng: np.random.Generator,
    splits: int = 8,
    replicates: int = 12,
    once: Once | None = None,
) -> Correlations:
    r"""Correlation matrices and their largest difference.

    The floor is the mean of the largest difference between true samples (as for
    :func:`hepgan.stats.metrics.unbinned`: subsets of the training sample against the reference, or
    halves of the reference), times :math:`\sqrt{(1/n_R + 1/n_G) / (1/n_1 + 1/n_2)}`.

    Of more than 400 columns that vary the first ones are taken, and of more than 4e9 rows times columns
    squared, random rows.

    Args:
        reference: True events; columns are per-event observables, NaN where an event lacks them.
        generated: Generated events, with the same columns.
        train: Training events, with the same columns.
        rng: Source of the splits.
        splits: Number of splits for the floor.
        replicates: Number of Poisson bootstraps for the error.
        once: Keeps what is of true events alone for other generated samples.
    """
    once = once or Once()
    varying = [n for n, v in zip(reference.names, _varying(reference), strict=True) if v]
    kept = varying[:MOST]
    if len(kept) < len(reference.names):
        reference, generated = reference.select(kept), generated.select(kept)
        train = None if train is None else train.select(kept)
    most = int(PRODUCTS / max(len(kept), 1) ** 2)
    reference, generated = (_fewer(t, most, rng) for t in (reference, generated))
    train = None if train is None else _fewer(train, most, rng)
    first = pearson(reference.values, reference.weights)
    second = pearson(generated.values, generated.weights)
    n_r, n_g = effective_size(reference.weights), effective_size(generated.weights)
    boots = [
        _largest(
            pearson(reference.values, reference.weights * rng.poisson(1.0, len(reference))),
            pearson(generated.values, generated.weights * rng.poisson(1.0, len(generated))),
        )
        for _ in range(replicates)
    ]
    share = 0.5 if train is None else min(1.0, len(generated) / max(len(train), 1))
    draws = once(("correlations", share), rng, lambda: _true_pairs(reference, train, share, rng, splits))
    floors = [
        largest * math.sqrt((1 / n_r + 1 / n_g) / variance)
        for largest, variance in draws
        if variance < math.inf and min(n_r, n_g) > 0
    ]
    value = _largest(first, second)
    metric = Metric(
        value,
        float(np.mean(floors)) if floors else None,
        float(np.std(boots, ddof=1)) if len(boots) > 1 else None,
        float(np.std(floors, ddof=1)) if len(floors) > 1 else None,
    )
    return Correlations(reference.names, first, second, metric, len(varying) - len(kept))


def _varying(table: Table) -> NDArray[np.bool_]:
    """Which columns have correlations (D,)."""
    return np.array([np.isfinite(pearson(column[:, None], table.weights)[0, 0]) for column in table.values.T])


def _fewer(table: Table, most: int, rng: np.random.Generator) -> Table:
    return table if len(table) <= most else table.take(np.sort(rng.choice(len(table), most, replace=False)))


def _true_pairs(
    reference: Table, train: Table | None, share: float, rng: np.random.Generator, splits: int
) -> list[tuple[float, float]]:
    """The largest differences between pairs of true samples, and 1/n_1 + 1/n_2 of these."""
    found = []
    for _ in range(splits if share < 1 else 1):
        if train is None:
            chosen = rng.random(len(reference)) < 0.5
            pair = reference.take(chosen), reference.take(~chosen)
        else:
            pair = train.take(rng.random(len(train)) < share), reference
        sizes = [effective_size(t.weights) for t in pair]
        variance = 1 / sizes[0] + 1 / sizes[1] if min(sizes) > 0 else math.inf
        found.append((_largest(*(pearson(t.values, t.weights) for t in pair)), variance))
    return found


def pearson(values: Floats, weights: Floats) -> Floats:
    """Weighted Pearson correlations (D, D) of the columns, each pair over the rows that have both.

    Args:
        values: (N, D), NaN where missing.
        weights: (N,), negative ones too.

    Returns:
        (D, D), NaN where a column is constant or a pair never occurs together.
    """
    there = np.isfinite(values)
    # Centred and scaled first: sums of squares of raw values lose digits.
    centre = np.where(there, values, 0.0).sum(axis=0) / np.maximum(there.sum(axis=0), 1)
    x = np.where(there, values - centre, 0.0)
    size = np.abs(x).max(axis=0, initial=0.0)
    x = x / np.where(size > 0, size, 1.0)
    weighted = weights[:, None] * x
    products = weighted.T @ x
    if there.all():
        # What is the same for all pairs needs no matrix product.
        shape = (x.shape[1], x.shape[1])
        total = np.full(shape, weights.sum())
        sums = np.broadcast_to(weights @ x, shape).T
        squares = np.broadcast_to(weights @ (x * x), shape).T
    else:
        known = there.astype(np.float64)
        total = (weights[:, None] * known).T @ known
        sums, squares = weighted.T @ known, (weighted * x).T @ known
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = sums / total
        variance = squares / total - mean**2
        covariance = products / total - mean * mean.T  # mean[i, j]: of i where j is there too
        result = covariance / np.sqrt(variance * variance.T)
        result[~((variance > 1e-14) & (variance.T > 1e-14) & (total > 0))] = np.nan
    return np.asarray(result)


def _largest(first: Floats, second: Floats) -> float:
    difference = np.abs(first - second)
    known = difference[np.isfinite(difference)]
    return float(known.max()) if known.size else math.nan


def largest_correlation(values: Floats, weights: Floats) -> tuple[float, float, tuple[int, int]] | None:
    """The correlation of two columns that is the largest in units of what chance makes of it.

    Args:
        values: (N, D), NaN where missing.
        weights: (N,); signs do not count.

    Returns:
        The correlation; its floor, the median of the largest for as many independent columns; and the numbers
        of the two columns, the lower one first. None if no two columns vary together.
    """
    there = np.isfinite(values)
    size = values.shape[1]
    below = np.tril_indices(size, -1)
    r = pearson(values, np.abs(weights))[below]
    both = (there.T.astype(np.float64) @ there)[below]
    sums = np.abs((weights[:, None] * there).T @ there.astype(np.float64))[below]
    squares = (np.square(weights)[:, None] * there).T @ there.astype(np.float64)
    known = np.flatnonzero(np.isfinite(r) & (both >= 3) & (sums > 0))
    if not len(known):
        return None
    # Half of all samples of so many independent pairs have their largest below this.
    chance = float(ndtri((1 + 0.5 ** (1 / len(r))) / 2))
    floor = chance * np.sqrt(squares[below][known]) / sums[known]
    worst = int(np.argmax(np.abs(r[known]) / floor))
    i, j = (int(part[known[worst]]) for part in below)
    return float(r[known[worst]]), float(floor[worst]), (j, i)
