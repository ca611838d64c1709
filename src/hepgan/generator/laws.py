"""Laws by which the conditions of generated events follow from the number of the event and random numbers."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hepgan.errors import InputError
from hepgan.events.schema import Field, Kind

__all__ = ["Alternating", "Constant", "Each", "Law", "Uniform", "is_law", "read_law", "warn_outside"]

UNIFORM = "uniform:"

MARGIN = 0.01
"""Share of the range of the training events by which conditions may be outside without a warning."""


@dataclass(frozen=True)
class Law:
    """What gives each event its value of a condition."""

    random = False
    """Whether it needs a random number for each event."""

    @property
    def extremes(self) -> tuple[float, float]:
        """The least and the largest value that it gives."""
        raise NotImplementedError

    def values(self, event: NDArray[np.int64], draw: Tensor) -> Tensor:
        """The values (N,) of events, by their numbers (N,) and uniform numbers (N,) in [0, 1)."""
        raise NotImplementedError


@dataclass(frozen=True)
class Constant(Law):
    """One value for all events."""

    value: float

    @property
    def extremes(self) -> tuple[float, float]:
        """The value, twice."""
        return self.value, self.value

    def values(self, event: NDArray[np.int64], draw: Tensor) -> Tensor:
        """The value for each event."""
        return torch.full_like(draw, self.value)


@dataclass(frozen=True)
class Each(Law):
    """A value for each event; the last of them for those beyond."""

    given: NDArray[np.float64]

    @property
    def extremes(self) -> tuple[float, float]:
        """Those of the values."""
        return float(self.given.min()), float(self.given.max())

    def values(self, event: NDArray[np.int64], draw: Tensor) -> Tensor:
        """The values at the events' numbers."""
        return torch.from_numpy(self.given[event.clip(0, len(self.given) - 1)]).to(draw)


@dataclass(frozen=True)
class Alternating(Law):
    """Values in turn: event i has value i modulo their number."""

    given: NDArray[np.float64]

    @property
    def extremes(self) -> tuple[float, float]:
        """Those of the values."""
        return float(self.given.min()), float(self.given.max())

    def values(self, event: NDArray[np.int64], draw: Tensor) -> Tensor:
        """The values in turn."""
        return torch.from_numpy(self.given[event % len(self.given)]).to(draw)


@dataclass(frozen=True)
class Uniform(Law):
    """Evenly drawn between two ends; whole numbers, both ends among them, where the condition is one."""

    low: float
    high: float
    whole: bool
    random = True

    @property
    def extremes(self) -> tuple[float, float]:
        """Its ends."""
        return self.low, self.high

    def values(self, event: NDArray[np.int64], draw: Tensor) -> Tensor:
        """What the uniform numbers choose."""
        if self.whole:
            return (self.low + (self.high - self.low + 1) * draw).floor()
        return self.low + (self.high - self.low) * draw


def is_law(text: str, field: Field) -> bool:
    """Whether a text is one that :func:`read_law` understands, instead of the name of a file."""
    if text.startswith(UNIFORM) or text in _names(field):
        return True
    return all(part in _names(field) or _number(part) is not None for part in text.split(","))


def read_law(name: str, text: str, field: Field) -> Law:
    """The law that a text tells.

    Args:
        name: The condition.
        text: ``35``, a category's name, several of these as in ``10,20,30``, or ``uniform:LOW:HIGH``.
        field: The condition's place in the events.

    Raises:
        InputError: If the text is none of these.
    """
    if text.startswith(UNIFORM):
        return _uniform(name, text, field)
    known = _names(field)
    parts = [text] if text in known else text.split(",")
    numbers = [known.index(part) if part in known else _number(part) for part in parts]
    if known and any(part not in known for part in parts):
        wrong = next(part for part in parts if part not in known)
        msg = f"the condition {name} cannot be {wrong!r}; it is {', '.join(known)}"
        raise InputError(msg)
    if None in numbers:
        msg = (
            f"the condition {name} must be a number, an array of numbers, several as in 10,20,30, or "
            f"uniform:LOW:HIGH, not {text!r}"
        )
        raise InputError(msg)
    given = np.array(numbers, dtype=np.float64)
    if not np.isfinite(given).all():
        msg = f"the condition {name} is not a finite number"
        raise InputError(msg)
    return Constant(float(given[0])) if len(given) == 1 else Alternating(given)


def _uniform(name: str, text: str, field: Field) -> Uniform:
    ends = [_number(part) for part in text.removeprefix(UNIFORM).split(":")]
    if len(ends) != 2 or None in ends:
        msg = f"the condition {name} cannot be {text!r}; expected uniform:LOW:HIGH"
        raise InputError(msg)
    low, high = (float(end or 0.0) for end in ends)
    if field.kind is Kind.CATEGORY:
        msg = f"the condition {name} is a category, which has no range: give its values, as in a,b"
        raise InputError(msg)
    whole = field.kind is Kind.INTEGER or "int" in field.dtype
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        msg = f"the condition {name} cannot be {text!r}: its ends must be finite and in order"
        raise InputError(msg)
    if whole and not (low.is_integer() and high.is_integer()):
        msg = f"the condition {name} is a whole number, and so must be the ends of {text!r}"
        raise InputError(msg)
    return Uniform(low, high, whole)


def _names(field: Field) -> list[str]:
    """The names of a category's values; none of a number."""
    values = field.values or ()
    return [str(v) for v in values] if any(isinstance(v, str) for v in values) else []


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def warn_outside(given: Mapping[str, Law], ranges: Mapping[str, tuple[float, float]], **how: Any) -> None:
    """Warns of conditions beyond those of training events, by more than another sample of them would be.

    Args:
        given: What gives the conditions, by name.
        ranges: The least and the largest value in the training events, by name.
        how: What ``warnings.warn`` takes besides.
    """
    for name, law in given.items():
        if name not in ranges:
            continue
        low, high = ranges[name]
        slack = max(MARGIN * (high - low), 1e-6 * max(abs(low), abs(high)))
        least, most = law.extremes
        if least < low - slack or most > high + slack:
            values = f"{least:g}" if least == most else f"{least:g} to {most:g}"
            trained = f"{low:g}" if low == high else f"{low:g} to {high:g}"
            message = (
                f"the condition {name} is {values}, outside the range of the training events ({trained}): "
                "what is generated there is extrapolated"
            )
            warnings.warn(message, UserWarning, **how)
