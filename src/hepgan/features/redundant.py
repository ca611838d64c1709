"""Momentum coordinates that a file stores beside a momentum, and that need not agree with it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from hepgan.vectors.kinematics import Kinematics, wrap

__all__ = ["REDUNDANT", "Deviation", "find_deviations", "resolution"]

REDUNDANT = ("pt", "eta", "phi", "theta", "energy")
"""Coordinates that may be stored beside others that make the momentum."""

SINGLE = 2.0**-23
DOUBLE = 2.0**-50
ROUNDING = 8 * SINGLE
"""What is closer than this agrees."""

SEVERAL = 4.0
"""Differences above so many times what the stored digits allow are no rounding."""

DIFFERING = 1e-3
"""Share of objects that may differ in a coordinate that is computed."""

AGREEING = 1e-2
"""Share of objects that may agree by chance in a coordinate that always differs."""

MAX_DECIMALS = 6
MIN_BITS = 6
ENOUGH = 20


class Deviation(NamedTuple):
    """How a measurement of its own differs from the coordinate that follows from the momentum.

    Attributes:
        ratio: Whether it is the logarithm of the ratio, else the difference.
        rounding: Deviations up to this, relative to coordinates above 1, are exactly 0.
    """

    ratio: bool
    rounding: float

    def of(self, name: str, stored: Tensor, computed: Tensor) -> Tensor:
        """The deviation of stored values from computed ones; 0 where there is none to tell."""
        if self.ratio:
            positive = (stored > 0) & (computed > 0)
            deviation = torch.where(positive, stored, 1.0).log() - torch.where(positive, computed, 1.0).log()
            scale = torch.ones_like(computed)
        else:
            deviation = _difference(name, stored, computed)
            scale = computed.abs().clamp(min=1.0)
        own = torch.isfinite(deviation) & (deviation.abs() > self.rounding * scale)
        return torch.where(own, deviation, 0.0)

    def apply(self, name: str, computed: Tensor, deviation: Tensor) -> Tensor:
        """The measured values: positive, and angles within their range, whatever the deviation."""
        if self.ratio:
            return computed * deviation.exp()
        values = computed + deviation
        if name == "phi":
            return torch.where(deviation == 0, computed, wrap(values))
        return values.clamp(0.0, math.pi) if name == "theta" else values


def find_deviations(
    stored: Mapping[str, Tensor], momentum: Mapping[str, Tensor], mask: Tensor
) -> dict[str, Deviation]:
    """The coordinates that are measurements of their own.

    Such are those that differ, in more than 0.1% of the objects, from what follows from the momentum by more
    than four times the rounding of all numbers involved: half a unit of the last decimal or of the last bit
    that the stored values use, or that of float32 if that is larger.

    Args:
        stored: The coordinates (N, M) beside the momentum's.
        momentum: The coordinates (N, M) that make the momentum.
        mask: Where there is an object (N, M).
    """
    known = {n: v[mask] for n, v in momentum.items()}
    # What a change by its rounding makes of a coordinate: each in turn.
    shifted = [Kinematics({**known, n: v + resolution(v)}) for n, v in known.items()]
    exact = Kinematics(known)
    found = {}
    for name, values in stored.items():
        own = values[mask]
        computed = exact[name]
        allowed = resolution(own) + sum(_difference(name, k[name], computed).abs() for k in shifted)
        difference = _difference(name, own, computed).abs()
        if _share(difference > SEVERAL * allowed) <= DIFFERING:
            continue
        ratio = name in ("pt", "energy") and bool(((own > 0) == (computed > 0)).all())
        agrees = Deviation(ratio, ROUNDING).of(name, own, computed) == 0
        found[name] = Deviation(ratio, ROUNDING if _share(agrees) > AGREEING else 0.0)
    return found


def _share(flags: Tensor) -> float:
    return float(flags.to(torch.float64).mean()) if len(flags) else 0.0


def _difference(name: str, values: Tensor, computed: Tensor) -> Tensor:
    return wrap(values - computed) if name == "phi" else values - computed


def resolution(values: Tensor) -> Tensor:
    """How far numbers (of any shape) may be from what they were before they were rounded, each."""
    step = 0.0
    precision = SINGLE if bool((values.float() == values).all()) else DOUBLE
    for decimals in range(MAX_DECIMALS + 1):
        scaled = values.abs() * 10.0**decimals
        # Larger numbers have no digits left that could tell.
        telling = (scaled < 0.01 / precision) & (scaled > 0)
        whole = (scaled - scaled.round()).abs() <= precision * scaled
        if int(telling.sum()) >= ENOUGH and bool(whole[telling].all()):
            step = 0.5 * 10.0**-decimals
            break
    mantissa = torch.frexp(values)[0]
    bits = MIN_BITS
    while bits < 23 and bool((mantissa * 2.0**bits != (mantissa * 2.0**bits).round()).any()):
        bits += 1
    return (values.abs() * 2.0**-bits).clamp(min=step)
