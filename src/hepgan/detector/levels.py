"""What unfolding sees of events at the vertex and at the detector."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import awkward as ak
import numpy as np
import torch
from numpy.typing import NDArray

from hepgan.arguments import checked
from hepgan.errors import InputError
from hepgan.events import EventBatch, event_weights, schema_of
from hepgan.events.buffers import ATTRIBUTE
from hepgan.observables import Observable

__all__ = ["Fold", "Level", "bootstrap", "event_weights", "folding_of", "recorded", "seen", "with_weights"]

Floats = NDArray[np.float64]

Fold = Callable[[EventBatch, torch.Generator], EventBatch]
"""Detector-level events (N) of vertex-level ones, given a source of random numbers."""


@checked
@dataclass(frozen=True)
class Level:
    """What classifiers see of events at one level: fields, observables, or both.

    Args:
        fields: Collections (``Detector``) and scalars (``beam_energy``), all of whose numbers are seen; if
            there are any, observables are of these alone.
        observables: Quantities with one number an event, by name.

    Raises:
        ValueError: If there is neither.
    """

    fields: tuple[str, ...] = ()
    observables: Mapping[str, Observable] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "fields", tuple(self.fields))
        if not (self.fields or self.observables):
            msg = "a level without fields and observables is nothing to unfold by"
            raise ValueError(msg)


def seen(level: Level, events: ak.Array, what: str) -> ak.Array:
    """The part of events that a level's observables and classifiers are to see, with its weight.

    Args:
        level: What is seen.
        events: N events.
        what: What they are called in messages.

    Raises:
        InputError: If a field is missing.
    """
    if not level.fields:
        return events
    missing = [n for n in level.fields if n not in events.fields]
    if missing:
        msg = f"the {what} have no {missing[0]!r}; they have {', '.join(events.fields) or 'nothing'}"
        raise InputError(msg)
    schema = schema_of(events)
    names = list(dict.fromkeys([*level.fields, *([] if schema.weight is None else [schema.weight])]))
    part = ak.Array(events[names], attrs=events.attrs)
    return ak.Array(part, attrs={**part.attrs, ATTRIBUTE: schema_of(part)})


def recorded(level: Level, events: ak.Array) -> NDArray[np.bool_]:
    """Which events (N,) were recorded: those with an object in any of the level's collections.

    Where the level names no collection of varying length, all were.
    """
    lists = [c.name for c in schema_of(events).collections if c.layout != "single" and c.name in level.fields]
    if not lists:
        return np.ones(len(events), dtype=np.bool_)
    found: NDArray[np.bool_] = np.any([ak.to_numpy(ak.num(events[n], axis=1)) > 0 for n in lists], axis=0)
    return found


def with_weights(events: ak.Array, weight: Floats) -> ak.Array:
    """The same events with other weights (N,), in the field that holds them, or in a new one."""
    schema = schema_of(events)
    name = schema.weight or "weight"
    made = ak.with_field(events, weight, name)
    return ak.Array(
        made, attrs={**made.attrs, ATTRIBUTE: schema_of(made).model_copy(update={"weight": name})}
    )


@checked
def bootstrap(events: ak.Array, seed: int) -> ak.Array:
    """A bootstrap sample of events: their weights times Poisson numbers of mean 1.

    Unlike events that are drawn with repetition, no event is there twice, so none is both learned from and
    kept apart.
    """
    count = np.random.default_rng(seed).poisson(1.0, len(events))
    return with_weights(events, event_weights(events) * count)


def folding_of(folding: Any) -> Fold:
    """The function that folds batches of events: the method ``fold_batch``, or a function as it is.

    Raises:
        InputError: If it is neither.
    """
    fold = getattr(folding, "fold_batch", folding)
    if not callable(fold):
        kind = type(folding).__name__
        msg = f"a folding has fold_batch(events, generator), or is such a function, unlike {kind}"
        raise InputError(msg)
    found: Fold = fold
    return found
