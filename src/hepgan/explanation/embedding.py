"""Maps of activations in two dimensions, their clusters, and how pure these are in labels of physics."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from hepgan.arguments import checked
from hepgan.errors import InputError
from hepgan.events import EventBatch
from hepgan.observables import Observable
from hepgan.stats.moments import quantile

__all__ = ["Labels", "Purity", "clusters", "labels_of", "principal_components", "purity", "tsne"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

MOST_CLASSES = 12
"""Distinct values of an observable that are classes; more are put into bins."""

BINS = 4
"""Bins of an observable that has more values."""

SHUFFLES = 50
"""How often labels are shuffled for the floor of a purity."""


@checked
def tsne(values: Floats, *, perplexity: float = 100.0, seed: int = 0) -> Floats:
    """A map (n, 2) in which neighbours are those of the values (n, width).

    Reference: L. van der Maaten and G. Hinton, Visualizing data using t-SNE, JMLR 9 (2008) 2579.

    Args:
        values: Activations.
        perplexity: About the number of neighbours that count.
        seed: The same seed gives the same map.

    Raises:
        InputError: If there are too few events for the perplexity, or it is not positive.
    """
    from sklearn.manifold import TSNE

    values = _rows("values", values)
    if not 0 < perplexity < np.inf:
        msg = f"perplexity must be above 0 and finite, not {perplexity}"
        raise InputError(msg)
    if len(values) <= 3 * perplexity:
        msg = f"{len(values)} events are too few for a perplexity of {perplexity:g}: three times that are"
        raise InputError(msg)
    # Principal components beyond the first 50 are noise that costs time, as the authors say.
    reduced = _components(values - values.mean(axis=0), 50)[0]
    made = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(reduced)
    return np.asarray(made, dtype=np.float64)


@checked
def clusters(points: Floats, *, eps: float | None = None, min_samples: int = 25) -> Integers:
    """Numbers (n,) of the clusters that points (n, 2) are in; -1 for those that are in none.

    Reference: M. Ester et al., DBSCAN, KDD 1996.

    Args:
        points: A map.
        eps: The distance of neighbours, in the units of the map, which depend on its perplexity and program;
            if None, the median distance to the last of ``min_samples`` neighbours.
        min_samples: Neighbours, itself included, that a point inside a cluster has.
    """
    from sklearn.cluster import DBSCAN
    from sklearn.neighbors import NearestNeighbors

    points = _rows("points", points)
    if not min_samples or (eps is not None and not 0 < eps < np.inf):
        msg = f"min_samples must be at least 1 and eps above 0 and finite, not {min_samples} and {eps}"
        raise InputError(msg)
    if eps is None:
        number = min(min_samples, len(points))
        distances = NearestNeighbors(n_neighbors=number).fit(points).kneighbors(points)[0]
        eps = float(np.median(distances[:, -1]))
    found = DBSCAN(eps=eps, min_samples=min_samples).fit_predict(points)
    return np.asarray(found, dtype=np.int64)


def _rows(name: str, values: Any) -> Floats:
    """Numbers (n, width), of which there are some, all finite.

    Raises:
        InputError: If they are something else.
    """
    rows = np.asarray(values, dtype=np.float64)
    if rows.ndim != 2 or not rows.size or not np.isfinite(rows).all():
        msg = f"{name} must be finite numbers of the shape (n, width), not of {rows.shape}"
        raise InputError(msg)
    return rows


class Labels(NamedTuple):
    """A class for each of n events.

    Attributes:
        number: The class of each (n,), from 0; -1 where there is none.
        names: What the classes are.
    """

    number: Integers
    names: tuple[str, ...]


@checked
def labels_of(observable: Observable, events: ak.Array | EventBatch) -> Labels:
    """The classes of events by an observable: its values if there are few, else bins of equal numbers.

    Args:
        observable: One value for each event; of objects, that of the first counts.
        events: n events.
    """
    flat = observable.flat(events)
    event, first = np.unique(np.asarray(flat.index), return_index=True)
    values = np.full(len(events), np.nan)
    values[event] = np.asarray(flat.values, dtype=np.float64)[first]
    there = np.isfinite(values)
    number = np.full(len(values), -1, dtype=np.int64)
    kinds = np.unique(values[there])
    if len(kinds) <= MOST_CLASSES:
        number[there] = np.searchsorted(kinds, values[there])
        return Labels(number, tuple(f"{v:g}" for v in kinds))
    edges = np.unique(quantile(values[there], np.arange(1, BINS) / BINS))
    number[there] = np.searchsorted(edges, values[there])
    ends = ["", *(f"{e:.3g}" for e in edges), ""]
    names = [f"{low} to {high}" for low, high in pairwise(ends)]
    names[0], names[-1] = f"to {ends[1]}", f"from {ends[-2]}"
    return Labels(number, tuple(names))


@dataclass(frozen=True)
class Purity:
    """How pure clusters are in labels.

    Attributes:
        value: The share of events that have the most frequent label of their cluster.
        floor: The same for labels that have been shuffled.
        floor_error: Its standard deviation over shuffles.
        clusters: The number of clusters.
        clustered: The share of events that are in clusters; the others do not count.
        table: Numbers of events by cluster and label.
    """

    value: float
    floor: float
    floor_error: float
    clusters: int
    clustered: float
    table: Integers

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "value": self.value if self.clusters else None,
            "floor": self.floor if self.clusters else None,
            "floor_error": self.floor_error if self.clusters else None,
            "clusters": self.clusters,
            "clustered": self.clustered,
            "table": self.table.tolist(),
        }


@checked
def purity(cluster: Integers, labels: Labels, *, seed: int = 0) -> Purity:
    """How pure clusters (n,) are in labels, of events that have both, beside the purity by chance.

    More clusters are purer by chance, so it is the floor that a purity has to be compared with.

    Raises:
        InputError: If there is not one whole number for each label.
    """
    cluster = np.asarray(cluster)
    if cluster.dtype.kind not in "iu" or cluster.shape != np.shape(labels.number):
        msg = f"cluster must be whole numbers, one for each of the {np.size(labels.number)} labels"
        raise InputError(msg)
    both = (cluster >= 0) & (labels.number >= 0)
    a, b = cluster[both], labels.number[both]
    shape = int(cluster.max(initial=-1)) + 1, len(labels.names)
    if not both.any():
        return Purity(np.nan, np.nan, np.nan, shape[0], 0.0, np.zeros(shape, dtype=np.int64))

    def table(of: Integers) -> Integers:
        return np.bincount(a * shape[1] + of, minlength=shape[0] * shape[1]).reshape(shape)

    rng = np.random.default_rng(seed)
    chance = [table(rng.permutation(b)).max(axis=1).sum() / len(b) for _ in range(SHUFFLES)]
    found = table(b)
    value = float(found.max(axis=1).sum() / len(b))
    share = float(both.sum() / max((labels.number >= 0).sum(), 1))
    return Purity(value, float(np.mean(chance)), float(np.std(chance)), shape[0], share, found)


@checked
def principal_components(true: Floats, *others: Floats) -> tuple[list[Floats], Floats]:
    """Projections (n, 2) of true values (n, width) and of others on the first components of the true ones.

    Returns:
        The projections, and the shares of the variance that the two components have.

    Raises:
        InputError: If values are not finite, or have not the same width.
    """
    true, others = _rows("true", true), tuple(_rows("others", other) for other in others)
    if any(other.shape[1] != true.shape[1] for other in others):
        msg = f"others must have {true.shape[1]} columns, as the true values have"
        raise InputError(msg)
    mean = true.mean(axis=0)
    scores, axes, shares = _components(true - mean, 2)
    return [scores, *((other - mean) @ axes for other in others)], shares


def _components(values: Floats, most: int) -> tuple[Floats, Floats, Floats]:
    """Scores (n, k), axes (width, k) and shares of the variance (k,) of centred values."""
    _, axes = np.linalg.eigh(values.T @ values)
    axes = axes[:, ::-1][:, :most]
    # The sign of an axis is a matter of convention.
    axes = axes * np.where(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])] < 0, -1.0, 1.0)
    scores = values @ axes
    total = max(float(np.square(values).sum()), 1e-300)
    return scores, axes, np.square(scores).sum(axis=0) / total
