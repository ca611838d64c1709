"""The branches that a schema makes in a file."""

from __future__ import annotations

from typing import Any

from hepgan.events.naming import Branch
from hepgan.events.schema import EventSchema, Field

__all__ = ["branches_of", "undotted", "written"]

_NANOAOD = (
    Field(name="run", branches=("run",), dtype="uint32"),
    Field(name="luminosityBlock", branches=("luminosityBlock",), dtype="uint32"),
    Field(name="event", branches=("event",), dtype="uint64"),
)


def undotted(schema: EventSchema) -> EventSchema:
    """The schema with ``Jet_pt`` for a branch ``Jet.pt``, which is no name for tools of NanoAOD."""

    def plain(f: Field) -> Field:
        return f.model_copy(update={"branches": tuple(b.replace(".", "_") for b in f.branches)})

    return schema.model_copy(
        update={
            "collections": tuple(
                c.model_copy(update={"fields": tuple(map(plain, c.fields))}) for c in schema.collections
            ),
            "scalars": tuple(map(plain, schema.scalars)),
        }
    )


def written(schema: EventSchema, *, counters: bool, identifiers: bool, weight: bool) -> EventSchema:
    """The schema of a file: what the events' schema says, and what the file needs besides.

    Args:
        schema: The events' schema.
        counters: Whether jagged collections need a counter.
        identifiers: Whether to add run, luminosityBlock and event.
        weight: Whether to add genWeight, where there is no weight.
    """
    schema = undotted(schema)
    collections = tuple(
        c.model_copy(update={"counter": f"n{c.name}"})
        if counters and c.layout == "jagged" and not c.counter
        else c
        for c in schema.collections
    )
    named = {f.name for f in schema.identifiers}
    added = tuple(f for f in _NANOAOD if f.name not in named) if identifiers else ()
    update: dict[str, Any] = {"collections": collections, "identifiers": (*schema.identifiers, *added)}
    if weight and schema.weight is None and "genWeight" not in schema.scalar_names:
        one = Field(name="genWeight", branches=("genWeight",), dtype="float32")
        update |= {"scalars": (*schema.scalars, one), "weight": "genWeight"}
    return schema.model_copy(update=update)


def branches_of(schema: EventSchema) -> list[Branch]:
    """The branches that a schema makes, identifiers first, as in NanoAOD."""
    result = [Branch(f.branch, f.dtype, title=f.title) for f in schema.identifiers]
    for c in schema.collections:
        if c.counter is not None:
            result.append(Branch(c.counter, c.counter_dtype, title=c.counter_title))
        result.extend(
            Branch(b, f.dtype, c.layout == "jagged", c.counter, f.title) for f in c.fields for b in f.branches
        )
    result.extend(Branch(f.branch, f.dtype, title=f.title) for f in schema.scalars)
    return result
