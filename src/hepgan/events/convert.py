"""Events as tensors, and back."""

from __future__ import annotations

from typing import Any

import awkward as ak
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hepgan.arguments import checked
from hepgan.errors import InputError
from hepgan.events.batch import EventBatch, Objects
from hepgan.events.buffers import (
    ATTRIBUTE,
    Buffer,
    Jagged,
    Numbers,
    assemble,
    buffers,
    scalar_values,
)
from hepgan.events.grids import rounded
from hepgan.events.inference import schema_of
from hepgan.events.missing import type_in_memory, with_nulls
from hepgan.events.schema import Collection, EventSchema, Field
from hepgan.runtime import choose_device

__all__ = ["to_awkward", "to_batch", "to_columns"]


@checked
def to_batch(
    events: ak.Array,
    schema: EventSchema | None = None,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float64,
) -> EventBatch:
    """Events as dense tensors: (N, max_count) for the objects of a collection, (N,) for numbers of the event.

    Floating-point numbers become ``dtype``, integers and booleans int64, strings int64 indices into the
    field's ``values``. Empty places hold 0.

    Args:
        events: Events as `read_events` gives them.
        schema: What to take; `schema_of` the events if None.
        device: Where the tensors are to be.
        dtype: Type of the floating-point numbers.

    Raises:
        InputError: If a field is missing, there are more objects than the schema's ``max_count``, fewer in a
            collection of fixed count, a string is not among the values, or a whole number is beyond 2^63.
    """
    device = choose_device(device)
    schema = schema_of(events) if schema is None else schema
    collections: dict[str, Objects] = {}
    for c in schema.collections:
        offsets, fields = buffers(events, c)
        tensors = {f.name: _tensor(fields[f.name], f, dtype, device) for f in c.fields}
        collections[c.name] = Objects(tensors) if offsets is None else _dense(tensors, c, offsets, device)
    scalars = {f.name: _tensor(scalar_values(events, f), f, dtype, device) for f in schema.scalars}
    return EventBatch(schema, collections, scalars, size=len(events))


def _tensor(values: Numbers, field: Field, dtype: torch.dtype, device: torch.device | str) -> Tensor:
    if values.dtype.kind == "U":
        return torch.from_numpy(_indices(values, field)).to(device)
    if values.dtype == np.uint64 and values.size and (high := values.max()) > np.iinfo(np.int64).max:
        message = f"holds {high}, beyond 2^63, which tensors cannot; leave the branch out"
        raise InputError(message, branch=field.branch)
    if values.dtype.kind == "u" and values.dtype.itemsize > 1:
        values = values.astype(np.int64)
    if not values.dtype.isnative or not values.flags.writeable or not values.flags.c_contiguous:
        values = np.array(values, dtype=values.dtype.newbyteorder("="), order="C")
    tensor = torch.from_numpy(values)
    # Always a copy, so that changing the batch leaves the events as they are.
    wanted = dtype if values.dtype.kind == "f" else torch.int64
    return tensor.to(device=device, dtype=wanted, copy=True)


def _indices(values: Numbers, field: Field) -> NDArray[np.int64]:
    known = np.array(field.values or (), dtype=str)
    if not known.size:
        message = "strings need a category with its values"
        raise InputError(message, branch=field.branch)
    at = np.minimum(np.searchsorted(known, values), known.size - 1)
    wrong = known[at] != values
    if wrong.any():
        message = f"{str(values[int(wrong.argmax())])!r} is not in {', '.join(map(str, known))}"
        raise InputError(message, branch=field.branch, entry=int(wrong.argmax()))
    return at.astype(np.int64)


def _dense(
    tensors: dict[str, Tensor], c: Collection, offsets: NDArray[np.int64], device: torch.device | str
) -> Objects:
    counts = np.diff(offsets)
    wrong = counts > c.max_count if not c.fixed else counts != c.max_count
    if wrong.any():
        entry = int(wrong.argmax())
        allowed = f"{c.min_count} to {c.max_count}" if not c.fixed else f"{c.max_count}"
        message = f"{counts[entry]} objects in {c.name}, where the schema allows {allowed}"
        raise InputError(message, branch=c.counter or c.fields[0].branch, entry=entry)
    return Objects.of_lists(tensors, torch.from_numpy(counts).to(device), c.max_count)


def to_columns(batch: EventBatch) -> dict[str, Buffer]:
    """The columns, by branch, that hold a batch; in the schema's types.

    Of several objects, lists by their fields' first branches, even where the file has places for them.
    """
    columns: dict[str, Buffer] = {}
    for c in batch.schema.collections:
        objects = batch.collections[c.name]
        if c.layout == "single":
            for f in c.fields:
                columns[f.branch] = _numpy(objects[f.name][:, 0], f)
            continue
        size, most = objects.shape
        if objects.full:
            offsets, index = np.arange(size + 1, dtype=np.int64) * most, None
        else:
            offsets, index = np.zeros(size + 1, np.int64), objects.mask.reshape(-1).nonzero()[:, 0]
            np.cumsum(objects.mask.sum(1).cpu().numpy(), out=offsets[1:])
        for f in c.fields:
            flat = objects[f.name].reshape(-1)
            columns[f.branch] = Jagged(offsets, _numpy(flat if index is None else flat[index], f))
    for f in batch.schema.scalars:
        columns[f.branch] = _numpy(batch.scalars[f.name], f)
    return columns


@checked
def to_awkward(batch: EventBatch) -> ak.Array:
    """A batch as events of the type that `read_events` gives: jagged, and in the schema's types.

    Numbers that the schema has as integers are rounded; identifiers are left out (`write_events` makes new
    ones).

    Raises:
        InputError: If a number is none of its type.
    """
    schema = batch.schema.model_copy(update={"identifiers": ()})
    events = assemble(schema, to_columns(batch), len(batch))
    events.attrs[ATTRIBUTE] = batch.schema
    return events


def _numpy(tensor: Tensor, field: Field) -> Any:
    values = tensor.detach().cpu()
    if field.dtype == "string":
        return np.array(field.values)[values.numpy()]
    wanted = np.dtype(type_in_memory(field))
    if values.is_floating_point() and np.dtype(field.dtype).kind in "iub":
        values = values.round()
    numbers = rounded(values, field).contiguous().numpy()
    if field.nulls:
        return with_nulls(numbers.astype(wanted, copy=False), np.isnan(numbers))
    if wanted.kind in "iu" and numbers.size:
        ends, low, high = np.iinfo(wanted), numbers.min(), numbers.max()
        if not (low >= ends.min and high <= ends.max):
            message = f"{low if not low >= ends.min else high} is no {field.dtype}"
            raise InputError(message, branch=field.branch)
    return numbers.astype(wanted, copy=False)
