"""Metrics of several samples side by side: a column a sample, the best marked."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hepgan.stats.metrics import Metric
from hepgan.validation.results import Result
from hepgan.validation.verdicts import Grade, grade, grade_auc, grade_memorisation

__all__ = ["METRICS", "Row", "best", "observable_rows", "overall_rows", "overview"]

METRICS = {"ks": "KS", "wasserstein": "Wasserstein [σ]", "chi2": "χ²/ndf"}
"""The metrics of observables, and what tables call them."""


@dataclass(frozen=True)
class Row:
    """One metric of all samples.

    Attributes:
        name: What is measured.
        metrics: By label; None where a sample lacks it.
        grades: By label.
        best: The labels of the best, as `best` finds them.
    """

    name: str
    metrics: Mapping[str, Metric | None]
    grades: Mapping[str, Grade]
    best: frozenset[str] = frozenset()


def best(
    metrics: Mapping[str, Metric | None], away: Callable[[float], float] = lambda v: v
) -> frozenset[str]:
    """The label with the smallest value, and those that are larger by less than two standard errors.

    None where that holds for all: then there is no best.

    Args:
        metrics: By label.
        away: Of a value, how bad it is.
    """
    known = {label: m for label, m in metrics.items() if m is not None and math.isfinite(m.value)}
    if len(known) < 2:
        return frozenset()
    first = min(known, key=lambda label: away(known[label].value))
    least, error = away(known[first].value), known[first].error or 0.0
    found = frozenset(
        label for label, m in known.items() if away(m.value) - least <= 2 * math.hypot(error, m.error or 0.0)
    )
    return found if len(found) < len(known) else frozenset()


def overall_rows(results: Mapping[str, Result]) -> list[Row]:
    """The metrics of the samples as a whole, as far as any sample has them."""
    rows = []
    for name, part, attribute, graded, away in _OVERALL:
        parts = {label: getattr(r, part) for label, r in results.items()}
        metrics = {label: None if p is None else getattr(p, attribute) for label, p in parts.items()}
        if any(m is not None for m in metrics.values()):
            first = frozenset[str]() if away is None else best(metrics, away)
            rows.append(Row(name, metrics, _grades(metrics, graded), first))
    return rows


def observable_rows(results: Mapping[str, Result], metric: str) -> list[Row]:
    """One metric of every observable, for each sample."""
    names = dict.fromkeys(n for r in results.values() for n, m in r.observables.items() if metric in m)
    rows = []
    for name in names:
        found = {label: r.observables.get(name, {}).get(metric) for label, r in results.items()}
        rows.append(Row(name, found, _grades(found, grade), best(found)))
    return rows


def overview(results: Mapping[str, Result]) -> list[str]:
    """A table for the terminal, a line a sample: the classifier, and the observables' KS or chi2."""
    head = ("sample", "AUC", "floor", "at the floor", "worst observable")
    lines = [head]
    for label, result in results.items():
        auc = None if result.classifier is None else result.classifier.auc
        key = next((k for k in METRICS if all(k in m for m in result.observables.values())), "chi2")
        known = {n: m[key] for n, m in result.observables.items() if key in m and m[key].ratio is not None}
        good = sum(grade(m) == "good" for m in known.values())
        worst = max(known, key=lambda n, m=known: m[n].ratio or 0.0, default=None)  # type: ignore[misc]
        told = "-"
        if worst is not None:
            told = f"{worst} ({METRICS[key].split()[0]} {known[worst].ratio:.1f} times its floor)"
        lines.append(
            (
                label,
                "-" if auc is None else f"{auc.value:.3f}",
                "-" if auc is None or auc.floor is None else f"{auc.floor:.3f}",
                f"{good} of {len(known)}",
                told,
            )
        )
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return ["  ".join(t.ljust(w) for t, w in zip(line, widths, strict=True)).rstrip() for line in lines]


def _grades(metrics: Mapping[str, Metric | None], graded: Callable[[Metric], Grade]) -> dict[str, Grade]:
    return {label: "unknown" if m is None else graded(m) for label, m in metrics.items()}


def _ungraded(metric: Metric) -> Grade:
    return "unknown"


_Overall = tuple[str, str, str, Callable[[Metric], Grade], Callable[[float], float] | None]

_OVERALL: tuple[_Overall, ...] = (
    ("classifier AUC", "classifier", "auc", grade_auc, lambda v: max(v, 0.5)),
    ("1% quantile of D/(1−D), generated", "classifier", "weight_low", _ungraded, None),
    ("99% quantile of D/(1−D), reference", "classifier", "weight_high", _ungraded, None),
    ("largest difference of correlations", "correlations", "max_difference", grade, lambda v: v),
    (
        "distance to training events, ratio of medians",
        "memorisation",
        "ratio_of_medians",
        grade_memorisation,
        None,
    ),
    ("share of events near to training events", "memorisation", "close_fraction", grade, None),
)
"""Name, where it is found, how it is graded, and how bad a value is (None where none is the best)."""
