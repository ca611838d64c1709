"""True objects and what a detector made of them: efficiencies and resolutions."""

from __future__ import annotations

from typing import NamedTuple

import awkward as ak
import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from hepgan.events import to_batch
from hepgan.events.editing import select
from hepgan.events.inference import schema_of
from hepgan.features.parts.matching import Distance, match
from hepgan.features.view import raw_kinematics

__all__ = ["Pairs", "Profile", "pairs", "profile"]

QUANTITIES = ("energy", "p", "pt", "eta", "theta", "phi")


class Pairs(NamedTuple):
    """P true objects with the measured ones that belong to them.

    Attributes:
        event: The number (P,) of each true object's event.
        true: Energy, p and pt (GeV), eta, theta and phi (P,) of each.
        found: Whether (P,) there is a measured object.
        measured: The same quantities (P,) of it; NaN where there is none.
        fakes: The number (N,) of measured objects in each event that belong to no true one.
    """

    event: NDArray[np.int64]
    true: dict[str, NDArray[np.float64]]
    found: NDArray[np.bool_]
    measured: dict[str, NDArray[np.float64]]
    fakes: NDArray[np.int64]


def pairs(
    events: ak.Array,
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

    mean: NDArray[np.float64]
    width: NDArray[np.float64]
    number: NDArray[np.int64]

    @property
    def mean_error(self) -> NDArray[np.float64]:
        """The statistical error of the mean."""
        return self.width / np.sqrt(np.maximum(self.number, 1))

    @property
    def width_error(self) -> NDArray[np.float64]:
        """The statistical error of the width, of a normal quantity."""
        return self.width / np.sqrt(2.0 * np.maximum(self.number, 1))


def profile(values: ArrayLike, by: ArrayLike, edges: ArrayLike) -> Profile:
    """Mean and width of a quantity in bins of another one.

    Of ``pairs.found`` it is the efficiency; of ``measured - true`` the bias and the resolution. What is not
    a number is left out.

    Args:
        values: The quantity (P,).
        by: The other one (P,).
        edges: The edges (B + 1,) of the bins.
    """
    v, edges = np.asarray(values, dtype=np.float64), np.asarray(edges, dtype=np.float64)
    place = np.digitize(np.asarray(by, dtype=np.float64), edges) - 1
    bins = len(edges) - 1
    good = np.isfinite(v) & (place >= 0) & (place < bins)
    v, place = v[good], place[good]
    number = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(place, v, bins) / np.where(number > 0, number, np.nan)
        deviation = v - mean[place]
        width = np.sqrt(np.bincount(place, deviation**2, bins) / np.where(number > 0, number, np.nan))
    return Profile(mean, width, number)
