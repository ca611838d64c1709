"""Events from numbers: the one way by which a trained model makes events, whatever asks for them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from enum import IntEnum
from typing import Any, NamedTuple, TypeVar

import awkward as ak
import torch
from torch import Tensor

from hepgan.errors import TrainingError
from hepgan.events import EventBatch
from hepgan.features import FeatureBatch
from hepgan.generator.conditions import Conditions
from hepgan.generator.parts import Parts
from hepgan.models import BLOCK, gaussian, uniform
from hepgan.runtime import cores

__all__ = ["Purpose", "Sampler", "Traced", "draw_within"]

MAX_ATTEMPTS = 100
"""How often an event outside the recipe's bounds or against a rule is drawn anew before an error says so."""

LENIENT = 16
"""How often an event is drawn anew that keeps bounds and rules, but which the training events rule out; and
one with the same discrete part, which may be one that a rule cannot be kept with."""

TRIES = 4096
"""Streams of random numbers that each try for an event has, of which its attempts take some."""

TOLD = 2000
"""Events by which the share of those that are drawn anew is told."""

STUBBORN = 48
"""How often an event outside the bounds is drawn anew before its discrete part is taken for impossible."""

AHEAD = 8
"""Blocks for each worker that may wait to be taken, so that workers go on while a batch is written."""

T = TypeVar("T")


class Purpose(IntEnum):
    """What generated events are for, if not for users, who shall get others unless they ask for these."""

    EVALUATION = 1
    REFINEMENT = 2
    UNFOLDING = 3
    DISTILLATION = 4

    def seed(self, seed: int) -> int:
        """The seed of events for this purpose."""
        return (seed + self * (1 << 61)) % (1 << 64)


class Traced(NamedTuple):
    """Events, and what each of them was made of.

    Attributes:
        events: N events.
        noise: (N, noise_size) what the model made them of.
        given: Their discrete part, conditions and context; the features are not kept.
    """

    events: EventBatch
    noise: Tensor
    given: FeatureBatch


class Sampler:
    """Makes blocks of events; block b holds the events b*BLOCK ... (b+1)*BLOCK - 1 of a seed.

    A block depends on its number and the seed alone. Since a network always sees whole blocks, and each
    block is computed by one thread, the events are the same bit for bit for any number of workers,
    shards and events.

    Event i of an ensemble is that of member i modulo the number of members, so all have equal shares.

    Args:
        parts: What the generator has learned.
        seed: From 0 to 2^64 - 1.
        condition: Conditions as ``EventGenerator.generate`` takes them.
        size: The number of events that arrays of conditions must have values for.
        first: The number of the event that their first values belong to.

    Raises:
        InputError: If a condition is not one of the model's, or not usable.
    """

    def __init__(
        self,
        parts: Parts,
        *,
        seed: int,
        condition: Mapping[str, Any] | ak.Array | None = None,
        size: int = 0,
        first: int = 0,
    ) -> None:
        self.parts, self.seed = parts, seed
        self.conditions = Conditions(parts.representation, condition, parts.pool, size, first)

    def block(self, number: int) -> EventBatch:
        """The events of one block.

        Raises:
            TrainingError: If some events stay outside the recipe's bounds or against its rules, however often
                they are drawn.
        """
        return self.traced(number).events

    @torch.no_grad()
    def traced(self, number: int) -> Traced:
        """The events of one block, and what each of them was made of.

        Raises:
            TrainingError: If some events stay outside the recipe's bounds or against its rules, however often
                they are drawn.
        """
        noise, member = self._noise(number), self._member(number)
        return self._made(noise, self._given(number, noise, member), member)

    @torch.no_grad()
    def candidates(self, number: int, rows: Tensor, tries: range) -> EventBatch:
        """Others for some events of one block, by random numbers of each try's own; try 0 are the events.

        Conditions that are given for an event stay; those that are drawn are drawn anew.

        Args:
            number: The block's number.
            rows: The events of the block (n,).
            tries: The numbers of T tries.

        Returns:
            T * n events: those of the first try, of the second, ...

        Raises:
            TrainingError: As of :meth:`block`.
        """
        noise = _Tries([_Noise(self.seed, number, self.parts.device, one) for one in tries], rows)
        every = self._member(number)
        member = None if every is None else every[rows].repeat(len(tries))
        return self._made(noise, self._given(number, noise, member, rows.repeat(len(tries))), member).events

    def _made(self, noise: _Noise | _Tries, given: FeatureBatch, member: Tensor | None) -> Traced:
        """Events of what is given and of noise."""
        parts = self.parts
        azimuth = None
        if parts.representation.has_azimuth:
            azimuth = parts.azimuth(noise.uniform(1, "azimuth")[:, 0])

        def draw(attempt: int, rows: Tensor | None) -> Tensor:
            return noise.gaussian(parts.model.noise_size, attempt, rows)

        def again(attempt: int, rows: Tensor) -> FeatureBatch:
            drawn = noise.uniform(len(parts.representation.variables), "discrete", attempt, rows)
            kept = given[rows]
            return parts.given(kept.condition, drawn, kept.given, None if member is None else member[rows])

        return Traced(*draw_within(parts, given, draw, azimuth, member, again=again))

    @torch.no_grad()
    def noise(self, number: int) -> tuple[Tensor, FeatureBatch]:
        """The noise (BLOCK, noise_size) of one block's events, and all that is given of them."""
        noise = self._noise(number)
        z = noise.gaussian(self.parts.model.noise_size, 0)
        return z, self._given(number, noise, self._member(number))

    @torch.no_grad()
    def redrawn(self) -> dict[str, float]:
        """The shares of events that are drawn anew: of all, and of those that break each bound or rule.

        Bounds are ``features.bounds`` together; ``reach`` is that of the training events. The first events of
        the seed are looked at; nothing is told where there is nothing to break.
        """
        parts, representation = self.parts, self.parts.representation
        if not (representation.restrictions or representation.learned.reach):
            return {}
        noise, member = self._noise(0), self._member(0)
        given = self._given(0, noise, member)[:TOLD]
        azimuth = parts.azimuth(noise.uniform(1, "azimuth")[:TOLD, 0])
        z = noise.gaussian(parts.model.noise_size, 0)[:TOLD]
        turned = azimuth if representation.has_azimuth else None
        by = None if member is None else member[:TOLD]
        features = parts.features(given, z, by)
        broken = dict(representation.restrictions.broken(parts.decode(features, turned, by)))
        if representation.learned.reach:
            broken["reach"] = ~representation.reaches(features)
        every = {"all": torch.stack(list(broken.values())).any(0), **broken}
        return {name: float(one.to(torch.float64).mean()) for name, one in every.items()}

    def _noise(self, number: int) -> _Noise:
        return _Noise(self.seed, number, self.parts.device)

    def _member(self, number: int) -> Tensor | None:
        """Which member of an ensemble makes each of one block's events (BLOCK,)."""
        members = self.parts.members
        if members == 1:
            return None
        return (number * BLOCK + torch.arange(BLOCK, device=self.parts.device)) % members

    def _given(
        self, number: int, noise: _Noise | _Tries, member: Tensor | None, rows: Tensor | None = None
    ) -> FeatureBatch:
        """The conditions and the discrete part of one block, and what follows from them; features are 0."""
        draws = noise.uniform(self.conditions.draws, "condition")
        condition, objects = self.conditions.block(number, draws, rows)
        uniform = noise.uniform(len(self.parts.representation.variables), "discrete")
        return self.parts.given(condition, uniform, objects, member)

    def part(self, number: int, low: int, high: int) -> EventBatch:
        """The events ``low`` ... ``high - 1`` of one block; errors are those of :meth:`block`."""
        events = self.block(number)
        return events if high - low == BLOCK else events[low:high]

    def blocks(self, first: int, last: int, workers: int | None = None) -> Generator[EventBatch, None, None]:
        """The blocks ``first`` ... ``last - 1`` in order, computed by several threads.

        Args:
            first: Number of the first block.
            last: Number after the last block.
            workers: Threads, each with one core; by default one for each core (one on a GPU).
        """
        return self.mapped(self.block, first, last, workers)

    def mapped(
        self, make: Callable[[int], T], first: int, last: int, workers: int | None
    ) -> Generator[T, None, None]:
        """What ``make`` makes of the numbers ``first`` ... ``last - 1``, in order, in several threads."""
        if self.parts.device.type != "cpu":
            yield from map(make, range(first, last))
            return
        count = min(workers or cores(), last - first)
        # What torch does in a thread of its own is set there; but new threads of others take it over.
        threads = torch.get_num_threads()
        pending: deque[Future[T]] = deque()
        try:
            with ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,)) as pool:
                try:
                    for number in range(first, last):
                        pending.append(pool.submit(make, number))
                        if len(pending) > AHEAD * count:
                            yield pending.popleft().result()
                    while pending:
                        yield pending.popleft().result()
                finally:
                    for future in pending:
                        future.cancel()
        finally:
            torch.set_num_threads(threads)

    def pieces(
        self,
        n: int,
        convert: Callable[[EventBatch], T],
        *,
        first: int = 0,
        workers: int | None = None,
        inference: bool = False,
    ) -> Generator[T, None, None]:
        """Events ``first`` ... ``first + n - 1`` in the pieces in which they are made, a block or less.

        Args:
            n: Number of events.
            convert: What to make of a piece, done by the thread that has just made it: its numbers are in
                that core's cache, and the caller's thread is spared the work.
            first: Number of the first event.
            workers: As in :meth:`blocks`.
            inference: Whether to spare torch's book-keeping, without which no gradient can be had later.
        """
        start, stop = first, first + n

        def made(number: int) -> T:
            with torch.inference_mode(inference):
                low, high = max(start - number * BLOCK, 0), min(stop - number * BLOCK, BLOCK)
                return convert(self.part(number, low, high))

        return self.mapped(made, start // BLOCK, -(-stop // BLOCK), workers)

    def iterate(
        self, n: int, *, first: int = 0, step: int = 100_000, workers: int | None = None
    ) -> Generator[EventBatch, None, None]:
        """Events ``first`` ... ``first + n - 1``, ``step`` at a time (the last batch may be smaller)."""
        held: list[EventBatch] = []
        size = 0
        with closing(self.pieces(n, _same, first=first, workers=workers)) as pieces:
            for events in pieces:
                held.append(events)
                size += len(events)
                while size >= step:
                    whole = _concatenate(held)
                    yield whole[:step]
                    held, size = ([whole[step:]] if size > step else []), size - step
        if size:
            yield _concatenate(held)


def draw_within(
    parts: Parts,
    given: FeatureBatch,
    noise: Callable[[int, Tensor | None], Tensor],
    azimuth: Tensor | None = None,
    member: Tensor | None = None,
    *,
    again: Callable[[int, Tensor], FeatureBatch] | None = None,
    strict: bool = True,
) -> tuple[EventBatch, Tensor, FeatureBatch]:
    """Events with those outside the recipe's bounds or against its rules drawn anew.

    So are those with features beyond the reach of the training events. What is given stays, and the azimuth;
    but an event that has been drawn anew for long gets another discrete part, sooner where there are rules.
    What a poorly trained network cannot but make, though the training events rule it out, is left as it is.

    Args:
        parts: What the generator has learned.
        given: What the N events are conditional on.
        noise: Noise by the number of the attempt and the numbers (n,) of the events, all N if None.
        azimuth: As of :meth:`Parts.draw`.
        member: As of :meth:`Parts.draw`.
        again: What events are conditional on, with another discrete part, by the number of the attempt and
            the numbers (n,) of the events; it stays if None.
        strict: Whether events that stay outside the bounds or against the rules are an error; else they are
            left as they are, after fewer attempts.

    Returns:
        The N events, the noise of each, and what each is conditional on.

    Raises:
        TrainingError: If events stay outside the bounds or against the rules, and that is an error.
    """
    representation, restrictions = parts.representation, parts.representation.restrictions
    z = noise(0, None)
    features = parts.features(given, z, member)
    events = parts.decode(features, azimuth, member)
    if not representation.restricted:
        return events, z, given
    missing = (~(representation.valid(events) & representation.reaches(features))).nonzero()[:, 0]
    stubborn = LENIENT if restrictions.has_rules else STUBBORN
    attempt = 0
    while len(missing):
        attempt += 1
        if attempt == LENIENT + 1:
            missing = missing[~restrictions.kept(events[missing])] if strict else missing[:0]
            continue
        if attempt > MAX_ATTEMPTS:
            raise TrainingError(_given_up(restrictions.broken(events[missing]), len(given)))
        turned, by = (None if t is None else t[missing] for t in (azimuth, member))
        drawn = noise(attempt, missing)
        anew = again is not None and attempt > stubborn
        of = again(attempt, missing) if again is not None and anew else given[missing]
        features = parts.features(of, drawn, by)
        others = parts.decode(features, turned, by)
        if attempt <= LENIENT:
            valid = representation.valid(others) & representation.reaches(features)
        else:
            valid = restrictions.kept(others)
        rows = missing[valid]
        events = _replace(events, rows, others[valid])
        z = z.index_copy(0, rows, drawn[valid])
        given = given.replaced(rows, of[valid]) if anew else given
        missing = missing[~valid]
    return events, z, given


def _given_up(broken: Mapping[str, Tensor], size: int) -> str:
    """What to say of events that break a bound or a rule after all attempts, of ``size`` events."""
    if set(broken) == {"features.bounds"}:
        stay, change = "outside the recipe's bounds", "widen features.bounds"
    else:
        worst = max(broken, key=lambda name: int(broken[name].sum()))
        stay, change = f"against the recipe's rules, most against {worst}", "change features.rules"
    number = int(torch.stack(list(broken.values())).any(0).sum())
    return f"{number} of {size} events stay {stay} after {MAX_ATTEMPTS} attempts: train longer, or {change}"


class _Noise:
    """The random numbers of one block; each use has a stream of its own."""

    STREAMS = ("condition", "discrete", "azimuth")

    def __init__(self, seed: int, block: int, device: torch.device, number: int = 0) -> None:
        self._seed, self._block, self._device, self._first = seed, block, device, number * TRIES

    def uniform(self, size: int, use: str, attempt: int = 0, rows: Tensor | None = None) -> Tensor:
        stream = self._first + self.STREAMS.index(use) + attempt * len(self.STREAMS)
        return uniform(self._seed, self._block, size, stream=stream, rows=rows).to(self._device)

    def gaussian(self, size: int, attempt: int, rows: Tensor | None = None) -> Tensor:
        stream = self._first + len(self.STREAMS) + attempt
        return gaussian(self._seed, self._block, size, stream=stream, rows=rows).to(self._device)


class _Tries:
    """The random numbers of several tries for some events (n,) of a block, one try after another."""

    def __init__(self, tries: list[_Noise], rows: Tensor) -> None:
        self._tries, self._rows = tries, rows

    def uniform(self, size: int, use: str, attempt: int = 0, rows: Tensor | None = None) -> Tensor:
        return torch.cat([t.uniform(size, use, attempt, own) for t, own in self._of(rows)])

    def gaussian(self, size: int, attempt: int, rows: Tensor | None = None) -> Tensor:
        return torch.cat([t.gaussian(size, attempt, own) for t, own in self._of(rows)])

    def _of(self, rows: Tensor | None) -> Iterator[tuple[_Noise, Tensor]]:
        """The tries, with the events of each that are wanted; ``rows`` are in order."""
        size = len(self._rows)
        for k, one in enumerate(self._tries):
            if rows is None:
                yield one, self._rows
            elif len(mine := rows[(rows >= k * size) & (rows < (k + 1) * size)]):
                yield one, self._rows[mine - k * size]


def _same(events: EventBatch) -> EventBatch:
    return events


def _concatenate(batches: list[EventBatch]) -> EventBatch:
    return batches[0] if len(batches) == 1 else EventBatch.concatenate(batches)


def _replace(events: EventBatch, rows: Tensor, others: EventBatch) -> EventBatch:
    return events.zip_map(others, lambda mine, theirs: mine.index_copy(0, rows, theirs))
