"""Figures of a comparison."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import hist
import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator
from numpy.typing import NDArray

from hepgan.observables import Observable
from hepgan.observables.table import Table
from hepgan.validation.classifier import ClassifierTest
from hepgan.validation.correlations import Correlations
from hepgan.validation.memorisation import Memorisation
from hepgan.validation.metrics import Floats
from hepgan.validation.style import COLOURS, LINES, REFERENCE, Line, StyledFigure, columns, grid, styled

__all__ = ["classifier", "density", "differences", "matrices", "memorisation", "plane"]

MOST_IN_RATIO = 3
"""Samples in one ratio panel; more of them hide each other."""

MOST_IN_MATRIX = 16


@styled
def density(observable: Observable, reference: Any, generated: Mapping[str, Any]) -> Figure:
    """Normalised histograms, and below them the ratios to the reference.

    Weighted observables are shown as sums of weights per event, whose area is not normalised.

    The band is the reference's statistical error, vertical lines are the generated samples' own. The
    vertical axis is logarithmic where the filled bins span more than a factor of 200.
    """
    several = len(generated) > 1
    parts = [list(generated)[i : i + MOST_IN_RATIO] for i in range(0, len(generated), MOST_IN_RATIO)]
    heights = [3.0, *(1.0 for _ in parts)]
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
    main, *ratios = figure.subplots(1 + len(parts), 1, sharex=True, height_ratios=heights, gridspec_kw=places)
    normalised = observable.weight is None
    edges = _edges(reference.axes[0])
    true, error = _density(reference, normalised)
    main.stairs(true, edges, color=REFERENCE, fill=True, alpha=0.25, label="reference")
    main.stairs(true, edges, color=REFERENCE, lw=1.3)
    _band(main, edges, true - error, true + error)
    safe = np.where(true > 0, true, np.nan)
    for ratio in ratios:
        _band(ratio, edges, 1 - error / safe, 1 + error / safe)
        ratio.axhline(1, color=REFERENCE, lw=1)
    shown = [true]
    for k, (label, h) in enumerate(generated.items()):
        colour, line = COLOURS[k % len(COLOURS)], LINES[k % len(LINES)]
        ratio = ratios[k // MOST_IN_RATIO]
        made, made_error = _density(h, normalised)
        main.stairs(made, edges, color=colour, lw=1.8, ls=line, label=label)
        if not several:
            main.errorbar(_beside(edges, 0, 1), made, made_error, fmt="none", ecolor=colour, lw=1)
        # A ratio that is not known even to a factor of two tells nothing, and would hide its neighbours.
        quotient = np.where(np.hypot(error / safe, made_error / safe) < 1, made / safe, np.nan)
        ratio.stairs(quotient, edges, color=colour, lw=1.5, ls=line, baseline=None)
        # Side by side within the bin, so that errors don't hide each other.
        at = _beside(edges, k % MOST_IN_RATIO, len(parts[k // MOST_IN_RATIO]))
        alpha = 0.6 if several else 1.0
        ratio.errorbar(at, quotient, made_error / safe, fmt="none", ecolor=colour, lw=1, alpha=alpha)
        shown.append(made)
    every = np.concatenate(shown)
    # What has a sign, as asymmetries have, cannot be seen on a logarithmic axis.
    most = 200.0 if normalised else 20.0 if every.min() >= 0 else math.inf
    _vertical(main, every, 0.12 if several else 0.38, most)
    unit = f"/{observable.unit}" if observable.unit else ""
    density = "Density" if normalised else "Weight per event"
    main.set_ylabel(f"{density} [1{unit}]" if unit else density)
    reach = _ratio_range(reference, generated, normalised)
    for ratio in ratios:
        ratio.set_ylabel("Ratio", loc="center")
        ratio.set_ylim(*reach)
        ratio.yaxis.set_label_coords(-0.14, 0.5)
    ratios[-1].set_xlabel(observable.title)
    _horizontal(ratios[-1], reference.axes[0])
    main.yaxis.set_label_coords(-0.14, 1.0)
    if several:
        place = (0, 1.0, 1, 0.1)
        main.legend(loc="lower left", bbox_to_anchor=place, mode="expand", ncols=across, frameon=False)
    else:
        main.legend(loc="best", frameon=False)
    return figure


@styled
def plane(x: Observable, y: Observable, tables: Mapping[str, Table]) -> Figure:
    """Two observables of an event, one panel a sample on one colour scale, with the median of y over x."""
    axes = [o.axis() for o in (x, y)]
    edges = [_edges(a) for a in axes]
    medians = {
        label: _medians(t.column(x.name), t.column(y.name), t.weights, edges[0])
        for label, t in tables.items()
    }
    figure, panels = grid(len(tables), 4.8, 4.9)
    contents = {label: _plane(t, x.name, y.name, edges) for label, t in tables.items()}
    top = max(float(c.max(initial=0.0)) for c in contents.values())
    filled = np.concatenate([c[c > 0] for c in contents.values()])
    norm = LogNorm(float(filled.min()) if filled.size else 0.1, top or 1.0)
    colours = dict(zip(tables, ("black", *COLOURS * 9), strict=False))
    mesh = None
    for panel, label in zip(panels, tables, strict=True):
        mesh = panel.pcolormesh(
            edges[0],
            edges[1],
            np.ma.masked_less_equal(contents[label], 0).T,
            norm=norm,
            cmap="Blues",
            rasterized=True,
        )
        for other in dict.fromkeys(("reference", label)):
            if other in medians:
                style = "-" if other == label else "--"
                panel.stairs(
                    medians[other],
                    edges[0],
                    color=colours[other],
                    lw=1.8,
                    ls=style,
                    baseline=None,
                    label=f"median, {other}",
                )
        panel.set_title(label, loc="left")
        _horizontal(panel, axes[0])
        panel.set_ylim(edges[1][0], edges[1][-1])
        if y.log:
            panel.set_yscale("log")
        panel.legend(loc="upper right", frameon=True, framealpha=0.85, edgecolor="none", fontsize=11)
    for panel in panels:
        panel.label_outer()
        if panel.get_subplotspec().is_first_col():
            panel.set_ylabel(y.title)
    for panel in panels[-columns(len(tables)) :]:
        panel.tick_params(labelbottom=True)
        panel.set_xlabel(x.title)
    if mesh is not None:
        figure.colorbar(mesh, ax=list(panels), label="Share of events per bin", pad=0.01)
    return figure


@styled
def matrices(found: Correlations, labels: Mapping[str, str]) -> Figure:
    """Correlations of reference and generated events, and their difference on its own scale."""
    shown = _most_different(found)
    size = len(shown)
    side = max(3.6, 0.34 * size + 1.2)
    figure = StyledFigure(figsize=(3 * side + 2.4, side + 1.4), layout="constrained")
    panels = figure.subplots(1, 3, sharey=True)
    reach = max(0.05, float(np.nanmax(np.abs(found.difference), initial=0.0)))
    parts = (
        ("reference", found.reference, 1.0),
        ("generated", found.generated, 1.0),
        ("generated \N{MINUS SIGN} reference", found.difference, reach),
    )
    names = [labels.get(found.names[i], found.names[i]) for i in shown]
    for panel, (title, whole, limit) in zip(panels, parts, strict=True):
        matrix = whole[np.ix_(shown, shown)]
        image = panel.imshow(matrix, vmin=-limit, vmax=limit, cmap="RdBu_r")
        panel.set_title(title)
        panel.set_xticks(range(size), names, rotation=90)
        panel.set_yticks(range(size), names)
        panel.tick_params(which="both", length=0)
        panel.minorticks_off()
        if size <= 8:
            _write_numbers(panel, matrix, limit)
        figure.colorbar(image, ax=panel, shrink=0.75)
    if size < len(found.names):
        figure.suptitle(f"the {size} of {len(found.names)} observables whose correlations differ most")
    return figure


@styled
def differences(found: Mapping[str, Correlations], labels: Mapping[str, str]) -> Figure:
    """Correlations of the reference, and what those of each sample differ from them, on one scale."""
    first = next(iter(found.values()))
    shown = _most_different(*found.values())
    side = max(3.6, 0.34 * len(shown) + 1.2)
    figure, panels = grid(1 + len(found), side + 0.8, side + 0.4, most=3)
    reach = max(0.05, *(float(np.nanmax(np.abs(c.difference), initial=0.0)) for c in found.values()))
    names = [labels.get(first.names[i], first.names[i]) for i in shown]
    parts = [("reference", first.reference, 1.0)]
    parts += [(f"{label} \N{MINUS SIGN} reference", c.difference, reach) for label, c in found.items()]
    for panel, (title, whole, limit) in zip(panels, parts, strict=True):
        matrix = whole[np.ix_(shown, shown)]
        image = panel.imshow(matrix, vmin=-limit, vmax=limit, cmap="RdBu_r")
        panel.set_title(title)
        panel.set_xticks(range(len(shown)), names, rotation=90)
        panel.set_yticks(range(len(shown)), names)
        panel.tick_params(which="both", length=0)
        panel.minorticks_off()
        panel.label_outer()
        figure.colorbar(image, ax=panel, shrink=0.75)
    for panel in panels[-columns(len(panels), 3) :]:
        panel.tick_params(labelbottom=True)
    if len(shown) < len(first.names):
        figure.suptitle(f"the {len(shown)} of {len(first.names)} observables whose correlations differ most")
    return figure


def _most_different(*found: Correlations) -> list[int]:
    """Observables for the picture, in their order: at most 16, those with the largest differences."""
    size = np.max([np.nanmax(np.abs(c.difference), axis=1, initial=0.0) for c in found], axis=0)
    return sorted(int(i) for i in np.argsort(-size, kind="stable")[:MOST_IN_MATRIX])


@styled
def classifier(found: ClassifierTest, number: int = 0) -> Figure:
    """Weights D/(1-D) of both samples, and what the AUC loses where a column is shuffled.

    Args:
        found: The test.
        number: The generated sample's number, which has its colour.
    """
    own = COLOURS[number % len(COLOURS)]
    figure = StyledFigure(figsize=(11.5, 4.8), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1.1, 1])
    for (label, h), colour in zip(found.weights.items(), (REFERENCE, own), strict=True):
        values, _ = _density(h)
        filled = label == "reference"
        edges = h.axes[0].edges
        if filled:
            left.stairs(values, edges, color=colour, fill=True, alpha=0.25)
        left.stairs(values, edges, color=colour, lw=1.8, label=label)
        _limits_of_filled(left, h)
    left.set_yscale("log")
    left.axvline(0, color="black", lw=1, ls=":")
    left.set_xlabel(r"$\log_{10}\,D/(1-D)$")
    left.set_ylabel("Density")
    low, high = left.get_ylim()
    left.set_ylim(low, high * (high / low) ** 0.3)
    error = f" \N{PLUS-MINUS SIGN} {found.auc.error:.3f}" if found.auc.error is not None else ""
    floor = f"\n(true against true {found.auc.floor:.3f})" if found.auc.floor is not None else ""
    left.text(0.04, 0.95, f"AUC {found.auc.value:.3f}{error}{floor}", transform=left.transAxes, va="top")
    left.legend(loc="upper right", frameon=False)
    best = [(n, v) for n, v in found.importance.items()][:12][::-1]
    shade = COLOURS[1] if number == 0 else own
    right.barh([n for n, _ in best], [max(v, 0.0) for _, v in best], color=shade)
    right.set_xlabel("Loss of AUC where shuffled")
    right.tick_params(axis="y", which="both", length=0)
    for panel in (left, right):
        panel.xaxis.set_major_locator(MaxNLocator(5))
    return figure


@styled
def memorisation(found: Mapping[str, Memorisation], order: Sequence[str] = ()) -> Figure:
    """Distances to the nearest training event, of true events and of each sample.

    Args:
        found: By label.
        order: All labels, in the order of their colours.
    """
    figure = StyledFigure(figsize=(6.4, 4.8), layout="constrained")
    panel = figure.subplots()
    first = next(iter(found.values()))
    both = np.concatenate([first.reference, *(m.generated for m in found.values())])
    edges = np.linspace(0, float(np.quantile(both, 0.995)) or 1.0, 41)
    numbers = {label: list(order or found).index(label) for label in found}
    parts: list[tuple[str, Floats, str, Line]] = [("reference", first.reference, REFERENCE, "-")]
    parts += [
        (label, m.generated, COLOURS[numbers[label] % len(COLOURS)], LINES[numbers[label] % len(LINES)])
        for label, m in found.items()
    ]
    for label, values, colour, line in parts:
        if label != "reference" and len(found) > 1:
            ratio = found[label].ratio_of_medians
            label = f"{label}: {ratio.value:.3f} \N{PLUS-MINUS SIGN} {ratio.error or 0:.3f}"
        shares = np.histogram(values, edges)[0] / len(values)
        panel.stairs(shares, edges, color=colour, lw=1.8, ls=line, label=label, fill=False)
        if len(found) == 1:
            panel.axvline(float(np.median(values)), color=colour, lw=1.2, ls="--")
    panel.set_xlim(edges[0], edges[-1])
    panel.set_xlabel("Distance to the nearest training event [standard deviations]")
    panel.set_ylabel("Share of events")
    ratio = first.ratio_of_medians
    title = f"ratio of medians {ratio.value:.3f} \N{PLUS-MINUS SIGN} {ratio.error or 0:.3f}"
    title = title if len(found) == 1 else "ratios of medians"
    panel.legend(loc="upper right", frameon=False, title=title, title_fontsize=12)
    panel.set_ylim(0, (1.15 if len(found) == 1 else 1.5) * panel.get_ylim()[1])
    return figure


def _edges(axis: Any) -> Floats:
    """Bin edges; whole numbers stand in the middle of their bins."""
    edges = np.asarray(axis.edges, dtype=np.float64)
    return edges - 0.5 if isinstance(axis, hist.axis.Integer) else edges


def _horizontal(panel: Any, axis: Any) -> None:
    """Limits, scale and ticks that suit the axis."""
    edges = _edges(axis)
    if isinstance(axis, hist.axis.Integer):
        panel.xaxis.set_major_locator(MaxNLocator(10, integer=True))
        panel.xaxis.set_minor_locator(NullLocator())
    elif getattr(axis, "transform", None) is not None and edges[0] > 0:
        panel.set_xscale("log")
    panel.set_xlim(edges[0], edges[-1])


def _density(h: Any, normalised: bool = True) -> tuple[Floats, Floats]:
    """Contents and errors over the bin widths and the total, under- and overflow included."""
    total = float(h.view(flow=True)["value"].sum()) if normalised else 1.0
    width = np.diff(h.axes[0].edges)
    scale = 1 / (total * width) if total > 0 else np.zeros_like(width)
    return h.values() * scale, np.sqrt(h.variances()) * scale


def _band(panel: Any, edges: Floats, low: Floats, high: Floats) -> None:
    panel.stairs(high, edges, baseline=low, fill=True, color=REFERENCE, alpha=0.45, lw=0, hatch=None)


def _beside(edges: Floats, number: int, of: int) -> Floats:
    """Places in the bins for one of several error bars."""
    return (edges[1:] + edges[:-1]) / 2 + np.diff(edges) * 0.7 * ((number + 0.5) / of - 0.5)


def _vertical(panel: Any, values: Floats, room: float, most: float) -> None:
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
    true, error = _density(reference, normalised)
    with np.errstate(invalid="ignore", divide="ignore"):
        away = [
            np.abs(_density(h, normalised)[0] / true - 1)[error < 0.15 * true] for h in generated.values()
        ]
    largest = max((float(a.max(initial=0.0)) for a in away), default=0.0)
    reach = next((r for r in (0.1, 0.2, 0.5) if 1.3 * largest < r), 1.0)
    return 1 - 0.999 * reach, 1 + 0.999 * reach


def _plane(table: Table, x: str, y: str, edges: list[Floats]) -> Floats:
    a, b = table.column(x), table.column(y)
    good = np.isfinite(a) & np.isfinite(b)
    contents = np.histogram2d(a[good], b[good], bins=edges, weights=table.weights[good])[0]
    return np.asarray(contents / table.weights.sum())


def _medians(x: Floats, y: Floats, weights: Floats, edges: Floats) -> Floats:
    """The weighted median of y in each bin of x; NaN in bins of fewer than 10 events."""
    good = np.isfinite(x) & np.isfinite(y)
    x, y, weights = x[good], y[good], weights[good]
    where = np.digitize(x, edges) - 1
    result = np.full(len(edges) - 1, np.nan)
    for i in range(len(result)):
        inside = where == i
        if inside.sum() >= 10:
            order = np.argsort(y[inside])
            sums = np.cumsum(weights[inside][order])
            if sums[-1] > 0:
                result[i] = y[inside][order][int(np.argmax(sums >= sums[-1] / 2))]
    return result


def _write_numbers(panel: Any, matrix: NDArray[np.float64], limit: float) -> None:
    for (i, j), value in np.ndenumerate(matrix):
        if math.isfinite(value):
            colour = "white" if abs(value) > 0.65 * limit else "black"
            panel.text(j, i, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=9)


def _limits_of_filled(panel: Any, h: Any) -> None:
    filled = np.flatnonzero(h.values() > 0)
    if filled.size:
        low, high = h.axes[0].edges[filled[0]], h.axes[0].edges[filled[-1] + 1]
        old = getattr(panel, "_filled", (low, high))
        panel._filled = (min(low, old[0]), max(high, old[1]))
        panel.set_xlim(panel._filled[0] - 0.2, panel._filled[1] + 0.2)
