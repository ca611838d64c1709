"""Writes generated events to files, and tells coffea where they are: in this process, or on a cluster."""

from __future__ import annotations

import math
import re
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

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
from hepgan.production.ordered import check_client
from hepgan.production.parts import PartFolder
from hepgan.production.plan import Part, Plan
from hepgan.production.remote import UrlFolder, is_url
from hepgan.production.shards import write_shards
from hepgan.production.workers import made_by_workers

__all__ = ["Production", "is_one_file", "plan_for", "produce", "produce_plan"]

MAX_SHARDS = 100_000
"""Files in one folder."""


@dataclass(frozen=True)
class Production:
    """What was written.

    Attributes:
        files: The files with events, in order; of one of several jobs its own. Behind a URL, they are texts.
        fileset: The JSON file that lists them, with their sizes and checksums; of ROOT files, coffea's Runner
            reads it.
        events: Number of events in the files.
        seconds: Time it took.
        made: Number of events that were made; fewer than ``events`` where an earlier run had been stopped.
        kept: Number of files that an earlier run had made.
        sum_of_weights: Of the events; their number where they have no weights.
        efficiency: The share of generated events that fulfil what all of these do, if that was asked for.
        whole: Whether all events of the plan are there, with their fileset; of several jobs the last one
            completes it.
    """

    files: tuple[Any, ...]
    fileset: Any
    events: int
    seconds: float
    made: int
    kept: int = 0
    sum_of_weights: float = math.nan
    efficiency: Efficiency | None = None
    whole: bool = True

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
    client: Any = None,
    part: tuple[int, int] | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> Production:
    """Generates events into one file, or into a folder of shards.

    Files appear under their names when they are whole, the fileset last; an existing sample is there until
    the new one is whole. The same call goes on with a folder where an earlier one has been stopped.

    Args:
        generator: A trained generator.
        n: Number of events.
        output: A file (``.root``, ``.parquet``, ...), or else a folder that gets a file for each
            ``shard_size`` events. The events do not depend on the choice. A folder may be a URL that fsspec
            can write to (``s3://bucket/folder``), where nothing is replaced.
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
        client: The client of a Dask cluster whose workers make the shards, as in :func:`produce_plan`.
        part: The part of the shards that this job makes, as in :func:`produce_plan`.
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
    plan = plan_for(
        generator,
        n,
        output,
        seed=seed,
        condition=condition,
        member=member,
        format=format,
        shard_size=shard_size,
        identifiers=identifiers,
        cross_section=cross_section,
        luminosity=luminosity,
        where=where,
        efficiency=efficiency,
        workers=workers,
    )
    return produce_plan(
        generator,
        plan,
        output,
        condition=condition,
        workers=workers,
        force=force,
        client=client,
        part=part,
        on_progress=on_progress,
    )


@checked
def plan_for(
    generator: EventGenerator,
    n: int,
    output: str | Path,
    *,
    seed: int = 0,
    condition: Mapping[str, Any] | ak.Array | None = None,
    member: int | Literal["all"] | None = None,
    format: Format | None = None,
    shard_size: int = 1_000_000,
    identifiers: bool = True,
    cross_section: float | None = None,
    luminosity: float | None = None,
    where: str | Sequence[str] | None = None,
    efficiency: Efficiency | None = None,
    workers: int | None = None,
) -> Plan:
    """The plan that :func:`produce` would follow with these arguments, which are the same.

    Raises:
        OutputError: If the output names no format, or there would be too many files.
        InputError: As of :func:`produce`.
        ValueError: If a number or the format is out of range.
    """
    n, shard_size, seed = whole("n", n), whole("shard_size", shard_size), whole("seed", seed, 0, SEEDS)
    if workers is not None:
        workers = whole("workers", workers)
    check_lengths(condition, n)
    single = is_one_file(Path(output), format)
    format = format_for(Path(output), format) if single else format or "ttree"
    if not single and n > MAX_SHARDS * shard_size:
        msg = f"{-(-n // shard_size):,} files are more than {MAX_SHARDS:,}: raise --shard-size (shard_size)"
        raise OutputError(msg, file=output)
    return Plan.of(
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
        file=Path(output).name if single else None,
    )


@checked
def produce_plan(
    generator: EventGenerator,
    plan: Plan,
    output: str | Path,
    *,
    condition: Mapping[str, Any] | ak.Array | None = None,
    workers: int | None = None,
    force: bool = False,
    client: Any = None,
    part: tuple[int, int] | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> Production:
    """Makes the events of a plan; the events are the same whatever makes them.

    Args:
        generator: The generator of the plan.
        plan: The plan.
        output: The file, or the folder for its shards.
        condition: The conditions of the plan.
        workers: Threads of this process; as many as there are cores by default.
        force: As of :func:`produce`; several jobs cannot replace a sample.
        client: The client of a Dask cluster (``distributed.Client``), whose workers make the shards, each
            with a thread for each of theirs. They must see the same folder as this process.
        part: ``(12, 400)`` for job 12 of 400, each of which makes its part of the shards, at the same time or
            not. The job that ends last writes the fileset; so does a call without this, which makes what is
            missing, too.
        on_progress: Called with the number of events written so far.

    Returns:
        Where the events are.

    Raises:
        OutputError: As of :func:`produce`; or if the plan is for another generator, or other conditions.
        ValueError: If there is no such part.
    """
    started = time.monotonic()
    if workers is not None:
        workers = whole("workers", workers)
    check_client(client)
    mine = None if part is None else Part.of(*part)
    plan.check(generator, condition)
    if isinstance(output, str) and is_url(output):
        job = _Job(generator, plan, condition, workers, None, on_progress)
        return _production(job, _url(job, output, mine, force=force, client=client), mine, started)
    output = Path(output)
    if plan.file is not None and (client is not None or mine is not None):
        msg = "is one file, which one process writes; several fill a folder, whose name has no ending"
        raise OutputError(msg, file=output)
    if mine is not None and force:
        msg = "several jobs replace no earlier sample: remove it, or choose another folder"
        raise OutputError(msg, file=output)
    job = _Job(generator, plan, condition, workers, client, on_progress)
    if plan.file is not None:
        made = _one_file(job, output, force=force)
    elif mine is not None:
        made = _part(job, output, mine)
    else:
        made = _folder(job, output, force=force)
    return _production(job, made, mine, started)


def _production(job: _Job, made: _Done, part: Part | None, started: float) -> Production:
    plan = job.plan
    events = sum(plan.shard(k).size for k in plan.numbers(part))
    seconds = time.monotonic() - started
    return Production(
        files=tuple(made.files),
        fileset=made.fileset,
        events=events,
        seconds=seconds,
        made=job.made,
        kept=made.kept,
        sum_of_weights=made.weights,
        efficiency=plan.efficiency,
        whole=made.whole,
    )


class _Done(NamedTuple):
    """What is in a folder at the end."""

    files: Sequence[Path | str]
    fileset: Path | str
    kept: int
    weights: float
    whole: bool = True


class _Job:
    """The work of a production: files of its plan, and how many events are done."""

    def __init__(
        self,
        generator: EventGenerator,
        plan: Plan,
        condition: Mapping[str, Any] | ak.Array | None,
        workers: int | None,
        client: Any,
        on_progress: Callable[[int], None] | None,
    ) -> None:
        self.plan, self.made, self.done = plan, 0, 0
        self._generator, self._condition, self._workers = generator, condition, workers
        self._client, self._on_progress = client, on_progress

    def fill(self, folder: ShardFolder | PartFolder | UrlFolder) -> int:
        """Makes what is missing in a folder; the number of files that are there already."""
        self.done = sum(f.events for f in folder.whole.values())
        if self._client is not None and not isinstance(folder, UrlFolder):
            self._by_workers(folder)
        else:
            for numbers in folder.missing:
                self.write(numbers, folder.work, folder.note, folder.arrived)
        return len(folder.whole)

    def _by_workers(self, folder: ShardFolder | PartFolder) -> None:
        made = made_by_workers(
            self._client,
            self._generator,
            self.plan,
            [k for numbers in folder.missing for k in numbers],
            folder.scratch,
            condition=self._condition,
            on_events=self._advance,
        )
        with closing(made):
            for written, path in made:
                folder.take(written, path)

    def write(
        self,
        numbers: range,
        folder: Path,
        before: Callable[[Written], None],
        arrived: Callable[[Written], None] | None = None,
        *,
        force: bool = False,
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
            made = []
            for file in files:
                made.append(file)
                if arrived is not None:
                    arrived(file)
            return made

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


def _one_file(job: _Job, output: Path, *, force: bool) -> _Done:
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
    return _Done([output], fileset, 0, total_weight(made))


def _folder(job: _Job, output: Path, *, force: bool) -> _Done:
    with ShardFolder(output, job.plan, force=force).opened() as folder:
        kept = job.fill(folder)
        files, fileset, weights = folder.finish()
    suffix, names = ENDINGS[job.plan.format][0], {f.name for f in files}
    others = sorted(p.name for p in output.glob(f"*{suffix}") if p.name not in names and p.name[0] != ".")
    if others:
        message = (
            f"{output} holds other files, too ({others[0]}, ...): {output}/*{suffix} is not these events"
        )
        warnings.warn(message, UserWarning, stacklevel=4)
    return _Done(files, fileset, kept, weights)


def _part(job: _Job, output: Path, part: Part) -> _Done:
    with PartFolder(output, job.plan, part).opened() as folder:
        kept = len(job.plan.numbers(part)) if folder.ended else job.fill(folder)
        files, weights = folder.finish()
        return _Done(files, output / FILESET, kept, weights, folder.ended)


def _url(job: _Job, output: str, part: Part | None, *, force: bool, client: Any) -> _Done:
    if job.plan.file is not None:
        msg = "is one file behind a URL: name a folder, without an ending, or write it here and copy it"
        raise OutputError(msg, file=output)
    if force:
        msg = "nothing is replaced behind a URL: remove the earlier sample, or choose another folder"
        raise OutputError(msg, file=output)
    if client is not None:
        msg = "workers of a cluster need a folder that machines share; jobs that share a plan take a URL"
        raise OutputError(msg, file=output)
    with UrlFolder(output, job.plan, part).opened() as folder:
        kept = len(job.plan.numbers(part)) if folder.ended else job.fill(folder)
        files, weights = folder.finish()
        return _Done(files, folder.fileset, kept, weights, folder.ended)
