"""Which source reads a file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import uproot

from hepgan.errors import InputError
from hepgan.events.buffers import Buffer
from hepgan.events.formats.arrow import FeatherSource
from hepgan.events.formats.csv import CSVSource
from hepgan.events.formats.hdf5 import HDF5Source
from hepgan.events.formats.hepmc import HepMCSource
from hepgan.events.formats.lhe import LHESource
from hepgan.events.formats.names import Format, all_endings, format_of
from hepgan.events.formats.parquet import ParquetSource
from hepgan.events.formats.rntuple import RNTupleSource
from hepgan.events.formats.source import Source, brief
from hepgan.events.formats.ttree import TTreeSource

_kept: list[dict[tuple[str, str | None], Source]] = []
"""Files that `kept_open` holds, by path and tree."""

_MOST_KEPT = 16


@contextmanager
def kept_open() -> Iterator[None]:
    """Files that are opened within are opened once each, and closed at the end.

    To open a file of a thousand branches takes seconds. What is open may be read by one thread at a time.
    """
    held: dict[tuple[str, str | None], Source] = {}
    _kept.append(held)
    try:
        yield
    finally:
        _kept.remove(held)
        for source in held.values():
            source.close()


class _Held(Source):
    """A source that stays open."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.label, self.tree, self.entries = source.label, source.tree, source.entries
        self.branches, self.left_out, self.notes = dict(source.branches), source.left_out, source.notes

    def read(self, names: Iterable[str], start: int, stop: int) -> dict[str, Buffer]:
        return self._source.read(names, start, stop)


def open_source(path: str, tree: str | None) -> Source:
    """Opens a file, or takes one that `kept_open` holds.

    Args:
        path: A file of any of the formats.
        tree: The tree or RNTuple, or the group of an HDF5 file; None for the only one, or for ``Events``
            among several.

    Raises:
        InputError: If it cannot be opened, or has no such tree.
    """
    held = _kept[-1] if _kept else {}
    if (path, tree) in held:
        return _Held(held[path, tree])
    source = _open(path, tree)
    if not _kept or len(held) >= _MOST_KEPT:
        return source
    held[path, tree] = source
    return _Held(source)


def _open(path: str, tree: str | None) -> Source:
    found = _format(path)
    if "://" in path and found not in _BY_URL:
        message = f"a {found} file is not read by its URL, as ROOT and Parquet files are; copy it here"
        raise InputError(message, file=path)
    if found in _WITH_TREES:
        return _WITH_TREES[found](path, tree)
    source = _SOURCES.get(found)
    return _open_root(path, tree) if source is None else source(path)


_SOURCES: dict[Format, Callable[[str], Source]] = {
    "parquet": ParquetSource,
    "feather": FeatherSource,
    "csv": CSVSource,
    "lhe": LHESource,
}
_BY_URL: tuple[Format, ...] = ("ttree", "rntuple", "parquet")
_WITH_TREES: dict[Format, Callable[[str, str | None], Source]] = {"hdf5": HDF5Source, "hepmc": HepMCSource}


def _open_root(path: str, tree: str | None) -> Source:
    file, trees = _opened(path)
    chosen = tree
    if chosen is None and len(trees) != 1:
        chosen = "Events" if "Events" in trees else None
    elif chosen is None:
        chosen = next(iter(trees))
    listed = ", ".join(trees) or "none"
    if chosen is None:
        message = f"which tree? It has {listed}; write {path}:TREE" if trees else "it holds no tree"
        raise InputError(message, file=path)
    if chosen not in trees:
        message = f"no tree {chosen!r}; the trees are: {listed}"
        raise InputError(message, file=path)
    label = f"{path}:{chosen}"
    try:
        kind = RNTupleSource if "RNTuple" in trees[chosen] else TTreeSource
        return kind(file, file[chosen], chosen, label)
    except Exception as error:
        raise InputError(f"damaged or truncated ({brief(error)})", file=label) from error  # noqa: EM102


def tree_names(path: str) -> tuple[str, ...] | None:
    """The names of the trees and RNTuples of a ROOT file; None for other formats, where a file is one.

    Raises:
        InputError: If it cannot be opened.
    """
    if _format(path) != "ttree":
        return None
    file, trees = _opened(path)
    file.close()
    return tuple(trees)


def _format(path: str) -> Format:
    """The format of what can be read.

    Raises:
        InputError: If it is no file, or of no format.
    """
    if os.path.isdir(path):
        message = "is a folder; name its files, or use a glob such as folder/*.root"
        raise InputError(message, file=path)
    if os.path.exists(path) and not os.path.isfile(path):
        message = "is no file that can be read twice, but a pipe or a device; copy it into a file"
        raise InputError(message, file=path)
    found = format_of(path)
    if "://" in path:
        return found or "ttree"
    if found is None and os.path.getsize(path):
        message = f"no file of events that hepgan knows; their names end in {all_endings()}"
        raise InputError(message, file=path)
    return found or "ttree"


def _opened(path: str) -> tuple[Any, dict[str, str]]:
    """An open ROOT file, and the kinds of its trees by name."""
    try:
        file = uproot.open(path)
        end, size = int(file.file.fEND), os.path.getsize(path) if os.path.exists(path) else None
        names = file.classnames(recursive=True, cycle=False)
    except Exception as error:
        raise InputError(_opening(path, error), file=path) from error
    if size is not None and size < end:
        message = f"truncated: {size} of {end} bytes are there"
        raise InputError(message, file=path)
    return file, {
        name: kind
        for name, kind in names.items()
        if kind in ("TTree", "TNtuple", "TNtupleD", "TChain") or "RNTuple" in kind
    }


def _opening(path: str, error: Exception) -> str:
    with suppress(OSError):
        size = Path(path).stat().st_size
        with Path(path).open("rb") as handle:
            magic = handle.read(4)
        if size == 0:
            return "the file is empty (0 bytes)"
        if magic != b"root":
            return "not a ROOT file"
        return f"damaged or truncated ({brief(error)})"
    return f"cannot be opened ({brief(error)})"
