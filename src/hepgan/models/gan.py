"""Generators trained against any number of critics, with penalties on observables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from hepgan.errors import RecipeError
from hepgan.features.batch import FeatureBatch
from hepgan.models.base import Model, Phase, TensorObservable, in_chunks
from hepgan.models.config import CriticConfig, GANConfig, OptimiserConfig
from hepgan.networks import build_network
from hepgan.objectives import ADVERSARIAL, Sample, Term, gradient_penalty

__all__ = ["GAN", "Critic"]

Decode = Callable[[FeatureBatch], Any]

_CHUNK = 1024
"""Events that the generator makes at a time on a CPU."""


class Critic(nn.Module):
    """A network that sees features, per-event observables, or both, of real and generated events.

    Each observable takes two columns: its value, standardised by the real events, and whether the
    event has one. The mask of the features isn't shown, since it follows from the context.

    Args:
        config: The recipe's choice.
        size: Number of features D.
        context_size: Columns of the context C.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: CriticConfig, *, size: int, context_size: int) -> None:
        super().__init__()
        self.config = config
        self.loss = ADVERSARIAL[config.loss]
        self.context_size = context_size if config.context else 0
        self.penalty = (
            self.loss.gradient_penalty if config.gradient_penalty is None else config.gradient_penalty
        )
        inputs = size * config.features + 2 * len(config.observables)
        self.network = build_network(config.network, inputs, 1, context=self.context_size)
        self.register_buffer("mean", torch.zeros(len(config.observables)))
        self.register_buffer("std", torch.ones(len(config.observables)))

    def inputs(self, x: Tensor, values: Tensor, present: Tensor) -> Tensor:
        """The network's inputs (N, I).

        Args:
            x: Features (N, D).
            values: Observables (N, n), in physical units.
            present: 1 where there is one, else 0, (N, n).
        """
        parts = [x] if self.config.features else []
        if self.config.observables:
            scaled = ((values - self.mean) / self.std).to(x.dtype)
            parts += [scaled * present, present]
        return torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]

    def forward(self, inputs: Tensor, context: Tensor) -> Tensor:
        """The outputs (N,) for inputs (N, I) and the context (N, C)."""
        output: Tensor = self.network(inputs, context if self.context_size else None)
        return output.squeeze(1)

    def standardise(self, values: Tensor, present: Tensor, weight: Tensor) -> None:
        """Take mean and standard deviation of the observables from real events."""
        w = weight[:, None] * present
        norm = w.sum(dim=0)
        norm = torch.where(norm > 0.0, norm, torch.ones_like(norm))
        mean = (w * values).sum(dim=0) / norm
        variance = (w * (values - mean).square()).sum(dim=0) / norm
        self.mean.copy_(mean)
        self.std.copy_(torch.where(variance > 0.0, variance, torch.ones_like(variance)).sqrt())


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
        used = {n: f"critic {c.name!r}" for c in config.critics for n in c.observables}
        used |= {p.observable: f"penalty {p.name!r}" for p in config.penalties}
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

    def loss(self, phase: str, batch: FeatureBatch, generator: torch.Generator) -> list[Term]:
        """The adversarial terms, and for the generator the penalties."""
        if phase == "generator":
            return self._generator_loss(batch, generator)
        return self._critic_loss(phase.split("+"), batch, generator)

    def sample(self, noise: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        """Features (N, D), 0 where masked."""
        return in_chunks(self._generated, noise, context, mask, _CHUNK)

    def sampling_modules(self) -> Iterable[nn.Module]:
        """The generator."""
        return (self.generator,)

    @torch.no_grad()
    def prepare(self, data: FeatureBatch) -> None:
        """Standardise the critics' observables by up to 50,000 real events, spread over the sample."""
        if not any(c.observables for c in self.config.critics):
            return
        count = min(50_000, len(data))
        rows = torch.linspace(0, len(data) - 1, count, dtype=torch.float64, device=data.x.device).long()
        part = data[rows]
        events = self._decode["decode"](part)
        for critic in self._critics():
            if critic.config.observables:
                values, present = self._dense(critic, events)
                critic.standardise(values, present, part.weight)

    def _generated(self, noise: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        x: Tensor = self.generator(noise, context if self.context_size else None)
        return x if mask is None else x.masked_fill(~mask, 0.0)

    def _critic_loss(self, names: list[str], batch: FeatureBatch, generator: torch.Generator) -> list[Term]:
        critics = [c for c in self._critics() if c.config.name in names]
        physics = any(c.config.observables for c in critics)
        with torch.no_grad():
            fake = self._generate(batch, generator)
            fake_events = self._decode["decode"](fake) if physics else None
            real_events = self._decode["decode"](batch) if physics else None
        weight = self._fake_weight(batch)
        both = torch.cat((batch.context, batch.context))
        terms = []
        for critic in critics:
            with torch.no_grad():
                real_inputs = self._inputs(critic, batch, real_events)
                fake_inputs = self._inputs(critic, fake, fake_events)
            real, false = critic(torch.cat((real_inputs, fake_inputs)), both).chunk(2)
            name = critic.config.name
            terms.append(Term(name, critic.loss.critic(real, false, batch.weight, weight)))
            if critic.penalty:
                value = gradient_penalty(
                    lambda z, c=critic: c(z, batch.context),  # type: ignore[misc]
                    real_inputs,
                    fake_inputs,
                    generator,
                )
                terms.append(Term(f"{name}_gradient_penalty", value, critic.penalty))
        return terms

    def _generator_loss(self, batch: FeatureBatch, generator: torch.Generator) -> list[Term]:
        fake = self._generate(batch, generator)
        weight = self._fake_weight(batch)
        events = self._decode["decode"](fake) if self._observables else None
        terms = []
        for critic in self._critics():
            output = critic(self._inputs(critic, fake, events), batch.context)
            value = critic.loss.generator(output, weight)
            terms.append(Term(f"{critic.config.name}_adversarial", value, critic.config.weight))
        if self.config.penalties:
            fake_weight = torch.ones_like(batch.weight) if weight is None else weight
            with torch.no_grad():
                real_events = self._decode["decode"](batch)
            for penalty in self.config.penalties:
                value = penalty(
                    self._flat(penalty.observable, real_events, batch.weight),
                    self._flat(penalty.observable, events, fake_weight),
                )
                terms.append(Term(penalty.name, value, penalty.weight))
        return terms

    def _generate(self, batch: FeatureBatch, generator: torch.Generator) -> FeatureBatch:
        noise = torch.randn(
            (len(batch), self.noise_size),
            generator=generator,
            device=batch.x.device,
            dtype=batch.x.dtype,
        )
        return batch.with_x(self.sample(noise, batch.context, batch.mask))

    def _fake_weight(self, batch: FeatureBatch) -> Tensor | None:
        return batch.weight if self.context_size else None

    def _inputs(self, critic: Critic, batch: FeatureBatch, events: Any) -> Tensor:
        if not critic.config.observables:
            return critic.inputs(batch.x, batch.x, batch.x)
        values, present = self._dense(critic, events)
        return critic.inputs(batch.x, values, present.to(batch.x.dtype))

    def _dense(self, critic: Critic, events: Any) -> tuple[Tensor, Tensor]:
        pairs = [self._observables[name].dense(events) for name in critic.config.observables]
        values = torch.stack([value for value, _ in pairs], dim=1)
        masks = [torch.ones_like(v, dtype=torch.bool) if m is None else m for v, m in pairs]
        return values, torch.stack(masks, dim=1).to(values.dtype)

    def _flat(self, name: str, events: Any, weight: Tensor) -> Sample:
        values, index = self._observables[name].flat(events)
        return Sample(values, weight[index])

    def _critics(self) -> list[Critic]:
        return cast("list[Critic]", list(self.critics))

    def _groups(self) -> dict[tuple[int, OptimiserConfig | None], list[Critic]]:
        groups: dict[tuple[int, OptimiserConfig | None], list[Critic]] = {}
        for critic in self._critics():
            groups.setdefault((critic.config.steps, critic.config.optimiser), []).append(critic)
        return groups
