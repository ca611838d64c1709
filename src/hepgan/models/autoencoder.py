"""Autoencoders: a code of few normal numbers for each event, and events of codes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from hepgan.errors import RecipeError
from hepgan.features.space import FeatureSpace
from hepgan.models.base import Circles, Model, in_chunks
from hepgan.models.config import AutoencoderConfig
from hepgan.networks import MLPConfig, Network, ResidualConfig, build_network
from hepgan.networks.base import Bound

__all__ = ["Autoencoder", "Code"]

_NARROWEST, _WIDEST = math.log(1e-4), math.log(10.0)
"""The least and the largest logarithm of a standard deviation, of features and of codes."""


class Code(NamedTuple):
    """The normal distribution of the codes that an event may have.

    Attributes:
        mean: (N, latent).
        log_std: (N, latent) logarithms of the standard deviations; None where each event has one code.
    """

    mean: Tensor
    log_std: Tensor | None


class Autoencoder(Model):
    """A decoder, which makes features of codes, and an encoder, by which it learns.

    Codes of new events are normal noise. What a decoder makes is the mean of the features of all events with
    the same code; with a learned ``observation`` they spread around it normally, by noise of their own.
    Features that are angles are a direction in the plane, so that there is no cut.

    References: Kingma and Welling, Auto-encoding variational Bayes, arXiv:1312.6114; Kolouri et al., Sliced
    Wasserstein auto-encoders, ICLR 2019 (arXiv:1804.01947); Rybkin et al., Simple and effective VAE training
    with calibrated decoders, arXiv:2006.13202.

    Args:
        config: The recipe's choice.
        space: The features. Where a code has as many numbers, objects have theirs, for a network of sets.

    Attributes:
        latent_size: Numbers of a code.
        encoder: The network that makes codes of features.
        decoder: The network that makes features of codes.
        spread: The standard deviations of features around what the decoder makes; None if there is none.

    Raises:
        RecipeError: If a network of sets is chosen where there are no objects for it.
    """

    def __init__(self, config: AutoencoderConfig, space: FeatureSpace) -> None:
        super().__init__()
        self.config, self.space = config, space
        size = space.size
        self.latent_size = size if config.latent is None else config.latent
        if not size:
            msg = "model: an autoencoder needs numbers to encode, and all features are constant or discrete"
            raise RecipeError(msg)
        self.noise_size = self.latent_size + (size if config.observation == "learned" else 0)
        self.circles = Circles(size, space.periodic)
        alike = self.latent_size == size
        codes = 1 if config.match == "sliced_wasserstein" else 2
        self.encoder = build_network(
            config.encoder,
            self.circles.inputs,
            codes * self.latent_size,
            context=space.context_size,
            space=space if alike and codes == 1 else None,
            owners=self.circles.owners,
            seen=space.grid,
        )
        # Networks that know of objects have one number for each feature.
        self._plane = isinstance(config.decoder, MLPConfig | ResidualConfig)
        self.decoder = build_network(
            config.decoder,
            self.latent_size,
            self.circles.inputs if self._plane else size,
            context=space.context_size,
            space=space if alike else None,
            made=space.grid,
        )
        self.spread = _Spread(size) if config.observation == "learned" else None
        self.chunk = self.decoder.chunk

    def encoded(self, x: Tensor, context: Tensor, mask: Tensor | None) -> Code:
        """The codes that events may have.

        Args:
            x: Features (N, D).
            context: What the events are conditional on (N, C).
            mask: True where a feature exists (N, D); None if all do.
        """
        x = x if mask is None else x.masked_fill(~mask, 0.0)
        found = self.encoder(self.circles.seen(x), self.given(context), mask=mask)
        if self.config.match == "sliced_wasserstein":
            return Code(found, None)
        mean, log_std = found.chunk(2, 1)
        return Code(mean, log_std.clamp(_NARROWEST, _WIDEST))

    def decoded(self, code: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        """The middle (N, D) of the features of events with these codes (N, latent), 0 where masked."""
        x = self.decoder(code, self.given(context), mask=mask)
        if self._plane and self.circles.periodic:
            x, sines = x[:, : self.space.size], x[:, self.space.size :]
            angles = torch.zeros_like(x).index_copy(1, self.circles.index, sines)
            x = torch.where(self.circles.angular, torch.atan2(angles, x), x)
        x = self.circles.wrapped(x)
        return x if mask is None else x.masked_fill(~mask, 0.0)

    def log_spread(self, like: Tensor) -> Tensor:
        """Logarithms (N, D) of the standard deviations of features around the middle; 0 without any."""
        if self.spread is None:
            return like.new_zeros(()).expand(len(like), self.space.size)
        found: Tensor = self.spread(like)
        return found

    def sample(self, noise: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        """Features (N, D) of noise (N, noise_size): a code, then if features spread the noise of each."""
        return in_chunks(self._made, noise, context, mask, self.chunk)

    def sampling_modules(self) -> Iterable[nn.Module]:
        """The decoder, and the spread of features."""
        return (self.decoder,) if self.spread is None else (self.decoder, self.spread)

    def _made(self, noise: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        code, own = noise[:, : self.latent_size], noise[:, self.latent_size :]
        x = self.decoded(code, context, mask)
        if self.spread is None:
            return x
        x = self.circles.wrapped(torch.addcmul(x, own, self.log_spread(code).exp()))
        return x if mask is None else x.masked_fill(~mask, 0.0)


class _Spread(Network):
    """The logarithm of one standard deviation for each feature, the same for all events.

    Args:
        size: Number of features.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.log_std = nn.Parameter(torch.zeros(size))

    def bind(self, context: Tensor | None, mask: Tensor | None = None) -> Bound:
        """The same for any context."""

        def run(x: Tensor, time: Tensor | None = None) -> Tensor:
            return self.log_std.clamp(_NARROWEST, _WIDEST).expand(x.shape[0], -1)

        return run
