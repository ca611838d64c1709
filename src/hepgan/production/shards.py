"""Files of a plan: which events they get, and how they are written."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import uproot
from numpy.typing import NDArray

from hepgan.arguments import checked
from hepgan.errors import OutputError
from hepgan.events import EventBatch, EventSchema, EventWriter
from hepgan.events.buffers import Jagged
from hepgan.events.formats import FORMATS
from hepgan.events.nanoaod import is_nanoaod
from hepgan.events.runs import RUNS
from hepgan.events.writing import Prepared
from hepgan.generator import EventGenerator
from hepgan.production.manifest import Written, checksum
from hepgan.production.plan import Plan, Shard

__all__ = ["write_shard", "write_shards"]

RUN = 1
"""The run number of generated events."""

MAX_FILE = 1_800_000_000
"""Bytes in one file; readers and writers of TTrees are safe below 2 GiB."""


@checked
def write_shard(
    generator: EventGenerator,
    plan: Plan,
    number: int,
    folder: Path,
    *,
    condition: Mapping[str, Any] | ak.Array | None = None,
    workers: int | None = None,
) -> Written:
    """Writes one file of a plan, which depends on nothing else; arguments and errors as of `write_shards`."""
    with closing(
        write_shards(generator, plan, [number], folder, condition=condition, workers=workers)
    ) as made:
        return next(made)


@checked
def write_shards(
    generator: EventGenerator,
    plan: Plan,
    numbers: Sequence[int],
    folder: Path,
    *,
    condition: Mapping[str, Any] | ak.Array | None = None,
    workers: int | None = None,
    force: bool = False,
    before: Callable[[Written], None] | None = None,
    on_events: Callable[[int], None] | None = None,
) -> Generator[Written, None, None]:
    """Writes files of a plan that follow one another; what they share of a block of events is made once.

    Args:
        generator: The generator of the plan.
        plan: The plan.
        numbers: The numbers of the files, each greater by one than that before.
        folder: Where to.
        condition: The conditions of the plan.
        workers: Threads; as many as there are cores by default.
        force: Whether existing files may be replaced.
        before: Called with what is known of each file when it is whole, before it gets its name.
        on_events: Called with numbers of events that have been written.

    Yields:
        What is known of each file, when it is there.

    Raises:
        OutputError: If a file exists (without force), cannot be written, would be too large, or if the
            generator makes numbers that are not finite or do not fit their type.
    """
    if not numbers:
        return
    shards = [plan.shard(number) for number in numbers]
    own = generator.schema_of(plan.member)
    known = plan.normalisation
    schema = own if known is None else known.schema_of(own)

    def prepared(events: EventBatch) -> Prepared:
        return writer.prepare(events if known is None else known.weighted(events, schema))

    def opened(shard: Shard) -> EventWriter:
        return EventWriter(
            folder / shard.name,
            schema,
            format=plan.format,
            identifiers=plan.identifiers and is_nanoaod(schema),
            first=shard.first,
            force=force,
            tree=plan.tree,
        )

    first, last = shards[0].first, shards[-1].first + shards[-1].size
    pieces = generator.pieces(
        last - first,
        # By the threads that make the events, for this one has to write; all files take the same.
        prepared,
        seed=plan.seed,
        first=first,
        condition=condition,
        member=plan.member,
        where=plan.where,
        workers=workers,
    )
    # Closed at once whatever happens, so that no thread goes on making events.
    with closing(pieces):
        source = _Source(pieces, first)
        for shard in shards:
            with opened(shard) as writer:
                weighed = _Weighed(shard, plan, schema)
                for part in source.take(shard.size, writer.path):
                    writer.extend(part)
                    weighed.add(part)
                    if FORMATS[plan.format].root:
                        _check_size(writer, shard)
                    if on_events is not None:
                        on_events(len(part))
                if (runs := weighed.runs()) is not None:
                    writer.add(RUNS, runs)
                written = _written(writer.complete(), shard, plan, weighed.sum_of_weights)
                if before is not None:
                    before(written)
            yield written


class _Source:
    """Pieces of events, of which any number can be taken.

    Args:
        pieces: The pieces.
        first: The number of their first event.
    """

    def __init__(self, pieces: Iterator[Prepared], first: int) -> None:
        self._pieces, self._done = pieces, first
        self._rest: Prepared | None = None

    def take(self, size: int, path: Path) -> Iterator[Prepared]:
        """The next events, for a file of that name.

        Raises:
            OutputError: If the file cannot hold them.
        """
        while size:
            piece = self._rest if self._rest is not None else self._next(path)
            part = piece[:size]
            self._rest = piece[size:] if len(piece) > size else None
            size -= len(part)
            yield part

    def _next(self, path: Path) -> Prepared:
        try:
            piece = next(self._pieces)
        except OutputError as error:
            if error.entry is None:
                raise
            number = self._done + error.entry
            msg = f"event {number} {error.message}; the model or a condition makes what cannot be written"
            raise OutputError(msg, file=path, branch=error.branch) from error
        self._done += len(piece)
        return piece


class _Weighed:
    """The sums of weights of the events of a file, as they are written."""

    def __init__(self, shard: Shard, plan: Plan, schema: EventSchema) -> None:
        self._shard, self._known = shard, plan.normalisation
        self._branch = None if schema.weight is None else schema.scalar(schema.weight).branch
        self.sum_of_weights: float | None = None if self._branch is None else 0.0
        self._squares = 0.0

    def add(self, events: Prepared) -> None:
        """Adds the next events."""
        if self._branch is not None and self.sum_of_weights is not None:
            values = events.columns[self._branch]
            # A weight that is alone in a list is that of its event.
            weights = np.asarray(values.content if isinstance(values, Jagged) else values, dtype=np.float64)
            self.sum_of_weights += float(weights.sum())
            self._squares += float(np.square(weights).sum())

    def runs(self) -> dict[str, NDArray[Any]] | None:
        """The branches of ``Runs``, if the file is to have it."""
        if self._known is None or not self._known.runs or self.sum_of_weights is None:
            return None
        first, size = self._shard.first, self._shard.size
        return self._known.runs_of(first, size, self.sum_of_weights, self._squares).columns(RUN)


def _written(path: Path, shard: Shard, plan: Plan, sum_of_weights: float | None) -> Written:
    uuid = ""
    if FORMATS[plan.format].root:
        with uproot.open(path) as file:
            uuid = str(file.file.uuid)
    return Written(
        name=shard.name,
        events=shard.size,
        bytes=path.stat().st_size,
        adler32=checksum(path),
        uuid=uuid,
        sum_of_weights=sum_of_weights,
    )


def _check_size(writer: EventWriter, shard: Shard) -> None:
    """Refuses, as soon as the size of an event is known, what would not fit into one file."""
    if not writer.written or writer.written == shard.size:
        return
    expected = writer.bytes_written / writer.written * shard.size
    if expected > MAX_FILE:
        msg = (
            f"{shard.size} events would make a file of {expected / 1e9:.1f} GB, and ROOT files are safe to "
            f"{MAX_FILE / 1e9:.1f} GB: give a folder as output, or a smaller shard size"
        )
        raise OutputError(msg, file=writer.path)
