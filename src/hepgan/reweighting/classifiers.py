"""Classifiers that tell true from generated events."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from torch import Tensor
from torch.nn import functional

from hepgan.features.transforms import QuantileNormal
from hepgan.networks import MLP

__all__ = ["CLASSIFIERS", "ClassifierName", "Score", "learned"]

Floats = NDArray[np.float64]
ClassifierName = Literal["trees", "mlp"]
CLASSIFIERS = ("trees", "mlp")

Score = Callable[[Floats], Floats]
"""Logarithms of D / (1 - D) (N,) of rows (N, D)."""

EPOCHS, STEPS, BATCH, RATE, DECAY = 15, (300, 2500), 2048, 2e-3, 0.05
"""Training of the network: passes over the events, within these numbers of steps."""

LEAF = 100
"""Events of a tree's leaf, at least: what fewer events have, trees can't tell."""

HELD, CHECKS = 0.1, 30
"""Share of the events by which the best of so many states of the network is chosen."""

PART = 100_000
"""Events that the network scores at a time."""


def learned(kind: ClassifierName, x: Floats, label: Any, weight: Floats, seed: int) -> Score:
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
    return _trees(x, label, weight, seed) if kind == "trees" else _network(x, label, weight, seed)


def _trees(x: Floats, label: Any, weight: Floats, seed: int) -> Score:
    # Trees can't bin a column that is empty in the part that they learn from.
    full = np.isfinite(x).sum(0) >= LEAF
    # Stopped where events that were not learned from are told best: what is learned beyond that is noise, and
    # calibration would have to undo it at the cost of what is not.
    trees = HistGradientBoostingClassifier(
        max_iter=400,
        learning_rate=0.06,
        max_leaf_nodes=16,
        min_samples_leaf=LEAF,
        l2_regularization=1.0,
        early_stopping=True,
        validation_fraction=0.15,
        n_iter_no_change=15,
        random_state=seed,
    )
    trees.fit(_columns(x, full), label, sample_weight=weight)

    def score_of(rows: Floats) -> Floats:
        found = trees.decision_function(_columns(rows, full)) if len(rows) else np.empty(0)
        return np.asarray(found, dtype=np.float64)

    return score_of


def _columns(rows: Floats, chosen: NDArray[np.bool_]) -> Floats:
    """Some columns of the rows; one of zeros if there is none."""
    return rows[:, chosen] if chosen.any() else np.zeros((len(rows), 1))


def _network(x: Floats, label: Any, weight: Floats, seed: int) -> Score:
    there = torch.from_numpy(np.isfinite(x))
    rows = torch.from_numpy(np.nan_to_num(x))
    scale = QuantileNormal(x.shape[1]).fit(rows, there)

    def inputs(rows: Floats) -> Tensor:
        there = torch.from_numpy(np.isfinite(rows))
        scaled = scale(torch.from_numpy(np.nan_to_num(rows))).clamp(-6, 6)
        return torch.cat([torch.where(there, scaled, 0.0), there], 1).float()

    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        network = MLP((2 * x.shape[1], 128, 128, 128, 1), activation="silu")
    # Kept as it is where events that are not learned from are told best.
    rng = np.random.default_rng(seed)
    held = torch.from_numpy(rng.permutation(len(x)) < HELD * len(x))
    steps = min(max(EPOCHS * len(x) // BATCH, STEPS[0]), STEPS[1])
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, steps)
    rows_in, sign = inputs(x), torch.from_numpy(np.where(label, -1.0, 1.0)).float()
    weights = torch.from_numpy(weight / np.abs(weight).mean()).float()
    train, test = (tuple(t[part] for t in (rows_in, sign, weights)) for part in (~held, held))
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


def _loss(network: MLP, x: Tensor, sign: Tensor, weight: Tensor) -> Tensor:
    return (weight * functional.softplus(sign * network(x)[:, 0])).mean()
