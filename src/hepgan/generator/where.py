"""Events that fulfil a condition afterwards: what does not is drawn anew, by random numbers of its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing

import torch
from pydantic import Field as Setting
from torch import Tensor

from hepgan.config import Config
from hepgan.errors import InputError, RecipeError
from hepgan.events import EventBatch, EventSchema
from hepgan.features.rules import as_stored
from hepgan.generator.sampling import Sampler
from hepgan.models import BLOCK
from hepgan.observables import Condition

__all__ = ["LEAST", "MEASURED", "Efficiency", "Selected", "Where", "enough", "measure", "texts", "together"]

LEAST = 1e-4
"""The smallest share of events that may fulfil a condition."""

LOOKED = 200_000
"""Events after which a smaller share is an error; and tries for one event."""

ENOUGH = 20
"""Events that fulfil a condition by which it is known to be possible."""

MEASURED, ROUGHLY = 10_000, 400
"""Events that fulfil a condition by which their share is measured: to 1%, and to 5%."""

FEWEST_ROWS, MOST_TRIES = 64, 256
"""Events of a block that are drawn anew together, and tries for each of them in one call of the network."""


def texts(where: str | Sequence[str] | None) -> tuple[str, ...]:
    """The conditions that a user gives, all of which hold; none if None."""
    if where is None:
        return ()
    return (where,) if isinstance(where, str) else tuple(where)


def together(conditions: Sequence[str]) -> str:
    """Conditions that all hold, as one."""
    return " and ".join(conditions if len(conditions) == 1 else (f"({c})" for c in conditions))


def enough(n: int, *, weighted: bool) -> int:
    """Events by which to measure the share for a production of n; what they weigh depends on it."""
    return min(n, MEASURED if weighted else ROUGHLY)


class Efficiency(Config):
    """The share of generated events that fulfil a condition, with its error.

    Attributes:
        passed: Events that fulfil it.
        tried: Events that were looked at.
    """

    passed: int = Setting(ge=0)
    tried: int = Setting(gt=0)

    @property
    def value(self) -> float:
        """The share."""
        return self.passed / self.tried

    @property
    def error(self) -> float:
        """Its statistical error."""
        return math.sqrt(self.value * (1 - self.value) / self.tried)

    def __str__(self) -> str:
        if not 0 < self.passed < self.tried:
            return f"{100 * self.value:g}%"
        digits = max(0, 1 - math.floor(math.log10(100 * self.error)))
        return f"({100 * self.value:.{digits}f} ± {100 * self.error:.{digits}f})%"


class Where:
    """Conditions of whole events, which are judged by the numbers as files have them.

    Args:
        conditions: They, in the language of observables; all have to hold.
        schema: What the events hold.

    Raises:
        InputError: If one is wrong, or of what the events do not have, or if there is none.
    """

    def __init__(self, conditions: Sequence[str], schema: EventSchema) -> None:
        if not conditions:
            msg = "where: no condition is given"
            raise InputError(msg)
        self.text = together(conditions)
        self._conditions: list[Condition] = []
        for text in conditions:
            try:
                condition = Condition(text)
                condition.check(schema)
            except RecipeError as error:
                msg = f"where {text!r}: {error.message}"
                raise InputError(msg) from None
            if schema.weight is not None and schema.weight in condition.names:
                msg = f"where {text!r}: {schema.weight} is the event weight, which is not generated"
                raise InputError(msg)
            self._conditions.append(condition)
        self._names = frozenset[str]().union(*(c.names for c in self._conditions))

    def __call__(self, events: EventBatch) -> Tensor:
        """Which events (N,) fulfil all of them."""
        rounded = as_stored(events, self._names)
        return torch.stack([condition(rounded) for condition in self._conditions]).all(0)


class Selected(Sampler):
    """Makes blocks of events that all fulfil a condition.

    Event i is the first that fulfils it of tries with random numbers of their own, the first of which is
    event i without the condition. So it depends on its number and the seed alone; and as any event has the
    same chance, its distribution is that of events that fulfil the condition. What is given for event i, and
    of an ensemble its member, stays.

    Args:
        sampler: What makes events.
        where: The condition.

    Raises:
        InputError: If hardly an event fulfils it.
    """

    def __init__(self, sampler: Sampler, where: Where) -> None:
        self.parts, self.seed, self.conditions = sampler.parts, sampler.seed, sampler.conditions
        self.where = where

    def block(self, number: int) -> EventBatch:
        """The events of one block."""
        return self.part(number, 0, BLOCK)

    @torch.no_grad()
    def part(self, number: int, low: int, high: int) -> EventBatch:
        """The events ``low`` ... ``high - 1`` of one block.

        Raises:
            InputError: If an event does not fulfil the condition after all tries.
            TrainingError: As of ``Sampler``.
        """
        events = super().block(number)
        held = self.where(events)
        passed = int(held.sum())
        # Which are drawn anew together follows from the block alone, and those that nobody asks for are not.
        size = min(BLOCK, max(FEWEST_ROWS, 1 << max(passed, 1).bit_length()))
        each = min(MOST_TRIES, BLOCK // (passed + 1) + 1)
        found: list[tuple[Tensor, EventBatch]] = []
        for first in range(low // size * size, high, size):
            missing = (~held[first : first + size]).nonzero()[:, 0] + first
            found += self._found(number, missing, each)
        if found:
            rows = torch.cat([one for one, _ in found])
            others = EventBatch.concatenate([one for _, one in found])
            events = events.zip_map(others, lambda mine, theirs: mine.index_copy(0, rows, theirs))
        return events if high - low == BLOCK else events[low:high]

    def _found(self, number: int, missing: Tensor, each: int) -> Iterator[tuple[Tensor, EventBatch]]:
        """The first tries for events (n,) of a block that fulfil the condition: whose they are, and they."""
        tried = 1
        while (n := len(missing)) > 0:
            if tried > LOOKED:
                event = number * BLOCK + int(missing[0])
                msg = (
                    f"where {self.where.text}: of {tried:,} tries for event {event} none fulfils it: with "
                    "what is given for it, it hardly can"
                )
                raise InputError(msg)
            tries = range(tried, tried + max(1, min(each, BLOCK // n)))
            events = self.candidates(number, missing, tries)
            held = self.where(events).reshape(len(tries), n)
            here = held.any(0).nonzero()[:, 0]
            first = held.to(torch.uint8).argmax(0)[here]
            if len(here):
                yield missing[here], events[first * n + here]
            missing = missing[~held.any(0)]
            tried = tries.stop


def measure(
    sampler: Sampler,
    where: Where,
    n: int,
    *,
    passed: int = ENOUGH,
    workers: int | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> Efficiency:
    """The share of events that fulfil a condition, by the first of a seed and others in their places.

    Args:
        sampler: What makes the events.
        where: The condition.
        n: Their number; more are made where it takes more to know the share.
        passed: How many that fulfil it are looked for.
        workers: Threads.
        on_progress: Called with the number of those found so far, ``passed`` at most.

    Raises:
        InputError: If it is less than ``LEAST``, or nothing can be made of what is given.
    """
    blocks = -(-n // BLOCK)

    def made(number: int) -> tuple[int, int]:
        attempt, block = divmod(number, blocks)
        rows = torch.arange(BLOCK, device=sampler.parts.device)
        if sampler.conditions.by_event:
            rows = rows[: n - block * BLOCK]
        with torch.inference_mode():
            if attempt == 0 and len(rows) == BLOCK:
                events = sampler.block(block)
            else:
                events = sampler.candidates(block, rows, range(attempt, attempt + 1))
            return int(where(events).sum()), len(events)

    found = tried = 0
    # A block has its share at least as soon as the limit is near, so this ends.
    with closing(sampler.mapped(made, 0, math.ceil(passed / LEAST) + LOOKED, workers)) as counts:
        for held, size in counts:
            found, tried = found + held, tried + size
            if on_progress is not None:
                on_progress(min(found, passed))
            if found >= passed:
                break
            if tried >= LOOKED and found < LEAST * tried:
                what = "none fulfils" if not found else f"only {found:,} fulfil{'s' if found == 1 else ''}"
                msg = (
                    f"where {where.text}: of {tried:,} generated events {what} it, less than 1 in "
                    f"{1 / LEAST:,.0f}; train on such events, or give what makes them as a condition"
                )
                raise InputError(msg)
    return Efficiency(passed=found, tried=tried)
