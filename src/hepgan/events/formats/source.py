"""What a format of files reads and writes: a source of columns, and a sink for them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import ClassVar, NamedTuple, Self, TypeAlias

from hepgan.events.buffers import Buffer, Numbers
from hepgan.events.header import Header
from hepgan.events.schema import Branch, EventSchema

PathLike: TypeAlias = str | Path


class Source(ABC):
    """One file (or array) of events.

    Attributes:
        label: How errors name it: ``file.root:Events``.
        tree: The tree's name.
        entries: Number of events.
        branches: The branches that hold numbers, strings, or lists of numbers, in the file's order.
        left_out: Branches of other types.
        header: What it says of all events.
        root: Whether it is of a ROOT file.
        notes: What else is to be told of single branches.
    """

    label: str
    tree: str
    entries: int
    branches: dict[str, Branch]
    left_out: tuple[str, ...] = ()
    header: Header | None = None
    notes: Mapping[str, str] = MappingProxyType({})
    root: ClassVar[bool] = False

    @abstractmethod
    def read(self, names: Iterable[str], start: int, stop: int) -> dict[str, Buffer]:
        """The columns of some branches for events ``start`` to ``stop``.

        Raises:
            InputError: If the file is damaged.
        """

    def close(self) -> None:  # noqa: B027
        """Closes the file, where there is one."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Content(NamedTuple):
    """What a file is to hold.

    Attributes:
        schema: What its branches make.
        branches: Its branches, counters among them; jagged ones name their counter.
        tree: The tree's name.
        title: The tree's title.
    """

    schema: EventSchema
    branches: Sequence[Branch]
    tree: str
    title: str


class Sink(ABC):
    """An open file that takes batches of columns.

    Args:
        path: The file to be made.
        content: What it is to hold.
        level: Level of the compression.

    Attributes:
        root: Whether it is a ROOT file.
        nulls: Whether it knows null.
        nanoaod: Whether it can be as NanoAOD: with identifiers, and a place for ``Runs`` beside the events.
    """

    root: ClassVar[bool] = False
    nulls: ClassVar[bool] = False
    nanoaod: ClassVar[bool] = False

    @abstractmethod
    def __init__(self, path: Path, content: Content, level: int) -> None: ...

    @abstractmethod
    def write(self, columns: Mapping[str, Buffer]) -> None:
        """Writes one batch; all columns have the same number of events."""

    def add(self, tree: str, columns: Mapping[str, Numbers]) -> None:  # noqa: B027
        """Writes a tree of a few numbers beside all events; only in a ``nanoaod`` format."""

    @abstractmethod
    def close(self) -> None:
        """Completes the file."""


def brief(error: Exception) -> str:
    """What a library's error says, in a line."""
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {first}"[:200]
