"""Azimuths as files have them: in radians or degrees, around 0 or from 0 on.

In memory they are what the file has, bit for bit; wherever physics is done with them they are in radians,
from -pi to pi.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hepgan.events.schema import Field
from hepgan.vectors.kinematics import wrap

__all__ = ["ends", "in_degrees", "radians", "stored_azimuth", "within_turn"]

TOLERANCE = 1e-5
"""How far azimuths may be beyond a turn, in radians; pi in single precision is."""

_SHARE = 0.2
"""Of azimuths in degrees, at least such a share is beyond a turn in radians."""


def in_degrees(values: NDArray[Any]) -> bool:
    """Whether azimuths (n,) are in degrees: none beyond a turn of these, and many beyond one in radians."""
    if not values.size or values.dtype.kind not in "iuf":
        return False
    low, high = float(values.min()), float(values.max())
    slack = math.degrees(TOLERANCE)
    turn = (low >= -180 - slack and high <= 180 + slack) or (low >= -slack and high <= 360 + slack)
    return turn and float((np.abs(values) > 2 * math.pi + TOLERANCE).mean()) > _SHARE


def ends(field: Field, values: NDArray[Any] | None = None) -> tuple[float, float]:
    """Where a turn begins and ends, in the file's unit.

    Args:
        field: The azimuth.
        values: Its numbers (n,), which tell where the field knows nothing of them yet.
    """
    fresh = field.low is None or field.high is None
    degrees = in_degrees(values) if fresh and values is not None else field.degrees
    half = 180.0 if degrees else math.pi
    if fresh:
        positive = values is not None and values.size > 0 and bool(values.min() >= 0)
    else:
        positive = bool(field.low >= 0 and field.high > half)  # type: ignore[operator]
    return (0.0, 2 * half) if positive else (-half, half)


def _is_usual(field: Field | None) -> bool:
    return field is None or field.name != "phi" or (not field.degrees and ends(field)[0] < 0)


def radians(values: Tensor, field: Field | None) -> Tensor:
    """Azimuths of a field, of any shape, in radians from -pi to pi; numbers of other fields as they are."""
    if field is None or _is_usual(field):
        return values
    values = values * (math.pi / 180) if field.degrees else values
    return torch.where(values.abs() > math.pi * (1 + 1e-6), wrap(values), values)


def stored_azimuth(values: Tensor, field: Field | None) -> Tensor:
    """Azimuths in radians, from -pi to pi, as a field has them; numbers of other fields as they are."""
    if field is None or _is_usual(field):
        return values
    if ends(field)[0] == 0:
        values = torch.where(values < 0, values + 2 * math.pi, values)
    return values * (180 / math.pi) if field.degrees else values


def within_turn(values: Tensor, field: Field) -> Tensor:
    """Azimuths of a field, of any shape, that its type does not round beyond the ends of a turn.

    Ends that the file goes beyond stay: pi in single precision is above pi.
    """
    if field.name != "phi" or field.low is None or field.high is None or np.dtype(field.dtype).kind != "f":
        return values
    low, high = ends(field)
    kind = np.dtype(field.dtype).type
    least, most = kind(low), kind(high)
    least = np.nextafter(least, kind(np.inf)) if float(least) < low else least
    most = np.nextafter(most, kind(-np.inf)) if float(most) > high or low == 0 else most
    return values.clamp(min(float(least), field.low), max(float(most), field.high))
