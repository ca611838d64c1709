"""Parquet files."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np

from hepgan.errors import InputError
from hepgan.events.buffers import Buffer, Jagged, Numbers
from hepgan.events.formats.forms import FormSource, columns
from hepgan.events.formats.source import PathLike, Sink, brief
from hepgan.events.schema import Branch

_PARQUET = (".parquet", ".pq", ".parq")


def is_parquet(path: PathLike) -> bool:
    """Whether a file is one of Parquet, by its name."""
    return Path(path).suffix.lower() in _PARQUET


class ParquetSource(FormSource):
    """A Parquet file.

    Raises:
        InputError: If it is not whole, or holds what cannot be read.
    """

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
                "the file is empty (0 bytes)" if size == 0 else f"not a whole Parquet file ({brief(error)})"
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
            message = f"a column of a kind that cannot be read ({brief(error)})"
            raise InputError(message, file=path) from error
        for name in schema.names:
            title = _text((schema.field(name).metadata or {}).get(b"title") or b"")
            known = self.branches.get(name)
            if title and known is not None:
                self.branches[name] = Branch(name, known.dtype, known.jagged, known.counter, title)

    def read(self, names: Iterable[str], start: int, stop: int) -> dict[str, Buffer]:
        """The columns of some branches."""
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
            raise InputError(f"damaged or truncated ({brief(error)})", file=self.label) from error  # noqa: EM102
        return columns(array, wanted, self.label)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
        if self._handle is not None:
            self._handle.close()


def _is_unicode(path: str) -> bool:
    return path.encode(errors="replace").decode() == path


def _text(data: bytes) -> str:
    return data.decode(errors="replace")


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
