"""Events as awkward arrays: their behaviour as momenta, and their buffers as the columns of a file.

vector refuses a record with both ``energy`` and ``mass``, or both ``px, py`` and ``pt, phi``, since it could
not know which to use. Files hold such records, and have to be written as they were read; so they get a
record name of their own, behind which the preferred coordinates (`hepgan.events.COORDINATES`) make the
momentum, and a stored number is returned as stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple, TypeAlias

import awkward as ak
import numpy as np
import vector
from numpy.typing import NDArray
from vector.backends import awkward as backend

from hepgan.errors import InputError
from hepgan.events.missing import with_nulls
from hepgan.events.schema import Collection, EventSchema, Field, coordinates

__all__ = [
    "ATTRIBUTE",
    "Buffer",
    "Buffers",
    "Jagged",
    "assemble",
    "buffer",
    "buffers",
    "content",
    "record_name",
    "scalar_values",
    "shape_text",
]

_GENERIC = {"px": "x", "py": "y", "pz": "z", "pt": "rho", "energy": "t", "mass": "tau"}
_NAMES = (*_GENERIC, "phi", "eta", "theta")
_OTHERS = (*_GENERIC.values(), "E", "e", "M", "m")
_SIZES = {2: "2D", 3: "3D", 4: "4D"}


def record_name(names: Sequence[str]) -> str | None:
    """The record name under which fields with these names behave as momenta.

    Args:
        names: The names of all fields of an object.

    Returns:
        ``Momentum2D``, ``Momentum3D`` or ``Momentum4D``; the same with ``Redundant`` before it where there
        are more coordinates than needed; None if the fields make no momentum.
    """
    used = coordinates(tuple(names))
    if not used:
        return None
    size = _SIZES[len(used)]
    spare = {*_NAMES, *_OTHERS}.intersection(names) - set(used)
    return f"RedundantMomentum{size}" if spare else f"Momentum{size}"


class _Redundant:
    """Takes the preferred coordinates, and returns a stored number as it is stored."""

    def __awkward_validation__(self) -> None:
        """Accepts the redundant fields."""

    # What has none of these names is a sum, which vector gives the name of its terms, with x, y, z, t.

    @property
    def azimuthal(self: Any) -> Any:
        names = set(ak.fields(self))
        if {"px", "py"} <= names:
            return backend.AzimuthalAwkwardXY(self["px"], self["py"])
        if {"pt", "phi"} <= names:
            return backend.AzimuthalAwkwardRhoPhi(self["pt"], self["phi"])
        return super().azimuthal  # type: ignore[misc]

    @property
    def longitudinal(self: Any) -> Any:
        names = ak.fields(self)
        if "pz" in names:
            return backend.LongitudinalAwkwardZ(self["pz"])
        if "eta" in names:
            return backend.LongitudinalAwkwardEta(self["eta"])
        return super().longitudinal  # type: ignore[misc]

    @property
    def temporal(self: Any) -> Any:
        names = ak.fields(self)
        if "mass" in names:
            return backend.TemporalAwkwardTau(self["mass"])
        if "energy" in names:
            return backend.TemporalAwkwardT(self["energy"])
        return super().temporal  # type: ignore[misc]


def _stored(name: str) -> property:
    # vector's px is its x, which may be stored too and be something else (a vertex).
    generic = _GENERIC.get(name, name)

    def get(self: Any) -> Any:
        return self[name] if name in ak.fields(self) else getattr(super(_Redundant, self), generic)

    return property(get)


for _name in (*_NAMES, *_GENERIC.values()):
    setattr(_Redundant, _name, _stored(_name))


def _register() -> None:
    vector.register_awkward()
    renamed = {f"Momentum{s}": f"RedundantMomentum{s}" for s in _SIZES.values()}
    for key, value in backend.behavior.items():
        parts = key if isinstance(key, tuple) else (key,)
        choices = [(p, renamed[p]) if isinstance(p, str) and p in renamed else (p,) for p in parts]
        for chosen in product(*choices):
            if chosen != parts:
                ak.behavior[chosen if isinstance(key, tuple) else chosen[0]] = value
    for size in _SIZES.values():
        for kind, key in (
            ("Array", ("*", f"RedundantMomentum{size}")),
            ("Record", f"RedundantMomentum{size}"),
        ):
            base = getattr(backend, f"Momentum{kind}{size}")
            ak.behavior[key] = type(f"RedundantMomentum{kind}{size}", (_Redundant, base), {})


_register()


ATTRIBUTE = "@hepgan_schema"
"""The attribute of an events array that holds its schema; transient, so it is never written or pickled."""

Numbers: TypeAlias = NDArray[Any]


class Jagged(NamedTuple):
    """Lists of numbers: those of event i are ``content[offsets[i]:offsets[i + 1]]``; ``offsets[0]`` is 0."""

    offsets: NDArray[np.int64]
    content: Numbers

    def __len__(self) -> int:
        return len(self.offsets) - 1


Buffer: TypeAlias = "Numbers | Jagged"
"""One number (or string, as numpy's str) in each event, numbers (N, *shape) of arrays, or lists of them."""


class Buffers(NamedTuple):
    """The numbers of a collection: offsets (N + 1,) or None for single objects, and each field's content."""

    offsets: NDArray[np.int64] | None
    fields: dict[str, Numbers]


def buffer(layout: Any, *, file: str | None = None, branch: str | None = None) -> Buffer:
    """The buffers of one branch; for numbers that are null see `hepgan.events.missing`.

    Args:
        layout: Its awkward layout.
        file: For errors.
        branch: For errors.

    Raises:
        InputError: If a list is missing (null).
    """
    if (regular := _regular(layout)) is not None:
        return regular
    if _holds_lists(layout):
        layout = _plain(layout, file, branch).to_ListOffsetArray64(True)
        return Jagged(np.asarray(layout.offsets.data), _numbers(layout.content[: layout.offsets[-1]]))
    return _numbers(layout)


def _regular(layout: Any) -> Numbers | None:
    """The arrays of one shape, of numbers, that a layout is, as (N, *shape); None if it is anything else."""
    length, shape = layout.length, []
    while True:
        while layout.is_indexed and not layout.is_option:
            layout = layout.project()
        if layout.is_option and not np.asarray(layout.mask_as_bool(valid_when=False)).any():
            layout = layout.project()
        if not layout.is_regular or not layout.size:
            break
        shape.append(layout.size)
        layout = layout.content[: layout.length * layout.size]
    inner = layout
    while inner.is_option or inner.is_indexed:
        inner = inner.content
    if not inner.is_numpy or not (shape or inner.inner_shape):
        return None
    if inner.inner_shape:
        shape += inner.inner_shape
        layout = layout.to_RegularArray() if layout.is_numpy else layout
        while layout.is_regular:
            layout = layout.content
    return _numbers(layout).reshape(length, *shape)


def _holds_lists(layout: Any) -> bool:
    while layout.is_option or layout.is_indexed:
        layout = layout.content
    return bool(layout.is_list) and layout.parameter("__array__") not in ("string", "bytestring")


def _numbers(layout: Any) -> Numbers:
    """A flat layout, some entries of which may be null, as numpy."""
    if layout.is_option or layout.is_indexed:
        null = np.asarray(ak.to_numpy(ak.is_none(ak.Array(layout))))
        if null.any():
            known = content(_plain(ak.to_layout(ak.drop_none(ak.Array(layout))), None, None))
            values = np.zeros(len(null), known.dtype)
            values[~null] = known
            return with_nulls(values, null)
    return content(_plain(layout, None, None))


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
    return ak.contents.NumpyArray(np.ascontiguousarray(values)).to_RegularArray()


def assemble(schema: EventSchema, columns: Mapping[str, Buffer], size: int) -> ak.Array:
    """The events that a schema makes of columns; no numbers of lists are copied.

    Args:
        schema: What the columns hold.
        columns: The columns by branch; of several objects, lists by their fields' first branches.
        size: Number of events.
    """
    contents: list[Any] = [_collection(c, columns) for c in schema.collections]
    named = (*schema.scalars, *schema.identifiers)
    contents.extend(_layout(np.asarray(columns[f.branch])) for f in named)
    names = [*schema.collection_names, *(f.name for f in named)]
    record = ak.contents.RecordArray(contents, names, length=size)
    return ak.Array(record, attrs={ATTRIBUTE: schema})


def _collection(c: Collection, columns: Mapping[str, Buffer]) -> Any:
    parameters = {"__record__": name} if (name := record_name(c.field_names)) else None
    offsets: NDArray[np.int64] | None = None
    contents = []
    for f in c.fields:
        values = columns[f.branch]
        if isinstance(values, Jagged):
            offsets = values.offsets if offsets is None else offsets
            contents.append(_layout(values.content))
        else:
            contents.append(_layout(np.asarray(values)))
    record = ak.contents.RecordArray(contents, list(c.field_names), parameters=parameters)
    return record if offsets is None else ak.contents.ListOffsetArray(ak.index.Index64(offsets), record)


def buffers(events: ak.Array, collection: Collection) -> Buffers:
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
        values = buffer(inner, branch=f.branch)
        if isinstance(values, Jagged) or values.ndim > 1:
            message = f"{collection.name}.{f.name} holds lists, not numbers"
            raise InputError(message, branch=f.branch)
        fields[f.name] = values
    return Buffers(offsets, fields)


def scalar_values(events: ak.Array, field: Field) -> Numbers:
    """The buffer (N, *shape) of a scalar or identifier.

    Raises:
        InputError: If the events lack it, or it holds lists or has another shape.
    """
    if field.name not in events.fields:
        message = f"these events have no {field.name}; they have {', '.join(events.fields) or 'nothing'}"
        raise InputError(message, branch=field.branch)
    values = buffer(ak.to_layout(events[field.name]), branch=field.branch)
    if isinstance(values, Jagged) and field.lists and (np.diff(values.offsets) == field.cells).all():
        return values.content.reshape(len(values), *field.shape)
    if not isinstance(values, Jagged) and values.shape[1:] in (field.shape, field.stored or field.shape):
        return values.reshape(len(values), *field.shape)
    found = "lists" if isinstance(values, Jagged) else shape_text(values.shape[1:])
    message = f"{field.name} holds {found}, not {shape_text(field.shape)} in each event"
    raise InputError(message, branch=field.branch)


def shape_text(shape: tuple[int, ...]) -> str:
    """What has a shape, in words: ``one number``, ``an array of 25 x 25``."""
    return f"an array of {' x '.join(map(str, shape))}" if shape else "one number"


def sliced(columns: Mapping[str, Buffer], start: int, stop: int) -> dict[str, Buffer]:
    """Events ``start`` to ``stop`` of all columns, without a copy of the numbers."""
    shared: dict[int, NDArray[np.int64]] = {}
    result: dict[str, Buffer] = {}
    for name, values in columns.items():
        if isinstance(values, Jagged):
            key, first, last = id(values.offsets), values.offsets[start], values.offsets[stop]
            if key not in shared:
                shared[key] = values.offsets[start : stop + 1] - first
            result[name] = Jagged(shared[key], values.content[first:last])
        else:
            result[name] = values[start:stop]
    return result


def concatenated(values: Sequence[Buffer]) -> Buffer:
    """One column from several of the same kind."""
    lists = [v for v in values if isinstance(v, Jagged)]
    if not lists:
        return np.concatenate([v for v in values if not isinstance(v, Jagged)])
    steps = np.cumsum([0, *(v.offsets[-1] for v in lists[:-1])])
    offsets = [np.zeros(1, np.int64), *(v.offsets[1:] + s for v, s in zip(lists, steps, strict=True))]
    return Jagged(np.concatenate(offsets), np.concatenate([v.content for v in lists]))
