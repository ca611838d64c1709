"""Weights of events: how much they are worth, and events without them; what a generated sample is worth."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hepgan.arguments import checked
from hepgan.stats.moments import checked_sample, effective_size, quantile

__all__ = [
    "TAIL",
    "EquivalentSize",
    "NegativeDensity",
    "Unweighted",
    "Weights",
    "accepted",
    "effective_sample_size",
    "equivalent_size",
    "negative_density",
    "unweight",
]

Floats = NDArray[np.float64]

TAIL = 0.01
"""The tails of weights are told by this quantile and by one less it."""


class Weights(NamedTuple):
    """Weights of N events, whose mean over the generated events is 1.

    Attributes:
        weight: (N,) estimated ratio of true to generated density.
        error: (N,) its standard deviation over the members of the ensemble.
    """

    weight: Floats
    error: Floats


class Unweighted(NamedTuple):
    """Which events are kept so that these need no weights.

    Attributes:
        kept: Numbers of the kept events, ascending.
        efficiency: Share of the events that are kept.
        overweight: Share of the sum of weights that is lost beyond the largest weight that is allowed.
    """

    kept: NDArray[np.int64]
    efficiency: float
    overweight: float


@checked
def effective_sample_size(weights: ArrayLike) -> float:
    """How many events without weights know a mean as well: (sum w)^2 / sum w^2 (Kish).

    Raises:
        ValueError: If there are no weights but zeros.
    """
    if not np.any(np.asarray(weights)):
        msg = "weights that are all 0 are worth nothing"
        raise ValueError(msg)
    return effective_size(weights)


@checked
def unweight(weights: ArrayLike, *, seed: int = 0, quantile: float = 0.999) -> Unweighted:
    """Keeps each event with a probability in proportion to its weight.

    Args:
        weights: Weights (N,) that are not negative.
        seed: The same seed keeps the same events.
        quantile: The weight that is not to be exceeded, as a quantile of the weights: 1 keeps the
            distribution exact, a little less keeps many more events. Beyond it, weight is lost.

    Raises:
        ValueError: If weights are negative, not finite or all 0, or the quantile is out of range.
    """
    w = np.asarray(weights, dtype=np.float64)
    if w.ndim != 1:
        msg = f"weights must have the shape (N,), not {w.shape}"
        raise ValueError(msg)
    if not 0 < quantile <= 1:
        msg = f"quantile must be above 0 and at most 1, not {quantile}"
        raise ValueError(msg)
    if not (np.isfinite(w).all() and (w >= 0).all() and w.sum() > 0):
        msg = "only weights that are finite and not negative, and not all 0, can be done without"
        raise ValueError(msg)
    top = float(np.quantile(w, quantile)) or float(w.max())
    kept = accepted(w, top, np.random.default_rng(seed))
    lost = 1.0 - float(np.minimum(w, top).sum()) / float(w.sum())
    return Unweighted(kept, len(kept) / len(w), lost)


@checked
def accepted(weights: Floats, top: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """Numbers of the events that are kept, each with the probability weight / top, 1 at most.

    Raises:
        ValueError: If the weights have not the shape (N,).
    """
    weights = np.asarray(weights, dtype=np.float64)
    if weights.ndim != 1:
        msg = f"weights must have the shape (N,), not {weights.shape}"
        raise ValueError(msg)
    return np.flatnonzero(rng.random(len(weights)) * top < weights).astype(np.int64)


SIGNIFICANT = 6.0
"""Standard deviations below 0 from which a density is negative: many intervals are looked at."""

LEAST = 20
"""Values in a bin, at least."""


class NegativeDensity(NamedTuple):
    """Values between which weights of either sign sum to less than nothing.

    Attributes:
        low: The lower end of the interval.
        high: The upper end.
        share: The sum of weights in it as a share of that of all; negative.
        significance: How many standard deviations it is below 0.
    """

    low: float
    high: float
    share: float
    significance: float


@checked
def negative_density(
    values: ArrayLike, weights: ArrayLike, *, bins: int = 100, significant: float = SIGNIFICANT
) -> NegativeDensity | None:
    """Where the weighted density of a quantity is negative, beyond what chance does; None where it is not.

    There is no distribution with such a density, so nothing can learn it. The weights of an sPlot have one in
    the very quantity that they were made from.

    Args:
        values: Values (n,), of which those that are not finite are left out.
        weights: Weights (n,).
        bins: Values are looked at in so many bins of equal numbers, in all intervals that these make.
        significant: How many standard deviations below 0 the sum of weights in an interval has to be.

    Returns:
        The interval that is farthest below 0.

    Raises:
        ValueError: If there is not one weight for each value, or no bin.
    """
    x, w = np.asarray(values, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    if x.ndim != 1 or x.shape != w.shape:
        msg = f"values and weights need one shape (n,), not {x.shape} and {w.shape}"
        raise ValueError(msg)
    if bins < 1:
        msg = f"bins must be positive, not {bins}"
        raise ValueError(msg)
    good = np.isfinite(x) & np.isfinite(w)
    x, w = x[good], w[good]
    if not (w < 0).any():
        return None
    order = np.argsort(x, kind="stable")
    x, w = x[order], w[order]
    starts = np.linspace(0, len(x), max(min(bins, len(x) // LEAST), 1), endpoint=False).astype(np.int64)
    # Equal values are in one bin.
    first = np.unique(np.searchsorted(x, x[starts]))
    last = np.append(first[1:], len(x)) - 1
    sums, squares = (np.append(0.0, np.cumsum(np.add.reduceat(v, first))) for v in (w, np.square(w)))
    below = sums[:-1, None] - sums[None, 1:]
    error = np.sqrt(np.maximum(squares[None, 1:] - squares[:-1, None], 0.0))
    score = np.divide(below, error, out=np.zeros_like(below), where=error > 0)
    # From a later bin to an earlier one is no interval.
    score[np.tril_indices(len(first), -1)] = 0.0
    i, j = np.unravel_index(int(score.argmax()), score.shape)
    if score[i, j] < significant:
        return None
    total = float(sums[-1])
    share = float(-below[i, j]) / total if total > 0 else -math.inf
    return NegativeDensity(float(x[first[i]]), float(x[last[j]]), share, float(score[i, j]))


class EquivalentSize(NamedTuple):
    """What a generated sample is worth.

    Attributes:
        size: The number of true events that would be as near to the truth; infinite where the sample cannot
            be told from it by as many reference events as there are.
        low: The lower end of its 68% range.
        high: The upper end.
        limit: The size from which the reference events are too few to tell: its own.
    """

    size: float
    low: float
    high: float
    limit: float


@checked
def equivalent_size(
    reference: ArrayLike,
    generated: ArrayLike,
    *,
    bins: int = 20,
    reference_weights: ArrayLike | None = None,
    generated_weights: ArrayLike | None = None,
) -> EquivalentSize:
    r"""How many true events have the same expected squared deviation from the truth as a generated sample.

    In bins that hold equal shares p = 1 / B of the reference, a sample of N true events has the expected sum
    of squared deviations

    .. math:: \sum_b \langle (h_b - p_b)^2 \rangle = \frac{\sum_b p_b (1 - p_b)}{N}

    so a generated sample with the sum D is worth N = sum p (1 - p) / D. What D has from the finite reference
    is subtracted; what it has from the finite generated sample is not: that one is a part of the question.
    Compared with the number of training events it tells the amplification.

    The range takes deviations for independent and normal, as in the ideal case; a generator whose errors are
    long waves has fewer independent ones, and a wider range.

    Reference: A. Butter et al., GANplifying event samples, arXiv:2008.06545.

    Args:
        reference: True values (T,), many more than the answer will be, that training has not seen.
        generated: Generated values (n,).
        bins: Number of bins B.
        reference_weights: Weights (T,); 1 if None.
        generated_weights: Weights (n,); 1 if None.

    Raises:
        ValueError: If a sample is empty or has no positive sum of weights, or there are fewer than two bins.
    """
    if bins < 2:
        msg = f"two bins or more are needed, not {bins}"
        raise ValueError(msg)
    (x, w), (y, v) = _finite(reference, reference_weights), _finite(generated, generated_weights)
    inner = np.unique(quantile(x, np.linspace(0, 1, bins + 1)[1:-1], w))
    true, made = (
        np.bincount(np.searchsorted(inner, s, side="right"), u, len(inner) + 1) for s, u in ((x, w), (y, v))
    )
    unit = float((true * (1 - true)).sum())
    limit = 1 / float(np.square(w).sum())
    raw = float(np.square(made - true).sum())
    free = max(len(inner), 1)
    deviation = raw - unit / limit
    # The fluctuation of a sum of squares, that of the reference's part included.
    error = raw * math.sqrt(2 / free)

    def worth(squares: float) -> float:
        return unit / squares if squares > 0 else math.inf

    return EquivalentSize(worth(deviation), worth(deviation + error), worth(deviation - error), limit)


def _finite(values: ArrayLike, weights: ArrayLike | None) -> tuple[Floats, Floats]:
    """The finite values of a sample, with weights that sum to 1."""
    x = np.asarray(values, dtype=np.float64)
    w = np.ones_like(x) if weights is None else np.asarray(weights, dtype=np.float64)
    good = np.isfinite(x)
    return checked_sample(x[good], w[good] if w.shape == x.shape else w)
