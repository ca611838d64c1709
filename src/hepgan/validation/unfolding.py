"""Whether an unfolding closes: pulls at the vertex, and pictures of them and of the response."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import awkward as ak
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from hepgan.detector.levels import event_weights
from hepgan.detector.response import Response, column_of
from hepgan.observables import Observable
from hepgan.plotting.densities import edges_of, horizontal, vertical
from hepgan.plotting.style import COLOURS, NOTHING, REFERENCE, StyledFigure, styled

__all__ = ["Closure", "closure", "plot_closure", "plot_response"]

Floats = NDArray[np.float64]

FEWEST = 25.0
"""Effective true events below which a bin's variance is not known well enough to judge by."""

MOST = 6.0
"""Pulls beyond this stand at the edge of a picture."""


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
    values, weight = column_of(observable, events), event_weights(events)
    sums, squares = (np.histogram(values, edges, weights=w)[0] for w in (weight, weight**2))
    total = float(weight.sum())
    with np.errstate(divide="ignore", invalid="ignore"):
        entries = np.where(squares > 0, sums**2 / squares, 0.0)
    return sums / total, squares / total**2, entries


@styled
def plot_closure(closures: Mapping[str, Closure]) -> Figure:
    """Unfoldings of one observable: shares of events per unit, ratios to the truth, and pulls.

    Bands are one standard deviation of an unfolding, and of the truth; bins that are not judged are grey, and
    pulls beyond 6 stand at 6.

    Args:
        closures: By what the unfoldings are called; all of the same observable and truth.
    """
    first = next(iter(closures.values()))
    axis = first.observable.axis()
    edges = edges_of(axis)
    width, middle = np.diff(edges), _middles(axis, edges)
    figure = StyledFigure(figsize=(6.6, 7.6), layout="constrained")
    top, ratio, pull = figure.subplots(3, 1, sharex=True, height_ratios=(3, 1.5, 1.5))
    top.stairs(first.truth / width, edges, color="black", lw=1.8, label="truth", baseline=None)
    error = np.sqrt(first.truth_variance)
    with np.errstate(divide="ignore", invalid="ignore"):
        _band(ratio, edges, 1 - error / first.truth, 1 + error / first.truth, REFERENCE)
    ratio.axhline(1.0, color="black", lw=1.2)
    for (label, found), colour in zip(closures.items(), COLOURS * 3, strict=False):
        error = np.sqrt(found.unfolded_variance)
        top.stairs(found.unfolded / width, edges, color=colour, lw=1.6, label=label, baseline=None)
        _band(top, edges, (found.unfolded - error) / width, (found.unfolded + error) / width, colour)
        with np.errstate(divide="ignore", invalid="ignore"):
            scaled, scatter = found.unfolded / found.truth, error / found.truth
        ratio.stairs(scaled, edges, color=colour, lw=1.6, baseline=None)
        _band(ratio, edges, scaled - scatter, scaled + scatter, colour)
        used = ~found.excluded
        note = f"{label}: {found.mean:+.2f} \N{PLUS-MINUS SIGN} {found.width:.2f}"
        pull.plot(middle[used], found.judged.clip(-MOST, MOST), "o", color=colour, ms=4, label=note)
    for panel in (top, ratio, pull):
        for i in np.flatnonzero(first.excluded):
            panel.axvspan(edges[i], edges[i + 1], color=NOTHING, lw=0, zorder=0)
    filled = first.truth[first.truth > 0] / width[first.truth > 0]
    if len(filled) and filled.max() > 50 * filled.min():
        top.set_yscale("log")
        top.set_ylim(0.5 * filled.min(), 4 * filled.max())
    top.set_ylabel("Share of events per unit")
    ratio.set(ylabel="Ratio to truth", ylim=(0.75, 1.25))
    for level in (-1, 1):
        pull.axhline(level, color=REFERENCE, ls=":", lw=1.2)
    pull.axhline(0.0, color="black", lw=1.2)
    pull.set(ylabel="Pull", ylim=(-1.1 * MOST, 2.1 * MOST), xlabel=first.observable.title)
    pull.legend(loc="upper left", frameon=False, fontsize=9, ncols=2, columnspacing=0.8, handletextpad=0.1)
    top.legend(loc="best", frameon=False)
    horizontal(pull, axis)
    return figure


@styled
def plot_response(found: Response, observable: Observable) -> Figure:
    """Migrations between bins, and purity, stability and efficiency of each bin.

    Bins that are ill-posed are grey in the lower panel.

    Args:
        found: The response.
        observable: The observable at the vertex, whose bins these are.
    """
    axis = observable.axis()
    edges = found.edges
    figure = StyledFigure(figsize=(6.6, 8.2), layout="constrained")
    top, bottom = figure.subplots(2, 1, height_ratios=(2.4, 1), sharex=True)
    shown = np.ma.masked_less_equal(found.matrix, 0).T
    image = top.pcolormesh(edges, edges, shown, cmap="Blues", vmin=0, vmax=1, rasterized=True)
    figure.colorbar(image, ax=top, label="Probability to be found there", pad=0.01)
    top.set_ylabel(f"{observable.title}, detector")
    top.set_title(f"Condition number {found.condition:.3g}", fontsize=12)
    vertical(top, axis)
    for i in np.flatnonzero(found.ill_posed):
        bottom.axvspan(edges[i], edges[i + 1], color=NOTHING, lw=0, zorder=0)
    for name, values, colour in (
        ("purity", found.purity, COLOURS[0]),
        ("stability", found.stability, COLOURS[1]),
        ("efficiency", found.efficiency, REFERENCE),
    ):
        bottom.stairs(values, edges, color=colour, lw=1.8, label=name, baseline=None)
    bottom.axhline(found.threshold, color="black", ls=":", lw=1.2)
    bottom.set(ylim=(0, 1.35), xlabel=f"{observable.title}, vertex", ylabel="Share of events")
    bottom.legend(loc="upper left", frameon=False, ncols=3)
    horizontal(bottom, axis)
    return figure


def _band(panel: Any, edges: Floats, low: Floats, high: Floats, colour: str) -> None:
    look: dict[str, Any] = {"color": colour, "alpha": 0.25, "lw": 0}
    panel.fill_between(edges, np.append(low, low[-1]), np.append(high, high[-1]), step="post", **look)


def _middles(axis: Any, edges: Floats) -> Floats:
    logarithmic = getattr(axis, "transform", None) is not None
    middle = np.sqrt(edges[1:] * edges[:-1]) if logarithmic else (edges[1:] + edges[:-1]) / 2
    return np.asarray(middle)
