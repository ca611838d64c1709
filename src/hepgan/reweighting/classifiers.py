"""Classifiers that tell true from generated events."""

from __future__ import annotations

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

EPOCHS, STEPS, BATCH, RATE = 25, (300, 2500), 2048, 2e-3
"""Training of the network: passes over the events, within these numbers of steps."""

PART = 100_000
"""Events that the network scores at a time."""


def learned(kind: ClassifierName, x: Floats, label: Any, weight: Floats, seed: int) -> Score:
    """A classifier of rows (N, D), in which NaN stands for what an event lacks.

    ``trees`` are gradient-boosted trees, fast and robust; ``mlp`` is a network, whose scores are smooth and
    which can learn from events with negative weights.

    Args:
        kind: Which.
        x: Rows (N, D).
        label: (N,) whether events are true.
        weight: (N,) weights, of equal sums for true and generated events.
        seed: The same seed gives the same classifier.
    """
    return _trees(x, label, weight, seed) if kind == "trees" else _network(x, label, weight, seed)


def _trees(x: Floats, label: Any, weight: Floats, seed: int) -> Score:
    # Stopped where events that were not learned from are told best: what is learned beyond that is noise, and
    # calibration would have to undo it at the cost of what is not.
    trees = HistGradientBoostingClassifier(
        max_iter=400,
        learning_rate=0.06,
        max_leaf_nodes=16,
        min_samples_leaf=100,
        l2_regularization=1.0,
        early_stopping=True,
        validation_fraction=0.15,
        n_iter_no_change=15,
        random_state=seed,
    )
    trees.fit(x, label, sample_weight=weight)
    return lambda rows: np.asarray(trees.decision_function(rows), dtype=np.float64)


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
    steps = min(max(EPOCHS * len(x) // BATCH, STEPS[0]), STEPS[1])
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, steps)
    seen, sign = inputs(x), torch.from_numpy(np.where(label, -1.0, 1.0)).float()
    weights = torch.from_numpy(weight / np.abs(weight).mean()).float()
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        chosen = torch.randint(len(seen), (min(BATCH, len(seen)),), generator=generator)
        score = network(seen[chosen])[:, 0]
        loss = (weights[chosen] * functional.softplus(sign[chosen] * score)).mean()
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    network.eval()

    @torch.no_grad()
    def score_of(rows: Floats) -> Floats:
        parts = [network(inputs(rows[i : i + PART]))[:, 0] for i in range(0, len(rows), PART)]
        return np.asarray(torch.cat(parts).numpy(), dtype=np.float64) if parts else np.empty(0)

    return score_of
