"""Whether events are within a recipe's bounds."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from hepgan.events.batch import EventBatch
from hepgan.features.config import Reference
from hepgan.features.view import presence, raw_kinematics

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
            values, mask = events.scalars[reference.name].unsqueeze(1), None
        else:
            values, mask = _values(events, reference)
        inside = torch.ones_like(values, dtype=torch.bool)
        inside = inside if low is None else inside & (values >= low)
        inside = inside if high is None else inside & (values <= high)
        valid = valid & (inside if mask is None else inside | ~mask).all(1)
    return valid


def _values(events: EventBatch, reference: Reference) -> tuple[Tensor, Tensor | None]:
    fields = events.collections[reference.name].fields
    field = str(reference.field)
    values = fields[field] if field in fields else raw_kinematics(events, reference.name)[field]
    values = values.unsqueeze(1) if values.ndim == 1 else values
    mask = presence(events, reference.name)
    if reference.slot is None:
        return values, mask
    slot = slice(reference.slot, reference.slot + 1)
    return values[:, slot], None if mask is None else mask[:, slot]
