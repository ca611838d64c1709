"""All parts of a representation together: their columns and variables, numbered, and what exists when."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from typing import NamedTuple, Self

import torch
from torch import Tensor

from hepgan.config import Config
from hepgan.errors import InputError, RecipeError
from hepgan.events.batch import EventBatch
from hepgan.events.schema import Address, EventSchema
from hepgan.features.cells import CellList, Total
from hepgan.features.config import FeaturesConfig, TransformSpec
from hepgan.features.context import ContextEncoder
from hepgan.features.draft import Draft
from hepgan.features.facts import Facts
from hepgan.features.parts import AnyPart, CellsPart, DecayPart, Encoded, ObjectsPart, Part
from hepgan.features.plan import plan
from hepgan.features.precise import PreciseModule
from hepgan.features.reading import Reading, Refusal
from hepgan.features.space import Grid
from hepgan.features.standard import LearnedColumns, StandardColumns
from hepgan.features.survey import survey
from hepgan.features.variables import DiscreteVariable

__all__ = ["Assembly", "Codec", "Known", "LearnedCodec", "Read"]


KNOTS = 257
"""Points at which models know a total of an image by its feature."""


class Known(NamedTuple):
    """What follows from the classes of events.

    Attributes:
        exists: (N, D) which columns exist; None if all do.
        hints: (N, H) numbers that help networks to understand the classes.
    """

    exists: Tensor | None
    hints: Tensor


class Assembly:
    """Parts whose columns, and whose classes, stand side by side.

    Args:
        facts: What is known of the events.
        parts: The parts.
        variables: All discrete variables: the numbers of objects that vary, then those of each part.
    """

    def __init__(self, facts: Facts, parts: Sequence[Part], variables: Sequence[DiscreteVariable]) -> None:
        self.facts, self.parts, self.variables = facts, tuple(parts), tuple(variables)
        self.columns = tuple(c for p in parts for c in p.columns)
        numbers = {v.name: i for i, v in enumerate(variables)}
        # Numbers of variables that count objects; none where a collection always has as many.
        self._counts = {name: numbers.get(facts.count_name(name)) for name in facts.counts}
        self._first = sum(n is not None for n in self._counts.values())
        self._orders = {n: key for n, key in facts.orders.items() if not self._kept_in_order(n, key)}
        self.hint_count = sum(p.hint_count for p in parts)
        gates = [c.gate for c in self.columns]
        self.gates = torch.tensor(
            [(0, -2, 1 << 40) if g is None else (numbers.get(g.variable, 0), g.low, g.high) for g in gates],
            dtype=torch.int64,
        ).reshape(-1, 3)
        """Of each column the number of a variable, and the classes with which it exists."""
        self.replacing = any(p.last for p in parts)
        """Whether some part can have the directions of objects in place of their own columns."""

    @classmethod
    def of(cls, facts: Facts, parts: Sequence[Part]) -> Self:
        """Parts that were learned one by one, joined.

        Raises:
            RecipeError: If two of their numbers have one name.
        """
        variables: list[DiscreteVariable] = []
        for name, (low, high) in facts.counts.items():
            if high > low:
                values = tuple(float(v) for v in range(low, high + 1))
                address = Address(name, None, "count")
                called = facts.count_name(name)
                variables.append(DiscreteVariable(called, len(values), values, ordinal=True, address=address))
        variables += [v for p in parts for v in p.variables]
        for names in ([c.name for p in parts for c in p.columns], [v.name for v in variables]):
            for name, number in Counter(names).items():
                if number > 1:
                    msg = f"blocks: {number} numbers are called {name!r}; two blocks or systems have one name"
                    raise RecipeError(msg)
        numbers = {v.name: i for i, v in enumerate(variables)}
        pointed = {a: name for p in parts for a, name in p.indices.items()}
        for i, v in enumerate(variables):
            if v.address in pointed:
                variables[i] = v = replace(v, within=numbers.get(facts.count_name(pointed[v.address])))
            if v.slot is not None and v.address.collection is not None:
                on = facts.hangs_on(v.address.collection, v.slot)
                # A collection that never has an object has no variable that counts it.
                if on is not None and on[0] in numbers:
                    variables[i] = replace(v, count=numbers[on[0]], slot=on[1])
        return cls(facts, [p.joined(variables, facts) for p in parts], variables)

    def _kept_in_order(self, collection: str, key: str) -> bool:
        """Whether a part keeps all objects of a collection in order by itself."""
        if self.facts.deviation(collection, key) is not None:
            return False
        width = self.facts.collection(collection).max_count
        for part in self.parts:
            if isinstance(part, ObjectsPart) and part.collection == collection and len(part.slots) == width:
                return part.order == key and key != "energy"
            if isinstance(part, DecayPart) and key == "pt" and width == 2 and part.keeps_order(collection):
                return True
        return False

    # ------------------------------------------------------------------ reading

    def read(self, reading: Reading) -> Encoded:
        """All columns (N, R) and classes (N, K) of events that are arranged.

        Raises:
            InputError: If an event is such as cannot be generated; or it is noted.
        """
        columns = [torch.zeros(len(reading), 0, dtype=torch.float64, device=reading.device)]
        classes = [reading.no_classes()]
        for name, number in self._counts.items():
            low, high = self.facts.counts[name]
            count = reading.count(name)
            reading.refuse((count < low) | (count > high), partial(self._miscounted, name, count))
            if number is not None:
                classes.append((count.clamp(low, high) - low).unsqueeze(1))
        for part in self.parts:
            encoded = part.read(reading)
            columns.append(encoded.columns)
            classes.append(encoded.classes)
        return Encoded(torch.cat(columns, 1), torch.cat(classes, 1))

    def _miscounted(self, name: str, count: Tensor, event: int) -> InputError:
        low, high = self.facts.counts[name]
        msg = f"{int(count[event])} {name}, but {low} to {high} in the events that were learned from"
        return InputError(msg, branch=self.facts.collection(name).counter, entry=event)

    def arranged(self, reading: Reading) -> Reading:
        """The events with their objects in the order in which the parts read them."""
        for part in self.parts:
            reading = part.arranged(part.settings, reading)  # type: ignore[attr-defined]
        return reading

    # ------------------------------------------------------------------ what follows from classes

    def count(self, collection: str, discrete: Tensor) -> Tensor:
        """The number of a collection's objects (N,)."""
        number = self._counts.get(collection)
        low = self.facts.always(collection) if collection else 0
        fixed = discrete.new_full((len(discrete),), low)
        return fixed if number is None else discrete[:, number] + low

    def _own(self, discrete: Tensor) -> Iterator[tuple[Part, Tensor]]:
        """Each part with its own classes (N, own K)."""
        start = self._first
        for part in self.parts:
            end = start + len(part.variables)
            yield part, discrete[:, start:end]
            start = end

    def tell(self, discrete: Tensor, gates: Tensor, kept: Tensor | None = None) -> Known:
        """Which columns exist, and hints.

        Args:
            discrete: (N, K) classes.
            gates: (D, 3) the gates of the columns that are asked for.
            kept: (D,) which columns these are; None for all.
        """
        exists: Tensor | None = None
        if self.variables:
            classes = discrete[:, gates[:, 0]]
            exists = (classes >= gates[:, 1]) & (classes <= gates[:, 2])
        elif bool((gates[:, 1] > gates[:, 2]).any()):
            exists = (gates[:, 1] <= gates[:, 2]).expand(len(discrete), -1)
        told = [
            (p, p.tell(discrete, own, self.count(p.collection, discrete))) for p, own in self._own(discrete)
        ]
        hints = [discrete.new_zeros((len(discrete), 0), dtype=torch.float64)]
        hints += [t.hints for _, t in told if t is not None]
        if any(t is not None for _, t in told):
            every = [
                torch.ones(len(discrete), len(p.columns), dtype=torch.bool, device=discrete.device)
                if t is None
                else t.exists
                for p, t in told
            ]
            present = torch.cat(every, 1) if kept is None else torch.cat(every, 1)[:, kept]
            exists = present if exists is None else present & exists
        if self.replacing:
            own = self._not_replaced(discrete)
            own = own if kept is None else own[:, kept]
            exists = own if exists is None else own & exists
        return Known(exists, torch.cat(hints, 1))

    def settled(self, discrete: Tensor) -> Tensor:
        """Classes (N, K) as a model has drawn them, with those put right that others rule out."""
        each = [
            (own, part.settled(discrete, own, self.count(part.collection, discrete)))
            for part, own in self._own(discrete)
        ]
        if all(settled is None for _, settled in each):
            return discrete
        found = [own if settled is None else settled for own, settled in each]
        return torch.cat([discrete[:, : self._first], *found], 1)

    def _not_replaced(self, discrete: Tensor) -> Tensor:
        """Which columns (N, R) no other part has in their place."""
        numbers = {c.address: i for i, c in enumerate(self.columns)}
        kept = torch.ones(len(discrete), len(self.columns), dtype=torch.bool, device=discrete.device)
        for part, own in self._own(discrete):
            for collection, gone in part.replaces(discrete, own).items():
                for slot, coordinate in product(range(gone.shape[1]), ("eta", "phi")):
                    number = numbers.get(self.facts.address(collection, slot, coordinate))
                    if number is not None:
                        kept[:, number] &= ~gone[:, slot]
        return kept

    def known(self, present: Callable[[str], Tensor], size: int, device: torch.device) -> Tensor | None:
        """The classes (N, K) that follow from given objects, -2 where none does; None if none do.

        Args:
            present: Where (N, V) a given collection has an object.
            size: N.
            device: Where the classes are wanted.
        """
        found = [(p, p.known(present)) for p in self.parts]
        if all(k is None for _, k in found):
            return None
        columns = [torch.full((size, self._first), -2, device=device)]
        columns += [
            torch.full((size, len(p.variables)), -2, device=device) if k is None else k for p, k in found
        ]
        return torch.cat(columns, 1)

    # ------------------------------------------------------------------ writing

    def write(self, columns: Tensor, discrete: Tensor, draft: Draft) -> None:
        """Puts what columns (N, R) and classes (N, K) stand for into a draft."""
        draft.counts.update({name: self.count(name, discrete) for name in self._counts})
        parts, start = [], 0
        for part, own in self._own(discrete):
            end = start + len(part.columns)
            parts.append((part, Encoded(columns[:, start:end], own)))
            start = end
        for part, encoded in sorted(parts, key=lambda p: (p[0].last, not p[0].first)):
            part.write(encoded, draft)
        draft.arrange(self._orders)

    @property
    def lost(self) -> Mapping[tuple[str | None, str], tuple[int, ...]]:
        """The objects whose number of a name (by collection and field) does not come back, on purpose."""
        found: dict[tuple[str | None, str], tuple[int, ...]] = {}
        for part in self.parts:
            for key, slots in part.lost(self.facts).items():
                # What one part leaves out, another may have.
                found[key] = tuple(s for s in slots if s in found.get(key, slots))
        return found


class LearnedCodec(Config):
    """All that was learned, but the tensors of the transforms.

    Attributes:
        facts: What is known of the events.
        parts: The parts, in the order of their columns.
        variables: All discrete variables.
        ordinal: Mean and standard deviation of the values of each ordinal variable.
        columns: Of the columns together.
    """

    facts: Facts
    parts: tuple[AnyPart, ...]
    variables: tuple[DiscreteVariable, ...]
    ordinal: tuple[tuple[float, float], ...]
    columns: LearnedColumns


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
        self.standard = StandardColumns(learned.columns)
        self.encoder = ContextEncoder(learned.variables, learned.ordinal)
        gates = self.assembly.gates[self.standard.kept]
        self.register_buffer("gates", gates, persistent=False)
        told = self.assembly.hint_count > 0 or any(p.tells for p in self.parts)
        self._gated = bool((gates[:, 1] > -2).any()) or told or self.assembly.replacing

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
        every = [p for p in assembly.parts for _ in p.columns]
        standard = StandardColumns.learn(
            raw,
            exists,
            weight,
            assembly.columns,
            specs(assembly.parts, config.transform),
            [assembly.parts.index(p) if p.pca else None for p in every],
        )
        learned = LearnedCodec(
            facts=facts,
            parts=assembly.parts,
            variables=assembly.variables,
            ordinal=ContextEncoder.moments(assembly.variables, discrete, weight),
            columns=standard.learned,
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
        """The features that are the cells of an image, if one part's columns are: the first such."""
        first, kept = 0, self.standard.kept
        for part in self.parts:
            if part.grid is not None:
                # Cells are features even where they are constant.
                return replace(part.grid, first=int((kept < first + part.grid.first).sum()))
            first += len(part.columns)
        return None

    @property
    def cells(self) -> CellList | None:
        """The features that are the list of an image's cells, if a part's columns are."""
        first, kept = 0, self.standard.kept.tolist()
        for part in self.parts:
            if isinstance(part, CellsPart):
                return self._list_of(part, first, kept)
            first += len(part.columns)
        return None

    def _list_of(self, part: CellsPart, first: int, kept: list[int]) -> CellList:
        names = part.settings.totals
        places = {k: kept.index(first + k) for k in range(len(names)) if first + k in kept}
        device = self.standard.kept.device
        grid = torch.linspace(-CellList.REACH, CellList.REACH, KNOTS, dtype=torch.float64, device=device)
        x = grid.new_zeros(KNOTS, len(kept))
        x[:, list(places.values())] = grid.unsqueeze(1)
        knots = self.standard.inverse(x)
        return CellList(
            first=kept.index(first + len(names)),
            most=part.most,
            axes=part.axes,
            middles=part.middles,
            least=part.least,
            largest=part.largest,
            totals=tuple(
                Total(names[k], place, tuple(knots[:, first + k].tolist()), part.spreads[k])
                for k, place in places.items()
            ),
        )

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


def specs(parts: Sequence[Part], default: TransformSpec) -> list[TransformSpec]:
    """The transform of each column: the recipe's, by the nearest of its names, or a default."""
    found: list[TransformSpec] = []
    for part in parts:
        own = part.transforms
        found += [next((own[k] for k in c.keys if k in own), default) for c in part.columns]
    return found
