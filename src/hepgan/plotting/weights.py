"""Pictures of weights: their distribution, where in phase space they are, how reliable the classifier is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import awkward as ak
import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from hepgan.plotting.densities import horizontal, vertical
from hepgan.plotting.style import COLOURS, NOTHING, REFERENCE, StyledFigure, styled
from hepgan.stats.histograms import edges_of
from hepgan.stats.moments import checked_weights
from hepgan.stats.weights import TAIL, effective_sample_size

if TYPE_CHECKING:
    from hepgan.observables import Observable
    from hepgan.stats.classifiers import Reliability
    from hepgan.stats.weights import Weights

__all__ = ["LearnedWeights", "mean_weights", "plot_weight_map", "plot_weights", "weight_map"]

Floats = NDArray[np.float64]

SCALES = {
    1.05: (0.96, 0.98, 1.0, 1.02, 1.04),
    1.1: (0.92, 0.96, 1.0, 1.04, 1.08),
    1.2: (0.85, 0.92, 1.0, 1.08, 1.16),
    1.5: (0.7, 0.85, 1.0, 1.2, 1.4),
    2.0: (0.5, 0.7, 1.0, 1.4, 2.0),
    4.0: (0.25, 0.5, 1.0, 2.0, 4.0),
    10.0: (0.1, 0.3, 1.0, 3.0, 10.0),
    100.0: (0.01, 0.1, 1.0, 10.0, 100.0),
}
"""Scales of maps by the largest weight on them, with their ticks."""

COVERED = 0.99
"""Share of events in whose bins the mean weight must be on the scale; single events would stretch it."""


class LearnedWeights(Protocol):
    """What a :class:`hepgan.reweighting.Reweighter` has learned, as far as it is shown."""

    @property
    def fitted_weights(self) -> Weights:
        """Weights of the events that were learned from."""

    reliability: Reliability
    reliability_before: Reliability


@styled
def plot_weights(reweighter: LearnedWeights) -> Figure:
    """The weights of the generated events that a reweighter has learned from, and its reliability.

    On the left the weights of events by members that did not know them, with both tails and the effective
    sample size; on the right how often events are true, by the probability that the classifier gives,
    before and after calibration.
    """
    figure = StyledFigure(figsize=(11, 4.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    weight = reweighter.fitted_weights.weight
    log = np.log10(weight)
    reach = max(1.05 * float(np.abs(log).max()), 0.05)
    left.hist(log, np.linspace(-reach, reach, 61), histtype="step", color=COLOURS[0], lw=1.5)
    for quantile in (TAIL, 1 - TAIL):
        left.axvline(float(np.quantile(log, quantile)), color=REFERENCE, ls="--", lw=1.2)
    left.set(yscale="log", xlabel=r"$\log_{10}\,w$", ylabel="Events")
    share = effective_sample_size(weight) / len(weight)
    left.set_title(f"Effective sample size {share:.1%}, 1% tails dashed", fontsize=12)
    for found, label, colour, marker in (
        (reweighter.reliability_before, "before calibration", COLOURS[1], "s"),
        (reweighter.reliability, "after calibration", COLOURS[0], "o"),
    ):
        right.errorbar(
            found.predicted,
            found.observed - found.predicted,
            found.error,
            fmt=marker,
            color=colour,
            ms=4,
            lw=1.2,
            label=rf"{label}, $\chi^2$/bin {found.chi2:.2f}",
        )
    right.axhline(0.0, color=REFERENCE, lw=1.2)
    right.set(xlabel="Predicted probability that an event is true", ylabel="Observed minus predicted")
    low, high = right.get_ylim()
    right.set_ylim(low, high + 0.3 * (high - low))
    right.legend(loc="upper left", frameon=False)
    return figure


def plot_weight_map(events: ak.Array, x: Observable, y: Observable, weights: Any = None) -> Figure:
    """The mean weight of events in bins of two observables with one number an event; grey where are none.

    The scale covers the bins of nearly all events; what is beyond it, as bins of single events may be, has
    the colours of its ends.

    Args:
        events: N events.
        x: Observable of the horizontal axis, with bins and range.
        y: Observable of the vertical axis, likewise.
        weights: (N,); the field ``weight`` of the events if None.

    Raises:
        ValueError: If there is not one weight for each event.
    """
    return weight_map(x, y, *_columns(events, x, y, weights))


@styled
def weight_map(x: Observable, y: Observable, a: Floats, b: Floats, weights: Floats) -> Figure:
    """As :func:`plot_weight_map`, of values a (N,) of x and b (N,) of y, NaN where an event has none."""
    mean, count = _means(x, y, a, b, weights)
    figure = StyledFigure(figsize=(6.6, 5.2), layout="constrained")
    panel = figure.subplots()
    most = _scale(mean, count)
    # A mean that is not positive has no logarithm, but is not nothing.
    shown = np.ma.masked_invalid(np.where(mean <= 0, 0.1 / most, mean).T)
    look: dict[str, Any] = {"cmap": "RdBu_r", "norm": LogNorm(1 / most, most), "rasterized": True}
    image = panel.pcolormesh(edges_of(x.axis()), edges_of(y.axis()), shown, **look)
    panel.set_facecolor(NOTHING)
    panel.set(xlabel=x.title, ylabel=y.title)
    horizontal(panel, x.axis())
    vertical(panel, y.axis())
    bar = figure.colorbar(image, ax=panel, label="Mean weight", extend="both")
    bar.set_ticks(SCALES[most], labels=[f"{t:g}" for t in SCALES[most]])
    bar.ax.minorticks_off()
    return figure


def _scale(mean: Floats, count: Floats) -> float:
    """The largest weight of the narrowest scale that covers the bins of nearly all events."""
    known = mean > 0
    far = np.abs(np.log(mean[known]))
    order = np.argsort(far)
    share = np.cumsum(count[known][order]) / max(count[known].sum(), 1.0)
    reach = float(far[order][np.searchsorted(share, COVERED)]) if len(far) else 0.0
    return next((most for most in SCALES if reach <= np.log(most)), max(SCALES))


def mean_weights(
    events: ak.Array, x: Observable, y: Observable, weights: Any = None
) -> tuple[Floats, tuple[Floats, Floats]]:
    """The mean weight in bins (X, Y) of two observables, NaN where there are no events; and the bins' edges.

    Raises:
        ValueError: If there is not one weight for each event.
    """
    mean, _ = _means(x, y, *_columns(events, x, y, weights))
    return mean, (edges_of(x.axis()), edges_of(y.axis()))


def _columns(events: ak.Array, x: Observable, y: Observable, weights: Any) -> tuple[Floats, Floats, Floats]:
    """Both observables (N,), NaN where an event has none, and the weights (N,)."""
    given = ak.to_numpy(events["weight"]) if weights is None else weights
    return x.column(events), y.column(events), checked_weights(given, len(events))


def _means(x: Observable, y: Observable, a: Floats, b: Floats, w: Floats) -> tuple[Floats, Floats]:
    """Mean weights and numbers of events (X, Y)."""
    edges = [edges_of(o.axis()) for o in (x, y)]
    there = np.isfinite(a) & np.isfinite(b)
    total, _, _ = np.histogram2d(a[there], b[there], edges, weights=w[there])
    count, _, _ = np.histogram2d(a[there], b[there], edges)
    return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0), count
