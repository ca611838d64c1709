"""Distances of samples in many features at once: the Fréchet and the kernel physics distance.

Reference: R. Kansal et al., Phys. Rev. D 107 (2023) 076017, arXiv:2211.10295.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import eigh
from scipy.optimize import lsq_linear

from hepgan.arguments import checked, whole
from hepgan.stats.metrics import Metric, Once
from hepgan.stats.moments import checked_weights, effective_size

__all__ = ["Estimate", "PhysicsDistances", "fpd", "frechet_distance", "kpd", "physics_distances"]

Floats = NDArray[np.float64]

BATCHES, DRAWS = (20_000, 50_000), 20
"""Smallest and largest batch of the Fréchet distance, and how often each size is drawn."""

SIZES = 10
"""Sizes of batches, in even steps of 1/N."""

KERNEL_BATCHES, KERNEL_BATCH = 10, 5_000

DEGREE = 4
"""Of the polynomial kernel (x.y/d + 1)^4."""

SPREAD = (0.16, 0.84)

SPLITS = 4
"""Pairs of true samples whose mean distance is the floor."""

MIN_EVENTS = 100
"""Fewer events of either sample are not worth a distance."""


class Estimate(NamedTuple):
    """A distance with its error.

    Attributes:
        value: The distance.
        error: What is known of its error from batches alone.
        batch: The largest number of events in a batch.
    """

    value: float
    error: float
    batch: int


@checked
def frechet_distance(
    first: ArrayLike,
    second: ArrayLike,
    first_weights: ArrayLike | None = None,
    second_weights: ArrayLike | None = None,
) -> float:
    r"""The Fréchet distance :math:`|\mu_1 - \mu_2|^2 + \mathrm{tr}(S_1 + S_2 - 2 \sqrt{S_1 S_2})`.

    It is the squared 2-Wasserstein distance between normal distributions of the samples' means and
    covariances.

    Args:
        first: Features (N, D).
        second: Features (M, D).
        first_weights: Weights (N,), 1 by default.
        second_weights: Weights (M,), 1 by default.

    Raises:
        ValueError: If features are not finite, of no common number of columns, or weights do not fit.
    """
    x, y = _features(first, "first"), _features(second, "second")
    _alike(x, y)
    return _frechet(_moments(x, _weights(first_weights, x)), _moments(y, _weights(second_weights, y)))


@checked
def fpd(
    reference: ArrayLike,
    generated: ArrayLike,
    reference_weights: ArrayLike | None = None,
    generated_weights: ArrayLike | None = None,
    *,
    normalise: bool = True,
    draws: int = DRAWS,
    seed: int = 0,
) -> Estimate:
    """The Fréchet physics distance: the Fréchet distance of features, extrapolated to infinite batches.

    The distance is computed for batches of 10 sizes from 20,000 to 50,000 events, in even steps of 1/N, each
    drawn 20 times with replacement; a line in 1/N is fitted to the means, with an intercept and a slope that
    are not negative. The intercept is the value, and the fit's error of it the error: how well batches tell
    the distance of these two samples, not how far others would be apart. Of samples with fewer than 50,000
    events the largest batch is the smaller sample, and the smallest two fifths of it.

    Events are drawn with equal chances, and means and covariances are weighted, so that weights may be
    negative; where they are, a covariance may have negative eigenvalues, which count as 0.

    Args:
        reference: Features (N, D) of true events.
        generated: Features (M, D).
        reference_weights: Weights (N,), 1 by default.
        generated_weights: Weights (M,), 1 by default.
        normalise: Whether each feature is divided by its largest absolute value in the reference.
        draws: Batches of each size.
        seed: Seed of the batches.

    Raises:
        ValueError: If features are not finite, of no common number of columns, or of fewer than 2 events, or
            weights do not fit.
        InputError: If ``draws`` is below 1.
    """
    x, y = _pair(reference, generated, normalise)
    v, w = _weights(reference_weights, x), _weights(generated_weights, y)
    draws, rng = whole("draws", draws, 1), np.random.default_rng(seed)
    most = min(len(x), len(y), BATCHES[1])
    least = max(most * BATCHES[0] // BATCHES[1], 2)
    sizes = (1 / np.linspace(1 / least, 1 / most, SIZES)).astype(np.int64)
    means = np.empty(SIZES)
    for i, size in enumerate(sizes.tolist()):
        found = []
        for _ in range(draws):
            a, b = rng.integers(len(x), size=size), rng.integers(len(y), size=size)
            found.append(_frechet(_moments(x[a], v[a]), _moments(y[b], w[b])))
        means[i] = np.mean(found)
    # In units of the largest batch both columns are of one size.
    design = np.column_stack([np.ones(SIZES), sizes[-1] / sizes])
    best = lsq_linear(design, means, bounds=(0.0, np.inf), method="bvls").x
    variance = float(np.square(means - design @ best).sum()) / (SIZES - 2)
    error = math.sqrt(variance * float(np.linalg.inv(design.T @ design)[0, 0]))
    return Estimate(float(best[0]), error, most)


@checked
def kpd(
    reference: ArrayLike,
    generated: ArrayLike,
    reference_weights: ArrayLike | None = None,
    generated_weights: ArrayLike | None = None,
    *,
    normalise: bool = True,
    batches: int = KERNEL_BATCHES,
    seed: int = 0,
) -> Estimate:
    """The kernel physics distance: the unbiased squared MMD of features with the kernel (x.y/D + 1)^4.

    It is the median of 10 batches of 5,000 events of each sample, which have no event twice; the error is
    half the distance of their quantiles at 16% and 84%, the spread of one batch. Of a sample with fewer than
    10,000 events batches are one half. Between samples of one distribution it is 0 on average, and may be
    negative.

    Args:
        reference: Features (N, D) of true events.
        generated: Features (M, D).
        reference_weights: Weights (N,), negative ones too; 1 by default.
        generated_weights: Weights (M,), 1 by default.
        normalise: Whether each feature is divided by its largest absolute value in the reference.
        batches: Number of batches.
        seed: Seed of the batches.

    Raises:
        ValueError: As for :func:`fpd`.
        InputError: If ``batches`` is below 1.
    """
    x, y = _pair(reference, generated, normalise)
    v, w = _weights(reference_weights, x), _weights(generated_weights, y)
    batches, rng = whole("batches", batches, 1), np.random.default_rng(seed)
    sizes = [max(min(KERNEL_BATCH, len(z) // 2), 2) for z in (x, y)]
    found = []
    for _ in range(batches):
        a, b = (
            rng.choice(len(z), min(size, len(z)), replace=False)
            for z, size in zip((x, y), sizes, strict=True)
        )
        found.append(_mmd(x[a], y[b], v[a], w[b]))
    low, high = np.quantile(found, SPREAD)
    return Estimate(float(np.median(found)), float(high - low) / 2, max(sizes))


@dataclass(frozen=True)
class PhysicsDistances:
    """Fréchet and kernel physics distance of two samples.

    Attributes:
        fpd: The Fréchet physics distance; its floor is the mean between pairs of true samples, scaled to the
            numbers of events compared.
        kpd: The kernel physics distance; its floor is about 0, with the spread between true samples as error.
        features: What they are distances in.
        n_events: Events of the reference and of the generated sample.
        batches: The largest batch of either.
    """

    fpd: Metric
    kpd: Metric
    features: tuple[str, ...]
    n_events: tuple[int, int]
    batches: tuple[int, int]


@checked
def physics_distances(
    names: tuple[str, ...],
    reference: tuple[Floats, Floats],
    generated: tuple[Floats, Floats],
    train: tuple[Floats, Floats] | None = None,
    *,
    rng: np.random.Generator,
    once: Once | None = None,
) -> PhysicsDistances | None:
    """Both distances of two samples, beside their floors.

    Floors are between random subsets of the training sample and the reference, or between halves of the
    reference; that of the Fréchet distance is scaled by (1/n_R + 1/n_G) / (1/n_1 + 1/n_2) with the effective
    sizes, as distances squared of samples of one distribution are.

    Args:
        names: Names of the D features.
        reference: Features (N, D) of true events, and weights (N,).
        generated: Features (M, D) and weights (M,).
        train: Those of the training events.
        rng: Source of splits and batches.
        once: Keeps the floors for other generated samples.

    Returns:
        The distances; None where a sample has fewer than 100 events.

    Raises:
        ValueError: As for :func:`fpd`.
    """
    (x, v), (y, w) = _sample(reference, "reference"), _sample(generated, "generated")
    trained = None if train is None else _sample(train, "train")
    for other in (y,) if trained is None else (y, trained[0]):
        _alike(x, other)
    if min(len(x), len(y)) < MIN_EVENTS:
        return None
    seed = int(rng.integers(2**31))
    scale = _scale(x)
    x, y = x / scale, y / scale

    def of_true_events() -> list[tuple[float, float, float]]:
        found = []
        for k in range(SPLITS):
            if trained is not None:
                chosen = rng.permutation(len(trained[0]))[: len(y)]
                a, b, p, q = trained[0][chosen] / scale, x, trained[1][chosen], v
            else:
                order = rng.permutation(len(x))
                first, second = order[: len(x) // 2], order[len(x) // 2 :]
                a, b, p, q = x[first], x[second], v[first], v[second]
            if min(len(a), len(b)) < MIN_EVENTS // 2 or not (p.sum() > 0 and q.sum() > 0):
                continue
            inverse = 1 / effective_size(p) + 1 / effective_size(q)
            one = fpd(a, b, p, q, normalise=False, draws=DRAWS // SPLITS, seed=seed + k).value
            other = kpd(a, b, p, q, normalise=False, batches=KERNEL_BATCHES // 2, seed=seed + k).value
            found.append((one / inverse, other, inverse))
        return found

    true = (once or Once())(("physics distances", names, len(y)), rng, of_true_events)
    frechet, kernel = (measure(x, y, v, w, normalise=False, seed=seed) for measure in (fpd, kpd))
    compared = 1 / effective_size(v) + 1 / effective_size(w)
    floors, spreads = _mean_and_spread([(f * compared, k) for f, k, _ in true])
    return PhysicsDistances(
        Metric(frechet.value, floors[0], frechet.error, spreads[0]),
        Metric(kernel.value, floors[1], kernel.error, spreads[1]),
        names,
        (len(x), len(y)),
        (frechet.batch, kernel.batch),
    )


def _mean_and_spread(
    rows: list[tuple[float, float]],
) -> tuple[tuple[float | None, float | None], tuple[float | None, float | None]]:
    if not rows:
        return (None, None), (None, None)
    table = np.array(rows)
    mean, spread = table.mean(axis=0), table.std(axis=0, ddof=1) if len(table) > 1 else (None, None)
    return (float(mean[0]), float(mean[1])), tuple(None if s is None else float(s) for s in spread)  # type: ignore[return-value]


def _features(values: ArrayLike, name: str) -> Floats:
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 2 or x.shape[1] < 1 or len(x) < 2:
        msg = f"{name} features need the shape (N, D) with at least 2 events and 1 feature, got {x.shape}"
        raise ValueError(msg)
    finite = np.isfinite(x).all(axis=1)
    if not finite.all():
        entry = int(np.argmin(finite))
        msg = f"{name} features must be finite, but those of event {entry} are not"
        raise ValueError(msg)
    return x


def _sample(sample: tuple[Floats, Floats], name: str) -> tuple[Floats, Floats]:
    values, weights = sample
    x = _features(values, name)
    return x, _weights(weights, x)


def _alike(x: Floats, y: Floats) -> None:
    if x.shape[1] != y.shape[1]:
        msg = f"both samples need the same features; there are {x.shape[1]} and {y.shape[1]}"
        raise ValueError(msg)


def _pair(reference: ArrayLike, generated: ArrayLike, normalise: bool) -> tuple[Floats, Floats]:
    x, y = _features(reference, "reference"), _features(generated, "generated")
    _alike(x, y)
    scale = _scale(x) if normalise else np.ones(x.shape[1])
    return x / scale, y / scale


def _scale(x: Floats) -> Floats:
    largest = np.abs(x).max(axis=0)
    return np.where(largest > 0, largest, 1.0)


def _weights(weights: ArrayLike | None, x: Floats) -> Floats:
    w = checked_weights(weights, len(x))
    if not (np.isfinite(w).all() and w.sum() > 0):
        msg = "weights must be finite, and their sum positive"
        raise ValueError(msg)
    return w


Moments = tuple[Floats, Floats]


def _moments(x: Floats, w: Floats) -> Moments:
    """Weighted mean (D,) and covariance (D, D), without bias for equal weights."""
    total = w.sum()
    mean = w @ x / total
    centred = x - mean
    return mean, (centred * w[:, None]).T @ centred / (total - np.square(w).sum() / total)


def _frechet(first: Moments, second: Moments) -> float:
    (m, a), (n, b) = first, second
    values, vectors = eigh(a)
    root = (vectors * np.sqrt(values.clip(min=0.0))) @ vectors.T
    shared = np.sqrt(eigh(root @ b @ root, eigvals_only=True).clip(min=0.0)).sum()
    # Rounding can make the distance of equal samples negative.
    return max(float(np.square(m - n).sum() + np.trace(a) + np.trace(b) - 2 * shared), 0.0)


def _mmd(x: Floats, y: Floats, v: Floats, w: Floats) -> float:
    """The squared maximum mean discrepancy without the pairs of an event with itself."""

    def within(z: Floats, u: Floats) -> float:
        kernel = _kernel(z, z)
        np.fill_diagonal(kernel, 0.0)
        return float(u @ kernel @ u) / float(u.sum() ** 2 - np.square(u).sum())

    between = float(v @ _kernel(x, y) @ w) / float(v.sum() * w.sum())
    return within(x, v) + within(y, w) - 2 * between


def _kernel(x: Floats, y: Floats) -> Floats:
    kernel = x @ y.T
    kernel /= x.shape[1]
    kernel += 1.0
    # Twice squared in place is many times as fast as the power of four.
    for _ in range(DEGREE // 2):
        np.square(kernel, out=kernel)
    return np.asarray(kernel)
