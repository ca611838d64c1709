"""Conditional flow matching."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from hepgan.features.space import FeatureSpace
from hepgan.models.base import Circles, DensityModel, Tube, in_chunks
from hepgan.models.config import FlowMatchingConfig
from hepgan.networks import FourierTime, build_network

__all__ = ["FlowMatching"]

_FINER = 4
"""How many steps a path is followed back in for each step of sampling."""

_Rate = Callable[[Tensor, Tensor, Tensor], Tensor]
"""The rate of change (N, D) at points (N, D) and one time, which is given with its features (1, T)."""


class FlowMatching(DensityModel):
    """A velocity field v(x, t) that carries noise at t = 0 to events at t = 1.

    It is the mean of x1 - x0 over all straight paths x = (1 - t) x0 + t x1 through x at t, so its
    training is a regression, weighted by the event weights (negative ones too).

    Features that are angles live on the circle: their noise is uniform, their paths go the shorter way
    round, and the network sees their cosine and sine; so the cut at pi is nowhere to be seen.

    Where a path leaves the region that paths to training events lead through, the network sees the nearest
    point of that region: so no path runs away.

    References: Lipman et al., Flow matching for generative modeling, arXiv:2210.02747; R. Chen and Y. Lipman,
    Flow matching on general geometries, arXiv:2302.03660; for the likelihood R. Chen et al., Neural ordinary
    differential equations, arXiv:1806.07366.

    Args:
        config: The recipe's choice.
        space: The features.

    Raises:
        RecipeError: If a network of sets is chosen where there are no objects for it.
    """

    def __init__(self, config: FlowMatchingConfig, space: FeatureSpace) -> None:
        super().__init__()
        self.config, self.space = config, space
        self.noise_size = space.size
        self.time = FourierTime(config.time_frequencies)
        self.circles = Circles(space.size, space.periodic)
        self.tube = Tube(space)
        self.velocity = build_network(
            config.network,
            self.circles.inputs,
            space.size,
            context=space.context_size,
            time=self.time.size,
            space=space,
            owners=self.circles.owners,
        )
        self.chunk = self.velocity.chunk

    def sample(self, noise: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        """Features (N, D) at the end of the paths that start at the noise (N, D)."""
        return in_chunks(self._paths, noise, context, mask, self.chunk)

    @torch.no_grad()
    def path(self, noise: Tensor, context: Tensor, mask: Tensor | None, pieces: int) -> Tensor:
        """Points (N, pieces + 1, D) on the paths that start at the noise (N, D), ends included.

        They are equally many steps apart; angles are not brought back to the circle.

        Raises:
            ValueError: If there are more pieces than steps.
        """
        steps = self.config.steps
        if not 1 <= pieces <= steps:
            msg = f"a path of {steps} steps has no {pieces} pieces"
            raise ValueError(msg)
        cuts = [round(k * steps / pieces) for k in range(pieces + 1)]

        def points(noise: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
            hidden = None if mask is None else ~mask
            rate, times = self._rate(context, mask), self._grid(noise, steps)
            x = self.circles.start(noise)
            found = [x if hidden is None else x.masked_fill(hidden, 0.0)]
            for first, last in pairwise(cuts):
                found.append(self._followed(rate, found[-1], times[first : last + 1]))
            return torch.stack(found, 1)

        return in_chunks(points, noise, context, mask, self.chunk)

    @torch.no_grad()
    def latent(self, x: Tensor, context: Tensor, mask: Tensor | None, *, steps: int | None = None) -> Tensor:
        """The noise (N, D) that features (N, D) come from, by following their paths back.

        Args:
            x: Features (N, D).
            context: (N, C).
            mask: True where a feature exists (N, D); None if all do. The noise of others is 0.
            steps: Steps of a path; four times those of sampling if None.
        """
        return in_chunks(partial(self._starts, steps=steps), x, context, mask, self.chunk)

    @torch.no_grad()
    def log_prob(
        self, x: Tensor, context: Tensor, mask: Tensor | None, *, steps: int | None = None
    ) -> Tensor:
        """Log of the density (N,) of features (N, D), of those that exist, through the differential equation.

        It is the density of the noise at the start of the path, less the divergence of the velocity along
        the path; this is summed exactly, one backward pass for each feature. Not differentiable. Double
        precision, if model and arguments have it.

        Args:
            x: Features (N, D).
            context: (N, C).
            mask: True where a feature exists (N, D); None if all do.
            steps: Steps of a path; four times those of sampling if None. With infinitely many, the density
                integrates to 1; the density of what a few steps make differs by their error.
        """
        return in_chunks(partial(self._log_prob, steps=steps), x, context, mask, self.chunk)

    def _log_prob(self, x: Tensor, context: Tensor, mask: Tensor | None, steps: int | None) -> Tensor:
        hidden = None if mask is None else ~mask
        size = x.shape[1]
        rate = self._rate(context, mask)

        def with_divergence(state: Tensor, time: Tensor, features: Tensor) -> Tensor:
            with torch.enable_grad():
                x = state[:, :size].detach().requires_grad_()
                v = rate(x, time, features)
                divergence = torch.zeros_like(v[:, 0])
                for d in range(size):
                    (slope,) = torch.autograd.grad(v[:, d].sum(), x, retain_graph=d < size - 1)
                    divergence = divergence + slope[:, d]
            return torch.cat([v, divergence[:, None]], 1).detach()

        x = x if hidden is None else x.masked_fill(hidden, 0.0)
        state = torch.cat([x, torch.zeros_like(x[:, :1])], 1)
        end = self._followed(with_divergence, state, self._back(x, steps))
        return self.circles.log_density(end[:, :size], mask) + end[:, size]

    def pulled_back(self, x: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        """The noise (N, D) of features (N, D), differentiable, by as many steps as sampling takes."""
        return self._starts(x, context, mask, self.config.steps)

    def _starts(self, x: Tensor, context: Tensor, mask: Tensor | None, steps: int | None) -> Tensor:
        hidden = None if mask is None else ~mask
        x = x.clone() if hidden is None else x.masked_fill(hidden, 0.0)
        x = self._followed(self._rate(context, mask), x, self._back(x, steps))
        return self.circles.noise(x)

    def sampling_modules(self) -> Iterable[nn.Module]:
        """The velocity."""
        return (self.velocity,)

    def _paths(self, noise: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        hidden = None if mask is None else ~mask
        x = self.circles.start(noise)
        x = x.clone() if hidden is None else x.masked_fill(hidden, 0.0)
        x = self._followed(self._rate(context, mask), x, self._grid(noise, self.config.steps))
        return self.circles.wrapped(x)

    def _rate(self, context: Tensor, mask: Tensor | None) -> _Rate:
        """The velocity, 0 where masked."""
        bound = self.velocity.bind(self.given(context), mask)
        hidden = None if mask is None else ~mask

        def velocity(x: Tensor, time: Tensor, features: Tensor) -> Tensor:
            v = bound(self.circles.seen(self.tube.nearest(x, time)), features)
            return v if hidden is None else v.masked_fill_(hidden, 0.0)

        return velocity

    def _followed(self, rate: _Rate, x: Tensor, times: Tensor) -> Tensor:
        """Where x gets to, at its rate of change, from the first of the times to the last."""
        features = self.time(times)
        middles = 0.5 * (times[1:] + times[:-1])
        between = self.time(middles)
        for k, step in enumerate(times.diff()):
            v = rate(x, times[k], features[k : k + 1])
            if self.config.solver == "midpoint":
                v = rate(torch.addcmul(x, v, 0.5 * step), middles[k], between[k : k + 1])
            elif self.config.solver == "heun":
                v = 0.5 * (v + rate(torch.addcmul(x, v, step), times[k + 1], features[k + 1 : k + 2]))
            x = torch.addcmul(x, v, step)
        return x

    def _back(self, like: Tensor, steps: int | None) -> Tensor:
        return self._grid(like, _FINER * self.config.steps if steps is None else steps).flip(0)

    def _grid(self, like: Tensor, steps: int) -> Tensor:
        left = torch.linspace(1.0, 0.0, steps + 1, device=like.device, dtype=like.dtype)
        times: Tensor = 1.0 - left.pow(self.config.grid)
        return times
