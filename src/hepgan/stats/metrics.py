"""Distances between distributions, each beside its floor: the same distance between true samples."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from hepgan.stats.distances import Pooled
from hepgan.stats.moments import effective_size, mean_and_spread, standard_deviation

__all__ = ["Metric", "Once", "Values", "random_for", "unbinned"]

Floats = NDArray[np.float64]

T = TypeVar("T")


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

    def column(self) -> Floats:
        """The one value of each event (N,); NaN where it has none."""
        found = np.full(len(self.weights), np.nan)
        found[self.event] = self.values
        return found

    def finite(self) -> Values:
        """The same without values that are not finite, or whose weight is not."""
        good = np.isfinite(self.values)
        if self.own is not None:
            good &= np.isfinite(self.own)
        if good.all():
            return self
        own = None if self.own is None else self.own[good]
        return Values(self.values[good], self.event[good], self.weights, own)


class Once:
    """Keeps results by what they depend on, the state of the random numbers included.

    A sample's metrics are therefore the same whether it is compared alone or together with others.
    """

    def __init__(self) -> None:
        self._known: dict[Hashable, tuple[Any, Any]] = {}

    def __call__(self, key: Hashable, rng: np.random.Generator, make: Callable[[], T]) -> T:
        """The result of ``make``; what is drawn from ``rng`` afterwards is the same as if it had run.

        Args:
            key: What the result depends on.
            rng: Source of what is random in it.
            make: Computes it.
        """
        whole = (key, repr(rng.bit_generator.state))
        if whole not in self._known:
            self._known[whole] = make(), rng.bit_generator.state
        value, rng.bit_generator.state = self._known[whole]
        return value  # type: ignore[no-any-return]


def random_for(seed: int, purpose: str) -> np.random.Generator:
    """A source of random numbers that does not depend on the order in which parts are computed."""
    return np.random.default_rng([seed, zlib.crc32(purpose.encode())])


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
    pair = Pooled(reference.values, generated.values)

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
    ordered = Pooled(reference.values)
    weights = reference.entry_weights
    for _ in range(splits):
        half = (rng.random(len(reference.weights)) < 0.5)[reference.event]
        first, second = weights * half, weights * ~half
        yield ordered.distances(first, second), _inverse_sizes(first, second)


def _subsets(
    reference: Values, train: Values, events: int, rng: np.random.Generator, splits: int
) -> Iterator[Draw]:
    pair = Pooled(train.values, reference.values)
    w_t, w_r = train.entry_weights, reference.entry_weights
    share = events / max(len(train.weights), 1)
    for _ in range(splits if share < 1 else 1):
        chosen = (rng.random(len(train.weights)) < share)[train.event]
        first = w_t * chosen
        yield pair.distances(first, w_r), _inverse_sizes(first, w_r)


def _inverse_sizes(first: Floats, second: Floats) -> float:
    sizes = effective_size(first), effective_size(second)
    return 1 / sizes[0] + 1 / sizes[1] if min(sizes) > 0 else math.inf


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
