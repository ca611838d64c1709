"""Histograms of one observable, with their ratios to the reference and their deviations from it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import hist
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import (
    FixedLocator,
    FormatStrFormatter,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    NullLocator,
)
from numpy.typing import NDArray

from hepgan.observables import Observable
from hepgan.plotting.style import COLOURS, LINES, REFERENCE, StyledFigure, styled
from hepgan.stats.histograms import Band, edges_of

__all__ = ["contents", "density", "horizontal", "pulls_of_members", "vertical"]

Floats = NDArray[np.float64]

MOST_IN_RATIO = 3
"""Samples in one ratio panel; more of them hide each other."""

DEVIATIONS = (0.1, 100.0)
"""Range of the panel of deviations, in per cent."""


@styled
def density(
    observable: Observable,
    reference: Any,
    generated: Mapping[str, Any],
    *,
    deviation: bool = False,
    errors: Mapping[str, Floats] = MappingProxyType({}),
) -> Figure:
    """Normalised histograms, and below them the ratios to the reference, and their deviations from 1.

    Weighted observables are shown as sums of weights per event, whose area is not normalised.

    The grey band is the reference's statistical error, vertical lines are the generated samples' own; a
    coloured band is an ensemble's whole uncertainty, the spread of its members included. The vertical axis is
    logarithmic where the filled bins span more than a factor of 200.

    Args:
        observable: The observable.
        reference: The reference's histogram.
        generated: The generated samples' histograms, by label.
        errors: The whole uncertainties of the contents (before division by the bin widths) of the samples of
            ensembles, by label.
        deviation: Whether to show |ratio - 1| in per cent, on a logarithmic axis; below the band it is less
            than the reference's statistical error.
    """
    several = len(generated) > 1
    parts = [list(generated)[i : i + MOST_IN_RATIO] for i in range(0, len(generated), MOST_IN_RATIO)]
    heights = [3.0, *(1.0 for _ in parts), *(1.1 for _ in parts if deviation)]
    across = 2 if max(map(len, generated)) > 12 else 3
    # Above the axes a legend of many entries can hide nothing.
    above = 0.25 + (0.25 * math.ceil((1 + len(generated)) / across) if several else 0.0)
    height = 1.75 + above + sum(heights)
    figure = StyledFigure(figsize=(6.4, height))
    places = {
        "hspace": 0.14 * len(heights) / sum(heights),
        "top": 1 - above / height,
        "bottom": 0.8 / height,
        "left": 0.17,
        "right": 0.96,
    }
    main, *below = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights, gridspec_kw=places)
    ratios, deviations = below[: len(parts)], below[len(parts) :]
    normalised = observable.weight is None
    edges = edges_of(reference.axes[0])
    true, error = contents(reference, normalised)
    main.stairs(true, edges, color=REFERENCE, fill=True, alpha=0.25, label="reference")
    main.stairs(true, edges, color=REFERENCE, lw=1.3)
    _band(main, edges, true - error, true + error)
    safe = np.where(true > 0, true, np.nan)
    for ratio in ratios:
        _band(ratio, edges, 1 - error / safe, 1 + error / safe)
        ratio.axhline(1, color=REFERENCE, lw=1)
    for panel in deviations:
        _band(panel, edges, np.full_like(error, DEVIATIONS[0]), 100 * error / safe)
        for level in (1.0, 10.0):
            panel.axhline(level, color=REFERENCE, lw=1, ls=":")
    shown = [true]
    for k, (label, h) in enumerate(generated.items()):
        colour, line = COLOURS[k % len(COLOURS)], LINES[k % len(LINES)]
        ratio = ratios[k // MOST_IN_RATIO]
        made, made_error = contents(h, normalised)
        main.stairs(made, edges, color=colour, lw=1.8, ls=line, label=label)
        if label in errors:
            whole = errors[label] / np.diff(reference.axes[0].edges)
            told = None if several else "statistics and spread of members"
            _band(main, edges, made - whole, made + whole, colour, label=told)
            _band(ratio, edges, (made - whole) / safe, (made + whole) / safe, colour)
        if not several:
            main.errorbar(_beside(edges, 0, 1), made, made_error, fmt="none", ecolor=colour, lw=1)
        # A ratio that is not known even to a factor of two tells nothing, and would hide its neighbours.
        quotient = np.where(np.hypot(error / safe, made_error / safe) < 1, made / safe, np.nan)
        ratio.stairs(quotient, edges, color=colour, lw=1.5, ls=line, baseline=None)
        # Side by side within the bin, so that errors don't hide each other.
        at = _beside(edges, k % MOST_IN_RATIO, len(parts[k // MOST_IN_RATIO]))
        alpha = 0.6 if several else 1.0
        ratio.errorbar(at, quotient, made_error / safe, fmt="none", ecolor=colour, lw=1, alpha=alpha)
        if deviations:
            panel = deviations[k // MOST_IN_RATIO]
            percent, percent_error = 100 * np.abs(quotient - 1), 100 * made_error / safe
            # What is below the axis is as good as on it.
            low = np.maximum(percent, DEVIATIONS[0])
            panel.stairs(low, edges, color=colour, lw=1.5, ls=line, baseline=None)
            down = np.minimum(percent_error, low - 0.999 * DEVIATIONS[0])
            panel.errorbar(at, low, (down, percent_error), fmt="none", ecolor=colour, lw=1, alpha=alpha)
        shown.append(made)
    every = np.concatenate(shown)
    # What has a sign, as asymmetries have, cannot be seen on a logarithmic axis.
    most = 200.0 if normalised else 20.0 if every.min() >= 0 else math.inf
    _heights(main, every, 0.12 if several else 0.38, most)
    unit = f"/{observable.unit}" if observable.unit else ""
    density = "Density" if normalised else "Weight per event"
    main.set_ylabel(f"{density} [1{unit}]" if unit else density)
    reach = _ratio_range(reference, generated, normalised)
    for ratio in ratios:
        ratio.set_ylabel("Ratio", loc="center")
        ratio.set_ylim(*reach)
        ratio.yaxis.set_label_coords(-0.14, 0.5)
    for panel in deviations:
        panel.set(yscale="log", ylim=DEVIATIONS)
        panel.set_ylabel("Deviation [%]", loc="center")
        panel.yaxis.set_major_locator(FixedLocator([0.1, 1.0, 10.0, 100.0]))
        panel.yaxis.set_major_formatter(FormatStrFormatter("%g"))
        panel.yaxis.set_label_coords(-0.14, 0.5)
        if len(deviations) > 1:
            # Inside the panel, or they would touch those of the next one.
            lowest, *_, highest = panel.get_yticklabels()
            lowest.set_verticalalignment("bottom")
            highest.set_verticalalignment("top")
    below[-1].set_xlabel(observable.title)
    horizontal(below[-1], reference.axes[0])
    main.yaxis.set_label_coords(-0.14, 1.0)
    if several:
        place = (0, 1.0, 1, 0.1)
        main.legend(loc="lower left", bbox_to_anchor=place, mode="expand", ncols=across, frameon=False)
    else:
        main.legend(loc="best", frameon=False)
    return figure


@styled
def pulls_of_members(bands: Mapping[str, Band]) -> Figure:
    """The distribution of an ensemble's pulls, and how much of each observable's errors the spread is."""
    figure = StyledFigure(figsize=(11.5, max(4.8, 1.8 + 0.28 * len(bands))), layout="constrained")
    left, right = figure.subplots(1, 2)
    pulls = np.concatenate([b.pulls for b in bands.values()])
    pulls = pulls[np.isfinite(pulls)]
    edges = np.linspace(-5.0, 5.0, 41)
    share = np.histogram(np.clip(pulls, -4.99, 4.99), edges)[0] / max(len(pulls), 1) / np.diff(edges)
    left.stairs(share, edges, color=COLOURS[0], lw=1.8, label=f"{len(pulls)} bins")
    x = np.linspace(-5.0, 5.0, 201)
    left.plot(x, np.exp(-0.5 * x**2) / math.sqrt(2 * math.pi), color=REFERENCE, lw=1.5, label="normal")
    told = f"mean {pulls.mean():.2f}, width {pulls.std():.2f}" if len(pulls) else None
    left.set(xlabel="Pull, with the spread of members", ylabel="Density", xlim=(-5.0, 5.0))
    left.set_ylim(0.0, 1.45 * left.get_ylim()[1])
    left.legend(loc="upper left", frameon=False, title=told, title_fontsize=12, alignment="left")
    parts = {
        "spread of members": [b.spread for b in bands.values()],
        "generated events": [b.statistical for b in bands.values()],
        "reference": [b.true for b in bands.values()],
    }
    whole = [max(float(sum(v[k].sum() for v in parts.values())), 1e-300) for k in range(len(bands))]
    start = np.zeros(len(bands))
    for (label, each), colour in zip(parts.items(), (COLOURS[0], COLOURS[1], REFERENCE), strict=True):
        width = np.array([float(v.sum()) / w for v, w in zip(each, whole, strict=True)])
        right.barh(list(bands), width, left=start, color=colour, label=label)
        start += width
    right.set(xlabel="Share of the variance of the pulls", xlim=(0.0, 1.0))
    right.invert_yaxis()
    right.tick_params(axis="y", which="both", length=0)
    right.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False, fontsize=11)
    return figure


def horizontal(panel: Any, axis: Any) -> None:
    """Limits, scale and ticks that suit the axis of the histogram."""
    _suit(panel, axis, "x")


def vertical(panel: Any, axis: Any) -> None:
    """The same of a vertical axis."""
    _suit(panel, axis, "y")


def contents(h: Any, normalised: bool = True) -> tuple[Floats, Floats]:
    """Contents and errors over the bin widths and the total, under- and overflow included."""
    total = float(h.view(flow=True)["value"].sum()) if normalised else 1.0
    width = np.diff(h.axes[0].edges)
    scale = 1 / (total * width) if total > 0 else np.zeros_like(width)
    return h.values() * scale, np.sqrt(h.variances()) * scale


def _suit(panel: Any, axis: Any, which: str) -> None:
    edges, drawn = edges_of(axis), getattr(panel, f"{which}axis")
    if isinstance(axis, hist.axis.Integer):
        drawn.set_major_locator(MaxNLocator(10, integer=True))
        drawn.set_minor_locator(NullLocator())
    elif getattr(axis, "transform", None) is not None and edges[0] > 0:
        panel.set(**{f"{which}scale": "log"})
        if edges[0] >= 0.01 and edges[-1] < 1e5 and edges[-1] < 300 * edges[0]:
            # With few decades, powers of ten would be few, and 3 x 10^2 beside 4 x 10^2 too many.
            drawn.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            drawn.set_major_formatter(FormatStrFormatter("%g"))
            drawn.set_minor_formatter(NullFormatter())
    if edges[0] < edges[-1]:
        panel.set(**{f"{which}lim": (edges[0], edges[-1])})


def _band(
    panel: Any, edges: Floats, low: Floats, high: Floats, colour: str = REFERENCE, label: str | None = None
) -> None:
    alpha = 0.45 if colour == REFERENCE else 0.3
    panel.stairs(
        high, edges, baseline=low, fill=True, color=colour, alpha=alpha, lw=0, hatch=None, label=label
    )


def _beside(edges: Floats, number: int, of: int) -> Floats:
    """Places in the bins for one of several error bars."""
    return (edges[1:] + edges[:-1]) / 2 + np.diff(edges) * 0.7 * ((number + 0.5) / of - 0.5)


def _heights(panel: Any, values: Floats, room: float, most: float) -> None:
    """A range with room above, logarithmic where the contents span more than a factor ``most``."""
    filled = values[values > 0]
    if not filled.size:
        return
    low, high = float(filled.min()), float(filled.max())
    if high / low > most:
        panel.set_yscale("log")
        panel.set_ylim(low / 2, high * (high / low) ** (0.92 * room))
    else:
        panel.set_ylim(min(0.0, 1.1 * float(values.min())), (1 + room) * high)


def _ratio_range(reference: Any, generated: Mapping[str, Any], normalised: bool) -> tuple[float, float]:
    """Wide enough for bins that are known to 15%, at most 0 to 2."""
    true, error = contents(reference, normalised)
    with np.errstate(invalid="ignore", divide="ignore"):
        away = [
            np.abs(contents(h, normalised)[0] / true - 1)[error < 0.15 * true] for h in generated.values()
        ]
    largest = max((float(a.max(initial=0.0)) for a in away), default=0.0)
    reach = next((r for r in (0.1, 0.2, 0.5) if 1.3 * largest < r), 1.0)
    return 1 - 0.999 * reach, 1 + 0.999 * reach
