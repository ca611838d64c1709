"""What every network of hepgan offers, and what networks are made of: activations, features of time."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["TIME_WIDTH", "Activation", "ActivationName", "Bound", "FourierTime", "Network"]

Bound = Callable[[Tensor, Tensor | None], Tensor]
"""A network with its context fixed: (x, time) -> output."""

ActivationName = Literal["relu", "leaky_relu", "silu", "gelu", "elu", "tanh"]

TIME_WIDTH = 64
"""Columns to which the features of time are widened, where a network adds them in every block."""


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


class Activation(nn.Module):
    """An elementwise nonlinearity, which overwrites its input where the gradient does not need it.

    Args:
        name: ``relu``, ``leaky_relu``, ``silu``, ``gelu``, ``elu`` or ``tanh``.
        slope: Slope of ``leaky_relu`` below 0.

    Raises:
        ValueError: If there is no such activation.
    """

    def __init__(self, name: ActivationName, slope: float = 0.2) -> None:
        super().__init__()
        if name not in ("relu", "leaky_relu", "silu", "gelu", "elu", "tanh"):
            msg = f"unknown activation {name!r}"
            raise ValueError(msg)
        self.name = name
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        """The activation of x; x itself must not be used afterwards."""
        inference = not torch.is_grad_enabled()
        match self.name:
            case "relu":
                return functional.relu(x, inplace=True)
            case "leaky_relu":
                return functional.leaky_relu(x, self.slope, inplace=True)
            case "silu":
                return functional.silu(x, inplace=inference)
            case "elu":
                return functional.elu(x, inplace=inference)
            case "gelu":
                return functional.gelu(x, approximate="tanh")
            case _:
                return x.tanh_()

    def extra_repr(self) -> str:
        """The name, for ``print(model)``."""
        return f"{self.name}, slope={self.slope}" if self.name == "leaky_relu" else self.name


class FourierTime(nn.Module):
    """Time in [0, 1] as a few smooth features: t itself, cos and sin of k pi t for k = 1 .. frequencies.

    Args:
        frequencies: How many frequencies.
    """

    k: Tensor

    def __init__(self, frequencies: int = 8) -> None:
        super().__init__()
        self.size = 2 * frequencies + 1
        self.register_buffer("k", math.pi * torch.arange(1, frequencies + 1), persistent=False)

    def forward(self, t: Tensor) -> Tensor:
        """Features (N, 2 frequencies + 1) of times (N,)."""
        angle = t[:, None] * self.k
        return torch.cat((2.0 * t[:, None] - 1.0, angle.cos(), angle.sin()), dim=1)
