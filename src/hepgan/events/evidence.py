"""What of a source tells which lists belong together, and what counts them."""

from __future__ import annotations

import numpy as np

from hepgan.events.buffers import Jagged
from hepgan.events.formats import Source
from hepgan.events.schema import EventSchema
from hepgan.events.structure import Evidence, trusted

__all__ = ["ALL", "FIRST", "evidence_of", "miscounted"]

FIRST = 1_000
"""Events in which lengths of lists are compared."""

ALL, _STEP = 200_000, 50_000
"""Events in which what is taken for a counter must be one."""


def evidence_of(source: Source) -> Evidence:
    """Lengths and whole numbers in the first events, of the branches where they tell something."""
    lists = [b for b in source.branches.values() if b.jagged]
    stop = min(source.entries, FIRST)
    if not lists or not stop:
        return Evidence()
    single = (b for b in source.branches.values() if not b.jagged and not b.shape)
    numbers = [b.name for b in single if b.integer]
    counted = [b for b in lists if b.counter in source.branches]
    # Of lists that share a counter or a record, one is enough.
    loose = [b for b in lists if b.counter not in source.branches]
    others = {trusted(b) or b.name: b.name for b in loose}
    read = source.read([*numbers, *others.values()], 0, stop)
    whole = {
        n: np.asarray(v) for n in numbers if (v := read.get(n)) is not None and not isinstance(v, Jagged)
    }
    known = {n: np.diff(v.offsets) for n in others.values() if isinstance(v := read.get(n), Jagged)}
    lengths = {b.name: known[n] for b in loose if (n := others[trusted(b) or b.name]) in known}
    lengths |= {b.name: whole[b.counter].astype(np.int64) for b in counted if b.counter in whole}
    return Evidence(lengths, whole)


def miscounted(source: Source, schema: EventSchema, start: int, stop: int = ALL) -> set[str]:
    """Numbers that a schema takes for counters, and that are none in some of the events of a source.

    What the file itself has for the lengths of its lists need not be looked at, nor what counts objects in
    places, which drafts compare in all files.
    """
    wrong: set[str] = set()
    for c in schema.collections:
        first = source.branches.get(c.fields[0].branch)
        own = {b.counter for f in c.fields if (b := source.branches.get(f.branch)) is not None}
        counts = [n.branch for n in c.counters if n.branch in source.branches and n.branch not in own]
        if first is None or not counts or c.slotted:
            continue
        told = first.counter if first.counter in source.branches else first.name
        end = min(source.entries, stop)
        for at in range(start, end, _STEP):
            read = source.read([str(told), *counts], at, min(at + _STEP, end))
            lists = read[str(told)]
            lengths = np.diff(lists.offsets) if isinstance(lists, Jagged) else np.asarray(lists)
            wrong |= {n for n in counts if not np.array_equal(np.asarray(read[n]), lengths)}
    return wrong
