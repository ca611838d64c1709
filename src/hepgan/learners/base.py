"""What every way of learning offers to training."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from hepgan.features.space import FeatureBatch
from hepgan.learners.critic import Critic, Critics
from hepgan.models import Ensemble, Model, OptimiserConfig
from hepgan.objectives import Term

__all__ = ["Learner", "Phase"]


@dataclass(frozen=True, eq=False)
class Phase:
    """A part of a training step, which minimises its own loss in its own parameters.

    Attributes:
        name: Its name in the history.
        parameters: What it changes.
        critics: The critics that it teaches; none if it changes what makes events.
        repeats: How often it is done in each step, each time with other events.
        optimiser: The optimiser that the recipe gives it; the training's if None.
    """

    name: str
    parameters: tuple[nn.Parameter, ...]
    critics: tuple[Critic, ...] = ()
    repeats: int = 1
    optimiser: OptimiserConfig | None = None


class Learner(nn.Module, ABC):
    """A model, and what it learns by: losses, and all that these need besides the model.

    Its state is all that a training has to keep of both.

    Args:
        critics: Networks that it learns by, of an ensemble those of all members; none if None.
        model: What is trained. The members of an ensemble are trained at once: batches hold equally many rows
            of each, one member's after another's, and a term is the mean over members. So M times a term's
            gradient is in each member's parameters that of its own term.

    Attributes:
        default_optimiser: The optimiser where the recipe gives none.
        default_ema: The decay of the running mean of the weights where the recipe gives none; 0 for none.
    """

    default_optimiser: ClassVar[OptimiserConfig] = OptimiserConfig()
    default_ema: ClassVar[float] = 0.0

    def __init__(self, model: Model, critics: nn.ModuleList | Critics | None = None) -> None:
        super().__init__()
        self.model = model
        self.critics = nn.ModuleList() if critics is None else critics

    @property
    def members(self) -> int:
        """How many models of an ensemble learn."""
        return self.model.members

    @property
    @abstractmethod
    def phases(self) -> tuple[Phase, ...]:
        """The parts of a training step, in order."""

    def phase(self, name: str) -> Phase:
        """The phase of that name.

        Raises:
            KeyError: If there is none.
        """
        return {p.name: p for p in self.phases}[name]

    @abstractmethod
    def loss(
        self, phase: Phase, batch: FeatureBatch, generator: torch.Generator, share: float = 0.0
    ) -> list[Term]:
        """The terms that a phase minimises; none where there is nothing to do now.

        Args:
            phase: One of :attr:`phases`.
            batch: Real events, with float32 features.
            generator: Draws all random numbers.
            share: The share of the training that is done.
        """

    def prepare(self, data: FeatureBatch) -> None:
        """Take from the training events what the losses need, before the first step."""

    def after_step(self, phase: Phase) -> None:
        """Change the parameters of a phase after each of its steps, as clipping does."""

    def diagnose(
        self, batch: FeatureBatch, other: FeatureBatch, generator: torch.Generator, share: float
    ) -> dict[str, float]:
        """How far the terms of what makes events are from their floors; empty for a learner without floors.

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

    def start_from(self, other: Learner) -> None:
        """Give all members of an ensemble what a learner of one model of their kind has learned.

        Raises:
            TypeError: If this is no ensemble.
        """
        if not isinstance(self.model, Ensemble) or not isinstance(self.critics, Critics):
            msg = f"a {type(self).__name__} of a single model does not start from another one"
            raise TypeError(msg)
        self.model.start_from(other.model)
        self.critics.start_from(other.critics)
