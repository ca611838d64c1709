"""Rounded numbers: those on a grid, such as 0.01, 0.02, ..., and those of few bits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hepgan.events.angles import within_turn
from hepgan.events.missing import is_missing
from hepgan.events.schema import Field

__all__ = ["find_bits", "find_step", "on_grid", "rounded"]

_DECIMALS = 6
_ENOUGH = 20
_SAMPLE = 1000

_FEW = 32
"""So few different numbers may be settings, between which there are others, unless they are counts."""

_SLACK = 1e-3
"""How far a number may be from a grid, in units of its step, where its type tells that."""


def find_step(values: NDArray[Any]) -> float | None:
    """The distance of neighbours, if numbers are on a grid of decimals; None if they are not.

    Args:
        values: (n,) finite floating-point numbers.
    """
    if values.size < _ENOUGH:
        return None
    precision = _precision(values)
    few = values[:: -(-values.size // _SAMPLE)]
    decimals = next((d for d in range(_DECIMALS + 1) if _is_whole(few, 10.0**d, precision)), None)
    if decimals is None or not _is_whole(values, 10.0**decimals, precision):
        return None
    places = np.unique(np.round(values.astype(np.float64) * 10.0**decimals))
    if places.size < 3 or not np.abs(places).max() < 2.0**53:
        return None
    places = places.astype(np.int64)
    unit = int(np.gcd.reduce(np.diff(places)))
    if places.size <= _FEW:
        counts = decimals == 0 and unit == 1 and 2 * places.size > int(places[-1] - places[0])
        return 1.0 if counts else None
    return float(unit / 10**decimals)


def _is_whole(values: NDArray[Any], scale: float, precision: float) -> bool:
    """Whether numbers are whole in some unit, as far as they have the digits to tell."""
    with np.errstate(over="ignore"):
        scaled = values.astype(np.float64) * scale
    telling = (np.abs(scaled) * precision < _SLACK) & (scaled != 0)
    known = scaled[telling]
    # Nearly all have to tell; of large numbers whole ones are no grid.
    if known.size < min(_ENOUGH, values.size) or 2 * known.size < np.count_nonzero(scaled):
        return False
    return bool((np.abs(known - np.round(known)) <= 2 * np.abs(known) * precision).all())


def _precision(values: NDArray[Any]) -> float:
    if values.dtype.itemsize <= 4:
        return 2.0**-24
    some = values[:_SAMPLE]
    with np.errstate(over="ignore", under="ignore"):
        return 2.0**-24 if (some.astype(np.float32) == some).all() else 2.0**-53


def find_bits(values: NDArray[Any]) -> int | None:
    """How many bits of their mantissas numbers use, with the first, if these are fewer than their type has.

    Args:
        values: (n,) finite floating-point numbers.
    """
    most = {2: 11, 4: 24, 8: 53}.get(values.dtype.itemsize, 53)
    some = values[:: -(-values.size // _SAMPLE)]
    if np.unique(some).size < _ENOUGH:
        return None
    bits = _bits(some, 1, most)
    if bits > most - 4:
        return None
    bits = _bits(values, bits, most)
    return None if bits > most - 4 else bits


def _bits(values: NDArray[Any], least: int, most: int) -> int:
    mantissas = np.frexp(values.astype(np.float64))[0]
    for bits in range(least, most):
        scaled = mantissas * 2.0**bits
        if (scaled == np.round(scaled)).all():
            return bits
    return most


def on_grid(values: Tensor, low: float, step: float) -> Tensor:
    """The numbers of a grid that are next to others.

    Args:
        values: Numbers of any shape, in float64.
        low: One number of the grid.
        step: The distance of its neighbours, which has 6 decimals at most.
    """
    decimals = next((d for d in range(_DECIMALS) if _whole(step * 10**d)), _DECIMALS)
    while decimals < _DECIMALS and not _whole(low * 10**decimals, _SLACK):
        decimals += 1
    scale = 10.0**decimals
    unit, origin = round(step * scale), round(low * scale)
    # A quotient of whole numbers is the decimal itself.
    return (origin + unit * torch.round((values * scale - origin) / unit)) / scale


def _whole(value: float, slack: float = 1e-9) -> bool:
    return abs(value - round(value)) <= slack * max(abs(value), 1.0)


def rounded(values: Tensor, field: Field) -> Tensor:
    """Numbers, of any shape, rounded as those of a field are; what is missing stays as it is."""
    if not values.is_floating_point():
        return values
    return within_turn(_rounded(values, field), field)


def _rounded(values: Tensor, field: Field) -> Tensor:
    if field.step is None and field.bits is None:
        return values
    if field.step is not None and field.low is not None:
        found = on_grid(values, field.low, field.step)
    elif field.bits is not None:
        mantissas, exponents = torch.frexp(values)
        found = torch.round(mantissas * 2.0**field.bits)
        # In two steps, since the power alone may be no number.
        power = (exponents - field.bits).to(found.dtype)
        half = torch.floor(power / 2)
        found = found * torch.exp2(half) * torch.exp2(power - half)
    else:
        return values
    if field.missing is None or math.isnan(field.missing):
        return found
    return torch.where(is_missing(values, field.missing), values, found)
