"""Whether generated events are copies of training events."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from hepgan.observables.table import Table
from hepgan.stats.metrics import Metric, Once
from hepgan.stats.moments import quantile

__all__ = ["Memorisation", "Nearest", "memorisation", "of_distances"]

Floats = NDArray[np.float64]

CLOSE = 0.01
"""Share of the true events that counts as close to a training event."""


class Nearest(NamedTuple):
    """How far some events are from the nearest training event.

    Attributes:
        distances: Their distances (n,).
        weights: Their weights (n,), negative ones too.
    """

    distances: Floats
    weights: Floats

    def quantile(self, share: float) -> float:
        """The distance below which a share of the weight lies; NaN where its sum is not positive."""
        if not self.weights.sum() > 0:
            return math.nan
        return float(quantile(self.distances, share, self.weights))

    def share_within(self, distance: float) -> float:
        """The share of the weight of events that are no farther away; NaN where its sum is not positive."""
        total = float(self.weights.sum())
        return float(self.weights[self.distances <= distance].sum()) / total if total > 0 else math.nan

    def take(self, rows: NDArray[np.int64]) -> Nearest:
        """Some of the events."""
        return Nearest(self.distances[rows], self.weights[rows])


@dataclass(frozen=True)
class Memorisation:
    """Distances to the nearest training event, in which events count with their weights.

    Attributes:
        reference: Of true events that were not trained on, in standard deviations.
        generated: Of generated events.
        ratio_of_medians: Median of the generated over that of the reference: 1 where nothing is
            memorised, less where generated events lie nearer to training events than true ones do.
        close_fraction: Share of generated events that lie nearer than the nearest 1% of true ones: it
            finds copies that are too few to move the median.
        n_train: Training events searched.
    """

    reference: Nearest
    generated: Nearest
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
    missing objects sit at the mean, and their count is a column of its own. Events count with their weights,
    so that samples of one distribution that are weighted in different ways agree. Errors are from bootstraps;
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

    def of_true_events() -> tuple[Callable[[Table, np.random.Generator], Nearest], Nearest]:
        sample = train.take(_subset(len(train), max_train, rng))
        centre, scale = _standard(sample.values)
        index = NearestNeighbors(n_neighbors=1, n_jobs=1).fit(_scaled(sample.values, centre, scale))

        def distances(table: Table, rng: np.random.Generator) -> Nearest:
            rows = table.take(_subset(len(table), max_queries, rng))
            found = index.kneighbors(_scaled(rows.values, centre, scale))[0][:, 0]
            return Nearest(np.asarray(found, dtype=np.float64), rows.weights)

        return distances, distances(reference, rng)

    distances, true = (once or Once())("memorisation", rng, of_true_events)
    return of_distances(true, distances(generated, rng), min(len(train), max_train), rng, replicates)


def of_distances(
    reference: Nearest, generated: Nearest, n_train: int, rng: np.random.Generator, replicates: int = 200
) -> Memorisation:
    """What distances to the nearest training event tell.

    Args:
        reference: Of true events.
        generated: Of generated events.
        n_train: Training events searched.
        rng: Source of the bootstraps.
        replicates: Number of bootstraps.
    """
    halves = rng.permutation(len(reference.distances))
    middle = len(halves) // 2
    first, second = reference.take(halves[:middle]), reference.take(halves[middle:])
    ratio, close = (
        _with_floor(one, generated, reference, first, second, rng, replicates)
        for one in (_median_ratio, _close)
    )
    return Memorisation(reference, generated, ratio, close, n_train)


def _with_floor(
    statistic: Callable[[Nearest, Nearest], float],
    made: Nearest,
    true: Nearest,
    first: Nearest,
    second: Nearest,
    rng: np.random.Generator,
    replicates: int,
) -> Metric:
    def again(sample: Nearest) -> Nearest:
        size = len(sample.distances)
        return sample.take(rng.integers(size, size=size))

    def spread(a: Nearest, b: Nearest) -> float:
        drawn = np.array([statistic(again(a), again(b)) for _ in range(replicates)])
        known = drawn[np.isfinite(drawn)]
        return float(np.std(known, ddof=1)) if len(known) > 1 else math.nan

    # Either half may be called the generated one: both ways give a floor without a bias from the split.
    floor = (statistic(first, second) + statistic(second, first)) / 2
    return Metric(statistic(made, true), floor, spread(made, true), spread(first, second) / math.sqrt(2))


def _median_ratio(made: Nearest, true: Nearest) -> float:
    middle = true.quantile(0.5)
    return made.quantile(0.5) / middle if middle > 0 else math.nan


def _close(made: Nearest, true: Nearest) -> float:
    return made.share_within(true.quantile(CLOSE))


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
