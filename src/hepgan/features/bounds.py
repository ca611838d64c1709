"""Whether events are within a recipe's bounds."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from hepgan.events.batch import EventBatch
from hepgan.features.config import Reference
from hepgan.features.view import raw_kinematics

__all__ = ["within"]


def within(events: EventBatch, bounds: Mapping[str, tuple[float | None, float | None]]) -> Tensor:
    """Which events (N,) are within the bounds with all their objects; coordinates may be derived.

    Args:
        events: N events.
        bounds: Lowest and highest value of fields (``Muon.pt``, ``Jet[0].eta``, ``rho``); None for no limit.
    """
    valid = torch.ones(len(events), dtype=torch.bool, device=events.device)
    for text, (low, high) in bounds.items():
        reference = Reference.parse(text)
        if reference.field is None:
            values = events.scalars[reference.name].unsqueeze(1)
            mask = torch.ones_like(values, dtype=torch.bool)
        else:
            values, mask = _values(events, reference)
        inside = torch.ones_like(values, dtype=torch.bool)
        inside = inside if low is None else inside & (values >= low)
        inside = inside if high is None else inside & (values <= high)
        valid = valid & (inside | ~mask).all(1)
    return valid


def _values(events: EventBatch, reference: Reference) -> tuple[Tensor, Tensor]:
    objects = events.collections[reference.name]
    field = str(reference.field)
    values = objects[field] if field in objects.fields else raw_kinematics(events, reference.name)[field]
    slots = slice(None) if reference.slot is None else slice(reference.slot, reference.slot + 1)
    return values[:, slots], objects.mask[:, slots]
