"""Pictures of unfoldings beside the truth, and of responses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from hepgan.plotting.densities import horizontal, vertical
from hepgan.plotting.style import COLOURS, NOTHING, REFERENCE, StyledFigure, styled
from hepgan.stats.histograms import edges_of

if TYPE_CHECKING:
    from hepgan.detector.closure import Closure
    from hepgan.detector.response import Response
    from hepgan.observables import Observable

__all__ = ["plot_closure", "plot_response"]

Floats = NDArray[np.float64]

MOST = 6.0
"""Pulls beyond this stand at the edge of a picture."""


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
