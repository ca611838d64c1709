"""Corner plots of latent space."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator
from numpy.typing import NDArray
from scipy.special import ndtr

from hepgan.plotting.style import COLOURS, NOTHING, REFERENCE, StyledFigure, styled
from hepgan.stats.distances import ks_from_normal
from hepgan.stats.moments import checked_weights

if TYPE_CHECKING:
    from hepgan.generator import Latents

__all__ = ["plot_latents"]

Floats = NDArray[np.float64]

REACH = 3.5
"""Noise is shown up to here."""

LEAST = 25.0
"""Bins where fewer events are expected are not shown: chance moves their ratio by more than a fifth."""

RATIOS = (0.5, 0.7, 1.0, 1.4, 2.0)
"""Ticks of the scale of ratios, which ends at the first and the last."""


@styled
def plot_latents(
    latents: Latents, weights: Any = None, features: Sequence[str] | None = None, most: int = 5
) -> Figure:
    """A corner plot of latents: each beside the normal distribution, and planes of two.

    The planes show observed over expected numbers of events; grey bins are those of fewer than 25 expected
    ones. With generated events and their weights that is the mean weight in latent space.

    Args:
        latents: Of N events.
        weights: (N,) of the events; 1 if None.
        features: Which to show; those farthest from normal if None.
        most: How many to show if none are chosen.

    Raises:
        ValueError: If there is no such feature, or not one weight for each event.
    """
    w = checked_weights(weights, len(latents.values))
    if features is None:
        features = _farthest(latents, w, most)
    for name in features:
        if name not in latents.names:
            msg = f"no feature {name!r}; there are {', '.join(latents.names)}"
            raise ValueError(msg)
    columns = [latents.values[:, latents.names.index(n)] for n in features]
    size = len(columns)
    side = max(2.1 * size, 4.8)
    figure = StyledFigure(figsize=(side, side), layout="constrained")
    panels = figure.subplots(size, size, squeeze=False, sharex=True)
    # Four bins a unit would leave no events in a bin of few.
    bins = int(np.clip(2 * REACH * math.sqrt(len(w) / 4000), 7, 28))
    edges = np.linspace(-REACH, REACH, bins + 1)
    image = None
    for i, row in enumerate(panels):
        for j, panel in enumerate(row):
            if j > i:
                panel.axis("off")
                continue
            if i == j:
                _one(panel, columns[i], w)
            else:
                image = _two(panel, columns[j], columns[i], w, edges)
                panel.tick_params(labelleft=j == 0)
            panel.set_xlim(-REACH, REACH)
            panel.xaxis.set_major_locator(FixedLocator([-2, 0, 2]))
            if i == size - 1:
                panel.set_xlabel(features[j], fontsize=11, loc="center")
            if j == 0 < i:
                panel.set_ylabel(features[i], fontsize=11, loc="center")
    figure.supxlabel("Noise [standard deviations]", fontsize=12)
    _explain(panels[0, 0], panels[0, -1], image)
    return figure


def _farthest(latents: Latents, w: Floats, most: int) -> list[str]:
    """The features farthest from normal, in their order."""
    away = {}
    for name, z in zip(latents.names, latents.values.T, strict=True):
        there = np.isfinite(z)
        if there.sum() > 1:
            value, floor = ks_from_normal(z[there], w[there])
            away[name] = value / floor
    worst = sorted(away, key=lambda n: -away[n])[:most]
    return [n for n in latents.names if n in worst]


def _one(panel: Any, z: Floats, w: Floats) -> None:
    there = np.isfinite(z)
    edges = np.linspace(-REACH, REACH, 29)
    contents, _ = np.histogram(z[there], edges, weights=w[there])
    total = w[there].sum()
    panel.stairs(contents / total / np.diff(edges), edges, color=COLOURS[0], lw=1.5, label="events")
    fine = np.linspace(-REACH, REACH, 200)
    normal = np.exp(-0.5 * fine**2) / math.sqrt(2 * math.pi)
    panel.plot(fine, normal, color=REFERENCE, lw=1.2, ls="--", label="normal")
    value, floor = ks_from_normal(z[there], w[there])
    panel.set_title(f"KS {value:.4f} (floor {floor:.4f})", fontsize=9, pad=3)
    panel.set_yticks([])


def _two(panel: Any, x: Floats, y: Floats, w: Floats, edges: Floats) -> Any:
    there = np.isfinite(x) & np.isfinite(y)
    contents, _, _ = np.histogram2d(x[there], y[there], (edges, edges), weights=w[there])
    share = np.diff(ndtr(edges))
    expected = w[there].sum() * np.outer(share, share)
    known = expected * w[there].sum() / np.square(w[there]).sum() >= LEAST
    ratio = np.ma.masked_where(~known, contents / expected)
    panel.set_ylim(-REACH, REACH)
    panel.yaxis.set_major_locator(FixedLocator([-2, 0, 2]))
    panel.set_facecolor(NOTHING)
    low, *_, high = RATIOS
    look = {"cmap": "RdBu_r", "norm": LogNorm(low, high), "rasterized": True}
    return panel.pcolormesh(edges, edges, np.clip(ratio, low, high).T, **look)


def _explain(first: Any, corner: Any, image: Any) -> None:
    """Legend and scale in the corner that has no panel."""
    if image is None:
        first.legend(loc="upper left", frameon=False)
        return
    corner.legend(*first.get_legend_handles_labels(), loc="upper right", frameon=False, fontsize=11)
    inside = corner.inset_axes((0.1, 0.3, 0.8, 0.1))
    label = "Observed / expected"
    bar = corner.figure.colorbar(image, cax=inside, orientation="horizontal", extend="both")
    bar.set_ticks(RATIOS, labels=[f"{r:g}" for r in RATIOS])
    bar.set_label(label, fontsize=11, loc="center")
    bar.ax.xaxis.set_minor_locator(NullLocator())
    bar.ax.tick_params(labelsize=10)
