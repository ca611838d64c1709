"""What the training events tell about objects: how many there are, their masses, their order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from hepgan.events.schema import Collection, EventSchema
from hepgan.features.redundant import Deviation

__all__ = [
    "MOMENTUM",
    "NEVER",
    "Column",
    "Gate",
    "Layout",
    "Mass",
    "Places",
    "count_name",
    "fakes_name",
    "found_name",
]

MOMENTUM = ("px", "py", "pz", "pt", "eta", "phi", "theta", "mass", "energy")
"""Fields that are a momentum's coordinates, where their collection has a momentum."""


class Gate(NamedTuple):
    """The classes (both ends included) of a discrete variable with which something exists."""

    variable: str
    low: int
    high: int


NEVER = Gate("", 0, -1)


@dataclass(frozen=True)
class Column:
    """A continuous number before its transform.

    Attributes:
        name: Its name, unique in a representation.
        keys: What a recipe's ``transforms`` may call it.
        low: A value that it never falls below.
        high: A value that it never exceeds.
        gate: When it exists; None if always.
        scale: Size of the numbers that it was computed from, which sets what is rounding.
        rounded: Whether it is an integer with noise, which decoding rounds.
    """

    name: str
    keys: tuple[str, ...]
    low: float | None = None
    high: float | None = None
    gate: Gate | None = None
    scale: float = 0.0
    rounded: bool = False


@dataclass(frozen=True)
class Mass:
    """Where the mass of a collection's objects comes from.

    Attributes:
        source: ``fixed``: a constant; ``table``: a function of another field; ``own``: a number of its own;
            ``none``: there are no masses.
        value: The constant.
        by: The field that determines the mass.
        keys: Values of that field, ascending.
        values: The mass for each.
        noise: m2 / E^2 below which a mass computed from E and p is rounding, and taken as 0.
    """

    source: Literal["fixed", "table", "own", "none"]
    value: float = 0.0
    by: str = ""
    keys: tuple[float, ...] = ()
    values: tuple[float, ...] = ()
    noise: float | None = None

    def look_up(self, of: Tensor) -> Tensor:
        """The masses that belong to values of the determining field (``table`` only)."""
        keys = torch.tensor(self.keys, dtype=torch.float64, device=of.device)
        values = torch.tensor(self.values, dtype=torch.float64, device=of.device)
        return values[torch.searchsorted(keys, of.to(torch.float64)).clamp(max=len(keys) - 1)]


@dataclass(frozen=True)
class Places:
    """How many objects of a detector's collection belong to given objects, and how many to none.

    There is a place for each given object, in their order, and then places for the others, the fakes.

    Attributes:
        of: The collection that is given.
        found: Of each given object the classes that occurred: 1 where it was found, 0 where it was not.
        lost: Of each given object whether it was ever lost where it was there.
        fakes: Smallest and largest number of fakes.
    """

    of: str
    found: tuple[tuple[int, ...], ...]
    lost: tuple[bool, ...]
    fakes: tuple[int, int]

    @property
    def width(self) -> int:
        """The number of places."""
        return len(self.found) + self.fakes[1]


@dataclass(frozen=True)
class Layout:
    """The facts about collections that all blocks share.

    Attributes:
        schema: What the events hold.
        counts: Smallest and largest number of objects, of collections whose number varies and is drawn.
        padded: Collections whose absent objects are zeros (``count: threshold``).
        masses: Where masses come from, for each collection with a three-dimensional momentum.
        orders: The coordinate or field by which a collection's objects descend.
        deviations: How coordinates that are measurements of their own differ from the momentum.
        azimuth: Whether phi is measured from a reference.
        given: Collections that are given instead of generated.
        places: Collections whose objects are a detector's response to given ones. Their ``max_count`` in the
            layout's schema is the number of places.
    """

    schema: EventSchema
    counts: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    padded: tuple[str, ...] = ()
    masses: Mapping[str, Mass] = field(default_factory=dict)
    orders: Mapping[str, str] = field(default_factory=dict)
    deviations: Mapping[str, Mapping[str, Deviation]] = field(default_factory=dict)
    azimuth: bool = False
    given: tuple[str, ...] = ()
    places: Mapping[str, Places] = field(default_factory=dict)

    def with_places(self, places: Mapping[str, Places]) -> Layout:
        """The layout of events whose collections have a place for each given object, and for fakes."""
        if not places:
            return self
        placed = tuple(
            c
            if c.name not in places
            else c.model_copy(update={"layout": "jagged", "min_count": 0, "max_count": places[c.name].width})
            for c in self.schema.collections
        )
        schema = self.schema.model_copy(update={"collections": placed})
        return replace(self, schema=schema, places=dict(places))

    def collection(self, name: str) -> Collection:
        """The collection of that name."""
        return self.schema.collection(name)

    def label(self, name: str, slot: int) -> str:
        """What an object is called: ``Muon[0]``, or ``MET`` where there is one only."""
        return name if self.collection(name).layout == "single" else f"{name}[{slot}]"

    def always(self, name: str) -> int:
        """How many objects every event has room for without a gate."""
        if name in self.places:
            return 0
        return self.counts[name][0] if name in self.counts else self.collection(name).max_count

    def gate(self, name: str, objects: int) -> Gate | None:
        """When a collection has at least so many objects; never if it cannot have them.

        Of a detector's collection, when the last of so many places has an object.
        """
        if name in self.places:
            return self._place_gate(name, objects - 1)
        if objects <= self.always(name):
            return None
        if name not in self.counts:
            return NEVER
        low, high = self.counts[name]
        return Gate(count_name(name), objects - low, high - low)

    def _place_gate(self, name: str, slot: int) -> Gate | None:
        places = self.places[name]
        if slot < len(places.found):
            if len(places.found[slot]) == 1:
                return None if places.found[slot] == (1,) else NEVER
            return Gate(found_name(self.label(name, slot)), 1, 1)
        low, high = places.fakes
        needed = slot - len(places.found) + 1
        return None if needed <= low else Gate(fakes_name(name), needed - low, high - low)

    def hangs_on(self, name: str, slot: int) -> tuple[str, int] | None:
        """The variable whose value has to exceed a number for an object to exist; None if it always does."""
        if name not in self.places:
            return None if slot < self.always(name) else (count_name(name), slot)
        if self._place_gate(name, slot) is None:
            return None
        number = len(self.places[name].found)
        if slot < number:
            return found_name(self.label(name, slot)), 0
        return fakes_name(name), slot - number

    def has_momentum(self, name: str) -> bool:
        """Whether the objects have a momentum, of two dimensions or more."""
        return bool(self.collection(name).coordinates)

    def dimensions(self, name: str) -> int:
        """Dimensions of the momentum: 0, 2, 3 or 4."""
        return len(self.collection(name).coordinates)

    def momentum_fields(self, name: str) -> tuple[str, ...]:
        """The stored fields that follow from the momentum."""
        names = self.collection(name).field_names
        if self.dimensions(name) == 0:
            return ()
        kept = MOMENTUM if self.dimensions(name) > 2 else ("px", "py", "pt", "phi")
        return tuple(n for n in names if n in kept and self.deviation(name, n) is None)

    def deviation(self, name: str, field: str) -> Deviation | None:
        """How a field differs from the coordinate of its name, if that is what is to be learned."""
        return self.deviations.get(name, {}).get(field)

    def plain_fields(self, name: str) -> tuple[str, ...]:
        """The fields to be learned beside the momentum's direction and length.

        The mass may be among them, and coordinates that are measurements of their own.
        """
        momentum = self.momentum_fields(name)
        plain = tuple(n for n in self.collection(name).field_names if n not in momentum)
        own = name in self.masses and self.masses[name].source == "own"
        return (*plain, "mass") if own else plain

    def state(self) -> dict[str, Any]:
        """Everything but the schema, as JSON can hold it."""
        return {
            "counts": {n: list(c) for n, c in self.counts.items()},
            "padded": list(self.padded),
            "masses": {n: asdict(m) for n, m in self.masses.items()},
            "orders": dict(self.orders),
            "deviations": {n: {f: list(d) for f, d in ds.items()} for n, ds in self.deviations.items()},
            "azimuth": self.azimuth,
            "given": list(self.given),
            "places": {n: asdict(p) for n, p in self.places.items()},
        }

    @classmethod
    def from_state(cls, schema: EventSchema, state: Mapping[str, Any]) -> Layout:
        """The inverse of ``state``."""
        masses = {
            n: replace(Mass(**m), keys=tuple(m["keys"]), values=tuple(m["values"]))
            for n, m in state["masses"].items()
        }
        places = {
            n: Places(
                p["of"], tuple(map(tuple, p["found"])), tuple(p["lost"]), (p["fakes"][0], p["fakes"][1])
            )
            for n, p in state.get("places", {}).items()
        }
        layout = cls(
            schema,
            counts={n: (int(c[0]), int(c[1])) for n, c in state["counts"].items()},
            padded=tuple(state["padded"]),
            masses=masses,
            orders=dict(state["orders"]),
            deviations={
                n: {f: Deviation(*d) for f, d in ds.items()} for n, ds in state["deviations"].items()
            },
            azimuth=state["azimuth"],
            given=tuple(state.get("given", ())),
        )
        return layout.with_places(places)


def found_name(label: str) -> str:
    """The name of the variable that tells whether a detector has found an object."""
    return f"{label}.found"


def fakes_name(collection: str) -> str:
    """The name of the variable that counts a detector's objects that belong to none that is given."""
    return f"{collection}:fakes"


def count_name(collection: str) -> str:
    """The name of the variable that counts a collection's objects."""
    return f"n{collection}"
