"""What a detector makes of given objects: which it finds, and by how much it is off."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hepgan.errors import InputError, RecipeError
from hepgan.events.schema import Collection, Kind
from hepgan.features.config import ResponseConfig
from hepgan.features.layout import MOMENTUM, Column, Layout, Places, fakes_name, found_name
from hepgan.features.parts.base import Block, Variable
from hepgan.features.parts.matching import coordinates_of, distance_kind, in_places, match
from hepgan.features.view import Builder, View
from hepgan.vectors.kinematics import Kinematics, safe_sqrt, wrap

__all__ = ["ResponseBlock"]

COLUMNS = {"polar": ("log_p", "tilt", "turn"), "transverse": ("log_pt", "deta", "dphi")}
FARTHEST = 30.0
"""Largest logarithm of a ratio: beyond it there is a network gone wrong, and soon infinity."""

_TINY = 1e-30


class ResponseBlock(Block):
    """Objects of a detector as deviations from given objects; see ``ResponseConfig``.

    Each given object has a place, in which the object that belongs to it is described; other objects have
    places of their own behind, which other blocks describe as they describe any objects. Whatever the
    columns are, the momenta are on their mass shell, and directions are directions.

    Args:
        layout: What is known of the collections, with their places.
        config: The recipe's settings.

    Raises:
        RecipeError: If one of the collections has no three-dimensional momentum.
    """

    def __init__(self, layout: Layout, config: ResponseConfig) -> None:
        coordinates, differences = coordinates_of(layout, config), _differences(layout, config)
        defaults = dict.fromkeys((*COLUMNS[coordinates], *differences), "standardise")
        super().__init__(layout, {**defaults, **config.transforms}, config.pca)
        self.coordinates, self.differences = coordinates, differences
        self.config, self.of, self.collection = config, config.of, config.collection
        for name in (config.of, config.collection):
            if layout.dimensions(name) < 3:
                msg = f"response: {name} has no three-dimensional momentum"
                raise RecipeError(msg)

    @property
    def places(self) -> Places:
        """How many objects there are, and which."""
        return self.layout.places[self.collection]

    @property
    def number(self) -> int:
        """How many given objects there can be, V."""
        return len(self.places.found)

    def learn(self, view: View) -> dict[str, Any]:
        """Nothing; it is in the layout."""
        return {}

    def set_up(self, learned: dict[str, Any]) -> None:
        """Fixes the columns, coordinate by coordinate, and the variables."""
        columns, variables = [], []
        labels = [self.layout.label(self.collection, i) for i in range(self.number)]
        for name in (*COLUMNS[self.coordinates], *self.differences):
            for i, label in enumerate(labels):
                keys = (f"{label}.{name}", f"{self.collection}.{name}", name)
                columns.append(Column(keys[0], keys, gate=self.layout.gate(self.collection, i + 1)))
        for label, classes in zip(labels, self.places.found, strict=True):
            if len(classes) > 1:
                variables.append(Variable(found_name(label), (0.0, 1.0), None, None, False))
        low, high = self.places.fakes
        if high > low:
            values = tuple(float(v) for v in range(low, high + 1))
            variables.append(Variable(fakes_name(self.collection), values, None, None, True))
        self.columns, self.variables = tuple(columns), tuple(variables)

    # ------------------------------------------------------------------ encoding

    def arranged(self, view: View) -> View:
        """The events with the detector's objects in their places."""
        kind = distance_kind(self.layout, self.config)
        partner = match(view.events, self.of, self.collection, kind, self.config.within)
        objects, fakes = in_places(view.events, self.collection, partner, self.places.width)
        low, high = self.places.fakes
        view.refuse((fakes < low) | (fakes > high), partial(self._unlike, fakes))
        return view.with_collection(self.collection, objects)

    def _unlike(self, fakes: Tensor, event: int) -> InputError:
        low, high = self.places.fakes
        msg = (
            f"{int(fakes[event])} {self.collection} that belong to no {self.of}, but {low} to {high} in the "
            "events that were learned from"
        )
        return InputError(msg, branch=self.layout.collection(self.collection).counter, entry=event)

    def encode(self, view: View) -> tuple[Tensor, Tensor]:
        """Columns (N, D) and classes (N, K).

        Raises:
            InputError: If an object was lost that never was in training, or found.
        """
        there = view.events.collections[self.collection].mask
        found, slots = there[:, : self.number], slice(0, self.number)
        true = Kinematics({n: view.kinematics(self.of)[n] for n in _CARTESIAN})
        k = view.kinematics(self.collection)
        measured = Kinematics({n: k[n][:, slots] for n in _CARTESIAN})
        parts = self._deviations(true, measured)
        for name in self.differences:
            difference = view.values(self.collection, name)[:, slots] - view.values(self.of, name)
            parts.append(difference.to(torch.float64))
        classes = [torch.zeros(len(view), 0, dtype=torch.int64, device=view.device)]
        for i, known in enumerate(self.places.found):
            if len(known) > 1:
                classes.append(found[:, i : i + 1].long())
            else:
                view.refuse(found[:, i] != bool(known[0]), partial(self._unseen, i))
        low, high = self.places.fakes
        if high > low:
            fakes = there[:, self.number :].sum(1, keepdim=True)
            classes.append((fakes - low).clamp(0, high - low))
        columns = torch.cat([torch.where(found, p, 0.0) for p in parts], 1)
        return columns, torch.cat(classes, 1)

    def _unseen(self, i: int, event: int) -> InputError:
        what = "lost" if self.places.found[i] == (1,) else "found"
        msg = (
            f"{self.of}[{i}] is {what} in {self.collection}, which never happened in the events that were "
            "learned from"
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
        own = torch.stack([measured[n] for n in _CARTESIAN], -1) / measured["p"].clamp(min=_TINY).unsqueeze(
            -1
        )
        along, u, v = ((own * axis).sum(-1) for axis in (direction, polar, azimuthal))
        across = safe_sqrt(u**2 + v**2)
        stretch = torch.atan2(across, along) / torch.where(across > 0, across, 1.0)
        return [ratio.log(), u * stretch, v * stretch]

    # ------------------------------------------------------------------ decoding

    def known(self, present: Tensor) -> Tensor | None:
        """The classes (N, K) that follow from which given objects (N, V) there are, -2 where none does."""
        if bool(present.all()) and all(self.places.lost):
            return None
        columns = []
        for i, classes in enumerate(self.places.found):
            if len(classes) > 1:
                one = torch.full((len(present),), -2 if self.places.lost[i] else 1, device=present.device)
                columns.append(torch.where(present[:, i], one, 0))
        if self.places.fakes[1] > self.places.fakes[0]:
            columns.append(torch.full((len(present),), -2, device=present.device))
        empty = torch.zeros(len(present), 0, dtype=torch.int64, device=present.device)
        return torch.stack(columns, 1) if columns else empty

    def decode(self, columns: Tensor, discrete: Tensor, builder: Builder) -> None:
        """Puts in the momenta of objects that are found, and tells which places have an object."""
        number = self.number
        parts = [columns[:, i * number : (i + 1) * number] for i in range(columns.shape[1] // max(number, 1))]
        true = builder.given_kinematics(self.of)
        if self.coordinates == "transverse":
            known = {
                "pt": true["pt"] * parts[0].clamp(-FARTHEST, FARTHEST).exp(),
                "eta": true.bounded("eta") + parts[1],
                "phi": wrap(true["phi"] + parts[2]),
            }
        else:
            known = self._turned(true, *parts[:3])
        mass = builder.mass(self.collection)
        if mass is not None:
            known["mass"] = mass[:, :number]
        if number:
            builder.put_momenta(self.collection, tuple(range(number)), Kinematics(known))
        for name, difference in zip(self.differences, parts[3:], strict=True):
            own = builder.given_field(self.of, name) + difference
            others = builder.fields.get(self.collection, {}).get(name)
            whole = own if others is None else torch.cat([own, others[:, number:]], 1)
            builder.put_field(self.collection, name, whole)
        builder.mark(self.collection, self._present(discrete, builder))

    def _turned(self, true: Kinematics, log_p: Tensor, tilt: Tensor, turn: Tensor) -> dict[str, Tensor]:
        direction, polar, azimuthal = _frame(true)
        angle = safe_sqrt(tilt**2 + turn**2)
        across = torch.sinc(angle / torch.pi)
        made = angle.cos().unsqueeze(-1) * direction
        made = made + (across * tilt).unsqueeze(-1) * polar + (across * turn).unsqueeze(-1) * azimuthal
        p = true["p"] * log_p.clamp(-FARTHEST, FARTHEST).exp()
        return dict(zip(_CARTESIAN, (p.unsqueeze(-1) * made).unbind(-1), strict=True))

    def _present(self, discrete: Tensor, builder: Builder) -> Tensor:
        """Which places (N, width) have an object."""
        size, at, columns = builder.size, 0, []
        there = builder.given[self.of].mask
        for i, classes in enumerate(self.places.found):
            if len(classes) > 1:
                columns.append((discrete[:, at] == 1) & there[:, i])
                at += 1
            else:
                columns.append(there[:, i] & bool(classes[0]))
        low, high = self.places.fakes
        fakes = discrete.new_full((size,), low) if high == low else discrete[:, at] + low
        columns += [fakes > j for j in range(high)]
        return torch.stack(columns, 1)


_CARTESIAN = ("px", "py", "pz")


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


def _differences(layout: Layout, config: ResponseConfig) -> tuple[str, ...]:
    """Fields that both have, and that are no part of the momentum: continuous ones without spikes."""
    true, measured = layout.collection(config.of), layout.collection(config.collection)
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
