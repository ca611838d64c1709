"""Learning by critics and penalties, each when its schedule says so."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from hepgan.errors import RecipeError
from hepgan.features.space import FeatureBatch, FeatureSpace
from hepgan.learners.base import Learner, Phase
from hepgan.learners.critic import Critic, Critics, Decode, Observed, TensorObservable
from hepgan.models import CriticConfig, DensityModel, GuidedConfig, Model, OptimiserConfig
from hepgan.networks.parallel import by_rows
from hepgan.objectives import Circumstances, Penalty, Term, TermSchedule, of_members

__all__ = ["AdversarialLearner", "GuidedLearner", "Scene", "factor", "new_critics"]


class GuidedLearner(Learner):
    """A model that makes events, the critics of these, and penalties on observables.

    Real and generated features go through the same ``decode`` on their way to observables. Generated
    events take the contexts of the real batch, and where there is a context its event's weight too.

    Args:
        config: The recipe's choice.
        model: What makes events.
        decode: Events of features, differentiable in ``x``.
        observables: The observables that critics and penalties name.
        critics: The critics (:func:`new_critics`, or trained ones), of an ensemble :class:`Critics`.
        context_size: Columns of the context C; those of the model if None.

    Attributes:
        maker: The name of the phase that changes the model.
        critics_limit: Where critics begin to compress what they see; None for nowhere.

    Raises:
        RecipeError: If a critic or a penalty names an observable that isn't there.
    """

    maker: ClassVar[str]
    critics_limit: ClassVar[float | None] = None

    def __init__(
        self,
        config: GuidedConfig,
        model: Model,
        decode: Decode,
        observables: Mapping[str, TensorObservable],
        critics: nn.ModuleList | Critics,
        *,
        context_size: int | None = None,
    ) -> None:
        super().__init__(model, critics)
        self.config = config
        self.context_size = model.space.context_size if context_size is None else context_size
        used = {n: f"critic {c.name!r}" for c in config.critics for n in c.all_observables}
        used |= {n: f"penalty {p.name!r}" for p in config.penalties for n in p.observables}
        for name, user in used.items():
            if name not in observables:
                there = ", ".join(observables) or "none"
                msg = f"{user} names the observable {name!r}, which isn't there; there are: {there}"
                raise RecipeError(msg)
        self._observables = {name: observables[name] for name in used}
        # Not a part of what is trained: in a dict it stays out of the state, if it is a module.
        self._decode = {"decode": decode}

    @property
    def phases(self) -> tuple[Phase, ...]:
        """One for all critics of equal steps and optimiser, which share generated events; the maker's."""
        groups: dict[tuple[int, OptimiserConfig | None], list[Critic]] = {}
        for critic in self.every_critic:
            groups.setdefault((critic.config.steps, critic.config.optimiser), []).append(critic)
        phases = [
            Phase(
                "+".join(c.config.name for c in group),
                tuple(p for c in group for p in c.parameters()),
                tuple(group),
                steps,
                optimiser,
            )
            for (steps, optimiser), group in groups.items()
        ]
        return (*phases, Phase(self.maker, self._makers(), optimiser=self.config.optimiser))

    def loss(
        self, phase: Phase, batch: FeatureBatch, generator: torch.Generator, share: float = 0.0
    ) -> list[Term]:
        """The terms that count now: for the maker its own, the critics' and the penalties.

        A critic learns before its term counts, so that it knows the events by then, until its schedule
        ends.
        """
        if not phase.critics:
            own = self._own_terms(batch, generator, share)
            return own + self._guiding_terms(Scene(self, self._part(batch), generator), share)
        critics = [c for c in phase.critics if _learns(c.config, share)]
        if not critics:
            return []
        scene = Scene(self, self._part(batch), generator)
        with torch.no_grad():
            sides = [self._sides(critic, scene) for critic in critics]
            inputs = [(c.inputs(good), c.inputs(bad)) for c, (good, bad) in zip(critics, sides, strict=True)]
        return [
            term
            for critic, (good, bad), seen in zip(critics, sides, inputs, strict=True)
            for term in critic.terms(
                *seen,
                scene.real.batch.context,
                (good.full_weight, bad.weight),
                generator,
                (good.batch, bad.batch),
            )
        ]

    def after_step(self, phase: Phase) -> None:
        """Clip the parameters of critics whose loss asks for it."""
        for critic in phase.critics:
            critic.clip_parameters()

    @torch.no_grad()
    def prepare(self, data: FeatureBatch) -> None:
        """Standardise the critics' observables by up to 50,000 real events, spread over the sample."""
        if not any(c.sees_events for c in self.every_critic):
            return
        count = min(50_000, len(data))
        rows = torch.linspace(0, len(data) - 1, count, dtype=torch.float64, device=data.x.device).long()
        real = self.observed(data[rows])
        for critic in self.every_critic:
            critic.standardise(real)

    def diagnose(
        self, batch: FeatureBatch, other: FeatureBatch, generator: torch.Generator, share: float
    ) -> dict[str, float]:
        """The maker's terms, all of them, whether or not they count now.

        The floor of an adversarial term is its value for real events in place of generated ones; that of
        the model's own terms is their value for generated events in place of real ones: not the least that
        they can be, but what they are at the truth.

        Where a model has own terms and guides (critics and penalties), both have a ``coherence``, the cosine
        between the gradients of two batches, which is the share of the squared gradient that is no noise; and
        ``guides/agreement`` is the cosine between the gradients of the one and of the other, again of
        different batches, so that their noise has no part in its mean.
        """
        if not (self.config.critics or self.config.penalties):
            return {}
        with torch.enable_grad():
            scene = Scene(self, self._part(batch), generator)
            guides = self._guiding_terms(scene, share, everything=True)
            own = self._own_terms(batch, generator, share, everything=True)
            with torch.no_grad():
                true = Scene(self, scene.real.batch, generator, fake=self.observed(self._part(other)))
                floors = self._guiding_terms(true, share, everything=True) + self._own_floors(scene)
            found: dict[str, float] = {}
            # Terms are means over members: this is the root mean square of the members' gradients.
            each = math.sqrt(self.members)
            for term, floor in zip(guides + own, floors, strict=True):
                norm = torch.nn.utils.get_total_norm(self._slope([term]))
                found[f"{term.name}/value"] = float(term.value.detach())
                found[f"{term.name}/floor"] = float(floor.value.detach())
                found[f"{term.name}/gradient"] = each * float(norm)
            if own:
                again = self._guiding_terms(Scene(self, self._part(other), generator), share, everything=True)
                own_again = self._own_terms(other, generator, share, everything=True)
                first, second = self._slope(guides), self._slope(again)
                own_first, own_second = self._slope(own), self._slope(own_again)
                found[f"{self.maker}/coherence"] = _cosine(own_first, own_second)
                found["guides/coherence"] = _cosine(first, second)
                found["guides/agreement"] = 0.5 * (_cosine(own_first, second) + _cosine(own_second, first))
        return found

    def _makers(self) -> tuple[nn.Parameter, ...]:
        """The parameters of what makes events."""
        return tuple(p for m in self.model.sampling_modules() for p in m.parameters())

    def _own_terms(
        self, batch: FeatureBatch, generator: torch.Generator, share: float, *, everything: bool = False
    ) -> list[Term]:
        """The terms that need neither critics nor penalties, which count now; none for a model without."""
        return []

    def _own_floors(self, scene: Scene) -> list[Term]:
        """The same terms for events that the model itself has made."""
        return []

    def _part(self, batch: FeatureBatch) -> FeatureBatch:
        """The events that critics and penalties see of a batch."""
        return batch

    def _sides(self, critic: Critic, scene: Scene) -> tuple[Observed, Observed]:
        """What a critic is to take for true, and what for generated."""
        return scene.real, scene.fake

    def _guiding_terms(self, scene: Scene, share: float, *, everything: bool = False) -> list[Term]:
        """The terms of critics and penalties."""
        terms = []
        for critic in self.every_critic:
            weight = factor(critic.config.schedule, share)
            if weight or everything:
                _, made = self._sides(critic, scene)
                name = f"{critic.config.name}_adversarial"
                terms += critic.maker_terms(made, name, weight * critic.config.weight, scene.generator)
        for penalty in self.config.penalties:
            weight = factor(penalty.schedule, share)
            if weight or everything:
                with torch.no_grad():
                    truth = scene.real.sample(penalty.observables, features=penalty.features)
                values = scene.fake.sample(penalty.observables, features=penalty.features)
                precision = scene.real.batch.x.dtype
                at = Circumstances(share, scene.generator, self._edges(penalty), precision)
                pairs = zip(of_members(truth, self.members), of_members(values, self.members), strict=True)
                value = torch.stack([penalty(true, made, at) for true, made in pairs]).mean()
                terms.append(Term(penalty.name, value, weight * penalty.weight))
        return terms

    def _slope(self, terms: Sequence[Term]) -> tuple[Tensor, ...]:
        """The gradient of terms, with their weights, in the maker's parameters."""
        parameters = self._makers()
        counting = [t.weight * t.value for t in terms if t.weight and t.value.requires_grad]
        if not counting:
            return tuple(torch.zeros_like(p) for p in parameters)
        return torch.autograd.grad(counting, parameters, retain_graph=True, materialize_grads=True)

    def _edges(self, penalty: Penalty) -> Tensor | None:
        """The bin edges of the histogram of a penalty's observable; None if it has none."""
        if not penalty.single:
            return None
        axis: Any = getattr(self._observables[penalty.observables[0]], "axis", None)
        if axis is None or penalty.kind != "histogram":
            return None
        try:
            return torch.as_tensor(axis().edges)
        except ValueError:
            return None

    def generated(self, batch: FeatureBatch, generator: torch.Generator) -> Observed:
        """As many events as these, which are made of noise and of their contexts."""
        noise = self.noise(batch, generator)
        model = self.model.together
        x = by_rows(model, model.sample, noise, batch.context, batch.mask, members=self.members)
        made = batch.with_x(x)
        return self.observed(made, own_weight=not self.context_size)

    def noise(self, batch: FeatureBatch, generator: torch.Generator) -> Tensor:
        """Normal numbers (N, noise_size) for as many events as these."""
        size = (len(batch), self.model.noise_size)
        return torch.randn(size, generator=generator, device=batch.x.device, dtype=batch.x.dtype)

    def pulled_back(self, batch: FeatureBatch) -> Tensor:
        """The noise (N, noise_size) that the model would make events of, differentiable in its parameters."""
        model = cast("DensityModel", self.model.together)
        return by_rows(model, model.pulled_back, batch.x, batch.context, batch.mask, members=self.members)

    def observed(self, batch: FeatureBatch, *, own_weight: bool = False) -> Observed:
        """Events with the weights of the batch, or with weights of their own, which are 1."""
        weight = None if own_weight else batch.weight
        return Observed(batch, weight, self._decode["decode"], self._observables)

    @property
    def every_critic(self) -> list[Critic]:
        """The critics, of an ensemble each with the network of all members."""
        return cast("list[Critic]", list(self.critics))


class AdversarialLearner(GuidedLearner):
    """A generator that learns from its critics, and from penalties, alone.

    Reference: Goodfellow et al., Generative adversarial networks, arXiv:1406.2661.
    """

    maker: ClassVar[str] = "generator"
    default_optimiser: ClassVar[OptimiserConfig] = OptimiserConfig(kind="adam", lr=2e-4, betas=(0.5, 0.9))


class Scene:
    """The events that terms see in a step, each kind made when it is first asked for.

    Args:
        learner: What makes events.
        batch: Real events.
        generator: Draws random numbers.
        fake: What to take for generated events, whose noise is then true noise, too.
    """

    def __init__(
        self,
        learner: GuidedLearner,
        batch: FeatureBatch,
        generator: torch.Generator,
        *,
        fake: Observed | None = None,
    ) -> None:
        self.generator = generator
        self.real = learner.observed(batch)
        self._learner = learner
        self._given = fake

    @cached_property
    def fake(self) -> Observed:
        """Generated events."""
        if self._given is not None:
            return self._given
        return self._learner.generated(self.real.batch, self.generator)

    @cached_property
    def noise(self) -> Observed:
        """True noise, in place of features."""
        return self._noise()

    @cached_property
    def latent(self) -> Observed:
        """The noise that the model would make the real events of, in place of their features."""
        if self._given is not None:
            return self._noise()
        batch = self.real.batch
        return self._learner.observed(batch.with_x(self._learner.pulled_back(batch)))

    def _noise(self) -> Observed:
        batch = self.real.batch
        noise = self._learner.noise(batch, self.generator)
        if batch.mask is not None and batch.mask.shape == noise.shape:
            noise = noise.masked_fill(~batch.mask, 0.0)
        return self._learner.observed(batch.with_x(noise), own_weight=not self._learner.context_size)


def new_critics(
    config: GuidedConfig,
    size: int,
    noise_size: int,
    context_size: int,
    limit: float | None,
    *,
    space: FeatureSpace | None = None,
) -> nn.ModuleList:
    """The critics that a recipe has, with fresh weights.

    Args:
        config: The recipe's choice.
        size: Number of features D.
        noise_size: Noise per event.
        context_size: Columns of the context C.
        limit: Where critics begin to compress what they see; None for nowhere.
        space: The features, for critics that see them as an image or tell their classes.

    Raises:
        RecipeError: As ``Critic``.
    """
    grids = (None, None) if space is None else (space.grid, space.of_noise(noise_size).grid)
    return nn.ModuleList(
        Critic(
            c,
            size=noise_size if c.latent else size,
            context_size=context_size,
            limit=limit,
            grid=grids[c.latent],
            classes=() if space is None else space.classes,
        )
        for c in config.critics
    )


def factor(schedule: TermSchedule | None, share: float) -> float:
    """What a term's weight is multiplied by, when this share of the training is done."""
    return 1.0 if schedule is None else schedule.factor(share)


def _learns(config: CriticConfig, share: float) -> bool:
    schedule = config.schedule or TermSchedule()
    start = 0.0 if config.warmup is None else schedule.start - config.warmup
    return start <= share <= schedule.end


def _cosine(a: Sequence[Tensor], b: Sequence[Tensor]) -> float:
    first, second = (torch.cat([t.flatten() for t in parts]) for parts in (a, b))
    lengths = float(first.norm() * second.norm())
    return float(first @ second) / lengths if lengths else 0.0
