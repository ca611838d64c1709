"""Distances between observables' real and generated distribution, as terms of a generator's loss.

At the truth each of them is 0 within its statistical error, but for `Paired`, which is there to reproduce
the papers that use it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from itertools import pairwise
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor

from hepgan.config import Settings
from hepgan.errors import RecipeError
from hepgan.objectives.pairs import (
    BreitWigner,
    Distance,
    Gaussian,
    Kernel,
    RationalQuadratic,
    absolute_mean,
    kernel_mean,
)
from hepgan.objectives.terms import (
    ROUNDING,
    Circumstances,
    Points,
    TermSchedule,
    moments,
    reduced,
    spread,
    weighted_mean,
    width,
)

__all__ = ["MMD", "Energy", "Histogram", "Moments", "Paired", "Penalty", "PenaltyConfig", "Wasserstein"]

_PAIRED_FOR_MEDIAN = 512
"""Values whose distances give the median; it need not be exact."""

Width = Annotated[float, Field(ge=1e-12, le=1e12)]


class Penalty(Settings, ABC):
    """A distance between the real and the generated distribution of observables.

    Attributes:
        observables: The observable, or several whose joint distribution is compared.
        features: Whether the features, as the generator makes them, are compared too.
        weight: The factor of the term in the loss.
        schedule: The part of the training in which the term counts; all of it if None.
        name: Its name in the history; made of kind and observables if empty.
    """

    kind: str
    observables: tuple[str, ...] = ()
    features: bool = False
    weight: float = Field(default=1.0, ge=0.0)
    schedule: TermSchedule | None = None
    name: str = ""

    @model_validator(mode="before")
    @classmethod
    def _accept_the_key_of_old(cls, data: Any) -> Any:
        if isinstance(data, dict) and "observable" in data and "observables" not in data:
            data = {("observables" if k == "observable" else k): v for k, v in data.items()}
        return data

    @field_validator("observables", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _complete(self) -> Penalty:
        if not (self.observables or self.features):
            msg = f"a penalty of kind {self.kind} compares nothing: give it observables or features"
            raise ValueError(msg)
        twice = sorted({n for n in self.observables if self.observables.count(n) > 1})
        if twice:
            msg = f"a penalty names {twice[0]!r} twice"
            raise ValueError(msg)
        if not self.name:
            # Not by assignment, so that it is not among the fields that the user has set.
            parts = (self.kind, *(["features"] if self.features else []), *self.observables)
            self.__dict__["name"] = "_".join(parts)
        return self

    @property
    def single(self) -> bool:
        """Whether it compares one observable only."""
        return len(self.observables) == 1 and not self.features

    @abstractmethod
    def distance(self, real: Points, generated: Points, at: Circumstances) -> Tensor:
        """The distance, a scalar, differentiable in the generated values and weights."""

    def __call__(self, real: Points, generated: Points, at: Circumstances | None = None) -> Tensor:
        """The distance; 0 if a sample is empty or its weights have no positive sum."""
        for points in (real, generated):
            if not (points.values.numel() and float(points.weight.detach().sum()) > 0.0):
                return generated.values.sum() * 0.0
        return self.distance(
            _detached(real.to(torch.float64)), generated.to(torch.float64), at or Circumstances()
        )


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

    def distance(self, real: Points, generated: Points, at: Circumstances) -> Tensor:
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
    directions: int = Field(default=32, ge=1, le=65_536)

    def distance(self, real: Points, generated: Points, at: Circumstances) -> Tensor:
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
    max_events: int = Field(default=2048, ge=2, le=1_000_000)

    def distance(self, real: Points, generated: Points, at: Circumstances) -> Tensor:
        """The squared energy distance."""
        r, g = _scaled(real, generated, standardised=self.standardised)
        if r.values.ndim == 1:
            return 2.0 * absolute_mean(r, g) - absolute_mean(r) - absolute_mean(g)
        r, g = reduced(r, g, self.max_events, at.precision)
        kernel = (Distance(),)
        return 2.0 * kernel_mean(kernel, r, g) - kernel_mean(kernel, r) - kernel_mean(kernel, g)


class MMD(Penalty):
    """Squared maximum mean discrepancy, unbiased: its mean is 0 at the truth.

    It sees differences of the kernels' width and above, so several widths, or one that follows the
    training, serve a narrow peak. All pairs cost the square of the number of events, in chunks; the linear
    estimator uses each event once and is noisier.

    References: Gretton et al., A kernel two-sample test, JMLR 13 (2012) 723; for kernels and widths at
    resonances, Butter et al., How to GAN LHC events, arXiv:1907.03764.

    Attributes:
        kernel: ``gaussian``, exp(-u^2 / 2 w^2); ``breit_wigner``, w^2 / (u^2 + w^2);
            ``rational_quadratic``, (1 + u^2 / 2 alpha w^2)^-alpha.
        widths: The kernels' widths w; the kernels are averaged.
        standardised: Whether widths are in units of the real standard deviation; of several observables,
            each has its own.
        estimate: What the widths are multiples of instead, anew for each batch: half the range from 16%
            to 84% of the ``real`` or of the ``generated`` values, or the ``median`` distance of two values.
        cooling: What the widths are multiplied by at the end of the training; on the way there they
            change exponentially.
        alpha: The exponent of ``rational_quadratic``.
        estimator: ``all_pairs``, or ``linear``: each value in one pair.
        max_events: Largest number of values used.
    """

    kind: Literal["mmd"] = "mmd"
    kernel: Literal["gaussian", "breit_wigner", "rational_quadratic"] = "gaussian"
    widths: tuple[Width, ...] = Field(default=(0.2, 0.5, 1.0, 2.0), min_length=1)
    standardised: bool = True
    estimate: Literal["real", "generated", "median"] | None = None
    cooling: float = Field(default=1.0, ge=1e-6, le=1e6)
    alpha: float = Field(default=1.0, gt=0.0, le=1000.0)
    estimator: Literal["all_pairs", "linear"] = "all_pairs"
    max_events: int = Field(default=512, ge=2, le=1_000_000)

    def distance(self, real: Points, generated: Points, at: Circumstances) -> Tensor:
        """MMD^2."""
        r, g = real, generated
        if self.standardised:
            scale = spread(real)
            r, g = r._replace(values=r.values / scale), g._replace(values=g.values / scale)
        r, g = reduced(r, g, self.max_events, at.precision)
        kernels = self.kernels(r, g, at.share)
        if self.estimator == "linear":
            return _linear(kernels, r, g)
        return kernel_mean(kernels, r) + kernel_mean(kernels, g) - 2.0 * kernel_mean(kernels, r, g)

    def kernels(self, real: Points, generated: Points, share: float) -> tuple[Kernel, ...]:
        """The kernels for these samples, when this share of the training is done."""
        unit = self.cooling**share * self._unit(real, generated)
        match self.kernel:
            case "gaussian":
                return tuple(Gaussian(w * unit) for w in self.widths)
            case "breit_wigner":
                return tuple(BreitWigner(w * unit) for w in self.widths)
            case "rational_quadratic":
                return tuple(RationalQuadratic(w * unit, self.alpha) for w in self.widths)

    def _unit(self, real: Points, generated: Points) -> float:
        if self.estimate is None:
            return 1.0
        if self.estimate == "median":
            both = [s.values.detach()[: _PAIRED_FOR_MEDIAN // 2] for s in (real, generated)]
            values = torch.cat(both)
            found = torch.pdist(values if values.ndim == 2 else values[:, None]).median()
        else:
            found = width(real if self.estimate == "real" else generated)
        # A collapsed sample has no width.
        return float(found) if float(found) > 1e-9 else 1.0


class Histogram(Penalty):
    """How much chi^2 per bin exceeds 1, for the histograms of an observable: its mean is 0 at the truth.

    For observables with many, possibly weighted, values an event, such as energy correlators. Contents are
    sums of weights per event; their variances, from the sums of each event, allow for the correlation of
    its values. A value moves from a bin into its neighbour gradually, while it crosses their edge. The outer
    bins also hold what lies beyond them.

    Attributes:
        bins: Number of bins; those of the observable's own histogram if range and edges are None.
        range: Lower and upper end.
        edges: The bin edges instead.
        smoothing: The range around an edge over which values move, as a share of the narrower of both
            bins. Only values inside such a range are pulled, at 1 all values (of bins of equal width).
    """

    kind: Literal["histogram"] = "histogram"
    bins: int = Field(default=50, ge=2, le=100_000)
    range: tuple[float, float] | None = None
    edges: tuple[float, ...] | None = Field(default=None, min_length=3)
    smoothing: float = Field(default=1.0, gt=0.0, le=1.0)

    @model_validator(mode="after")
    def _check_binning(self) -> Histogram:
        if not self.single:
            msg = "a histogram is of a single observable"
            raise ValueError(msg)
        ends = self.edges or self.range or (0.0, 1.0)
        if not all(low < high for low, high in pairwise(ends)):
            msg = f"bin edges must increase, unlike {list(ends)}"
            raise ValueError(msg)
        return self

    def distance(self, real: Points, generated: Points, at: Circumstances) -> Tensor:
        """The mean over bins of squared difference / its variance - 1; 0 for bins that are empty in both."""
        edges = self._edges(real, at)
        r, g = self._contents(real, edges), self._contents(generated, edges)
        (mean_r, noise_r), (mean_g, noise_g) = _per_event(r, real), _per_event(g, generated)
        if real.event is not None and generated.event is not None and noise_r.shape == noise_g.shape:
            # Events of equal number share their context, so the fluctuations of both are correlated.
            variance = (noise_r - noise_g).square().sum(dim=0)
        else:
            variance = noise_r.square().sum(dim=0) + noise_g.square().sum(dim=0)
        # Nothing is known of a bin that is empty in both samples.
        filled = variance > 1e-12 * variance.sum()
        ratio = (mean_r - mean_g).square() / torch.where(filled, variance, torch.ones_like(variance))
        return torch.where(filled, ratio - 1.0, torch.zeros_like(ratio)).mean()

    def _edges(self, real: Points, at: Circumstances) -> Tensor:
        like = real.values
        if self.edges is not None:
            return like.new_tensor(self.edges)
        if self.range is not None:
            return torch.linspace(*self.range, self.bins + 1, device=like.device, dtype=like.dtype)
        if at.edges is None:
            msg = f"penalty {self.name!r} needs a range, or an observable with one"
            raise RecipeError(msg)
        if len(at.edges) < 3:
            msg = f"penalty {self.name!r} needs two bins or more, which its observable doesn't have"
            raise RecipeError(msg)
        return at.edges.to(like)

    def _contents(self, points: Points, edges: Tensor) -> Tensor:
        """The sum of weights of each event in each bin (N, bins)."""
        x, bins = points.values, len(edges) - 1
        event = torch.arange(len(x), device=x.device) if points.event is None else points.event
        size = len(x) if points.event_weight is None else len(points.event_weight)
        inner, widths = edges[1:-1], edges.diff()
        reach = self.smoothing * torch.minimum(widths[1:], widths[:-1])
        nearest = torch.searchsorted(0.5 * (inner[1:] + inner[:-1]), x.detach())
        above = ((x - inner[nearest]) / reach[nearest] + 0.5).clamp(0.0, 1.0)
        low = event * bins + nearest
        flat = x.new_zeros(size * bins)
        flat = flat.index_add(0, low, points.weight * (1.0 - above)).index_add(
            0, low + 1, points.weight * above
        )
        return flat.reshape(size, bins)


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

    def distance(self, real: Points, generated: Points, at: Circumstances) -> Tensor:
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


def _detached(points: Points) -> Points:
    return points._replace(values=points.values.detach(), weight=points.weight.detach())


def _scaled(real: Points, generated: Points, *, standardised: bool) -> tuple[Points, Points]:
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
    # Opposite weights of equal values cancel before the running maximum sees them. A projection depends in
    # its last bits on the event's place in the batch, and values on the processor.
    found = values.detach()
    upto = found + ROUNDING * found.abs().amax(dim=1, keepdim=True)
    levels = levels.gather(1, torch.searchsorted(found, upto, right=True) - 1)
    # With negative weights the cumulative distribution isn't monotone; its running maximum is.
    return values, levels.cummax(dim=1).values.clamp(0.0, 1.0)


def _linear(kernels: tuple[Kernel, ...], real: Points, generated: Points) -> Tensor:
    """The mean over disjoint pairs, of the values of the first half with those of the second."""
    half = min(len(real.values), len(generated.values)) // 2
    first, second = slice(0, half), slice(half, 2 * half)

    def mean(*pairs: tuple[Points, slice, Points, slice]) -> Tensor:
        sums, norms = [], []
        for a, of_a, b, of_b in pairs:
            weight = a.weight[of_a] * b.weight[of_b]
            if a.event is not None and b.event is not None:
                weight = weight * (a.event[of_a] != b.event[of_b])
            squared = (a.values[of_a] - b.values[of_b]).reshape(half, -1).square().sum(dim=1)
            value = torch.stack([k(squared) for k in kernels]).mean(dim=0)
            sums.append((weight * value).sum())
            norms.append(weight.sum())
        norm = torch.stack(norms).sum()
        good = norm > 0.0
        return torch.where(
            good, torch.stack(sums).sum() / torch.where(good, norm, torch.ones_like(norm)), 0.0
        )

    within = mean((real, first, real, second)) + mean((generated, first, generated, second))
    return within - 2.0 * mean((real, first, generated, second), (real, second, generated, first))


def _per_event(contents: Tensor, points: Points) -> tuple[Tensor, Tensor]:
    """Contents (bins,) per event, and each event's part in their fluctuation (N, bins)."""
    weight = points.weight if points.event_weight is None else points.event_weight.to(contents.dtype)
    total, count = weight.sum(), len(weight)
    mean = contents.sum(dim=0) / total
    return mean, (contents - weight[:, None] * mean) * (count / max(count - 1, 1)) ** 0.5 / total
