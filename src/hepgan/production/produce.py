"""Writes generated events to files, and tells coffea where they are."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import awkward as ak

from hepgan.errors import OutputError
from hepgan.events import EventWriter, fileset, write_fileset
from hepgan.files import claim
from hepgan.generator import EventGenerator
from hepgan.generator.conditions import check_lengths

__all__ = ["Production", "produce"]

Format = Literal["ttree", "rntuple", "parquet"]

SUFFIXES: dict[str, tuple[str, ...]] = {
    "ttree": (".root",),
    "rntuple": (".root",),
    "parquet": (".parquet", ".pq"),
}
MAX_FILE = 1_800_000_000
"""Bytes in one file; readers and writers of TTrees are safe below 2 GiB."""

MAX_SHARDS = 100_000
"""Files in one folder."""


@dataclass(frozen=True)
class Production:
    """What was written.

    Attributes:
        files: The files with events, in order.
        fileset: The JSON file that coffea's Runner reads; None for Parquet, which it does not read.
        events: Number of events.
        seconds: Time it took.
    """

    files: tuple[Path, ...]
    fileset: Path | None
    events: int
    seconds: float


def produce(
    generator: EventGenerator,
    n: int,
    output: str | Path,
    *,
    seed: int = 0,
    condition: Mapping[str, Any] | ak.Array | None = None,
    member: int | Literal["all"] | None = None,
    format: Format = "ttree",
    shard_size: int = 1_000_000,
    workers: int | None = None,
    identifiers: bool = True,
    force: bool = False,
    on_progress: Callable[[int], None] | None = None,
) -> Production:
    """Generates events into one file, or into a folder of shards.

    Files appear under their names when they are whole, the fileset last; an existing sample is there until
    the first new file is whole.

    Args:
        generator: A trained generator.
        n: Number of events.
        output: A file (``.root`` or ``.parquet``), or else a folder that gets a file for each
            ``shard_size`` events. The events do not depend on the choice.
        seed: The same seed gives the same events.
        condition: Conditions by name, as in ``EventGenerator.generate``.
        member: Of an ensemble the member whose events are wanted, as in ``EventGenerator.generate``.
        format: ``ttree``, ``rntuple`` or ``parquet``.
        shard_size: Events in a file of a folder.
        workers: Threads; as many as there are cores by default.
        identifiers: Whether to write run (1), luminosityBlock and event, which coffea's NanoAODSchema
            asks for.
        force: Whether existing files may be replaced.
        on_progress: Called with the number of events written so far.

    Returns:
        Where the events are.

    Raises:
        OutputError: If the output exists (without force), cannot be written, or is too large for one file.
        InputError: If a condition is not one of the model's, or has not n values.
        ValueError: If a number or the format is out of range.
    """
    if n <= 0 or shard_size <= 0:
        msg = f"the number of events and the shard size must be positive, not {n} and {shard_size}"
        raise ValueError(msg)
    if format not in SUFFIXES:
        msg = f"format must be one of {', '.join(SUFFIXES)}, not {format!r}"
        raise ValueError(msg)
    started = time.monotonic()
    check_lengths(condition, n)
    schema = generator.schema_of(member)
    shards, manifest = _plan(Path(output), n, format, shard_size)
    old = [manifest]
    if shards[0].path != Path(output):
        old += _old_shards(Path(output), force=force)
    for path in (*(s.path for s in shards), manifest):
        claim(path, force=force)

    for shard in shards:
        writer = EventWriter(
            shard.path,
            schema,
            format=format,
            identifiers=identifiers,
            first=shard.first,
            force=force,
        )
        done = shard.first
        with writer:
            # The threads that make the events convert them, too: this one has to write.
            batches = generator.pieces(
                shard.size,
                writer.prepare,
                seed=seed,
                first=shard.first,
                condition=condition,
                member=member,
                workers=workers,
            )
            # Closed at once whatever happens, so that no thread goes on making events.
            with closing(batches):
                for batch in batches:
                    writer.extend(batch)
                    done += len(batch)
                    if format != "parquet":
                        _check_size(writer, shard)
                    if on_progress is not None:
                        on_progress(done)
            # Old files beside new ones would be read as one sample.
            while old:
                old.pop().unlink(missing_ok=True)
    files = tuple(s.path for s in shards)
    seconds = time.monotonic() - started
    if format == "parquet":
        return Production(files, None, n, seconds)
    name = generator.recipe.name
    metadata = {"generator": name, "seed": seed, "events": n}
    content = fileset({name: [str(f.resolve()) for f in files]}, schema.tree, metadata)
    return Production(files, write_fileset(manifest, content, force=True), n, seconds)


class _Shard(NamedTuple):
    """A file to be written, the number of its first event, and how many it gets."""

    path: Path
    first: int
    size: int


def _plan(output: Path, n: int, format: Format, shard_size: int) -> tuple[list[_Shard], Path]:
    """The files, and the fileset that belongs to them."""
    endings = {e for known in SUFFIXES.values() for e in known}
    if output.suffix.lower() in endings:
        if output.suffix.lower() not in SUFFIXES[format]:
            msg = f"a {format} file is called *{SUFFIXES[format][0]}"
            raise OutputError(msg, file=output)
        return [_Shard(output, 0, n)], output.with_suffix(".fileset.json")
    if output.exists() and not output.is_dir():
        msg = "is a file; shards need a folder (or give a name that ends in .root)"
        raise OutputError(msg, file=output)
    if n > MAX_SHARDS * shard_size:
        msg = f"{-(-n // shard_size):,} files are more than {MAX_SHARDS:,}: raise --shard-size (shard_size)"
        raise OutputError(msg, file=output)
    digits = max(4, len(str((n - 1) // shard_size)))
    shards = [
        _Shard(output / f"events-{k:0{digits}d}{SUFFIXES[format][0]}", first, min(shard_size, n - first))
        for k, first in enumerate(range(0, n, shard_size))
    ]
    return shards, output / "fileset.json"


def _old_shards(folder: Path, *, force: bool) -> list[Path]:
    """The shards that a folder holds already."""
    old = sorted(p for p in folder.glob("events-*") if p.suffix in (".root", ".parquet"))
    if old and not force:
        msg = f"holds events already ({old[0].name}, ...); --force (force=True) replaces them"
        raise OutputError(msg, file=folder)
    return old


def _check_size(writer: EventWriter, shard: _Shard) -> None:
    """Refuses, as soon as the size of an event is known, what would not fit into one file."""
    if not writer.written or writer.written == shard.size:
        return
    expected = writer.bytes_written / writer.written * shard.size
    if expected > MAX_FILE:
        msg = (
            f"{shard.size} events would make a file of {expected / 1e9:.1f} GB, and ROOT files are safe to "
            f"{MAX_FILE / 1e9:.1f} GB: give a folder as output, or a smaller shard size"
        )
        raise OutputError(msg, file=shard.path)
