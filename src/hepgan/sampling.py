"""Events from numbers: the one way by which a trained model makes events, whatever asks for them."""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import Any, NamedTuple, TypeVar

import awkward as ak
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hepgan._conditions import Constant, Each, Law, read_law
from hepgan._members import DiscreteMembers, decoded_by_member, with_member
from hepgan.errors import InputError, TrainingError
from hepgan.events import EventBatch, check_events, to_batch
from hepgan.features import DiscreteModel, FeatureBatch, Representation
from hepgan.features.bounds import within
from hepgan.models import BLOCK, Ensemble, Model, gaussian, uniform

__all__ = ["Conditions", "Pool", "Sampler", "Traced", "check_lengths"]

MAX_ATTEMPTS = 100
"""How often an event outside the recipe's bounds is drawn anew before generation gives up."""

LENIENT = 16
"""How often an event is drawn anew that is within the bounds, but which the training events rule out."""

AHEAD = 8
"""Blocks for each worker that may wait to be taken, so that workers go on while a batch is written."""

T = TypeVar("T")


class Pool(NamedTuple):
    """Conditions of training events, to draw from where none are given.

    Attributes:
        condition: (P, Q) encoded.
        given: (P, R) the given collections as they are; None if there are none.
    """

    condition: Tensor
    given: Tensor | None = None


class Conditions:
    """What is given in generation: the conditions of event number i.

    Args:
        representation: The fitted representation, which encodes them.
        given: By name a number for all events, an array with one for each event, or a text: values that
            take turns (``10,20,30``), or ``uniform:LOW:HIGH``; of a collection an array with the objects of
            each event, with which all other conditions have to be given, too. Or events that have them all.
            Names that are missing here follow their distribution in the training events.
        pool: The conditions of training events.
        size: The number of events that an array must have values for.
        first: The number of the event that the first values of arrays belong to.

    Raises:
        InputError: If a name is not a condition of the model, or its values are not usable.
    """

    def __init__(
        self,
        representation: Representation,
        given: Mapping[str, Any] | ak.Array | None,
        pool: Pool,
        size: int = 0,
        first: int = 0,
    ) -> None:
        self._representation, self._pool, self._first = representation, pool, first
        self.given: dict[str, Law] = {}
        self._objects: Tensor | None = None
        values = _by_name(given, representation.conditions)
        collections = {n: v for n, v in values.items() if n in representation.given}
        if collections:
            missing = [n for n in representation.conditions if n not in values]
            if missing:
                msg = f"the condition {missing[0]} is missing: collections are given together with all others"
                raise InputError(msg)
            self._objects = _packed(representation, collections, size)
        for name, value in values.items():
            if name in collections:
                continue
            if name not in representation.conditions:
                known = ", ".join(representation.conditions) or "none"
                msg = f"{name!r} is not a condition of this model; it has {known}"
                raise InputError(msg)
            self.given[name] = self._law(name, value, size)
        self._random = [name for name, law in self.given.items() if law.random]

    def _law(self, name: str, value: Any, size: int) -> Law:
        if isinstance(value, str):
            return read_law(name, value, self._representation.schema.scalar(name))
        numbers = self._numbers(name, value, size)
        return Each(numbers) if numbers.ndim else Constant(float(numbers))

    def _numbers(self, name: str, value: Any, size: int) -> NDArray[np.float64]:
        field = self._representation.schema.scalar(name)
        values = np.asarray(value)
        if values.dtype.kind in "US" and field.values is not None:
            known = [str(v) for v in field.values]
            wrong = ~np.isin(values, known)
            if wrong.any():
                msg = (
                    f"the condition {name} cannot be {str(values[wrong].flat[0])!r}; it is {', '.join(known)}"
                )
                raise InputError(msg)
            values = (values[..., None] == np.array(known)).argmax(-1)
        try:
            numbers = values.astype(float)
        except (TypeError, ValueError) as error:
            msg = f"the condition {name} must be a number, or an array of numbers"
            raise InputError(msg) from error
        if numbers.ndim > 1 or (numbers.ndim == 1 and len(numbers) < size):
            msg = f"the condition {name} has the shape {numbers.shape}; expected one number, or {size}"
            raise InputError(msg)
        bad = ~np.isfinite(numbers)
        if bad.any():
            entry = int(bad.argmax()) if numbers.ndim else None
            msg = f"the condition {name} is not a finite number"
            raise InputError(msg, entry=entry)
        return numbers

    @property
    def draws(self) -> int:
        """The uniform numbers per event that :meth:`block` needs."""
        return 1 + len(self._random) if self._representation.conditions else 0

    def block(self, number: int, draws: Tensor) -> tuple[Tensor, Tensor | None]:
        """(BLOCK, Q) encoded conditions, and (BLOCK, R) given collections as they are, if there are some.

        Args:
            number: The block's number.
            draws: Uniform numbers (BLOCK, draws), which choose from the pool.

        Raises:
            InputError: If a value is not one of its category.
        """
        if not self.draws:
            return draws, None
        draw = draws[:, 0]
        rows = (draw * len(self._pool.condition)).long().clamp(max=len(self._pool.condition) - 1)
        drawn = self._pool.condition.to(draw.device)[rows]
        given = None if self._pool.given is None else self._pool.given.to(draw.device)[rows]
        if not self.given and self._objects is None:
            return drawn, given
        values = self._representation.decode_condition(drawn)
        first = number * BLOCK - self._first
        event = np.arange(number * BLOCK, (number + 1) * BLOCK)
        for name, law in self.given.items():
            own = draws[:, 1 + self._random.index(name)] if law.random else draw
            values[name] = law.values(event - self._first if isinstance(law, Each) else event, own)
        if self._objects is not None:
            at = (event - self._first).clip(0, len(self._objects) - 1)
            given = self._objects[torch.from_numpy(at)].to(draw.device)
        try:
            return self._representation.encode_condition(values, BLOCK, given), given
        except InputError as error:
            entry = None if error.entry is None else error.entry + first
            raise InputError(error.message, branch=error.branch, entry=entry) from error


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
        count = min(workers or _cores(), last - first)
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


def _by_name(given: Mapping[str, Any] | ak.Array | None, names: Sequence[str]) -> Mapping[str, Any]:
    """Conditions by name; of events those that are conditions."""
    if isinstance(given, ak.Array):
        missing = [n for n in names if n not in given.fields]
        if missing:
            msg = f"the events have no {missing[0]}, which is a condition of this model"
            raise InputError(msg)
        return {n: given[n] for n in names}
    return given or {}


def _packed(representation: Representation, given: Mapping[str, Any], size: int) -> Tensor:
    """The objects of given collections (N, R), checked.

    Raises:
        InputError: If there are too few events, or some cannot be.
    """
    for name, value in given.items():
        if not isinstance(value, ak.Array) or len(value) < size:
            found = len(value) if hasattr(value, "__len__") else 1
            msg = f"the condition {name} is of {found} events; expected an array with the objects of {size}"
            raise InputError(msg)
    schema = representation.given_schema
    events = ak.zip(dict(given), depth_limit=1)
    check_events(events, schema, weights=False)
    packed = representation.pack(to_batch(events, schema))
    if packed is None:
        raise TypeError(given)
    return packed


def check_lengths(given: Mapping[str, Any] | ak.Array | None, n: int) -> None:
    """Sees to it that conditions that are arrays have a value for each of n events.

    Raises:
        InputError: If one has more or fewer.
    """
    named: Mapping[str, Any] = {"events": given} if isinstance(given, ak.Array) else given or {}
    for name, value in named.items():
        shape = (len(value),) if isinstance(value, ak.Array) else np.shape(value)
        if shape not in ((), (n,)):
            msg = f"the condition {name} has the shape {shape}; expected one number, or {n}"
            raise InputError(msg)


def _cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _same(events: EventBatch) -> EventBatch:
    return events


def _concatenate(batches: list[EventBatch]) -> EventBatch:
    return batches[0] if len(batches) == 1 else EventBatch.concatenate(batches)


def _replace(events: EventBatch, rows: Tensor, others: EventBatch) -> EventBatch:
    return events.zip_map(others, lambda mine, theirs: mine.index_copy(0, rows, theirs))
