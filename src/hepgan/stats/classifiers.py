"""Classifiers that tell true from generated events, and their outputs as probabilities that are true."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, logit
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.isotonic import IsotonicRegression
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
from torch import Tensor
from torch.nn import functional

from hepgan.features.transforms import QuantileNormal
from hepgan.networks import MLP, drawing_from
from hepgan.runtime import cores, idle_cores, threads

__all__ = [
    "CALIBRATIONS",
    "CLASSIFIERS",
    "Calibration",
    "ClassifierName",
    "Reliability",
    "Score",
    "calibrate",
    "learn_factors",
    "learn_scores",
    "reliability",
]

Floats = NDArray[np.float64]
ClassifierName = Literal["trees", "mlp"]
CLASSIFIERS = ("trees", "mlp")
Calibration = Literal["isotonic", "temperature"]
CALIBRATIONS = ("isotonic", "temperature")

Score = Callable[[Floats], Floats]
"""Logarithms of D / (1 - D) (N,) of rows (N, D)."""

EPOCHS, STEPS, BATCH, RATE, DECAY = 15, (300, 2500), 2048, 2e-3, 0.05
"""Training of the network: passes over the events, within these numbers of steps."""

LEAF = 100
"""Events of a tree's leaf, at least: what fewer events have, trees can't tell."""

HELD, CHECKS = 0.1, 30
"""Share of the events by which the best of so many states of the network is chosen."""

TREES: dict[str, Any] = {
    "max_iter": 400,
    "learning_rate": 0.06,
    "max_leaf_nodes": 16,
    "min_samples_leaf": LEAF,
    "l2_regularization": 1.0,
    "early_stopping": True,
    "validation_fraction": 0.15,
    "n_iter_no_change": 15,
}
"""Trees stop where events that were not learned from are told best: what is learned beyond that is noise, and
calibration would have to undo it at the cost of what is not."""

MOST_THREADS = 4
"""Threads of trees; more gain nothing. What is learned does not depend on them."""

PART = 100_000
"""Events that the network scores at a time."""


SHARPEST = 12.0
"""The largest |log D / (1 - D)| that a calibration gives."""


def learn_scores(kind: ClassifierName, x: Floats, label: Any, weight: Floats, seed: int) -> Score:
    """A classifier of rows (N, D), in which NaN stands for what an event lacks.

    ``mlp`` is a network, whose scores are smooth, so that small differences all over phase space are found;
    and it can learn from events with negative weights. ``trees`` are gradient-boosted, and several times
    faster.

    Args:
        kind: Which.
        x: Rows (N, D).
        label: (N,) whether events are true.
        weight: (N,) weights, of equal sums for true and generated events.
        seed: The same seed gives the same classifier.
    """
    if kind == "trees":
        trees = HistGradientBoostingClassifier(random_state=seed, **TREES)
        return _trees(trees, x, label, weight, trees.decision_function)
    with threads(min(torch.get_num_threads(), cores())):
        return _network(x, np.where(label, weight, 0.0), np.where(label, 0.0, weight), seed)


def learn_factors(kind: ClassifierName, x: Floats, factor: Floats, weight: Floats, seed: int) -> Score:
    """A classifier of events with factors to their weights against the same events without.

    Its scores are logarithms of the mean factor of events that look the same. Each event is there with both
    labels: as two events, one of which is held back while the other is learned, they would seem to be told
    apart worse than they are.

    Args:
        kind: Which, as for :func:`learn_scores`.
        x: Rows (N, D).
        factor: (N,) factors, not negative for ``trees``.
        weight: (N,) weights.
        seed: The same seed gives the same classifier.
    """
    if kind == "trees":
        trees = HistGradientBoostingRegressor(loss="poisson", random_state=seed, **TREES)
        return _trees(trees, x, factor, weight, lambda rows: np.log(trees.predict(rows)))
    with threads(min(torch.get_num_threads(), cores())):
        return _network(x, weight * factor, weight, seed)


def _trees(trees: Any, x: Floats, target: Any, weight: Floats, score: Score) -> Score:
    """The score of trees that have learned a target (N,) of rows (N, D)."""
    # They can't bin a column that is empty in the part that they learn from.
    full = np.isfinite(x).sum(0) >= LEAF

    def columns(rows: Floats) -> Floats:
        return rows[:, full] if full.any() else np.zeros((len(rows), 1))

    # Threads of trees wait for each other at each leaf, and would spin where others use the machine.
    with threadpool_limits(limits=min(idle_cores(), MOST_THREADS), user_api="openmp"):
        trees.fit(columns(x), target, sample_weight=weight)

    def score_of(rows: Floats) -> Floats:
        return np.asarray(score(columns(rows)) if len(rows) else np.empty(0), dtype=np.float64)

    return score_of


def _network(x: Floats, true: Floats, made: Floats, seed: int) -> Score:
    """A network of rows (N, D) with the weights (N,) that each has as a true and as a generated event."""
    there = torch.from_numpy(np.isfinite(x))
    rows = torch.from_numpy(np.nan_to_num(x))
    scale = QuantileNormal(x.shape[1]).fit(rows, there)

    def inputs(rows: Floats) -> Tensor:
        there = torch.from_numpy(np.isfinite(rows))
        scaled = scale(torch.from_numpy(np.nan_to_num(rows))).clamp(-6, 6)
        return torch.cat([torch.where(there, scaled, 0.0), there], 1).float()

    with drawing_from(torch.Generator().manual_seed(seed)):
        network = MLP((2 * x.shape[1], 128, 128, 128, 1), activation="silu")
    # Kept as it is where events that are not learned from are told best.
    rng = np.random.default_rng(seed)
    held = torch.from_numpy(rng.permutation(len(x)) < HELD * len(x))
    steps = min(max(EPOCHS * len(x) // BATCH, STEPS[0]), STEPS[1])
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, steps)
    mean = np.abs(true + made).mean()
    columns = (inputs(x), *(torch.from_numpy(w / mean).float() for w in (true, made)))
    train, test = (tuple(t[part] for t in columns) for part in (~held, held))
    generator = torch.Generator().manual_seed(seed)
    best, state = math.inf, network.state_dict()
    for step in range(1, steps + 1):
        chosen = torch.randint(len(train[0]), (min(BATCH, len(train[0])),), generator=generator)
        loss = _loss(network, *(t[chosen] for t in train))
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if step % max(steps // CHECKS, 1) == 0:
            with torch.no_grad():
                value = float(_loss(network, *test))
            if value < best:
                best, state = value, {n: t.clone() for n, t in network.state_dict().items()}
    network.load_state_dict(state)
    network.eval()

    @torch.no_grad()
    def score_of(rows: Floats) -> Floats:
        parts = [network(inputs(rows[i : i + PART]))[:, 0] for i in range(0, len(rows), PART)]
        return np.asarray(torch.cat(parts).numpy(), dtype=np.float64) if parts else np.empty(0)

    return score_of


def _loss(network: MLP, x: Tensor, true: Tensor, made: Tensor) -> Tensor:
    score = network(x)[:, 0]
    return (true * functional.softplus(-score) + made * functional.softplus(score)).mean()


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


def calibrate(kind: Calibration | None, score: Floats, label: Any, weight: Floats) -> Callable[..., Floats]:
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
