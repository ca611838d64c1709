"""What a generator has learned, and the file that keeps it."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, cast

import awkward as ak
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from hepgan.errors import ModelFileError, RecipeError
from hepgan.events import EventSchema
from hepgan.events.schema import Kind
from hepgan.features import Representation
from hepgan.files import replacing, write_tensors
from hepgan.generator.conditions import Conditions, Pool
from hepgan.generator.members import DiscreteMembers, with_member_field
from hepgan.generator.sampling import Sampler
from hepgan.models import Ensemble, Model, build_model
from hepgan.models.discrete import DiscreteModel
from hepgan.observables import Observable
from hepgan.recipes import Derived, Recipe, load_recipe

__all__ = ["Learned", "installed_versions", "read_model_file"]

FORMAT = 1
"""Version of the model file; a reader accepts its own and earlier ones."""


@dataclass(frozen=True)
class Learned:
    """The parts of a generator that has learned.

    Attributes:
        derived: What the events hold, and the scalars among it that are computed instead of learned.
        representation: Events as features, and back.
        discrete: The model of the discrete part, of an ensemble those of its members.
        model: The model of the continuous part.
        pool: Conditions of training events, to draw from where none are given.
        device: Where the networks are.
        own: Of an ensemble the representation of each member, whose transforms are fitted to its events.
    """

    derived: Derived
    representation: Representation
    discrete: DiscreteModel | DiscreteMembers
    model: Model
    pool: Pool
    device: torch.device
    own: tuple[Representation, ...] = ()

    @property
    def schema(self) -> EventSchema:
        """What generated events hold; those of all members of an ensemble the member, too."""
        return with_member_field(self.derived.schema) if self.members > 1 else self.derived.schema

    @property
    def members(self) -> int:
        """The number of an ensemble's members; 1 if it is none."""
        return self.model.members

    def member(self, number: int) -> Learned:
        """The parts of one member of an ensemble; they share its memory.

        Raises:
            ValueError: If there is no member of that number.
        """
        if not 0 <= number < self.members:
            there = f"0 ... {self.members - 1}" if self.members > 1 else "0 alone, since it is no ensemble"
            msg = f"there is no member {number}; the generator has {there}"
            raise ValueError(msg)
        if not isinstance(self.model, Ensemble) or not isinstance(self.discrete, DiscreteMembers):
            return self
        return replace(
            self,
            representation=self.own[number],
            discrete=self.discrete.member(number),
            model=self.model.member(number),
            own=(),
        )

    @property
    def alone(self) -> Learned:
        """These parts, for what is done with a single model only.

        Raises:
            RecipeError: If they are those of an ensemble.
        """
        if self.members > 1:
            msg = f"this is an ensemble of {self.members}: take one of its members, generator.member(k)"
            raise RecipeError(msg)
        return self

    @property
    def discrete_model(self) -> DiscreteModel:
        """The model of the discrete part, of parts that are :attr:`alone`."""
        return cast("DiscreteModel", self.alone.discrete)

    @property
    def condition_ranges(self) -> dict[str, tuple[float, float]]:
        """The least and the largest value in the training events of conditions that are numbers."""
        known = self.representation.condition_ranges
        numbers = {
            n: v for n, v in self.representation.decode_condition(self.pool.condition).items() if len(v)
        }
        found = {n: known.get(n, (float(v.min()), float(v.max()))) for n, v in numbers.items()}
        scalars = self.representation.schema
        return {n: span for n, span in found.items() if scalars.scalar(n).kind is not Kind.CATEGORY}

    @property
    def modules(self) -> dict[str, torch.nn.Module]:
        """The parts that have tensors, by their names in the file."""
        own = {f"representation_{k}": r for k, r in enumerate(self.own)}
        return {"representation": self.representation, "discrete": self.discrete, "model": self.model, **own}

    def sampler(
        self,
        *,
        seed: int,
        condition: Mapping[str, Any] | ak.Array | None = None,
        size: int = 0,
        first: int = 0,
    ) -> Sampler:
        """What makes the events of a seed.

        Args:
            seed: From 0 to 2^64 - 1.
            condition: Conditions as ``EventGenerator.generate`` takes them.
            size: The number of events that arrays of conditions must have values for.
            first: The number of the event that their first values belong to.

        Raises:
            InputError: If a condition is not one of the model's, or not usable.
        """
        return Sampler(
            self.representation,
            self.discrete,
            self.model,
            Conditions(self.representation, condition, self.pool, size, first),
            seed=seed,
            device=self.device,
            complete=self.derived,
            own=self.own,
        )

    def write(self, path: Path, recipe: Recipe, summary: Mapping[str, Any], *, force: bool) -> None:
        """Writes a model file.

        Raises:
            OutputError: If the file exists (without force) or cannot be written.
        """
        tensors = {
            f"{name}.{key}": value.detach().cpu().contiguous()
            for name, module in self.modules.items()
            for key, value in module.state_dict().items()
        }
        tensors["conditions"] = self.pool.condition.cpu().contiguous()
        if self.pool.given is not None:
            tensors["given"] = self.pool.given.cpu().contiguous()
        document = recipe.model_dump(mode="json", exclude_unset=True)
        # Defaults may change in a later version, but not what was learned with them.
        document["model"] = recipe.model.model_dump(mode="json")
        metadata = {
            "hepgan": {"format": FORMAT, "versions": installed_versions(), "digest": _digest(tensors)},
            "recipe": document,
            "schema": self.derived.schema.model_dump(mode="json"),
            "representation": self.representation.state(),
            "discrete": self.discrete.state(),
            "summary": dict(summary),
        }
        with replacing(path, force=force) as temporary:
            write_tensors(temporary, tensors, {k: json.dumps(v) for k, v in metadata.items()})

    @classmethod
    def read(cls, path: str | Path, device: torch.device) -> tuple[Recipe, Learned, dict[str, Any]]:
        """The recipe, the parts, and the metadata of a model file.

        Raises:
            ModelFileError: If the file is missing, corrupt, not hepgan's, or of a later format.
        """
        metadata, tensors = read_model_file(path)
        try:
            recipe = load_recipe(metadata["recipe"])
            derived = Derived(EventSchema.model_validate(metadata["schema"]), recipe.events.derived)
            representation = Representation.from_state(metadata["representation"])
            members = recipe.training.members
            kind = DiscreteModel if members == 1 else DiscreteMembers
            discrete = kind.from_state(metadata["discrete"])
            model = build_model(
                recipe.model,
                representation.space,
                decode=derived.after(representation.decode),
                # Training alone evaluates observables; here their names will do.
                observables=cast("dict[str, Observable]", dict.fromkeys(recipe.observables)),
                members=members,
            )
            pool = Pool(tensors["conditions"], tensors.get("given"))
            own = tuple(
                Representation.from_state(metadata["representation"])
                for _ in range(members if members > 1 else 0)
            )
            learned = cls(derived, representation, discrete, model, pool, device, own)
            for name, module in learned.modules.items():
                prefix = name + "."
                module.load_state_dict(
                    {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
                )
                module.to(device)
                module.eval()
            metadata["summary"], metadata["hepgan"]["versions"]
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            msg = f"the model does not fit its own description: {' '.join(str(error).split())[:200]}"
            raise ModelFileError(msg, file=path) from error
        return recipe, learned, metadata


def read_model_file(path: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The metadata and the tensors of a model file.

    Raises:
        ModelFileError: If the file is missing, corrupt, not hepgan's, or of a later format.
    """
    if not Path(path).is_file():
        msg = "no such file"
        raise ModelFileError(msg, file=path)
    try:
        with safe_open(path, framework="pt") as file:
            raw = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        msg = "not a model file, or a damaged one"
        raise ModelFileError(msg, file=path) from error
    if "hepgan" not in raw:
        msg = "a safetensors file, but not one of hepgan's models"
        raise ModelFileError(msg, file=path)
    try:
        metadata = {key: json.loads(value) for key, value in raw.items()}
        found, digest = int(metadata["hepgan"]["format"]), metadata["hepgan"].get("digest")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        msg = "a damaged model file: its description cannot be read"
        raise ModelFileError(msg, file=path) from error
    if found > FORMAT:
        by = metadata["hepgan"].get("versions", {}).get("hepgan", "a later version")
        msg = f"written by hepgan {by} in format {found}; this hepgan reads formats up to {FORMAT}"
        raise ModelFileError(msg, file=path)
    if digest is not None and digest != _digest(tensors):
        msg = "a damaged model file: its numbers are not those that were written"
        raise ModelFileError(msg, file=path)
    return metadata, tensors


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)}".encode())
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def installed_versions() -> dict[str, str]:
    """The versions of Python and of the packages that events depend on."""
    found = {"python": platform.python_version()}
    for package in ("hepgan", "torch", "numpy", "awkward", "vector"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "unknown"
    return found
