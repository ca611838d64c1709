"""Lists of lists that have one shape in all events, as a look at some of them tells: vectors of vectors."""

from __future__ import annotations

from typing import Any

import awkward as ak
import numpy as np

from hepgan.errors import InputError
from hepgan.events.buffers import Numbers, shape_text

__all__ = ["LOOK", "array_in", "as_array", "is_nested", "told"]

LOOK = 200
"""Events that are looked at."""


def is_nested(form: Any) -> bool:
    """Whether a form is that of lists of lists of numbers, some of which may have any length."""
    depth = 0
    while form.is_option or form.is_indexed or (form.is_list and form.parameter("__array__") is None):
        depth += form.is_list
        form = form.content
    return depth > 1 and bool(form.is_numpy) and np.dtype(form.primitive).kind in "biuf"


def array_in(layout: Any) -> Numbers | None:
    """The numbers (N, *shape) of lists of lists of one shape in all N events; None if they have several."""
    size, shape = layout.length, []
    while True:
        while layout.is_option or layout.is_indexed:
            if layout.is_option and np.asarray(layout.mask_as_bool(valid_when=False)).any():
                return None
            layout = layout.project()
        if not layout.is_list:
            break
        layout = layout.to_ListOffsetArray64(True)
        lengths = np.diff(layout.offsets.data)
        if not lengths.size or lengths.min() != lengths.max() or not lengths[0]:
            return None
        shape.append(int(lengths[0]))
        layout = layout.content[: layout.offsets[-1]]
    values = np.asarray(ak.to_numpy(layout))
    return values.reshape(size, *shape) if values.dtype.kind in "biuf" else None


def as_array(layout: Any, shape: tuple[int, ...], dtype: str, file: str, branch: str, start: int) -> Numbers:
    """The numbers (N, *shape) of lists of lists.

    Args:
        layout: The lists.
        shape: What all of them should be.
        dtype: The type of their numbers.
        file: For errors.
        branch: For errors.
        start: The number of the first event, for errors.

    Raises:
        InputError: If one has another shape.
    """
    if not layout.length:
        return np.zeros((0, *shape), dtype)
    found = array_in(layout)
    if found is not None and found.shape[1:] == shape:
        return found

    def fits(at: int) -> bool:
        one = array_in(layout[at : at + 1])
        return one is not None and one.shape[1:] == shape

    entry = next(at for at in range(layout.length) if not fits(at))
    message = f"is no {shape_text(shape).removeprefix('an ')}, as its lists in the first events are"
    raise InputError(message, file=file, branch=branch, entry=entry + start)


def told(shape: tuple[int, ...]) -> str:
    """What is to be told of lists that are read as arrays."""
    return f"its lists of lists are read, and written, as {shape_text(shape)}"
