"""What is missing in an event whose total is known: one more pseudo-particle."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from hepgan.config import Config
from hepgan.errors import InputError, RecipeError
from hepgan.events.schema import GEV, Address, Unit
from hepgan.features.facts import Mass
from hepgan.features.precise import constant
from hepgan.features.reading import Refusal
from hepgan.features.variables import Column, DiscreteVariable, Gate
from hepgan.vectors.frames import direction, invariant_mass
from hepgan.vectors.kinematics import azimuth, safe_sqrt

__all__ = ["Rest", "RestFound", "RestMomentum", "lacking", "single_masses"]

ROUNDING = 2.0**-21
"""Share of the total within which energies and momenta from float32 balance."""

SLACK = 1e-3
"""Share of the total by which a training event may exceed what leaves a rest."""

MOST_MASSES = 8
_TINY = 1e-9
"""In GeV."""


class RestMomentum(NamedTuple):
    """The rest of a generated event.

    Attributes:
        others_mass: (N,) the mass of all that isn't the rest.
        speed: (N,) the speed at which that moves.
        eta: (N,) pseudorapidity of the rest along the first of its axes' direction.
        phi: (N,) its azimuth in these axes.
    """

    others_mass: Tensor
    speed: Tensor
    eta: Tensor
    phi: Tensor

    def velocity(self, frame: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """The velocity (N, 3) of the others, opposite to the rest."""
        x, y, z = frame
        sin, cos = 1.0 / torch.cosh(self.eta), torch.tanh(self.eta)
        sides = sin * torch.cos(self.phi), sin * torch.sin(self.phi), cos
        unit = sum(s.unsqueeze(1) * v for s, v in zip(sides, (x, y, z), strict=True))
        return -self.speed.unsqueeze(1) * unit


def single_masses(mass: Mass) -> tuple[float, ...]:
    """The different masses that one object can have; none if they are many."""
    known = {"fixed": (mass.value,), "table": mass.values}.get(mass.source, (0.0,))
    different = tuple(sorted(set(known)))
    return different if len(different) <= MOST_MASSES else ()


def lacking(total: Tensor, energy: float) -> Tensor:
    """Where (N,) objects' total (N, 4) lacks something of an energy."""
    return energy - total[:, 3] > 8 * ROUNDING * energy


class RestFound(Config):
    """What was found out about what objects lack.

    Attributes:
        collection: The collection.
        total: The total energy.
        masses: The masses that one object can have, if they are few.
        classes: The classes that occur.
        counts: The numbers of objects with which there is a rest.
        unit: What energies are in.
    """

    collection: str
    total: float
    masses: tuple[float, ...] = ()
    classes: tuple[int, ...] = ()
    counts: tuple[int, ...] = ()
    unit: Unit = "GeV"


class Rest:
    """The four-momentum that a collection lacks of (total energy, 0).

    Its class is 0 for nothing, then one for each mass that a single object can have, then one for all else.
    Its columns are the logarithm of its energy; the logarithm of m / (E - m), for the last class; and its
    direction, as pseudorapidity and azimuth in a frame that the other objects define in their rest frame.

    Args:
        found: What was found out about it.
    """

    def __init__(self, found: RestFound) -> None:
        self.collection, self.total, self.masses = found.collection, found.total, found.masses
        self._classes, self._counts = found.classes, found.counts
        self.unit, self._tiny = found.unit, _TINY * GEV[found.unit]
        self.many = len(self.masses) + 1
        """The class of a rest that isn't one object."""

    @classmethod
    def find(
        cls, collection: str, total: float, mass: Mass, momenta: Tensor, count: Tensor, unit: Unit = "GeV"
    ) -> RestFound:
        """The classes that occur, and the numbers of objects with which there is a rest.

        Args:
            collection: The collection.
            total: The total energy.
            mass: Where the objects' masses come from.
            momenta: (N, M, 4) the objects.
            count: (N,) the number of objects.
            unit: What energies are in.

        Raises:
            RecipeError: If what an event lacks has less than no energy, or more momentum than energy.
        """
        empty = RestFound(collection=collection, total=total, masses=single_masses(mass), unit=unit)
        rest, whole = cls(empty), momenta.sum(1)
        rest._check(whole)
        classes = tuple(torch.unique(rest._number(whole)).tolist())
        counts = tuple(torch.unique(count[rest.there(whole)]).tolist())
        return empty.model_copy(update={"classes": classes, "counts": counts})

    @property
    def variable(self) -> DiscreteVariable:
        """Its class."""
        values = tuple(float(c) for c in self._classes)
        return DiscreteVariable.of(Address(self.collection, None, "rest"), values)

    @property
    def columns(self) -> list[Column]:
        """Its columns, with the classes of which they exist."""
        last = len(self._classes) - 1
        low = next((i for i, c in enumerate(self._classes) if c > 0), 1)
        some = Gate(self.variable.name, low, last)
        many = Gate(self.variable.name, last, last if self.many in self._classes else -1)
        return [
            Column(
                Address(self.collection, None, f"rest.{c}"), -high if high else None, high, gate, aliases=(c,)
            )
            for c, high, gate in (
                ("energy", None, some),
                ("mass", None, many),
                ("eta", None, some),
                ("phi", math.pi, some),
            )
        ]

    def _check(self, total: Tensor) -> None:
        momentum = total[:, :3].norm(dim=1)
        wrong = total[:, 3] + momentum > (1 + SLACK) * self.total
        if bool(wrong.any()):
            event = int(wrong.nonzero()[0])
            msg = (
                f"{self.collection}: total_energy is {self.total:g} {self.unit}, but the objects have "
                f"together {float(total[event, 3]):g} {self.unit} and a momentum of "
                f"{float(momentum[event]):g} {self.unit}, which leaves nothing that could be missing "
                f"({int(wrong.sum())} of {len(wrong)} events)"
            )
            raise RecipeError(msg, entry=event)

    def there(self, total: Tensor) -> Tensor:
        """Where (N,) the objects' total (N, 4) lacks something."""
        return lacking(total, self.total)

    def mass_of_others(self, total: Tensor) -> Tensor:
        """The mass (N,) of the objects' total (N, 4)."""
        exact = torch.full_like(total[:, 3], self.total)
        return torch.where(self.there(total), invariant_mass(total), exact)

    def classes(self, total: Tensor, refuse: Refusal) -> Tensor:
        """The classes (N,) of the variable, of objects' totals (N, 4).

        Raises:
            InputError: If one did not occur in the events that were learned from.
        """
        table, number = constant(self._classes, total.device, torch.int64), self._number(total)
        found = torch.searchsorted(table, number).clamp(max=len(table) - 1)
        unknown = table[found] != number

        def error(event: int) -> InputError:
            msg = (
                f"{self.collection}: what is missing in the total ({self.total - float(total[event, 3]):g} "
                f"{self.unit}) is of a kind that did not occur in the events that were learned from"
            )
            return InputError(msg, entry=event)

        refuse(unknown, error)
        return found

    def _number(self, total: Tensor) -> Tensor:
        energy = self.total - total[:, 3]
        squared = energy**2 - total[:, :3].square().sum(1)
        number = torch.full_like(energy, self.many, dtype=torch.int64)
        # Noise of m2 = E^2 - p^2 from the rounding of what was summed.
        noise = ROUNDING * self.total * (energy.abs() + ROUNDING * self.total)
        for i, mass in enumerate(self.masses):
            number = torch.where((squared - mass**2).abs() <= noise, i + 1, number)
        return torch.where(self.there(total), number, 0)

    def encode(self, total: Tensor, x: Tensor, y: Tensor, z: Tensor) -> list[Tensor]:
        """The columns of objects' totals (N, 4), in the axes (N, 3)."""
        energy = (self.total - total[:, 3]).clamp(min=self._tiny)
        mass = invariant_mass(torch.cat([-total[:, :3], energy.unsqueeze(1)], 1)).clamp(min=self._tiny)
        unit = direction(-total[:, :3])
        ahead, behind = ((unit + sign * z).square().sum(1).clamp(min=1e-24) for sign in (1, -1))
        return [
            torch.log(energy),
            torch.log(mass / (energy - mass).clamp(min=self._tiny)),
            0.5 * torch.log(ahead / behind),
            azimuth((unit * x).sum(1), (unit * y).sum(1)),
        ]

    def _there_by_class(self, classes: Tensor, count: Tensor) -> Tensor:
        """The class numbers (N,), 0 where there is no rest."""
        number = constant(self._classes, classes.device, torch.int64)[classes.clamp(min=0)]
        allowed = torch.zeros_like(number, dtype=torch.bool)
        for c in self._counts:
            allowed |= count == c
        return torch.where(allowed, number, 0)

    def present(self, classes: Tensor, count: Tensor) -> Tensor:
        """Which columns (N, 4) exist."""
        number = self._there_by_class(classes, count)
        some, last = number > 0, number == self.many
        return torch.stack([some, last, some, some], 1)

    def decode(self, columns: Tensor, classes: Tensor, count: Tensor, others: Tensor) -> RestMomentum:
        """The rest's momentum.

        Args:
            columns: (N, 4).
            classes: (N,) classes of the variable.
            count: (N,) the number of objects.
            others: (N,) the summed masses of the other objects, which their total must exceed.
        """
        number = self._there_by_class(classes, count)
        table = constant((0.0, *self.masses, 0.0), columns.device)
        known, many = table[number], number == self.many
        some = number > 0
        log_energy, log_mass, eta, phi = columns.unbind(1)
        energy = torch.exp(log_energy.clamp(max=math.log(self.total)))
        most = (self.total - others).clamp(min=self._tiny)
        energy = torch.minimum(energy, 0.999999 * most)
        mass = torch.where(many, energy * torch.sigmoid(log_mass), torch.minimum(known, energy))
        # M^2 = (Q - E)^2 - p^2 must exceed the square of the others' summed masses.
        room = (self.total**2 + mass**2 - others**2) / (2.0 * self.total)
        energy = torch.maximum(torch.minimum(energy, 0.999999 * room), mass)
        energy = torch.where(some, energy, 0.0)
        mass = torch.where(some, mass, 0.0)
        squared = self.total**2 + mass**2 - 2.0 * self.total * energy
        momentum = safe_sqrt((energy - mass) * (energy + mass))
        speed = momentum / (self.total - energy)
        return RestMomentum(safe_sqrt(squared), speed, eta, phi)

    def softer(self, total: Tensor, least: Tensor) -> Tensor:
        """Whether a rest that is one object has less energy than the least of the others (N,)."""
        number = self._number(total)
        single = (number > 0) & (number < self.many)
        return ~single | (self.total - total[:, 3] <= least)
