"""Files of vertex-level events into files of detector-level ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Literal

import awkward as ak

from hepgan.detector.folding import Folding, weight_field
from hepgan.errors import InputError, OutputError
from hepgan.events import EventWriter, iterate_events, reads
from hepgan.events.columns import ATTRIBUTE
from hepgan.files import claim
from hepgan.models import BLOCK

__all__ = ["fold_file"]

CHUNK = 24 * BLOCK
"""Events that are read at once."""


def fold_file(
    folding: Folding,
    vertex: str,
    output: str | Path,
    *,
    seed: int = 0,
    keep_vertex: bool = False,
    format: Literal["ttree", "rntuple", "parquet"] | None = None,
    workers: int | None = None,
    force: bool = False,
    chunk: int = CHUNK,
    on_progress: Callable[[int], None] | None = None,
) -> int:
    """Folds the events of a file, or of many, into a file.

    The next events are read while others are folded and written, so that memory does not grow with their
    number. The file appears when it is whole.

    Args:
        folding: A folding that has learned.
        vertex: Vertex-level events: ``FILE.root:Tree``, or a glob.
        output: The file to write.
        seed: The same seed gives the same events, which are those of ``Folding.fold``.
        keep_vertex: Whether to write the vertex-level collections, too.
        format: ``ttree``, ``rntuple`` or ``parquet``; by the file's ending if None.
        workers: Threads; as many as there are cores by default.
        force: Whether an existing file may be replaced.
        chunk: Events that are read at once, which the result does not depend on.
        on_progress: Called with the number of events written so far.

    Returns:
        The number of events.

    Raises:
        InputError: If the events cannot be read, or lack a condition.
        OutputError: If the file exists (without force), is one of those that are read, or cannot be written.
    """
    claim(Path(output), force=force, make=False)
    if reads(vertex, output):
        msg = "is read and cannot be written, too: choose another name"
        raise OutputError(msg, file=output)
    chunks = _aligned(iterate_events(vertex, step=chunk, branches=folding.conditions), BLOCK)
    done = written = 0
    with ExitStack() as stack:
        writer: EventWriter | None = None
        for events in _ahead(chunks):
            if writer is None:
                weight = weight_field(events)
                schema = folding.schema(weight, keep_vertex=keep_vertex)
                writer = stack.enter_context(
                    EventWriter(output, schema, format=format, force=force, identifiers=True)
                )
            try:
                pieces = folding.pieces(
                    events, seed=seed, first=done, keep_vertex=keep_vertex, workers=workers
                )
                # Closed at once whatever happens, so that no thread goes on folding.
                with closing(pieces):
                    for batch in pieces:
                        writer.extend(batch)
                        written += len(batch)
                        if on_progress is not None:
                            on_progress(written)
            except InputError as error:
                entry = None if error.entry is None else error.entry + done
                where = error.file or vertex
                raise InputError(error.message, file=where, branch=error.branch, entry=entry) from error
            done += len(events)
    return done


def _aligned(chunks: Iterator[ak.Array], size: int) -> Iterator[ak.Array]:
    """The same events in chunks of a multiple of ``size``, but for the last."""
    held: ak.Array | None = None
    for chunk in chunks:
        held = chunk if held is None else ak.concatenate([held, chunk])
        held.attrs[ATTRIBUTE] = chunk.attrs[ATTRIBUTE]
        whole = len(held) // size * size
        if whole:
            yield held[:whole]
            held = held[whole:]
    if held is not None and len(held):
        yield held


def _ahead(chunks: Iterator[ak.Array]) -> Iterator[ak.Array]:
    """The chunks, each read while the one before is in use."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, chunks, None)
        while (chunk := coming.result()) is not None:
            coming = pool.submit(next, chunks, None)
            yield chunk
