"""Generators of one call of a network: what generative adversarial networks train."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from hepgan.features.space import FeatureSpace
from hepgan.models.base import Model, in_chunks
from hepgan.models.config import GANConfig
from hepgan.networks import build_network

__all__ = ["GAN"]


class GAN(Model):
    """A generator: features are a function of noise and context.

    Reference: Goodfellow et al., Generative adversarial networks, arXiv:1406.2661.

    Args:
        config: The recipe's choice.
        space: The features. Where there is as much noise, objects have theirs, for a network of sets.

    Raises:
        RecipeError: If a network of sets is chosen where there are no objects for it.
    """

    def __init__(self, config: GANConfig, space: FeatureSpace) -> None:
        super().__init__()
        self.config, self.space = config, space
        self.noise_size = space.size if config.noise is None else config.noise
        self.generator = build_network(
            config.generator,
            self.noise_size,
            space.size,
            context=space.context_size,
            space=space if self.noise_size == space.size else None,
        )
        self.chunk = self.generator.chunk

    def sample(self, noise: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        """Features (N, D), 0 where masked."""
        return in_chunks(self._generated, noise, context, mask, self.chunk)

    def sampling_modules(self) -> Iterable[nn.Module]:
        """The generator."""
        return (self.generator,)

    def _generated(self, noise: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        x: Tensor = self.generator(noise, self.given(context), mask=mask)
        return x if mask is None else x.masked_fill(~mask, 0.0)
