"""The metrics by which a training chooses the model that it keeps."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from hepgan.errors import RecipeError
from hepgan.events import EventBatch
from hepgan.objectives.distances import ks, wasserstein_scaled
from hepgan.observables import Observable
from hepgan.training import SelectionConfig

__all__ = ["METRICS", "evaluate", "metric_names"]

Sample = tuple[NDArray[np.float64], NDArray[np.float64]]

METRICS: dict[str, tuple[Callable[..., float], float]] = {
    "ks": (ks, 1.0),
    "wasserstein": (wasserstein_scaled, math.inf),
}
"""What ``training.selection`` may ask for, as ``ks:m_mumu``, and the worst value of each."""


def metric_names(
    selection: SelectionConfig | None, observables: Mapping[str, Observable], recipe: str
) -> tuple[str, ...]:
    """The metrics that a recipe selects by: those that it names, or ``ks`` of every observable.

    Raises:
        RecipeError: If one does not exist, or there is none.
    """
    if selection is None:
        return ()
    names = selection.metrics or tuple(f"ks:{name}" for name in observables)
    if not names:
        msg = "training.selection: there are no metrics, and no observables to make some from"
        raise RecipeError(msg, file=recipe)
    for metric in names:
        kind, _, name = metric.partition(":")
        if kind not in METRICS or name not in observables:
            msg = (
                f"training.selection: {metric!r} is not a metric; write {' or '.join(METRICS)}, "
                f"a colon, and one of {', '.join(observables) or 'the observables (there are none)'}"
            )
            raise RecipeError(msg, file=recipe)
    return names


def evaluate(
    names: tuple[str, ...],
    observables: Mapping[str, Observable],
    reference: EventBatch,
    generated: EventBatch,
) -> dict[str, float]:
    """The metrics of generated events; the worst value where a model makes nothing to compare.

    An observable that the reference events lack, or that has no positive sum of weights there, counts 0.
    """
    values = {}
    for metric in names:
        kind, _, name = metric.partition(":")
        distance, worst = METRICS[kind]
        (a, weight_a), (b, weight_b) = (
            _sample(observables[name], reference),
            _sample(observables[name], generated),
        )
        if not weight_a.sum() > 0:
            values[metric] = 0.0
        elif not weight_b.sum() > 0:
            values[metric] = worst
        else:
            values[metric] = distance(a, b, weight_a, weight_b)
    return values


def _sample(observable: Observable, events: EventBatch) -> Sample:
    """Values and weights of what exists and is finite; a model early in its training makes infinities."""
    flat = observable.flat(events)
    x = flat.values.cpu().numpy().astype(np.float64)
    ones = torch.ones(len(events), dtype=torch.float64, device=flat.index.device)
    weight = flat.full_weight(ones if events.weight is None else events.weight)
    weight = weight.cpu().numpy().astype(np.float64)
    finite = np.isfinite(x) & np.isfinite(weight)
    return x[finite], weight[finite]
