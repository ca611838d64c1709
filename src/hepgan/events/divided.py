"""Events in portions, each a random part of all, so that one of them at a time has to be in memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from hepgan.errors import InputError, OutputError
from hepgan.events.buffers import ATTRIBUTE
from hepgan.events.inference import attach, complete, schema_of
from hepgan.events.schema import EventSchema

__all__ = ["LOOK", "DividedEvents", "Division", "numbers_in"]

_TOGETHER = 2**16
"""About so many events share a stream of random numbers."""

LOOK = 10_000
"""So many events tell how large events are."""


class Division:
    """Which portion each event is in: of as many in a row as there are portions, each is in another one.

    Args:
        portions: The number of portions.
        seed: Rules which is in which.
    """

    def __init__(self, portions: int, seed: int) -> None:
        self.portions, self._seed = portions, seed
        self._groups = -(-_TOGETHER // portions)

    def of(self, start: int, stop: int) -> NDArray[np.int64]:
        """The portions (stop - start,) of events, by their numbers."""
        each = self._groups * self.portions
        found = [self._block(b) for b in range(start // each, -(-stop // each))]
        first = start // each * each
        return np.concatenate(found)[start - first : stop - first] if found else np.empty(0, np.int64)

    def _block(self, number: int) -> NDArray[np.int64]:
        rng = np.random.default_rng((self._seed, number))
        return rng.random((self._groups, self.portions)).argsort(axis=1).reshape(-1)

    def rows(self, portion: int, events: int) -> NDArray[np.int64]:
        """The numbers of a portion's events, of so many in all."""
        step = self._groups * self.portions
        starts = range(0, events, step)
        parts = (np.flatnonzero(self.of(a, min(a + step, events)) == portion) + a for a in starts)
        return np.concatenate([np.empty(0, np.int64), *parts])


class DividedEvents:
    """Events in portions; of a few, one portion with all of them as they are.

    Args:
        division: Which portion each event is in.
        events: All events, if they are in memory.
        folder: Else where portions are to be, and :meth:`take` takes events.

    Attributes:
        events: The number of all events.
        folder: Where portions are, if not in memory.
        attrs: Of those in files the attributes that arrays of them have.
    """

    def __init__(
        self, division: Division, events: ak.Array | None = None, folder: Path | None = None
    ) -> None:
        self.division, self.folder = division, folder
        self._array, self.events = events, 0 if events is None else len(events)
        self._schema: EventSchema | None = None
        self.attrs: dict[str, Any] = {}

    def __len__(self) -> int:
        return self.division.portions

    def __getitem__(self, number: int) -> ak.Array:
        """The events of a portion, in their order; of those in files the first tells the schema of all.

        Raises:
            InputError: If there are none.
        """
        if self._array is not None:
            return self._array if len(self) == 1 else self._array[self.numbers(number)]
        pieces = list(_pieces(self._path(number)))
        if not pieces:
            msg = f"of {self.events} events there are none in portion {number + 1} of {len(self)}"
            raise InputError(msg)
        events = pieces[0] if len(pieces) == 1 else ak.concatenate(pieces, mergebool=True)
        if self._schema is None or not number:
            self._schema = complete(self.attrs[ATTRIBUTE], events)
        events.attrs = {**events.attrs, **self.attrs}
        attach(events, self._schema)
        return events

    def numbers(self, number: int) -> NDArray[np.int64]:
        """The numbers of a portion's events among all."""
        return self.division.rows(number, self.events)

    def take(self, chunks: Iterable[ak.Array], told: Callable[[int], None] | None = None) -> None:
        """Puts events into the files of their portions.

        Args:
            chunks: The events, some after others.
            told: Is told how many have been taken.

        Raises:
            OutputError: If a file cannot be written.
            InputError: As the chunks do, or if there are no events.
        """
        for chunk in chunks:
            self.attrs = self.attrs or {ATTRIBUTE: schema_of(chunk), **chunk.attrs}
            portions = self.division.of(self.events, self.events + len(chunk))
            order = np.argsort(portions, kind="stable")
            ends = np.searchsorted(portions[order], np.arange(len(self) + 1))
            for k, (start, stop) in enumerate(pairwise(ends.tolist())):
                if stop > start:
                    self._append(k, chunk[order[start:stop]])
            self.events += len(chunk)
            if told is not None:
                told(self.events)
        if not self.events:
            msg = "there are no events"
            raise InputError(msg)

    def _path(self, number: int) -> Path:
        if self.folder is None:
            msg = "these events are not in files"
            raise ValueError(msg)
        return self.folder / f"events-{number}"

    def _append(self, number: int, events: ak.Array) -> None:
        form, length, container = ak.to_buffers(ak.to_packed(events))
        arrays = {key: np.ascontiguousarray(values) for key, values in container.items()}
        named = [[key, values.dtype.str, values.nbytes] for key, values in arrays.items()]
        head = json.dumps({"form": form.to_dict(), "length": length, "arrays": named})
        path = self._path(number)
        try:
            with path.open("ab") as file:
                file.write(head.encode() + b"\n")
                for values in arrays.values():
                    file.write(values.reshape(-1).view(np.uint8).data)
        except OSError as error:
            msg = f"events on their way to a training cannot be kept: {error.strerror or error}"
            raise OutputError(msg, file=path) from error


def _pieces(path: Path) -> Iterator[ak.Array]:
    """What was written to a portion's file, one piece after another."""
    if not path.exists():
        return
    with path.open("rb") as file:
        while line := file.readline():
            head = json.loads(line)
            container = {
                key: np.frombuffer(bytearray(file.read(size)), dtype) for key, dtype, size in head["arrays"]
            }
            yield ak.from_buffers(ak.forms.from_dict(head["form"]), head["length"], container)


def numbers_in(events: ak.Array) -> int:
    """How many numbers an event takes as a row of tensors, by its first ten thousand."""
    return max(1, _width(ak.to_layout(events[:LOOK])))


def _width(layout: Any) -> int:
    """The numbers in a row that has room for any element of a layout."""
    if layout.is_option or layout.is_indexed:
        return _width(layout.project())
    if layout.is_record:
        return sum(map(_width, layout.contents))
    if layout.is_list and layout.parameter("__array__") not in ("string", "bytestring"):
        lengths = ak.num(ak.Array(layout), axis=1)
        return (int(ak.max(lengths)) if len(lengths) else 0) * _width(layout.content)
    return int(np.prod(layout.inner_shape)) if layout.is_numpy else 1
