"""Numbers of objects beside their momenta, and numbers of the event."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field as Setting
from pydantic import field_validator
from torch import Tensor

from hepgan.config import Config
from hepgan.errors import InputError
from hepgan.events.missing import is_missing
from hepgan.events.schema import Address
from hepgan.features.draft import Draft
from hepgan.features.facts import Facts
from hepgan.features.parts.base import Encoded, Part, Told, TransformSpec
from hepgan.features.parts.entries import Entry, atoms_of, classes_of, described, entry_of, values_of
from hepgan.features.precise import constant
from hepgan.features.reading import Reading
from hepgan.features.variables import NEVER, Column, DiscreteVariable, Gate

__all__ = ["FieldsConfig", "FieldsPart", "slots_of"]

SMEARING = 0.5


Bounds = Mapping[str, tuple[float | None, float | None]]


class FieldsConfig(Config):
    """Numbers of objects other than their momentum, and numbers of the event.

    Coordinates that a file has beside others, and that disagree with them beyond rounding, are such numbers
    too (``Muon.pt`` beside ``px, py``): they are learned as the difference from the momentum's own, that of
    pt as the logarithm of the ratio.

    Attributes:
        fields: ``Muon.isoCh`` for all objects, ``Muon[0].isoCh`` for one, or a scalar's name.
        fill: What a field holds in objects that were left out.
        transforms: Transforms by field: ``isoCh``, ``Muon.isoCh`` or ``Muon[0].isoCh``; ``pt:own`` for a
            coordinate that disagrees with the momentum.
        pca: Whether to decorrelate the columns.
    """

    kind: Literal["fields"] = "fields"
    fields: tuple[str, ...] = Setting(min_length=1)
    fill: float = 0.0
    transforms: dict[str, TransformSpec] = Setting(default_factory=dict)
    pca: bool = False

    @field_validator("fields")
    @classmethod
    def _fields_are_readable(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            Address.parse(text)
        return value


class Lacking(Config):
    """Fields of the same objects, or numbers of the event, that are missing together.

    Attributes:
        collection: The collection; None for scalars.
        name: The first of the fields.
        slots: The objects.
        kinds: Of each object whether they are there (0), missing (1), or either.
    """

    collection: str | None
    name: str
    slots: tuple[int, ...]
    kinds: tuple[tuple[int, ...], ...]

    @cached_property
    def drawn(self) -> tuple[int, ...]:
        """The places, among the slots, of objects with a discrete variable."""
        return tuple(j for j, kinds in enumerate(self.kinds) if len(kinds) > 1)

    def where(self, classes: Tensor) -> Tensor:
        """Where (N, S) they are missing, by the classes (N, drawn)."""
        always = constant(tuple(kinds == (1,) for kinds in self.kinds), classes.device, torch.bool)
        found = always.expand(len(classes), -1).clone()
        found[:, list(self.drawn)] = classes > 0
        return found


class FieldsPart(Part):
    """Fields of collections, or scalars: integers and categories as classes, the others as columns.

    A continuous number with atoms (values of finite probability) has a discrete variable that says which
    atom it is, or none (class 0); its column exists only in the latter case. One with populations (a score
    that is near 0 or near 1) has a column for each, of which the discrete variable says which exists; so
    those of all objects of an event are drawn together. A coordinate that is measured
    apart from the momentum is learned as its deviation from it, and called ``Muon[0].pt:own``.

    Fields that are missing in the same objects have one discrete variable together, which says whether they
    are; what stands in their place is seen by nothing else.

    Attributes:
        settings: The recipe's settings.
        entries: How each field is learned.
        lacking: Which of them are missing together.
    """

    first: ClassVar[bool] = True

    kind: Literal["fields"] = "fields"
    settings: FieldsConfig
    entries: tuple[Entry, ...]
    lacking: tuple[Lacking, ...] = ()

    @property
    def optional(self) -> frozenset[str]:
        """All fields, of which some are learned as classes; and what the momenta's part hands on."""
        names = {entry.name for entry in self.entries}
        return frozenset({*names, *(f"{n}:own" for n in names), "mass"})

    # ------------------------------------------------------------------ learning

    @classmethod
    def learn(
        cls,
        settings: FieldsConfig,
        reading: Reading,
        discrete: Mapping[str, str],
        bounds: Bounds,
        populations: Mapping[str, tuple[float, ...]],
    ) -> Self:
        """Finds out how each number is learned, and the values of those learned as classes.

        Args:
            settings: The recipe's settings.
            reading: The training events.
            discrete: How numbers are learned, where the recipe says so, by field.
            bounds: Ranges of fields, where the recipe has them.
            populations: Values that divide fields into populations, where the recipe has them.

        Raises:
            RecipeError: If a number that is no integer is to be learned as one, or there is nothing on one
                side of a value that divides.
        """
        entries: list[Entry] = []
        groups: list[Lacking] = []
        masks: list[Tensor] = []
        for (collection, name), slots in slots_of(settings, reading.facts).items():
            values = reading.values(collection, name)[:, list(slots)]
            present = _present(reading, collection, slots)
            field = described(reading.facts, collection, name)
            cuts = populations.get(str(Address(collection, None, name)), ())
            missing = None if field.missing is None else is_missing(values, field.missing) & present
            if missing is None or not bool(missing.any()):
                entries.append(entry_of(field, collection, slots, values, present, discrete, cuts))
                continue
            entry = entry_of(field, collection, slots, values, present & ~missing, discrete, cuts)
            known = [
                g
                for g, (group, mask) in enumerate(zip(groups, masks, strict=True))
                if (group.collection, group.slots) == (collection, slots) and torch.equal(mask, missing)
            ]
            if not known:
                known = [len(groups)]
                kinds = tuple(_missing_kinds(m, p) for m, p in zip(missing.T, present.T, strict=True))
                groups.append(Lacking(collection=collection, name=name, slots=slots, kinds=kinds))
                masks.append(missing)
            entries.append(entry.model_copy(update={"missing": field.missing, "lacking": known[0]}))
        return cls.make(settings, reading.facts, bounds, tuple(entries), tuple(groups))

    @classmethod
    def make(
        cls,
        settings: FieldsConfig,
        facts: Facts,
        bounds: Bounds,
        entries: tuple[Entry, ...],
        lacking: tuple[Lacking, ...] = (),
    ) -> Self:
        """The part of these entries.

        Args:
            settings: The recipe's settings.
            facts: What is known of the events.
            bounds: Ranges of fields, where the recipe has them.
            entries: How each field is learned.
            lacking: Which of them are missing together.
        """
        columns: list[Column] = []
        variables: list[DiscreteVariable] = []
        for group in lacking:
            for j in group.drawn:
                address = facts.address(group.collection, group.slots[j], f"{group.name}:missing")
                slot = None if group.collection is None else group.slots[j]
                variables.append(DiscreteVariable.of(address, (0.0, 1.0), slot))
        for entry in entries:
            for j, slot in enumerate(entry.slots):
                variable, own = _numbers(entry, j, slot, facts, bounds)
                variables += [] if variable is None else [variable]
                columns += own
        return cls(
            columns=tuple(columns),
            variables=tuple(variables),
            settings=settings,
            entries=entries,
            lacking=lacking,
        )

    # ------------------------------------------------------------------ what is missing

    @property
    def tells(self) -> bool:
        """Whether columns are missing, which no gate says."""
        return any(e.lacking is not None and e.columns for e in self.entries)

    def _missing(self, classes: Tensor) -> list[Tensor]:
        """Where (N, S) each group is missing, by all classes (N, K) of the part."""
        found, start = [], 0
        for group in self.lacking:
            end = start + len(group.drawn)
            found.append(group.where(classes[:, start:end]))
            start = end
        return found

    def tell(self, discrete: Tensor, own: Tensor, count: Tensor) -> Told | None:
        """Columns of what is missing don't exist."""
        if not self.tells:
            return None
        missing = self._missing(own)
        exists = [own.new_ones((len(own), 0), dtype=torch.bool)]
        for entry in self.entries:
            if entry.columns:
                there = own.new_ones((len(own), entry.columns), dtype=torch.bool)
                lacking = None if entry.lacking is None else missing[entry.lacking]
                exists.append(there if lacking is None else ~_each(lacking, entry))
        return Told(torch.cat(exists, 1), own.new_zeros((len(own), 0), dtype=torch.float64))

    def lost(self, facts: Facts) -> Mapping[tuple[str | None, str], tuple[int, ...]]:
        """Numbers that are smeared, and those of objects that were left out."""
        found: dict[tuple[str | None, str], tuple[int, ...]] = {}
        for entry in self.entries:
            width = 1 if entry.collection is None else facts.collection(entry.collection).max_count
            out = tuple(s for s in range(width) if entry.mode == "smear" or s not in entry.slots)
            found[entry.collection, entry.name] = out
        return found

    # ------------------------------------------------------------------ encoding

    def read(self, reading: Reading) -> Encoded:
        """Columns (N, D) and classes (N, K)."""
        columns: list[Tensor] = [torch.zeros(len(reading), 0, dtype=torch.float64, device=reading.device)]
        classes: list[Tensor] = [reading.no_classes()]
        missing: dict[int, Tensor] = {}
        for number, group in enumerate(self.lacking):
            entry = next(e for e in self.entries if e.lacking == number)
            values = reading.values(entry.collection, entry.name)[:, list(entry.slots)]
            present = _present(reading, entry.collection, entry.slots)
            missing[number] = is_missing(values, entry.missing or 0.0) & present
            for j in group.drawn:
                flags = missing[number][:, j].to(torch.int64)
                classes.append(torch.where(present[:, j], flags, -1).unsqueeze(1))
        for entry in self.entries:
            slots = list(entry.slots)
            # Large integers are subtracted as integers, which have all their digits.
            stored = reading.values(entry.collection, entry.name)[:, slots]
            if entry.lacking is not None:
                self._require_together(entry, stored, missing[entry.lacking], reading)
                stored = torch.where(missing[entry.lacking], _as(entry.low + entry.offset, stored), stored)
            values = (stored - entry.offset if entry.offset else stored).to(torch.float64)
            if entry.mode in ("dequantise", "smear"):
                noise = reading.noise(entry.collection, entry.name, entry.slots)
                columns.append(values + (noise if entry.mode == "dequantise" else _normal(noise)))
                continue
            present = _present(reading, entry.collection, entry.slots)
            if entry.mode == "classes":
                if entry.lacking is not None:
                    first = tuple(t[0] if t else 0.0 for t in entry.tables)
                    values = torch.where(missing[entry.lacking], constant(first, values.device), values)
                classes += classes_of(entry, values, present, reading.refuse)
                continue
            classes += atoms_of(entry, values, present)
            if entry.step is not None:
                noise = reading.noise(entry.collection, entry.name, entry.slots)
                values = values + (noise - 0.5) * entry.step
            columns.append(_each(values, entry))
        return Encoded(torch.cat(columns, 1), torch.cat(classes, 1))

    @staticmethod
    def _require_together(entry: Entry, stored: Tensor, missing: Tensor, reading: Reading) -> None:
        """Refuses events in which a number is missing without those that it was always missing with."""
        present = _present(reading, entry.collection, entry.slots)
        apart = ((is_missing(stored, entry.missing or 0.0) & present) != missing).any(1)

        def error(event: int) -> InputError:
            msg = "missing, or there, apart from numbers with which it was always missing in training"
            return InputError(msg, branch=entry.branch, entry=event)

        reading.refuse(apart, error)

    # ------------------------------------------------------------------ decoding

    def write(self, encoded: Encoded, draft: Draft) -> None:
        """Puts in the fields."""
        missing = self._missing(encoded.classes)
        column, variable = 0, sum(len(g.drawn) for g in self.lacking)
        for entry in self.entries:
            ends = column + entry.columns, variable + len(entry.drawn)
            raw, classes = encoded.columns[:, column : ends[0]], encoded.classes[:, variable : ends[1]]
            column, variable = ends
            values = values_of(entry, raw, classes)
            if entry.dtype in ("int64", "int32", "int16", "int8", "uint8"):
                values = values.round().to(torch.int64) + entry.offset
            elif entry.dtype == "bool":
                values = values > 0.5
            if entry.lacking is not None and entry.missing is not None:
                values = torch.where(missing[entry.lacking], _as(entry.missing, values), values)
            draft.put_field(entry.collection, entry.name, values, entry.slots, self.settings.fill)


def _each(values: Tensor, entry: Entry) -> Tensor:
    """Numbers (N, S) of objects for each of their columns."""
    return values if entry.populations == 1 else values.repeat_interleave(entry.populations, 1)


def _as(number: float, like: Tensor) -> Tensor:
    """A number of the type of others."""
    return torch.tensor(number, dtype=like.dtype, device=like.device)


def _present(reading: Reading, collection: str | None, slots: Sequence[int]) -> Tensor:
    """Where (N, S) there are numbers to read."""
    if collection is None:
        return torch.ones((len(reading), 1), dtype=torch.bool, device=reading.device)
    return reading.mask(collection)[:, list(slots)]


def _missing_kinds(missing: Tensor, present: Tensor) -> tuple[int, ...]:
    """Whether a number (N,) is there (0), missing (1), or either."""
    kinds = (0,) if bool((present & ~missing).any()) else ()
    return (*kinds, 1) if bool(missing.any()) else kinds or (0,)


def slots_of(settings: FieldsConfig, facts: Facts) -> dict[tuple[str | None, str], tuple[int, ...]]:
    """The objects of each field, by collection and name; a scalar has one."""
    groups: dict[tuple[str | None, str], set[int]] = {}
    for text in settings.fields:
        address = Address.parse(text)
        width = 1 if address.collection is None else facts.collection(address.collection).max_count
        slots = range(width) if address.slot is None else [address.slot]
        groups.setdefault((address.collection, address.field), set()).update(slots)
    return {key: tuple(sorted(slots)) for key, slots in groups.items()}


def _numbers(
    entry: Entry, j: int, slot: int, facts: Facts, bounds: Bounds
) -> tuple[DiscreteVariable | None, list[Column]]:
    """The discrete variable and the columns of one object's number."""
    collection, name = entry.collection, entry.name
    if collection is not None and facts.deviation(collection, name) is not None:
        # Beside the coordinate of the momentum itself.
        name = f"{name}:own"
    address = facts.address(collection, slot, name)
    gate = None if collection is None else facts.gate(collection, slot + 1)
    where = None if collection is None else slot
    if entry.mode == "classes":
        table = entry.tables[j]
        made = DiscreteVariable.of(address, table, where, ordinal=entry.ordinal) if len(table) > 1 else None
        return made, []
    if entry.mode in ("smear", "dequantise"):
        # The floor of the upper limit must still be the highest value.
        low, high = (entry.low, entry.high + 1 - 1e-6) if entry.mode == "dequantise" else (None, None)
        return None, [Column(address, low, high, gate, rounded=True, dtype=entry.dtype)]
    kinds, variable = entry.kinds[j], None
    if len(kinds) > 1:
        what = "atom" if entry.populations == 1 else "population"
        named = address._replace(field=f"{name}:{what}")
        variable = DiscreteVariable.of(named, tuple(map(float, kinds)), where)
    every = Address(collection, None, name)
    low, high = next((bounds[k] for k in (str(address), str(every)) if k in bounds), (None, None))
    low, high = (None if end is None else end - entry.offset for end in (low, high))
    half = 0.0
    if entry.step is not None:
        # All of the outermost cells, whose noise never leads into the next ones.
        half = entry.step * (0.5 - 1e-6)
        low, high = entry.low, entry.high
    dtype, columns = _stored_type(facts, collection, entry.name), []
    for p in range(entry.populations):
        # What a cut is the end of, it alone bounds.
        least, most = (
            end if cut is None else cut for end, cut in zip((low, high), entry.ends(p), strict=True)
        )
        columns.append(
            Column(
                address if not p else address._replace(field=f"{name}:{p + 1}"),
                None if least is None else least - half,
                None if most is None else most + half,
                NEVER
                if p not in kinds
                else gate
                if variable is None
                else Gate(variable.name, kinds.index(p), kinds.index(p)),
                rounded=entry.step is not None,
                aliases=(str(address), str(every), name) if p else (),
                dtype=dtype,
            )
        )
    return variable, columns


def _stored_type(facts: Facts, collection: str | None, name: str) -> str | None:
    """The type in which a file has the numbers of a field, or scalar, that are learned as they are."""
    if collection is None:
        return facts.schema.scalar(name).dtype
    computed = facts.deviation(collection, name) is not None or (
        name == "mass" and collection in facts.masses
    )
    return None if computed else facts.collection(collection).field(name).dtype


def _normal(uniform: Tensor) -> Tensor:
    """Gaussian noise around the middle of [n, n + 1), so that the floor is unbiased."""
    return 0.5 + SMEARING * math.sqrt(2.0) * torch.erfinv(2.0 * uniform - 1.0)
