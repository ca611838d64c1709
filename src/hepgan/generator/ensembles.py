"""What ensembles have besides their model: bootstrap samples, discrete parts, the branch with the member."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial, reduce
from typing import Any, cast

import torch
from torch import Tensor, nn

from hepgan.errors import RecipeError
from hepgan.events import EventBatch, EventSchema
from hepgan.events.schema import Field, Kind
from hepgan.features import DiscreteVariable, FeatureBatch, Representation
from hepgan.learners.discrete import fit_discrete
from hepgan.models import by_member
from hepgan.models.discrete import DiscreteModel
from hepgan.training import TrainingConfig

__all__ = [
    "MEMBER",
    "DiscreteMembers",
    "bootstrap",
    "check_name",
    "check_single",
    "decoded_by_member",
    "decoded_in_turn",
    "member_field",
    "with_member",
    "with_member_field",
]

MEMBER = "member"
"""The scalar of generated events that tells which member of an ensemble has made them."""

TITLE = "member of the ensemble"
"""The title of that scalar, by which it is told from a user's own of the same name."""


class DiscreteMembers(nn.Module):
    """The discrete part of an ensemble: each member's own, learned from the events that it learns from.

    Args:
        members: The members' models.
    """

    def __init__(self, members: Sequence[DiscreteModel]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    @classmethod
    def fitted(
        cls,
        variables: Sequence[DiscreteVariable],
        features: FeatureBatch,
        rows: Sequence[Tensor],
        *,
        generator: torch.Generator,
        told: Callable[[int, int], None] | None = None,
    ) -> DiscreteMembers:
        """Models of variables, each fitted to its rows of the events; see ``fit_discrete``."""

        def fitted(k: int, chosen: Tensor) -> DiscreteModel:
            def of_all(number: int, groups: int) -> None:
                if told is not None:
                    told(k * groups + number, len(rows) * groups)

            p = features[chosen]
            return fit_discrete(
                variables, p.discrete, p.condition, p.weight, generator=generator, told=of_all
            )

        return cls([fitted(k, chosen) for k, chosen in enumerate(rows)])

    def member(self, number: int) -> DiscreteModel:
        """The model of one member."""
        return cast("DiscreteModel", self.members[number])

    def sample(
        self, uniform: Tensor, condition: Tensor, member: Tensor, known: Tensor | None = None
    ) -> Tensor:
        """Classes (N, K) of events by the members (N,) that make them; see ``DiscreteModel.sample``."""

        def drawn(k: int, uniform: Tensor, condition: Tensor, known: Tensor | None) -> Tensor:
            return self.member(k).sample(uniform, condition, known)

        return by_member(drawn, member, len(self.members), uniform, condition, known)

    def state(self) -> dict[str, Any]:
        """What ``from_state`` needs besides the tensors of ``state_dict``, fit for JSON."""
        return {"members": [self.member(k).state() for k in range(len(self.members))]}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> DiscreteMembers:
        """The models that ``state`` describes; ``load_state_dict`` then restores them exactly."""
        return cls([DiscreteModel.from_state(s) for s in state["members"]])


def bootstrap(events: int, members: int, generator: torch.Generator) -> list[Tensor]:
    """For each member the numbers (N,) of N events drawn with replacement, in ascending order.

    Reference: B. Efron, Bootstrap methods: another look at the jackknife, Ann. Stat. 7 (1979) 1.
    """
    return [torch.randint(events, (events,), generator=generator).sort().values for _ in range(members)]


def decoded_in_turn(representations: Sequence[Representation]) -> Callable[[FeatureBatch], EventBatch]:
    """A decoding of batches with equally many events of each member, one member's after another's.

    Args:
        representations: The members' own.
    """

    def decode(features: FeatureBatch) -> EventBatch:
        each = len(features) // len(representations)
        parts = [r.decode(features[k * each : (k + 1) * each]) for k, r in enumerate(representations)]
        return EventBatch.concatenate(parts)

    return decode


def decoded_by_member(
    representations: Sequence[Representation],
    features: FeatureBatch,
    member: Tensor,
    azimuth: Tensor | None,
) -> EventBatch:
    """Events of features, each in the representation of the member (N,) that has made it."""
    numbers = range(len(representations))
    if torch.compiler.is_compiling():
        # Which rows a member has is not known then, so each decodes all.
        every = [r.decode(features, azimuth) for r in representations]
        return reduce(partial(_chosen, member), enumerate(every[1:], 1), every[0])
    rows = [(member == k).nonzero()[:, 0] for k in numbers]
    parts = [
        representations[k].decode(features[rows[k]], None if azimuth is None else azimuth[rows[k]])
        for k in numbers
        if len(rows[k])
    ]
    return EventBatch.concatenate(parts)[torch.cat(rows).argsort()]


def _chosen(member: Tensor, events: EventBatch, made: tuple[int, EventBatch]) -> EventBatch:
    """Events (N), in place of some of them those that the member of a number has made."""
    number, others = made
    mine = member == number

    def chosen(theirs: Tensor, own: Tensor) -> Tensor:
        return torch.where(mine.reshape(-1, *[1] * (own.ndim - 1)), own, theirs)

    return events.zip_map(others, chosen)


def check_name(schema: EventSchema, recipe: str) -> None:
    """Sees to it that generated events have room for the branch with the member.

    Raises:
        RecipeError: If something is called so already.
    """
    if MEMBER in (*schema.scalar_names, *schema.collection_names):
        msg = f"training.members: events that have a {MEMBER!r} of their own cannot tell an ensemble's member"
        raise RecipeError(msg, file=recipe)


def check_single(training: TrainingConfig, what: str) -> None:
    """Sees to it that a training's settings ask for a single model.

    Args:
        training: The settings.
        what: What the model is, for the message.

    Raises:
        RecipeError: If they ask for an ensemble.
    """
    if training.members > 1:
        msg = f"training.members: {what} is a single model, not an ensemble of {training.members}"
        raise RecipeError(msg)


def member_field(schema: EventSchema) -> Field | None:
    """The scalar of events that tells which member of an ensemble has made them; None if there is none.

    A user's own scalar may be called so, too, a member of parton distributions for instance: it has another
    title, or none.
    """
    return next((f for f in schema.scalars if f.name == MEMBER and f.title == TITLE), None)


def with_member_field(schema: EventSchema) -> EventSchema:
    """What the events of all members hold: the member, too."""
    field = Field(name=MEMBER, branches=(MEMBER,), dtype="int32", title=TITLE, kind=Kind.INTEGER)
    return schema.model_copy(update={"scalars": (*schema.scalars, field)})


def with_member(events: EventBatch, member: Tensor) -> EventBatch:
    """Events with the number (N,) of the member that has made each."""
    return EventBatch(
        with_member_field(events.schema), events.collections, {**events.scalars, MEMBER: member}
    )
