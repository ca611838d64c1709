"""The terms of a loss: when each counts, the values that it is of, its mean over members of an ensemble."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from pydantic import Field, model_validator
from torch import Tensor

from hepgan.config import Settings

__all__ = [
    "ROUNDING",
    "Circumstances",
    "Points",
    "Term",
    "TermSchedule",
    "by_members",
    "joined",
    "moments",
    "normalised",
    "of_members",
    "reduced",
    "spread",
    "sums_of_events",
    "total",
    "weighted_mean",
    "width",
]


@dataclass(frozen=True)
class Term:
    """One term of a loss, reported on its own.

    Attributes:
        name: Its name in the history.
        value: A scalar tensor, without the weight.
        weight: Its factor in the loss.
    """

    name: str
    value: Tensor
    weight: float = 1.0


class TermSchedule(Settings):
    """The part of a training in which a term counts.

    Attributes:
        start: The share of the training that is done when the term begins.
        ramp: The share over which its weight then rises from 0, linearly.
        end: The share that is done when it ends.
    """

    start: float = Field(default=0.0, ge=0.0, lt=1.0)
    ramp: float = Field(default=0.0, ge=0.0, le=1.0)
    end: float = Field(default=1.0, gt=0.0, le=1.0)

    @model_validator(mode="after")
    def _check(self) -> TermSchedule:
        if not self.start < self.end:
            msg = f"a schedule starts before it ends, unlike {self.start:g} and {self.end:g}"
            raise ValueError(msg)
        return self

    def factor(self, share: float) -> float:
        """What the term's weight is multiplied by, when this share of the training is done."""
        if not self.start <= share <= self.end:
            return 0.0
        return min(1.0, (share - self.start) / self.ramp) if self.ramp else 1.0


def total(terms: Iterable[Term]) -> Tensor:
    """The loss: the sum of all terms with their weights."""
    return torch.stack([term.weight * term.value.to(torch.float64) for term in terms]).sum()


def weighted_mean(values: Tensor, weight: Tensor | None = None) -> Tensor:
    """The mean of values (N,), or (N, K), with event weights (N,); a scalar.

    Negative weights are allowed, as long as their sum isn't 0.
    """
    values = values if values.ndim == 1 else values.flatten(1).mean(1)
    if weight is None:
        return values.mean()
    return (weight * values).sum() / weight.sum()


ROUNDING = 1e-9
"""Computed numbers that differ by less, as a share of the largest, count as equal."""


class Points(NamedTuple):
    """Values of one observable, or of several together.

    Values of one event are not independent, and events of equal number in a real and a generated sample
    share their context, so neither make pairs where a mean over independent pairs is due.

    Attributes:
        values: (n,) values, or (n, d) of d observables, in the observables' units.
        weight: (n,) their weights: the event's, times the value's own if it has one; negative ones too.
        event: (n,) the number of the event of each; each is an event of its own if None.
        event_weight: (N,) the weights of all events; ``weight`` if None.
    """

    values: Tensor
    weight: Tensor
    event: Tensor | None = None
    event_weight: Tensor | None = None

    def to(self, dtype: torch.dtype) -> Points:
        """The same sample in another precision."""
        weight = None if self.event_weight is None else self.event_weight.to(dtype)
        return Points(self.values.to(dtype), self.weight.to(dtype), self.event, weight)

    def first(self, count: int) -> Points:
        """Its first values."""
        if count >= len(self.values):
            return self
        event = None if self.event is None else self.event[:count]
        return Points(self.values[:count], self.weight[:count], event, self.event_weight)


class Circumstances(NamedTuple):
    """What a penalty may depend on besides the samples.

    Attributes:
        share: The share of the training that is done.
        generator: Draws random numbers; torch's global one if None.
        edges: (bins + 1,) edges of the observable's own histogram, if it has one.
        precision: What sums over all pairs are made in, once differences are of order 1.
    """

    share: float = 0.0
    generator: torch.Generator | None = None
    edges: Tensor | None = None
    precision: torch.dtype = torch.float64


def moments(points: Points) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation, () or (d,)."""
    weight = points.weight if points.values.ndim == 1 else points.weight[:, None]
    total = points.weight.sum()
    mean = (weight * points.values).sum(dim=0) / total
    variance = (weight * (points.values - mean).square()).sum(dim=0) / total
    # Negative weights can make the variance negative in a small batch; a collapsed sample has none.
    return mean, variance.clamp_min(torch.finfo(variance.dtype).tiny).sqrt()


def spread(real: Points) -> Tensor:
    """The standard deviation () or (d,), and 1 where there is none; without gradient."""
    values = real.values.detach()
    _, std = moments(Points(values, real.weight.detach()))
    # What is left of equal values is rounding, which differs from processor to processor.
    return torch.where(std > ROUNDING * values.abs().amax(dim=0), std, torch.ones_like(std))


def reduced(real: Points, generated: Points, count: int, precision: torch.dtype) -> tuple[Points, Points]:
    """The first values of both, from a common origin near them, which spares a lower precision digits."""
    origin = real.values[0]
    r, g = real.first(count), generated.first(count)
    return (
        r._replace(values=r.values - origin).to(precision),
        g._replace(values=g.values - origin).to(precision),
    )


def width(points: Points) -> Tensor:
    """Half the range from 16% to 84% of the values, averaged over columns; a scalar without gradient.

    Tails do not widen it; for a normal distribution it is the standard deviation.
    """
    columns = points.values.detach().reshape(len(points.values), -1)
    x, order = torch.sort(columns, dim=0)
    level = torch.cumsum(points.weight.detach()[order], dim=0) / points.weight.detach().sum()
    # With negative weights the cumulative distribution isn't monotone; its running maximum is.
    level = level.cummax(dim=0).values.T.contiguous()
    # A level that is reached but for rounding is reached.
    ends = level.new_tensor([0.16, 0.84]) - ROUNDING
    at = torch.searchsorted(level, ends.expand(len(level), 2).contiguous())
    low, high = x.T.gather(1, at.clamp_max(len(x) - 1)).unbind(1)
    return 0.5 * (high - low).mean()


def sums_of_events(values: Tensor, event: Tensor, size: int) -> Tensor:
    """Sums (size,) of the values (n,) of each event."""
    return values.new_zeros(size).index_add(0, event, values)


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
