"""Numbers that an event, or an object that is there, has no value for: NaN, null, -999.

In memory a missing number is what the file has in its place (`Field.missing`), so that what is written is
what was read. Null is a NaN of its own kind there (whole numbers, true and false are float64 where some are
null), or the text `NULL_TEXT`; files that know null get it back.
"""

from __future__ import annotations

import math
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hepgan.events.schema import Collection, EventSchema, Field

__all__ = [
    "NULL_TEXT",
    "find_missing",
    "is_missing",
    "is_null",
    "may_be_missing",
    "tolerant",
    "type_in_memory",
    "with_nulls",
]

NULL_TEXT = "<null>"
"""What stands for a text that is null."""

_NULL = {4: 0x7FC007A2, 8: 0x7FF800F440000000}
"""The bits of a NaN that is null, in single and double precision; conversion makes one of the other."""

COMPONENTS = frozenset({"px", "py", "pz", "pt", "eta", "phi", "theta", "energy"})
"""Numbers without which an object is none."""

_LEAST, _SHARE = 5, 1e-4
"""How often a placeholder occurs at least, and its share of all values."""

_FAR = 20
"""A number so many spacings from its neighbour stands apart."""

_SAMPLE = 20_000
_TELLING = 20


def with_nulls(values: NDArray[Any], null: NDArray[np.bool_]) -> NDArray[Any]:
    """Numbers, or texts, with what stands for null; whole numbers, true and false become float64."""
    if values.dtype.kind == "U":
        return np.where(null, NULL_TEXT, values)
    known = values.dtype.kind == "f" and values.dtype.itemsize in _NULL
    values = values.astype(values.dtype if known else np.float64)
    values.view(f"u{values.dtype.itemsize}")[null] = _NULL[values.dtype.itemsize]
    return values


def is_null(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Which numbers, or texts, are null."""
    if values.dtype.kind == "U":
        return np.asarray(values == NULL_TEXT)
    if values.dtype.kind != "f" or values.dtype.itemsize not in _NULL:
        return np.zeros(values.shape, dtype=np.bool_)
    return np.asarray(
        np.ascontiguousarray(values).view(f"u{values.dtype.itemsize}") == _NULL[values.itemsize]
    )


@overload
def is_missing(values: Tensor, missing: float) -> Tensor: ...
@overload
def is_missing(values: NDArray[Any], missing: float) -> NDArray[np.bool_]: ...
def is_missing(values: Any, missing: float) -> Any:
    """Which numbers, of any shape, are missing.

    Args:
        values: The numbers, as an array or a tensor.
        missing: What they are where they are missing.
    """
    if math.isnan(missing):
        if isinstance(values, Tensor):
            return torch.isnan(values)
        return np.isnan(values) if values.dtype.kind == "f" else np.zeros(values.shape, dtype=np.bool_)
    if isinstance(values, Tensor):
        return values == missing
    return values == np.asarray(missing).astype(values.dtype)


def type_in_memory(field: Field) -> str:
    """The type of a field's numbers in memory: whole ones, true and false have no null."""
    return "float64" if field.nulls and field.dtype != "string" and _kind(field) != "f" else field.dtype


def _kind(field: Field) -> str:
    return "U" if field.dtype == "string" else np.dtype(field.dtype).kind


def may_be_missing(field: Field, collection: Collection | None) -> bool:
    """Whether a number may be missing while its event or object is there: parts of a momentum may not."""
    if collection is None:
        return True
    return field.name not in COMPONENTS and field.name not in collection.coordinates


def tolerant(schema: EventSchema) -> EventSchema:
    """A schema of branches of which nothing is known yet, so that any NaN may be a number that is missing."""

    def free(field: Field, collection: Collection | None) -> Field:
        known = field.missing is not None or not may_be_missing(field, collection)
        return field if known or field.dtype == "string" else field.model_copy(update={"missing": math.nan})

    collections = tuple(
        c.model_copy(update={"fields": tuple(free(f, c) for f in c.fields)}) for c in schema.collections
    )
    scalars = tuple(f if f.name == schema.weight else free(f, None) for f in schema.scalars)
    return schema.model_copy(update={"collections": collections, "scalars": scalars})


def find_missing(values: NDArray[Any]) -> tuple[float | None, bool]:
    """What stands for missing numbers, if some are; and whether it is null.

    That is NaN and null always. Else it is a whole number at one end that stands apart: much further from
    the nearest value than others are from each other, outside what most of them span, and with finite
    probability.

    Args:
        values: (n,) numbers.
    """
    if values.dtype.kind == "f":
        lacking = np.isnan(values)
        if lacking.any():
            return math.nan, bool(is_null(values[lacking]).any())
        found = _apart(values[np.isfinite(values)])
        return found, False
    return _apart(values), False


def _apart(values: NDArray[Any]) -> float | None:
    """A number at one end that stands for no value; None if there is none."""
    if values.size < _TELLING:
        return None
    ends = [(float(end), end) for end in (values.min(), values.max())]
    chosen: list[tuple[int, float]] = []
    for value, exact in ends:
        if value == 0 or value != round(value) or not _telling(value, values.dtype):
            continue
        number = int((values == exact).sum())
        if number >= max(_LEAST, _SHARE * values.size) and _stands_apart(values, exact):
            chosen.append((number, value))
    return max(chosen)[1] if chosen else None


def _telling(value: float, dtype: np.dtype[Any]) -> bool:
    """Whether a whole number is such as stand for no value: -1, -5, -999; of positive ones 99 or 10000."""
    digits = str(abs(round(value)))
    round_number = set(digits) == {"9"} or (digits[0] == "1" and set(digits[1:]) == {"0"})
    if dtype.kind == "f":
        return value < 0 or (round_number and value >= 99)
    return round_number and (value < -1 or value >= 99)


def _stands_apart(values: NDArray[Any], end: Any) -> bool:
    rest = values[values != end]
    if rest.size > _SAMPLE:
        # The nearest neighbour counts, and the others are told by some.
        nearest = rest.min() if end < rest.min() else rest.max()
        rest = np.append(rest[:: rest.size // _SAMPLE], nearest)
    different = np.unique(rest).astype(np.float64)
    if different.size < 2:
        return False
    value = float(end)
    gap = float(different[0]) - value if value < different[0] else value - float(different[-1])
    if values.dtype.kind in "iu":
        steps = np.sort(np.diff(different))
        return gap > 3 and gap >= 3 * float(steps[(len(steps) - 1) // 2])
    if different.size < _TELLING:
        return gap > 3 * float(np.diff(different).max())
    k = min(100, max(_TELLING // 2, different.size // 50), different.size - 1)
    outer = different[k] - different[0] if value < different[0] else different[-1] - different[-1 - k]
    low, high = np.quantile(different, [0.01, 0.99])
    # -1 is no value of what is never negative, however wide that is.
    outside = (value < 0 <= different[0]) or gap > high - low
    return bool(gap > _FAR * outer / k and outside)
