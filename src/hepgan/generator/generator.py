"""The face of hepgan: an event generator that is learned from events."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import awkward as ak
import numpy as np
import torch
from numpy.typing import NDArray

from hepgan.arguments import SEEDS, checked, whole
from hepgan.errors import InputError, RecipeError
from hepgan.events import EventBatch, EventSchema, EventsLike, to_awkward
from hepgan.events.divided import DividedEvents
from hepgan.events.reading import OnBad, Paths
from hepgan.events.runs import Runs
from hepgan.features import Representation
from hepgan.generator.conditions import check_lengths, warn_outside
from hepgan.generator.density import Latents, MeasureName, latents, log_prob
from hepgan.generator.describe import describe
from hepgan.generator.fitting import evaluation, identity, metric_names, prepare, redrawn, summarise
from hepgan.generator.model_file import digest, from_bytes, installed_versions, read, to_bytes, write
from hepgan.generator.parts import Parts
from hepgan.generator.sampling import Sampler
from hepgan.generator.training_events import TrainingEvents, reading, room
from hepgan.generator.where import MEASURED, Efficiency, Selected, Where, measure, texts
from hepgan.generator.yields import YIELDS, Yields
from hepgan.models import BLOCK, DensityConfig
from hepgan.networks import drawing_from
from hepgan.recipes import Recipe, load_recipe
from hepgan.runtime import Progress, choose_device, threads
from hepgan.training import History, digest_of_events, reserved

__all__ = ["EventGenerator", "Latents", "choose_device"]

STEP = 100_000
"""Events in a batch: enough to make what is done for each batch cheap, few enough for any memory."""

T = TypeVar("T")


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
        self.versions = installed_versions()
        self._parts: Parts | None = None

    @classmethod
    def from_parts(
        cls,
        recipe: Recipe,
        parts: Parts,
        summary: Mapping[str, Any],
        versions: Mapping[str, str] | None = None,
        history: History | None = None,
    ) -> EventGenerator:
        """A generator of what has been learned by other means than :meth:`fit`.

        Args:
            recipe: The recipe by which the parts came about.
            parts: What has been learned.
            summary: What is to be noted of that.
            versions: The packages that wrote it, with their versions; those of today if None.
            history: The course of the training, if it is known.
        """
        made = cls(recipe)
        made._parts, made.history = parts, history
        made.summary = dict(summary)
        made.versions = made.versions if versions is None else dict(versions)
        return made

    def derived(
        self, what: str, recipe: Recipe, parts: Parts, history: History, started: float, **notes: Any
    ) -> EventGenerator:
        """A generator that was made of this one by a further training.

        Args:
            what: The name of that training in the summary.
            recipe: The recipe that the generator is to have.
            parts: What has been learned.
            history: The course of the training.
            started: When it began, by ``time.monotonic``.
            notes: What else is to be noted of it.
        """
        seconds = round(time.monotonic() - started, 1)
        noted = {**notes, "seconds": seconds, "device": str(parts.device), **summarise(history)}
        # Unfolded data have yields of their own.
        before = {k: v for k, v in self.summary.items() if k != YIELDS or what != "unfolding"}
        told = {**before, what: noted, **redrawn(parts, self.summary.get("seed", 0))}
        return EventGenerator.from_parts(recipe, parts, told, history=history)

    # ------------------------------------------------------------------ learning

    def reading(
        self,
        paths: Paths,
        *,
        seed: int = 0,
        on_bad: OnBad = "raise",
        beside: str | Path | None = None,
        progress: bool = False,
    ) -> AbstractContextManager[ak.Array | DividedEvents]:
        """The events of files for :meth:`fit`, in portions where they are too many for memory.

        These are in a folder that is gone at the end, as are the encoded events of a training within.

        Example:
            >>> with generator.reading("train/*.root") as events:        # doctest: +SKIP
            ...     generator.fit(events)

        Args:
            paths: As of ``read_events``.
            seed: Rules which event is in which portion; that of ``fit``.
            on_bad: As of ``read_events``.
            beside: A file beside which the folder is to be; None for the system's own place.
            progress: Whether to show progress of the reading, if there are several portions.

        Raises:
            InputError: As of ``read_events``.
            RecipeError: If the recipe does not fit the events.
            OutputError: If a portion cannot be written.
        """
        return reading(self.recipe, paths, seed=seed, on_bad=on_bad, beside=beside, progress=progress)

    @checked
    def fit(
        self,
        events: EventsLike | DividedEvents,
        *,
        seed: int = 0,
        device: torch.device | str | None = None,
        max_time: float | None = None,
        checkpoint: str | Path | None = None,
        resume: bool = False,
        progress: bool = False,
        runs: Runs | None = None,
    ) -> EventGenerator:
        """Learns from events.

        A part of them (``training.validation_fraction``) is kept apart, to choose the checkpoint.

        Args:
            events: Events as ``read_events`` gives them, or anything of which ``hepgan.events.as_events``
                makes events; weights, negative ones too, are those of the schema's weight. Over a million
                (``training.portion``) are learned from in portions; :meth:`reading` gives those of files that
                are too large for memory.
            seed: Seed of the split, the weights and the training; the same seed, the same model.
            device: Where to train; a GPU if there is one, by default.
            max_time: Seconds from its first step after which the training ends, with its learning rate
                annealed; those of the recipe if None.
            checkpoint: File that the training is saved to as it goes, and resumed from.
            resume: Whether to go on from ``checkpoint``.
            progress: Whether to show progress bars, of the preparation and of the training; where there is
                no terminal, a line every half minute.
            runs: What there was before the selection of the events (see ``hepgan.events.read_runs``), by
                which files of generated events are normalised.

        Returns:
            This generator.

        Raises:
            InputError: If the events cannot be used.
            RecipeError: If the recipe does not fit them.
            TrainingError: If a loss is not a number.
            ModelFileError: If the checkpoint to resume from is damaged, or of another training.
            OutputError: If another training has the checkpoint, or it cannot be written.
        """
        started = time.monotonic()
        seed = whole("seed", seed, 0, SEEDS)
        device = choose_device(device)
        sample = TrainingEvents(self.recipe, events, seed)
        derived, observables = sample.derived, self.recipe.make_observables()
        for observable in observables.values():
            observable.check(derived.schema)
        metrics = metric_names(
            self.recipe.training.selection,
            observables,
            self.recipe.name,
            likelihood=isinstance(self.recipe.model, DensityConfig),
        )
        with ExitStack() as held:
            held.enter_context(reserved(checkpoint))
            others, folder = sample.others(), sample.divided.folder
            if others and folder is None:
                folder = held.enter_context(room(checkpoint))
            with (
                Progress("preparing", shown=progress) as bar,
                threads(1),
                drawing_from(torch.Generator().manual_seed(seed)),
            ):
                learning = partial(prepare, self.recipe, sample.learned(), derived, observables, seed, device)
                try:
                    prepared = learning(others=others, folder=folder, told=bar.tell)
                except (InputError, RecipeError) as error:
                    raise sample.placed(error) from error
            sample.tell(prepared.left_out)
            preparation = time.monotonic() - started
            config = self.recipe.training.within(max_time)
            parts, apart = prepared.parts, sample.held
            self._parts, self.history = None, History()
            prepared.train(
                config,
                self.history,
                seed=seed,
                settings=identity(
                    self.recipe, max_time, **{"sample of validation events": digest_of_events(apart)}
                ),
                device=device,
                evaluate=evaluation(parts, metrics, observables, apart) if metrics else None,
                checkpoint=checkpoint,
                resume=resume,
                progress=progress,
            )
        self._parts = parts
        members = {"members": parts.members} if parts.members > 1 else {}
        self.summary = {
            **members,
            **({"prepared": sample.prepared} if sample.prepared else {}),
            "training_events": sample.trained,
            "validation_events": len(sample.held),
            **({"portions": len(sample.divided)} if others else {}),
            **({"left_out": sample.left_out} if sample.left_out else {}),
            "data_hash": prepared.digest,
            "seed": seed,
            "seconds": round(time.monotonic() - started, 1),
            "preparation_seconds": round(preparation, 1),
            "device": str(device),
            **summarise(self.history),
            **redrawn(parts, seed),
            **({YIELDS: Yields.of_sums(sample.sums, runs).noted()} if sample.sums else {}),
        }
        return self

    # ------------------------------------------------------------------ generating

    @property
    def parts(self) -> Parts:
        """What the generator has learned.

        Raises:
            RuntimeError: If it has not learned anything yet.
        """
        if self._parts is None:
            msg = "this generator has not learned anything yet: call fit, or load a model file"
            raise RuntimeError(msg)
        return self._parts

    @property
    def schema(self) -> EventSchema:
        """What the generated events hold; those of all members of an ensemble the member, too."""
        return self.parts.schema

    @property
    def members(self) -> int:
        """The number of members of an ensemble; 1 if this is none."""
        return self.parts.members

    @checked
    def member(self, number: int) -> EventGenerator:
        """One member of an ensemble as a generator of its own, to be saved, distilled or refined.

        Raises:
            ValueError: If there is no member of that number, from 0.
        """
        parts = self.parts.member(number)
        training = self.recipe.training.model_copy(update={"members": 1})
        recipe = self.recipe.model_copy(update={"training": training})
        summary = {k: v for k, v in self.summary.items() if k != "members"}
        summary |= {"member": number} if self.members > 1 else {}
        return EventGenerator.from_parts(recipe, parts, summary, self.versions)

    @property
    def representation(self) -> Representation:
        """Events as the features that the model learns, and back."""
        return self.parts.representation

    @checked
    def generate(
        self,
        n: int,
        *,
        seed: int = 0,
        condition: Mapping[str, Any] | ak.Array | None = None,
        member: int | Literal["all"] | None = None,
        where: str | Sequence[str] | None = None,
        workers: int | None = None,
    ) -> ak.Array:
        """Generates events of the type that was learned.

        Args:
            n: Number of events.
            seed: The same seed gives the same events, whatever n and the number of workers.
            condition: Conditions by name: a number, an array of n, values that take turns
                (``"10,20,30"``) or ``"uniform:10:50"``; of a collection an array with the objects of n
                events; or n events that have all conditions. As in training if missing. A warning tells of
                numbers outside the range of the training events.
            member: Of an ensemble the member whose events are wanted; by default those of all in turn
                (``all``), with the number of the member as the scalar ``member``.
            where: What all events shall fulfil, such as ``"nJet >= 4"``, in the language of observables; of
                several texts all. What does not is drawn anew, so it takes as much longer as it is rare.
            workers: Threads; as many as there are cores by default.

        Returns:
            n events, as ``read_events`` would give them.

        Raises:
            InputError: If a condition is not one of the model's, or has not n values; or if ``where`` does
                not fit the events, or less than 1 in 10,000 fulfils it.
            ValueError: If a number is out of range.
        """
        check_lengths(condition, whole("n", n))
        batches = self.iterate(n, seed=seed, condition=condition, member=member, where=where, workers=workers)
        pieces = [to_awkward(batch) for batch in batches]
        return pieces[0] if len(pieces) == 1 else ak.concatenate(pieces)

    @checked
    def iterate(
        self,
        n: int,
        *,
        seed: int = 0,
        first: int = 0,
        step: int = STEP,
        condition: Mapping[str, Any] | ak.Array | None = None,
        member: int | Literal["all"] | None = None,
        where: str | Sequence[str] | None = None,
        workers: int | None = None,
    ) -> Generator[EventBatch, None, None]:
        """Generates events ``first`` ... ``first + n - 1`` of a seed in batches of ``step``, as tensors.

        Args:
            n: Number of events.
            seed: As in ``generate``.
            first: Number of the first event, which a shard begins with.
            step: Events in a batch.
            condition: As in ``generate``; arrays are indexed by event number.
            member: As in ``generate``.
            where: As in ``generate``.
            workers: Threads.

        Raises:
            InputError: If a condition is not one of the model's, or has too few values, or ``where`` is not
                usable.
            ValueError: If a number is out of range.
        """
        sampler = self._checked(n, seed, first, condition, member, where, step=step, workers=workers)
        return sampler.iterate(n, first=first, step=step, workers=workers)

    @checked
    def pieces(
        self,
        n: int,
        convert: Callable[[EventBatch], T],
        *,
        seed: int = 0,
        first: int = 0,
        condition: Mapping[str, Any] | ak.Array | None = None,
        member: int | Literal["all"] | None = None,
        where: str | Sequence[str] | None = None,
        offset: int = 0,
        workers: int | None = None,
    ) -> Generator[T, None, None]:
        """Generates events as ``iterate`` does, and converts them in the threads that make them.

        Args:
            n: Number of events.
            convert: What to make of each batch, of up to 4096 events; called by several threads at once. It
                must not keep the tensors for a backward pass, for they are made in inference mode.
            seed: As in ``generate``.
            first: Number of the first event.
            condition: As in ``iterate``.
            member: As in ``generate``.
            where: As in ``generate``.
            offset: Number of the event that the first values of conditions belong to.
            workers: Threads.

        Returns:
            What ``convert`` made of the batches, in the order of the events.

        Raises:
            InputError: If a condition is not one of the model's, or has too few values, or ``where`` is not
                usable.
            ValueError: If a number is out of range.
        """
        sampler = self._checked(n, seed, first, condition, member, where, offset, workers=workers)
        return sampler.pieces(n, convert, first=first, workers=workers, inference=True)

    @checked
    def efficiency(
        self,
        where: str | Sequence[str],
        *,
        n: int = BLOCK,
        passed: int = MEASURED,
        seed: int = 0,
        condition: Mapping[str, Any] | ak.Array | None = None,
        member: int | Literal["all"] | None = None,
        workers: int | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> Efficiency:
        """The share of events that fulfil a condition, with its error.

        Args:
            where: As in ``generate``.
            n: The number of events that conditions are given for.
            passed: How many events that fulfil it are looked for: the error is 1 / sqrt(passed) of the share.
            seed: As in ``generate``.
            condition: As in ``generate``.
            member: As in ``generate``.
            workers: Threads.
            on_progress: Called with the number of those found so far.

        Raises:
            InputError: If a condition is not one of the model's, or has not n values; or if ``where`` does
                not fit the events, or less than 1 in 10,000 fulfils it.
            ValueError: If a number is out of range.
        """
        passed = whole("passed", passed)
        n, seed, parts = whole("n", n), whole("seed", seed, 0, SEEDS), self._of(member)
        chosen = Where(texts(where), parts.schema)
        sampler = Sampler(parts, seed=seed, condition=condition, size=n)
        return measure(sampler, chosen, n, passed=passed, workers=workers, on_progress=on_progress)

    def _checked(
        self,
        n: int,
        seed: int,
        first: int,
        condition: Mapping[str, Any] | ak.Array | None,
        member: int | Literal["all"] | None,
        where: str | Sequence[str] | None,
        offset: int = 0,
        **others: int | None,
    ) -> Sampler:
        """The sampler of events ``first`` ... ``first + n - 1``, if the numbers are in range."""
        whole("n", n)
        for name, value in others.items():
            if value is not None:
                whole(name, value)
        first, seed = whole("first", first, 0), whole("seed", seed, 0, SEEDS)
        parts = self._of(member)
        sampler = Sampler(parts, seed=seed, condition=condition, size=first + n - offset, first=offset)
        if not first:  # once for all shards
            warn_outside(sampler.conditions.given, parts.condition_ranges)
        if not texts(where):
            return sampler
        chosen = Where(texts(where), parts.schema)
        if not first:
            measure(sampler, chosen, n, workers=others.get("workers"))
        return Selected(sampler, chosen)

    def _of(self, member: int | Literal["all"] | None) -> Parts:
        """The parts that make the events of a member, or of all.

        Raises:
            ValueError: If there is no such member.
        """
        if member is None or (isinstance(member, str) and member == "all"):
            return self.parts
        return self.parts.member(whole("member", member, 0))

    def schema_of(self, member: int | Literal["all"] | None = None) -> EventSchema:
        """What the events hold that ``generate`` makes with this ``member``.

        Raises:
            ValueError: If there is no such member.
        """
        return self._of(member).schema

    @property
    def has_likelihood(self) -> bool:
        """Whether ``log_prob`` and ``latents`` are known: those of a GAN are not."""
        return self.parts.model.has_likelihood

    @checked
    def log_prob(
        self, events: EventsLike, *, measure: MeasureName = "events", steps: int | None = None
    ) -> NDArray[np.float64]:
        """Log of the density (N,) with which events are generated, given their conditions if there are any.

        It is that of the model times the probability of the discrete part (and of the azimuth, where that
        is drawn), by exact Jacobians in double precision; minus infinity where none are generated; of an
        ensemble the mean of its members' densities. What generation draws anew is not accounted for: the
        density within ``features.bounds`` is too small by the share of events that are kept.

        Args:
            events: N events as ``read_events`` gives them; weights are ignored.
            measure: ``events``: per unit of the coordinates in which objects are stored, such as d pt d eta
                d phi (see ``hepgan.features.Measure``); ``columns``: per unit of the columns of the
                representation (``representation.names``) before their transforms.
            steps: Steps of a path of flow matching; four times those of sampling if None.

        Raises:
            InputError: If the model has no likelihood, or the events are not of its kind.
            RecipeError: If more numbers are generated than are stored.
        """
        return log_prob(self.parts, events, measure=measure, steps=steps)

    @checked
    def latents(self, events: EventsLike) -> Latents:
        """The noise that events would be made of, given their discrete part and conditions.

        If the generator is right, these are independent standard normal numbers.

        Args:
            events: N events as ``read_events`` gives them; weights are ignored.

        Returns:
            Names of the D features and their noise (N, D); NaN where an event does not have a feature, or is
            never generated.

        Raises:
            InputError: If the model cannot be inverted (a GAN), or the events are not of its kind.
        """
        return latents(self.parts, events)

    # ------------------------------------------------------------------ keeping

    @checked
    def save(self, path: str | Path, *, force: bool = False) -> None:
        """Writes the generator to one safetensors file.

        Args:
            path: The file.
            force: Whether an existing file may be replaced.

        Raises:
            OutputError: If the file exists or cannot be written.
        """
        write(path, self.recipe, self.parts, self.summary, force=force)

    @classmethod
    @checked
    def load(cls, path: str | Path, *, device: torch.device | str | None = None) -> EventGenerator:
        """Reads a generator from its file. Nothing in the file is executed.

        Args:
            path: The file.
            device: Where to generate; a GPU if there is one, by default.

        Raises:
            ModelFileError: If the file is missing, corrupt, not hepgan's, or of a later format.
        """
        return cls.from_parts(*read(path, choose_device(device)))

    def to_bytes(self) -> bytes:
        """The content of the file that :meth:`save` writes, to be sent to other processes."""
        return to_bytes(self.recipe, self.parts, self.summary)

    def digest(self) -> str:
        """A digest of all that the events depend on, the same in every process that has loaded this model."""
        return digest(self.recipe, self.parts)

    @classmethod
    def from_bytes(cls, data: bytes, *, device: torch.device | str | None = None) -> EventGenerator:
        """A generator of what :meth:`to_bytes` gave; arguments and errors are as of :meth:`load`."""
        return cls.from_parts(*from_bytes(data, choose_device(device)))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles a generator that has learned as its file's content, without its history."""
        if self._parts is None:
            return EventGenerator, (self.recipe,)
        return _unpickled, (self.to_bytes(), str(self._parts.device), self.versions)

    def describe(self) -> list[str]:
        """What the generator is, in lines for people."""
        return describe(self.recipe, self.parts, self.summary, self.versions)


def _unpickled(data: bytes, device: str, versions: dict[str, str]) -> EventGenerator:
    made = EventGenerator.from_bytes(data, device=device)
    made.versions = versions
    return made
