"""Latent space: the noise that a model would make true events of, which is normal if the model is right."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from hepgan.validation.sections import Section
from hepgan.validation.style import COLOURS, REFERENCE, StyledFigure, styled

if TYPE_CHECKING:
    from hepgan.generator import Latents

__all__ = ["latent_metrics", "latent_section", "plot_latents"]

Floats = NDArray[np.float64]

KOLMOGOROV = math.sqrt(math.pi / 2) * math.log(2)
"""Mean of sqrt(n) times the KS distance of n values from the distribution that they come from."""

REACH = 3.5
"""The planes of a corner plot show noise up to here."""

LEAST = 5.0
"""Bins where fewer events are expected are not shown."""


def latent_metrics(latents: Latents, weights: Any = None) -> dict[str, Any]:
    """How far latents are from independent standard normal numbers.

    Args:
        latents: Of N events.
        weights: (N,) of the events; 1 if None.

    Returns:
        By feature, ``ks`` with the distance from the normal distribution and its ``floor``, the mean for
        as many normal numbers; and ``largest_correlation`` with its ``value``, ``floor`` (the median of the
        largest for as many independent ones) and the ``features``.
    """
    values, w = latents.values, _weights(latents, weights)
    ks = {}
    for name, z in zip(latents.names, values.T, strict=True):
        there = np.isfinite(z)
        if there.sum() > 1:
            ks[name] = _from_normal(z[there], w[there])
    return {"events": len(values), "ks": ks, "largest_correlation": _largest_correlation(latents, w)}


def latent_section(latents: Latents, weights: Any = None) -> Section:
    """What a report tells of latent space: metrics and a corner plot."""
    note = (
        "The noise of which the model would make the reference's events: independent standard normal "
        "numbers, if it is right. Diagonal: each, and the normal distribution. Below: observed over expected "
        "numbers of events in the plane of two. The features shown are those farthest from normal."
    )
    metrics = latent_metrics(latents, weights)
    return Section("Latent space", note, metrics, {"corner plot": partial(plot_latents, latents, weights)})


@styled
def plot_latents(
    latents: Latents, weights: Any = None, features: Sequence[str] | None = None, most: int = 5
) -> Figure:
    """A corner plot of latents: each beside the normal distribution, and planes of two.

    Args:
        latents: Of N events.
        weights: (N,) of the events; 1 if None.
        features: Which to show; those farthest from normal if None.
        most: How many to show if none are chosen.

    Raises:
        ValueError: If there is no such feature.
    """
    w = _weights(latents, weights)
    if features is None:
        found = latent_metrics(latents, w)["ks"]
        worst = sorted(found, key=lambda n: -found[n]["value"] / found[n]["floor"])[:most]
        features = [n for n in latents.names if n in worst]
    for name in features:
        if name not in latents.names:
            msg = f"no feature {name!r}; there are {', '.join(latents.names)}"
            raise ValueError(msg)
    columns = [latents.values[:, latents.names.index(n)] for n in features]
    size = len(columns)
    side = max(2.1 * size, 4.2)
    figure = StyledFigure(figsize=(side + 1.3, side), layout="constrained")
    panels = figure.subplots(size, size, squeeze=False, sharex=True)
    # Four bins a unit would leave no events in a bin of few.
    bins = int(np.clip(2 * REACH * math.sqrt(len(w) / 4000), 7, 28))
    edges = np.linspace(-REACH, REACH, bins + 1)
    image = None
    for i, row in enumerate(panels):
        for j, panel in enumerate(row):
            if j > i:
                panel.remove()
            elif i == j:
                _one(panel, columns[i], w)
            else:
                image = _two(panel, columns[j], columns[i], w, edges)
            if j <= i:
                panel.set_xlim(-REACH, REACH)
                panel.xaxis.set_major_locator(FixedLocator([-2, 0, 2]))
                if i == size - 1:
                    panel.set_xlabel(features[j], fontsize=11, loc="center")
                if j == 0 < i:
                    panel.set_ylabel(features[i], fontsize=11, loc="center")
    if image is not None:
        bar = figure.colorbar(image, ax=list(figure.axes), label="observed / expected", shrink=0.6, pad=0.01)
        bar.set_ticks([0.5, 0.7, 1.0, 1.4, 2.0], labels=["0.5", "0.7", "1", "1.4", "2"])
        bar.ax.minorticks_off()
    return figure


def _one(panel: Any, z: Floats, w: Floats) -> None:
    there = np.isfinite(z)
    edges = np.linspace(-REACH, REACH, 29)
    contents, _ = np.histogram(z[there], edges, weights=w[there])
    total = w[there].sum()
    panel.stairs(contents / total / np.diff(edges), edges, color=COLOURS[0], lw=1.5)
    fine = np.linspace(-REACH, REACH, 200)
    panel.plot(fine, np.exp(-0.5 * fine**2) / math.sqrt(2 * math.pi), color=REFERENCE, lw=1.2, ls="--")
    found = _from_normal(z[there], w[there])
    panel.set_title(f"KS {found['value']:.4f} (floor {found['floor']:.4f})", fontsize=9, pad=3)
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
    look = {"cmap": "RdBu_r", "norm": LogNorm(0.5, 2.0), "rasterized": True}
    return panel.pcolormesh(edges, edges, np.clip(ratio, 0.5, 2.0).T, **look)


def _weights(latents: Latents, weights: Any) -> Floats:
    size = len(latents.values)
    w = np.ones(size) if weights is None else np.asarray(weights, dtype=np.float64)
    if w.shape != (size,):
        msg = f"weights of the shape {w.shape} for {size} events"
        raise ValueError(msg)
    return w


def _from_normal(z: Floats, w: Floats) -> dict[str, float]:
    """KS distance from the standard normal distribution, and its floor."""
    order = np.argsort(z)
    below = np.concatenate([[0.0], np.cumsum(w[order])]) / w.sum()
    expected = ndtr(z[order])
    distance = max(np.abs(expected - below[1:]).max(), np.abs(expected - below[:-1]).max())
    return {"value": float(distance), "floor": KOLMOGOROV * math.sqrt(np.square(w).sum()) / abs(w.sum())}


def _largest_correlation(latents: Latents, w: Floats) -> dict[str, Any] | None:
    """The largest correlation of two features, in units of what chance makes of it."""
    best: dict[str, Any] | None = None
    pairs = [(i, j) for i in range(len(latents.names)) for j in range(i)]
    # Half of all samples of so many independent pairs have their largest below this.
    chance = float(ndtri((1 + 0.5 ** (1 / len(pairs))) / 2)) if pairs else 0.0
    for i, j in pairs:
        x, y = latents.values[:, i], latents.values[:, j]
        there = np.isfinite(x) & np.isfinite(y)
        if there.sum() < 3:
            continue
        cov = np.cov(x[there], y[there], aweights=np.abs(w[there]))
        r = float(cov[0, 1] / math.sqrt(cov[0, 0] * cov[1, 1]))
        floor = chance * math.sqrt(np.square(w[there]).sum()) / abs(w[there].sum())
        if best is None or abs(r) / floor > abs(best["value"]) / best["floor"]:
            best = {"value": r, "floor": floor, "features": [latents.names[j], latents.names[i]]}
    return best
