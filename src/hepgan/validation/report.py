"""Reports: report.html, metrics.json and histograms.root, and what the samples in them can be called."""

from __future__ import annotations

import base64
import io
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import uproot

from hepgan.arguments import checked
from hepgan.errors import InputError, OutputError
from hepgan.files import Reservation, publish, temporary
from hepgan.observables import Observable
from hepgan.runtime import doing
from hepgan.stats.metrics import Metric
from hepgan.validation import verdicts as words
from hepgan.validation.results import Result
from hepgan.validation.sections import Section

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "check_labels",
    "claim_report",
    "compared",
    "drawn",
    "measured",
    "overall",
    "picture",
    "planes",
    "render",
    "sample_labels",
    "told",
    "transferred",
    "write_report",
]

FILES = ("histograms.root", "report.html", "metrics.json")
"""In the order in which they take their names: who finds metrics.json finds all."""

RESERVED = frozenset(
    {
        *("reference", "train", "samples", "verdicts", "provenance", "features"),
        *("ensemble", "images", "latents", "weights"),
    }
)
"""What a generated sample cannot be called: other samples, and other keys of ``metrics.json``."""

MAX_PLANES = 4

MAX_PICTURES = 100
"""Pictures of observables, at most, of those that differ most: one takes longer than all its numbers."""


def check_labels(labels: Iterable[str], sections: Iterable[str] = ()) -> None:
    """Sees to it that labels can name folders of a ROOT file, and keys beside others in metrics.json.

    Args:
        labels: Of the generated samples.
        sections: Names of further parts of a report.

    Raises:
        InputError: If one cannot.
    """
    keys = RESERVED.union(sections)
    for label in labels:
        if label in keys or not label.strip() or set(label) & set("/;"):
            taken = f"{', '.join(sorted(keys))} are taken, and / and ; not allowed"
            msg = f"a generated sample cannot be called {label!r}: {taken}"
            raise InputError(msg)


@checked
def sample_labels(files: Sequence[str], given: Sequence[str]) -> list[str]:
    """What to call generated samples: as the user says, or after their files, each differently.

    Args:
        files: One name for each sample: ``folder/file.root:Tree``, or a glob (called after its folder).
        given: Labels, one for each, or none.

    Returns:
        The labels; ``generated`` for one sample without any.

    Raises:
        InputError: If there are too few or too many labels, or two are the same.
    """
    if given:
        if len(given) != len(files):
            msg = f"{len(given)} --label for {len(files)} samples; give one for each, or none"
            raise InputError(msg)
        twice = sorted({name for name in given if given.count(name) > 1})
        if twice:
            msg = f"two samples are called {twice[0]!r}; give each another --label"
            raise InputError(msg)
        return list(given)
    if len(files) == 1:
        return ["generated"]
    paths = [Path(re.sub(r"(\.\w+):[^/]*$", r"\1", file)) for file in files]
    names = [p.parent.name if "*" in p.stem and p.parent.name else p.stem for p in paths]
    if len(set(names)) < len(names):
        names = [f"{p.parent.name}_{n}" if p.parent.name else n for p, n in zip(paths, names, strict=True)]
    found: list[str] = []
    for name in names:
        # Names of files may hold what labels cannot.
        plain = re.sub(r"[^\w.+-]+", "_", name)
        others = (plain, *(f"{plain}_{k}" for k in range(2, len(files) + 2)))
        found.append(next(n for n in others if n not in found and n not in RESERVED))
    return found


@checked
def claim_report(folder: str | Path, *, force: bool = False) -> ExitStack:
    """Sees to it, before any work, that a report can be written, and that no other process writes one there.

    Hidden files are no report: a folder with nothing else counts as empty.

    Args:
        folder: The folder for it.
        force: Whether files of an earlier report may be replaced.

    Returns:
        What keeps others from it, until it is closed or forgotten.

    Raises:
        OutputError: If it is a file, if it holds anything (without ``force``), is being written by another
            process, or cannot be written to.
    """
    folder = Path(folder)
    if os.path.isfile(folder):
        msg = "is a file, not a folder"
        raise OutputError(msg, file=folder)
    if not force and os.path.isdir(folder) and any(not p.name.startswith(".") for p in folder.iterdir()):
        msg = "exists already and is not empty; --force (force=True) replaces the report in it"
        raise OutputError(msg, file=folder)
    with ExitStack() as held:
        for name in FILES:
            held.enter_context(Reservation(folder / name, force=force))
        return held.pop_all()


def write_report(
    folder: str | Path,
    page: Callable[[], str],
    metrics: Mapping[str, Any],
    histograms: Mapping[str, Any],
    *,
    force: bool = False,
) -> Path:
    """Writes the three files aside and moves them into the folder when all are whole.

    Args:
        folder: Where to; created if need be.
        page: Makes the HTML page.
        metrics: All numbers, fit for JSON.
        histograms: By their paths in ``histograms.root``.
        force: Whether files of an earlier report may be replaced.

    Returns:
        The path of ``report.html``.

    Raises:
        OutputError: As for :func:`claim_report`, or if the disk is full.
    """
    folder = Path(folder)
    with claim_report(folder, force=force):
        aside = {name: temporary(folder / name) for name in FILES}
        try:
            with uproot.recreate(aside["histograms.root"]) as file:
                for path, histogram in histograms.items():
                    file[path] = histogram
            aside["report.html"].write_text(page(), encoding="utf-8")
            text = json.dumps(metrics, indent=1, allow_nan=False)
            aside["metrics.json"].write_text(text + "\n", encoding="utf-8")
            for name, made in aside.items():
                publish(made, folder / name, force=force)
        except OSError as error:
            if isinstance(error, OutputError):
                raise
            raise OutputError(f"cannot be written: {error.strerror or error}", file=folder) from error  # noqa: EM102
        finally:
            for made in aside.values():
                made.unlink(missing_ok=True)
    return folder / "report.html"


def render(parts: Mapping[str, Any]) -> str:
    """The HTML page of these parts, by the names that the template has for them."""
    from hepgan.plotting.style import COLOURS

    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    source = files("hepgan.validation").joinpath("report.html.jinja").read_text(encoding="utf-8")
    labels = parts["labels"]
    colours = dict(zip(labels, COLOURS * len(labels), strict=False))
    return environment.from_string(source).render(colours=colours, **parts)


def picture(draw: Callable[[], Figure], dpi: int = 100, *, fits: bool = False) -> str:
    """A figure as a data URL; one whose margins are known to fit is drawn in half the time."""
    doing("drawing the report's pictures")
    buffer, box = io.BytesIO(), None if fits else "tight"
    draw().savefig(buffer, format="png", dpi=dpi, bbox_inches=box, metadata={"Software": None})
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def measured(observables: Mapping[str, Observable], results: Mapping[str, Result]) -> dict[str, Any]:
    """The tables of observables: one a sample, or one a metric with a column a sample."""
    names = dict.fromkeys(m for r in results.values() for ms in r.observables.values() for m in ms)
    return {
        "rows": {label: _rows(observables, result) for label, result in results.items()},
        "titles": {
            n: (o.expression or "") + ("" if o.weight is None else f", weighted by {o.weight}")
            for n, o in observables.items()
        },
        "metrics": [
            (title, compared(words.observable_rows(results, m)))
            for m, title in words.METRICS.items()
            if m in names and len(results) > 1
        ],
    }


def _rows(observables: Mapping[str, Observable], result: Result) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "label": observables[name].label,
            "metrics": [_cell(m, words.grade(m)) for m in metrics.values()],
            "names": list(metrics),
        }
        for name, metrics in result.observables.items()
    ]


def drawn(results: Mapping[str, Result]) -> list[str]:
    """The observables that get a picture, in their order: at most 100, those farthest from their floors."""

    def distance(name: str) -> float:
        ratios = [m.ratio for r in results.values() for m in r.observables[name].values()]
        return max((x for x in ratios if x is not None and x == x), default=0.0)

    names = list(next(iter(results.values())).observables)
    worst = set(sorted(names, key=distance, reverse=True)[:MAX_PICTURES])
    return [n for n in names if n in worst]


def told(section: Section) -> dict[str, Any]:
    """A section with its pictures."""
    images = {caption: picture(draw) for caption, draw in section.figures.items()}
    told = {"title": section.title, "note": section.note, "rows": section.rows(), "images": images}
    return {**told, "wide": section.wide}


def compared(rows: list[words.Row]) -> list[dict[str, Any]]:
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


def transferred(results: Mapping[str, Result]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Tables of transfer tests by their titles, with a column a sample."""
    kinds = dict.fromkeys(what for r in results.values() for what in r.transfers)
    return [(f"By {what}", compared(words.transfer_rows(results, what))) for what in kinds]


def _range(floors: Sequence[float | None]) -> str:
    """The floor, or the smallest and largest where the samples' sizes make it differ."""
    known = sorted(f for f in floors if f is not None)
    return "–".join(dict.fromkeys(_number(f, None) for f in (known[0], known[-1]))) if known else "–"


def planes(results: Mapping[str, Result]) -> list[tuple[str, str]]:
    """Pairs of observables worth a picture: that whose correlation is worst, then the strongest ones."""
    found = next((r.correlations for r in results.values() if r.correlations is not None), None)
    if found is None:
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


def overall(result: Result) -> list[tuple[str, dict[str, str]]]:
    """The metrics of a sample as a whole, as far as it has them."""
    return [(name, _cell(o.metric, o.grade)) for name, o in words.overall(result).items()]


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
