"""Models whose noise follows a learned distribution instead of a normal one."""

from __future__ import annotations

import math
from collections.abc import Iterable

from torch import Tensor, nn

from hepgan.models.base import DensityModel, Model

__all__ = ["Refined", "RefinedDensity"]


class Refined(Model):
    """A trained model, whose noise another model makes of normal noise: the prior.

    Where a classifier tells the model's events from true ones, the prior makes the noise of those more often
    that are too rare. So events are better without weights, at the cost of the prior's sampling.

    Reference: Winterhalder, Bellagente and Nachman, Latent space refinement for deep generative models,
    arXiv:2106.00792.

    Args:
        model: What makes events of noise.
        prior: What makes that noise of normal noise, given the same context.
    """

    def __init__(self, model: Model, prior: Model) -> None:
        super().__init__()
        self.model, self.prior = model, prior
        self.space, self.noise_size = model.space, model.noise_size

    @staticmethod
    def of(model: Model, prior: Model) -> Refined:
        """The refined model, which has a likelihood if both have one."""
        if isinstance(model, DensityModel) and isinstance(prior, DensityModel):
            return RefinedDensity(model, prior)
        return Refined(model, prior)

    def sample(self, noise: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        """Features (N, D) of normal noise (N, noise_size), 0 where masked."""
        refined = self.prior.sample(noise, context, self.noise_mask(mask))
        return self.model.sample(refined, context, mask)

    def sampling_modules(self) -> Iterable[nn.Module]:
        """Those of the model and of the prior."""
        return (*self.model.sampling_modules(), *self.prior.sampling_modules())

    def noise_mask(self, mask: Tensor | None) -> Tensor | None:
        """That of the model."""
        return self.model.noise_mask(mask)


class RefinedDensity(Refined, DensityModel):
    """A refined model with a likelihood.

    Args:
        model: What makes events of noise.
        prior: What makes that noise of normal noise, given the same context.
    """

    model: DensityModel
    prior: DensityModel

    def __init__(self, model: DensityModel, prior: DensityModel) -> None:
        super().__init__(model, prior)

    def log_prob(self, x: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        """Log of the density (N,) of features (N, D): that of the model, times what the prior changes."""
        noise = self.model.latent(x, context, mask)
        hidden = self.noise_mask(mask)
        prior = self.prior.log_prob(noise, context, hidden)
        squares = noise.square() if hidden is None else noise.square() * hidden
        count = noise.shape[1] if hidden is None else hidden.sum(1)
        normal = -0.5 * (squares.sum(1) + count * math.log(2 * math.pi))
        return self.model.log_prob(x, context, mask) + prior - normal

    def latent(self, x: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        """The normal noise (N, noise_size) that :meth:`sample` would make features (N, D) of."""
        return self.prior.latent(self.model.latent(x, context, mask), context, self.noise_mask(mask))
