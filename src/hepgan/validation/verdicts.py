"""Metrics in plain words, and in tables: a column a sample, the best marked."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal, NamedTuple

import numpy as np

from hepgan.stats.metrics import Metric
from hepgan.validation.results import Result

__all__ = [
    "METRICS",
    "Grade",
    "Overall",
    "Row",
    "best",
    "grade",
    "grade_auc",
    "grade_distance",
    "grade_memorisation",
    "observable_rows",
    "overall",
    "overall_rows",
    "overview",
    "shapes",
    "transfer_rows",
    "verdicts",
]

Grade = Literal["good", "fair", "poor", "unknown"]

METRICS = {"ks": "KS", "wasserstein": "Wasserstein [σ]", "chi2": "χ²/ndf"}
"""The metrics of observables, and what tables call them."""

_NAMES = {"ks": "KS distance", "wasserstein": "Wasserstein distance", "chi2": "chi2/ndf"}


def grade(metric: Metric) -> Grade:
    """Good up to 1.5 times the floor, or within two standard errors of it; poor beyond three times."""
    ratio = metric.ratio
    if metric.floor == 0 and math.isfinite(metric.value):
        return "good" if metric.value == 0 else "poor"
    if ratio is None or not math.isfinite(ratio):
        return "unknown"
    significance = metric.significance
    if ratio <= 1.5 or (significance is not None and significance < 2):
        return "good"
    return "fair" if ratio <= 3 else "poor"


def grade_auc(metric: Metric) -> Grade:
    """Good within 0.03 of the floor, poor beyond 0.1."""
    if not math.isfinite(metric.value):
        return "unknown"
    away = metric.value - (0.5 if metric.floor is None else metric.floor)
    return "good" if away < 0.03 else "fair" if away < 0.1 else "poor"


def grade_memorisation(metric: Metric) -> Grade:
    """Good unless generated events lie nearer to training events than true ones do, by three errors."""
    if not math.isfinite(metric.value):
        return "unknown"
    away = 1 - metric.value
    if away <= 3 * (metric.error or 0.0):
        return "good"
    return "fair" if away < 0.2 else "poor"


def grade_distance(metric: Metric) -> Grade:
    """As :func:`grade`, of a distance whose floor may be 0 or below: then its error stands for the floor."""
    if metric.floor is None or not math.isfinite(metric.value):
        return "unknown"
    floor = max(metric.floor, metric.floor_error or 0.0)
    return grade(replace(metric, floor=floor))


def verdicts(result: Result, names: Mapping[str, str] | None = None) -> list[str]:
    """The findings on one generated sample, a sentence each, the most telling first.

    Args:
        result: The findings.
        names: What to call the observables; their own names by default.
    """
    called = names or {}
    lines = copies(result)
    if (test := result.classifier) is not None:
        floor = "" if test.auc.floor is None else f" (floor {test.auc.floor:.3f})"
        lines.append(f"a classifier tells generated from true events with AUC {_with_error(test.auc)}{floor}")
        telling = [n for n, v in list(test.importance.items())[:3] if v > 0.005]
        if telling and grade_auc(test.auc) != "good":
            lines.append(f"it sees the difference most in {_joined(telling)}")
    lines += shapes(result, called)
    lines += _bands(result)
    if (c := result.correlations) is not None and math.isfinite(c.max_difference.value):
        pair = "" if c.worst is None else f" ({_joined([called.get(n, n) for n in c.worst])})"
        lines.append(
            f"correlations differ by at most {c.max_difference.value:.3f}{pair}{_floor(c.max_difference)}"
        )
        if c.left_out:
            lines.append(
                f"these are correlations of {len(c.names)} observables; {c.left_out} more are left out"
            )
    if (v := result.convolution) is not None:
        floor = "" if v.auc.floor is None else f" (floor {v.auc.floor:.3f})"
        lines.append(
            f"a convolutional network tells them by {_joined(v.fields)} with AUC {_with_error(v.auc)}{floor}"
        )
    for name, shown in result.images.items():
        worst = max(shown.mean_image, key=lambda n: shown.mean_image[n].ratio or 0.0, default=None)
        if worst is not None:
            metric = shown.mean_image[worst]
            lines.append(f"the mean of {name} ({worst}) is {metric.value:.3g} away{_floor(metric)}")
    for what, t in result.transfers.items():
        lines.append(
            f"by {what}, a classifier that learned from generated events tells classes of true ones with AUC "
            f"{_with_error(t.generated_to_true)} (from true ones {t.generated_to_true.floor:.3f}); the class "
            f"asked for is found in {t.found.value:.1%} of generated and {t.found.floor:.1%} of true events, "
            f"grey are {t.grey.value:.1%} and {t.grey.floor:.1%}"
        )
    for what, d in result.distances.items():
        of = f"{len(d.features)} numbers" if what == "observables" else f"energy flow polynomials of {what}"
        lines.append(f"the Fréchet physics distance in {of} is {d.fpd.value:.3g}{_floor(d.fpd)}")
    if (m := result.memorisation) is not None:
        word = {
            "good": "no sign of memorised training events",
            "fair": "generated events lie a little near to training events",
            "poor": "generated events repeat training events",
            "unknown": "memorisation could not be judged",
        }[grade_memorisation(m.ratio_of_medians)]
        copied = grade(m.close_fraction)
        if copied == "poor" and word.startswith("no sign"):
            word = "some generated events repeat training events"
        lines.append(
            f"{word}: the nearest is {_with_error(m.ratio_of_medians)} times as far as from true events"
        )
    lines += [f"{part} not judged: {why}" for part, why in result.skipped.items() if why != "not asked for"]
    return lines


def copies(result: Result, whose: str = "the generated events") -> list[str]:
    """Whether events were copied instead of generated."""
    return [
        f"{100 * share.value:.3g}% of {whose} are copies of {name} events, number by number, so that they "
        "are not judged by others"
        for name, share in result.copied.items()
    ]


def _bands(result: Result) -> list[str]:
    """Whether the bands of an ensemble cover; nothing of other events."""
    if not result.bands:
        return []
    pulls = np.concatenate([b.pulls for b in result.bands.values()])
    known = pulls[np.isfinite(pulls)]
    if not known.size:
        return []
    members = max(b.members for b in result.bands.values())
    inside = float(np.mean(np.abs(known) < 1))
    return [
        f"with the spread of {members} members, {inside:.0%} of all bins are within one sigma (68% expected)"
    ]


def shapes(
    result: Result, called: Mapping[str, str] = MappingProxyType({}), what: str = "observables"
) -> list[str]:
    """The findings on the observables of one sample: how many are right, and which is the worst."""
    if not result.observables:
        return []
    key = next((k for k in ("ks", "chi2") if all(k in m for m in result.observables.values())), None)
    if key is None:
        return []
    known = {n: m[key] for n, m in result.observables.items() if m[key].ratio is not None}
    if not known:
        return []
    worse = {n: m for n, m in known.items() if grade(m) != "good"}
    good = len(known) - len(worse)
    lines = [
        f"{good} of {len(known)} {what} are as near to the reference as equally many true events "
        f"({_NAMES[key]})"
    ]
    if worse:
        worst = max(worse, key=lambda n: worse[n].ratio or 0.0)
        metric = worse[worst]
        lines.append(
            f"the worst is {called.get(worst, worst)}: {_NAMES[key]} {metric.value:.3g}{_floor(metric)}"
        )
    return lines


def _floor(metric: Metric) -> str:
    if metric.floor is None:
        return ""
    times = "" if metric.ratio is None else f", {metric.ratio:.1f} times"
    sure = ", within errors" if grade(metric) == "good" and (metric.ratio or 0.0) > 1.5 else ""
    return f" (floor {metric.floor:.2g}{times}{sure})"


def _with_error(metric: Metric) -> str:
    return f"{metric.value:.3f}" + ("" if metric.error is None else f" +- {metric.error:.3f}")


def _joined(names: list[str] | tuple[str, ...]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]


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


class Overall(NamedTuple):
    """A metric of a sample as a whole.

    Attributes:
        metric: The metric.
        grade: Its grade.
        away: Of a value, how bad it is; None where none is the best.
    """

    metric: Metric
    grade: Grade
    away: Callable[[float], float] | None = None


def overall(result: Result) -> dict[str, Overall]:
    """The metrics of a sample as a whole by name, as far as it has them."""
    rows: dict[str, Overall] = {}
    if (t := result.classifier) is not None:
        rows["classifier AUC"] = Overall(t.auc, grade_auc(t.auc), _above_half)
        rows["1% quantile of D/(1−D), generated"] = Overall(t.weight_low, "unknown")
        rows["99% quantile of D/(1−D), reference"] = Overall(t.weight_high, "unknown")
    if (v := result.convolution) is not None:
        rows[f"AUC of a convolutional network, {', '.join(v.fields)}"] = Overall(
            v.auc, grade_auc(v.auc), _above_half
        )
    for name, found in result.images.items():
        for of, metric in found.mean_image.items():
            rows[f"{name}: mean, {of}"] = Overall(metric, grade(metric), _as_it_is)
        rows[f"{name}: occupancy"] = Overall(found.occupancy, grade(found.occupancy), _as_it_is)
        if (content := found.content) is not None:
            rows[f"{name}: log of contents [σ]"] = Overall(content, grade(content), _as_it_is)
        if found.neighbours is not None:
            ratio = found.neighbours.memorisation.ratio_of_medians
            rows[f"{name}: distance to training events, ratio of medians"] = Overall(
                ratio, grade_memorisation(ratio)
            )
    for what, d in result.distances.items():
        of = "" if what == "observables" else f", energy flow of {what}"
        rows[f"Fréchet physics distance{of}"] = Overall(d.fpd, grade_distance(d.fpd), _as_it_is)
        rows[f"kernel physics distance{of}"] = Overall(d.kpd, grade_distance(d.kpd), _positive)
    if (c := result.correlations) is not None:
        rows["largest difference of correlations"] = Overall(
            c.max_difference, grade(c.max_difference), _as_it_is
        )
    if (m := result.memorisation) is not None:
        rows["distance to training events, ratio of medians"] = Overall(
            m.ratio_of_medians, grade_memorisation(m.ratio_of_medians)
        )
        rows["share of events near to training events"] = Overall(m.close_fraction, grade(m.close_fraction))
    return rows


def _above_half(value: float) -> float:
    return max(value, 0.5)


def _positive(value: float) -> float:
    return max(value, 0.0)


def _as_it_is(value: float) -> float:
    return value


def transfer_rows(results: Mapping[str, Result], what: str) -> list[Row]:
    """What transfer tests tell of each sample, in ``observables`` or ``arrays``."""
    found = {label: r.transfers.get(what) for label, r in results.items()}
    rows = []
    for name, title, graded in _TRANSFER:
        metrics = {label: None if t is None else getattr(t, name) for label, t in found.items()}
        rows.append(Row(title, metrics, _grades(metrics, graded)))
    return rows


def grade_shift(metric: Metric) -> Grade:
    """Good within 0.01 of the floor or within two errors of it, poor beyond 0.03, above as well as below."""
    return _grade_away(metric, 0.01, 0.03)


def grade_grey(metric: Metric) -> Grade:
    """Good within a tenth of the floor or within two errors of it, poor beyond three tenths."""
    floor = metric.floor or 0.0
    return _grade_away(metric, 0.1 * floor, 0.3 * floor)


def _grade_away(metric: Metric, good: float, fair: float) -> Grade:
    if metric.floor is None or not math.isfinite(metric.value):
        return "unknown"
    away, sigmas = abs(metric.value - metric.floor), metric.significance
    if away <= good or (sigmas is not None and abs(sigmas) < 2):
        return "good"
    return "fair" if away <= fair else "poor"


_TRANSFER: tuple[tuple[str, str, Callable[[Metric], Grade]], ...] = (
    ("generated_to_true", "AUC, learned from generated, judging true", grade_shift),
    ("true_to_generated", "AUC, learned from true, judging generated", grade_shift),
    ("found", "class asked for is found", grade_shift),
    ("grey", "grey area", grade_grey),
)


def overall_rows(results: Mapping[str, Result]) -> list[Row]:
    """The metrics of the samples as a whole, as far as any sample has them."""
    parts = {label: overall(r) for label, r in results.items()}
    rows = []
    for name in dict.fromkeys(n for found in parts.values() for n in found):
        found = {label: p.get(name) for label, p in parts.items()}
        metrics = {label: None if o is None else o.metric for label, o in found.items()}
        grades: dict[str, Grade] = {label: "unknown" if o is None else o.grade for label, o in found.items()}
        away = next(o.away for o in found.values() if o is not None)
        rows.append(Row(name, metrics, grades, frozenset() if away is None else best(metrics, away)))
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
    table = ["  ".join(t.ljust(w) for t, w in zip(line, widths, strict=True)).rstrip() for line in lines]
    return [*table, *(line for label, r in results.items() for line in copies(r, f"the events of {label}"))]


def _grades(metrics: Mapping[str, Metric | None], graded: Callable[[Metric], Grade]) -> dict[str, Grade]:
    return {label: "unknown" if m is None else graded(m) for label, m in metrics.items()}
