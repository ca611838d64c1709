"""Which branch of a file cannot be read, and from which event on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from hepgan.errors import InputError
from hepgan.events.buffers import Buffer, concatenated
from hepgan.events.formats import Source
from hepgan.events.schema import Branch

__all__ = ["DamageError", "Readable", "Together", "unreadable"]

_TOGETHER = 200_000
"""Events of several sources that are looked at as one."""


class DamageError(InputError):
    """A branch that cannot be read."""


class Readable(Source):
    """Some branches of a source, whose errors name the one that is damaged and its first bad event.

    Args:
        source: The source, which is closed with this one.
        branches: The branches; all that the source has if None.
    """

    def __init__(self, source: Source, branches: Mapping[str, Branch] | None = None) -> None:
        self._source = source
        self.label, self.tree, self.entries = source.label, source.tree, source.entries
        self.branches = dict(source.branches if branches is None else branches)
        self.left_out, self.notes = source.left_out, source.notes
        self.header = source.header

    def read(self, names: Iterable[str], start: int, stop: int) -> dict[str, Buffer]:
        """The columns of some branches.

        Raises:
            InputError: If one is damaged, with the first event of the part of it that cannot be read.
        """
        wanted = list(dict.fromkeys(names))
        try:
            return self._source.read(wanted, start, stop)
        except InputError as error:
            if error.branch is None and (found := self._first(wanted, start, stop)) is not None:
                raise found from error
            raise

    def close(self) -> None:
        """Closes the source."""
        self._source.close()

    def _first(self, names: Iterable[str], start: int, stop: int) -> InputError | None:
        """The error of the first branch that cannot be read alone."""
        for name in names:
            error = self._error(name, start, stop)
            if error is not None:
                break
        else:
            return None
        if error.entry is not None:
            return error
        good, bad = start, stop  # what ends at `good` can be read, what ends at `bad` cannot
        while bad - good > 1:
            middle = (good + bad) // 2
            if (found := self._error(name, good, middle)) is None:
                good = middle
            else:
                bad, error = middle, found
        return DamageError(error.message, file=self.label, branch=name, entry=good)

    def _error(self, name: str, start: int, stop: int) -> InputError | None:
        try:
            self._source.read([name], start, stop)
        except InputError as error:
            return error
        return None


class Together(Source):
    """The first events of several sources as if they were one, the same number of each that has so many.

    Args:
        sources: The sources, which stay open.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        first = sources[0]
        self.label, self.tree, self.branches = first.label, first.tree, dict(first.branches)
        self.left_out, self.notes = first.left_out, first.notes
        share = -(-_TOGETHER // len(sources))
        self._parts = [(s, min(s.entries, share)) for s in sources]
        self.entries = sum(entries for _, entries in self._parts)

    def read(self, names: Iterable[str], start: int, stop: int) -> dict[str, Buffer]:
        """The columns of some branches."""
        wanted = list(dict.fromkeys(names))
        pieces: list[dict[str, Buffer]] = []
        before = 0
        for source, entries in self._parts:
            low, high = max(start - before, 0), min(stop - before, entries)
            before += entries
            if low < high or (not pieces and source is self._parts[-1][0]):
                pieces.append(source.read(wanted, low, max(low, high)))
        return {n: concatenated([piece[n] for piece in pieces]) for n in wanted}


def unreadable(source: Readable, names: Iterable[str], start: int, stop: int) -> dict[str, str]:
    """Of some branches, those that cannot be read, each with the reason."""
    found: dict[str, str] = {}
    for name in names:
        try:
            source.read([name], start, stop)
        except InputError as error:
            at = "" if error.entry is None else f" from event {error.entry} on"
            found[name] = f"{error.message}{at} in {source.label}"
    return found
