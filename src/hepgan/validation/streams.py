"""Files of events, chunk by chunk."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import awkward as ak
import numpy as np

from hepgan.errors import InputError
from hepgan.events import iterate_events, schema_of
from hepgan.events.checks import find_faults
from hepgan.events.schema import EventSchema

__all__ = ["Paths", "Stream", "names_of"]

Paths = str | Path | Sequence[str | Path]


class Stream:
    """The chunks of some files, with the schema of the first.

    Args:
        paths: The files.
        step: Events in a chunk.
        schema: What they hold; inferred from them if None.
        on_bad: Whether events with NaN, E < abs(p) and the like are an error, or judged like others and
            counted in a warning.
        hint: What an error about such events adds.

    Attributes:
        first: The first chunk.
        schema: What the events hold.
        faults: With ``keep``, the number of events for each fault (an event counts for its first one).

    Raises:
        InputError: If there are no events, or they cannot be read.
    """

    def __init__(
        self,
        paths: Paths,
        step: int,
        schema: EventSchema | None,
        *,
        on_bad: Literal["raise", "keep"] = "raise",
        hint: str = "",
    ) -> None:
        self._files, self._keep, self._hint = ", ".join(names_of(paths)), on_bad == "keep", hint
        self._chunks = self._hinted(lambda: iterate_events(paths, step=step, schema=schema, on_bad=on_bad))
        self.faults: dict[str, int] = {}
        first = next(self._chunks, None)
        if first is None:
            msg = "there are no events to compare"
            raise InputError(msg, file=self._files)
        self.first: ak.Array = first
        self.schema = schema_of(first)

    def _hinted(self, read: Callable[[], Iterator[ak.Array]]) -> Iterator[ak.Array]:
        try:
            yield from read()
        except InputError as error:
            if error.entry is None or not self._hint:
                raise
            message = f"{error.message}; {self._hint}"
            raise InputError(message, file=error.file, branch=error.branch, entry=error.entry) from error

    def __iter__(self) -> Iterator[tuple[ak.Array, None]]:
        total = len(self.first)
        yield self._counted(self.first), None
        for chunk in self._chunks:
            total += len(chunk)
            yield self._counted(chunk), None
        if self.faults:
            reasons = "; ".join(f"{number} for {reason}" for reason, number in self.faults.items())
            message = (
                f"{self._files}: judged {sum(self.faults.values())} of {total} events all the same: {reasons}"
            )
            warnings.warn(message, UserWarning, stacklevel=2)

    def _counted(self, events: ak.Array) -> ak.Array:
        if self._keep:
            bad = np.zeros(len(events), bool)
            for fault in find_faults(events, schema_of(events), self._files):
                new = int((fault.bad & ~bad).sum())
                if new:
                    key = f"{fault.branch} {fault.reason}"
                    self.faults[key] = self.faults.get(key, 0) + new
                bad |= fault.bad
        return events


def names_of(paths: Paths) -> list[str]:
    """The files' names as given."""
    return [str(paths)] if isinstance(paths, str | Path) else [str(p) for p in paths]
