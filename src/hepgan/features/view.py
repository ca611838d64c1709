"""Events as the blocks of a representation read them, and as they write them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from hepgan.events.batch import EventBatch, Objects
from hepgan.events.schema import Collection, EventSchema, coordinates
from hepgan.features.config import Reference
from hepgan.features.layout import MOMENTUM, Layout, Mass
from hepgan.features.refusal import Refusal
from hepgan.vectors.kinematics import Kinematics

__all__ = ["Builder", "View", "azimuth_of", "raw_kinematics"]


def raw_kinematics(events: EventBatch, collection: str) -> Kinematics:
    """The momenta (N, M) of a collection as they are stored, in float64; M is 1 for a single object."""
    objects = events.collections[collection]
    # Where a file has both px and pt, one set is enough, and they may differ by rounding.
    chosen = coordinates(tuple(objects.fields)) or MOMENTUM
    wanted = dict.fromkeys((*chosen, *_BESIDE))
    names = [n for n in wanted if n in objects.fields]
    return Kinematics({n: stored_field(events, collection, n) for n in names})


def stored_field(events: EventBatch, collection: str, name: str) -> Tensor:
    """A field (N, M) of a collection, in float64; M is 1 for a single object."""
    return events.collections[collection][name].to(torch.float64)


def azimuth_of(events: EventBatch, references: Iterable[Reference]) -> Tensor:
    """The azimuth (N,) of the summed momentum of some objects."""
    x = y = torch.zeros((), dtype=torch.float64)
    for reference in references:
        k = raw_kinematics(events, reference.name)
        slots = slice(None) if reference.slot is None else slice(reference.slot, reference.slot + 1)
        mask = events.collections[reference.name].mask
        px, py = (torch.where(mask, k[n], 0.0) for n in ("px", "py"))
        x, y = x + px[:, slots].sum(1), y + py[:, slots].sum(1)
    # The gradient of atan2 at the origin is NaN; given objects may be none.
    nowhere = (x == 0) & (y == 0)
    return torch.atan2(y, torch.where(nowhere, 1.0, x))


TIE = 1e-12

_BESIDE = ("mass", "energy")


class View:
    """Events to be encoded: momenta in any coordinates, turned to the reference azimuth.

    Args:
        events: The events.
        layout: What is known of them.
        angle: The reference azimuth (N,), or None.
        trees: Of collections whose objects are the leaves of a tree, the sizes of the nodes' first children.
        refuse: What becomes of events that cannot be; an error by default.
    """

    def __init__(
        self,
        events: EventBatch,
        layout: Layout,
        angle: Tensor | None = None,
        trees: Mapping[str, Tensor] | None = None,
        refuse: Refusal | None = None,
    ) -> None:
        self.events, self.layout, self.angle = events, layout, angle
        self.trees = dict(trees or {})
        self.refuse = Refusal() if refuse is None else refuse
        self._kinematics: dict[str, Kinematics] = {}

    def __len__(self) -> int:
        return len(self.events)

    @property
    def device(self) -> torch.device:
        """Where the events are."""
        return self.events.device

    def with_events(self, events: EventBatch, trees: Mapping[str, Tensor]) -> View:
        """The same events with objects in another order, that of trees' leaves."""
        return View(events, self.layout, self.angle, trees, self.refuse)

    def with_collection(self, name: str, objects: Objects) -> View:
        """The same events with other objects in a collection."""
        events = self.events
        changed = EventBatch(events.schema, {**events.collections, name: objects}, events.scalars)
        return View(changed, self.layout, self.angle, self.trees, self.refuse)

    def mask(self, collection: str) -> Tensor | None:
        """Where there is an object (N, M); None if everywhere, or if absent objects count as zeros."""
        if collection in self.layout.padded or self.layout.collection(collection).fixed:
            return None
        return self.events.collections[collection].mask

    def count(self, collection: str) -> Tensor:
        """The number of objects (N,)."""
        return self.events.collections[collection].mask.sum(1)

    def values(self, collection: str | None, name: str) -> Tensor:
        """A field (N, M), or a scalar (N, 1), as it is to be learned.

        That is as it is stored; but a mass also where it is only implied, and a measurement beside the
        momentum as its deviation from it.
        """
        if collection is None:
            return self.events.scalars[name].unsqueeze(1)
        deviation = self.layout.deviation(collection, name)
        if deviation is not None:
            known = raw_kinematics(self.events, collection).known
            computed = Kinematics({n: v for n, v in known.items() if n != name}).bounded(name)
            return deviation.of(name, stored_field(self.events, collection, name), computed)
        fields = self.events.collections[collection].fields
        if name not in fields or (name == "mass" and collection in self.layout.masses):
            return self.kinematics(collection).bounded(name)
        return fields[name]

    def kinematics(self, collection: str) -> Kinematics:
        """The momenta (N, M); rows of absent objects are meaningless."""
        if collection not in self._kinematics:
            k = raw_kinematics(self.events, collection)
            if self.layout.deviation(collection, "energy") is not None:
                k = k.replaced(energy=None)
            if self.angle is not None:
                k = k.rotated(-self.angle.unsqueeze(1))
            mass = self.layout.masses.get(collection)
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


class Builder:
    """Events in the making: blocks put in momenta and numbers, ``build`` makes the batch.

    Args:
        layout: What is known of the events.
        size: The number of events N.
        device: The device.
        azimuth: What to turn the events by (N,), or None.
        counts: The number of objects (N,), for collections in which it varies.
        schema: What the events are to hold; the layout's schema if None.
        given: Collections that are given.
    """

    def __init__(
        self,
        layout: Layout,
        size: int,
        device: torch.device,
        azimuth: Tensor | None,
        counts: Mapping[str, Tensor],
        schema: EventSchema | None = None,
        given: Mapping[str, Objects] | None = None,
    ) -> None:
        self.layout, self.size, self.device, self.azimuth = layout, size, device, azimuth
        self.schema = layout.schema if schema is None else schema
        self.given = dict(given or {})
        self.counts = dict(counts)
        self.scalars: dict[str, Tensor] = {}
        self.fields: dict[str, dict[str, Tensor]] = {}
        self._momenta: dict[str, list[tuple[tuple[int, ...], Kinematics]]] = {}
        self._masses: dict[str, Tensor] = {}
        self._present: dict[str, Tensor] = {}

    def mass(self, collection: str) -> Tensor | None:
        """The masses (N, M), of fields that are there already; None if the objects have none."""
        mass = self.layout.masses.get(collection)
        if mass is None or mass.source == "none":
            return None
        if collection not in self._masses:
            if mass.source == "own":
                self._masses[collection] = self.fields[collection]["mass"]
            elif mass.source == "table":
                self._masses[collection] = mass.look_up(self.fields[collection][mass.by])
            else:
                shape = (self.size, self.layout.collection(collection).max_count)
                constant = torch.tensor(mass.value, dtype=torch.float64, device=self.device)
                self._masses[collection] = constant.expand(shape)
        return self._masses[collection]

    def given_kinematics(self, collection: str) -> Kinematics:
        """The momenta (N, M) of a given collection, as they are."""
        return raw_kinematics(EventBatch(self.schema, self.given), collection)

    def given_field(self, collection: str, name: str) -> Tensor:
        """A field (N, M) of a given collection, in float64."""
        return stored_field(EventBatch(self.schema, self.given), collection, name)

    def put_momenta(self, collection: str, slots: tuple[int, ...], k: Kinematics) -> None:
        """Puts in the momenta (N, len(slots)) of some objects."""
        self._momenta.setdefault(collection, []).append((slots, k))

    def put_field(self, collection: str | None, name: str, values: Tensor) -> None:
        """Puts in a field (N, M), or a scalar (N, 1)."""
        if collection is None:
            self.scalars[name] = values[:, 0]
        else:
            self.fields.setdefault(collection, {})[name] = values

    def mark(self, collection: str, present: Tensor) -> None:
        """Says which objects (N, M) of a padded collection are there."""
        self._present[collection] = present

    def arrange(self, orders: Mapping[str, str]) -> None:
        """Drops absent objects of padded collections, and restores the order of others, by collection."""
        for collection, present in self._present.items():
            self._compact(collection, present)
        for collection, key in orders.items():
            self._sort(collection, key)

    def _compact(self, collection: str, present: Tensor) -> None:
        """Keeps the objects marked in (N, M), and moves them to the front."""
        order = torch.sort(present.to(torch.int8), dim=1, descending=True, stable=True).indices
        self._reorder(collection, order)
        self.counts[collection] = present.sum(1)

    def _sort(self, collection: str, key: str) -> None:
        """Puts objects in descending order, where they are not."""
        stored = self._stored(collection)
        values = stored[key] if key in stored else Kinematics(stored)[key]
        mask = self._mask(collection)
        # Ties that rounding has broken stay as they are.
        wrong = values[:, 1:] > values[:, :-1] + TIE * values[:, :-1].abs()
        wrong = (wrong if mask is None else wrong & mask[:, 1:]).any(1, keepdim=True)
        if bool(wrong.any()):
            ranked = values.detach() if mask is None else torch.where(mask, values.detach(), -torch.inf)
            order = torch.sort(ranked, dim=1, descending=True, stable=True).indices
            unchanged = torch.arange(values.shape[1], device=self.device)
            self._reorder(collection, torch.where(wrong, order, unchanged))

    def _reorder(self, collection: str, order: Tensor) -> None:
        self.fields[collection] = {n: v.gather(1, order) for n, v in self._stored(collection).items()}
        self._momenta.pop(collection, None)

    def _mask(self, collection: str) -> Tensor | None:
        if collection not in self.counts:
            return None
        slots = torch.arange(self.layout.collection(collection).max_count, device=self.device)
        return slots < self.counts[collection].unsqueeze(1)

    def _stored(self, collection: str) -> dict[str, Tensor]:
        """All stored fields (N, M) of a collection."""
        stored = dict(self.fields.get(collection, {}))
        pieces = self._momenta.get(collection)
        if pieces:
            for name in self.layout.momentum_fields(collection):
                if name == "mass" and collection in self._masses:
                    stored[name] = self._masses[collection]
                    continue
                stored[name] = _joined([(slots, k.bounded(name)) for slots, k in pieces])
            for name, deviation in self.layout.deviations.get(collection, {}).items():
                computed = _joined([(slots, k.bounded(name)) for slots, k in pieces])
                stored[name] = deviation.apply(name, computed, stored[name])
        return {n: stored[n] for n in self.layout.collection(collection).field_names}

    def build(self) -> EventBatch:
        """The events."""
        schema = self.schema
        collections = {}
        for described in schema.collections:
            if described.name in self.given:
                collections[described.name] = self.given[described.name]
                continue
            mask = self._mask(described.name)
            fields = self._stored(described.name)
            if described.name in self.layout.places:
                mask, fields = _placed(described, mask, fields)
            if mask is not None:
                absent = ~mask
                fields = {n: v.masked_fill(absent, 0) for n, v in fields.items()}
            collections[described.name] = Objects(fields, mask)
        scalars = {n: self.scalars[n] for n in schema.scalar_names}
        return EventBatch(schema, collections, scalars, size=self.size)


def _placed(
    described: Collection, mask: Tensor | None, fields: dict[str, Tensor]
) -> tuple[Tensor | None, dict[str, Tensor]]:
    """No more objects than there can be, of those that have been moved to the front of all places."""
    most = described.max_count
    lacking = most - next(iter(fields.values())).shape[1]
    if lacking > 0:
        fields = {n: torch.nn.functional.pad(v, (0, lacking)) for n, v in fields.items()}
        mask = None if mask is None else torch.nn.functional.pad(mask, (0, lacking))
    fields = {n: v[:, :most] for n, v in fields.items()}
    return None if mask is None or described.fixed else mask[:, :most], fields


def _joined(pieces: list[tuple[tuple[int, ...], Tensor]]) -> Tensor:
    slots = [s for piece, _ in pieces for s in piece]
    values = pieces[0][1] if len(pieces) == 1 else torch.cat([v for _, v in pieces], 1)
    if slots == list(range(len(slots))):
        return values
    return values[:, sorted(range(len(slots)), key=slots.__getitem__)]
