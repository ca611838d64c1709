"""Figures of a comparison."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from hepgan.plotting.densities import contents, horizontal, vertical
from hepgan.plotting.style import COLOURS, LINES, REFERENCE, Line, StyledFigure, columns, grid, styled
from hepgan.stats.histograms import edges_of
from hepgan.stats.moments import quantile

if TYPE_CHECKING:
    from hepgan.observables import Observable
    from hepgan.observables.table import Table
    from hepgan.stats.correlations import Correlations
    from hepgan.stats.memorisation import Memorisation, Nearest
    from hepgan.stats.two_sample import ClassifierTest

__all__ = ["classifier", "differences", "matrices", "memorisation", "plane"]

Floats = NDArray[np.float64]

MOST_IN_MATRIX = 16


@styled
def plane(x: Observable, y: Observable, tables: Mapping[str, Table]) -> Figure:
    """Two observables of an event, one panel a sample on one colour scale, with the median of y over x."""
    axes = [o.axis() for o in (x, y)]
    edges = [edges_of(a) for a in axes]
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
        horizontal(panel, axes[0])
        vertical(panel, axes[1])
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
        values, _ = contents(h)
        filled = label == "reference"
        edges = h.axes[0].edges
        if filled:
            left.stairs(values, edges, color=colour, fill=True, alpha=0.25)
        left.stairs(values, edges, color=colour, lw=1.8, label=label)
        _limits_of_filled(left, h)
    left.axvline(0, color="black", lw=1, ls=":")
    left.set_xlabel(r"$\log_{10}\,D/(1-D)$")
    left.set_ylabel("Density")
    # All weights may be beyond the axis.
    if any(h.values().max() > 0 for h in found.weights.values()):
        left.set_yscale("log")
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
def memorisation(
    found: Mapping[str, Memorisation], order: Sequence[str] = (), unit: str = "standard deviations"
) -> Figure:
    """Distances to the nearest training event, of true events and of each sample.

    Args:
        found: By label.
        order: All labels, in the order of their colours.
        unit: The unit of distances; empty for that of the numbers themselves.
    """
    figure = StyledFigure(figsize=(6.4, 4.8), layout="constrained")
    panel = figure.subplots()
    first = next(iter(found.values()))
    both = np.concatenate([first.reference.distances, *(m.generated.distances for m in found.values())])
    edges = np.linspace(0, float(np.quantile(both, 0.995)) or 1.0, 41)
    numbers = {label: list(order or found).index(label) for label in found}
    parts: list[tuple[str, Nearest, str, Line]] = [("reference", first.reference, REFERENCE, "-")]
    parts += [
        (label, m.generated, COLOURS[numbers[label] % len(COLOURS)], LINES[numbers[label] % len(LINES)])
        for label, m in found.items()
    ]
    for label, one, colour, line in parts:
        if label != "reference" and len(found) > 1:
            ratio = found[label].ratio_of_medians
            label = f"{label}: {ratio.value:.3f} \N{PLUS-MINUS SIGN} {ratio.error or 0:.3f}"
        shares = np.histogram(one.distances, edges, weights=one.weights)[0] / one.weights.sum()
        panel.stairs(shares, edges, color=colour, lw=1.8, ls=line, label=label, fill=False)
        if len(found) == 1:
            panel.axvline(one.quantile(0.5), color=colour, lw=1.2, ls="--")
    panel.set_xlim(edges[0], edges[-1])
    panel.set_xlabel("Distance to the nearest training event" + (f" [{unit}]" if unit else ""))
    panel.set_ylabel("Share of events")
    ratio = first.ratio_of_medians
    title = f"ratio of medians {ratio.value:.3f} \N{PLUS-MINUS SIGN} {ratio.error or 0:.3f}"
    title = title if len(found) == 1 else "ratios of medians"
    panel.legend(loc="upper right", frameon=False, title=title, title_fontsize=12)
    panel.set_ylim(0, (1.15 if len(found) == 1 else 1.5) * panel.get_ylim()[1])
    return figure


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
            w = weights[inside]
            if w.sum() > 0:
                result[i] = quantile(y[inside], 0.5, w)
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
