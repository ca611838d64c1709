"""Weights of events: how much they are worth, and events without them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Unweighted", "Weights", "accepted", "effective_sample_size", "unweight"]

Floats = NDArray[np.float64]


class Weights(NamedTuple):
    """Weights of N events, whose mean over the generated events is 1.

    Attributes:
        weight: (N,) estimated ratio of true to generated density.
        error: (N,) its standard deviation over the members of the ensemble.
    """

    weight: Floats
    error: Floats


class Unweighted(NamedTuple):
    """Which events are kept so that these need no weights.

    Attributes:
        kept: Numbers of the kept events, ascending.
        efficiency: Share of the events that are kept.
        overweight: Share of the sum of weights that is lost beyond the largest weight that is allowed.
    """

    kept: NDArray[np.int64]
    efficiency: float
    overweight: float


def effective_sample_size(weights: Any) -> float:
    """How many events without weights know a mean as well: (sum w)^2 / sum w^2 (Kish).

    Raises:
        ValueError: If there are no weights but zeros.
    """
    w = np.asarray(weights, dtype=np.float64)
    squares = float(np.square(w).sum())
    if not squares > 0:
        msg = "weights that are all 0 are worth nothing"
        raise ValueError(msg)
    return float(w.sum()) ** 2 / squares


def unweight(weights: Any, *, seed: int = 0, quantile: float = 0.999) -> Unweighted:
    """Keeps each event with a probability in proportion to its weight.

    Args:
        weights: Weights (N,) that are not negative.
        seed: The same seed keeps the same events.
        quantile: The weight that is not to be exceeded, as a quantile of the weights: 1 keeps the
            distribution exact, a little less keeps many more events. Beyond it, weight is lost.

    Raises:
        ValueError: If weights are negative, not finite or all 0, or the quantile is out of range.
    """
    w = np.asarray(weights, dtype=np.float64)
    if not 0 < quantile <= 1:
        msg = f"quantile must be above 0 and at most 1, not {quantile}"
        raise ValueError(msg)
    if not (np.isfinite(w).all() and (w >= 0).all() and w.sum() > 0):
        msg = "only weights that are finite and not negative, and not all 0, can be done without"
        raise ValueError(msg)
    top = float(np.quantile(w, quantile)) or float(w.max())
    kept = accepted(w, top, np.random.default_rng(seed))
    lost = 1.0 - float(np.minimum(w, top).sum()) / float(w.sum())
    return Unweighted(kept, len(kept) / len(w), lost)


def accepted(weights: Floats, top: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """Numbers of the events that are kept, each with the probability weight / top, 1 at most."""
    return np.flatnonzero(rng.random(len(weights)) * top < weights).astype(np.int64)
