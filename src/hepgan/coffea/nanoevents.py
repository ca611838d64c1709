"""Generated events as coffea's NanoEvents: a schema for files, and events in memory."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import uuid4

import awkward as ak
import numpy as np
from coffea.nanoevents import BaseSchema, NanoAODSchema, NanoEventsFactory
from coffea.nanoevents.mapping import SimplePreloadedColumnSource

from hepgan.arguments import checked
from hepgan.events import EventSchema, schema_of
from hepgan.events.buffers import Jagged, buffers, record_name
from hepgan.events.nanoaod import numbered
from hepgan.events.slots import spread
from hepgan.events.writing import branches_of, written

__all__ = ["HepganSchema", "to_nanoevents"]


_NEEDED = {
    "MissingET": {"pt", "phi"},
    "Vertex": {"x", "y", "z"},
    "SecondaryVertex": {"x", "y", "z", "pt", "eta", "phi", "mass"},
    "Jet": {"pt", "eta", "phi", "mass"},
    "FatJet": {"pt", "eta", "phi", "mass"},
    "PtEtaPhiMCollection": {"pt", "eta", "phi", "mass"},
    "GenParticle": {"pt", "eta", "phi", "mass", "pdgId"},
}
"""Fields that coffea's behaviours cannot do without; others also need a charge."""

_CANDIDATE = {"pt", "eta", "phi", "mass", "charge"}


class HepganSchema(NanoAODSchema):  # type: ignore[misc]
    """NanoAOD's schema, for files without cross-references, event numbers or some of the fields.

    A collection gets coffea's behaviour of that name (``Muon``, ``Jet``, ``MissingET``) where it has the
    fields for it, and else that of ``vector`` for the coordinates that it has (``Momentum4D`` for
    ``px, py, pz, energy``), so that momenta can be added in either case. Fields that a file has are
    never replaced by constants.

    These settings are on the class, so worker processes have them, too.
    """

    warn_missing_crossrefs = False
    error_missing_event_ids = False
    event_ids: ClassVar[list[str]] = []
    full_like_items = NanoAODSchema.full_like_items
    rename_items = NanoAODSchema.rename_items

    def _build_collections(self, field_names: list[str], input_contents: list[Any]) -> Any:
        found: dict[str, set[str]] = {}
        for branch in field_names:
            name, underscore, field = branch.partition("_")
            if underscore:
                found.setdefault(name, set()).add(field)
        given = set(field_names)
        self.full_like_items = {k: v for k, v in HepganSchema.full_like_items.items() if k not in given}
        added: dict[str, set[str]] = {}
        for item in self.full_like_items:
            name, _, field = item.partition("_")
            added.setdefault(name, set()).add(field)
        self.mixins = {n: self._mixin(n, f | added.get(n, set())) for n, f in found.items()}
        # An energy is renamed for coffea's own behaviours; vector's need it where there is no mass.
        self.rename_items = {
            new: old
            for new, old in HepganSchema.rename_items.items()
            if self.mixins.get(old.partition("_")[0]) == NanoAODSchema.mixins.get(old.partition("_")[0])
        }
        return super()._build_collections(field_names, input_contents)

    @classmethod
    def _mixin(cls, name: str, fields: set[str]) -> str:
        wanted = NanoAODSchema.mixins.get(name)
        if wanted is not None and fields >= _NEEDED.get(wanted, _CANDIDATE):
            return str(wanted)
        return record_name(tuple(fields)) or "NanoCollection"


@checked
def to_nanoevents(
    events: ak.Array,
    schema: EventSchema | None = None,
    *,
    schemaclass: type[BaseSchema] = HepganSchema,
    metadata: dict[str, Any] | None = None,
    first: int = 0,
) -> Any:
    """Events in memory as the NanoEvents that a processor gets from a file of them.

    What a file of them has for NanoAOD's tools (see `hepgan.events.EventWriter`, ``identifiers``), they have,
    too: run, luminosityBlock and event, and the place of a primary vertex.

    Args:
        events: N events.
        schema: What they hold; by default that which they were read or generated with.
        schemaclass: coffea's schema.
        metadata: What the processor finds in ``events.metadata``, such as ``{"dataset": "generated"}``.
        first: How many events there are before these: ``event`` starts from ``first + 1``.

    Returns:
        N NanoEvents.
    """
    given = schema or schema_of(events)
    nanoaod = issubclass(schemaclass, NanoAODSchema)
    known = written(given, counters=True, identifiers=nanoaod, weight=False)
    there = {b.name for b in branches_of(given)}

    def called(branch: str) -> str:
        # A dot is no name for tools of NanoAOD.
        return branch.replace(".", "_") if nanoaod else branch

    columns: dict[str, ak.Array] = {}
    for c in known.collections:
        objects = events[c.name]
        if c.slotted:
            offsets, fields = buffers(events, c)
            if offsets is not None:
                lists = {f.branch: Jagged(offsets, fields[f.name]) for f in c.fields}
                columns |= {called(b): ak.Array(v) for b, v in spread(c, lists).items()}
            continue
        if c.layout == "jagged":
            counts = ak.to_numpy(ak.num(objects))
            counters = {n.branch: n.dtype for n in c.counters}
            if nanoaod:
                counters = {f"n{c.name}": "int32"} | counters
            columns |= {called(n): ak.Array(counts.astype(dtype)) for n, dtype in counters.items()}
        for f in c.fields:
            if f.branch not in there:
                columns[f.branch] = ak.Array(np.zeros(len(events), f.dtype))
                continue
            columns[called(f.branch)] = objects[f.name]
    for f in known.scalars:
        if f.name in ak.fields(events):
            columns[called(f.branch)] = events[f.name]
    for f in known.identifiers:
        numbers = events[f.name] if f.name in ak.fields(events) else numbered(f.name, first, len(events))
        columns[called(f.branch)] = ak.values_astype(ak.Array(numbers), f.dtype)
    for f in (*known.scalars, *known.identifiers):
        if f.alone and called(f.branch) in columns:
            columns[called(f.branch)] = ak.from_regular(columns[called(f.branch)][:, np.newaxis])
            if f.counter is not None:
                columns[called(f.counter.branch)] = ak.Array(np.ones(len(events), f.counter.dtype))
    packed = {name: ak.to_packed(ak.without_parameters(values)) for name, values in columns.items()}
    source = SimplePreloadedColumnSource(packed, uuid4(), len(events), f"/{known.tree}")
    factory = NanoEventsFactory.from_preloaded(
        source, schemaclass=schemaclass, metadata=metadata or {"dataset": "generated"}
    )
    return factory.events()
