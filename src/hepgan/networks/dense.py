"""Dense networks: plain ones, those in which outputs see the inputs before them alone, and residual ones."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize

from hepgan.networks.base import TIME_WIDTH, Activation, ActivationName, Bound, Network
from hepgan.networks.batch import last_layer
from hepgan.networks.config import MLPConfig
from hepgan.networks.drawing import Dropout, Linear, normalise_spectrum

__all__ = ["MLP", "MaskedMLP", "ResidualMLP"]


class MLP(Network):
    """Linear layers with an activation between each two, and none after the last.

    Context and time features are joined to x, so they count among the inputs.

    Args:
        sizes: Numbers of inputs, of each hidden layer, and of outputs: ``(8, 64, 64, 1)``.
        activation: The activation between layers.
        slope: Slope of ``leaky_relu`` below 0.
        dropout: Share of each hidden layer's outputs set to 0 in training.
        layer_norm: Whether to normalise each hidden layer before its activation.
        spectral_norm: Whether to divide the weights of each hidden layer by their largest singular value.
        minibatch: Features, and numbers of each, by which the last layer sees the other events; None if it
            does not.

    Raises:
        ValueError: If there are fewer than two sizes, or one below 1.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        activation: ActivationName = "leaky_relu",
        slope: float = 0.2,
        dropout: float = 0.0,
        layer_norm: bool = False,
        spectral_norm: bool = False,
        minibatch: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.whole_batch = minibatch is not None
        if len(sizes) < 2 or min(sizes) < 1:
            msg = f"an MLP needs two or more sizes of at least 1, not {tuple(sizes)}"
            raise ValueError(msg)
        self.sizes = tuple(sizes)
        layers: list[nn.Module] = []
        for i, o in pairwise(sizes[:-1]):
            layers.append(Linear(i, o))
            if layer_norm:
                layers.append(nn.LayerNorm(o))
            layers.append(Activation(activation, slope))
            if dropout:
                layers.append(Dropout(dropout))
        layers.append(last_layer(sizes[-2], sizes[-1], minibatch))
        self.layers = nn.Sequential(*layers)
        if spectral_norm:
            self.normalise_spectrum()

    def normalise_spectrum(self) -> None:
        """Divide the weights of each hidden layer by their largest singular value, whatever they become.

        The last layer's are free, so that the output has a scale.
        """
        for layer in list(self.layers)[:-1]:
            if isinstance(layer, nn.Linear):
                normalise_spectrum(layer)

    def bind(self, context: Tensor | None, mask: Tensor | None = None) -> Bound:
        """The network with this context (N, C) joined to its inputs."""

        def run(x: Tensor, time: Tensor | None = None) -> Tensor:
            parts = [x]
            if context is not None and context.shape[1]:
                parts.append(context)
            if time is not None:
                parts.append(time.expand(x.shape[0], -1))
            result: Tensor = self.layers(torch.cat(parts, dim=1) if len(parts) > 1 else x)
            return result

        return run


class MaskedMLP(MLP):
    """A plain dense network without the connections from an input to outputs that don't come after it.

    Reference: M. Germain et al., MADE, arXiv:1502.03509.

    Args:
        config: What a recipe says of a plain network.
        inputs: The place of each input in the order, from 0.
        outputs: The place of each output: it depends on inputs of smaller places, and on the context.
        context: Columns of the context.

    Raises:
        ValueError: If hidden layers are to be normalised, so that all their units depend on each other.
    """

    def __init__(
        self, config: MLPConfig, *, inputs: Sequence[int], outputs: Sequence[int], context: int = 0
    ) -> None:
        if config.layer_norm:
            msg = "a masked network can't normalise its layers: their units would see each other"
            raise ValueError(msg)
        super().__init__(
            (len(inputs) + context, *config.widths, len(outputs)),
            activation=config.activation,
            slope=config.slope,
            dropout=config.dropout,
        )
        before = torch.tensor([*inputs, *[-1] * context])
        # Units that see nothing would be of no use, nor those that no output may see.
        lowest, highest = int(before.min()), max(outputs) - 1
        linears = [layer for layer in self.layers if isinstance(layer, nn.Linear)]
        for layer in linears[:-1]:
            places = lowest + torch.arange(layer.out_features) % (highest - lowest + 1)
            parametrize.register_parametrization(layer, "weight", _Masked(before <= places[:, None]))
            before = places
        last = before < torch.tensor(outputs)[:, None]
        parametrize.register_parametrization(linears[-1], "weight", _Masked(last))
        if config.spectral_norm:
            self.normalise_spectrum()


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
        minibatch: Features, and numbers of each, by which the last layer sees the other events; None if it
            does not.
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
        minibatch: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.whole_batch = minibatch is not None
        self.width = width
        self.blocks = blocks
        self.context_size = context
        self.enter = Linear(inputs, width)
        self.inner = nn.ModuleList(Linear(width, width) for _ in range(blocks))
        self.outer = nn.ModuleList(Linear(width, width, bias=False) for _ in range(blocks))
        self.leave = last_layer(width, outputs, minibatch)
        self.time = nn.Sequential(Linear(time, TIME_WIDTH), nn.SiLU()) if time else None
        known = context + (TIME_WIDTH if time else 0)
        self.shifts = nn.ModuleList(
            Linear(known, width, bias=False) for _ in range(blocks + 1 if known else 0)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(blocks)) if layer_norm else None
        self.activation = Activation(activation, slope)
        self.dropout = Dropout(dropout)

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


class _Masked(nn.Module):
    """Weights with zeros for the connections that aren't there."""

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, weight: Tensor) -> Tensor:
        """The weights that are there."""
        return weight * self.mask


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
