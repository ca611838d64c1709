"""Distances between two weighted one-dimensional samples or histograms, for selection and validation.

Samples and weights are numpy arrays (n,); convert tensors first. Weights may be negative, but must have a
positive sum. Every function costs O(n log n).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

__all__ = [
    "Chi2Result",
    "chi2_binned",
    "energy_distance",
    "kl",
    "ks",
    "pulls",
    "quantile",
    "wasserstein",
    "wasserstein_scaled",
]

Array = NDArray[np.float64]


class Chi2Result(NamedTuple):
    """Statistic, degrees of freedom, and the probability of a larger statistic for equal shapes."""

    chi2: float
    ndf: int
    p: float


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
    return float(np.abs(_cumulative_difference(a, b, wa, wb)[1]).max())


def wasserstein(
    a: ArrayLike, b: ArrayLike, wa: ArrayLike | None = None, wb: ArrayLike | None = None
) -> float:
    """First Wasserstein distance, the area between the cumulative distributions, in the units of a and b.

    Args and errors are those of ``ks``.
    """
    x, difference = _cumulative_difference(a, b, wa, wb)
    return float(np.abs(difference[:-1]) @ np.diff(x))


def energy_distance(
    a: ArrayLike, b: ArrayLike, wa: ArrayLike | None = None, wb: ArrayLike | None = None
) -> float:
    """Energy distance sqrt(2 int (F_a - F_b)^2 dx), in the square root of the units of a and b.

    Args and errors are those of ``ks``. Szekely and Rizzo, J. Stat. Plan. Inference 143 (2013) 1249.
    """
    x, difference = _cumulative_difference(a, b, wa, wb)
    return float(np.sqrt(2 * np.square(difference[:-1]) @ np.diff(x)))


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
    x, w = _sample(reference, reference_weight)
    variance = float(w @ np.square(x - w @ x))
    if not variance > 0:
        return 0.0 if distance == 0 else float("inf")
    return float(distance / np.sqrt(variance))


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
    (a, pa), (b, pb) = _sample(reference, reference_weight), _sample(sample, sample_weight)
    edges = np.unique(quantile(a, np.arange(1, bins) / bins, pa))
    p, q = (
        np.bincount(np.searchsorted(edges, x), weights=w, minlength=len(edges) + 1)
        for x, w in ((a, pa), (b, pb))
    )
    filled = p > 0
    if bool((q[filled] <= 0).any()):
        return float("inf")
    return float(p[filled] @ np.log(p[filled] / q[filled]))


def quantile(x: ArrayLike, q: ArrayLike, weight: ArrayLike | None = None) -> Array:
    """The smallest entries at which the cumulative weight reaches the fractions q.

    With negative weights the cumulative is replaced by its smallest increasing majorant.

    Args:
        x: Sample (n,).
        q: Fractions in [0, 1], of any shape.
        weight: Weights (n,), 1 by default.

    Returns:
        Quantiles of the shape of q.

    Raises:
        ValueError: As ``ks``, and fractions outside [0, 1].
    """
    values, _ = _sample(x, weight)
    w = np.ones_like(values) if weight is None else np.asarray(weight, dtype=np.float64)
    fractions = np.asarray(q, dtype=np.float64)
    if not bool(((fractions >= 0) & (fractions <= 1)).all()):
        msg = f"fractions must lie in [0, 1], got {fractions}"
        raise ValueError(msg)
    order = np.argsort(values)
    order = order[w[order] != 0]
    cumulative = np.maximum.accumulate(np.cumsum(w[order]))
    # Rounding of the last sum must not put the fraction 1 beyond the sample.
    index = np.searchsorted(cumulative, fractions * min(cumulative[-1], w.sum()))
    return np.asarray(values[order][np.minimum(index, len(order) - 1)], dtype=np.float64)


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
    group = _groups(_entries(a, va) + _entries(b, vb), min_entries)
    a, va, b, vb = (np.asarray(np.bincount(group, h), np.float64) for h in (a, va, b, vb))
    ndf = len(a) - 1
    variance = _shape_variance(a, va, b, vb)
    chi2 = float((np.square(b / b.sum() - a / a.sum()) / variance).sum()) if ndf else 0.0
    return Chi2Result(chi2, ndf, float(stats.chi2.sf(chi2, ndf)) if ndf else 1.0)


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


def _sample(x: ArrayLike, weight: ArrayLike | None) -> tuple[Array, Array]:
    """Float64 values and weights normalised to a sum of 1."""
    values = np.asarray(x, dtype=np.float64)
    w = np.ones_like(values) if weight is None else np.asarray(weight, dtype=np.float64)
    if values.ndim != 1 or values.shape != w.shape or not len(values):
        msg = f"a sample and its weights need one shape (n,) with n > 0, got {values.shape} and {w.shape}"
        raise ValueError(msg)
    for name, array in (("sample", values), ("weight", w)):
        finite = np.isfinite(array)
        if not finite.all():
            first = int(np.argmin(finite))
            msg = f"{name} is {array[first]} in entry {first}, but must be finite"
            raise ValueError(msg)
    total = w.sum()
    if not total > 0:
        msg = f"the sum of the weights is {total:g}, but must be positive"
        raise ValueError(msg)
    return values, w / total


def _cumulative_difference(
    a: ArrayLike, b: ArrayLike, wa: ArrayLike | None, wb: ArrayLike | None
) -> tuple[Array, Array]:
    """The distinct values of both samples in order, and F_a - F_b from each of them up to the next."""
    (xa, pa), (xb, pb) = _sample(a, wa), _sample(b, wb)
    x = np.concatenate([xa, xb])
    order = np.argsort(x)
    x = x[order]
    difference = np.cumsum(np.concatenate([pa, -pb])[order])
    last_of_value = np.append(x[1:] != x[:-1], True)
    return x[last_of_value], difference[last_of_value]


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


def _entries(counts: Array, variance: Array) -> Array:
    """Effective entries; none where there is no variance."""
    return np.divide(np.square(counts), variance, out=np.zeros_like(counts), where=variance > 0)


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
    enough = (_entries(counts, variance) >= 4) & (counts > 0)
    overall = variance.sum() / counts.sum()
    return np.asarray(np.where(enough, variance / np.where(enough, counts, 1.0), overall))
