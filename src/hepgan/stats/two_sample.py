"""The classifier two-sample test: how well can trees tell generated from true events?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from typing import Any

import hist
import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from hepgan.observables.table import Table
from hepgan.runtime import side_by_side
from hepgan.stats.metrics import Metric, Once
from hepgan.stats.moments import quantile
from hepgan.stats.weights import TAIL

__all__ = ["ClassifierTest", "two_sample_test", "weighted_auc"]

Floats = NDArray[np.float64]

LEAF = 40
"""Events of a leaf, at least: what fewer events have, trees can't tell."""

BINS = 200
"""Bins of each column; the trees split between them."""

SHARES = 4
"""Parts into which the columns to be shuffled are divided, to be looked at side by side."""

SHUFFLED = 4_000, 1_000_000
"""Events in which columns are shuffled, at most, and numbers in these: many columns take few events."""

MIN_EVENTS = 200
"""Fewer events of either class are not worth a test."""


@dataclass(frozen=True)
class ClassifierTest:
    """What the classifier found.

    Attributes:
        auc: Area under the ROC curve on held-out events: 0.5 where it cannot tell them apart.
        weight_low: The weighted 1% quantile of D/(1-D) over generated events: near 0 where the generator
            makes events that do not occur (S. Das et al., arXiv:2305.16774).
        weight_high: The weighted 99% quantile over true events: large where the generator misses events.
        weights: Histograms of D/(1-D) of ``reference`` and ``generated`` events.
        importance: What the AUC loses where a column is shuffled, largest first.
        n_events: Events used of the reference and of the generated sample.
    """

    auc: Metric
    weight_low: Metric
    weight_high: Metric
    weights: Mapping[str, Any]
    importance: Mapping[str, float]
    n_events: tuple[int, int]


@dataclass(frozen=True)
class _Trial:
    auc: float
    error: float
    low: float
    high: float
    histograms: tuple[Any, Any]
    importance: dict[str, float]


def two_sample_test(
    reference: Table,
    generated: Table,
    train: Table | None = None,
    *,
    seed: int = 0,
    max_events: int = 50_000,
    folds: int = 2,
    n_jobs: int | None = None,
    once: Once | None = None,
) -> ClassifierTest | None:
    """Trains gradient-boosted trees to tell the samples apart and tests them on held-out events.

    Every event is scored by trees that did not see it (``folds``-fold cross-validation). The AUC is the
    mean over the folds, with DeLong's error. Both classes have the same total weight, so D/(1-D)
    estimates the ratio of true to generated density. Trees are trained with |w|, since boosting with
    negative weights does not converge, and tested with w.

    The floor is the same test between the training sample and the reference with the same numbers of
    events; without a training sample, between two halves of the reference.

    Args:
        reference: True events.
        generated: Generated events, with the same columns.
        train: Training events, with the same columns.
        seed: Seed of the subsamples, folds and trees.
        max_events: Events used of each class.
        folds: Number of folds.
        n_jobs: Threads of the trees; by default one for each core, or fewer where others use the machine,
            but at most 4. The result does not depend on it.
        once: Keeps the test of true events for other generated samples.

    Returns:
        The result, or None if a sample has fewer than 200 events.
    """
    if min(len(reference), len(generated)) < MIN_EVENTS or not reference.names:
        return None
    rng = np.random.default_rng(seed)
    true, made = _sampled(reference, max_events, rng), _sampled(generated, max_events, rng)
    trial = _trial(true, made, rng, folds, n_jobs, importance=True)
    sizes = len(true), len(made)
    floor = (once or Once())(
        ("classifier", sizes, folds), rng, lambda: _true_trial(reference, train, sizes, rng, folds, n_jobs)
    )
    return ClassifierTest(
        Metric(trial.auc, floor.auc if floor else None, trial.error, floor.error if floor else None),
        Metric(trial.low, floor.low if floor else None),
        Metric(trial.high, floor.high if floor else None),
        {"reference": trial.histograms[0], "generated": trial.histograms[1]},
        trial.importance,
        (len(true), len(made)),
    )


def _true_trial(
    reference: Table,
    train: Table | None,
    sizes: tuple[int, int],
    rng: np.random.Generator,
    folds: int,
    count: int | None,
) -> _Trial | None:
    """The same between true events, or None where there are too few."""
    if train is not None:
        others = (_sampled(reference, sizes[0], rng), _sampled(train, sizes[1], rng))
    else:
        half = rng.permutation(len(reference))
        middle = len(half) // 2
        others = reference.take(half[:middle][: sizes[0]]), reference.take(half[middle:][: sizes[1]])
    if min(len(t) for t in others) < MIN_EVENTS // 2:
        return None
    return _trial(*others, rng, folds, count, importance=False)


def _trial(
    true: Table, made: Table, rng: np.random.Generator, folds: int, count: int | None, *, importance: bool
) -> _Trial:
    x = np.concatenate([true.values, made.values])
    # Where nothing varies, one column is as good as another: trees tell nothing apart by it.
    useful = _distinct(x) or [0]
    x, names = np.column_stack([_bins(x[:, i]) for i in useful]), [true.names[i] for i in useful]
    is_true = np.arange(len(x)) < len(true)
    signed = np.concatenate([_unit(true.weights), _unit(made.weights)])
    size = np.abs(signed)
    size[is_true] /= size[is_true].sum()
    size[~is_true] /= size[~is_true].sum()
    fold = np.concatenate([rng.permutation(len(t)) % folds for t in (true, made)])
    # All random numbers are drawn before the folds are learned side by side.
    seeds, shuffle = [], _Shuffle()
    for k in range(folds):
        seeds.append(int(rng.integers(2**31)))
        if importance and k == 0:
            shuffle = _Shuffle.drawn(int((fold == 0).sum()), len(names), rng)

    def fitted(k: int) -> Any:
        seen = fold != k
        return _trees(seeds[k]).fit(x[seen], is_true[seen], sample_weight=size[seen] * seen.sum())

    fits = side_by_side([partial(fitted, k) for k in range(folds)], count, each=2)
    score = np.empty(len(x))
    aucs, errors = [], []
    for k, trees in enumerate(fits):
        held = fold == k
        with threadpool_limits(limits=1, user_api="openmp"):
            score[held] = _scores(trees, x[held])
        auc, error = weighted_auc(score[held], is_true[held], signed[held])
        aucs.append(auc)
        errors.append(error)
    first = fold == 0
    drops = _importance(fits[0], x[first], is_true[first], signed[first], names, shuffle, count)
    ratio = np.exp(score)
    axis = hist.axis.Regular(60, -3, 3, name="log_weight", label=r"$\log_{10}\,D/(1-D)$")
    histograms = tuple(hist.Hist(axis, storage=hist.storage.Weight()) for _ in range(2))
    for h, chosen in zip(histograms, (is_true, ~is_true), strict=True):
        h.fill(score[chosen] / math.log(10), weight=signed[chosen])
    return _Trial(
        float(np.mean(aucs)),
        math.hypot(*errors) / folds,
        float(quantile(ratio[~is_true], TAIL, signed[~is_true])),
        float(quantile(ratio[is_true], 1 - TAIL, signed[is_true])),
        (histograms[0], histograms[1]),
        drops,
    )


def _trees(seed: int) -> Any:
    return HistGradientBoostingClassifier(
        max_iter=80,
        learning_rate=0.1,
        max_leaf_nodes=31,
        min_samples_leaf=LEAF,
        l2_regularization=1.0,
        early_stopping=False,
        random_state=seed,
    )


def _scores(trees: Any, x: NDArray[np.float32]) -> Floats:
    """Log of D/(1-D)."""
    return np.asarray(trees.decision_function(x), dtype=np.float64)


def weighted_auc(score: Floats, positive: NDArray[np.bool_], weights: Floats) -> tuple[float, float]:
    """Area under the ROC curve and its standard error (DeLong et al., Biometrics 44 (1988) 837).

    Args:
        score: Scores (N,), larger for positives.
        positive: Which events are of the positive class (N,).
        weights: Event weights (N,), negative ones too.
    """
    rank = rankdata(score, method="dense") - 1
    sums = np.stack([np.bincount(rank, np.where(c, weights, 0.0)) for c in (positive, ~positive)])
    sums = sums / sums.sum(axis=1, keepdims=True)
    # Share of the other class below, ties counting one half.
    below = np.cumsum(sums, axis=1) - sums / 2
    variance, auc = 0.0, 0.0
    for own, other, sign in ((positive, 1, 1), (~positive, 0, -1)):
        w = weights[own] / weights[own].sum()
        component = below[other][rank[own]]
        component = component if sign > 0 else 1 - component
        auc = float(np.dot(w, component))
        variance += float(np.sum(w**2 * (component - auc) ** 2))
    return auc, math.sqrt(variance)


@dataclass(frozen=True)
class _Shuffle:
    """In which rows each of some columns is shuffled, and how."""

    rows: NDArray[np.int64] = field(default_factory=lambda: np.arange(0))
    orders: Sequence[NDArray[np.int64]] = ()

    @classmethod
    def drawn(cls, events: int, columns: int, rng: np.random.Generator) -> _Shuffle:
        most, numbers = SHUFFLED
        rows = rng.permutation(events)[: min(most, max(numbers // columns, MIN_EVENTS))]
        return cls(rows, [rng.permutation(len(rows)) for _ in range(columns)])


def _importance(
    trees: Any,
    x: NDArray[np.float32],
    is_true: NDArray[np.bool_],
    weights: Floats,
    names: list[str],
    shuffle: _Shuffle,
    count: int | None,
) -> dict[str, float]:
    """Loss of AUC where one column at a time is shuffled."""
    chosen = shuffle.rows
    x, is_true, weights = x[chosen], is_true[chosen], weights[chosen]

    def aucs(columns: range) -> list[float]:
        own, found = x.copy(), []
        for i in columns:
            own[:, i] = x[shuffle.orders[i], i]
            found.append(weighted_auc(_scores(trees, own), is_true, weights)[0])
            own[:, i] = x[:, i]
        return found

    number = len(shuffle.orders)
    if not number:
        return {}
    before = weighted_auc(_scores(trees, x), is_true, weights)[0]
    parts = [range(k, number, SHARES) for k in range(SHARES)]
    after = np.empty(number)
    for part, found in zip(parts, side_by_side([partial(aucs, p) for p in parts], count), strict=True):
        after[part.start :: SHARES] = found
    drops = {name: float(before - after[i]) for i, name in enumerate(names)}
    return dict(sorted(drops.items(), key=lambda item: -item[1]))


def _sampled(table: Table, wanted: int, rng: np.random.Generator) -> Table:
    return table if len(table) <= wanted else table.take(rng.choice(len(table), wanted, replace=False))


def _unit(weights: Floats) -> Floats:
    return np.asarray(weights * (len(weights) / weights.sum()))


def _distinct(x: Floats) -> list[int]:
    """The columns that hold something and are not copies of earlier ones: others only cost time."""
    first: dict[bytes, int] = {}
    for i, column in enumerate(np.ascontiguousarray(x.T)):
        # Trees can't bin a column that is empty in the part that they learn from.
        if np.isfinite(column).sum() >= LEAF and _varies(column):
            first.setdefault(sha256(column.astype(np.float32)).digest(), i)
    return list(first.values())


def _bins(column: Floats) -> NDArray[np.float32]:
    """Numbers of the bins of equal contents that the values lie in; NaN for NaN.

    The trees would find the same bins for each fold anew, and slowly where events have weights.
    """
    known = column[np.isfinite(column)]
    edges = np.unique(known)
    if len(edges) > BINS:
        edges = np.unique(np.quantile(known, np.linspace(0, 1, BINS + 1)[:-1]))
    return np.where(np.isfinite(column), np.searchsorted(edges, column, side="right"), np.nan).astype(
        np.float32
    )


def _varies(column: Floats) -> bool:
    known = column[np.isfinite(column)]
    return bool(known.size and (known.size < column.size or known.min() < known.max()))
