"""The face of hepgan: an event generator that is learned from events."""

from __future__ import annotations

import hashlib
import json
import platform
import time
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from hepgan._files import replacing, write_tensors
from hepgan.errors import InputError, ModelFileError, RecipeError
from hepgan.events import EventBatch, EventSchema, check_events, schema_of, select, to_awkward, to_batch
from hepgan.events import with_kinds as _with_kinds
from hepgan.features import DiscreteModel, FeatureBatch, Representation, mirrored
from hepgan.models import Model, build_model
from hepgan.objectives.distances import ks, wasserstein_scaled
from hepgan.observables import Observable
from hepgan.recipes import Recipe, load_recipe
from hepgan.sampling import Conditions, Sampler
from hepgan.training import History, Trainer, TrainingConfig

__all__ = ["EventGenerator", "choose_device"]

FORMAT = 1
"""Version of the model file; a reader accepts its own and earlier ones."""

MAX_POOL = 20_000
"""How many training events' conditions a model keeps, to draw from where none are given."""

METRICS = {"ks": ks, "wasserstein": wasserstein_scaled}
"""What ``training.selection`` may ask for, as ``ks:m_mumu``."""


class EventGenerator:
    """Learns events, generates more of them, and is kept in one file.

    Example:
        >>> generator = EventGenerator("zmumu").fit(events)          # doctest: +SKIP
        >>> generated = generator.generate(100_000, seed=1)          # doctest: +SKIP
        >>> generator.save("zmumu.safetensors")                      # doctest: +SKIP

    Args:
        recipe: A recipe's name, its YAML file, a mapping, or a Recipe.

    Raises:
        RecipeError: If there is no such recipe, or if it is wrong.
    """

    def __init__(self, recipe: str | Path | Mapping[str, Any] | Recipe) -> None:
        self.recipe = load_recipe(recipe)
        self.history: History | None = None
        self.summary: dict[str, Any] = {}
        self.versions = _versions()
        self._parts: _Parts | None = None

    # ------------------------------------------------------------------ learning

    def fit(
        self,
        events: ak.Array,
        *,
        seed: int = 0,
        device: torch.device | str | None = None,
        max_time: float | None = None,
        checkpoint: str | Path | None = None,
        resume: bool = False,
        progress: bool = False,
    ) -> EventGenerator:
        """Learns from events.

        A part of them (``training.validation_fraction``) is kept apart, to choose the checkpoint.

        Args:
            events: Events as ``read_events`` gives them; weights, negative ones too, are those of the
                schema's weight.
            seed: Seed of the split, the weights and the training; the same seed, the same model.
            device: Where to train; a GPU if there is one, by default.
            max_time: Seconds after which the training ends, with its learning rate annealed.
            checkpoint: File that the training is saved to as it goes, and resumed from.
            resume: Whether to go on from ``checkpoint``.
            progress: Whether to show a progress bar.

        Returns:
            This generator.

        Raises:
            InputError: If the events cannot be used.
            RecipeError: If the recipe does not fit them.
            TrainingError: If a loss is not a number.
        """
        started = time.monotonic()
        device = choose_device(device)
        schema = self._schema(events)
        check_events(events, schema)
        observables = self.recipe.make_observables()
        for observable in observables.values():
            observable.check(schema)
        self._check_metrics(observables)
        batch = to_batch(events, schema)
        training, validation = _split(len(batch), self.recipe.training.validation_fraction, seed)

        representation = Representation(self.recipe.features, schema, self.recipe.conditions)
        representation.fit(batch[training])
        features = representation.encode(batch[training])
        discrete = DiscreteModel(representation.variables, representation.condition_size)
        discrete.fit(
            features.discrete,
            features.condition,
            features.weight,
            generator=torch.Generator().manual_seed(seed),
        )
        pool = features.condition[torch.randperm(len(features), generator=_rng(seed))[:MAX_POOL]]
        smooth = mirrored(representation, features, generator=_rng(seed))
        representation.to(device)
        discrete.to(device)
        torch.manual_seed(seed)
        model = build_model(
            self.recipe.model,
            size=representation.size,
            context_size=representation.context_size,
            decode=representation.decode,
            observables=observables,
        )
        self._parts = _Parts(schema, representation, discrete, model, pool, device)
        reference = batch[validation]
        trainer = Trainer(
            model,
            smooth.to(device, torch.float32),
            self._training(max_time, time.monotonic() - started),
            seed=seed,
            device=device,
            evaluate=(lambda trained: self._evaluate(trained, reference, observables))
            if self._metrics and len(reference)
            else None,
            checkpoint=checkpoint,
            resume=resume,
            progress=progress,
        )
        self.history = trainer.run()
        model.eval()
        self.summary = {
            "training_events": len(training),
            "validation_events": len(validation),
            "data_hash": _hash(features),
            "seed": seed,
            "seconds": round(time.monotonic() - started, 1),
            "device": str(device),
            **_outcome(self.history),
        }
        return self

    def _training(self, max_time: float | None, used: float) -> TrainingConfig:
        """The recipe's settings, with the time that is left."""
        config = self.recipe.training
        limits = [t for t in (max_time, config.max_time) if t is not None]
        if not limits:
            return config
        return config.model_copy(update={"max_time": max(min(limits) - used, 1.0)})

    def _schema(self, events: ak.Array) -> EventSchema:
        wanted = self.recipe.events
        schema = wanted.layout or schema_of(events)
        try:
            if wanted.kinds:
                schema = _with_kinds(schema, wanted.kinds)
            if wanted.weight:
                schema = schema.model_copy(update={"weight": wanted.weight})
            if wanted.select:
                kept = [*wanted.select, *self.recipe.conditions, *filter(None, [schema.weight])]
                schema = select(schema, kept)
        except (KeyError, ValueError) as error:
            reason = str(error.args[0]) if error.args else str(error)
            msg = f"the recipe is for other events: {reason}"
            raise RecipeError(msg, file=self.recipe.name) from error
        return schema

    @property
    def _metrics(self) -> tuple[str, ...]:
        selection = self.recipe.training.selection
        return () if selection is None else selection.metrics

    def _check_metrics(self, observables: Mapping[str, Observable]) -> None:
        for metric in self._metrics:
            kind, _, name = metric.partition(":")
            if kind not in METRICS or name not in observables:
                msg = (
                    f"training.selection: {metric!r} is not a metric; write {' or '.join(METRICS)}, "
                    f"a colon, and one of {', '.join(observables) or 'the observables (there are none)'}"
                )
                raise RecipeError(msg, file=self.recipe.name)

    def _evaluate(
        self, model: Model, reference: EventBatch, observables: Mapping[str, Observable]
    ) -> dict[str, float]:
        parts = self._fitted
        generated = next(
            Sampler(
                parts.representation,
                parts.discrete,
                model,
                Conditions(parts.representation, None, parts.pool),
                seed=0,
                device=parts.device,
            ).iterate(len(reference), step=len(reference))
        )
        values = {}
        for metric in self._metrics:
            kind, _, name = metric.partition(":")
            a, weight_a = _values(observables[name], reference)
            b, weight_b = _values(observables[name], generated)
            values[metric] = METRICS[kind](a, b, weight_a, weight_b)
        return values

    # ------------------------------------------------------------------ generating

    @property
    def _fitted(self) -> _Parts:
        if self._parts is None:
            msg = "this generator has not learned anything yet: call fit, or load a model file"
            raise RuntimeError(msg)
        return self._parts

    @property
    def schema(self) -> EventSchema:
        """What the generated events hold."""
        return self._fitted.schema

    def generate(
        self,
        n: int,
        *,
        seed: int = 0,
        condition: Mapping[str, Any] | None = None,
        workers: int | None = None,
    ) -> ak.Array:
        """Generates events of the type that was learned.

        Args:
            n: Number of events.
            seed: The same seed gives the same events, whatever n and the number of workers.
            condition: Conditions by name: a number, or an array of n; as in training if missing.
            workers: Threads; as many as there are cores by default.

        Returns:
            n events, as ``read_events`` would give them.
        """
        if n <= 0:
            msg = f"the number of events must be positive, not {n}"
            raise ValueError(msg)
        batches = self.iterate(n, seed=seed, condition=condition, workers=workers, step=n)
        return to_awkward(next(batches))

    def iterate(
        self,
        n: int,
        *,
        seed: int = 0,
        first: int = 0,
        step: int = 100_000,
        condition: Mapping[str, Any] | None = None,
        workers: int | None = None,
    ) -> Iterator[EventBatch]:
        """Generates events ``first`` ... ``first + n - 1`` of a seed in batches of ``step``, as tensors.

        Args:
            n: Number of events.
            seed: As in ``generate``.
            first: Number of the first event, which a shard begins with.
            step: Events in a batch.
            condition: As in ``generate``; arrays are indexed by event number.
            workers: Threads.
        """
        parts = self._fitted
        conditions = Conditions(parts.representation, condition, parts.pool)
        sampler = Sampler(
            parts.representation, parts.discrete, parts.model, conditions, seed=seed, device=parts.device
        )
        return sampler.iterate(n, first=first, step=step, workers=workers)

    # ------------------------------------------------------------------ keeping

    def save(self, path: str | Path, *, force: bool = False) -> None:
        """Writes the generator to one safetensors file.

        Args:
            path: The file.
            force: Whether an existing file may be replaced.

        Raises:
            OutputError: If the file exists or cannot be written.
        """
        parts = self._fitted
        tensors = {
            f"{name}.{key}": value.detach().cpu().contiguous()
            for name, module in parts.modules.items()
            for key, value in module.state_dict().items()
        }
        tensors["conditions"] = parts.pool.cpu().contiguous()
        metadata = {
            "hepgan": {"format": FORMAT, "versions": _versions()},
            "recipe": self.recipe.model_dump(mode="json", exclude_unset=True),
            "schema": parts.schema.model_dump(mode="json"),
            "representation": parts.representation.state(),
            "discrete": parts.discrete.state(),
            "summary": self.summary,
        }
        with replacing(Path(path), force=force) as temporary:
            write_tensors(temporary, tensors, {k: json.dumps(v) for k, v in metadata.items()})

    @classmethod
    def load(cls, path: str | Path, *, device: torch.device | str | None = None) -> EventGenerator:
        """Reads a generator from its file. Nothing in the file is executed.

        Args:
            path: The file.
            device: Where to generate; a GPU if there is one, by default.

        Raises:
            ModelFileError: If the file is missing, corrupt, not hepgan's, or of a later format.
        """
        metadata, tensors = read_model_file(path)
        device = choose_device(device)
        try:
            generator = cls(metadata["recipe"])
            schema = EventSchema.model_validate(metadata["schema"])
            representation = Representation.from_state(metadata["representation"])
            discrete = DiscreteModel.from_state(metadata["discrete"])
            model = build_model(
                generator.recipe.model,
                size=representation.size,
                context_size=representation.context_size,
                decode=representation.decode,
                observables=generator.recipe.make_observables(),
            )
            parts = _Parts(schema, representation, discrete, model, tensors["conditions"], device)
            for name, module in parts.modules.items():
                prefix = name + "."
                module.load_state_dict(
                    {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
                )
                module.to(device)
                module.eval()
            generator.summary = metadata["summary"]
            generator.versions = metadata["hepgan"]["versions"]
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            msg = f"the model does not fit its own description: {' '.join(str(error).split())[:200]}"
            raise ModelFileError(msg, file=path) from error
        generator._parts = parts
        return generator

    def describe(self) -> list[str]:
        """What the generator is, in lines for people."""
        parts, summary = self._fitted, self.summary
        networks = sum(p.numel() for p in parts.model.parameters())
        lines = [
            f"recipe      {self.recipe.name}: {' '.join(self.recipe.description.split())}",
            f"model       {self.recipe.model.kind}, {networks:,} parameters",
            f"features    {parts.representation.size} continuous, "
            f"{len(parts.representation.variables)} discrete",
            f"conditions  {', '.join(self.recipe.conditions) or 'none'}",
            "events      " + "; ".join(_contents(parts.schema)),
        ]
        if summary:
            lines.append(
                f"training    {summary['training_events']:,} events, {summary['steps']:,} steps in "
                f"{summary['seconds']:,.0f} s on {summary['device']}, seed {summary['seed']}, "
                f"{summary['status']}"
            )
            lines.append(f"data hash   {summary['data_hash']}")
        found = ", ".join(f"{package} {number}" for package, number in self.versions.items())
        lines.append(f"written by  {found}")
        return lines


class _Parts:
    """What a generator has after it has learned."""

    def __init__(
        self,
        schema: EventSchema,
        representation: Representation,
        discrete: DiscreteModel,
        model: Model,
        pool: Tensor,
        device: torch.device,
    ) -> None:
        self.schema, self.representation, self.discrete, self.model = schema, representation, discrete, model
        self.pool, self.device = pool, device

    @property
    def modules(self) -> dict[str, torch.nn.Module]:
        return {"representation": self.representation, "discrete": self.discrete, "model": self.model}


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
        found = int(metadata["hepgan"]["format"])
    except (ValueError, KeyError, TypeError) as error:
        msg = "a damaged model file: its description cannot be read"
        raise ModelFileError(msg, file=path) from error
    if found > FORMAT:
        by = metadata["hepgan"].get("versions", {}).get("hepgan", "a later version")
        msg = f"written by hepgan {by} in format {found}; this hepgan reads formats up to {FORMAT}"
        raise ModelFileError(msg, file=path)
    return metadata, tensors


def choose_device(device: torch.device | str | None) -> torch.device:
    """The device of that name, or for None a GPU if there is one, else the CPU.

    Raises:
        InputError: If numbers cannot be computed there.
    """
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.zeros(1, device=chosen).tolist()
    except (RuntimeError, AssertionError, ImportError) as error:
        there = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        msg = f"device {str(device)!r} is not available here; there are {', '.join(there)}"
        raise InputError(msg) from error
    return chosen


def _split(size: int, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    held = min(int(size * fraction), size - 1)
    order = torch.randperm(size, generator=_rng(seed))
    return order[held:].sort().values, order[:held].sort().values


def _rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _values(observable: Observable, events: EventBatch) -> tuple[np.ndarray, np.ndarray | None]:
    values, index = observable.flat(events)
    weight = None if events.weight is None else events.weight[index].cpu().numpy()
    return values.cpu().numpy(), weight


def _hash(features: FeatureBatch) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for tensor in (features.x, features.discrete, features.condition, features.weight):
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _outcome(history: History) -> dict[str, Any]:
    """What the training came to: the last value of each loss, the metrics of the model that was kept."""
    rows = history.metrics.rows()
    kept = [row for row in rows if history.best_step in (None, row["step"])]
    return {
        "status": history.status,
        "steps": len(history.losses),
        "best_step": history.best_step,
        "events_per_second": round(history.events / max(history.seconds, 1e-9)),
        "losses": {n: float(history.losses[n][-1]) for n in history.losses.names} if history.losses else {},
        "metrics": kept[-1] if kept else {},
    }


def _contents(schema: EventSchema) -> Iterator[str]:
    for c in schema.collections:
        count = f"{c.min_count}" if c.fixed else f"{c.min_count}..{c.max_count}"
        yield f"{count} {c.name} ({', '.join(c.field_names)})"
    if schema.scalars:
        yield ", ".join(schema.scalar_names)


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in ("hepgan", "torch", "numpy", "awkward", "vector"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "unknown"
    return found
