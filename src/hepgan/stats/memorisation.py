"""Whether generated events are copies of training events."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from hepgan.observables.table import Table
from hepgan.stats.metrics import Metric, Once

__all__ = ["Memorisation", "memorisation", "of_distances"]

Floats = NDArray[np.float64]

CLOSE = 0.01
"""Share of the true events that counts as close to a training event."""


@dataclass(frozen=True)
class Memorisation:
    """Distances to the nearest training event.

    Attributes:
        reference: Of true events that were not trained on (n,), in standard deviations.
        generated: Of generated events (n,).
        ratio_of_medians: Median of the generated over that of the reference: 1 where nothing is
            memorised, less where generated events lie nearer to training events than true ones do.
        close_fraction: Share of generated events that lie nearer than the nearest 1% of true ones: it
            finds copies that are too few to move the median.
        n_train: Training events searched.
    """

    reference: Floats
    generated: Floats
    ratio_of_medians: Metric
    close_fraction: Metric
    n_train: int


def memorisation(
    reference: Table,
    generated: Table,
    train: Table,
    *,
    rng: np.random.Generator,
    max_queries: int = 3_000,
    max_train: int = 200_000,
    replicates: int = 200,
    once: Once | None = None,
) -> Memorisation:
    """Compares distances to the nearest training event, of generated and of reference events.

    Distances are Euclidean in columns scaled to unit standard deviation over the training events;
    missing objects sit at the mean, and their count is a column of its own. Errors are from bootstraps;
    the floor is the same number between two halves of the reference's distances, and so is 1 for the
    ratio of medians but for its error.

    Args:
        reference: True events that were not trained on.
        generated: Generated events, with the same columns.
        train: The events that were trained on, with the same columns.
        rng: Source of the subsamples and bootstraps.
        max_queries: Events of either sample whose nearest training event is searched.
        max_train: Training events searched; copies of others go unseen.
        replicates: Number of bootstraps.
        once: Keeps the index of the training events, and the true distances, for other generated samples.
    """

    def of_true_events() -> tuple[Callable[[Table, np.random.Generator], Floats], Floats]:
        sample = train.take(_subset(len(train), max_train, rng))
        centre, scale = _standard(sample.values)
        index = NearestNeighbors(n_neighbors=1, n_jobs=1).fit(_scaled(sample.values, centre, scale))

        def distances(table: Table, rng: np.random.Generator) -> Floats:
            rows = table.values[_subset(len(table), max_queries, rng)]
            return np.asarray(index.kneighbors(_scaled(rows, centre, scale))[0][:, 0])

        return distances, distances(reference, rng)

    distances, true = (once or Once())("memorisation", rng, of_true_events)
    return of_distances(true, distances(generated, rng), min(len(train), max_train), rng, replicates)


def of_distances(
    reference: Floats, generated: Floats, n_train: int, rng: np.random.Generator, replicates: int = 200
) -> Memorisation:
    """What distances to the nearest training event tell.

    Args:
        reference: Of true events (n,).
        generated: Of generated events (m,).
        n_train: Training events searched.
        rng: Source of the bootstraps.
        replicates: Number of bootstraps.
    """
    halves = rng.permutation(reference)
    middle = len(halves) // 2
    ratio, close = (
        _with_floor(one, generated, reference, halves[:middle], halves[middle:], rng, replicates)
        for one in (_median_ratio, _close)
    )
    return Memorisation(reference, generated, ratio, close, n_train)


def _with_floor(
    statistic: Callable[[Floats, Floats], float],
    made: Floats,
    true: Floats,
    first: Floats,
    second: Floats,
    rng: np.random.Generator,
    replicates: int,
) -> Metric:
    def spread(a: Floats, b: Floats) -> float:
        drawn = [statistic(rng.choice(a, len(a)), rng.choice(b, len(b))) for _ in range(replicates)]
        return float(np.std(drawn, ddof=1))

    # Either half may be called the generated one: both ways give a floor without a bias from the split.
    floor = (statistic(first, second) + statistic(second, first)) / 2
    return Metric(statistic(made, true), floor, spread(made, true), spread(first, second) / math.sqrt(2))


def _median_ratio(made: Floats, true: Floats) -> float:
    middle = float(np.median(true))
    return float(np.median(made)) / middle if middle > 0 else math.nan


def _close(made: Floats, true: Floats) -> float:
    return float(np.mean(made <= np.quantile(true, CLOSE)))


def _subset(size: int, wanted: int, rng: np.random.Generator) -> NDArray[np.int64]:
    return np.arange(size) if size <= wanted else np.sort(rng.choice(size, wanted, replace=False))


def _standard(values: Floats) -> tuple[Floats, Floats]:
    """Mean and standard deviation of each column, without warnings for columns that are all NaN."""
    there = np.isfinite(values)
    count = np.maximum(there.sum(axis=0), 1)
    centre = np.where(there, values, 0.0).sum(axis=0) / count
    variance = (np.where(there, values - centre, 0.0) ** 2).sum(axis=0) / count
    return centre, np.sqrt(variance)


def _scaled(values: Floats, centre: Floats, scale: Floats) -> NDArray[np.float32]:
    # A column that is constant up to rounding would turn its rounding into distance.
    useful = scale > 1e-6 * np.maximum(np.abs(centre), 1e-30)
    unit = (values[:, useful] - centre[useful]) / scale[useful]
    return np.asarray(np.nan_to_num(unit, nan=0.0), dtype=np.float32)
