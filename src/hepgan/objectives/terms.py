"""The terms of a loss."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Term", "total", "weighted_mean"]


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


def total(terms: Iterable[Term]) -> Tensor:
    """The loss: the sum of all terms with their weights."""
    return torch.stack([term.weight * term.value.to(torch.float64) for term in terms]).sum()


def weighted_mean(values: Tensor, weight: Tensor | None = None) -> Tensor:
    """The mean of values (N,) with event weights (N,); a scalar.

    Negative weights are allowed, as long as their sum isn't 0.
    """
    if weight is None:
        return values.mean()
    return (weight * values).sum() / weight.sum()
