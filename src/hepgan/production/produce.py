"""Writes generated events to files, and tells coffea where they are."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hepgan._files import claim
from hepgan.errors import OutputError
from hepgan.events import EventWriter, fileset, write_fileset
from hepgan.generator import EventGenerator

__all__ = ["Production", "produce"]

Format = Literal["ttree", "rntuple", "parquet"]

SUFFIXES: dict[str, tuple[str, ...]] = {
    "ttree": (".root",),
    "rntuple": (".root",),
    "parquet": (".parquet", ".pq"),
}
MAX_FILE = 1_800_000_000
"""Bytes in one file; readers and writers of TTrees are safe below 2 GiB."""


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
    condition: Mapping[str, Any] | None = None,
    format: Format = "ttree",
    shard_size: int = 1_000_000,
    workers: int | None = None,
    identifiers: bool = True,
    force: bool = False,
    on_progress: Callable[[int], None] | None = None,
) -> Production:
    """Generates events into one file, or into a folder of shards.

    Files appear under their names when they are whole, the fileset last.

    Args:
        generator: A trained generator.
        n: Number of events.
        output: A file (``.root`` or ``.parquet``), or else a folder that gets a file for each
            ``shard_size`` events. The events do not depend on the choice.
        seed: The same seed gives the same events.
        condition: Conditions by name, as in ``EventGenerator.generate``.
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
        InputError: If a condition is not one of the model's.
    """
    if n <= 0 or shard_size <= 0:
        msg = f"the number of events and the shard size must be positive, not {n} and {shard_size}"
        raise ValueError(msg)
    started = time.monotonic()
    output = Path(output)
    single = output.suffix in (".root", *SUFFIXES["parquet"])
    if single and output.suffix not in SUFFIXES[format]:
        msg = f"a {format} file is called *{SUFFIXES[format][0]}"
        raise OutputError(msg, file=output)
    if single:
        shards = [(output, 0, n)]
        manifest = output.with_suffix(".fileset.json")
    else:
        if output.is_file():
            msg = "is a file; shards need a folder (or give a name that ends in .root)"
            raise OutputError(msg, file=output)
        digits = max(4, len(str((n - 1) // shard_size)))
        shards = [
            (output / f"events-{k:0{digits}d}{SUFFIXES[format][0]}", first, min(shard_size, n - first))
            for k, first in enumerate(range(0, n, shard_size))
        ]
        manifest = output / "fileset.json"
        _claim_folder(output, force=force)
    for path in (manifest, *(s[0] for s in shards)):
        claim(path, force=force)
    manifest.unlink(missing_ok=True)

    done = 0
    for path, first, size in shards:
        with EventWriter(
            path, generator.schema, format=format, identifiers=identifiers, first=first, force=force
        ) as writer:
            written = 0
            for batch in generator.iterate(
                size, seed=seed, first=first, condition=condition, workers=workers
            ):
                writer.extend(batch)
                written += len(batch)
                _check_size(writer, path, size, written)
                if on_progress is not None:
                    on_progress(done + written)
        done += size
    files = tuple(s[0] for s in shards)
    seconds = time.monotonic() - started
    if format == "parquet":
        return Production(files, None, n, seconds)
    name = generator.recipe.name
    metadata = {"generator": name, "seed": seed, "events": n}
    content = fileset({name: [str(f) for f in files]}, generator.schema.tree, metadata)
    return Production(files, write_fileset(manifest, content, force=True), n, seconds)


def _claim_folder(folder: Path, *, force: bool) -> None:
    """Old shards beside new ones would be read as one sample."""
    old = sorted(p for p in folder.glob("events-*") if p.suffix in (".root", ".parquet"))
    if old and not force:
        msg = f"holds events already ({old[0].name}, ...); --force (force=True) replaces them"
        raise OutputError(msg, file=folder)
    for path in old:
        path.unlink()


def _check_size(writer: EventWriter, path: Path, size: int, written: int) -> None:
    expected = writer.bytes_written / written * size
    if expected > MAX_FILE:
        msg = (
            f"{size} events would make a file of {expected / 1e9:.1f} GB, and ROOT files are safe to "
            f"{MAX_FILE / 1e9:.1f} GB: give a folder as output, which is filled with shards"
        )
        raise OutputError(msg, file=path)
