"""The order in which events enter a training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from hepgan.features.space import FeatureBatch
from hepgan.training.portions import Portion, Portions

__all__ = ["Batches"]


class Batches:
    """Endless shuffled batches of events, of which one portion is on the device at a time.

    Every event comes once in each pass, but for those of a last batch of a portion that would be too small.

    Args:
        portions: All events.
        size: Events in a batch, of an ensemble of each member, one member's after another's; fewer if there
            are not as many.
        generator: Shuffles each pass: the portions, and the events of each.
    """

    def __init__(self, portions: Portions, size: int, generator: torch.Generator) -> None:
        self._portions, self.generator = portions, generator
        self.size = min(size, *(n for counts in portions.counts for n in counts))
        self._queue: list[int] = []
        self._place = 0
        self._enter(0)

    def _enter(self, number: int) -> None:
        """Take a portion, in whose place no other one is in memory."""
        self._portion: Portion | None = None
        self._portion = self._portions[number].to(self.generator.device)
        self._counts = self._portions.counts[number]
        self._orders = [torch.empty(0, dtype=torch.int64, device=self.generator.device) for _ in self._counts]
        self._cursors = [0 for _ in self._counts]

    @property
    def _here(self) -> Portion:
        """The portion that is on the device."""
        if self._portion is None:
            raise TypeError
        return self._portion

    def next(self) -> FeatureBatch:
        """The next batch."""
        if len(self._portions) > 1 and (not self._queue or self._is_done()):
            self._place += 1
            if self._place >= len(self._queue):
                self._queue, self._place = self._shuffled(len(self._portions)).tolist(), 0
            self._enter(self._queue[self._place])
        index = torch.cat([self._indices(k) for k in range(len(self._counts))])
        return self._here.data.map(lambda t: t.index_select(0, index))

    def _is_done(self) -> bool:
        """Whether a member has had all events of the portion."""
        return any(c + self.size > n for c, n in zip(self._cursors, self._counts, strict=True))

    def spread(self, count: int) -> FeatureBatch:
        """All events of a portion; of an ensemble about so many, spread over it, as many of each member."""
        data, own = self._here
        if own is None:
            return data
        each = min(count // len(self._counts), *self._counts)
        rows = [r[torch.linspace(0, len(r) - 1, each, dtype=torch.float64).long()] for r in own]
        return data[torch.cat(rows)]

    def two(self, generator: torch.Generator) -> tuple[FeatureBatch, FeatureBatch] | None:
        """Two batches of the portion besides the others, without an event in both, but for bootstrap samples.

        They may be smaller than others; None if there are too few events for any.
        """
        count = min(self.size, min(self._counts) // 2)
        if not count:
            return None
        data, own = self._here
        found: tuple[list[Tensor], list[Tensor]] = ([], [])
        for k, size in enumerate(self._counts):
            chosen = torch.randperm(size, generator=generator, device=generator.device)[: 2 * count]
            chosen = chosen if own is None else own[k][chosen]
            for part, rows in zip(found, (chosen[:count], chosen[count:]), strict=True):
                part.append(rows)
        first, second = (data[torch.cat(part)] for part in found)
        return first, second

    def _indices(self, k: int) -> Tensor:
        if self._cursors[k] + self.size > len(self._orders[k]):
            order = self._shuffled(self._counts[k])
            rows = self._here.rows
            self._orders[k] = order if rows is None else rows[k][order]
            self._cursors[k] = 0
        index = self._orders[k][self._cursors[k] : self._cursors[k] + self.size]
        self._cursors[k] += self.size
        return index

    def _shuffled(self, count: int) -> Tensor:
        return torch.randperm(count, generator=self.generator, device=self.generator.device)

    def state_dict(self) -> dict[str, Any]:
        """Of the current passes the orders of the portion, one after another, and how far each has come."""
        portions = {"portions": list(self._queue), "place": self._place} if self._queue else {}
        return {"order": torch.cat(self._orders), "cursors": list(self._cursors), **portions}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another training stopped.

        Raises:
            ValueError: If that was one of other events.
        """
        queue, place = list(state.get("portions", ())), state.get("place", 0)
        known = not queue or sorted(queue) == list(range(len(self._portions)))
        if not known or type(place) is not int or not 0 <= place < max(len(queue), 1):
            msg = f"an order of other portions: {queue}"
            raise ValueError(msg)
        if queue:
            self._queue, self._place = queue, place
            self._enter(queue[place])
        data = self._here.data
        order, cursors = state["order"].to(data.x.device), list(state["cursors"])
        whole = len(order) in (0, sum(self._counts)) and order.dtype == torch.int64
        inside = whole and (not len(order) or 0 <= int(order.min()) <= int(order.max()) < len(data))
        if not inside or len(cursors) != len(self._counts) or not all(type(c) is int for c in cursors):
            msg = "an order of other events"
            raise ValueError(msg)
        self._orders = list(torch.split(order, list(self._counts))) if len(order) else self._orders
        self._cursors = cursors
