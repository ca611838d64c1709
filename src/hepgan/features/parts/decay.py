"""Systems of objects as a chain of two-body decays."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hepgan.errors import RecipeError
from hepgan.features.config import DecayConfig, Reference
from hepgan.features.layout import Column, Layout
from hepgan.features.parts.base import Block, circular_mean
from hepgan.features.view import Builder, View
from hepgan.vectors.kinematics import Kinematics, one_by_one, safe_sqrt, wrap

__all__ = ["DecayBlock"]

AT_REST = 1e-6
"""A system whose pt never exceeds this share of its objects' summed pt is at rest in the transverse plane."""

_TINY = 1e-12


class _Vector(NamedTuple):
    """Momenta (N,) with their mass and energy."""

    px: Tensor
    py: Tensor
    pz: Tensor
    mass: Tensor
    energy: Tensor


@dataclass
class _System:
    """A system: its children are numbers of leaves or systems."""

    name: str
    first: int | _System
    second: int | _System
    ordered: bool | None


class DecayBlock(Block):
    """The momenta of some objects as a tree of two-body decays; see ``DecayConfig`` for the columns.

    Args:
        layout: What is known of the collections.
        config: The recipe's settings.

    Raises:
        RecipeError: If a child is not in every event, occurs twice, or has no mass.
    """

    centres: Tensor

    def __init__(self, layout: Layout, config: DecayConfig) -> None:
        super().__init__(layout, config.transforms, config.pca)
        self.name = config.name
        self.leaves: list[tuple[str, int]] = []
        self._systems: list[_System] = []
        self._root = self._tree(config)
        self.at_rest = False
        self._half: list[bool] = []
        self._floors: list[float] = []

    @property
    def optional(self) -> frozenset[str]:
        """What a system that is not at rest has."""
        return frozenset({"pt", "phi"})

    def _tree(self, config: DecayConfig) -> _System:
        system = _System(config.name, 0, 0, config.ordered)
        self._systems.append(system)
        first, *others = config.children
        system.first = self._child(first)
        if len(others) == 1:
            system.second = self._child(others[0])
        else:
            rest = DecayConfig(name=f"{config.name}_rest", children=tuple(others), ordered=config.ordered)
            system.second = self._tree(rest)
        return system

    def _child(self, child: str | DecayConfig) -> int | _System:
        if isinstance(child, DecayConfig):
            return self._tree(child)
        reference = Reference.parse(child)
        if reference.name not in self.layout.schema.collection_names:
            known = ", ".join(self.layout.schema.collection_names)
            msg = f"{self.name}: {child} is not in the events; they have {known}"
            raise RecipeError(msg)
        described = self.layout.collection(reference.name)
        if reference.slot is None and described.max_count > 1:
            msg = f"{self.name}: say which {reference.name}, as in {reference.name}[0]"
            raise RecipeError(msg)
        leaf = (reference.name, reference.slot or 0)
        least = self.layout.always(reference.name)
        if leaf[1] >= least or reference.name in self.layout.padded:
            msg = f"{self.name}: {child} is not in every event (there are {least} or more {reference.name})"
            raise RecipeError(msg)
        if leaf in self.leaves:
            msg = f"{self.name}: {child} occurs twice"
            raise RecipeError(msg)
        if self.layout.dimensions(reference.name) < 3:
            msg = f"{self.name}: {child} has no three-dimensional momentum"
            raise RecipeError(msg)
        self.leaves.append(leaf)
        return len(self.leaves) - 1

    # ------------------------------------------------------------------ learning

    def learn(self, view: View) -> dict[str, Any]:
        """Whether the outermost system is at rest, and which systems have ordered children."""
        leaves = self._read(view)
        px, py = sum(v.px for v in leaves), sum(v.py for v in leaves)
        total = sum(torch.hypot(v.px, v.py) for v in leaves)
        learned: dict[str, Any] = {
            "at_rest": bool((torch.hypot(torch.as_tensor(px), torch.as_tensor(py)) <= AT_REST * total).all()),
            "half": [self._is_ordered(s, leaves) for s in self._systems],
            "floors": [self._floor(s, leaves) for s in self._systems],
            "centres": [0.0] * (1 + len(self._systems)),
            "scale": float(torch.as_tensor(total).max()),
        }
        self.set_up(learned)
        phi = [self.columns.index(c) for c in self.columns if c.name.endswith((".phi", ".phi_star"))]
        columns = self.encode(view)[0][:, phi]
        centres = [0.0] * learned["at_rest"] + circular_mean(columns, None)
        # Half a range has no cut to choose.
        halves = [False, *learned["half"]]
        learned["centres"] = [0.0 if half else c for c, half in zip(centres, halves, strict=True)]
        return learned

    def _is_ordered(self, system: _System, leaves: list[_Vector]) -> bool:
        if not isinstance(system.first, int) or not isinstance(system.second, int):
            return False
        (first, i), (second, j) = self.leaves[system.first], self.leaves[system.second]
        masses = self.layout.masses.get(first)
        equal = first == second and i < j and masses is not None and masses.source in ("fixed", "none")
        sorted_by_pt = equal and self.layout.orders.get(first) == "pt"
        if system.ordered is False or (system.ordered is None and not sorted_by_pt):
            return False
        a, b = leaves[system.first], leaves[system.second]
        ordered = bool((torch.hypot(a.px, a.py) >= torch.hypot(b.px, b.py) * (1 - 1e-6)).all())
        if system.ordered and not (equal and ordered):
            msg = f"{system.name}: ordered children need one mass, and falling pt in all events"
            raise RecipeError(msg)
        return ordered

    def _floor(self, system: _System, leaves: list[_Vector]) -> float:
        """The largest threshold in any event, if all masses are above it; else 0.

        A resonance stays where it is, whatever it decays into, if its mass is counted from there.
        """
        if not isinstance(system.first, int) or not isinstance(system.second, int):
            return 0.0
        a, b = leaves[system.first], leaves[system.second]
        floor = float((a.mass + b.mass).max())
        return floor if floor < float(_mass(a, b).min()) else 0.0

    def set_up(self, learned: dict[str, Any]) -> None:
        """Fixes the columns: those of the outermost system, then those of each system."""
        self.at_rest, self._half = learned["at_rest"], learned["half"]
        # Models from before there were floors count masses from the event's own threshold.
        self._floors = learned.get("floors", [0.0] * len(self._systems))
        self.constant("centres", learned["centres"])
        n, scale = self.name, learned["scale"]
        columns = []
        # A system at rest has its frame's axis along x, so that phi* is the azimuth itself.
        if not self.at_rest:
            columns += [
                self._column(n, "pt", 0.0, None, scale),
                self._column(n, "phi", -math.pi, math.pi, 1.0),
            ]
        columns.append(self._column(n, "y", None, None, 0.0))
        for system, half in zip(self._systems, self._half, strict=True):
            reach = math.pi / 2 if half else math.pi
            columns.append(self._column(system.name, "mass", 0.0, None, 0.0))
            columns.append(self._column(system.name, "cos_theta", -1.0, 1.0, 1.0))
            columns.append(self._column(system.name, "phi_star", -reach, reach, 1.0))
        self.columns = tuple(columns)

    def keeps_order(self, collection: str) -> bool:
        """Whether all objects of a collection of two are the ordered children of one system."""
        for system, half in zip(self._systems, self._half, strict=True):
            children = [c for c in (system.first, system.second) if isinstance(c, int)]
            if half and [self.leaves[c] for c in children] == [(collection, 0), (collection, 1)]:
                return True
        return False

    def _column(self, system: str, name: str, low: float | None, high: float | None, scale: float) -> Column:
        return Column(f"{system}.{name}", (f"{system}.{name}", name), low, high, None, scale)

    # ------------------------------------------------------------------ encoding

    def _read(self, view: View) -> list[_Vector]:
        vectors = []
        for collection, slot in self.leaves:
            k = view.kinematics(collection)
            px, py, pz = (k[c][:, slot] for c in ("px", "py", "pz"))
            massive = self.layout.masses[collection].source != "none"
            mass = k["mass"][:, slot] if massive else torch.zeros_like(px)
            vectors.append(_Vector(px, py, pz, mass, safe_sqrt(px**2 + py**2 + pz**2 + mass**2)))
        return vectors

    def encode(self, view: View) -> tuple[Tensor, Tensor]:
        """Columns (N, D); no classes."""
        leaves = self._read(view)
        systems: list[Tensor] = []
        root = self._up(self._root, leaves, systems, outermost=True)
        columns = []
        if not self.at_rest:
            pt = torch.hypot(root.px, root.py)
            columns += [pt, wrap(torch.atan2(root.py, root.px) - self.centres[0])]
        transverse = torch.zeros_like(root.mass) if self.at_rest else root.px**2 + root.py**2
        columns.append(torch.asinh(root.pz / safe_sqrt(root.mass**2 + transverse).clamp(min=_TINY)))
        values = torch.cat([torch.stack(columns, 1), *systems], 1)
        return values, torch.zeros(len(view), 0, dtype=torch.int64, device=view.device)

    def _up(
        self, node: int | _System, leaves: list[_Vector], columns: list[Tensor], *, outermost: bool = False
    ) -> _Vector:
        """The momentum of a system; its columns, and those of the systems in it, are appended in order."""
        if isinstance(node, int):
            return leaves[node]
        place = len(columns)
        columns.append(leaves[0].px)
        a, b = self._up(node.first, leaves, columns), self._up(node.second, leaves, columns)
        px, py, pz = a.px + b.px, a.py + b.py, a.pz + b.pz
        if outermost and self.at_rest:
            px = py = torch.zeros_like(px)
        mass = _mass(a, b).clamp(min=_TINY)
        energy = a.energy + b.energy
        pt = torch.hypot(px, py)
        flat = pt == 0
        cos, sin = torch.where(flat, 1.0, px / pt), torch.where(flat, 0.0, py / pt)
        mt = torch.hypot(mass, pt)
        along, across = a.px * cos + a.py * sin, a.py * cos - a.px * sin
        boosted = (energy * a.energy - pz * a.pz) / mt
        x, z = (mt * along - pt * boosted) / mass, (energy * a.pz - pz * a.energy) / mt
        length = (x**2 + across**2 + z**2).sqrt()
        cos_theta = torch.where(length > 0, z / length.clamp(min=1e-300), 0.0).clamp(-1.0, 1.0)
        phi = wrap(torch.atan2(across, x) - self.centres[1 + self._number(node)])
        columns[place] = torch.stack([mass - self._origin(node, a.mass + b.mass), cos_theta, phi], 1)
        return _Vector(px, py, pz, mass, energy)

    def _number(self, system: _System) -> int:
        return next(i for i, s in enumerate(self._systems) if s is system)

    def _origin(self, system: _System, least: Tensor) -> Tensor:
        """What a system's mass is counted from: its floor, or its threshold (N,) where that is higher."""
        return least.clamp(min=self._floors[self._number(system)])

    # ------------------------------------------------------------------ decoding

    def decode(self, columns: Tensor, discrete: Tensor, builder: Builder) -> None:
        """Puts in the momenta."""
        c = columns.unbind(1)
        n = len(c) - 3 * len(self._systems)
        parts = {id(s): c[n + 3 * i : n + 3 * i + 3] for i, s in enumerate(self._systems)}
        masses = self._leaf_masses(builder)
        sums = self._masses(parts, masses)
        mass = sums[id(self._root)]
        if self.at_rest:
            pt = phi = torch.zeros_like(mass)
        else:
            pt, phi = c[0], c[1] + self.centres[0]
        if builder.azimuth is not None:
            phi = phi + builder.azimuth
        cos, sin = torch.cos(phi), torch.sin(phi)
        mt = safe_sqrt(mass**2 + pt**2)
        sinh, cosh = (one_by_one(f, c[n - 1]) for f in (torch.sinh, torch.cosh))
        root = _Vector(pt * cos, pt * sin, mt * sinh, mass, mt * cosh)
        found: list[_Vector | None] = [None] * len(self.leaves)
        self._down(self._root, root, (pt, cos, sin), parts, sums, masses, found)
        self._put([v for v in found if v is not None], builder)

    def _leaf_masses(self, builder: Builder) -> list[Tensor]:
        masses = []
        for collection, slot in self.leaves:
            known = builder.mass(collection)
            if known is None:
                known = torch.zeros(builder.size, slot + 1, dtype=torch.float64, device=builder.device)
            masses.append(known[:, slot])
        return masses

    def _masses(self, parts: dict[int, tuple[Tensor, ...]], leaves: list[Tensor]) -> dict[int, Tensor]:
        """The mass of each system: what its children need, and the excess."""
        found: dict[int, Tensor] = {}
        # A system precedes those in it.
        for system in reversed(self._systems):
            a, b = (leaves[x] if isinstance(x, int) else found[id(x)] for x in (system.first, system.second))
            found[id(system)] = self._origin(system, a + b) + parts[id(system)][0].clamp(min=_TINY)
        return found

    def _down(
        self,
        system: _System,
        total: _Vector,
        transverse: tuple[Tensor, Tensor, Tensor],
        parts: dict[int, tuple[Tensor, ...]],
        sums: dict[int, Tensor],
        masses: list[Tensor],
        found: list[_Vector | None],
    ) -> None:
        """Shares a system's momentum out to its children."""
        excess, cos_theta, phi_star = parts[id(system)]
        phi_star = phi_star + self.centres[1 + self._number(system)]
        m1, m2 = (masses[x] if isinstance(x, int) else sums[id(x)] for x in (system.first, system.second))
        pt, cos, sin = transverse
        mass, energy, pz = total.mass, total.energy, total.pz
        above = excess.clamp(min=_TINY) + (self._origin(system, m1 + m2) - (m1 + m2))
        product = above * (mass + m1 + m2) * (mass - m1 + m2) * (mass + m1 - m2)
        length = product.sqrt() / (2 * mass)
        side = length * safe_sqrt((1 - cos_theta) * (1 + cos_theta))
        x, across, z = side * torch.cos(phi_star), side * torch.sin(phi_star), length * cos_theta
        e = safe_sqrt(length**2 + m1**2)
        mt = safe_sqrt(mass**2 + pt**2)
        along, boosted = (mt * x + pt * e) / mass, (mt * e + pt * x) / mass
        px, py = along * cos - across * sin, along * sin + across * cos
        first_z = (energy * z + pz * boosted) / mt
        first = (px, py, first_z, m1)
        second = (total.px - px, total.py - py, pz - first_z, m2)
        for child, (cx, cy, cz, m) in ((system.first, first), (system.second, second)):
            pt2 = cx**2 + cy**2
            if isinstance(child, int):
                found[child] = _Vector(cx, cy, cz, m, m)
                continue
            vector = _Vector(cx, cy, cz, m, safe_sqrt(pt2 + cz**2 + m**2))
            size = safe_sqrt(pt2)
            flat = size == 0
            safe = torch.where(flat, 1.0, size)
            frame = (size, torch.where(flat, 1.0, cx / safe), torch.where(flat, 0.0, cy / safe))
            self._down(child, vector, frame, parts, sums, masses, found)

    def _put(self, vectors: list[_Vector], builder: Builder) -> None:
        by_collection: dict[str, list[tuple[int, _Vector]]] = {}
        for (collection, slot), vector in zip(self.leaves, vectors, strict=True):
            by_collection.setdefault(collection, []).append((slot, vector))
        for collection, members in by_collection.items():
            members.sort(key=lambda m: m[0])
            known = {
                name: torch.stack([getattr(v, name) for _, v in members], 1)
                for name in ("px", "py", "pz", "mass")
            }
            builder.put_momenta(collection, tuple(s for s, _ in members), Kinematics(known))


def _mass(a: _Vector, b: _Vector) -> Tensor:
    """The mass (N,) of a system of two, not below the sum of theirs whatever rounding does."""
    m2 = a.mass**2 + b.mass**2 + 2 * (a.energy * b.energy - a.px * b.px - a.py * b.py - a.pz * b.pz)
    return torch.maximum(safe_sqrt(m2), a.mass + b.mass)
