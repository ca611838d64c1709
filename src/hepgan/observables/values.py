"""What an expression computes with: tensors, objects and momenta, with masks and the objects they are of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hepgan.events.axes import Axis
from hepgan.events.batch import Objects

__all__ = ["Cells", "Flat", "Mismatch", "Value", "Values"]


class Values(NamedTuple):
    """The values of an observable for N events.

    Attributes:
        data: (N,) for one number an event, (N, M) for one number an object; 0 where missing.
        mask: True where there is a value, of the same shape; None if there is one everywhere.
    """

    data: Tensor
    mask: Tensor | None = None


class Flat(NamedTuple):
    """All values of an observable that exist, in a row: tensors of a batch, numpy arrays of awkward events.

    Attributes:
        values: (K,).
        index: The number of the event of each value (K,).
        weight: The observable's own weight of each value (K,); None if it has none. The full weight of a
            value is that of its event times this.
    """

    values: Any
    index: Any
    weight: Any = None

    def full_weight(self, event_weight: Any) -> Any:
        """The weight of each value (K,), of event weights (N,)."""
        weight = event_weight[self.index]
        return weight if self.weight is None else weight * self.weight


class Cells(str):
    """The name of a set of cells that are those of a grid.

    Attributes:
        shape: How many cells there are along each index, the slowest first.
        axes: What the indices stand for; empty if that is not known.
    """

    shape: tuple[int, ...]
    axes: tuple[Axis, ...]

    def __new__(cls, name: str, shape: tuple[int, ...], axes: tuple[Axis, ...] = ()) -> Cells:
        """A name with a shape and axes."""
        made = super().__new__(cls, name)
        made.shape, made.axes = shape, axes
        return made


class Mismatch(Exception):
    """A part of an expression that makes no sense; the evaluator adds where it stands."""


@dataclass(slots=True)
class Value:
    """An intermediate result.

    Attributes:
        data: A Python number, a tensor, `Objects` or a momentum (a torch vector).
        mask: True where it exists, of the data's shape; None if it does everywhere.
        domain: The set of objects (``Jet``, ``Jet[Jet.pt > 30]``) of which each has one entry; None if
            there is one entry an event.
        compact: Whether the existing objects of each event come first.
        pair: The two members of each entry, for pairs.
        orders: How many ordered pairs each stands for (M,), for pairs of one set of objects.
    """

    data: Any
    mask: Tensor | None = None
    domain: str | None = None
    compact: bool = True
    pair: tuple[Value, Value] | None = None
    orders: Tensor | None = None

    @property
    def is_constant(self) -> bool:
        """Whether it is a number of the expression itself."""
        return isinstance(self.data, (bool, int, float))

    @property
    def is_number(self) -> bool:
        """Whether it is a number, not objects or momenta."""
        return self.is_constant or isinstance(self.data, Tensor)

    @property
    def momentum(self) -> Any:
        """The torch vector.

        Raises:
            Mismatch: If there is no momentum.
        """
        if isinstance(self.data, Objects):
            try:
                return self.data.momentum
            except AttributeError:
                msg = f"{self.domain or 'this object'} has no momentum, only {', '.join(self.data.fields)}"
                raise Mismatch(msg) from None
        if self.is_number:
            msg = "a momentum is needed here, not a number"
            raise Mismatch(msg)
        return self.data

    def map(self, function: Callable[[Tensor], Tensor], **changes: Any) -> Value:
        """The same with a function applied to every tensor, the mask included.

        Keyword arguments replace ``domain`` and ``compact``.
        """
        mask = None if self.mask is None else function(self.mask)
        return Value(
            map_data(function, self.data),
            mask,
            changes.get("domain", self.domain),
            changes.get("compact", self.compact),
        )

    @property
    def shape(self) -> torch.Size:
        """(N,) or (N, M)."""
        shape: torch.Size = self.data.shape
        return shape

    def exists(self) -> Tensor:
        """The mask, as a tensor in any case."""
        if self.mask is not None:
            return self.mask
        return torch.ones(self.shape, dtype=torch.bool, device=device_of(self.data))


def map_data(function: Callable[[Tensor], Tensor], data: Any) -> Any:
    """Applies a function to a tensor, or to all tensors of objects or momenta."""
    if isinstance(data, Tensor):
        return function(data)
    if isinstance(data, Objects):
        return Objects({n: function(t) for n, t in data.fields.items()})
    return data.map(function)


def where_exists(data: Tensor, mask: Tensor | None, other: float) -> Tensor:
    """The data with another number in place of missing ones."""
    return data if mask is None else torch.where(mask, data, torch.full_like(data, other))


def device_of(data: Any) -> torch.device:
    """The device of a tensor, of objects or of momenta."""
    if isinstance(data, Objects):
        return data.device
    device: torch.device = data.device
    return device


def per_object(value: Value, use: str) -> Value:
    """The value, if it has one entry an object.

    Raises:
        Mismatch: If it has not.
    """
    if value.domain is None:
        msg = f"{use} is for objects or for a number of each object; there is only one here in each event"
        raise Mismatch(msg)
    return value


def align(*values: Value) -> tuple[list[Value], Tensor | None, str | None, bool]:
    """Brings values to shapes that broadcast: numbers of the event next to those of its objects.

    Returns:
        The values, the mask of entries that all of them have, the set of objects, and whether it is compact.

    Raises:
        Mismatch: If they belong to different sets of objects.
    """
    domain: str | None = None
    owner: Value | None = None
    for v in values:
        if v.domain is None:
            continue
        if owner is None:
            domain, owner = v.domain, v
        elif v.domain != domain:
            msg = (
                f"{domain} and {v.domain} are different sets of objects, whose entries do not correspond; "
                "sum, max, [0] or the like make a number of the event"
            )
            raise Mismatch(msg)
    if owner is not None:
        # expanded before any function, so that the undefined gradient of one object's entry is dropped
        # before the entries of an event are summed
        shape = owner.shape
        values = tuple(
            v if v.domain is not None or v.is_constant else v.map(lambda t: t.unsqueeze(1).expand(shape))
            for v in values
        )
    mask: Tensor | None = None
    for v in values:
        if v.mask is not None:
            mask = v.mask if mask is None else mask & v.mask
    # an event that lacks something leaves holes, but none between the objects of one event
    compact = all(v.compact for v in values)
    return list(values), mask, domain, compact


def take(value: Value, index: Tensor) -> Value:
    """The objects (N, K) at the places ``index`` (N, K) of each event."""
    return value.map(lambda t: t.gather(1, index))


def at(value: Value, position: int, *, strict: bool) -> Value:
    """One object of each event, missing where there is none.

    Args:
        value: Per-object values.
        position: Its number among the existing objects; from the end if negative.
        strict: Whether a position that no event can have is an error.
    """
    size = value.shape[1]
    needed = position + 1 if position >= 0 else -position
    if needed > size:
        if strict:
            msg = f"an event has at most {size} of {value.domain}, so there is never a [{position}]"
            raise Mismatch(msg)
        nothing = value.map(lambda t: t.new_zeros(t.shape[0]), domain=None)
        return Value(
            nothing.data, torch.zeros(value.shape[:1], dtype=torch.bool, device=device_of(value.data))
        )
    if value.mask is None or (value.compact and position >= 0):
        return value.map(lambda t: t[:, position], domain=None, compact=True)
    hit = value.mask & (_rank(value.mask, from_end=position < 0) == (needed - 1))
    place = hit.to(torch.uint8).argmax(1, keepdim=True)
    found = take(value, place).map(lambda t: t.squeeze(1), domain=None, compact=True)
    return Value(found.data, hit.any(1))


def cut(value: Value, start: int | None, stop: int | None, domain: str) -> Value:
    """A range of the objects of each event."""
    if value.mask is None or (value.compact and (start or 0) >= 0 and (stop is None or stop >= 0)):
        return value.map(lambda t: t[:, start:stop], domain=domain)
    keep = value.mask
    for bound, beyond in ((start, True), (stop, False)):
        if bound is None:
            continue
        rank = _rank(value.mask, from_end=bound < 0)
        if bound >= 0:
            keep = keep & ((rank >= bound) if beyond else (rank < bound))
        else:
            keep = keep & ((rank < -bound) if beyond else (rank >= -bound))
    return select(value, Value(keep, None, value.domain), domain)


def select(value: Value, condition: Value, domain: str) -> Value:
    """The objects that fulfil a condition; the others are zero and masked, as padding is."""
    (whole, chosen), mask, _, _ = align(value, condition)
    keep = truth(chosen.data)
    keep = keep if mask is None else mask & keep
    data = map_data(lambda t: torch.where(keep, t, torch.zeros_like(t)), whole.data)
    pair = None
    if value.pair is not None:
        pair = (select(value.pair[0], condition, domain), select(value.pair[1], condition, domain))
    return Value(data, keep, domain, compact=False, pair=pair, orders=value.orders)


def truth(data: Any) -> Tensor:
    """A tensor as a condition: flags are stored as numbers in some files."""
    if not isinstance(data, Tensor):
        msg = "a condition is needed here, such as Jet.pt > 30"
        raise Mismatch(msg)
    if data.is_floating_point():
        msg = "a condition is needed here, such as Jet.pt > 30, not a number"
        raise Mismatch(msg)
    return data if data.dtype == torch.bool else data != 0


def _rank(mask: Tensor, *, from_end: bool) -> Tensor:
    if from_end:
        return mask.flip(1).cumsum(1).flip(1) - 1
    return mask.cumsum(1) - 1
