"""The file that keeps a generator: tensors, and one JSON document that describes them."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hepgan.errors import ModelFileError
from hepgan.events import EventSchema
from hepgan.features import Representation, format1
from hepgan.files import replacing
from hepgan.generator.conditions import Pool
from hepgan.generator.describe import describe
from hepgan.generator.ensembles import DiscreteMembers
from hepgan.generator.fitting import derived_of
from hepgan.generator.parts import Parts
from hepgan.learners import build_critics
from hepgan.models import build_model
from hepgan.models.discrete import DiscreteModel
from hepgan.networks import drawing_from, no_more_than
from hepgan.recipes import Recipe, load_recipe
from hepgan.sealed import DAMAGE, digest_of, parsed, seal, unseal

__all__ = ["Contents", "digest", "from_bytes", "installed_versions", "read", "to_bytes", "write"]

FORMAT = 2
"""Version of the model file; a reader accepts its own and earlier ones."""

_NAME = "hepgan"
_SPARE = 10_000
"""Weights that networks may have besides those in the file: of a member that is made and not kept."""


class Contents(NamedTuple):
    """All that a model file holds.

    Attributes:
        recipe: The generator's recipe.
        parts: What it has learned.
        summary: What was noted of its training.
        versions: The packages that wrote it, with their versions.
    """

    recipe: Recipe
    parts: Parts
    summary: dict[str, Any]
    versions: dict[str, str]


def write(path: str | Path, recipe: Recipe, parts: Parts, summary: Mapping[str, Any], *, force: bool) -> None:
    """Writes a model file, which is whole or not there.

    Raises:
        OutputError: If the file exists (without force) or cannot be written.
    """
    with replacing(Path(path), force=force) as temporary:
        temporary.write_bytes(to_bytes(recipe, parts, summary))


def read(path: str | Path, device: torch.device) -> Contents:
    """What a model file holds. Nothing in it is executed.

    Raises:
        ModelFileError: If the file is missing, corrupt, not hepgan's, or of a later format.
    """
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError as error:
        msg = "no such file"
        raise ModelFileError(msg, file=path) from error
    except OSError as error:
        msg = f"cannot be read: {error.strerror}"
        raise ModelFileError(msg, file=path) from error
    return from_bytes(data, device, file=path)


def to_bytes(recipe: Recipe, parts: Parts, summary: Mapping[str, Any]) -> bytes:
    """The content of a model file."""
    learned, tensors = _described(recipe, parts)
    versions = installed_versions()
    return seal(_NAME, {"format": FORMAT, "versions": versions, **learned, "summary": dict(summary)}, tensors)


def digest(recipe: Recipe, parts: Parts) -> str:
    """A digest of all that events depend on, the same in every process."""
    learned, tensors = _described(recipe, parts)
    return digest_of(json.dumps(learned, sort_keys=True), tensors)


def _described(recipe: Recipe, parts: Parts) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What has been learned, as a document and tensors."""
    tensors = {
        f"{name}.{key}": value
        for name, module in parts.modules.items()
        for key, value in module.state_dict().items()
    }
    tensors |= {f"pool.{name}": value for name, value in parts.pool.tensors.items()}
    settings = recipe.model_dump(mode="json", exclude_unset=True)
    # Defaults may change in a later version, but not what was learned with them.
    settings["model"] = recipe.model.model_dump(mode="json")
    document = {
        "recipe": settings,
        "schema": parts.derived.schema.model_dump(mode="json"),
        "representation": parts.representation.state(),
        "discrete": parts.discrete.state(),
    }
    return document, tensors


def from_bytes(data: bytes, device: torch.device, *, file: str | Path | None = None) -> Contents:
    """What the content of a model file tells.

    Args:
        data: The content.
        device: Where the networks are to be.
        file: The file's name, for messages.

    Raises:
        ModelFileError: If it is corrupt, not hepgan's, or of a later format.
    """
    try:
        document, tensors = _unpacked(data)
    except ModelFileError as error:
        raise ModelFileError(error.message, file=file) from error
    try:
        return _restored(document, tensors, device)
    except DAMAGE as error:
        msg = f"the model does not fit its own description: {' '.join(str(error).split())[:200]}"
        raise ModelFileError(msg, file=file) from error


def _unpacked(data: bytes) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The document and the tensors of a file of any format, the document in the present form.

    Raises:
        ModelFileError: If it is corrupt, not hepgan's, or of a later format.
    """
    try:
        sealed = unseal(data)
    except ValueError as error:
        msg = "not a model file, or a damaged one"
        raise ModelFileError(msg) from error
    tensors = sealed.tensors
    if _NAME not in sealed.texts:
        msg = "a safetensors file, but not one of hepgan's models"
        raise ModelFileError(msg)
    try:
        described = {key: parsed(value) for key, value in sealed.texts.items()}
        document = described[_NAME]
        found, versions = int(document["format"]), dict(document["versions"])
    except DAMAGE as error:
        msg = "a damaged model file: its description cannot be read"
        raise ModelFileError(msg) from error
    if found > FORMAT:
        by = versions.get("hepgan", "a later version")
        msg = f"written by hepgan {by} in format {found}; this hepgan reads formats up to {FORMAT}"
        raise ModelFileError(msg)
    if found == 1:
        whole = document.get("digest") in (None, digest_of("", tensors))
        document, tensors = _of_format_1(described, tensors)
    else:
        whole = bool(sealed.is_whole(_NAME))
    if not whole:
        msg = "a damaged model file: it does not hold what was written"
        raise ModelFileError(msg)
    return document, tensors


def _of_format_1(
    described: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The document and the tensors of format 1, as they are kept now.

    It had several documents, and critics were a part of the model.
    """
    names = {"conditions": "pool.condition", "given": "pool.given"}
    places = {"model.": "critics.", "model.model.": "critics.", "model.stacked.": "critics.stacked."}
    for name in tensors:
        owner, found, rest = name.partition("critics.")
        if found and owner in places:
            names[name] = places[owner] + rest
    discrete = format1.discrete(described["discrete"])
    return {**described[_NAME], **described, "discrete": discrete}, {
        names.get(n, n): t for n, t in tensors.items()
    }


def _restored(document: Mapping[str, Any], tensors: Mapping[str, Tensor], device: torch.device) -> Contents:
    recipe = load_recipe(document["recipe"])
    schema = EventSchema.model_validate(document["schema"])
    derived = derived_of(recipe, schema)
    members = recipe.training.members
    representation = Representation.from_state(document["representation"])
    # An ensemble has a member more than its file while it is made.
    most = sum(t.numel() for t in tensors.values()) * (1 if members == 1 else 2) + _SPARE
    with no_more_than(most), drawing_from(torch.Generator()):
        kind = DiscreteModel if members == 1 else DiscreteMembers
        model = build_model(recipe.model, representation.space, members=members)
        critics = build_critics(recipe.model, model)
        discrete = kind.from_state(document["discrete"])
    own = [
        Representation.from_state(document["representation"]) for _ in range(members if members > 1 else 0)
    ]
    pool = Pool(**{n.removeprefix("pool."): t for n, t in tensors.items() if n.startswith("pool.")})
    parts = Parts(derived, representation, discrete, model, pool, device, tuple(own), critics)
    for name, module in parts.modules.items():
        prefix = name + "."
        module.load_state_dict(
            {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        )
        module.to(device)
        module.eval()
    contents = Contents(recipe, parts, dict(document["summary"]), dict(document["versions"]))
    describe(*contents)  # shows that a summary, in which anything may stand, holds what one does
    return contents


def installed_versions() -> dict[str, str]:
    """The versions of Python and of the packages that events depend on."""
    found = {"python": platform.python_version()}
    for package in ("hepgan", "torch", "numpy", "awkward", "vector"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "unknown"
    return found
