"""What the training events tell about objects: how many there are, their masses, their order."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from hepgan.events.schema import Address, Collection, EventSchema
from hepgan.features.precise import constant
from hepgan.features.variables import NEVER, Gate
from hepgan.vectors.kinematics import wrap

__all__ = ["COMPUTED", "MOMENTUM", "Deviation", "Facts", "Mass", "Places", "fakes_name"]

MOMENTUM = ("px", "py", "pz", "pt", "eta", "phi", "theta", "mass", "energy")
"""Fields that are a momentum's coordinates, where their collection has a momentum."""

COMPUTED = (*MOMENTUM, "p")
"""Fields that follow from a momentum of three components or more."""


class Deviation(NamedTuple):
    """How a measurement of its own differs from the coordinate that follows from the momentum.

    Attributes:
        ratio: Whether it is the logarithm of the ratio, else the difference.
        rounding: Deviations up to this, relative to coordinates above 1, are exactly 0.
    """

    ratio: bool
    rounding: float

    def of(self, name: str, stored: Tensor, computed: Tensor) -> Tensor:
        """The deviation of stored values from computed ones; 0 where there is none to tell."""
        if self.ratio:
            positive = (stored > 0) & (computed > 0)
            deviation = torch.where(positive, stored, 1.0).log() - torch.where(positive, computed, 1.0).log()
            scale = torch.ones_like(computed)
        else:
            deviation = wrap(stored - computed) if name == "phi" else stored - computed
            scale = computed.abs().clamp(min=1.0)
        own = torch.isfinite(deviation) & (deviation.abs() > self.rounding * scale)
        return torch.where(own, deviation, 0.0)

    def apply(self, name: str, computed: Tensor, deviation: Tensor) -> Tensor:
        """The measured values: positive, and angles within their range, whatever the deviation."""
        if self.ratio:
            return computed * deviation.exp()
        values = computed + deviation
        if name == "phi":
            return torch.where(deviation == 0, computed, wrap(values))
        return values.clamp(0.0, math.pi) if name == "theta" else values


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
        keys, values = (constant(v, of.device) for v in (self.keys, self.values))
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
class Facts:
    """What all parts of a representation know of the events.

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
            schema here is the number of places.
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

    def with_places(self, places: Mapping[str, Places]) -> Facts:
        """Those of events whose collections have a place for each given object, and for fakes."""
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

    def address(self, collection: str | None, slot: int, what: str) -> Address:
        """The address of something of an object: ``Muon[0].pt``, or ``MET.pt`` where there is one only."""
        if collection is None or self.collection(collection).layout == "single":
            return Address(collection, None, what)
        return Address(collection, slot, what)

    def count_name(self, name: str) -> str:
        """The name of the variable that counts a collection's objects, which no number of the event has."""
        return f"n{name}" if f"n{name}" not in self.schema.scalar_names else f"{name}:count"

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
        return Gate(self.count_name(name), objects - low, high - low)

    def _place_gate(self, name: str, slot: int) -> Gate | None:
        places = self.places[name]
        if slot < len(places.found):
            if len(places.found[slot]) == 1:
                return None if places.found[slot] == (1,) else NEVER
            return Gate(str(self.address(name, slot, "found")), 1, 1)
        low, high = places.fakes
        needed = slot - len(places.found) + 1
        return None if needed <= low else Gate(fakes_name(name), needed - low, high - low)

    def hangs_on(self, name: str, slot: int) -> tuple[str, int] | None:
        """The variable whose value has to exceed a number for an object to exist; None if it always does."""
        if name not in self.places:
            return None if slot < self.always(name) else (self.count_name(name), slot)
        if self._place_gate(name, slot) is None:
            return None
        number = len(self.places[name].found)
        if slot < number:
            return str(self.address(name, slot, "found")), 0
        return fakes_name(name), slot - number

    def dimensions(self, name: str) -> int:
        """Dimensions of the momentum: 0, 2, 3 or 4."""
        return len(self.collection(name).coordinates)

    def massive(self, name: str) -> bool:
        """Whether the objects have masses."""
        return name in self.masses and self.masses[name].source != "none"

    def momentum_fields(self, name: str) -> tuple[str, ...]:
        """The stored fields that follow from the momentum."""
        names = self.collection(name).field_names
        if self.dimensions(name) == 0:
            return ()
        kept = COMPUTED if self.dimensions(name) > 2 else ("px", "py", "pt", "phi")
        return tuple(n for n in names if n in kept and self.deviation(name, n) is None)

    def computed(self, name: str) -> tuple[str, ...]:
        """The stored fields that follow from others, with which they agree in nearly all objects."""
        coordinates = self.collection(name).coordinates
        kept = [c for c in coordinates if c != "energy" or not self.massive(name)]
        return tuple(f for f in self.momentum_fields(name) if f not in kept)

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


def fakes_name(collection: str) -> str:
    """The name of the variable that counts a detector's objects that belong to none that is given."""
    return f"{collection}:fakes"
