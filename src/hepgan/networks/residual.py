"""The residual dense network, with context and time added in every block."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from hepgan.networks.base import Bound, Network
from hepgan.networks.layers import Activation, ActivationName

__all__ = ["ResidualMLP"]


class ResidualMLP(Network):
    """Blocks h + V a(W h + shift); each shift is linear in the context plus a function of the time.

    For fixed events the context's shifts are computed once, and for one time common to all events its
    shifts are one row; so a solver's step costs only the blocks' own matrix products.

    Args:
        inputs: Columns of x.
        outputs: Columns of the result.
        width: Columns inside.
        blocks: Number of blocks, of two matrix products each.
        context: Columns of the context (0: none).
        time: Columns of the time features (0: none).
        activation: The activation a.
        slope: Slope of ``leaky_relu`` below 0.
        dropout: Share of a's outputs set to 0 in training.
        layer_norm: Whether to normalise h before each block.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        width: int = 256,
        blocks: int = 4,
        context: int = 0,
        time: int = 0,
        activation: ActivationName = "silu",
        slope: float = 0.2,
        dropout: float = 0.0,
        layer_norm: bool = False,
    ) -> None:
        super().__init__()
        self.width = width
        self.blocks = blocks
        shifts = width * (blocks + 1)
        self.enter = nn.Linear(inputs, width)
        self.inner = nn.ModuleList(nn.Linear(width, width) for _ in range(blocks))
        self.outer = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(blocks))
        self.leave = nn.Linear(width, outputs)
        self.context = nn.Linear(context, shifts, bias=False) if context else None
        self.time = (
            nn.Sequential(nn.Linear(time, 64), nn.SiLU(), nn.Linear(64, shifts, bias=False)) if time else None
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(blocks)) if layer_norm else None
        self.activation = Activation(activation, slope)
        self.dropout = nn.Dropout(dropout)

    def bind(self, context: Tensor | None) -> Bound:
        """The network for this context (N, C)."""
        inner = cast("list[nn.Linear]", list(self.inner))
        outer = cast("list[nn.Linear]", list(self.outer))
        norms = None if self.norms is None else list(self.norms)
        fixed: tuple[Tensor, ...] | None = None
        if self.context is not None and context is not None:
            fixed = self.context(context).chunk(self.blocks + 1, dim=1)

        def run(x: Tensor, time: Tensor | None = None) -> Tensor:
            varied: tuple[Tensor, ...] | None = None
            if self.time is not None and time is not None:
                varied = self.time(time).chunk(self.blocks + 1, dim=1)

            def shifted(h: Tensor, layer: nn.Linear, k: int) -> Tensor:
                weight: Tensor = layer.weight
                shift: Tensor = layer.bias
                if varied is not None:
                    shift = shift + varied[k]
                if fixed is not None:
                    shift = shift + fixed[k]
                if shift.shape[0] == h.shape[0] and shift.dim() == 2:
                    return torch.addmm(shift, h, weight.t())
                return functional.linear(h, weight, shift.reshape(-1))

            h = shifted(x, self.enter, 0)
            for k in range(self.blocks):
                entered = h if norms is None else norms[k](h)
                a = self.dropout(self.activation(shifted(entered, inner[k], k + 1)))
                h = torch.addmm(h, a, outer[k].weight.t())
            result: Tensor = self.leave(self.activation(h))
            return result

        return run
