"""Objects in the places of a file, and as lists: those of ``px1, px2`` or ``part_pt[30]`` that are there.

In a file of numbered branches, or of arrays of one size, each event has the same number of places. Where
objects may be absent, a mask, a counter or fills (-999) tell. Everywhere else they are lists of their own
lengths, as of any collection.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hepgan.events.buffers import Buffer, Jagged, Numbers
from hepgan.events.checks import Fault
from hepgan.events.missing import is_missing, with_nulls
from hepgan.events.schema import Collection, Field

__all__ = ["Gathered", "filled", "gathered", "is_fill", "spread"]


class Gathered(NamedTuple):
    """The objects of places, as lists by their fields' first branches, and what is wrong with some events."""

    lists: dict[str, Jagged]
    faults: list[Fault]


def gathered(c: Collection, columns: Mapping[str, Buffer]) -> Gathered:
    """The objects in a file's places.

    Args:
        c: An ``indexed`` or ``padded`` collection.
        columns: A file's columns by branch, those of mask and counter among them.
    """
    tables = {f.branch: _table(c, f, columns) for f in c.fields}
    size = len(next(iter(tables.values())))
    faults: list[Fault] = []
    used = _used(c, tables, columns, faults) if c.marked else None
    if used is None or used.all():
        offsets = np.arange(size + 1, dtype=np.int64) * c.places
        return Gathered({b: Jagged(offsets, t.reshape(-1)) for b, t in tables.items()}, faults)
    offsets = np.zeros(size + 1, np.int64)
    np.cumsum(used.sum(1), out=offsets[1:])
    return Gathered({b: Jagged(offsets, t[used]) for b, t in tables.items()}, faults)


def spread(c: Collection, lists: Mapping[str, Jagged]) -> dict[str, Numbers]:
    """The columns of a file with places for objects; what `gathered` takes.

    Args:
        c: An ``indexed`` or ``padded`` collection.
        lists: Its objects by their fields' first branches, at most as many in an event as there are places.

    Returns:
        The columns by branch, with mask and counter.
    """
    counts = np.diff(next(iter(lists.values())).offsets)
    used = np.arange(c.places) < counts[:, None]
    full = bool(used.all())
    columns: dict[str, Numbers] = {}
    for f in c.fields:
        content = lists[f.branch].content
        if full:
            table = content.reshape(-1, c.places)
        else:
            table = _absent(f, used.shape, content.dtype)
            table[used] = content
        columns |= _columns(c, f, table)
    for f in c.marks:
        columns |= _columns(c, f, (~used if f.fill else used).astype(f.dtype))
    return columns | {n.branch: counts.astype(n.dtype) for n in c.counters}


def filled(c: Collection) -> str:
    """What stands where there is no object, in words: ``-999 where there is none``; or nothing."""
    if not c.slotted or not c.marked:
        return ""
    fills = sorted({f"{f.fill:g}" for f in c.fields if f.fill is not None})
    told = [f"{' or '.join(fills)} where there is none"] if fills else []
    told += [f"counted by {c.counter}"] if c.counter is not None else []
    told += [f"told by {f.name}" for f in c.marks]
    return ", ".join(told)


def is_fill(values: Numbers, fill: float) -> NDArray[np.bool_]:
    """Where values are those that stand for no object."""
    return np.asarray(is_missing(values, fill))


def _absent(f: Field, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Numbers:
    """Places (N, K) without objects."""
    if f.nulls and f.fill is not None and f.fill != f.fill:
        return with_nulls(np.zeros(shape, dtype), np.ones(shape, bool))
    return np.full(shape, 0 if f.fill is None else f.fill, dtype)


def _table(c: Collection, f: Field, columns: Mapping[str, Buffer]) -> Numbers:
    """The numbers (N, K) of all places."""
    if c.layout == "padded":
        return np.asarray(columns[f.branch])
    return np.stack([np.asarray(columns[b]) for b in f.branches], axis=1)


def _columns(c: Collection, f: Field, table: Numbers) -> dict[str, Numbers]:
    if c.layout == "padded":
        return {f.branch: table}
    return {b: np.ascontiguousarray(table[:, i]) for i, b in enumerate(f.branches)}


def _used(
    c: Collection, tables: Mapping[str, Numbers], columns: Mapping[str, Buffer], faults: list[Fault]
) -> NDArray[np.bool_]:
    """Where there are objects, (N, K); what contradicts it is a fault."""
    fills = [f for f in c.fields if f.fill is not None]
    used: NDArray[np.bool_] | None = None
    by, many = "", "a hole: an object is absent, and a later one is there"
    if c.mask is not None:
        table, absent = _table(c, c.mask, columns), float(c.mask.fill or 0)
        used, by = table != absent, c.mask.branch
        if (wrong := used & (table != 1 - absent)).any():
            faults.append(
                Fault("a mask that is neither 0 nor 1", by, np.asarray(wrong.any(1)), f"{table[wrong][0]}")
            )
    elif c.counter is not None:
        counts = np.asarray(columns[c.counter])
        used, by = np.arange(c.places) < counts[:, None], c.counter
        if (bad := (used.sum(1) != counts)).any():
            faults.append(Fault(f"no number of objects from 0 to {c.places}", by, bad, f"{counts[bad][0]}"))
    if fills:
        here = np.zeros(next(iter(tables.values())).shape, bool)
        for f in fills:
            here |= ~is_fill(tables[f.branch], f.fill if f.fill is not None else 0)
        if used is None:
            used, by = here, next((f for f in fills if f.telling), fills[0]).branch
        # Fields of a part of the collection may hold their fills by chance.
        elif any(f.telling for f in fills) and (bad := np.asarray((here != used).any(1))).any():
            text = f"{used.sum(1)[bad.argmax()]} objects, but {here.sum(1)[bad.argmax()]} are there"
            faults.append(Fault("contradicts its objects", by, bad, text))
    if used is None:
        msg = f"{c.name}: nothing tells where there are objects"
        raise ValueError(msg)
    bad = np.asarray((used[:, 1:] & ~used[:, :-1]).any(1))
    if bad.any():
        text = " ".join(str(int(u)) for u in used[bad.argmax()][:30])
        faults.append(Fault(many, by, bad, text))
    return used
