"""Uncertainties of an ensemble's events: the spread of its members apart from their statistical errors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from hepgan.errors import InputError
from hepgan.generator.ensembles import MEMBER
from hepgan.validation.sections import Section

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hepgan.observables import Observable

__all__ = ["Band", "band", "members_of", "members_section"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Band:
    """What is known of an ensemble's histogram, bin by bin.

    Contents are shares of all events; of a weighted observable sums of weights per event. Under- and overflow
    are not among the B bins.

    Attributes:
        members: The number of members.
        content: The contents (B,) of the events of all members.
        statistical: Their variances (B,) from the finite number of generated events.
        spread: The variances (B,) between members, without what they have from their finite numbers of
            events. They start from other weights and learn from other bootstrap samples, so this is how far
            the training, with events as few as there were, may have led the ensemble astray.
        true: The variances (B,) of the reference's contents from its finite number of events.
        pulls: Difference from the reference over the root of the sum of all three variances (B,); NaN where
            both are empty.
    """

    members: int
    content: Floats
    statistical: Floats
    spread: Floats
    true: Floats
    pulls: Floats

    @property
    def variance(self) -> Floats:
        """The whole variance (B,) of the ensemble's contents."""
        return self.statistical + self.spread

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able dict with standard deviations and pulls of the bins, and a summary of the pulls."""
        return {
            **self.summary(),
            "statistical": [math.sqrt(v) for v in self.statistical.tolist()],
            "spread": [math.sqrt(v) for v in self.spread.tolist()],
            "pulls": [p if math.isfinite(p) else None for p in self.pulls.tolist()],
        }

    def summary(self) -> dict[str, Any]:
        """Mean and width of the pulls, and the shares of bins where they are below 1 and 2."""
        known = self.pulls[np.isfinite(self.pulls)]
        if not known.size:
            return {"members": self.members}
        return {
            "members": self.members,
            "within_one_sigma": float(np.mean(np.abs(known) < 1)),
            "within_two_sigma": float(np.mean(np.abs(known) < 2)),
            "mean_of_pulls": float(known.mean()),
            "width_of_pulls": float(known.std()),
        }


def band(reference: Any, generated: Any, members: Any, *, weighted: bool = False) -> Band | None:
    """The uncertainties of an ensemble's histogram, and its pulls.

    The variance between members is that of their histograms less the mean of their statistical variances;
    where chance makes it negative, it is 0. The spread is that of one member: an ensemble of any size learns
    from the same events, and its mean shares most of their fluctuation.

    Args:
        reference: The reference's histogram (``hist.Hist`` with Weight storage, one axis).
        generated: That of all members' events.
        members: The same with an axis of members before.
        weighted: Whether they are sums of weights per event; else all are normalised.

    Returns:
        The band; None if fewer than two members have events.
    """
    first = 1 if reference.axes[0].traits.underflow else 0
    inside = slice(first, first + len(reference.axes[0]))
    every = [_contents(view, weighted) for view in members.view(flow=True)]
    known = [one for one in every if one is not None]
    true, made = (_contents(h.view(flow=True), weighted) for h in (reference, generated))
    if len(known) < 2 or true is None or made is None:
        return None
    shares, errors = (np.stack(part)[:, inside] for part in zip(*known, strict=True))
    spread = np.maximum(shares.var(axis=0, ddof=1) - errors.mean(axis=0), 0.0)
    (t, v_t), (g, v_g) = ((x[inside], v[inside]) for x, v in (true, made))
    variance = v_g + spread + v_t
    pulls = np.divide(g - t, np.sqrt(variance), out=np.full_like(g, np.nan), where=variance > 0)
    return Band(len(known), g, v_g, spread, v_t, pulls)


def _contents(view: Any, weighted: bool) -> tuple[Floats, Floats] | None:
    """Contents and their variances, normalised unless they are per event; None if there are none."""
    value, variance = (np.asarray(view[n], dtype=np.float64) for n in ("value", "variance"))
    if weighted:
        return (value, variance) if np.isfinite(value).all() else None
    total = float(value.sum())
    if not total > 0:
        return None
    share = value / total
    # The numerator is a part of the denominator.
    error = ((1 - 2 * share) * variance + share**2 * variance.sum()) / total**2
    return share, np.maximum(error, 0.0)


def members_of(events: ak.Array, source: str = "events") -> NDArray[np.int64] | None:
    """The member (N,) that has made each of N events; None if they do not tell.

    Raises:
        InputError: If a number is negative.
    """
    if MEMBER not in ak.fields(events) or events[MEMBER].ndim != 1:
        return None
    found = np.asarray(ak.to_numpy(events[MEMBER]))
    if found.dtype.kind not in "iu":
        return None
    if (found < 0).any():
        msg = "the number of a member is negative"
        raise InputError(msg, file=source, branch=MEMBER, entry=int(np.argmax(found < 0)))
    return found.astype(np.int64)


def members_section(
    observables: Mapping[str, Observable], bands: Mapping[str, Mapping[str, Band]]
) -> Section:
    """What a report tells of ensembles: the pulls of each observable of each sample.

    Args:
        observables: The observables.
        bands: By label and observable.
    """
    several = len(bands) > 1
    metrics: dict[str, Any] = {
        (f"{label}, {name}" if several else name): found.summary()
        for label, by_name in bands.items()
        for name, found in by_name.items()
    }
    everything = np.concatenate([b.pulls for by_name in bands.values() for b in by_name.values()])
    known = everything[np.isfinite(everything)]
    if known.size:
        metrics = {"bins within one sigma": float(np.mean(np.abs(known) < 1)), **metrics}
    note = (
        "Pulls: generated minus true content of a bin, over the root of the sum of the variances of the "
        "generated events, of the training (the spread of the ensemble's members, from which their "
        "statistical fluctuations are subtracted), and of the reference. Where the bands cover, 68% of the "
        "bins are within one sigma. In the plots of observables the band around a generated histogram is the "
        "root of the first two."
    )
    figures = {
        f"pulls of {label}" if several else "pulls": partial(_pulls, dict(by_name))
        for label, by_name in bands.items()
    }
    return Section("Ensemble", note, metrics, figures)


def _pulls(bands: Mapping[str, Band]) -> Figure:
    # Who wants no picture need not wait for matplotlib.
    from hepgan.plotting.densities import pulls_of_members

    return pulls_of_members(bands)
