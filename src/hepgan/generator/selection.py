"""The metrics by which a training chooses the model that it keeps."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from hepgan.errors import RecipeError
from hepgan.events import EventBatch
from hepgan.generator.parts import Learned
from hepgan.observables import Observable
from hepgan.stats.distances import ks, wasserstein_scaled
from hepgan.training import SelectionConfig

__all__ = ["METRICS", "NLL", "evaluate", "metric_names", "negative_log_likelihood"]

Sample = tuple[NDArray[np.float64], NDArray[np.float64]]

METRICS: dict[str, tuple[Callable[..., float], float]] = {
    "ks": (ks, 1.0),
    "wasserstein": (wasserstein_scaled, math.inf),
}
"""What ``training.selection`` may ask for, as ``ks:m_mumu``, and the worst value of each."""


NLL = "nll"
"""The metric of models with a likelihood that needs no generated events."""


def metric_names(
    selection: SelectionConfig | None,
    observables: Mapping[str, Observable],
    recipe: str,
    *,
    likelihood: bool = False,
) -> tuple[str, ...]:
    """The metrics that a recipe selects by: those that it names, or ``ks`` of every observable.

    Args:
        selection: What the recipe says.
        observables: Its observables.
        recipe: Its name.
        likelihood: Whether its model has a likelihood.

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
        if metric == NLL and likelihood:
            continue
        if kind not in METRICS or name not in observables:
            there = ", ".join(observables) or "the observables (there are none)"
            msg = (
                f"training.selection: {metric!r} is not a metric; write {' or '.join(METRICS)}, "
                f"a colon, and one of {there}" + (f"; or {NLL}" if likelihood else "")
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

    An observable that the reference events lack, or that has no positive sum of weights there, counts 0. The
    likelihood is not among them.
    """
    values = {}
    for metric in names:
        if metric == NLL:
            continue
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


@torch.no_grad()
def negative_log_likelihood(learned: Learned, reference: EventBatch) -> float:
    """The mean of - log p of the continuous features of events, of those that the model can make.

    Members of an ensemble have features of their own, so their p is of the columns that these are made of.
    """
    members = [learned.member(k) for k in range(learned.members)]
    encoded = [m.representation.encode_possible(reference.to(learned.device)) for m in members]
    possible = torch.stack([p for _, p in encoded]).all(0)
    weight = torch.ones(len(reference)) if reference.weight is None else reference.weight
    weight = weight.to(learned.device, torch.float64)[possible]
    if not float(weight.sum()) > 0.0:
        return 0.0
    each = []
    for member, (features, _) in zip(members, encoded, strict=True):
        there = features[possible]
        seen = there.to(learned.device, torch.float32)
        found = member.model.log_prob(seen.x, seen.context, seen.mask).double()
        each.append(found if len(members) == 1 else found + member.representation.log_abs_det(there))
    log_prob = torch.logsumexp(torch.stack(each), 0) - math.log(len(each))
    return float(-(weight * log_prob).sum() / weight.sum())


def _sample(observable: Observable, events: EventBatch) -> Sample:
    """Values and weights of what exists and is finite; a model early in its training makes infinities."""
    flat = observable.flat(events)
    x = flat.values.cpu().numpy().astype(np.float64)
    ones = torch.ones(len(events), dtype=torch.float64, device=flat.index.device)
    weight = flat.full_weight(ones if events.weight is None else events.weight)
    weight = weight.cpu().numpy().astype(np.float64)
    finite = np.isfinite(x) & np.isfinite(weight)
    return x[finite], weight[finite]
