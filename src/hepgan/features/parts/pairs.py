"""The momenta of a collection's objects, of which some are pairs that a resonance may decay into."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Annotated, Literal, Self

import torch
from pydantic import Field as Setting
from pydantic import field_validator
from torch import Tensor

from hepgan.config import Config
from hepgan.errors import InputError, RecipeError
from hepgan.events.batch import EventBatch, Objects
from hepgan.events.schema import Address
from hepgan.features.draft import Draft
from hepgan.features.facts import Facts
from hepgan.features.parts.base import Encoded, Part, Told, TransformSpec, circular_mean
from hepgan.features.parts.decay import DecayConfig, DecayPart
from hepgan.features.parts.objects import Bounds, ObjectsConfig, ObjectsPart
from hepgan.features.precise import constant
from hepgan.features.reading import Reading
from hepgan.features.variables import NEVER, Column, DiscreteVariable, Gate
from hepgan.vectors.frames import Momentum, pair_mass
from hepgan.vectors.kinematics import Kinematics

__all__ = ["MASS", "PairsConfig", "PairsPart", "number_of_pairs", "pairs_first"]

MASS = 3
"""The column of a pair that is its mass, after pt, phi and y."""


class PairsConfig(Config):
    """The momenta of a collection whose objects are products of a resonance in some events.

    In each event the two objects whose mass is nearest to the resonance's are a pair, then the nearest two of
    the others, until no two are left that can be one. Objects of a pair have opposite charges, if they have
    charges; of those without, any two can be one. So what is a pair follows from the discrete variables, and
    no range of masses is cut out: two muons of opposite charge that come from no resonance are a pair, too,
    whose mass is far away. A pair has the columns of a ``decay``: ``mass`` (above the objects' own), ``pt``,
    ``y`` and ``phi`` of both together, ``cos_theta`` and ``phi_star`` of the first in their rest frame; it is
    ``Muon.pair[0]``. Each other object has ``pt``, ``eta`` and ``phi``, and is ``Muon.single[0]``.

    Other fields of the objects are learned in this order, pairs first. When events are decoded, objects that
    descend in a coordinate are sorted again, with all their fields; of others the places of pairs are
    discrete variables.

    Attributes:
        collection: The collection, of two or more objects with momentum.
        mass: The mass of the resonance, in the events' unit: it decides between pairs where there are
            several.
        opposite: The field that has opposite values in a pair (``charge``, ``pdgId``); False if none has to
            be; None: ``charge``, where there is one.
        most: The most pairs in an event; as many as there can be by default.
        populations: Masses that divide pairs into populations, ascending: those of the resonance, and those
            below and above. Which one each pair is of is drawn first, together with all that is discrete, so
            that as many are of each as in the training events; each has a ``mass`` of its own. Not for pairs
            of ``systems``.
        transforms: Transforms by column: ``mass`` for all pairs, ``Muon.pair[0].mass`` for one, ``eta`` for
            all single objects.
    """

    kind: Literal["pairs"] = "pairs"
    collection: str
    mass: float = Setting(gt=0.0)
    opposite: str | Literal[False] | None = None
    most: int | None = Setting(default=None, ge=1)
    populations: tuple[Annotated[float, Setting(gt=0.0)], ...] = ()
    transforms: dict[str, TransformSpec] = Setting(default_factory=dict)

    @field_validator("populations")
    @classmethod
    def _ascend(cls, cuts: tuple[float, ...]) -> tuple[float, ...]:
        if any(a >= b for a, b in pairwise(cuts)):
            msg = f"populations are divided by ascending masses, not by {list(cuts)}"
            raise ValueError(msg)
        return cuts


class PairsPart(Part):
    """The momenta of a collection's objects as pairs and single objects; see ``PairsConfig`` for the columns.

    Attributes:
        settings: The recipe's settings.
        opposite: The field that has opposite values in a pair; empty if none has to be.
        pairs: The columns of each pair.
        singles: Those of objects that are in none.
        values: Of each object that can be in a pair the values of that field.
        places: Of each pair the places, first and second, that its objects have in the events, as one number;
            none if objects descend in a coordinate, which tells it.
        labels: For each object that can be in a pair the number of the variable with its value (-1 for none),
            and the value of each class.
        populations: Of each pair which populations there are, counted from 1, where the recipe has some; 0 if
            there can be no pair of the objects that it would be of.
    """

    kind: Literal["pairs"] = "pairs"
    settings: PairsConfig
    opposite: str
    pairs: tuple[DecayPart, ...]
    singles: ObjectsPart
    values: tuple[tuple[float, ...], ...]
    places: tuple[tuple[int, ...], ...]
    labels: tuple[tuple[int, tuple[float, ...]], ...] = ()
    populations: tuple[tuple[int, ...], ...] = ()

    @property
    def optional(self) -> frozenset[str]:
        """Ratios, which there are in ordered collections."""
        return self.singles.optional - {"mass"}

    # ------------------------------------------------------------------ learning

    @classmethod
    def learn(cls, settings: PairsConfig, reading: Reading, edges: dict[str, Bounds]) -> Self:
        """Finds the constants of pairs and single objects.

        Args:
            settings: The recipe's settings.
            reading: The training events.
            edges: Lowest and highest value of a coordinate, where the recipe bounds it.

        Raises:
            RecipeError: If the collection cannot have pairs.
        """
        name, facts = settings.collection, reading.facts
        opposite, most = _checked(settings, facts)
        width = facts.collection(name).max_count
        present, known = reading.there(name), _values(reading, name, opposite)
        number = number_of_pairs(known, reading.count(name), most)
        pairs = tuple(_pair(reading, name, j, number > j) for j in range(most))
        singles = ObjectsPart.learn(
            ObjectsConfig(collection=name, coordinates=("pt", "eta", "phi")),
            _alone(reading, name, number),
            tuple(range(width)),
            edges,
        )
        populations = [_populations(reading, settings, j, number > j) for j in range(most)]
        columns = [
            c for j in range(most) for c in _columns_of_pair(settings, j, facts, pairs[j], populations[j])
        ]
        columns += [_called(name, "single", i % width, facts, c) for i, c in enumerate(singles.columns)]
        values: list[tuple[float, ...]] = []
        for slot in range(0 if known is None else 2 * most):
            values.append(tuple(torch.unique(known[:, slot][present[:, slot]]).tolist()))  # type: ignore[index]
        places: list[tuple[int, ...]] = []
        for j in range(0 if name in facts.orders else most):
            # Places that no event has are a variable all the same, of one class.
            own = torch.unique(_places(reading, name, j)[number > j])
            places.append(tuple(own.tolist()) or (2 * j * width + 2 * j + 1,))
        variables = [
            DiscreteVariable.of(Address(name, None, f"pair[{j}].places"), tuple(map(float, own)))
            for j, own in enumerate(places)
        ]
        if settings.populations:
            variables += [_variable_of(name, facts, j, own) for j, own in enumerate(populations)]
        return cls(
            collection=name,
            columns=tuple(columns),
            variables=tuple(variables),
            settings=settings,
            opposite=opposite,
            pairs=pairs,
            singles=singles,
            values=tuple(values),
            places=tuple(places),
            populations=tuple(populations) if settings.populations else (),
        )

    def joined(self, variables: Sequence[DiscreteVariable], facts: Facts) -> Self:
        """The part that knows which variables tell the values that are opposite in a pair.

        Raises:
            RecipeError: If there are none.
        """
        numbers = {v.address: i for i, v in enumerate(variables)}
        labels: list[tuple[int, tuple[float, ...]]] = []
        for slot, values in enumerate(self.values):
            address = facts.address(self.collection, slot, self.opposite)
            number = numbers.get(address)
            if number is None and len(values) > 1:
                msg = f"pairs: {address} is not learned as classes, so it cannot say what is a pair"
                raise RecipeError(msg)
            known = values or (0.0,)
            labels.append((-1, known) if number is None else (number, variables[number].values))
        return self.model_copy(update={"labels": tuple(labels)})

    # ------------------------------------------------------------------ what is a pair

    @classmethod
    def arranged(cls, settings: PairsConfig, reading: Reading) -> Reading:
        """The events with the objects of pairs first.

        Raises:
            RecipeError: If the collection cannot have pairs.
        """
        name = settings.collection
        opposite, most = _checked(settings, reading.facts)
        objects = reading.events.collections[name]
        order = pairs_first(
            _stacked(reading, name), objects.mask, _values(reading, name, opposite), settings.mass, most
        )
        fields = {n: v.gather(1, order) for n, v in objects.fields.items()}
        return reading.with_objects(name, objects.with_fields(fields), order)

    def _pairs_in(self, values: Tensor | None, count: Tensor) -> Tensor:
        return number_of_pairs(values, count, len(self.pairs))

    @property
    def hint_count(self) -> int:
        """Whether there is each pair."""
        return len(self.pairs)

    def tell(self, discrete: Tensor, own: Tensor, count: Tensor) -> Told:
        """Which pairs and which single objects there are."""
        paired = self._paired(discrete, count).unsqueeze(1)
        pairs = torch.arange(len(self.pairs), device=discrete.device) < paired
        slots = torch.arange(len(self.singles.slots), device=discrete.device)
        alone = slots < count.unsqueeze(1) - 2 * paired
        each = self._each
        exists = [pairs.repeat_interleave(each, 1), alone.repeat(1, len(self.singles.coordinates))]
        return Told(torch.cat(exists, 1), pairs.to(torch.float64))

    def _paired(self, discrete: Tensor, count: Tensor) -> Tensor:
        """The number of pairs (N,) that classes (N, every K) and numbers of objects (N,) tell."""
        values: list[Tensor] = []
        for number, table in self.labels:
            known = constant(table, discrete.device)
            chosen = torch.zeros_like(count) if number < 0 else discrete[:, number].clamp(min=0)
            values.append(known[chosen])
        return self._pairs_in(torch.stack(values, 1) if self.labels else None, count)

    def settled(self, discrete: Tensor, own: Tensor, count: Tensor) -> Tensor | None:
        """Pairs that charges make, and whose population was not drawn, are of the resonance's."""
        if not self.populations:
            return None
        paired, first = self._paired(discrete, count), len(self.places)
        found = list(own.unbind(1))
        resonance = 1 + bisect_right(self.settings.populations, self.settings.mass)
        for j, populations in enumerate(self.populations):
            index, there = found[first + j], paired > j
            none = populations.index(0) if 0 in populations else None
            some = [k for k, p in enumerate(populations) if p]
            if none is not None:
                index = torch.where(~there & (index >= 0), none, index)
            if some:
                lacks = there & ((index < 0) | (index == (-1 if none is None else none)))
                taken = populations.index(resonance) if resonance in populations else some[0]
                index = torch.where(lacks, taken, index)
            found[first + j] = index
        return torch.stack(found, 1)

    def totals(self, reading: Reading) -> list[tuple[Tensor, Momentum]]:
        """For each pair in which events (N,) it is, and its momentum (N,); of others one without meaning."""
        name = self.collection
        number = self._pairs_in(_values(reading, name, self.opposite), reading.count(name))
        found = []
        for j in range(len(self.pairs)):
            a, b = _both(reading, name, j, number > j)
            px, py, pz = a.px + b.px, a.py + b.py, a.pz + b.pz
            found.append((number > j, Momentum(px, py, pz, pair_mass(a, b), a.energy + b.energy)))
        return found

    def origin(self, draft: Draft, number: int) -> tuple[Tensor, Tensor]:
        """In which events (N,) there is a pair, and what its mass (N,) is counted from."""
        paired, mass = self._masses(draft)
        there = paired[:, 2 * number]
        least = torch.where(paired, mass, 0.0)[:, 2 * number : 2 * number + 2].sum(1)
        return there, least.clamp(min=self.pairs[number].floors[0])

    def _masses(self, draft: Draft) -> tuple[Tensor, Tensor]:
        """Which objects (N, M) are in pairs, and the masses of all."""
        name, width = self.collection, len(self.singles.slots)
        values = draft.fields[name][self.opposite] if self.opposite else None
        number = self._pairs_in(values, draft.count(name))
        paired = torch.arange(width, device=draft.device) < 2 * number.unsqueeze(1)
        stored = draft.mass(name)
        return paired, paired.new_zeros(
            (draft.size, width), dtype=torch.float64
        ) if stored is None else stored

    @property
    def _each(self) -> int:
        """The number of columns of a pair: those of a decay, and masses of further populations."""
        return len(self.pairs[0].columns) + len(self.settings.populations)

    # ------------------------------------------------------------------ there and back

    def read(self, reading: Reading) -> Encoded:
        """Columns (N, D), of each pair and then of the single objects; and classes (N, K).

        Raises:
            InputError: If the objects of a pair have places that they have in no training event.
        """
        name = self.collection
        number = self._pairs_in(_values(reading, name, self.opposite), reading.count(name))
        columns = []
        for j, pair in enumerate(self.pairs):
            both = _both(reading, name, j, number > j)
            columns += [pair.columns_of(both)]
            # Masses of further populations are counted from where these begin.
            columns += [(pair_mass(*both) - cut).unsqueeze(1) for cut in self.settings.populations]
        columns.append(self.singles.read(_alone(reading, name, number)).columns)
        classes = [reading.no_classes()]
        for j, own in enumerate(self.places):
            found = _places(reading, name, j)
            classes.append(_classes(found, number > j, own, reading, partial(self._misplaced, j, found)))
        for j, own in enumerate(self.populations):
            found, there = _population(reading, self.settings, j, number > j), _room(reading, name, j)
            classes.append(_classes(found, there, own, reading, partial(self._unknown, j)))
        return Encoded(torch.cat(columns, 1), torch.cat(classes, 1))

    def _unknown(self, number: int, event: int) -> InputError:
        msg = f"no pair of {self.collection} that was learned from has a mass such as that of pair[{number}]"
        return InputError(msg, entry=event)

    def _misplaced(self, number: int, places: Tensor, event: int) -> InputError:
        first, second = divmod(int(places[event]), len(self.singles.slots))
        msg = (
            f"{self.collection}[{first}] and [{second}] were never the {'nearest' if not number else 'next'} "
            "pair in the events that were learned from"
        )
        return InputError(msg, entry=event)

    def write(self, encoded: Encoded, draft: Draft) -> None:
        """Puts in the momenta."""
        name, facts = self.collection, draft.facts
        count, width = draft.count(name), len(self.singles.slots)
        slots = torch.arange(width, device=draft.device)
        paired, mass = self._masses(draft)
        number = paired.sum(1) // 2
        wanted = [c for c in facts.collection(name).coordinates if c not in ("mass", "energy")]

        each, found = self._each, []
        for j, pair in enumerate(self.pairs):
            own = encoded.columns[:, j * each : (j + 1) * each]
            masses = [torch.where(paired[:, s], mass[:, s], 0.0) for s in (2 * j, 2 * j + 1)]
            if self.populations:
                origin = (masses[0] + masses[1]).clamp(min=pair.floors[0])
                own = self._of_population(j, own, encoded.classes, origin)
            made = pair.momenta(own, masses, draft.azimuth)
            found += [made[0], made[1]]
        both = Kinematics({n: torch.stack([getattr(v, n) for v in found], 1) for n in ("px", "py", "pz")})

        first = 2 * number.unsqueeze(1)
        of_singles = mass.gather(1, (slots + first).clamp(max=width - 1))
        alone = self.singles.momenta(
            encoded.columns[:, each * len(self.pairs) :],
            None if draft.mass(name) is None else of_singles,
            draft,
        )
        if draft.azimuth is not None:
            alone = alone.rotated(draft.azimuth.unsqueeze(1))
        known = {"mass": mass}
        for coordinate in wanted:
            ahead = torch.nn.functional.pad(both.bounded(coordinate), (0, width - len(found)))
            behind = alone.bounded(coordinate).gather(1, (slots - first).clamp(min=0))
            known[coordinate] = torch.where(paired, ahead, behind)
        draft.put_momenta(name, range(width), Kinematics(known))
        if self.places:
            draft.place(name, self._placed(encoded.classes, number, count))

    def _of_population(self, number: int, columns: Tensor, classes: Tensor, origin: Tensor) -> Tensor:
        """The columns (N, 6) of a pair, with the mass of the population that it is of.

        Args:
            number: Which pair.
            columns: (N, 6 + further populations).
            classes: (N, K).
            origin: What its mass (N,) is counted from.
        """
        chosen = classes[:, len(self.places) + number].clamp(min=0)
        population = constant(self.populations[number], columns.device, torch.int64)[chosen] - 1
        of_decay = len(self.pairs[0].columns)
        masses = [columns[:, MASS]]
        for k, cut in enumerate(self.settings.populations):
            masses.append((columns[:, of_decay + k] + cut - origin).clamp(min=0.0))
        mass = torch.stack(masses, 1).gather(1, population.clamp(min=0).unsqueeze(1))
        return torch.cat([columns[:, :MASS], mass, columns[:, MASS + 1 : of_decay]], 1)

    def _placed(self, classes: Tensor, number: Tensor, count: Tensor) -> Tensor:
        """The places (N, M) of objects that come as pairs and others; as they come, if places cannot be."""
        width = len(self.singles.slots)
        slots = torch.arange(width, device=classes.device)
        found = slots.repeat(len(classes), 1)
        free, possible = torch.ones_like(found, dtype=torch.bool), torch.ones_like(number, dtype=torch.bool)
        for j, own in enumerate(self.places):
            there = number > j
            places = constant(own, classes.device, torch.int64)[classes[:, j].clamp(min=0)]
            for slot, place in ((2 * j, places // width), (2 * j + 1, places % width)):
                index = place.unsqueeze(1)
                possible &= ~there | ((place < count) & free.gather(1, index)[:, 0])
                found[:, slot] = torch.where(there, place, slot)
                free.scatter_(1, index, free.gather(1, index) & ~there.unsqueeze(1))
        others = free.to(torch.int8).argsort(dim=1, descending=True, stable=True)
        first = 2 * number.unsqueeze(1)
        found = torch.where(slots < first, found, others.gather(1, (slots - first).clamp(min=0)))
        return torch.where(possible.unsqueeze(1), found, slots)


def pairs_first(momenta: Tensor, present: Tensor, values: Tensor | None, mass: float, most: int) -> Tensor:
    """The order (N, M) of objects in which pairs come first, and the others as they were.

    Args:
        momenta: (N, M, 5) px, py, pz, mass and energy.
        present: (N, M) which objects there are.
        values: (N, M) what is opposite in a pair, and not 0; None if any two objects can be one.
        mass: What the mass of a pair is to be near.
        most: The most pairs in an event.
    """
    width = present.shape[1]
    i, j = torch.triu_indices(width, width, 1, device=present.device)
    apart = (pair_mass(*(Momentum(*momenta[:, k].unbind(2)) for k in (i, j))) - mass).abs()
    free = present[:, i] & present[:, j]
    if values is not None:
        free &= (values[:, i] == -values[:, j]) & (values[:, i] != 0)
    place = (torch.arange(width, device=present.device) + 2 * most).repeat(len(present), 1)
    for k in range(most):
        nearest = torch.where(free, apart, torch.inf).argmin(1, keepdim=True)
        some = free.any(1, keepdim=True)
        for member, position in ((i[nearest], 2 * k), (j[nearest], 2 * k + 1)):
            place.scatter_(1, member, torch.where(some, position, place.gather(1, member)))
            free &= ~some | ((i != member) & (j != member))
    return place.argsort(1)


def number_of_pairs(values: Tensor | None, count: Tensor, most: int) -> Tensor:
    """The number of pairs (N,) among objects that are in the order of ``pairs_first``."""
    there = count.unsqueeze(1) >= 2 * torch.arange(1, most + 1, device=count.device)
    if values is None:
        return there.sum(1)
    first, second = values[:, 0 : 2 * most : 2], values[:, 1 : 2 * most : 2]
    return (there & (first == -second) & (first != 0)).cumprod(1).sum(1)


def _checked(settings: PairsConfig, facts: Facts) -> tuple[str, int]:
    """The field that is opposite in pairs (empty if none), and the most pairs.

    Raises:
        RecipeError: If the collection cannot have pairs.
    """
    name, described = settings.collection, facts.collection(settings.collection)
    if described.max_count < 2 or facts.dimensions(name) < 3 or name in facts.padded:
        msg = f"pairs: {name} has no pairs of objects with a three-dimensional momentum"
        raise RecipeError(msg)
    names = described.field_names
    opposite = settings.opposite
    if opposite is None:
        opposite = next((n for n in names if n.lower() == "charge"), "")
    if opposite and opposite not in facts.plain_fields(name):
        msg = f"pairs: {name} has no field {opposite!r}, which is to be opposite; or say opposite: false"
        raise RecipeError(msg)
    most = described.max_count // 2
    return opposite or "", most if settings.most is None else min(most, settings.most)


def _called(collection: str, what: str, number: int, facts: Facts, column: Column) -> Column:
    """A column of a pair or single object, which there can be if there are enough objects."""
    last = column.address.field
    address = Address(collection, None, f"{what}[{number}].{last}")
    gate = facts.gate(collection, 2 * number + 2 if what == "pair" else number + 1)
    return replace(column, address=address, gate=gate, aliases=(f"{what}.{last}", last))


def _classes(
    found: Tensor,
    there: Tensor,
    own: tuple[int, ...],
    reading: Reading,
    error: Callable[[int], InputError],
) -> Tensor:
    """The classes (N, 1) of numbers (N,) among those that there are; -1 where there is no pair."""
    known = constant(own, reading.device, torch.int64)
    index = torch.searchsorted(known, found.contiguous()).clamp(max=len(own) - 1)
    reading.refuse(there & (known[index] != found), error)
    return torch.where(there, index, -1).unsqueeze(1)


def _variable_of(
    collection: str, facts: Facts, number: int, populations: tuple[int, ...]
) -> DiscreteVariable:
    """The population of a pair, which is told of its second object: there is none without that."""
    slot = 2 * number + 1
    address = facts.address(collection, slot, "pair:population")
    return DiscreteVariable.of(address, tuple(map(float, populations)), slot)


def _columns_of_pair(
    settings: PairsConfig, number: int, facts: Facts, pair: DecayPart, populations: tuple[int, ...]
) -> list[Column]:
    """The columns of one pair: those of a decay, and masses of further populations."""
    name, cuts = settings.collection, settings.populations
    columns = [_called(name, "pair", number, facts, c) for c in pair.columns]
    if not cuts:
        return columns
    variable = _variable_of(name, facts, number, populations).name
    first, masses = columns[MASS], []
    for k, (low, high) in enumerate(zip((None, *cuts), (*cuts, None), strict=True)):
        at = populations.index(k + 1) if k + 1 in populations else None
        least = pair.floors[0] if low is None else low
        masses.append(
            replace(
                first,
                address=first.address._replace(field=f"{first.address.field}:{k + 1}")
                if k
                else first.address,
                high=None if high is None else high - least,
                gate=NEVER if at is None else Gate(variable, at, at),
                aliases=(first.name, *first.aliases) if k else first.aliases,
            )
        )
    return [*columns[:MASS], masses[0], *columns[MASS + 1 :], *masses[1:]]


def _room(reading: Reading, name: str, number: int) -> Tensor:
    """In which events (N,) there are enough objects for a pair."""
    return reading.count(name) > 2 * number + 1


def _population(reading: Reading, settings: PairsConfig, number: int, there: Tensor) -> Tensor:
    """The number (N,) of the population that a pair is of, from 1; 0 where it is not there (N,)."""
    mass = pair_mass(*_both(reading, settings.collection, number, there))
    cuts = constant(settings.populations, reading.device)
    return torch.where(there, 1 + torch.searchsorted(cuts, mass.contiguous(), right=True), 0)


def _populations(reading: Reading, settings: PairsConfig, number: int, there: Tensor) -> tuple[int, ...]:
    """Which populations a pair is of in some events; 0 is none."""
    found = _population(reading, settings, number, there)[_room(reading, settings.collection, number)]
    return tuple(torch.unique(found).tolist()) or (0,)


def _places(reading: Reading, name: str, number: int) -> Tensor:
    """Where (N,) the objects of a pair were before they were arranged, as one number."""
    order = reading.arrangements[name]
    return order[:, 2 * number] * order.shape[1] + order[:, 2 * number + 1]


def _values(reading: Reading, name: str, opposite: str) -> Tensor | None:
    """What is opposite in pairs (N, M); None if nothing is."""
    return reading.values(name, opposite).to(torch.float64) if opposite else None


def _stacked(reading: Reading, name: str) -> Tensor:
    """Momenta (N, M, 5) as px, py, pz, mass and energy."""
    k = reading.kinematics(name)
    px, py, pz = (k[c] for c in ("px", "py", "pz"))
    mass = k.bounded("mass") if reading.facts.massive(name) else torch.zeros_like(px)
    return torch.stack(Momentum.of(px, py, pz, mass), 2)


def _both(reading: Reading, name: str, number: int, there: Tensor) -> list[Momentum]:
    """The momenta of a pair's objects; of one that is not there (N,), some that do no harm."""
    found = []
    stacked = _stacked(reading, name)
    for slot, px in ((2 * number, 1.0), (2 * number + 1, -1.0)):
        spare = stacked.new_tensor((px, 0.0, 0.0, 0.0, 1.0))
        own = torch.where(there.unsqueeze(1), stacked[:, slot], spare)
        found.append(Momentum(*own.unbind(1)))
    return found


def _alone(reading: Reading, name: str, number: Tensor) -> Reading:
    """The events with none of a collection's objects but those that are in none of its first pairs (N,)."""
    objects, facts = reading.events.collections[name], reading.facts
    slots, first = torch.arange(objects.mask.shape[1], device=reading.device), 2 * number.unsqueeze(1)
    index = (slots + first).clamp(max=len(slots) - 1)
    fields = {n: v.gather(1, index) for n, v in objects.fields.items()}
    left = Objects(fields, slots < reading.count(name).unsqueeze(1) - first)
    collections = tuple(
        c if c.name != name else c.model_copy(update={"layout": "jagged", "min_count": 0})
        for c in facts.schema.collections
    )
    some = replace(facts, schema=facts.schema.model_copy(update={"collections": collections}))
    events = EventBatch(some.schema, {**reading.events.collections, name: left}, reading.events.scalars)
    return Reading(events, some, reading.angle, reading.refuse)


def _pair(reading: Reading, name: str, number: int, there: Tensor) -> DecayPart:
    """The columns of one pair, which there is in some events (N,)."""
    facts = reading.facts
    children = tuple(str(facts.address(name, s, "")) for s in (2 * number, 2 * number + 1))
    settings = DecayConfig(name=f"pair{number}", children=children)
    both = _both(reading, name, number, there)
    masses = facts.masses.get(name)
    # The first object is the one with the larger pt, since the order of the file is kept within a pair.
    equal = facts.orders.get(name) == "pt" and (masses is None or masses.source in ("fixed", "none"))
    least = (both[0].mass + both[1].mass)[there]
    floor = float(least.max()) if len(least) else 0.0
    floor = floor if len(least) and floor < float(pair_mass(*both)[there].min()) else 0.0
    size = sum((torch.hypot(v.px, v.py)[there] for v in both), torch.zeros_like(least))
    scale = float(size.max()) if len(least) else 0.0
    flat = DecayPart.make(settings, False, (equal,), (floor,), (0.0, 0.0), scale)
    angles = [i for i, c in enumerate(flat.columns) if c.address.field in ("phi", "phi_star")]
    centres = circular_mean(flat.columns_of(both)[:, angles], there.unsqueeze(1).expand(-1, len(angles)))
    return flat.model_copy(update={"centres": (centres[0], 0.0 if equal else centres[1])})
