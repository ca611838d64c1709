"""What a detector makes of given objects: which it finds, and by how much it is off."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal, Self

import numpy as np
import torch
from pydantic import Field as Setting
from torch import Tensor

from hepgan.config import Config
from hepgan.errors import InputError, RecipeError
from hepgan.events.batch import EventBatch, Objects
from hepgan.events.schema import Address, Collection, EventSchema, Kind
from hepgan.features.draft import Draft
from hepgan.features.facts import MOMENTUM, Facts, Places, fakes_name
from hepgan.features.parts.base import Encoded, Part, TransformSpec
from hepgan.features.reading import Reading, raw_kinematics
from hepgan.features.variables import Column, DiscreteVariable
from hepgan.vectors.kinematics import Kinematics, azimuth, safe_sqrt, wrap

__all__ = ["Distance", "ResponseConfig", "ResponsePart", "find_places", "match", "without_holes"]

Distance = Literal["angle", "delta_r"]

COLUMNS = {"polar": ("log_p", "tilt", "turn"), "transverse": ("log_pt", "deta", "dphi")}
FARTHEST = 30.0
"""Largest logarithm of a ratio: beyond it there is a network gone wrong, and soon infinity."""

_TINY = 1e-30
_CARTESIAN = ("px", "py", "pz")


class ResponseConfig(Config):
    """The objects of a detector, by how they deviate from given ones: its response.

    An object belongs to the nearest given one that is near enough, one to one. For each given object there
    is a discrete variable that tells whether it was found (where that varies), so an efficiency, and for
    those found the columns ``log_p`` (the logarithm of the ratio of measured to true momentum), ``tilt`` and
    ``turn`` (the angles by which the direction is off towards larger theta and larger phi); or ``log_pt``,
    ``deta`` and ``dphi``. Continuous fields that both collections have are their difference. Objects that
    belong to none, the fakes, are counted by one more variable, and described as any objects are. There are
    no more objects than in any training event: those in excess are left out, the softest first where objects
    are in order.

    Attributes:
        collection: The detector's collection.
        of: The collection of true objects, which is a condition.
        coordinates: ``polar`` or ``transverse``; None for ``transverse`` where the detector's objects are
            stored with pt, else ``polar``.
        within: Largest distance of objects that belong together: the angle between them (``polar``), or
            delta R. Where every event has one object of each, they belong together, however far apart.
        transforms: Transforms by column; columns of this block are standardised by default.
        pca: Whether to decorrelate the columns.
    """

    kind: Literal["response"] = "response"
    collection: str
    of: str
    coordinates: Literal["polar", "transverse"] | None = None
    within: float = Setting(default=0.4, gt=0.0)
    transforms: dict[str, TransformSpec] = Setting(default_factory=dict)
    pca: bool = False


class ResponsePart(Part):
    """Objects of a detector as deviations from given objects; see ``ResponseConfig``.

    Each given object has a place, in which the object that belongs to it is described; other objects have
    places of their own behind, which other parts describe as they describe any objects. Whatever the
    columns are, the momenta are on their mass shell, and directions are directions.

    Attributes:
        settings: The recipe's settings.
        places: How many objects there are, and which.
        coordinates: ``polar`` or ``transverse``.
        differences: The fields that both collections have.
    """

    kind: Literal["response"] = "response"
    settings: ResponseConfig
    places: Places
    coordinates: Literal["polar", "transverse"]
    differences: tuple[str, ...]

    @property
    def transforms(self) -> dict[str, TransformSpec]:
        """The recipe's, and standardising for all else."""
        own = (*COLUMNS[self.coordinates], *self.differences)
        return {**dict.fromkeys(own, "standardise"), **self.settings.transforms}

    @property
    def _number(self) -> int:
        """How many given objects there can be, V."""
        return len(self.places.found)

    @classmethod
    def learn(cls, settings: ResponseConfig, reading: Reading) -> Self:
        """The part; all that it needs to know is among the facts."""
        return cls.make(settings, reading.facts)

    @classmethod
    def make(cls, settings: ResponseConfig, facts: Facts) -> Self:
        """The part, its columns coordinate by coordinate.

        Raises:
            RecipeError: If one of the collections has no three-dimensional momentum.
        """
        name, places = settings.collection, facts.places[settings.collection]
        for collection in (settings.of, name):
            if facts.dimensions(collection) < 3:
                msg = f"response: {collection} has no three-dimensional momentum"
                raise RecipeError(msg)
        coordinates, shared = coordinates_of(settings, facts.schema), differences(settings, facts.schema)
        number = len(places.found)
        columns = [
            Column(facts.address(name, i, what), gate=facts.gate(name, i + 1))
            for what in (*COLUMNS[coordinates], *shared)
            for i in range(number)
        ]
        variables = [
            DiscreteVariable.of(facts.address(name, i, "found"), (0.0, 1.0))
            for i, classes in enumerate(places.found)
            if len(classes) > 1
        ]
        low, high = places.fakes
        if high > low:
            values = tuple(float(v) for v in range(low, high + 1))
            address = Address(name, None, "fakes")
            variables.append(
                DiscreteVariable(fakes_name(name), len(values), values, ordinal=True, address=address)
            )
        return cls(
            collection=name,
            columns=tuple(columns),
            variables=tuple(variables),
            settings=settings,
            places=places,
            coordinates=coordinates,
            differences=shared,
        )

    # ------------------------------------------------------------------ encoding

    @classmethod
    def arranged(cls, settings: ResponseConfig, reading: Reading) -> Reading:
        """The events with the detector's objects in their places."""
        name, facts = settings.collection, reading.facts
        places, schema = facts.places[name], reading.events.schema
        kind = distance_kind(settings, schema)
        partner = match(reading.events, settings.of, name, kind, settings.within)
        objects, fakes = in_places(reading.events, name, partner, places.width)
        low, high = places.fakes

        def unlike(event: int) -> InputError:
            msg = (
                f"{int(fakes[event])} {name} that belong to no {settings.of}, but {low} to {high} in the "
                "events that were learned from"
            )
            return InputError(msg, branch=facts.collection(name).counter, entry=event)

        reading.refuse((fakes < low) | (fakes > high), unlike)
        return reading.with_objects(name, objects)

    def read(self, reading: Reading) -> Encoded:
        """Columns (N, D) and classes (N, K).

        Raises:
            InputError: If an object was lost that never was in training, or found.
        """
        there, number = reading.there(self.collection), self._number
        found = there[:, :number]
        true = Kinematics({n: reading.kinematics(self.settings.of)[n] for n in _CARTESIAN})
        k = reading.kinematics(self.collection)
        measured = Kinematics({n: k[n][:, :number] for n in _CARTESIAN})
        parts = self._deviations(true, measured)
        for name in self.differences:
            own = reading.values(self.collection, name)[:, :number]
            parts.append((own - reading.values(self.settings.of, name)).to(torch.float64))
        classes = [reading.no_classes()]
        for i, known in enumerate(self.places.found):
            if len(known) > 1:
                classes.append(found[:, i : i + 1].long())
            else:
                reading.refuse(found[:, i] != bool(known[0]), partial(self._unseen, i))
        low, high = self.places.fakes
        if high > low:
            fakes = there[:, number:].sum(1, keepdim=True)
            classes.append((fakes - low).clamp(0, high - low))
        columns = torch.cat([torch.where(found, p, 0.0) for p in parts], 1)
        return Encoded(columns, torch.cat(classes, 1))

    def _unseen(self, i: int, event: int) -> InputError:
        what = "lost" if self.places.found[i] == (1,) else "found"
        msg = (
            f"{self.settings.of}[{i}] is {what} in {self.collection}, which never happened in the events "
            "that were learned from"
        )
        return InputError(msg, entry=event)

    def _deviations(self, true: Kinematics, measured: Kinematics) -> list[Tensor]:
        if self.coordinates == "transverse":
            ratio = measured["pt"].clamp(min=_TINY) / true["pt"].clamp(min=_TINY)
            return [
                ratio.log(),
                measured.bounded("eta") - true.bounded("eta"),
                wrap(measured["phi"] - true["phi"]),
            ]
        ratio = measured["p"].clamp(min=_TINY) / true["p"].clamp(min=_TINY)
        direction, polar, azimuthal = _frame(true)
        own = torch.stack([measured[n] for n in _CARTESIAN], -1)
        own = own / measured["p"].clamp(min=_TINY).unsqueeze(-1)
        along, u, v = ((own * axis).sum(-1) for axis in (direction, polar, azimuthal))
        across = safe_sqrt(u**2 + v**2)
        stretch = azimuth(along, across) / torch.where(across > 0, across, 1.0)
        return [ratio.log(), u * stretch, v * stretch]

    # ------------------------------------------------------------------ decoding

    def known(self, present: Callable[[str], Tensor]) -> Tensor | None:
        """An object that is not there is not found; one that never was lost is found."""
        given = present(self.settings.of)
        if bool(given.all()) and all(self.places.lost):
            return None
        columns = [torch.zeros(len(given), 0, dtype=torch.int64, device=given.device)]
        for i, classes in enumerate(self.places.found):
            if len(classes) > 1:
                one = torch.full((len(given), 1), -2 if self.places.lost[i] else 1, device=given.device)
                columns.append(torch.where(given[:, i : i + 1], one, 0))
        if self.places.fakes[1] > self.places.fakes[0]:
            columns.append(torch.full((len(given), 1), -2, device=given.device))
        return torch.cat(columns, 1)

    def write(self, encoded: Encoded, draft: Draft) -> None:
        """Puts in the momenta of objects that are found, and tells which places have an object."""
        columns, number = encoded.columns, self._number
        parts = [columns[:, i * number : (i + 1) * number] for i in range(columns.shape[1] // max(number, 1))]
        true = draft.given_kinematics(self.settings.of)
        if self.coordinates == "transverse":
            known = {
                "pt": true["pt"] * parts[0].clamp(-FARTHEST, FARTHEST).exp(),
                "eta": true.bounded("eta") + parts[1],
                "phi": wrap(true["phi"] + parts[2]),
            }
        else:
            known = _turned(true, *parts[:3])
        mass = draft.mass(self.collection)
        if mass is not None:
            known["mass"] = mass[:, :number]
        if number:
            draft.put_momenta(self.collection, range(number), Kinematics(known))
        for name, difference in zip(self.differences, parts[3:], strict=True):
            own = draft.given_field(self.settings.of, name) + difference
            draft.put_field(self.collection, name, own, range(number))
        draft.mark(self.collection, self._present(encoded.classes, draft))

    def _present(self, classes: Tensor, draft: Draft) -> Tensor:
        """Which places (N, width) have an object."""
        at, columns = 0, []
        there = draft.given[self.settings.of].mask
        for i, possible in enumerate(self.places.found):
            if len(possible) > 1:
                columns.append((classes[:, at] == 1) & there[:, i])
                at += 1
            else:
                columns.append(there[:, i] & bool(possible[0]))
        low, high = self.places.fakes
        fakes = classes.new_full((draft.size,), low) if high == low else classes[:, at] + low
        columns += [fakes > j for j in range(high)]
        return torch.stack(columns, 1)


def _turned(true: Kinematics, log_p: Tensor, tilt: Tensor, turn: Tensor) -> dict[str, Tensor]:
    direction, polar, azimuthal = _frame(true)
    angle = safe_sqrt(tilt**2 + turn**2)
    across = torch.sinc(angle / torch.pi)
    made = angle.cos().unsqueeze(-1) * direction
    made = made + (across * tilt).unsqueeze(-1) * polar + (across * turn).unsqueeze(-1) * azimuthal
    p = true["p"] * log_p.clamp(-FARTHEST, FARTHEST).exp()
    return dict(zip(_CARTESIAN, (p.unsqueeze(-1) * made).unbind(-1), strict=True))


def _frame(true: Kinematics) -> tuple[Tensor, Tensor, Tensor]:
    """Unit vectors (N, V, 3): along momenta, towards larger theta, and towards larger phi."""
    p, pt = true["p"].clamp(min=_TINY), true["pt"]
    cos, sin = true["pz"] / p, pt / p
    along = pt > 0
    safe = torch.where(along, pt, 1.0)
    x, y = torch.where(along, true["px"] / safe, 1.0), torch.where(along, true["py"] / safe, 0.0)
    return (
        torch.stack([sin * x, sin * y, cos], -1),
        torch.stack([cos * x, cos * y, -sin], -1),
        torch.stack([-y, x, torch.zeros_like(x)], -1),
    )


# ---------------------------------------------------------------------- what both collections have


def coordinates_of(settings: ResponseConfig, schema: EventSchema) -> Literal["polar", "transverse"]:
    """What is asked for, or ``transverse`` for a detector's objects stored with pt, else ``polar``."""
    if settings.coordinates is not None:
        return settings.coordinates
    return "transverse" if "pt" in schema.collection(settings.collection).field_names else "polar"


def distance_kind(settings: ResponseConfig, schema: EventSchema) -> Distance:
    """The distance by which objects are matched."""
    return "delta_r" if coordinates_of(settings, schema) == "transverse" else "angle"


def differences(settings: ResponseConfig, schema: EventSchema) -> tuple[str, ...]:
    """Fields that both have, and that are no part of the momentum: continuous ones without spikes."""
    true, measured = schema.collection(settings.of), schema.collection(settings.collection)
    return tuple(
        f.name
        for f in measured.fields
        if f.name in true.field_names
        and f.name not in MOMENTUM
        and _continuous(measured, f.name)
        and _continuous(true, f.name)
    )


def _continuous(described: Collection, name: str) -> bool:
    field = described.field(name)
    return field.kind is Kind.CONTINUOUS and not field.atoms and np.dtype(field.dtype).kind == "f"


# ---------------------------------------------------------------------- which object belongs to which


def distances(true: Kinematics, measured: Kinematics, kind: Distance) -> Tensor:
    """(N, V, M) of V true and M measured objects: the angle between them, or delta R."""
    if kind == "delta_r":
        deta = true.bounded("eta").unsqueeze(2) - measured.bounded("eta").unsqueeze(1)
        dphi = wrap(true["phi"].unsqueeze(2) - measured["phi"].unsqueeze(1))
        return (deta**2 + dphi**2).sqrt()
    a, b = (torch.stack([k["px"], k["py"], k["pz"]], -1) for k in (true, measured))
    a, b = (v / v.norm(dim=-1, keepdim=True).clamp(min=1e-300) for v in (a, b))
    # The arc cosine of a scalar product loses small angles.
    return 2 * torch.asin(((a.unsqueeze(2) - b.unsqueeze(1)).norm(dim=-1) / 2).clamp(max=1.0))


@torch.no_grad()
def match(events: EventBatch, true: str, measured: str, kind: Distance, within: float) -> Tensor:
    """For each true object the measured one that belongs to it, (N, V); -1 if there is none.

    The nearest pair of an event first, one to one, as long as pairs are near enough. Where every event has
    one object of each, they belong together, however far apart.

    Args:
        events: N events.
        true: The collection of true objects.
        measured: The collection of measured objects.
        kind: What is near.
        within: The largest distance.
    """
    schemas = events.schema.collection(true), events.schema.collection(measured)
    if all(s.min_count == s.max_count == 1 for s in schemas):
        return torch.zeros(len(events), 1, dtype=torch.int64, device=events.device)
    found = distances(raw_kinematics(events, true), raw_kinematics(events, measured), kind)
    for axis, name in ((2, true), (1, measured)):
        found = torch.where(events.collections[name].mask.unsqueeze(axis), found, torch.inf)
    size, number, others = found.shape
    partner = torch.full((size, number), -1, dtype=torch.int64, device=events.device)
    every = torch.arange(size, device=events.device)
    for _ in range(min(number, others)):
        nearest, place = found.reshape(size, -1).min(1)
        rows = every[nearest <= within]
        if not len(rows):
            break
        i, j = place[rows] // others, place[rows] % others
        partner[rows, i] = j
        found[rows, i, :] = torch.inf
        found[rows, :, j] = torch.inf
    return partner


def find_places(settings: ResponseConfig, events: EventBatch) -> Places:
    """What occurs in training events."""
    true, measured = (events.collections[n].mask for n in (settings.of, settings.collection))
    kind = distance_kind(settings, events.schema)
    has = match(events, settings.of, settings.collection, kind, settings.within) >= 0
    fakes = measured.sum(1) - has.sum(1)
    return Places(
        settings.of,
        tuple(tuple(torch.unique(column.long()).tolist()) for column in has.unbind(1)),
        tuple((~has & true).any(0).tolist()),
        (int(fakes.min()), int(fakes.max())),
    )


def in_places(events: EventBatch, measured: str, partner: Tensor, width: int) -> tuple[Objects, Tensor]:
    """The measured objects in the places (N, width) of their partners (N, V), then the others in their order.

    Returns:
        The objects, with a mask that may have holes; and the number of others (N,), which may be more than
        there are places for.
    """
    objects = events.collections[measured]
    most = objects.shape[1]
    slots = torch.arange(most, device=partner.device)
    there = slots < objects.mask.sum(1, keepdim=True)
    taken = (partner.unsqueeze(2) == slots).any(1)
    fake = there & ~taken
    order = torch.sort(fake.to(torch.int8), dim=1, descending=True, stable=True).indices
    fakes = fake.sum(1)
    places = width - partner.shape[1]
    if most < places:
        order = torch.nn.functional.pad(order, (0, places - most))
    index = torch.cat([partner.clamp(min=0), order[:, :places]], 1)
    more = torch.arange(places, device=partner.device) < fakes.unsqueeze(1)
    mask = torch.cat([partner >= 0, more], 1)
    placed = {n: v.gather(1, index).masked_fill(~mask, 0) for n, v in objects.fields.items()}
    return Objects(placed, mask), fakes


def without_holes(objects: Objects, described: Collection) -> Objects:
    """The objects of a collection in their order, moved to the front of as many slots as it has."""
    order = torch.sort(objects.mask.to(torch.int8), dim=1, descending=True, stable=True).indices
    lacking = max(described.max_count - order.shape[1], 0)

    def moved(values: Tensor) -> Tensor:
        return torch.nn.functional.pad(values.gather(1, order), (0, lacking))[:, : described.max_count]

    fields = {n: moved(v) for n, v in objects.fields.items()}
    return Objects(fields, None if described.fixed else moved(objects.mask))
