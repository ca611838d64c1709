"""A histogram that can be differentiated."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from hepgan.errors import RecipeError
from hepgan.objectives.base import Penalty
from hepgan.objectives.samples import Circumstances, Sample

__all__ = ["Histogram"]


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
    bins: int = Field(default=50, ge=2)
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

    def distance(self, real: Sample, generated: Sample, at: Circumstances) -> Tensor:
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

    def _edges(self, real: Sample, at: Circumstances) -> Tensor:
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

    def _contents(self, sample: Sample, edges: Tensor) -> Tensor:
        """The sum of weights of each event in each bin (N, bins)."""
        x, bins = sample.values, len(edges) - 1
        event = torch.arange(len(x), device=x.device) if sample.event is None else sample.event
        size = len(x) if sample.event_weight is None else len(sample.event_weight)
        inner, widths = edges[1:-1], edges.diff()
        reach = self.smoothing * torch.minimum(widths[1:], widths[:-1])
        nearest = torch.searchsorted(0.5 * (inner[1:] + inner[:-1]), x.detach())
        above = ((x - inner[nearest]) / reach[nearest] + 0.5).clamp(0.0, 1.0)
        low = event * bins + nearest
        flat = x.new_zeros(size * bins)
        flat = flat.index_add(0, low, sample.weight * (1.0 - above)).index_add(
            0, low + 1, sample.weight * above
        )
        return flat.reshape(size, bins)


def _per_event(contents: Tensor, sample: Sample) -> tuple[Tensor, Tensor]:
    """Contents (bins,) per event, and each event's part in their fluctuation (N, bins)."""
    weight = sample.weight if sample.event_weight is None else sample.event_weight.to(contents.dtype)
    total, count = weight.sum(), len(weight)
    mean = contents.sum(dim=0) / total
    return mean, (contents - weight[:, None] * mean) * (count / max(count - 1, 1)) ** 0.5 / total
