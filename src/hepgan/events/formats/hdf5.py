"""HDF5 files: datasets of one length are columns."""

from __future__ import annotations

import io
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import awkward as ak
import numpy as np

from hepgan.errors import InputError, OutputError
from hepgan.events.buffers import Buffer, Jagged, Numbers, buffer
from hepgan.events.formats.source import Content, Sink, Source, brief
from hepgan.events.schema import Branch

_INSTALL = 'HDF5 files need h5py: pip install "hepgan[hdf5]"'
_TOP = "Events"
"""What the tree is called of datasets that are in no group."""


class _Column(NamedTuple):
    """Where a column is: a dataset, in it a member; ``alone`` where each event has an array of one number."""

    dataset: str
    member: str | None = None
    alone: bool = False


class HDF5Source(Source):
    """The datasets of one length in a group; of a compound dataset each member is a column.

    A dataset (N, K) is a column of arrays of one size; lists of several lengths are lists.

    Args:
        path: The file.
        group: The group, or a compound dataset; None for the only one with datasets of several events, the
            file's own being the first to be looked at.

    Raises:
        InputError: If it is not whole, or has no such group, or none that can be told.
    """

    def __init__(self, path: str, group: str | None) -> None:
        try:
            import h5py
        except ImportError as error:
            raise InputError(_INSTALL, file=path) from error
        try:
            self._file = h5py.File(path, "r")
        except OSError as error:
            size = Path(path).stat().st_size
            what = f"not a whole HDF5 file ({brief(error)})" if size else "the file is empty (0 bytes)"
            raise InputError(what, file=path) from error
        chosen = _chosen(self._file, group, path)
        self._group = self._file if chosen == "/" else self._file[chosen]
        self.tree = _TOP if chosen == "/" else chosen
        self.label = path if chosen == "/" else f"{path}:{chosen}"
        datasets = (
            {chosen: self._group} if isinstance(self._group, h5py.Dataset) else dict(_datasets(self._group))
        )
        self._alone = isinstance(self._group, h5py.Dataset)
        lengths = Counter(d.shape[0] for d in datasets.values())
        # What is of another length, such as names of columns, is of no events.
        self.entries = max(lengths, key=lambda n: (lengths[n], n))
        self.branches, left_out = {}, []
        self._columns: dict[str, _Column] = {}
        for name, dataset in datasets.items():
            found = list(self._described(name, dataset)) if len(dataset) == self.entries else []
            left_out += [] if found else [name]
            for branch, column in found:
                self.branches[branch.name], self._columns[branch.name] = branch, column
        self.left_out = tuple(left_out)

    def _described(self, name: str, dataset: Any) -> Iterator[tuple[Branch, _Column]]:
        title = dataset.attrs.get("title", "")
        title = title if isinstance(title, str) else ""
        if dataset.dtype.names is None:
            yield from _columns(name, _Column(name), dataset.dtype, dataset.shape[1:], title)
            return
        for member in dataset.dtype.names:
            base, shape = _split(dataset.dtype[member])
            own = member if self._alone else f"{name}.{member}"
            yield from _columns(own, _Column(name, member), base, (*dataset.shape[1:], *shape), "")

    def read(self, names: Iterable[str], start: int, stop: int) -> dict[str, Buffer]:
        """The columns of some branches."""
        result: dict[str, Buffer] = {}
        read: dict[tuple[str, str | None], Any] = {}
        for name in dict.fromkeys(names):
            dataset, member, alone = self._columns[name]
            try:
                if (dataset, member) not in read:
                    read[dataset, member] = self._slab(dataset, member, start, stop)
                values = read[dataset, member]
                result[name] = _buffer(values[:, 0] if alone else values)
            except Exception as error:
                message = f"damaged or truncated ({brief(error)})"
                raise InputError(message, file=self.label, branch=name) from error
        return result

    def _slab(self, name: str, member: str | None, start: int, stop: int) -> Any:
        dataset = self._group if self._alone else self._group[name]
        if member is not None:
            return dataset.fields(member)[start:stop]
        return (
            dataset.asstr()[start:stop]
            if dataset.dtype.kind == "O" and _is_text(dataset.dtype)
            else dataset[start:stop]
        )

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def _chosen(file: Any, group: str | None, path: str) -> str:
    """The path of the group or compound dataset that is meant; ``/`` for the file itself."""
    import h5py

    there = ["/"] if any(_datasets(file)) else []
    groups: list[str] = []
    file.visititems(lambda name, item: groups.append(name) if isinstance(item, h5py.Group) else None)
    there += [name for name in groups if any(_datasets(file[name]))]
    listed = ", ".join(there) or "none"
    if group is not None:
        name = group.strip("/") or "/"
        if name == _TOP and name not in file and "/" in there:
            return "/"
        if name in there or (
            name in file and isinstance(file[name], h5py.Dataset) and file[name].dtype.names
        ):
            return name
        message = f"no group {group!r} with datasets; there are: {listed}"
        raise InputError(message, file=path)
    if "/" in there or len(there) == 1:
        return there[0]
    if _TOP in there:
        return _TOP
    message = f"which group? It has {listed}; write {path}:GROUP" if there else "it holds no datasets"
    raise InputError(message, file=path)


def _datasets(group: Any) -> Iterator[tuple[str, Any]]:
    """The datasets right in a group that have an axis of events."""
    import h5py

    for name, item in group.items():
        if isinstance(item, h5py.Dataset) and item.shape:
            yield name, item


def _split(dtype: Any) -> tuple[Any, tuple[int, ...]]:
    return (dtype, ()) if dtype.subdtype is None else dtype.subdtype


def _columns(
    name: str, column: _Column, dtype: Any, shape: tuple[int, ...], title: str
) -> Iterator[tuple[Branch, _Column]]:
    """The branches that numbers of a type and a shape in each event make; none of other types."""
    import h5py

    inner = h5py.check_vlen_dtype(dtype)
    if inner is not None and inner is not str and not shape and np.dtype(inner).kind in "biuf":
        yield Branch(name, np.dtype(inner).name, jagged=True, title=title), column
        return
    text = _is_text(dtype)
    if not text and (dtype.kind not in "biuf" or dtype.names is not None):
        return
    kind = "string" if text else dtype.name.replace("float16", "float32")
    if not shape or shape == (1,):
        yield Branch(name, kind, title=title), column._replace(alone=bool(shape))
    elif not text and 0 not in shape:
        yield Branch(name, kind, title=title, shape=shape), column


def _is_text(dtype: Any) -> bool:
    import h5py

    return dtype.kind == "S" or h5py.check_string_dtype(dtype) is not None


def _buffer(values: Any) -> Buffer:
    if values.dtype.kind == "S":
        return np.asarray(np.char.decode(values, "utf-8", "replace"))
    if values.dtype.kind != "O":
        # There are numbers in the byte order of other machines.
        wide = (
            "f4"
            if values.dtype.kind == "f" and values.dtype.itemsize == 2
            else values.dtype.newbyteorder("=")
        )
        return np.asarray(values, dtype=wide)
    if len(values) and isinstance(values[0], np.ndarray):
        offsets = np.concatenate([[0], np.cumsum([len(v) for v in values])]).astype(np.int64)
        return Jagged(offsets, np.concatenate(values))
    words = [v.decode(errors="replace") if isinstance(v, bytes) else v for v in values.tolist()]
    return buffer(ak.to_layout(ak.from_iter(words))) if words else np.zeros(0, "U1")


class HDF5Sink(Sink):
    """An HDF5 file with a dataset for each branch, in a group that is called as the tree.

    Where the tree is called ``Events``, they are in the file itself.
    """

    def __init__(self, path: Path, content: Content, level: int) -> None:
        try:
            import h5py
        except ImportError as error:
            raise OutputError(_INSTALL, file=path) from error
        self._bytes = _Written(path, "w+b")
        self._file = h5py.File(self._bytes, "w", track_order=True)
        group = (
            self._file if content.tree == _TOP else self._file.create_group(content.tree, track_order=True)
        )
        group.attrs["title"] = content.title
        self._datasets: dict[str, Any] = {}
        self._size = 0
        for b in content.branches:
            kind: Any = h5py.string_dtype() if b.dtype == "string" else np.dtype(b.dtype)
            array = b.shape
            plain = b.dtype != "string" and not b.jagged
            made = group.create_dataset(
                b.name,
                (0, *array),
                h5py.vlen_dtype(kind) if b.jagged else kind,
                maxshape=(None, *array),
                chunks=(max(1, 16_384 // math.prod(array)), *array),
                compression="gzip" if plain else None,
                compression_opts=min(level, 9) if plain else None,
                shuffle=plain,
            )
            if b.title:
                made.attrs["title"] = b.title
            self._datasets[b.name] = made

    def write(self, columns: Mapping[str, Buffer]) -> None:
        """Adds one batch to each dataset."""
        start, size = self._size, len(next(iter(columns.values())))
        for name, dataset in self._datasets.items():
            dataset.resize(start + size, axis=0)
            dataset[start:] = _stored(columns[name])
        self._bytes.told()
        self._size += size

    def close(self) -> None:
        """Completes the file."""
        self._file.close()
        self._bytes.close()
        self._bytes.told()


class _Written(io.FileIO):
    """What HDF5 writes into, which does not survive an error: it is kept, and raised outside."""

    error: OSError | None = None

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        if self.error is None:
            try:
                done = super().write(data)
                while done < size:  # what is written in part is written on, or is the error
                    done += super().write(memoryview(data).cast("B")[done:])
            except OSError as error:
                self.error = error
        return size

    def truncate(self, size: int | None = None) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self.error = self.error or error
            return size or 0

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        done = super().readinto(view) or 0
        view[done:] = bytes(len(view) - done)
        return len(view)

    def told(self) -> None:
        """Raises the error that there was."""
        if self.error is not None:
            raise self.error


def _stored(values: Buffer) -> Numbers:
    if isinstance(values, Jagged):
        lists = np.empty(len(values), object)
        lists[:] = np.split(values.content, values.offsets[1:-1])
        return lists
    return values.astype(object) if values.dtype.kind == "U" else values
