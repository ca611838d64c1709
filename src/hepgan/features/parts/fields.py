"""Numbers of objects beside their momenta, and numbers of the event."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field as Setting
from pydantic import field_validator
from torch import Tensor

from hepgan.config import Config
from hepgan.errors import InputError, RecipeError
from hepgan.events.grids import on_grid
from hepgan.events.missing import is_missing
from hepgan.events.schema import Address, Field, Kind, Placeholder
from hepgan.features.draft import Draft
from hepgan.features.facts import Facts
from hepgan.features.parts.base import Encoded, Part, Told, TransformSpec
from hepgan.features.precise import constant
from hepgan.features.reading import Reading, Refusal
from hepgan.features.variables import NEVER, Column, DiscreteVariable, Gate

__all__ = ["Entry", "FieldsConfig", "FieldsPart", "chosen_values", "classes_of", "described", "slots_of"]

MAX_CLASSES = 256
"""Integers with more values than this are learned as continuous numbers."""

FEW_VALUES = 16
"""A continuous number with so few values, in at least ``ENOUGH`` objects, is learned as classes."""

ENOUGH = 1000

COARSE = 4096
"""Numbers on a grid that take so few values are learned with noise of the width of its cells."""

SMEARING = 0.5

WHOLE = 1 << 45
"""Integers beyond this are counted from the smallest, so that there are digits left for noise."""

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


class Entry(Config):
    """How one field, or scalar, is learned.

    Attributes:
        collection: The collection; None for a scalar.
        name: The field, or the scalar.
        branch: Its branch, for messages.
        slots: The objects.
        mode: As ``classes``; as a column, whose ``atoms`` are classes; or as one with noise.
        dtype: The type of its numbers.
        ordinal: Whether neighbouring classes are alike.
        low: The smallest value; that is no atom, of a column.
        high: The largest value, likewise.
        tables: Of each object the values that occur (``classes``).
        atoms: Values of finite probability (``continuous``).
        kinds: Of each object which occur: 0 for values other than atoms, k for the k-th atom.
        offset: What large integers are counted from; all other numbers here are relative to it.
        step: The distance of neighbours of numbers on a grid so coarse that they have noise; None for others.
        missing: What it is where it is missing, as it is stored; None if it never is.
        lacking: The number of the group of fields that are missing together, if it may be missing.
    """

    collection: str | None
    name: str
    branch: str
    slots: tuple[int, ...]
    mode: Literal["classes", "continuous", "dequantise", "smear"]
    dtype: str
    ordinal: bool
    low: float
    high: float
    tables: tuple[tuple[float, ...], ...] = ()
    atoms: tuple[float, ...] = ()
    kinds: tuple[tuple[int, ...], ...] = ()
    offset: int = 0
    step: float | None = None
    missing: Placeholder = None
    lacking: int | None = None

    @cached_property
    def drawn(self) -> tuple[int, ...]:
        """The places, among the slots, of objects with a discrete variable."""
        return tuple(j for j, t in enumerate(self.tables or self.kinds) if len(t) > 1)

    @cached_property
    def numbers(self) -> tuple[tuple[float, ...], ...]:
        """Of each object the value of each class, padded to one length; 0 for what is no atom."""
        values = (0.0, *self.atoms)
        tables = self.tables or tuple(tuple(values[k] for k in kinds) for kinds in self.kinds)
        longest = max((len(t) for t in tables), default=1) or 1
        return tuple((*(t or (0.0,)), *((t or (0.0,))[-1],) * (longest - max(len(t), 1))) for t in tables)

    @cached_property
    def atomic(self) -> tuple[bool, ...]:
        """Of each object whether its number is an atom even in class 0."""
        return tuple(kinds[0] > 0 for kinds in self.kinds)

    @property
    def columns(self) -> int:
        """The number of its columns."""
        return 0 if self.mode == "classes" else len(self.slots)


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
    atom it is, or none (class 0); its column exists only in the latter case. A coordinate that is measured
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
        cls, settings: FieldsConfig, reading: Reading, discrete: Mapping[str, str], bounds: Bounds
    ) -> Self:
        """Finds out how each number is learned, and the values of those learned as classes.

        Args:
            settings: The recipe's settings.
            reading: The training events.
            discrete: How numbers are learned, where the recipe says so, by field.
            bounds: Ranges of fields, where the recipe has them.

        Raises:
            RecipeError: If a number that is no integer is to be learned as one.
        """
        entries: list[Entry] = []
        groups: list[Lacking] = []
        masks: list[Tensor] = []
        for (collection, name), slots in slots_of(settings, reading.facts).items():
            values = reading.values(collection, name)[:, list(slots)]
            present = _present(reading, collection, slots)
            field = described(reading.facts, collection, name)
            missing = None if field.missing is None else is_missing(values, field.missing) & present
            if missing is None or not bool(missing.any()):
                entries.append(_entry(field, collection, slots, values, present, discrete))
                continue
            entry = _entry(field, collection, slots, values, present & ~missing, discrete)
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
                variable, column = _numbers(entry, j, slot, facts, bounds)
                variables += [] if variable is None else [variable]
                columns += [] if column is None else [column]
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
                exists.append(there if entry.lacking is None else ~missing[entry.lacking])
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
            classes += _atoms(entry, values, present)
            if entry.step is not None:
                noise = reading.noise(entry.collection, entry.name, entry.slots)
                values = values + (noise - 0.5) * entry.step
            columns.append(values)
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
            values = _values(entry, raw, classes)
            if entry.dtype in ("int64", "int32", "int16", "int8", "uint8"):
                values = values.round().to(torch.int64) + entry.offset
            elif entry.dtype == "bool":
                values = values > 0.5
            if entry.lacking is not None and entry.missing is not None:
                values = torch.where(missing[entry.lacking], _as(entry.missing, values), values)
            draft.put_field(entry.collection, entry.name, values, entry.slots, self.settings.fill)


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


def described(facts: Facts, collection: str | None, name: str) -> Field:
    """The field as the schema has it, or as it is made of others: deviations and implied masses."""
    if collection is None:
        return facts.schema.scalar(name)
    described = facts.collection(collection)
    deviation = facts.deviation(collection, name)
    if deviation is not None:
        atoms = (0.0,) if deviation.rounding else ()
        return Field(name=name, branches=described.field(name).branches, atoms=atoms)
    if name in described.field_names:
        return described.field(name)
    mass = facts.masses[collection]
    return Field(name=name, branches=(f"{collection}_{name}",), atoms=(0.0,) if mass.noise else ())


def _entry(
    field: Field,
    collection: str | None,
    slots: tuple[int, ...],
    values: Tensor,
    present: Tensor,
    discrete: Mapping[str, str],
) -> Entry:
    known = torch.unique(values[present])
    asked = discrete.get(str(Address(collection, None, field.name)))
    flag = field.dtype == "bool" and asked not in (None, "classes")
    if flag or (asked in ("smear", "dequantise") and bool((known != known.round()).any())):
        what = "true or false" if flag else "not an integer"
        msg = f"discrete: {field.name} is {what}, so it cannot be learned by {asked}"
        raise RecipeError(msg, branch=field.branch)
    mode = asked or _mode(field, known, int(present.sum()))
    coarse = mode == "continuous" and len(known) <= COARSE
    offset = _offset(known, field, mode)
    values, known = (values - offset, known - offset) if offset else (values, known)
    each = [values[:, i][present[:, i]] for i in range(len(slots))]
    atoms = (
        tuple(a - offset for a in field.atoms if bool((known == a - offset).any())) if asked is None else ()
    )
    for atom in atoms if mode == "continuous" and len(known) > len(atoms) else ():
        known = known[known != atom]
    if coarse and field.step is not None and len(known):
        known = on_grid(known, float(known[0]), field.step)
    return Entry(
        collection=collection,
        name=field.name,
        branch=field.branch,
        slots=slots,
        mode=mode,
        dtype=str(values.dtype).removeprefix("torch."),
        ordinal=field.kind is not Kind.CATEGORY and field.name != "mass",
        low=float(known[0]) if len(known) else 0.0,
        high=float(known[-1]) if len(known) else 0.0,
        tables=tuple(tuple(map(float, torch.unique(c).tolist())) for c in each) if mode == "classes" else (),
        atoms=atoms if mode == "continuous" else (),
        kinds=tuple(_kinds(c, atoms) for c in each) if mode == "continuous" else (),
        offset=offset,
        step=field.step if coarse else None,
    )


def _offset(known: Tensor, field: Field, mode: str) -> int:
    """What ascending numbers are counted from: 0, or the smallest of large integers.

    Raises:
        RecipeError: If integers are too far apart to keep their last digits.
    """
    if known.is_floating_point() or not len(known):
        return 0
    low, high = int(known[0]), int(known[-1])
    if max(abs(low), abs(high)) <= WHOLE:
        return 0
    power = 53 if mode == "classes" else 45
    if high - low > 1 << power:
        msg = (
            f"integers that are {high - low:.2g} apart lose their last digits (beyond 2^{power}); "
            "leave them out: events.select lists what is learned"
        )
        raise RecipeError(msg, branch=field.branch)
    return low


def _mode(field: Field, known: Tensor, number: int) -> str:
    if field.kind is Kind.CATEGORY:
        return "classes"
    if field.kind is Kind.INTEGER:
        return "classes" if len(known) <= MAX_CLASSES else "dequantise"
    return "classes" if len(known) <= FEW_VALUES and number >= ENOUGH else "continuous"


def _kinds(values: Tensor, atoms: tuple[float, ...]) -> tuple[int, ...]:
    """Which occur: 0 for values other than atoms, k for the k-th atom."""
    at = [bool((values == a).any()) for a in atoms]
    elsewhere = torch.ones_like(values, dtype=torch.bool)
    for a in atoms:
        elsewhere &= values != a
    other = (0,) if bool(elsewhere.any()) or not any(at) else ()
    return (*other, *(k + 1 for k, seen in enumerate(at) if seen))


def _numbers(
    entry: Entry, j: int, slot: int, facts: Facts, bounds: Bounds
) -> tuple[DiscreteVariable | None, Column | None]:
    """The discrete variable and the column of one object's number."""
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
        return made, None
    if entry.mode in ("smear", "dequantise"):
        # The floor of the upper limit must still be the highest value.
        low, high = (entry.low, entry.high + 1 - 1e-6) if entry.mode == "dequantise" else (None, None)
        return None, Column(address, low, high, gate, rounded=True, dtype=entry.dtype)
    kinds, variable = entry.kinds[j], None
    if len(kinds) > 1:
        variable = DiscreteVariable.of(
            address._replace(field=f"{name}:atom"), tuple(map(float, kinds)), where
        )
        gate = Gate(variable.name, 0, 0) if 0 in kinds else NEVER
    elif kinds[0] > 0:
        gate = NEVER
    every = Address(collection, None, name)
    low, high = next((bounds[k] for k in (str(address), str(every)) if k in bounds), (None, None))
    low, high = (None if end is None else end - entry.offset for end in (low, high))
    if entry.step is not None:
        # All of the outermost cells, whose noise never leads into the next ones.
        half = entry.step * (0.5 - 1e-6)
        low, high = entry.low - half, entry.high + half
    dtype = _stored_type(facts, collection, entry.name)
    return variable, Column(address, low, high, gate, rounded=entry.step is not None, dtype=dtype)


def _stored_type(facts: Facts, collection: str | None, name: str) -> str | None:
    """The type in which a file has the numbers of a field, or scalar, that are learned as they are."""
    if collection is None:
        return facts.schema.scalar(name).dtype
    computed = facts.deviation(collection, name) is not None or (
        name == "mass" and collection in facts.masses
    )
    return None if computed else facts.collection(collection).field(name).dtype


def classes_of(entry: Entry, values: Tensor, present: Tensor, refuse: Refusal) -> list[Tensor]:
    """The classes (N, 1) of each object whose number is drawn, -1 where it is absent.

    Args:
        entry: How the field is learned.
        values: (N, S) its numbers.
        present: (N, S) where there are objects.
        refuse: What becomes of events with other numbers.
    """
    found = []
    for j, table in enumerate(entry.tables):
        if not table:
            continue
        known = constant(table, values.device)
        v, there = values[:, j].contiguous(), present[:, j]
        right = torch.searchsorted(known, v).clamp(max=len(table) - 1)
        left = (right - 1).clamp(min=0)
        index = torch.where((v - known[left]).abs() < (known[right] - v).abs(), left, right)
        # A number that did not occur is like its neighbours, but no event that can be generated.
        if not entry.ordinal or refuse.events is not None:
            refuse(there & (known[index] != v), partial(_unknown, entry, v))
        if len(table) > 1:
            found.append(torch.where(there, index, -1).unsqueeze(1))
    return found


def _unknown(entry: Entry, values: Tensor, event: int) -> InputError:
    msg = f"{float(values[event]) + entry.offset:g} did not occur in the events that were learned from"
    return InputError(msg, branch=entry.branch, entry=event)


def _atoms(entry: Entry, values: Tensor, present: Tensor) -> list[Tensor]:
    atom = torch.zeros_like(values, dtype=torch.int64)
    for k, value in enumerate(entry.atoms):
        atom = torch.where(values == value, k + 1, atom)
    found = []
    for j in entry.drawn:
        kinds = entry.kinds[j]
        order = tuple(kinds.index(k) if k in kinds else 0 for k in range(len(entry.atoms) + 1))
        classes = constant(order, values.device, torch.int64)[atom[:, j]]
        found.append(torch.where(present[:, j], classes, -1).unsqueeze(1))
    return found


def _normal(uniform: Tensor) -> Tensor:
    """Gaussian noise around the middle of [n, n + 1), so that the floor is unbiased."""
    return 0.5 + SMEARING * math.sqrt(2.0) * torch.erfinv(2.0 * uniform - 1.0)


def _values(entry: Entry, raw: Tensor, classes: Tensor) -> Tensor:
    if entry.mode in ("smear", "dequantise"):
        return raw.floor()
    if entry.step is not None:
        # Gradients are those of the noise.
        raw = raw + (on_grid(raw, entry.low, entry.step) - raw).detach()
    if entry.mode == "continuous" and not entry.atoms:
        return raw
    index, values = _drawn(entry, classes), chosen_values(entry, classes)
    if entry.mode == "classes":
        return values
    continuous = (index == 0) & ~constant(entry.atomic, classes.device, torch.bool)
    return torch.where(continuous, raw, values)


def chosen_values(entry: Entry, classes: Tensor) -> Tensor:
    """The values (N, S) of the classes of those objects whose number is drawn."""
    table = constant(entry.numbers, classes.device)
    return table[torch.arange(len(table), device=table.device), _drawn(entry, classes)]


def _drawn(entry: Entry, classes: Tensor) -> Tensor:
    """The classes (N, S) of all objects."""
    if len(entry.drawn) == len(entry.numbers):
        return classes.clamp(min=0)
    index = classes.new_zeros((len(classes), len(entry.numbers)))
    index[:, list(entry.drawn)] = classes.clamp(min=0)
    return index
