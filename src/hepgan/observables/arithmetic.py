"""The operators of the language, on masked tensors, and what its functions share with them.

Singular functions see a harmless number in place of a missing one, so that neither its value nor its
gradient is ever nan or infinite; at singular points of existing entries (sqrt at 0) the gradient is zero.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from hepgan import vectors
from hepgan.observables.values import Mismatch, Value, align, truth

__all__ = ["binary", "boolean", "compare", "unary"]

_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_COMPARISON: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}


def binary(kind: type[ast.operator], left: Value, right: Value) -> Value:
    """``left + right`` and the like, for numbers and for momenta."""
    if kind in (ast.BitAnd, ast.BitOr):
        return boolean(kind is ast.BitAnd, left, right)
    if not (left.is_number and right.is_number):
        return _momentum_arithmetic(kind, left, right)
    if left.is_constant and right.is_constant:
        return Value(_fold(kind, left.data, right.data))
    (a, b), mask, domain, compact = align(left, right)
    x, y = promote(a.data, b.data, always=kind in (ast.Div, ast.Mod, ast.Pow))
    if kind is ast.Pow:
        return Value(_power(x, y, mask), mask, domain, compact)
    if kind in (ast.Div, ast.Mod):
        y = harmless(y, mask)
        if kind is ast.Mod:
            return Value(torch.remainder(x, as_tensor(y, x)), mask, domain, compact)
        x, y = finite(x), finite(y)
    result: Tensor = _ARITHMETIC[kind](x, y)
    return Value(result, mask, domain, compact)


def compare(kind: type[ast.cmpop], left: Value, right: Value) -> Value:
    """``left < right`` and the like."""
    numbers(left, right)
    if left.is_constant and right.is_constant:
        return Value(bool(_COMPARISON[kind](left.data, right.data)))
    (a, b), mask, domain, compact = align(left, right)
    x, y = promote(a.data, b.data)
    return Value(_COMPARISON[kind](x, y), mask, domain, compact)


def boolean(both: bool, left: Value, right: Value) -> Value:
    """``left and right`` (``&``) or ``left or right`` (``|``)."""
    if left.is_constant and right.is_constant:
        msg = "a condition that does not depend on the events"
        raise Mismatch(msg)
    (a, b), mask, domain, compact = align(left, right)
    x, y = (bool(v.data) if v.is_constant else truth(v.data) for v in (a, b))
    return Value((x & y) if both else (x | y), mask, domain, compact)


def unary(kind: type[ast.unaryop], value: Value) -> Value:
    """``-value``, ``+value``, ``not value`` (``~``)."""
    if kind in (ast.Not, ast.Invert):
        if value.is_constant:
            return Value(not value.data)
        return Value(~truth(value.data), value.mask, value.domain, value.compact)
    if kind is ast.UAdd:
        return value
    if value.is_constant:
        return Value(-value.data)
    data = -counting(value.data) if value.is_number else -value.momentum
    return Value(data, value.mask, value.domain, value.compact)


def _momentum_arithmetic(kind: type[ast.operator], left: Value, right: Value) -> Value:
    (a, b), mask, domain, compact = align(left, right)
    if kind in (ast.Add, ast.Sub) and not (a.is_number or b.is_number):
        return Value(_ARITHMETIC[kind](a.momentum, b.momentum), mask, domain, compact)
    if kind is ast.Mult and (a.is_number or b.is_number):
        vector, factor = (b, a) if a.is_number else (a, b)
        return Value(vector.momentum * counting(factor.data), mask, domain, compact)
    if kind is ast.Div and b.is_number:
        return Value(a.momentum / harmless(counting(b.data), mask), mask, domain, compact)
    msg = "momenta can be added, subtracted, and multiplied or divided by numbers"
    raise Mismatch(msg)


def _fold(kind: type[ast.operator], x: Any, y: Any) -> float:
    # numbers become floats before a power is taken: 9**9**9 of whole numbers would take all memory
    exact = kind in (ast.Add, ast.Sub, ast.Mult) and abs(x) < 2**26 and abs(y) < 2**26
    try:
        result = _ARITHMETIC[kind](x, y) if exact else _ARITHMETIC[kind](float(x), float(y))
    except (OverflowError, ZeroDivisionError, ValueError) as error:
        msg = f"these numbers cannot be computed ({error})"
        raise Mismatch(msg) from None
    if isinstance(result, complex) or not math.isfinite(result):
        msg = "these numbers cannot be computed: the result is not a finite real number"
        raise Mismatch(msg)
    return int(result) if exact and isinstance(result, int) else float(result)


def _power(x: Any, y: Any, mask: Tensor | None) -> Tensor:
    if isinstance(y, float):
        if y == 0.5:
            return singular(torch.sqrt, 1.0)(x, mask)
        if y > 0 and y.is_integer():
            return torch.pow(x, y)
    x, y = harmless(x, mask), harmless(y, mask)
    result = torch.pow(finite(x), finite(y))
    return vectors.finite_gradient(result)


def singular(function: Callable[[Tensor], Tensor], harmless: float) -> Callable[..., Tensor]:
    def compute(data: Tensor, mask: Tensor | None) -> Tensor:
        x = vectors.finite_gradient(where_exists(data, mask, harmless))
        return vectors.finite_gradient(function(x))

    return compute


def numbers(*values: Value) -> None:
    if not all(v.is_number for v in values):
        msg = "a number is needed here, not objects; take one of their quantities, such as .pt"
        raise Mismatch(msg)


def counting(data: Any) -> Any:
    """Flags as whole numbers, all else as it is."""
    return data.to(torch.int64) if isinstance(data, Tensor) and data.dtype == torch.bool else data


def real(data: Any) -> Any:
    """Whole numbers as float64, since torch would make float32 of them."""
    if isinstance(data, Tensor):
        return data if data.is_floating_point() else data.to(torch.float64)
    return float(data)


def promote(x: Any, y: Any, *, always: bool = False) -> tuple[Any, Any]:
    """Two numbers as they enter arithmetic: whole numbers stay whole only among themselves."""
    x, y = counting(x), counting(y)
    if always or _is_real(x) or _is_real(y):
        return real(x), real(y)
    return x, y


def _is_real(x: Any) -> bool:
    return x.is_floating_point() if isinstance(x, Tensor) else isinstance(x, float)


def as_tensor(x: Any, like: Tensor) -> Tensor:
    return x if isinstance(x, Tensor) else torch.full_like(like, x)


def where_exists(data: Tensor, mask: Tensor | None, other: float) -> Tensor:
    return data if mask is None else torch.where(mask, data, torch.full_like(data, other))


def harmless(x: Any, mask: Tensor | None) -> Any:
    """A number with 1 in the place of missing ones."""
    return where_exists(x, mask, 1.0) if isinstance(x, Tensor) else x


def finite(x: Any) -> Any:
    return vectors.finite_gradient(x) if isinstance(x, Tensor) else x
