"""Latent space: the noise that a model would make true events of, which is normal if the model is right."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from hepgan.validation.sections import Section

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hepgan.generator import Latents

__all__ = ["event_weights", "from_normal", "latent_metrics", "latent_section"]

Floats = NDArray[np.float64]

KOLMOGOROV = math.sqrt(math.pi / 2) * math.log(2)
"""Mean of sqrt(n) times the KS distance of n values from the distribution that they come from."""


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
    values, w = latents.values, event_weights(latents, weights)
    ks = {}
    for name, z in zip(latents.names, values.T, strict=True):
        there = np.isfinite(z)
        if there.sum() > 1:
            ks[name] = from_normal(z[there], w[there])
    return {"events": len(values), "ks": ks, "largest_correlation": _largest_correlation(latents, w)}


def latent_section(latents: Latents, weights: Any = None) -> Section:
    """What a report tells of latent space: metrics and a corner plot."""
    note = (
        "The noise of which the model would make the reference's events: independent standard normal "
        "numbers, if it is right; of angles, uniform noise made normal. Diagonal: each, and the normal "
        "distribution. Below: observed over expected numbers of events in the plane of two, grey where too "
        "few are expected. The features shown are those farthest from normal."
    )
    metrics = latent_metrics(latents, weights)
    return Section("Latent space", note, metrics, {"corner plot": partial(_corner, latents, weights)})


def _corner(latents: Latents, weights: Any) -> Figure:
    # Who wants no picture need not wait for matplotlib.
    from hepgan.plotting.latents import plot_latents

    return plot_latents(latents, weights)


def event_weights(latents: Latents, weights: Any) -> Floats:
    """Weights (N,) of N events, 1 if there are none.

    Raises:
        ValueError: If there is not one for each event.
    """
    size = len(latents.values)
    w = np.ones(size) if weights is None else np.asarray(weights, dtype=np.float64)
    if w.shape != (size,):
        msg = f"weights of the shape {w.shape} for {size} events"
        raise ValueError(msg)
    return w


def from_normal(z: Floats, w: Floats) -> dict[str, float]:
    """KS distance from the standard normal distribution, and its floor."""
    order = np.argsort(z)
    below = np.concatenate([[0.0], np.cumsum(w[order])]) / w.sum()
    expected = ndtr(z[order])
    distance = max(np.abs(expected - below[1:]).max(), np.abs(expected - below[:-1]).max())
    return {
        "value": float(distance),
        "floor": float(KOLMOGOROV * math.sqrt(np.square(w).sum()) / abs(w.sum())),
    }


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
        if not cov.diagonal().min() > 0:
            continue
        r = float(cov[0, 1] / math.sqrt(cov[0, 0] * cov[1, 1]))
        floor = float(chance * math.sqrt(np.square(w[there]).sum()) / abs(w[there].sum()))
        if best is None or abs(r) / floor > abs(best["value"]) / best["floor"]:
            best = {"value": r, "floor": floor, "features": [latents.names[j], latents.names[i]]}
    return best
