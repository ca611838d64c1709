"""Events as the numbers that models learn, and back: the physics of a generator."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from pydantic import Field as Setting
from torch import Tensor, nn

from hepgan.config import Config
from hepgan.errors import InputError, RecipeError
from hepgan.events.batch import EventBatch, Objects
from hepgan.events.schema import EventSchema
from hepgan.features import format1
from hepgan.features.codec import Codec, LearnedCodec, specs
from hepgan.features.config import FeaturesConfig, ObjectsConfig
from hepgan.features.context import ConditionEncoder
from hepgan.features.draft import Draft
from hepgan.features.facts import Facts
from hepgan.features.given import Given, given_schema
from hepgan.features.parts.response import without_holes
from hepgan.features.plan import check_addresses
from hepgan.features.proof import prove
from hepgan.features.reach import reach_of, reached
from hepgan.features.reading import Refusal, azimuth_of, within
from hepgan.features.rules import Restrictions
from hepgan.features.space import Classes, Feature, FeatureBatch, FeatureSpace, Reach, Tokens, find_tokens
from hepgan.features.variables import DiscreteVariable

__all__ = ["LearnedRepresentation", "Representation"]

FORMAT = 2

CHUNK = 4096
"""Events that are encoded at once."""

PROVEN = 1000
"""Training events that have to come back from their features."""


class LearnedRepresentation(Config):
    """All that a representation has learned, but the tensors of its transforms.

    Attributes:
        codec: Of what is generated.
        given: Of the collections that are given.
        conditions: Mean, standard deviation, least and largest value of the scalars that are given; of models
            of format 1 the last two can be missing.
        weight: The mean weight of the training events.
        reach: What each feature may be; empty in models that know no reach.
    """

    codec: LearnedCodec
    given: LearnedCodec | None = None
    conditions: dict[str, tuple[float, ...]] = Setting(default_factory=dict)
    weight: float = 1.0
    reach: Reach = ()


class Representation(nn.Module):
    """Turns events into features, and features into events.

    ``decode`` inverts ``encode`` to rounding. It is differentiable in the continuous features, and whatever
    these are, the events that it makes have E^2 = p^2 + m^2, masses above their thresholds, objects in order,
    momentum conserved where the recipe says so, and integers and categories that occur in the training
    events.

    Coordinates that are stored beside those that make the momentum are computed from it; where they are
    measurements of their own, their deviation from it is a feature. All arithmetic is in float64. Columns
    that are constant in the training events are kept out of the features. Event weights are not features:
    decoded events weigh 1.

    Args:
        config: The recipe's settings.
        schema: What the events hold.
        conditions: Scalars and collections that are given instead of generated.

    Raises:
        RecipeError: If the settings or conditions don't fit the schema.
    """

    _low: Tensor
    _high: Tensor

    def __init__(self, config: FeaturesConfig, schema: EventSchema, conditions: Sequence[str] = ()) -> None:
        super().__init__()
        self.config, self.schema, self.conditions = config, schema, tuple(conditions)
        for name in self.conditions:
            if name not in (*schema.scalar_names, *schema.collection_names) or name == schema.weight:
                there = [n for n in (*schema.scalar_names, *schema.collection_names) if n != schema.weight]
                known = ", ".join(there) or "none"
                msg = f"conditions: {name!r} is no scalar or collection of the events; they have {known}"
                raise RecipeError(msg)
        for name in self.conditions:
            if name in schema.scalar_names and schema.scalar(name).shape:
                msg = (
                    f"conditions: {name} is a field of many cells; only single numbers and objects are given"
                )
                raise RecipeError(msg)
        self.scalar_conditions = tuple(n for n in self.conditions if n in schema.scalar_names)
        self.given = tuple(n for n in self.conditions if n in schema.collection_names)
        check_addresses(config, schema, self.given)
        self.restrictions.check_schema(schema)
        self._learned: LearnedRepresentation | None = None

    # ------------------------------------------------------------------ learning

    def fit(self, events: EventBatch) -> Self:
        """Learns the representation's constants from the training events, and proves that they come back.

        Raises:
            InputError: If there are no events, some are outside the recipe's bounds or break a rule, or the
                weights have no positive sum.
            RecipeError: If the recipe does not fit the events: it names the number that does not come back.
        """
        if len(events) == 0:
            msg = "no events to learn from"
            raise InputError(msg)
        self.restrictions.check(events)
        mean = 1.0 if events.weight is None else float(events.weight.to(torch.float64).mean())
        if not 0 < mean < math.inf:
            msg = f"the event weights have the mean {mean:g}, which must be positive and finite"
            raise InputError(msg)
        weight, given = _weight(events) / mean, None
        if self.given:
            given = Given.learn(self.given_schema, events, weight, self.config.azimuth_objects)
        codec = Codec.learn(
            self.config,
            self.schema,
            events,
            weight,
            angle=self._reference(events),
            conditions=self.conditions,
            given=self.given,
        )
        learned = LearnedRepresentation(
            codec=codec.learned,
            given=None if given is None else given.codec.learned,
            conditions=ConditionEncoder.moments(events, self.scalar_conditions, weight),
            weight=mean,
        )
        self._set_up(learned, codec, given)
        self._prove(events)
        return self

    def _set_up(self, learned: LearnedRepresentation, codec: Codec, given: Given | None) -> None:
        self._learned, self.codec, self._given = learned, codec, given
        self._conditions = ConditionEncoder(self.schema, self.scalar_conditions, learned.conditions)
        self._set_reach(learned.reach)

    def take_reach(self, features: FeatureBatch) -> None:
        """Learns how far the training events reach in each feature; see ``reaches``.

        Args:
            features: The training events.
        """
        standard = self.codec.standard
        free = (*standard.periodic, *standard.plain)
        reach = reach_of(features, free, standard.learned.hard, standard.empty_below)
        self._learned = self.learned.model_copy(update={"reach": reach})
        self._set_reach(reach)

    def _set_reach(self, reach: Reach) -> None:
        ends = torch.tensor(reach, dtype=torch.float64).reshape(-1, 2).T
        for name, values in zip(("_low", "_high"), ends, strict=True):
            self.register_buffer(name, values.contiguous(), persistent=False)

    @torch.no_grad()
    def _prove(self, events: EventBatch) -> None:
        rows = torch.arange(0, len(events), -(-len(events) // PROVEN), device=events.device)
        # Objects that do not pass a threshold are left out on purpose.
        least = {
            f"{b.collection}.{name}": (math.nextafter(value, math.inf), None)
            for b in self.config.blocks
            if isinstance(b, ObjectsConfig)
            for name, value in b.threshold.items()
        }
        rows = rows[within(events[rows], least)]
        some = events[rows]
        raw, discrete = self.codec.assembly.read(self.codec.reading(some, self._reference(some)))
        self.codec.standard.require_digits(raw, self.codec.tell(discrete)[1])
        decoded = self.decode(self.encode(some), self.azimuth(some))
        masses = [n for n, m in self.config.masses.items() if m != "auto"]
        prove((some, self.arranged(some)), decoded, self.facts, self.codec.assembly.lost, masses, rows)

    @torch.no_grad()
    def resampled(self, events: EventBatch, counts: Sequence[Tensor]) -> list[Representation]:
        """The same representation for each of several bootstrap samples: its transforms are fitted to them.

        What a transform has learned from fluctuations of the events is then no more common to all samples
        than what a model learns from them.

        Args:
            events: The N training events.
            counts: How often each of them is in a sample (N,).
        """
        raw, discrete = self.codec.assembly.read(self.codec.reading(events, self._reference(events)))
        mask, weight, found = self.codec.tell(discrete)[1], self._scaled_weight(events), []
        for number in counts:
            made = copy.deepcopy(self)
            made.codec.standard.refit(raw, mask, weight * number)
            found.append(made)
        return found

    def _reference(self, events: EventBatch) -> Tensor | None:
        return None if self.config.azimuth is None else azimuth_of(events, self.config.azimuth_objects)

    def _scaled_weight(self, events: EventBatch) -> Tensor:
        return _weight(events) / self.learned.weight

    # ------------------------------------------------------------------ what there is

    @property
    def learned(self) -> LearnedRepresentation:
        """What it has learned.

        Raises:
            ValueError: If it has not been fitted.
        """
        if self._learned is None:
            msg = "the representation has not been fitted"
            raise ValueError(msg)
        return self._learned

    @property
    def facts(self) -> Facts:
        """What is known of the events."""
        return self.codec.facts

    @property
    def has_azimuth(self) -> bool:
        """Whether phi is measured from a reference that is generated, so that it is drawn in generation."""
        return self.config.azimuth is not None and not self.given

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the D continuous features."""
        return self.codec.names

    @property
    def variables(self) -> tuple[DiscreteVariable, ...]:
        """The K discrete variables."""
        return self.codec.assembly.variables

    @property
    def size(self) -> int:
        """The number of continuous features, D."""
        return len(self.names)

    @property
    def space(self) -> FeatureSpace:
        """What a model must know of the features."""
        classes = (
            *self._conditions.classes,
            *(Classes(v.name, v.size, variable=i) for i, v in enumerate(self.variables)),
        )
        return FeatureSpace(
            self.size,
            self.context_size,
            self.periodic,
            self.tokens,
            self.codec.grid,
            self.learned.reach,
            classes,
            self.codec.cells,
        )

    @property
    def periodic(self) -> tuple[int, ...]:
        """The numbers of the features that are angles on the full circle (transform ``angle``)."""
        return self.codec.standard.periodic

    @property
    def tokens(self) -> tuple[Tokens, ...]:
        """Which features, and columns of the context, belong to which object, where several are alike."""
        parts, kept = self.codec.parts, self.codec.standard.kept.tolist()
        transforms = specs(parts, self.config.transform)
        columns = [(c.address, p.pca) for p in parts for c in p.columns]
        features = [Feature(columns[k][0], transforms[k], columns[k][1]) for k in kept]

        def places(variable: int) -> tuple[int | None, int | None]:
            value, first = self.codec.encoder.places(variable)
            ahead = self.condition_size
            return None if value is None else value + ahead, None if first is None else first + ahead

        return find_tokens(self.facts, features, self.variables, places, self._true_columns())

    def _true_columns(self) -> dict[tuple[str, int], dict[str, int]]:
        """The columns of the context with the true object of each that a detector's response is of."""
        if self._given is None:
            return {}
        first, seen = self._conditions.size, self._given.columns
        return {
            (name, i): {what: first + column for what, column in seen.get((places.of, i), {}).items()}
            for name, places in self.facts.places.items()
            for i in range(len(places.found))
        }

    @property
    def rounded(self) -> tuple[int, ...]:
        """The numbers of the features that are integers with noise, which ``decode`` rounds."""
        columns = self.codec.assembly.columns
        return tuple(i for i, k in enumerate(self.codec.standard.kept.tolist()) if columns[k].rounded)

    @property
    def owners(self) -> tuple[str, ...]:
        """The collection of each of the D features; empty for a number of the event."""
        columns = self.codec.assembly.columns
        addresses = (columns[k].address for k in self.codec.standard.kept.tolist())
        return tuple(a.collection or "" for a in addresses)

    @property
    def cells(self) -> tuple[int, ...]:
        """The numbers of the features that are contents of cells: of images, layers and waveforms."""
        columns = self.codec.assembly.columns
        return tuple(i for i, k in enumerate(self.codec.standard.kept.tolist()) if columns[k].cell)

    @property
    def condition_size(self) -> int:
        """The number of encoded conditions, Q."""
        return self._conditions.size + (0 if self._given is None else self._given.size)

    @property
    def condition_ranges(self) -> dict[str, tuple[float, float]]:
        """The least and the largest value of conditions in the training events; none in older models."""
        return self._conditions.ranges

    @property
    def context_size(self) -> int:
        """The number of numbers that the continuous part is conditional on, C."""
        return self.condition_size + self.codec.told_size

    @property
    def given_schema(self) -> EventSchema:
        """The given collections; no scalars."""
        return given_schema(self.schema, self.given)

    @property
    def restrictions(self) -> Restrictions:
        """The recipe's bounds and rules."""
        return Restrictions(self.config)

    @property
    def restricted(self) -> bool:
        """Whether ``valid`` or ``reaches`` can find fault with events."""
        return bool(self.restrictions or self.learned.reach) or any(p.judges for p in self.codec.parts)

    # ------------------------------------------------------------------ encoding

    def azimuth(self, events: EventBatch) -> Tensor | None:
        """The angle (N,) that ``encode`` turns events by, and that ``decode`` has to be told."""
        return self._reference(events) if self.has_azimuth else None

    def arranged(self, events: EventBatch) -> EventBatch:
        """Events with objects in the order in which parts read them."""
        found = self.codec.reading(events, None, Refusal(len(events), events.device)).events
        collections = dict(found.collections)
        for name in self.facts.places:
            collections[name] = without_holes(collections[name], self.schema.collection(name))
        return EventBatch(found.schema, collections, found.scalars, len(events))

    def encode(self, events: EventBatch, *, gradients: bool = False) -> FeatureBatch:
        """Events as features, in float64.

        Args:
            events: N events.
            gradients: Whether the features can be differentiated by the events.

        Raises:
            InputError: If a category did not occur in the training events, or a number is outside what its
                transform can take.
        """
        with torch.set_grad_enabled(gradients and torch.is_grad_enabled()):
            return self._in_chunks(events)

    @torch.no_grad()
    def encode_known(self, events: EventBatch) -> tuple[FeatureBatch, Tensor]:
        """Events as features, and which (N,) of them are such as it knows.

        Those in which a class occurs that did not occur in the training events, or a number that a transform
        cannot take, have features without meaning.

        Raises:
            InputError: If a condition is not usable.
        """
        refused = torch.zeros(len(events), dtype=torch.bool, device=events.device)
        return self._in_chunks(events, refused), ~refused

    def _in_chunks(self, events: EventBatch, refused: Tensor | None = None) -> FeatureBatch:
        """Events as features; what cannot be is an error, or noted among the refused ones (N,)."""
        weight, parts = self._scaled_weight(events), []
        # What is computed on the way of so many stays in the processor's caches.
        for start in range(0, max(len(events), 1), CHUNK):
            some = slice(start, start + CHUNK)
            chunk = events[some]
            refuse = Refusal() if refused is None else Refusal(len(chunk), events.device)
            try:
                parts.append(self._encoded(chunk, refuse, weight[some]))
            except InputError as error:
                if error.entry is None or not start:
                    raise
                entry = error.entry + start
                raise InputError(error.message, file=error.file, branch=error.branch, entry=entry) from error
            if refused is not None and refuse.events is not None:
                refused[some] = refuse.events
        return parts[0] if len(parts) == 1 else FeatureBatch.concatenate(parts)

    @torch.no_grad()
    def encode_possible(self, events: EventBatch) -> tuple[FeatureBatch, Tensor]:
        """Events as features, all of weight 1, and which (N,) of them ``decode`` could make.

        Those that are outside the bounds, break a rule, are outside the domain of a transform, or in which a
        class occurs that did not occur in the training events, have features without meaning.

        Raises:
            InputError: If a condition is not usable.
        """
        refuse = Refusal(len(events), events.device)
        weight = torch.ones(len(events), dtype=torch.float64, device=events.device)
        features = self._encoded(events, refuse, weight)
        refused: Tensor = refuse.events  # type: ignore[assignment]
        return features, self.valid(events) & ~refused

    def _encoded(self, events: EventBatch, refuse: Refusal, weight: Tensor) -> FeatureBatch:
        x, mask, discrete, told = self.codec.read(self.codec.reading(events, self._reference(events), refuse))
        given = self.pack(events)
        scalars = {n: events.scalars[n] for n in self.scalar_conditions}
        condition = self.encode_condition(scalars, len(events), given).to(x.device)
        context = torch.cat([condition, told], 1)
        return FeatureBatch(x, mask, discrete, condition, context, weight, given)

    def valid(self, events: EventBatch) -> Tensor:
        """Which events (N,) are within the recipe's bounds with all their objects, and keep its rules."""
        valid = self.restrictions.kept(events)
        for part in () if self._learned is None else self.codec.parts:
            possible = part.possible(events, self.facts)
            valid = valid if possible is None else valid & possible
        return valid

    def reaches(self, features: FeatureBatch) -> Tensor:
        """Which events (N,) have features such as training events may have; all, if that is not known."""
        if not self.learned.reach:
            return torch.ones(len(features), dtype=torch.bool, device=features.x.device)
        return reached(features, self._low, self._high)

    def log_abs_det(self, features: FeatureBatch) -> Tensor:
        """Log |d features / d columns| (N,) of the transforms, of those that exist; see ``columns``."""
        each = self.codec.standard.log_abs_det(features.x)
        return (each if features.mask is None else torch.where(features.mask, each, 0.0)).sum(1)

    def raw(self, x: Tensor) -> Tensor:
        """All columns (N, R) of which features (N, D) were made, with those that are constant."""
        return self.codec.standard.inverse(x)

    def columns(self, x: Tensor) -> Tensor:
        """Features (N, D) as they were before their transforms: momenta, angles in radians, ..."""
        return self.raw(x)[:, self.codec.standard.kept]

    # ------------------------------------------------------------------ what is given

    def context(self, discrete: Tensor, condition: Tensor) -> tuple[Tensor, Tensor | None]:
        """What the continuous features are conditional on, and which of them exist.

        Args:
            discrete: (N, K) classes.
            condition: (N, Q) encoded conditions.

        Returns:
            (N, C) in float64: the conditions, values of counts and integers, one-hot classes, what parts
            make of them; and (N, D) True where a feature exists, or None if all do.
        """
        told, mask = self.codec.tell(discrete)
        return torch.cat([condition.to(torch.float64), told], 1), mask

    def settled(self, discrete: Tensor) -> Tensor:
        """Classes (N, K) as a model has drawn them, with those put right that others rule out.

        The population of a pair, for example, that there is not.
        """
        return self.codec.assembly.settled(discrete)

    def pack(self, events: EventBatch) -> Tensor | None:
        """The numbers (N, R) of the given collections as they are; None if there are none.

        Raises:
            InputError: If a collection is missing.
        """
        return None if self._given is None else self._given.pack(events)

    def encode_condition(
        self, values: Mapping[str, Tensor], size: int | None = None, given: Tensor | None = None
    ) -> Tensor:
        """Encoded conditions (N, Q): scalars, then what networks see of given collections.

        Args:
            values: The scalars among the conditions (N,), by name.
            size: N, needed where there are no conditions.
            given: The packed numbers (N, R) of given collections.

        Raises:
            InputError: If a condition is missing, not finite, or an unknown category.
        """
        parts = [self._conditions.encode(values)] if self.scalar_conditions else []
        if self._given is not None:
            parts.append(self._given.encode(_required(given)))
        if parts:
            return torch.cat(parts, 1)
        number = size if size is not None else len(next(iter(values.values()), ()))
        return torch.zeros(number, 0, dtype=torch.float64)

    def decode_condition(self, condition: Tensor) -> dict[str, Tensor]:
        """The scalars (N,) among the conditions by name, from the encoded form (N, Q)."""
        return self._conditions.decode(condition)

    def known(self, given: Tensor | None) -> Tensor | None:
        """The classes (N, K) that follow from given collections (N, R), -2 where none does.

        An object that is not there is not found, for example. None if nothing follows.
        """
        if self._given is None or given is None:
            return None
        collections = self._given.unpack(given)
        return self.codec.assembly.known(lambda name: collections[name].mask, len(given), given.device)

    # ------------------------------------------------------------------ decoding

    def decode(
        self, features: FeatureBatch, azimuth: Tensor | None = None, *, raw: Tensor | None = None
    ) -> EventBatch:
        """Features as events, in float64 and differentiable in ``features.x``.

        Args:
            features: The features; ``x``, ``discrete``, ``condition`` and ``given`` are used.
            azimuth: Angle (N,) to turn each event by; None leaves the reference at phi = 0. Where it is of
                given objects, it is theirs.
            raw: What :meth:`raw` makes of the features, if it is known.
        """
        made = self._written(
            self.raw(features.x) if raw is None else raw,
            features.discrete,
            features.condition,
            features.given,
            azimuth,
        )
        collections = {
            c.name: Objects({f: made[f"{c.name}.{f}"] for f in c.field_names}, made.get(c.name))
            for c in self.schema.collections
        }
        scalars = {n: made[n] for n in self.schema.scalar_names}
        return EventBatch(self.schema, collections, scalars, size=len(features))

    def tensors(
        self,
        x: Tensor,
        discrete: Tensor,
        condition: Tensor,
        given: Tensor | None = None,
        azimuth: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """The numbers of decoded events, of tensors alone.

        Args:
            x: (N, D) features.
            discrete: (N, K) classes.
            condition: (N, Q) encoded conditions.
            given: (N, R) packed numbers of given collections.
            azimuth: (N,) the angle to turn events by.

        Returns:
            The fields (N, M) by address (``Muon.pt``), scalars (N,) by name (``rho``), and by the name of a
            collection (``Jet``), where objects can be absent, whether (N, M) they are there.
        """
        return self._written(self.raw(x), discrete, condition, given, azimuth)

    def _written(
        self,
        raw: Tensor,
        discrete: Tensor,
        condition: Tensor,
        given: Tensor | None,
        azimuth: Tensor | None,
    ) -> dict[str, Tensor]:
        angle = None if azimuth is None else azimuth.to(torch.float64)
        objects: dict[str, Objects] = {}
        if self._given is not None:
            packed = _required(given)
            objects, angle = self._given.unpack(packed), self._given.azimuth(packed)
        draft = Draft(self.facts, len(raw), raw.device, angle, objects)
        draft.scalars.update(self.decode_condition(condition))
        self.codec.assembly.write(raw, discrete, draft)
        if self.schema.weight is not None:
            draft.scalars[self.schema.weight] = torch.ones(len(raw), dtype=torch.float64, device=raw.device)
        made = {n: draft.scalars[n] for n in self.schema.scalar_names}
        for name, found in draft.collections(self.schema).items():
            made |= {f"{name}.{f}": v for f, v in found.fields.items()}
            if not found.full:
                made[name] = found.mask
        return made

    # ------------------------------------------------------------------ keeping

    def state(self) -> dict[str, Any]:
        """All but the tensors of ``state_dict``, as JSON can hold it.

        Raises:
            ValueError: If the representation has not been fitted.
        """
        return {
            "format": FORMAT,
            "config": self.config.model_dump(mode="json"),
            "schema": self.schema.model_dump(mode="json"),
            "conditions": list(self.conditions),
            "learned": self.learned.model_dump(mode="json"),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Representation:
        """A representation from its ``state``; ``load_state_dict`` then restores it exactly.

        Raises:
            ValueError: If the state is of another format.
        """
        if state.get("format") not in (1, FORMAT):
            msg = f"a representation of format {state.get('format')!r}; this version reads {FORMAT} and 1"
            raise ValueError(msg)
        schema = EventSchema.model_validate(state["schema"])
        made = cls(FeaturesConfig.model_validate(state["config"]), schema, state["conditions"])
        if state["format"] == 1:
            document = format1.learned(made.config, schema, made.conditions, state["learned"])
        else:
            document = state["learned"]
        learned = LearnedRepresentation.model_validate(document)
        given = None
        if learned.given is not None:
            given = Given(made.given_schema, learned.given, made.config.azimuth_objects)
        made._set_up(learned, Codec(learned.codec), given)
        return made

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        format1.rename(state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *args)


def _weight(events: EventBatch) -> Tensor:
    """The weights (N,) of events, in float64."""
    if events.weight is None:
        return torch.ones(len(events), dtype=torch.float64, device=events.device)
    return events.weight.to(torch.float64)


def _required(given: Tensor | None) -> Tensor:
    if given is None:
        msg = "these features come without the given collections, which are conditions"
        raise ValueError(msg)
    return given
