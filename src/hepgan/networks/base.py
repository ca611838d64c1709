"""What every network of hepgan offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from torch import Tensor, nn

__all__ = ["Bound", "Network"]

Bound = Callable[[Tensor, Tensor | None], Tensor]
"""A network with its context fixed: (x, time) -> output."""


class Network(nn.Module, ABC):
    """A function of x that may depend on a context and on a time.

    What depends on the context alone is computed once by :meth:`bind`, so that a solver which calls the
    network many times for the same events does not pay for it each time.

    Attributes:
        chunk: How many events' activations stay in the cache of a CPU's core.
        whole_batch: Whether the output for one row depends on the other rows, as with statistics of a batch.
    """

    chunk: int = 1024
    whole_batch: bool = False

    @abstractmethod
    def bind(self, context: Tensor | None, mask: Tensor | None = None) -> Bound:
        """The network for these events' context.

        Args:
            context: (N, C), or None if the network has none.
            mask: True where a feature exists (N, features), None if all do; used by networks of sets alone.

        Returns:
            A function of x (N, inputs) and time features (N, T), (1, T) or None that returns (N, outputs).
        """

    def forward(
        self,
        x: Tensor,
        context: Tensor | None = None,
        time: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """The output (N, outputs) for x (N, inputs), context (N, C) and time features (N or 1, T)."""
        return self.bind(context, mask)(x, time)
