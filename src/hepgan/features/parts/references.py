"""Indices that point to objects of other collections, and the directions of those objects."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import ClassVar, Literal, NamedTuple, Self

import torch
from pydantic import Field as Setting
from pydantic import field_validator, model_validator
from torch import Tensor

from hepgan.config import Config
from hepgan.errors import InputError, RecipeError
from hepgan.events.batch import EventBatch
from hepgan.events.schema import Address
from hepgan.features.draft import Draft
from hepgan.features.facts import Facts
from hepgan.features.parts.base import Encoded, Part, Told, TransformSpec
from hepgan.features.parts.entries import Entry, chosen_values, classes_of
from hepgan.features.reading import Reading, raw_kinematics
from hepgan.features.variables import Column, DiscreteVariable
from hepgan.vectors.kinematics import azimuth, safe_sqrt, wrap

__all__ = [
    "Link",
    "ReferenceConfig",
    "ReferencesConfig",
    "ReferencesPart",
    "backwards",
    "distances",
    "nearest",
]

BELOW = 1 - 5e-6
"""How far below its limit a generated distance stays, so that a file's rounding does not cross it."""

ROUNDING = 1e-6
"""By how much, relative to the largest, a distance may exceed it."""

ASTRAY = 1e-3
"""Share of objects whose index may disagree with a rule, from rounding in the file."""

CHUNK = 1 << 15

CLOSE = 0.5
"""Objects that are pointed to are near if their median distance is less than this share of that of all."""


class ReferenceConfig(Config):
    """What an index points to.

    Attributes:
        to: The collection that it is an index into; negative where it points to no object.
        nearest: The distance in eta and phi within which it always points to the nearest object, and to none
            where there is none within. Generated events that contradict it are drawn anew.
        back: Another index (``Muon.jetIdx``), which points to the objects that have this one: it is computed
            from that.
        number: For ``back``, which of the objects that point here: 0 for the first.
    """

    to: str | None = None
    nearest: float | None = Setting(default=None, gt=0.0)
    back: str | None = None
    number: int = Setting(default=0, ge=0)

    @model_validator(mode="after")
    def _points_somewhere(self) -> Self:
        if (self.to is None) == (self.back is None):
            msg = "an index has either to: COLLECTION or back: INDEX"
            raise ValueError(msg)
        if self.back is not None and self.nearest is not None:
            msg = "nearest belongs to an index with to: COLLECTION"
            raise ValueError(msg)
        return self


class ReferencesConfig(Config):
    """Indices into other collections, with the distances of the objects that belong together.

    The index of each object is a discrete variable, which never exceeds the number of objects that it can
    point to. Where objects that are pointed to are near, their direction is learned as ``dr`` and ``angle``
    from the object that points: their distance in eta and phi, which never exceeds the largest of the
    training events, and the angle in that plane, from eta. So it belongs to them whatever a network makes.
    The object has no columns ``eta`` and ``phi`` of its own in these events. Of several that point to one
    object the first tells its direction, in the order of the fields here; the direction of each other is told
    by its distance from that object.

    Only collections whose momenta are learned as ``pt, eta, phi`` by an ``objects`` block, or by none, get
    directions so. Where neither is (``pairs``, ``decay``, other coordinates), indices are learned alone, and
    those that always point to the nearest are computed.

    Attributes:
        fields: What they point to, by field: ``{Muon.jetIdx: {to: Jet}}``.
        transforms: Transforms by column: ``dr`` for all, ``Muon.jetIdx[0].dr`` for the first link of an
            event.
    """

    kind: Literal["references"] = "references"
    fields: dict[str, ReferenceConfig] = Setting(min_length=1)
    transforms: dict[str, TransformSpec] = Setting(default_factory=dict)

    @field_validator("fields")
    @classmethod
    def _keys_are_fields(cls, value: dict[str, ReferenceConfig]) -> dict[str, ReferenceConfig]:
        for text in (*value, *(r.back for r in value.values() if r.back is not None)):
            address = Address.parse(text)
            if address.collection is None or address.slot is not None or not address.field:
                msg = f"{text!r} is no field of all objects of a collection, as in Muon.jetIdx"
                raise ValueError(msg)
        return value


class Link(Config):
    """How one index is learned.

    Attributes:
        entry: The index of each object, as classes; without tables if it is computed.
        to: The collection that it points into.
        how: With the distance of what it points to (``relative``), ``alone``, as the ``nearest`` object, or
            as what points ``back``.
        most: The most distances of an event; None if that is not known yet.
        shared: Whether some point to objects that others point to already.
        largest: The largest distance.
        nearest: The distance within which it always points to the nearest object; None if it does not.
        back: The collection and field that point back.
        number: Which of those that point back.
    """

    entry: Entry
    to: str
    how: Literal["relative", "alone", "nearest", "back"]
    most: int | None = None
    shared: bool = True
    largest: float = 0.0
    nearest: float | None = None
    back: tuple[str, str] = ("", "")
    number: int = 0

    @property
    def drawn(self) -> bool:
        """Whether it has variables of its own."""
        return self.how in ("relative", "alone")

    @property
    def name(self) -> str:
        """The field, as messages call it."""
        return str(Address(self.entry.collection, None, self.entry.name))

    @property
    def collection(self) -> str:
        """The collection that points."""
        return str(self.entry.collection)


class Pointing(NamedTuple):
    """Where the objects of one collection point in N events.

    Attributes:
        places: (N, M) the place of the object pointed to; negative for none.
        sets: (N, M) whether that object's direction is told by its distance from this one.
        set: (N, M) whether the direction of this object is told by its distance from that one.
        shares: (N, M) whether another points to the same object before.
    """

    places: Tensor
    sets: Tensor
    set: Tensor
    shares: Tensor

    @property
    def told(self) -> Tensor:
        """(N, M) which have a distance."""
        return self.sets | self.set

    @property
    def rank(self) -> Tensor:
        """(N, M) which of the event's distances is that of each object that has one."""
        return self.told.cumsum(1) - 1

    def at(self, width: int) -> Tensor:
        """(N, M, width) which object each of them points to."""
        return self.places.unsqueeze(2) == torch.arange(width, device=self.places.device)

    def without(self, none: Tensor) -> Pointing:
        """The same, but for some (N, M) that point to none."""
        places = torch.where(none, -1, self.places)
        return Pointing(places, self.sets & ~none, self.set & ~none, self.shares & ~none)


class _Order:
    """Whose directions are told already, as indices are gone through in order.

    An object whose direction is known from another, or from which another's is known, keeps it.

    Args:
        free: Collections whose directions can be told by distances.
    """

    def __init__(self, free: Collection[str]) -> None:
        self._free = free
        self._settled: dict[str, Tensor] = {}
        self._pointed: dict[str, Tensor] = {}

    def of(self, link: Link, index: Tensor, width: int) -> Pointing:
        """What the distances of an index (N, M) into so many objects tell; they are settled then."""
        places = torch.arange(width, device=index.device)
        at = index.unsqueeze(2) == places
        own = self._settled.get(link.collection, torch.zeros_like(index, dtype=torch.bool))
        none = torch.zeros(len(index), width, dtype=torch.bool, device=index.device)
        other, before = self._settled.get(link.to, none), self._pointed.get(link.to, none)
        linked = index >= 0
        shares = linked & ~(at & (at.cumsum(1) == 1) & ~before.unsqueeze(1)).any(2)
        sets = linked & ~shares & ~(at & other.unsqueeze(1)).any(2) & (link.to in self._free)
        found = Pointing(index, sets, linked & ~sets & ~own & (link.collection in self._free), shares)
        # More distances than there ever were are not told: what would have one points nowhere. Nor do two
        # point to one object that never did.
        if link.most is not None:
            beyond = found.told & (found.rank >= link.most)
            found = found.without(beyond if link.shared else beyond | shares)
        at = found.at(width)
        self._pointed[link.to] = before | at.any(1)
        self._settled[link.collection] = own | found.told
        self._settled[link.to] = other | (at & found.told.unsqueeze(2)).any(1)
        return found


class ReferencesPart(Part):
    """Indices as classes, with the directions of what they point to; see ``ReferencesConfig``.

    Attributes:
        settings: The recipe's settings.
        links: How each index is learned.
        widths: The most objects of each collection that is pointed to.
        free: Collections whose directions can be told by distances.
        counts: Of each collection that points or is pointed to the number of the variable that counts its
            objects (-1 if that does not vary), and the smallest number.
    """

    last: ClassVar[bool] = True

    kind: Literal["references"] = "references"
    settings: ReferencesConfig
    links: tuple[Link, ...]
    widths: dict[str, int]
    free: tuple[str, ...]
    counts: dict[str, tuple[int, int]] = Setting(default_factory=dict)

    @property
    def transforms(self) -> Mapping[str, TransformSpec]:
        """The recipe's transforms; angles have no cut."""
        return {"angle": "angle", **self.settings.transforms}

    @property
    def optional(self) -> frozenset[str]:
        """Distances and angles, which only some indices have."""
        return frozenset({"dr", "angle"})

    # ------------------------------------------------------------------ learning

    @classmethod
    def learn(cls, settings: ReferencesConfig, reading: Reading, free: Collection[str]) -> Self:
        """Finds the values that each index has, and how far what it points to can be.

        Args:
            settings: The recipe's settings.
            reading: The training events.
            free: Collections whose objects' directions are columns of their own.

        Raises:
            RecipeError: If an index points to objects that are not there, or disagrees with a rule.
        """
        links: list[Link] = []
        for text, said in settings.fields.items():
            links.append(_learned(text, said, reading, links, free))
        order = _Order(free)
        columns: list[Column] = []
        variables: list[DiscreteVariable] = []
        for i, link in enumerate(links):
            name, field = link.collection, link.entry.name
            for j in link.entry.drawn if link.drawn else ():
                slot = link.entry.slots[j]
                address = reading.facts.address(name, slot, field)
                variables.append(DiscreteVariable.of(address, link.entry.tables[j], slot))
            if link.how != "relative":
                continue
            index = _index(reading, name, field, link.to)
            found = order.of(link, index, reading.there(link.to).shape[1])
            most = int(found.told.sum(1).max())
            links[i] = link = link.model_copy(update={"most": most, "shared": bool(found.shares.any())})
            gate = reading.facts.gate(name, 1)
            limits = (("dr", 0.0, link.largest), ("angle", -math.pi, math.pi))
            for (what, low, high), k in ((w, k) for w in limits for k in range(most)):
                address = Address(name, None, f"{field}[{k}].{what}")
                columns.append(Column(address, low, high, gate, 1.0, aliases=(f"{field}.{what}", what)))
        return cls(
            columns=tuple(columns),
            variables=tuple(variables),
            settings=settings,
            links=tuple(links),
            widths={link.to: reading.there(link.to).shape[1] for link in links},
            free=tuple(free),
        )

    @property
    def indices(self) -> Mapping[Address, str]:
        """The collection that each variable's index is of."""
        found, start = {}, 0
        for link in self.links:
            number = len(link.entry.drawn) if link.drawn else 0
            found.update({v.address: link.to for v in self.variables[start : start + number]})
            start += number
        return found

    def joined(self, variables: Sequence[DiscreteVariable], facts: Facts) -> Self:
        """The part that knows which variables count what is pointed to."""
        numbers = {v.address: i for i, v in enumerate(variables)}
        names = {n for link in self.links for n in (link.collection, link.to)}
        counts = {n: (numbers.get(Address(n, None, "count"), -1), facts.always(n)) for n in sorted(names)}
        return self.model_copy(update={"counts": counts})

    # ------------------------------------------------------------------ what points where

    def _pointing(self, own: Tensor, count: Mapping[str, Tensor]) -> Iterator[tuple[Link, Pointing]]:
        """Where the objects of each index that is drawn point, of classes (N, own K).

        Args:
            own: The classes.
            count: The number (N,) of objects of each collection.
        """
        start, order = 0, _Order(self.free)
        for link in self.links:
            if not link.drawn:
                continue
            end = start + len(link.entry.drawn)
            index = chosen_values(link.entry, own[:, start:end]).round().to(torch.int64)
            start = end
            # Whatever the classes are, both objects are there.
            slots = torch.arange(index.shape[1], device=index.device)
            there = slots < count[link.collection].unsqueeze(1)
            index = torch.where(there & (index < count[link.to].unsqueeze(1)), index, -1)
            if link.how == "relative":
                yield link, order.of(link, index, self.widths[link.to])
            else:
                none = torch.zeros_like(index, dtype=torch.bool)
                yield link, Pointing(index, none, none, none)

    def _counted(self, discrete: Tensor) -> dict[str, Tensor]:
        """The number (N,) of objects of each collection, of all classes."""
        return {
            name: discrete.new_full((len(discrete),), fewest) if number < 0 else discrete[:, number] + fewest
            for name, (number, fewest) in self.counts.items()
        }

    def tell(self, discrete: Tensor, own: Tensor, count: Tensor) -> Told:
        """Which distances there are."""
        exists = [torch.zeros(len(own), 0, dtype=torch.bool, device=own.device)]
        for link, found in self._pointing(own, self._counted(discrete)):
            there = torch.arange(link.most or 0, device=own.device) < found.told.sum(1, keepdim=True)
            exists += [there, there]
        return Told(torch.cat(exists, 1), torch.zeros(len(own), 0, dtype=torch.float64, device=own.device))

    def replaces(self, discrete: Tensor, own: Tensor) -> Mapping[str, Tensor]:
        """Where objects have the directions that distances tell."""
        gone: dict[str, Tensor] = {}
        for link, found in self._pointing(own, self._counted(discrete)):
            here = (found.at(self.widths[link.to]) & found.sets.unsqueeze(2)).any(1)
            for name, told in ((link.to, here), (link.collection, found.set)):
                if link.how == "relative" and name in self.free:
                    gone[name] = gone[name] | told if name in gone else told
        return gone

    # ------------------------------------------------------------------ there and back

    def read(self, reading: Reading) -> Encoded:
        """Distances and angles (N, D) of each index; and its classes (N, K).

        Raises:
            InputError: If an index points to no object, or there are more links than in any training event.
        """
        columns = [torch.zeros(len(reading), 0, dtype=torch.float64, device=reading.device)]
        classes = [reading.no_classes()]
        order = _Order(self.free)
        for link in (link for link in self.links if link.drawn):
            name = link.collection
            index, there = _index(reading, name, link.entry.name, link.to), reading.mask(name)
            number = reading.count(link.to)
            reading.refuse((index >= number.unsqueeze(1)).any(1), partial(_astray, link, index, number))
            classes += classes_of(link.entry, index.to(torch.float64), there, reading.refuse)
            if link.how != "relative":
                continue
            every = link.model_copy(update={"most": None})
            found, most = order.of(every, index, self.widths[link.to]), link.most or 0
            reading.refuse(found.told.sum(1) > most, partial(_many, link, found.told))
            if not link.shared:
                reading.refuse(found.shares.any(1), partial(_shared, link))
            eta, phi = _from(reading, name, link.to, index)
            chosen = found.told.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :most]
            apart = safe_sqrt(eta**2 + phi**2)
            far = found.told & (apart > link.largest * (1 + ROUNDING))
            reading.refuse(far.any(1), partial(_far, link, apart, far))
            apart = apart.clamp(max=link.largest)
            columns += [apart.gather(1, chosen), azimuth(eta, phi).gather(1, chosen)]
        return Encoded(torch.cat(columns, 1), torch.cat(classes, 1))

    def write(self, encoded: Encoded, draft: Draft) -> None:
        """Puts in indices, and turns the objects that are pointed to."""
        counts = {name: draft.count(name) for name in self.counts}
        start = 0
        for link, found in self._pointing(encoded.classes, counts):
            if link.most:
                end = start + 2 * link.most
                self._turn(link, found, encoded.columns[:, start:end], draft)
                start = end
            draft.put_field(link.collection, link.entry.name, found.places, link.entry.slots)
            draft.point(link.collection, link.entry.name, link.to)
        # What points back does so to what others have become.
        for link in sorted((x for x in self.links if not x.drawn), key=lambda x: x.how == "back"):
            shape = (draft.size, draft.facts.collection(link.collection).max_count)
            unknown = torch.full(shape, -1, device=draft.device)
            draft.put_field(link.collection, link.entry.name, unknown, link.entry.slots)
            draft.later(partial(_computed, link, draft))

    def _turn(self, link: Link, found: Pointing, columns: Tensor, draft: Draft) -> None:
        """Gives objects the directions that distances and angles (N, D) tell."""
        dr, angle = columns.chunk(2, 1)
        dr = dr.clamp(0.0, link.largest * (1.0 if link.nearest is None else BELOW))
        rank = found.rank.clamp(0, dr.shape[1] - 1)
        apart = [(dr * way).gather(1, rank) for way in (angle.cos(), angle.sin())]
        if link.to in self.free:
            at = found.at(self.widths[link.to]) & found.sets.unsqueeze(2)
            there = [a + b for a, b in zip(draft.directions(link.collection), apart, strict=True)]
            eta, phi = (torch.where(at, value.unsqueeze(2), 0.0).sum(1) for value in there)
            draft.turn(link.to, at.any(1), eta, wrap(phi))
        if link.collection in self.free:
            place = found.places.clamp(min=0)
            here = [b.gather(1, place) - a for b, a in zip(draft.directions(link.to), apart, strict=True)]
            draft.turn(link.collection, found.set, here[0], wrap(here[1]))

    # ------------------------------------------------------------------ what cannot be

    @cached_property
    def _rules(self) -> tuple[Link, ...]:
        return tuple(x for x in self.links if x.how == "relative" and x.nearest is not None)

    @property
    def judges(self) -> bool:
        """Whether some index always points to the nearest object."""
        return bool(self._rules)

    def possible(self, events: EventBatch, facts: Facts) -> Tensor | None:
        """Which events (N,) have no object nearer than that which an index points to, nor one in reach."""
        if not self._rules:
            return None
        possible = torch.ones(len(events), dtype=torch.bool, device=events.device)
        for link in self._rules:
            possible &= ~_contradicts(link, events).any(1)
        return possible


# ---------------------------------------------------------------------- distances


def distances(events: EventBatch, collection: str, to: str) -> Tensor:
    """The distances (N, M, L) of objects from those of another collection; infinite where there is none."""
    a, b = raw_kinematics(events, collection), raw_kinematics(events, to)
    apart = _apart((a.bounded("eta"), a["phi"]), (b.bounded("eta"), b["phi"]))
    return torch.where(events.collections[to].mask.unsqueeze(1), apart, torch.inf)


def nearest(apart: Tensor, within: float) -> Tensor:
    """The places (N, M) of the nearest objects, -1 where none is within a distance.

    Args:
        apart: (N, M, L) distances.
        within: The distance.
    """
    if not apart.shape[2]:
        return torch.full(apart.shape[:2], -1, device=apart.device)
    least, place = apart.min(2)
    return torch.where(least < within, place, -1)


def _apart(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> Tensor:
    eta, phi = (y.unsqueeze(1) - x.unsqueeze(2) for x, y in zip(a, b, strict=True))
    return safe_sqrt(eta**2 + wrap(phi) ** 2)


def _from(reading: Reading, name: str, to: str, index: Tensor) -> tuple[Tensor, Tensor]:
    """How far (N, M) in eta and phi what an index points to is from what has the index."""
    a, b = reading.kinematics(name), reading.kinematics(to)
    place = index.clamp(min=0)
    eta = b.bounded("eta").gather(1, place) - a.bounded("eta")
    phi = wrap(b["phi"].gather(1, place) - a["phi"])
    linked = (index >= 0) & reading.there(name)
    return torch.where(linked, eta, 0.0), torch.where(linked, phi, 0.0)


def _computed(link: Link, draft: Draft) -> None:
    """Puts in an index that follows from places and directions."""
    name, fields = link.collection, draft.fields[link.collection]
    if link.how == "back":
        index, width = draft.fields[link.to][link.back[1]], draft.facts.collection(name).max_count
        fields[link.entry.name] = backwards(index, draft.mask(link.to), width, link.number)
        return
    apart = _apart(draft.directions(name), draft.directions(link.to))
    apart = torch.where(draft.mask(link.to).unsqueeze(1), apart, torch.inf)
    fields[link.entry.name] = nearest(apart, _required(link.nearest))


def backwards(index: Tensor, there: Tensor, width: int, number: int) -> Tensor:
    """The place (N, M) of the so-manieth object that points to each; -1 for none.

    Args:
        index: (N, L) where those objects point.
        there: (N, L) which there are.
        width: How many objects can be pointed to, M.
        number: Which of those that point to one, from 0.
    """
    if not index.shape[1]:
        return torch.full((len(index), width), -1, device=index.device)
    hits = (index.unsqueeze(1) == torch.arange(width, device=index.device).unsqueeze(1)) & there.unsqueeze(1)
    wanted = hits & (hits.cumsum(2) == number + 1)
    return torch.where(wanted.any(2), wanted.to(torch.int8).argmax(2), -1)


# ---------------------------------------------------------------------- what training events say


def _learned(
    text: str, said: ReferenceConfig, reading: Reading, links: Sequence[Link], free: Collection[str]
) -> Link:
    """How an index is learned, after others.

    Raises:
        RecipeError: If it points to objects that are not there, or disagrees with a rule.
    """
    address, facts = Address.parse(text), reading.facts
    name, field = address.name, address.field
    if said.back is not None:
        back = Address.parse(said.back)
        to, pointing = back.name, next((x for x in links if x.name == str(back)), None)
        if pointing is None or pointing.to != name:
            msg = f"references: {text} is to point back, but {back} before it does not point to {name}"
            raise RecipeError(msg)
        link = Link(
            entry=_entry(reading, name, field, None),
            to=to,
            how="back",
            back=(back.name, back.field),
            number=said.number,
        )
        _check_rule(link, reading.original)
        return link
    to = str(said.to)
    index = _index(reading, name, field, to)
    dangling = index >= reading.count(to).unsqueeze(1)
    if bool(dangling.any()):
        event = int(dangling.any(1).nonzero()[0])
        msg = (
            f"references: {text} is {int(index[event].max())} in an event with "
            f"{int(reading.count(to)[event])} {to} ({int(dangling.any(1).sum())} of {len(index)} events): "
            "it is no index into them"
        )
        raise RecipeError(msg, branch=facts.collection(name).field(field).branch, entry=event)
    near, largest = _reach(reading.original, address, to)
    if near and {name, to} & set(free) and _may_turn(facts, name, to):
        link = Link(entry=_entry(reading, name, field, index), to=to, how="relative", largest=largest)
    elif said.nearest is not None and min(facts.dimensions(n) for n in (name, to)) > 2:
        link = Link(entry=_entry(reading, name, field, None), to=to, how="nearest")
    else:
        return Link(entry=_entry(reading, name, field, index), to=to, how="alone")
    if said.nearest is None:
        return link
    link = link.model_copy(update={"nearest": said.nearest, "largest": said.nearest})
    _check_rule(link, reading.original)
    return link


def _entry(reading: Reading, name: str, field: str, index: Tensor | None) -> Entry:
    """An index as classes, of which all objects have the same; without any if there are no numbers."""
    described, slots = reading.facts.collection(name), tuple(range(reading.there(name).shape[1]))
    stored = reading.values(name, field)
    known: list[float] = []
    if index is not None:
        known = [float(v) for v in torch.unique(index[reading.there(name)])]
    return Entry(
        collection=name,
        name=field,
        branch=described.field(field).branch,
        slots=slots,
        mode="classes",
        dtype=str(stored.dtype).removeprefix("torch."),
        ordinal=False,
        low=min(known, default=0.0),
        high=max(known, default=0.0),
        tables=() if index is None else (tuple(known),) * len(slots),
    )


def _reach(events: EventBatch, address: Address, to: str) -> tuple[bool, float]:
    """Whether what is pointed to is near, and the largest distance."""
    name = address.name
    described = [events.schema.collection(n) for n in (name, to)]
    if any(len(c.coordinates) < 3 or not c.max_count for c in described):
        return False, 0.0
    own: list[Tensor] = []
    every: list[Tensor] = []
    for some in _chunks(events):
        apart, objects = distances(some, name, to), some.collections[name]
        index = objects.fields[address.field].to(torch.int64)
        reached = apart.gather(2, index.clamp(min=0).unsqueeze(2))[:, :, 0]
        own.append(reached[objects.mask & (index >= 0)])
        every += [] if every else [apart[objects.mask.unsqueeze(2) & torch.isfinite(apart)]]
    linked = torch.cat(own)
    if not len(linked):
        return False, 0.0
    return bool(linked.median() < CLOSE * every[0].median()), float(linked.max())


def _chunks(events: EventBatch) -> Iterator[EventBatch]:
    """The events in pieces, of which all pairs of objects do not take much memory."""
    for start in range(0, len(events), CHUNK):
        yield events[start : start + CHUNK]


def _may_turn(facts: Facts, *names: str) -> bool:
    """Whether the directions of collections are those of their momenta."""
    return not any(facts.deviation(n, c) for n in names for c in ("eta", "phi"))


def _check_rule(link: Link, events: EventBatch) -> None:
    """Checks that an index follows from the event, or agrees with its rule.

    Raises:
        RecipeError: If it does not.
    """
    wrong = torch.cat([_contradicts(link, some) for some in _chunks(events)])
    number = int(events.collections[link.collection].mask.sum())
    if int(wrong.sum()) > ASTRAY * number:
        rule = f"what {'.'.join(link.back)} points back to"
        rule = f"the nearest {link.to} within {link.nearest:g}" if link.nearest is not None else rule
        msg = (
            f"references: {link.name} is not always {rule} ({int(wrong.sum())} of {number} objects disagree)"
        )
        event = int(wrong.any(1).nonzero()[0])
        raise RecipeError(msg, branch=link.entry.branch, entry=event)


def _contradicts(link: Link, events: EventBatch) -> Tensor:
    """Which objects (N, M) have another index than they are to have."""
    objects = events.collections[link.collection]
    index = objects.fields[link.entry.name].to(torch.int64).clamp(min=-1)
    if link.how == "back":
        other = events.collections[link.to]
        pointing = other.fields[link.back[1]].to(torch.int64)
        wanted = backwards(pointing, other.mask, index.shape[1], link.number)
    else:
        wanted = nearest(distances(events, link.collection, link.to), _required(link.nearest))
    return objects.mask & (index != wanted)


# ---------------------------------------------------------------------- indices


def _index(reading: Reading, name: str, field: str, to: str) -> Tensor:
    """The places (N, M) that an index points to, in the order in which parts read the objects there."""
    index = reading.values(name, field).to(torch.int64)
    index = torch.where(reading.there(name), index, -1)
    order = reading.arrangements.get(to)
    if order is None:
        return index
    places = order.argsort(1)
    known = (index >= 0) & (index < places.shape[1])
    return torch.where(known, places.gather(1, torch.where(known, index, 0)), index)


def _astray(link: Link, index: Tensor, number: Tensor, event: int) -> InputError:
    msg = f"{int(index[event].max())} points to no {link.to}, of which there are {int(number[event])}"
    return InputError(msg, branch=link.entry.branch, entry=event)


def _far(link: Link, apart: Tensor, far: Tensor, event: int) -> InputError:
    most = float(apart[event][far[event]].max())
    msg = f"points to a {link.to} at a distance of {most:g}, where at most {link.largest:g} occurred"
    return InputError(msg, branch=link.entry.branch, entry=event)


def _many(link: Link, told: Tensor, event: int) -> InputError:
    msg = (
        f"{int(told[event].sum())} different {link.to} are pointed to, but at most {link.most} in the "
        "events that were learned from"
    )
    return InputError(msg, branch=link.entry.branch, entry=event)


def _shared(link: Link, event: int) -> InputError:
    msg = f"points to one of {link.to} that another points to, which never happened in training"
    return InputError(msg, branch=link.entry.branch, entry=event)


def _required(within: float | None) -> float:
    return math.inf if within is None else within
