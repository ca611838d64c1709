"""The plain dense network."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from hepgan.networks.base import Bound, Network
from hepgan.networks.layers import Activation, ActivationName

__all__ = ["MLP"]


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
    ) -> None:
        super().__init__()
        if len(sizes) < 2 or min(sizes) < 1:
            msg = f"an MLP needs two or more sizes of at least 1, not {tuple(sizes)}"
            raise ValueError(msg)
        self.sizes = tuple(sizes)
        layers: list[nn.Module] = []
        for i, o in pairwise(sizes[:-1]):
            layers.append(nn.Linear(i, o))
            if layer_norm:
                layers.append(nn.LayerNorm(o))
            layers.append(Activation(activation, slope))
            if dropout:
                layers.append(nn.Dropout(dropout))
        layers.append(nn.Linear(sizes[-2], sizes[-1]))
        self.layers = nn.Sequential(*layers)
        if spectral_norm:
            self.normalise_spectrum()

    def normalise_spectrum(self) -> None:
        """Divide the weights of each hidden layer by their largest singular value, whatever they become.

        The last layer's are free, so that the output has a scale.

        Reference: T. Miyato et al., Spectral normalization, arXiv:1802.05957.
        """
        for layer in list(self.layers)[:-1]:
            if isinstance(layer, nn.Linear):
                parametrizations.spectral_norm(layer)

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
