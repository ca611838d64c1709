"""Events of what is in memory: tables, columns by name, and awkward arrays of any origin."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeAlias

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from hepgan.arguments import Made, checked
from hepgan.errors import InputError
from hepgan.events.batch import EventBatch
from hepgan.events.buffers import ATTRIBUTE, record_name
from hepgan.events.checks import check_events
from hepgan.events.convert import to_awkward
from hepgan.events.formats import ArraySource, Source, TableSource
from hepgan.events.inference import attach, complete, schema_of
from hepgan.events.missing import tolerant
from hepgan.events.reading import Reader, drafted, measured
from hepgan.events.schema import EventSchema

__all__ = ["EventsLike", "as_events", "events_in"]

_TAKEN = (
    "events (an ak.Array with fields, a DataFrame, an Arrow table, columns by name as in "
    "{'x': numbers}, or a structured array)"
)
_MOST_COLUMNS = 1_000
"""Columns that the second axis of an array may make."""


@checked
def as_events(data: Any, *, schema: EventSchema | None = None, check: bool = True) -> ak.Array:
    """Events of anything that holds events in memory.

    These are: arrays of awkward, with a field for each branch (``Muon_pt``) as uproot gives them, or with
    records (``Muon.pt``); DataFrames of pandas or polars, tables of Arrow, and whatever else speaks the
    protocol of either; mappings of names to numbers, texts or lists of numbers, one for each event;
    structured arrays of NumPy; batches of tensors. An index is dropped, missing numbers are NaN, and an array
    ``x`` (N, K) makes the columns ``x_0`` to ``x_{K-1}``. Arrays of more axes, those in structured arrays,
    and those of awkward (``ak.from_numpy(x)``) are fields with a shape.

    Args:
        data: The events.
        schema: As in `read_events`.
        check: Whether to check the events.

    Returns:
        Events as `read_events` gives them; what has been such events already is given back.

    Raises:
        InputError: If it holds no events, or as in `read_events`.
    """
    if not takes_events(data):
        message = f"data must be {_TAKEN}, not {_called(data)}{_hint(data)}"
        raise InputError(message)
    found = _opened(data)
    if isinstance(found, Source):
        return _read(found, schema, check=check)
    if check:
        check_events(found, schema or schema_of(found))
    if schema is not None:
        found = ak.Array(found, attrs={**found.attrs, ATTRIBUTE: schema})
    elif found.attrs.get(ATTRIBUTE) is None:
        attach(found, schema_of(found))
    return found


def events_in(data: Any) -> ak.Array:
    """Events of what `takes_events`, which are not checked; arrays of events are given back as they are."""
    found = _opened(data)
    return _read(found, None, check=False) if isinstance(found, Source) else found


def takes_events(data: Any) -> bool:
    """Whether something is of a kind that holds events."""
    if isinstance(data, ak.Array):
        return bool(data.fields)
    if isinstance(data, np.ndarray):
        return data.dtype.names is not None and data.ndim == 1
    if isinstance(data, Mapping):
        named = all(isinstance(n, str) and n for n in data)
        return bool(data) and named and all(map(_is_column, data.values()))
    if isinstance(data, EventBatch):
        return True
    return not isinstance(data, type) and any(hasattr(data, p) for p in _PROTOCOLS) and not _is_column(data)


_PROTOCOLS = ("__arrow_c_stream__", "__arrow_c_array__", "__dataframe__")


def _is_column(values: Any) -> bool:
    """Whether something holds a value, or several, for each event."""
    if isinstance(values, ak.Array):
        return True
    if isinstance(values, Sequence):
        return not isinstance(values, str | bytes)
    if isinstance(values, np.ndarray):
        return values.ndim > 0
    # Series of pandas and polars, columns of Arrow, tensors.
    return not isinstance(values, type) and hasattr(values, "__array__") and not hasattr(values, "columns")


EventsLike: TypeAlias = Annotated[ak.Array, Made(_TAKEN, takes_events, events_in, lambda data: _hint(data))]
"""What public functions take for events: anything of which `as_events` makes events."""


def _hint(data: Any) -> str:
    """How events are made of something else."""
    if hasattr(data, "compute") and hasattr(data, "dask"):
        return "; call its compute() first"
    if isinstance(data, np.ndarray) and data.dtype.names is None:
        return "; give its columns names, as in {'x': array[:, 0], 'y': array[:, 1]}"
    if isinstance(data, Mapping):
        wrong = next((n for n, v in data.items() if not isinstance(n, str) or not _is_column(v)), None)
        return "" if wrong is None else f"; {wrong!r} has no value for each event"
    if hasattr(data, "arrays"):
        return "; tree.arrays() of uproot gives them, hepgan.read_events reads them"
    if hasattr(data, "AsNumpy"):
        return "; AsNumpy() of ROOT gives columns by name"
    return "; hepgan.read_events reads events of files"


def _called(data: Any) -> str:
    return f"an array of shape {data.shape}" if isinstance(data, np.ndarray) else type(data).__name__


def _opened(data: Any) -> ak.Array | Source:
    """Events in an array, or a source of columns."""
    if isinstance(data, EventBatch):
        return to_awkward(data)
    if isinstance(data, ak.Array):
        if data.attrs.get(ATTRIBUTE) is not None:
            return data
        return _behaving(data) if any(map(_is_record, _forms(data))) else ArraySource(data)
    if isinstance(data, np.ndarray):
        return ArraySource(_columns({n: _member(data, n) for n in data.dtype.names or ()}))
    if isinstance(data, Mapping):
        array = _columns(data)
        return _behaving(array) if any(map(_is_record, _forms(array))) else ArraySource(array)
    return _table(data)


def _read(source: Source, schema: EventSchema | None, *, check: bool) -> ak.Array:
    layout = schema or tolerant(measured(source, drafted(source)))
    if schema is None:
        for name, note in source.notes.items():
            warnings.warn(f"{source.label}, {name}: {note}", UserWarning, stacklevel=4)
    if schema is None and source.left_out:
        names = ", ".join(source.left_out[:5]) + (", ..." if len(source.left_out) > 5 else "")
        message = f"{source.label}: left out {len(source.left_out)} branches of other types: {names}"
        warnings.warn(message, UserWarning, stacklevel=4)
    events = Reader(source, layout, "raise" if check else "keep").chunk(0, source.entries)
    if schema is None:
        attach(events, complete(events.attrs[ATTRIBUTE], events))
    return events


def _forms(array: ak.Array) -> list[Any]:
    form = ak.to_layout(array).form
    while form.is_option or form.is_indexed:
        form = form.content
    return list(form.contents)


def _is_record(form: Any) -> bool:
    while form.is_option or form.is_indexed or (form.is_list and form.parameter("__array__") is None):
        form = form.content
    return bool(form.is_record)


def _behaving(array: ak.Array) -> ak.Array:
    """The array, with vector's behaviour of records that hold a momentum and have no name."""
    for name, form in zip(array.fields, _forms(array), strict=True):
        record = form
        while record.is_option or record.is_indexed or record.is_list:
            record = record.content
        if record.is_record and record.parameter("__record__") is None:
            momentum = record_name(tuple(record.fields))
            if momentum is not None:
                array = ak.with_field(array, ak.with_name(array[name], momentum), name)
    return array


# ------------------------------------------------------------------ columns by name


def _columns(data: Mapping[str, Any]) -> ak.Array:
    """An array with a field for each column.

    Raises:
        InputError: If a column holds something else, or has another length.
    """
    found: dict[str, ak.Array] = {}
    first, size = "", None
    for name, values in data.items():
        for column, array in _column(name, values).items():
            if column in found:
                message = "several columns have this name; give each a name of its own"
                raise InputError(message, file="the table", branch=column)
            if size is not None and len(array) != size:
                message = f"has {len(array)} values, but {first} has {size}"
                raise InputError(message, file="the table", branch=column)
            first, size = first or column, len(array)
            found[column] = array
    return ak.zip(found, depth_limit=1)


def _column(name: str, values: Any) -> dict[str, ak.Array]:
    if isinstance(values, ak.Array):
        return {name: values}
    try:
        array = _numbers(values)
    except Exception as error:
        message = f"holds no numbers, texts or lists of numbers ({type(error).__name__})"
        raise InputError(message, file="the table", branch=name) from error
    if isinstance(array, ak.Array):
        return {name: array}
    if array.dtype.names is not None:
        return {k: v for n in array.dtype.names for k, v in _column(f"{name}.{n}", array[n]).items()}
    if array.ndim == 2 and array.shape[1] > _MOST_COLUMNS:
        message = (
            f"has the shape {array.shape}; give each column a name, as in "
            f"{{'{name}_0': {name}[:, 0], ...}}, or make arrays of it: ak.from_numpy({name})"
        )
        raise InputError(message, file="the table", branch=name)
    if array.dtype.kind not in "biufUS":
        message = f"holds {array.dtype.name}; a column has numbers, texts or lists of numbers"
        raise InputError(message, file="the table", branch=name)
    if array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8", "replace")
    if array.ndim != 2:
        return {name: ak.from_numpy(array, regulararray=True)}
    return {f"{name}_{i}": ak.from_numpy(np.ascontiguousarray(array[:, i])) for i in range(array.shape[1])}


def _member(data: NDArray[Any], name: str) -> Any:
    """A column of a structured array; one of arrays stays one."""
    values = data[name]
    return ak.from_numpy(np.ascontiguousarray(values), regulararray=True) if values.ndim > 1 else values


def _numbers(values: Any) -> NDArray[Any] | ak.Array:
    """Values as an array of NumPy, or as one of lists of several lengths."""
    if isinstance(values, np.ma.MaskedArray):
        wide = values.dtype if values.dtype.kind == "f" else np.dtype(np.float64)
        masked: Any = values.astype(wide)
        return masked.filled(np.nan) if np.ma.is_masked(values) else values.data
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    if isinstance(values, Sequence):
        return ak.from_iter(values) if any(map(_is_column, values[:1])) else _plain(np.asarray(values))
    return _plain(np.asarray(values))


def _plain(array: NDArray[Any]) -> NDArray[Any] | ak.Array:
    if array.dtype.kind == "T":  # numpy's texts of any length
        return array.astype(str)
    if array.dtype.kind != "O":
        return array
    found = ak.from_iter(array.tolist())
    flat = found.ndim == 1 and found.layout.is_numpy
    return np.asarray(found) if flat else found


# ------------------------------------------------------------------ tables


def _table(data: Any) -> TableSource:
    """A table, without an index.

    Raises:
        InputError: If its rows are no events, or it is no table.
    """
    import pyarrow as pa

    levels = getattr(getattr(data, "index", None), "nlevels", 1)
    if levels > 1:
        names = ", ".join(map(str, data.index.names))
        message = (
            f"has an index of several levels ({names}), so a row is a part of an event; give events one row "
            "each, or lists"
        )
        raise InputError(message, file="the table")
    if hasattr(data, "reset_index") and hasattr(data, "set_axis"):
        data = data.reset_index(drop=True)
        data = data.set_axis([_text(n) for n in data.columns], axis=1)
    try:
        if isinstance(data, pa.Table):
            table = data
        elif hasattr(data, "__arrow_c_stream__") or hasattr(data, "__arrow_c_array__"):
            table = pa.table(data)
        else:
            from pyarrow.interchange import from_dataframe

            table = from_dataframe(data)
    except Exception as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        message = f"is no table of numbers, texts and lists ({first:.150})"
        raise InputError(message, file="the table") from error
    return TableSource(table, "the table")


def _text(name: Any) -> str:
    """A column's name: ``x0`` where it is a number, ``a_b`` where there are several levels."""
    if isinstance(name, tuple):
        return "_".join(str(n) for n in name if n != "")
    return name if isinstance(name, str) else f"x{name}"
