"""Scalars that are computed from the rest of an event instead of being learned, and signs of weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import awkward as ak
import numpy as np
import torch
from torch import Tensor

from hepgan.errors import InputError, RecipeError
from hepgan.events import EventBatch, EventSchema, Field, Kind, Objects, coordinates
from hepgan.features import FeatureBatch
from hepgan.features.survey import DIFFERING, SEVERAL, resolution
from hepgan.observables import Observable
from hepgan.observables.language import parse

__all__ = ["Derived"]

Decode = Callable[[FeatureBatch], EventBatch]

CHECKED = 10_000
"""Events in which derived scalars are compared with those of the data."""


class Derived:
    """Scalars that follow from the rest of an event, such as the mass of a pair.

    They are computed anew in each generated event, so they are exact functions of it. Where an event has
    nothing to compute one from (``Jet[0].pt`` without jets), or the result is not finite, it is 0.

    Args:
        schema: What the events hold, these scalars included.
        expressions: The observable that gives each scalar, by its name.
        signs: Whether generated events have weights of either sign. That of the weight is then a number that
            is learned, and weights are absolute ones.

    Raises:
        RecipeError: If a scalar is not there, is text or the weight, or if its expression does not fit the
            rest of the event or gives a number for each object; or if there are no weights to have signs.

    Attributes:
        schema: What the events hold.
        learned: What they hold without these scalars, and with the sign of the weight.
    """

    def __init__(self, schema: EventSchema, expressions: Mapping[str, str], *, signs: bool = False) -> None:
        self.schema = schema
        self._sign = _sign_field(schema) if signs else None
        for name in expressions:
            if name not in schema.scalar_names:
                known = ", ".join(schema.scalar_names) or "none"
                msg = f"events.derived: {name!r} is not a scalar of the events; they have {known}"
                raise RecipeError(msg)
            if name == schema.weight or schema.scalar(name).dtype == "string":
                what = "the event weight" if name == schema.weight else "text"
                msg = f"events.derived: {name} is {what}, which cannot be derived"
                raise RecipeError(msg)
        kept = tuple(f for f in schema.scalars if f.name not in expressions)
        signed = kept if self._sign is None else (*kept, self._sign)
        self.learned = schema.model_copy(update={"scalars": signed})
        # Generated events weigh 1, whatever those of the training weigh.
        others = tuple(f for f in kept if f.name != schema.weight)
        physics = schema.model_copy(update={"scalars": others, "weight": None})
        self._observables: dict[str, Observable] = {}
        for name, expression in expressions.items():
            observable = Observable(name, expression)
            try:
                per_event = observable.check(physics).per_event
            except RecipeError as error:
                msg = f"events.derived: {error.message}"
                raise RecipeError(msg) from None
            if not per_event:
                msg = (
                    f"events.derived: {expression} gives a number for each object; {name} needs one an event"
                )
                raise RecipeError(msg)
            self._observables[name] = observable

    def __call__(self, events: EventBatch) -> EventBatch:
        """The events (N) with these scalars, computed from the rest; differentiable where they are real."""
        if not self._observables and self._sign is None:
            return events
        found = dict(events.scalars)
        for name, observable in self._observables.items():
            found[name] = self._cast(name, _values(observable, events)[0])
        if self._sign is not None:
            weight = str(self.schema.weight)
            found[weight] = found[self._sign.name].to(found[weight])
        return EventBatch(self.schema, events.collections, {n: found[n] for n in self.schema.scalar_names})

    def after(self, decode: Decode) -> Decode:
        """A decoding of features that gives whole events."""
        whole = bool(self._observables) or self._sign is not None
        return (lambda features: self(decode(features))) if whole else decode

    def signed(self, events: EventBatch) -> EventBatch:
        """Events as they are learned: with absolute weights and their signs, if these are to be generated."""
        weights = events.weight
        if self._sign is None or weights is None:
            return events
        sign = torch.where(weights < 0, -1, 1)
        schema = events.schema.model_copy(update={"scalars": (*events.schema.scalars, self._sign)})
        scalars = {**events.scalars, str(schema.weight): weights.abs(), self._sign.name: sign}
        return EventBatch(schema, events.collections, scalars, len(events))

    def with_signs(self, events: ak.Array) -> ak.Array:
        """Events with the signs of their weights as the number that is learned, where one is.

        Raises:
            InputError: If they have no weights.
        """
        if self._sign is None or self._sign.name in events.fields:
            return events
        weight = self.schema.weight
        if weight not in events.fields:
            msg = f"no {weight}, whose signs belong to the events"
            raise InputError(msg, branch=weight)
        return ak.with_field(events, ak.where(events[weight] < 0, -1, 1), self._sign.name)

    def check(self, events: EventBatch) -> None:
        """Compares the scalars of the first events with what their expressions give.

        They agree where the difference is no more than the rounding of what is stored, and four times what
        the rounding of the numbers in the expression allows, that of float32 at least. One event in a
        thousand may disagree.

        Raises:
            RecipeError: If they do not agree; it tells the largest difference and its entry.
        """
        first = events[:CHECKED]
        for name, observable in self._observables.items():
            field = self.schema.scalar(name)
            stored = first.scalars[name].to(torch.float64)
            computed, exists = _values(observable, first)
            lacking = ~exists & (stored != 0)
            if bool(lacking.any()):
                entry = int(lacking.nonzero()[0])
                msg = (
                    f"events.derived: {name} is {float(stored[entry]):.9g} where {observable.expression} "
                    "does not exist; generated events would have 0 there"
                )
                raise RecipeError(msg, branch=field.branch, entry=entry)
            off = (self._cast(name, computed).to(torch.float64) - stored).abs()
            allowed = SEVERAL * _propagated(observable, first) + 1e-12
            if first.scalars[name].is_floating_point():
                allowed = allowed + resolution(stored)
            wrong = off > allowed
            if float(wrong.to(torch.float64).mean()) > DIFFERING:
                entry = int(torch.where(wrong, off, -1.0).argmax())
                msg = (
                    f"events.derived: {name} is {float(stored[entry]):.9g} where {observable.expression} is "
                    f"{float(computed[entry]):.9g}, the largest difference in {int(wrong.sum()):,} of "
                    f"{len(first):,} events that differ"
                )
                raise RecipeError(msg, branch=field.branch, entry=entry)

    def _cast(self, name: str, values: Tensor) -> Tensor:
        """Values in the type that batches have for the scalar's."""
        whole = np.dtype(self.schema.scalar(name).dtype).kind != "f"
        return values.round().to(torch.int64) if whole else values


def _sign_field(schema: EventSchema) -> Field:
    """The number that the sign of the weight is learned as."""
    if schema.weight is None:
        msg = "events.signs: the events have no weights, so there are no signs; name them by events.weight"
        raise RecipeError(msg)
    name = f"sign of {schema.weight}"
    return Field(
        name=name, branches=(name,), dtype="int64", kind=Kind.CATEGORY, values=(-1, 1), low=-1, high=1
    )


def _values(observable: Observable, events: EventBatch) -> tuple[Tensor, Tensor]:
    """Values (N,), 0 where there are none, and where there are some."""
    data, mask = observable.dense(events)
    exists = mask & torch.isfinite(data)
    return torch.where(exists, data, 0.0), exists


def _propagated(observable: Observable, events: EventBatch) -> Tensor:
    """How much the rounding of the numbers that go into an observable may change it (N,)."""
    exact, exists = _values(observable, events)
    total = torch.zeros_like(exact)
    for shifted in _shifted(events, parse(str(observable.expression)).names):
        values, there = _values(observable, shifted)
        total = total + torch.where(exists & there, (values - exact).abs(), 0.0)
    return total


def _shifted(events: EventBatch, names: frozenset[str]) -> Iterator[EventBatch]:
    """The events with one number of all objects changed by its rounding, all alike and by turns."""
    for name, objects in events.collections.items():
        if name not in names:
            continue
        # What a file holds was often computed in single precision, by way of Cartesian components.
        for form in (objects, _cartesian(objects)):
            for field, values in form.fields.items():
                if not values.is_floating_point() or not values.numel():
                    continue
                by = resolution(values)
                for sign in (torch.ones_like(values), _turns(values)):
                    changed = form.with_fields({**form.fields, field: values + sign * by})
                    yield EventBatch(events.schema, {**events.collections, name: changed}, events.scalars)
    for name, values in events.scalars.items():
        if name in names and values.is_floating_point():
            scalars = {**events.scalars, name: values + resolution(values)}
            yield EventBatch(events.schema, events.collections, scalars)


def _cartesian(objects: Objects) -> Objects:
    """The same objects with their momenta in Cartesian components."""
    size = len(coordinates(tuple(objects.fields)))
    # A mass that stays would be preferred to the energy.
    others = {n: v for n, v in objects.fields.items() if n != "mass" or size < 4}
    names = ("px", "py", "pz", "energy")[:size]
    return objects.with_fields({**others, **{n: getattr(objects.momentum, n) for n in names}})


def _turns(values: Tensor) -> Tensor:
    """1 and -1 by turns for the objects (N, M) of an event, -1 for the only one."""
    signs = -torch.ones_like(values)
    if values.shape[1] > 1:
        signs[:, ::2] = 1.0
    return signs
