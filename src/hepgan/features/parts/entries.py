"""How one number of objects, or of the event, is learned: as classes, as a column, or as both."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from hepgan.config import Config
from hepgan.errors import InputError, RecipeError
from hepgan.events.grids import on_grid
from hepgan.events.schema import Address, Field, Kind, Placeholder
from hepgan.features.facts import Facts
from hepgan.features.precise import constant
from hepgan.features.reading import Refusal

__all__ = ["WHOLE", "Entry", "atoms_of", "chosen_values", "classes_of", "described", "entry_of", "values_of"]

MAX_CLASSES = 256
"""Integers with more values than this are learned as continuous numbers."""

FEW_VALUES = 16
"""A continuous number with so few values, in at least ``ENOUGH`` objects, is learned as classes."""

ENOUGH = 1000

COARSE = 4096
"""Numbers on a grid that take so few values are learned with noise of the width of its cells."""

WHOLE = 1 << 45
"""Integers beyond this are counted from the smallest, so that there are digits left for noise."""


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
        cuts: Values that divide a continuous number into populations, ascending; each is of the upper one.
        kinds: Of each object which occur: the number of a population, of values other than atoms; or of an
            atom, counted on from the populations.
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
    cuts: tuple[float, ...] = ()
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
        values = (*(0.0 for _ in range(self.populations)), *self.atoms)
        tables = self.tables or tuple(tuple(values[k] for k in kinds) for kinds in self.kinds)
        longest = max((len(t) for t in tables), default=1) or 1
        return tuple((*(t or (0.0,)), *((t or (0.0,))[-1],) * (longest - max(len(t), 1))) for t in tables)

    @cached_property
    def padded_kinds(self) -> tuple[tuple[int, ...], ...]:
        """The kinds of each object, padded to one length."""
        longest = max(map(len, self.kinds), default=1)
        return tuple((*kinds, *kinds[-1:] * (longest - len(kinds))) for kinds in self.kinds)

    @property
    def populations(self) -> int:
        """The number of populations, of which each has a column."""
        return len(self.cuts) + 1

    @property
    def columns(self) -> int:
        """The number of its columns."""
        return 0 if self.mode == "classes" else len(self.slots) * self.populations

    def ends(self, population: int) -> tuple[float | None, float | None]:
        """The least and the largest number of a population, where a cut is its end."""
        low = self.cuts[population - 1] if population else None
        high = self.cuts[population] if population < len(self.cuts) else None
        if self.step is None:
            below = None if high is None else float(np.nextafter(np.asarray(high, self.dtype), -np.inf))
            return low, below
        return (
            None if low is None else self.low + self.step * math.ceil((low - self.low) / self.step - 1e-9),
            None
            if high is None
            else self.low + self.step * (math.ceil((high - self.low) / self.step - 1e-9) - 1),
        )


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


def entry_of(
    field: Field,
    collection: str | None,
    slots: tuple[int, ...],
    values: Tensor,
    present: Tensor,
    discrete: Mapping[str, str],
    cuts: Sequence[float],
) -> Entry:
    """How a number is learned.

    Args:
        field: The number.
        collection: Whose it is; None for one of the event.
        slots: The objects.
        values: (N, S) its training values.
        present: (N, S) where there are any.
        discrete: How numbers are learned, where the recipe says so, by field.
        cuts: Values that divide it into populations.

    Raises:
        RecipeError: If it cannot be learned in the way that the recipe says, or is no integer that keeps its
            digits.
    """
    known = torch.unique(values[present])
    asked = discrete.get(str(Address(collection, None, field.name)))
    flag = field.dtype == "bool" and asked not in (None, "classes")
    if flag or (asked in ("smear", "dequantise") and bool((known != known.round()).any())):
        what = "true or false" if flag else "not an integer"
        msg = f"discrete: {field.name} is {what}, so it cannot be learned by {asked}"
        raise RecipeError(msg, branch=field.branch)
    mode = asked or ("continuous" if cuts else _mode(field, known, int(present.sum())))
    if cuts:
        _check_cuts(field, collection, known, cuts, mode)
    coarse = mode == "continuous" and len(known) <= COARSE
    offset = _offset(known, field, mode)
    values, known = (values - offset, known - offset) if offset else (values, known)
    each = [values[:, i][present[:, i]] for i in range(len(slots))]
    atoms = (
        tuple(a - offset for a in field.atoms if bool((known == a - offset).any())) if asked is None else ()
    )
    # As the file would hold them, so that both sides of one are told alike in its type and in others.
    cuts = tuple(float(np.asarray(c, str(values.dtype).removeprefix("torch."))) for c in cuts)
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
        cuts=cuts,
        kinds=tuple(_kinds(c, atoms, cuts) for c in each) if mode == "continuous" else (),
        offset=offset,
        step=field.step if coarse else None,
    )


def _check_cuts(
    field: Field, collection: str | None, known: Tensor, cuts: Sequence[float], mode: str
) -> None:
    """Checks that a continuous number has values (ascending, ``known``) in each of its populations.

    Raises:
        RecipeError: If it has not.
    """
    where = Address(collection, None, field.name)
    if mode != "continuous" or not known.is_floating_point():
        msg = f"populations: {where} is not learned as a continuous number"
        raise RecipeError(msg, branch=field.branch)
    rest = known[~torch.isin(known, torch.tensor(field.atoms, dtype=known.dtype, device=known.device))]
    numbers = _population(rest, cuts)
    empty = [p for p in range(len(cuts) + 1) if not bool((numbers == p).any())]
    if empty:
        side = f"below {cuts[0]:g}" if not empty[0] else f"from {cuts[empty[0] - 1]:g} on"
        msg = f"populations: {where} has no population {side}"
        raise RecipeError(msg, branch=field.branch)


def _population(values: Tensor, cuts: Sequence[float]) -> Tensor:
    """The numbers of the populations of values, of any shape."""
    found = torch.zeros_like(values, dtype=torch.int64)
    for cut in cuts:
        found += values.to(torch.float64) >= cut
    return found


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


def _kinds(values: Tensor, atoms: tuple[float, ...], cuts: tuple[float, ...]) -> tuple[int, ...]:
    """Which occur: the numbers of populations, and those of atoms, counted on."""
    kind = _kind(values, atoms, cuts)
    return tuple(map(int, torch.unique(kind).tolist())) or (0,)


def _kind(values: Tensor, atoms: tuple[float, ...], cuts: tuple[float, ...]) -> Tensor:
    """What values of any shape are: of which population, or which atom."""
    kind = _population(values, cuts)
    for k, value in enumerate(atoms):
        kind = torch.where(values == value, len(cuts) + 1 + k, kind)
    return kind


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


def atoms_of(entry: Entry, values: Tensor, present: Tensor) -> list[Tensor]:
    """The classes (N, 1) of each object for which it is drawn what its values (N, S) are; -1 if absent."""
    kind = _kind(values, entry.atoms, entry.cuts)
    found = []
    for j in entry.drawn:
        kinds = entry.kinds[j]
        number = entry.populations + len(entry.atoms)
        order = tuple(kinds.index(k) if k in kinds else 0 for k in range(number))
        classes = constant(order, values.device, torch.int64)[kind[:, j]]
        found.append(torch.where(present[:, j], classes, -1).unsqueeze(1))
    return found


def values_of(entry: Entry, raw: Tensor, classes: Tensor) -> Tensor:
    """The values (N, S) of columns (N, S times populations) and classes (N, drawn)."""
    if entry.mode in ("smear", "dequantise"):
        return raw.floor()
    if entry.step is not None:
        # Gradients are those of the noise.
        raw = raw + (on_grid(raw, entry.low, entry.step) - raw).detach()
    if entry.mode == "continuous" and not entry.atoms and not entry.cuts:
        return raw
    values = chosen_values(entry, classes)
    if entry.mode == "classes":
        return values
    table = constant(entry.padded_kinds, classes.device, torch.int64)
    kind = table[torch.arange(len(table), device=table.device), _drawn(entry, classes)]
    population = kind.clamp(max=entry.populations - 1).unsqueeze(2)
    own = raw.reshape(len(raw), len(table), entry.populations).gather(2, population).squeeze(2)
    return torch.where(kind < entry.populations, own, values)


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
