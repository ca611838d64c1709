"""Ratios of true to generated density, learned by classifiers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Self

import awkward as ak
import numpy as np
from numpy.typing import ArrayLike, NDArray

from hepgan.arguments import checked
from hepgan.errors import InputError
from hepgan.events import EventSchema, EventsLike, event_weights, schema_of
from hepgan.observables import Observable
from hepgan.observables.table import Table, event_table, plan_table
from hepgan.stats.classifiers import (
    CALIBRATIONS,
    CLASSIFIERS,
    Calibration,
    ClassifierName,
    Reliability,
    Score,
    calibrate,
    learn_factors,
    learn_scores,
    reliability,
)
from hepgan.stats.weights import Weights

__all__ = ["Reweighter"]

Floats = NDArray[np.float64]

LEAST = 200
"""Fewer events of either kind are not worth a classifier."""


class Reweighter:
    """Weights w = D / (1 - D) of generated events, by an ensemble of classifiers D of true against generated.

    The events are divided into as many parts as there are members; each member learns from all parts but
    its own, and what it says of that calibrates it; each half of the part is calibrated by the other. So no
    event that was learned from is weighted by a member, or a calibration, that knows it; new events get the
    mean of all members.

    References: K. Cranmer et al., arXiv:1506.02169; A. Andreassen and B. Nachman, arXiv:1907.08209.

    Args:
        observables: What the classifiers see, by name; of these only those with one number an event.
        fields: Whether they see the fields of all objects and the scalars, too.
        classifier: ``mlp`` or ``trees``; see :func:`hepgan.stats.classifiers.learn_scores`.
        members: Members of the ensemble, at least 2.
        calibration: ``temperature`` or ``isotonic``; None for none.
        seed: The same seed gives the same weights.

    Attributes:
        reliability: How often held-out events are true, by the probability that calibrated members gave.
        reliability_before: The same before calibration.

    Raises:
        ValueError: If there is no such classifier or calibration, there are too few members, or there is
            nothing to see.
    """

    reliability: Reliability
    reliability_before: Reliability

    @checked
    def __init__(
        self,
        observables: Mapping[str, Observable] | None = None,
        *,
        fields: bool = True,
        classifier: ClassifierName = "mlp",
        members: int = 5,
        calibration: Calibration | None = "temperature",
        seed: int = 0,
    ) -> None:
        if classifier not in CLASSIFIERS:
            msg = f"no classifier {classifier!r}; there are {', '.join(CLASSIFIERS)}"
            raise ValueError(msg)
        if calibration is not None and calibration not in CALIBRATIONS:
            msg = f"no calibration {calibration!r}; there are {', '.join(CALIBRATIONS)}"
            raise ValueError(msg)
        if members < 2:
            msg = f"an ensemble has at least 2 members, not {members}"
            raise ValueError(msg)
        if not (fields or observables):
            msg = "a classifier that sees neither fields nor observables sees nothing"
            raise ValueError(msg)
        self.observables, self.fields = dict(observables or {}), fields
        self.classifier, self.members, self.calibration, self.seed = classifier, members, calibration, seed
        self._scores: list[Score] = []
        self._corrections: list[Callable[..., Floats]] = []

    @checked
    def fit(self, reference: EventsLike, generated: EventsLike) -> Self:
        """Learns to tell the samples apart.

        Args:
            reference: True events, with weights of their schema's weight, negative ones too (``mlp`` only).
            generated: Generated events, likewise.

        Returns:
            Itself.

        Raises:
            InputError: If there are too few events, nothing that both have, weights without a positive sum,
                or negative ones for ``trees``.
        """
        schemas = schema_of(reference), schema_of(generated)
        self._plan = plan_table([(reference, schemas[0]), (generated, schemas[1])])
        tables = [self._table(e, s) for e, s in zip((reference, generated), schemas, strict=True)]
        self._names = [n for n in tables[0].names if n in tables[1].names]
        if not self._names:
            msg = "the reference and the generated events have nothing in common to tell them apart by"
            raise InputError(msg)
        for table, name in zip(tables, ("reference", "generated"), strict=True):
            self._check(table, name)
        true, made = (t.select(self._names) for t in tables)
        x = np.concatenate([true.values, made.values])
        label = np.arange(len(x)) < len(true)
        weight = np.concatenate([t.weights * (len(x) / 2 / t.weights.sum()) for t in (true, made)])
        rng = np.random.default_rng(self.seed)
        order = np.concatenate([rng.permutation(len(t)) for t in (true, made)])
        part, half = order % self.members, order // self.members % 2
        raw, score = np.empty(len(x)), np.empty(len(x))
        self._scores, self._corrections = [], []
        for k in range(self.members):
            held = part == k
            member = learn_scores(self.classifier, x[~held], label[~held], weight[~held], self.seed + k)
            raw[held] = member(x[held])
            # A calibration knows the events that it is made of, so each half is calibrated by the other.
            for side in (0, 1):
                own, other = held & (half == side), held & (half != side)
                score[own] = self._correction(raw[other], label[other], weight[other])(raw[own])
            self._scores.append(member)
            self._corrections.append(self._correction(raw[held], label[held], weight[held]))
        self.reliability_before = reliability(raw, label, weight)
        self.reliability = reliability(score, label, weight)
        self._finish(score[~label], made, part[~label])
        return self

    @checked
    def fit_factors(self, events: EventsLike, factors: ArrayLike) -> Self:
        """Learns factors to events' weights, on average over events that look the same.

        It is the ratio of the events with these factors to the events without: as :meth:`fit` with the same
        events twice, but that an event and its likeness are learned from, or left out, together.

        Args:
            events: N events, with weights of their schema's weight.
            factors: (N,), not negative for ``trees``, of any mean.

        Returns:
            Itself.

        Raises:
            InputError: If there are too few events, nothing to see, weights without a positive sum, or
                negative ones for ``trees``.
        """
        schema = schema_of(events)
        self._plan = plan_table([(events, schema)])
        table = self._table(events, schema)
        self._names = list(table.names)
        factor = np.asarray(factors, dtype=np.float64)
        if factor.shape != (len(events),):
            msg = f"factors must be one for each of the {len(events)} events, not of the shape {factor.shape}"
            raise InputError(msg)
        self._check(table, "weighted")
        self._check(replace(table, weights=table.weights * factor), "weighted")
        x, weight = table.values, table.weights / table.weights.mean()
        factor = factor / np.average(factor, weights=weight)
        order = np.random.default_rng(self.seed).permutation(len(x))
        part, half = order % self.members, order // self.members % 2
        both, label = np.concatenate([weight * factor, weight]), np.arange(2 * len(x)) < len(x)
        raw, score = np.empty(len(x)), np.empty(len(x))
        self._scores, self._corrections = [], []
        for k in range(self.members):
            held = part == k
            member = learn_factors(self.classifier, x[~held], factor[~held], weight[~held], self.seed + k)
            raw[held] = member(x[held])
            for side in (0, 1):
                own, other = held & (half == side), held & (half != side)
                twice = np.tile(other, 2)
                score[own] = self._correction(np.tile(raw[other], 2), label[twice], both[twice])(raw[own])
            twice = np.tile(held, 2)
            self._scores.append(member)
            self._corrections.append(self._correction(np.tile(raw[held], 2), label[twice], both[twice]))
        self.reliability_before = reliability(np.tile(raw, 2), label, both)
        self.reliability = reliability(np.tile(score, 2), label, both)
        self._finish(score, table, part)
        return self

    @property
    def fitted_weights(self) -> Weights:
        """Weights of the generated events that were learned from, by the members that did not know them.

        Raises:
            RuntimeError: If nothing has been learned.
        """
        self._require_fit()
        return self._fitted

    @property
    def reach(self) -> float:
        """The mean weight of generated events before it is scaled to 1.

        It is the share of the true events where generated ones are made at all, so 1 but for errors of the
        classifiers. Far below, weights do not make the generated distribution the true one.

        Raises:
            RuntimeError: If nothing has been learned.
        """
        self._require_fit()
        return self._norm

    @property
    def columns(self) -> tuple[str, ...]:
        """What the classifiers see."""
        self._require_fit()
        return tuple(self._names)

    @checked
    def __call__(self, events: EventsLike) -> Weights:
        """Weights (N,) of other generated events, by all members together.

        Their mean logarithm is made sharper: the mean of calibrated members, each with errors of its own, is
        less sure of itself than it might be.

        Raises:
            InputError: If the events lack something that the classifiers see.
            RuntimeError: If nothing has been learned.
        """
        self._require_fit()
        table = self._table(events, schema_of(events))
        missing = [n for n in self._names if n not in table.names]
        if missing:
            msg = (
                f"the events lack {', '.join(missing[:3])}, by which true and generated ones were told apart"
            )
            raise InputError(msg)
        scores = self._members(table.select(self._names).values)
        weight = np.exp(self._sharpness * scores.mean(axis=0)) / self._norm
        return Weights(weight, (np.exp(scores) / self._norm).std(axis=0))

    def _finish(self, score: Floats, generated: Table, part: Any) -> None:
        """Weights of the generated events from their scores (N,) by the members of these numbers (N,)."""
        ratio = np.exp(score)
        self._norm = float(np.average(ratio, weights=generated.weights))
        scores = self._members(generated.values)
        self._sharpness = _sharpness(scores, part) if self.calibration else 1.0
        self._fitted = Weights(ratio / self._norm, (np.exp(scores) / self._norm).std(axis=0))

    def _correction(self, score: Floats, label: Any, weight: Floats) -> Callable[..., Floats]:
        return calibrate(self.calibration, score, label, weight)

    def _members(self, x: Floats) -> Floats:
        """Each member's calibrated scores (K, N)."""
        pairs = zip(self._scores, self._corrections, strict=True)
        return np.stack([correction(score(x)) for score, correction in pairs])

    def _table(self, events: ak.Array, schema: EventSchema) -> Table:
        columns = {n: o.column(events) for n, o in self.observables.items() if o.per_event(events)}
        weights = event_weights(events, schema)
        table = event_table(events, schema, weights, columns, self._plan)
        return table if self.fields else table.select([n for n in table.names if n in columns])

    def _check(self, table: Table, name: str) -> None:
        if len(table) < max(LEAST, 2 * self.members):
            msg = f"{len(table)} {name} events are too few to learn weights from: at least {LEAST}"
            raise InputError(msg)
        if not (np.isfinite(table.weights).all() and table.weights.sum() > 0):
            msg = f"the weights of the {name} events must be finite, with a positive sum"
            raise InputError(msg)
        if not (table.weights < 0).any():
            return
        for setting, cannot, instead in (
            (self.classifier, "trees", "mlp"),
            (self.calibration, "isotonic", "temperature"),
        ):
            if setting == cannot:
                msg = f"{name} events have negative weights, which are not for {cannot}: use {instead}"
                raise InputError(msg)

    def _require_fit(self) -> None:
        if not self._scores:
            msg = "this reweighter has not learned anything yet: call fit"
            raise RuntimeError(msg)


def _sharpness(scores: Floats, part: Any) -> float:
    """What to multiply the mean of members' scores by, so that it is calibrated as they are.

    A calibrated score has the same covariance with the truth as with itself; so has the mean of K such ones
    with the truth, but its own variance is smaller, as far as the members' errors are independent.

    Args:
        scores: Each member's scores (K, N).
        part: (N,) number of the member that did not learn from the event. Only that one's score is free of
            what was learned by heart, so one of each pair is taken there.
    """
    covariance = np.stack([np.cov(scores[:, part == k])[k] for k in range(len(scores))])
    mean = float(covariance.mean())
    return float(np.clip(np.trace(covariance) / len(scores) / mean, 1.0, len(scores))) if mean > 0 else 1.0
