"""Events into files of any format."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import awkward as ak
import numpy as np
from numpy.typing import ArrayLike, NDArray

from hepgan.arguments import checked
from hepgan.errors import OutputError
from hepgan.events.batch import EventBatch
from hepgan.events.buffers import Buffer, Jagged, Numbers, buffers, concatenated, scalar_values, sliced
from hepgan.events.convert import to_columns
from hepgan.events.formats import FORMATS, Content, Format, Sink, format_for
from hepgan.events.inference import schema_of
from hepgan.events.memory import EventsLike
from hepgan.events.missing import is_missing, is_null, type_in_memory
from hepgan.events.nanoaod import completed, is_nanoaod, numbered
from hepgan.events.schema import Branch, Collection, Counter, EventSchema, Field
from hepgan.events.slots import spread
from hepgan.files import Reservation, claim, publish, temporary

__all__ = [
    "EventWriter",
    "branches_of",
    "write_events",
    "written",
]


BATCH = 20_000
"""Events in a basket or cluster: enough to be read fast, few enough for ROOT's threads to share a file."""

CELLS = 4_000_000
"""Cells of an array in a basket, at most: ROOT has none of 2 GB, and readers hold a few."""


@dataclass(frozen=True)
class Prepared:
    """Events as columns in the types of a file's branches; what `EventWriter.prepare` gives."""

    columns: dict[str, Buffer]
    size: int

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, part: slice) -> Prepared:
        start, stop, _ = part.indices(self.size)
        size = stop - start
        return self if size == self.size else Prepared(sliced(self.columns, start, stop), size)


class EventWriter:
    """Writes events in batches into a file that appears when it is complete.

    Until `close`, all is in a hidden file beside the target, which no other process can write meanwhile;
    after an error, or without `close`, nothing is left. What the file holds does not depend on how the events
    are divided into calls of `extend`.

    Args:
        path: The file.
        schema: What it is to hold: branches, types, titles.
        format: ``ttree``, ``rntuple``, ``parquet``, ``feather``, ``csv``, ``hdf5``, ``lhe`` or ``hepmc``; by
            the file's ending if None, where ``.root`` is a ``ttree``.
        force: Whether an existing file may be replaced.
        identifiers: Whether ROOT and Parquet files get what NanoAOD tools need, where the schema has none:
            ``run``, ``luminosityBlock`` and ``event``, and ``x, y, z`` = 0 of a primary vertex. Those that
            the schema has are always written; where the events have no values for them, they get
            ``run``, a number that rises by 1 each 1,000 events, and the number of the event.
        weight: Whether to write ``genWeight`` = 1 where the schema has no weight.
        run: The run number.
        first: How many events there are before these (in other files): ``event`` starts from ``first + 1``.
        tree: The tree's name; the schema's if None.
        title: The tree's title.
        batch: Events in a basket (TTree), cluster (RNTuple) or row group (Parquet); fewer of large arrays.
        level: Level of the ZSTD compression.
        check: Whether NaN and infinity are errors.

    Raises:
        OutputError: If the file exists already (without ``force``), is being written by another process, or
            cannot be written, as its name, too, may say.
        ValueError: If the size of a batch is not positive.

    Example:
        >>> with EventWriter("generated.root", schema) as writer:    # doctest: +SKIP
        ...     for events in batches:
        ...         writer.extend(events)
    """

    @checked
    def __init__(
        self,
        path: str | Path,
        schema: EventSchema,
        *,
        format: Format | None = None,
        force: bool = False,
        identifiers: bool = False,
        weight: bool = False,
        run: int = 1,
        first: int = 0,
        tree: str | None = None,
        title: str = "",
        batch: int = BATCH,
        level: int = 1,
        check: bool = True,
    ) -> None:
        self.path = Path(path)
        chosen = format_for(self.path, format)
        if batch < 1:
            msg = f"batch must be positive, not {batch}"
            raise ValueError(msg)
        self._format = FORMATS[chosen]
        self.schema = written(
            schema,
            counters=chosen == "ttree" or (self._format.root and is_nanoaod(schema)),
            identifiers=identifiers and self._format.nanoaod,
            weight=weight,
            nulls=self._format.nulls,
        )
        self.written = 0
        self._given = schema
        self._known = {b.name for b in branches_of(self._given)}
        batch = min([batch, *(max(1, CELLS // f.cells) for f in self.schema.arrays)])
        self._batch, self._run, self._done, self._check = batch, run, first, check
        self._pending: list[dict[str, Buffer]] = []
        self._tree = tree or self.schema.tree
        self._beside: dict[str, dict[str, Numbers]] = {}
        self._waiting = 0
        self._sink: Sink | None = None
        self._complete = False
        branches = branches_of(self.schema)
        if not branches:
            msg = "the schema has no branches to write"
            raise OutputError(msg, file=self.path)
        texts = next((b.name for b in branches if b.jagged and b.dtype == "string"), None)
        if texts is not None:
            msg = "lists of texts cannot be written; numbers can stand for them"
            raise OutputError(msg, file=self.path, branch=texts)
        self._force = force
        claim(self.path, force=force)  # no folder, which could be reserved, too
        self._reservation = Reservation(self.path, force=force)
        self._temporary = temporary(self.path)
        self._cleanup = weakref.finalize(self, _remove, self._temporary)
        with self._guarded():
            self._sink = self._format(
                self._temporary, Content(self.schema, branches, self._tree, title), level
            )

    def prepare(self, events: ak.Array | EventBatch) -> Prepared:
        """Events as this file takes them, for `extend`; any thread may do it, several at once.

        Args:
            events: Events as `read_events` gives them, or a batch of tensors.

        Raises:
            InputError: If the events lack something that the schema has.
            OutputError: If they hold what the file cannot, or should not: numbers that are not finite.
        """
        return Prepared(self._columns(events), len(events))

    @checked
    def extend(self, events: ak.Array | EventBatch | Prepared) -> None:
        """Adds events.

        Args:
            events: Events as `read_events` gives them, or a batch of tensors, or either prepared.

        Raises:
            InputError: If the events lack something that the schema has.
            OutputError: If they cannot be written; the writer is then closed and its file removed.
            ValueError: If the writer is closed.
        """
        if self._sink is None:
            msg = f"{self.path}: the writer is closed"
            raise ValueError(msg)
        with self._guarded():
            prepared = events if isinstance(events, Prepared) else self._prepared(events)
            if len(prepared):
                self._pending.append(prepared.columns | self._identified(prepared))
                self._waiting += len(prepared)
            if self._waiting >= self._batch:
                self._flush(whole=False)

    @checked
    def add(self, tree: str, columns: Mapping[str, ArrayLike]) -> None:
        """Adds a tree of a few numbers, such as the ``Runs`` of NanoAOD; Parquet has them in its metadata.

        Where a format has no place for them, a warning says so.

        Args:
            tree: Its name.
            columns: Its branches, all of one length.

        Raises:
            ValueError: If it is called as the tree of the events.
        """
        if tree == self._tree:
            msg = f"{tree!r} is the tree of the events"
            raise ValueError(msg)
        if not self._format.nanoaod:
            msg = f"{self.path} has no place for {tree}, as .root and .parquet have: {', '.join(columns)}"
            warnings.warn(msg, UserWarning, stacklevel=3)
            return
        self._beside[tree] = {name: np.asarray(values) for name, values in columns.items()}

    @property
    def bytes_written(self) -> int:
        """The size of the file so far; events that wait for their batch to be full are not in it."""
        path = self.path if self._sink is None else self._temporary
        return path.stat().st_size if path.exists() else 0

    def complete(self) -> Path:
        """Writes what is left, before `close`.

        Returns:
            The hidden file, which is what the file is going to be.

        Raises:
            OutputError: If that fails; nothing is left then.
            ValueError: If the writer is closed.
        """
        if self._sink is None:
            msg = f"{self.path}: the writer is closed"
            raise ValueError(msg)
        if not self._complete:
            with self._guarded():
                self._flush(whole=True)
                for name, columns in self._beside.items():
                    self._sink.add(name, columns)
                self._sink.close()
                self._complete = True
        return self._temporary

    def close(self) -> None:
        """Writes what is left, and gives the file its name.

        Raises:
            OutputError: If that fails; nothing is left then.
        """
        if self._sink is None:
            return
        with self._guarded():
            self.complete()
            publish(self._temporary, self.path, force=self._force)
        self._sink = None
        self._cleanup.detach()
        self._reservation.release()

    def abort(self) -> None:
        """Gives up: closes and removes the unfinished file."""
        sink, self._sink = self._sink, None
        self._pending.clear()
        if sink is not None and not self._complete:
            with suppress(Exception):
                sink.close()
        self._cleanup()
        self._reservation.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Leaves nothing behind after an error."""
        try:
            yield
        except BaseException as error:
            self.abort()
            if isinstance(error, OutputError) and error.file == str(self._temporary):
                raise OutputError(
                    error.message, file=self.path, branch=error.branch, entry=error.entry
                ) from error
            if isinstance(error, OutputError) or not isinstance(error, OSError):
                raise
            message = f"cannot be written: {error.strerror or error}"
            raise OutputError(message, file=self.path) from error

    def _prepared(self, events: ak.Array | EventBatch) -> Prepared:
        """Events as this file takes them; an error names the entry of the file."""
        try:
            return self.prepare(events)
        except OutputError as error:
            entry = None if error.entry is None else self.written + self._waiting + error.entry
            raise OutputError(error.message, file=self.path, branch=error.branch, entry=entry) from error

    def _columns(self, events: ak.Array | EventBatch) -> dict[str, Buffer]:
        """All columns, but for identifiers that the events don't have."""
        size = len(events)
        columns = (
            _from_batch(events, self._given) if isinstance(events, EventBatch) else self._buffers(events)
        )
        result: dict[str, Buffer] = {}
        for c in self.schema.collections:
            if c.slotted:
                result |= self._spread(c, columns)
                continue
            for f in c.fields:
                added = f.branch not in self._known
                result[f.branch] = self._cast(
                    np.zeros(size) if added else columns[f.branch], f.dtype, f.branch, f.missing
                )
            if c.layout == "jagged":
                counts = self._counts(c, result)
                own = (f.counter for f in c.fields if f.counter is not None)
                for n in (*c.counters, *own):
                    result[n.branch] = self._cast(counts, n.dtype, n.branch)
        for f in self.schema.scalars:
            values = columns.get(f.branch, np.ones(size))
            result[f.branch] = self._cast(_as_stored(values, f), f.dtype, f.branch, f.missing)
        for f in self.schema.identifiers:
            if f.branch in columns:
                result[f.branch] = self._cast(columns[f.branch], f.dtype, f.branch)
        for f in (*self.schema.scalars, *self.schema.identifiers):
            if f.alone and f.branch in result:
                result |= _lists_of_one(f, result[f.branch])
        for name, values in result.items():
            found = len(values.offsets) - 1 if isinstance(values, Jagged) else len(values)
            if found != size:
                message = f"holds values for {found} events, not for {size}"
                raise OutputError(message, file=self.path, branch=name)
        return result

    def _counts(self, c: Collection, columns: Mapping[str, Buffer]) -> NDArray[np.int64]:
        """The number of objects in each event (N,)."""
        counts = _counts([columns[f.branch] for f in c.fields])
        if counts is None:
            message = f"the fields of {c.name} are not of the same objects"
            raise OutputError(message, file=self.path, branch=c.fields[0].branch)
        return counts

    def _spread(self, c: Collection, columns: Mapping[str, Buffer]) -> dict[str, Numbers]:
        """The columns of a collection with places for objects."""
        cast = {f.branch: self._cast(columns[f.branch], f.dtype, f.branch, f.missing) for f in c.fields}
        counts = self._counts(c, cast)
        wrong = counts > c.places if c.marked else counts != c.places
        if wrong.any():
            entry = int(wrong.argmax())
            message = f"{counts[entry]} objects in {c.name}, which has {c.places} places"
            if not c.marked:
                message = f"{c.name} needs {c.places} objects in each event"
            raise OutputError(message, file=self.path, branch=c.fields[0].branch, entry=entry)
        return spread(c, {b: v for b, v in cast.items() if isinstance(v, Jagged)})

    def _cast(self, values: Buffer, dtype: str, branch: str, missing: float | None = None) -> Buffer:
        """The numbers in the type of their branch, which holds each of them, but for null."""
        given = values.content if isinstance(values, Jagged) else values
        if (given.dtype.kind == "U") != (dtype == "string"):
            message = f"holds {given.dtype.name}, which is no {dtype}"
            raise OutputError(message, file=self.path, branch=branch)
        if dtype == "string":
            return values
        null = is_null(given) if np.dtype(dtype).kind != "f" else np.zeros(0, bool)
        if null.any():
            self._cast(given[~null], dtype, branch)
            return values
        with np.errstate(all="ignore"):
            new = given.astype(dtype, copy=False)
            wrong = _first_wrong(given, new, finite=self._check, missing=missing)
        if wrong is not None:
            value = given.flat[wrong]
            message = f"is {value}, which is no {dtype}"
            if not np.isfinite(value) and new.dtype.kind == "f":
                message = f"is {value}, which is not a finite number"
            if isinstance(values, Jagged):
                at = int(np.searchsorted(values.offsets, wrong, "right")) - 1
            else:
                at = wrong // (given[:1].size or 1)
            raise OutputError(message, file=self.path, branch=branch, entry=at)
        return Jagged(values.offsets, new) if isinstance(values, Jagged) else new

    def _identified(self, prepared: Prepared) -> dict[str, Buffer]:
        """The identifiers that these events, the next ones, don't have."""
        result: dict[str, Buffer] = {}
        size = len(prepared)
        for f in self.schema.identifiers:
            if f.branch not in prepared.columns:
                values = numbered(f.name, self._done, size, self._run)
                cast = self._cast(values, f.dtype, f.branch)
                result |= _lists_of_one(f, cast) if f.alone else {f.branch: cast}
        self._done += size
        return result

    def _buffers(self, events: ak.Array) -> dict[str, Buffer]:
        columns: dict[str, Buffer] = {}
        for c in self._given.collections:
            offsets, fields = buffers(events, c)
            for f in c.fields:
                values = fields[f.name]
                columns[f.branch] = values if offsets is None else Jagged(offsets, values)
        here = set(events.fields)
        for f in self._given.scalars:
            columns[f.branch] = scalar_values(events, f)
        for f in self.schema.identifiers:
            if f.name in here:
                columns[f.branch] = scalar_values(events, f)
        return columns

    def _flush(self, *, whole: bool) -> None:
        """Writes all full batches, and with ``whole`` what is left, too."""
        if self._sink is None or not self._pending:
            return
        joined = self._pending[0] if len(self._pending) == 1 else _joined(self._pending)
        at = 0
        while self._waiting - at >= self._batch or (whole and at < self._waiting):
            end = min(at + self._batch, self._waiting)
            self._sink.write(sliced(joined, at, end))
            self.written += end - at
            at = end
        self._pending = [sliced(joined, at, self._waiting)]
        self._waiting -= at
        if not self._waiting:
            self._pending = []


@checked
def write_events(
    path: str | Path,
    events: EventBatch | EventsLike,
    *,
    schema: EventSchema | None = None,
    format: Format | None = None,
    force: bool = False,
    identifiers: bool = False,
    weight: bool = False,
    run: int = 1,
    first: int = 0,
    tree: str | None = None,
    title: str = "",
    batch: int = BATCH,
    level: int = 1,
    check: bool = True,
) -> Path:
    """Writes events with the branches, types and titles that they were read with.

    Args:
        path: The file.
        events: Events as `read_events` gives them, or anything of which `as_events` makes events.
        schema: What to write; `schema_of` the events if None.
        format: As in `EventWriter`, and so are all others.
        force: See `EventWriter`.
        identifiers: See `EventWriter`.
        weight: See `EventWriter`.
        run: See `EventWriter`.
        first: See `EventWriter`.
        tree: See `EventWriter`.
        title: See `EventWriter`.
        batch: See `EventWriter`.
        level: See `EventWriter`.
        check: See `EventWriter`.

    Returns:
        The path.

    Raises:
        InputError: If the events lack something that the schema has.
        OutputError: If the file exists already (without ``force``), or cannot be written; nothing is left
            then.
    """
    if schema is None:
        schema = events.schema if isinstance(events, EventBatch) else schema_of(events)
    with EventWriter(
        path,
        schema,
        format=format,
        force=force,
        identifiers=identifiers,
        weight=weight,
        run=run,
        first=first,
        tree=tree,
        title=title,
        batch=batch,
        level=level,
        check=check,
    ) as writer:
        writer.extend(events)
    return Path(path)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def _from_batch(batch: EventBatch, schema: EventSchema) -> dict[str, Buffer]:
    same = EventBatch(schema, batch.collections, batch.scalars, size=len(batch))
    return to_columns(same)


def _joined(pieces: Sequence[dict[str, Buffer]]) -> dict[str, Buffer]:
    """The events of several pieces, one piece after another; lists with common offsets keep them so."""
    shared: dict[tuple[int, ...], NDArray[np.int64]] = {}
    result: dict[str, Buffer] = {}
    for name in pieces[0]:
        values = [p[name] for p in pieces]
        lists = [v for v in values if isinstance(v, Jagged)]
        key = tuple(id(v.offsets) for v in lists)
        if key in shared:
            result[name] = Jagged(shared[key], np.concatenate([v.content for v in lists]))
            continue
        joined = result[name] = concatenated(values)
        if isinstance(joined, Jagged):
            shared[key] = joined.offsets
    return result


def _first_wrong(given: Numbers, new: Numbers, *, finite: bool, missing: float | None) -> int | None:
    """Where numbers that were cast are first not what they were, or not finite; rounding is no harm."""
    if new.dtype.kind == "f":
        if np.isfinite(new.sum()):  # many times faster than to look at each
            return None
        bad = ~np.isfinite(new) if finite else np.isfinite(given) & ~np.isfinite(new)
        if missing is not None:
            bad &= ~is_missing(given, missing)
    elif np.can_cast(given.dtype, new.dtype):
        return None
    else:
        bad = new.astype(given.dtype) != given
        if new.dtype.kind in "iu":
            # What is too large may come back as it was: -1 as uint64, or 2^63 as a processor rounds.
            ends = np.iinfo(new.dtype)
            top = float(ends.max) + 1.0 if given.dtype.kind == "f" else ends.max + 1
            bad |= (given < ends.min) | (given >= top)
    return int(bad.argmax()) if bad.any() else None


def _as_stored(values: Buffer, f: Field) -> Buffer:
    """The numbers of a field in the shape that its file has."""
    return values.reshape(-1, *f.stored) if f.stored and isinstance(values, np.ndarray) else values


def _lists_of_one(f: Field, values: Buffer) -> dict[str, Buffer]:
    """The columns of a number that a file has in lists of one, with what counts them."""
    if isinstance(values, Jagged):
        return {f.branch: values}
    ones = np.ones(len(values), "int32" if f.counter is None else f.counter.dtype)
    counter = {} if f.counter is None else {f.counter.branch: ones}
    return {f.branch: Jagged(np.arange(len(values) + 1), values), **counter}


def _counts(columns: Sequence[Buffer]) -> NDArray[np.int64] | None:
    """The number of objects in each event (N,) of a collection's columns; None where they don't agree."""
    lists = [c for c in columns if isinstance(c, Jagged)]
    if len(lists) < len(columns) or not lists:
        return None
    offsets = lists[0].offsets
    same = all(c.offsets is offsets or np.array_equal(c.offsets, offsets) for c in lists)
    whole = all(len(c.content) == offsets[-1] - offsets[0] for c in lists)
    return np.diff(offsets) if same and whole else None


def written(
    schema: EventSchema, *, counters: bool, identifiers: bool, weight: bool, nulls: bool = False
) -> EventSchema:
    """The schema of a file: what the events' schema says, and what the file needs besides.

    Args:
        schema: The events' schema.
        counters: Whether lists need a counter.
        identifiers: Whether to add what tools of NanoAOD need.
        weight: Whether to add genWeight, where there is no weight.
        nulls: Whether the file knows null; else what has some is written as a floating-point number.
    """
    schema = schema if nulls else _without_nulls(schema)
    taken = {b.name for b in branches_of(schema)}
    collections = {c.name: c for c in schema.collections}
    for c in schema.collections:
        uncounted = c.counter is None and any(f.counter is None for f in c.fields)
        if counters and c.layout == "jagged" and uncounted:
            name = next(n for form in _FREE if (n := form.format(c.name)) not in taken)
            taken.add(name)
            collections[c.name] = c.model_copy(update={"counter": name})
    schema = schema.model_copy(
        update={
            "collections": tuple(collections.values()),
            "scalars": tuple(_counted(f) if counters else f for f in schema.scalars),
            "identifiers": tuple(_counted(f) if counters else f for f in schema.identifiers),
        }
    )
    if identifiers:
        schema = completed(schema)
    if weight and schema.weight is None and "genWeight" not in schema.scalar_names:
        one = Field(name="genWeight", branches=("genWeight",), dtype="float32")
        schema = schema.model_copy(update={"scalars": (*schema.scalars, one), "weight": "genWeight"})
    return schema


def _counted(f: Field) -> Field:
    """A number in lists of one with what counts them."""
    if not f.alone or f.counter is not None:
        return f
    return f.model_copy(update={"counter": Counter(branch=f"n{f.branch}")})


def _without_nulls(schema: EventSchema) -> EventSchema:
    def plain(f: Field) -> Field:
        return f.model_copy(update={"dtype": type_in_memory(f), "nulls": False}) if f.nulls else f

    collections = tuple(
        c.model_copy(update={"fields": tuple(map(plain, c.fields))}) for c in schema.collections
    )
    return schema.model_copy(
        update={"collections": collections, "scalars": tuple(map(plain, schema.scalars))}
    )


_FREE = ("n{}", "{}_size", "n_{}", "number_of_{}", *(f"n{{}}_{i}" for i in range(2, 1000)))
"""Names for the number of objects, where the file that was read has none; the first that is free."""


def branches_of(schema: EventSchema) -> list[Branch]:
    """The branches that a schema makes, identifiers first, as in NanoAOD."""
    result = [_of_number(f) for f in schema.identifiers]
    for c in schema.collections:
        own = tuple(f.counter for f in c.fields if f.counter is not None)
        result.extend(Branch(n.branch, n.dtype, title=n.title) for n in (*c.counters, *own))
        jagged, shape = c.layout == "jagged", (c.places,) if c.layout == "padded" else ()
        result.extend(
            Branch(
                b,
                f.dtype,
                jagged,
                None if not jagged else c.counter if f.counter is None else f.counter.branch,
                f.title,
                f.record,
                f.nulls,
                shape,
            )
            for f in (*c.fields, *c.marks)
            for b in f.branches
        )
    result.extend(_of_number(f) for f in schema.scalars)
    there = {b.name for b in result}
    lone = (f.counter for f in (*schema.identifiers, *schema.scalars) if f.alone and f.counter is not None)
    # Several numbers, and a collection, may share what counts them.
    counters = {n.branch: Branch(n.branch, n.dtype, title=n.title) for n in lone if n.branch not in there}
    return [*counters.values(), *result]


def _of_number(f: Field) -> Branch:
    """The branch of a number of the event."""
    counter = f.counter.branch if f.alone and f.counter is not None else None
    shape = f.stored or f.shape
    return Branch(f.branch, f.dtype, f.alone, counter, f.title, f.record, f.nulls, shape)
