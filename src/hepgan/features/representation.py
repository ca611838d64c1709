"""Events as the numbers that models learn, and back: the physics of a generator."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor, nn

from hepgan.errors import InputError, RecipeError
from hepgan.events.batch import EventBatch, Objects
from hepgan.events.schema import EventSchema
from hepgan.features.assembly import numbered, sorted_apart
from hepgan.features.batch import FeatureBatch
from hepgan.features.bounds import within
from hepgan.features.config import FeaturesConfig, TransformSpec
from hepgan.features.context import Conditions, ContextEncoder
from hepgan.features.given import Given, given_config, given_schema
from hepgan.features.layout import Column, Layout
from hepgan.features.parts import Block, FieldsBlock, ResponseBlock
from hepgan.features.parts.matching import without_holes
from hepgan.features.plan import check_references, plan
from hepgan.features.refusal import Refusal
from hepgan.features.space import FeatureSpace
from hepgan.features.standard import StandardColumns
from hepgan.features.survey import survey
from hepgan.features.tokens import Encoded, Tokens, find_tokens
from hepgan.features.variables import DiscreteVariable
from hepgan.features.view import Builder, View, azimuth_of

__all__ = ["Representation"]

FORMAT = 1


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

    _raw_gates: Tensor
    _gates: Tensor

    def __init__(self, config: FeaturesConfig, schema: EventSchema, conditions: Sequence[str] = ()) -> None:
        super().__init__()
        self.config, self.schema, self.conditions = config, schema, tuple(conditions)
        for name in self.conditions:
            if name not in (*schema.scalar_names, *schema.collection_names) or name == schema.weight:
                there = [n for n in (*schema.scalar_names, *schema.collection_names) if n != schema.weight]
                known = ", ".join(there) or "none"
                msg = f"conditions: {name!r} is no scalar or collection of the events; they have {known}"
                raise RecipeError(msg)
        self.scalar_conditions = tuple(n for n in self.conditions if n in schema.scalar_names)
        self.given = tuple(n for n in self.conditions if n in schema.collection_names)
        check_references(config, schema, self.given)
        self._given: Given | None = None
        if self.given:
            part = given_schema(schema, self.given)
            self._given = Given(Representation(given_config(part), part), config.azimuth_objects)
        self.variables: tuple[DiscreteVariable, ...] = ()
        self._learned: dict[str, Any] | None = None

    # ------------------------------------------------------------------ learning

    def fit(self, events: EventBatch) -> Self:
        """Learns the representation's constants from the training events.

        Raises:
            InputError: If there are no events, or some are outside the recipe's bounds.
            RecipeError: If the recipe does not fit the events.
        """
        if len(events) == 0:
            msg = "no events to learn from"
            raise InputError(msg)
        self._check_bounds(events)
        layout = survey(events, self.schema, self.config, self.given)
        blocks = plan(self.config, layout, self.conditions)
        view = self._view(events, layout, blocks)
        learned: dict[str, Any] = {"layout": layout.state(), "blocks": []}
        if self._given is not None:
            self._given.fit(events)
            learned["given"] = self._given.inner.state()
        for block in blocks:
            constants = block.learn(view)
            block.set_up(constants)
            block.check_transforms()
            learned["blocks"].append(constants)
        weight = self._weight(events)
        learned["conditions"] = Conditions.moments(events, self.scalar_conditions, weight)
        self._assemble(layout, blocks, learned)
        raw, discrete = self._raw(view)
        learned["ordinal"] = ContextEncoder.moments(self.variables, discrete, weight)
        mask = self._existing(discrete, self._raw_gates, None)
        specs = [self._spec(c, b) for b in blocks for c in b.columns]
        rotated = [i if b.pca else None for i, b in enumerate(blocks) for _ in b.columns]
        columns = [c for b in blocks for c in b.columns]
        learned["columns"] = self._standard.learn(raw, mask, weight, columns, specs, rotated)
        self._learned = learned
        self._finish(learned)
        return self

    @torch.no_grad()
    def resampled(self, events: EventBatch, counts: Sequence[Tensor]) -> list[Representation]:
        """The same representation for each of several bootstrap samples: its transforms are fitted to them.

        What a transform has learned from fluctuations of the events is then no more common to all samples
        than what a model learns from them.

        Args:
            events: The N training events.
            counts: How often each of them is in a sample (N,).
        """
        raw, discrete = self._raw(self._view(events, self.layout, self._parts))
        mask = self._existing(discrete, self._gates, self._standard.kept) if self._any_gate else None
        weight, found = self._weight(events), []
        for number in counts:
            made = Representation.from_state(self.state())
            made.load_state_dict(self.state_dict())
            made._standard.refit(raw, mask, weight * number)
            found.append(made)
        return found

    def _check_bounds(self, events: EventBatch) -> None:
        outside = ~self.valid(events)
        if bool(outside.any()):
            number, entry = int(outside.sum()), int(outside.nonzero()[0])
            msg = f"{number} of {len(events)} events are outside the recipe's features.bounds"
            raise InputError(msg, entry=entry)

    def _view(
        self, events: EventBatch, layout: Layout, blocks: Sequence[Block], refuse: Refusal | None = None
    ) -> View:
        view = View(events, layout, self._reference(events), refuse=refuse)
        for block in blocks:
            view = block.arranged(view)
        return view

    def _reference(self, events: EventBatch) -> Tensor | None:
        return None if self.config.azimuth is None else azimuth_of(events, self.config.azimuth_objects)

    @staticmethod
    def _weight(events: EventBatch) -> Tensor:
        weight = events.weight
        if weight is None:
            return torch.ones(len(events), dtype=torch.float64, device=events.device)
        weight = weight.to(torch.float64)
        mean = float(weight.mean())
        if not mean > 0:
            msg = f"the event weights sum to {mean * len(events):g}; the sum must be positive"
            raise InputError(msg)
        return weight / mean

    def _spec(self, column: Column, block: Block) -> TransformSpec:
        return next(
            (block.transforms[k] for k in column.keys if k in block.transforms), self.config.transform
        )

    def _assemble(self, layout: Layout, blocks: list[Block], learned: Mapping[str, Any]) -> None:
        """Numbers the variables: counts first, then those of each block."""
        self.layout = layout
        self.blocks = nn.ModuleList(blocks)
        self._parts = blocks
        self.variables, self._counts = numbered(layout, blocks)
        numbers = {v.name: i for i, v in enumerate(self.variables)}
        for block in blocks:
            block.attach([v.name for v in self.variables], [v.values for v in self.variables])
        gates = [c.gate for b in blocks for c in b.columns]
        table = [
            (0, -2, 1 << 40) if g is None else (numbers.get(g.variable, 0), g.low, g.high) for g in gates
        ]
        self.register_buffer(
            "_raw_gates", torch.tensor(table, dtype=torch.int64).reshape(-1, 3), persistent=False
        )
        self._standard = StandardColumns()
        self._conditions = Conditions(self.schema, self.scalar_conditions, learned["conditions"])
        self._own_order = sorted_apart(layout, blocks)

    def _finish(self, learned: Mapping[str, Any]) -> None:
        self._context = ContextEncoder(self.variables, learned["ordinal"])
        gates: Tensor = self._raw_gates[self._standard.kept.to(self._raw_gates.device)]
        self.register_buffer("_gates", gates, persistent=False)
        self._hint_count = sum(b.hint_count for b in self._parts)
        self._any_gate = bool((gates[:, 1] > -2).any()) or any(b.structured for b in self._parts)

    # ------------------------------------------------------------------ what there is

    @property
    def has_azimuth(self) -> bool:
        """Whether phi is measured from a reference that is generated, so that it is drawn in generation."""
        return self.config.azimuth is not None and not self.given

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the D continuous features."""
        return self._standard.names

    @property
    def size(self) -> int:
        """The number of continuous features, D."""
        return len(self.names)

    @property
    def space(self) -> FeatureSpace:
        """What a model must know of the features."""
        return FeatureSpace(self.size, self.context_size, self.periodic, self.tokens)

    @property
    def periodic(self) -> tuple[int, ...]:
        """The numbers of the features that are angles on the full circle (transform ``angle``)."""
        return self._standard.periodic

    @property
    def tokens(self) -> tuple[Tokens, ...]:
        """Which features, and columns of the context, belong to which object, where several are alike."""
        every = [Encoded(c.name, self._spec(c, b), b.pca) for b in self._parts for c in b.columns]
        features = [every[k] for k in self._standard.kept.tolist()]

        def places(variable: int) -> tuple[int | None, int | None]:
            value, first = self._context.places(variable)
            ahead = self.condition_size
            return None if value is None else value + ahead, None if first is None else first + ahead

        return find_tokens(self.layout, features, self.variables, places, self._true_columns())

    def _true_columns(self) -> dict[str, dict[str, int]]:
        """The columns of the context with the true object of each that a detector's response is of."""
        if self._given is None:
            return {}
        first, seen = self._conditions.size, self._given.columns
        found = {}
        for name, places in self.layout.places.items():
            for i in range(len(places.found)):
                own = seen.get(self.layout.label(places.of, i), {})
                found[self.layout.label(name, i)] = {what: first + column for what, column in own.items()}
        return found

    @property
    def rounded(self) -> tuple[int, ...]:
        """The numbers of the features that are integers with noise, which ``decode`` rounds."""
        columns = [c for b in self._parts for c in b.columns]
        return tuple(i for i, k in enumerate(self._standard.kept.tolist()) if columns[k].rounded)

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
        return self.condition_size + self._context.size + self._hint_count

    # ------------------------------------------------------------------ there and back

    def azimuth(self, events: EventBatch) -> Tensor | None:
        """The angle (N,) that ``encode`` turns events by, and that ``decode`` has to be told."""
        return self._reference(events) if self.has_azimuth else None

    def arranged(self, events: EventBatch) -> EventBatch:
        """Events with objects in the order in which blocks read them."""
        found = self._view(events, self.layout, self._parts, Refusal(len(events), events.device)).events
        collections = dict(found.collections)
        for name in self.layout.places:
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
            return self._encoded(events, Refusal(), self._weight(events))

    @torch.no_grad()
    def encode_possible(self, events: EventBatch) -> tuple[FeatureBatch, Tensor]:
        """Events as features, all of weight 1, and which (N,) of them ``decode`` could make.

        Those that are outside the bounds or the domain of a transform, or in which a class occurs that did
        not occur in the training events, have features without meaning.

        Raises:
            InputError: If a condition is not usable.
        """
        refuse = Refusal(len(events), events.device)
        weight = torch.ones(len(events), dtype=torch.float64, device=events.device)
        features = self._encoded(events, refuse, weight)
        refused: Tensor = refuse.events  # type: ignore[assignment]
        return features, self.valid(events) & ~refused

    def _encoded(self, events: EventBatch, refuse: Refusal, weight: Tensor) -> FeatureBatch:
        raw, discrete = self._raw(self._view(events, self.layout, self._parts, refuse))
        given = self.pack(events)
        scalars = {n: events.scalars[n] for n in self.scalar_conditions}
        condition = self.encode_condition(scalars, len(events), given)
        context, mask = self.context(discrete, condition.to(raw.device))
        x = self._standard(raw, mask, refuse)
        return FeatureBatch(x, mask, discrete, condition.to(raw.device), context, weight, given)

    def _raw(self, view: View) -> tuple[Tensor, Tensor]:
        """Columns (N, R) before their transforms, and classes (N, K)."""
        device = view.device
        raw = [torch.zeros(len(view), 0, dtype=torch.float64, device=device)]
        classes = [torch.zeros(len(view), 0, dtype=torch.int64, device=device)]
        for name, number in self._counts.items():
            low, high = self.layout.counts[name]
            count = view.count(name)
            wrong = (count < low) | (count > high)
            view.refuse(wrong, partial(self._miscounted, name, count))
            if number is not None:
                classes.append((count.clamp(low, high) - low).unsqueeze(1))
        for block in self._parts:
            columns, own = block.encode(view)
            raw.append(columns)
            classes.append(own)
        return torch.cat(raw, 1), torch.cat(classes, 1)

    def _miscounted(self, name: str, count: Tensor, event: int) -> InputError:
        low, high = self.layout.counts[name]
        msg = f"{int(count[event])} {name}, but {low} to {high} in the events that were learned from"
        return InputError(msg, branch=self.layout.collection(name).counter, entry=event)

    def _gated(self, discrete: Tensor, gates: Tensor) -> Tensor | None:
        if not len(self.variables):
            ever = gates[:, 1] <= gates[:, 2]
            return None if bool(ever.all()) else ever.expand(len(discrete), -1)
        classes = discrete[:, gates[:, 0]]
        return (classes >= gates[:, 1]) & (classes <= gates[:, 2])

    def context(self, discrete: Tensor, condition: Tensor) -> tuple[Tensor, Tensor | None]:
        """What the continuous features are conditional on, and which of them exist.

        Args:
            discrete: (N, K) classes.
            condition: (N, Q) encoded conditions.

        Returns:
            (N, C) in float64: the conditions, values of counts and integers, one-hot classes, what blocks
            make of them; and (N, D) True where a feature exists, or None if all do.
        """
        mask = self._existing(discrete, self._gates, self._standard.kept) if self._any_gate else None
        parts = [condition.to(torch.float64), self._context(discrete)]
        if self._hint_count:
            parts += [b.hints(discrete, own, count) for b, own, count in self._own_classes(discrete)]
        return torch.cat(parts, 1), mask

    def _own_classes(self, discrete: Tensor) -> Iterator[tuple[Block, Tensor, Tensor]]:
        """Each block with its own classes (N, own K), and the number of its collection's objects (N,)."""
        variable = sum(n is not None for n in self._counts.values())
        for block in self._parts:
            end = variable + len(block.variables)
            yield block, discrete[:, variable:end], self._count(block.collection, discrete)
            variable = end

    def _count(self, collection: str, discrete: Tensor) -> Tensor:
        number = self._counts.get(collection)
        low = self.layout.always(collection) if collection else 0
        fixed = discrete.new_full((len(discrete),), low)
        return fixed if number is None else discrete[:, number] + low

    def _existing(self, discrete: Tensor, gates: Tensor, kept: Tensor | None) -> Tensor | None:
        """Which columns exist: by their gates, and by what blocks know."""
        mask = self._gated(discrete, gates)
        known = [(b, b.present(own, count)) for b, own, count in self._own_classes(discrete)]
        if all(p is None for _, p in known):
            return mask
        every = [
            torch.ones(len(discrete), len(b.columns), dtype=torch.bool, device=discrete.device)
            if p is None
            else p
            for b, p in known
        ]
        present = torch.cat(every, 1) if kept is None else torch.cat(every, 1)[:, kept]
        return present if mask is None else present & mask

    def pack(self, events: EventBatch) -> Tensor | None:
        """The numbers (N, R) of the given collections as they are; None if there are none.

        Raises:
            InputError: If a collection is missing.
        """
        return None if self._given is None else self._given.pack(events)

    @property
    def given_schema(self) -> EventSchema:
        """The given collections; no scalars."""
        return given_schema(self.schema, self.given)

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
        size, columns, any_known = len(given), [], False
        columns.append(torch.full((size, sum(n is not None for n in self._counts.values())), -2))
        for block in self._parts:
            found = None
            if isinstance(block, ResponseBlock):
                found = block.known(self._given.present(given, block.of))
            any_known |= found is not None
            columns.append(torch.full((size, len(block.variables)), -2) if found is None else found)
        return torch.cat([c.to(given.device) for c in columns], 1) if any_known else None

    def log_abs_det(self, features: FeatureBatch) -> Tensor:
        """Log |d features / d columns| (N,) of the transforms, of those that exist; see ``columns``."""
        each = self._standard.log_abs_det(features.x)
        return (each if features.mask is None else torch.where(features.mask, each, 0.0)).sum(1)

    def columns(self, x: Tensor) -> Tensor:
        """Features (N, D) as they were before their transforms: momenta in GeV, angles in radians, ..."""
        return self._standard.inverse(x)[:, self._standard.kept]

    def decode(self, features: FeatureBatch, azimuth: Tensor | None = None) -> EventBatch:
        """Features as events, in float64 and differentiable in ``features.x``.

        Args:
            features: The features; ``x``, ``discrete``, ``condition`` and ``given`` are used.
            azimuth: Angle (N,) to turn each event by; None leaves the reference at phi = 0. Where it is of
                given objects, it is theirs.
        """
        discrete = features.discrete
        counts = {}
        for name, number in self._counts.items():
            low = self.layout.counts[name][0]
            fixed = discrete.new_full((len(discrete),), low)
            counts[name] = fixed if number is None else discrete[:, number] + low
        angle = None if azimuth is None else azimuth.to(torch.float64)
        given: dict[str, Objects] = {}
        if self._given is not None:
            packed = _required(features.given)
            given, angle = self._given.unpack(packed), self._given.azimuth(packed)
        builder = Builder(self.layout, len(features), features.x.device, angle, counts, self.schema, given)
        builder.scalars.update(self.decode_condition(features.condition))
        raw = self._standard.inverse(features.x)
        parts = []
        column, variable = 0, sum(n is not None for n in self._counts.values())
        for block in self._parts:
            ends = column + len(block.columns), variable + len(block.variables)
            parts.append((block, raw[:, column : ends[0]], discrete[:, variable : ends[1]]))
            column, variable = ends
        # Masses are fields, which the momenta need.
        for block, columns, classes in sorted(parts, key=lambda p: not isinstance(p[0], FieldsBlock)):
            block.decode(columns, classes, builder)
        for described in self.schema.collections:
            if described.max_count == 0 and described.name not in given:
                for name in described.field_names:
                    builder.put_field(described.name, name, raw.new_zeros((len(features), 0)))
        if self.schema.weight is not None:
            builder.scalars[self.schema.weight] = raw.new_ones(len(features))
        builder.arrange(self._own_order)
        return builder.build()

    def valid(self, events: EventBatch) -> Tensor:
        """Which events (N,) are within the recipe's bounds with all their objects."""
        valid = within(events, self.config.bounds)
        for block in getattr(self, "_parts", ()):
            possible = block.valid(events)
            valid = valid if possible is None else valid & possible
        return valid

    @property
    def restricted(self) -> bool:
        """Whether ``valid`` can find events invalid."""
        return bool(self.config.bounds) or any(b.structured for b in self._parts)

    # ------------------------------------------------------------------ keeping

    def state(self) -> dict[str, Any]:
        """All but the tensors of ``state_dict``, as JSON can hold it.

        Raises:
            ValueError: If the representation has not been fitted.
        """
        if self._learned is None:
            msg = "the representation has not been fitted"
            raise ValueError(msg)
        return {
            "format": FORMAT,
            "config": self.config.model_dump(mode="json"),
            "schema": self.schema.model_dump(mode="json"),
            "conditions": list(self.conditions),
            "learned": self._learned,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Representation:
        """A representation from its ``state``; ``load_state_dict`` then restores it exactly.

        Raises:
            ValueError: If the state is of another format.
        """
        if state.get("format") != FORMAT:
            msg = f"a representation of format {state.get('format')!r}; this version reads {FORMAT}"
            raise ValueError(msg)
        schema = EventSchema.model_validate(state["schema"])
        made = cls(FeaturesConfig.model_validate(state["config"]), schema, state["conditions"])
        learned = dict(state["learned"])
        if made._given is not None:
            inner = Representation.from_state(learned["given"])
            made._given = Given(inner, made.config.azimuth_objects)
        layout = Layout.from_state(schema, learned["layout"])
        blocks = plan(made.config, layout, made.conditions)
        for block, constants in zip(blocks, learned["blocks"], strict=True):
            block.set_up(constants)
        made._assemble(layout, blocks, learned)
        made._standard.set_up(learned["columns"])
        made._learned = learned
        made._finish(learned)
        return made


def _required(given: Tensor | None) -> Tensor:
    if given is None:
        msg = "these features come without the given collections, which are conditions"
        raise ValueError(msg)
    return given
