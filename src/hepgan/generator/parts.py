"""What a generator has learned, and the one way by which it makes events of noise."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from hepgan.errors import RecipeError
from hepgan.events import EventBatch, EventSchema
from hepgan.events.schema import Kind
from hepgan.features import FeatureBatch, Representation
from hepgan.generator.conditions import Pool
from hepgan.generator.ensembles import DiscreteMembers, decoded_by_member, with_member, with_member_field
from hepgan.learners import Critics, Learner, build_learner
from hepgan.models import Ensemble, Model
from hepgan.models.discrete import DiscreteModel
from hepgan.recipes import Derived, Recipe

__all__ = ["Parts"]


@dataclass(frozen=True)
class Parts:
    """The parts of a generator that has learned.

    Whatever makes events, be it generation, folding, a training or an unfolding, makes them by :meth:`draw`
    of what is :meth:`given` and of noise. Gradients reach the noise, what is given, and the model's weights.

    Attributes:
        derived: What the events hold, and the scalars among it that are computed instead of learned.
        representation: Events as features, and back.
        discrete: The model of the discrete part, of an ensemble those of its members.
        model: The model of the continuous part.
        pool: Conditions of training events, to draw from where none are given.
        device: Where the networks are.
        own: Of an ensemble the representation of each member, whose transforms are fitted to its events.
        critics: The critics as they were in the last step of the training, if the model learned by any.
    """

    derived: Derived
    representation: Representation
    discrete: DiscreteModel | DiscreteMembers
    model: Model
    pool: Pool
    device: torch.device
    own: tuple[Representation, ...] = ()
    critics: nn.ModuleList | Critics = field(default_factory=nn.ModuleList)

    # ------------------------------------------------------------------ from noise to events

    def given(
        self, condition: Tensor, uniform: Tensor, objects: Tensor | None = None, member: Tensor | None = None
    ) -> FeatureBatch:
        """All that events are conditional on: their conditions, and the discrete part that is drawn of them.

        Args:
            condition: Encoded conditions (N, Q).
            uniform: Uniform numbers (N, K) in [0, 1), which choose the class of each discrete variable.
            objects: The numbers (N, R) of the given collections as they are; None if there are none.
            member: Of an ensemble the number (N,) of each event's member; in turn if None.

        Returns:
            N events whose features are 0, with context and mask.
        """
        drawn = condition.detach()
        known = self.representation.known(None if objects is None else objects.detach())
        if isinstance(self.discrete, DiscreteMembers):
            discrete = self.discrete.sample(uniform, drawn, self._in_turn(len(drawn), member), known)
        else:
            discrete = self.discrete.sample(uniform, drawn, known)
        discrete = self.representation.settled(discrete)
        context, mask = self.representation.context(discrete, condition)
        x = context.new_zeros((len(context), self.representation.size))
        return FeatureBatch(x, mask, discrete, condition, context, context.new_ones(len(context)), objects)

    def azimuth(self, uniform: Tensor) -> Tensor:
        """Angles (N,) to turn events by, of uniform numbers (N,) in [0, 1)."""
        return (2 * uniform - 1) * math.pi

    def draw(
        self, given: FeatureBatch, noise: Tensor, azimuth: Tensor | None = None, member: Tensor | None = None
    ) -> EventBatch:
        """Events of noise.

        Args:
            given: What the N events are conditional on; its features are ignored.
            noise: Standard normal numbers (N, noise_size), in the precision that the model is to work in.
            azimuth: Angles (N,) to turn the events by; None leaves the reference at phi = 0.
            member: Of an ensemble the number (N,) of each event's member; in turn if None.

        Returns:
            N events, with what is computed from the rest of an event, and of an ensemble with the member.
        """
        return self.decode(self.features(given, noise, member), azimuth, member)

    def features(self, given: FeatureBatch, noise: Tensor, member: Tensor | None = None) -> FeatureBatch:
        """The features of events (N) of noise; arguments are those of :meth:`draw`."""
        context = given.context.to(noise.dtype)
        if not isinstance(self.model, Ensemble):
            return given.with_x(self.model.sample(noise, context, given.mask))
        member = self._in_turn(len(noise), member)
        return given.with_x(self.model.sample(noise, context, given.mask, member))

    def decode(
        self, features: FeatureBatch, azimuth: Tensor | None = None, member: Tensor | None = None
    ) -> EventBatch:
        """Whole events of features (N); arguments are those of :meth:`draw`."""
        if not isinstance(self.model, Ensemble):
            return self.derived(self.representation.decode(features, azimuth))
        member = self._in_turn(len(features), member)
        return with_member(self.derived(decoded_by_member(self.own, features, member, azimuth)), member)

    def _in_turn(self, size: int, member: Tensor | None) -> Tensor:
        return torch.arange(size, device=self.device) % self.members if member is None else member

    # ------------------------------------------------------------------ what there is

    @property
    def schema(self) -> EventSchema:
        """What generated events hold; those of all members of an ensemble the member, too."""
        return with_member_field(self.derived.schema) if self.members > 1 else self.derived.schema

    @property
    def members(self) -> int:
        """The number of an ensemble's members; 1 if it is none."""
        return self.model.members

    def member(self, number: int) -> Parts:
        """The parts of one member of an ensemble; they share its memory.

        Raises:
            ValueError: If there is no member of that number.
        """
        if not 0 <= number < self.members:
            there = f"0 ... {self.members - 1}" if self.members > 1 else "0 alone, since it is no ensemble"
            msg = f"there is no member {number}; the generator has {there}"
            raise ValueError(msg)
        if not isinstance(self.model, Ensemble) or not isinstance(self.discrete, DiscreteMembers):
            return self
        return replace(
            self,
            representation=self.own[number],
            discrete=self.discrete.member(number),
            model=self.model.member(number),
            own=(),
            critics=self.critics.member(number) if isinstance(self.critics, Critics) else self.critics,
        )

    def learner(self, recipe: Recipe) -> Learner:
        """By what the model has learned, with its trained critics; of parts that are :meth:`alone`.

        Args:
            recipe: The recipe.

        Raises:
            RecipeError: If it is a refined model, which has learned nothing from events.
        """
        return build_learner(
            recipe.model, self.model, self.alone().decode, recipe.make_observables(), self.critics
        )

    def alone(self, what: str = "take") -> Parts:
        """These parts, for what is done with a single model only.

        Args:
            what: What is done, as an imperative.

        Raises:
            RecipeError: If they are those of an ensemble.
        """
        if self.members > 1:
            msg = f"this is an ensemble of {self.members}: {what} one of its members, generator.member(k)"
            raise RecipeError(msg)
        return self

    @property
    def condition_ranges(self) -> dict[str, tuple[float, float]]:
        """The least and the largest value in the training events of conditions that are numbers."""
        schema, known = self.representation.schema, self.representation.condition_ranges
        names = [
            n for n in self.representation.scalar_conditions if schema.scalar(n).kind is not Kind.CATEGORY
        ]
        if all(n in known for n in names):
            return {n: known[n] for n in names}
        # Older models know no ranges but those of the conditions that they keep.
        values = self.representation.decode_condition(self.pool.condition)
        return {n: known.get(n, (float(values[n].min()), float(values[n].max()))) for n in names}

    @property
    def modules(self) -> dict[str, torch.nn.Module]:
        """The parts that have tensors, by name."""
        own = {f"representation_{k}": r for k, r in enumerate(self.own)}
        return {
            "representation": self.representation,
            "discrete": self.discrete,
            "model": self.model,
            "critics": self.critics,
            **own,
        }
