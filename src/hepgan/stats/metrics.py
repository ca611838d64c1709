"""Distances between distributions, each beside its floor: the same distance between true samples."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from hepgan.stats.distances import Chi2Result, chi2_binned
from hepgan.stats.distances import pulls as binned_pulls
from hepgan.stats.once import Once

__all__ = [
    "Metric",
    "Values",
    "effective_size",
    "mean_and_spread",
    "per_event",
    "pulls",
    "shape",
    "standard_deviation",
    "unbinned",
]

Floats = NDArray[np.float64]

MIN_ENTRIES = 10.0
"""Bins are merged until they hold this many effective entries, below which chi2 is not chi2-distributed."""


@dataclass(frozen=True)
class Metric:
    """A number that says how far two samples are apart, and what true samples give.

    Attributes:
        value: Between the reference and the generated sample.
        floor: Between two true samples of the same statistical power; None where there is no such pair.
        error: Standard error of ``value``, None where unknown.
        floor_error: Standard error (or spread over the splits) of ``floor``, None where unknown.
        p_value: Probability of a larger value between true samples, where the distribution is known.
        ndf: Degrees of freedom, where the metric has them.
    """

    value: float
    floor: float | None = None
    error: float | None = None
    floor_error: float | None = None
    p_value: float | None = None
    ndf: int | None = None

    @property
    def ratio(self) -> float | None:
        """``value / floor``; None without a floor or where it is 0."""
        return self.value / self.floor if self.floor else None

    @property
    def significance(self) -> float | None:
        """``value - floor`` in units of its error; None where an error is missing."""
        if self.floor is None or (self.error is None and self.floor_error is None):
            return None
        error = math.hypot(self.error or 0.0, self.floor_error or 0.0)
        return (self.value - self.floor) / error if error > 0 else None

    def to_dict(self) -> dict[str, float | int | None]:
        """A JSON-able dict with ``value``, ``floor``, ``ratio`` and what else is known."""
        optional = {
            "error": self.error,
            "floor_error": self.floor_error,
            "significance": self.significance,
            "p_value": self.p_value,
            "ndf": self.ndf,
        }
        always = {"value": self.value, "floor": self.floor, "ratio": self.ratio}
        given = always | {k: v for k, v in optional.items() if v is not None}
        return {k: None if v is None or not math.isfinite(v) else v for k, v in given.items()}


class Values(NamedTuple):
    """An observable's values in one sample.

    Attributes:
        values: All values (K,); several or none an event where it is a quantity of objects.
        event: Number of the event that each belongs to (K,).
        weights: Weights of the events (N,).
        own: The observable's own weight of each value (K,); None if it has none.
    """

    values: Floats
    event: NDArray[np.int64]
    weights: Floats
    own: Floats | None = None

    @property
    def entry_weights(self) -> Floats:
        """The full weight of each value (K,)."""
        weights = self.weights[self.event]
        return np.asarray(weights if self.own is None else weights * self.own)

    def finite(self) -> Values:
        """The same without values that are not finite, or whose weight is not."""
        good = np.isfinite(self.values)
        if self.own is not None:
            good &= np.isfinite(self.own)
        if good.all():
            return self
        own = None if self.own is None else self.own[good]
        return Values(self.values[good], self.event[good], self.weights, own)


def effective_size(weights: Floats) -> float:
    """Kish's effective number of entries, (sum of w)^2 / sum of w^2; 0 for no entries."""
    squares = float(np.sum(np.square(weights)))
    return float(np.sum(weights)) ** 2 / squares if squares > 0 else 0.0


class _Sorted:
    """Values sorted once, so that the distances for any weights of theirs cost one pass."""

    def __init__(self, values: Floats) -> None:
        self.order = np.argsort(values, kind="stable")
        self.gaps = np.diff(values[self.order])
        # Only after the last of equal values are both distribution functions up to date.
        self.ends = np.append(self.gaps > 0, True)

    def distances(self, first: Floats, second: Floats) -> tuple[float, float]:
        """Kolmogorov-Smirnov and 1-D Wasserstein distances between the values weighted in two ways."""
        total = float(first.sum()), float(second.sum())
        if not (total[0] > 0 and total[1] > 0):
            return math.nan, math.nan
        gap = np.abs(np.cumsum((first / total[0] - second / total[1])[self.order]))
        gap[gap < 1e-13] = 0.0  # the sum's rounding
        return float(np.max(gap, where=self.ends, initial=0.0)), float(np.dot(gap[:-1], self.gaps))


class _Pooled:
    """Two samples' values sorted together."""

    def __init__(self, first: Floats, second: Floats) -> None:
        self.sorted = _Sorted(np.concatenate([first, second]))

    def distances(self, first: Floats, second: Floats) -> tuple[float, float]:
        """The distances for these weights of the first and of the second sample's values."""
        before, after = np.zeros_like(first), np.zeros_like(second)
        return self.sorted.distances(np.concatenate([first, after]), np.concatenate([before, second]))


def unbinned(
    reference: Values,
    generated: Values,
    train: Values | None = None,
    *,
    rng: np.random.Generator,
    splits: int = 8,
    replicates: int = 12,
    name: str = "",
    once: Once | None = None,
) -> dict[str, Metric]:
    r"""Kolmogorov-Smirnov and Wasserstein distances with errors and floors.

    ``ks`` is the largest difference between the weighted distribution functions; ``wasserstein`` is the
    area between them in units of the reference's standard deviation. Errors are the standard deviation
    over Poisson bootstraps of the *events*, so objects of one event stay together.

    The floor is the mean of the same distance between true samples 1 and 2, times

    .. math:: \sqrt{\frac{1/n_R + 1/n_G}{1/n_1 + 1/n_2}}

    with the effective sizes :math:`n = (\sum w)^2 / \sum w^2`, since between samples of one distribution
    both distances scale so. The true samples are ``splits`` random subsets of the training sample (as
    large as the generated sample, where it is larger) against the reference; without a training sample,
    ``splits`` random halves of the reference against the other halves.

    Args:
        reference: True values.
        generated: Generated values.
        train: Values of the training sample, independent of the reference.
        rng: Source of the splits and bootstraps.
        splits: Number of splits for the floor.
        replicates: Number of bootstraps for the error.
        name: What the values are of, among all that ``once`` keeps.
        once: Keeps the true samples' distances for other generated samples.

    Returns:
        ``{"ks": ..., "wasserstein": ...}``; values are NaN where a sample has no (net) entries, and of
        observables whose own weights have both signs, which are no distribution (as the AEEC).
    """
    reference, generated = reference.finite(), generated.finite()
    w_r, w_g = reference.entry_weights, generated.entry_weights
    signed = any(v.own is not None and bool((v.own < 0).any()) for v in (reference, generated))
    if signed or not (w_r.sum() > 0 and w_g.sum() > 0):
        return {"ks": Metric(math.nan), "wasserstein": Metric(math.nan)}
    pair = _Pooled(reference.values, generated.values)

    def bootstrap() -> tuple[float, float]:
        first = rng.poisson(1.0, len(reference.weights))[reference.event]
        second = rng.poisson(1.0, len(generated.weights))[generated.event]
        return pair.distances(w_r * first, w_g * second)

    def true_distances() -> list[Draw]:
        if train is None:
            return list(_halves(reference, rng, splits))
        return list(_subsets(reference, train.finite(), len(generated.weights), rng, splits))

    size = None if train is None else len(generated.weights)
    draws = (once or Once())((name, size), rng, true_distances)
    compared = 1 / effective_size(w_r) + 1 / effective_size(w_g)
    floors = [np.array(d) * math.sqrt(compared / variance) for d, variance in draws if variance < math.inf]
    floors = [f for f in floors if np.isfinite(f).all()]
    spread = standard_deviation(reference.values, w_r)
    value = np.array(pair.distances(w_r, w_g))
    # Constant values are at no distance, or at one that has no unit.
    unit = np.array([1.0, 1 / spread if spread > 0 else 1.0 if value[1] == 0 else math.nan])
    value *= unit
    boots = [np.array(bootstrap()) for _ in range(replicates)]
    error = unit * mean_and_spread([b for b in boots if np.isfinite(b).all()])[1]
    floor, floor_error = (unit * part for part in mean_and_spread(floors))
    return {
        name: Metric(float(value[i]), _known(floor[i]), _known(error[i]), _known(floor_error[i]))
        for i, name in enumerate(("ks", "wasserstein"))
    }


Draw = tuple[tuple[float, float], float]
"""Distances between two true samples, and 1/n_1 + 1/n_2 of these."""


def _halves(reference: Values, rng: np.random.Generator, splits: int) -> Iterator[Draw]:
    ordered = _Sorted(reference.values)
    weights = reference.entry_weights
    for _ in range(splits):
        half = (rng.random(len(reference.weights)) < 0.5)[reference.event]
        first, second = weights * half, weights * ~half
        yield ordered.distances(first, second), _inverse_sizes(first, second)


def _subsets(
    reference: Values, train: Values, events: int, rng: np.random.Generator, splits: int
) -> Iterator[Draw]:
    pair = _Pooled(train.values, reference.values)
    w_t, w_r = train.entry_weights, reference.entry_weights
    share = events / max(len(train.weights), 1)
    for _ in range(splits if share < 1 else 1):
        chosen = (rng.random(len(train.weights)) < share)[train.event]
        first = w_t * chosen
        yield pair.distances(first, w_r), _inverse_sizes(first, w_r)


def _inverse_sizes(first: Floats, second: Floats) -> float:
    sizes = effective_size(first), effective_size(second)
    return 1 / sizes[0] + 1 / sizes[1] if min(sizes) > 0 else math.inf


def standard_deviation(values: Floats, weights: Floats) -> float:
    """The weighted standard deviation (0 where it is not defined)."""
    total = float(weights.sum())
    if not total > 0:
        return 0.0
    mean = float(np.dot(values, weights)) / total
    return math.sqrt(max(float(np.dot((values - mean) ** 2, weights)) / total, 0.0))


def mean_and_spread(rows: Sequence[Floats]) -> tuple[Floats, Floats]:
    """Mean and standard deviation of the columns over the rows; NaN where there are too few."""
    if not rows:
        return np.full(2, np.nan), np.full(2, np.nan)
    table = np.array(rows)
    spread = table.std(axis=0, ddof=1) if len(table) > 1 else np.full(table.shape[1:], np.nan)
    return table.mean(axis=0), spread


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def shape(a: Any, b: Any) -> Chi2Result:
    """The chi2 test of two histograms' shapes (see :func:`hepgan.stats.distances.chi2_binned`).

    Under- and overflow count as bins, and neighbouring bins are merged until they hold 10 effective entries.

    Args:
        a: Contents of a histogram with their variances, ``h.view(flow=True)`` with Weight storage.
        b: Those of another, with the same axis.

    Returns:
        chi2, ndf and p-value; NaN, 0 and NaN where a histogram has no net contents.
    """
    if not (a["value"].sum() > 0 and b["value"].sum() > 0):
        return Chi2Result(math.nan, 0, math.nan)
    return chi2_binned(a["value"], a["variance"], b["value"], b["variance"], min_entries=MIN_ENTRIES)


def per_event(a: Any, b: Any) -> Chi2Result:
    """The chi2 test of two histograms that are sums of weights per event, which are not normalised again.

    Bins that are known to no better than 10 effective entries count as one; ndf is the number of bins.
    Contents of bins are taken to be independent, which those of one event are not quite: the floor tells
    more than the p-value.

    Args:
        a: Contents of a histogram with their variances, ``h.view(flow=True)`` with Weight storage.
        b: Those of another, with the same axis.

    Returns:
        chi2, ndf and p-value; NaN, 0 and NaN where neither histogram has contents.
    """
    total, variance = a["value"] + b["value"], a["variance"] + b["variance"]
    difference = b["value"] - a["value"]
    few = total**2 < MIN_ENTRIES * variance
    difference, variance = (np.append(x[~few], x[few].sum()) for x in (difference, variance))
    filled = variance > 0
    ndf = int(filled.sum())
    if not ndf:
        return Chi2Result(math.nan, 0, math.nan)
    chi2 = float((difference[filled] ** 2 / variance[filled]).sum())
    return Chi2Result(chi2, ndf, float(stats.chi2.sf(chi2, ndf)))


def pulls(first: Any, second: Any, *, weighted: bool = False) -> Floats:
    """Differences of the contents, second less first, over their errors, bin by bin.

    Args:
        first: The reference histogram (``hist.Hist`` with Weight storage, one axis).
        second: The generated one, with the same axis.
        weighted: Whether they are sums of weights per event; else both are normalised.

    Returns:
        One pull a bin, without under- and overflow; NaN where both are empty.
    """
    if weighted:
        a, b = first.view(), second.view()
        error = np.sqrt(a["variance"] + b["variance"])
        known = np.where(error > 0, error, np.nan)
        return np.asarray((b["value"] - a["value"]) / known)
    a, b = first.view(flow=True), second.view(flow=True)
    if not (a["value"].sum() > 0 and b["value"].sum() > 0):
        return np.full(len(first.axes[0]), np.nan)
    result = binned_pulls(a["value"], a["variance"], b["value"], b["variance"])
    start = 1 if first.axes[0].traits.underflow else 0
    return np.asarray(result[start : start + len(first.axes[0])])
