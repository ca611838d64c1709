"""The order in which events enter a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from hepgan.features.space import FeatureBatch

__all__ = ["Batches"]


class Batches:
    """Endless shuffled batches of events that stay on the device.

    Every event comes once in each pass, but for those of a last batch that would be too small.

    Args:
        data: All events.
        size: Events in a batch; fewer if there are not as many.
        generator: Shuffles each pass.
        rows: For an ensemble the numbers of each member's events, those that it has several times included.
            A batch then has ``size`` events of each member, one member's after another's.
    """

    def __init__(
        self,
        data: FeatureBatch,
        size: int,
        generator: torch.Generator,
        rows: Sequence[Tensor] | None = None,
    ) -> None:
        self.data = data
        device = data.x.device
        self._rows = None if rows is None else [r.to(device) for r in rows]
        counts = [len(data)] if self._rows is None else [len(r) for r in self._rows]
        self.size = min(size, *counts)
        self.generator = generator
        self._counts = counts
        self._orders = [torch.empty(0, dtype=torch.int64, device=device) for _ in counts]
        self._cursors = [0 for _ in counts]

    def next(self) -> FeatureBatch:
        """The next batch."""
        index = torch.cat([self._indices(k) for k in range(len(self._counts))])
        return self.data.map(lambda t: t.index_select(0, index))

    def spread(self, count: int) -> FeatureBatch:
        """All events; of an ensemble about so many, spread over the sample, equally many of each member."""
        if self._rows is None:
            return self.data
        each = min(count // len(self._counts), *self._counts)
        rows = [r[torch.linspace(0, len(r) - 1, each, dtype=torch.float64).long()] for r in self._rows]
        return self.data[torch.cat(rows)]

    def two(self, generator: torch.Generator) -> tuple[FeatureBatch, FeatureBatch] | None:
        """Two batches besides the others, without an event in both, but for bootstrap samples.

        They may be smaller than others; None if there are too few events for any.
        """
        count = min(self.size, min(self._counts) // 2)
        if not count:
            return None
        found: tuple[list[Tensor], list[Tensor]] = ([], [])
        for k, size in enumerate(self._counts):
            chosen = torch.randperm(size, generator=generator, device=self.data.x.device)[: 2 * count]
            chosen = chosen if self._rows is None else self._rows[k][chosen]
            for part, rows in zip(found, (chosen[:count], chosen[count:]), strict=True):
                part.append(rows)
        first, second = (self.data[torch.cat(part)] for part in found)
        return first, second

    def _indices(self, k: int) -> Tensor:
        if self._cursors[k] + self.size > len(self._orders[k]):
            order = torch.randperm(self._counts[k], generator=self.generator, device=self.data.x.device)
            self._orders[k] = order if self._rows is None else self._rows[k][order]
            self._cursors[k] = 0
        index = self._orders[k][self._cursors[k] : self._cursors[k] + self.size]
        self._cursors[k] += self.size
        return index

    def state_dict(self) -> dict[str, Any]:
        """The orders of the current passes, one after another, and how far each has come."""
        return {"order": torch.cat(self._orders), "cursors": list(self._cursors)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another training stopped.

        Raises:
            ValueError: If that was one of other events.
        """
        order, cursors = state["order"].to(self.data.x.device), list(state["cursors"])
        whole = len(order) in (0, sum(self._counts)) and order.dtype == torch.int64
        inside = whole and (not len(order) or 0 <= int(order.min()) <= int(order.max()) < len(self.data))
        if not inside or len(cursors) != len(self._counts) or not all(type(c) is int for c in cursors):
            msg = "an order of other events"
            raise ValueError(msg)
        self._orders = list(torch.split(order, self._counts)) if len(order) else self._orders
        self._cursors = cursors
