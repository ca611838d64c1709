"""Events from numbers: the one way by which a trained model makes events, whatever asks for them."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from hepgan.errors import TrainingError
from hepgan.events import EventBatch
from hepgan.features import FeatureBatch, Representation
from hepgan.features.bounds import within
from hepgan.generator.conditions import Conditions
from hepgan.generator.members import DiscreteMembers, decoded_by_member, with_member
from hepgan.models import BLOCK, Ensemble, Model, gaussian, uniform
from hepgan.models.discrete import DiscreteModel
from hepgan.runtime import cores

__all__ = ["Sampler", "Traced"]

MAX_ATTEMPTS = 100
"""How often an event outside the recipe's bounds is drawn anew before generation gives up."""

LENIENT = 16
"""How often an event is drawn anew that is within the bounds, but which the training events rule out."""

AHEAD = 8
"""Blocks for each worker that may wait to be taken, so that workers go on while a batch is written."""

T = TypeVar("T")


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
        representation: The fitted representation.
        discrete: The fitted model of the discrete part.
        model: The trained model of the continuous part.
        conditions: What is given.
        seed: The seed, 0 <= seed < 2^64.
        device: Where the networks run.
        complete: What adds to decoded events what is computed from them.
        own: Of an ensemble the members' representations.
    """

    def __init__(
        self,
        representation: Representation,
        discrete: DiscreteModel | DiscreteMembers,
        model: Model,
        conditions: Conditions,
        *,
        seed: int,
        device: torch.device | str = "cpu",
        complete: Callable[[EventBatch], EventBatch] | None = None,
        own: Sequence[Representation] = (),
    ) -> None:
        self.complete, self.own = complete, own
        self.representation, self.discrete, self.model = representation, discrete, model
        self.conditions, self.seed, self.device = conditions, seed, torch.device(device)

    def block(self, number: int) -> EventBatch:
        """The events of one block.

        Raises:
            TrainingError: If some events stay outside the recipe's bounds, however often they are drawn.
        """
        return self.traced(number).events

    @torch.no_grad()
    def traced(self, number: int) -> Traced:
        """The events of one block, and what each of them was made of.

        Raises:
            TrainingError: If some events stay outside the recipe's bounds, however often they are drawn.
        """
        noise = _Noise(self.seed, number, self.device)
        member = self._member(number)
        features = self._given(number, noise, member)
        azimuth = None
        if self.representation.has_azimuth:
            azimuth = (2 * noise.uniform(1, "azimuth")[:, 0] - 1) * math.pi
        events, z = self._events(features, noise, 0, azimuth, member)
        if self.representation.restricted:
            events, z = self._bounded(events, z, features, noise, azimuth, member)
        events = events if self.complete is None else self.complete(events)
        return Traced(events if member is None else with_member(events, member), z, features)

    @torch.no_grad()
    def noise(self, number: int) -> tuple[Tensor, FeatureBatch]:
        """The noise (BLOCK, noise_size) of one block's events, and all that is given of them."""
        noise = _Noise(self.seed, number, self.device)
        return noise.gaussian(self.model.noise_size, 0), self._given(number, noise, self._member(number))

    def _member(self, number: int) -> Tensor | None:
        """Which member of an ensemble makes each of one block's events (BLOCK,)."""
        members = self.model.members
        if members == 1:
            return None
        return (number * BLOCK + torch.arange(BLOCK, device=self.device)) % members

    def _given(self, number: int, noise: _Noise, member: Tensor | None) -> FeatureBatch:
        """The conditions and the discrete part of one block, and what follows from them; features are 0."""
        condition, given = self.conditions.block(number, noise.uniform(self.conditions.draws, "condition"))
        known = self.representation.known(given)
        draws = noise.uniform(len(self.representation.variables), "discrete")
        if isinstance(self.discrete, DiscreteMembers):
            if member is None:
                msg = "the discrete parts of an ensemble's members need to know these"
                raise TypeError(msg)
            discrete = self.discrete.sample(draws, condition, member, known)
        else:
            discrete = self.discrete.sample(draws, condition, known)
        context, mask = self.representation.context(discrete, condition)
        return FeatureBatch(
            x=context.new_zeros((BLOCK, self.representation.size)),
            mask=mask,
            discrete=discrete,
            condition=condition,
            context=context,
            weight=context.new_ones(BLOCK),
            given=given,
        )

    def _bounded(
        self,
        events: EventBatch,
        z: Tensor,
        features: FeatureBatch,
        noise: _Noise,
        azimuth: Tensor | None,
        member: Tensor | None,
    ) -> tuple[EventBatch, Tensor]:
        """The events with those outside the bounds drawn anew, and their noise.

        Their discrete part and azimuth are kept.

        What a poorly trained network cannot but make against the training events' rules is left as it is.
        """
        bounds = self.representation.config.bounds
        missing = (~self.representation.valid(events)).nonzero()[:, 0]
        attempt = 0
        while len(missing):
            attempt += 1
            if attempt == LENIENT + 1:
                missing = missing[~within(events[missing], bounds)]
                continue
            if attempt > MAX_ATTEMPTS:
                msg = (
                    f"{len(missing)} of {BLOCK} events stay outside the recipe's bounds after "
                    f"{MAX_ATTEMPTS} attempts: train longer, or widen features.bounds"
                )
                raise TrainingError(msg)
            turned = None if azimuth is None else azimuth[missing]
            by = None if member is None else member[missing]
            again, drawn = self._events(features[missing], noise, attempt, turned, by, missing)
            valid = self.representation.valid(again) if attempt <= LENIENT else within(again, bounds)
            events = _replace(events, missing[valid], again[valid])
            z = z.index_copy(0, missing[valid], drawn[valid])
            missing = missing[~valid]
        return events, z

    def _events(
        self,
        features: FeatureBatch,
        noise: _Noise,
        attempt: int,
        azimuth: Tensor | None,
        member: Tensor | None,
        rows: Tensor | None = None,
    ) -> tuple[EventBatch, Tensor]:
        z = noise.gaussian(self.model.noise_size, attempt, rows)
        context = features.context.to(z.dtype)
        if isinstance(self.model, Ensemble) and member is not None:
            made = features.with_x(self.model.sample(z, context, features.mask, member))
            return decoded_by_member(self.own, made, member, azimuth), z
        x = self.model.sample(z, context, features.mask)
        return self.representation.decode(features.with_x(x), azimuth), z

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
        if self.device.type != "cpu":
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
                events = self.block(number)
                low, high = max(start - number * BLOCK, 0), min(stop - number * BLOCK, BLOCK)
                return convert(events if high - low == BLOCK else events[low:high])

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


class _Noise:
    """The random numbers of one block; each use has a stream of its own."""

    STREAMS = ("condition", "discrete", "azimuth")

    def __init__(self, seed: int, block: int, device: torch.device) -> None:
        self._seed, self._block, self._device = seed, block, device

    def uniform(self, size: int, use: str) -> Tensor:
        return uniform(self._seed, self._block, size, stream=self.STREAMS.index(use)).to(self._device)

    def gaussian(self, size: int, attempt: int, rows: Tensor | None = None) -> Tensor:
        stream = len(self.STREAMS) + attempt
        return gaussian(self._seed, self._block, size, stream=stream, rows=rows).to(self._device)


def _same(events: EventBatch) -> EventBatch:
    return events


def _concatenate(batches: list[EventBatch]) -> EventBatch:
    return batches[0] if len(batches) == 1 else EventBatch.concatenate(batches)


def _replace(events: EventBatch, rows: Tensor, others: EventBatch) -> EventBatch:
    return events.zip_map(others, lambda mine, theirs: mine.index_copy(0, rows, theirs))
