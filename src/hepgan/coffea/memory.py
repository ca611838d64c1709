"""Generated events as coffea's NanoEvents, without a file in between."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import awkward as ak
from coffea.nanoevents import NanoEventsFactory
from coffea.nanoevents.mapping import SimplePreloadedColumnSource

from hepgan.coffea.schema import HepganSchema
from hepgan.events import EventSchema, schema_of

__all__ = ["to_nanoevents"]


def to_nanoevents(
    events: ak.Array,
    schema: EventSchema | None = None,
    *,
    schemaclass: Any = HepganSchema,
    metadata: dict[str, Any] | None = None,
) -> Any:
    """Events in memory as the NanoEvents that a processor gets from a file of them.

    Args:
        events: N events.
        schema: What they hold; by default that which they were read or generated with.
        schemaclass: coffea's schema.
        metadata: What the processor finds in ``events.metadata``, such as ``{"dataset": "generated"}``.

    Returns:
        N NanoEvents.
    """
    known = schema or schema_of(events)
    columns: dict[str, ak.Array] = {}
    for c in known.collections:
        objects = events[c.name]
        if c.layout == "jagged":
            columns[f"n{c.name}"] = ak.Array(ak.to_numpy(ak.num(objects)).astype("int32"))
        for f in c.fields:
            values = objects[f.name]
            if c.layout == "indexed":
                columns |= {_plain(b): values[:, i] for i, b in enumerate(f.branches)}
            else:
                columns[_plain(f.branch)] = values
    for f in (*known.scalars, *known.identifiers):
        if f.name in ak.fields(events):
            columns[_plain(f.branch)] = events[f.name]
    packed = {name: ak.to_packed(ak.without_parameters(values)) for name, values in columns.items()}
    source = SimplePreloadedColumnSource(packed, uuid4(), len(events), f"/{known.tree}")
    factory = NanoEventsFactory.from_preloaded(
        source, schemaclass=schemaclass, metadata=metadata or {"dataset": "generated"}
    )
    return factory.events()


def _plain(branch: str) -> str:
    return branch.replace(".", "_")
