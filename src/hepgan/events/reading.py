"""Events from ROOT (TTree, RNTuple) and Parquet files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal, TypeAlias

import awkward as ak

from hepgan.errors import InputError
from hepgan.events.checks import check_weights, warn_dropped
from hepgan.events.columns import ATTRIBUTE
from hepgan.events.inference import complete
from hepgan.events.reader import Reader
from hepgan.events.schema import EventSchema
from hepgan.events.sources import ArraySource, PathLike, locate, open_source

__all__ = ["as_events", "count_events", "infer_schema", "iterate_events", "read_events"]

OnBad: TypeAlias = Literal["raise", "drop", "keep"]
Paths: TypeAlias = "PathLike | Sequence[PathLike]"


def read_events(
    paths: Paths,
    *,
    schema: EventSchema | None = None,
    branches: Iterable[str] | None = None,
    entry_start: int | None = None,
    entry_stop: int | None = None,
    on_bad: OnBad = "raise",
) -> ak.Array:
    """Reads events, checks them, and gives each collection its vector behaviour.

    Numbers keep the type that they have in the file.

    Args:
        paths: ``file.root:Tree``, ``file.parquet``, a glob, or a list of these. The tree may be left out, if
            there is only one, or one called ``Events``.
        schema: What to read, and what it must look like; told from the file if None (see
            `hepgan.events.naming` and `hepgan.events.inference` for the rules).
        branches: A part: collections (``Muon``), fields (``Jet.pt``), scalars, or branches and globs of
            branches (``Muon_*``). Identifiers and the weight are read always.
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
    chunks = list(_chunks(paths, None, schema, branches, entry_start, entry_stop, on_bad))
    first = chunks[0] if chunks else None
    if first is None or not sum(len(c) for c in chunks):
        message = "no good events are left" if on_bad == "drop" else "there are no events"
        raise InputError(message, file=_listed(paths))
    events = first if len(chunks) == 1 else ak.concatenate(chunks)
    known: EventSchema = first.attrs[ATTRIBUTE]
    final = known if schema is not None else complete(known, events)
    events.attrs[ATTRIBUTE] = final
    if on_bad != "keep":
        check_weights(events, final, _listed(paths))
    return events


def iterate_events(
    paths: Paths,
    *,
    step: int = 100_000,
    schema: EventSchema | None = None,
    branches: Iterable[str] | None = None,
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
    limits = True
    if schema is None:
        schema = infer_schema(paths, branches=branches, on_bad=on_bad)
        branches, limits = None, False
    return _chunks(paths, step, schema, branches, entry_start, entry_stop, on_bad, limits=limits)


def infer_schema(
    paths: Paths,
    *,
    branches: Iterable[str] | None = None,
    max_events: int | None = 1_000_000,
    on_bad: OnBad = "raise",
) -> EventSchema:
    """What files hold: collections, fields, kinds, ranges.

    Args:
        paths: As in `read_events`.
        branches: As in `read_events`.
        max_events: How many events to look at, taken from the start of each file in equal shares; None for
            all. Numbers of objects are looked at in all events, where the file has counters.
        on_bad: As in `read_events`.

    Raises:
        InputError: As in `read_events`.
    """
    located = locate(paths)
    chunks: list[ak.Array] = []
    limits: dict[str, list[int]] = {}
    shares = None if max_events is None else -(-max_events // len(located))
    for path, tree in located:
        with open_source(path, tree) as source:
            share = source.entries if shares is None else min(shares, source.entries)
            reader = Reader(source, chunks[0].attrs[ATTRIBUTE] if chunks else None, branches, on_bad)
            chunks.append(reader.chunk(0, share))
            if share < source.entries:
                reader.counts(share, limits)
    if not sum(map(len, chunks)):
        message = "there are no events"
        raise InputError(message, file=_listed(paths))
    events = chunks[0] if len(chunks) == 1 else ak.concatenate(chunks)
    schema = complete(chunks[0].attrs[ATTRIBUTE], events)
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


def count_events(paths: Paths) -> int:
    """The number of events in files, which are not read for it.

    Args:
        paths: As in `read_events`.

    Raises:
        InputError: If a file or tree is missing or damaged.
    """
    total = 0
    for path, tree in locate(paths):
        with open_source(path, tree) as source:
            total += source.entries
    return total


def as_events(array: ak.Array, *, schema: EventSchema | None = None, check: bool = True) -> ak.Array:
    """Events from an array with one field for each branch (``Muon_pt``), as uproot gives it.

    Args:
        array: The array.
        schema: As in `read_events`.
        check: Whether to check the events.

    Raises:
        InputError: As in `read_events`.
    """
    source = ArraySource(array)
    reader = Reader(source, schema, None, "raise" if check else "keep")
    events = reader.chunk(0, source.entries)
    if schema is None:
        events.attrs[ATTRIBUTE] = complete(events.attrs[ATTRIBUTE], events)
    return events


def _listed(paths: Paths) -> str:
    return str(paths) if isinstance(paths, str | Path) else ", ".join(map(str, paths))


def _chunks(
    paths: Paths,
    step: int | None,
    schema: EventSchema | None,
    branches: Iterable[str] | None,
    entry_start: int | None,
    entry_stop: int | None,
    on_bad: OnBad,
    *,
    limits: bool = True,
) -> Iterator[ak.Array]:
    before, total = 0, 0
    dropped: dict[str, int] = {}
    wanted = None if branches is None else list(branches)
    for path, tree in locate(paths):
        if entry_stop is not None and before >= entry_stop:
            break
        with open_source(path, tree) as source:
            reader = Reader(source, schema, wanted, on_bad, limits=limits)
            if schema is None:
                schema, wanted = reader.schema, None
            start = max(0, (entry_start or 0) - before)
            stop = source.entries if entry_stop is None else min(source.entries, entry_stop - before)
            for at in range(start, stop, step or max(1, stop - start)):
                end = min(stop, at + (step or stop - start))
                total += end - at
                chunk = reader.chunk(at, end)
                for reason, count in reader.dropped.items():
                    dropped[reason] = dropped.get(reason, 0) + count
                if len(chunk):
                    yield chunk
            before += source.entries
    warn_dropped(dropped, total)
