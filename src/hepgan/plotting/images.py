"""Pictures of fields with a shape: means by class, differences, spectra, single events, neighbours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import LogNorm, Normalize, SymLogNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from hepgan.plotting.comparison import memorisation
from hepgan.plotting.style import COLOURS, LINES, NOTHING, REFERENCE, StyledFigure, columns, styled
from hepgan.stats.histograms import edges_of
from hepgan.stats.images import difference

if TYPE_CHECKING:
    from hepgan.stats.image_distances import ImageComparison

__all__ = [
    "plot_distances",
    "plot_examples",
    "plot_means",
    "plot_neighbours",
    "plot_occupancies",
    "plot_spectra",
]

Floats = NDArray[np.float64]
Parts = Mapping[str, "ImageComparison"]

DECADES = 5
"""Decades of a logarithmic colour scale, below the largest value."""

MOST_ROWS = 6
"""Classes that are drawn."""

PANEL = 3.5
"""Width and height of a panel with an image, in inches."""


@styled
def plot_means(parts: Parts) -> Figure:
    """Mean contents of true and generated events, and their differences, a row a class.

    Arrays with one index are lines with their statistical errors; of those with three, sums over the first.

    Args:
        parts: Comparisons by label.
    """
    first = next(iter(parts.values()))
    named = [n for n in first.means if all(n in p.means for p in parts.values())][:MOST_ROWS]
    rows = {
        name: (first.means[name][0], {label: p.means[name][1] for label, p in parts.items()})
        for name in named
    }
    return _maps(rows, "Mean content")


@styled
def plot_occupancies(parts: Parts) -> Figure:
    """The share of events in which each cell is not 0, of true and generated events, and the differences.

    Args:
        parts: Comparisons by label.
    """
    first = next(iter(parts.values()))
    made = {label: p.occupancies[1] for label, p in parts.items()}
    return _maps({"all events": (first.occupancies[0], made)}, "Share of events")


def _maps(rows: Mapping[str, tuple[Any, Mapping[str, Any]]], of: str) -> Figure:
    true, _ = next(iter(rows.values()))
    if len(true.axes) == 1:
        return _lines(rows, of)
    rows = {name: (_plane(h), {n: _plane(m) for n, m in made.items()}) for name, (h, made) in rows.items()}
    true, made = next(iter(rows.values()))
    across = 1 + 2 * len(made)
    width, height = _panel(true)
    figure = StyledFigure(figsize=(width * across + 1.6, height * len(rows) + 0.5), layout="constrained")
    panels = figure.subplots(len(rows), across, sharex=True, sharey=True, squeeze=False)
    for line, (name, (h, others)) in zip(panels, rows.items(), strict=True):
        norm = _logarithmic([h, *others.values()])
        mesh = None
        for panel, (label, one) in zip(line, {"reference": h, **others}.items(), strict=False):
            mesh = _draw(panel, one, one.values(), norm, "viridis")
            panel.set_title(label, loc="left", fontsize=12)
        figure.colorbar(mesh, ax=list(line[: 1 + len(others)]), label=of, pad=0.01)
        gaps = {label: difference(one, h).values() for label, one in others.items()}
        reach = max((float(np.nanmax(np.abs(g), initial=0.0)) for g in gaps.values()), default=0.0) or 1.0
        # Most differ by little, and a few by much.
        norm = SymLogNorm(linthresh=reach / 10, vmin=-reach, vmax=reach)
        for panel, (label, gap) in zip(line[1 + len(others) :], gaps.items(), strict=True):
            mesh = _draw(panel, h, gap, norm, "RdBu_r")
            panel.set_title(f"{label} \N{MINUS SIGN} reference", loc="left", fontsize=12)
        bar = figure.colorbar(mesh, ax=list(line[1 + len(others) :]), label="Difference", pad=0.01)
        ticks = [-reach, -reach / 10, 0.0, reach / 10, reach]
        bar.set_ticks(ticks, labels=[f"{t:.2g}".replace("-", "\N{MINUS SIGN}") for t in ticks], minor=False)
        line[0].set_ylabel(f"{name}\n{_title(h.axes[0])}" if len(rows) > 1 else _title(h.axes[0]))
    for panel in panels[-1]:
        panel.set_xlabel(_title(true.axes[1]))
    return figure


def _lines(rows: Mapping[str, tuple[Any, Mapping[str, Any]]], of: str) -> Figure:
    across = columns(len(rows), 3)
    down = -(-len(rows) // across)
    figure = StyledFigure(figsize=(5.2 * across + 0.6, 4.6 * down), layout="constrained")
    panels = figure.subplots(down, across, sharex=True, squeeze=False).ravel()
    for panel, (name, (h, made)) in zip(panels, rows.items(), strict=False):
        edges = edges_of(h.axes[0])
        value, error = h.values(), np.sqrt(h.variances())
        panel.stairs(value, edges, color=REFERENCE, lw=1.8, label="reference", baseline=None)
        panel.fill_between(
            edges,
            np.append(value - error, (value - error)[-1]),
            np.append(value + error, (value + error)[-1]),
            step="post",
            color=REFERENCE,
            alpha=0.25,
            lw=0,
        )
        for number, (label, one) in enumerate(made.items()):
            colour, line = COLOURS[number % len(COLOURS)], LINES[number % len(LINES)]
            panel.stairs(one.values(), edges, color=colour, ls=line, lw=1.8, label=label, baseline=None)
        panel.set_title(name, loc="left", fontsize=12)
        panel.set_xlabel(_title(h.axes[0]))
        panel.set_ylabel(of)
        low, high = panel.get_ylim()
        panel.set_ylim(low, high + 0.3 * (high - low))
        panel.set_xlim(edges[0], edges[-1])
        panel.legend(loc="upper right", frameon=False)
    for panel in panels[len(rows) :]:
        panel.remove()
    return figure


@styled
def plot_spectra(parts: Parts) -> Figure:
    """Spectra of contents of true and generated events, with their ratios below.

    Args:
        parts: Comparisons by label, of which one has a spectrum at least.
    """
    known = {label: p.spectra for label, p in parts.items() if p.spectra is not None}
    figure = StyledFigure(figsize=(7.2, 6.4), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    numbers = {label: k for k, label in enumerate(parts)}
    true = next(iter(known.values()))[0]
    low, high = true.axes[0].edges[0], true.axes[0].edges[-1]
    upper.stairs(true.values(), true.axes[0].edges, color=REFERENCE, lw=1.8, label="reference")
    upper.stairs(true.values(), true.axes[0].edges, color=REFERENCE, fill=True, alpha=0.25)
    for label, (own, made) in known.items():
        colour, line = COLOURS[numbers[label] % len(COLOURS)], LINES[numbers[label] % len(LINES)]
        edges = made.axes[0].edges
        upper.stairs(made.values(), edges, color=colour, lw=1.8, ls=line, label=label)
        # Each sample may have a range of its own, and stands beside the reference in that.
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = made.values() / own.values()
            error = np.abs(ratio) * np.sqrt(made.variances()) / made.values()
            band = np.sqrt(own.variances()) / own.values()
        good = np.isfinite(ratio) & (error < 0.5)
        centres = np.sqrt(edges[1:] * edges[:-1])
        if label == next(iter(known)):
            lower.stairs(1 + band, edges, baseline=1 - band, fill=True, color=REFERENCE, alpha=0.3, lw=0)
        lower.errorbar(centres[good], ratio[good], error[good], fmt="o", ms=3.5, lw=1.2, color=colour)
        low, high = min(low, edges[0]), max(high, edges[-1])
    upper.set_xscale("log")
    upper.set_yscale("log")
    bottom, top = upper.get_ylim()
    upper.set_ylim(bottom, top * (top / bottom) ** 0.15)
    upper.set_xlim(low, high)
    upper.set_ylabel("Cells per event and bin")
    upper.legend(loc="upper right", frameon=False)
    lower.axhline(1, color="black", lw=1)
    lower.set_ylim(0.5, 1.5)
    lower.set_ylabel("Ratio")
    label = true.axes[0].label or "content of a cell"
    lower.set_xlabel(label[0].upper() + label[1:])
    return figure


@styled
def plot_examples(parts: Parts) -> Figure:
    """Single events side by side: true ones above, those of each sample below.

    Args:
        parts: Comparisons by label.
    """
    first = next(iter(parts.values()))
    rows = {"reference": first.examples[0]} | {label: p.examples[1] for label, p in parts.items()}
    return _singles(rows, first.occupancies[0])


@styled
def plot_neighbours(parts: Parts) -> Figure:
    """Generated events above, the training events that are nearest to them below.

    From the left to the right, from the nearest to the farthest of all that were searched.

    Args:
        parts: The comparison of one sample, by its label.
    """
    label, found = next(iter(parts.items()))
    if found.neighbours is None:
        msg = "neighbours need training events"
        raise ValueError(msg)
    n = found.neighbours
    titles = [f"distance {d:.3g}" for d in n.distances]
    return _singles({label: n.generated, "nearest\ntraining": n.training}, found.occupancies[0], titles)


def plot_distances(parts: Parts) -> Figure:
    """Distances to the nearest training event, of true and generated events.

    Args:
        parts: Comparisons by label, of which one has neighbours at least.
    """
    found = {n: p.neighbours.memorisation for n, p in parts.items() if p.neighbours is not None}
    return memorisation(found, list(parts), unit="")


def _singles(rows: Mapping[str, NDArray[Any]], like: Any, titles: Sequence[str] = ()) -> Figure:
    across = max(len(r) for r in rows.values())
    if len(like.axes) == 1:
        return _waves(rows, like, titles)
    width, height = (0.62 * x for x in _panel(_plane(like)))
    planes = {name: [_flat(x) for x in images] for name, images in rows.items()}
    figure = StyledFigure(
        figsize=(width * across + 1.8, (height + 0.2) * len(rows) + 0.4), layout="constrained"
    )
    panels = figure.subplots(len(rows), across, sharex=True, sharey=True, squeeze=False)
    norm = _scale(np.concatenate([np.ravel(x) for images in planes.values() for x in images]))
    mesh, plane = None, _plane(like)
    for k, (line, (name, images)) in enumerate(zip(panels, planes.items(), strict=True)):
        for j, panel in enumerate(line):
            if j >= len(images):
                panel.remove()
                continue
            mesh = _draw(panel, plane, images[j], norm, "viridis")
            panel.tick_params(which="both", labelsize=9)
            if k == 0 and titles:
                panel.set_title(titles[j], fontsize=10)
        line[0].set_ylabel(f"{name}\n{_title(plane.axes[0])}", fontsize=11)
    for panel in panels[-1][: len(next(reversed(planes.values())))]:
        panel.set_xlabel(_title(plane.axes[1]), fontsize=11)
    figure.colorbar(mesh, ax=panels, label="Content", pad=0.01)
    return figure


def _waves(rows: Mapping[str, NDArray[Any]], like: Any, titles: Sequence[str]) -> Figure:
    figure = StyledFigure(figsize=(5.2 * len(rows) + 0.6, 4.6), layout="constrained")
    panels = figure.subplots(1, len(rows), sharex=True, sharey=True, squeeze=False)[0]
    edges = edges_of(like.axes[0])
    for panel, (name, images) in zip(panels, rows.items(), strict=True):
        for k, values in enumerate(images):
            label = titles[k] if k < len(titles) else None
            panel.stairs(values, edges, lw=1.3, color=COLOURS[k % len(COLOURS)], baseline=None, label=label)
        panel.set_title(name.replace("\n", " "), loc="left", fontsize=12)
        panel.set_xlabel(_title(like.axes[0]))
        panel.set_xlim(edges[0], edges[-1])
    panels[0].set_ylabel("Content")
    if titles:
        panels[0].legend(loc="best", frameon=False, fontsize=10)
    return figure


def _plane(h: Any) -> Any:
    """A histogram of means with its last two axes: sums over all others."""
    if len(h.axes) == 2:
        return h
    last = [a.name for a in h.axes[-2:]]
    return h.project(*last)


def _flat(values: NDArray[Any]) -> Floats:
    return np.asarray(values.reshape(-1, *values.shape[-2:]).sum(axis=0), dtype=np.float64)


def _panel(plane: Any) -> tuple[float, float]:
    """Width and height of a panel, not too far from the shape of the cells."""
    rows, across = (len(a) for a in plane.axes)
    ratio = min(max(rows / across, 0.5), 2.0)
    return (PANEL, PANEL * ratio) if ratio <= 1 else (PANEL / ratio, PANEL)


def _draw(panel: Any, plane: Any, values: Floats, norm: Normalize, colours: str) -> Any:
    panel.set_facecolor(NOTHING if colours == "viridis" else "white")
    shown = np.ma.masked_less_equal(values, 0) if isinstance(norm, LogNorm) else np.ma.masked_invalid(values)
    x, y = edges_of(plane.axes[1]), edges_of(plane.axes[0])
    return panel.pcolormesh(x, y, shown, norm=norm, cmap=colours, rasterized=True)


def _logarithmic(planes: Sequence[Any]) -> Normalize:
    return _scale(np.concatenate([h.values().ravel() for h in planes]))


def _scale(values: Floats) -> Normalize:
    """A logarithmic scale of what is positive; of values of either sign, a linear one."""
    known = values[np.isfinite(values)]
    positive = known[known > 0]
    if (known < 0).any() or not positive.size:
        reach = float(np.abs(known).max(initial=0.0)) or 1.0
        return Normalize(-reach if (known < 0).any() else 0.0, reach)
    top = float(positive.max())
    low = max(float(positive.min()), top / 10**DECADES)
    return LogNorm(low if low < top else top / 10, top)


def _title(axis: Any) -> str:
    return str(axis.label or axis.name)
