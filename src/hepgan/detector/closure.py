"""Whether an unfolding closes: pulls at the vertex."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import awkward as ak
import numpy as np
from numpy.typing import ArrayLike, NDArray

from hepgan.events import event_weights
from hepgan.observables import Observable
from hepgan.stats.histograms import edges_of
from hepgan.stats.moments import effective_entries

__all__ = ["Closure", "closure"]

Floats = NDArray[np.float64]

FEWEST = 25.0
"""Effective true events below which a bin's variance is not known well enough to judge by."""


@dataclass(frozen=True)
class Closure:
    """Unfolded beside true shares of events in B bins of an observable.

    Attributes:
        observable: The observable, whose bins these are.
        truth: (B,) shares of the true events.
        truth_variance: (B,) their statistical variances.
        unfolded: (B,) mean shares over the members.
        unfolded_variance: (B,) variances of a member's shares.
        excluded: (B,) bins that are not judged: ill-posed ones, and those of few true events.
    """

    observable: Observable
    truth: Floats
    truth_variance: Floats
    unfolded: Floats
    unfolded_variance: Floats
    excluded: NDArray[np.bool_]

    @property
    def pulls(self) -> Floats:
        """(B,) (unfolded - truth) / sqrt(sum of variances); NaN where both are 0."""
        variance = self.truth_variance + self.unfolded_variance
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(
                np.where(variance > 0, (self.unfolded - self.truth) / np.sqrt(variance), np.nan)
            )

    @property
    def judged(self) -> Floats:
        """The pulls of the bins that are judged."""
        return np.asarray(self.pulls[~self.excluded])

    @property
    def mean(self) -> float:
        """Mean of the judged pulls: within 0.3 of 0 if the unfolding closes; NaN without any."""
        return float(self.judged.mean()) if len(self.judged) else float("nan")

    @property
    def width(self) -> float:
        """Standard deviation of the judged pulls: 0.8 to 1.3 if the unfolding closes; NaN of one."""
        return float(self.judged.std(ddof=1)) if len(self.judged) > 1 else float("nan")


def closure(
    observable: Observable,
    truth: ak.Array,
    members: Sequence[ak.Array],
    *,
    ill_posed: ArrayLike | None = None,
    same_events: bool = False,
) -> Closure:
    """Compares several unfoldings of bootstrap samples of the data with the truth.

    Args:
        observable: One number an event, with bins.
        truth: True events, independent of the data that were unfolded; with weights if there are any.
        members: Events of each unfolding, likewise. Their spread is the uncertainty of one, as the data's
            statistics and the training have it.
        ill_posed: (B,) bins that are not to be judged (``Response.ill_posed``).
        same_events: Whether the members are the same events with other weights, so that the events' own
            statistics are no part of the spread and are added.

    Raises:
        ValueError: If there are fewer than two members, no bins, or not one flag for each.
    """
    if len(members) < 2:
        msg = f"a spread needs at least two unfoldings, not {len(members)}"
        raise ValueError(msg)
    edges = edges_of(observable.axis())
    expected, variance, entries = _shares(observable, truth, edges)
    excluded = entries < FEWEST
    if ill_posed is not None:
        flags = np.asarray(ill_posed, dtype=np.bool_)
        if flags.shape != excluded.shape:
            msg = f"{flags.shape} flags for {len(excluded)} bins"
            raise ValueError(msg)
        excluded = excluded | flags
    found = [_shares(observable, m, edges) for m in members]
    shares = np.stack([f[0] for f in found])
    spread = shares.var(axis=0, ddof=1)
    if same_events:
        spread = spread + np.mean([f[1] for f in found], axis=0)
    return Closure(observable, expected, variance, shares.mean(axis=0), spread, excluded)


def _shares(observable: Observable, events: ak.Array, edges: Floats) -> tuple[Floats, Floats, Floats]:
    """Shares of the events in bins, their variances, and the effective entries."""
    values, weight = observable.column(events), event_weights(events)
    sums, squares = (np.histogram(values, edges, weights=w)[0] for w in (weight, weight**2))
    total = float(weight.sum())
    return sums / total, squares / total**2, effective_entries(sums, squares)
