"""Events as the evaluator of expressions sees them: batches of tensors, and awkward arrays."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Set
from typing import Any, Protocol

import awkward as ak
import numpy as np
import torch
from torch import Tensor

from hepgan.errors import InputError
from hepgan.events.batch import EventBatch, Objects
from hepgan.events.buffers import ATTRIBUTE
from hepgan.events.schema import EventSchema, coordinates
from hepgan.observables.language import Expression

__all__ = ["AwkwardSource", "BatchSource", "Source", "chunked"]


class Source(Protocol):
    """Events as the evaluator sees them."""

    @property
    def names(self) -> Collection[str]:
        """The names of collections and scalars."""

    @property
    def schema(self) -> EventSchema | None:
        """What the events hold, if that is known."""

    def objects(self, name: str, fields: Set[str]) -> Objects | None:
        """The objects called so with those of the fields that they have; None if there are none."""

    def scalar(self, name: str) -> Tensor | None:
        """The number of the event called so, (N,); None if there is none."""


class BatchSource:
    """The events of a batch.

    Args:
        batch: The events.
    """

    def __init__(self, batch: EventBatch) -> None:
        self.batch = batch

    @property
    def names(self) -> Collection[str]:
        """The names of collections and scalars."""
        return (*self.batch.collections, *self.batch.scalars)

    @property
    def schema(self) -> EventSchema:
        """What the events hold."""
        return self.batch.schema

    def objects(self, name: str, fields: Set[str]) -> Objects | None:
        """The collection with those of the fields that are needed."""
        if name not in self.batch.collections:
            return None
        found: Objects = self.batch[name]
        return found.with_fields(needed(found.fields, fields))

    def scalar(self, name: str) -> Tensor | None:
        """The scalar called so."""
        return self.batch.scalars.get(name)


def needed(fields: Any, used: Set[str]) -> dict[str, Any]:
    """Of an object's fields, those that an expression uses and those that make the momentum."""
    keep = used | set(coordinates(tuple(fields)))
    return {n: fields[n] for n in fields if n in keep} or {n: fields[n] for n in list(fields)[:1]}


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

    @property
    def schema(self) -> EventSchema | None:
        """What the events hold, if they were read."""
        return self.events.attrs.get(ATTRIBUTE)  # type: ignore[no-any-return]

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
        lists = {n: column[n] for n in columns}
        for n, values in lists.items():
            if values.ndim != 2:
                msg = f"{name}.{n} is not one number for each object: {values.type.content}"
                raise InputError(msg, branch=f"{name}.{n}")
        counts = torch.tensor(ak.to_numpy(ak.num(column)), dtype=torch.int64)
        flat = {n: _tensor(ak.flatten(v, axis=1), f"{name}.{n}") for n, v in lists.items()}
        return Objects.of_lists(flat, counts, int(counts.max()) if len(counts) else 0)

    def scalar(self, name: str) -> Tensor | None:
        """The number of the event."""
        if name not in self._names or ak.fields(self.events[name]):
            return None
        return _tensor(self.events[name], name, shaped=True)

    def width(self, *expressions: Expression, pairs: bool = False) -> int:
        """The largest number of entries that expressions, or pairs of what they are, need for an event."""
        width = cells = 1
        used = frozenset().union(*(e.names for e in expressions))
        # Numbers of objects are called nMuon.
        for name in used | {name[1:] for name in used if name.startswith("n")}:
            if name in self._names:
                column = self.events[name]
                if ak.fields(column) and column.ndim > 1 and len(column):
                    width = max(width, int(ak.max(ak.num(column)) or 0))
                elif column.ndim > 1 and len(column):
                    contents = _tensor(column, name, shaped=True).flatten(1)
                    # Pairs are of those cells that are not 0.
                    cells = max(cells, contents.shape[1])
                    width = max(width, int((contents != 0).sum(1).max()))
        return max(cells, width * width if pairs or any(e.makes_pairs for e in expressions) else width)


def chunked(events: Any, *expressions: Expression, pairs: bool = False) -> Iterator[Any]:
    """Events, as many at a time as the expressions, or pairs of what they are, have room for."""
    rows = max(1, _ENTRIES // AwkwardSource(events).width(*expressions, pairs=pairs))
    for start in range(0, max(len(events), 1), rows):
        yield events[start : start + rows]


def _tensor(column: Any, name: str, *, shaped: bool = False) -> Tensor:
    try:
        values = ak.to_numpy(column, allow_missing=False)
    except (ValueError, TypeError):
        values = None
    if values is None or not (values.ndim == 1 or shaped) or values.dtype.kind not in "biuf":
        msg = f"{name} is not one number for each: {column.type.content}"
        raise InputError(msg, branch=name)
    kind = values.dtype.kind
    if kind == "b":
        return torch.tensor(values, dtype=torch.bool)
    # torch's whole numbers end before those of 64 bits without a sign
    real = kind == "f" or (
        values.dtype == np.uint64 and values.size and values.max() > np.iinfo(np.int64).max
    )
    return torch.from_numpy(values.astype(np.float64 if real else np.int64))
