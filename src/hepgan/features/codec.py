"""Some collections and scalars of events as features and classes, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from hepgan.config import Config
from hepgan.events.batch import EventBatch
from hepgan.events.schema import EventSchema
from hepgan.features.assembly import Assembly
from hepgan.features.config import FeaturesConfig, TransformSpec
from hepgan.features.context import ContextEncoder
from hepgan.features.draft import Draft
from hepgan.features.facts import Facts
from hepgan.features.parts import AnyPart, Part
from hepgan.features.plan import plan
from hepgan.features.precise import PreciseModule
from hepgan.features.reading import Reading, Refusal
from hepgan.features.space import Grid
from hepgan.features.standard import StandardColumns
from hepgan.features.survey import survey
from hepgan.features.variables import DiscreteVariable

__all__ = ["Codec", "LearnedCodec", "Read"]


class LearnedCodec(Config):
    """All that was learned, but the tensors of the transforms.

    Attributes:
        facts: What is known of the events.
        parts: The parts, in the order of their columns.
        variables: All discrete variables.
        ordinal: Mean and standard deviation of the values of each ordinal variable.
        columns: What ``StandardColumns`` has learned.
    """

    facts: Facts
    parts: tuple[AnyPart, ...]
    variables: tuple[DiscreteVariable, ...]
    ordinal: tuple[tuple[float, float], ...]
    columns: dict[str, Any]


class Read(NamedTuple):
    """Events as models see them.

    Attributes:
        x: (N, D) continuous features, 0 where they don't exist.
        mask: (N, D) which exist; None if all do.
        discrete: (N, K) classes.
        told: (N, T) what the classes tell, as numbers.
    """

    x: Tensor
    mask: Tensor | None
    discrete: Tensor
    told: Tensor


class Codec(PreciseModule):
    """Some collections and scalars of events as features and classes, and back.

    Args:
        learned: What was learned; ``load_state_dict`` then restores the transforms.
    """

    gates: Tensor

    def __init__(self, learned: LearnedCodec) -> None:
        super().__init__()
        self.learned, self.facts = learned, learned.facts
        self.assembly = Assembly(learned.facts, learned.parts, learned.variables)
        self.standard = StandardColumns()
        self.standard.set_up(learned.columns)
        self.encoder = ContextEncoder(learned.variables, learned.ordinal)
        gates = self.assembly.gates[self.standard.kept]
        self.register_buffer("gates", gates, persistent=False)
        self._gated = bool((gates[:, 1] > -2).any()) or self.assembly.hint_count > 0

    @classmethod
    def learn(
        cls,
        config: FeaturesConfig,
        schema: EventSchema,
        events: EventBatch,
        weight: Tensor,
        *,
        angle: Tensor | None = None,
        conditions: Sequence[str] = (),
        given: tuple[str, ...] = (),
    ) -> Self:
        """Learns from training events.

        Args:
            config: The recipe's settings.
            schema: What the events hold.
            events: N events.
            weight: (N,) their weights, of mean 1.
            angle: (N,) the azimuth from which phi is measured.
            conditions: Scalars and collections that are not learned.
            given: Those of them that are collections.

        Raises:
            RecipeError: If the recipe does not fit the events.
            InputError: If a number is outside what its transform can take.
        """
        facts = survey(events, schema, config, given)
        planned = plan(config, facts, conditions)
        reading = Reading(events, facts, angle)
        for p in planned:
            reading = p.part.arranged(p.settings, reading)
        parts = [p.learn(reading) for p in planned]
        for part in parts:
            part.check_transforms()
        assembly = Assembly.of(facts, parts)
        raw, discrete = assembly.read(reading)
        exists = assembly.tell(discrete, assembly.gates.to(raw.device)).exists
        standard = StandardColumns()
        every = [p for p in assembly.parts for _ in p.columns]
        learned = LearnedCodec(
            facts=facts,
            parts=assembly.parts,
            variables=assembly.variables,
            ordinal=ContextEncoder.moments(assembly.variables, discrete, weight),
            columns=standard.learn(
                raw,
                exists,
                weight,
                assembly.columns,
                specs(assembly.parts, config.transform),
                [assembly.parts.index(p) if p.pca else None for p in every],
            ),
        )
        made = cls(learned).to(raw.device)
        made.standard = standard
        return made

    # ------------------------------------------------------------------ what there is

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the D features."""
        return self.standard.names

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts."""
        return self.assembly.parts

    @property
    def grid(self) -> Grid | None:
        """The features that are the cells of an image, if one part's columns are and none is constant."""
        first, kept = 0, self.standard.kept.tolist()
        for part in self.parts:
            last = first + len(part.columns)
            if part.grid is not None and all(k in kept for k in range(first, last)):
                return replace(part.grid, first=kept.index(first))
            first = last
        return None

    @property
    def told_size(self) -> int:
        """How many numbers the classes tell, T."""
        return self.encoder.size + self.assembly.hint_count

    def reading(self, events: EventBatch, angle: Tensor | None, refuse: Refusal | None = None) -> Reading:
        """Events as parts read them, turned back by an angle (N,)."""
        return self.assembly.arranged(Reading(events, self.facts, angle, refuse))

    # ------------------------------------------------------------------ there and back

    def read(self, reading: Reading) -> Read:
        """The events as features and classes.

        Raises:
            InputError: If an event is such as cannot be generated; or it is noted.
        """
        raw, discrete = self.assembly.read(reading)
        told, mask = self.tell(discrete)
        return Read(self.standard(raw, mask, reading.refuse), mask, discrete, told)

    def tell(self, discrete: Tensor) -> tuple[Tensor, Tensor | None]:
        """What classes (N, K) tell (N, T), and which features (N, D) exist; None if all do."""
        numbers = self.encoder(discrete)
        if not self._gated:
            return numbers, None
        known = self.assembly.tell(discrete, self.gates, self.standard.kept)
        return (torch.cat([numbers, known.hints], 1) if self.assembly.hint_count else numbers), known.exists

    def write(self, x: Tensor, discrete: Tensor, draft: Draft) -> None:
        """Puts what features (N, D) and classes (N, K) stand for into a draft."""
        self.assembly.write(self.standard.inverse(x), discrete, draft)


def specs(parts: Sequence[Part], default: TransformSpec) -> list[TransformSpec]:
    """The transform of each column: the recipe's, by the nearest of its names, or a default."""
    return [
        next((p.transforms[k] for k in c.keys if k in p.transforms), default)
        for p in parts
        for c in p.columns
    ]
