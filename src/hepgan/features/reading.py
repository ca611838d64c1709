"""Events as the parts of a representation read them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

from hepgan.errors import InputError
from hepgan.events.angles import radians
from hepgan.events.batch import EventBatch, Objects
from hepgan.events.missing import is_missing
from hepgan.events.schema import Address, coordinates
from hepgan.features.facts import MOMENTUM, Facts, Mass
from hepgan.vectors.kinematics import Kinematics, azimuth

__all__ = ["Reading", "Refusal", "azimuth_of", "raw_kinematics", "stored_field", "within"]

_BESIDE = ("mass", "energy")


def raw_kinematics(events: EventBatch, collection: str) -> Kinematics:
    """The momenta (N, M) of a collection as they are stored, in float64."""
    objects = events.collections[collection]
    # Where a file has both px and pt, one set is enough, and they may differ by rounding.
    chosen = coordinates(tuple(objects.fields)) or MOMENTUM
    wanted = dict.fromkeys((*chosen, *_BESIDE))
    names = [n for n in wanted if n in objects.fields]
    return Kinematics({n: stored_field(events, collection, n) for n in names})


def stored_field(events: EventBatch, collection: str, name: str) -> Tensor:
    """A field (N, M) of a collection, in float64; azimuths in radians."""
    values = events.collections[collection].fields[name].to(torch.float64)
    return radians(values, events.schema.known(collection, name)) if name == "phi" else values


def azimuth_of(events: EventBatch, objects: Iterable[Address]) -> Tensor:
    """The azimuth (N,) of the summed momentum of some objects."""
    x = y = torch.zeros((), dtype=torch.float64)
    for address in objects:
        k = raw_kinematics(events, address.name)
        slots = slice(None) if address.slot is None else slice(address.slot, address.slot + 1)
        mask = events.collections[address.name].mask
        px, py = (torch.where(mask, k[n], 0.0) for n in ("px", "py"))
        x, y = x + px[:, slots].sum(1), y + py[:, slots].sum(1)
    return azimuth(x, y)


def within(events: EventBatch, bounds: Mapping[str, tuple[float | None, float | None]]) -> Tensor:
    """Which events (N,) are within the bounds with all their objects; coordinates may be derived.

    Args:
        events: N events.
        bounds: Lowest and highest value of fields (``Muon.pt``, ``Jet[0].eta``, ``rho``); None for no limit.
    """
    valid = torch.ones(len(events), dtype=torch.bool, device=events.device)
    for text, (low, high) in bounds.items():
        address = Address.parse(text)
        if address.collection is None:
            values = events.scalars[address.field].unsqueeze(1)
            present = torch.ones_like(values, dtype=torch.bool)
            stored = True
        else:
            objects = events.collections[address.collection]
            stored = address.field in objects.fields
            known = objects.fields if stored else raw_kinematics(events, address.collection)
            slots = slice(None) if address.slot is None else slice(address.slot, address.slot + 1)
            values, present = known[address.field][:, slots], objects.mask[:, slots]
        field = events.schema.known(address.collection, address.field) if stored else None
        if field is not None and field.missing is not None:
            present = present & ~is_missing(values, field.missing)
        inside = torch.ones_like(values, dtype=torch.bool)
        inside = inside if low is None else inside & (values >= low)
        inside = inside if high is None else inside & (values <= high)
        valid = valid & (inside | ~present).all(1)
    return valid


class Refusal:
    """Raises for the first event that cannot be, or notes all of them.

    Args:
        size: The number of events N, to note them; None to raise.
        device: Where the notes are kept.

    Attributes:
        events: (N,) True where an event was refused; None if refusal raises.
    """

    def __init__(self, size: int | None = None, device: torch.device | None = None) -> None:
        self.events = None if size is None else torch.zeros(size, dtype=torch.bool, device=device)

    def __call__(self, wrong: Tensor, error: Callable[[int], InputError]) -> None:
        """Refuses the events (N,) that are wrong.

        Args:
            wrong: Which.
            error: The error for an event's number.
        """
        if self.events is not None:
            self.events |= wrong
        elif bool(wrong.any()):
            raise error(int(wrong.nonzero()[0]))


class Reading:
    """Events to be encoded: momenta in any coordinates, turned to the reference azimuth.

    Args:
        events: The events.
        facts: What is known of them.
        angle: The reference azimuth (N,), or None.
        refuse: What becomes of events that cannot be; an error by default.
        arrangements: Of collections whose objects a part has arranged, what it found: the sizes of nodes'
            first children in trees, or the order in which they are now.
        original: The events as they came, before their objects were put in another order.
    """

    def __init__(
        self,
        events: EventBatch,
        facts: Facts,
        angle: Tensor | None = None,
        refuse: Refusal | None = None,
        arrangements: Mapping[str, Tensor] | None = None,
        original: EventBatch | None = None,
    ) -> None:
        self.events, self.facts, self.angle = events, facts, angle
        self.refuse = Refusal() if refuse is None else refuse
        self.arrangements = dict(arrangements or {})
        self._original = events if original is None else original
        self._kinematics: dict[str, Kinematics] = {}
        self._fingerprint: Tensor | None = None

    def __len__(self) -> int:
        return len(self.events)

    @property
    def device(self) -> torch.device:
        """Where the events are."""
        return self.events.device

    def no_classes(self) -> Tensor:
        """The classes (N, 0) of a part without discrete variables."""
        return torch.zeros(len(self), 0, dtype=torch.int64, device=self.device)

    @property
    def original(self) -> EventBatch:
        """The events as they came, with their objects in the order of the file."""
        return self._original

    def with_objects(self, name: str, objects: Objects, arrangement: Tensor | None = None) -> Reading:
        """The same events with a collection's objects in another order."""
        events = self.events
        changed = EventBatch(events.schema, {**events.collections, name: objects}, events.scalars)
        found = self.arrangements if arrangement is None else {**self.arrangements, name: arrangement}
        return Reading(changed, self.facts, self.angle, self.refuse, found, self._original)

    def there(self, collection: str) -> Tensor:
        """Where (N, M) there is an object."""
        return self.events.collections[collection].mask

    def gated(self, collection: str) -> bool:
        """Whether the collection has places in which some events have no object, and no columns."""
        return collection not in self.facts.padded and not self.facts.collection(collection).fixed

    def mask(self, collection: str) -> Tensor:
        """Where (N, M) an object's columns exist; everywhere if absent objects count as zeros."""
        there = self.there(collection)
        return there if self.gated(collection) else torch.ones_like(there)

    def count(self, collection: str) -> Tensor:
        """The number of objects (N,)."""
        return self.there(collection).sum(1)

    def values(self, collection: str | None, name: str) -> Tensor:
        """A field (N, M), or a scalar (N, 1), as it is to be learned.

        That is as it is stored; but a mass also where it is only implied, and a measurement beside the
        momentum as its deviation from it.
        """
        if collection is None:
            return self.events.scalars[name].unsqueeze(1)
        deviation = self.facts.deviation(collection, name)
        if deviation is not None:
            known = raw_kinematics(self.events, collection).known
            computed = Kinematics({n: v for n, v in known.items() if n != name}).bounded(name)
            return deviation.of(name, stored_field(self.events, collection, name), computed)
        fields = self.events.collections[collection].fields
        if name not in fields or (name == "mass" and collection in self.facts.masses):
            return self.kinematics(collection).bounded(name)
        return fields[name]

    def kinematics(self, collection: str) -> Kinematics:
        """The momenta (N, M); rows of absent objects are meaningless."""
        if collection not in self._kinematics:
            k = raw_kinematics(self.events, collection)
            if self.facts.deviation(collection, "energy") is not None:
                k = k.replaced(energy=None)
            if self.angle is not None:
                k = k.rotated(-self.angle.unsqueeze(1))
            mass = self.facts.masses.get(collection)
            if mass is not None and mass.source != "none":
                k = k.replaced(mass=self._mass(collection, mass, k))
            self._kinematics[collection] = k
        return self._kinematics[collection]

    def _mass(self, collection: str, mass: Mass, k: Kinematics) -> Tensor:
        if mass.source == "table":
            return mass.look_up(self.values(collection, mass.by))
        if mass.source == "fixed":
            return torch.full_like(next(iter(k.known.values())), mass.value)
        if mass.noise is None:
            return k["mass"]
        derived = k.replaced(mass=None).bounded("mass")
        return torch.where(derived**2 > mass.noise * k["energy"] ** 2, derived, 0.0)

    def noise(self, collection: str | None, name: str, slots: tuple[int, ...]) -> Tensor:
        """Numbers (N, S) uniform in (0, 1), which are the same for the same events wherever they stand.

        They follow from all numbers of an event but its weight, in single precision.

        Args:
            collection: What they are for.
            name: The field, or the scalar.
            slots: The S objects.
        """
        keys = [_key(str(Address(collection, slot, name))) for slot in slots]
        return self._drawn(torch.tensor(keys, device=self.device))

    def noise_of(self, name: str, size: int) -> Tensor:
        """Likewise as many numbers (N, size) as a number of the event that has a shape has cells."""
        cells = torch.arange(size, device=self.device)
        return self._drawn(_mixed(cells + _key(str(Address(None, None, name)))))

    def _drawn(self, keys: Tensor) -> Tensor:
        """Numbers (N, K) uniform in (0, 1) for keys (K,)."""
        if self._fingerprint is None:
            self._fingerprint = _fingerprint(self._original)
        keyed = self._fingerprint.unsqueeze(1) + keys
        # 52 bits, and half of the next, so that neither end is reached.
        return ((_mixed(keyed) >> 12 & (1 << 52) - 1).to(torch.float64) + 0.5) * 2.0**-52


def _key(text: str) -> int:
    """A number of 62 bits for a name."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 2


def _mixed(numbers: Tensor) -> Tensor:
    """Integers that look random, one for each of others (the finaliser of SplitMix64).

    Reference: G. Steele, D. Lea and C. Flood, Fast splittable pseudorandom number generators, OOPSLA 2014.
    """
    for shift, factor in ((30, -4658895280553007687), (27, -7723592293110705685)):
        numbers = (numbers ^ (numbers >> shift & (1 << 64 - shift) - 1)) * factor
    return numbers ^ (numbers >> 31 & (1 << 33) - 1)


def _fingerprint(events: EventBatch) -> Tensor:
    """A number (N,) for each event, of all its numbers but the weight."""
    found = torch.zeros(len(events), dtype=torch.int64, device=events.device)
    scalars = {n: v for n, v in events.scalars.items() if n != events.schema.weight}
    for address, values, present in (
        *((Address(None, None, n), v.reshape(len(v), -1), None) for n, v in scalars.items()),
        *(
            (Address(n, None, f), v, o.mask)
            for n, o in events.collections.items()
            for f, v in o.fields.items()
        ),
    ):
        # A zero has one sign.
        bits = (values.detach().to(torch.float32) + 0.0).view(torch.int32).to(torch.int64)
        keys = torch.arange(values.shape[1], device=values.device) + _key(str(address))
        mixed = _mixed(_mixed(keys) + bits)
        found = found + (mixed if present is None else torch.where(present, mixed, 0)).sum(1)
    return found
