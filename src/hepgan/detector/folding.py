"""Detector-level events of vertex-level ones, and files of these."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import awkward as ak
import numpy as np
import torch
from torch import Tensor

from hepgan.arguments import checked
from hepgan.errors import InputError, OutputError, RecipeError
from hepgan.events import (
    EventBatch,
    EventSchema,
    EventsLike,
    EventWriter,
    Field,
    iterate_events,
    reads,
    schema_of,
    to_awkward,
)
from hepgan.events.buffers import ATTRIBUTE
from hepgan.events.formats import Format, format_for
from hepgan.events.nanoaod import is_nanoaod
from hepgan.files import claim
from hepgan.generator import EventGenerator
from hepgan.generator.ensembles import check_single
from hepgan.generator.sampling import draw_within
from hepgan.models import BLOCK
from hepgan.recipes import Recipe, load_recipe

__all__ = ["Folding", "fold_file", "folding_recipe"]

Kind = Literal["conditional", "direct"]

CHUNK = 24 * BLOCK
"""Events of a file that are read at once."""


@checked
def folding_recipe(
    schema: EventSchema,
    *,
    vertex: Sequence[str],
    detector: Sequence[str],
    conditions: Sequence[str] = (),
    kind: Kind = "conditional",
) -> Recipe:
    """A recipe for folding events of a schema.

    With ``conditional``, a flow learns how the objects of each detector-level collection deviate from those
    of the vertex-level collection of the same place in the list, and which are lost, seen from the azimuth
    of the first vertex-level object; the response is taken to be the same at every azimuth. Collections
    without a partner, or without a three-dimensional momentum, are learned as they are.

    With ``direct``, a network without noise makes momenta of momenta, trained against a critic that sees
    both (least squares): the published comparison, which cannot smear.

    Args:
        schema: What the events hold.
        vertex: The collections that are given.
        detector: The collections that are made of them.
        conditions: Scalars that are given, too.
        kind: Which of the two.

    Raises:
        RecipeError: If the events have no such collection or scalar.
    """
    known = (*schema.collection_names, *schema.scalar_names)
    for name in (*vertex, *detector, *conditions):
        if name not in known:
            msg = f"folding: no {name!r} in the events; there are {', '.join(known) or 'none'}"
            raise RecipeError(msg)
    direct = kind == "direct"
    features: dict[str, Any] = {"transform": "standardise"} if direct else {}
    solid = [n for n in vertex if len(schema.collection(n).coordinates) > 2]
    if not direct and solid and solid[0] == vertex[0]:
        single = schema.collection(vertex[0]).layout == "single"
        features["azimuth"] = vertex[0] if single else f"{vertex[0]}[0]"
    pairs = zip(detector, vertex, strict=False) if not direct else ()
    features["blocks"] = [
        {"kind": "response", "collection": measured, "of": true}
        for measured, true in pairs
        if true in solid and len(schema.collection(measured).coordinates) > 2
    ]
    return load_recipe(
        {
            "name": "folding" if not direct else "folding-direct",
            "description": f"Detector-level {', '.join(detector)} of vertex-level {', '.join(vertex)}",
            "events": {
                "select": list(detector),
                "kinds": dict.fromkeys(_numbers(schema, conditions), "continuous"),
            },
            "conditions": [*vertex, *conditions],
            "features": features,
            "model": _DIRECT if direct else _FLOW,
            "training": _TRAINING,
        }
    )


_FLOW: dict[str, Any] = {
    "kind": "flow",
    "blocks": 6,
    "bins": 8,
    "network": {"kind": "mlp", "widths": [64, 64], "activation": "silu"},
}
_DIRECT: dict[str, Any] = {
    "kind": "gan",
    "noise": 0,
    "generator": {"kind": "mlp", "widths": [128, 128, 128, 128]},
    "critics": [{"loss": "lsgan", "network": {"kind": "mlp", "widths": [128, 128, 128, 128]}}],
}
_TRAINING: dict[str, Any] = {
    "steps": 4000,
    "batch_size": 2048,
    "schedule": {"kind": "cosine", "warmup": 100},
    "gradient_clip": 1.0,
    "validation_fraction": 0.02,
}


def _numbers(schema: EventSchema, names: Sequence[str]) -> list[str]:
    """Those of few values that are numbers all the same, so that others than these can be given."""
    fields = [schema.scalar(n) for n in names]
    return [f.name for f in fields if f.dtype != "string" and np.dtype(f.dtype).kind == "f"]


@dataclass(frozen=True)
class _Weights:
    """The event weights (N,) of what is folded, and the field that they come from."""

    field: Field
    values: Tensor


class Folding:
    """Learns what a detector makes of events from pairs of them, and does it to others.

    Example:
        >>> folding = Folding("folding").fit(paired)                 # doctest: +SKIP
        >>> folded = folding.fold(vertex_events, seed=1)             # doctest: +SKIP
        >>> folding.save("folding.safetensors")                      # doctest: +SKIP

    Args:
        recipe: A recipe (a name, a YAML file, a mapping, a Recipe) whose conditions are the vertex-level
            collections; None to draft one from the events (see ``folding_recipe``).
        vertex: Vertex-level collections, for a draft.
        detector: Detector-level collections, for a draft.
        conditions: Numbers of the event that are given, too, for a draft.
        kind: What to draft.

    Raises:
        RecipeError: If there is no such recipe, or no collection among its conditions.
        ValueError: If there is no such kind.
    """

    @checked
    def __init__(
        self,
        recipe: str | Path | Mapping[str, Any] | Recipe | None = None,
        *,
        vertex: Sequence[str] = ("Electron",),
        detector: Sequence[str] = ("Detector",),
        conditions: Sequence[str] = ("beam_energy",),
        kind: Kind = "conditional",
    ) -> None:
        if kind not in ("conditional", "direct"):
            msg = f"kind must be 'conditional' or 'direct', not {kind!r}"
            raise ValueError(msg)
        self._recipe = None if recipe is None else load_recipe(recipe)
        self._draft: dict[str, Any] = {
            "vertex": tuple(vertex),
            "detector": tuple(detector),
            "conditions": tuple(conditions),
            "kind": kind,
        }
        self._generator: EventGenerator | None = None

    @property
    def generator(self) -> EventGenerator:
        """The generator of detector-level events, whose conditions are the vertex-level ones.

        Raises:
            RuntimeError: If nothing has been learned yet.
        """
        if self._generator is None:
            msg = "this folding has not learned anything yet: call fit, or load a model file"
            raise RuntimeError(msg)
        return self._generator

    @property
    def vertex(self) -> tuple[str, ...]:
        """The vertex-level collections, which are given."""
        return self.generator.representation.given

    @property
    def detector(self) -> tuple[str, ...]:
        """The detector-level collections."""
        return tuple(n for n in self.generator.schema.collection_names if n not in self.vertex)

    @property
    def conditions(self) -> tuple[str, ...]:
        """All that has to be given: collections and numbers of the event."""
        return self.generator.representation.conditions

    # ------------------------------------------------------------------ learning

    @checked
    def fit(self, events: EventsLike, *, seed: int = 0, **options: Any) -> Folding:
        """Learns from events that have both levels.

        Args:
            events: Events as ``read_events`` gives them.
            seed: The same seed, the same model.
            options: As of ``EventGenerator.fit``: ``device``, ``max_time``, ``checkpoint``, ``resume``,
                ``progress``.

        Raises:
            InputError: If the events cannot be used.
            RecipeError: If the recipe does not fit them, gives no collection, or asks for an ensemble.
        """
        recipe = self._recipe
        if recipe is None:
            recipe = folding_recipe(schema_of(events), **self._draft)
        generator = EventGenerator(recipe)
        if not set(recipe.conditions) & set(schema_of(events).collection_names):
            msg = "a recipe for folding has the vertex-level collections among its conditions"
            raise RecipeError(msg, file=recipe.name)
        check_single(recipe.training, "a folding")
        generator.fit(events, seed=seed, **options)
        self._generator = _frozen(generator)
        return self

    # ------------------------------------------------------------------ folding

    @checked
    def fold(
        self,
        events: EventsLike,
        *,
        seed: int = 0,
        keep_vertex: bool = False,
        workers: int | None = None,
    ) -> ak.Array:
        """Detector-level events of vertex-level ones, in their order.

        Args:
            events: N events with the vertex-level collections and the other conditions.
            seed: The same seed gives the same events, for any number of workers.
            keep_vertex: Whether to keep the vertex-level collections beside.
            workers: Threads; as many as there are cores by default.

        Returns:
            N events with the detector-level collections and the other conditions, and with the weights of
            the given events where these have some.

        Raises:
            InputError: If a collection or a condition is missing, or an event has what none had in training.
        """
        batches = list(self.pieces(events, seed=seed, keep_vertex=keep_vertex, workers=workers))
        found = [to_awkward(batch) for batch in batches]
        folded = found[0] if len(found) == 1 else ak.concatenate(found)
        folded.attrs[ATTRIBUTE] = batches[0].schema
        return folded

    @checked
    def pieces(
        self,
        events: EventsLike,
        *,
        seed: int = 0,
        first: int = 0,
        keep_vertex: bool = False,
        workers: int | None = None,
    ) -> Generator[EventBatch, None, None]:
        """Folds events as ``fold`` does, and gives them in the pieces in which they are made, in order.

        Args:
            events: N events, which are the events ``first`` ... ``first + N - 1`` of all.
            seed: As in ``fold``.
            first: The number of the first; with a multiple of ``hepgan.models.BLOCK`` folded events are
                the same however they are divided.
            keep_vertex: As in ``fold``.
            workers: As in ``fold``.

        Raises:
            InputError: As ``fold``.
        """
        weights = _weights_of(events)
        schema = self.schema(None if weights is None else weights.field, keep_vertex=keep_vertex)

        def narrowed(batch: EventBatch) -> EventBatch:
            return _part(batch, schema)

        pieces = self.generator.pieces(
            len(events), narrowed, seed=seed, first=first, condition=events, offset=first, workers=workers
        )
        done = 0
        for batch in pieces:
            yield _weighted(batch, schema, weights, done)
            done += len(batch)

    def schema(self, weight: Field | None = None, *, keep_vertex: bool = False) -> EventSchema:
        """What folded events hold.

        Args:
            weight: The weight of the events that are folded, if they have one.
            keep_vertex: Whether the vertex-level collections are kept.
        """
        whole = self.generator.schema
        kept = tuple(c for c in whole.collections if keep_vertex or c.name not in self.vertex)
        own = {whole.weight} if weight is None else {whole.weight, weight.name}
        scalars = tuple(f for f in whole.scalars if f.name not in own)
        return whole.model_copy(
            update={
                "collections": kept,
                "scalars": scalars if weight is None else (*scalars, weight),
                "weight": None if weight is None else weight.name,
            }
        )

    def fold_batch(self, batch: EventBatch, generator: torch.Generator) -> EventBatch:
        """Folds a batch differentiably: gradients reach the momenta of vertex-level objects.

        What is discrete (which objects are found, how many fakes there are) is drawn, and has no gradient.
        The weights of the networks are frozen.

        Args:
            batch: N events with the vertex-level collections and the other conditions; of whatever schema.
            generator: Draws all random numbers.

        Returns:
            N events with the detector-level collections and the other conditions, in float64, and with the
            weights of the batch.

        Raises:
            InputError: If a collection or a condition is missing, or an event has what none had in training.
        """
        parts = self.generator.parts
        representation, size = parts.representation, len(batch)
        missing = [n for n in representation.scalar_conditions if n not in batch.scalars]
        if missing:
            msg = f"the condition {missing[0]} is missing"
            raise InputError(msg)
        objects = representation.pack(batch)
        scalars = {n: batch.scalars[n] for n in representation.scalar_conditions}
        condition = representation.encode_condition(scalars, size, objects)
        where: dict[str, Any] = {"generator": generator, "device": generator.device}
        uniform = torch.rand(size, len(representation.variables), dtype=torch.float64, **where)
        given = parts.given(condition, uniform.to(condition.device), objects)

        def draw(attempt: int, rows: Tensor | None) -> Tensor:
            number = size if rows is None else len(rows)
            return torch.randn(number, parts.model.noise_size, **where).to(condition.device)

        with torch.no_grad():
            _, noise, _ = draw_within(parts, given, draw, strict=False)
        folded = parts.draw(given, noise)
        field = None if batch.schema.weight is None else batch.schema.scalar(batch.schema.weight)
        weights = None if field is None or batch.weight is None else _Weights(field, batch.weight)
        schema = self.schema(None if weights is None else weights.field)
        return _weighted(_part(folded, schema), schema, weights, 0)

    # ------------------------------------------------------------------ keeping

    @checked
    def save(self, path: str | Path, *, force: bool = False) -> None:
        """Writes the folding to one safetensors file, which ``EventGenerator.load`` reads, too.

        Args:
            path: The file.
            force: Whether an existing file may be replaced.

        Raises:
            OutputError: If the file exists or cannot be written.
        """
        self.generator.save(path, force=force)

    @classmethod
    @checked
    def load(cls, path: str | Path, *, device: torch.device | str | None = None) -> Folding:
        """Reads a folding from its file. Nothing in the file is executed.

        Args:
            path: The file, written by ``save`` or by ``hepgan train`` with a recipe for folding.
            device: Where to fold; a GPU if there is one, by default.

        Raises:
            ModelFileError: If the file cannot be read.
            InputError: If it holds a generator that makes events of nothing.
        """
        generator = EventGenerator.load(path, device=device)
        if not generator.representation.given:
            msg = "no folding: this model has no collections among its conditions"
            raise InputError(msg, file=path)
        made = cls(generator.recipe)
        made._generator = _frozen(generator)
        return made


@checked
def fold_file(
    folding: Folding,
    vertex: str,
    output: str | Path,
    *,
    seed: int = 0,
    keep_vertex: bool = False,
    format: Format | None = None,
    workers: int | None = None,
    force: bool = False,
    chunk: int = CHUNK,
    on_progress: Callable[[int], None] | None = None,
) -> int:
    """Folds the events of a file, or of many, into a file.

    The next events are read while others are folded and written, so that memory does not grow with their
    number. The file appears when it is whole.

    Args:
        folding: A folding that has learned.
        vertex: Vertex-level events: ``FILE.root:Tree``, or a glob.
        output: The file to write.
        seed: The same seed gives the same events, which are those of ``Folding.fold``.
        keep_vertex: Whether to write the vertex-level collections, too.
        format: As of ``hepgan.events.EventWriter``; by the file's ending if None.
        workers: Threads; as many as there are cores by default.
        force: Whether an existing file may be replaced.
        chunk: Events that are read at once, which the result does not depend on.
        on_progress: Called with the number of events written so far.

    Returns:
        The number of events.

    Raises:
        InputError: If the events cannot be read, or lack a condition.
        OutputError: If the file exists (without force), is one of those that are read, or cannot be written.
    """
    format = format_for(output, format)
    claim(Path(output), force=force, make=False)
    if reads(vertex, output):
        msg = "is read and cannot be written, too: choose another name"
        raise OutputError(msg, file=output)
    chunks = _aligned(iterate_events(vertex, step=chunk, branches=folding.conditions), BLOCK)
    done = written = 0
    with ExitStack() as stack:
        writer: EventWriter | None = None
        for events in _ahead(chunks):
            if writer is None:
                weight = _weight_field(events)
                schema = folding.schema(weight, keep_vertex=keep_vertex)
                known = is_nanoaod(schema)
                writer = stack.enter_context(
                    EventWriter(output, schema, format=format, force=force, identifiers=known)
                )
            try:
                pieces = folding.pieces(
                    events, seed=seed, first=done, keep_vertex=keep_vertex, workers=workers
                )
                # Closed at once whatever happens, so that no thread goes on folding.
                with closing(pieces):
                    for batch in pieces:
                        writer.extend(batch)
                        written += len(batch)
                        if on_progress is not None:
                            on_progress(written)
            except InputError as error:
                entry = None if error.entry is None else error.entry + done
                where = error.file or vertex
                raise InputError(error.message, file=where, branch=error.branch, entry=entry) from error
            done += len(events)
    return done


def _frozen(generator: EventGenerator) -> EventGenerator:
    for module in generator.parts.alone("fold by").modules.values():
        module.requires_grad_(False)
    return generator


def _weight_field(events: ak.Array) -> Field | None:
    """The field of events that holds their weight, if there is one."""
    schema = schema_of(events)
    return None if schema.weight is None else schema.scalar(schema.weight)


def _weights_of(events: ak.Array) -> _Weights | None:
    """The weights of events, if they have some."""
    field = _weight_field(events)
    if field is None:
        return None
    values = np.asarray(ak.to_numpy(events[field.name])).astype(np.float64)
    return _Weights(field, torch.from_numpy(values))


def _part(batch: EventBatch, schema: EventSchema) -> EventBatch:
    """What a schema names of a batch; its weight may come later."""
    collections = {c.name: batch.collections[c.name] for c in schema.collections}
    scalars = {n: batch.scalars[n] for n in schema.scalar_names if n in batch.scalars and n != schema.weight}
    return EventBatch(schema, collections, scalars, size=len(batch))


def _weighted(batch: EventBatch, schema: EventSchema, weights: _Weights | None, at: int) -> EventBatch:
    """The batch with its part of the weights."""
    if weights is None:
        return batch
    found = weights.values[at : at + len(batch)]
    scalars = {**batch.scalars, weights.field.name: found}
    return EventBatch(schema, batch.collections, scalars, size=len(batch))


def _aligned(chunks: Iterator[ak.Array], size: int) -> Iterator[ak.Array]:
    """The same events in chunks of a multiple of ``size``, but for the last."""
    held: ak.Array | None = None
    for chunk in chunks:
        held = chunk if held is None else ak.concatenate([held, chunk])
        held.attrs[ATTRIBUTE] = chunk.attrs[ATTRIBUTE]
        whole = len(held) // size * size
        if whole:
            yield held[:whole]
            held = held[whole:]
    if held is not None and len(held):
        yield held


def _ahead(chunks: Iterator[ak.Array]) -> Iterator[ak.Array]:
    """The chunks, each read while the one before is in use."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, chunks, None)
        while (chunk := coming.result()) is not None:
            coming = pool.submit(next, chunks, None)
            yield chunk
