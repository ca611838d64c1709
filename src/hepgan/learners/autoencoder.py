"""Learning of autoencoders: features come back from their codes, and codes are like noise."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from hepgan.features.space import FeatureBatch
from hepgan.learners.guides import GuidedLearner, Scene
from hepgan.models import Autoencoder, AutoencoderConfig, OptimiserConfig
from hepgan.objectives import Circumstances, Points, Term, Wasserstein, of_members

__all__ = ["AutoencoderLearner"]

_HALF_LOG_TURN = 0.5 * math.log(2 * math.pi)


class AutoencoderLearner(GuidedLearner):
    """An encoder and a decoder that learn from each other, alone or with critics and penalties.

    The term ``reconstruction`` is the mean negative logarithm of the density of an event's features, given
    its code, of those that exist. The term ``codes`` is, with ``kl``, the mean divergence of an event's codes
    from a normal distribution: both together are an upper bound on the negative logarithm of the likelihood.
    With ``sliced_wasserstein`` it is the squared distance between all codes and normal noise, each together
    with the events' context, so that codes do not depend on it either.

    References: Kingma and Welling, arXiv:1312.6114; Kolouri et al., Sliced Wasserstein auto-encoders, ICLR
    2019 (arXiv:1804.01947).
    """

    maker: ClassVar[str] = "autoencoder"
    default_optimiser: ClassVar[OptimiserConfig] = OptimiserConfig(kind="adam", lr=2e-3)
    default_ema: ClassVar[float] = 0.999
    config: AutoencoderConfig

    def _makers(self) -> tuple[nn.Parameter, ...]:
        return tuple(self.model.parameters())

    def _own_terms(
        self, batch: FeatureBatch, generator: torch.Generator, share: float, *, everything: bool = False
    ) -> list[Term]:
        model = cast("Autoencoder", self.model.together)
        code = model.encoded(batch.x, batch.context, batch.mask)
        chosen = code.mean
        if code.log_std is not None:
            own = torch.randn(chosen.shape, generator=generator, device=chosen.device, dtype=chosen.dtype)
            chosen = torch.addcmul(chosen, own, code.log_std.exp())
        middle = model.decoded(chosen, batch.context, batch.mask)
        log_std = model.log_spread(chosen)
        each = 0.5 * (model.circles.between(middle, batch.x) * (-log_std).exp()).square() + log_std
        each = each + _HALF_LOG_TURN
        each = each if batch.mask is None else each * batch.mask
        terms = [Term("reconstruction", (batch.weight * each.sum(1)).mean())]
        if code.log_std is None:
            value = self._distance(chosen, batch, generator)
        else:
            widths = (2.0 * code.log_std).exp()
            divergence = 0.5 * (code.mean.square() + widths - 1.0) - code.log_std
            value = (batch.weight * divergence.sum(1)).mean()
        return [*terms, Term("codes", value, self.config.beta)]

    def _distance(self, code: Tensor, batch: FeatureBatch, generator: torch.Generator) -> Tensor:
        """The squared distance between codes (N, latent) and as much noise, given the events' contexts."""
        noise = torch.randn(code.shape, generator=generator, device=code.device, dtype=code.dtype)
        distance = Wasserstein(
            observables=("codes", "noise"), order=2, standardised=False, directions=self.config.directions
        )
        at = Circumstances(generator=generator)
        columns = code.shape[1] + batch.context.shape[1]
        pairs = zip(
            *(
                of_members(Points(torch.cat((t, batch.context), 1), batch.weight), self.members)
                for t in (noise, code)
            ),
            strict=True,
        )
        # Along a random direction there is one part in so many of a distance.
        return columns * torch.stack([distance(true, made, at) for true, made in pairs]).mean().to(code.dtype)

    def _own_floors(self, scene: Scene) -> list[Term]:
        made = scene.fake
        batch = replace(made.batch, weight=made.full_weight)
        return self._own_terms(batch, scene.generator, 0.0, everything=True)
