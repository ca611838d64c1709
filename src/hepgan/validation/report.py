"""Writes a comparison: report.html, metrics.json, histograms.root."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import uproot

from hepgan.errors import OutputError
from hepgan.files import claim_folder
from hepgan.stats.metrics import Metric
from hepgan.validation import tables
from hepgan.validation import verdicts as words

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hepgan.validation.comparison import Comparison
    from hepgan.validation.sections import Section

__all__ = ["claim_report", "save"]

FILES = ("histograms.root", "report.html", "metrics.json")
"""In the order in which they take their names: who finds metrics.json finds all."""

MAX_PLANES = 4


def claim_report(folder: str | Path, *, force: bool = False) -> None:
    """Sees to it, before any work, that a report can be written.

    Args:
        folder: The folder for it.
        force: Whether files of an earlier report may be replaced.

    Raises:
        OutputError: If it is a file, if it holds anything (without ``force``), or cannot be written to.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        msg = "is a file, not a folder"
        raise OutputError(msg, file=folder)
    if folder.is_dir() and not force and any(folder.iterdir()):
        msg = "exists already and is not empty; --force (force=True) replaces the report in it"
        raise OutputError(msg, file=folder)
    claim_folder(folder, folder, make=False)


def save(comparison: Comparison, folder: str | Path, *, force: bool = False, deviation: bool = False) -> Path:
    """Writes the three files aside and moves them into the folder when all are whole.

    Returns:
        The path of ``report.html``.

    Raises:
        OutputError: As for :func:`claim_report`, or if the disk is full.
    """
    folder = Path(folder)
    claim_report(folder, force=force)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=".report-", dir=folder))
        try:
            _write_histograms(comparison, aside / "histograms.root")
            (aside / "report.html").write_text(render(comparison, deviation=deviation), encoding="utf-8")
            text = json.dumps(_summary(comparison), indent=1, allow_nan=False)
            (aside / "metrics.json").write_text(text + "\n", encoding="utf-8")
            for name in FILES:
                os.replace(aside / name, folder / name)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        raise OutputError(f"cannot be written: {error.strerror or error}", file=folder) from error  # noqa: EM102
    return folder / "report.html"


def render(comparison: Comparison, *, deviation: bool = False) -> str:
    """The report as one HTML page, with its pictures inside."""
    from hepgan.plotting.style import COLOURS

    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    source = files("hepgan.validation").joinpath("report.html.jinja").read_text(encoding="utf-8")
    labels = comparison.labels
    several = len(labels) > 1
    return environment.from_string(source).render(
        labels=labels,
        several=several,
        colours=dict(zip(labels, COLOURS * len(labels), strict=False)),
        verdicts=comparison.all_verdicts(),
        overall={label: _overall(comparison, label) for label in labels},
        compared=_compared(tables.overall_rows(comparison.results)) if several else [],
        uneven=several and _uneven(comparison),
        densities={
            n: _image(partial(comparison.plot, n, deviation=deviation), fits=True)
            for n in comparison.observables
        },
        deviation=deviation,
        planes=[(pair, _image(partial(comparison.plot_2d, *pair))) for pair in planes(comparison)],
        sections={label: _sections(comparison, label, several) for label in labels},
        joint=_joint(comparison) if several else {},
        skipped={label: dict(r.skipped) for label, r in comparison.results.items()},
        features=_features(comparison),
        more={name: _more(section) for name, section in comparison.sections.items()},
        provenance=comparison.provenance,
        **_measured(comparison),
    )


def _measured(comparison: Comparison) -> dict[str, Any]:
    """The tables of observables: one a sample, or one a metric with a column a sample."""
    names = dict.fromkeys(m for r in comparison.results.values() for ms in r.observables.values() for m in ms)
    return {
        "rows": {label: _rows(comparison, label) for label in comparison.labels},
        "titles": {
            n: (o.expression or "") + ("" if o.weight is None else f", weighted by {o.weight}")
            for n, o in comparison.observables.items()
        },
        "metrics": [
            (title, _compared(tables.observable_rows(comparison.results, m)))
            for m, title in tables.METRICS.items()
            if m in names and len(comparison.labels) > 1
        ],
    }


def _more(section: Section) -> dict[str, Any]:
    images = {caption: _image(draw) for caption, draw in section.figures.items()}
    return {"title": section.title, "note": section.note, "rows": section.rows(), "images": images}


def _features(comparison: Comparison) -> dict[str, Any] | None:
    found = comparison.features
    if found is None:
        return None
    images = {}
    for name in found.scaled.observables:
        drawn = [found.scaled] if name not in found.physical.observables else [found.physical, found.scaled]
        images[name] = [_image(partial(c.plot, name), dpi=80, fits=True) for c in drawn]
    return {"model": found.model, "images": images, **_measured(found.scaled)}


def _compared(rows: list[tables.Row]) -> list[dict[str, Any]]:
    """Rows of a table with a column a sample."""
    return [
        {
            "name": row.name,
            "floor": _range([m.floor for m in row.metrics.values() if m is not None]),
            "cells": {
                label: None if m is None else {**_cell(m, row.grades[label]), "best": label in row.best}
                for label, m in row.metrics.items()
            },
        }
        for row in rows
    ]


def _range(floors: Sequence[float | None]) -> str:
    """The floor, or the smallest and largest where the samples' sizes make it differ."""
    known = sorted(f for f in floors if f is not None)
    return "–".join(dict.fromkeys(_number(f, None) for f in (known[0], known[-1]))) if known else "–"


def _uneven(comparison: Comparison) -> bool:
    """Whether the samples' sizes differ so that their metrics cannot be compared."""
    found = [comparison.provenance.get(f"{label} sample", {}) for label in comparison.labels]
    sizes = [part.get("events_for_unbinned_metrics", 0) for part in found]
    return bool(max(sizes) > 1.2 * min(sizes))


def _joint(comparison: Comparison) -> dict[str, str]:
    """Pictures of all samples together."""
    made = {"correlations": comparison.plot_correlations, "memorisation": comparison.plot_memorisation}
    results = comparison.results.values()
    return {
        name: _image(plot)
        for name, plot in made.items()
        if any(getattr(result, name) is not None for result in results)
    }


def planes(comparison: Comparison) -> list[tuple[str, str]]:
    """Pairs of observables worth a picture: that whose correlation is worst, then the strongest ones."""
    found = next((r.correlations for r in comparison.results.values() if r.correlations is not None), None)
    if found is None or not comparison.tables:
        return []
    pairs = [] if found.worst is None else [found.worst]
    size = {
        (found.names[i], found.names[j]): abs(found.reference[i, j])
        for i in range(len(found.names))
        for j in range(i + 1, len(found.names))
        if found.reference[i, j] == found.reference[i, j]
    }
    # Nearly 1 is the same quantity twice, which no picture is needed for.
    strongest = sorted((p for p, r in size.items() if r < 0.995), key=lambda p: -size[p])
    return list(dict.fromkeys([*pairs, *strongest]))[:MAX_PLANES]


def _sections(comparison: Comparison, label: str, several: bool) -> dict[str, str]:
    """Pictures of one sample, but for those that all samples share."""
    result = comparison.results[label]
    made: dict[str, tuple[Any, Callable[[str], Figure]]] = {
        "correlations": (result.correlations, comparison.plot_correlations),
        "classifier": (result.classifier, comparison.plot_classifier),
        "memorisation": (result.memorisation, comparison.plot_memorisation),
    }
    if several:
        del made["memorisation"]
    return {name: _image(partial(plot, label)) for name, (found, plot) in made.items() if found is not None}


def _image(draw: Callable[[], Figure], dpi: int = 100, *, fits: bool = False) -> str:
    """A figure as a data URL; one whose margins are known to fit is drawn in half the time."""
    buffer, box = io.BytesIO(), None if fits else "tight"
    draw().savefig(buffer, format="png", dpi=dpi, bbox_inches=box, metadata={"Software": None})
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _rows(comparison: Comparison, label: str) -> list[dict[str, Any]]:
    result = comparison.results[label]
    return [
        {
            "name": name,
            "label": comparison.observables[name].label,
            "metrics": [_cell(m, words.grade(m)) for m in metrics.values()],
            "names": list(metrics),
        }
        for name, metrics in result.observables.items()
    ]


def _overall(comparison: Comparison, label: str) -> list[tuple[str, dict[str, str]]]:
    result, rows = comparison.results[label], []
    if (t := result.classifier) is not None:
        rows.append(("classifier AUC", _cell(t.auc, words.grade_auc(t.auc))))
        rows.append(("1% quantile of D/(1−D), generated", _cell(t.weight_low, "unknown")))
        rows.append(("99% quantile of D/(1−D), reference", _cell(t.weight_high, "unknown")))
    if (c := result.correlations) is not None:
        rows.append(
            ("largest difference of correlations", _cell(c.max_difference, words.grade(c.max_difference)))
        )
    if (m := result.memorisation) is not None:
        memorised = words.grade_memorisation(m.ratio_of_medians)
        rows.append(("distance to training events, ratio of medians", _cell(m.ratio_of_medians, memorised)))
        rows.append(
            (
                "share of events near to training events",
                _cell(m.close_fraction, words.grade(m.close_fraction)),
            )
        )
    return rows


def _cell(metric: Metric, grade: words.Grade) -> dict[str, str]:
    return {
        "value": _number(metric.value, metric.error),
        "floor": _number(metric.floor, metric.floor_error),
        "ratio": _number(metric.ratio, None),
        "p": "" if metric.p_value is None else f"p = {metric.p_value:.2g}",
        "grade": grade,
    }


def _number(value: float | None, error: float | None) -> str:
    if value is None or value != value:
        return "–"
    text = f"{value:.3g}"
    return text if error is None or error != error else f"{text} ± {error:.1g}"


def _summary(comparison: Comparison) -> dict[str, Any]:
    found = comparison.metrics
    return {
        "samples": list(comparison.labels),
        "verdicts": comparison.all_verdicts(),
        **found,
        **{name: dict(section.metrics) for name, section in comparison.sections.items()},
        "provenance": json.loads(json.dumps(dict(comparison.provenance), default=str)),
    }


def _write_histograms(comparison: Comparison, path: Path) -> None:
    with uproot.recreate(path) as file:
        for name in comparison.observables:
            file[f"reference/{name}"] = comparison.reference[name]
            for label, result in comparison.results.items():
                file[f"{label}/{name}"] = result.histograms[name]
        if (found := comparison.features) is not None:
            for folder, part in (("features", found.scaled), ("columns", found.physical)):
                for name in part.observables:
                    file[f"reference/{folder}/{name}"] = part.reference[name]
                    for label, result in part.results.items():
                        file[f"{label}/{folder}/{name}"] = result.histograms[name]
