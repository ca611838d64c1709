"""What tools of NanoAOD need in a file beside its objects: identifiers of events, and places of vertices."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hepgan.events.schema import Collection, EventSchema, Field

__all__ = ["LUMINOSITY_BLOCK", "completed", "is_nanoaod", "numbered"]

LUMINOSITY_BLOCK = 1_000
"""Events in a luminosity block."""

_TREE, _VERTEX = "Events", "PV"
_PLACE = tuple(
    Field(
        name=name,
        branches=(f"{_VERTEX}_{name}",),
        dtype="float32",
        title="0, for tools of NanoAOD; the events that were learned have none",
    )
    for name in ("x", "y", "z")
)
_IDENTIFIERS = (
    Field(name="run", branches=("run",), dtype="uint32"),
    Field(name="luminosityBlock", branches=("luminosityBlock",), dtype="uint32"),
    Field(name="event", branches=("event",), dtype="uint64"),
)


def is_nanoaod(schema: EventSchema) -> bool:
    """Whether a file that holds this is one for tools of NanoAOD.

    It has a ``luminosityBlock``; or its tree is called ``Events``, and it has a ``run`` or an ``event``, or
    lists that are called as NanoAOD's: ``Muon_pt``, with no counter but ``nMuon``.
    """
    own = {f.branch for f in schema.identifiers}
    if "luminosityBlock" in own:
        return True
    lists = [c for c in schema.collections if c.layout == "jagged"]
    return schema.tree == _TREE and bool(own & {"run", "event"} or (lists and all(map(_is_plain, lists))))


def _is_plain(c: Collection) -> bool:
    own = any(f.counter is not None for f in c.fields)
    called = all(b.startswith(f"{c.name}_") for f in c.fields for b in f.branches)
    return called and not own and c.counter in (None, f"n{c.name}")


def completed(schema: EventSchema) -> EventSchema:
    """A schema of NanoAOD with run, luminosityBlock and event, and a place of each primary vertex.

    NanoAODSchema refuses vertices without one.
    """
    named = {*schema.collection_names, *schema.scalar_names, *(f.name for f in schema.identifiers)}
    added = tuple(f for f in _IDENTIFIERS if f.name not in named)
    return schema.model_copy(
        update={
            "collections": tuple(map(_placed, schema.collections)),
            "identifiers": (*schema.identifiers, *added),
        }
    )


def _placed(c: Collection) -> Collection:
    if c.name != _VERTEX or c.layout != "single":
        return c
    named = {b for f in c.fields for b in f.branches}
    added = (f for f in _PLACE if f.name not in c.field_names and f.branch not in named)
    return c.model_copy(update={"fields": (*c.fields, *added)})


def numbered(name: str, first: int, size: int, run: int = 1) -> NDArray[np.uint64]:
    """An identifier of events that have none, as (size,) whole numbers that the events' numbers determine.

    Args:
        name: ``run``, ``luminosityBlock`` or ``event``.
        first: How many events there are before.
        size: How many there are.
        run: The run number.
    """
    if name == "run":
        return np.full(size, run, np.uint64)
    numbers = np.arange(first, first + size, dtype=np.uint64)
    return (numbers if name == "event" else numbers // np.uint64(LUMINOSITY_BLOCK)) + np.uint64(1)
