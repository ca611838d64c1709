"""Learning by likelihood or by regression, and what critics can teach besides."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import replace
from typing import ClassVar, cast

import torch
from torch import Tensor

from hepgan.errors import RecipeError
from hepgan.features.space import FeatureBatch
from hepgan.learners.critic import Critic, Observed
from hepgan.learners.guides import GuidedLearner, Scene, factor
from hepgan.models import (
    DensityConfig,
    DensityModel,
    FlowMatching,
    FlowMatchingConfig,
    OptimiserConfig,
    Student,
)
from hepgan.networks.parallel import by_rows
from hepgan.objectives import Term, by_members, normalised

__all__ = ["DensityLearner", "FlowLearner", "FlowMatchingLearner", "SequenceLearner", "StudentLearner"]

_LARGEST = math.log(10.0)
"""Largest logarithm of a critic's ratio of densities, either way, by which events are reweighted."""


class DensityLearner(GuidedLearner):
    """Learns real events' likelihood, alone or with critics and penalties (a hybrid).

    It has a term of its own, of real events, which a critic may reweight. Critics may see latent space:
    true noise, and the noise that the model would make real events of.

    References: Grover et al., Flow-GAN, arXiv:1705.08868; Hummerich, Hybrid flows for LHC events,
    Heidelberg (2021).
    """

    # A likelihood hardly sees a few events at infinity, so flows do make some.
    critics_limit: ClassVar[float | None] = 10.0
    config: DensityConfig

    @abstractmethod
    def _likelihood_terms(self, batch: FeatureBatch, generator: torch.Generator) -> list[Term]:
        """The model's own terms for these events with their weights, which need not sum to their number."""

    def _own_terms(
        self, batch: FeatureBatch, generator: torch.Generator, share: float, *, everything: bool = False
    ) -> list[Term]:
        settings = self.config.likelihood
        weight = settings.weight * factor(settings.schedule, share)
        if not (weight or everything):
            return []
        terms = self._likelihood_terms(self._reweighted(batch, share), generator)
        return [replace(t, weight=weight * t.weight) for t in terms]

    def _own_floors(self, scene: Scene) -> list[Term]:
        made = scene.fake
        return self._likelihood_terms(replace(made.batch, weight=made.full_weight), scene.generator)

    def _guiding_terms(self, scene: Scene, share: float, *, everything: bool = False) -> list[Term]:
        guides = (*self.config.critics, *self.config.penalties)
        if everything or any(g.weight * factor(g.schedule, share) for g in guides):
            return super()._guiding_terms(scene, share, everything=everything)
        return []

    def _part(self, batch: FeatureBatch) -> FeatureBatch:
        count = self.config.fakes
        rows = len(batch) // self.members
        if count is None or count >= rows:
            return batch
        return batch.map(lambda t: by_members(t, self.members)[:, :count].flatten(0, 1))

    def _sides(self, critic: Critic, scene: Scene) -> tuple[Observed, Observed]:
        return (scene.noise, scene.latent) if critic.config.latent else super()._sides(critic, scene)

    @torch.no_grad()
    def _reweighted(self, batch: FeatureBatch, share: float) -> FeatureBatch:
        """The events with weights times a critic's ratio of densities, whose mean is 1."""
        settings = self.config.likelihood
        if settings.reweighted_by is None:
            return batch
        critic = next(c for c in self.every_critic if c.config.name == settings.reweighted_by)
        power = settings.power * factor(critic.config.schedule, share)
        if not power:
            return batch
        ratio = self._log_ratio(critic, batch).clamp(-_LARGEST, _LARGEST).mul(power).exp()
        sizes = normalised(batch.weight.abs(), self.members)
        means = by_members(sizes * ratio, self.members).sum(1, keepdim=True)
        shares = by_members(sizes, self.members).sum(1, keepdim=True)
        scaled = by_members(ratio, self.members) * (shares / means)
        return replace(batch, weight=batch.weight * scaled.flatten())

    def _log_ratio(self, critic: Critic, batch: FeatureBatch) -> Tensor:
        """The logarithm of the ratio of real to generated density that a critic sees at real events (N,)."""
        seen = batch
        if critic.config.latent:
            seen = batch.with_x(self.pulled_back(batch))
        output: Tensor = critic(critic.inputs(self.observed(seen)), batch.context)
        # To a critic of latent space, noise is what is true, and generated events are made of noise.
        return -output if critic.config.latent else output


class FlowLearner(DensityLearner):
    """A flow learns by the negative logarithm of the likelihood."""

    maker: ClassVar[str] = "flow"
    default_optimiser: ClassVar[OptimiserConfig] = OptimiserConfig(kind="adam", lr=3e-3)
    default_ema: ClassVar[float] = 0.999

    def _likelihood_terms(self, batch: FeatureBatch, generator: torch.Generator) -> list[Term]:
        """The mean negative log-likelihood of an event.

        The sum over a batch is divided by its number of events and not by its sum of weights, which
        fluctuates, so that the gradient has no bias.
        """
        model = cast("DensityModel", self.model.together)
        log_prob = by_rows(model, model.log_prob, batch.x, batch.context, batch.mask, members=self.members)
        return [Term("likelihood", -(batch.weight * log_prob).mean())]


class SequenceLearner(FlowLearner):
    """A sequence learns by the negative logarithm of the likelihood, too."""

    maker: ClassVar[str] = "sequence"
    default_optimiser: ClassVar[OptimiserConfig] = OptimiserConfig(
        kind="muon", lr=2e-3, betas=(0.9, 0.98), weight_decay=1e-3
    )
    default_ema: ClassVar[float] = 0.998


class FlowMatchingLearner(DensityLearner):
    """Flow matching learns by regression: its velocity is the mean of x1 - x0 over all straight paths.

    Reference: Lipman et al., Flow matching for generative modeling, arXiv:2210.02747.
    """

    maker: ClassVar[str] = "velocity"
    default_optimiser: ClassVar[OptimiserConfig] = OptimiserConfig(kind="adam", lr=2e-3)
    default_ema: ClassVar[float] = 0.999

    def _likelihood_terms(self, batch: FeatureBatch, generator: torch.Generator) -> list[Term]:
        """The squared error of the velocity, of the features that exist.

        The sum over a batch is divided by its number of events and not by its sum of weights, which
        fluctuates, so that the gradient has no bias.
        """
        model = cast("FlowMatching", self.model.together)
        end = batch.x
        start = torch.randn(end.shape, generator=generator, device=end.device, dtype=end.dtype)
        start = model.circles.start(start)
        t = self._times(len(batch), generator, end)
        target = model.circles.between(start, end)
        x = torch.addcmul(start, t[:, None], target)
        if batch.mask is not None:
            x.masked_fill_(~batch.mask, 0.0)
        seen, time = model.circles.seen(x), model.time(t)
        velocity = by_rows(
            model, model.velocity, seen, model.given(batch.context), time, batch.mask, members=self.members
        )
        error = velocity - target
        if batch.mask is not None:
            error = error * batch.mask
        squares = error.square().mean(dim=1)
        return [Term("velocity", (batch.weight * squares).mean())]

    def _times(self, count: int, generator: torch.Generator, like: Tensor) -> Tensor:
        # One time in each of N equal strata: fewer fluctuations than independent times.
        each = count // self.members
        strata = torch.arange(each, device=like.device, dtype=like.dtype).repeat(self.members)
        share = torch.rand(count, generator=generator, device=like.device, dtype=like.dtype)
        u = (strata + share) / each
        if cast("FlowMatchingConfig", self.config).time == "uniform":
            return u
        normal: Tensor = torch.special.ndtri(u.clamp(1e-6, 1.0 - 1e-6))
        return normal.sigmoid()


class StudentLearner(GuidedLearner):
    """A student learns by regression where the paths of its teacher lead.

    It learns from batches whose ``x`` holds whole paths, (N, (steps + 1) D): their start, the points
    between and their end. Critics and penalties, if there are any, compare with the teacher's events, the
    paths' ends.

    Reference: Luhman and Luhman, Knowledge distillation in iterative generative models, arXiv:2101.02388.
    """

    maker: ClassVar[str] = "student"
    default_optimiser: ClassVar[OptimiserConfig] = OptimiserConfig(
        kind="adamw", lr=2e-3, betas=(0.9, 0.99), weight_decay=1e-4
    )
    default_ema: ClassVar[float] = 0.998

    @property
    def student(self) -> Student:
        """The model."""
        return cast("Student", self.model)

    def prepare(self, data: FeatureBatch) -> None:
        """Take from the teacher's events what critics need.

        Raises:
            RecipeError: If the data are events instead of paths.
        """
        if data.x.shape[1] != (self.student.config.steps + 1) * self.student.noise_size:
            msg = "a student does not learn from events: train its teacher, and distil that (hepgan distill)"
            raise RecipeError(msg)
        super().prepare(self._part(data))

    def _own_terms(
        self, batch: FeatureBatch, generator: torch.Generator, share: float, *, everything: bool = False
    ) -> list[Term]:
        """The squared error of one step of each path, of the features that exist, in units of a step."""
        student = self.student
        points = batch.x.reshape(len(batch), student.config.steps + 1, student.noise_size)
        rows = torch.arange(len(batch), device=batch.x.device)
        # Equally many events make each step.
        first = torch.randint(student.config.steps, (), generator=generator, device=rows.device)
        k = (rows + first) % student.config.steps
        start, end = points[rows, k], points[rows, k + 1]
        # On a circle any number of turns will do, so that the way may be smooth where its end is cut.
        error = student.circles.between(end, student.moved(start, k, batch.context, batch.mask))
        error = error / student.length
        if batch.mask is not None:
            error = error * batch.mask
        return [Term("path", (batch.weight * error.square().mean(dim=1)).mean())]

    def _own_floors(self, scene: Scene) -> list[Term]:
        return [Term("path", scene.real.batch.x.new_zeros(()))]

    def _part(self, batch: FeatureBatch) -> FeatureBatch:
        """The events at the ends of the paths."""
        return batch.with_x(self.student.circles.wrapped(batch.x[:, -self.student.noise_size :]))
