"""Events of an array in memory."""

from __future__ import annotations

import awkward as ak

from hepgan.events.formats.forms import FormSource


class ArraySource(FormSource):
    """An array with one field for each branch, as uproot gives it."""

    def __init__(self, array: ak.Array, tree: str = "Events") -> None:
        self._events = array
        self.label, self.tree, self.entries = "the array", tree, len(array)
        self._take(ak.to_packed(array[:0]).layout.form)

    def _array(self, names: list[str], start: int, stop: int) -> ak.Array:
        return self._events[start:stop]
