"""The transfer test: is a class the same thing in generated and in true events?"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from hepgan.observables.table import Table
from hepgan.runtime import idle_cores
from hepgan.stats.classifiers import MOST_THREADS
from hepgan.stats.metrics import Metric, Once
from hepgan.stats.moments import effective_size
from hepgan.stats.two_sample import weighted_auc

__all__ = ["FEWEST", "GREY", "Transfer", "learn_classes_of_tables", "transfer_test"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

GREY = 0.7
"""Of two classes, an output from 0.3 to 0.7 is grey: no class is more probable than this."""

FEWEST = 100
"""Events of each class that a classifier needs to learn from."""


class Rows(Protocol):
    """Events that a classifier learns from: a table, or arrays."""

    @property
    def weights(self) -> Floats:
        """Event weights (N,)."""

    def take(self, rows: Any) -> Any:
        """Some of the events."""


R = TypeVar("R", bound=Rows)

Learn = Callable[[Any, Integers, int, int], Callable[[Any], Floats]]
"""Of events, their classes (N,), the number of classes and a seed: what gives log-probabilities (M, C)."""


@dataclass(frozen=True)
class Transfer:
    """What classifiers of a class that learned from generated or from true events find in the others.

    All numbers are means over the classes. The floor of each is that between true events: a classifier that
    learned from as many true events, on true events that it did not see.

    Attributes:
        generated_to_true: AUC on true events of a classifier that learned from generated ones.
        true_to_generated: AUC on generated events of a classifier that learned from true ones.
        found: Share of the generated events in which it finds the class that they were asked to be.
        grey: Share of the generated events of which it is not sure: no class is more probable than 0.7.
        classes: The values of the class.
        n_events: Events learned from, true events and generated events judged.
        seconds: Time of a processor that all trainings took.
    """

    generated_to_true: Metric
    true_to_generated: Metric
    found: Metric
    grey: Metric
    classes: tuple[Any, ...]
    n_events: tuple[int, int, int]
    seconds: float


def learn_classes_of_tables(
    table: Table, classes: Integers, number: int, seed: int
) -> Callable[[Table], Floats]:
    """Gradient-boosted trees that tell classes by the columns of a table, as `learn_classes` of arrays does.

    Args:
        table: N events.
        classes: Their classes (N,), from 0.
        number: Number of classes.
        seed: The same seed gives the same trees.
    """
    trees = HistGradientBoostingClassifier(
        max_iter=100,
        learning_rate=0.08,
        max_leaf_nodes=15,
        min_samples_leaf=20,
        l2_regularization=1.0,
        early_stopping=False,
        random_state=seed,
    )
    # They can't bin a column that is empty.
    full = np.isfinite(table.values).any(axis=0)

    def columns(rows: Table) -> Floats:
        return rows.values[:, full] if full.any() else np.zeros((len(rows), 1))

    size = np.abs(table.weights)
    total = np.bincount(classes, size, number)
    with threadpool_limits(limits=min(idle_cores(), MOST_THREADS), user_api="openmp"):
        trees.fit(columns(table), classes, sample_weight=size / total[classes] * len(size) / number)

    def score(rows: Table) -> Floats:
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(trees.predict_proba(columns(rows))), dtype=np.float64)

    return score


def transfer_test(
    learn: Learn,
    reference: tuple[R, Integers],
    generated: tuple[R, Integers],
    train: tuple[R, Integers] | None,
    classes: tuple[Any, ...],
    *,
    seed: int = 0,
    max_events: int = 20_000,
    once: Once | None = None,
) -> Transfer | str:
    """Trains on generated and tests on true events, the reverse, and true on true events as the floor.

    True events to learn from are the training events, or one half of the reference, of which the other half
    is then judged. All classifiers learn from equally many events, with equal weights of the classes.

    Args:
        learn: Makes a classifier.
        reference: True events, and their classes (N,), numbers of ``classes``.
        generated: Generated events, and the classes that they were asked to be.
        train: Training events and their classes.
        classes: The values that the classes stand for.
        seed: Seed of the choice of events, and of the classifiers.
        max_events: Events to learn from, at most, and of each sample that are judged.
        once: Keeps the classifier of true events for other generated samples.

    Returns:
        What was found, or why nothing could be.
    """
    begun = time.process_time()
    rng, number = np.random.default_rng(seed), len(classes)
    order = rng.permutation(len(reference[1]))
    if train is None:
        middle = len(order) // 2
        teach, judge = _part(reference, order[:middle]), _part(reference, order[middle:][:max_events])
    else:
        teach = _part(train, rng.permutation(len(train[1])))
        judge = _part(reference, order[:max_events])
    made = _part(generated, rng.permutation(len(generated[1])))
    size = min(len(teach[1]), len(made[1]), max_events)
    teach, study = _part(teach, slice(size)), _part(made, slice(size))
    made = _part(made, slice(max_events))
    for what, (rows, named) in {"true": teach, "generated": study, "judged": judge}.items():
        counts = np.bincount(named, minlength=number)
        sums = np.bincount(named, rows.weights, number)
        if counts.min() < FEWEST or sums.min() <= 0:
            least = classes[int(counts.argmin() if counts.min() < FEWEST else sums.argmin())]
            return (
                f"needs {FEWEST} {what} events of each class with weights of a positive sum; there are "
                f"{int(counts.min())} of {least}"
            )
    seeds = [int(s) for s in rng.integers(2**31, size=2)]

    def of_true_events() -> tuple[Callable[[Any], Floats], _Seen]:
        by_true = learn(*teach, number, seeds[0])
        return by_true, _Seen.of(by_true(judge[0]), judge[1], judge[0].weights)

    by_true, floor = (once or Once())((learn, classes, size), rng, of_true_events)
    by_made = learn(*study, number, seeds[1])
    here = _Seen.of(by_made(judge[0]), judge[1], judge[0].weights)
    there = _Seen.of(by_true(made[0]), made[1], made[0].weights)

    def metric(value: tuple[float, float], true: tuple[float, float]) -> Metric:
        return Metric(value[0], true[0], value[1], true[1])

    return Transfer(
        metric(here.auc, floor.auc),
        metric(there.auc, floor.auc),
        metric(there.found, floor.found),
        metric(there.grey, floor.grey),
        classes,
        (size, len(judge[1]), len(made[1])),
        time.process_time() - begun,
    )


@dataclass(frozen=True)
class _Seen:
    """Values with errors, means over the classes."""

    auc: tuple[float, float]
    found: tuple[float, float]
    grey: tuple[float, float]

    @classmethod
    def of(cls, scores: Floats, classes: Integers, weights: Floats) -> _Seen:
        number = scores.shape[1]
        right = scores.argmax(axis=1) == classes
        unsure = scores.max(axis=1) < math.log(GREY)
        # Of two classes either one's AUC is the same.
        ranked = [1] if number == 2 else range(number)
        aucs = [weighted_auc(_odds(scores, k), classes == k, weights) for k in ranked]
        parts = [(right[classes == k], unsure[classes == k], weights[classes == k]) for k in range(number)]
        return cls(
            _mean(aucs),
            _mean([_share(r, w) for r, _, w in parts]),
            _mean([_share(u, w) for _, u, w in parts]),
        )


def _odds(scores: Floats, k: int) -> Floats:
    others = np.delete(scores, k, axis=1)
    return np.asarray(scores[:, k] - np.logaddexp.reduce(others, axis=1))


def _share(of: NDArray[np.bool_], weights: Floats) -> tuple[float, float]:
    share = float(weights @ of) / float(weights.sum())
    return share, math.sqrt(max(share * (1 - share), 0.0) / max(effective_size(weights), 1.0))


def _mean(values: list[tuple[float, float]]) -> tuple[float, float]:
    return float(np.mean([v for v, _ in values])), math.hypot(*(e for _, e in values)) / len(values)


def _part(events: tuple[R, Integers], rows: Any) -> tuple[R, Integers]:
    return events[0].take(rows), events[1][rows]
