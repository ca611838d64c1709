"""Awkward arrays as the tensors that expressions are evaluated on, and back."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Set
from typing import Any

import awkward as ak
import numpy as np
import torch
from torch import Tensor

from hepgan.errors import InputError
from hepgan.events.batch import Objects
from hepgan.observables.evaluate import evaluate, evaluate_weighted, needed
from hepgan.observables.language import Expression
from hepgan.observables.values import Values

__all__ = ["AwkwardSource", "evaluate_awkward", "weighted_awkward"]

# so many padded entries are held at a time
_ENTRIES = 2**20


class AwkwardSource:
    """The events of an awkward array; columns become tensors when they are asked for.

    Args:
        events: Records with one field for each collection and scalar.
    """

    def __init__(self, events: Any) -> None:
        self.events = events
        self._names: tuple[str, ...] = tuple(ak.fields(events))
        self._found: dict[str, Objects | None] = {}

    @property
    def names(self) -> Collection[str]:
        """The names of collections and scalars."""
        return self._names

    def objects(self, name: str, fields: Set[str]) -> Objects | None:
        """The collection, padded to the largest number of objects; made once."""
        if name not in self._found:
            self._found[name] = self._make(name, fields)
        return self._found[name]

    def _make(self, name: str, fields: Set[str]) -> Objects | None:
        if name not in self._names or not ak.fields(self.events[name]):
            return None
        column = self.events[name]
        columns = needed({n: n for n in ak.fields(column)}, fields)
        if column.ndim == 1:
            return Objects({n: _tensor(column[n], f"{name}.{n}") for n in columns})
        counts = ak.to_numpy(ak.num(column))
        width = int(counts.max(initial=0))
        mask = np.arange(width) < counts[:, None]
        full = bool(mask.all())
        padded = {n: _padded(column[n], mask, full, f"{name}.{n}") for n in columns}
        return Objects(padded, None if full else torch.from_numpy(mask))

    def scalar(self, name: str) -> Tensor | None:
        """The number of the event."""
        if name not in self._names or ak.fields(self.events[name]):
            return None
        return _tensor(self.events[name], name)

    def width(self, *expressions: Expression) -> int:
        """The largest number of entries that the expressions need for an event."""
        width = 1
        used = frozenset().union(*(e.names for e in expressions))
        for name in self._names:
            if name in used or f"n{name}" in used:
                column = self.events[name]
                if ak.fields(column) and column.ndim > 1 and len(column):
                    width = max(width, int(ak.max(ak.num(column)) or 0))
        return width * width if any(e.makes_pairs for e in expressions) else width


def evaluate_awkward(expression: Expression, events: Any) -> Any:
    """The values of an expression for an awkward array, computed in float64.

    Args:
        expression: A parsed expression.
        events: N events.

    Returns:
        An ak.Array of N numbers (None where missing), or of N lists.

    Raises:
        RecipeError: If the expression does not fit the events.
        InputError: If a column that it uses is not made of numbers.
    """
    rows = max(1, _ENTRIES // AwkwardSource(events).width(expression))
    parts = [_back(evaluate(expression, AwkwardSource(part))) for part in _chunks(events, rows)]
    return parts[0] if len(parts) == 1 else ak.concatenate(parts)


def weighted_awkward(expression: Expression, weight: Expression, events: Any) -> tuple[Any, Any]:
    """As `evaluate_awkward`, with the weights of the values, an array of the same type.

    Raises:
        RecipeError: If an expression does not fit the events, or the weight not the values.
        InputError: If a column that they use is not made of numbers.
    """
    rows = max(1, _ENTRIES // AwkwardSource(events).width(expression, weight))
    parts = []
    for part in _chunks(events, rows):
        values, factors = evaluate_weighted(expression, weight, AwkwardSource(part))
        parts.append((_back(values), _back(Values(factors, values.mask))))
    if len(parts) == 1:
        return parts[0]
    return ak.concatenate([v for v, _ in parts]), ak.concatenate([w for _, w in parts])


def _chunks(events: Any, rows: int) -> Iterator[Any]:
    for start in range(0, max(len(events), 1), rows):
        yield events[start : start + rows]


def _tensor(column: Any, name: str) -> Tensor:
    try:
        values = ak.to_numpy(column, allow_missing=False)
    except (ValueError, TypeError):
        values = None
    if values is None or values.ndim != 1 or values.dtype.kind not in "biuf":
        msg = f"{name} is not one number for each: {column.type.content}"
        raise InputError(msg, branch=name)
    kind = values.dtype.kind
    if kind == "b":
        return torch.tensor(values, dtype=torch.bool)
    return torch.from_numpy(values.astype(np.float64 if kind == "f" else np.int64))


def _padded(column: Any, mask: Any, full: bool, name: str) -> Tensor:
    if column.ndim != 2:
        msg = f"{name} is not one number for each object: {column.type.content}"
        raise InputError(msg, branch=name)
    values = _tensor(ak.flatten(column, axis=1), name)
    if full:
        return values.reshape(mask.shape)
    return torch.zeros(mask.shape, dtype=values.dtype).masked_scatter_(torch.from_numpy(mask), values)


def _back(values: Values) -> Any:
    data, mask = values
    array = data.numpy()
    if mask is None:
        return ak.Array(array) if data.ndim == 1 else ak.from_regular(ak.Array(array))
    exists = mask.numpy()
    if data.ndim == 1:
        return ak.mask(ak.Array(array), exists)
    return ak.unflatten(array[exists], exists.sum(1))
