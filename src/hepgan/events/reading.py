"""Events from ROOT (TTree, RNTuple) and Parquet files, by one schema: found, read, checked and assembled."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal, TypeAlias

import awkward as ak
import numpy as np

from hepgan.arguments import checked
from hepgan.errors import InputError
from hepgan.events.absence import with_absent
from hepgan.events.buffers import ATTRIBUTE, Buffer, Jagged, Numbers, assemble, shape_text
from hepgan.events.checks import Fault, check_events, check_weights, drop_faulty, warn_dropped
from hepgan.events.common import Files, alike, listed, look, opened, part_of, placed
from hepgan.events.evidence import FIRST, evidence_of, miscounted
from hepgan.events.formats import PathLike, Source
from hepgan.events.inference import attach, complete
from hepgan.events.missing import is_null, tolerant, type_in_memory
from hepgan.events.momenta import with_momenta
from hepgan.events.schema import Collection, EventSchema, Field, Kind
from hepgan.events.shapes import Grids, arrays_in, with_arrays, with_grids
from hepgan.events.slots import gathered
from hepgan.events.structure import draft
from hepgan.events.units import LOOK, telling, with_unit

__all__ = [
    "Reader",
    "count_events",
    "drafted",
    "infer_schema",
    "iterate_events",
    "measured",
    "read_events",
]


_CELLS, _FEW_EVENTS = 100_000_000, 1_000
"""Cells of arrays that are looked at, at most, in as many events as this, at least."""


class Reader:
    """Reads chunks of one source by one schema.

    Raises:
        InputError: If the source lacks a branch, or the schema has none.
    """

    def __init__(self, source: Source, schema: EventSchema, on_bad: str, *, limits: bool = True) -> None:
        self.source, self.on_bad, self._limits = source, on_bad, limits
        self.dropped: dict[str, int] = {}
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
            names |= {n.branch: n.branch for n in c.counters if n.branch in here}
            if c.counter is not None and c.slotted and c.counter not in here:
                raise InputError(_missing(c.counter, self.source), file=self.source.label, branch=c.counter)
            for mark in c.marks:
                for b in mark.branches:
                    if b not in here:
                        raise InputError(_missing(b, self.source), file=self.source.label, branch=b)
                    self._check_type(c, mark, b)
                    names[b] = b
        return names

    def _check_type(self, c: Collection | None, f: Field, branch: str) -> None:
        found = self.source.branches[branch]
        jagged = f.alone or (c is not None and c.layout == "jagged")
        shapes = [f.stored or f.shape, f.shape]
        if c is not None and c.layout == "padded":
            shapes = [(c.places,)]
        text = found.dtype == "string"
        if text != (f.dtype == "string"):
            expected = "strings are" if f.dtype == "string" else "a number is"
            message = f"holds {'strings' if text else found.dtype}, where {expected} expected"
        elif (found.jagged != jagged or found.shape not in shapes) and not (f.lists and found.jagged):
            there, wanted = _each(found.jagged, found.shape), _each(jagged, shapes[0])
            message = f"holds {there}, where {wanted} is expected"
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
        columns |= {
            f.branch: _of_one(f, columns, label, start) for f in (*schema.scalars, *present) if f.alone
        }
        faults: list[Fault] = []
        for c in schema.collections:
            if c.slotted:
                lists, wrong = gathered(c, columns)
                columns |= lists
                faults += wrong
        columns = _cast(schema, columns, label, start)
        columns |= {f.branch: _shaped(f, columns, label, start) for f in schema.arrays}
        events = assemble(schema.model_copy(update={"identifiers": present}), columns, stop - start)
        events.attrs[ATTRIBUTE] = schema
        known = (schema if self._limits else tolerant(_unlimited(schema))).model_copy(
            update={"identifiers": present}
        )
        self.dropped = {}
        if faults and self.on_bad != "drop":
            raise faults[0].error(label, start)  # no lists are like this
        if self.on_bad == "drop":
            events, self.dropped = drop_faulty(events, known, label, faults)
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


def drafted(source: Source, apart: Container[str] = ()) -> EventSchema:
    """What a source holds, by its branches and the lengths of its lists; kinds and ranges need all the data.

    What is taken for a number of objects is one in all of the events that are looked at.

    Args:
        source: The source.
        apart: Numbers that are known to be no numbers of objects.
    """
    branches = list(source.branches.values())
    seen = evidence_of(source).without(apart)
    schema = draft(branches, source.tree, seen)
    if wrong := miscounted(source, schema, start=FIRST):
        schema = draft(branches, source.tree, seen.without(wrong))
    schema = with_arrays(with_absent(source, schema))
    found = with_momenta(schema, lambda part: _first(source, part))
    return found if source.header is None else found.model_copy(update={"header": source.header})


def measured(source: Source, schema: EventSchema) -> EventSchema:
    """The schema with the unit of momenta that the first events tell."""
    if source.header is not None:  # of a format that is in GeV
        return schema
    first = _first(source, telling(schema))
    return with_unit(schema, first) if first.fields else schema


def _first(source: Source, schema: EventSchema) -> ak.Array:
    """The first events of a part of a source, without the collections and numbers that cannot be read."""

    def read(part: EventSchema) -> ak.Array:
        return Reader(source, tolerant(part), "keep").chunk(0, min(LOOK, source.entries))

    empty = schema.model_copy(update={"collections": (), "scalars": ()})
    parts = [empty.model_copy(update={"collections": (c,)}) for c in schema.collections]
    parts += [empty.model_copy(update={"scalars": (f,)}) for f in schema.scalars]
    found: dict[str, ak.Array] = {}
    # All at once is faster, but for what is damaged.
    for some in ([schema] if parts else [], parts):
        for part in some:
            try:
                events = read(part)
            except InputError:
                continue
            found |= {name: events[name] for name in events.fields}
        if found:
            break
    return ak.zip(found, depth_limit=1) if found else ak.Array([])


def _each(jagged: bool, shape: tuple[int, ...]) -> str:
    return f"{'a list' if jagged else shape_text(shape)} in each event"


def _unlimited(schema: EventSchema) -> EventSchema:
    """The schema without the counts and categories, which may be those of a part of the events."""
    free = {"kind": Kind.CONTINUOUS, "values": None}
    return schema.model_copy(
        update={
            "collections": tuple(
                c.model_copy(
                    update={"fields": tuple(f.model_copy(update=free) for f in c.fields)}
                    | ({"min_count": 0, "max_count": 0} if c.layout == "jagged" else {})
                    | ({"min_count": 0, "max_count": c.places} if c.slotted and c.marked else {})
                )
                for c in schema.collections
            ),
            "scalars": tuple(
                f.model_copy(update=free | ({"low": None} if f.shape else {})) for f in schema.scalars
            ),
        }
    )


def _missing(branch: str, source: Source) -> str:
    prefix = branch.partition("_")[0]
    near = [b for b in source.branches if b.lower().startswith(prefix.lower())] or list(source.branches)
    listed = ", ".join(near[:8]) + (", ..." if len(near) > 8 else "")
    return f"no such branch; there are {listed}"


def _check_lengths(c: Collection, columns: dict[str, Buffer], label: str, start: int) -> None:
    """Sees to it that all lists of a collection have the lengths that the counter says.

    Raises:
        InputError: If not.
    """
    first = columns[c.fields[0].branch]
    if not isinstance(first, Jagged):
        return
    lengths = np.diff(first.offsets)
    for f in c.fields[1:]:
        other = columns[f.branch]
        if isinstance(other, Jagged) and not np.array_equal(other.offsets, first.offsets):
            entry = int((np.diff(other.offsets) != lengths).argmax())
            there = other.offsets[entry + 1] - other.offsets[entry]
            message = f"has {there} values, but {c.fields[0].branch} has {lengths[entry]}"
            raise InputError(message, file=label, branch=f.branch, entry=entry + start)
    for n in c.counters:
        counter = columns.get(n.branch)
        if counter is not None and not isinstance(counter, Jagged) and (bad := counter != lengths).any():
            entry = int(bad.argmax())
            message = f"says {counter[entry]} objects, but {c.fields[0].branch} has {lengths[entry]}"
            raise InputError(message, file=label, branch=n.branch, entry=entry + start)


def _of_one(f: Field, columns: Mapping[str, Buffer], label: str, start: int) -> Numbers:
    """The numbers (N,) of lists of one.

    Raises:
        InputError: If a list has none or more.
    """
    lists = columns[f.branch]
    if not isinstance(lists, Jagged):
        return lists
    lengths = np.diff(lists.offsets)
    if (bad := lengths != 1).any():
        entry = int(bad.argmax())
        message = f"has {lengths[entry]} values, where one is expected, as in the events before"
        raise InputError(message, file=label, branch=f.branch, entry=entry + start)
    return lists.content


def _shaped(f: Field, columns: Mapping[str, Buffer], label: str, start: int) -> Numbers:
    """The numbers (N, *shape) of a field with a shape.

    Raises:
        InputError: If a list has another number of values.
    """
    values = columns[f.branch]
    if not isinstance(values, Jagged):
        return values.reshape(len(values), *f.shape)
    lengths = np.diff(values.offsets)
    if (bad := lengths != f.cells).any():
        entry = int(bad.argmax())
        message = f"has {lengths[entry]} values, not the {f.cells} of {shape_text(f.shape)}"
        raise InputError(message, file=label, branch=f.branch, entry=entry + start)
    return values.content.reshape(len(values), *f.shape)


def _cast(schema: EventSchema, columns: dict[str, Buffer], label: str, start: int) -> dict[str, Buffer]:
    """Numbers in the schema's types, where the file has others that hold the same values."""
    result = dict(columns)
    fields = [f for c in schema.collections for f in c.fields]
    for f in (*fields, *schema.scalars, *schema.identifiers):
        if f.dtype == "string":
            continue
        wanted = np.dtype(type_in_memory(f))
        old = columns.get(f.branch)
        if old is None:
            continue
        values = old.content if isinstance(old, Jagged) else old
        if values.dtype == wanted or (wanted.kind != "f" and is_null(values).any()):
            continue
        with np.errstate(all="ignore"):
            new = values.astype(wanted)
            same = (wanted.kind == values.dtype.kind == "f") or (
                np.array_equal(new.astype(values.dtype), values) and np.array_equal(new < 0, values < 0)
            )
        if not same:
            message = f"holds {values.dtype.name} values that are no {f.dtype}"
            raise InputError(message, file=label, branch=f.branch, entry=start)
        result[f.branch] = Jagged(old.offsets, new) if isinstance(old, Jagged) else new
    return result


OnBad: TypeAlias = Literal["raise", "drop", "keep"]
Paths: TypeAlias = PathLike | Sequence[PathLike]
Places: TypeAlias = Sequence[tuple[str, str | None]]


@checked
def read_events(
    paths: Paths,
    *,
    schema: EventSchema | None = None,
    branches: Iterable[str] | None = None,
    weight: str | None = None,
    grids: Grids | None = None,
    entry_start: int | None = None,
    entry_stop: int | None = None,
    on_bad: OnBad = "raise",
) -> ak.Array:
    """Reads events, checks them, and gives each collection its vector behaviour.

    Numbers keep the type that they have in the file.

    Args:
        paths: ``file.root:Tree``, ``file.parquet``, a glob, or a list of these. The tree may be left out, if
            there is only one, or one called ``Events``.
        schema: What to read, and what it must look like; told from the files if None (see
            `hepgan.events.inference` for the rules): what all of them have, of the wider type where types
            differ. A warning tells what some lack, and which files have no events or no such tree.
        branches: A part: collections (``Muon``), fields (``Jet.pt``), scalars, or branches and globs of
            branches (``Muon_*``). Identifiers and the weight are read always, nothing else is.
        weight: The number of the event that is its weight, or ``none``; told from its name if None.
        grids: Axes of arrays, as of `with_grids`: ``{"Image": {"phi": [-1, 1], "eta": [-1, 1]}}``.
        entry_start: First event (of all files taken together).
        entry_stop: Event after the last.
        on_bad: What to do with events that have a NaN, E < abs(p) and the like (see `check_events`):
            ``raise`` an error at the first, ``drop`` them, and say how many and why in one UserWarning, or
            ``keep`` them (to copy or look at a file).

    Returns:
        N events, with fields of each collection (``events.Muon.pt``), scalars and identifiers. The schema is
        in ``schema_of(events)``.

    Raises:
        InputError: If a file or tree is missing or damaged, a branch is missing or of the wrong type, there
            are no events, or events are bad and ``on_bad`` is ``raise``.
    """
    wanted = None if branches is None else list(branches)
    places, layout = _planned(paths, schema, wanted, weight, grids)
    known = schema is not None
    return _read(places, layout, on_bad, listed(paths), entry_start, entry_stop, known=known)


@checked
def iterate_events(
    paths: Paths,
    *,
    step: int = 100_000,
    schema: EventSchema | None = None,
    branches: Iterable[str] | None = None,
    weight: str | None = None,
    entry_start: int | None = None,
    entry_stop: int | None = None,
    on_bad: OnBad = "raise",
) -> Iterator[ak.Array]:
    """Reads events in chunks, for files larger than the memory.

    Args:
        paths: As in `read_events`.
        step: Events in a chunk, at most; a chunk is from one file.
        schema: As in `read_events`; if None, it is inferred by reading all files once before.
        branches: As in `read_events`.
        weight: As in `read_events`.
        entry_start: As in `read_events`.
        entry_stop: As in `read_events`.
        on_bad: As in `read_events`.

    Yields:
        Events, as `read_events` gives them.

    Raises:
        InputError: As in `read_events`.
        ValueError: If step is not positive.
    """
    if step < 1:
        msg = f"step must be positive, not {step}"
        raise ValueError(msg)
    wanted = None if branches is None else list(branches)
    places, layout = _planned(paths, schema, wanted, weight)
    if schema is None:
        layout = inferred(places, layout, 1_000_000, on_bad)
    return _chunks(places, step, layout, entry_start, entry_stop, on_bad, limits=schema is not None)


def files_of(paths: Paths) -> Files:
    """What files have in common, by which it can be said what of them is to be read."""
    return look(paths, drafted)


def gridded(files: Files, grids: Grids, *, all_there: bool = True) -> Files:
    """Files whose arrays have axes.

    Args:
        files: The files.
        grids: The axes.
        all_there: Whether it is an error if files lack one of these arrays.

    Raises:
        InputError: As of `with_grids`.
    """
    if not all_there:
        known = arrays_in(files.schema)
        grids = {n: axes for n, axes in grids.items() if n in known}
    try:
        return replace(files, schema=with_grids(files.schema, grids))
    except InputError as error:
        raise InputError(error.message, file=files.named, branch=error.branch) from None


def alike_of(files: Mapping[str, Files]) -> dict[str, Files]:
    """Samples that are to be compared, each with the same layout of objects that may be absent."""
    return alike(files, drafted)


def read_part(files: Files, layout: EventSchema, on_bad: OnBad = "raise") -> ak.Array:
    """All events of files with a part of what these hold, as `read_events` gives them."""
    return _read(files.places, layout, on_bad, files.named)


def _read(
    places: Places,
    layout: EventSchema,
    on_bad: OnBad,
    named: str,
    entry_start: int | None = None,
    entry_stop: int | None = None,
    *,
    known: bool = False,
) -> ak.Array:
    """The events of files; with what is known of the layout, or with what their values tell."""
    planned = layout if known else tolerant(layout)
    chunks = list(_chunks(places, None, planned, entry_start, entry_stop, on_bad, known=known))
    first = chunks[0] if chunks else None
    if first is None or not sum(len(c) for c in chunks):
        message = "no good events are left" if on_bad == "drop" else "there are no events"
        raise InputError(message, file=named)
    events = first if len(chunks) == 1 else ak.concatenate(chunks, mergebool=True)
    read: EventSchema = first.attrs[ATTRIBUTE]
    final = read if known else complete(read, events)
    if known:
        events.attrs[ATTRIBUTE] = final
    else:
        attach(events, final)
    if on_bad != "keep":
        check_weights(events, final, named)
    return events


def chunks_as_read(
    paths: Paths,
    step: int,
    *,
    schema: EventSchema | None = None,
    branches: Iterable[str] | None = None,
    weight: str | None = None,
    grids: Grids | None = None,
    on_bad: OnBad = "raise",
) -> Iterator[ak.Array]:
    """Events as `read_events` reads them, in chunks whose schemas leave open what the values of all tell.

    Args:
        paths: As in `read_events`, like all others.
        step: Events in a chunk, at most; a chunk is from one file.
        schema: What to read.
        branches: A part of it.
        weight: The number that is the weight.
        grids: Axes of arrays.
        on_bad: What to do with bad events.
    """
    places, layout = _planned(paths, schema, None if branches is None else list(branches), weight, grids)
    known = schema is not None
    return _chunks(places, step, layout if known else tolerant(layout), None, None, on_bad, known=known)


def chunks_of(
    places: Places,
    schema: EventSchema,
    step: int,
    on_bad: OnBad,
    *,
    entry_start: int | None = None,
    entry_stop: int | None = None,
) -> Iterator[ak.Array]:
    """The events of files in chunks, of which it is known (`inferred`) what all of them hold."""
    return _chunks(places, step, schema, entry_start, entry_stop, on_bad, limits=False)


@checked
def infer_schema(
    paths: Paths,
    *,
    branches: Iterable[str] | None = None,
    weight: str | None = None,
    max_events: int | None = 1_000_000,
    on_bad: OnBad = "raise",
) -> EventSchema:
    """What files hold: collections, fields, kinds, ranges.

    Args:
        paths: As in `read_events`.
        branches: As in `read_events`.
        weight: As in `read_events`.
        max_events: How many events to look at, taken from the start of each file in equal shares; None for
            all. Of arrays, no more than 100 million cells are looked at. Numbers of objects are looked at in
            all events, where the file has counters.
        on_bad: As in `read_events`.

    Raises:
        InputError: As in `read_events`.
    """
    places, layout = _planned(paths, None, None if branches is None else list(branches), weight)
    return inferred(places, layout, max_events, on_bad)


def inferred(places: Places, layout: EventSchema, max_events: int | None, on_bad: OnBad) -> EventSchema:
    """A schema with kinds, ranges and numbers of objects, of files whose places and branches are known."""
    layout = tolerant(layout)
    cells = sum(f.cells for f in layout.arrays)
    if max_events is not None and cells:
        max_events = min(max_events, max(_FEW_EVENTS, _CELLS // cells))
    chunks: list[ak.Array] = []
    limits: dict[str, list[int]] = {}
    shares = None if max_events is None else -(-max_events // len(places))
    for path, tree in places:
        with opened(path, tree) as source:
            if not source.entries:
                continue
            share = source.entries if shares is None else min(shares, source.entries)
            layout = layout if chunks else measured(source, layout)
            reader = Reader(source, layout, on_bad)
            chunks.append(reader.chunk(0, share))
            if share < source.entries:
                reader.counts(share, limits)
    if not sum(map(len, chunks)):
        message = "there are no events"
        raise InputError(
            message, file=listed([path if tree is None else f"{path}:{tree}" for path, tree in places])
        )
    events = chunks[0] if len(chunks) == 1 else ak.concatenate(chunks, mergebool=True)
    schema = complete(layout, events)
    collections = tuple(
        c.model_copy(
            update={
                "min_count": min([c.min_count, *limits.get(c.name, [])]),
                "max_count": max([c.max_count, *limits.get(c.name, [])]),
            }
        )
        for c in schema.collections
    )
    return schema.model_copy(update={"collections": collections})


@checked
def count_events(paths: Paths) -> int:
    """The number of events in files, which are not read for it.

    Args:
        paths: As in `read_events`.

    Raises:
        InputError: If a file or tree is missing or damaged.
    """
    total = 0
    for path, tree in placed(paths):
        with opened(path, tree) as source:
            total += source.entries
    return total


def located(paths: Paths, entry: int) -> tuple[str, int]:
    """The file that an event is in, and its number there, by its number among those of all files.

    Args:
        paths: As in `read_events`.
        entry: The number.
    """
    places = placed(paths)
    for path, tree in places:
        with opened(path, tree) as source:
            if entry < source.entries:
                return source.label, entry
            entry -= source.entries
    return listed(paths), entry


def _planned(
    paths: Paths,
    schema: EventSchema | None,
    branches: Sequence[str] | None,
    weight: str | None,
    grids: Grids | None = None,
) -> tuple[Places, EventSchema]:
    """The files and trees that are to be read, and what of them."""
    if schema is not None:
        try:
            return placed(paths), part_of(with_grids(schema, grids or {}), branches, weight)
        except InputError as error:
            raise InputError(error.message, file=error.file or listed(paths), branch=error.branch) from None
    files = files_of(paths)
    if grids:
        files = gridded(files, grids)
    layout = files.part(branches, weight, drafted)
    files.tell(branches)
    return files.places, layout


def _chunks(
    places: Places,
    step: int | None,
    schema: EventSchema,
    entry_start: int | None,
    entry_stop: int | None,
    on_bad: OnBad,
    *,
    limits: bool = True,
    known: bool = True,
) -> Iterator[ak.Array]:
    before, total = 0, 0
    dropped: dict[str, int] = {}
    for path, tree in places:
        if entry_stop is not None and before >= entry_stop:
            break
        with opened(path, tree) as source:
            start = max(0, (entry_start or 0) - before)
            stop = source.entries if entry_stop is None else min(source.entries, entry_stop - before)
            before += source.entries
            if start >= stop:
                continue
            schema, known = schema if known else measured(source, schema), True
            reader = Reader(source, schema, on_bad, limits=limits)
            for at in range(start, stop, step or stop - start):
                end = min(stop, at + (step or stop - start))
                total += end - at
                chunk = reader.chunk(at, end)
                for reason, count in reader.dropped.items():
                    dropped[reason] = dropped.get(reason, 0) + count
                if len(chunk):
                    yield chunk
    warn_dropped(dropped, total)
