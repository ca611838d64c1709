"""Classes of events in comparisons: which event is of which, and whether classifiers of them transfer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from hepgan.events.schema import Field
from hepgan.observables import parse
from hepgan.observables.table import Table
from hepgan.runtime import doing
from hepgan.stats.convolution import learn_classes
from hepgan.stats.metrics import Once
from hepgan.stats.transfer import Transfer, learn_classes_of_tables, transfer_test
from hepgan.validation.images import chosen_rows, grids_of
from hepgan.validation.samples import Sample

__all__ = ["Classes", "classes_of", "transfers"]

Integers = NDArray[np.int64]

MOST_CLASSES = 10


class Classes(NamedTuple):
    """Which event is of which class.

    Attributes:
        name: The number of the event that tells it.
        values: Its values in the reference, in their order.
        numbers: The place of each kept event's value among them, by sample; -1 for others.
    """

    name: str
    values: tuple[Any, ...]
    numbers: Mapping[str, Integers]

    @property
    def names(self) -> tuple[str, ...]:
        """What the classes are called."""
        return tuple(f"{self.name} = {v}" for v in self.values)


def classes_of(name: str, samples: Mapping[str, Sample]) -> Classes | str:
    """The classes of all samples' events.

    Args:
        name: A number or text of the event.
        samples: The samples by label, with the ``reference``.

    Returns:
        The classes, or why there are none.
    """
    columns: dict[str, Any] = {}
    for label, sample in samples.items():
        known = next((f for f in sample.schema.scalars if f.name == name), None)
        if known is None or known.shape:
            return f"{name} is no number of the {label} events"
        column = sample.events[name]
        columns[label] = np.asarray(ak.to_list(column)) if known.dtype == "string" else ak.to_numpy(column)
    values = np.unique(columns["reference"])
    if not 2 <= len(values) <= MOST_CLASSES:
        return f"{name} has {len(values)} values; two to {MOST_CLASSES} make classes"
    numbers = {}
    for label, column in columns.items():
        place = np.searchsorted(values, column).clip(max=len(values) - 1)
        numbers[label] = np.where(values[place] == column, place, -1).astype(np.int64)
    return Classes(name, tuple(values.tolist()), numbers)


def transfers(
    classes: Classes,
    samples: Mapping[str, Sample],
    label: str,
    fields: Mapping[str, Field],
    seed: int,
    once: Once,
) -> dict[str, Transfer | str]:
    """Whether classifiers of the class transfer: trees of observables, convolutional networks of arrays.

    Args:
        classes: The classes.
        samples: All samples by label: ``reference``, ``train`` if there is one, others.
        label: The generated sample.
        fields: Fields with a shape.
        seed: Seed of the choice of events and of the classifiers.
        once: Keeps classifiers of true events for other samples.

    Returns:
        What was found, or why nothing was, in ``observables`` and, where there are such fields, ``arrays``.
    """
    parts = [n for n in ("reference", label, "train") if n in samples]
    found: dict[str, Transfer | str] = {}
    names = _telling(classes.name, samples["reference"], [samples[n] for n in parts])
    if names:
        doing(f"telling {classes.name} by {len(names)} observables")
        tables = {n: _table(samples[n], names) for n in parts}
        found["observables"] = _tested(
            learn_classes_of_tables, classes, tables, classes.numbers, parts, seed, once
        )
    else:
        found["observables"] = f"needs an observable that is one number an event, besides {classes.name}"
    if fields:
        doing(f"telling {classes.name} by {', '.join(fields)}")
        grids = {n: grids_of(samples[n], fields, seed) for n in parts}
        numbers = {n: classes.numbers[n][chosen_rows(samples[n], fields, seed)] for n in parts}
        found["arrays"] = _tested(learn_classes, classes, grids, numbers, parts, seed, once)
    return found


def _tested(
    learn: Any,
    classes: Classes,
    rows: Mapping[str, Any],
    numbers: Mapping[str, Integers],
    parts: Sequence[str],
    seed: int,
    once: Once,
) -> Transfer | str:
    known = []
    for n in parts:
        there = np.flatnonzero(numbers[n] >= 0)
        known.append((rows[n].take(there), numbers[n][there]))
    reference, generated, *train = known
    return transfer_test(
        learn, reference, generated, train[0] if train else None, classes.values, seed=seed, once=once
    )


def _telling(name: str, reference: Sample, samples: Sequence[Sample]) -> list[str]:
    """The observables of all samples that are one number an event, but for those made of the class itself."""
    found = []
    for n, column in reference.columns.items():
        expression = reference.observables[n].expression
        made = n == name or (expression is not None and name in parse(expression).names)
        if not made and np.isfinite(column).any() and all(n in s.columns for s in samples):
            found.append(n)
    return found


def _table(sample: Sample, names: Sequence[str]) -> Table:
    values = np.column_stack([sample.columns[n] for n in names])
    return Table(tuple(names), np.where(np.isfinite(values), values, np.nan), sample.weights)
