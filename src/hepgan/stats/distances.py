"""Distances between two weighted one-dimensional samples or histograms, for selection and validation.

Samples and weights are numpy arrays (n,); convert tensors first. Weights may be negative, but must have a
positive sum. Every function costs O(n log n).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from scipy.special import ndtr

from hepgan.arguments import checked
from hepgan.stats.moments import checked_sample, effective_entries, quantile, standard_deviation

__all__ = [
    "Chi2Result",
    "Pooled",
    "chi2_binned",
    "kl",
    "ks",
    "ks_floor",
    "ks_from_normal",
    "pulls",
    "quantile",
    "wasserstein",
    "wasserstein_scaled",
]

Array = NDArray[np.float64]

KOLMOGOROV = math.sqrt(math.pi / 2) * math.log(2)
"""Mean of the KS distance of n and m values of one distribution, times (1 / n + 1 / m)^-0.5."""


class Chi2Result(NamedTuple):
    """Statistic, degrees of freedom, and the probability of a larger statistic for equal shapes."""

    chi2: float
    ndf: int
    p: float


class Pooled:
    """Two samples' values sorted together, so that the distances for any weights of theirs cost one pass.

    Args:
        first: Values (n,) of the first sample.
        second: Values (m,) of the second one; the first's once more, with other weights, if None.
    """

    def __init__(self, first: Array, second: Array | None = None) -> None:
        self._apart = second is not None
        values = first if second is None else np.concatenate([first, second])
        # A stable order of equal values makes the sums' rounding the same on every processor.
        self._order = np.argsort(values, kind="stable")
        self._gaps = np.diff(values[self._order])
        # Only after the last of equal values are both distribution functions up to date.
        self._ends = np.append(self._gaps > 0, True)

    def difference(self, first: Array, second: Array) -> Array | None:
        """F_1 - F_2 from each of all values in order up to the next, for weights of the samples (n,), (m,).

        Their sums need not be 1; None if one is not positive.
        """
        total = float(first.sum()), float(second.sum())
        if not (total[0] > 0 and total[1] > 0):
            return None
        one, other = first / total[0], second / total[1]
        steps = np.concatenate([one, -other]) if self._apart else one - other
        gap = np.cumsum(steps[self._order])
        gap[np.abs(gap) < 1e-13] = 0.0  # the sum's rounding
        return np.asarray(gap)

    def distances(self, first: Array, second: Array) -> tuple[float, float]:
        """Kolmogorov-Smirnov and Wasserstein distances for these weights; NaN if a sum is not positive."""
        gap = self.difference(first, second)
        return (math.nan, math.nan) if gap is None else (self.ks(gap), self.wasserstein(gap))

    def ks(self, difference: Array) -> float:
        """The largest absolute difference."""
        return float(np.max(np.abs(difference), where=self._ends, initial=0.0))

    def wasserstein(self, difference: Array) -> float:
        """The integral of the absolute difference."""
        return float(np.abs(difference[:-1]) @ self._gaps)


@checked
def ks(a: ArrayLike, b: ArrayLike, wa: ArrayLike | None = None, wb: ArrayLike | None = None) -> float:
    """Kolmogorov-Smirnov statistic: the largest distance between the two cumulative distributions.

    Args:
        a: First sample (n,).
        b: Second sample (m,).
        wa: Weights of the first (n,), 1 by default; with negative ones the result may exceed 1.
        wb: Weights of the second (m,).

    Raises:
        ValueError: An empty sample, entries or weights that are not finite or do not match, a sum of weights
            that is not positive.
    """
    pooled, difference = _pooled(a, b, wa, wb)
    return pooled.ks(difference)


@checked
def wasserstein(
    a: ArrayLike, b: ArrayLike, wa: ArrayLike | None = None, wb: ArrayLike | None = None
) -> float:
    """First Wasserstein distance, the area between the cumulative distributions, in the units of a and b.

    Args and errors are those of ``ks``.
    """
    pooled, difference = _pooled(a, b, wa, wb)
    return pooled.wasserstein(difference)


@checked
def wasserstein_scaled(
    reference: ArrayLike,
    sample: ArrayLike,
    reference_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
) -> float:
    """First Wasserstein distance in units of the reference's weighted standard deviation.

    Args and errors are those of ``ks``. For a reference without spread it is 0 where the sample agrees, and
    infinity otherwise.
    """
    distance = wasserstein(reference, sample, reference_weight, sample_weight)
    spread = standard_deviation(*checked_sample(reference, reference_weight))
    if not spread > 0:
        return 0.0 if distance == 0 else math.inf
    return distance / spread


@checked
def ks_floor(*effective_sizes: float) -> float:
    """The mean of ``ks`` between samples of one distribution, or of one sample and its distribution.

    Args:
        effective_sizes: Effective numbers of entries of the two samples, or of the one.

    Raises:
        ValueError: If one is not positive.
    """
    if not all(n > 0 for n in effective_sizes):
        msg = f"effective_sizes must be positive, not {effective_sizes}"
        raise ValueError(msg)
    return KOLMOGOROV * math.sqrt(sum(1 / n for n in effective_sizes))


@checked
def ks_from_normal(z: Array, w: Array) -> tuple[float, float]:
    """KS distance of values (n,) with weights (n,) from the standard normal distribution, and its floor.

    Raises:
        ValueError: If there is not one weight for each value.
    """
    z, w = np.asarray(z, dtype=np.float64), np.asarray(w, dtype=np.float64)
    if z.ndim != 1 or z.shape != w.shape or not len(z):
        msg = f"z and w need one shape (n,) with n > 0, got {z.shape} and {w.shape}"
        raise ValueError(msg)
    order = np.argsort(z)
    below = np.concatenate([[0.0], np.cumsum(w[order])]) / w.sum()
    expected = ndtr(z[order])
    distance = max(np.abs(expected - below[1:]).max(), np.abs(expected - below[:-1]).max())
    return float(distance), float(KOLMOGOROV * math.sqrt(np.square(w).sum()) / abs(w.sum()))


@checked
def kl(
    reference: ArrayLike,
    sample: ArrayLike,
    reference_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    *,
    bins: int = 50,
) -> float:
    """Kullback-Leibler divergence sum p log(p / q) of binned distributions: reference p, sample q.

    The bins hold equal shares of the reference, and the outermost ones all that is beyond them; so none is
    empty in the reference, and there is no range to choose. Bins that the sample does not fill make it
    infinite. Between two samples of one distribution, with n and m events, its mean is
    (bins - 1) / 2 * (1 / n + 1 / m).

    Args:
        reference: First sample (n,).
        sample: Second sample (m,).
        reference_weight: Weights of the first (n,), 1 by default; bins without a positive sum are left out.
        sample_weight: Weights of the second (m,).
        bins: Number of bins; fewer where values repeat.

    Raises:
        ValueError: As ``ks``, and fewer than two bins.
    """
    if bins < 2:
        msg = f"a divergence needs two bins or more, not {bins}"
        raise ValueError(msg)
    (a, pa), (b, pb) = checked_sample(reference, reference_weight), checked_sample(sample, sample_weight)
    edges = np.unique(quantile(a, np.arange(1, bins) / bins, pa))
    p, q = (
        np.bincount(np.searchsorted(edges, x), weights=w, minlength=len(edges) + 1)
        for x, w in ((a, pa), (b, pb))
    )
    filled = p > 0
    if bool((q[filled] <= 0).any()):
        return math.inf
    return float(p[filled] @ np.log(p[filled] / q[filled]))


@checked
def chi2_binned(
    counts_a: ArrayLike,
    var_a: ArrayLike,
    counts_b: ArrayLike,
    var_b: ArrayLike,
    *,
    min_entries: float = 5.0,
) -> Chi2Result:
    """Chi-squared test that two weighted histograms of one binning have the same shape.

    Totals may differ, and cost one degree of freedom. Neighbouring bins (in flat order) are merged until they
    hold ``min_entries`` effective entries of both histograms together, which also removes empty bins. For
    unweighted histograms this is Pearson's test of homogeneity; a histogram with variance zero throughout
    serves as an exact expectation.

    With weights that vary by more than their mean within a bin, bins of few effective entries scatter more
    than a normal distribution: exponentially distributed weights and 10 to 200 effective entries a bin raise
    the mean of chi2/ndf by 5%.

    Args:
        counts_a: Sums of weights, of any shape.
        var_a: Sums of squared weights, of the same shape.
        counts_b: The other histogram's.
        var_b: The other histogram's.
        min_entries: Effective entries (squared sum of weights over sum of squared weights) below which bins
            are merged; 0 only drops empty bins.

    Raises:
        ValueError: Shapes that differ, values that are not finite, negative variances, a total that is not
            positive, or no variance in either histogram.
    """
    a, va, b, vb = _histograms(counts_a, var_a, counts_b, var_b)
    filled = (a != 0) | (va > 0) | (b != 0) | (vb > 0)
    a, va, b, vb = a[filled], va[filled], b[filled], vb[filled]
    group = _groups(effective_entries(a, va) + effective_entries(b, vb), min_entries)
    a, va, b, vb = (np.asarray(np.bincount(group, h), np.float64) for h in (a, va, b, vb))
    ndf = len(a) - 1
    variance = _shape_variance(a, va, b, vb)
    chi2 = float((np.square(b / b.sum() - a / a.sum()) / variance).sum()) if ndf else 0.0
    return Chi2Result(chi2, ndf, float(stats.chi2.sf(chi2, ndf)) if ndf else 1.0)


@checked
def pulls(counts_a: ArrayLike, var_a: ArrayLike, counts_b: ArrayLike, var_b: ArrayLike) -> Array:
    """Differences b - a of the shapes in each bin, in units of their expected standard deviation.

    The squares sum to the statistic of ``chi2_binned`` without merging.

    Args and errors are those of ``chi2_binned``.

    Returns:
        Pulls of the shape of ``counts_a``; NaN where both histograms are empty.
    """
    a, va, b, vb = _histograms(counts_a, var_a, counts_b, var_b)
    variance = _shape_variance(a, va, b, vb)
    filled = variance > 0
    pull = np.full(len(a), np.nan)
    pull[filled] = (b / b.sum() - a / a.sum())[filled] / np.sqrt(variance[filled])
    return pull.reshape(np.shape(counts_a))


def _pooled(a: ArrayLike, b: ArrayLike, wa: ArrayLike | None, wb: ArrayLike | None) -> tuple[Pooled, Array]:
    """Both samples in order, and F_a - F_b."""
    (x, p), (y, q) = checked_sample(a, wa), checked_sample(b, wb)
    pooled = Pooled(x, y)
    difference = pooled.difference(p, q)
    return pooled, np.zeros(len(x) + len(y)) if difference is None else difference


def _histograms(*arrays: ArrayLike) -> tuple[Array, Array, Array, Array]:
    shapes = {np.shape(h) for h in arrays}
    if len(shapes) != 1:
        msg = f"counts and variances need one shape, got {[np.shape(h) for h in arrays]}"
        raise ValueError(msg)
    a, va, b, vb = (np.asarray(h, dtype=np.float64).ravel() for h in arrays)
    for name, h in (("counts_a", a), ("var_a", va), ("counts_b", b), ("var_b", vb)):
        if not np.isfinite(h).all():
            msg = f"{name} must be finite"
            raise ValueError(msg)
        if name.startswith("var") and (h < 0).any():
            msg = f"{name} must not be negative, got {h.min()}"
            raise ValueError(msg)
        if name.startswith("counts") and not h.sum() > 0:
            msg = f"the total of {name} is {h.sum():g}, but must be positive"
            raise ValueError(msg)
    if not va.any() and not vb.any():
        msg = "at least one histogram needs variances"
        raise ValueError(msg)
    return a, va, b, vb


def _groups(entries: Array, smallest: float) -> NDArray[np.int64]:
    """A number for each bin, shared by neighbours that only together have enough entries."""
    group = np.zeros(len(entries), dtype=np.int64)
    number, held = 0, 0.0
    for i, n in enumerate(entries):
        group[i] = number
        held += n
        if held >= smallest:
            number, held = number + 1, 0.0
    if number:
        # What is left at the end is too little for a group of its own.
        group[group == number] = number - 1
    return group


def _shape_variance(a: Array, va: Array, b: Array, vb: Array) -> Array:
    """Expected variance of the difference of the normalised contents, for equal shapes.

    With t the mean squared weight per weight of one histogram over its total, its normalised content p has
    the expected variance p t. Taking p from the other histogram makes the variance exact for unweighted
    histograms, and positive where one of them is empty.
    """
    total_a, total_b = a.sum(), b.sum()
    variance = a / total_a * _weight_ratio(b, vb) / total_b + b / total_b * _weight_ratio(a, va) / total_a
    measured = va / total_a**2 + vb / total_b**2
    return np.asarray(np.where(variance > 0, variance, measured))


def _weight_ratio(counts: Array, variance: Array) -> Array:
    """Sum of squared weights over sum of weights, from the whole histogram where a bin has few entries."""
    enough = (effective_entries(counts, variance) >= 4) & (counts > 0)
    overall = variance.sum() / counts.sum()
    return np.asarray(np.where(enough, variance / np.where(enough, counts, 1.0), overall))
