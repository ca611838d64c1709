"""Batches of several members of an ensemble: equally many events each, one member's after another's.

A mean over such a batch is the mean of the members' means, if their weights have equal sums.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from hepgan.objectives.points import Points

__all__ = ["by_members", "joined", "normalised", "of_members"]


def by_members(rows: Tensor, members: int) -> Tensor:
    """Rows (M * N, ...) by their member, (M, N, ...)."""
    return rows.reshape(members, rows.shape[0] // members, *rows.shape[1:])


def joined(first: Tensor, second: Tensor, members: int) -> Tensor:
    """Of each member the rows of the first (M * N, ...), and then those of the second (M * N, ...)."""
    if members == 1:
        return torch.cat((first, second))
    return torch.cat([by_members(t, members) for t in (first, second)], dim=1).flatten(0, 1)


def normalised(weight: Tensor, members: int) -> Tensor:
    """Event weights (M * N,), scaled so that those of each member sum to N."""
    if members == 1:
        return weight
    each = by_members(weight, members)
    return (each * (each.shape[1] / each.sum(1, keepdim=True))).flatten()


def of_members(points: Points, members: int) -> list[Points]:
    """The part of each member of the values of an observable in a batch, in the order of events."""
    if members == 1:
        return [points]
    event = torch.arange(len(points.values), device=points.values.device)
    event = event if points.event is None else points.event
    every = points.weight if points.event_weight is None else points.event_weight
    size = len(every) // members
    starts = torch.arange(members + 1, device=event.device) * size
    cuts = torch.searchsorted(event, starts).tolist()
    return [
        Points(
            points.values[low:high],
            points.weight[low:high],
            event[low:high] - k * size,
            every[k * size : (k + 1) * size],
        )
        for k, (low, high) in enumerate(pairwise(cuts))
    ]
