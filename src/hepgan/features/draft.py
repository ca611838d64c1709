"""Events in the making, as the parts of a representation write them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from hepgan.events.angles import stored_azimuth
from hepgan.events.batch import EventBatch, Objects
from hepgan.events.schema import Collection, EventSchema
from hepgan.features.facts import Facts
from hepgan.features.precise import constant
from hepgan.features.reading import raw_kinematics, stored_field
from hepgan.vectors.kinematics import Kinematics

__all__ = ["Draft"]

TIE = 1e-12


class Draft:
    """Events in the making: parts put in momenta and numbers, of which ``collections`` are made.

    Args:
        facts: What is known of the events.
        size: The number of events N.
        device: The device.
        azimuth: What to turn the events by (N,), or None.
        given: Collections that are given.

    Attributes:
        counts: The number of objects (N,), for collections in which it varies.
        scalars: The numbers of the event (N,) so far.
        fields: The fields (N, M) so far, by collection.
    """

    def __init__(
        self,
        facts: Facts,
        size: int,
        device: torch.device,
        azimuth: Tensor | None,
        given: Mapping[str, Objects] | None = None,
    ) -> None:
        self.facts, self.size, self.device, self.azimuth = facts, size, device, azimuth
        self.given = dict(given or {})
        self.counts: dict[str, Tensor] = {}
        self.scalars: dict[str, Tensor] = {}
        self.fields: dict[str, dict[str, Tensor]] = {}
        self._momenta: dict[str, list[tuple[tuple[int, ...], Kinematics]]] = {}
        self._masses: dict[str, Tensor] = {}
        self._present: dict[str, Tensor] = {}
        self._places: dict[str, Tensor] = {}
        self._pointing: dict[str, list[tuple[str, str]]] = {}
        self._late: list[Callable[[], None]] = []

    # ------------------------------------------------------------------ what parts read

    def mass(self, collection: str) -> Tensor | None:
        """The masses (N, M), of fields that are there already; None if the objects have none."""
        mass = self.facts.masses.get(collection)
        if mass is None or mass.source == "none":
            return None
        if collection not in self._masses:
            if mass.source == "own":
                self._masses[collection] = self.fields[collection]["mass"]
            elif mass.source == "table":
                self._masses[collection] = mass.look_up(self.fields[collection][mass.by])
            else:
                shape = (self.size, self.facts.collection(collection).max_count)
                self._masses[collection] = constant(mass.value, self.device).expand(shape)
        return self._masses[collection]

    def count(self, collection: str) -> Tensor:
        """The number of objects (N,)."""
        fixed = torch.full((self.size,), self.facts.collection(collection).max_count, device=self.device)
        return self.counts.get(collection, fixed)

    def directions(self, collection: str) -> tuple[Tensor, Tensor]:
        """Pseudorapidities and azimuths (N, M) of a collection's objects so far."""
        pieces = self._momenta.get(collection)
        if not pieces:
            # They are in order already.
            stored = self._stored(collection)
            pieces = [(tuple(range(next(iter(stored.values())).shape[1])), Kinematics(stored))]
        eta, phi = (_joined([(slots, k.bounded(n)) for slots, k in pieces]) for n in ("eta", "phi"))
        return eta, phi

    def mask(self, collection: str) -> Tensor:
        """Where (N, M) there is an object."""
        slots = torch.arange(self.facts.collection(collection).max_count, device=self.device)
        return slots < self.count(collection).unsqueeze(1)

    def given_kinematics(self, collection: str) -> Kinematics:
        """The momenta (N, M) of a given collection, as they are."""
        return raw_kinematics(EventBatch(self.facts.schema, self.given), collection)

    def given_field(self, collection: str, name: str) -> Tensor:
        """A field (N, M) of a given collection, in float64."""
        return stored_field(EventBatch(self.facts.schema, self.given), collection, name)

    # ------------------------------------------------------------------ what parts write

    def put_momenta(self, collection: str, slots: Sequence[int], k: Kinematics) -> None:
        """Puts in the momenta (N, len(slots)) of some objects."""
        self._momenta.setdefault(collection, []).append((tuple(slots), k))

    def put_field(
        self,
        collection: str | None,
        name: str,
        values: Tensor,
        slots: Sequence[int] = (0,),
        fill: float = 0.0,
    ) -> None:
        """Puts in a field (N, len(slots)) of some objects, or a scalar (N, 1).

        Args:
            collection: The collection; None for a scalar.
            name: The field, or the scalar.
            values: Its values.
            slots: The objects.
            fill: What other objects have for which nothing is put in.
        """
        if collection is None:
            self.scalars[name] = values[:, 0]
            return
        fields = self.fields.setdefault(collection, {})
        width = self.facts.collection(collection).max_count
        if list(slots) != list(range(width)):
            known = fields.get(name)
            whole = values.new_full((self.size, width), fill) if known is None else known.clone()
            whole[:, list(slots)] = values.to(whole.dtype)
            values = whole
        fields[name] = values

    def turn(self, collection: str, chosen: Tensor, eta: Tensor, phi: Tensor) -> None:
        """Gives some objects (N, M) of a collection, whose momenta are in pt, eta, phi, other directions."""
        pieces = []
        for slots, k in self._momenta[collection]:
            own = list(slots)
            turned = {
                name: torch.where(chosen[:, own], new[:, own], k[name])
                for name, new in (("eta", eta), ("phi", phi))
            }
            pieces.append((slots, k.replaced(**turned)))
        self._momenta[collection] = pieces

    def point(self, collection: str, name: str, to: str) -> None:
        """Says that a field holds the places of a collection's objects, which may still be arranged."""
        self._pointing.setdefault(to, []).append((collection, name))

    def later(self, write: Callable[[], None]) -> None:
        """Puts off what depends on objects' places and directions until these are final."""
        self._late.append(write)

    def mark(self, collection: str, present: Tensor) -> None:
        """Says which objects (N, M) of a collection are there, where its count does not."""
        self._present[collection] = present

    def place(self, collection: str, places: Tensor) -> None:
        """Says which place (N, M) each object of a collection has in the end, where no coordinate does."""
        self._places[collection] = places

    # ------------------------------------------------------------------ the result

    def arrange(self, orders: Mapping[str, str]) -> None:
        """Drops objects that are marked as absent, and puts others in order.

        Args:
            orders: By what to sort the objects of collections that parts do not keep in order.
        """
        for collection, present in self._present.items():
            # Those marked move to the front.
            order = torch.sort(present.to(torch.int8), dim=1, descending=True, stable=True).indices
            self._reorder(collection, order)
            self.counts[collection] = present.sum(1)
        for collection, places in self._places.items():
            self._reorder(collection, places.argsort(1))
        for collection, key in orders.items():
            self._sort(collection, key)
        for write in self._late:
            write()

    def collections(self, schema: EventSchema) -> dict[str, Objects]:
        """The objects of all collections that events of a schema hold."""
        return {c.name: self._objects(c) for c in schema.collections}

    def _sort(self, collection: str, key: str) -> None:
        """Puts objects in descending order, where they are not."""
        stored = self._stored(collection)
        values = stored[key] if key in stored else Kinematics(stored)[key]
        mask = self._mask(collection)
        # Ties that rounding has broken stay as they are.
        wrong = values[:, 1:] > values[:, :-1] + TIE * values[:, :-1].abs()
        wrong = (wrong if mask is None else wrong & mask[:, 1:]).any(1, keepdim=True)
        if torch.compiler.is_compiling() or bool(wrong.any()):
            ranked = values.detach() if mask is None else torch.where(mask, values.detach(), -torch.inf)
            order = torch.sort(ranked, dim=1, descending=True, stable=True).indices
            unchanged = torch.arange(values.shape[1], device=self.device)
            self._reorder(collection, torch.where(wrong, order, unchanged))

    def _reorder(self, collection: str, order: Tensor) -> None:
        self.fields[collection] = {n: v.gather(1, order) for n, v in self._stored(collection).items()}
        self._momenta.pop(collection, None)
        places = order.argsort(1)
        for pointing, name in self._pointing.get(collection, ()):
            index = self.fields[pointing][name]
            moved = places.gather(1, index.clamp(0, places.shape[1] - 1))
            self.fields[pointing][name] = torch.where(index >= 0, moved, index)

    def _mask(self, collection: str) -> Tensor | None:
        if collection not in self.counts:
            return None
        slots = torch.arange(self.facts.collection(collection).max_count, device=self.device)
        return slots < self.counts[collection].unsqueeze(1)

    def _stored(self, collection: str) -> dict[str, Tensor]:
        """All stored fields (N, M) of a collection."""
        described = self.facts.collection(collection)
        stored = dict(self.fields.get(collection, {}))
        pieces = self._momenta.get(collection)
        if pieces:
            for name in self.facts.momentum_fields(collection):
                if name == "mass" and collection in self._masses:
                    stored[name] = self._masses[collection]
                    continue
                stored[name] = _joined([(slots, k.bounded(name)) for slots, k in pieces])
            for name, deviation in self.facts.deviations.get(collection, {}).items():
                computed = _joined([(slots, k.bounded(name)) for slots, k in pieces])
                stored[name] = deviation.apply(name, computed, stored[name])
        if described.max_count == 0:
            return {
                n: torch.zeros(self.size, 0, dtype=torch.float64, device=self.device)
                for n in described.field_names
            }
        return {n: stored[n] for n in described.field_names}

    def _objects(self, described: Collection) -> Objects:
        name = described.name
        if name in self.given:
            return self.given[name]
        mask, fields = self._mask(name), self._stored(name)
        if name in self.facts.places:
            mask, fields = _placed(described, mask, fields)
        if mask is not None:
            absent = ~mask
            fields = {n: v.masked_fill(absent, 0) for n, v in fields.items()}
        if "phi" in fields:
            fields["phi"] = stored_azimuth(fields["phi"], described.field("phi"))
        return Objects(fields, mask)


def _placed(
    described: Collection, mask: Tensor | None, fields: dict[str, Tensor]
) -> tuple[Tensor | None, dict[str, Tensor]]:
    """No more objects than there can be, of those that have been moved to the front of all places."""
    most = described.max_count
    lacking = max(most - next(iter(fields.values())).shape[1], 0)
    fields = {n: torch.nn.functional.pad(v, (0, lacking))[:, :most] for n, v in fields.items()}
    if mask is None or described.fixed:
        return None, fields
    return torch.nn.functional.pad(mask, (0, lacking))[:, :most], fields


def _joined(pieces: list[tuple[tuple[int, ...], Tensor]]) -> Tensor:
    slots = [s for piece, _ in pieces for s in piece]
    values = pieces[0][1] if len(pieces) == 1 else torch.cat([v for _, v in pieces], 1)
    if slots == list(range(len(slots))):
        return values
    return values[:, sorted(range(len(slots)), key=slots.__getitem__)]
