"""Numbers that are computed from the rest of an event instead of being learned, and signs of weights."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping

import awkward as ak
import numpy as np
import torch
from torch import Tensor

from hepgan.errors import InputError, RecipeError
from hepgan.events import Address, EventBatch, EventSchema, Field, Kind, Objects, coordinates
from hepgan.features import FeatureBatch
from hepgan.features.rules import as_stored
from hepgan.features.survey import DIFFERING, SEVERAL, resolution
from hepgan.observables import Observable
from hepgan.observables.evaluate import Evaluator, evaluate, evaluate_objects
from hepgan.observables.language import parse
from hepgan.observables.observable import example
from hepgan.observables.preparation import Preparation
from hepgan.observables.sources import BatchSource
from hepgan.observables.values import Cells

__all__ = ["Derived"]

Decode = Callable[[FeatureBatch], EventBatch]

CHECKED = 10_000
"""Events in which derived numbers are compared with those of the data."""


class Derived:
    """Numbers that follow from the rest of an event: the mass of a pair, a number of objects that pass a cut.

    They are computed anew in each generated event, so they are exact functions of it. Where an event has
    nothing to compute one from (``Jet[0].pt`` without jets), or the result is not finite, it is 0.

    Args:
        schema: What the events hold, these numbers included.
        expressions: The observable that gives each scalar (``HT``), or number of objects (``Muon.tight``), by
            its name.
        signs: Whether generated events have weights of either sign. That of the weight is then a number that
            is learned, and weights are absolute ones.
        preparation: What is made of events that enter.

    Raises:
        RecipeError: If a number is not there, is text or the weight, or if its expression does not fit the
            rest of the event, or is not one number of the event or of each of these objects; or if there are
            no weights to have signs.

    Attributes:
        schema: What the events hold.
        learned: What they hold without these numbers, and with the sign of the weight.
    """

    def __init__(
        self,
        schema: EventSchema,
        expressions: Mapping[str, str],
        *,
        signs: bool = False,
        preparation: Preparation | None = None,
    ) -> None:
        self.schema = schema
        self._preparation = preparation or Preparation({})
        self._sign = _sign_field(schema) if signs else None
        addresses = {name: _address(name, schema) for name in expressions}
        rest = _without(schema, set(addresses.values()))
        signed = rest.scalars if self._sign is None else (*rest.scalars, self._sign)
        self.learned = rest.model_copy(update={"scalars": signed})
        # Generated events weigh 1, whatever those of the training weigh.
        others = tuple(f for f in rest.scalars if f.name != schema.weight)
        physics = rest.model_copy(update={"scalars": others, "weight": None})
        self._numbers: list[_Number] = []
        for name, expression in expressions.items():
            number = _Number(name, addresses[name], _field(addresses[name], schema), expression)
            number.check_schema(physics)
            self._numbers.append(number)

    def __call__(self, events: EventBatch) -> EventBatch:
        """The events (N) with these numbers, computed from the rest; differentiable where they are real."""
        if not self._numbers and self._sign is None:
            return events
        scalars = dict(events.scalars)
        fields = {name: dict(objects.fields) for name, objects in events.collections.items()}
        for number in self._numbers:
            address, values = number.address, number.cast(number.values(events)[0])
            if address.collection is None:
                scalars[address.field] = values
            else:
                of = fields.setdefault(address.collection, {})
                of[address.field] = values if values.ndim > 1 else values[:, None]
        if self._sign is not None:
            weight = str(self.schema.weight)
            scalars[weight] = scalars[self._sign.name].to(scalars[weight])
        collections = {}
        for c in self.schema.collections:
            ordered = {n: fields[c.name][n] for n in c.field_names}
            known = events.collections.get(c.name)
            collections[c.name] = Objects(ordered) if known is None else known.with_fields(ordered)
        return EventBatch(self.schema, collections, {n: scalars[n] for n in self.schema.scalar_names})

    def after(self, decode: Decode) -> Decode:
        """A decoding of features that gives whole events."""
        whole = bool(self._numbers) or self._sign is not None
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

    def entering(self, events: ak.Array) -> ak.Array:
        """Events as a model takes them: with what is prepared, and the signs of weights that are learned.

        Raises:
            InputError: If they have no weights, or lack what something is prepared from.
        """
        events = self._preparation(events, wanted=_names(self.schema))
        if self._sign is None or self._sign.name in events.fields:
            return events
        weight = self.schema.weight
        if weight not in events.fields:
            msg = f"no {weight}, whose signs belong to the events"
            raise InputError(msg, branch=weight)
        return ak.with_field(events, ak.where(events[weight] < 0, -1, 1), self._sign.name)

    def check(self, events: EventBatch) -> None:
        """Compares the numbers of the first events with what their expressions give.

        They agree where the difference is no more than the rounding of what is stored, and four times what
        the rounding of the numbers in the expression allows, that of float32 at least. One in a thousand may
        disagree.

        Raises:
            RecipeError: If they do not agree; it tells the largest difference and its entry.
        """
        first = events[:CHECKED]
        for number in self._numbers:
            _compare(number, first)


def _names(schema: EventSchema) -> set[str]:
    return {*schema.collection_names, *schema.scalar_names}


def _sign_field(schema: EventSchema) -> Field:
    """The number that the sign of the weight is learned as."""
    if schema.weight is None:
        msg = "events.signs: the events have no weights, so there are no signs; name them by events.weight"
        raise RecipeError(msg)
    name = f"sign of {schema.weight}"
    return Field(
        name=name, branches=(name,), dtype="int64", kind=Kind.CATEGORY, values=(-1, 1), low=-1, high=1
    )


def _address(name: str, schema: EventSchema) -> Address:
    """What is derived: a scalar, or a number of all objects of a collection."""
    if name in schema.scalar_names:
        address = Address(None, None, name)
    else:
        try:
            address = Address.parse(name, schema.collection_names)
        except ValueError as error:
            msg = f"events.derived: {error}"
            raise RecipeError(msg) from None
    if address.collection is None:
        if address.field not in schema.scalar_names:
            known = ", ".join(schema.scalar_names) or "none"
            msg = f"events.derived: {name!r} is not a scalar of the events; they have {known}"
            raise RecipeError(msg)
    elif address.slot is not None or address.collection not in schema.collection_names:
        msg = f"events.derived: {name!r} is neither a scalar nor a number of a collection, as Muon.tight is"
        raise RecipeError(msg)
    elif address.field not in schema.collection(address.collection).field_names:
        known = ", ".join(schema.collection(address.collection).field_names)
        msg = f"events.derived: {address.collection} has no field {address.field!r}; there are {known}"
        raise RecipeError(msg)
    weight = address.collection is None and address.field == schema.weight
    if weight or _field(address, schema).dtype == "string":
        what = "the event weight" if weight else "text"
        msg = f"events.derived: {name} is {what}, which cannot be derived"
        raise RecipeError(msg)
    return address


def _field(address: Address, schema: EventSchema) -> Field:
    if address.collection is None:
        return schema.scalar(address.field)
    return next(f for f in schema.collection(address.collection).fields if f.name == address.field)


def _without(schema: EventSchema, derived: Container[Address]) -> EventSchema:
    """What is left of a schema."""
    scalars = tuple(f for f in schema.scalars if Address(None, None, f.name) not in derived)
    collections = []
    for c in schema.collections:
        kept = tuple(f for f in c.fields if Address(c.name, None, f.name) not in derived)
        if not kept and c.layout != "single":
            msg = f"events.derived: nothing of {c.name} would be left to say how many there are"
            raise RecipeError(msg)
        if kept:
            collections.append(c.model_copy(update={"fields": kept}))
    return schema.model_copy(update={"scalars": scalars, "collections": tuple(collections)})


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


class _Number:
    """A number that is derived.

    Args:
        name: As the recipe has it.
        address: What it is.
        field: How it is stored.
        expression: What it is computed by.
    """

    def __init__(self, name: str, address: Address, field: Field, expression: str) -> None:
        self.name, self.address, self.field = name, address, field
        self.expression = parse(expression)

    def check_schema(self, schema: EventSchema) -> None:
        """Checks that it can be computed from events of a schema.

        Raises:
            RecipeError: If it cannot.
        """
        source, collection = self.expression.source, self.address.collection
        try:
            found = Observable(self.name, source).check(schema)
            if collection in schema.collection_names and not found.per_event:
                evaluate_objects(self.expression, BatchSource(example(schema)), str(collection), strict=True)
        except RecipeError as error:
            msg = f"events.derived: {error.message}"
            raise RecipeError(msg) from None
        if self.field.shape:
            made = Evaluator(self.expression, BatchSource(example(schema)), True).visit(self.expression.tree)
            shape = made.domain.shape if isinstance(made.domain, Cells) else ()
            if shape != self.field.shape:
                what = f"a grid of {_times(shape)}" if shape else "no grid"
                msg = (
                    f"events.derived: {source} gives {what}; {self.name} is one of {_times(self.field.shape)}"
                )
                raise RecipeError(msg)
        elif collection is None and not found.per_event:
            msg = f"events.derived: {source} gives a number for each object; {self.name} needs one an event"
            raise RecipeError(msg)

    @property
    def jumps(self) -> bool:
        """Whether it is no smooth function of the rest: whole numbers, and sums in cells, are none."""
        return self.whole or bool(self.field.shape)

    @property
    def whole(self) -> bool:
        """Whether it is stored as a whole number, or as true or false."""
        return np.dtype(self.field.dtype).kind != "f"

    def values(self, events: EventBatch) -> tuple[Tensor, Tensor]:
        """Its values (N,), (N, M) or (N, ...), 0 where there are none, and where there are some."""
        # What jumps has to do so where the numbers that are stored say.
        seen = as_stored(events, self.expression.names) if self.jumps else events
        collection = self.address.collection
        if self.field.shape:
            data, there = evaluate(self.expression, BatchSource(seen))
            data = data.view(-1, *self.field.shape)
            exists = torch.ones_like(data, dtype=torch.bool) if there is None else there.view(data.shape)
        elif collection in seen.collections and len(seen[collection].shape) > 1:
            data, exists = evaluate_objects(self.expression, BatchSource(seen), collection)
        elif collection in events.collections and len(events[collection].shape) > 1:
            data, exists = Observable(self.name, self.expression.source).dense(seen)
            mask = events.collections[collection].mask
            data, exists = data[:, None].expand(mask.shape), exists[:, None] & mask
        else:
            data, exists = Observable(self.name, self.expression.source).dense(seen)
        data = data if data.is_floating_point() else data.to(torch.float64)
        exists = exists & torch.isfinite(data)
        return torch.where(exists, data, 0.0), exists

    def stored(self, events: EventBatch) -> tuple[Tensor, Tensor]:
        """What the events have, (N,) or (N, M), and where their objects are."""
        if self.address.collection is None:
            values = events.scalars[self.address.field]
            return values, torch.ones_like(values, dtype=torch.bool)
        objects = events[self.address.collection]
        return objects.fields[self.address.field], objects.mask.expand(objects.shape)

    def cast(self, values: Tensor) -> Tensor:
        """Values in the type that batches have for it."""
        return values.round().to(torch.int64) if self.whole else values


def _compare(number: _Number, events: EventBatch) -> None:
    """Checks that a number is what it is computed to be.

    Raises:
        RecipeError: If it is not.
    """
    found, there = number.stored(events)
    stored = found.to(torch.float64)
    computed, exists = number.values(events)
    name, source, branch = number.name, number.expression.source, number.field.branch
    lacking = there & ~exists & (stored != 0)
    if bool(lacking.any()):
        at = tuple(lacking.nonzero()[0].tolist())
        msg = (
            f"events.derived: {name} is {float(stored[at]):.9g} where {source} does not exist; generated "
            "events would have 0 there"
        )
        raise RecipeError(msg, branch=branch, entry=at[0])
    off = (number.cast(computed).to(torch.float64) - stored).abs()
    allowed = SEVERAL * _propagated(number, events) + 1e-12
    if found.is_floating_point():
        allowed = allowed + resolution(stored)
    wrong = there & (off > allowed)
    if int(wrong.sum()) > DIFFERING * int(there.sum()):
        flat = int(torch.where(wrong, off, -1.0).argmax())
        at = tuple(int(i) for i in np.unravel_index(flat, off.shape))
        of = "cells" if number.field.shape else "events" if off.ndim == 1 else "objects"
        msg = (
            f"events.derived: {name} is {float(stored[at]):.9g} where {source} is {float(computed[at]):.9g}, "
            f"the largest difference in {int(wrong.sum()):,} of {int(there.sum()):,} {of} that differ"
        )
        raise RecipeError(msg, branch=branch, entry=at[0])


def _propagated(number: _Number, events: EventBatch) -> Tensor:
    """How much the rounding of the numbers that go into one may change it (N,) or (N, M)."""
    exact, exists = number.values(events)
    total = torch.zeros_like(exact)
    for shifted in _shifted(events, number.expression.names):
        values, there = number.values(shifted)
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
