"""Weights as fields of events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import awkward as ak
import numpy as np

from hepgan.errors import InputError
from hepgan.events import EventSchema, event_weights, schema_of
from hepgan.events.buffers import ATTRIBUTE
from hepgan.observables import Observable
from hepgan.reweighting.reweighter import Reweighter
from hepgan.stats.weights import Weights

__all__ = ["check_name", "reweight", "weighted"]


def reweight(
    reference: ak.Array,
    generated: ak.Array,
    observables: Mapping[str, Observable] | None = None,
    *,
    name: str = "weight",
    **settings: Any,
) -> ak.Array:
    """Generated events with weights by which they follow the distribution of true ones.

    Args:
        reference: True events.
        generated: Generated events.
        observables: What the classifiers see besides the fields of the events.
        name: The field of the weights.
        settings: As of :class:`Reweighter`: ``classifier``, ``members``, ``calibration``, ...

    Returns:
        The generated events with the fields ``weight`` and ``weight_error``; a weight that they have already
        is a factor of both, and ``write_events`` and ``compare`` take ``weight`` for the event weight.

    Raises:
        InputError: If the samples cannot be told apart by anything, or are too small.
    """
    check_name(schema_of(generated), name)
    fitted = Reweighter(observables, **settings).fit(reference, generated)
    return weighted(generated, fitted.fitted_weights, name)


def weighted(events: ak.Array, weights: Weights, name: str = "weight") -> ak.Array:
    """Events with weights as the fields ``name`` and ``name_error``.

    Raises:
        InputError: If the events have a field of this name that is not their weight.
    """
    schema = schema_of(events)
    check_name(schema, name)
    factor = event_weights(events, schema)
    made = ak.with_field(events, (weights.weight * factor).astype(np.float32), name)
    made = ak.with_field(made, (weights.error * np.abs(factor)).astype(np.float32), f"{name}_error")
    described = schema_of(made).model_copy(update={"weight": name})
    return ak.Array(made, attrs={**made.attrs, ATTRIBUTE: described})


def check_name(schema: EventSchema, name: str) -> None:
    """Sees to it that weights can be called so.

    Raises:
        InputError: If the events have a field of this name that is not their weight.
    """
    fields = {*schema.collection_names, *schema.scalar_names, *(f.name for f in schema.identifiers)}
    for taken in (name, f"{name}_error"):
        if taken in fields and taken != schema.weight:
            msg = f"the events have a {taken!r} already, which is no weight: choose another name"
            raise InputError(msg)
