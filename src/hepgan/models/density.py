"""Models with a likelihood, and what critics can teach them besides."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor

from hepgan.features.batch import FeatureBatch
from hepgan.models.config import DensityConfig
from hepgan.models.critic import Critic
from hepgan.models.guided import GuidedModel, Scene, factor
from hepgan.models.view import View
from hepgan.objectives import Term, by_members, normalised

__all__ = ["DensityModel"]

_LARGEST = math.log(10.0)
"""Largest logarithm of a critic's ratio of densities, either way, by which events are reweighted."""


class DensityModel(GuidedModel):
    """A model that learns real events' likelihood, alone or with critics and penalties (a hybrid).

    It has a term of its own, of real events, which a critic may reweight. Critics may see latent space:
    true noise, and the noise that the model would make real events of.

    References: Grover et al., Flow-GAN, arXiv:1705.08868; Hummerich, Hybrid flows for LHC events,
    Heidelberg (2021).
    """

    has_likelihood: ClassVar[bool] = True
    # A likelihood hardly sees a few events at infinity, so flows do make some.
    critics_limit: ClassVar[float | None] = 10.0
    config: DensityConfig

    def noise_mask(self, mask: Tensor | None) -> Tensor | None:
        """Each feature has its noise."""
        return mask

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

    def _sides(self, critic: Critic, scene: Scene) -> tuple[View, View]:
        return (scene.noise, scene.latent) if critic.config.latent else super()._sides(critic, scene)

    @torch.no_grad()
    def _reweighted(self, batch: FeatureBatch, share: float) -> FeatureBatch:
        """The events with weights times a critic's ratio of densities, whose mean is 1."""
        settings = self.config.likelihood
        if settings.reweighted_by is None:
            return batch
        critic = next(c for c in self._critics() if c.config.name == settings.reweighted_by)
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
            seen = batch.with_x(self._pulled_back(batch.x, batch.context, batch.mask))
        output: Tensor = critic(critic.inputs(self._view(seen)), batch.context)
        # To a critic of latent space, noise is what is true, and generated events are made of noise.
        return -output if critic.config.latent else output
