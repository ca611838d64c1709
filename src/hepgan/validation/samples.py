"""What is gathered of one sample in one pass: histograms of all events, and some events themselves."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import awkward as ak
import hist
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from hepgan.errors import InputError
from hepgan.events.schema import EventSchema
from hepgan.generator.ensembles import MEMBER
from hepgan.observables import Flat, Observable, from_config
from hepgan.stats.metrics import Values, effective_size
from hepgan.validation.members import members_of

__all__ = [
    "GROUPS",
    "Sample",
    "SampleBuilder",
    "empty_histogram",
    "event_weights",
    "fill",
    "flat_values",
    "group_sums",
    "per_event",
    "with_ranges",
]

Floats = NDArray[np.float64]

GROUPS = 10
"""Random groups of the true events, whose halves give the floor of binned metrics."""

_ROUNDING = 1e-6
"""Relative error of a sum of weights for each event that is the same for all."""

_THREADS = min(4, os.cpu_count() or 1)


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
        found = {}
        for name, observable in self.observables.items():
            if observable.weight is None and observable(self.events[:1]).ndim == 1:
                values, event, _, _ = self.values(name)
                found[name] = np.full(len(self.weights), np.nan)
                found[name][event] = values
        return found

    def summary(self) -> dict[str, float | int]:
        """Numbers for the report."""
        return {
            "events": self.n_events,
            "sum_of_weights": self.sum_weights,
            "effective_events": effective_size(self.weights) * self.n_events / max(len(self.weights), 1),
            "events_for_unbinned_metrics": len(self.weights),
            "invalid_values": sum(self.invalid.values()),
        }


class SampleBuilder:
    """Gathers a sample chunk by chunk, in bounded memory.

    Args:
        schema: What the events hold.
        observables: What is histogrammed.
        seed: Seed of the choice of events that are kept.
        max_events: Events kept; each event of the sample has the same chance.
        groups: Whether histograms of random groups are filled, too; if not, those of the members of an
            ensemble, where events have the scalar ``member``.
        source: What errors call the sample.
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
    ) -> None:
        self.schema, self.observables, self.source = schema, dict(observables), source
        self._rng = np.random.default_rng([seed, 0x5A3])
        self._max_events = max_events
        self._histograms = {n: empty_histogram(o) for n, o in self.observables.items()}
        self._random = groups
        self._make_groups(GROUPS if groups else 0)
        self._invalid = dict.fromkeys(self.observables, 0)
        self._n, self._sum, self._last = 0, 0.0, 0
        self._kept: list[tuple[Floats, ak.Array, Floats]] = []
        self._flat: dict[str, Flat] = {}

    def add(self, events: ak.Array, weights: ArrayLike | None = None) -> None:
        """Adds events.

        Args:
            events: The next N events.
            weights: Their weights (N,); by default the schema's weight, or 1.

        Raises:
            InputError: If a weight is not finite.
            ValueError: If there is not one weight for each event.
        """
        w = event_weights(events, self.schema, weights, self.source)
        group = self._rng.integers(GROUPS, size=len(w)) if self._random else self._members(events)
        self._group_sums += group_sums(w, group, self._group_sums.shape[1])
        self._flat = {n: flat_values(o, events) for n, o in self.observables.items()}
        for name, flat in self._flat.items():
            self._invalid[name] += fill(flat, w, self._histograms[name], self._groups.get(name), group)
        self._n += len(w)
        self._last = len(w)
        self._sum += float(w.sum())
        self._kept.append((self._rng.random(len(w)), events, w))
        if sum(len(k) for k, _, _ in self._kept) > 1.5 * self._max_events:
            self._kept = [self._chosen()]

    def _make_groups(self, number: int) -> None:
        split = self.observables if number else {}
        self._groups = {n: empty_histogram(o, groups=number) for n, o in split.items()}
        self._group_sums = np.zeros((2, max(number, 1)))

    def _members(self, events: ak.Array) -> NDArray[np.int64] | None:
        """The member of an ensemble that has made each event; None where events do not tell."""
        member = members_of(events, self.source)
        if member is not None and not self._n and len(member):
            self._make_groups(int(member.max()) + 1)
        if not self._groups:
            return None
        known = self._group_sums.shape[1]
        if member is None or (member >= known).any():
            entry = None if member is None else self._n + int(np.argmax(member >= known))
            msg = f"the first events are of {known} members of an ensemble, and others of none of them"
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
        if not self._n:
            msg = "there are no events to compare"
            raise InputError(msg, file=self.source)
        if not self._sum > 0:
            msg = f"the weights of {self._n} events sum to {self._sum:g}, so there is no distribution"
            raise InputError(msg, file=self.source, branch=self.schema.weight)
        _, events, weights = self._chosen()
        histograms, parts = per_event(self.observables, self._histograms, self._groups, self._group_sums)
        return Sample(
            self.schema,
            self.observables,
            histograms,
            parts if self._random else {},
            self._invalid,
            self._n,
            self._sum,
            events,
            weights,
            self._flat if len(weights) == self._n == self._last else {},
            {} if self._random else parts,
        )


def event_weights(
    events: ak.Array, schema: EventSchema, weights: ArrayLike | None = None, source: str = "events"
) -> Floats:
    """The events' weights (N,): those given, the schema's, or ones."""
    if weights is not None:
        result = np.asarray(weights, dtype=np.float64)
        if result.shape != (len(events),):
            msg = f"weights of shape {result.shape} for {len(events)} events"
            raise ValueError(msg)
    elif schema.weight is not None and schema.weight in ak.fields(events):
        result = np.asarray(ak.to_numpy(events[schema.weight]), dtype=np.float64)
    else:
        result = np.ones(len(events))
    if not np.isfinite(result).all():
        entry = int(np.argmin(np.isfinite(result)))
        msg = f"weight {result[entry]} is not finite"
        raise InputError(msg, file=source, branch=schema.weight, entry=entry)
    return result


def empty_histogram(observable: Observable, *, groups: bool | int = False) -> Any:
    """A histogram for the observable, with Weight storage.

    Args:
        observable: The observable.
        groups: How many groups an axis before shall have, 10 for True; no such axis for 0 and False.
    """
    axes = [observable.axis()]
    if groups:
        number = GROUPS if groups is True else groups
        axes.insert(0, hist.axis.Integer(0, number, name="group", underflow=False, overflow=False))
    return hist.Hist(*axes, storage=hist.storage.Weight(), name=observable.name)


def flat_values(observable: Observable, events: ak.Array) -> Flat:
    """All values (K,) of an observable, with the number of the event and the own weight of each (K,)."""
    values, event, own = observable.flat(events)
    return Flat(
        np.asarray(values, dtype=np.float64),
        np.asarray(event, dtype=np.int64),
        None if own is None else np.asarray(own, dtype=np.float64),
    )


def group_sums(weights: Floats, group: NDArray[np.int64] | None, number: int = GROUPS) -> Floats:
    """Sum of weights and of squared weights (2, number) of events in each group; all in the first if None."""
    group = np.zeros(len(weights), dtype=np.int64) if group is None else group
    return np.stack([np.bincount(group, weights**power, number) for power in (1, 2)])


def per_event(
    observables: Mapping[str, Observable],
    histograms: Mapping[str, Any],
    groups: Mapping[str, Any],
    sums: Floats,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Histograms and groups, with those of weighted observables divided by the number of events.

    Args:
        observables: The observables.
        histograms: Sums over events, by observable.
        groups: The same in random groups.
        sums: Sum of event weights and of squared ones in each group, from `group_sums`.
    """
    weighted = {n for n, o in observables.items() if o.weight is not None}
    whole = sums.sum(axis=1)
    return (
        {n: _over(h, whole[:, None]) if n in weighted else h for n, h in histograms.items()},
        {n: _over(h, sums[:, :, None]) if n in weighted else h for n, h in groups.items()},
    )


def _over(histogram: Any, sums: Floats) -> Any:
    """A histogram per event; NaN for groups without events."""
    result = histogram.copy()
    view = result.view(flow=True)
    total, squares = np.where(sums[0] > 0, sums, np.nan)
    mean = view["value"] / total
    # The number of events is not random: what all events have in common has no variance.
    variance = view["variance"] / total**2 - mean**2 * squares / total**2
    view["value"], view["variance"] = mean, np.maximum(variance, (_ROUNDING * mean) ** 2)
    return result


def fill(
    flat: Flat,
    weights: Floats,
    histogram: Any,
    groups: Any = None,
    group: NDArray[np.int64] | None = None,
) -> int:
    """Fills values with their full weights; returns how many of them are not finite.

    The variance of a bin is the sum over events of the squared sum of their weights in it, since the values
    of one event are not independent.

    Args:
        flat: Values (K,), numbers of events in ascending order (K,), weights (K,) or None.
        weights: Of the events (N,).
        histogram: Receives all values.
        groups: The same with an axis of groups before; receives all values, too.
        group: The group of each event (N,).
    """
    values, event = flat.values, flat.index
    entry_weights = flat.full_weight(weights)
    good = np.isfinite(values) & np.isfinite(entry_weights)
    if not good.all():
        values, event, entry_weights = values[good], event[good], entry_weights[good]
    threads = _THREADS if len(values) > 500_000 else 1
    if isinstance(histogram.axes[0], hist.axis.Integer):
        # A float between two whole numbers belongs to the bin that begins with the lower one.
        values = np.floor(np.clip(values, -(2**31), 2**31 - 1)).astype(np.int64)
    if len(event) > 1 and bool((event[1:] == event[:-1]).any()):
        _fill_by_event(values, event, entry_weights, histogram, groups, group)
    else:
        histogram.fill(values, weight=entry_weights, threads=threads)
        if groups is not None and group is not None:
            groups.fill(group[event], values, weight=entry_weights, threads=threads)
    return int(len(good) - good.sum())


def _fill_by_event(
    values: Any,
    event: NDArray[np.int64],
    weights: Floats,
    histogram: Any,
    groups: Any,
    group: NDArray[np.int64] | None,
) -> None:
    """Fills the sum of each event's weights in a bin as one entry."""
    axis = histogram.axes[0]
    size = axis.extent
    place = np.asarray(axis.index(values)) + int(axis.traits.underflow)
    sums = sparse.csr_array((weights, (event, place)), shape=(int(event[-1]) + 1, size))
    sums.sum_duplicates()
    place, content = sums.indices, sums.data
    view = histogram.view(flow=True)
    for name, power in (("value", 1), ("variance", 2)):
        view[name] += np.bincount(place, content**power, size)
    if groups is not None and group is not None:
        rows = group[: sums.shape[0]].repeat(np.diff(sums.indptr))
        view = groups.view(flow=True)
        for name, power in (("value", 1), ("variance", 2)):
            number = len(view)
            found = np.bincount(rows * size + place, content**power, number * size)
            view[name] += found.reshape(number, size)


def with_ranges(observables: Mapping[str, Any], events: ak.Array) -> dict[str, Observable]:
    """The observables, with bins and ranges that suit the events where they have none.

    Args:
        observables: Observables, or their configurations, by name.
        events: True events.

    Returns:
        Observables whose axes are known; those that no event has are left out if they lack a range.

    Raises:
        RecipeError: If an observable does not fit the events.
    """
    ready: dict[str, Observable] = {}
    for name, given in observables.items():
        observable = given if isinstance(given, Observable) else from_config(given, name)
        if observable.range is None and observable.edges is None:
            values, _, own = flat_values(observable, events)
            if not np.isfinite(values).any():
                continue
            observable = observable.with_range_from(values, own)
        ready[name] = observable
    return ready
