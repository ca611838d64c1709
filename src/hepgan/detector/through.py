"""Generators trained through a frozen folding, by critics and distances at the detector."""

from __future__ import annotations

import time
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import awkward as ak
import torch
from pydantic import Field, model_validator
from torch import Tensor

from hepgan.arguments import checked
from hepgan.detector.levels import Fold, event_weights, folding_of
from hepgan.detector.unfolding import conditions_of, joined, pool_of
from hepgan.errors import InputError
from hepgan.events import EventsLike
from hepgan.features import FeatureBatch
from hepgan.generator import EventGenerator
from hepgan.generator.ensembles import check_single
from hepgan.generator.parts import Parts
from hepgan.learners import GuidedLearner, Observed, new_critics
from hepgan.models import GuidedConfig, OptimiserConfig
from hepgan.models.base import Circles
from hepgan.networks import drawing_from
from hepgan.objectives import Term
from hepgan.observables import Observable
from hepgan.observables.values import Flat
from hepgan.training import ScheduleConfig, Trainer, TrainingConfig, reserved

__all__ = ["ThroughConfig", "Unfolder", "unfold_through"]

TRAINING = TrainingConfig(
    steps=2_000,
    batch_size=1024,
    optimiser=OptimiserConfig(kind="adam", lr=2e-4, betas=(0.5, 0.9)),
    schedule=ScheduleConfig(kind="cosine", warmup=50),
    ema=0.99,
    gradient_clip=1.0,
)


class ThroughConfig(GuidedConfig):
    """What makes folded events agree with data.

    Attributes:
        critics: Networks that tell data from folded events by observables, and by the conditions.
        penalties: Distances between the distributions of observables of data and folded events.
        pull: Factor of the pull to the prior: the mean squared distance between what the generator and the
            prior make of the same noise, in units of the features' spread. It bounds the squared Wasserstein
            distance between the two.
        optimiser: The optimiser of the generator; the training's if None.
        training: How it is trained.
    """

    own: ClassVar[tuple[str, ...]] = ("generator", "pull")

    kind: Literal["through"] = "through"
    pull: float = Field(default=0.0, ge=0.0)
    training: TrainingConfig = TRAINING

    @model_validator(mode="after")
    def _data_have_observables_alone(self) -> ThroughConfig:
        if not (self.critics or self.penalties):
            msg = "nothing makes folded events agree with data: give critics, penalties or both"
            raise ValueError(msg)
        for critic in self.critics:
            if critic.features or critic.sets or critic.latent:
                msg = f"critic {critic.name!r} can see observables of data alone: say features: false"
                raise ValueError(msg)
        for penalty in self.penalties:
            if penalty.features:
                msg = f"penalty {penalty.name!r} can see observables of data alone: say features: false"
                raise ValueError(msg)
        return self


class Unfolder(GuidedLearner):
    """A generator whose events are folded before critics and penalties see them.

    It learns from batches whose ``x`` holds the observables of data, NaN where an event lacks one, and whose
    context is the conditions. Generated events take the conditions, and with them the weights, of the data;
    their discrete part is drawn from the prior's.

    Reference: Y. Alanazi et al., Machine learning-based event generator for electron-proton scattering,
    arXiv:2008.03151.

    Args:
        config: Critics, penalties, the pull to the prior.
        parts: The parts of the prior; its model is trained in place.
        fold: The folding, differentiable in the momenta.
        observables: The observables that critics and penalties name, of events at both levels.
        columns: Their names in the order of the columns of ``x``.

    Raises:
        RecipeError: If a critic or a penalty names an observable that isn't there.
    """

    config: ThroughConfig
    maker: ClassVar[str] = "generator"
    # Folded events may be far off.
    critics_limit: ClassVar[float | None] = 10.0

    def __init__(
        self,
        config: ThroughConfig,
        parts: Parts,
        fold: Fold,
        *,
        observables: Mapping[str, Observable],
        columns: tuple[str, ...],
    ) -> None:
        model, representation = parts.model, parts.representation
        given = representation.condition_size
        critics = new_critics(config, len(columns), model.noise_size, given, self.critics_limit)
        super().__init__(config, model, parts.decode, observables, critics, context_size=given)
        self.circles = Circles(representation.size, representation.periodic)
        # None of these is learned here: in a dict they stay out of the state.
        self._given = {"prior": deepcopy(parts.model).eval().requires_grad_(False)}
        self._parts, self._fold = {"parts": parts}, {"fold": fold}
        self._columns = {name: _Column(k) for k, name in enumerate(columns)}

    def observed(self, batch: FeatureBatch, *, own_weight: bool = False) -> Observed:
        """Data with their observables, which are known already."""
        return Observed(batch, None if own_weight else batch.weight, lambda data: data, self._columns)

    def generated(self, batch: FeatureBatch, generator: torch.Generator) -> Observed:
        """Generated events, folded."""
        parts = self._parts["parts"]
        given, noise = self._vertex(batch, generator), self.noise(batch, generator)
        azimuth = None
        if parts.representation.has_azimuth:
            uniform = torch.rand(len(batch), generator=generator, device=noise.device, dtype=torch.float64)
            azimuth = parts.azimuth(uniform)
        events = parts.draw(given, noise, azimuth)
        both = joined(events, self._fold["fold"](events, generator))
        weight = batch.weight if self.context_size else None
        return Observed(batch, weight, lambda data: both, self._observables)

    def _vertex(self, batch: FeatureBatch, generator: torch.Generator) -> FeatureBatch:
        """A discrete part and context of events at the vertex, given the conditions of data; without x."""
        parts = self._parts["parts"]
        number = len(parts.representation.variables)
        uniform = torch.rand((len(batch), number), generator=generator, device=batch.condition.device)
        return parts.given(batch.condition, uniform).to(dtype=batch.condition.dtype)

    def _own_terms(
        self, batch: FeatureBatch, generator: torch.Generator, share: float, *, everything: bool = False
    ) -> list[Term]:
        """The pull to the prior, where there is one."""
        if not self.config.pull:
            return []
        given, noise = self._vertex(batch, generator), self.noise(batch, generator)
        with torch.no_grad():
            before = self._given["prior"].sample(noise, given.context, given.mask)
        way = self.circles.between(before, self.model.sample(noise, given.context, given.mask))
        if given.mask is not None:
            way = way * given.mask
        return [Term("pull", way.square().mean(), self.config.pull)]

    def _own_floors(self, scene: Any) -> list[Term]:
        """The prior itself, which nothing pulls."""
        return [Term("pull", scene.real.batch.x.new_zeros(()))] if self.config.pull else []


@checked
def unfold_through(
    prior: EventGenerator,
    folding: Any,
    data: EventsLike,
    observables: Mapping[str, Observable],
    config: ThroughConfig | Mapping[str, Any],
    *,
    seed: int = 0,
    max_time: float | None = None,
    checkpoint: str | Path | None = None,
    resume: bool = False,
    progress: bool = False,
) -> EventGenerator:
    """A generator of events at the vertex, trained so that its folded events agree with data.

    The gradient of critics and distances at the detector goes through the frozen folding into the generator,
    which starts from the prior. What the detector does not tell is left to where the training leads; the
    pull to the prior, and few steps, keep it near that. :func:`unfold` is the more robust way.

    Args:
        prior: The generator to start from, on the device that is to be used; it stays as it is.
        folding: What makes detector-level events of vertex-level ones, differentiable in their momenta: an
            object with ``fold_batch(events, generator)``, or such a function. Frozen.
        data: Detector-level events, with weights if there are any, and with the prior's conditions.
        observables: What critics and penalties name: one number an event, of the detector.
        config: Critics, penalties, pull and training; for instance ``{"penalties": [{"kind": "energy",
            "observables": ["energy", "theta"]}]}``.
        seed: The same seed, the same generator.
        max_time: Seconds after which the training ends, with its learning rate annealed; those of the
            settings if None.
        checkpoint: File that the training is saved to as it goes, and resumed from.
        resume: Whether to go on from ``checkpoint``.
        progress: Whether to show a progress bar.

    Returns:
        The unfolded generator. Its conditions, where none are given, are those of the data.

    Raises:
        InputError: If the data lack a condition, or have none of an observable.
        RecipeError: If a critic or a penalty names an observable that isn't there.
        TrainingError: If a loss is not a number.
        pydantic.ValidationError: If the config is none.
    """
    started = time.monotonic()
    fold = folding_of(folding)
    config = config if isinstance(config, ThroughConfig) else ThroughConfig.model_validate(dict(config))
    given = conditions_of(prior, data)
    check_single(config.training, "what is unfolded")
    parts = prior.parts.alone("unfold")
    pool = pool_of(prior, given, event_weights(data), seed)
    parts = replace(parts, model=deepcopy(parts.model), pool=pool)
    used = {n: None for c in config.critics for n in c.observables}
    used |= {n: None for p in config.penalties for n in p.observables}
    columns = tuple(n for n in used if n in observables)
    with reserved(checkpoint):
        with drawing_from(torch.Generator().manual_seed(seed)):
            learner = Unfolder(config, parts, fold, observables=observables, columns=columns)
        trainer = Trainer(
            learner,
            _features(parts, data, given, {n: observables[n] for n in columns}),
            config.training.within(max_time),
            seed=seed,
            settings={
                "guides": config.model_dump(mode="json", exclude={"training"}),
                "time": config.training.max_time if max_time is None else max_time,
                "sample of prior": prior.digest(),
            },
            device=parts.device,
            checkpoint=checkpoint,
            resume=resume,
            progress=progress,
        )
        history = trainer.run()
    parts.model.eval()
    recipe = prior.recipe.model_copy(update={"training": config.training})
    guides = config.model_dump(mode="json", exclude={"training"})
    notes: dict[str, Any] = {"data": len(data), "guides": guides, "seed": seed}
    return prior.derived("unfolding", recipe, parts, history, started, **notes)


def _features(
    parts: Parts, data: ak.Array, given: Mapping[str, Tensor], observables: Mapping[str, Observable]
) -> FeatureBatch:
    """Data as a batch to learn from: observables in ``x``, conditions as context."""
    columns = [torch.from_numpy(o.column(data)) for o in observables.values()]
    for name, column in zip(observables, columns, strict=True):
        if not bool(torch.isfinite(column).any()):
            msg = f"no event of the data has the observable {name}"
            raise InputError(msg)
    condition = parts.representation.encode_condition(given, len(data)).cpu()
    weight = torch.from_numpy(event_weights(data))
    return FeatureBatch(
        x=torch.stack(columns, 1),
        mask=None,
        discrete=torch.zeros(len(data), 0, dtype=torch.int64),
        condition=condition,
        context=condition,
        weight=weight / weight.mean(),
    )


class _Column:
    """An observable of data, which is known already: a column of ``x``, NaN where an event lacks it."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __call__(self, events: FeatureBatch) -> tuple[Tensor, Tensor | None]:
        values = events.x[:, self._number].double()
        there = torch.isfinite(values)
        return torch.where(there, values, 0.0), there

    def flat(self, events: FeatureBatch) -> Flat:
        """The values that exist (n,), and the number of the event of each."""
        values, there = self(events)
        index = torch.arange(len(values), device=values.device)
        return Flat(values, index) if there is None else Flat(values[there], index[there])

    def dense(self, events: FeatureBatch) -> tuple[Tensor, Tensor | None]:
        """One value for each event (N,), and where there is one."""
        values, there = self(events)
        return values if there is None else torch.where(there, values, 0.0), there
