"""The maximum mean discrepancy."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from hepgan.objectives.base import Penalty
from hepgan.objectives.pairs import BreitWigner, Gaussian, Kernel, RationalQuadratic, kernel_mean
from hepgan.objectives.samples import Circumstances, Sample, reduced, spread, width

__all__ = ["MMD"]

_PAIRED_FOR_MEDIAN = 512
"""Values whose distances give the median; it need not be exact."""


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
    widths: tuple[Annotated[float, Field(gt=0.0)], ...] = Field(default=(0.2, 0.5, 1.0, 2.0), min_length=1)
    standardised: bool = True
    estimate: Literal["real", "generated", "median"] | None = None
    cooling: float = Field(default=1.0, gt=0.0)
    alpha: float = Field(default=1.0, gt=0.0)
    estimator: Literal["all_pairs", "linear"] = "all_pairs"
    max_events: int = Field(default=512, ge=2)

    def distance(self, real: Sample, generated: Sample, at: Circumstances) -> Tensor:
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

    def kernels(self, real: Sample, generated: Sample, share: float) -> tuple[Kernel, ...]:
        """The kernels for these samples, when this share of the training is done."""
        unit = self.cooling**share * self._unit(real, generated)
        match self.kernel:
            case "gaussian":
                return tuple(Gaussian(w * unit) for w in self.widths)
            case "breit_wigner":
                return tuple(BreitWigner(w * unit) for w in self.widths)
            case "rational_quadratic":
                return tuple(RationalQuadratic(w * unit, self.alpha) for w in self.widths)

    def _unit(self, real: Sample, generated: Sample) -> float:
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


def _linear(kernels: tuple[Kernel, ...], real: Sample, generated: Sample) -> Tensor:
    """The mean over disjoint pairs, of the values of the first half with those of the second."""
    half = min(len(real.values), len(generated.values)) // 2
    first, second = slice(0, half), slice(half, 2 * half)

    def mean(*pairs: tuple[Sample, slice, Sample, slice]) -> Tensor:
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
