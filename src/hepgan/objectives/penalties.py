"""Distances between observables' real and generated distribution, as terms of a generator's loss.

At the truth each of them is 0 within its statistical error, but for `Paired`, which is there to reproduce
the papers that use it.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from hepgan.objectives.base import Penalty
from hepgan.objectives.histogram import Histogram
from hepgan.objectives.mmd import MMD
from hepgan.objectives.pairs import Distance, absolute_mean, kernel_mean
from hepgan.objectives.samples import Circumstances, Sample, moments, reduced, spread
from hepgan.objectives.terms import weighted_mean

__all__ = ["Energy", "Moments", "Paired", "PenaltyConfig", "Wasserstein"]


class Moments(Penalty):
    """Squared differences of mean and standard deviation, in the observable's unit squared.

    Those of several observables are added.

    Attributes:
        target_mean: The mean to reach; the real batch's if None.
        target_std: The standard deviation to reach; the real batch's if None.
        mean_weight: Factor of the mean's term.
        std_weight: Factor of the standard deviation's term.
    """

    kind: Literal["moments"] = "moments"
    target_mean: float | None = None
    target_std: float | None = Field(default=None, ge=0.0)
    mean_weight: float = Field(default=1.0, ge=0.0)
    std_weight: float = Field(default=1.0, ge=0.0)

    @model_validator(mode="after")
    def _targets_are_of_one(self) -> Moments:
        if not self.single and (self.target_mean is not None or self.target_std is not None):
            msg = "a target is for a single observable"
            raise ValueError(msg)
        return self

    def distance(self, real: Sample, generated: Sample, at: Circumstances) -> Tensor:
        """mean_weight (mean - target)^2 + std_weight (std - target)^2."""
        mean, std = moments(generated)
        real_mean, real_std = moments(real)
        target_mean = real_mean if self.target_mean is None else self.target_mean
        target_std = real_std if self.target_std is None else self.target_std
        squares = self.mean_weight * (mean - target_mean) ** 2 + self.std_weight * (std - target_std) ** 2
        return squares.sum()


class Wasserstein(Penalty):
    """Wasserstein distance, by sorting; of several observables the mean over random directions (sliced).

    Reference: Bonneel et al., Sliced and Radon Wasserstein barycenters of measures, JMIV 51 (2015) 22.

    Attributes:
        order: 1 for W1 (the area between the cumulative distributions), 2 for W2 squared.
        standardised: Whether to measure in units of the real standard deviation.
        directions: Number of directions of the sliced distance, drawn anew each time.
    """

    kind: Literal["wasserstein"] = "wasserstein"
    order: Literal[1, 2] = 1
    standardised: bool = True
    directions: int = Field(default=32, ge=1)

    def distance(self, real: Sample, generated: Sample, at: Circumstances) -> Tensor:
        """W1, or W2 squared."""
        real, generated = _scaled(real, generated, standardised=self.standardised)
        if real.values.ndim == 1:
            a, b = real.values[None], generated.values[None]
        else:
            shape = (self.directions, real.values.shape[1])
            device, dtype = real.values.device, real.values.dtype
            along = torch.randn(shape, generator=at.generator, device=device, dtype=dtype)
            along = along / along.norm(dim=1, keepdim=True)
            a, b = along @ real.values.T, along @ generated.values.T
        distance = _wasserstein_1 if self.order == 1 else _wasserstein_2
        return distance(a, real.weight / real.weight.sum(), b, generated.weight / generated.weight.sum())


class Energy(Penalty):
    """Squared energy distance 2 <|x - y|> - <|x - x'|> - <|y - y'|>, unbiased: its mean is 0 at the truth.

    It has no width to choose. Of one observable it costs a sorting, of several all pairs.

    Reference: Szekely and Rizzo, Energy statistics, J. Stat. Plan. Inference 143 (2013) 1249.

    Attributes:
        standardised: Whether to measure in units of the real standard deviation.
        max_events: Largest number of values used where there are several observables.
    """

    kind: Literal["energy"] = "energy"
    standardised: bool = True
    max_events: int = Field(default=2048, ge=2)

    def distance(self, real: Sample, generated: Sample, at: Circumstances) -> Tensor:
        """The squared energy distance."""
        r, g = _scaled(real, generated, standardised=self.standardised)
        if r.values.ndim == 1:
            return 2.0 * absolute_mean(r, g) - absolute_mean(r) - absolute_mean(g)
        r, g = reduced(r, g, self.max_events, at.precision)
        kernel = (Distance(),)
        return 2.0 * kernel_mean(kernel, r, g) - kernel_mean(kernel, r) - kernel_mean(kernel, g)


class Paired(Penalty):
    """Mean difference of events of equal place, though a real and a generated one are not partners.

    It cannot reach 0, and is larger at the truth (1.13 sigma of a Gaussian) than at collapse (0.80).

    Attributes:
        order: 1 for magnitudes, 2 for squares of the differences.
        standardised: Whether to measure in units of the real standard deviation.
    """

    kind: Literal["paired"] = "paired"
    order: Literal[1, 2] = 1
    standardised: bool = False

    def distance(self, real: Sample, generated: Sample, at: Circumstances) -> Tensor:
        """The mean of |real - generated|^order, weighted by the real events; mean over observables."""
        r, g = _scaled(real, generated, standardised=self.standardised)
        count = min(len(r.values), len(g.values))
        difference = (r.values[:count] - g.values[:count]).abs()
        if difference.ndim == 2:
            difference = difference.pow(self.order).mean(dim=1)
        else:
            difference = difference.pow(self.order)
        return weighted_mean(difference, r.weight[:count])


PenaltyConfig = Annotated[
    Moments | Wasserstein | Energy | MMD | Histogram | Paired, Field(discriminator="kind")
]
"""Any penalty, told apart by ``kind``."""


def _scaled(real: Sample, generated: Sample, *, standardised: bool) -> tuple[Sample, Sample]:
    if not standardised:
        return real, generated
    scale = spread(real)
    return real._replace(values=real.values / scale), generated._replace(values=generated.values / scale)


def _wasserstein_1(a: Tensor, share_a: Tensor, b: Tensor, share_b: Tensor) -> Tensor:
    """Mean over rows of W1 between a (K, n) and b (K, m), whose columns have these shares (n,), (m,)."""
    values, order = torch.sort(torch.cat((a, b), dim=1), dim=1)
    difference = torch.cumsum(torch.cat((share_a, -share_b))[order], dim=1)[:, :-1]
    return (difference.abs() * values.diff(dim=1)).sum(dim=1).mean()


def _wasserstein_2(a: Tensor, share_a: Tensor, b: Tensor, share_b: Tensor) -> Tensor:
    """Mean over rows of W2 squared."""
    (values_a, levels_a), (values_b, levels_b) = _cumulative(a, share_a), _cumulative(b, share_b)
    levels = torch.sort(torch.cat((levels_a, levels_b), dim=1), dim=1).values
    step = torch.diff(levels, prepend=levels.new_zeros((len(levels), 1)), dim=1)
    middle = levels - 0.5 * step
    at_a = values_a.gather(1, torch.searchsorted(levels_a, middle).clamp_max(a.shape[1] - 1))
    at_b = values_b.gather(1, torch.searchsorted(levels_b, middle).clamp_max(b.shape[1] - 1))
    return (step * (at_a - at_b).square()).sum(dim=1).mean()


def _cumulative(values: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    values, order = torch.sort(values, dim=1)
    levels = torch.cumsum(share[order], dim=1)
    # Opposite weights of equal values cancel before the running maximum sees them.
    levels = levels.gather(1, torch.searchsorted(values.detach(), values.detach(), right=True) - 1)
    # With negative weights the cumulative distribution isn't monotone; its running maximum is.
    return values, levels.cummax(dim=1).values.clamp(0.0, 1.0)
