"""RNTuples of ROOT files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import awkward as ak
import uproot

from hepgan.errors import InputError
from hepgan.events.buffers import Buffer, Jagged, Numbers
from hepgan.events.formats.forms import FormSource, layout, listed, nested, tops_of
from hepgan.events.formats.source import Content, Sink, brief
from hepgan.events.schema import Branch


class RNTupleSource(FormSource):
    """An RNTuple of an open file."""

    root = True

    def __init__(self, file: Any, ntuple: Any, name: str, label: str) -> None:
        self._file, self._ntuple = file, ntuple
        self.label, self.tree, self.entries = label, name, int(ntuple.num_entries)
        # Some names, such as those with slashes, cannot be asked for.
        tops = dict(ntuple.items(recursive=False))
        self._tops = set(tops)
        form = ntuple.to_akform()
        self._take(form[0] if isinstance(form, tuple) else form)
        for top, field in tops.items():
            known = self.branches.get(top)
            if known is not None:
                cardinality = "Cardinality<std::uint32_t>" in field.typename
                title = str(getattr(field, "description", "") or "")
                dtype = "uint32" if cardinality else known.dtype
                self.branches[top] = replace(known, dtype=dtype, title=title)

    def _array(self, names: list[str], start: int, stop: int) -> ak.Array:
        tops = {n if n in self._tops else n.partition(".")[0] for n in names}
        try:
            return self._ntuple.arrays(
                filter_name=lambda n: n.partition(".")[0] in tops or n in tops,
                entry_start=start,
                entry_stop=stop,
            )
        except Exception as error:
            raise InputError(f"damaged or truncated ({brief(error)})", file=self.label) from error  # noqa: EM102

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


class RNTupleSink(Sink):
    """An RNTuple of flat fields, vectors (``nMuon``, ``Muon_pt``), arrays and records."""

    root = True
    nanoaod = True

    def __init__(self, path: Path, content: Content, level: int) -> None:
        self._tops = tops_of(content.branches)
        self._file = uproot.recreate(path, compression=uproot.ZSTD(level))
        forms = [
            _form(found[0]) if top == found[0].name else _record(top, found) for top, found in self._tops
        ]
        names = [top for top, _ in self._tops]
        self._tuple = self._file.mkrntuple(content.tree, ak.forms.RecordForm(forms, names), content.title)

    def write(self, columns: Mapping[str, Buffer]) -> None:
        """Writes one cluster."""
        contents = [
            layout(columns[top]) if top == found[0].name else _records(top, found, columns)
            for top, found in self._tops
        ]
        self._tuple.extend(ak.Array(ak.contents.RecordArray(contents, [top for top, _ in self._tops])))

    def add(self, tree: str, columns: Mapping[str, Numbers]) -> None:
        """Writes another RNTuple."""
        record = ak.contents.RecordArray([layout(v) for v in columns.values()], list(columns))
        self._file.mkrntuple(tree, record.form).extend(ak.Array(record))

    def close(self) -> None:
        """Completes the file."""
        self._file.close()


def _record(top: str, members: Sequence[Branch]) -> Any:
    """The form of a record, or of a list of records."""
    jagged = members[0].jagged
    inner = {b.name[len(top) + 1 :]: _form(replace(b, jagged=False)) for b in members}
    form = nested(inner, lambda names, forms: ak.forms.RecordForm(forms, names))
    return ak.forms.ListOffsetForm("i64", form) if jagged else form


def _records(top: str, members: Sequence[Branch], columns: Mapping[str, Buffer]) -> Any:
    values = {b.name[len(top) + 1 :]: columns[b.name] for b in members}
    inner = {n: layout(v.content if isinstance(v, Jagged) else v) for n, v in values.items()}
    found = nested(inner, lambda names, contents: ak.contents.RecordArray(contents, names))
    return listed(columns[members[0].name], found) if members[0].jagged else found


def _form(branch: Branch) -> Any:
    parameters = {"__doc__": branch.title} if branch.title else {}
    if branch.dtype == "string":
        characters = ak.forms.NumpyForm("uint8", parameters={"__array__": "char"})
        return ak.forms.ListOffsetForm("i64", characters, parameters={"__array__": "string", **parameters})
    if branch.jagged:
        return ak.forms.ListOffsetForm("i64", ak.forms.NumpyForm(branch.dtype), parameters=parameters)
    if not branch.shape:
        return ak.forms.NumpyForm(branch.dtype, parameters=parameters)
    form: Any = ak.forms.NumpyForm(branch.dtype)
    for at, size in reversed([*enumerate(branch.shape)]):
        form = ak.forms.RegularForm(form, size, parameters=None if at else parameters)
    return form
