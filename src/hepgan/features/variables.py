"""The numbers that events are made of for models: continuous columns and discrete variables."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from hepgan.events.schema import Address

__all__ = ["NEVER", "SINGLE", "Column", "DiscreteVariable", "Gate", "counts_of"]

SINGLE = 2.0**-23
"""The relative distance of neighbouring numbers in float32."""


class Gate(NamedTuple):
    """The classes (both ends included) of a discrete variable with which something exists."""

    variable: str
    low: int
    high: int


def _text(address: Address) -> str:
    return ".".join(part for part in (address.owner, address.field) if part)


NEVER = Gate("", 0, -1)


@dataclass(frozen=True)
class Column:
    """A continuous number before its transform.

    Attributes:
        address: What it is a number of, unique in a representation: an object (``Muon[0].pt``), a system
            (``Z.mass``) or the event (``rho``).
        low: A value that it never falls below.
        high: A value that it never exceeds.
        gate: When it exists; None if always.
        scale: Size of the numbers that it was computed from, which sets what is rounding.
        rounded: Whether it is an integer with noise, which decoding rounds.
        aliases: What a recipe's ``transforms`` may call it, besides its address, with and without the
            number of its object, and its last name.
        dtype: The type in which it is stored, if it is a number of the file as it is; None if it is computed.
        cell: Whether it is one of thousands of cells, which are learned as they are, constant or not.
    """

    address: Address
    low: float | None = None
    high: float | None = None
    gate: Gate | None = None
    scale: float = 0.0
    rounded: bool = False
    aliases: tuple[str, ...] = ()
    dtype: str | None = None
    cell: bool = False

    @property
    def name(self) -> str:
        """The address as text, without the quotes that expressions ask for."""
        return _text(self.address)

    @property
    def precision(self) -> float:
        """The relative distance of neighbouring numbers of its type; that of float32 if it is computed."""
        if self.dtype is None:
            return SINGLE
        stored = np.dtype(self.dtype)
        return float(np.finfo(stored).eps) if stored.kind == "f" else 0.0

    @property
    def largest(self) -> float:
        """The largest number that its type holds."""
        stored = np.dtype("float64" if self.dtype is None else self.dtype)
        return float(np.finfo(stored).max) if stored.kind == "f" else math.inf

    @property
    def keys(self) -> tuple[str, ...]:
        """What a recipe's ``transforms`` may call it, the nearest first."""
        every = self.address._replace(slot=None)
        quoted = (str(self.address), str(every))
        return (self.name, _text(every), *quoted, *self.aliases, self.address.field)


@dataclass(frozen=True)
class DiscreteVariable:
    """One discrete number of an event, given as a class 0 .. size - 1, or -1 where its object is absent.

    Attributes:
        name: What messages call it, for example ``Muon[0].charge``.
        size: The number of classes.
        values: The physical value of each class.
        count: The index, among the model's variables, of the count of the collection that its object belongs
            to; None where the object is always there. The object exists if that count's value exceeds `slot`.
        slot: Which object of its collection it belongs to (0 is the first); None outside collections.
        ordinal: Whether neighbouring classes are alike (numbers of vertices), so that what depends on it does
            so smoothly.
        within: The index, among the model's variables, of the count of the collection that it is an index
            into; None if it is none, or the count does not vary. Its value is always below that count's.
        address: Whose number it is.

    Raises:
        ValueError: If there is not one value for each class, or a count without a slot.
    """

    name: str
    size: int
    values: tuple[float, ...]
    count: int | None = None
    slot: int | None = None
    ordinal: bool = False
    within: int | None = None
    address: Address = field(kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", tuple(self.values))
        if self.size < 1 or len(self.values) != self.size:
            msg = f"{self.name}: {len(self.values)} values for {self.size} classes"
            raise ValueError(msg)
        if self.count is not None and self.slot is None:
            msg = f"{self.name}: has a count but no slot"
            raise ValueError(msg)

    @classmethod
    def of(
        cls, address: Address, values: tuple[float, ...], slot: int | None = None, *, ordinal: bool = False
    ) -> DiscreteVariable:
        """One that is called by its address."""
        return cls(_text(address), len(values), values, slot=slot, ordinal=ordinal, address=address)


def counts_of(variables: Iterable[DiscreteVariable]) -> set[int]:
    """The indices of the counts that others hang on: of their own objects, or of those they point to."""
    return {i for v in variables for i in (v.count, v.within) if i is not None}
