"""The order in which events enter a training."""

from __future__ import annotations

import torch
from torch import Tensor

from hepgan.features.batch import FeatureBatch

__all__ = ["Batches"]


class Batches:
    """Endless shuffled batches of events that stay on the device.

    Every event comes once in each pass, but for those of a last batch that would be too small.

    Args:
        data: All events.
        size: Events in a batch; fewer if there are not as many.
        generator: Shuffles each pass.
    """

    def __init__(self, data: FeatureBatch, size: int, generator: torch.Generator) -> None:
        self.data = data
        self.size = min(size, len(data))
        self.generator = generator
        self.order = torch.empty(0, dtype=torch.int64, device=data.x.device)
        self.cursor = 0

    def next(self) -> FeatureBatch:
        """The next batch."""
        if self.cursor + self.size > len(self.order):
            self.order = torch.randperm(len(self.data), generator=self.generator, device=self.data.x.device)
            self.cursor = 0
        index = self.order[self.cursor : self.cursor + self.size]
        self.cursor += self.size
        return self.data.map(lambda t: t.index_select(0, index))

    def restore(self, order: Tensor, cursor: int) -> None:
        """Go on where another training stopped."""
        self.order = order.to(self.data.x.device)
        self.cursor = cursor
