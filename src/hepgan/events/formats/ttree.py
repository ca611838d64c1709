"""TTrees of ROOT files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import uproot

from hepgan.errors import InputError, OutputError
from hepgan.events.buffers import Buffer, Jagged, Numbers
from hepgan.events.formats.forms import columns, layout, listed
from hepgan.events.formats.source import Content, Sink, Source, brief
from hepgan.events.schema import Branch


class TTreeSource(Source):
    """A TTree of an open file."""

    root = True

    def __init__(self, file: Any, tree: Any, name: str, label: str) -> None:
        self._file, self._tree = file, tree
        self.label, self.tree, self.entries = label, name, int(tree.num_entries)
        self.branches = {}
        left_out = []
        for b in tree.itervalues(recursive=True):
            if len(b.branches):
                continue
            described = _describe(b) if b.name else None
            if described is None:
                left_out.append(b.name or "(a branch without a name)")
            else:
                self.branches.setdefault(b.name, described)
        self.left_out = tuple(left_out)

    def read(self, names: Iterable[str], start: int, stop: int) -> dict[str, Buffer]:
        """The columns of some branches."""
        wanted = list(dict.fromkeys(names))
        try:
            chosen = set(wanted)
            array = self._tree.arrays(
                filter_branch=lambda b: b.name in chosen, entry_start=start, entry_stop=stop, library="ak"
            )
        except Exception as error:
            raise InputError(f"damaged or truncated ({brief(error)})", file=self.label) from error  # noqa: EM102
        return columns(array, wanted, self.label)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def _describe(branch: Any) -> Branch | None:
    kind = branch.interpretation
    title = str(branch.title)
    if re.fullmatch(rf"{re.escape(branch.name)}(\[\w*\])*/[A-Za-z]", title) or title == branch.name:
        title = ""
    if isinstance(kind, uproot.AsStrings):
        return Branch(branch.name, "string", title=title)
    jagged = isinstance(kind, uproot.AsJagged)
    flat = kind.content if jagged else kind
    if type(flat) is not uproot.AsDtype:
        return None
    dtype = np.dtype(flat.to_dtype)
    if dtype.shape or dtype.names or dtype.kind not in "biuf":
        return None
    counter = branch.count_branch
    return Branch(branch.name, dtype.name, jagged, None if counter is None else counter.name, title)


class TTreeSink(Sink):
    """A TTree, with counters shared by the branches of a collection, as in NanoAOD."""

    root = True
    nanoaod = True

    def __init__(self, path: Path, content: Content, level: int) -> None:
        branches = content.branches
        bracketed = next((b.name for b in branches if set(b.name) & set("[]")), None)
        if bracketed is not None:
            message = "a TTree takes brackets in a name for the size of an array; write an RNTuple or Parquet"
            raise OutputError(message, file=path, branch=bracketed)
        # One record for each counter, so that uproot counts once for all branches of a collection.
        self._groups: dict[str, list[str]] = {}
        for b in branches:
            if b.jagged:
                self._groups.setdefault(str(b.counter), []).append(b.name)
        kinds = {b.name: ak.types.NumpyType(b.dtype) for b in branches if b.jagged}
        text = ak.types.ListType(ak.types.NumpyType("uint8"), parameters={"__array__": "string"})
        self._flat = [b.name for b in branches if not b.jagged and b.name not in self._groups]
        flat = {b.name: text if b.dtype == "string" else np.dtype(b.dtype) for b in branches}
        types: dict[str, Any] = {name: flat[name] for name in self._flat}
        for counter, names in self._groups.items():
            types[_key(counter)] = ak.types.ListType(ak.types.RecordType([kinds[n] for n in names], names))
        self._file = uproot.recreate(path, compression=uproot.ZSTD(level))
        # A capacity of one basket makes uproot write the branches' descriptions once more before the first
        # basket, and with them the titles and counter types, for which it has no arguments.
        self._tree = self._file.mktree(
            content.tree,
            types,
            content.title,
            counter_name=_counter_of,
            field_name=lambda _, name: name,
            initial_basket_capacity=1,
        )
        described = {b.name: b for b in branches}
        for datum in self._tree._cascading._branch_data:
            if datum["kind"] == "record":
                continue
            branch = described[datum["fName"]]
            if datum["kind"] == "counter":
                datum["dtype"] = np.dtype(branch.dtype).newbyteorder(">")
                letter = "bBsSiIlL"[2 * (datum["dtype"].itemsize.bit_length() - 1) + (branch.dtype[0] != "u")]
                datum["fTitle"] = f"{branch.name}/{letter}"
            if branch.title:
                datum["fTitle"] = branch.title

    def write(self, columns: Mapping[str, Buffer]) -> None:
        """Writes one basket of each branch."""
        data = {n: ak.Array(layout(v)) if _is_text(v := columns[n]) else v for n in self._flat}
        for counter, names in self._groups.items():
            lists = [columns[n] for n in names]
            contents = [layout(v.content) for v in lists if isinstance(v, Jagged)]
            record = ak.contents.RecordArray(contents, names)
            data[_key(counter)] = ak.Array(listed(lists[0], record))
        if not self._tree.num_entries:
            # ROOT takes clusters from this number, and would see a small tree as one; all but the last batch
            # are alike.
            self._tree._cascading._metadata["fAutoFlush"] = len(next(iter(data.values())))
        self._tree.extend(data)

    def add(self, tree: str, columns: Mapping[str, Numbers]) -> None:
        """Writes another TTree."""
        self._file.mktree(tree, {n: v.dtype for n, v in columns.items()}).extend(dict(columns))

    def close(self) -> None:
        """Completes the file."""
        self._file.close()


def _key(counter: str) -> str:
    return f"objects of {counter}"


def _counter_of(key: str) -> str:
    return key.removeprefix("objects of ")


def _is_text(values: Buffer) -> bool:
    return isinstance(values, np.ndarray) and values.dtype.kind == "U"
