"""Which of the evaluated models is kept."""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

from hepgan.errors import RecipeError
from hepgan.training.config import SelectionConfig
from hepgan.training.history import Table

__all__ = ["is_best"]


def is_best(config: SelectionConfig, metrics: Table, best_step: int | None) -> bool:
    """Whether the last evaluation beats that of ``best_step``.

    A metric that isn't finite counts as worse than any other.

    Args:
        config: The rule.
        metrics: All evaluations so far.
        best_step: The step of the model that is kept so far; None if there is none.

    Raises:
        RecipeError: If a metric of the rule isn't evaluated.
    """
    names = config.metrics or tuple(n for n in metrics.names if n != "step")
    for name in names:
        if name not in metrics.names:
            there = ", ".join(n for n in metrics.names if n != "step") or "none"
            msg = f"the selection names the metric {name!r}, which isn't evaluated; there are: {there}"
            raise RecipeError(msg)
    values = np.stack([metrics[name] for name in names], axis=1)
    values[~np.isfinite(values)] = math.inf
    if config.rule == "rank_sum":
        values = stats.rankdata(values, axis=0)
    scores = values.sum(axis=1)
    if best_step is None:
        return True
    (held,) = np.flatnonzero(metrics["step"] == best_step)
    return bool(scores[-1] < scores[held])
