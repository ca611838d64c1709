"""The numbers that models see."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

__all__ = ["FeatureBatch"]


@dataclass(frozen=True)
class FeatureBatch:
    """N encoded events on one device.

    Attributes:
        x: (N, D) continuous features, standardised; 0 where masked.
        mask: (N, D) bool, True where the feature exists in the event; None if all do.
        discrete: (N, K) int64, the class of each discrete variable; -1 where its object is absent.
        condition: (N, Q) encoded conditions.
        context: (N, C) what the continuous model is conditional on: conditions and the discrete part.
        weight: (N,) event weights, in units of the training events' mean.
        given: (N, R) the numbers of the collections that are given, as they are; None if there are none.
    """

    x: Tensor
    mask: Tensor | None
    discrete: Tensor
    condition: Tensor
    context: Tensor
    weight: Tensor
    given: Tensor | None = None

    def __len__(self) -> int:
        return self.weight.shape[0]

    def __getitem__(self, index: Tensor | slice) -> FeatureBatch:
        """A part of the events, chosen by indices, a mask or a slice."""
        return self.map(lambda t: t[index])

    def map(self, function: Callable[[Tensor], Tensor]) -> FeatureBatch:
        """The same events with a function applied to every tensor."""
        tensors = {f.name: getattr(self, f.name) for f in fields(self)}
        mapped: dict[str, Any] = {n: None if t is None else function(t) for n, t in tensors.items()}
        return FeatureBatch(**mapped)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> FeatureBatch:
        """The same events on another device, their floating-point numbers in another precision."""
        return self.map(lambda t: t.to(device, dtype if t.is_floating_point() else t.dtype))

    @classmethod
    def concatenate(cls, parts: Sequence[FeatureBatch]) -> FeatureBatch:
        """The events of several batches of the same features, one after another."""
        columns: dict[str, Any] = {f.name: [getattr(p, f.name) for p in parts] for f in fields(cls)}
        whole: dict[str, Any] = {n: None if v[0] is None else torch.cat(v) for n, v in columns.items()}
        return cls(**whole)

    def with_x(self, x: Tensor) -> FeatureBatch:
        """The same discrete part and conditions with other continuous features."""
        return replace(self, x=x)
