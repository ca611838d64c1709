"""Events as a table of numbers, one row an event, for classifiers and distances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from hepgan.events.schema import EventSchema, Field

__all__ = ["MAX_OBJECTS", "Table", "event_table", "object_slots"]

MAX_OBJECTS = 8
"""Objects of one collection that get columns of their own."""


@dataclass(frozen=True)
class Table:
    """One row an event; NaN where an event lacks the object.

    Attributes:
        names: Names of the columns: ``Muon[0].pt``, ``nJet``, ``beam_energy``, or an observable's name.
        values: (N, D).
        weights: Event weights (N,).
        observables: Which of the columns are observables.
    """

    names: tuple[str, ...]
    values: NDArray[np.float64]
    weights: NDArray[np.float64]
    observables: frozenset[str] = frozenset()

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: NDArray[Any]) -> Table:
        """Some of the rows."""
        return replace(self, values=self.values[rows], weights=self.weights[rows])

    def select(self, names: Sequence[str]) -> Table:
        """Some of the columns."""
        where = [self.names.index(n) for n in names]
        return replace(self, names=tuple(names), values=self.values[:, where])

    def column(self, name: str) -> NDArray[np.float64]:
        """The values (N,) of one column."""
        return np.asarray(self.values[:, self.names.index(name)])


def object_slots(samples: Sequence[ak.Array], schema: EventSchema) -> dict[str, int]:
    """Columns that each collection with a varying count needs to hold the objects of all samples."""
    slots = {}
    for c in schema.collections:
        if c.layout != "single":
            counts = [int(ak.max(ak.num(s[c.name]), initial=0)) for s in samples if len(s)]
            slots[c.name] = min(max(counts, default=0), MAX_OBJECTS)
    return slots


def event_table(
    events: ak.Array,
    schema: EventSchema,
    weights: NDArray[np.float64],
    observables: Mapping[str, NDArray[np.float64]],
    slots: Mapping[str, int],
) -> Table:
    """The fields of all objects, the numbers of objects, the scalars and the observables of each event.

    Identifiers and the weight are left out, since they tell nothing of physics.

    Args:
        events: N events.
        schema: What they hold.
        weights: Event weights (N,).
        observables: Per-event observables (N,).
        slots: Columns for each collection (see :func:`object_slots`).
    """
    columns: dict[str, NDArray[np.float64]] = {}
    for c in schema.collections:
        objects = events[c.name]
        if c.layout == "single":
            for f in c.fields:
                columns[f"{c.name}.{f.name}"] = _numbers(objects[f.name], f)
            continue
        if not c.fixed:
            columns[f"n{c.name}"] = ak.to_numpy(ak.num(objects)).astype(np.float64)
        for f in c.fields:
            padded = _padded(objects[f.name], f, slots[c.name])
            columns |= {f"{c.name}[{i}].{f.name}": padded[:, i] for i in range(slots[c.name])}
    for f in schema.scalars:
        if f.name != schema.weight:
            columns[f.name] = _numbers(events[f.name], f)
    columns |= observables
    values = np.column_stack(list(columns.values())) if columns else np.empty((len(events), 0))
    values[~np.isfinite(values)] = np.nan
    return Table(tuple(columns), values, weights, frozenset(observables))


def _numbers(values: ak.Array, field: Field) -> NDArray[np.float64]:
    if field.dtype == "string":
        return _codes(np.asarray(ak.to_list(values)), field)
    return np.asarray(ak.to_numpy(ak.fill_none(values, np.nan)), dtype=np.float64)


def _codes(strings: NDArray[Any], field: Field) -> NDArray[np.float64]:
    """Positions of the strings among the field's values; NaN for others."""
    known = np.asarray(sorted(str(v) for v in field.values or np.unique(strings).tolist()))
    if not len(known) or not len(strings):
        return np.full(len(strings), np.nan)
    where = np.searchsorted(known, strings).clip(max=len(known) - 1)
    return np.where(known[where] == strings, where.astype(np.float64), np.nan)


def _padded(values: ak.Array, field: Field, slots: int) -> NDArray[np.float64]:
    """(N, slots), NaN beyond the objects that there are."""
    counts = ak.to_numpy(ak.num(values, axis=1))
    flat = _numbers(ak.flatten(values, axis=1), field)
    result = np.full((len(counts), slots), np.nan)
    event = np.repeat(np.arange(len(counts)), counts)
    slot = np.arange(len(flat)) - np.repeat(np.cumsum(counts) - counts, counts)
    kept = slot < slots
    result[event[kept], slot[kept]] = flat[kept]
    return result
