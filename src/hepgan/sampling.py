"""Events from numbers: the one way by which a trained model makes events, whatever asks for them."""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hepgan.errors import InputError, TrainingError
from hepgan.events import EventBatch
from hepgan.features import DiscreteModel, FeatureBatch, Representation
from hepgan.models import BLOCK, Model, gaussian, uniform

__all__ = ["Conditions", "Sampler"]

MAX_ATTEMPTS = 100
"""How often an event outside the recipe's bounds is drawn anew before generation gives up."""


class Conditions:
    """What is given in generation: the conditions of event number i.

    Args:
        representation: The fitted representation, which encodes them.
        given: A number for all events, or an array with one for each event, by name. Names that are
            missing here follow their distribution in the training events.
        pool: (P, Q) encoded conditions of training events.

    Raises:
        InputError: If a name is not a condition of the model.
    """

    def __init__(self, representation: Representation, given: Mapping[str, Any] | None, pool: Tensor) -> None:
        self._representation, self._pool = representation, pool
        self._given = {name: np.asarray(value, dtype=float) for name, value in (given or {}).items()}
        unknown = set(self._given) - set(representation.conditions)
        if unknown:
            known = ", ".join(representation.conditions) or "none"
            msg = f"{sorted(unknown)[0]!r} is not a condition of this model; it has {known}"
            raise InputError(msg)

    def check(self, events: int) -> None:
        """Sees to it that arrays give a condition to each of the first ``events`` events.

        Raises:
            InputError: If one is too short.
        """
        for name, value in self._given.items():
            if value.ndim and len(value) < events:
                msg = f"condition {name!r} has {len(value):,} numbers for {events:,} events"
                raise InputError(msg)

    def block(self, number: int, draw: Tensor) -> Tensor:
        """(BLOCK, Q) encoded conditions; the uniform numbers ``draw`` (BLOCK,) choose from the pool."""
        pool = self._pool.to(draw.device)
        rows = (draw * len(pool)).long().clamp(max=max(len(pool) - 1, 0))
        drawn = pool[rows] if len(pool) else draw.new_zeros((len(draw), self._representation.condition_size))
        if not self._given:
            return drawn
        values = self._representation.decode_condition(drawn)
        for name, value in self._given.items():
            if value.ndim == 0:
                values[name] = torch.full_like(draw, float(value))
            else:
                event = np.minimum(np.arange(number * BLOCK, (number + 1) * BLOCK), len(value) - 1)
                values[name] = torch.from_numpy(value[event]).to(draw)
        return self._representation.encode_condition(values)


class Sampler:
    """Makes blocks of events; block b holds the events b*BLOCK ... (b+1)*BLOCK - 1 of a seed.

    A block depends on its number and the seed alone. Since a network always sees whole blocks, and each
    block is computed by one thread, the events are the same bit for bit for any number of workers,
    shards and events.

    Args:
        representation: The fitted representation.
        discrete: The fitted model of the discrete part.
        model: The trained model of the continuous part.
        conditions: What is given.
        seed: The seed, 0 <= seed < 2^64.
        device: Where the networks run.
    """

    def __init__(
        self,
        representation: Representation,
        discrete: DiscreteModel,
        model: Model,
        conditions: Conditions,
        *,
        seed: int,
        device: torch.device | str = "cpu",
    ) -> None:
        self.representation, self.discrete, self.model = representation, discrete, model
        self.conditions, self.seed, self.device = conditions, seed, torch.device(device)

    @torch.no_grad()
    def block(self, number: int) -> EventBatch:
        """The events of one block.

        Raises:
            TrainingError: If some events stay outside the recipe's bounds, however often they are drawn.
        """
        noise = _Noise(self.seed, number, self.device)
        condition = self.conditions.block(number, noise.uniform(1, "condition")[:, 0])
        discrete = self.discrete.sample(
            noise.uniform(len(self.representation.variables), "discrete"), condition
        )
        context, mask = self.representation.context(discrete, condition)
        angle = (2 * noise.uniform(1, "azimuth")[:, 0] - 1) * math.pi
        features = FeatureBatch(
            x=context.new_zeros((BLOCK, self.representation.size)),
            mask=mask,
            discrete=discrete,
            condition=condition,
            context=context,
            weight=angle.new_ones(BLOCK),
        )
        azimuth = angle if self.representation.has_azimuth else None
        events = self._events(features, noise, 0, azimuth)
        missing = (~self.representation.valid(events)).nonzero()[:, 0]
        attempt = 0
        while len(missing):
            attempt += 1
            if attempt > MAX_ATTEMPTS:
                msg = (
                    f"{len(missing)} of {BLOCK} events stay outside the recipe's bounds after "
                    f"{MAX_ATTEMPTS} attempts: train longer, or widen features.bounds"
                )
                raise TrainingError(msg)
            again = self._events(
                features[missing], noise, attempt, None if azimuth is None else azimuth[missing], missing
            )
            valid = self.representation.valid(again)
            events = _replace(events, missing[valid], again[valid])
            missing = missing[~valid]
        return events

    def _events(
        self,
        features: FeatureBatch,
        noise: _Noise,
        attempt: int,
        azimuth: Tensor | None,
        rows: Tensor | None = None,
    ) -> EventBatch:
        z = noise.gaussian(self.model.noise_size, attempt)
        if rows is not None:
            z = z[rows]
        mask = features.mask
        x = self.model.sample(z, features.context.to(z.dtype), mask)
        return self.representation.decode(features.with_x(x), azimuth)

    def blocks(self, first: int, last: int, workers: int | None = None) -> Iterator[EventBatch]:
        """The blocks ``first`` ... ``last - 1`` in order, computed by several threads.

        Args:
            first: Number of the first block.
            last: Number after the last block.
            workers: Threads, each with one core; by default one for each core (one on a GPU).
        """
        if self.device.type != "cpu":
            yield from map(self.block, range(first, last))
            return
        count = workers or len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else workers or 1
        threads = torch.get_num_threads()
        pending: deque[Future[EventBatch]] = deque()
        with ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            try:
                for number in range(first, last):
                    pending.append(pool.submit(self.block, number))
                    if len(pending) > 2 * count:
                        yield pending.popleft().result()
                while pending:
                    yield pending.popleft().result()
            finally:
                for future in pending:
                    future.cancel()
                torch.set_num_threads(threads)

    def iterate(
        self, n: int, *, first: int = 0, step: int = 100_000, workers: int | None = None
    ) -> Iterator[EventBatch]:
        """Events ``first`` ... ``first + n - 1``, ``step`` at a time (the last batch may be smaller).

        Raises:
            InputError: If a condition is an array of fewer than ``first + n`` numbers.
        """
        if n <= 0:
            return
        start, stop = first, first + n
        self.conditions.check(stop)
        held: list[EventBatch] = []
        size = 0
        number = start // BLOCK
        for events in self.blocks(number, -(-stop // BLOCK), workers):
            low, high = max(start - number * BLOCK, 0), min(stop - number * BLOCK, BLOCK)
            number += 1
            held.append(events if high - low == BLOCK else events[low:high])
            size += high - low
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

    def gaussian(self, size: int, attempt: int) -> Tensor:
        return gaussian(self._seed, self._block, size, stream=len(self.STREAMS) + attempt).to(self._device)


def _concatenate(batches: list[EventBatch]) -> EventBatch:
    if len(batches) == 1:
        return batches[0]
    return EventBatch.concatenate(batches)


def _replace(events: EventBatch, rows: Tensor, others: EventBatch) -> EventBatch:
    return events.zip_map(others, lambda mine, theirs: mine.index_copy(0, rows, theirs))
