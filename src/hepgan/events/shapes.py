"""Fields with a shape: arrays of one shape in each event, such as images, calorimeter layers and waveforms.

An array of two indices or more is one always. What a file has as arrays of one index, ``part_pt[30]`` or
``waveform[500]``, may be the places of objects as well: `is_array` has the rule.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from pydantic import Field as Setting
from pydantic import ValidationError, model_validator

from hepgan.arguments import checked
from hepgan.config import Config
from hepgan.errors import InputError
from hepgan.events.axes import Axis
from hepgan.events.schema import Collection, EventSchema, Field

__all__ = ["AxisConfig", "Grids", "is_array", "with_arrays", "with_grids"]


class AxisConfig(Config):
    """One axis of a grid in a recipe: ``[low, high]``, or a mapping.

    Attributes:
        low: Where the first bin begins.
        high: Where the last bin ends.
        bins: How many bins there are; without it, as many as the file's array has along its index.
        unit: The coordinate's unit, for labels.
    """

    low: float
    high: float
    bins: int | None = Setting(default=None, gt=0)
    unit: str = ""

    @model_validator(mode="before")
    @classmethod
    def _from_pair(cls, value: Any) -> Any:
        if isinstance(value, list | tuple):
            if len(value) != 2:
                msg = f"an axis is [low, high], not {list(value)}"
                raise ValueError(msg)
            return {"low": value[0], "high": value[1]}
        return value

    @model_validator(mode="after")
    def _is_an_interval(self) -> AxisConfig:
        self.axis("it")
        return self

    def axis(self, name: str) -> Axis:
        """The axis of this name."""
        return Axis(name=name, low=self.low, high=self.high, unit=self.unit)


Grids: TypeAlias = Mapping[str, Mapping[str, AxisConfig | Mapping[str, Any] | Sequence[float]]]
"""Axes of arrays, by the names of these."""


def is_array(c: Collection) -> bool:
    """Whether the arrays of one size that a draft has made a collection are fields with a shape instead.

    They are objects if they make a momentum, or if the file tells where there is none: by a mask, by a
    counter, or by what stands in its place. Zeros at the end of an array that is alone tell nothing.

    Args:
        c: A collection, with what is known of absent objects.
    """
    if c.layout != "padded" or c.coordinates or c.counter is not None or c.mask is not None:
        return False
    fills = [f.fill for f in c.fields if f.fill is not None]
    return not fills or (len(c.fields) == 1 and fills == [0])


def with_arrays(schema: EventSchema) -> EventSchema:
    """A drafted schema where arrays that are no objects are fields with a shape, called as in the file."""
    return _apart(schema, {b for c in schema.collections if is_array(c) for b in c.branches})


@checked
def with_grids(schema: EventSchema, grids: Grids) -> EventSchema:
    """The schema with the axes of fields with a shape.

    Args:
        schema: What events hold.
        grids: By the name (or the branch) of a field its axes, slowest index first, each as ``(low, high)``
            or as `AxisConfig` has it. The numbers of bins may make another shape of a field: (25, 25) of an
            array of 625. An array that is taken for objects becomes a field with a shape, and so do lists
            without a momentum (``vector<float>``), which need the numbers of bins, and are written as arrays.

    Raises:
        InputError: If there is no such array, or if its cells do not make the grid.
    """
    schema = _apart(
        schema, {b for c in schema.collections if _may_be_arrays(c) for b in c.branches} & grids.keys()
    )
    new: dict[str, Field] = {}
    for name, axes in grids.items():
        field = next((f for f in schema.scalars if name in (f.name, f.branch)), None)
        if field is None or not (field.shape or field.lists):
            arrays = ", ".join(f.name for f in schema.scalars if f.shape) or "none"
            what = "no such array" if field is None else "it is one number in each event"
            message = f"{what}; the arrays are: {arrays}"
            raise InputError(message, branch=name)
        new[field.name] = _gridded(field, {n: _axis(n, a, name) for n, a in axes.items()})
    return schema.model_copy(update={"scalars": tuple(new.get(f.name, f) for f in schema.scalars)})


def arrays_in(schema: EventSchema) -> set[str]:
    """Names and branches of which `with_grids` can make fields with axes."""
    known = {n for f in schema.scalars if f.shape or f.lists for n in (f.name, f.branch)}
    return known.union(*(c.branches for c in schema.collections if _may_be_arrays(c)))


def _may_be_arrays(c: Collection) -> bool:
    return c.layout == "padded" or (c.layout == "jagged" and not c.coordinates)


def _axis(name: str, value: Any, of: str) -> AxisConfig:
    try:
        return AxisConfig.model_validate(value)
    except ValidationError as error:
        message = f"the axis {name} is no [low, high] with low < high: {value}"
        raise InputError(message, branch=of) from error


def _gridded(field: Field, axes: Mapping[str, AxisConfig]) -> Field:
    """A field with axes, reshaped where these say so."""
    there = " x ".join(map(str, field.shape))
    known: tuple[int | None, ...] = field.shape if len(axes) == len(field.shape) else (None,) * len(axes)
    bins = [a.bins or n for a, n in zip(axes.values(), known, strict=True)]
    shape = tuple(n for n in bins if n is not None)
    if len(shape) < len(bins):
        lacking = next(name for name, n in zip(axes, bins, strict=True) if n is None)
        what = f"an array of {there}" if field.shape else "lists"
        message = (
            f"it is {what}, which the axes {', '.join(axes)} may divide in several ways; write {lacking}: "
            "{low: , high: , bins: }"
        )
        raise InputError(message, branch=field.branch)
    update = {
        "shape": shape,
        "axes": tuple(a.axis(name) for name, a in axes.items()),
        "stored": () if shape == (field.stored or field.shape) else field.stored or field.shape,
    }
    cells = 1
    for n in shape:
        cells *= n
    if field.lists:
        update["stored"] = ()
    elif cells != field.cells:
        message = f"{' x '.join(map(str, shape))} bins are {cells} cells, but it is an array of {there}"
        raise InputError(message, branch=field.branch)
    return field.model_copy(update=update)


def _apart(schema: EventSchema, arrays: set[str]) -> EventSchema:
    """The schema with fields of collections as fields with a shape; what counted them are numbers."""
    if not arrays:
        return schema
    collections: list[Collection] = []
    scalars = list(schema.scalars)
    names = {*schema.collection_names, *schema.scalar_names, *(f.name for f in schema.identifiers)}
    for c in schema.collections:
        gone = [f for f in c.fields if f.branch in arrays]
        left = tuple(f for f in c.fields if f.branch not in arrays)
        if not gone:
            collections.append(c)
            continue
        if left:
            collections.append(c.model_copy(update={"fields": left}))
        else:
            names.discard(c.name)
        for f in gone:
            name = f.branch
            while name in names:
                name += "_"
            names.add(name)
            lists = c.layout == "jagged"
            update = {"name": name, "shape": () if lists else (c.places,), "lists": lists, "fill": None}
            scalars.append(f.model_copy(update=update))
        own = () if left else (*c.counters, *(f.counter for f in gone if f.counter is not None))
        scalars += [Field(name=n.branch, branches=(n.branch,), dtype=n.dtype, title=n.title) for n in own]
    return schema.model_copy(update={"collections": tuple(collections), "scalars": tuple(scalars)})
