"""Conditional flow matching."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import torch
from torch import Tensor, nn

from hepgan.features.batch import FeatureBatch
from hepgan.models.base import Model, Phase, in_chunks
from hepgan.models.config import FlowMatchingConfig, OptimiserConfig
from hepgan.networks import FourierTime, build_network
from hepgan.objectives import Term

__all__ = ["FlowMatching"]

_CHUNK = 1024
"""Events whose activations stay in a core's cache while all steps of their paths are made."""


class FlowMatching(Model):
    """A velocity field v(x, t) that carries noise at t = 0 to events at t = 1.

    It is the mean of x1 - x0 over all straight paths x = (1 - t) x0 + t x1 through x at t, so its
    training is a regression, weighted by the event weights (negative ones too).

    Reference: Lipman et al., Flow matching for generative modeling, arXiv:2210.02747.

    Args:
        config: The recipe's choice.
        size: Number of features D.
        context_size: Columns of the context C.
    """

    default_optimiser: ClassVar[OptimiserConfig] = OptimiserConfig(kind="adam", lr=2e-3)
    default_ema: ClassVar[float] = 0.999

    def __init__(self, config: FlowMatchingConfig, *, size: int, context_size: int) -> None:
        super().__init__()
        self.config = config
        self.noise_size = size
        self.context_size = context_size
        self.time = FourierTime(config.time_frequencies)
        self.velocity = build_network(config.network, size, size, context=context_size, time=self.time.size)

    @property
    def phases(self) -> tuple[Phase, ...]:
        """One phase, of all parameters."""
        return (Phase("velocity", tuple(self.parameters()), optimiser=self.config.optimiser),)

    def loss(
        self, phase: str, batch: FeatureBatch, generator: torch.Generator, share: float = 0.0
    ) -> list[Term]:
        """The squared error of the velocity, of the features that exist.

        The sum over a batch is divided by its number of events and not by its sum of weights, which
        fluctuates, so that the gradient has no bias.
        """
        end = batch.x
        start = torch.randn(end.shape, generator=generator, device=end.device, dtype=end.dtype)
        t = self._times(len(batch), generator, end)
        target = end - start
        x = torch.addcmul(start, t[:, None], target)
        context = batch.context if self.context_size else None
        if batch.mask is not None:
            x.masked_fill_(~batch.mask, 0.0)
        error = self.velocity(x, context, self.time(t)) - target
        if batch.mask is not None:
            error = error * batch.mask
        squares = error.square().mean(dim=1)
        return [Term("velocity", (batch.weight * squares).mean())]

    def sample(self, noise: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        """Features (N, D) at the end of the paths that start at the noise (N, D)."""
        return in_chunks(self._paths, noise, context, mask, _CHUNK)

    def sampling_modules(self) -> Iterable[nn.Module]:
        """The velocity."""
        return (self.velocity,)

    def _paths(self, noise: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        hidden = None if mask is None else ~mask
        bound = self.velocity.bind(context if self.context_size else None)
        times = self._grid(noise)
        features = self.time(times)
        middle = self.time(0.5 * (times[1:] + times[:-1]))

        def velocity(x: Tensor, time: Tensor) -> Tensor:
            v = bound(x, time)
            return v if hidden is None else v.masked_fill_(hidden, 0.0)

        x = noise.clone() if hidden is None else noise.masked_fill(hidden, 0.0)
        for k, step in enumerate(times.diff()):
            v = velocity(x, features[k : k + 1])
            if self.config.solver == "midpoint":
                v = velocity(torch.addcmul(x, v, 0.5 * step), middle[k : k + 1])
            elif self.config.solver == "heun":
                v = 0.5 * (v + velocity(torch.addcmul(x, v, step), features[k + 1 : k + 2]))
            x = torch.addcmul(x, v, step)
        return x

    def _grid(self, like: Tensor) -> Tensor:
        left = torch.linspace(1.0, 0.0, self.config.steps + 1, device=like.device, dtype=like.dtype)
        times: Tensor = 1.0 - left.pow(self.config.grid)
        return times

    def _times(self, count: int, generator: torch.Generator, like: Tensor) -> Tensor:
        # One time in each of N equal strata: fewer fluctuations than independent times.
        strata = torch.arange(count, device=like.device, dtype=like.dtype)
        share = torch.rand(count, generator=generator, device=like.device, dtype=like.dtype)
        u = (strata + share) / count
        if self.config.time == "uniform":
            return u
        normal: Tensor = torch.special.ndtri(u.clamp(1e-6, 1.0 - 1e-6))
        return normal.sigmoid()
