"""What a detector does: which true objects it finds, how well it measures them, migrations between bins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from hepgan.arguments import checked
from hepgan.errors import InputError
from hepgan.events import EventsLike, event_weights, schema_of, select, to_batch
from hepgan.features.parts.response import Distance, match
from hepgan.features.reading import raw_kinematics
from hepgan.observables import Observable

__all__ = ["THRESHOLD", "Pairs", "Profile", "Response", "pairs", "profile", "response"]

Floats = NDArray[np.float64]

QUANTITIES = ("energy", "p", "pt", "eta", "theta", "phi")

THRESHOLD = 0.4
"""Purity and stability below which a bin is declared ill-posed, unless told otherwise."""

FEWEST = 25
"""Fewer events than this, at the vertex or in the detector, tell nothing of a bin."""


class Pairs(NamedTuple):
    """P true objects with the measured ones that belong to them.

    Attributes:
        event: The number (P,) of each true object's event.
        true: Energy, p and pt, eta, theta and phi (P,) of each.
        found: Whether (P,) there is a measured object.
        measured: The same quantities (P,) of it; NaN where there is none.
        fakes: The number (N,) of measured objects in each event that belong to no true one.
    """

    event: NDArray[np.int64]
    true: dict[str, Floats]
    found: NDArray[np.bool_]
    measured: dict[str, Floats]
    fakes: NDArray[np.int64]


@checked
def pairs(
    events: EventsLike,
    vertex: str = "Electron",
    detector: str = "Detector",
    *,
    distance: Distance = "angle",
    within: float = 0.4,
) -> Pairs:
    """Matches the objects of two collections, the nearest first, one to one.

    Args:
        events: N events that have both.
        vertex: The collection of true objects.
        detector: The collection of measured objects.
        distance: What is near: ``angle`` or ``delta_r``.
        within: The largest distance of objects that belong together.

    Raises:
        InputError: If a collection is missing.
    """
    schema = select(schema_of(events), [vertex, detector])
    batch = to_batch(events, schema)
    partner = match(batch, vertex, detector, distance, within)
    rows, slots = batch.collections[vertex].mask.nonzero(as_tuple=True)
    chosen = partner[rows, slots]
    found = chosen >= 0
    true, measured = raw_kinematics(batch, vertex), raw_kinematics(batch, detector)
    seen = {}
    for name in QUANTITIES:
        values = measured[name][rows, chosen.clamp(min=0)] if measured[name].shape[1] else found.double()
        seen[name] = torch.where(found, values, torch.nan).numpy()
    fakes = batch.collections[detector].mask.sum(1) - (partner >= 0).sum(1)
    return Pairs(
        rows.numpy(),
        {n: true[n][rows, slots].numpy() for n in QUANTITIES},
        found.numpy(),
        seen,
        fakes.numpy(),
    )


class Profile(NamedTuple):
    """A quantity in bins of another one.

    Attributes:
        mean: Mean in each bin; NaN in empty ones.
        width: Standard deviation.
        number: Number of entries.
    """

    mean: Floats
    width: Floats
    number: NDArray[np.int64]


@checked
def profile(values: ArrayLike, by: ArrayLike, edges: ArrayLike) -> Profile:
    """Mean and width of a quantity in bins of another one.

    Of ``pairs.found`` it is the efficiency; of ``measured - true`` the bias and the resolution. What is not
    a number is left out.

    Args:
        values: The quantity (P,).
        by: The other one (P,).
        edges: The ascending edges (B + 1,) of the bins.

    Raises:
        InputError: If the quantities have not one value each, or the edges are no edges.
    """
    v, other, edges = (np.asarray(x, dtype=np.float64) for x in (values, by, edges))
    if v.ndim != 1 or v.shape != other.shape:
        msg = f"values and by must have one shape (P,), not {v.shape} and {other.shape}"
        raise InputError(msg)
    if edges.ndim != 1 or len(edges) < 2 or not (np.diff(edges) > 0).all():
        msg = "edges must be at least two ascending numbers"
        raise InputError(msg)
    place = np.digitize(other, edges) - 1
    bins = len(edges) - 1
    good = np.isfinite(v) & (place >= 0) & (place < bins)
    v, place = v[good], place[good]
    number = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(place, v, bins) / np.where(number > 0, number, np.nan)
        deviation = v - mean[place]
        width = np.sqrt(np.bincount(place, deviation**2, bins) / np.where(number > 0, number, np.nan))
    return Profile(mean, width, number)


@dataclass(frozen=True)
class Response:
    """Migrations between B bins of an observable.

    A bin is **ill-posed** if its purity or stability is below ``threshold``, or if there are too few events
    to tell: most of what is measured there says something of other bins. The criterion is that of binning
    in measurements at HERA, where thresholds of 0.3 to 0.5 were usual.

    Attributes:
        edges: The bins' edges (B + 1,).
        matrix: (B, B) probability to be found in bin j at the detector, of events of bin i at the vertex;
            rows sum to less than 1 where events are lost, or found outside all bins.
        purity: (B,) share of the events found in a bin that belong there, NaN where none is found.
        stability: (B,) share of the events of a bin that are found there, of those that are found at all.
        efficiency: (B,) share of the events of a bin that are found at all.
        vertex: (B,) sum of weights in each bin at the vertex.
        detector: (B,) the same at the detector.
        enough: (B,) whether there are enough events to tell.
        threshold: Least purity and stability of a bin that is not ill-posed.
    """

    edges: Floats
    matrix: Floats
    purity: Floats
    stability: Floats
    efficiency: Floats
    vertex: Floats
    detector: Floats
    enough: NDArray[np.bool_]
    threshold: float

    @property
    def ill_posed(self) -> NDArray[np.bool_]:
        """(B,) whether a bin is ill-posed."""
        good = (self.purity >= self.threshold) & (self.stability >= self.threshold)
        return np.asarray(~(good & self.enough))

    @property
    def singular_values(self) -> Floats:
        """Those of the matrix, of bins with enough events, descending.

        The noise of the data is amplified by their inverses where the matrix is inverted.
        """
        used = self.matrix[np.ix_(self.enough, self.enough)]
        return np.asarray(np.linalg.svd(used, compute_uv=False)) if used.size else np.empty(0)

    @property
    def condition(self) -> float:
        """The largest singular value over the smallest: infinite where bins cannot be told apart."""
        values = self.singular_values
        if not len(values):
            return float("nan")
        return float(values[0] / values[-1]) if values[-1] > 0 else float("inf")

    def fold(self, vertex: ArrayLike) -> Floats:
        """What is found in each bin (B,) of so much in each bin (B,) at the vertex."""
        return np.asarray(np.asarray(vertex, dtype=np.float64) @ self.matrix)

    def rows(self) -> list[dict[str, float | bool]]:
        """One row for each bin: its limits, events, purity, stability, efficiency, and whether ill-posed."""
        ill = self.ill_posed
        return [
            {
                "low": float(self.edges[i]),
                "high": float(self.edges[i + 1]),
                "vertex": float(self.vertex[i]),
                "detector": float(self.detector[i]),
                "purity": float(self.purity[i]),
                "stability": float(self.stability[i]),
                "efficiency": float(self.efficiency[i]),
                "ill_posed": bool(ill[i]),
            }
            for i in range(len(ill))
        ]


@checked
def response(
    events: EventsLike,
    vertex: Observable,
    detector: Observable,
    *,
    edges: ArrayLike | None = None,
    threshold: float = THRESHOLD,
) -> Response:
    """How an observable migrates between bins, from events that are known at both levels.

    Args:
        events: N events with what they are at the vertex and at the detector, weighted by their weight.
        vertex: The observable at the vertex, one number an event. What is found of an event that lacks it
            belongs to no bin, and makes those where it is found less pure.
        detector: The same observable at the detector. An event that lacks it is lost.
        edges: The bins' edges, ascending; those of ``vertex`` if None.
        threshold: Least purity and stability of a bin that is not ill-posed.

    Raises:
        InputError: If no event has the observable at the vertex.
        ValueError: If the edges do not ascend, ``vertex`` has no range, an observable has several values in
            an event, or the threshold is not within 0 and 1.
        RecipeError: If an observable does not fit the events.
    """
    if not 0 <= threshold <= 1:
        msg = f"the threshold must be from 0 to 1, not {threshold}"
        raise ValueError(msg)
    limits = np.asarray(vertex.axis().edges if edges is None else edges, dtype=np.float64)
    if limits.ndim != 1 or len(limits) < 2 or not (np.diff(limits) > 0).all():
        msg = f"edges must be at least 2 ascending numbers, not {limits}"
        raise ValueError(msg)
    true, found = vertex.column(events), detector.column(events)
    weight = event_weights(events)
    if not np.isfinite(true).any():
        msg = f"no event has the observable {vertex.name}"
        raise InputError(msg)
    size = len(limits) - 1
    row, place = _bins(true, limits), _bins(found, limits)
    # The places beyond the bins hold what belongs to none of them.
    both = np.zeros((size + 1, size + 2))
    column = np.where(np.isfinite(found), place, size + 1)
    np.add.at(both, (row, column), weight)
    counts = np.bincount(row, minlength=size + 1)[:size]
    seen = np.bincount(place, minlength=size + 1)[:size]
    total, diagonal = both[:size].sum(1), both[:size, :size].diagonal()
    measured = both[:, :size].sum(0)
    detected = both[:size, : size + 1].sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return Response(
            limits,
            np.where(total[:, None] != 0, both[:size, :size] / total[:, None], 0.0),
            np.asarray(diagonal / measured),
            np.asarray(diagonal / detected),
            np.asarray(detected / total),
            total,
            measured,
            np.asarray((counts >= FEWEST) & (seen >= FEWEST)),
            threshold,
        )


def _bins(values: Floats, edges: Floats) -> NDArray[np.int64]:
    """The bin of each value; B for those outside all bins."""
    size = len(edges) - 1
    place = np.searchsorted(edges, values, side="right") - 1
    return np.asarray(np.where((place < 0) | (place >= size), size, place), dtype=np.int64)
