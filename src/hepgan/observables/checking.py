"""What is needed to check an observable against a schema, before there are events."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from hepgan.events.batch import EventBatch, Objects
from hepgan.events.schema import Collection, EventSchema, Field, Kind
from hepgan.observables.language import parse

__all__ = ["Checked", "example", "text_used"]


class Checked(NamedTuple):
    """What an observable gives for events of a schema.

    Attributes:
        per_event: Whether there is one number an event (else one for each of some objects).
        integer: Whether the numbers are whole.
        optional: Whether an event may lack it.
    """

    per_event: bool
    integer: bool
    optional: bool


def example(schema: EventSchema) -> EventBatch:
    """One event with as many objects as there can be, all numbers 1."""

    def number(field: Field, *shape: int) -> Tensor:
        whole = field.kind is not Kind.CONTINUOUS
        return torch.ones(shape, dtype=torch.int64 if whole else torch.float64)

    def objects(collection: Collection) -> Objects:
        count = collection.max_count
        mask = None if collection.fixed else torch.ones((1, count), dtype=torch.bool)
        return Objects({f.name: number(f, 1, count) for f in collection.fields}, mask)

    return EventBatch(
        schema,
        {c.name: objects(c) for c in schema.collections},
        {f.name: number(f, 1) for f in schema.scalars},
        size=1,
    )


def text_used(schema: EventSchema, expression: str) -> str:
    """The field or scalar of text that an expression uses; empty if it uses none."""
    parsed = parse(expression)
    for collection in schema.collections:
        if collection.name in parsed.names:
            for field in collection.fields:
                if field.dtype == "string" and field.name in parsed.attributes:
                    return f"{collection.name}.{field.name}"
    return next((f.name for f in schema.scalars if f.dtype == "string" and f.name in parsed.names), "")
