"""The dense network in which each output depends on the inputs before it alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from hepgan.networks.config import MLPConfig
from hepgan.networks.mlp import MLP

__all__ = ["MaskedMLP"]


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


class _Masked(nn.Module):
    """Weights with zeros for the connections that aren't there."""

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, weight: Tensor) -> Tensor:
        """The weights that are there."""
        return weight * self.mask
