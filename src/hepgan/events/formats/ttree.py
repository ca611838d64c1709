"""TTrees of ROOT files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import uproot
from uproot.interpretation.numerical import TruncatedNumerical

from hepgan.errors import InputError, OutputError
from hepgan.events.buffers import Buffer, Jagged, Numbers
from hepgan.events.formats.forms import columns, layout, listed
from hepgan.events.formats.nested import LOOK, array_in, as_array, is_nested, told
from hepgan.events.formats.source import Content, Sink, Source, brief
from hepgan.events.schema import Branch

_FEW = 20
"""A share of the branches that is one in so many is read branch by branch."""


class TTreeSource(Source):
    """A TTree of an open file."""

    root = True

    def __init__(self, file: Any, tree: Any, name: str, label: str) -> None:
        self._file, self._tree = file, tree
        self.label, self.tree, self.entries = label, name, int(tree.num_entries)
        self.branches = {}
        self._where: dict[str, tuple[Any, str]] = {}
        self._nested: dict[str, Branch] = {}
        left_out: list[str] = []
        notes: dict[str, str] = {}
        for key, b in tree.iteritems(recursive=True):
            if len(b.branches):
                continue
            described = _describe(b) if b.name else []
            if not described and b.name and (lists := self._lists(b)) is not None:
                described = [lists]
                self._nested[b.name], notes[b.name] = lists, told(lists.shape)
            # In an array, leaves and members are parts of a record; sizes in brackets are parts of names.
            inside = [d.name if d.name.startswith(b.name) else b.name for d in described]
            if not described:
                left_out.append(b.name or "(a branch without a name)")
            if described and described[0].name in self.branches:
                # Members of objects that are stored alike are told apart by whose they are.
                owner = key.replace("/", ".").removesuffix(b.name)
                described = [replace(d, name=f"{owner}{d.name}") for d in described]
            for d, path in zip(described, inside, strict=True):
                if d.name not in self.branches:
                    self.branches[d.name] = d
                    self._where[d.name] = b, path
            if len(described) > 1:
                notes |= dict.fromkeys((d.name for d in described), "written as branches of their own")
            elif described and isinstance(_flat(b.interpretation), TruncatedNumerical):
                notes[described[0].name] = f"written as {described[0].dtype}"
        self.left_out, self.notes = tuple(left_out), notes

    def read(self, names: Iterable[str], start: int, stop: int) -> dict[str, Buffer]:
        """The columns of some branches."""
        found: dict[str, Buffer] = {}
        wanted = dict.fromkeys(names)
        while wanted:
            # Of branches of the same name, one at a time.
            chosen: dict[str, Any] = {}
            owners = {n: self._where[n][0] for n in wanted}
            now = [n for n, b in owners.items() if chosen.setdefault(b.name, b) is b]
            found |= self._read(now, chosen, start, stop)
            wanted = dict.fromkeys(n for n in wanted if n not in found)
        return found

    def _read(self, names: list[str], chosen: Mapping[str, Any], start: int, stop: int) -> dict[str, Buffer]:
        ids = {id(b) for b in chosen.values()}
        part = {"entry_start": start, "entry_stop": stop, "library": "ak"}
        try:
            if len(chosen) * _FEW < len(self._where):  # to look for them takes longer than to read them
                each = [ak.to_layout(b.array(**part)) for b in chosen.values()]
                array = ak.Array(ak.contents.RecordArray(each, list(chosen)))
            else:
                array = self._tree.arrays(filter_branch=lambda b: id(b) in ids, **part)
        except Exception as error:
            raise InputError(f"damaged or truncated ({brief(error)})", file=self.label) from error  # noqa: EM102
        inside = {n: self._where[n][1] for n in names}
        found = columns(array, [n for n in names if n not in self._nested], self.label, inside)
        for n, b in self._nested.items():
            if n in inside:
                lists = ak.to_layout(array[inside[n]])
                found[n] = as_array(lists, b.shape, b.dtype, self.label, n, start)
        return found

    def _lists(self, branch: Any) -> Branch | None:
        """A branch of lists of lists of one shape; None if it is anything else, or damaged."""
        try:
            kind = branch.interpretation
            if not isinstance(kind, uproot.AsObjects) or not is_nested(kind.awkward_form(self._file)):
                return None
            lists = branch.array(entry_stop=min(LOOK, self.entries), library="ak")
        except Exception:  # of a type that uproot does not read, or damaged
            return None
        found = array_in(ak.to_layout(lists))
        return None if found is None else Branch(str(branch.name), found.dtype.name, shape=found.shape[1:])

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def _flat(interpretation: Any) -> Any:
    return interpretation.content if isinstance(interpretation, uproot.AsJagged) else interpretation


def _describe(branch: Any) -> list[Branch]:
    """A branch of numbers, strings or lists of numbers; several, if it has leaves or members; or nothing."""
    kind, name = branch.interpretation, str(branch.name)
    title = str(branch.title)
    if re.fullmatch(rf"{re.escape(name)}(\[\w*\])*/[A-Za-z](\[.*\])?", title) or title == name:
        title = ""
    if isinstance(kind, uproot.AsStrings):
        return [Branch(name, "string", title=title)]
    jagged, flat = isinstance(kind, uproot.AsJagged), _flat(kind)
    counter = branch.count_branch
    of = None if counter is None else str(counter.name)
    if isinstance(flat, uproot.AsStridedObjects):
        members = [] if np.dtype(flat.to_dtype).shape else list(_members(flat))
    elif isinstance(flat, TruncatedNumerical) or type(flat) is uproot.AsDtype:
        dtype = np.dtype(flat.to_dtype)
        members = [(n, dtype[n]) for n in dtype.names] if dtype.names else [("", dtype)]
        title = "" if dtype.names else title
    else:
        return []
    found = []
    for member, dtype in members:
        base, shape = dtype.base, dtype.shape
        if base.kind not in "biuf" or 0 in shape or (jagged and shape):
            return []
        plain = name.removesuffix("".join(f"[{n}]" for n in shape))
        array = () if shape == (1,) else shape
        found.append(
            Branch(f"{plain}.{member}" if member else plain, base.name, jagged, of, title, shape=array)
        )
    return found


def _members(objects: Any) -> Iterator[tuple[str, np.dtype[Any]]]:
    """The names and types of the numbers in stored objects: ``fP.fX`` of a TLorentzVector."""
    for name, member in objects.members:
        if name.startswith("@"):
            continue
        if isinstance(member, uproot.AsStridedObjects):
            yield from ((f"{name}.{inner}", dtype) for inner, dtype in _members(member))
        else:
            yield name, np.dtype(getattr(member, "to_dtype", member)).newbyteorder("=")


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
        flat = {b.name: text if b.dtype == "string" else np.dtype((b.dtype, b.shape)) for b in branches}
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
