"""Histograms of observables, filled with events chunk by chunk, in one process or in several."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import awkward as ak
import hist
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from hepgan.events import schema_of
from hepgan.observables import Flat, Observable, from_config

__all__ = ["GROUPS", "Histograms", "empty_histogram", "fill", "flat_values", "per_event", "with_ranges"]

Floats = NDArray[np.float64]

GROUPS = 10
"""Random groups of the true events, whose halves give the floor of binned metrics."""

_ROUNDING = 1e-6
"""Relative error of a sum of weights for each event that is the same for all."""

_THREADS = min(4, os.cpu_count() or 1)


class Histograms:
    """Histograms of several observables, and the same of groups of the events.

    What two of them hold, of other events, may be added part by part; :func:`per_event` makes of the sums
    what is compared.

    Args:
        observables: What is histogrammed.
        groups: Number of groups; 0 for none.

    Attributes:
        whole: By observable, a histogram of the weights of all events.
        groups: The same with an axis of groups before; empty without groups.
        sums: (2, groups) sum of weights and of squared weights of the events of each group; of all events
            without groups.
        invalid: Number of values of each observable that are not finite.
    """

    def __init__(self, observables: Mapping[str, Observable], groups: int = 0) -> None:
        self.whole = {n: empty_histogram(o) for n, o in observables.items()}
        self.groups = {n: empty_histogram(o, groups) for n, o in observables.items()} if groups else {}
        self.sums = np.zeros((2, max(groups, 1)))
        self.invalid = dict.fromkeys(observables, 0)

    def fill(self, values: Mapping[str, Flat], weights: Floats, group: NDArray[np.int64] | None) -> None:
        """Fills in N events.

        Args:
            values: The values of each observable.
            weights: Event weights (N,).
            group: The group of each event (N,); None without groups.
        """
        number = np.zeros(len(weights), dtype=np.int64) if group is None else group
        size = self.sums.shape[1]
        self.sums += np.stack([np.bincount(number, weights**power, size) for power in (1, 2)])
        for name, flat in values.items():
            self.invalid[name] += fill(flat, weights, self.whole[name], self.groups.get(name), group)

    def add(self, other: Histograms) -> None:
        """Adds what another one holds, of other events."""
        for name in self.whole:
            self.whole[name] += other.whole[name]
            self.invalid[name] += other.invalid[name]
        for name in self.groups:
            self.groups[name] += other.groups[name]
        self.sums += other.sums


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
    told = all(isinstance(o, Observable) for o in observables.values())
    unit = "GeV" if told else schema_of(events).unit
    for name, given in observables.items():
        observable = given if isinstance(given, Observable) else from_config(given, name, unit=unit)
        if observable.range is None and observable.edges is None:
            values, _, own = flat_values(observable, events)
            try:
                observable = observable.with_range_from(values, own)
            except ValueError:  # no finite values, or none that an axis takes
                continue
        ready[name] = observable
    return ready


def empty_histogram(observable: Observable, groups: int = 0) -> Any:
    """A histogram for the observable, with Weight storage.

    Args:
        observable: The observable.
        groups: How many groups an axis before shall have; no such axis for 0.
    """
    axes = [observable.axis()]
    if groups:
        axes.insert(0, hist.axis.Integer(0, groups, name="group", underflow=False, overflow=False))
    return hist.Hist(*axes, storage=hist.storage.Weight(), name=observable.name)


def flat_values(observable: Observable, events: ak.Array) -> Flat:
    """All values (K,) of an observable, with the number of the event and the own weight of each (K,)."""
    values, event, own = observable.flat(events)
    return Flat(
        np.asarray(values, dtype=np.float64),
        np.asarray(event, dtype=np.int64),
        None if own is None else np.asarray(own, dtype=np.float64),
    )


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
        sums: (2, groups) sum of event weights and of squared ones in each group.
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
