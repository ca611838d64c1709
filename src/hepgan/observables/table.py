"""Events as a table of numbers, one row an event, for classifiers and distances."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import awkward as ak
import numpy as np
import torch
from numpy.typing import NDArray

from hepgan.events.batch import Objects
from hepgan.events.schema import Address, Collection, EventSchema, Field

__all__ = ["MAX_OBJECTS", "Plan", "Table", "event_table", "plan_table"]

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


class Plan(NamedTuple):
    """What the columns of several samples have to be, so that the same number means the same in all.

    Attributes:
        slots: Columns for the objects of each collection that holds lists of them.
        counted: The collections of which events differ in the number of objects.
        strings: The strings of each column of strings (``Jet.kind``), which stand for them by their place.
    """

    slots: dict[str, int]
    counted: frozenset[str]
    strings: dict[str, tuple[str, ...]]


def plan_table(samples: Sequence[tuple[ak.Array, EventSchema]]) -> Plan:
    """The columns that suit all samples, each with its schema."""
    slots: dict[str, int] = {}
    counts: dict[str, set[int]] = {}
    strings: dict[str, set[str]] = {}
    for events, schema in samples:
        for c in _listed(schema):
            most = int(ak.max(ak.num(events[c.name]), initial=0)) if len(events) else 0
            slots[c.name] = max(slots.get(c.name, 0), min(most, MAX_OBJECTS))
            counts.setdefault(c.name, set()).update((c.min_count, c.max_count))
        for address, field, values in _fields(events, schema):
            if field.dtype == "string":
                known = field.values if field.values is not None else np.unique(_texts(values)).tolist()
                strings.setdefault(str(address), set()).update(map(str, known))
    counted = frozenset(name for name, found in counts.items() if len(found) > 1)
    return Plan(slots, counted, {name: tuple(sorted(found)) for name, found in strings.items()})


def event_table(
    events: ak.Array,
    schema: EventSchema,
    weights: NDArray[np.float64],
    observables: Mapping[str, NDArray[np.float64]],
    plan: Plan,
) -> Table:
    """The fields of all objects, the numbers of objects, the scalars and the observables of each event.

    Identifiers and the weight are left out, since they tell nothing of physics.

    Args:
        events: N events.
        schema: What they hold.
        weights: Event weights (N,).
        observables: Per-event observables (N,).
        plan: What the columns are (see :func:`plan_table`); collections that it lacks are left out.
    """
    columns: dict[str, NDArray[np.float64]] = {}
    listed = {c.name for c in _listed(schema)}
    for address, field, values in _fields(events, schema):
        collection = address.collection
        strings = plan.strings.get(str(address), ())
        if collection not in listed:
            columns[str(address)] = _numbers(values, field, strings)
        elif collection in plan.slots:
            if collection in plan.counted:
                number = f"n{collection}"
                number = number if number not in schema.scalar_names else f"count({collection})"
                columns[number] = ak.to_numpy(ak.num(values)).astype(np.float64)
            padded = _padded(values, field, strings, plan.slots[collection])
            columns |= {str(address._replace(slot=i)): column for i, column in enumerate(padded.T)}
    columns |= observables
    values = np.column_stack(list(columns.values())) if columns else np.empty((len(events), 0))
    values[~np.isfinite(values)] = np.nan
    return Table(tuple(columns), values, weights, frozenset(observables))


def _listed(schema: EventSchema) -> list[Collection]:
    """The collections that hold lists of objects."""
    return [c for c in schema.collections if c.layout != "single"]


def _fields(events: ak.Array, schema: EventSchema) -> Iterator[tuple[Address, Field, ak.Array]]:
    """All fields of objects and all scalars but the weight, with addresses such as ``Jet.pt``."""
    for c in schema.collections:
        for f in c.fields:
            yield Address(c.name, None, f.name), f, events[c.name][f.name]
    for f in schema.scalars:
        if f.name != schema.weight and not f.shape:
            yield Address(None, None, f.name), f, events[f.name]


def _numbers(values: ak.Array, field: Field, strings: Sequence[str]) -> NDArray[np.float64]:
    if field.dtype == "string":
        return _codes(_texts(values), strings)
    return np.asarray(ak.to_numpy(ak.fill_none(values, np.nan)), dtype=np.float64)


def _texts(values: ak.Array) -> NDArray[Any]:
    """All strings of events or objects."""
    return np.asarray(ak.to_list(ak.flatten(values, axis=1) if values.ndim > 1 else values), dtype=str)


def _codes(texts: NDArray[Any], strings: Sequence[str]) -> NDArray[np.float64]:
    """Places of the texts among the sorted strings; NaN for others."""
    if not len(strings):
        return np.full(len(texts), np.nan)
    known = np.asarray(strings)
    where = np.searchsorted(known, texts).clip(max=len(known) - 1)
    return np.where(known[where] == texts, where.astype(np.float64), np.nan)


def _padded(values: ak.Array, field: Field, strings: Sequence[str], slots: int) -> NDArray[np.float64]:
    """(N, slots), NaN beyond the objects that there are."""
    flat = torch.tensor(_numbers(ak.flatten(values, axis=1), field, strings))
    counts = torch.tensor(ak.to_numpy(ak.num(values, axis=1)), dtype=torch.int64)
    objects = Objects.of_lists({field.name: flat}, counts, slots)
    return torch.where(objects.mask, objects[field.name], torch.nan).numpy()
