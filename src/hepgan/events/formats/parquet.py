"""Parquet files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import awkward as ak
import fsspec
import numpy as np

from hepgan.errors import InputError
from hepgan.events.buffers import Buffer, Numbers
from hepgan.events.formats.arrow import ArrowSource, arrow_schema, groups_of, plain_table, table_of
from hepgan.events.formats.source import Content, Sink, brief


class ParquetSource(ArrowSource):
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
            if "://" in path:
                self._handle = fsspec.open(path, "rb").open()
            self._file = pq.ParquetFile(self._handle or path)
            schema = self._file.schema_arrow
            self.entries = int(self._file.metadata.num_rows)
            groups = [self._file.metadata.row_group(i).num_rows for i in range(self._file.num_row_groups)]
        except Exception as error:
            if "://" in path:
                raise InputError(f"cannot be read ({brief(error)})", file=path) from error  # noqa: EM102
            size = Path(path).stat().st_size
            what = f"not a whole Parquet file ({brief(error)})" if size else "the file is empty (0 bytes)"
            raise InputError(what, file=path) from error
        self._stops = np.cumsum(groups, dtype=np.int64)
        self._take_schema(schema, path)

    def _array(self, names: list[str], start: int, stop: int) -> ak.Array:
        tops = set(self._file.schema_arrow.names)
        chosen = dict.fromkeys(n if n in tops else n.partition(".")[0] for n in names)
        groups, skipped = groups_of(self._stops, start, stop)
        try:
            table = self._file.read_row_groups(groups, columns=list(chosen))
            return ak.from_arrow(plain_table(table.slice(start - skipped, stop - start)))
        except Exception as error:
            raise InputError(f"damaged or truncated ({brief(error)})", file=self.label) from error  # noqa: EM102

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
        if self._handle is not None:
            self._handle.close()


def _is_unicode(path: str) -> bool:
    return path.encode(errors="replace").decode() == path


class ParquetSink(Sink):
    """A Parquet file with a column for each branch."""

    nanoaod = True
    nulls = True

    def __init__(self, path: Path, content: Content, level: int) -> None:
        import pyarrow.parquet as pq

        self._schema = arrow_schema(content)
        # Dictionaries cost a lot of time, and hardly ever make floating-point numbers smaller.
        words = [b.name for b in content.branches if b.dtype == "string"]
        self._file = pq.ParquetWriter(
            path, self._schema, compression="zstd", compression_level=level, use_dictionary=words
        )

    def write(self, columns: Mapping[str, Buffer]) -> None:
        """Writes one row group."""
        self._file.write_table(table_of(columns, self._schema))

    def add(self, tree: str, columns: Mapping[str, Numbers]) -> None:
        """Writes the numbers into the file's metadata, as JSON."""
        text = json.dumps({name: values.tolist() for name, values in columns.items()})
        self._file.add_key_value_metadata({tree: text})

    def close(self) -> None:
        """Completes the file."""
        self._file.close()
