"""Writes generated events to files, and tells coffea where they are."""

from __future__ import annotations

import math
import re
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import awkward as ak

from hepgan.arguments import SEEDS, checked, whole
from hepgan.errors import OutputError
from hepgan.events.formats import ENDINGS, FORMATS, Format, all_endings, ending_of, format_for, named_format
from hepgan.files import Reservation
from hepgan.generator import EventGenerator
from hepgan.generator.conditions import check_lengths
from hepgan.generator.where import Efficiency
from hepgan.production.folder import ShardFolder
from hepgan.production.manifest import FILESET, Written, listed, total_weight, write_manifest
from hepgan.production.plan import Plan
from hepgan.production.shards import write_shards

__all__ = ["Production", "is_one_file", "produce"]

MAX_SHARDS = 100_000
"""Files in one folder."""


@dataclass(frozen=True)
class Production:
    """What was written.

    Attributes:
        files: The files with events, in order.
        fileset: The JSON file that lists them, with their sizes and checksums; of ROOT files, coffea's Runner
            reads it.
        events: Number of events in the files.
        seconds: Time it took.
        made: Number of events that were made; fewer than ``events`` where an earlier run had been stopped.
        kept: Number of files that an earlier run had made.
        sum_of_weights: Of the events; their number where they have no weights.
        efficiency: The share of generated events that fulfil what all of these do, if that was asked for.
    """

    files: tuple[Path, ...]
    fileset: Path
    events: int
    seconds: float
    made: int
    kept: int = 0
    sum_of_weights: float = math.nan
    efficiency: Efficiency | None = None

    @property
    def rate(self) -> float:
        """Events made in a second."""
        return self.made / self.seconds


@checked
def produce(
    generator: EventGenerator,
    n: int,
    output: str | Path,
    *,
    seed: int = 0,
    condition: Mapping[str, Any] | ak.Array | None = None,
    member: int | Literal["all"] | None = None,
    format: Format | None = None,
    shard_size: int = 1_000_000,
    workers: int | None = None,
    identifiers: bool = True,
    cross_section: float | None = None,
    luminosity: float | None = None,
    where: str | Sequence[str] | None = None,
    efficiency: Efficiency | None = None,
    force: bool = False,
    on_progress: Callable[[int], None] | None = None,
) -> Production:
    """Generates events into one file, or into a folder of shards.

    Files appear under their names when they are whole, the fileset last; an existing sample is there until
    the new one is whole. The same call goes on with a folder where an earlier one has been stopped.

    Args:
        generator: A trained generator.
        n: Number of events.
        output: A file (``.root``, ``.parquet``, ...), or else a folder that gets a file for each
            ``shard_size`` events. The events do not depend on the choice.
        seed: The same seed gives the same events.
        condition: Conditions by name, as in ``EventGenerator.generate``.
        member: Of an ensemble the member whose events are wanted, as in ``EventGenerator.generate``.
        format: As of ``hepgan.events.EventWriter``; by the file's ending if None, and ``ttree`` in a folder.
        shard_size: Events in a file of a folder.
        workers: Threads; as many as there are cores by default.
        identifiers: Whether to add run (1), luminosityBlock and event, which coffea's NanoAODSchema asks
            for, to files of NanoAOD (see `hepgan.events.nanoaod.is_nanoaod`).
        cross_section: In pb: events get weights (``genWeight`` where they have none) that sum to it. Of a
            training sample whose ``Runs`` tell what there was before its selection, it is that of all that,
            and weights sum to the share that is left. Without it, the events of a weighted training
            sample get its sum of weights.
        luminosity: In 1/pb, by which the cross section is multiplied; 1 if None.
        where: What all events shall fulfil, as in ``EventGenerator.generate``. Their weights sum to the share
            of the whole that fulfils it.
        efficiency: That share, as ``EventGenerator.efficiency`` has measured it; if None, it is measured.
        force: Whether an existing file may be replaced, or in a folder what its fileset lists.
        on_progress: Called with the number of events written so far.

    Returns:
        Where the events are.

    Raises:
        OutputError: If the output exists (without force), is being written by another process, cannot be
            written, or is too large for one file; if the events hold numbers that are not finite; or if a
            folder holds a part of another production (without force), or a user's file that is in the way.
        InputError: If a condition is not one of the model's, or has not n values; if a cross section or
            luminosity is not positive; or if ``where`` does not fit the events, or hardly one fulfils it.
        ValueError: If a number or the format is out of range.
    """
    n, shard_size, seed = whole("n", n), whole("shard_size", shard_size), whole("seed", seed, 0, SEEDS)
    if workers is not None:
        workers = whole("workers", workers)
    started = time.monotonic()
    check_lengths(condition, n)
    output = Path(output)
    single = is_one_file(output, format)
    format = format_for(output, format) if single else format or "ttree"
    if not single and n > MAX_SHARDS * shard_size:
        msg = f"{-(-n // shard_size):,} files are more than {MAX_SHARDS:,}: raise --shard-size (shard_size)"
        raise OutputError(msg, file=output)
    plan = Plan.of(
        generator,
        n,
        seed=seed,
        condition=condition,
        member=member,
        shard_size=n if single else shard_size,
        format=format,
        identifiers=identifiers,
        cross_section=cross_section,
        luminosity=luminosity,
        where=where,
        efficiency=efficiency,
        workers=workers,
        file=output.name if single else None,
    )
    job = _Job(generator, plan, condition, workers, on_progress)
    files, fileset, kept, weights = (_one_file if single else _folder)(job, output, force=force)
    seconds = time.monotonic() - started
    return Production(tuple(files), fileset, n, seconds, job.made, kept, weights, plan.efficiency)


class _Job:
    """The work of a production: files of its plan, and how many events are done."""

    def __init__(
        self,
        generator: EventGenerator,
        plan: Plan,
        condition: Mapping[str, Any] | ak.Array | None,
        workers: int | None,
        on_progress: Callable[[int], None] | None,
    ) -> None:
        self.plan, self.made, self.done = plan, 0, 0
        self._generator, self._condition, self._workers = generator, condition, workers
        self._on_progress = on_progress

    def write(
        self, numbers: range, folder: Path, before: Callable[[Written], None], *, force: bool = False
    ) -> list[Written]:
        """Writes the files of these numbers."""
        files = write_shards(
            self._generator,
            self.plan,
            numbers,
            folder,
            condition=self._condition,
            workers=self._workers,
            force=force,
            before=before,
            on_events=self._advance,
        )
        with closing(files):
            return list(files)

    def _advance(self, events: int) -> None:
        self.made += events
        self.done += events
        if self._on_progress is not None:
            self._on_progress(self.done)


@checked
def is_one_file(output: Path, format: Format | None = None) -> bool:
    """Whether an output is one file; a folder that is not there yet has no ending.

    Args:
        output: The output.
        format: The format that was asked for; by the file's name if None.

    Raises:
        OutputError: If its ending is that of no format, or of another one.
    """
    if named_format(output) is not None:
        format_for(output, format)
        return True
    if re.fullmatch(r"\.[A-Za-z]\w*", output.suffix) and not output.exists():
        msg = f"names neither a folder, which has no ending, nor a file of events ({all_endings()})"
        raise OutputError(msg, file=output)
    return False


def _one_file(job: _Job, output: Path, *, force: bool) -> tuple[list[Path], Path, int, float]:
    # That of s.parquet is another than that of s.root.
    found = ending_of(output)
    ending = f".{FILESET}" if FORMATS[job.plan.format].root else f"{output.name[-len(found) :]}.{FILESET}"
    fileset = output.with_name(f"{output.name[: -len(found)]}{ending}")
    with Reservation(output, force=force), Reservation(fileset, force=force):
        listed(fileset)  # nothing else is replaced

        def before(written: Written) -> None:
            fileset.unlink(missing_ok=True)  # it would not be true of the new file

        made = job.write(range(1), output.parent, before, force=force)
        write_manifest(fileset, job.plan, made, output.parent)
    return [output], fileset, 0, total_weight(made)


def _folder(job: _Job, output: Path, *, force: bool) -> tuple[list[Path], Path, int, float]:
    with ShardFolder(output, job.plan, force=force).opened() as folder:
        job.done = sum(f.events for f in folder.whole.values())
        for numbers in folder.missing:
            job.write(numbers, folder.work, folder.note)
        kept = len(folder.whole)
        files, fileset, weights = folder.finish()
    suffix, names = ENDINGS[job.plan.format][0], {f.name for f in files}
    others = sorted(p.name for p in output.glob(f"*{suffix}") if p.name not in names and p.name[0] != ".")
    if others:
        message = (
            f"{output} holds other files, too ({others[0]}, ...): {output}/*{suffix} is not these events"
        )
        warnings.warn(message, UserWarning, stacklevel=3)
    return files, fileset, kept, weights
