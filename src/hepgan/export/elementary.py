"""Functions that onnxruntime lacks, or lacks in double precision, by operations that it has.

They agree with torch's to a few units in the last place, or 1e-16 where they are near zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

__all__ = ["FUNCTIONS", "Elementary"]

_FEW = 16
"""So many sorted numbers are compared with one by one, more by halving."""

_HUGE = 1e150
"""The square of anything larger may be infinite."""


def sinh(x: Tensor) -> Tensor:
    """Hyperbolic sine."""
    # By parts of the exponent, neither of which is infinite where the sum is not.
    half = torch.exp(0.5 * x.abs())
    size = 0.5 * half * half - 0.5 / half / half
    return torch.where(x < 0, -size, size)


def cosh(x: Tensor) -> Tensor:
    """Hyperbolic cosine."""
    half = torch.exp(0.5 * x.abs())
    return 0.5 * half * half + 0.5 / half / half


def tan(x: Tensor) -> Tensor:
    """Tangent."""
    return torch.sin(x) / torch.cos(x)


def asinh(x: Tensor) -> Tensor:
    """Inverse hyperbolic sine."""
    size = x.abs()
    near = size.clamp(max=_HUGE)
    found = torch.log1p(near + near * near / (1.0 + torch.sqrt(near * near + 1.0)))
    found = torch.where(size > _HUGE, torch.log(size) + math.log(2.0), found)
    return torch.where(x < 0, -found, found)


def acosh(x: Tensor) -> Tensor:
    """Inverse hyperbolic cosine."""
    near = x.clamp(max=_HUGE)
    found = torch.log(near + torch.sqrt(near - 1.0) * torch.sqrt(near + 1.0))
    return torch.where(x > _HUGE, torch.log(x) + math.log(2.0), found)


def atanh(x: Tensor) -> Tensor:
    """Inverse hyperbolic tangent."""
    return 0.5 * torch.log((1.0 + x) / (1.0 - x))


def atan2(y: Tensor, x: Tensor) -> Tensor:
    """The angle of (x, y) from x."""
    y, x = torch.broadcast_tensors(y, x)  # type: ignore[no-untyped-call]
    wide, high = x.abs(), y.abs()
    most, least = torch.maximum(wide, high), torch.minimum(wide, high)
    ratio = torch.where(most > 0, least / most, 0.0)
    # Single precision knows seven digits of the angle; the rest is that of a small angle.
    angle = torch.atan(ratio.to(torch.float32)).to(ratio.dtype)
    cosine, sine = torch.cos(angle), torch.sin(angle)
    rest = (ratio * cosine - sine) / (cosine + ratio * sine)
    angle = angle + rest - rest * rest * rest / 3.0
    angle = torch.where(high > wide, 0.5 * math.pi - angle, angle)
    angle = torch.where(_negative(x), math.pi - angle, angle)
    return torch.where(_negative(y), -angle, angle)


def atan(x: Tensor) -> Tensor:
    """Arc tangent."""
    return atan2(x, torch.ones_like(x))


def asin(x: Tensor) -> Tensor:
    """Arc sine."""
    return atan2(x, torch.sqrt((1.0 - x) * (1.0 + x)))


def acos(x: Tensor) -> Tensor:
    """Arc cosine."""
    return atan2(torch.sqrt((1.0 - x) * (1.0 + x)), x)


def copysign(x: Tensor, sign: Tensor | float) -> Tensor:
    """Numbers with the signs of others."""
    size = x.abs()
    if not isinstance(sign, Tensor):
        return -size if math.copysign(1.0, sign) < 0 else size
    return torch.where(_negative(sign), -size, size)


def nextafter(x: Tensor, other: Tensor) -> Tensor:
    """The doubles next to some, on the way to others."""
    # Between half and all of the distance to the next one, so that it rounds to that.
    step = x.abs() * (2.0**-53 * (1.0 + 2.0**-40))
    step = torch.where(x == 0, 5e-324, step)
    return torch.where(other > x, x + step, torch.where(other < x, x - step, x))


def frexp(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mantissas from 1/2 to 1, and exponents."""
    size = torch.where(x == 0, 1.0, x.abs())
    exponent = torch.floor(torch.log(size) / math.log(2.0)) + 1.0
    half = torch.floor(exponent / 2.0)
    mantissa = x / torch.pow(2.0, half) / torch.pow(2.0, exponent - half)
    large, small = mantissa.abs() >= 1.0, (mantissa.abs() < 0.5) & (x != 0)
    exponent = exponent + large.to(x.dtype) - small.to(x.dtype)
    mantissa = torch.where(large, mantissa / 2.0, torch.where(small, mantissa * 2.0, mantissa))
    return mantissa, torch.where(x == 0, 0.0, exponent).to(torch.int32)


def searchsorted(sequence: Tensor, values: Tensor, *, right: bool = False, side: str | None = None) -> Tensor:
    """Where values belong among sorted numbers, of one row or of as many as the values have."""
    right = right or side == "right"
    size = sequence.shape[-1]

    def passed(numbers: Tensor, values: Tensor) -> Tensor:
        return numbers <= values if right else numbers < values

    if size <= _FEW:
        return passed(sequence.unsqueeze(-2), values.unsqueeze(-1)).sum(-1)
    place = torch.zeros_like(values, dtype=torch.int64)
    step = 1 << (size.bit_length() - 1)
    while step:
        further = place + step
        at = (further - 1).clamp(max=size - 1)
        numbers = sequence[at] if sequence.ndim == 1 else sequence.gather(-1, at)
        place = torch.where((further <= size) & passed(numbers, values), further, place)
        step >>= 1
    return place


def cumprod(x: Tensor, dim: int) -> Tensor:
    """Products of all numbers up to each, along a dimension of known size."""
    found: list[Tensor] = []
    for one in x.unbind(dim):
        found.append(one if not found else found[-1] * one)
    return torch.stack(found, dim) if found else x


def sort(x: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Any:
    """Sorted numbers and where they were; onnxruntime keeps the order of equal ones."""
    wide = x if x.is_floating_point() else x.to(torch.int64)
    return torch.topk(wide, x.shape[dim], dim=dim, largest=descending)


def argsort(x: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Tensor:
    """Where sorted numbers were."""
    found: Tensor = sort(x, dim, descending).indices
    return found


def _negative(x: Tensor) -> Tensor:
    """Which numbers have a minus, zeros too."""
    return torch.where(x == 0, 1.0 / x, x) < 0


_EVERY: dict[str, Callable[..., Any]] = {
    f.__name__: f for f in (copysign, nextafter, frexp, searchsorted, cumprod, sort, argsort)
}
_DOUBLE: dict[str, Callable[..., Any]] = {
    **{f.__name__: f for f in (sinh, cosh, tan, asinh, acosh, atanh, atan2, atan, asin, acos)},
    **{name: f for names, f in ((("arctan2",), atan2), (("arcsinh",), asinh)) for name in names},
    "arctan": atan,
    "arccos": acos,
    "arcsin": asin,
    "arctanh": atanh,
    "arccosh": acosh,
}

FUNCTIONS = {**_EVERY, **_DOUBLE}
"""What is replaced, by the names that torch has: some of it in double precision only."""


class Elementary(TorchFunctionMode):
    """While it is active, torch computes :data:`FUNCTIONS` by elementary operations."""

    def __torch_function__(
        self, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """What a function of torch gives."""
        given = kwargs or {}
        name = getattr(func, "__name__", "")
        double = args and isinstance(args[0], Tensor) and args[0].dtype is torch.float64
        own = _EVERY.get(name) or (_DOUBLE.get(name) if double else None)
        return func(*args, **given) if own is None else own(*args, **given)
