"""Arrays of one shape as lists of their cells that are not empty, and back: zero-suppressed storage."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import overload

import awkward as ak
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hepgan.arguments import checked
from hepgan.errors import InputError
from hepgan.events.batch import Objects
from hepgan.events.buffers import Jagged, Numbers, buffer

__all__ = ["to_cells", "to_grid"]


@overload
def to_cells(values: Tensor) -> Objects: ...
@overload
def to_cells(values: ak.Array | NDArray[np.generic]) -> ak.Array: ...
@checked
def to_cells(values: Tensor | ak.Array | NDArray[np.generic]) -> Objects | ak.Array:
    """The cells of arrays that are not empty, in the order of their numbers; nothing is lost.

    Empty is what is 0, but not -0.0, so that `to_grid` gives back each bit.

    Args:
        values: ``(N, *shape)`` numbers, true or false.

    Returns:
        N lists of cells: their number ``cell`` (the slowest index counts most) and their ``value``. Of a
        tensor, objects (N, M) with a mask.

    Raises:
        InputError: If it holds anything else.
    """
    if isinstance(values, Tensor):
        if values.ndim < 2:
            message = f"cells are of arrays (N, ...), not of a tensor of shape {tuple(values.shape)}"
            raise InputError(message)
        flat = values.reshape(len(values), math.prod(values.shape[1:]))
        there = (flat != 0) | torch.signbit(flat) if flat.is_floating_point() else flat != 0
        event, cell = there.nonzero(as_tuple=True)
        counts = there.sum(1)
        width = int(counts.max()) if len(counts) else 0
        return Objects.of_lists({"cell": cell, "value": flat[event, cell]}, counts, width)
    found = _numbers(values)
    table = found.reshape(len(found), math.prod(found.shape[1:]))
    filled = table.view(f"u{table.dtype.itemsize}") != 0 if table.dtype.kind == "f" else table != 0
    places = np.nonzero(filled)
    cells = {"cell": places[1].astype(np.int32), "value": table[places]}
    return ak.unflatten(ak.zip(cells), np.count_nonzero(filled, axis=1))


@overload
def to_grid(cells: Objects, shape: Sequence[int]) -> Tensor: ...
@overload
def to_grid(cells: ak.Array, shape: Sequence[int]) -> ak.Array: ...
@checked
def to_grid(cells: Objects | ak.Array, shape: Sequence[int]) -> Tensor | ak.Array:
    """The arrays ``(N, *shape)`` of which `to_cells` has made lists; cells that are not listed are 0.

    Args:
        cells: Lists with the numbers ``cell`` and ``value``.
        shape: The shape of the array of an event.

    Raises:
        InputError: If there is no such cell, a cell is there twice in an event, or the numbers lack.
    """
    size = math.prod(shape)
    if isinstance(cells, Objects):
        number, value, mask = cells["cell"], cells["value"], cells.mask
        event = torch.arange(len(number), device=number.device).unsqueeze(1).expand_as(number)[mask]
        _check(event.cpu().numpy(), number[mask].cpu().numpy(), size)
        flat = value.new_zeros(len(number), size)
        flat[event, number[mask]] = value[mask]
        return flat.reshape(len(flat), *shape)
    numbers, contents = _lists(cells, "cell"), _lists(cells, "value").content
    events = np.repeat(np.arange(len(numbers)), np.diff(numbers.offsets))
    _check(events, numbers.content, size)
    table = np.zeros((len(numbers), size), contents.dtype)
    table[events, numbers.content] = contents
    return ak.from_numpy(table.reshape(len(table), *shape), regulararray=True)


def _numbers(values: ak.Array | NDArray[np.generic]) -> Numbers:
    found = values if isinstance(values, np.ndarray) else buffer(ak.to_layout(values))
    if isinstance(found, Jagged) or found.ndim < 2 or found.dtype.kind not in "biuf":
        message = "cells are of arrays of numbers, of one shape in each event"
        raise InputError(message)
    return np.ascontiguousarray(found)


def _lists(cells: ak.Array, name: str) -> Jagged:
    found = buffer(ak.to_layout(cells[name])) if name in cells.fields else None
    if not isinstance(found, Jagged):
        message = f"cells are lists of objects with a {name}; these have {', '.join(cells.fields) or 'none'}"
        raise InputError(message)
    return found


def _check(event: NDArray[np.int64], number: Numbers, size: int) -> None:
    """Sees to it that numbers are those of cells, each once in an event."""
    outside = (number < 0) | (number >= size)
    if outside.any():
        first = int(outside.argmax())
        message = f"there is no cell {number[first]} among {size}"
        raise InputError(message, entry=int(event[first]))
    each, counts = np.unique(event * size + number, return_counts=True)
    if counts.size and counts.max() > 1:
        twice = int(each[counts.argmax()])
        message = f"the cell {twice % size} is there {counts.max()} times"
        raise InputError(message, entry=twice // size)
