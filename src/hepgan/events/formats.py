"""The formats of files that events come from and go to, behind one face: TTree, RNTuple and Parquet."""

from __future__ import annotations

import glob
import json
import os
import re
import warnings
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias

import awkward as ak
import numpy as np
import uproot

from hepgan.arguments import checked
from hepgan.errors import InputError, OutputError
from hepgan.events.buffers import Buffer, Jagged, Numbers, buffer
from hepgan.events.schema import Branch

__all__ = [
    "FORMATS",
    "UNFINISHED",
    "ArraySource",
    "PathLike",
    "Sink",
    "Source",
    "is_parquet",
    "locate",
    "open_source",
    "overlap",
    "reads",
]

PathLike: TypeAlias = str | Path

UNFINISHED = ("unfinished.jsonl", ".unfinished/replaced")
"""What is in a folder of generated events as long as they are not all there."""

_PARQUET = (".parquet", ".pq", ".parq")


def is_parquet(path: PathLike) -> bool:
    """Whether a file is one of Parquet, by its name."""
    return Path(path).suffix.lower() in _PARQUET


class Source(ABC):
    """One file (or array) of events.

    Attributes:
        label: How errors name it: ``file.root:Events``.
        tree: The tree's name.
        entries: Number of events.
        branches: The branches that hold numbers, strings, or lists of numbers, in the file's order.
        left_out: Branches of other types.
    """

    label: str
    tree: str
    entries: int
    branches: dict[str, Branch]
    left_out: tuple[str, ...] = ()

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


def locate(paths: PathLike | Sequence[PathLike]) -> list[tuple[str, str | None]]:
    """Files and trees: of ``file.root:Tree``, of a glob, or of a list of these.

    Raises:
        InputError: If there is no such file.
    """
    given: Any = [paths] if isinstance(paths, str | Path) else paths
    if not isinstance(given, Sequence) or any(not isinstance(p, str | Path) for p in given):
        message = f"files are a path or a list of paths, not {paths!r:.80}"
        raise InputError(message)
    found: list[tuple[str, str | None]] = []
    for text in given:
        path, tree = _split(str(text))
        if "://" in path:
            found.append((path, tree))
        elif glob.has_magic(path) and not os.path.exists(path):
            matches = sorted(glob.glob(path, recursive=True))
            if not matches:
                message = "no file matches"
                raise InputError(message, file=path)
            _warn_unfinished(matches)
            found.extend((m, tree) for m in matches)
        elif not os.path.exists(path):
            message = "no such file"
            raise InputError(message, file=path)
        else:
            found.append((path, tree))
    if not found:
        message = "no files given"
        raise InputError(message)
    return found


def _warn_unfinished(matches: Sequence[str]) -> None:
    for folder in sorted({Path(m).parent for m in matches}):
        if any((folder / name).exists() for name in UNFINISHED):
            message = (
                f"{folder} holds a part of a production that has not ended: its events are not all there"
            )
            warnings.warn(message, UserWarning, stacklevel=3)


@checked
def overlap(first: PathLike | Sequence[PathLike], second: PathLike | Sequence[PathLike]) -> bool:
    """Whether two samples have a tree in common, whatever its file is called, and whether it is named or not.

    Raises:
        InputError: If there is no such file, or no tree to read in it.
    """
    found = [{(_identity(path), path, tree) for path, tree in locate(paths)} for paths in (first, second)]
    common = {file for file, _, _ in found[0]} & {file for file, _, _ in found[1]}
    trees = []
    for part in found:
        # Files are opened only where there is something to tell.
        wanted = [(file, path, tree) for file, path, tree in part if file in common]
        trees.append({(file, _tree(path, tree)) for file, path, tree in wanted})
    return bool(trees[0] & trees[1])


@checked
def reads(paths: PathLike | Sequence[PathLike], file: PathLike) -> bool:
    """Whether a file is among those of a sample, whatever it is called.

    Raises:
        InputError: If the sample has no such file.
    """
    there = os.path.exists(file)
    return there and _identity(str(file)) in {_identity(path) for path, _ in locate(paths)}


def _identity(path: str) -> Hashable:
    """What is the same for two names of one file."""
    if "://" in path:
        return path
    known = Path(path).stat()
    return known.st_dev, known.st_ino


def _tree(path: str, tree: str | None) -> str:
    if tree is not None:
        return tree
    with open_source(path, None) as source:
        return source.tree


def _split(text: str) -> tuple[str, str | None]:
    path = re.sub(r"^file://(?=/)", "", text)
    if path.startswith("~") and not os.path.exists(path):
        path = os.path.expanduser(path)
    if os.path.exists(path):
        return path, None
    found = re.fullmatch(r"(.+\.[A-Za-z0-9]+|.*[*?\]]):([^:\\]+)", path)
    # What follows the colon of root://host.domain:1094//file.root is a port.
    if found is None or re.match(r"\d*/", found[2]):
        return path, None
    return found[1], found[2].partition(";")[0]


def open_source(path: str, tree: str | None) -> Source:
    """Opens a file.

    Args:
        path: A ROOT or Parquet file.
        tree: The tree or RNTuple; None for the only one, or for ``Events`` among several.

    Raises:
        InputError: If it cannot be opened, or has no such tree.
    """
    if os.path.isdir(path):
        message = "is a folder; name its files, or use a glob such as folder/*.root"
        raise InputError(message, file=path)
    if os.path.exists(path) and not os.path.isfile(path):
        message = "is no file that can be read twice, but a pipe or a device; copy it into a file"
        raise InputError(message, file=path)
    if is_parquet(path):
        return _ParquetSource(path)
    try:
        file = uproot.open(path)
        end, size = int(file.file.fEND), os.path.getsize(path) if os.path.exists(path) else None
        names = file.classnames(recursive=True, cycle=False)
    except Exception as error:
        raise InputError(_opening(path, error), file=path) from error
    if size is not None and size < end:
        message = f"truncated: {size} of {end} bytes are there"
        raise InputError(message, file=path)
    trees = {
        name: kind
        for name, kind in names.items()
        if kind in ("TTree", "TNtuple", "TNtupleD", "TChain") or "RNTuple" in kind
    }
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
        source = _RNTupleSource if "RNTuple" in trees[chosen] else _TTreeSource
        return source(file, file[chosen], chosen, label)
    except Exception as error:
        raise InputError(f"damaged or truncated ({_brief(error)})", file=label) from error  # noqa: EM102


def _opening(path: str, error: Exception) -> str:
    with suppress(OSError):
        size = Path(path).stat().st_size
        with Path(path).open("rb") as handle:
            magic = handle.read(4)
        if size == 0:
            return "the file is empty (0 bytes)"
        if magic != b"root":
            return "not a ROOT file"
        return f"damaged or truncated ({_brief(error)})"
    return f"cannot be opened ({_brief(error)})"


def _brief(error: Exception) -> str:
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {first}"[:200]


class _TTreeSource(Source):
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
        wanted = list(dict.fromkeys(names))
        try:
            chosen = set(wanted)
            array = self._tree.arrays(
                filter_branch=lambda b: b.name in chosen, entry_start=start, entry_stop=stop, library="ak"
            )
        except Exception as error:
            raise InputError(f"damaged or truncated ({_brief(error)})", file=self.label) from error  # noqa: EM102
        return _columns(array, wanted, self.label)

    def close(self) -> None:
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


def _columns(array: ak.Array, names: Iterable[str], label: str) -> dict[str, Buffer]:
    fields = set(array.fields)
    result: dict[str, Buffer] = {}
    for name in names:
        outer, _, field = name.partition(".")
        layout = ak.to_layout(array[name] if name in fields else array[outer][field])
        if not layout.is_numpy and (wrong := ak.validity_error(layout)):
            message = f"damaged ({wrong.splitlines()[0]:.120})"
            raise InputError(message, file=label, branch=name)
        result[name] = buffer(layout, file=label, branch=name)
    return result


class _FormSource(Source):
    """A source whose branches are told by an awkward form."""

    def _take(self, form: Any) -> None:
        self.branches, left_out = {}, []
        for name, inner in zip(form.fields, form.contents, strict=True):
            if name.startswith("_collection"):
                continue
            if not name:
                left_out.append("(a branch without a name)")
                continue
            for described in _from_form(name, inner):
                if isinstance(described, Branch):
                    self.branches[described.name] = described
                else:
                    left_out.append(described)
        self.left_out = tuple(left_out)


def _from_form(name: str, form: Any, *, inside: bool = False) -> list[Branch | str]:
    title = str(form.parameter("__doc__") or "")
    while form.is_option or form.is_indexed:
        form = form.content
    if form.parameter("__array__") == "string":
        return [name] if inside else [Branch(name, "string", title=title)]
    if form.is_numpy and not form.inner_shape and np.dtype(form.primitive).kind in "biuf":
        # No ROOT tree holds half precision.
        return [Branch(name, form.primitive.replace("float16", "float32"), inside, title=title)]
    if form.is_list and not inside:
        return (
            _from_form(name, form.content, inside=True)
            if not title
            else [
                b if isinstance(b, str) else Branch(b.name, b.dtype, True, title=b.title or title)
                for b in _from_form(name, form.content, inside=True)
            ]
        )
    if form.is_record and not form.is_tuple and "." not in name:
        return [
            b
            for field, inner in zip(form.fields, form.contents, strict=True)
            for b in _from_form(f"{name}.{field}", inner, inside=inside)
        ]
    return [name]


class _RNTupleSource(_FormSource):
    def __init__(self, file: Any, ntuple: Any, name: str, label: str) -> None:
        self._file, self._ntuple = file, ntuple
        self.label, self.tree, self.entries = label, name, int(ntuple.num_entries)
        form = ntuple.to_akform()
        self._take(form[0] if isinstance(form, tuple) else form)
        # Some names, such as those with slashes, cannot be asked for.
        tops = dict(ntuple.items(recursive=False))
        self._tops = set(tops)
        for top, field in tops.items():
            known = self.branches.get(top)
            if known is not None:
                cardinality = "Cardinality<std::uint32_t>" in field.typename
                title = str(getattr(field, "description", "") or "")
                self.branches[top] = Branch(
                    top, "uint32" if cardinality else known.dtype, known.jagged, known.counter, title
                )

    def read(self, names: Iterable[str], start: int, stop: int) -> dict[str, Buffer]:
        wanted = list(dict.fromkeys(names))
        tops = {n if n in self._tops else n.partition(".")[0] for n in wanted}
        try:
            array = self._ntuple.arrays(
                filter_name=lambda n: n.partition(".")[0] in tops or n in tops,
                entry_start=start,
                entry_stop=stop,
            )
        except Exception as error:
            raise InputError(f"damaged or truncated ({_brief(error)})", file=self.label) from error  # noqa: EM102
        return _columns(array, wanted, self.label)

    def close(self) -> None:
        self._file.close()


class _ParquetSource(_FormSource):
    def __init__(self, path: str) -> None:
        import pyarrow.parquet as pq

        self.label = path
        try:
            # Arrow opens no files whose names are not UTF-8.
            self._handle = None if _is_unicode(path) else Path(path).open("rb")  # noqa: SIM115
            self._file = pq.ParquetFile(self._handle or path)
            schema = self._file.schema_arrow
            self.entries = int(self._file.metadata.num_rows)
            groups = [self._file.metadata.row_group(i).num_rows for i in range(self._file.num_row_groups)]
        except Exception as error:
            size = Path(path).stat().st_size
            what = (
                "the file is empty (0 bytes)" if size == 0 else f"not a whole Parquet file ({_brief(error)})"
            )
            raise InputError(what, file=path) from error
        twice = next((n for n, number in Counter(schema.names).items() if number > 1), None)
        if twice is not None:
            message = "several columns have this name; give each a name of its own"
            raise InputError(message, file=path, branch=twice)
        self._stops = np.cumsum(groups, dtype=np.int64)
        self.tree = _text((schema.metadata or {}).get(b"tree") or b"Events")
        try:
            self._take(ak.to_layout(ak.from_arrow(schema.empty_table())).form)
        except Exception as error:
            message = f"a column of a kind that cannot be read ({_brief(error)})"
            raise InputError(message, file=path) from error
        for name in schema.names:
            title = _text((schema.field(name).metadata or {}).get(b"title") or b"")
            known = self.branches.get(name)
            if title and known is not None:
                self.branches[name] = Branch(name, known.dtype, known.jagged, known.counter, title)

    def read(self, names: Iterable[str], start: int, stop: int) -> dict[str, Buffer]:
        wanted = list(dict.fromkeys(names))
        tops = set(self._file.schema_arrow.names)
        chosen = dict.fromkeys(n if n in tops else n.partition(".")[0] for n in wanted)
        first = int(np.searchsorted(self._stops, start, side="right"))
        last = int(np.searchsorted(self._stops, stop, side="left"))
        groups = list(range(first, min(last, len(self._stops) - 1) + 1))
        skipped = int(self._stops[first - 1]) if first else 0
        try:
            table = self._file.read_row_groups(groups, columns=list(chosen))
            array = ak.from_arrow(table.slice(start - skipped, stop - start))
        except Exception as error:
            raise InputError(f"damaged or truncated ({_brief(error)})", file=self.label) from error  # noqa: EM102
        return _columns(array, wanted, self.label)

    def close(self) -> None:
        self._file.close()
        if self._handle is not None:
            self._handle.close()


def _is_unicode(path: str) -> bool:
    return path.encode(errors="replace").decode() == path


def _text(data: bytes) -> str:
    return data.decode(errors="replace")


class ArraySource(_FormSource):
    """An array with one field for each branch, as uproot gives it."""

    def __init__(self, array: ak.Array, tree: str = "Events") -> None:
        self._array = array
        self.label, self.tree, self.entries = "the array", tree, len(array)
        self._take(ak.to_packed(array[:0]).layout.form)

    def read(self, names: Iterable[str], start: int, stop: int) -> dict[str, Buffer]:
        """The columns of some branches."""
        return _columns(self._array[start:stop], list(names), self.label)


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
    def write(self, columns: Mapping[str, Buffer]) -> None:
        """Writes one batch; all columns have the same number of events."""

    @abstractmethod
    def add(self, tree: str, columns: Mapping[str, Numbers]) -> None:
        """Writes a tree of a few numbers beside the events, when these are all there."""

    @abstractmethod
    def close(self) -> None:
        """Completes the file."""


def _layout(values: Buffer) -> Any:
    if isinstance(values, Jagged):
        return _listed(values, _layout(values.content))
    if values.dtype.kind == "U":
        return ak.to_layout(ak.from_iter(values.tolist()) if not len(values) else ak.from_numpy(values))
    return ak.contents.NumpyArray(values)


class TTreeSink(Sink):
    """A TTree, with counters shared by the branches of a collection, as in NanoAOD."""

    def __init__(self, path: Path, branches: Sequence[Branch], tree: str, title: str, level: int) -> None:
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

    def write(self, columns: Mapping[str, Buffer]) -> None:
        """Writes one basket of each branch."""
        data = {n: ak.Array(_layout(v)) if _is_text(v := columns[n]) else v for n in self._flat}
        for counter, names in self._groups.items():
            lists = [columns[n] for n in names]
            contents = [_layout(v.content) for v in lists if isinstance(v, Jagged)]
            record = ak.contents.RecordArray(contents, names)
            data[_key(counter)] = ak.Array(_listed(lists[0], record))
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


def _listed(values: Buffer, content: Any) -> Any:
    offsets = values.offsets if isinstance(values, Jagged) else np.zeros(1, np.int64)
    return ak.contents.ListOffsetArray(ak.index.Index64(offsets), content)


class RNTupleSink(Sink):
    """An RNTuple of flat fields and vectors (``nMuon``, ``Muon_pt``)."""

    def __init__(self, path: Path, branches: Sequence[Branch], tree: str, title: str, level: int) -> None:
        self._names = [b.name for b in branches]
        self._file = uproot.recreate(path, compression=uproot.ZSTD(level))
        contents = [_form(b) for b in branches]
        self._tuple = self._file.mkrntuple(tree, ak.forms.RecordForm(contents, self._names), title)

    def write(self, columns: Mapping[str, Buffer]) -> None:
        """Writes one cluster."""
        contents = [_layout(columns[n]) for n in self._names]
        self._tuple.extend(ak.Array(ak.contents.RecordArray(contents, self._names)))

    def add(self, tree: str, columns: Mapping[str, Numbers]) -> None:
        """Writes another RNTuple."""
        record = ak.contents.RecordArray([_layout(v) for v in columns.values()], list(columns))
        self._file.mkrntuple(tree, record.form).extend(ak.Array(record))

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

    def write(self, columns: Mapping[str, Buffer]) -> None:
        """Writes one row group."""
        arrays = [self._array(columns[f.name], f.type) for f in self._schema]
        self._file.write_table(self._pa.Table.from_arrays(arrays, schema=self._schema))

    def add(self, tree: str, columns: Mapping[str, Numbers]) -> None:
        """Writes the numbers into the file's metadata, as JSON."""
        text = json.dumps({name: values.tolist() for name, values in columns.items()})
        self._file.add_key_value_metadata({tree: text})

    def _array(self, values: Buffer, kind: Any) -> Any:
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
