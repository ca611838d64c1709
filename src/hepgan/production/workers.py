"""Files of a plan that the workers of a Dask cluster make, each whole or not at all, and taken once."""

from __future__ import annotations

import queue
import secrets
import shutil
import statistics
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import awkward as ak

from hepgan.errors import ClusterError, OutputError
from hepgan.generator import EventGenerator
from hepgan.generator.conditions import Conditions, warn_outside
from hepgan.production.cluster import Watch
from hepgan.production.manifest import Written
from hepgan.production.plan import Plan
from hepgan.production.shards import write_shards

__all__ = ["Cargo", "generator_of", "made_by_workers"]

_WAITING = 2
"""Files for each thread of the workers that are with the scheduler; the others wait here."""

_LATE, _SOON = 3.0, 5.0
"""A file is made again elsewhere that takes so many times as long as most, and as many seconds."""

_TELL = 0.5
"""Seconds between what a worker tells of its progress."""

_APPEARS = 20.0
"""Seconds after which a file that another machine has written must be seen here."""


@dataclass
class Cargo:
    """What each worker gets once: all that the files of a plan are made of."""

    model: bytes
    device: str
    plan: Plan
    condition: Mapping[str, Any] | ak.Array | None

    @classmethod
    def of(
        cls, generator: EventGenerator, plan: Plan, condition: Mapping[str, Any] | ak.Array | None
    ) -> Cargo:
        """The cargo of a generator; warns here, once, of conditions that training events did not have."""
        given = Conditions(generator.representation, condition, generator.parts.pool, plan.events, 0).given
        warn_outside(given, generator.parts.condition_ranges, stacklevel=3)
        return cls(generator.to_bytes(), str(generator.parts.device), plan, condition)


@dataclass
class _Made:
    """A file that a worker has made, in its own folder in that of the attempt.

    Attributes:
        written: What is known of it.
        folder: The name of that folder: where a worker was taken for dead, two may make the same attempt.
    """

    written: Written
    folder: str


@dataclass
class _Attempt:
    """A file that a worker is making.

    Attributes:
        number: The number of the file.
        future: What becomes of it.
        folder: Where it is being made.
        begun: When a worker has begun with it, by this process's clock; None if none has.
        events: Number of events that are written.
    """

    number: int
    future: Any
    folder: Path
    begun: float | None = None
    events: int = 0


@dataclass
class _Attempts:
    """The files that are being made, by the names of their tasks."""

    running: dict[str, _Attempt] = field(default_factory=dict)
    finished: dict[int, float] = field(default_factory=dict)
    repeated: set[int] = field(default_factory=set)

    def late(self) -> _Attempt | None:
        """One that takes far longer than most, and which has not been repeated yet."""
        if not self.finished:
            return None
        longest, now = max(_LATE * statistics.median(self.finished.values()), _SOON), time.monotonic()
        for one in self.running.values():
            if one.begun is not None and now - one.begun > longest and one.number not in self.repeated:
                return one
        return None

    @property
    def events(self) -> int:
        """Events that are written in files that are not whole yet; of two attempts, those of the better."""
        best: dict[int, int] = {}
        for one in self.running.values():
            best[one.number] = max(one.events, best.get(one.number, 0))
        return sum(best.values())


def made_by_workers(
    client: Any,
    generator: EventGenerator,
    plan: Plan,
    numbers: Sequence[int],
    scratch: Path,
    *,
    condition: Mapping[str, Any] | ak.Array | None = None,
    on_events: Callable[[int], None] | None = None,
) -> Generator[tuple[Written, Path], None, None]:
    """Lets the workers of a cluster make files of a plan.

    A file whose worker has died is made by another one, and so is one that takes far longer than others. What
    nobody takes is removed.

    Args:
        client: The cluster's client.
        generator: The generator of the plan.
        plan: The plan.
        numbers: The numbers of the files.
        scratch: The folder in which workers make them, each in a folder of its own.
        condition: The conditions of the plan.
        on_events: Called with numbers of events that have been written.

    Yields:
        What is known of each file, and where it is, in the order in which they are whole.

    Raises:
        OutputError: If a file cannot be written, or is not where this process can see it.
        ClusterError: If workers die with a file again and again, or the scheduler is gone.
    """
    if not numbers:
        return
    token = secrets.token_hex(4)
    topic = f"hepgan-{token}"
    cargo = Cargo.of(generator, plan, condition)
    with warnings.catch_warnings():
        # It goes by the scheduler, not from worker to worker alone, so that it outlives each of them.
        warnings.filterwarnings("ignore", "Sending large graph|Large object", UserWarning)
        carried = client.submit(_same, cargo, key=f"hepgan-model-{token}", pure=False)
    done: queue.Queue[Any] = queue.Queue()
    attempts = _Attempts()
    waiting = deque(numbers)
    told, more = 0, False
    watch = Watch(client, "production", "the same command goes on with what is whole")

    def hear(event: tuple[float, Mapping[str, Any]]) -> None:
        one = attempts.running.get(event[1]["key"])
        if one is not None:
            one.events = int(event[1]["events"])
            if not one.events:
                one.begun = time.monotonic()

    def begin(number: int, **where: Any) -> None:
        key = f"hepgan-shard-{number}-{secrets.token_hex(4)}"
        folder = scratch.absolute() / key  # workers are in folders of their own
        folder.mkdir(parents=True)
        future = client.submit(
            _make, carried, number, folder, key, topic, key=key, pure=False, priority=-number, **where
        )
        attempts.running[key] = _Attempt(number, future, folder)
        future.add_done_callback(done.put)

    def tell() -> None:
        nonlocal told, more
        now = sum(plan.shard(k).size for k in attempts.finished) + attempts.events
        if now > told:
            told, before, more = now, told, True
            if on_events is not None:
                on_events(now - before)

    client.subscribe_topic(topic, hear)
    try:
        while len(attempts.finished) < len(numbers):
            threads, more = watch.threads(done=more), False
            while waiting and len(attempts.running) < _WAITING * max(threads, 1):
                begin(waiting.popleft())
            late = None if waiting or len(attempts.running) >= threads else attempts.late()
            if late is not None:
                attempts.repeated.add(late.number)
                begin(late.number, **_elsewhere(client, late.future.key))
            tell()
            with suppress(queue.Empty):
                future = done.get(timeout=0.25)
                one = attempts.running.pop(future.key, None)
                if one is None:
                    continue  # another has been sooner
                try:
                    if future.status == "cancelled":  # the scheduler has lost it
                        watch.check()
                        begin(one.number)
                        continue
                    name = plan.shard(one.number).name
                    made = _result(future, one.folder, scratch.parent / name)
                    path = _seen(one.folder / made.folder / name)
                    begun = one.begun or time.monotonic()
                    attempts.finished[one.number] = time.monotonic() - begun
                    for key in [k for k, a in attempts.running.items() if a.number == one.number]:
                        _drop(attempts.running.pop(key))
                    tell()
                    yield made.written, path
                finally:
                    _drop(one)
    finally:
        with suppress(Exception):
            client.unsubscribe_topic(topic)
        for one in attempts.running.values():
            _drop(one)


def _same(cargo: Cargo) -> Cargo:
    return cargo


# ------------------------------------------------------------------ in the process of the plan


def _elsewhere(client: Any, key: str) -> dict[str, Any]:
    """Other workers than that which has a task, if there are some."""
    with suppress(Exception):
        holders = {w for w, keys in client.processing().items() if key in keys}
        others = [w for w in client.nthreads() if w not in holders]
        if others:
            return {"workers": others, "allow_other_workers": True}
    return {}


def _result(future: Any, folder: Path, path: Path) -> _Made:
    """What a worker has made; errors name the file by its place, not by where it was being made."""
    from distributed import KilledWorker

    try:
        made: _Made = future.result()
    except KilledWorker as error:
        msg = "workers have died again and again while they made it; they may need more memory"
        raise ClusterError(msg, file=path) from error
    except OutputError as error:
        file = path if str(error.file).startswith(str(folder)) else error.file
        raise OutputError(error.message, file=file, branch=error.branch, entry=error.entry) from error
    return made


def _seen(path: Path) -> Path:
    """A file that a worker has made; where machines share folders, it may be seen here a little later."""
    until = time.monotonic() + _APPEARS
    while not path.exists():
        if time.monotonic() > until:
            msg = "a worker has written it, and it is not seen here: machines must share the folder"
            raise OutputError(msg, file=path)
        time.sleep(0.05)
    return path


def _drop(one: _Attempt) -> None:
    """Gives up an attempt; if a worker is at it still, it finds its folder gone at the end."""
    with suppress(Exception):
        one.future.cancel()
    shutil.rmtree(one.folder, ignore_errors=True)


# ------------------------------------------------------------------ in workers

_MOST_GENERATORS = 4

_generators: dict[str, EventGenerator] = {}
_guard = threading.Lock()


def generator_of(cargo: Cargo) -> EventGenerator:
    """The generator of a cargo, which each process makes of it once."""
    with _guard:
        if cargo.plan.model not in _generators:
            while len(_generators) >= _MOST_GENERATORS:
                _generators.pop(next(iter(_generators)))
            # The process of the plan has said it.
            warnings.filterwarnings("ignore", "the condition .* outside the range", UserWarning)
            _generators[cargo.plan.model] = EventGenerator.from_bytes(cargo.model, device=cargo.device)
        return _generators[cargo.plan.model]


def _make(cargo: Cargo, number: int, folder: Path, key: str, topic: str) -> _Made:
    """Makes a file in a folder that nobody else has."""
    from distributed import get_worker

    worker, last, events = get_worker(), time.monotonic(), 0
    worker.log_event(topic, {"key": key, "events": 0})

    def tell(more: int) -> None:
        nonlocal last, events
        events += more
        if time.monotonic() - last > _TELL:
            last = time.monotonic()
            worker.log_event(topic, {"key": key, "events": events})

    own = folder / secrets.token_hex(4)
    try:
        own.mkdir()
    except FileNotFoundError as error:
        msg = "nobody waits for it any more, or this machine does not share the folder"
        raise OutputError(msg, file=folder) from error
    generator = generator_of(cargo)
    cargo.plan.check(generator, cargo.condition)
    (written,) = write_shards(
        generator, cargo.plan, [number], own, condition=cargo.condition, workers=1, on_events=tell
    )
    return _Made(written, own.name)
