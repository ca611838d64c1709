"""Pictures of activations, and of surfaces of a loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import matplotlib as mpl
import numpy as np
from matplotlib.colors import BoundaryNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from hepgan.plotting.style import COLOURS, NOTHING, REFERENCE, StyledFigure, columns, grid, styled

__all__ = ["Judged", "Surface", "plot_judgement", "plot_map", "plot_overlay", "plot_surfaces"]

Floats = NDArray[np.float64]

LEVELS = 14


class Judged(Protocol):
    """What a critic thinks of events (:class:`hepgan.explanation.Judgement`)."""

    @property
    def generated(self) -> Floats:
        """Outputs for generated events (n,)."""

    @property
    def true(self) -> Floats:
        """Outputs for true events (m,)."""

    @property
    def observables(self) -> Mapping[str, tuple[str, Floats, Floats]]:
        """Title and values of generated and true events, by observable."""


class Surface(Protocol):
    """A surface of a loss, as far as it is shown (:class:`hepgan.explanation.LossSurface`)."""

    @property
    def term(self) -> str:
        """The term's name."""

    @property
    def coordinates(self) -> Floats:
        """(K,)."""

    @property
    def values(self) -> Floats:
        """(K, K)."""

    @property
    def roughness(self) -> float:
        """The share of the variance that no paraboloid describes."""


@styled
def plot_map(
    points: Floats,
    cluster: NDArray[np.int64],
    labels: Mapping[str, tuple[NDArray[np.int64], tuple[str, ...]]],
    title: str,
) -> Figure:
    """A map of events, coloured by each kind of labels and by cluster.

    Args:
        points: The map (n, 2).
        cluster: The cluster of each event (n,); -1 for none.
        labels: Classes of the events (n,), -1 for none, and what these are called, by what they are of.
        title: The layer.
    """
    found = int(cluster.max(initial=-1)) + 1
    shown = {**labels, f"clusters ({found})": (cluster, ())}
    figure, panels = grid(len(shown), 4.4, 4.6, most=3)
    for panel, (name, (number, names)) in zip(panels, shown.items(), strict=True):
        _classes(panel, points, number, names)
        panel.set_title(name, loc="left")
        panel.tick_params(which="both", length=0, labelbottom=False, labelleft=False)
        panel.minorticks_off()
    figure.suptitle(f"t-SNE of {title}", fontsize=14)
    return figure


def _classes(panel: Any, points: Floats, number: NDArray[np.int64], names: tuple[str, ...]) -> None:
    none = number < 0
    if none.any():
        panel.scatter(*points[none].T, s=3, color=NOTHING, lw=0, rasterized=True)
    count = int(number.max(initial=0)) + 1
    ordered = mpl.colormaps["viridis" if names else "tab20"]
    for k in range(count):
        inside = number == k
        colour = ordered(k / max(count - 1, 1)) if names else ordered(k % 20)
        label = names[k] if names else None
        panel.scatter(*points[inside].T, s=4, color=[colour], lw=0, label=label, rasterized=True)
    if names:
        panel.legend(
            loc="best", markerscale=4, fontsize=9, framealpha=0.8, edgecolor="none", handletextpad=0.1
        )


@styled
def plot_overlay(true: Floats, generated: Floats, shares: Floats, title: str) -> Figure:
    """Two principal components: generated events in colour, true ones as lines of equal density.

    Args:
        true: Projected true events (m, 2).
        generated: Projected generated events (n, 2).
        shares: Of the true events' variance, of the two components.
        title: What is projected.
    """
    figure = StyledFigure(figsize=(6.4, 5.4), layout="constrained")
    panel = figure.subplots()
    low, high = np.quantile(np.concatenate([true, generated]), (0.002, 0.998), axis=0)
    tops = np.where(high > low, high, low + 1)
    bins = int(np.clip(np.sqrt(min(len(true), len(generated)) / 8), 8, 40))
    edges = [np.linspace(a, b, bins + 1) for a, b in zip(low, tops, strict=True)]
    contents = [np.histogram2d(s[:, 0], s[:, 1], edges, density=True)[0] for s in (true, generated)]
    mesh = panel.pcolormesh(*edges, np.ma.masked_equal(contents[1], 0).T, cmap="Blues", rasterized=True)
    figure.colorbar(mesh, ax=panel, label="Density of generated events")
    centres = [(e[1:] + e[:-1]) / 2 for e in edges]
    levels = [q * contents[0].max() for q in (0.1, 0.25, 0.5, 0.75)]
    panel.contour(*centres, contents[0].T, levels=levels, colors="black", linewidths=1.2)
    panel.plot([], [], color="black", lw=1.2, label="true")
    panel.legend(loc="upper right", frameon=False)
    for name, axis, share in zip(("first", "second"), (panel.xaxis, panel.yaxis), shares, strict=True):
        axis.set_label_text(f"{name} component ({100 * share:.0f}% of the variance)")
    panel.set_title(title, loc="left")
    return figure


@styled
def plot_judgement(found: Judged, title: str) -> Figure:
    """The output of a critic against observables: density of generated events, medians and 68% of both.

    Args:
        found: Outputs and observables.
        title: The critic.
    """
    shown = found.observables
    across = columns(len(shown), 3)
    down = -(-len(shown) // across)
    figure = StyledFigure(figsize=(5.0 * across + 1.2, 4.6 * down), layout="constrained")
    panels = figure.subplots(down, across, sharey=True, squeeze=False).ravel()
    both = np.concatenate([found.generated, found.true])
    low, high = np.quantile(both[np.isfinite(both)], (0.002, 0.998))
    outputs = np.linspace(low, high if high > low else low + 1, 41)
    mesh = None
    for panel, (name, made, true) in zip(panels, shown.values(), strict=False):
        edges, coarse = _edges(np.concatenate([made, true]))
        good = np.isfinite(made)
        density = np.histogram2d(made[good], found.generated[good], [edges, outputs])[0] / max(good.sum(), 1)
        mesh = panel.pcolormesh(
            edges, outputs, np.ma.masked_equal(density, 0).T, cmap="Blues", rasterized=True
        )
        for label, values, score, colour in (
            ("true", true, found.true, "black"),
            ("generated", made, found.generated, COLOURS[0]),
        ):
            if len(values):
                _profile(panel, values, score, coarse, colour, label)
        panel.set_xlabel(name)
        panel.set_xlim(edges[0], edges[-1])
        panel.set_ylim(outputs[0], outputs[-1])
        panel.legend(loc="best", frameon=True, framealpha=0.8, edgecolor="none", fontsize=11)
    for panel in panels[len(shown) :]:
        panel.remove()
    for panel in panels[: len(shown) : across]:
        panel.set_ylabel(f"Output of {title}")
    figure.colorbar(mesh, ax=list(panels[: len(shown)]), label="Share of generated events per bin", pad=0.01)
    return figure


def _edges(values: Floats) -> tuple[Floats, Floats]:
    """Edges of bins for densities and for medians; whole numbers, if there are few, have a bin each."""
    known = values[np.isfinite(values)]
    if known.size and np.ptp(known) <= 30 and (known == np.round(known)).all():
        whole = np.arange(known.min() - 0.5, known.max() + 1)
        return whole, whole
    low, high = np.quantile(known, (0.002, 0.998)) if known.size else (0.0, 1.0)
    edges = np.linspace(low, high if high > low else low + 1, 31)
    return edges, edges[::2]


def _profile(panel: Any, x: Floats, y: Floats, edges: Floats, colour: str, label: str) -> None:
    """Medians of y over x, and where 68% lie, of bins with ten events or more."""
    place = np.digitize(x, edges) - 1
    inside = [y[place == k] for k in range(len(edges) - 1)]
    quantiles = np.array(
        [np.quantile(v, (0.16, 0.5, 0.84)) if len(v) >= 10 else (np.nan,) * 3 for v in inside]
    )
    panel.stairs(quantiles[:, 1], edges, color=colour, lw=1.8, baseline=None, label=label)
    panel.stairs(quantiles[:, 2], edges, baseline=quantiles[:, 0], fill=True, color=colour, alpha=0.15, lw=0)


@styled
def plot_surfaces(surfaces: Mapping[str, Surface]) -> Figure:
    """Surfaces of a loss beside each other, each less its value at the weights, in units of its own spread.

    Args:
        surfaces: By label.
    """
    figure, panels = grid(len(surfaces), 5.0, 4.8, most=3)
    for panel, (label, surface) in zip(panels, surfaces.items(), strict=True):
        steps = surface.coordinates
        middle = len(steps) // 2
        values = surface.values - surface.values[middle, middle]
        levels = _levels(values)
        # As many colours as levels, however far apart they are.
        colours = BoundaryNorm(levels, 256, extend="both")
        drawn = panel.contourf(
            steps, steps, values.T, levels=levels, cmap="viridis", norm=colours, extend="both"
        )
        panel.contour(steps, steps, values.T, levels=levels, colors="white", linewidths=0.4)
        panel.plot(0, 0, marker="+", color="white", ms=10)
        figure.colorbar(drawn, ax=panel, format="%.3g")
        panel.set_title(
            f"{label}: {surface.term}, roughness {surface.roughness:.3f}", loc="left", fontsize=11
        )
        panel.set_facecolor(REFERENCE)
    figure.supxlabel("step along the first direction [norms of the weights]", fontsize=12)
    figure.supylabel("along the second", fontsize=12)
    return figure


def _levels(values: Floats) -> Floats:
    """Levels that hold equally many points each, so that steep walls do not hide the middle."""
    finite = values[np.isfinite(values)]
    levels = np.unique(np.quantile(finite, np.linspace(0.02, 0.98, LEVELS))) if finite.size else np.zeros(1)
    return levels if len(levels) > 1 else np.array([levels[0] - 0.5, levels[0] + 0.5])
