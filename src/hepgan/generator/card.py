"""Model cards: what a generator is, was trained on and can be trusted for, for those who get its file."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import yaml

from hepgan.errors import InputError
from hepgan.files import claim, replacing
from hepgan.generator.describe import contents, described_conditions

if TYPE_CHECKING:
    from hepgan.generator.generator import EventGenerator

__all__ = ["card", "write_card", "zenodo"]

TAGS = ("high-energy-physics", "event-generation", "generative-model", "physics")

_ROWS = 40
"""Observables that are listed, the worst first."""


def card(
    generator: EventGenerator,
    *,
    file: str = "model.safetensors",
    metrics: Mapping[str, Any] | None = None,
    license: str | None = None,
    authors: Sequence[str] = (),
) -> str:
    """A model card in Markdown, with the header that Hugging Face reads.

    Args:
        generator: The generator.
        file: The model file's name.
        metrics: What ``metrics.json`` of a comparison with true events holds.
        license: The licence of the model, as SPDX has it (``CC-BY-4.0``); None if there is none yet.
        authors: Who made it.

    Raises:
        InputError: If the metrics are no such thing.
    """
    parts, recipe, summary = generator.parts, generator.recipe, generator.summary
    found = _measured(metrics)
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    source = files("hepgan.generator").joinpath("card.md.jinja").read_text(encoding="utf-8")
    conditions = list(described_conditions(parts))
    text = environment.from_string(source).render(
        front=_front(generator, found, license).rstrip(),
        title=recipe.name,
        description=" ".join(recipe.description.split()),
        authors="; ".join(authors),
        events=list(contents(parts.schema)),
        conditions=", ".join(conditions),
        ranged=any("(" in c for c in conditions),
        file=file,
        known=f"{summary['training_events']:,}" if "training_events" in summary else "its",
        ensemble=parts.members > 1,
        training=list(_training(generator)),
        recipe=recipe.to_yaml().rstrip(),
        license=license,
        **found,
    )
    return re.sub(r"\n{3,}", "\n\n", text)


def zenodo(generator: EventGenerator, *, license: str, authors: Sequence[str]) -> dict[str, Any]:
    """What Zenodo asks for of an upload, as ``.zenodo.json`` has it.

    Args:
        generator: The generator.
        license: The licence, as SPDX has it.
        authors: Who made it (``Doe, Jane``).
    """
    recipe = generator.recipe
    description = html.escape(" ".join(recipe.description.split()) or recipe.name)
    more = "README.md tells what it was trained on, and how far it can be trusted."
    return {
        "title": f"{recipe.name}: a generator of events, learned with hepgan",
        "upload_type": "software",
        "description": f"<p>{description}</p><p>{more}</p>",
        "creators": [{"name": author} for author in authors],
        "license": license.lower(),
        "keywords": [*TAGS, generator.recipe.model.kind],
        "access_right": "open",
    }


def write_card(
    folder: str | Path,
    generator: EventGenerator,
    *,
    file: str = "model.safetensors",
    metrics: str | Path | None = None,
    license: str | None = None,
    authors: Sequence[str] = (),
    force: bool = False,
) -> list[Path]:
    """Writes ``README.md`` and, where there are a licence and authors, which it needs, ``.zenodo.json``.

    Args:
        folder: Where; it is made if it is not there.
        generator: The generator.
        file: The model file's name.
        metrics: The ``metrics.json`` of a comparison with true events.
        license: The licence of the model, as SPDX has it.
        authors: Who made it.
        force: Whether to overwrite.

    Returns:
        The files.

    Raises:
        InputError: If the metrics cannot be read.
        OutputError: If a file exists, or cannot be written.
    """
    found = None if metrics is None else _read(Path(metrics))
    try:
        readme = card(generator, file=file, metrics=found, license=license, authors=authors)
    except InputError as error:
        raise InputError(error.message, file=metrics) from error
    texts = {"README.md": readme}
    if license and authors:
        made = zenodo(generator, license=license, authors=authors)
        texts[".zenodo.json"] = json.dumps(made, indent=2, ensure_ascii=False) + "\n"
    paths = [Path(folder) / name for name in texts]
    for path in paths:
        claim(path, force=force)
    for path, text in zip(paths, texts.values(), strict=True):
        with replacing(path, force=force) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return paths


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        msg = "no such file"
        raise InputError(msg, file=path) from error
    except (OSError, ValueError) as error:
        msg = f"is no metrics.json of hepgan validate: {error}"
        raise InputError(msg, file=path) from error


def _measured(metrics: Any) -> dict[str, Any]:
    """Verdicts and rows of the table, and what was compared."""
    nothing: dict[str, Any] = {"verdicts": [], "rows": [], "compared": "", "auc": None}
    if metrics is None:
        return nothing
    try:
        (sample,) = metrics["samples"]
        verdicts = list(metrics["verdicts"][sample])
        provenance = metrics["provenance"]
        ks = {name: values["ks"] for name, values in metrics["observables"].items() if "ks" in values}
        classifier = metrics.get("classifier") or {}
        rows = [
            {
                "name": name,
                "value": f"{v['value']:.3g}",
                "floor": f"{v['floor']:.3g}",
                "ratio": f"{v['ratio']:.2g}",
            }
            for name, v in sorted(ks.items(), key=lambda item: -(item[1]["ratio"] or 0.0))[:_ROWS]
        ]
        events = int(provenance["reference sample"]["events"])
        names = ", ".join(Path(f).name for f in provenance.get("reference file", []))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        msg = f"is no metrics.json of hepgan validate with one generated sample: {error!r}"
        raise InputError(msg) from error
    return {
        "verdicts": verdicts,
        "rows": rows,
        "compared": f"{events:,} events of {names}" if names else f"{events:,} true events",
        "auc": classifier.get("auc"),
    }


def _front(generator: EventGenerator, found: Mapping[str, Any], license: str | None) -> str:
    """The header, in YAML."""
    recipe, auc = generator.recipe, found["auc"]
    head: dict[str, Any] = {
        **({"license": license.lower()} if license else {}),
        "library_name": "hepgan",
        "tags": [*TAGS, recipe.model.kind],
    }
    if auc is not None:
        metric = {
            "type": "auc",
            "name": f"AUC of a classifier, 0.5 is best (floor {auc['floor']:.3f})",
            "value": round(float(auc["value"]), 4),
        }
        result = {
            "task": {"type": "event-generation", "name": "event generation"},
            "dataset": {"type": "events", "name": found["compared"]},
            "metrics": [metric],
        }
        head["model-index"] = [{"name": recipe.name, "results": [result]}]
    return yaml.safe_dump(head, sort_keys=False, allow_unicode=True, width=1000)


def _training(generator: EventGenerator) -> Iterator[tuple[str, str]]:
    parts, summary = generator.parts, generator.summary
    weights = sum(p.numel() for p in parts.model.parameters())
    yield (
        "model",
        f"{generator.recipe.model.kind}, {weights:,} parameters"
        + (f", an ensemble of {parts.members}" if parts.members > 1 else ""),
    )
    if "training_events" in summary:
        yield "events", f"{summary['training_events']:,} (digest {summary['data_hash']})"
        yield (
            "training",
            (
                f"{summary['steps']:,} steps in {summary['seconds']:,.0f} s on {summary['device']}, "
                f"seed {summary['seed']}, {summary['status']}"
            ),
        )
    yield "model digest", generator.digest()
    yield "written by", ", ".join(f"{package} {number}" for package, number in generator.versions.items())
