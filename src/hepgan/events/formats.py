"""The file formats that events can be written in, behind one face."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import uproot

from hepgan.events.columns import Column, Jagged, Numbers
from hepgan.events.naming import Branch

__all__ = ["FORMATS", "Sink"]


class Sink(ABC):
    """An open file that takes batches of columns.

    Args:
        path: The file to be made.
        branches: Its branches, counters among them; jagged ones name their counter.
        tree: The tree's name.
        title: The tree's title.
        level: Level of the ZSTD compression.
    """

    @abstractmethod
    def __init__(self, path: Path, branches: Sequence[Branch], tree: str, title: str, level: int) -> None: ...

    @abstractmethod
    def write(self, columns: Mapping[str, Column]) -> None:
        """Writes one batch; all columns have the same number of events."""

    @abstractmethod
    def close(self) -> None:
        """Completes the file."""


def _layout(values: Column) -> Any:
    if isinstance(values, Jagged):
        return _listed(values, _layout(values.content))
    if values.dtype.kind == "U":
        return ak.to_layout(ak.from_iter(values.tolist()) if not len(values) else ak.from_numpy(values))
    return ak.contents.NumpyArray(values)


class TTreeSink(Sink):
    """A TTree, with counters shared by the branches of a collection, as in NanoAOD."""

    def __init__(self, path: Path, branches: Sequence[Branch], tree: str, title: str, level: int) -> None:
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
            tree,
            types,
            title,
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

    def write(self, columns: Mapping[str, Column]) -> None:
        """Writes one basket of each branch."""
        data = {n: ak.Array(_layout(v)) if _is_text(v := columns[n]) else v for n in self._flat}
        for counter, names in self._groups.items():
            lists = [columns[n] for n in names]
            contents = [_layout(v.content) for v in lists if isinstance(v, Jagged)]
            record = ak.contents.RecordArray(contents, names)
            data[_key(counter)] = ak.Array(_listed(lists[0], record))
        self._tree.extend(data)

    def close(self) -> None:
        """Completes the file."""
        self._file.close()


def _key(counter: str) -> str:
    return f"objects of {counter}"


def _counter_of(key: str) -> str:
    return key.removeprefix("objects of ")


def _is_text(values: Column) -> bool:
    return isinstance(values, np.ndarray) and values.dtype.kind == "U"


def _listed(values: Column, content: Any) -> Any:
    offsets = values.offsets if isinstance(values, Jagged) else np.zeros(1, np.int64)
    return ak.contents.ListOffsetArray(ak.index.Index64(offsets), content)


class RNTupleSink(Sink):
    """An RNTuple of flat fields and vectors (``nMuon``, ``Muon_pt``)."""

    def __init__(self, path: Path, branches: Sequence[Branch], tree: str, title: str, level: int) -> None:
        self._names = [b.name for b in branches]
        self._file = uproot.recreate(path, compression=uproot.ZSTD(level))
        contents = [_form(b) for b in branches]
        self._tuple = self._file.mkrntuple(tree, ak.forms.RecordForm(contents, self._names), title)

    def write(self, columns: Mapping[str, Column]) -> None:
        """Writes one cluster."""
        contents = [_layout(columns[n]) for n in self._names]
        self._tuple.extend(ak.Array(ak.contents.RecordArray(contents, self._names)))

    def close(self) -> None:
        """Completes the file."""
        self._file.close()


def _form(branch: Branch) -> Any:
    parameters = {"__doc__": branch.title} if branch.title else {}
    if branch.dtype == "string":
        characters = ak.forms.NumpyForm("uint8", parameters={"__array__": "char"})
        return ak.forms.ListOffsetForm("i64", characters, parameters={"__array__": "string", **parameters})
    if branch.jagged:
        return ak.forms.ListOffsetForm("i64", ak.forms.NumpyForm(branch.dtype), parameters=parameters)
    return ak.forms.NumpyForm(branch.dtype, parameters=parameters)


class ParquetSink(Sink):
    """A Parquet file with a column for each branch; titles are the columns' metadata."""

    def __init__(self, path: Path, branches: Sequence[Branch], tree: str, title: str, level: int) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._schema = pa.schema(
            [
                pa.field(
                    b.name,
                    pa.large_list(_arrow_type(pa, b)) if b.jagged else _arrow_type(pa, b),
                    nullable=False,
                    metadata={"title": b.title} if b.title else None,
                )
                for b in branches
            ],
            metadata={"tree": tree, "title": title},
        )
        self._pa = pa
        # Dictionaries cost a lot of time, and hardly ever make floating-point numbers smaller.
        words = [b.name for b in branches if b.dtype == "string"]
        self._file = pq.ParquetWriter(
            path, self._schema, compression="zstd", compression_level=level, use_dictionary=words
        )

    def write(self, columns: Mapping[str, Column]) -> None:
        """Writes one row group."""
        arrays = [self._array(columns[f.name], f.type) for f in self._schema]
        self._file.write_table(self._pa.Table.from_arrays(arrays, schema=self._schema))

    def _array(self, values: Column, kind: Any) -> Any:
        if isinstance(values, Jagged):
            inner = self._pa.array(values.content, type=kind.value_type)
            return self._pa.LargeListArray.from_arrays(self._pa.array(values.offsets), inner, type=kind)
        return self._pa.array(_python(values), type=kind)

    def close(self) -> None:
        """Completes the file."""
        self._file.close()


def _python(values: Numbers) -> Any:
    return values.tolist() if values.dtype.kind == "U" else values


def _arrow_type(pa: Any, branch: Branch) -> Any:
    return pa.string() if branch.dtype == "string" else pa.from_numpy_dtype(np.dtype(branch.dtype))


FORMATS: dict[str, type[Sink]] = {"ttree": TTreeSink, "rntuple": RNTupleSink, "parquet": ParquetSink}
"""The formats by name."""
