"""Pictures of weights: their distribution, where in phase space they are, how reliable the classifier is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import awkward as ak
import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from hepgan.observables import Observable
from hepgan.plotting.densities import edges_of, horizontal, vertical
from hepgan.plotting.style import COLOURS, NOTHING, REFERENCE, StyledFigure, styled
from hepgan.reweighting import Reweighter, effective_sample_size
from hepgan.validation.comparison import Comparison
from hepgan.validation.report import planes
from hepgan.validation.sections import Section

__all__ = ["mean_weights", "plot_weight_map", "plot_weights", "weights_section"]

Floats = NDArray[np.float64]

TAIL = 0.01
"""The tails of the weights are told by this quantile and by one less it."""

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


@styled
def plot_weights(reweighter: Reweighter) -> Figure:
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
    return _map(x, y, *_binned(events, x, y, weights))


@styled
def _map(x: Observable, y: Observable, mean: Floats, count: Floats) -> Figure:
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
    mean, _ = _binned(events, x, y, weights)
    return mean, (edges_of(x.axis()), edges_of(y.axis()))


def _binned(events: ak.Array, x: Observable, y: Observable, weights: Any) -> tuple[Floats, Floats]:
    w = np.asarray(ak.to_numpy(events["weight"]) if weights is None else weights, dtype=np.float64)
    if w.shape != (len(events),):
        msg = f"weights of the shape {w.shape} for {len(events)} events"
        raise ValueError(msg)
    values, there = [], np.ones(len(events), dtype=bool)
    for observable in (x, y):
        flat = observable.flat(events)
        column = np.full(len(events), np.nan)
        column[np.asarray(flat.index)] = np.asarray(flat.values, dtype=np.float64)
        there &= np.isfinite(column)
        values.append(column)
    return _means(x, y, values[0][there], values[1][there], w[there])


def _means(x: Observable, y: Observable, a: Floats, b: Floats, w: Floats) -> tuple[Floats, Floats]:
    """Mean weights and numbers of events (X, Y)."""
    edges = [edges_of(o.axis()) for o in (x, y)]
    total, _, _ = np.histogram2d(a, b, edges, weights=w)
    count, _, _ = np.histogram2d(a, b, edges)
    return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0), count


def weights_section(
    reweighter: Reweighter, comparison: Comparison, label: str, metrics: Mapping[str, Any] | None = None
) -> Section:
    """What a report tells of weights: both tails, effective sample size, calibration, maps.

    Args:
        reweighter: What made the weights.
        comparison: The comparison of the weighted events.
        label: Which sample of it has the weights.
        metrics: More numbers.
    """
    weight = reweighter.fitted_weights.weight
    size = effective_sample_size(weight)
    tails = {f"{q:g}": float(np.quantile(weight, q)) for q in (0.001, TAIL, 1 - TAIL, 0.999)}
    before, after = reweighter.reliability_before, reweighter.reliability
    numbers = {
        "events": len(weight),
        "effective_sample_size": size,
        "effective_share": size / len(weight),
        "quantiles_of_the_weights": tails,
        "chi2_of_the_reliability": {"before_calibration": before.chi2, "after_calibration": after.chi2},
        **(metrics or {}),
    }
    figures: dict[str, Callable[[], Figure]] = {
        "Weights, and reliability of the classifiers": partial(plot_weights, reweighter)
    }
    table = comparison.tables[label]
    for pair in planes(comparison)[:2] if np.ptp(table.weights) > 0 else ():
        x, y = (comparison.observables[n] for n in pair)
        a, b = (table.column(n) for n in pair)
        there = np.isfinite(a) & np.isfinite(b)
        found = _means(x, y, a[there], b[there], table.weights[there])
        figures[" and ".join(pair)] = partial(_map, x, y, *found)
    note = (
        "Weights that make generated events follow the reference, by members of the ensemble that did not "
        "know the event. Left: their distribution; a tail to the left holds events that should not be there, "
        "one to the right events that stand for many. Right: how often an event is true that the classifier "
        "finds so. Maps: the mean weight."
    )
    return Section("Weights", note, numbers, figures)
