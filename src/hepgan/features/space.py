"""Features of events in tensors, and what a model must know of them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hepgan.events.schema import Address
from hepgan.features.cells import CellList
from hepgan.features.facts import Facts
from hepgan.features.variables import DiscreteVariable

__all__ = [
    "FARTHEST",
    "Classes",
    "Feature",
    "FeatureBatch",
    "FeatureSpace",
    "Grid",
    "Reach",
    "Tokens",
    "find_tokens",
]

Reach = tuple[tuple[float, float], ...]
"""The least and the largest value of each feature."""

FARTHEST = 6.0
"""No normal number that is drawn is larger."""


@dataclass(frozen=True)
class Tokens:
    """Objects of a collection that are encoded alike, so that a network can treat them alike.

    Attributes:
        collection: The collection.
        features: The numbers of each object's features, (objects, features per object).
        context: Likewise the columns of the context with its discrete part, -1 where an object has no such
            column; which say nothing of other objects.
        ordered: Whether the objects descend in some coordinate, so that their places mean something.

    Raises:
        ValueError: If the tables are not of equally many columns for each of two objects or more, or a
            feature is in one twice.
    """

    collection: str
    features: tuple[tuple[int, ...], ...]
    context: tuple[tuple[int, ...], ...] = ()
    ordered: bool = False

    def __post_init__(self) -> None:
        context = self.context or ((),) * len(self.features)
        object.__setattr__(self, "features", tuple(map(tuple, self.features)))
        object.__setattr__(self, "context", tuple(map(tuple, context)))
        shapes = [{len(row) for row in table} for table in (self.features, self.context)]
        flat = [i for row in self.features for i in row]
        sound = len(self.features) == len(self.context) > 1 and [len(s) for s in shapes] == [1, 1]
        if not sound or not flat or len(set(flat)) < len(flat):
            msg = f"{self.collection}: no table of objects: {self.features}, {self.context}"
            raise ValueError(msg)


class Feature(NamedTuple):
    """A feature: its column's address and transform, and whether it is mixed with those of other columns."""

    address: Address
    transform: Any
    mixed: bool


def find_tokens(
    facts: Facts,
    features: Iterable[Feature],
    variables: Sequence[DiscreteVariable],
    places: Callable[[int], tuple[int | None, int | None]],
    given: Mapping[tuple[str, int], Mapping[str, int]] | None = None,
) -> tuple[Tokens, ...]:
    """The objects of each collection that have the same features with the same transforms.

    In an ordered collection the first object has a coordinate where others have its ratio to the one before
    them, so it is not among them. Nor is one that lacks a feature that is constant for it, or solved for.

    Args:
        facts: What is known of the events.
        features: All features in order.
        variables: The discrete variables.
        places: The columns of the context with a variable's value, and with the first of its classes; None
            where there are none.
        given: The columns of the context with what is given of an object's own true one, by the object's
            collection and number, and what they are.
    """
    own: dict[tuple[str, int], dict[tuple[str, str], int]] = {}
    for number, feature in enumerate(features):
        owner = _owner(feature.address)
        if owner is not None and not feature.mixed:
            kind = (feature.address.field, json.dumps(feature.transform, sort_keys=True))
            own.setdefault(owner, {})[kind] = number
    alike: dict[tuple[str, frozenset[tuple[str, str]]], list[int]] = {}
    for (collection, slot), kinds in own.items():
        alike.setdefault((collection, frozenset(kinds)), []).append(slot)
    discrete: dict[tuple[str, int], dict[str, int]] = {}
    for number, variable in enumerate(variables):
        owner = _owner(variable.address)
        if owner is not None:
            discrete.setdefault(owner, {})[variable.address.field] = number
    found = []
    for (collection, _), slots in alike.items():
        slots.sort()
        if len(slots) < 2:
            continue
        columns = sorted(own[collection, slots[0]], key=own[collection, slots[0]].__getitem__)
        table = tuple(tuple(own[collection, s][k] for k in columns) for s in slots)
        context = _context([discrete.get((collection, s), {}) for s in slots], variables, places)
        known = [(given or {}).get((collection, s), {}) for s in slots]
        names = sorted({n for k in known for n in k})
        rows = zip(context, known, strict=True)
        context = tuple((*row, *(k.get(n, -1) for n in names)) for row, k in rows)
        found.append(Tokens(collection, table, context, ordered=collection in facts.orders))
    return tuple(found)


def _owner(address: Address) -> tuple[str, int] | None:
    """The object that a number belongs to, where there can be several."""
    return None if address.collection is None or address.slot is None else (address.collection, address.slot)


def _context(
    objects: Sequence[dict[str, int]],
    variables: Sequence[DiscreteVariable],
    places: Callable[[int], tuple[int | None, int | None]],
) -> tuple[tuple[int, ...], ...]:
    """The columns of objects' variables, by name: the value, then all classes that any of the objects has."""
    rows: list[dict[tuple[str, float | None], int]] = []
    for own in objects:
        row: dict[tuple[str, float | None], int] = {}
        for what, number in own.items():
            value, first = places(number)
            if value is not None:
                row[what, None] = value
            if first is not None:
                row |= {(what, v): first + i for i, v in enumerate(variables[number].values)}
        rows.append(row)
    columns = dict.fromkeys(k for row in rows for k in row)
    return tuple(tuple(row.get(k, -1) for k in columns) for row in rows)


@dataclass(frozen=True)
class Grid:
    """Features that are the cells of an image, for networks that treat neighbours alike.

    The image of an event is ``x[:, first : first + cells]``, with the channel as the slowest index and the
    last axis as the fastest.

    Attributes:
        shape: Cells along each axis.
        channels: Numbers of each cell.
        first: The number of the first feature.
        closed: Of each axis whether its last cell is next to its first, as on a circle; none is if empty.

    Raises:
        ValueError: If there is no cell, or ``closed`` is not of the same axes.
    """

    shape: tuple[int, ...]
    channels: int = 1
    first: int = 0
    closed: tuple[bool, ...] = ()

    def __post_init__(self) -> None:
        closed = tuple(self.closed) or (False,) * len(self.shape)
        object.__setattr__(self, "shape", tuple(self.shape))
        object.__setattr__(self, "closed", closed)
        numbers = (*self.shape, self.channels)
        if not self.shape or min(numbers) < 1 or self.first < 0 or len(closed) != len(self.shape):
            msg = f"no grid of cells: {self.shape}, {self.channels} channels from {self.first}, {closed}"
            raise ValueError(msg)

    @property
    def cells(self) -> int:
        """Its number of features."""
        return self.channels * math.prod(self.shape)


@dataclass(frozen=True)
class Classes:
    """A number of the event that has a few values: a condition, or a discrete variable.

    Attributes:
        name: What recipes call it.
        size: How many values there are.
        first: The number of the first of its columns of 0 and 1 among the conditions; None of a variable.
        variable: The number of the variable; None of a condition.

    Raises:
        ValueError: If it is neither a condition nor a variable, or both.
    """

    name: str
    size: int
    first: int | None = None
    variable: int | None = None

    def __post_init__(self) -> None:
        if (self.first is None) == (self.variable is None):
            msg = f"{self.name} is to be a condition or a variable"
            raise ValueError(msg)

    def of(self, batch: FeatureBatch) -> Tensor:
        """The class (N,) of each event; -1 where it has none."""
        if self.variable is not None:
            return batch.discrete[:, self.variable]
        first = self.first or 0
        return batch.condition[:, first : first + self.size].argmax(1)


@dataclass(frozen=True)
class FeatureSpace:
    """The features of an event, and what is given of them.

    Attributes:
        size: Number of features D.
        context_size: Columns of the context C, which features are conditional on.
        periodic: Numbers of the features that are angles in (-pi, pi].
        tokens: Which features belong to which object, for networks of sets.
        grid: Which features are the cells of an image.
        reach: What each feature may be, by the training events; empty where that is not known.
        classes: Conditions and discrete variables that have a few values.
        cells: Which features are the list of an image's cells.

    Raises:
        ValueError: If a size is negative, the grid has more cells than there are features, or the reach is
            not that of as many features.
    """

    size: int
    context_size: int = 0
    periodic: tuple[int, ...] = ()
    tokens: tuple[Tokens, ...] = ()
    grid: Grid | None = None
    reach: Reach = ()
    classes: tuple[Classes, ...] = ()
    cells: CellList | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "periodic", tuple(self.periodic))
        object.__setattr__(self, "reach", tuple((low, high) for low, high in self.reach))
        object.__setattr__(self, "tokens", tuple(self.tokens))
        if self.size < 0 or self.context_size < 0:
            msg = f"no space of {self.size} features and {self.context_size} columns of context"
            raise ValueError(msg)
        if self.grid is not None and self.grid.first + self.grid.cells > self.size:
            msg = f"a grid of {self.grid.cells} cells from {self.grid.first} in {self.size} features"
            raise ValueError(msg)
        if len(self.reach) not in (0, self.size) or not all(low <= high for low, high in self.reach):
            msg = f"no reach of {self.size} features: {self.reach}"
            raise ValueError(msg)

    def of_noise(self, size: int) -> FeatureSpace:
        """The space of the noise that a model makes these features of, given the same context.

        Where each feature has its noise, its objects and its image do, too; noise has no angles.

        Args:
            size: Noise per event.
        """
        reach = ((-FARTHEST, FARTHEST),) * size if self.reach else ()
        if size != self.size:
            return FeatureSpace(size, self.context_size, reach=reach)
        return FeatureSpace(size, self.context_size, tokens=self.tokens, grid=self.grid, reach=reach)


@dataclass(frozen=True)
class FeatureBatch:
    """N encoded events on one device.

    Attributes:
        x: (N, D) continuous features, standardised; 0 where masked.
        mask: (N, D) bool, True where the feature exists in the event; None if all do.
        discrete: (N, K) int64, the class of each discrete variable; -1 where its object is absent.
        condition: (N, Q) encoded conditions.
        context: (N, C) what the continuous model is conditional on: conditions and the discrete part.
        weight: (N,) event weights, in units of the training events' mean.
        given: (N, R) the numbers of the collections that are given, as they are; None if there are none.
    """

    x: Tensor
    mask: Tensor | None
    discrete: Tensor
    condition: Tensor
    context: Tensor
    weight: Tensor
    given: Tensor | None = None

    def __len__(self) -> int:
        return self.weight.shape[0]

    def __getitem__(self, index: Tensor | slice) -> FeatureBatch:
        """A part of the events, chosen by indices, a mask or a slice."""
        return self.map(lambda t: t[index])

    def map(self, function: Callable[[Tensor], Tensor]) -> FeatureBatch:
        """The same events with a function applied to every tensor."""
        tensors = {f.name: getattr(self, f.name) for f in fields(self)}
        mapped: dict[str, Any] = {n: None if t is None else function(t) for n, t in tensors.items()}
        return FeatureBatch(**mapped)

    def replaced(self, rows: Tensor, others: FeatureBatch) -> FeatureBatch:
        """The same with other events (n) in some rows (n,)."""
        tensors = {f.name: (getattr(self, f.name), getattr(others, f.name)) for f in fields(self)}
        made: dict[str, Any] = {
            n: None if a is None else a.index_copy(0, rows, b) for n, (a, b) in tensors.items()
        }
        return FeatureBatch(**made)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> FeatureBatch:
        """The same events on another device, their floating-point numbers in another precision."""
        return self.map(lambda t: t.to(device, dtype if t.is_floating_point() else t.dtype))

    @classmethod
    def concatenate(cls, parts: Sequence[FeatureBatch]) -> FeatureBatch:
        """The events of several batches of the same features, one after another."""
        columns: dict[str, Any] = {f.name: [getattr(p, f.name) for p in parts] for f in fields(cls)}
        whole: dict[str, Any] = {n: None if v[0] is None else torch.cat(v) for n, v in columns.items()}
        return cls(**whole)

    def with_x(self, x: Tensor) -> FeatureBatch:
        """The same discrete part and conditions with other continuous features."""
        return replace(self, x=x)
