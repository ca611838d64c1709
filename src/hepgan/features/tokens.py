"""Which features belong to which object: what networks of sets need to know."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from hepgan.events.address import Address
from hepgan.features.facts import Facts
from hepgan.features.variables import DiscreteVariable

__all__ = ["Feature", "Tokens", "find_tokens"]


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
        owner = None if variable.address is None else _owner(variable.address)
        if variable.address is not None and owner is not None:
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
