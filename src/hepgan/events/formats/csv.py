"""CSV files: a line that names the columns, and one for each event."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from hepgan.errors import InputError, OutputError
from hepgan.events.buffers import Buffer
from hepgan.events.formats.arrow import TableSource, arrow_schema, table_of
from hepgan.events.formats.source import Content, Sink, brief

_SEPARATORS = (",", ";", "\t")


class CSVSource(TableSource):
    """A CSV file, gzipped or not, separated by commas, semicolons or tabs; it is read as a whole.

    Cells that are empty, ``nan``, ``NA`` or ``null`` are null where the others hold numbers.

    Raises:
        InputError: If it cannot be read, or its first line does not name the columns.
    """

    def __init__(self, path: str) -> None:
        from pyarrow import csv

        try:
            header = _first_line(path)
        except (OSError, EOFError) as error:
            raise InputError(f"cannot be read ({brief(error)})", file=path) from error  # noqa: EM102
        if not header.strip():
            message = "the file is empty (0 bytes)" if not Path(path).stat().st_size else "has no columns"
            raise InputError(message, file=path)
        separator = max(_SEPARATORS, key=header.count)
        names = [name.strip().strip('"').strip() for name in header.lstrip("# ").split(separator)]
        if any(map(_is_number, names)):
            message = f"its first line must name the columns; it is {header.strip():.60}"
            raise InputError(message, file=path)
        try:
            table = csv.read_csv(
                path,
                read_options=csv.ReadOptions(column_names=names, skip_rows=1),
                parse_options=csv.ParseOptions(delimiter=separator),
            )
        except Exception as error:
            raise InputError(f"not a CSV file ({brief(error)})", file=path) from error  # noqa: EM102
        super().__init__(table, path)


def _first_line(path: str) -> str:
    handle = gzip.open if path.lower().endswith(".gz") else open
    with handle(path, "rt", encoding="utf-8-sig", errors="replace") as file:
        return str(file.readline())


def _is_number(text: str) -> bool:
    with suppress(ValueError):
        float(text)
        return text.lower() != "nan"
    return False


class CSVSink(Sink):
    """A CSV file, gzipped where its name says so."""

    nulls = True

    def __init__(self, path: Path, content: Content, level: int) -> None:
        import pyarrow as pa
        from pyarrow import csv

        lists = next((b.name for b in content.branches if b.jagged or b.shape), None)
        if lists is not None:
            message = (
                "a CSV file has one number in a cell, and this is a list or array in each event; "
                "write .root, .parquet, .feather or .h5"
            )
            raise OutputError(message, file=path, branch=lists)
        self._schema = arrow_schema(content)
        self._stream = pa.output_stream(path, compression="gzip" if path.suffix.lower() == ".gz" else None)
        self._file = csv.CSVWriter(self._stream, self._schema)

    def write(self, columns: Mapping[str, Buffer]) -> None:
        """Writes a line for each event."""
        self._file.write_table(table_of(columns, self._schema))

    def close(self) -> None:
        """Completes the file."""
        self._file.close()
        self._stream.close()
