"""The terms of a loss, and when each is part of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from pydantic import Field, model_validator
from torch import Tensor

from hepgan.config import Config

__all__ = ["Term", "TermSchedule", "total", "weighted_mean"]


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


class TermSchedule(Config):
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
