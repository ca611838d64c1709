"""Generators trained against any number of critics, with penalties on observables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from hepgan.errors import RecipeError
from hepgan.features.batch import FeatureBatch
from hepgan.models.base import Model, Phase, in_chunks
from hepgan.models.config import GANConfig, OptimiserConfig
from hepgan.models.critic import Critic
from hepgan.models.view import Decode, TensorObservable, View
from hepgan.networks import build_network
from hepgan.objectives import Circumstances, Penalty, Term, TermSchedule

__all__ = ["GAN"]

_CHUNK = 1024
"""Events that the generator makes at a time on a CPU."""


class GAN(Model):
    """A generator, its critics, and penalties on observables.

    Real and generated features go through the same ``decode`` on their way to observables. Generated
    events take the contexts of the real batch, and where there is a context its event's weight too.

    Reference: Goodfellow et al., Generative adversarial networks, arXiv:1406.2661.

    Args:
        config: The recipe's choice.
        size: Number of features D.
        context_size: Columns of the context C.
        decode: Events of features.
        observables: The observables that critics and penalties name.

    Raises:
        RecipeError: If a critic or a penalty names an observable that isn't there.
    """

    default_optimiser: ClassVar[OptimiserConfig] = OptimiserConfig(kind="adam", lr=2e-4, betas=(0.5, 0.9))

    def __init__(
        self,
        config: GANConfig,
        *,
        size: int,
        context_size: int,
        decode: Decode,
        observables: Mapping[str, TensorObservable],
    ) -> None:
        super().__init__()
        self.config = config
        self.context_size = context_size
        self.noise_size = size if config.noise is None else config.noise
        self.generator = build_network(config.generator, self.noise_size, size, context=context_size)
        self.critics = nn.ModuleList(Critic(c, size=size, context_size=context_size) for c in config.critics)
        used = {n: f"critic {c.name!r}" for c in config.critics for n in c.all_observables}
        used |= {n: f"penalty {p.name!r}" for p in config.penalties for n in p.observables}
        for name, user in used.items():
            if name not in observables:
                there = ", ".join(observables) or "none"
                msg = f"{user} names the observable {name!r}, which isn't there; there are: {there}"
                raise RecipeError(msg)
        # Neither is a part of the network: in a dict they stay out of its state.
        self._decode = {"decode": decode}
        self._observables = {name: observables[name] for name in used}

    @property
    def phases(self) -> tuple[Phase, ...]:
        """One for all critics of equal steps and optimiser, which share generated events; the generator's."""
        phases = [
            Phase(
                "+".join(c.config.name for c in group),
                tuple(p for c in group for p in c.parameters()),
                steps,
                optimiser,
            )
            for (steps, optimiser), group in self._groups().items()
        ]
        generator = Phase("generator", tuple(self.generator.parameters()), 1, self.config.optimiser)
        return (*phases, generator)

    def loss(
        self, phase: str, batch: FeatureBatch, generator: torch.Generator, share: float = 0.0
    ) -> list[Term]:
        """The adversarial terms, and for the generator the penalties, that count now.

        A critic learns from the start until its schedule ends, so that it knows the events when it
        begins to count.
        """
        if phase == "generator":
            return self._generator_loss(batch, generator, share)
        names = phase.split("+")
        critics = [c for c in self._critics() if c.config.name in names and share <= _end(c.config.schedule)]
        return self._critic_loss(critics, batch, generator) if critics else []

    def after_step(self, phase: str) -> None:
        """Clip the parameters of critics whose loss asks for it."""
        for critic in self._critics():
            if critic.config.name in phase.split("+"):
                critic.clip_parameters()

    def diagnose(
        self, batch: FeatureBatch, other: FeatureBatch, generator: torch.Generator, share: float
    ) -> dict[str, float]:
        """The generator's terms, all of them, whether or not they count now.

        The floor of an adversarial term is its value for real events in place of generated ones.
        """
        with torch.enable_grad():
            fake, real = self._fake(batch, generator), self._view(batch)
            terms = self._generator_terms(fake, real, generator, share, everything=True)
            with torch.no_grad():
                floors = self._generator_terms(self._view(other), real, generator, share, everything=True)
            found: dict[str, float] = {}
            for term, floor in zip(terms, floors, strict=True):
                found[f"{term.name}/value"] = float(term.value.detach())
                found[f"{term.name}/floor"] = float(floor.value.detach())
                found[f"{term.name}/gradient"] = self._slope(term)
        return found

    def sample(self, noise: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        """Features (N, D), 0 where masked."""
        return in_chunks(self._generated, noise, context, mask, _CHUNK)

    def sampling_modules(self) -> Iterable[nn.Module]:
        """The generator."""
        return (self.generator,)

    @torch.no_grad()
    def prepare(self, data: FeatureBatch) -> None:
        """Standardise the critics' observables by up to 50,000 real events, spread over the sample."""
        if not any(c.sees_events for c in self._critics()):
            return
        count = min(50_000, len(data))
        rows = torch.linspace(0, len(data) - 1, count, dtype=torch.float64, device=data.x.device).long()
        real = self._view(data[rows])
        for critic in self._critics():
            critic.standardise(real)

    def _generated(self, noise: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        x: Tensor = self.generator(noise, context if self.context_size else None)
        return x if mask is None else x.masked_fill(~mask, 0.0)

    def _critic_loss(
        self, critics: list[Critic], batch: FeatureBatch, generator: torch.Generator
    ) -> list[Term]:
        with torch.no_grad():
            fake, real = self._fake(batch, generator), self._view(batch)
            inputs = [(critic.inputs(real), critic.inputs(fake)) for critic in critics]
        weights = (batch.weight, fake.weight)
        return [
            term
            for critic, (good, bad) in zip(critics, inputs, strict=True)
            for term in critic.terms(good, bad, batch.context, weights, generator)
        ]

    def _generator_loss(self, batch: FeatureBatch, generator: torch.Generator, share: float) -> list[Term]:
        fake = self._fake(batch, generator)
        return self._generator_terms(fake, self._view(batch), generator, share)

    def _generator_terms(
        self, fake: View, real: View, generator: torch.Generator, share: float, *, everything: bool = False
    ) -> list[Term]:
        terms = []
        for critic in self._critics():
            factor = _factor(critic.config.schedule, share)
            if factor or everything:
                output = critic(critic.inputs(fake), fake.batch.context)
                value = critic.loss.generator(output, fake.weight)
                name = f"{critic.config.name}_adversarial"
                terms.append(Term(name, value, factor * critic.config.weight))
        for penalty in self.config.penalties:
            factor = _factor(penalty.schedule, share)
            if factor or everything:
                with torch.no_grad():
                    truth = real.sample(penalty.observables, features=penalty.features)
                made = fake.sample(penalty.observables, features=penalty.features)
                at = Circumstances(share, generator, self._edges(penalty), fake.batch.x.dtype)
                terms.append(Term(penalty.name, penalty(truth, made, at), factor * penalty.weight))
        return terms

    def _slope(self, term: Term) -> float:
        """The norm of the gradient of a term, with its weight, in the generator's parameters."""
        if not (term.weight and term.value.requires_grad):
            return 0.0
        parameters = tuple(self.generator.parameters())
        slopes = torch.autograd.grad(
            term.weight * term.value, parameters, retain_graph=True, materialize_grads=True
        )
        return float(torch.nn.utils.get_total_norm(slopes))

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

    def _fake(self, batch: FeatureBatch, generator: torch.Generator) -> View:
        noise = torch.randn(
            (len(batch), self.noise_size),
            generator=generator,
            device=batch.x.device,
            dtype=batch.x.dtype,
        )
        made = batch.with_x(self.sample(noise, batch.context, batch.mask))
        weight = batch.weight if self.context_size else None
        return View(made, weight, self._decode["decode"], self._observables)

    def _view(self, batch: FeatureBatch) -> View:
        return View(batch, batch.weight, self._decode["decode"], self._observables)

    def _critics(self) -> list[Critic]:
        return cast("list[Critic]", list(self.critics))

    def _groups(self) -> dict[tuple[int, OptimiserConfig | None], list[Critic]]:
        groups: dict[tuple[int, OptimiserConfig | None], list[Critic]] = {}
        for critic in self._critics():
            groups.setdefault((critic.config.steps, critic.config.optimiser), []).append(critic)
        return groups


def _factor(schedule: TermSchedule | None, share: float) -> float:
    return 1.0 if schedule is None else schedule.factor(share)


def _end(schedule: TermSchedule | None) -> float:
    return 1.0 if schedule is None else schedule.end
