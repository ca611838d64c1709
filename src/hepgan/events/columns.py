"""Events to the columns of a file and back, by their buffers alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from hepgan.errors import InputError
from hepgan.events.behaviors import record_name
from hepgan.events.schema import Collection, EventSchema

__all__ = [
    "ATTRIBUTE",
    "Column",
    "Jagged",
    "Parts",
    "assemble",
    "column",
    "content",
    "parts",
    "scalar_values",
]

ATTRIBUTE = "@hepgan_schema"
"""The attribute of an events array that holds its schema; transient, so it is never written or pickled."""

Numbers: TypeAlias = NDArray[Any]


class Jagged(NamedTuple):
    """Lists of numbers: those of event i are ``content[offsets[i]:offsets[i + 1]]``; ``offsets[0]`` is 0."""

    offsets: NDArray[np.int64]
    content: Numbers

    def __len__(self) -> int:
        return len(self.offsets) - 1


Column: TypeAlias = "Numbers | Jagged"
"""One number (or string, as numpy's str) in each event, or a list of them."""


class Parts(NamedTuple):
    """The numbers of a collection: offsets (N + 1,) or None for single objects, and each field's content."""

    offsets: NDArray[np.int64] | None
    fields: dict[str, Numbers]


def column(layout: Any, *, file: str | None = None, branch: str | None = None) -> Column:
    """The buffers of one branch.

    Args:
        layout: Its awkward layout.
        file: For errors.
        branch: For errors.

    Raises:
        InputError: If an entry is missing (null).
    """
    layout = _plain(layout, file, branch)
    if layout.is_list and layout.parameter("__array__") not in ("string", "bytestring"):
        layout = layout.to_ListOffsetArray64(True)
        inner = _plain(layout.content[: layout.offsets[-1]], file, branch)
        return Jagged(np.asarray(layout.offsets.data), content(inner))
    return content(layout)


def content(layout: Any) -> Numbers:
    """A flat layout as numpy; strings as numpy's fixed-width str."""
    if layout.is_unknown:
        return np.zeros(len(layout))
    if layout.parameter("__array__") in ("string", "bytestring"):
        return np.asarray(ak.to_numpy(layout)).astype(str) if len(layout) else np.zeros(0, "U1")
    return np.asarray(layout.data if layout.is_numpy else ak.to_numpy(layout))


def _plain(layout: Any, file: str | None, branch: str | None) -> Any:
    while layout.is_option or layout.is_indexed:
        if layout.is_option:
            missing = np.asarray(layout.mask_as_bool(valid_when=False))
            if missing.any():
                message = "a value is missing (null)"
                raise InputError(message, file=file, branch=branch, entry=int(missing.argmax()))
        layout = layout.project()
    return layout


def _layout(values: Numbers) -> Any:
    if values.dtype.kind == "U":
        return ak.to_layout(ak.from_numpy(values))
    return ak.contents.NumpyArray(values)


def assemble(schema: EventSchema, columns: Mapping[str, Column], size: int) -> ak.Array:
    """The events that a schema makes of a file's columns; no numbers of jagged branches are copied.

    Args:
        schema: What the columns hold.
        columns: The columns by branch.
        size: Number of events.
    """
    contents: list[Any] = [_collection(c, columns) for c in schema.collections]
    named = (*schema.scalars, *schema.identifiers)
    contents.extend(_layout(np.asarray(columns[f.branch])) for f in named)
    names = [*schema.collection_names, *(f.name for f in named)]
    record = ak.contents.RecordArray(contents, names, length=size)
    return ak.Array(record, attrs={ATTRIBUTE: schema})


def _collection(c: Collection, columns: Mapping[str, Column]) -> Any:
    parameters = {"__record__": name} if (name := record_name(c.field_names)) else None
    offsets: NDArray[np.int64] | None = None
    contents = []
    for f in c.fields:
        values = columns[f.branch]
        if isinstance(values, Jagged):
            offsets = values.offsets if offsets is None else offsets
            contents.append(_layout(values.content))
        elif c.layout == "indexed":
            stacked = np.stack([np.asarray(columns[b]) for b in f.branches], axis=1)
            contents.append(_layout(stacked.reshape(-1)))
            offsets = np.arange(len(stacked) + 1, dtype=np.int64) * c.max_count
        else:
            contents.append(_layout(np.asarray(values)))
    record = ak.contents.RecordArray(contents, list(c.field_names), parameters=parameters)
    return record if offsets is None else ak.contents.ListOffsetArray(ak.index.Index64(offsets), record)


def parts(events: ak.Array, collection: Collection) -> Parts:
    """The buffers of a collection in an events array.

    Raises:
        InputError: If the events lack it or one of its fields, or an entry is missing (None).
    """
    if collection.name not in events.fields:
        message = f"these events have no {collection.name}; they have {', '.join(events.fields) or 'nothing'}"
        raise InputError(message, branch=collection.fields[0].branch)
    layout = _plain(ak.to_layout(events[collection.name]), None, collection.name)
    offsets: NDArray[np.int64] | None = None
    if layout.is_list:
        layout = layout.to_ListOffsetArray64(True)
        offsets = np.asarray(layout.offsets.data)
        layout = _plain(layout.content[: offsets[-1]], None, collection.name)
    if (offsets is None) != (collection.layout == "single"):
        found, wanted = ("one object", "a list") if offsets is None else ("a list", "one object")
        message = f"{collection.name} holds {found} in each event, where {wanted} is expected"
        raise InputError(message, branch=collection.fields[0].branch)
    if not layout.is_record:
        message = f"{collection.name} holds no fields"
        raise InputError(message, branch=collection.fields[0].branch)
    fields = {}
    for f in collection.fields:
        if f.name not in layout.fields:
            message = f"{collection.name} has no {f.name}; it has {', '.join(layout.fields)}"
            raise InputError(message, branch=f.branch)
        inner = layout.content(f.name)[: layout.length]
        values = column(inner, branch=f.branch)
        if isinstance(values, Jagged):
            message = f"{collection.name}.{f.name} holds lists, not numbers"
            raise InputError(message, branch=f.branch)
        fields[f.name] = values
    return Parts(offsets, fields)


def scalar_values(events: ak.Array, name: str, branch: str) -> Numbers:
    """The buffer of a scalar or identifier.

    Raises:
        InputError: If the events lack it, or it holds lists.
    """
    if name not in events.fields:
        message = f"these events have no {name}; they have {', '.join(events.fields) or 'nothing'}"
        raise InputError(message, branch=branch)
    values = column(ak.to_layout(events[name]), branch=branch)
    if isinstance(values, Jagged):
        message = f"{name} holds lists, not one number in each event"
        raise InputError(message, branch=branch)
    return values


def sliced(columns: Mapping[str, Column], start: int, stop: int) -> dict[str, Column]:
    """Events ``start`` to ``stop`` of all columns, without a copy of the numbers."""
    shared: dict[int, NDArray[np.int64]] = {}
    result: dict[str, Column] = {}
    for name, values in columns.items():
        if isinstance(values, Jagged):
            key, first, last = id(values.offsets), values.offsets[start], values.offsets[stop]
            if key not in shared:
                shared[key] = values.offsets[start : stop + 1] - first
            result[name] = Jagged(shared[key], values.content[first:last])
        else:
            result[name] = values[start:stop]
    return result


def concatenated(values: Sequence[Column]) -> Column:
    """One column from several of the same kind."""
    lists = [v for v in values if isinstance(v, Jagged)]
    if not lists:
        return np.concatenate([v for v in values if not isinstance(v, Jagged)])
    steps = np.cumsum([0, *(v.offsets[-1] for v in lists[:-1])])
    offsets = [np.zeros(1, np.int64), *(v.offsets[1:] + s for v, s in zip(lists, steps, strict=True))]
    return Jagged(np.concatenate(offsets), np.concatenate([v.content for v in lists]))
