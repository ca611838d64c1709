"""Systems of objects as a chain of two-body decays."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Self

import torch
from pydantic import Field as Setting
from pydantic import field_validator
from torch import Tensor

from hepgan.config import Config
from hepgan.errors import RecipeError
from hepgan.events.schema import Address
from hepgan.features.draft import Draft
from hepgan.features.facts import Facts
from hepgan.features.parts.base import Encoded, Part, TransformSpec, circular_mean, whole
from hepgan.features.reading import Reading
from hepgan.features.variables import Column
from hepgan.vectors.frames import Momentum, Transverse, from_rest, into_rest, pair_mass, transverse
from hepgan.vectors.kinematics import Kinematics, azimuth, one_by_one, safe_sqrt, wrap

__all__ = ["DecayConfig", "DecayPart"]

AT_REST = 1e-6
"""A system whose pt never exceeds this share of its objects' summed pt is at rest in the transverse plane."""

_TINY = 1e-12


class DecayConfig(Config):
    """A system that decays into two or more objects, of which some may be such systems themselves.

    Its columns are ``mass`` (above the sum of the children's masses, or above the largest
    such sum, if all events are above that), ``pt``, ``y`` and ``phi`` of the outermost system, and for each
    system ``cos_theta`` and ``phi_star`` of its first child in its rest frame; so energy and momentum are
    conserved and no mass falls below its threshold, whatever a network makes of them. The rest frame is
    reached by a boost along the beam and one along the system's transverse momentum, which is its x axis; z
    is the beam. Then phi* in (-pi/2, pi/2) if and only if the first of two children of equal mass has the
    larger pt.

    Attributes:
        name: The system's name.
        children: Objects (``Muon[0]``) or systems, at least two; of more than two, the first recoils
            against the system of the others.
        ordered: Whether the first of two children has the larger pt; None to find out from the events.
        transforms: Transforms by column: ``mass`` for all systems, ``Z.mass`` for one.
        pca: Whether to decorrelate the columns.
    """

    kind: Literal["decay"] = "decay"
    name: str
    children: tuple[str | DecayConfig, ...] = Setting(min_length=2)
    ordered: bool | None = None
    transforms: dict[str, TransformSpec] = Setting(default_factory=dict)
    pca: bool = False

    @field_validator("children")
    @classmethod
    def _children_are_objects(cls, value: tuple[str | DecayConfig, ...]) -> tuple[str | DecayConfig, ...]:
        for child in value:
            if isinstance(child, str) and whole(child).field:
                msg = f"{child!r} is a number; a decay's children are objects, such as Muon[0]"
                raise ValueError(msg)
        return value


@dataclass(frozen=True)
class _System:
    """A system, with its place among all; its children are numbers of leaves, or systems."""

    name: str
    number: int
    ordered: bool | None
    first: int | _System
    second: int | _System

    @property
    def leaves(self) -> tuple[int, int] | None:
        """Its two children, if both are objects."""
        return (
            (self.first, self.second)
            if isinstance(self.first, int) and isinstance(self.second, int)
            else None
        )


@dataclass(frozen=True)
class Chain:
    """The systems of a decay, the outermost first, and the objects into which it decays in the end."""

    systems: tuple[_System, ...]
    leaves: tuple[Address, ...]

    @classmethod
    def of(cls, config: DecayConfig) -> Chain:
        """The chain that settings describe."""
        systems: dict[int, _System] = {}
        leaves: list[Address] = []
        numbers = iter(range(1 << 16))

        def build(name: str, children: tuple[str | DecayConfig, ...], ordered: bool | None) -> _System:
            number = next(numbers)
            first = child(children[0])
            if len(children) == 2:
                second = child(children[1])
            else:
                second = build(f"{name}_rest", children[1:], ordered)
            systems[number] = _System(name, number, ordered, first, second)
            return systems[number]

        def child(described: str | DecayConfig) -> int | _System:
            if isinstance(described, DecayConfig):
                return build(described.name, described.children, described.ordered)
            leaves.append(whole(described))
            return len(leaves) - 1

        build(config.name, config.children, config.ordered)
        return cls(tuple(systems[n] for n in sorted(systems)), tuple(leaves))

    def check(self, facts: Facts) -> None:
        """Checks that all objects are there.

        Raises:
            RecipeError: If one is not in every event, occurs twice, or has no three-dimensional momentum.
        """
        name, seen = self.systems[0].name, set()
        for leaf in self.leaves:
            collection = str(leaf.collection)
            if collection not in facts.schema.collection_names:
                known = ", ".join(facts.schema.collection_names)
                msg = f"{name}: {leaf} is not in the events; they have {known}"
                raise RecipeError(msg)
            if leaf.slot is None and facts.collection(collection).max_count > 1:
                msg = f"{name}: say which {collection}, as in {collection}[0]"
                raise RecipeError(msg)
            least, slot = facts.always(collection), leaf.slot or 0
            if slot >= least or collection in facts.padded:
                msg = f"{name}: {leaf} is not in every event (there are {least} or more {collection})"
                raise RecipeError(msg)
            if (collection, slot) in seen:
                msg = f"{name}: {leaf} occurs twice"
                raise RecipeError(msg)
            if facts.dimensions(collection) < 3:
                msg = f"{name}: {leaf} has no three-dimensional momentum"
                raise RecipeError(msg)
            seen.add((collection, slot))


class DecayPart(Part):
    """The momenta of some objects as a tree of two-body decays; see ``DecayConfig`` for the columns.

    Attributes:
        settings: The recipe's settings.
        at_rest: Whether the outermost system has no transverse momentum.
        half: Of each system whether its children are ordered, so that phi* has half a range.
        floors: Of each system what its mass is counted from, unless its threshold is higher.
        centres: Opposite to which the azimuth of the outermost system, and phi* of each, is cut.
    """

    kind: Literal["decay"] = "decay"
    settings: DecayConfig
    at_rest: bool
    half: tuple[bool, ...]
    floors: tuple[float, ...]
    centres: tuple[float, ...]

    @cached_property
    def _chain(self) -> Chain:
        return Chain.of(self.settings)

    @property
    def optional(self) -> frozenset[str]:
        """What a system that is not at rest has."""
        return frozenset({"pt", "phi"})

    # ------------------------------------------------------------------ learning

    @classmethod
    def learn(cls, settings: DecayConfig, reading: Reading) -> Self:
        """Finds out whether the outermost system is at rest, and which systems have ordered children.

        Raises:
            RecipeError: If a child is not in every event, occurs twice, or has no mass.
        """
        chain, facts = Chain.of(settings), reading.facts
        chain.check(facts)
        leaves = _read(chain.leaves, reading)
        px, py = sum(v.px for v in leaves), sum(v.py for v in leaves)
        total = sum(transverse(v.px, v.py).pt for v in leaves)
        whole = transverse(torch.as_tensor(px), torch.as_tensor(py))
        at_rest = bool((whole.pt <= AT_REST * total).all())
        half = tuple(_is_ordered(s, chain.leaves, leaves, facts) for s in chain.systems)
        floors = tuple(_floor(s, leaves) for s in chain.systems)
        scale = float(torch.as_tensor(total).max())
        flat = cls.make(settings, at_rest, half, floors, (0.0,) * (1 + len(half)), scale)
        phi = [i for i, c in enumerate(flat.columns) if c.address.field in ("phi", "phi_star")]
        centres = [0.0] * at_rest + circular_mean(flat.read(reading).columns[:, phi], None)
        # Half a range has no cut to choose.
        cut = tuple(0.0 if h else c for c, h in zip(centres, (False, *half), strict=True))
        return flat.model_copy(update={"centres": cut})

    @classmethod
    def make(
        cls,
        settings: DecayConfig,
        at_rest: bool,
        half: tuple[bool, ...],
        floors: tuple[float, ...],
        centres: tuple[float, ...],
        scale: float,
    ) -> Self:
        """The part of these constants: columns of the outermost system, then those of each system.

        Args:
            settings: The recipe's settings.
            at_rest: See the attributes.
            half: Likewise.
            floors: Likewise.
            centres: Likewise.
            scale: The largest summed transverse momentum.
        """
        columns = []
        n = settings.name
        # A system at rest has its frame's axis along x, so that phi* is the azimuth itself.
        if not at_rest:
            columns += [
                Column(Address(n, None, "pt"), 0.0, None, scale=scale),
                Column(Address(n, None, "phi"), -math.pi, math.pi, scale=1.0),
            ]
        columns.append(Column(Address(n, None, "y")))
        for system, is_half in zip(Chain.of(settings).systems, half, strict=True):
            reach = math.pi / 2 if is_half else math.pi
            columns += [
                Column(Address(system.name, None, "mass"), 0.0),
                Column(Address(system.name, None, "cos_theta"), -1.0, 1.0, scale=1.0),
                Column(Address(system.name, None, "phi_star"), -reach, reach, scale=1.0),
            ]
        return cls(
            columns=tuple(columns),
            settings=settings,
            at_rest=at_rest,
            half=half,
            floors=floors,
            centres=centres,
        )

    def keeps_order(self, collection: str) -> bool:
        """Whether all objects of a collection of two are the ordered children of one system."""
        for system, half in zip(self._chain.systems, self.half, strict=True):
            children = [c for c in (system.first, system.second) if isinstance(c, int)]
            found = [(self._chain.leaves[c].collection, self._chain.leaves[c].slot or 0) for c in children]
            if half and found == [(collection, 0), (collection, 1)]:
                return True
        return False

    # ------------------------------------------------------------------ encoding

    def read(self, reading: Reading) -> Encoded:
        """Columns (N, D); no classes."""
        return Encoded(self.columns_of(_read(self._chain.leaves, reading)), reading.no_classes())

    def columns_of(self, leaves: list[Momentum]) -> Tensor:
        """The columns (N, D) of objects with these momenta (N,)."""
        systems: list[Tensor] = []
        root = self._up(self._chain.systems[0], leaves, systems)
        columns = []
        if not self.at_rest:
            phi = azimuth(root.px, root.py)
            columns += [transverse(root.px, root.py).pt, wrap(phi - self.centres[0])]
        across = torch.zeros_like(root.mass) if self.at_rest else root.px**2 + root.py**2
        columns.append(torch.asinh(root.pz / safe_sqrt(root.mass**2 + across).clamp(min=_TINY)))
        return torch.cat([torch.stack(columns, 1), *systems], 1)

    def _up(self, node: int | _System, leaves: list[Momentum], columns: list[Tensor]) -> Momentum:
        """The momentum of a system; its columns, and those of the systems in it, are appended in order."""
        if isinstance(node, int):
            return leaves[node]
        place = len(columns)
        columns.append(leaves[0].px)
        a, b = self._up(node.first, leaves, columns), self._up(node.second, leaves, columns)
        px, py, pz = a.px + b.px, a.py + b.py, a.pz + b.pz
        if node.number == 0 and self.at_rest:
            px = py = torch.zeros_like(px)
        mass = pair_mass(a, b).clamp(min=_TINY)
        total = Momentum(px, py, pz, mass, a.energy + b.energy)
        x, y, z = into_rest(a, total, transverse(px, py))
        length = (x**2 + y**2 + z**2).sqrt()
        cos_theta = torch.where(length > 0, z / length.clamp(min=1e-300), 0.0).clamp(-1.0, 1.0)
        phi = wrap(azimuth(x, y) - self.centres[1 + node.number])
        columns[place] = torch.stack([mass - self._origin(node, a.mass + b.mass), cos_theta, phi], 1)
        return total

    def _origin(self, system: _System, least: Tensor) -> Tensor:
        """What a system's mass is counted from: its floor, or its threshold (N,) where that is higher."""
        return least.clamp(min=self.floors[system.number])

    # ------------------------------------------------------------------ decoding

    def write(self, encoded: Encoded, draft: Draft) -> None:
        """Puts in the momenta."""
        self._put(self.momenta(encoded.columns, self._leaf_masses(draft), draft.azimuth), draft)

    def momenta(self, columns: Tensor, masses: list[Tensor], turned: Tensor | None) -> dict[int, Momentum]:
        """The momenta of objects, by number.

        Args:
            columns: (N, D).
            masses: The mass (N,) of each object.
            turned: The angle (N,) to turn all by, or None.
        """
        c = columns.unbind(1)
        systems = self._chain.systems
        n = len(c) - 3 * len(systems)
        parts = [c[n + 3 * i : n + 3 * i + 3] for i in range(len(systems))]
        sums = self._masses(parts, masses)
        mass = sums[0]
        if self.at_rest:
            pt = phi = torch.zeros_like(mass)
        else:
            pt, phi = c[0], c[1] + self.centres[0]
        if turned is not None:
            phi = phi + turned
        cos, sin = torch.cos(phi), torch.sin(phi)
        mt = safe_sqrt(mass**2 + pt**2)
        sinh, cosh = (one_by_one(f, c[n - 1]) for f in (torch.sinh, torch.cosh))
        root = Momentum(pt * cos, pt * sin, mt * sinh, mass, mt * cosh)
        found: dict[int, Momentum] = {}
        self._down(systems[0], root, Transverse(pt, cos, sin), parts, sums, masses, found)
        return found

    def _leaf_masses(self, draft: Draft) -> list[Tensor]:
        masses = []
        for leaf in self._chain.leaves:
            known, slot = draft.mass(str(leaf.collection)), leaf.slot or 0
            if known is None:
                known = torch.zeros(draft.size, slot + 1, dtype=torch.float64, device=draft.device)
            masses.append(known[:, slot])
        return masses

    def _masses(self, parts: list[tuple[Tensor, ...]], leaves: list[Tensor]) -> dict[int, Tensor]:
        """The mass of each system: what its children need, and the excess."""
        found: dict[int, Tensor] = {}
        # A system precedes those in it.
        for system in reversed(self._chain.systems):
            a, b = (
                leaves[x] if isinstance(x, int) else found[x.number] for x in (system.first, system.second)
            )
            found[system.number] = self._origin(system, a + b) + parts[system.number][0].clamp(min=_TINY)
        return found

    def _down(
        self,
        system: _System,
        total: Momentum,
        across: Transverse,
        parts: list[tuple[Tensor, ...]],
        sums: dict[int, Tensor],
        masses: list[Tensor],
        found: dict[int, Momentum],
    ) -> None:
        """Shares a system's momentum out to its children."""
        excess, cos_theta, phi_star = parts[system.number]
        phi_star = phi_star + self.centres[1 + system.number]
        m1, m2 = (masses[x] if isinstance(x, int) else sums[x.number] for x in (system.first, system.second))
        mass = total.mass
        above = excess.clamp(min=_TINY) + (self._origin(system, m1 + m2) - (m1 + m2))
        product = above * (mass + m1 + m2) * (mass - m1 + m2) * (mass + m1 - m2)
        length = product.sqrt() / (2 * mass)
        side = length * safe_sqrt((1 - cos_theta) * (1 + cos_theta))
        x, y, z = side * torch.cos(phi_star), side * torch.sin(phi_star), length * cos_theta
        star = Momentum(x, y, z, m1, safe_sqrt(length**2 + m1**2))
        px, py, pz = from_rest(star, total, across)
        first = Momentum.of(px, py, pz, m1)
        second = Momentum.of(total.px - px, total.py - py, total.pz - pz, m2)
        for child, made in ((system.first, first), (system.second, second)):
            if isinstance(child, int):
                found[child] = made
            else:
                self._down(child, made, transverse(made.px, made.py), parts, sums, masses, found)

    def _put(self, vectors: dict[int, Momentum], draft: Draft) -> None:
        by_collection: dict[str, list[tuple[int, Momentum]]] = {}
        for number, leaf in enumerate(self._chain.leaves):
            by_collection.setdefault(str(leaf.collection), []).append((leaf.slot or 0, vectors[number]))
        for collection, members in by_collection.items():
            members.sort(key=lambda m: m[0])
            known = {
                name: torch.stack([getattr(v, name) for _, v in members], 1)
                for name in ("px", "py", "pz", "mass")
            }
            draft.put_momenta(collection, [s for s, _ in members], Kinematics(known))


def _read(leaves: tuple[Address, ...], reading: Reading) -> list[Momentum]:
    vectors = []
    for leaf in leaves:
        collection, slot = str(leaf.collection), leaf.slot or 0
        k = reading.kinematics(collection)
        px, py, pz = (k[c][:, slot] for c in ("px", "py", "pz"))
        mass = k["mass"][:, slot] if reading.facts.massive(collection) else torch.zeros_like(px)
        vectors.append(Momentum.of(px, py, pz, mass))
    return vectors


def _is_ordered(system: _System, leaves: tuple[Address, ...], vectors: list[Momentum], facts: Facts) -> bool:
    """Whether the first of two children of equal mass has the larger pt, in all events.

    Raises:
        RecipeError: If the recipe says so, and it is not so.
    """
    if system.leaves is None:
        return False
    first, second = (leaves[i] for i in system.leaves)
    masses = facts.masses.get(str(first.collection))
    alike = first.collection == second.collection and (first.slot or 0) < (second.slot or 0)
    equal = alike and masses is not None and masses.source in ("fixed", "none")
    sorted_by_pt = equal and facts.orders.get(str(first.collection)) == "pt"
    if system.ordered is False or (system.ordered is None and not sorted_by_pt):
        return False
    a, b = (vectors[i] for i in system.leaves)
    first_pt, second_pt = (transverse(v.px, v.py).pt for v in (a, b))
    ordered = bool((first_pt >= second_pt * (1 - 1e-6)).all())
    if system.ordered and not (equal and ordered):
        msg = f"{system.name}: ordered children need one mass, and falling pt in all events"
        raise RecipeError(msg)
    return ordered


def _floor(system: _System, vectors: list[Momentum]) -> float:
    """The largest threshold in any event, if all masses are above it; else 0.

    A resonance stays where it is, whatever it decays into, if its mass is counted from there.
    """
    a, b = (_momentum(child, vectors) for child in (system.first, system.second))
    floor = float((a.mass + b.mass).max())
    return floor if floor < float(pair_mass(a, b).min()) else 0.0


def _momentum(node: int | _System, vectors: list[Momentum]) -> Momentum:
    """The momentum (N,) of an object, or of a system."""
    if isinstance(node, int):
        return vectors[node]
    a, b = (_momentum(child, vectors) for child in (node.first, node.second))
    return Momentum(a.px + b.px, a.py + b.py, a.pz + b.pz, pair_mass(a, b), a.energy + b.energy)
