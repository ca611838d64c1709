"""The momenta of a collection's objects, each in its own coordinates."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from hepgan.errors import RecipeError
from hepgan.features.config import ObjectsConfig
from hepgan.features.layout import MOMENTUM, Column, Layout
from hepgan.features.parts.base import Block, circular_mean
from hepgan.features.ranges import Range
from hepgan.features.view import Builder, View
from hepgan.vectors.kinematics import Kinematics, wrap

__all__ = ["ObjectsBlock"]

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


class ObjectsBlock(Block):
    """Momenta of objects, one column for each coordinate and object.

    In a descending order, each object after the first has the ratio of its distance from the edge to that of
    the object before it, in [0, 1]; the edge is the recipe's bound, or lies just below the smallest value. A
    column ``energy`` that comes with a mass is the kinetic energy, so that E >= m. Azimuths are cut opposite
    to their mean direction. Where a file has only some coordinates (``pt`` alone), these are the columns. A
    coordinate with a range of the recipe's is a share of it, or a distance from its only end.

    Args:
        layout: What is known of the collections.
        config: The recipe's settings.
        slots: The objects.
        edges: Lowest and highest value of a coordinate, where the recipe bounds it.

    Raises:
        RecipeError: If the coordinates make no momentum, or don't allow what else is asked for.
    """

    centre: Tensor
    targets: Tensor

    def __init__(
        self,
        layout: Layout,
        config: ObjectsConfig,
        slots: tuple[int, ...],
        edges: dict[str, tuple[float | None, float | None]],
    ) -> None:
        super().__init__(layout, config.transforms, config.pca)
        self.config, self.collection, self.slots, self.edges = config, config.collection, slots, edges
        self.partial = not layout.has_momentum(self.collection)
        self.coordinates = config.coordinates or self._default_coordinates()
        self.coordinates = tuple(c for c in self.coordinates if c != "mass")
        self._check()
        mass = layout.masses.get(self.collection)
        self.massive = mass is not None and mass.source != "none" and "energy" not in self._cartesian_energy()
        self.order: str | None = None
        self.low = 0.0
        self.ranges = self._ranges()

    @property
    def optional(self) -> frozenset[str]:
        """Ratios, which there are in ordered collections, and the mass, which may be a field."""
        return frozenset({*(f"{c}_ratio" for c in self.coordinates), "mass"})

    def _default_coordinates(self) -> tuple[str, ...]:
        names = self.layout.collection(self.collection).field_names
        if self.partial:
            return tuple(n for n in names if n in MOMENTUM)
        if self.layout.dimensions(self.collection) == 2:
            single = self.layout.collection(self.collection).layout == "single"
            return ("px", "py") if single or "pt" not in names else ("pt", "phi")
        return ("pt", "eta", "phi") if "pt" in names else ("px", "py", "pz")

    def _cartesian_energy(self) -> tuple[str, ...]:
        return ("energy",) if set(self.coordinates) == {"px", "py", "pz", "energy"} else ()

    def _check(self) -> None:
        chosen, name = set(self.coordinates), self.collection
        wanted = TRANSVERSE if self.layout.dimensions(name) == 2 else COMPLETE
        if self.partial and not chosen <= set(self.layout.collection(name).field_names) & set(MOMENTUM):
            msg = f"{name}: has no {', '.join(sorted(chosen))} to take as coordinates"
            raise RecipeError(msg)
        if not self.partial and chosen not in wanted:
            examples = "; ".join(", ".join(sorted(c)) for c in wanted)
            msg = f"{name}: {', '.join(self.coordinates)} make no momentum; choose from {examples}"
            raise RecipeError(msg)
        for what, needed in (("conserve", self.config.conserve), ("threshold", self.config.threshold)):
            missing = [c for c in needed if c not in chosen]
            if missing:
                msg = f"{name}: {what} needs {missing[0]} among the coordinates, which are {sorted(chosen)}"
                raise RecipeError(msg)
        if self.config.conserve and self.slots != tuple(range(self.layout.collection(name).max_count)):
            msg = f"{name}: conserve needs all objects in one block"
            raise RecipeError(msg)

    def _ranges(self) -> dict[str, Range]:
        """The recipe's ranges, with a coordinate's own ends where it leaves them open."""
        known, found = set(self.layout.schema.scalar_names), {}
        for coordinate in self.coordinates:
            if coordinate in self.config.ranges:
                low, high = self.config.ranges[coordinate]
                own = LIMITS.get(coordinate, (0.0 if coordinate in POSITIVE else None, None))
                low, high = own[0] if low is None else low, own[1] if high is None else high
                found[coordinate] = Range(f"{self.collection}.{coordinate}", low, high, known)
            known.add(coordinate)
        for coordinate in self.config.ranges:
            wrong = coordinate == "phi" or coordinate in self.config.conserve
            if wrong or coordinate not in found or self.collection in self.layout.padded:
                msg = f"{self.collection}: ranges cannot limit {coordinate!r} here"
                raise RecipeError(msg)
        return found

    # ------------------------------------------------------------------ learning

    def learn(self, view: View) -> dict[str, Any]:
        """The edge of an ordered coordinate, and where azimuths are cut."""
        k = view.kinematics(self.collection)
        mask = view.mask(self.collection)
        present = None if mask is None else mask[:, list(self.slots)]
        order = self.layout.orders.get(self.collection)
        learned: dict[str, Any] = {"order": None, "low": 0.0, "centres": {}, "scale": 0.0}
        padded = self.collection in self.layout.padded
        # Objects sorted by another measurement than the momentum's own are sorted when all is decoded.
        apart = order is not None and self.layout.deviation(self.collection, order) is not None
        apart = apart or order in self.ranges
        if order in self.coordinates and order in SORTABLE and len(self.slots) > 1 and not padded | apart:
            learned["order"] = order
            if order != "energy" or not self.massive:
                values = k[str(order)][:, list(self.slots)]
                values = values if present is None else values[present]
                bound = self.edges.get(str(order), (None, None))[0]
                smallest = float(values.min()) if values.numel() else 0.0
                spread = float(values.max()) - smallest if values.numel() else 0.0
                below = max(smallest - max(1e-3 * spread / max(len(view), 1), 1e-6 * smallest), 0.0)
                learned["low"] = below if bound is None else bound
        for component, target in self.config.conserve.items():
            self._check_conserved(k[component], mask, component, target)
        if "phi" in self.coordinates:
            learned["centres"]["phi"] = circular_mean(k["phi"][:, list(self.slots)], present)
        if "px" in self.coordinates:
            size = k["pt"][:, list(self.slots)]
            size = size if present is None else size[present]
            learned["scale"] = float(size.max()) if size.numel() else 0.0
        return learned

    def _check_conserved(self, values: Tensor, mask: Tensor | None, component: str, target: float) -> None:
        values = values if mask is None else torch.where(mask, values, 0.0)
        off = (values.sum(1) - target).abs() > CONSERVED * (values.abs().sum(1) + abs(target))
        if bool(off.any()):
            event = int(off.nonzero()[0])
            msg = (
                f"conserve: the {component} of {self.collection} sums to {float(values[event].sum()):g}, "
                f"not {target:g} ({int(off.sum())} of {len(off)} events are off)"
            )
            raise RecipeError(msg, entry=event)

    def set_up(self, learned: dict[str, Any]) -> None:
        """Fixes the columns, coordinate by coordinate."""
        self.order, self.low = learned["order"], learned["low"]
        self.constant("centre", learned["centres"].get("phi", [0.0] * len(self.slots)))
        self.constant("targets", [self.config.conserve.get(c, 0.0) for c in self.coordinates])  # type: ignore[call-overload]
        columns = []
        for coordinate in self.coordinates:
            for i, slot in enumerate(self.slots):
                columns.append(self._column(coordinate, i, slot, learned["scale"]))
        self.columns = tuple(columns)

    def _column(self, coordinate: str, i: int, slot: int, scale: float) -> Column:
        full = f"{self.layout.label(self.collection, slot)}.{coordinate}"
        names = (full, f"{self.collection}.{coordinate}", coordinate)
        # The last object's conserved component is solved for, whichever object is the last.
        needed = slot + 2 if coordinate in self.config.conserve else slot + 1
        gate = self.layout.gate(self.collection, needed)
        if coordinate == self.order and i > 0:
            keys = (f"{full}_ratio", f"{coordinate}_ratio")
            return Column(f"{full}_ratio", keys, 0.0, 1.0, gate, 1.0)
        low, high = LIMITS.get(coordinate, (None, None))
        if coordinate in self.ranges:
            shared = self.ranges[coordinate].shared
            return Column(full, names, 0.0, 1.0 if shared else None, gate, 1.0 if shared else 0.0)
        if coordinate in self.edges:
            bounds = self.edges[coordinate]
            low, high = (a if b is None else b for a, b in zip((low, high), bounds, strict=True))
        if coordinate in POSITIVE:
            low = max(low or 0.0, self.low if coordinate == self.order else 0.0)
        if coordinate == "phi":
            low, high, scale = -math.pi, math.pi, 1.0
        return Column(full, names, low, high, gate, scale)

    # ------------------------------------------------------------------ encoding

    def encode(self, view: View) -> tuple[Tensor, Tensor]:
        """Columns (N, D), coordinate by coordinate; no classes."""
        k = view.kinematics(self.collection)
        slots = list(self.slots)
        mask = view.mask(self.collection)
        columns = []
        for coordinate in self.coordinates:
            values = k.bounded(coordinate)[:, slots]
            if self.collection in self.layout.padded:
                values = torch.where(view_presence(view, self.collection)[:, slots], values, 0.0)
            elif mask is not None:
                values = torch.where(mask[:, slots], values, 0.0)
            if coordinate in self.ranges:
                known = {n: v.to(torch.float64) for n, v in view.events.scalars.items()}
                known |= {c: k[c][:, slots] for c in self.coordinates}
                present = None if mask is None else mask[:, slots]
                values = self.ranges[coordinate].forward(values, known, present, view.refuse)
            elif coordinate == "energy" and self.massive:
                values = self._kinetic(values, k["mass"][:, slots])
            elif coordinate == self.order:
                values = _ratios(values - self.low)
                values[:, 0] += self.low
            if coordinate == "phi":
                values = wrap(values - self.centre)
            columns.append(values)
        return torch.cat(columns, 1), torch.zeros(len(view), 0, dtype=torch.int64, device=view.device)

    def _kinetic(self, energy: Tensor, mass: Tensor) -> Tensor:
        kinetic = (energy - mass).clamp(min=0.0)
        if self.order != "energy":
            return kinetic
        room = (energy[:, :-1] - mass[:, 1:]).clamp(min=0.0)
        ratio = kinetic[:, 1:] / torch.where(room > 0, room, 1.0)
        return torch.cat([kinetic[:, :1], ratio], 1)

    # ------------------------------------------------------------------ decoding

    def decode(self, columns: Tensor, discrete: Tensor, builder: Builder) -> None:
        """Puts in the momenta, and sets the number of objects where it goes by a threshold."""
        number = len(self.slots)
        mass = builder.mass(self.collection)
        mass = None if mass is None else mass[:, list(self.slots)]
        known: dict[str, Tensor] = {}
        for i, coordinate in enumerate(self.coordinates):
            values = columns[:, i * number : (i + 1) * number]
            if coordinate in self.config.conserve:
                values = self._balanced(values, self.targets[i], builder)
            if coordinate in self.ranges:
                values = self.ranges[coordinate].inverse(values, {**builder.scalars, **known})
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
                values = wrap(values + self.centre)
            known[coordinate] = values
        if mass is not None and self.massive:
            known["mass"] = mass
        k = Kinematics(known)
        if builder.azimuth is not None:
            k = k.rotated(builder.azimuth.unsqueeze(1))
        if self.partial:
            for coordinate in self.coordinates:
                builder.put_field(self.collection, coordinate, k.bounded(coordinate))
        else:
            builder.put_momenta(self.collection, self.slots, k)
        if self.config.threshold:
            present = torch.ones_like(columns[:, :number], dtype=torch.bool)
            for name, least in self.config.threshold.items():
                present = present & (known[name] > least)
            builder.mark(self.collection, present)

    def _total(self, values: Tensor, mass: Tensor) -> Tensor:
        """Energies from kinetic energies, or from ratios of what the object before it leaves."""
        if self.order != "energy":
            return values + mass
        energies = [values[:, 0] + mass[:, 0]]
        for i in range(1, values.shape[1]):
            room = (energies[-1] - mass[:, i]).clamp(min=0.0)
            energies.append(mass[:, i] + values[:, i] * room)
        return torch.stack(energies, 1)

    def _balanced(self, values: Tensor, target: Tensor, builder: Builder) -> Tensor:
        """The components with the last object's solved for."""
        slots = torch.arange(values.shape[1], device=values.device)
        count = builder.counts.get(self.collection)
        last = (
            torch.full_like(values[:, :1], values.shape[1] - 1) if count is None else count.unsqueeze(1) - 1
        )
        others = torch.where(slots < last, values, 0.0)
        return torch.where(slots == last, target - others.sum(1, keepdim=True), others)


def view_presence(view: View, collection: str) -> Tensor:
    """Where there is an object (N, M), also where absent ones count as zeros."""
    slots = torch.arange(view.layout.collection(collection).max_count, device=view.device)
    return slots < view.count(collection).unsqueeze(1)


def _ratios(distance: Tensor) -> Tensor:
    """The first distance from the edge as it is, each other in units of the one before it."""
    before = distance[:, :-1]
    ratio = distance[:, 1:] / torch.where(before > 0, before, 1.0)
    return torch.cat([distance[:, :1], ratio.clamp(0.0, 1.0)], 1)
