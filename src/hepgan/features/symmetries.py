"""Events seen in mirrors that leave their distribution as it is."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor

from hepgan.events import EventBatch
from hepgan.events.batch import Objects

__all__ = ["Axis", "reflected"]

Axis = Literal["y", "z"]

_CHANGING_SIGN = {"y": ("py", "phi"), "z": ("pz", "eta", "rapidity", "costheta")}


def reflected(events: EventBatch, axes: Iterable[Axis]) -> EventBatch:
    """The events, and each seen in a mirror across each of the axes: for k axes 2^k times as many.

    Momenta are reflected, all other fields stay.

    Args:
        events: N events.
        axes: ``y``: phi and py change their signs. ``z``: pz, eta, rapidity and cos(theta) do, and theta
            becomes pi - theta.
    """
    for axis in axes:
        images = EventBatch(
            events.schema,
            {name: _image(objects, axis) for name, objects in events.collections.items()},
            events.scalars,
            len(events),
        )
        events = EventBatch.concatenate([events, images])
    return events


def _image(objects: Objects, axis: Axis) -> Objects:
    def value(name: str, values: Tensor) -> Tensor:
        if name in _CHANGING_SIGN[axis]:
            return -values
        if name == "theta" and axis == "z":
            return torch.where(objects.mask, math.pi - values, values)
        return values

    return objects.with_fields({n: value(n, v) for n, v in objects.fields.items()})
