"""Refinement: noise drawn so that a classifier no longer tells a generator's events from true ones."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import awkward as ak
import numpy as np
import torch
from numpy.typing import NDArray

from hepgan.arguments import checked
from hepgan.errors import InputError, RecipeError
from hepgan.events import to_awkward
from hepgan.features import FeatureBatch
from hepgan.generator.ensembles import check_single
from hepgan.generator.fitting import identity
from hepgan.generator.generator import EventGenerator
from hepgan.generator.parts import Parts
from hepgan.generator.sampling import Purpose, Sampler
from hepgan.learners import new_learner
from hepgan.models import BLOCK, Refined, RefinedConfig
from hepgan.networks import drawing_from
from hepgan.runtime import progress as progress_bar
from hepgan.stats.moments import effective_size
from hepgan.training import ScheduleConfig, Trainer, TrainingConfig, reserved

__all__ = ["EVENTS", "refine"]

EVENTS = 200_000
"""How many generated events the prior learns from, unless told otherwise."""

TRAINING = TrainingConfig(
    steps=3_000,
    batch_size=2048,
    schedule=ScheduleConfig(kind="cosine", warmup=100),
    gradient_clip=1.0,
    max_time=300.0,
)

Weigh = Callable[[ak.Array], NDArray[np.float64]]


@checked
def refine(
    generator: EventGenerator,
    weigh: Weigh,
    *,
    events: int = EVENTS,
    settings: Sequence[str] = (),
    seed: int = 0,
    max_time: float | None = None,
    checkpoint: str | Path | None = None,
    resume: bool = False,
    progress: bool = False,
) -> EventGenerator:
    """A generator of better events without weights: latent-space refinement (LaSeR).

    The generator makes events, ``weigh`` says by how much each kind is too rare, and a prior learns the
    noise that they were made of, with these weights. Events that are made of the prior's noise follow the
    weighted distribution; none is rejected. The discrete part stays as it is.

    Reference: Winterhalder, Bellagente and Nachman, arXiv:2106.00792.

    Args:
        generator: The generator to refine, on the device that is to be used.
        weigh: Weights (N,) of generated events, for instance those of a ``Reweighter``.
        events: How many events the prior learns from.
        settings: Changes of the recipe, ``key=value``: its section ``model.prior``, and ``training``, which
            is that of the prior.
        seed: Seed of the events, the weights and the training; the same seed, the same prior.
        max_time: Seconds after which the training ends, with its learning rate annealed; those of the
            settings if None.
        checkpoint: File that the training is saved to as it goes, and resumed from.
        resume: Whether to go on from ``checkpoint``.
        progress: Whether to show progress bars.

    Returns:
        The refined generator. Where the first has a likelihood, it has one, too.

    Raises:
        InputError: If the weights are not finite, or their sum is not positive.
        RecipeError: If the generator is refined already, or a setting is wrong.
        ValueError: If ``events`` is below 1.
    """
    if events < 1:
        msg = f"events must be at least 1, not {events}"
        raise ValueError(msg)
    started = time.monotonic()
    parts = generator.parts.alone("refine")
    if isinstance(parts.model, Refined):
        msg = "this generator is refined already: refine what it was made of, with better weights"
        raise RecipeError(msg)
    refined = {"kind": "refined", "model": generator.recipe.model.model_dump()}
    recipe = generator.recipe.model_copy(
        update={"model": RefinedConfig.model_validate(refined), "training": TRAINING}
    ).with_settings(settings)
    config = recipe.model
    if not isinstance(config, RefinedConfig) or config.model != generator.recipe.model:
        msg = "model: what is refined has been trained; settings are those of model.prior and training"
        raise RecipeError(msg)
    check_single(recipe.training, "a prior")
    with reserved(checkpoint):
        with drawing_from(torch.Generator().manual_seed(seed)):
            space = parts.representation.space.of_noise(parts.model.noise_size)
            learner = new_learner(config.prior, space)
        noise, weight = _weighted_noise(parts, weigh, events, seed, progress=progress)
        trainer = Trainer(
            learner,
            replace(noise, weight=weight),
            recipe.training.within(max_time),
            seed=seed,
            settings=identity(recipe, max_time),
            device=parts.device,
            checkpoint=checkpoint,
            resume=resume,
            progress=progress,
        )
        history = trainer.run()
    effective = effective_size(weight.cpu().numpy())
    notes = {"events": len(noise), "effective_events": effective, "seed": seed}
    parts = replace(parts, model=Refined.of(parts.model, learner.eval().model))
    return generator.derived("refinement", recipe, parts, history, started, **notes)


def _weighted_noise(
    parts: Parts, weigh: Weigh, events: int, seed: int, *, progress: bool
) -> tuple[FeatureBatch, torch.Tensor]:
    """Noise that events were made of, as features to learn from; and the weights, whose mean is 1."""
    sampler = Sampler(parts, seed=Purpose.REFINEMENT.seed(seed))
    noise: list[FeatureBatch] = []
    made: list[ak.Array] = []
    blocks = -(-events // BLOCK)
    shown = progress_bar("generating", blocks * BLOCK, shown=progress)
    with shown as advance, closing(sampler.mapped(sampler.traced, 0, blocks, None)) as traces:
        for trace in traces:
            mask = parts.model.noise_mask(trace.given.mask)
            z = trace.noise if mask is None else trace.noise.masked_fill(~mask, 0.0)
            noise.append(replace(trace.given, x=z, mask=mask))
            made.append(to_awkward(trace.events))
            advance(len(noise) * BLOCK)
    features = FeatureBatch.concatenate(noise)[:events]
    weight = np.asarray(weigh(ak.concatenate(made)[:events]), dtype=np.float64)
    if weight.shape != (events,) or not np.isfinite(weight).all() or not weight.sum() > 0:
        msg = f"the weights must be {events} finite numbers with a positive sum"
        raise InputError(msg)
    found = torch.from_numpy(weight / weight.mean()).to(features.weight)
    return features, found
