"""Distillation: generators that make in one step, or a few, what others make in many."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hepgan.arguments import checked
from hepgan.errors import RecipeError
from hepgan.features import FeatureBatch
from hepgan.generator.ensembles import check_single
from hepgan.generator.fitting import identity
from hepgan.generator.generator import EventGenerator
from hepgan.generator.parts import Parts
from hepgan.generator.sampling import Purpose, Sampler
from hepgan.learners import StudentLearner, new_learner
from hepgan.models import BLOCK, Autoencoder, FlowMatching, Model, Refined, Student, StudentConfig
from hepgan.networks import drawing_from
from hepgan.recipes import Recipe
from hepgan.runtime import progress as progress_bar
from hepgan.training import ScheduleConfig, Trainer, TrainingConfig, digest_of_events, reserved

__all__ = ["PAIRS", "distill"]

PAIRS = 200_000
"""How many events the teacher makes for the student to learn from, unless told otherwise."""

TRAINING = TrainingConfig(
    steps=10_000,
    batch_size=1024,
    schedule=ScheduleConfig(kind="cosine", warmup=100),
    gradient_clip=1.0,
    max_time=270.0,
)


@checked
def distill(
    generator: EventGenerator,
    *,
    steps: int = 1,
    pairs: int = PAIRS,
    settings: Sequence[str] = (),
    seed: int = 0,
    max_time: float | None = None,
    checkpoint: str | Path | None = None,
    resume: bool = False,
    progress: bool = False,
) -> EventGenerator:
    """A generator that makes in one step, or a few, nearly the same events as a slower one.

    The slower one, the teacher, makes events; the student learns by regression to make the same of the same
    noise, discrete part and conditions, so no file of events is needed. It shares the representation and the
    discrete part, so the constraints that hold by construction hold for it, too. It has no likelihood.

    Args:
        generator: The teacher, on the device that is to be used. Its model is flow matching or, if it is to
            be learned in one step, any other with a likelihood.
        steps: Network calls of the student for an event.
        pairs: How many events the teacher makes to learn from.
        settings: Changes of the student's recipe, ``key=value``, which has the sections ``model``
            (``StudentConfig``) and ``training`` of its own.
        seed: Seed of the teacher's events, the weights and the training; the same seed, the same student.
        max_time: Seconds after which the training ends, with its learning rate annealed; those of the
            settings if None.
        checkpoint: File that the training is saved to as it goes, and resumed from.
        resume: Whether to go on from ``checkpoint``.
        progress: Whether to show progress bars.

    Returns:
        The student. Its history has the metric ``difference``: between its features and the teacher's of
        events that it did not learn from, the root of the mean square, where 1 is the features' own spread.

    Raises:
        RecipeError: If there is nothing to distil, or a setting is wrong.
        TrainingError: If a loss is not a number.
        ValueError: If a number is out of range.
    """
    for name, value in (("steps", steps), ("pairs", pairs)):
        if value < 1:
            msg = f"{name} must be at least 1, not {value}"
            raise ValueError(msg)
    started = time.monotonic()
    parts = generator.parts.alone("distil")
    recipe = _recipe(generator.recipe, steps, settings)
    check_single(recipe.training, "a student")
    config = recipe.model
    if not isinstance(config, StudentConfig):
        msg = f"model.kind: what is distilled is a student, not {config.kind!r}"
        raise RecipeError(msg)
    _check(parts.model, config.steps)
    with reserved(checkpoint):
        learner = _learner(recipe, parts, seed)
        student = learner.student
        blocks = -(-pairs // BLOCK)
        paths = _paths(parts, student, seed, blocks + 1, progress=progress)
        held, taught = paths[blocks * BLOCK :], paths[:pairs]
        trainer = Trainer(
            learner,
            taught,
            recipe.training.within(max_time),
            seed=seed,
            settings=identity(recipe, max_time, **{"sample of validation events": digest_of_events(held)}),
            device=parts.device,
            evaluate=_evaluation(held, parts.device),
            checkpoint=checkpoint,
            resume=resume,
            progress=progress,
        )
        history = trainer.run()
    parts = replace(parts, model=student, critics=learner.eval().critics)
    teacher = generator.recipe.model.model_dump(mode="json")
    notes: dict[str, Any] = {"teacher": teacher, "pairs": len(taught), "seed": seed}
    made = generator.derived("distillation", recipe, parts, history, started, **notes)
    # Those of the teacher are not the student's.
    made.summary["diagnostics"] = made.summary["distillation"]["diagnostics"]
    return made


def _recipe(teacher: Recipe, steps: int, settings: Sequence[str]) -> Recipe:
    model = StudentConfig(kind="student", steps=steps)
    return teacher.model_copy(update={"model": model, "training": TRAINING}).with_settings(settings)


def _check(teacher: Model, steps: int) -> None:
    """Sees to it that a model can be distilled.

    Raises:
        RecipeError: If it cannot.
    """
    if isinstance(teacher, Student):
        msg = "this generator is a student already: distil its teacher"
        raise RecipeError(msg)
    if not teacher.has_likelihood:
        kind = "an autoencoder" if isinstance(teacher, Autoencoder) else "a GAN"
        msg = f"{kind} makes its events in one step already, so there is nothing to distil"
        if isinstance(teacher, Refined):
            kind = type(teacher.model).__name__
            msg = f"a refined {kind} is not distilled: it makes its events in a few steps already"
        raise RecipeError(msg)
    most = teacher.config.steps if isinstance(teacher, FlowMatching) else 1
    if steps > most:
        msg = f"{steps} steps are too many for a student: its teacher makes its events in {most}"
        raise RecipeError(msg)


def _learner(recipe: Recipe, parts: Parts, seed: int) -> StudentLearner:
    observables = recipe.make_observables()
    with drawing_from(torch.Generator().manual_seed(seed)):
        learner = new_learner(recipe.model, parts.representation.space, parts.decode, observables)
    if not isinstance(learner, StudentLearner):
        raise TypeError(type(learner))
    return learner


def _paths(parts: Parts, student: Student, seed: int, blocks: int, *, progress: bool) -> FeatureBatch:
    """Paths of the teacher, in ``x`` as a student learns from them."""
    teacher = parts.model
    sampler = Sampler(parts, seed=Purpose.DISTILLATION.seed(seed))

    @torch.no_grad()
    def block(number: int) -> FeatureBatch:
        noise, features = sampler.noise(number)
        features = features.to(dtype=noise.dtype)
        return features.with_x(_points(teacher, student, noise, features).flatten(1))

    found: list[FeatureBatch] = []
    shown = progress_bar("following paths", blocks * BLOCK, shown=progress)
    with shown as advance, closing(sampler.mapped(block, 0, blocks, None)) as batches:
        for part in batches:
            found.append(part)
            advance(len(found) * BLOCK)
    return FeatureBatch.concatenate(found)


def _points(teacher: Model, student: Student, noise: Tensor, features: FeatureBatch) -> Tensor:
    """Points (N, steps + 1, D) on the way from noise (N, D) to events."""
    context, mask = features.context, features.mask
    if isinstance(teacher, FlowMatching):
        return teacher.path(noise, context, mask, student.config.steps)
    start = student.circles.start(noise)
    points = torch.stack([start, teacher.sample(noise, context, mask)], 1)
    return points if mask is None else points.masked_fill(~mask[:, None], 0.0)


def _evaluation(held: FeatureBatch, device: torch.device) -> Callable[[Model], dict[str, float]]:
    """How far a student's events are from its teacher's, as a metric."""
    held = held.to(device)

    def difference(model: Model) -> dict[str, float]:
        if not isinstance(model, Student):
            raise TypeError(type(model))
        size = model.noise_size
        start, end = model.circles.noise(held.x[:, :size]), model.circles.wrapped(held.x[:, -size:])
        error = model.circles.between(end, model.sample(start, held.context, held.mask))
        squares = error.square() if held.mask is None else error.square()[held.mask]
        return {"difference": float(squares.mean().sqrt())}

    return difference
