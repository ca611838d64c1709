"""What is gathered of one sample in one pass: histograms of all events, and some events themselves."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import awkward as ak
import numpy as np
from numpy.typing import ArrayLike, NDArray

from hepgan.errors import InputError
from hepgan.events import event_weights, schema_of
from hepgan.events.checks import find_faults
from hepgan.events.common import Files, opened
from hepgan.events.schema import EventSchema
from hepgan.generator.ensembles import MEMBER, member_field
from hepgan.observables import Flat, Observable
from hepgan.observables.preparation import Preparation, Reading
from hepgan.stats.metrics import Metric, Values
from hepgan.stats.moments import checked_weights, effective_size
from hepgan.validation.histograms import GROUPS, Histograms, flat_values, per_event

__all__ = [
    "Paths",
    "Portion",
    "Sample",
    "SampleBuilder",
    "Source",
    "Span",
    "Stream",
    "checked_event_weights",
    "members_of",
    "names_of",
]

Floats = NDArray[np.float64]
Integers = NDArray[np.uint64]
Paths = str | Path | Sequence[str | Path]

_COPIES = 0.02
"""Fewer copies of true events may be chance."""


_ODD = 0x9E3779B97F4A7C15
"""An odd number by which a multiplication spreads bits over 64 of them."""


def _marks(table: Floats) -> Integers:
    """A number (N,) for each row of a table (N, M), which rows share that are equal bit by bit, zeros apart.

    Others share it by chance only, once in 2**64 pairs.
    """
    found = np.zeros(len(table), dtype=np.uint64)
    for column in table.T:
        # Adding 0 makes one number of the two zeros.
        found ^= np.ascontiguousarray(column + 0.0).view(np.uint64)
        found *= np.uint64(_ODD)
        found ^= found >> np.uint64(32)
    return found


def _share_within(marks: Integers, others: Integers) -> float:
    return float(np.isin(marks, others).mean())


@dataclass(frozen=True)
class Sample:
    """One sample of events, gathered.

    Attributes:
        schema: What the events hold.
        observables: The observables.
        histograms: One for each observable, of all events; of a weighted one per event.
        groups: The same, split into random groups of events (first axis); only of the reference.
        members: The same, split by the members of an ensemble (first axis); only of generated events that
            tell them.
        invalid: Number of values of each observable that are not finite.
        n_events: Number of all events.
        sum_weights: Their sum of weights.
        events: All events, or a random subset of them where they are many.
        weights: The weights of these.
        flat: Values of observables in the kept events, where they are known already.
    """

    schema: EventSchema
    observables: Mapping[str, Observable]
    histograms: Mapping[str, Any]
    groups: Mapping[str, Any]
    invalid: Mapping[str, int]
    n_events: int
    sum_weights: float
    events: ak.Array
    weights: Floats
    flat: dict[str, Flat] = field(default_factory=dict, repr=False)
    members: Mapping[str, Any] = field(default_factory=dict)

    def values(self, name: str) -> Values:
        """An observable's values in the kept events."""
        if name not in self.flat:
            self.flat[name] = flat_values(self.observables[name], self.events)
        values, event, own = self.flat[name]
        return Values(values, event, self.weights, own)

    @cached_property
    def columns(self) -> dict[str, Floats]:
        """The observables that are one number (or none) an event, over the kept events."""
        # A slice costs as much as there are fields, so that one for each observable would be quadratic.
        first = self.events[:1]
        there = [n for n, o in self.observables.items() if o.per_event(first)]
        return {n: self.values(n).column() for n in there}

    def copied(self, of: Sample) -> Metric | None:
        """The share of events that are also in another sample, number by number, if that is no chance.

        Args:
            of: True events. The floor is the share of one half of them that is in the other half, too.

        Returns:
            The share beside its floor; None where it is not far above that.
        """
        names = [n for n in of.columns if n in self.columns]
        half = len(of.events) // 2
        if not names or not half or not len(self.events):
            return None
        mine, true = (_marks(np.column_stack([s.columns[n] for n in names])) for s in (self, of))
        share, floor = _share_within(mine, true), _share_within(true[:half], true[half:])
        return Metric(share, floor) if share > _COPIES + 3 * floor else None

    def summary(self) -> dict[str, float | int]:
        """Numbers for the report."""
        return {
            "events": self.n_events,
            "sum_of_weights": self.sum_weights,
            "effective_events": effective_size(self.weights) * self.n_events / max(len(self.weights), 1),
            "events_for_unbinned_metrics": len(self.weights),
            "invalid_values": sum(self.invalid.values()),
        }


@dataclass
class Portion:
    """What a chunk of a sample adds to it.

    Attributes:
        histograms: Of the chunk.
        size: Its number of events.
        sum_weights: Their sum of weights.
        keys: A random number of each event (K,) that may be kept; the smallest of the whole sample are.
        events: These events.
        weights: Their weights (K,).
        flat: Values of observables, where all events of the chunk may be kept.
    """

    histograms: Histograms
    size: int
    sum_weights: float
    keys: Floats
    events: ak.Array
    weights: Floats
    flat: dict[str, Flat]


class SampleBuilder:
    """Gathers a sample chunk by chunk, in bounded memory; what a chunk adds may be found elsewhere.

    Args:
        schema: What the events hold.
        observables: What is histogrammed.
        seed: Seed of the choice of events that are kept.
        max_events: Events kept; each event of the sample has the same chance.
        groups: Whether histograms of random groups are filled, too; if not, those of the members of an
            ensemble, where events tell them.
        source: What errors call the sample.
        total: The number of events of the sample, where it is known before.
    """

    def __init__(
        self,
        schema: EventSchema,
        observables: Mapping[str, Observable],
        *,
        seed: int = 0,
        max_events: int = 1_000_000,
        groups: bool = False,
        source: str = "events",
        total: int | None = None,
    ) -> None:
        self.schema, self.observables, self.source = schema, dict(observables), source
        self._seed, self._max_events = seed, max_events
        self._random, self._groups = groups, GROUPS if groups else None
        # So many more that hardly ever fewer are below it than are kept.
        most = max_events + 6 * math.sqrt(max_events) + 20
        self._bar = 1.0 if total is None else min(1.0, most / max(total, 1))
        self._n, self._sum, self._last = 0, 0.0, 0
        self._histograms: Histograms | None = None
        self._kept: list[tuple[Floats, ak.Array, Floats]] = []
        self._flat: dict[str, Flat] = {}

    def begin(self, events: ak.Array) -> None:
        """Finds out by the first events, once, whether events tell the members of an ensemble."""
        if self._groups is None:
            member = members_of(events, self.schema, self.source)
            self._groups = 0 if member is None or not len(member) else int(member.max()) + 1

    def portion(
        self, events: ak.Array, weights: ArrayLike | None = None, *, number: int = 0, before: int = 0
    ) -> Portion:
        """What a chunk adds; it depends on nothing but this, and changes nothing.

        Args:
            events: N events.
            weights: Their weights (N,); by default the schema's weight, or 1.
            number: The number of the chunk.
            before: The number of events in the chunks before it.

        Raises:
            InputError: If a weight is not finite.
            ValueError: If there is not one weight for each event.
        """
        w = self.weights(events, weights, before)
        rng = np.random.default_rng([self._seed, 0x5A3, number])
        group = rng.integers(GROUPS, size=len(w)) if self._random else self._members(events, before)
        flat = {n: flat_values(o, events) for n, o in self.observables.items()}
        found = Histograms(self.observables, self._groups or 0)
        found.fill(flat, w, group)
        keys = rng.random(len(w))
        size, total = len(w), float(w.sum())
        if not (below := keys < self._bar).all():
            keys, events, w, flat = keys[below], ak.to_packed(events[below]), w[below], {}
        return Portion(found, size, total, keys, events, w, flat)

    def weights(self, events: ak.Array, weights: ArrayLike | None = None, before: int = 0) -> Floats:
        """The events' weights (N,): those given, the schema's, or ones; there are others before these.

        Raises:
            InputError: If one is not finite.
            ValueError: If there is not one for each event.
        """
        return checked_event_weights(events, self.schema, weights, self.source, before)

    def take(self, portion: Portion) -> None:
        """Adds what the next chunk adds, in the order of their numbers."""
        if self._histograms is None:
            self._histograms = portion.histograms
        else:
            self._histograms.add(portion.histograms)
        self._n += portion.size
        self._last = portion.size
        self._sum += portion.sum_weights
        self._flat = portion.flat
        self._kept.append((portion.keys, portion.events, portion.weights))
        if sum(len(k) for k, _, _ in self._kept) > 1.5 * self._max_events:
            self._kept = [self._chosen()]

    def _members(self, events: ak.Array, before: int) -> NDArray[np.int64] | None:
        """The member of an ensemble that has made each event; None where events do not tell."""
        if not self._groups:
            return None
        member = members_of(events, self.schema, self.source, before)
        if member is None or (member >= self._groups).any():
            entry = None if member is None else before + int(np.argmax(member >= self._groups))
            msg = f"the first events are of {self._groups} members of an ensemble, and others of none of them"
            raise InputError(msg, file=self.source, branch=MEMBER, entry=entry)
        return member

    def _chosen(self) -> tuple[Floats, ak.Array, Floats]:
        key = np.concatenate([k for k, _, _ in self._kept])
        events = self._kept[0][1] if len(self._kept) == 1 else ak.concatenate([e for _, e, _ in self._kept])
        weights = np.concatenate([w for _, _, w in self._kept])
        if len(key) <= self._max_events:
            return key, events, weights
        rows = np.sort(np.argpartition(key, self._max_events)[: self._max_events])
        return key[rows], ak.to_packed(events[rows]), weights[rows]

    def finish(self) -> Sample:
        """The gathered sample.

        Raises:
            InputError: If there were no events, or their weights do not sum to a positive number.
        """
        found = self._histograms
        if not self._n or found is None:
            msg = "there are no events to compare"
            raise InputError(msg, file=self.source)
        if not self._sum > 0:
            msg = f"the weights of {self._n} events sum to {self._sum:g}, so there is no distribution"
            raise InputError(msg, file=self.source, branch=self.schema.weight)
        _, events, weights = self._chosen()
        histograms, parts = per_event(self.observables, found.whole, found.groups, found.sums)
        return Sample(
            self.schema,
            self.observables,
            histograms,
            parts if self._random else {},
            found.invalid,
            self._n,
            self._sum,
            events,
            weights,
            self._flat if len(weights) == self._n == self._last else {},
            {} if self._random else parts,
        )


def checked_event_weights(
    events: ak.Array,
    schema: EventSchema,
    weights: ArrayLike | None = None,
    source: str = "events",
    first: int = 0,
) -> Floats:
    """The events' weights (N,): those given, the schema's, or ones.

    Args:
        events: N events.
        schema: What they hold.
        weights: Their weights; the schema's if None.
        source: What errors call them.
        first: The number of the first one, for errors.

    Raises:
        InputError: If one is not finite.
        ValueError: If there is not one for each event.
    """
    given = event_weights(events, schema) if weights is None else weights
    result = checked_weights(given, len(events))
    if not np.isfinite(result).all():
        entry = int(np.argmin(np.isfinite(result)))
        msg = f"weight {result[entry]} is not finite"
        raise InputError(msg, file=source, branch=schema.weight, entry=first + entry)
    return result


def members_of(
    events: ak.Array, schema: EventSchema, source: str = "events", first: int = 0
) -> NDArray[np.int64] | None:
    """The member of an ensemble (N,) that has made each of N events; None if they do not tell.

    They tell it in the scalar that generated events have for it, known by its title; other numbers may be
    called ``member``, too.

    Args:
        events: The events.
        schema: What they hold.
        source: What errors call them.
        first: The number of the first event, for errors.

    Raises:
        InputError: If a number is negative.
    """
    if member_field(schema) is None or MEMBER not in ak.fields(events):
        return None
    found = np.asarray(ak.to_numpy(events[MEMBER]), dtype=np.int64)
    if (found < 0).any():
        msg = "the number of a member is negative"
        raise InputError(msg, file=source, branch=MEMBER, entry=first + int(np.argmax(found < 0)))
    return found


@dataclass(frozen=True)
class Span:
    """A chunk of files.

    Attributes:
        number: Its number.
        path: The file, as it was given.
        place: The same for others, who work in other folders.
        tree: Its tree.
        start: The first event of the file.
        stop: The event after the last one.
        before: The number of events in the chunks before it.
    """

    number: int
    path: str
    place: str
    tree: str | None
    start: int
    stop: int
    before: int


@dataclass(frozen=True)
class Source:
    """How the chunks of some files are read, here or in another process.

    Attributes:
        reading: How events are read.
        named: How errors call the files.
    """

    reading: Reading
    named: str

    def read(self, span: Span) -> ak.Array:
        """The events of a chunk.

        Raises:
            InputError: If they cannot be read.
        """
        place, size = (span.place, span.tree), span.stop - span.start
        try:
            (events,) = self.reading.chunks([place], size, entry_start=span.start, entry_stop=span.stop)
        except InputError as error:
            file = None if error.file is None else error.file.replace(span.place, span.path, 1)
            raise InputError(error.message, file=file, branch=error.branch, entry=error.entry) from error
        return events

    def faults(self, events: ak.Array) -> dict[str, int]:
        """Where bad events are kept, their number for each fault (an event counts for its first one)."""
        found: dict[str, int] = {}
        if self.reading.on_bad != "keep":
            return found
        bad = np.zeros(len(events), bool)
        for fault in find_faults(events, schema_of(events), self.named):
            new = int((fault.bad & ~bad).sum())
            if new:
                key = f"{fault.branch} {fault.reason}"
                found[key] = found.get(key, 0) + new
            bad |= fault.bad
        return found


class Stream:
    """The chunks of some files.

    Args:
        files: The files.
        layout: What of them is read.
        step: Events in a chunk.
        preparation: What is made of the events.
        on_bad: Whether events with NaN, E < abs(p) and the like are an error, or judged like others and
            counted in a warning.
        hint: What an error about such events adds.

    Attributes:
        first: The first chunk.
        schema: What the events hold.
        source: How a chunk is read elsewhere.
        faults: With ``keep``, the number of events for each fault (an event counts for its first one).

    Raises:
        InputError: If there are no events, or they cannot be read.
    """

    def __init__(
        self,
        files: Files,
        layout: EventSchema,
        step: int,
        preparation: Preparation,
        *,
        on_bad: Literal["raise", "keep"] = "raise",
        hint: str = "",
    ) -> None:
        self._files, self._step, self._hint = files, step, hint
        with self.hinted():
            self.source = Source(preparation.reading(files, layout, on_bad), files.named)
        self._chunks = self._read()
        self.faults: dict[str, int] = {}
        first = next(self._chunks, None)
        if first is None:
            msg = "there are no events to compare"
            raise InputError(msg, file=files.named)
        self.first: ak.Array = first
        self.schema = schema_of(first)

    @contextmanager
    def hinted(self) -> Iterator[None]:
        """Adds the hint to errors on single events."""
        try:
            yield
        except InputError as error:
            if error.entry is None or not self._hint:
                raise
            message = f"{error.message}; {self._hint}"
            raise InputError(message, file=error.file, branch=error.branch, entry=error.entry) from error

    def _read(self) -> Iterator[ak.Array]:
        with self.hinted():
            yield from self.source.reading.chunks(self._files.places, self._step)

    @cached_property
    def spans(self) -> tuple[Span, ...]:
        """All chunks, as they are read one after another."""
        found: list[Span] = []
        before = 0
        for path, tree in self._files.places:
            with opened(path, tree) as file:
                entries = file.entries
            for start in range(0, entries, self._step):
                stop = min(start + self._step, entries)
                found.append(Span(len(found), path, _absolute(path), tree, start, stop, before))
                before += stop - start
        return tuple(found)

    @property
    def total(self) -> int:
        """The number of events."""
        return sum(span.stop - span.start for span in self.spans)

    def __iter__(self) -> Iterator[tuple[ak.Array, None]]:
        self.count(self.source.faults(self.first))
        yield self.first, None
        for chunk in self._chunks:
            self.count(self.source.faults(chunk))
            yield chunk, None

    def count(self, faults: Mapping[str, int]) -> None:
        """Counts the faults of a chunk."""
        for key, number in faults.items():
            self.faults[key] = self.faults.get(key, 0) + number

    def tell(self, total: int) -> None:
        """Warns of faults in that many events."""
        if self.faults:
            reasons = "; ".join(f"{number} for {reason}" for reason, number in self.faults.items())
            message = (
                f"{self._files.named}: judged {sum(self.faults.values())} of {total} events all the same: "
                f"{reasons}"
            )
            warnings.warn(message, UserWarning, stacklevel=2)


def _absolute(path: str) -> str:
    """A path that others understand, who work in other folders."""
    return path if "://" in path else os.path.abspath(path)


def names_of(paths: Paths) -> list[str]:
    """The files' names as given."""
    return [str(paths)] if isinstance(paths, str | Path) else [str(p) for p in paths]
