"""Classifiers' outputs as probabilities that are true."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression

__all__ = ["CALIBRATIONS", "Calibration", "Reliability", "calibrated", "reliability"]

Floats = NDArray[np.float64]
Calibration = Literal["isotonic", "temperature"]
CALIBRATIONS = ("isotonic", "temperature")

SHARPEST = 12.0
"""The largest |log D / (1 - D)| that a calibration gives."""


class Reliability(NamedTuple):
    """How often events are true that a classifier believes to be so, in bins of equal numbers of events.

    Attributes:
        predicted: (B,) mean of D.
        observed: (B,) share of the true events.
        error: (B,) its statistical error.
    """

    predicted: Floats
    observed: Floats
    error: Floats

    @property
    def chi2(self) -> float:
        """Squared deviations in units of their errors, by bin: about 1 if D is a probability."""
        return float(np.mean(((self.observed - self.predicted) / self.error) ** 2))


def calibrated(kind: Calibration | None, score: Floats, label: Any, weight: Floats) -> Callable[..., Floats]:
    """What turns scores, logarithms of D / (1 - D), into calibrated ones.

    Args:
        kind: ``isotonic``: any increasing function of the score, in steps; ``temperature``: a factor and a
            shift; None: the scores as they are.
        score: Scores (N,) of events that were not learned from.
        label: (N,) whether they are true.
        weight: (N,) their weights.
    """
    if kind is None:
        return lambda s: np.clip(s, -SHARPEST, SHARPEST)
    if kind == "isotonic":
        steps = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip")
        steps.fit(score, np.asarray(label, dtype=np.float64), sample_weight=weight)
        return lambda s: np.clip(logit(steps.predict(s)), -SHARPEST, SHARPEST)
    sign = np.where(label, 1.0, -1.0)

    def loss(parameters: Floats) -> tuple[float, Floats]:
        factor, shift = np.exp(parameters[0]), parameters[1]
        margin = sign * (factor * score + shift)
        slope = -sign * weight * expit(-margin)
        gradient = np.array([float(slope @ score) * factor, float(slope.sum())])
        return float(weight @ np.logaddexp(0.0, -margin)) / len(score), gradient / len(score)

    best = minimize(loss, np.zeros(2), jac=True, method="L-BFGS-B", bounds=[(-4.0, 4.0), (-4.0, 4.0)]).x
    factor, shift = float(np.exp(best[0])), float(best[1])
    return lambda s: np.clip(factor * s + shift, -SHARPEST, SHARPEST)


def reliability(score: Floats, label: Any, weight: Floats, bins: int = 20) -> Reliability:
    """How often events are true, by what was predicted.

    Args:
        score: Logarithms of D / (1 - D) (N,).
        label: (N,) whether the events are true.
        weight: (N,) weights.
        bins: Bins, at most.
    """
    edges = np.unique(np.quantile(score, np.linspace(0, 1, bins + 1)[1:-1]))
    number = np.searchsorted(edges, score, side="right")
    size = len(edges) + 1
    believed, true, total, squares = (
        np.bincount(number, v, minlength=size).astype(np.float64)
        for v in (weight * expit(score), weight * np.asarray(label), weight, weight**2)
    )
    full = total > 0
    predicted, observed = believed[full] / total[full], true[full] / total[full]
    variance = np.clip(predicted * (1 - predicted), 1e-12, None) * squares[full] / total[full] ** 2
    return Reliability(predicted, observed, np.sqrt(variance))
