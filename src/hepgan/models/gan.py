"""Generators trained against any number of critics, with penalties on observables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar

from torch import Tensor, nn

from hepgan.features.tokens import Tokens
from hepgan.models.base import in_chunks
from hepgan.models.config import GANConfig, OptimiserConfig
from hepgan.models.guided import GuidedModel
from hepgan.models.view import Decode, TensorObservable
from hepgan.networks import build_network

__all__ = ["GAN"]


class GAN(GuidedModel):
    """A generator, its critics, and penalties on observables.

    Reference: Goodfellow et al., Generative adversarial networks, arXiv:1406.2661.

    Args:
        config: The recipe's choice.
        size: Number of features D.
        context_size: Columns of the context C.
        decode: Events of features.
        observables: The observables that critics and penalties name.
        tokens: Which features belong to which object, for a network of sets; its noise is then of the
            objects, too.

    Raises:
        RecipeError: If a critic or a penalty names an observable that isn't there, or a network of sets is
            chosen where there are no objects for it.
    """

    config: GANConfig
    maker: ClassVar[str] = "generator"
    default_optimiser: ClassVar[OptimiserConfig] = OptimiserConfig(kind="adam", lr=2e-4, betas=(0.5, 0.9))

    def __init__(
        self,
        config: GANConfig,
        *,
        size: int,
        context_size: int,
        decode: Decode,
        observables: Mapping[str, TensorObservable],
        tokens: Sequence[Tokens] | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.context_size = context_size
        self.noise_size = size if config.noise is None else config.noise
        self.generator = build_network(
            config.generator,
            self.noise_size,
            size,
            context=context_size,
            tokens=tokens if self.noise_size == size else None,
        )
        self.chunk = self.generator.chunk
        self._guide(config, size=size, decode=decode, observables=observables)

    def sample(self, noise: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        """Features (N, D), 0 where masked."""
        return in_chunks(self._generated, noise, context, mask, self.chunk)

    def sampling_modules(self) -> Iterable[nn.Module]:
        """The generator."""
        return (self.generator,)

    def _makers(self) -> tuple[nn.Parameter, ...]:
        return tuple(self.generator.parameters())

    def _generated(self, noise: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        x: Tensor = self.generator(noise, context if self.context_size else None, mask=mask)
        return x if mask is None else x.masked_fill(~mask, 0.0)
