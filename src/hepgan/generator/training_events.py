"""The events that a generator learns from, as tensors, one portion after another."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import awkward as ak

from hepgan.errors import InputError, RecipeError
from hepgan.events import EventBatch, EventsLike, check_events, count_events, to_batch
from hepgan.events.checks import drop_faulty
from hepgan.events.divided import LOOK, DividedEvents, Division, numbers_in
from hepgan.events.reading import OnBad, Paths
from hepgan.files import scratch
from hepgan.generator.fitting import derived_of, schema_for, split
from hepgan.generator.yields import Sums, sums
from hepgan.networks.parallel import processes
from hepgan.recipes import Recipe
from hepgan.runtime import progress as working

__all__ = ["TrainingEvents", "reading", "room"]

_CHUNK = 10_000_000
"""Numbers of the events that are read at a time."""


class TrainingEvents:
    """Events for a recipe: those of the first portion, some of which are kept apart, and then the others.

    Args:
        recipe: The recipe.
        events: The events; in portions already where they were too many for memory.
        seed: Rules which event is in which portion, and which are kept apart.

    Raises:
        InputError: If the events cannot be used.
        RecipeError: If the recipe does not fit them.

    Attributes:
        divided: The events in portions.
        prepared: What was made of them, in words.
        derived: What they hold.
        held: Those that are kept apart.
        trained: How many are learned from, of the portions that were taken.
        left_out: How many of later portions are not like any of the first, by reasons.
        sums: Sums over the weights of each portion that was taken; empty without weights.
    """

    def __init__(self, recipe: Recipe, events: EventsLike | DividedEvents, seed: int) -> None:
        making = recipe.events.preparation
        if isinstance(events, DividedEvents):
            self.divided = events
            first = making(events[0])
        else:
            first = making(events)
            number = recipe.training.portions(len(first), partial(numbers_in, first))
            self.divided = DividedEvents(Division(number, seed), first)
        self.prepared = making.told
        schema = schema_for(recipe, first)
        self.derived = derived_of(recipe, schema)
        check_events(first, schema)
        batch = to_batch(first if isinstance(events, DividedEvents) else self.divided[0], schema)
        self.derived.check(batch)
        self._training, held = split(len(batch), recipe.training.validation_fraction, seed)
        if recipe.training.selection is not None and not len(held):
            msg = "training.selection: no events are left to judge by; raise training.validation_fraction"
            raise RecipeError(msg, file=recipe.name)
        self.held, self._first = batch[held], len(batch)
        self.trained = len(self._training)
        self.left_out: dict[str, int] = {}
        self.sums: list[Sums] = []
        self._batch: EventBatch | None = batch
        self._taken, self._dropped = 0, False
        self._weigh(batch)

    def learned(self) -> EventBatch:
        """Those of the first portion that are learned from; once."""
        batch, self._batch = self._batch, None
        if batch is None:
            raise TypeError
        return self.derived.signed(batch[self._training])

    def others(self) -> list[Callable[[], EventBatch]]:
        """What gives the events of each other portion, once."""
        return [partial(self._portion, k) for k in range(1, len(self.divided))]

    def _portion(self, number: int) -> EventBatch:
        events = self.divided[number]
        found, report = drop_faulty(events, self.derived.schema)
        self._taken, self._dropped = number, bool(report)
        for reason, count in report.items():
            self.left_out[reason] = self.left_out.get(reason, 0) + count
        batch = to_batch(found, self.derived.schema)
        self._weigh(batch)
        self.trained += len(batch)
        return self.derived.signed(batch)

    def _weigh(self, batch: EventBatch) -> None:
        if batch.weight is not None:
            self.sums.append(sums(batch.weight))

    def tell(self, unknown: int) -> None:
        """Says how many events are left out, since they are not like any of the first portion.

        Args:
            unknown: How many of those that are like them have a class or a number that none of them has.
        """
        self.trained -= unknown
        if unknown:
            self.left_out["a class that does not occur there, or a number beyond its transform"] = unknown
        if self.left_out:
            reasons = "; ".join(f"{count:,} for {reason}" for reason, count in self.left_out.items())
            message = (
                f"left out {sum(self.left_out.values()):,} of {self.divided.events:,} events, whose like is "
                f"not among the {self._first:,} of the first portion: {reasons}"
            )
            warnings.warn(message, UserWarning, stacklevel=3)

    def placed(self, error: InputError | RecipeError) -> InputError | RecipeError:
        """An error of the portion that was taken last, with the number that its event has among all."""
        entry = error.entry
        if entry is None or self._dropped:
            entry = None
        elif not self._taken:
            entry = int(self._training[entry])
        if entry is not None and len(self.divided) > 1:
            entry = int(self.divided.numbers(self._taken)[entry])
        return type(error)(error.message, file=error.file, branch=error.branch, entry=entry)


@contextmanager
def reading(
    recipe: Recipe,
    paths: Paths,
    *,
    seed: int = 0,
    on_bad: OnBad = "raise",
    beside: str | Path | None = None,
    progress: bool = False,
) -> Iterator[ak.Array | DividedEvents]:
    """The events of files for a recipe: as they are, or in portions if they are more than one.

    Portions are in files of a folder that is gone at the end; so are the encoded events of what is trained
    within.

    Args:
        recipe: The recipe.
        paths: As of ``read_events``.
        seed: Rules which event is in which portion.
        on_bad: As of ``read_events``.
        beside: A file beside which the folder is to be; None for the system's own place.
        progress: Whether to show progress of the reading, if there are several portions.

    Raises:
        InputError: As of ``read_events``.
        RecipeError: If the recipe does not fit the events.
        OutputError: If a portion cannot be written.
    """
    wanted = recipe.events
    making = wanted.preparation
    how: dict[str, Any] = {
        "schema": wanted.layout,
        "branches": recipe.branches,
        "weight": wanted.weight,
        "grids": wanted.grids,
        "on_bad": on_bad,
    }
    size: list[int] = []

    def numbers() -> int:
        with warnings.catch_warnings():
            # They come again.
            warnings.simplefilter("ignore")
            size.append(numbers_in(next(making.iterate(paths, LOOK, **how))))
        return size[0]

    total = count_events(paths)
    number = recipe.training.portions(total, numbers)
    if number == 1:
        yield making.read(paths, **how)
        return
    step = min(max(_CHUNK // (size or [numbers()])[0], 1), total)
    with room(beside) as folder:
        divided = DividedEvents(Division(number, seed), folder=folder)
        with working("reading", total, shown=progress and processes().leads) as advance:
            divided.take(making.iterate(paths, step, **how), advance)
        making.note(divided.attrs)
        yield divided


@contextmanager
def room(beside: str | Path | None) -> Iterator[Path]:
    """A folder for portions, as of ``hepgan.files.scratch``, on each of several processes."""
    # The leading one has what the file's reservation does behind it.
    processes().shared(None)
    with scratch(beside) as folder:
        yield folder
