"""Distances between an observable's real and generated distribution, as terms of a generator's loss.

Each is 0 within its statistical error where the distributions agree. Paired differences between real
and generated events are not among them: they don't vanish at the truth, since the events are not partners.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from hepgan._config import Config
from hepgan.objectives.terms import weighted_mean

__all__ = ["MMD", "Moments", "Penalty", "PenaltyConfig", "Sample", "Wasserstein"]


class Sample(NamedTuple):
    """Values of one observable.

    Attributes:
        values: (n,) values, in the observable's unit.
        weight: (n,) their event weights; negative ones too.
    """

    values: Tensor
    weight: Tensor


class Penalty(Config, ABC):
    """A distance between the real and the generated distribution of an observable.

    Attributes:
        observable: The observable's name.
        weight: The factor of the term in the loss.
    """

    kind: str
    observable: str
    weight: float = 1.0

    @property
    def name(self) -> str:
        """The term's name in the history."""
        return f"{self.kind}_{self.observable}"

    @abstractmethod
    def distance(self, real: Sample, generated: Sample) -> Tensor:
        """The distance, a scalar, differentiable in the generated values."""

    def __call__(self, real: Sample, generated: Sample) -> Tensor:
        """The distance; 0 if either sample is empty."""
        if not (real.values.numel() and generated.values.numel()):
            return generated.values.sum() * 0.0
        return self.distance(
            Sample(real.values.detach(), real.weight.to(real.values.dtype)),
            Sample(generated.values, generated.weight.to(generated.values.dtype)),
        )


class Moments(Penalty):
    """Squared differences of mean and standard deviation, in the observable's unit squared.

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

    def distance(self, real: Sample, generated: Sample) -> Tensor:
        """mean_weight (mean - target)^2 + std_weight (std - target)^2."""
        mean, std = _moments(generated)
        real_mean, real_std = _moments(real)
        target_mean = real_mean if self.target_mean is None else self.target_mean
        target_std = real_std if self.target_std is None else self.target_std
        return self.mean_weight * (mean - target_mean) ** 2 + self.std_weight * (std - target_std) ** 2


class Wasserstein(Penalty):
    """Wasserstein distance in one dimension, by sorting.

    Attributes:
        order: 1 for W1 (the area between the cumulative distributions), 2 for W2 squared.
        standardised: Whether to measure in units of the real standard deviation.
    """

    kind: Literal["wasserstein"] = "wasserstein"
    order: Literal[1, 2] = 1
    standardised: bool = True

    def distance(self, real: Sample, generated: Sample) -> Tensor:
        """W1, or W2 squared."""
        if self.standardised:
            scale = _scale(real)
            real = Sample(real.values / scale, real.weight)
            generated = Sample(generated.values / scale, generated.weight)
        return _wasserstein_1(real, generated) if self.order == 1 else _wasserstein_2(real, generated)


class MMD(Penalty):
    """Squared maximum mean discrepancy with Gaussian kernels, unbiased: its mean is 0 at the truth.

    The cost is that of all pairs, so at most ``max_events`` of each sample enter.

    Reference: Gretton et al., A kernel two-sample test, JMLR 13 (2012) 723.

    Attributes:
        widths: The kernels' widths; their kernels are averaged.
        standardised: Whether the widths are in units of the real standard deviation.
        max_events: Largest number of values used.
    """

    kind: Literal["mmd"] = "mmd"
    widths: tuple[Annotated[float, Field(gt=0.0)], ...] = Field(default=(0.2, 0.5, 1.0, 2.0), min_length=1)
    standardised: bool = True
    max_events: int = Field(default=512, ge=2)

    def distance(self, real: Sample, generated: Sample) -> Tensor:
        """MMD^2."""
        scale = _scale(real) if self.standardised else 1.0
        r = Sample(real.values[: self.max_events] / scale, real.weight[: self.max_events])
        g = Sample(generated.values[: self.max_events] / scale, generated.weight[: self.max_events])
        return self._within(r) + self._within(g) - 2.0 * self._between(r, g)

    def _kernel(self, a: Tensor, b: Tensor) -> Tensor:
        squared = (a[:, None] - b[None, :]).square()
        kernels = [torch.exp(squared * (-0.5 / width**2)) for width in self.widths]
        return torch.stack(kernels).sum(dim=0) / len(kernels)

    def _between(self, a: Sample, b: Sample) -> Tensor:
        kernel = self._kernel(a.values, b.values)
        return (a.weight @ kernel @ b.weight) / (a.weight.sum() * b.weight.sum())

    def _within(self, a: Sample) -> Tensor:
        if a.values.numel() < 2:
            return a.values.sum() * 0.0
        own = a.weight.square().sum()
        pairs = a.weight @ self._kernel(a.values, a.values) @ a.weight - own
        return pairs / (a.weight.sum().square() - own)


PenaltyConfig = Annotated[Moments | Wasserstein | MMD, Field(discriminator="kind")]
"""Any penalty, told apart by ``kind``."""


def _moments(sample: Sample) -> tuple[Tensor, Tensor]:
    mean = weighted_mean(sample.values, sample.weight)
    variance = weighted_mean((sample.values - mean).square(), sample.weight)
    # Negative weights can make the variance negative in a small batch; a collapsed sample has none.
    return mean, variance.clamp_min(torch.finfo(variance.dtype).tiny).sqrt()


def _scale(real: Sample) -> Tensor:
    _, std = _moments(real)
    return torch.where(std > 1e-12, std, torch.ones_like(std))


def _cumulative(sample: Sample) -> tuple[Tensor, Tensor]:
    values, order = torch.sort(sample.values)
    return values, torch.cumsum(sample.weight[order], dim=0) / sample.weight.sum()


def _wasserstein_1(a: Sample, b: Sample) -> Tensor:
    values, order = torch.sort(torch.cat((a.values, b.values)))
    share = torch.cat((a.weight / a.weight.sum(), -b.weight / b.weight.sum()))
    difference = torch.cumsum(share[order], dim=0)[:-1]
    return (difference.abs() * values.diff()).sum()


def _wasserstein_2(a: Sample, b: Sample) -> Tensor:
    (values_a, levels_a), (values_b, levels_b) = _cumulative(a), _cumulative(b)
    # With negative weights the cumulative distribution isn't monotone; its running maximum is.
    levels_a = levels_a.cummax(dim=0).values.clamp(0.0, 1.0)
    levels_b = levels_b.cummax(dim=0).values.clamp(0.0, 1.0)
    levels = torch.sort(torch.cat((levels_a, levels_b))).values
    step = torch.diff(levels, prepend=levels.new_zeros(1))
    middle = levels - 0.5 * step
    at_a = values_a[torch.searchsorted(levels_a, middle).clamp_max(len(values_a) - 1)]
    at_b = values_b[torch.searchsorted(levels_b, middle).clamp_max(len(values_b) - 1)]
    return (step * (at_a - at_b).square()).sum()
