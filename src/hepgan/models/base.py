"""What every model offers to training and to generation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from hepgan.features.batch import FeatureBatch
from hepgan.models.config import OptimiserConfig
from hepgan.objectives import Term

__all__ = ["Model", "Phase", "in_chunks"]


@dataclass(frozen=True)
class Phase:
    """A part of a training step, which minimises its own loss in its own parameters.

    Attributes:
        name: What :meth:`Model.loss` knows it by.
        parameters: What it changes.
        repeats: How often it is done in each step, each time with other events.
        optimiser: The optimiser that the recipe gives it; the training's if None.
    """

    name: str
    parameters: tuple[nn.Parameter, ...]
    repeats: int = 1
    optimiser: OptimiserConfig | None = None


class Model(nn.Module, ABC):
    """A distribution of features given their context.

    Attributes:
        noise_size: Standard normal numbers per event that :meth:`sample` needs.
        default_optimiser: The optimiser where the recipe gives none.
        default_ema: The decay of the running mean of the weights where the recipe gives none; 0 for none.
        has_likelihood: Whether it has :meth:`log_prob` and :meth:`latent`.
        members: How many models of an ensemble it stands for. Those of several have equally many rows of a
            batch each, one member's after another's, and a term is the mean over members.
    """

    default_optimiser: ClassVar[OptimiserConfig] = OptimiserConfig()
    default_ema: ClassVar[float] = 0.0
    has_likelihood: ClassVar[bool] = False
    members: int = 1
    noise_size: int

    @property
    @abstractmethod
    def phases(self) -> tuple[Phase, ...]:
        """The parts of a training step, in order."""

    @abstractmethod
    def loss(
        self, phase: str, batch: FeatureBatch, generator: torch.Generator, share: float = 0.0
    ) -> list[Term]:
        """The terms that a phase minimises; none where there is nothing to do now.

        Args:
            phase: The phase's name.
            batch: Real events, with float32 features.
            generator: Draws all random numbers.
            share: The share of the training that is done.
        """

    @abstractmethod
    def sample(self, noise: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        """Features of new events.

        Args:
            noise: Standard normal numbers (N, noise_size).
            context: What the events are conditional on (N, C).
            mask: True where a feature exists (N, D); None if all do.

        Returns:
            Features (N, D), 0 where masked.
        """

    def log_prob(self, x: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        """Logarithm of the density of features, of those that exist.

        Args:
            x: Features (N, D).
            context: What the events are conditional on (N, C).
            mask: True where a feature exists (N, D); None if all do.

        Returns:
            (N,), differentiable.

        Raises:
            TypeError: If the model has no likelihood.
        """
        msg = f"a {type(self).__name__} has no likelihood"
        raise TypeError(msg)

    def latent(self, x: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        """The noise (N, noise_size) that :meth:`sample` would make features of; arguments as there.

        Raises:
            TypeError: If features do not tell the noise that they are made of.
        """
        msg = f"a {type(self).__name__} doesn't tell the noise that features are made of"
        raise TypeError(msg)

    def noise_mask(self, mask: Tensor | None) -> Tensor | None:
        """Which noise counts (N, noise_size), if these features exist (N, D); None if all does."""
        return None

    @abstractmethod
    def sampling_modules(self) -> Iterable[nn.Module]:
        """The modules that :meth:`sample` uses; their weights are averaged and kept, others only trained."""

    def prepare(self, data: FeatureBatch) -> None:
        """Take from the training events what the losses need, before the first step."""

    def after_step(self, phase: str) -> None:
        """Change the parameters of a phase after each of its steps, as clipping does."""

    def diagnose(
        self, batch: FeatureBatch, other: FeatureBatch, generator: torch.Generator, share: float
    ) -> dict[str, float]:
        """How far the terms of what makes events are from their floors; empty for a model without floors.

        Args:
            batch: Real events, with float32 features.
            other: As many other real events.
            generator: Draws all random numbers.
            share: The share of the training that is done.

        Returns:
            Of each term ``name/value``, ``name/floor`` (the value with real events in place of generated
            ones, or the other way round) and ``name/gradient`` (the norm of the gradient of the term with
            its weight).
        """
        return {}


def in_chunks(
    sample: Callable[[Tensor, Tensor, Tensor | None], Tensor],
    noise: Tensor,
    context: Tensor,
    mask: Tensor | None,
    size: int,
) -> Tensor:
    """What ``sample`` makes of noise, context and mask, ``size`` events at a time where that is faster.

    On a CPU without gradients, the activations of so few events stay in a core's cache.
    """
    if noise.device.type != "cpu" or len(noise) <= size or torch.is_grad_enabled():
        return sample(noise, context, mask)
    chunks = [slice(i, i + size) for i in range(0, len(noise), size)]
    return torch.cat([sample(noise[c], context[c], None if mask is None else mask[c]) for c in chunks])
