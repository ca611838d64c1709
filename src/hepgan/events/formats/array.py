"""Events of an array in memory."""

from __future__ import annotations

from collections.abc import Iterable

import awkward as ak

from hepgan.events.buffers import Buffer
from hepgan.events.formats.forms import FormSource, columns


class ArraySource(FormSource):
    """An array with one field for each branch, as uproot gives it."""

    def __init__(self, array: ak.Array, tree: str = "Events") -> None:
        self._array = array
        self.label, self.tree, self.entries = "the array", tree, len(array)
        self._take(ak.to_packed(array[:0]).layout.form)

    def read(self, names: Iterable[str], start: int, stop: int) -> dict[str, Buffer]:
        """The columns of some branches."""
        return columns(self._array[start:stop], list(names), self.label)
