"""The residual dense network, with context and time added in every block."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from hepgan.networks.base import Bound, Network
from hepgan.networks.layers import Activation, ActivationName

__all__ = ["ResidualMLP"]

_TIME_WIDTH = 64


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
        self.context_size = context
        self.enter = nn.Linear(inputs, width)
        self.inner = nn.ModuleList(nn.Linear(width, width) for _ in range(blocks))
        self.outer = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(blocks))
        self.leave = nn.Linear(width, outputs)
        self.time = nn.Sequential(nn.Linear(time, _TIME_WIDTH), nn.SiLU()) if time else None
        known = context + (_TIME_WIDTH if time else 0)
        self.shifts = nn.ModuleList(
            nn.Linear(known, width, bias=False) for _ in range(blocks + 1 if known else 0)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(blocks)) if layer_norm else None
        self.activation = Activation(activation, slope)
        self.dropout = nn.Dropout(dropout)

    def bind(self, context: Tensor | None, mask: Tensor | None = None) -> Bound:
        """The network for this context (N, C)."""
        if self.context_size and context is None:
            msg = f"the network needs a context of {self.context_size} columns"
            raise ValueError(msg)
        inner = cast("list[nn.Linear]", list(self.inner))
        outer = cast("list[nn.Linear]", list(self.outer))
        norms = None if self.norms is None else list(self.norms)
        fixed: list[Tensor] = []

        def run(x: Tensor, time: Tensor | None = None) -> Tensor:
            shifts = self._shifts(context, time, fixed, x.shape[0])
            h = _shifted(x, self.enter, shifts[0])
            for k in range(self.blocks):
                entered = h if norms is None else norms[k](h)
                a = self.dropout(self.activation(_shifted(entered, inner[k], shifts[k + 1])))
                h = _added(h, a, outer[k].weight)
            result: Tensor = self.leave(self.activation(h))
            return result

        return run

    def _shifts(
        self, context: Tensor | None, time: Tensor | None, fixed: list[Tensor], rows: int
    ) -> list[Tensor]:
        """Each layer's bias with its shift, (N or 1, width); ``fixed`` keeps the context's part for later."""
        layers = cast("list[nn.Linear]", [self.enter, *self.inner])
        biases = [layer.bias for layer in layers]
        if not self.shifts:
            return [b[None] for b in biases]
        weights = [layer.weight for layer in cast("list[nn.Linear]", list(self.shifts))]
        late: Tensor | None = None if self.time is None else self.time(time)
        if not self.context_size or context is None:
            return _linear(cast("Tensor", late), weights, biases)
        if late is not None and late.shape[0] == rows > 1:
            return _linear(torch.cat((context, late), dim=1), weights, biases)
        c = self.context_size
        if not fixed:
            fixed.extend(_linear(context, [w[:, :c] for w in weights], biases))
        if late is None:
            # Copies, since without gradients the shifts' memory takes the results.
            return [f.clone() for f in fixed]
        return [f + functional.linear(late, w[:, c:]) for f, w in zip(fixed, weights, strict=True)]


def _linear(
    x: Tensor, weights: list[nn.Parameter] | list[Tensor], biases: list[nn.Parameter]
) -> list[Tensor]:
    return [functional.linear(x, w, b) for w, b in zip(weights, biases, strict=True)]


def _shifted(x: Tensor, layer: nn.Linear, shift: Tensor) -> Tensor:
    """The layer's output with the shift for its bias."""
    if shift.shape[0] == 1:
        return functional.linear(x, layer.weight, shift[0])
    return _added(shift, x, layer.weight)


def _added(shift: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """The sum shift + x weight^T; without gradients in the shift's own memory."""
    if torch.is_grad_enabled():
        return torch.addmm(shift, x, weight.t())
    return shift.addmm_(x, weight.t())
