"""What is given in generation: the conditions of each event, and the laws that they follow."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import awkward as ak
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import KDTree
from torch import Tensor

from hepgan.config import LARGEST
from hepgan.errors import InputError
from hepgan.events import check_events, to_batch
from hepgan.events.schema import Field, Kind
from hepgan.features import Representation
from hepgan.models import BLOCK

__all__ = [
    "Alternating",
    "Conditions",
    "Constant",
    "Each",
    "Law",
    "Pool",
    "Uniform",
    "check_lengths",
    "is_law",
    "read_law",
    "warn_outside",
]

MAX_POOL = 4_000_000
"""How many numbers of training events' conditions a model keeps, to draw from where none are given."""

UNIFORM = "uniform:"

MARGIN = 0.01
"""Share of the range of the training events by which conditions may be outside without a warning."""


@dataclass(frozen=True)
class Pool:
    """Conditions of training events, to draw from where none are given.

    Attributes:
        condition: (P, Q) encoded.
        given: (P, R) the given collections as they are; None if there are none.
        weight: (P,) how often each is drawn, at least 0; None if all are alike.
    """

    condition: Tensor
    given: Tensor | None = None
    weight: Tensor | None = None

    @classmethod
    def of(cls, condition: Tensor, weight: Tensor, given: Tensor | None, generator: torch.Generator) -> Pool:
        """The conditions of N events, as often as their weights say.

        Those of all events are kept, each but once, or of as many as there is room for. Where negative
        weights prevail, they are set against the nearest positive ones: of each such row and its nearest
        neighbours, as few as sum to 0 or more, the weights become their absolute values times one factor,
        so that their sum stays.

        Reference: J. Andersen and A. Maier, Unbiased elimination of negative weights in Monte Carlo samples,
        arXiv:2109.07851.

        Args:
            condition: Encoded conditions (N, Q).
            weight: Weights (N,), which have a positive sum.
            given: The given collections (N, R) as they are, if there are some.
            generator: Chooses events where there are too many.
        """
        if not condition.shape[1]:
            return cls(condition[:1])
        rows = condition if given is None else torch.cat([condition, given.to(condition)], 1)
        kept = max(MAX_POOL // max(rows.shape[1], 1), 1)
        if len(rows) > kept:
            chosen = torch.randperm(len(rows), generator=generator)[:kept]
            rows, weight = rows[chosen], weight[chosen]
            given = None if given is None else given[chosen]
            condition = condition[chosen]
        if given is None:
            condition, place = torch.unique(condition, dim=0, return_inverse=True)
            weight = weight.new_zeros(len(condition)).index_add(0, place, weight)
        if bool((weight < 0).any()):
            weight = torch.from_numpy(_balanced(condition.numpy(), weight.numpy())).to(weight)
        if not float(weight.sum()) > 0:
            return cls(condition, given)
        even = bool((weight == weight[0]).all())
        return cls(condition, given, None if even else weight)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """What there is, by name, on the CPU."""
        named = {"condition": self.condition, "given": self.given, "weight": self.weight}
        return {n: t.cpu().contiguous() for n, t in named.items() if t is not None}

    @cached_property
    def _ends(self) -> tuple[Tensor, int]:
        """Where each row ends on the unit interval, and the last row that has a weight, for the rest."""
        if self.weight is None:
            raise TypeError
        sums = self.weight.to(torch.float64).cumsum(0)
        return sums / sums[-1], int(self.weight.nonzero()[-1])

    def draw(self, uniform: Tensor) -> tuple[Tensor, Tensor | None]:
        """Conditions (N, Q) and given collections (N, R) that uniform numbers (N,) in [0, 1) choose."""
        rows, size = uniform.cpu(), len(self.condition)
        if self.weight is None:
            rows = (rows * size).long().clamp(max=size - 1)
        else:
            ends, last = self._ends
            rows = torch.searchsorted(ends, rows, right=True).clamp(max=last)
        given = None if self.given is None else self.given[rows].to(uniform.device)
        return self.condition[rows].to(uniform.device), given


def _balanced(points: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights (P,) of which none is negative, by the neighbours of points (P, Q); see :meth:`Pool.of`."""
    weight, tree = weight.copy(), KDTree(points)
    order = np.argsort(weight, kind="stable")[: int((weight < 0).sum())]
    first = tree.query(points[order], min(8, len(points)))[1].reshape(len(order), -1)
    for number, near in zip(order, first, strict=True):
        sums = np.cumsum(weight[near])
        while sums.max() < 0 and len(near) < len(points):
            near = tree.query(points[number], min(4 * len(near), len(points)))[1]
            sums = np.cumsum(weight[near])
        cell = near[: int(np.argmax(sums >= 0)) + 1] if sums.max() >= 0 else near
        sizes = np.abs(weight[cell])
        weight[cell] = sizes * max(weight[cell].sum() / max(sizes.sum(), 1e-300), 0.0)
    return weight


class Conditions:
    """What is given in generation: the conditions of event number i.

    Args:
        representation: The fitted representation, which encodes them.
        given: By name a number for all events, an array with one for each event, or a text: values that
            take turns (``10,20,30``), or ``uniform:LOW:HIGH``; of a collection an array with the objects of
            each event, with which all other conditions have to be given, too. Or events that have them all.
            Names that are missing here follow their distribution in the training events.
        pool: The conditions of training events.
        size: The number of events that an array must have values for.
        first: The number of the event that the first values of arrays belong to.

    Raises:
        InputError: If a name is not a condition of the model, or its values are not usable.
    """

    def __init__(
        self,
        representation: Representation,
        given: Mapping[str, Any] | ak.Array | None,
        pool: Pool,
        size: int = 0,
        first: int = 0,
    ) -> None:
        self._representation, self._pool, self._first = representation, pool, first
        self.given: dict[str, Law] = {}
        self._objects: Tensor | None = None
        values = _by_name(given, representation.conditions)
        collections = {n: v for n, v in values.items() if n in representation.given}
        if collections:
            missing = [n for n in representation.conditions if n not in values]
            if missing:
                msg = f"the condition {missing[0]} is missing: collections are given together with all others"
                raise InputError(msg)
            self._objects = _packed(representation, collections, size)
        for name, value in values.items():
            if name in collections:
                continue
            if name not in representation.conditions:
                known = ", ".join(representation.conditions) or "none"
                msg = f"{name!r} is not a condition of this model; it has {known}"
                raise InputError(msg)
            self.given[name] = self._law(name, value, size)
        self._random = [name for name, law in self.given.items() if law.random]

    def _law(self, name: str, value: Any, size: int) -> Law:
        if isinstance(value, str):
            return read_law(name, value, self._representation.schema.scalar(name))
        numbers = self._numbers(name, value, size)
        return Each(numbers) if numbers.ndim else Constant(float(numbers))

    def _numbers(self, name: str, value: Any, size: int) -> NDArray[np.float64]:
        field = self._representation.schema.scalar(name)
        values = _array(name, value)
        if values.dtype.kind in "US" and field.values is not None:
            known = [str(v) for v in field.values]
            wrong = ~np.isin(values, known)
            if wrong.any():
                msg = (
                    f"the condition {name} cannot be {str(values[wrong].flat[0])!r}; it is {', '.join(known)}"
                )
                raise InputError(msg)
            values = (values[..., None] == np.array(known)).argmax(-1)
        if values.dtype.kind not in "biuf":
            raise InputError(_NO_NUMBERS.format(name))
        numbers = values.astype(float)
        if numbers.ndim > 1 or (numbers.ndim == 1 and len(numbers) < size):
            msg = f"the condition {name} has the shape {numbers.shape}; expected one number, or {size}"
            raise InputError(msg)
        _check_values(name, numbers, field)
        return numbers

    @property
    def draws(self) -> int:
        """The uniform numbers per event that :meth:`block` needs."""
        return 1 + len(self._random) if self._representation.conditions else 0

    @property
    def by_event(self) -> bool:
        """Whether some have a value for each event that is asked for, and none beyond these."""
        return self._objects is not None or any(isinstance(law, Each) for law in self.given.values())

    def block(self, number: int, draws: Tensor, rows: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """(n, Q) encoded conditions, and (n, R) given collections as they are, if there are some.

        Args:
            number: The block's number.
            draws: Uniform numbers (n, draws), which choose from the pool.
            rows: The events of the block (n,); all if None.

        Raises:
            InputError: If a value is not one of its category.
        """
        if not self.draws:
            return draws, None
        draw = draws[:, 0]
        drawn, given = self._pool.draw(draw)
        if not self.given and self._objects is None:
            return drawn, given
        values = self._representation.decode_condition(drawn)
        event = number * BLOCK + (np.arange(BLOCK) if rows is None else rows.cpu().numpy())
        for name, law in self.given.items():
            own = draws[:, 1 + self._random.index(name)] if law.random else draw
            values[name] = law.values(event - self._first if isinstance(law, Each) else event, own)
        if self._objects is not None:
            at = (event - self._first).clip(0, len(self._objects) - 1)
            given = self._objects[torch.from_numpy(at)].to(draw.device)
        try:
            return self._representation.encode_condition(values, len(draws), given), given
        except InputError as error:
            entry = None if error.entry is None else int(event[error.entry]) - self._first
            raise InputError(error.message, branch=error.branch, entry=entry) from error


_NO_NUMBERS = "the condition {} must be a number, or an array of numbers"


def _array(name: str, value: Any) -> NDArray[Any]:
    """What is given of a condition as an array.

    Raises:
        InputError: If it is none, or lacks some values.
    """
    try:
        values = np.asarray(value)
    except Exception as error:  # whatever an object says that is no array
        raise InputError(_NO_NUMBERS.format(name)) from error
    if np.ma.is_masked(value):
        missing = np.ma.getmaskarray(value)
        msg = f"the condition {name} is masked"
        raise InputError(msg, entry=int(missing.argmax()) if missing.ndim else None)
    return values


def _check_values(name: str, numbers: NDArray[np.float64], field: Field) -> None:
    """Sees to it that the values of a condition are such as its place in the events can hold.

    Raises:
        InputError: If one is not finite, too large, or not whole where only whole numbers can be.
    """
    low, high, what = -LARGEST, LARGEST, "too large"
    whole = field.kind is Kind.INTEGER or "int" in field.dtype
    if whole and field.kind is not Kind.CATEGORY:
        kind = field.dtype if "int" in field.dtype else "int64"
        low, high, what = float(np.iinfo(kind).min), float(np.iinfo(kind).max), f"no {kind}"
    finite = np.isfinite(numbers)
    for bad, why in (
        (~finite, "not a finite number"),
        (finite & ((numbers < low) | (numbers > high)), what),
        (
            finite & (numbers != np.floor(numbers)) & (what != "too large"),
            "not whole, as it is in the events",
        ),
    ):
        if bad.any():
            entry = int(bad.argmax()) if numbers.ndim else None
            shown = "" if why.startswith("not a") else f" {numbers[bad].flat[0]:g}, which is"
            msg = f"the condition {name} is{shown} {why}"
            raise InputError(msg, entry=entry)


def _by_name(given: Mapping[str, Any] | ak.Array | None, names: Sequence[str]) -> Mapping[str, Any]:
    """Conditions by name; of events those that are conditions."""
    if isinstance(given, ak.Array):
        missing = [n for n in names if n not in given.fields]
        if missing:
            msg = f"the events have no {missing[0]}, which is a condition of this model"
            raise InputError(msg)
        return {n: given[n] for n in names}
    return given or {}


def _packed(representation: Representation, given: Mapping[str, Any], size: int) -> Tensor:
    """The objects of given collections (N, R), checked.

    Raises:
        InputError: If there are too few events, or some cannot be.
    """
    for name, value in given.items():
        if not isinstance(value, ak.Array) or len(value) < size:
            found = len(value) if hasattr(value, "__len__") else 1
            msg = f"the condition {name} is of {found} events; expected an array with the objects of {size}"
            raise InputError(msg)
    schema = representation.given_schema
    events = ak.zip(dict(given), depth_limit=1)
    check_events(events, schema, weights=False)
    packed = representation.pack(to_batch(events, schema))
    if packed is None:
        raise TypeError(given)
    return packed


def check_lengths(given: Mapping[str, Any] | ak.Array | None, n: int) -> None:
    """Sees to it that conditions that are arrays have a value for each of n events.

    Raises:
        InputError: If one has more or fewer.
    """
    named: Mapping[str, Any] = {"events": given} if isinstance(given, ak.Array) else given or {}
    for name, value in named.items():
        shape = (len(value),) if isinstance(value, ak.Array) else _array(name, value).shape
        if shape not in ((), (n,)):
            msg = f"the condition {name} has the shape {shape}; expected one number, or {n}"
            raise InputError(msg)


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
    for value in given:
        _check_values(name, np.array(value), field)
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
    for end in (low, high):
        _check_values(name, np.array(end), field)
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
