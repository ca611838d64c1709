"""One file's events by one schema: found, read, checked and assembled."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from fnmatch import fnmatchcase

import awkward as ak
import numpy as np

from hepgan.errors import InputError
from hepgan.events.checks import check_events, drop_faulty
from hepgan.events.columns import ATTRIBUTE, Column, Jagged, assemble
from hepgan.events.editing import select
from hepgan.events.naming import draft
from hepgan.events.schema import Collection, EventSchema, Field, Kind
from hepgan.events.sources import Source

__all__ = ["Reader"]


class Reader:
    """Reads chunks of one source by one schema.

    Raises:
        InputError: If the source lacks a branch.
    """

    def __init__(
        self,
        source: Source,
        schema: EventSchema | None,
        branches: Iterable[str] | None,
        on_bad: str,
        *,
        limits: bool = True,
    ) -> None:
        self.source, self.on_bad, self._limits = source, on_bad, limits
        self.dropped: dict[str, int] = {}
        if schema is None:
            schema = draft(list(source.branches.values()), source.tree)
            if source.left_out and branches is None:
                names = ", ".join(source.left_out[:5]) + (", ..." if len(source.left_out) > 5 else "")
                message = f"{source.label}: left out {len(source.left_out)} branches of other types: {names}"
                warnings.warn(message, UserWarning, stacklevel=4)
        if branches is not None:
            schema = _part(schema, branches, source.label)
        if not schema.collections and not schema.scalars:
            message = "it has no branches of numbers"
            raise InputError(message, file=source.label)
        self._names = self._resolve(schema)
        self.schema = schema

    def _resolve(self, schema: EventSchema) -> dict[str, str]:
        """Each branch of the schema as this file names it."""
        names: dict[str, str] = {}
        here = self.source.branches
        listed = [(c, f, b) for c in schema.collections for f in c.fields for b in f.branches]
        for c, f, b in [*listed, *((None, f, f.branch) for f in schema.scalars)]:
            written = b if b in here else b.replace(".", "_")
            if written not in here:
                raise InputError(_missing(b, self.source), file=self.source.label, branch=b)
            self._check_type(c, f, written)
            names[b] = written
        for f in schema.identifiers:
            if f.branch in here:
                names[f.branch] = f.branch
        for c in schema.collections:
            if c.counter in here:
                names[c.counter] = c.counter
        return names

    def _check_type(self, c: Collection | None, f: Field, branch: str) -> None:
        found = self.source.branches[branch]
        jagged = c is not None and c.layout == "jagged"
        text = found.dtype == "string"
        if text != (f.dtype == "string"):
            expected = "strings are" if f.dtype == "string" else "a number is"
            message = f"holds {'strings' if text else found.dtype}, where {expected} expected"
        elif found.jagged != jagged:
            one, many = "one number in each event", "a list in each event"
            message = f"holds {many if found.jagged else one}, where {many if jagged else one} is expected"
        else:
            return
        raise InputError(message, file=self.source.label, branch=branch)

    def chunk(self, start: int, stop: int) -> ak.Array:
        """Events ``start`` to ``stop`` of the source, checked."""
        read = self.source.read(self._names.values(), start, stop)
        columns = {b: read[n] for b, n in self._names.items()}
        label = self.source.label
        for c in self.schema.collections:
            if c.layout == "jagged":
                _check_lengths(c, columns, label, start)
        schema = self.schema
        present = tuple(f for f in schema.identifiers if f.branch in columns)
        events = assemble(
            schema.model_copy(update={"identifiers": present}),
            _cast(schema, columns, label, start),
            stop - start,
        )
        events.attrs[ATTRIBUTE] = schema
        known = (schema if self._limits else _unlimited(schema)).model_copy(update={"identifiers": present})
        self.dropped = {}
        if self.on_bad == "drop":
            events, self.dropped = drop_faulty(events, known, label)
        elif self.on_bad == "raise" and stop > start:
            check_events(events, known, label, first_entry=start, weights=False)
        return events

    def counts(self, start: int, limits: dict[str, list[int]]) -> None:
        """Adds the smallest and largest numbers of objects from ``start`` on."""
        counters = {c.name: c.counter for c in self.schema.collections if c.counter in self.source.branches}
        names = list(counters.values())
        if not names:
            return
        columns = self.source.read(names, start, self.source.entries)
        for collection, counter in counters.items():
            values = np.asarray(columns[counter])
            limits.setdefault(collection, []).extend((int(values.min()), int(values.max())))


def _unlimited(schema: EventSchema) -> EventSchema:
    """The schema without the counts and categories, which may be those of a part of the events."""
    free = {"kind": Kind.CONTINUOUS, "values": None}
    return schema.model_copy(
        update={
            "collections": tuple(
                c.model_copy(
                    update={"fields": tuple(f.model_copy(update=free) for f in c.fields)}
                    | ({"min_count": 0, "max_count": 0} if c.layout == "jagged" else {})
                )
                for c in schema.collections
            ),
            "scalars": tuple(f.model_copy(update=free) for f in schema.scalars),
        }
    )


def _part(schema: EventSchema, branches: Iterable[str], label: str) -> EventSchema:
    """The part of a schema that names of collections and fields, branches and globs of branches make."""
    by_branch: dict[str, str] = {}
    for c in schema.collections:
        by_branch |= {b: f"{c.name}.{f.name}" for f in c.fields for b in f.branches}
    by_branch |= {f.branch: f.name for f in (*schema.scalars, *schema.identifiers)}
    counters = {c.counter for c in schema.collections}
    names = {*schema.collection_names, *by_branch.values()}
    chosen: list[str] = []
    for wanted in branches:
        if wanted in names:
            chosen.append(wanted)
            continue
        matches = [name for branch, name in by_branch.items() if fnmatchcase(branch, wanted)]
        if not matches and not any(fnmatchcase(n or "", wanted) for n in counters):
            there = [*schema.collection_names, *schema.scalar_names]
            listed = ", ".join(there[:8]) + (", ..." if len(there) > 8 else "")
            message = f"no such branch, collection or field; there are {listed or 'none'}"
            raise InputError(message, file=label, branch=wanted)
        chosen.extend(matches)
    return select(schema, chosen)


def _missing(branch: str, source: Source) -> str:
    prefix = branch.partition("_")[0]
    near = [b for b in source.branches if b.lower().startswith(prefix.lower())] or list(source.branches)
    listed = ", ".join(near[:8]) + (", ..." if len(near) > 8 else "")
    return f"no such branch; there are {listed}"


def _check_lengths(c: Collection, columns: dict[str, Column], label: str, start: int) -> None:
    """Sees to it that all lists of a collection have the lengths that the counter says.

    Raises:
        InputError: If not.
    """
    first = columns[c.fields[0].branch]
    if not isinstance(first, Jagged):
        return
    lengths = np.diff(first.offsets)
    others = [(f.branch, columns[f.branch]) for f in c.fields[1:]]
    counter = columns.get(c.counter or "")
    for branch, other in others:
        if isinstance(other, Jagged) and not np.array_equal(other.offsets, first.offsets):
            entry = int((np.diff(other.offsets) != lengths).argmax())
            there = other.offsets[entry + 1] - other.offsets[entry]
            message = f"has {there} values, but {c.fields[0].branch} has {lengths[entry]}"
            raise InputError(message, file=label, branch=branch, entry=entry + start)
    if counter is not None and not isinstance(counter, Jagged) and (bad := counter != lengths).any():
        entry = int(bad.argmax())
        message = f"says {counter[entry]} objects, but {c.fields[0].branch} has {lengths[entry]}"
        raise InputError(message, file=label, branch=c.counter, entry=entry + start)


def _cast(schema: EventSchema, columns: dict[str, Column], label: str, start: int) -> dict[str, Column]:
    """Numbers in the schema's types, where the file has others that hold the same values."""
    result = dict(columns)
    fields = [f for c in schema.collections for f in c.fields]
    for f in (*fields, *schema.scalars, *schema.identifiers):
        if f.dtype == "string":
            continue
        wanted = np.dtype(f.dtype)
        for b in f.branches:
            old = columns.get(b)
            if old is None:
                continue
            values = old.content if isinstance(old, Jagged) else old
            if values.dtype == wanted:
                continue
            with np.errstate(all="ignore"):
                new = values.astype(wanted)
                same = wanted.kind == "f" or np.array_equal(new.astype(values.dtype), values)
            if not same:
                message = f"holds {values.dtype.name} values that are no {f.dtype}"
                raise InputError(message, file=label, branch=b, entry=start)
            result[b] = Jagged(old.offsets, new) if isinstance(old, Jagged) else new
    return result
