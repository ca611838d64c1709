"""OmniFold: simulated events weighted so that they agree with data at the detector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hepgan.arguments import checked
from hepgan.detector.levels import Level, bootstrap, event_weights, recorded, seen, with_weights
from hepgan.errors import InputError
from hepgan.events import EventsLike
from hepgan.reweighting import Reweighter, Weights, effective_sample_size
from hepgan.stats.classifiers import Calibration, ClassifierName

__all__ = ["OmniFolded", "omnifold"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class OmniFolded:
    """Weights of N simulated events by which they are data without a detector.

    Attributes:
        replicas: (R, N) weights by each of R unfoldings, of mean 1 with the events' own weights. The
            uncertainty of anything that is made of the events, such as a histogram, is its standard
            deviation over these.
        shares: (R, iterations) effective sample size of the first step's weights, as a share of the events:
            how near the simulation was to the data before each iteration. Near 1, and no longer rising,
            there is nothing left to unfold but noise.
    """

    replicas: Floats
    shares: Floats

    @property
    def weights(self) -> Weights:
        """Mean weights (N,), and their standard deviation over the unfoldings."""
        error = (
            self.replicas.std(axis=0, ddof=1) if len(self.replicas) > 1 else np.zeros(self.replicas.shape[1])
        )
        return Weights(self.replicas.mean(axis=0), error)


@checked
def omnifold(
    simulation: EventsLike,
    data: EventsLike,
    vertex: Level,
    detector: Level,
    *,
    iterations: int = 4,
    replicas: int = 1,
    seed: int = 0,
    classifier: ClassifierName = "trees",
    members: int = 2,
    calibration: Calibration | None = None,
) -> OmniFolded:
    """Unfolds data by weights of simulated events that are known at both levels.

    Each iteration has two steps. A classifier of data against the recorded simulation, at the detector,
    gives weights; a second one, of the simulation with these weights against itself without, at the vertex,
    gives their mean over events that are the same at the vertex. That holds for events that were not
    recorded, too. No event gets a weight from a classifier that knows it.

    Few iterations leave the result near the simulation where the detector says little, many amplify noise.

    Reference: A. Andreassen, P. Komiske, E. Metodiev, B. Nachman and J. Thaler, OmniFold: a method to
    simultaneously unfold all observables, arXiv:1911.09107.

    Args:
        simulation: N events with what they are at the vertex and at the detector.
        data: Events at the detector, with weights if there are any.
        vertex: What the second step sees.
        detector: What the first step sees.
        iterations: How often both steps are done.
        replicas: Unfoldings. With more than one, each has bootstrap samples of data and simulation, so that
            their spread is the statistical uncertainty of both; a single one has the events as they are.
        seed: The same seed gives the same weights.
        classifier: As of ``Reweighter``: of the smooth and few-dimensional distributions here, trees learned
            more than networks, in a fraction of the time. Negative weights need ``mlp``.
        members: Members of each ensemble of classifiers.
        calibration: As of ``Reweighter``; none by default, since calibration shrinks weights that cannot be
            told from noise, in every iteration, which leaves a bias towards the simulation.

    Raises:
        InputError: If events lack what a level names, or are too few.
        ValueError: If a number is below 1.
    """
    for name, value in (("iterations", iterations), ("replicas", replicas)):
        if value < 1:
            msg = f"{name} must be at least 1, not {value}"
            raise ValueError(msg)
    settings = {"classifier": classifier, "members": members, "calibration": calibration}
    nominal = event_weights(simulation)
    found, shares = [], []
    for k in range(replicas):
        simulated, measured = simulation, data
        if replicas > 1:
            simulated, measured = (bootstrap(e, _seed(seed, k, i)) for i, e in enumerate((simulation, data)))
        weight, share = _unfolded(
            simulated, measured, vertex, detector, iterations, _seed(seed, k, 2), settings
        )
        # They are those of the events as they are, whatever the bootstrap sample.
        found.append(weight * nominal.sum() / (nominal @ weight))
        shares.append(share)
    return OmniFolded(np.stack(found), np.asarray(shares))


def _unfolded(
    simulation: EventsLike,
    data: EventsLike,
    vertex: Level,
    detector: Level,
    iterations: int,
    seed: int,
    settings: dict[str, Any],
) -> tuple[Floats, list[float]]:
    """Weights (N,) of simulated events, and the effective share of each first step's weights."""
    kept = recorded(detector, simulation)
    if not kept.any():
        msg = "no simulated event was recorded by the detector"
        raise InputError(msg)
    measured = seen(detector, data, "data")
    found = seen(detector, simulation, "simulated events")[kept]
    true = seen(vertex, simulation, "simulated events")
    own = event_weights(simulation)
    push, shares = np.ones(len(true)), []
    for k in range(iterations):
        first = _reweighter(detector, seed + 2 * k, settings)
        first.fit(measured, with_weights(found, (own * push)[kept]))
        ratio = first.fitted_weights.weight
        shares.append(effective_sample_size(ratio) / len(ratio))
        second = _reweighter(vertex, seed + 2 * k + 1, settings)
        second.fit_factors(true[kept], push[kept] * ratio)
        push[kept] = second.fitted_weights.weight
        if not kept.all():
            push[~kept] = second(true[~kept]).weight
    return push, shares


def _reweighter(level: Level, seed: int, settings: dict[str, Any]) -> Reweighter:
    return Reweighter(level.observables, fields=bool(level.fields), seed=seed, **settings)


def _seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])
