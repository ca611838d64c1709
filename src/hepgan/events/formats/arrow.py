"""What Arrow reads and writes: Feather files, and tables in memory, which CSV files become."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import awkward as ak
import numpy as np

from hepgan.errors import InputError
from hepgan.events.buffers import Buffer, Jagged, Numbers
from hepgan.events.formats.forms import FormSource, nested, tops_of
from hepgan.events.formats.source import Content, Sink, brief
from hepgan.events.missing import is_null
from hepgan.events.schema import Branch

if TYPE_CHECKING:
    import pyarrow as pa


class ArrowSource(FormSource):
    """A source whose branches an Arrow schema tells."""

    def _take_schema(self, schema: pa.Schema, file: str) -> None:
        twice = next((n for n, number in Counter(schema.names).items() if number > 1), None)
        if twice is not None:
            message = "several columns have this name; give each a name of its own"
            raise InputError(message, file=file, branch=twice)
        self.tree = _text((schema.metadata or {}).get(b"tree") or b"Events")
        try:
            self._take(ak.to_layout(ak.from_arrow(plain_table(schema.empty_table()))).form)
        except Exception as error:
            message = f"a column of a kind that cannot be read ({brief(error)})"
            raise InputError(message, file=file) from error
        for name in schema.names:
            title = _text((schema.field(name).metadata or {}).get(b"title") or b"")
            known = self.branches.get(name)
            if title and known is not None:
                self.branches[name] = replace(known, title=title)


def _text(data: bytes) -> str:
    return data.decode(errors="replace")


class TableSource(ArrowSource):
    """A table in memory.

    Args:
        table: The table.
        label: How errors name it.

    Raises:
        InputError: If two of its columns have one name.
    """

    def __init__(self, table: pa.Table, label: str) -> None:
        self._table = plain_table(table)
        self.label, self.entries = label, table.num_rows
        self._take_schema(self._table.schema, label)

    def _array(self, names: list[str], start: int, stop: int) -> ak.Array:
        tops = set(self._table.schema.names)
        chosen = dict.fromkeys(n if n in tops else n.partition(".")[0] for n in names)
        part = self._table.select(list(chosen)).slice(start, stop - start)
        return ak.from_arrow(part)


def plain_table(table: pa.Table) -> pa.Table:
    """The table with texts and numbers of the kinds that awkward knows."""
    import pyarrow as pa

    for i, field in enumerate(table.schema):
        kind = field.type
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        if pa.types.is_string_view(kind):
            kind = pa.large_string()
        if pa.types.is_decimal(kind) or pa.types.is_null(kind):
            kind = pa.float64()
        if kind != field.type:
            table = table.set_column(i, field.with_type(kind), table.column(i).cast(kind))
    return table


class FeatherSource(ArrowSource):
    """A Feather file (Arrow's file format).

    Raises:
        InputError: If it is not whole, or holds what cannot be read.
    """

    def __init__(self, path: str) -> None:
        import pyarrow as pa

        self.label = path
        try:
            self._map = pa.memory_map(path)
            self._file = pa.ipc.open_file(self._map)
            sizes = [self._file.get_batch(i).num_rows for i in range(self._file.num_record_batches)]
        except Exception as error:
            size = Path(path).stat().st_size
            what = (
                "the file is empty (0 bytes)" if size == 0 else f"not a whole Feather file ({brief(error)})"
            )
            raise InputError(what, file=path) from error
        self._stops = np.cumsum(sizes, dtype=np.int64)
        self.entries = int(sum(sizes))
        self._take_schema(self._file.schema, path)

    def _array(self, names: list[str], start: int, stop: int) -> ak.Array:
        import pyarrow as pa

        tops = set(self._file.schema.names)
        chosen = list(dict.fromkeys(n if n in tops else n.partition(".")[0] for n in names))
        groups, skipped = groups_of(self._stops, start, stop)
        try:
            batches = [self._file.get_batch(i).select(chosen) for i in groups]
            table = pa.Table.from_batches(batches, pa.schema([self._file.schema.field(n) for n in chosen]))
            return ak.from_arrow(plain_table(table.slice(start - skipped, stop - start)))
        except Exception as error:
            raise InputError(f"damaged or truncated ({brief(error)})", file=self.label) from error  # noqa: EM102

    def close(self) -> None:
        """Closes the file."""
        self._map.close()


def groups_of(stops: Numbers, start: int, stop: int) -> tuple[list[int], int]:
    """Which groups of events hold some of them, and how many events there are before these groups.

    Args:
        stops: (G,) numbers of events up to the end of each group.
        start: The first event.
        stop: The event after the last.
    """
    first = int(np.searchsorted(stops, start, side="right"))
    last = int(np.searchsorted(stops, stop, side="left"))
    return list(range(first, min(last, len(stops) - 1) + 1)), int(stops[first - 1]) if first else 0


def arrow_schema(content: Content) -> pa.Schema:
    """An Arrow schema with a column for each branch; titles are the columns' metadata."""
    import pyarrow as pa

    return pa.schema(
        [
            _arrow_field(top, found[0]) if top == found[0].name else _record_field(top, found)
            for top, found in tops_of(content.branches)
        ],
        metadata={"tree": content.tree, "title": content.title},
    )


def table_of(columns: Mapping[str, Buffer], schema: pa.Schema) -> pa.Table:
    """Columns as a table."""
    import pyarrow as pa

    arrays = [
        _array(columns[f.name], f.type) if f.name in columns else _records(columns, f.name, f.type)
        for f in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def _arrow_field(name: str, b: Branch) -> pa.Field:
    import pyarrow as pa

    nullable = b.nulls and not b.jagged and not b.shape
    return pa.field(name, _arrow_type(b), nullable=nullable, metadata={"title": b.title} if b.title else None)


def _record_field(top: str, members: Sequence[Branch]) -> pa.Field:
    """A record, or a list of records."""
    import pyarrow as pa

    inner = {b.name[len(top) + 1 :]: _arrow_field("", replace(b, jagged=False)) for b in members}
    record = nested(
        inner,
        lambda names, fields: pa.field(
            "", pa.struct([f.with_name(n) for n, f in zip(names, fields, strict=True)]), nullable=False
        ),
    )
    kind = pa.large_list(record.with_name("item")) if members[0].jagged else record.type
    return pa.field(top, kind, nullable=False)


def _records(columns: Mapping[str, Buffer], name: str, kind: Any) -> Any:
    """The array of records, or of lists of them, of columns that are called ``name.member``."""
    import pyarrow as pa

    if pa.types.is_large_list(kind):
        first = next(v for n, v in columns.items() if n.startswith(f"{name}.") and isinstance(v, Jagged))
        inner = _records(columns, name, kind.value_type)
        return pa.LargeListArray.from_arrays(pa.array(first.offsets), inner, type=kind)
    if pa.types.is_struct(kind):
        members = [_records(columns, f"{name}.{f.name}", f.type) for f in kind]
        return pa.StructArray.from_arrays(members, fields=list(kind))
    values = columns[name]
    return _flat(values.content if isinstance(values, Jagged) else values, kind)


def _array(values: Buffer, kind: Any) -> Any:
    import pyarrow as pa

    if isinstance(values, Jagged):
        inner = _flat(values.content, kind.value_type)
        return pa.LargeListArray.from_arrays(pa.array(values.offsets), inner, type=kind)
    if values.ndim > 1:
        inner = values.reshape(-1, *values.shape[2:])
        return pa.FixedSizeListArray.from_arrays(_array(inner, kind.value_type), type=kind)
    return _flat(values, kind)


def _flat(values: Numbers, kind: Any) -> Any:
    import pyarrow as pa

    null = is_null(values)
    mask = null if null.any() else None
    if mask is not None and values.dtype.kind == "f" and not pa.types.is_floating(kind):
        values = np.where(null, 0.0, values).astype(kind.to_pandas_dtype())
    return pa.array(values.tolist() if values.dtype.kind == "U" else values, type=kind, mask=mask)


def _arrow_type(branch: Branch) -> Any:
    import pyarrow as pa

    kind = pa.string() if branch.dtype == "string" else pa.from_numpy_dtype(np.dtype(branch.dtype))
    for size in reversed(branch.shape):
        kind = pa.list_(kind, size)
    return pa.large_list(kind) if branch.jagged else kind


class FeatherSink(Sink):
    """A Feather file (Arrow's file format) with a column for each branch."""

    nulls = True

    def __init__(self, path: Path, content: Content, level: int) -> None:
        import pyarrow as pa

        self._schema = arrow_schema(content)
        options = pa.ipc.IpcWriteOptions(compression=pa.Codec("zstd", level))
        self._file = pa.ipc.new_file(path, self._schema, options=options)

    def write(self, columns: Mapping[str, Buffer]) -> None:
        """Writes one record batch."""
        for batch in table_of(columns, self._schema).to_batches():
            self._file.write_batch(batch)

    def close(self) -> None:
        """Completes the file."""
        self._file.close()
