"""Unfolding by a generator: events at the vertex whose folded likenesses agree with data."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

import awkward as ak
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hepgan.arguments import checked
from hepgan.detector.levels import Fold, Level, event_weights, folding_of, recorded, seen
from hepgan.errors import InputError, RecipeError
from hepgan.events import EventBatch, EventsLike, to_awkward, to_batch
from hepgan.features import mirrored
from hepgan.generator import EventGenerator
from hepgan.generator.conditions import Pool
from hepgan.generator.ensembles import check_single
from hepgan.generator.parts import Parts
from hepgan.generator.sampling import Purpose, Sampler
from hepgan.learners import fit_discrete
from hepgan.models import OptimiserConfig
from hepgan.recipes import Recipe
from hepgan.reweighting import Reweighter, effective_sample_size
from hepgan.stats.classifiers import Calibration, ClassifierName
from hepgan.training import History, ScheduleConfig, Trainer, TrainingConfig

__all__ = ["EVENTS", "conditions_of", "joined", "pool_of", "unfold"]

Floats = NDArray[np.float64]

EVENTS = 100_000
"""How many events the generator makes in each iteration, unless told otherwise."""

TRAINING = TrainingConfig(
    steps=1_000,
    batch_size=2048,
    optimiser=OptimiserConfig(kind="adamw", lr=1e-3, betas=(0.9, 0.99)),
    schedule=ScheduleConfig(kind="cosine", warmup=50),
    ema=0.99,
    gradient_clip=1.0,
    diagnose_every=0,
)
"""How the generator learns in each iteration; it starts from what it was before."""

ATTEMPTS = 20
"""How often an event that the detector loses is folded again, to know what it would have looked like."""


@checked
def unfold(
    prior: EventGenerator,
    folding: Any,
    data: EventsLike,
    detector: Level,
    *,
    iterations: int = 4,
    events: int = EVENTS,
    settings: Sequence[str] = (),
    seed: int = 0,
    classifier: ClassifierName = "trees",
    members: int = 2,
    calibration: Calibration | None = None,
    progress: bool = False,
) -> EventGenerator:
    """A generator of events at the vertex that agree with data once they are folded.

    Each iteration has two steps. The generator makes events, the folding folds them, and classifiers of data
    against folded events give weights by which the latter agree with the data. Then the generator learns its
    own events with these weights; since the same event at the vertex is folded differently each time, it
    learns their mean, weighted by how likely each is. So the training is OmniFold's second step, and both
    together are one of the iterations of expectation and maximisation known as Lucy's, Richardson's or
    d'Agostini's.

    What the detector does not tell stays as it is in the prior. Few iterations leave the result near the
    prior where the detector says little, many amplify noise.

    An event that the detector loses is folded again until it is recorded, so that it counts with the weights
    of events like it; where it never is, it keeps its weight.

    References: A. Andreassen et al., arXiv:1911.09107; G. D'Agostini, NIM A 362 (1995) 487.

    Args:
        prior: The generator to start from, on the device that is to be used; it stays as it is.
        folding: What makes detector-level events of vertex-level ones: an object with ``fold_batch(events,
            generator)``, or such a function of an ``EventBatch`` and a ``torch.Generator``. Frozen.
        data: Detector-level events, with weights if there are any, and with the prior's conditions.
        detector: What classifiers see of data and folded events.
        iterations: How often both steps are done: the regularisation.
        events: How many events the generator makes in each.
        settings: Changes of the training of each iteration, ``key=value`` such as ``training.steps=2000``.
        seed: The same seed, the same generator.
        classifier: As of ``omnifold``.
        members: Members of each ensemble of classifiers.
        calibration: As of ``Reweighter``; none by default, since calibration shrinks weights that cannot be
            told from noise, in every iteration, which leaves a bias towards the prior.
        progress: Whether to show progress bars.

    Returns:
        The unfolded generator. Its conditions, where none are given, are those of the data. Its summary has
        as ``unfolding.shares`` the effective sample size of each iteration's weights as a share of the
        events: how near the generator was to the data.

    Raises:
        InputError: If the data lack a condition or what the level names, or are too few.
        RecipeError: If the prior does not learn from events (students, refined models), or a setting is
            wrong.
        ValueError: If a number is below 1.
    """
    for name, value in (("iterations", iterations), ("events", events)):
        if value < 1:
            msg = f"{name} must be at least 1, not {value}"
            raise ValueError(msg)
    started = time.monotonic()
    fold = folding_of(folding)
    recipe = prior.recipe.model_copy(update={"training": TRAINING}).with_settings(settings)
    if recipe.model != prior.recipe.model:
        msg = "model: what is unfolded has been trained; settings are those of training"
        raise RecipeError(msg)
    check_single(recipe.training, "what is unfolded")
    measured = seen(detector, data, "data")
    given = conditions_of(prior, data)
    pool = pool_of(prior, given, event_weights(data), seed)
    parts = prior.parts.alone("unfold")
    parts = replace(parts, model=deepcopy(parts.model), critics=deepcopy(parts.critics), pool=pool)
    shares: list[float] = []
    history = History()
    for k in range(iterations):
        numbers = [int(n) for n in np.random.SeedSequence((seed, k)).generate_state(3)]
        sampler = Sampler(parts, seed=Purpose.UNFOLDING.seed(numbers[0]))
        batch = next(sampler.iterate(events, step=events))
        random = torch.Generator(parts.device).manual_seed(numbers[1])
        reweighter = Reweighter(
            detector.observables,
            fields=bool(detector.fields),
            classifier=classifier,
            members=members,
            calibration=calibration,
            seed=numbers[2],
        )
        weight, share = _weights(batch, fold, measured, detector, random, reweighter)
        shares.append(share)
        parts, history = _learn(parts, recipe, batch, weight, numbers[2], progress=progress)
        if history.status == "interrupted":
            break
    notes: dict[str, Any] = {"events": events, "data": len(data), "iterations": iterations, "shares": shares}
    return prior.derived("unfolding", recipe, parts, history, started, **notes, seed=seed)


def conditions_of(prior: EventGenerator, data: ak.Array) -> dict[str, Tensor]:
    """The conditions (N,) of a generator that data have, by name.

    Raises:
        InputError: If one is missing.
        RecipeError: If one is a collection, or if the generator makes weights of either sign.
    """
    schema = prior.schema
    if prior.recipe.events.signs:
        msg = "events.signs: a prior that makes weights of either sign cannot be unfolded; train it without"
        raise RecipeError(msg)
    for name in prior.recipe.conditions:
        if name not in schema.scalar_names:
            msg = f"the prior is given {name}, as a folding is: it makes no events that could be unfolded"
            raise RecipeError(msg)
        if name not in data.fields:
            msg = f"the data have no {name!r}, which the generator needs as a condition"
            raise InputError(msg)
    fields = tuple(schema.scalar(n) for n in prior.recipe.conditions)
    part = schema.model_copy(update={"collections": (), "scalars": fields, "weight": None})
    return to_batch(data, part, device=prior.parts.device).scalars


def joined(vertex: EventBatch, detector: EventBatch) -> EventBatch:
    """Events (N) at both levels; what both have is that of the detector."""
    scalars = {**vertex.scalars, **detector.scalars}
    fields = {f.name: f for s in (vertex.schema, detector.schema) for f in s.scalars if f.name in scalars}
    described = {c.name: c for s in (vertex.schema, detector.schema) for c in s.collections}
    schema = detector.schema.model_copy(
        update={
            "collections": tuple(described.values()),
            "scalars": tuple(fields.values()),
            "weight": detector.schema.weight or vertex.schema.weight,
        }
    )
    return EventBatch(schema, {**vertex.collections, **detector.collections}, scalars)


def pool_of(prior: EventGenerator, given: Mapping[str, Tensor], weight: Floats, seed: int) -> Pool:
    """Encoded conditions (N,) as often as in the data, by their weights (N,)."""
    if not given:
        return prior.parts.pool
    encoded = prior.representation.encode_condition(given).to(prior.parts.pool.condition)
    random = torch.Generator().manual_seed(seed)
    return Pool.of(encoded, torch.from_numpy(weight).to(encoded), None, random)


def _weights(
    batch: EventBatch,
    fold: Fold,
    measured: ak.Array,
    detector: Level,
    random: torch.Generator,
    reweighter: Reweighter,
) -> tuple[Floats, float]:
    """Weights (N,) of events at the vertex, and the effective share of the recorded events' weights."""
    found = seen(detector, _folded(batch, fold, random), "folded events")
    kept = recorded(detector, found)
    if not kept.any():
        msg = "the folding loses all events"
        raise InputError(msg)
    reweighter.fit(measured, found[kept])
    ratio = reweighter.fitted_weights.weight
    weight = np.ones(len(batch))
    weight[kept] = ratio
    lost = np.flatnonzero(~kept)
    for _ in range(ATTEMPTS):
        if not len(lost):
            break
        again = seen(detector, _folded(batch[torch.from_numpy(lost)], fold, random), "folded events")
        now = recorded(detector, again)
        if now.any():
            weight[lost[now]] = reweighter(again[now]).weight
        lost = lost[~now]
    return weight, effective_sample_size(ratio) / len(ratio)


@torch.no_grad()
def _folded(batch: EventBatch, fold: Fold, random: torch.Generator) -> ak.Array:
    return to_awkward(joined(batch, fold(batch, random)))


def _learn(
    parts: Parts, recipe: Recipe, batch: EventBatch, weight: Floats, seed: int, *, progress: bool
) -> tuple[Parts, History]:
    """Train the model on events with weights, and learn the discrete part anew."""
    representation = parts.representation.cpu()
    features, possible = representation.encode_possible(batch.to("cpu"))
    full = torch.from_numpy(weight / weight.mean()).to(features.weight)
    features = replace(features, weight=full)[possible]
    random = torch.Generator().manual_seed(seed)
    discrete = fit_discrete(
        representation.variables, features.discrete, features.condition, features.weight, generator=random
    )
    smooth = mirrored(representation, features, generator=random)
    for module in (representation, discrete):
        module.to(parts.device)
    trainer = Trainer(
        parts.learner(recipe),
        smooth.to(dtype=torch.float32),
        recipe.training,
        seed=seed,
        device=parts.device,
        progress=progress,
    )
    history = trainer.run()
    parts.model.eval()
    return replace(parts, discrete=discrete), history
