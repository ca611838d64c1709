"""Pairs of objects that a resonance decays into in some events, with the momenta of all their collections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, Self

import torch
from pydantic import Field as Setting
from pydantic import model_validator
from torch import Tensor

from hepgan.config import Config
from hepgan.errors import RecipeError
from hepgan.events.schema import Address
from hepgan.features.draft import Draft
from hepgan.features.facts import Facts
from hepgan.features.parts.base import Encoded, Part, Told, TransformSpec, circular_mean
from hepgan.features.parts.decay import DecayConfig, DecayPart
from hepgan.features.parts.objects import Bounds
from hepgan.features.parts.pairs import MASS, PairsConfig, PairsPart
from hepgan.features.reading import Reading
from hepgan.features.variables import Column, DiscreteVariable
from hepgan.vectors.frames import Momentum
from hepgan.vectors.kinematics import azimuth, safe_sqrt, wrap

__all__ = ["SystemsConfig", "SystemsPart"]

_TINY = 1e-9
_FRAME = 3
"""The columns pt, phi and y of a pair, of which a system has its own."""


class SystemsConfig(Config):
    """Pairs of which two come from one resonance in some events, such as H to Z Z to four leptons.

    Where an event has two pairs or more, the first two (in the order of the collections, nearest pairs first)
    are one system. It has the columns ``mass``, ``pt``, ``phi``, ``y``, ``cos_theta`` and ``phi_star`` of a
    ``decay``, of which the mass is counted from 0; and ``fraction``, what the second pair's mass takes of all
    that the system's and the first pair's leave it. These two pairs have no pt, phi and y then, and the
    second has no mass. So the masses of the system and of the first pair are numbers of their own, and
    whatever they are, the second pair has one that they allow.

    Attributes:
        name: The system's name.
        pairs: The pairs, of one collection or several.
        transforms: Transforms of the system's columns.
    """

    kind: Literal["systems"] = "systems"
    name: str
    pairs: tuple[PairsConfig, ...] = Setting(min_length=1)
    transforms: dict[str, TransformSpec] = Setting(default_factory=dict)

    @model_validator(mode="after")
    def _collections_are_different(self) -> SystemsConfig:
        names = [p.collection for p in self.pairs]
        if len(set(names)) != len(names):
            msg = f"{self.name}: a collection has one block of pairs, not {len(names) - len(set(names)) + 1}"
            raise ValueError(msg)
        if any(p.populations for p in self.pairs):
            msg = f"{self.name}: pairs of systems have no populations"
            raise ValueError(msg)
        return self


class _Pair(NamedTuple):
    """A pair that there may be: the member that it belongs to, its number there, and its first column."""

    member: int
    number: int
    column: int


class SystemsPart(Part):
    """The momenta of some collections as pairs, systems of two pairs, and single objects.

    Attributes:
        settings: The recipe's settings.
        members: The pairs and single objects of each collection.
        system: The columns of two pairs together.
        counted: Of each collection the number of the variable that counts its objects (-1 for none), and the
            least number of objects.
    """

    kind: Literal["systems"] = "systems"
    settings: SystemsConfig
    members: tuple[PairsPart, ...]
    system: DecayPart
    counted: tuple[tuple[int, int], ...] = ()

    @property
    def transforms(self) -> Mapping[str, TransformSpec]:
        """The recipe's transforms, by column."""
        found = {k: v for m in self.members for k, v in m.transforms.items()}
        return found | self.settings.transforms

    @property
    def optional(self) -> frozenset[str]:
        """What the members may have."""
        return frozenset().union(*(m.optional for m in self.members))

    # ------------------------------------------------------------------ learning

    @classmethod
    def learn(cls, settings: SystemsConfig, reading: Reading, edges: Mapping[str, dict[str, Bounds]]) -> Self:
        """Finds the constants of pairs, systems and single objects.

        Args:
            settings: The recipe's settings.
            reading: The training events.
            edges: Lowest and highest value of coordinates, by collection, where the recipe bounds them.

        Raises:
            RecipeError: If a collection cannot have pairs, or no event has two.
        """
        members = tuple(PairsPart.learn(p, reading, edges[p.collection]) for p in settings.pairs)
        exists, momenta = _pairs_of(members, reading)
        there, order = _first_two(exists)
        if not bool(there.any()):
            msg = f"{settings.name}: no event has two pairs of {', '.join(m.collection for m in members)}"
            raise RecipeError(msg)
        both = _two(momenta, order, there)
        scale = float((momenta[..., :2].pow(2).sum(2).sqrt() * exists).sum(1).max())
        shape = DecayConfig(name=settings.name, children=("first", "second"))
        flat = DecayPart.make(shape, False, (False,), (0.0,), (0.0, 0.0), scale)
        angles = [i for i, c in enumerate(flat.columns) if c.address.field in ("phi", "phi_star")]
        present = there.unsqueeze(1).expand(-1, len(angles))
        centres = circular_mean(flat.columns_of(both)[:, angles], present)
        system = flat.model_copy(update={"centres": tuple(centres)})
        fraction = Column(Address(settings.name, None, "fraction"), 0.0, 1.0, scale=1.0)
        return cls(
            columns=(*(c for m in members for c in m.columns), *system.columns, fraction),
            variables=tuple(v for m in members for v in m.variables),
            settings=settings,
            members=members,
            system=system,
        )

    def joined(self, variables: Sequence[DiscreteVariable], facts: Facts) -> Self:
        """The part that knows which variables tell charges and numbers of objects.

        Raises:
            RecipeError: If a charge is not learned as classes.
        """
        numbers = {v.name: i for i, v in enumerate(variables)}
        update = {
            "members": tuple(m.joined(variables, facts) for m in self.members),
            "counted": tuple(
                (numbers.get(facts.count_name(m.collection), -1), facts.always(m.collection))
                for m in self.members
            ),
        }
        return self.model_copy(update=update)

    @classmethod
    def arranged(cls, settings: SystemsConfig, reading: Reading) -> Reading:
        """The events with the objects of pairs first.

        Raises:
            RecipeError: If a collection cannot have pairs.
        """
        for pairs in settings.pairs:
            reading = PairsPart.arranged(pairs, reading)
        return reading

    # ------------------------------------------------------------------ which pairs

    @property
    def _pairs(self) -> list[_Pair]:
        found, start = [], 0
        for i, member in enumerate(self.members):
            each = len(member.pairs[0].columns)
            found += [_Pair(i, j, start + j * each) for j in range(len(member.pairs))]
            start += len(member.columns)
        return found

    @property
    def hint_count(self) -> int:
        """What members tell, and whether there is a system."""
        return sum(m.hint_count for m in self.members) + 1

    def tell(self, discrete: Tensor, own: Tensor, count: Tensor) -> Told:
        """Which pairs, systems and single objects there are, and which columns they have."""
        told = []
        for member, (number, least) in zip(self.members, self.counted, strict=True):
            counted = torch.full_like(count, least) if number < 0 else discrete[:, number] + least
            told.append(member.tell(discrete, own, counted))
        exists = torch.cat([t.exists for t in told], 1)
        hints = torch.cat([t.hints for t in told], 1)
        there, order = _first_two(hints > 0)
        for i, pair in enumerate(self._pairs):
            first, second = (there & (order[:, k] == i) for k in (0, 1))
            exists[:, pair.column : pair.column + _FRAME] &= ~(first | second).unsqueeze(1)
            exists[:, pair.column + MASS] &= ~second
        system = there.unsqueeze(1)
        exists = torch.cat([exists, system.expand(-1, len(self.system.columns) + 1)], 1)
        return Told(exists, torch.cat([hints, system.to(hints.dtype)], 1))

    # ------------------------------------------------------------------ there and back

    def read(self, reading: Reading) -> Encoded:
        """Columns (N, D), of the members and then of the system; and classes (N, K).

        Raises:
            InputError: If the objects of a pair have places that they have in no training event.
        """
        encoded = [m.read(reading) for m in self.members]
        columns = torch.cat([e.columns for e in encoded], 1)
        exists, momenta = _pairs_of(self.members, reading)
        there, order = _first_two(exists)
        both = _two(momenta, order, there)
        system = self.system.columns_of(both)
        left = system[:, MASS]
        excesses = torch.stack([columns[:, p.column + MASS] for p in self._pairs], 1)
        second = torch.where(there, excesses.gather(1, order[:, 1:])[:, 0], 1.0)
        fraction = second / (second + left).clamp(min=_TINY)
        total = (left + both[0].mass + both[1].mass).unsqueeze(1)
        system = torch.cat([system[:, :MASS], total, system[:, MASS + 1 :], fraction.unsqueeze(1)], 1)
        classes = torch.cat([e.classes for e in encoded], 1)
        return Encoded(torch.cat([columns, system], 1), classes)

    def write(self, encoded: Encoded, draft: Draft) -> None:
        """Puts in the momenta."""
        size = sum(len(m.columns) for m in self.members)
        columns, system = encoded.columns[:, :size], encoded.columns[:, size:]
        pairs = list(columns.unbind(1))
        exists, origins = self._known(draft)
        there, order = _first_two(exists)
        excesses = torch.stack([columns[:, p.column + MASS] for p in self._pairs], 1).clamp(min=_TINY)
        first_mass = (origins + excesses).gather(1, order[:, :1])[:, 0]
        second_origin = origins.gather(1, order[:, 1:])[:, 0]
        room = (system[:, MASS] - first_mass - second_origin).clamp(min=_TINY)
        excess = system[:, -1] * room
        masses = [first_mass, second_origin + excess]
        own = torch.cat([system[:, :MASS], (room - excess).unsqueeze(1), system[:, MASS + 1 : -1]], 1)
        made = self.system.momenta(own, masses, None)
        for i, pair in enumerate(self._pairs):
            centre = self.members[pair.member].pairs[pair.number].centres[0]
            for k in (0, 1):
                chosen = there & (order[:, k] == i)
                for place, values in enumerate(_frame(made[k], centre)):
                    at = pair.column + place
                    pairs[at] = torch.where(chosen, values, pairs[at])
            at = pair.column + MASS
            pairs[at] = torch.where(there & (order[:, 1] == i), excess, pairs[at])
        columns, start, begin = torch.stack(pairs, 1), 0, 0
        for member in self.members:
            end, last = start + len(member.columns), begin + len(member.variables)
            member.write(Encoded(columns[:, start:end], encoded.classes[:, begin:last]), draft)
            start, begin = end, last

    def _known(self, draft: Draft) -> tuple[Tensor, Tensor]:
        """Which pairs (N, P) there are, and what their masses are counted from."""
        exists, origins = [], []
        for member in self.members:
            known = [member.origin(draft, j) for j in range(len(member.pairs))]
            exists += [there for there, _ in known]
            origins += [origin for _, origin in known]
        return torch.stack(exists, 1), torch.stack(origins, 1)


def _pairs_of(members: Sequence[PairsPart], reading: Reading) -> tuple[Tensor, Tensor]:
    """Which pairs (N, P) there are, and their px, py, pz, mass and energy (N, P, 5)."""
    found = [pair for member in members for pair in member.totals(reading)]
    return torch.stack([there for there, _ in found], 1), torch.stack(
        [torch.stack(momentum, 1) for _, momentum in found], 1
    )


def _first_two(exists: Tensor) -> tuple[Tensor, Tensor]:
    """In which events (N,) there are two of the pairs (N, P), and the numbers (N, 2) of the first two."""
    order = (~exists).to(torch.int8).argsort(dim=1, stable=True)[:, :2]
    order = torch.nn.functional.pad(order, (0, 2 - order.shape[1]))
    return exists.sum(1) >= 2, order


def _two(momenta: Tensor, order: Tensor, there: Tensor) -> list[Momentum]:
    """The momenta (N,) of the first two pairs; where there are none, some that do no harm."""
    found = []
    for k, px in ((0, 1.0), (1, -1.0)):
        own = momenta.gather(1, order[:, k, None, None].expand(-1, 1, 5))[:, 0]
        spare = momenta.new_tensor((px, 0.0, 0.0, 1.0, 2.0**0.5))
        found.append(Momentum(*torch.where(there.unsqueeze(1), own, spare).unbind(1)))
    return found


def _frame(v: Momentum, centre: float) -> tuple[Tensor, Tensor, Tensor]:
    """pt, phi from the centre's opposite, and y."""
    pt = safe_sqrt(v.px**2 + v.py**2)
    phi = wrap(azimuth(v.px, v.py) - centre)
    y = torch.asinh(v.pz / safe_sqrt(v.mass**2 + pt**2).clamp(min=_TINY))
    return pt, phi, y
