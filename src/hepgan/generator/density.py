"""How probable a generator finds events, and the noise that it would make them of."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, cast

import awkward as ak
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hepgan.errors import InputError
from hepgan.events import EventBatch, EventSchema, to_batch
from hepgan.features import FeatureBatch, Measure
from hepgan.generator.parts import Parts
from hepgan.models import DensityModel, FlowMatching, Model
from hepgan.models.discrete import DiscreteModel

__all__ = ["Latents", "MeasureName", "fitting", "latents", "log_prob", "needed"]

CHUNK = 4096
"""Events whose Jacobians are in memory together."""

MeasureName = Literal["events", "columns"]


class Latents(NamedTuple):
    """The noise that events would be made of.

    Attributes:
        names: The D features.
        values: (N, D) noise, which is normal if the model is right; NaN for features that an event does not
            have, and for events that are never generated.
    """

    names: tuple[str, ...]
    values: NDArray[np.float64]


def log_prob(
    parts: Parts, events: ak.Array, *, measure: MeasureName = "events", steps: int | None = None
) -> NDArray[np.float64]:
    """Log of the probability density (N,) of events; see ``EventGenerator.log_prob``.

    Raises:
        InputError: If the model has no likelihood, or the events are not of its kind.
        RecipeError: If the features of the events don't follow from what is stored of them.
        ValueError: If there is no such measure, or the number of steps is not positive.
    """
    if measure not in ("events", "columns"):
        msg = f"measure must be 'events' or 'columns', not {measure!r}"
        raise ValueError(msg)
    _checked(parts.model)
    if parts.members > 1:
        each = [log_prob(parts.member(k), events, measure=measure, steps=steps) for k in range(parts.members)]
        return np.asarray(np.logaddexp.reduce(each, axis=0) - math.log(parts.members))
    density = _Density(parts, measure, steps)
    return _by_chunk(parts, events, density, np.full(len(events), -np.inf))


def latents(parts: Parts, events: ak.Array) -> Latents:
    """The noise (N, D) that events would be made of; see ``EventGenerator.latents``.

    Raises:
        InputError: If the model cannot be inverted, or the events are not of its kind.
    """
    model = _checked(parts.model)
    if parts.members > 1:
        msg = f"each of {parts.members} members makes events of other noise: ask one, generator.member(k)"
        raise InputError(msg)
    representation = parts.representation
    precision = next(model.parameters()).dtype

    @torch.no_grad()
    def noise(batch: EventBatch) -> Tensor:
        features, possible = representation.encode_possible(batch)
        features = features.to(dtype=precision)
        shape = len(batch), representation.size
        found = torch.full(shape, math.nan, dtype=torch.float64, device=batch.device)
        rows = possible.nonzero()[:, 0]
        if len(rows):
            part = features[rows]
            z = model.latent(part.x, part.context, part.mask).double()
            found[rows] = z if part.mask is None else z.masked_fill(~part.mask, math.nan)
        return found

    values = np.full((len(events), representation.size), np.nan)
    return Latents(tuple(representation.names), _by_chunk(parts, events, noise, values))


def _checked(model: Model) -> DensityModel:
    """The model, if it, or each of its members, can be inverted.

    Raises:
        InputError: If it cannot.
    """
    if not model.has_likelihood:
        msg = f"a {type(model).__name__} has no likelihood: use a flow or flow_matching"
        raise InputError(msg)
    return cast("DensityModel", model)


def _by_chunk(
    parts: Parts, events: ak.Array, compute: Callable[[EventBatch], Tensor], found: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Fills in what is computed of the events that can be batched."""
    schema = needed(parts)
    events = parts.derived.entering(events)
    numbers = np.flatnonzero(fitting(events, schema))
    for start in range(0, len(numbers), CHUNK):
        chosen = numbers[start : start + CHUNK]
        batch = to_batch(events[chosen], schema, device=parts.device)
        found[chosen] = compute(batch).cpu().numpy()
    return found


class _Density:
    """The density of batches of events."""

    def __init__(self, parts: Parts, measure: MeasureName, steps: int | None) -> None:
        self.parts = parts
        if not isinstance(parts.discrete, DiscreteModel):
            raise TypeError(type(parts.discrete))
        self.discrete = parts.discrete
        self.model = _with_steps(copy.deepcopy(_checked(parts.model)).double().eval(), steps)
        self.steps = steps
        self.measure = Measure(parts.representation) if measure == "events" else None

    @torch.no_grad()
    def __call__(self, events: EventBatch) -> Tensor:
        """Log of the density (N,) of events, minus infinity for what is never generated."""
        representation = self.parts.representation
        features, possible = representation.encode_possible(events)
        total = torch.full((len(events),), -math.inf, dtype=torch.float64, device=events.device)
        rows = possible.nonzero()[:, 0]
        if not len(rows):
            return total
        features, events = features[rows], events[rows]
        found = self.discrete.log_prob(features.discrete, features.condition)
        found = found + self._continuous(features)
        if self.measure is None:
            found = found + representation.log_abs_det(features)
        else:
            volume = self.measure(events, features)
            found = torch.where(volume.possible, found - volume.log_abs_det, -math.inf)
        if representation.has_azimuth:
            found = found - math.log(2 * math.pi)
        return total.index_copy(0, rows, found)

    def _continuous(self, features: FeatureBatch) -> Tensor:
        options: dict[str, Any] = {} if self.steps is None else {"steps": self.steps}
        return self.model.log_prob(features.x, features.context, features.mask, **options)


def _with_steps(model: DensityModel, steps: int | None) -> DensityModel:
    """The model, if it follows paths in steps, or none are asked for."""
    if steps is None:
        return model
    if not isinstance(model, FlowMatching):
        msg = f"steps are those of flow_matching; a {type(model).__name__} has none"
        raise InputError(msg)
    if steps < 1:
        msg = f"steps must be at least 1, not {steps}"
        raise ValueError(msg)
    return model


def needed(parts: Parts) -> EventSchema:
    """What has to be known of events: what was learned, without the weight."""
    schema = parts.derived.learned
    kept = tuple(f for f in schema.scalars if f.name != schema.weight)
    return schema.model_copy(update={"scalars": kept, "weight": None})


def fitting(events: ak.Array, schema: EventSchema) -> NDArray[np.bool_]:
    """Which events have no more objects than there can be."""
    fitting = np.ones(len(events), dtype=bool)
    for c in schema.collections:
        if c.layout == "single" or c.name not in events.fields:
            continue
        counts = np.asarray(ak.num(events[c.name], axis=1))
        fitting &= (counts == c.max_count) if c.fixed else (counts <= c.max_count)
    return fitting
