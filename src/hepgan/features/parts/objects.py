"""The momenta of a collection's objects, one after another, with ranges that may depend on the event."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Set
from functools import cached_property
from typing import Literal, Self

import torch
from pydantic import Field as Setting
from pydantic import field_validator, model_validator
from torch import Tensor

from hepgan.config import Config
from hepgan.errors import InputError, RecipeError
from hepgan.events.batch import Objects
from hepgan.features.draft import Draft
from hepgan.features.facts import MOMENTUM, Facts
from hepgan.features.parts.base import Encoded, Part, TransformSpec, circular_mean
from hepgan.features.precise import constant
from hepgan.features.reading import Reading, Refusal
from hepgan.features.variables import Column
from hepgan.observables.evaluate import evaluate
from hepgan.observables.language import CONSTANTS, parse
from hepgan.vectors.kinematics import Kinematics, wrap

__all__ = ["End", "ObjectsConfig", "ObjectsPart", "Range"]


End = float | str | None
"""An end of a range: a number, an expression, or none."""

SLACK = 1e-3
"""By how much of its range, or of the end's and its own size, a training event's number may be outside."""


class Range:
    """A coordinate's range, whose ends may be expressions of numbers of the event and other coordinates.

    A number with two ends becomes the share of its range below it, in [0, 1]; with one end, its distance from
    that end. The inverse never leaves the range, whatever it is given; of a range whose ends cross, only the
    lower one is left.

    Args:
        name: What the range is of, for messages.
        low: Lower end: a number, an expression, or None.
        high: Upper end.
        known: The names that expressions may use.

    Raises:
        RecipeError: If an expression uses anything else, or there is no end.
    """

    def __init__(self, name: str, low: End, high: End, known: Set[str]) -> None:
        self.name, self.low, self.high = name, low, high
        if low is None and high is None:
            msg = f"ranges: {name} has no end"
            raise RecipeError(msg)
        for end in (low, high):
            unknown = sorted(parse(end).names - known - set(CONSTANTS)) if isinstance(end, str) else []
            if unknown:
                msg = f"ranges: {name} depends on {unknown[0]!r}; it may depend on {', '.join(sorted(known))}"
                raise RecipeError(msg)

    @property
    def shared(self) -> bool:
        """Whether there are two ends, so that numbers become shares."""
        return self.low is not None and self.high is not None

    def forward(
        self,
        values: Tensor,
        known: Mapping[str, Tensor],
        present: Tensor,
        refuse: Refusal | None = None,
    ) -> Tensor:
        """Shares or distances of numbers, 0 or more.

        Args:
            values: (N, M) numbers.
            known: (N,) or (N, M) numbers that the ends depend on, by name.
            present: (N, M) where there is a number.
            refuse: What becomes of events with a number outside; an error by default.

        Raises:
            InputError: If a number is outside its range by more than 0.1%.
        """
        refuse = Refusal() if refuse is None else refuse
        low, high = (self._end(end, known, values) for end in (self.low, self.high))
        if low is not None and high is not None:
            width = (high - low).clamp(min=0.0)
            share = (values - low) / torch.where(width > 0, width, 1.0)
            self._check(torch.maximum(-share, share - 1), values, (low, high), present, refuse)
            return share.clamp(0.0, 1.0)
        edge, distance = (low, values - low) if low is not None else (high, high - values)  # type: ignore[operator]
        size = torch.maximum(edge.abs(), values.abs()).clamp(min=1e-300)  # type: ignore[union-attr]
        self._check(-distance / size, values, (low, high), present, refuse)
        return distance.clamp(min=0.0)

    def _check(
        self,
        excess: Tensor,
        values: Tensor,
        ends: tuple[Tensor | None, Tensor | None],
        present: Tensor,
        refuse: Refusal,
    ) -> None:
        outside = ~(excess <= SLACK) & present

        def error(event: int) -> InputError:
            slot = int(outside[event].nonzero()[0])
            low, high = ("none" if e is None else f"{float(e[event, slot]):g}" for e in ends)
            msg = (
                f"{self.name} is {float(values[event, slot]):g}, outside its range {low} ... {high} "
                f"({int(outside.any(1).sum())} of {len(values)} events)"
            )
            return InputError(msg, entry=event)

        refuse(outside.any(1), error)

    def inverse(self, columns: Tensor, known: Mapping[str, Tensor]) -> Tensor:
        """The numbers (N, M) of shares or distances, which may be anything."""
        low, high = (self._end(end, known, columns) for end in (self.low, self.high))
        if low is not None and high is not None:
            # Measured from the nearer end, so that rounding doesn't cross the other one.
            share, width = columns.clamp(0.0, 1.0), (high - low).clamp(min=0.0)
            values = torch.where(share < 0.5, low + share * width, high - (1 - share) * width)
            return torch.maximum(values, low)
        distance = columns.clamp(min=0.0)
        return low + distance if low is not None else high - distance  # type: ignore[operator]

    def _end(self, end: End, known: Mapping[str, Tensor], like: Tensor) -> Tensor | None:
        if end is None:
            return None
        if not isinstance(end, str):
            return torch.full_like(like, float(end))
        numbers = {n: v if v.ndim == 2 else v.unsqueeze(1) for n, v in known.items()}
        source = _Numbers({n: v.to(like).expand_as(like).reshape(-1) for n, v in numbers.items()})
        found = evaluate(parse(end), source)
        return found.data.to(like).reshape(like.shape)


class _Numbers:
    """Numbers (N,) by name, as the language of observables sees them."""

    def __init__(self, numbers: Mapping[str, Tensor]) -> None:
        self._numbers = numbers

    @property
    def names(self) -> Collection[str]:
        return self._numbers.keys()

    @property
    def schema(self) -> None:
        return None

    def objects(self, name: str, fields: Set[str]) -> Objects | None:
        return None

    def scalar(self, name: str) -> Tensor | None:
        return self._numbers.get(name)


TRANSVERSE = ({"px", "py"}, {"pt", "phi"})
LONGITUDINAL = ({"pz"}, {"eta"}, {"theta"}, {"y"})
POLAR = tuple({length, angle, "phi"} for length in ("p", "energy") for angle in ("theta", "costheta"))
COMPLETE = (
    *(t | z for t in TRANSVERSE for z in LONGITUDINAL),
    *POLAR,
    {"plus", "minus", "phi"},
    {"px", "py", "pz", "energy"},
)
LIMITS = {"theta": (0.0, math.pi), "costheta": (-1.0, 1.0), "phi": (-math.pi, math.pi)}
POSITIVE = ("pt", "p", "energy", "plus", "minus")
SORTABLE = ("pt", "p", "energy")
CONSERVED = 1e-5
"""By how much of the summed magnitudes a conserved sum may be off, from rounding in the file."""

Bounds = tuple[float | None, float | None]


class ObjectsConfig(Config):
    """The momenta of a collection's objects.

    Attributes:
        collection: The collection.
        coordinates: What stands for the momentum, the mass aside: an azimuthal part (``px, py`` or ``pt,
            phi``) with one of ``pz, eta, theta, y``; or a length (``p``, ``energy``) with ``theta`` or
            ``costheta`` and ``phi``; or, of objects that are nearly massless, the light-cone momenta ``plus``
            (E + pz) and ``minus`` (E - pz) with ``phi``. With ``energy`` added to ``px, py, pz`` the energy
            is generated too, and the mass shell is left to the network, as some published systems have it. By
            default ``pt, eta, phi`` where the file has pt, else ``px, py, pz``; ``px, py`` for one transverse
            object. A file that has only some of them (``pt``) has just these as columns.
        order: The coordinate by which the objects descend (kept by construction), False if they do not;
            None to find out from the events.
        count: ``class``: the number of objects is drawn first. ``threshold``: absent objects are zeros, and
            objects count if they pass ``threshold``, as some published systems have it.
        threshold: Least value of coordinates, for ``count: threshold``.
        ranges: Lowest and highest value of coordinates, which no generated object exceeds: numbers, null for
            an open end, or expressions of numbers of the event and of coordinates listed before, as in
            ``{pz: [null, beam_energy]}``. With two ends the column is the share of the range below the value,
            with one end the distance from it.
        conserve: Components (``px``, ``py``, ``pz``) whose sum over the objects has a given value; the last
            object's are solved for.
        transforms: Transforms by column: ``pt`` for all objects, ``Jet[0].pt`` for one; ``pt_ratio`` for the
            ratio to the previous object, where they are ordered; ``mass`` for their masses.
        pca: Whether to decorrelate the columns.
    """

    kind: Literal["objects"] = "objects"
    collection: str
    coordinates: tuple[str, ...] | None = None
    order: str | Literal[False] | None = None
    count: Literal["class", "threshold"] = "class"
    threshold: dict[str, float] = Setting(default_factory=dict)
    ranges: dict[str, tuple[End, End]] = Setting(default_factory=dict)
    conserve: dict[Literal["px", "py", "pz"], float] = Setting(default_factory=dict)
    transforms: dict[str, TransformSpec] = Setting(default_factory=dict)
    pca: bool = False

    @model_validator(mode="after")
    def _threshold_belongs_to_its_count(self) -> ObjectsConfig:
        if (self.count == "threshold") != bool(self.threshold):
            msg = f"{self.collection}: count: threshold goes with threshold: {{pt: 15}}"
            raise ValueError(msg)
        return self

    @field_validator("ranges")
    @classmethod
    def _ranges_are_of_the_language(cls, value: dict[str, tuple[End, End]]) -> dict[str, tuple[End, End]]:
        for name, ends in value.items():
            for end in ends:
                try:
                    parse(end if isinstance(end, str) else "1")
                except RecipeError as error:
                    msg = f"{name}: {error.message}"
                    raise ValueError(msg) from None
        return value


class ObjectsPart(Part):
    """Momenta of objects, one column for each coordinate and object.

    In a descending order, each object after the first has the ratio of its distance from the edge to that of
    the object before it, in [0, 1]; the edge is the recipe's bound, or lies just below the smallest value. A
    column ``energy`` that comes with a mass is the kinetic energy, so that E >= m. Azimuths are cut opposite
    to their mean direction. Where a file has only some coordinates (``pt`` alone), these are the columns. A
    coordinate with a range of the recipe's is a share of it, or a distance from its only end.

    Attributes:
        settings: The recipe's settings.
        slots: The objects.
        coordinates: What stands for the momentum, the mass aside.
        partial: Whether they make no momentum.
        massive: Whether there are masses beside them.
        order: The coordinate by which they descend by construction.
        low: Its edge.
        centre: Opposite to which the azimuth of each is cut.
        scalars: The numbers of the event that ranges may depend on.
    """

    kind: Literal["objects"] = "objects"
    settings: ObjectsConfig
    slots: tuple[int, ...]
    coordinates: tuple[str, ...]
    partial: bool
    massive: bool
    order: str | None
    low: float
    centre: tuple[float, ...]
    scalars: tuple[str, ...]

    @property
    def optional(self) -> frozenset[str]:
        """Ratios, which there are in ordered collections, and the mass, which may be a field."""
        return frozenset({*(f"{c}_ratio" for c in self.coordinates), "mass"})

    @cached_property
    def _ranges(self) -> dict[str, Range]:
        return _ranges(self.settings, self.coordinates, self.scalars)

    # ------------------------------------------------------------------ learning

    @classmethod
    def learn(
        cls, settings: ObjectsConfig, reading: Reading, slots: tuple[int, ...], edges: dict[str, Bounds]
    ) -> Self:
        """Finds the edge of an ordered coordinate, and where azimuths are cut.

        Args:
            settings: The recipe's settings.
            reading: The training events.
            slots: The objects.
            edges: Lowest and highest value of a coordinate, where the recipe bounds it.

        Raises:
            RecipeError: If the coordinates make no momentum, or don't allow what else is asked for.
        """
        facts, name = reading.facts, settings.collection
        chosen = coordinates_of(settings, facts)
        _check(settings, facts, slots, chosen)
        ranges = _ranges(settings, chosen, facts.schema.scalar_names)
        k, present = reading.kinematics(name), reading.mask(name)[:, list(slots)]
        order, descending, low = facts.orders.get(name), None, 0.0
        # Objects sorted by another measurement than the momentum's own are sorted when all is decoded.
        apart = order is not None and facts.deviation(name, order) is not None
        apart = apart or order in ranges or name in facts.padded
        if order in chosen and order in SORTABLE and len(slots) > 1 and not apart:
            descending = order
            if order != "energy" or not _massive(facts, name, chosen):
                values = k[str(order)][:, list(slots)][present]
                bound = edges.get(str(order), (None, None))[0]
                smallest = float(values.min()) if values.numel() else 0.0
                spread = float(values.max()) - smallest if values.numel() else 0.0
                below = max(smallest - max(1e-3 * spread / max(len(reading), 1), 1e-6 * smallest), 0.0)
                low = below if bound is None else bound
        for component, target in settings.conserve.items():
            _check_conserved(name, k[component], reading.mask(name), component, target)
        centres = circular_mean(k["phi"][:, list(slots)], present) if "phi" in chosen else [0.0] * len(slots)
        scale = 0.0
        if "px" in chosen:
            size = (k["pt"] if {"px", "py"} <= set(k.known) else k["px"].abs())[:, list(slots)][present]
            scale = float(size.max()) if size.numel() else 0.0
        return cls.make(settings, facts, slots, edges, descending, low, tuple(centres), scale)

    @classmethod
    def make(
        cls,
        settings: ObjectsConfig,
        facts: Facts,
        slots: tuple[int, ...],
        edges: dict[str, Bounds],
        order: str | None,
        low: float,
        centre: tuple[float, ...],
        scale: float,
    ) -> Self:
        """The part of these constants, its columns coordinate by coordinate.

        Args:
            settings: The recipe's settings.
            facts: What is known of the events.
            slots: The objects.
            edges: Lowest and highest value of a coordinate, where the recipe bounds it.
            order: See the attributes.
            low: Likewise.
            centre: Likewise.
            scale: The largest transverse momentum.
        """
        chosen = coordinates_of(settings, facts)
        ranges = _ranges(settings, chosen, facts.schema.scalar_names)
        columns = []
        for coordinate in chosen:
            for i, slot in enumerate(slots):
                # The last object's conserved component is solved for, whichever object is the last.
                needed = slot + 2 if coordinate in settings.conserve else slot + 1
                gate = facts.gate(settings.collection, needed)
                own, size = LIMITS.get(coordinate, (None, None)), scale
                if coordinate == order and i > 0:
                    address = facts.address(settings.collection, slot, f"{coordinate}_ratio")
                    columns.append(Column(address, 0.0, 1.0, gate, 1.0))
                    continue
                least, most = edges.get(coordinate, (None, None))
                least, most = own[0] if least is None else least, own[1] if most is None else most
                if coordinate in POSITIVE:
                    least = max(least or 0.0, low if coordinate == order else 0.0)
                if coordinate == "phi":
                    least, most, size = -math.pi, math.pi, 1.0
                if coordinate in ranges:
                    shared = ranges[coordinate].shared
                    least, most, size = 0.0, 1.0 if shared else None, 1.0 if shared else 0.0
                address = facts.address(settings.collection, slot, coordinate)
                # Of what only rounding is left in comparison with other numbers, digits tell nothing.
                dtype = (
                    None
                    if size or coordinate in ranges
                    else _stored_type(facts, settings.collection, coordinate)
                )
                columns.append(Column(address, least, most, gate, size, dtype=dtype))
        return cls(
            collection=settings.collection,
            columns=tuple(columns),
            settings=settings,
            slots=slots,
            coordinates=chosen,
            partial=is_partial(facts, settings.collection),
            massive=_massive(facts, settings.collection, chosen),
            order=order,
            low=low,
            centre=centre,
            scalars=facts.schema.scalar_names,
        )

    # ------------------------------------------------------------------ encoding

    def read(self, reading: Reading) -> Encoded:
        """Columns (N, D), coordinate by coordinate; no classes."""
        k = reading.kinematics(self.collection)
        slots = list(self.slots)
        present = reading.mask(self.collection)[:, slots]
        there = reading.there(self.collection)[:, slots]
        columns = []
        for coordinate in self.coordinates:
            # Absent objects are zeros.
            values = torch.where(there, k.bounded(coordinate)[:, slots], 0.0)
            if coordinate in self._ranges:
                known = {n: v.to(torch.float64) for n, v in reading.events.scalars.items()}
                known |= {c: k[c][:, slots] for c in self.coordinates}
                values = self._ranges[coordinate].forward(values, known, present, reading.refuse)
            elif coordinate == "energy" and self.massive:
                values = self._kinetic(values, k["mass"][:, slots])
            elif coordinate == self.order:
                values = _ratios(values - self.low)
                values[:, 0] += self.low
            if coordinate == "phi":
                values = wrap(values - constant(self.centre, reading.device))
            columns.append(values)
        return Encoded(torch.cat(columns, 1), reading.no_classes())

    def _kinetic(self, energy: Tensor, mass: Tensor) -> Tensor:
        kinetic = (energy - mass).clamp(min=0.0)
        if self.order != "energy":
            return kinetic
        room = (energy[:, :-1] - mass[:, 1:]).clamp(min=0.0)
        ratio = kinetic[:, 1:] / torch.where(room > 0, room, 1.0)
        return torch.cat([kinetic[:, :1], ratio], 1)

    # ------------------------------------------------------------------ decoding

    def write(self, encoded: Encoded, draft: Draft) -> None:
        """Puts in the momenta, and sets the number of objects where it goes by a threshold."""
        mass = draft.mass(self.collection)
        k = self.momenta(encoded.columns, None if mass is None else mass[:, list(self.slots)], draft)
        turned = k if draft.azimuth is None else k.rotated(draft.azimuth.unsqueeze(1))
        if self.partial:
            for coordinate in self.coordinates:
                draft.put_field(self.collection, coordinate, turned.bounded(coordinate), self.slots)
        else:
            draft.put_momenta(self.collection, self.slots, turned)
        if self.settings.threshold:
            present = torch.ones_like(encoded.columns[:, : len(self.slots)], dtype=torch.bool)
            for name, least in self.settings.threshold.items():
                present = present & (k.known[name] > least)
            draft.mark(self.collection, present)

    def momenta(self, columns: Tensor, mass: Tensor | None, draft: Draft) -> Kinematics:
        """The momenta (N, M), before events are turned.

        Args:
            columns: (N, D).
            mass: (N, M) the masses; None if there are none.
            draft: The event, of whose numbers ranges and conserved sums are.
        """
        number = len(self.slots)
        known: dict[str, Tensor] = {}
        for i, coordinate in enumerate(self.coordinates):
            values = columns[:, i * number : (i + 1) * number]
            if coordinate in self.settings.conserve:
                values = self._balanced(values, self.settings.conserve[coordinate], draft)
            if coordinate in self._ranges:
                values = self._ranges[coordinate].inverse(values, {**draft.scalars, **known})
                if coordinate == "energy" and mass is not None:
                    values = torch.maximum(values, mass)
            elif coordinate == "energy" and self.massive and mass is not None:
                values = self._total(values, mass)
            elif coordinate == self.order:
                first = values[:, :1] - self.low
                values = self.low + first * torch.cumprod(
                    torch.cat([torch.ones_like(first), values[:, 1:]], 1), 1
                )
            if coordinate == "phi":
                values = wrap(values + constant(self.centre, draft.device))
            known[coordinate] = values
        if mass is not None and self.massive:
            known["mass"] = mass
        return Kinematics(known)

    def _total(self, values: Tensor, mass: Tensor) -> Tensor:
        """Energies from kinetic energies, or from ratios of what the object before it leaves."""
        if self.order != "energy":
            return values + mass
        energies = [values[:, 0] + mass[:, 0]]
        for i in range(1, values.shape[1]):
            room = (energies[-1] - mass[:, i]).clamp(min=0.0)
            energies.append(mass[:, i] + values[:, i] * room)
        return torch.stack(energies, 1)

    def _balanced(self, values: Tensor, target: float, draft: Draft) -> Tensor:
        """The components with the last object's solved for."""
        slots = torch.arange(values.shape[1], device=values.device)
        last = draft.count(self.collection).unsqueeze(1) - 1
        others = torch.where(slots < last, values, 0.0)
        return torch.where(slots == last, target - others.sum(1, keepdim=True), others)


def is_partial(facts: Facts, collection: str) -> bool:
    """Whether a collection has no momentum, so that what coordinates it has are numbers of their own."""
    return not facts.collection(collection).coordinates


def coordinates_of(settings: ObjectsConfig, facts: Facts) -> tuple[str, ...]:
    """What stands for the momentum, the mass aside: the recipe's choice, or by what the file has."""
    if settings.coordinates is not None:
        return tuple(c for c in settings.coordinates if c != "mass")
    described = facts.collection(settings.collection)
    names = described.field_names
    if is_partial(facts, settings.collection):
        return tuple(n for n in names if n in MOMENTUM and n != "mass")
    if len(described.coordinates) == 2:
        return ("px", "py") if described.layout == "single" or "pt" not in names else ("pt", "phi")
    return ("pt", "eta", "phi") if "pt" in names else ("px", "py", "pz")


def _massive(facts: Facts, name: str, chosen: tuple[str, ...]) -> bool:
    return facts.massive(name) and set(chosen) != {"px", "py", "pz", "energy"}


def _stored_type(facts: Facts, collection: str, coordinate: str) -> str | None:
    """The type in which a file has a coordinate that is learned as it is; energies may be kinetic ones."""
    described = facts.collection(collection)
    if coordinate not in described.field_names or coordinate == "energy":
        return None
    return described.field(coordinate).dtype


def _ranges(settings: ObjectsConfig, chosen: tuple[str, ...], scalars: tuple[str, ...]) -> dict[str, Range]:
    """The recipe's ranges, with a coordinate's own ends where it leaves them open."""
    known, found = set(scalars), {}
    for coordinate in chosen:
        if coordinate in settings.ranges:
            low, high = settings.ranges[coordinate]
            own = LIMITS.get(coordinate, (0.0 if coordinate in POSITIVE else None, None))
            low, high = own[0] if low is None else low, own[1] if high is None else high
            found[coordinate] = Range(f"{settings.collection}.{coordinate}", low, high, known)
        known.add(coordinate)
    return found


def _check(
    settings: ObjectsConfig, facts: Facts, slots: tuple[int, ...], coordinates: tuple[str, ...]
) -> None:
    """Checks that the coordinates allow what is asked for.

    Raises:
        RecipeError: If they don't, or make no momentum.
    """
    chosen, name = set(coordinates), settings.collection
    wanted = TRANSVERSE if facts.dimensions(name) == 2 else COMPLETE
    there = set(facts.collection(name).field_names) & set(MOMENTUM)
    if is_partial(facts, name) and not chosen <= there:
        msg = f"{name}: has no {', '.join(sorted(chosen - there))} to take as coordinates"
        raise RecipeError(msg)
    if is_partial(facts, name) and facts.azimuth and len(chosen & {"px", "py"}) == 1:
        msg = f"azimuth: {name} has no transverse momentum, only one component, so it cannot be turned"
        raise RecipeError(msg)
    if not is_partial(facts, name) and chosen not in wanted:
        examples = "; ".join(", ".join(sorted(c)) for c in wanted)
        msg = f"{name}: {', '.join(coordinates)} make no momentum; choose from {examples}"
        raise RecipeError(msg)
    if len(chosen) < len(coordinates):
        msg = f"{name}: a coordinate occurs twice in {', '.join(coordinates)}"
        raise RecipeError(msg)
    for what, needed in (("conserve", settings.conserve), ("threshold", settings.threshold)):
        missing = [c for c in needed if c not in chosen]
        if missing:
            msg = f"{name}: {what} needs {missing[0]} among the coordinates, which are {sorted(chosen)}"
            raise RecipeError(msg)
    if settings.conserve and slots != tuple(range(facts.collection(name).max_count)):
        msg = f"{name}: conserve needs all objects in one block"
        raise RecipeError(msg)
    for coordinate in settings.ranges:
        wrong = coordinate == "phi" or coordinate in settings.conserve
        if wrong or coordinate not in chosen or name in facts.padded:
            msg = f"{name}: ranges cannot limit {coordinate!r} here"
            raise RecipeError(msg)


def _check_conserved(name: str, values: Tensor, mask: Tensor, component: str, target: float) -> None:
    values = torch.where(mask, values, 0.0)
    off = (values.sum(1) - target).abs() > CONSERVED * (values.abs().sum(1) + abs(target))
    if bool(off.any()):
        event = int(off.nonzero()[0])
        msg = (
            f"conserve: the {component} of {name} sums to {float(values[event].sum()):g}, "
            f"not {target:g} ({int(off.sum())} of {len(off)} events are off)"
        )
        raise RecipeError(msg, entry=event)


def _ratios(distance: Tensor) -> Tensor:
    """The first distance from the edge as it is, each other in units of the one before it."""
    before = distance[:, :-1]
    ratio = distance[:, 1:] / torch.where(before > 0, before, 1.0)
    return torch.cat([distance[:, :1], ratio.clamp(0.0, 1.0)], 1)
