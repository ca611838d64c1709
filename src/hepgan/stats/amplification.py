"""How many true events a generated sample is worth."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["EquivalentSize", "equivalent_size"]


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
    (x, w), (y, v) = _sample(reference, reference_weights), _sample(generated, generated_weights)
    order = np.argsort(x)
    level = np.cumsum(w[order])
    inner = np.unique(x[order][np.searchsorted(level, np.linspace(0, 1, bins + 1)[1:-1])])
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


def _sample(values: ArrayLike, weights: ArrayLike | None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Finite values with weights that sum to 1."""
    x = np.asarray(values, dtype=np.float64)
    w = np.ones_like(x) if weights is None else np.asarray(weights, dtype=np.float64)
    good = np.isfinite(x)
    x, w = x[good], w[good]
    if not w.sum() > 0:
        msg = f"{len(x)} values whose weights sum to {w.sum():g} are no sample"
        raise ValueError(msg)
    return x, w / w.sum()
