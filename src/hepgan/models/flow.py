"""Normalising flows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from hepgan.features.space import FeatureSpace
from hepgan.models.base import Circles, DensityModel, in_chunks
from hepgan.models.config import FlowConfig
from hepgan.models.layers import Autoregressive, Coupling, Mixing
from hepgan.networks import Stacked

__all__ = ["Flow"]


class Flow(DensityModel):
    """An invertible function of the features, under which events become normal noise.

    Layers of coupling or autoregressive transforms, with scales, shifts and rotations between; all depend on
    the context. The likelihood is exact: the density of the noise times the Jacobian determinant. Features
    that an event does not have are 0 throughout, and neither count nor have any influence.

    Features that are angles live on the circle: their noise is uniform there, their splines are smooth across
    the cut, other features are decided by their cosine and sine, and no rotation mixes them with others.

    References: C. Durkan et al., Neural spline flows, arXiv:1906.04032; D. Rezende et al., Normalizing flows
    on tori and spheres, arXiv:2002.02428; and those of the layers.

    Args:
        config: The recipe's choice.
        space: The features.
    """

    def __init__(self, config: FlowConfig, space: FeatureSpace) -> None:
        super().__init__()
        self.config, self.space = config, space
        self.noise_size = size = space.size
        self.circles = Circles(size, space.periodic)
        lines = [i for i in range(size) if i not in self.circles.periodic]
        # A single feature has none before it.
        kind = Autoregressive if config.layer == "autoregressive" and size > 1 else Coupling
        parts: list[nn.Module] = []
        for number in range(config.blocks):
            if number and lines:
                parts.append(Mixing(lines, size, config.rotations))
            order = _order(size, number)
            parts.append(kind(config, order=order, periodic=space.periodic, context_size=space.context_size))
        self.layers = nn.ModuleList(parts)

    def log_prob(self, x: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        """Log of the density (N,) of features (N, D), of those that exist; differentiable.

        Args:
            x: Features (N, D).
            context: (N, C).
            mask: True where a feature exists (N, D); None if all do.
        """
        return in_chunks(self._log_prob, x, context, mask, self.chunk)

    def latent(self, x: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        """The noise (N, D) that :meth:`sample` makes features (N, D) of; differentiable.

        Args:
            x: Features (N, D).
            context: (N, C).
            mask: True where a feature exists (N, D); None if all do. The noise of others is 0.
        """
        return in_chunks(self._latent, x, context, mask, self.chunk)

    def sample(self, noise: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        """Features (N, D) of noise (N, D), 0 where masked."""
        return in_chunks(self._sample, noise, context, mask, self.chunk)

    def sampling_modules(self) -> Iterable[nn.Module]:
        """The layers."""
        return (self.layers,)

    def _log_prob(self, x: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        start, log_det = self._starts(x, context, mask)
        return self.circles.log_density(start, mask) + log_det

    def _latent(self, x: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        return self.circles.noise(self._starts(x, context, mask)[0])

    def _starts(self, x: Tensor, context: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Normal numbers, for angles uniform ones (N, D), and the logarithm of the Jacobian (N,)."""
        if mask is not None:
            x = torch.where(mask, x, 0.0)
        total = torch.zeros_like(x[:, 0])
        for layer in self._layers():
            x, log_det = layer(x, mask) if isinstance(layer, Mixing | Stacked) else layer(x, context, mask)
            total = total + log_det
        return x, total

    def _sample(self, noise: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        x = self.circles.start(noise)
        if mask is not None:
            x = torch.where(mask, x, 0.0)
        for layer in reversed(self._layers()):
            mixing = isinstance(layer, Mixing | Stacked)
            x = layer.inverse(x, mask) if mixing else layer.inverse(x, context, mask)
        return x

    def _layers(self) -> list[Any]:
        # Of an ensemble, what is mixing is stacked as a whole, of other layers the network.
        return list(self.layers)


def _order(size: int, number: int) -> list[int]:
    """The order of features in a layer: every two layers another one, of two the second in reverse.

    It is shuffled, but always the same.
    """
    order = sorted(range(size), key=lambda i: hashlib.sha256(f"{number // 2} {i}".encode()).digest())
    return order[::-1] if number % 2 else order
