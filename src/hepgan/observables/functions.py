"""The operators and functions of the language, on masked tensors.

Singular functions see a harmless number in place of a missing one, so that neither its value nor its
gradient is ever nan or infinite; at singular points of existing entries (sqrt at 0) the gradient is zero.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from hepgan import vectors
from hepgan.observables.clustering import CLUSTERS
from hepgan.observables.images import cells
from hepgan.observables.shapes import POLYNOMIALS, SHAPES
from hepgan.observables.values import (
    Mismatch,
    Value,
    align,
    device_of,
    map_data,
    per_object,
    take,
    truth,
    where_exists,
)

__all__ = ["ANGLES", "angle_of", "binary", "boolean", "call", "compare", "unary"]

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


# ------------------------------------------------------------------------------------------- operators


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
    """A function of (data, mask) whose gradient is finite where its own is not, and where nothing exists."""

    def compute(data: Tensor, mask: Tensor | None) -> Tensor:
        x = vectors.finite_gradient(where_exists(data, mask, harmless))
        return vectors.finite_gradient(function(x))

    return compute


def numbers(*values: Value) -> None:
    """Checks that values are numbers.

    Raises:
        Mismatch: If one stands for objects.
    """
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
    """A tensor as it is, or a number in the shape and on the device of another tensor."""
    return x if isinstance(x, Tensor) else torch.full_like(like, x)


def harmless(x: Any, mask: Tensor | None) -> Any:
    """A number with 1 in the place of missing ones."""
    return where_exists(x, mask, 1.0) if isinstance(x, Tensor) else x


def finite(x: Any) -> Any:
    """The same values, of a tensor with a gradient that is finite."""
    return vectors.finite_gradient(x) if isinstance(x, Tensor) else x


# ---------------------------------------------------------------------------------------------- angles


Components = tuple[Tensor, ...]


def angle_of(name: str, first: Value, second: Value) -> Value:
    """An angle of `ANGLES` between objects, entry by entry.

    Members without momentum have the direction 0, whose cosine with anything is 0. Gradients are finite
    everywhere, 0 where the angle has a cusp.

    Args:
        name: A key of `ANGLES`.
        first: Objects or momenta.
        second: As many others.
    """
    (a, b), mask, domain, compact = align(first, second)
    parts, function = ANGLES[name]
    data = function(_direction(a.momentum, parts), _direction(b.momentum, parts))
    return Value(data, mask, domain, compact)


def _direction(momentum: Any, parts: tuple[str, ...]) -> Components:
    """The components of the unit vector."""
    components = [getattr(momentum, n) for n in parts]
    squared = _dot(components, components)
    inverse = torch.where(squared > 0, squared, torch.ones_like(squared)).rsqrt()
    return tuple(c * inverse for c in components)


def _dot(a: Any, b: Any) -> Tensor:
    total: Tensor = sum(x * y for x, y in zip(a, b, strict=True))
    return total


def _below(data: Tensor, bound: float) -> Tensor:
    """Kept below a bound by the last digits, so that a histogram up to it holds the value."""
    return data.clamp(max=bound * (1 - 2 * torch.finfo(data.dtype).eps))


def _cosine(a: Components, b: Components) -> Tensor:
    return _below(-_below(-_dot(a, b), 1.0), 1.0)


def _half_sine_squared(a: Components, b: Components) -> Tensor:
    difference = tuple(x - y for x, y in zip(a, b, strict=True))
    return _below(_dot(difference, difference) / 4, 1.0)


def _angle(a: Components, b: Components) -> Tensor:
    difference = tuple(x - y for x, y in zip(a, b, strict=True))
    total = tuple(x + y for x, y in zip(a, b, strict=True))
    sine, cosine = (vectors.finite_gradient(_root(_dot(v, v))) for v in (difference, total))
    return _below(2 * torch.atan2(sine, cosine), math.pi)


def _root(squared: Tensor) -> Tensor:
    return torch.sqrt(vectors.finite_gradient(squared))


_SPACE, _PLANE = ("px", "py", "pz"), ("px", "py")

ANGLES: dict[str, tuple[tuple[str, ...], Callable[[Components, Components], Tensor]]] = {
    "angle": (_SPACE, _angle),
    "cosangle": (_SPACE, _cosine),
    "z_angle": (_SPACE, _half_sine_squared),
    "absdeltaphi": (_PLANE, _angle),
    "cosdeltaphi": (_PLANE, _cosine),
}
"""Angles of pairs: the opening angle chi in [0, pi), its cosine in (-1, 1), z = (1 - cos chi) / 2 in [0, 1);
the azimuthal difference in [0, pi) and its cosine."""


# ------------------------------------------------------------------------------------------- functions


def call(name: str, arguments: list[Value], text: str) -> Value:
    """One of the language's functions.

    Args:
        name: Its name.
        arguments: As many as it takes.
        text: The whole call as text, the name of the set of objects that it may make.
    """
    if name in _ELEMENTWISE:
        return _elementwise(name, arguments[0])
    if name in ("max", "min") and len(arguments) > 1:
        return _extremum(name, arguments)
    return _FUNCTIONS[name](*arguments, text)


def _sum(value: Value, _: str) -> Value:
    value = per_object(value, "sum")
    if value.is_number:
        return Value(where_exists(counting(value.data), value.mask, 0).sum(1))
    momentum = value.momentum.to_cartesian()
    return Value(map_data(lambda t: where_exists(t, value.mask, 0).sum(1), momentum))


def _count(value: Value, _: str) -> Value:
    value = per_object(value, "count")
    if isinstance(value.data, Tensor) and value.data.dtype == torch.bool:
        msg = "count counts objects, whether a condition holds or not; use sum(...), or count(Jet[...])"
        raise Mismatch(msg)
    return Value(value.exists().sum(1))


def _mean(value: Value, text: str) -> Value:
    total = _sum(value, text)
    if not total.is_number:
        msg = "mean is for numbers"
        raise Mismatch(msg)
    if value.mask is None and value.shape[1] > 0:
        return Value(real(total.data) / value.shape[1])
    number = value.exists().sum(1)
    return Value(real(total.data) / number.clamp(min=1), number > 0)


def _any(value: Value, _: str) -> Value:
    held = truth(per_object(value, "any").data)
    return Value((held if value.mask is None else held & value.mask).any(1))


def _all(value: Value, _: str) -> Value:
    held = truth(per_object(value, "all").data)
    return Value((held if value.mask is None else held | ~value.mask).all(1))


def _reduce_extremum(largest: bool) -> Callable[[Value, str], Value]:
    def reduce(value: Value, _: str) -> Value:
        value = per_object(value, "max" if largest else "min")
        numbers(value)
        data = counting(value.data)
        if data.shape[1] == 0:
            return Value(data.new_zeros(data.shape[0]), value.exists().any(1))
        limits = torch.finfo(data.dtype) if data.is_floating_point() else torch.iinfo(data.dtype)
        filled = where_exists(data, value.mask, limits.min if largest else limits.max)
        found = filled.amax(1) if largest else filled.amin(1)
        if value.mask is None:
            return Value(found)
        exists = value.mask.any(1)
        return Value(where_exists(found, exists, 0), exists)

    return reduce


def _extremum(name: str, values: list[Value]) -> Value:
    numbers(*values)
    aligned, mask, domain, compact = align(*values)
    like = next((v.data for v in aligned if not v.is_constant), None)
    if like is None:
        return Value((max if name == "max" else min)(v.data for v in values))
    function = torch.maximum if name == "max" else torch.minimum
    result, *others = (v.data for v in aligned)
    for other in others:
        x, y = promote(result, other)
        tensor = x if isinstance(x, Tensor) else y
        result = function(as_tensor(x, tensor), as_tensor(y, tensor))
    return Value(result, mask, domain, compact)


def _where(condition: Value, yes: Value, no: Value, _: str) -> Value:
    numbers(condition, yes, no)
    if condition.is_constant:
        msg = "a condition that does not depend on the events"
        raise Mismatch(msg)
    (c, a, b), _mask, domain, compact = align(condition, yes, no)
    holds = truth(c.data)
    x, y = promote(a.data, b.data)
    like = x if isinstance(x, Tensor) else y
    if not isinstance(like, Tensor):
        like = torch.zeros((), dtype=torch.float64, device=device_of(holds))
        like = like if isinstance(x, float) or isinstance(y, float) else like.to(torch.int64)
    data = torch.where(holds, as_tensor(x, like), as_tensor(y, like))
    mask = c.mask
    if a.mask is not None or b.mask is not None:
        true = torch.ones_like(holds)
        chosen = torch.where(holds, true if a.mask is None else a.mask, true if b.mask is None else b.mask)
        mask = chosen if mask is None else mask & chosen
    if domain is not None:
        # a number of the event, chosen for an object that does not exist, does not make one
        owners = [v for v in (condition, yes, no) if v.domain is not None]
        if all(v.mask is not None for v in owners):
            there = torch.stack([v.exists() for v in owners]).any(0)
            mask = there if mask is None else mask & there
        data = data.expand(owners[0].shape)
    return Value(data, mask, domain, compact)


def _two(name: str) -> Callable[[Value, Value, str], Value]:
    function = torch.arctan2 if name == "arctan2" else torch.hypot

    def compute(left: Value, right: Value, _: str) -> Value:
        numbers(left, right)
        (a, b), mask, domain, compact = align(left, right)
        x, y = promote(a.data, b.data, always=True)
        like = x if isinstance(x, Tensor) else y
        if not isinstance(like, Tensor):
            msg = f"{name} of numbers that do not depend on the events"
            raise Mismatch(msg)
        x, y = (finite(harmless(as_tensor(v, like), mask)) for v in (x, y))
        return Value(vectors.finite_gradient(function(x, y)), mask, domain, compact)

    return compute


def _transverse_mass(left: Value, right: Value, _: str) -> Value:
    (a, b), mask, domain, compact = align(left, right)
    one, two = a.momentum, b.momentum
    # 1 - cos(dphi) = 2 sin(dphi / 2)^2 without the loss of digits at small angles
    sine = torch.sin(one.deltaphi(two) / 2).abs()
    root = singular(torch.sqrt, 1.0)(one.pt * two.pt, mask)
    return Value(2 * root * sine, mask, domain, compact)


def _pairs(*arguments: Any, own: bool = False) -> Value:
    *values, text = arguments
    values = [per_object(v, "pairs") for v in values]
    sizes = [v.shape[1] for v in values]
    device = device_of(values[0].data)
    if len(values) == 1:
        first, second = torch.triu_indices(sizes[0], sizes[0], 0 if own else 1, device=device)
    else:
        first = torch.arange(sizes[0], device=device).repeat_interleave(sizes[1])
        second = torch.arange(sizes[1], device=device).repeat(sizes[0])
    a = values[0].map(lambda t: t.index_select(1, first), domain=text, compact=False)
    b = values[-1].map(lambda t: t.index_select(1, second), domain=text, compact=False)
    both = binary(ast.Add, a, b)
    if both.is_number:
        msg = "pairs are made of objects, not of numbers"
        raise Mismatch(msg)
    orders = None
    if len(values) == 1:
        orders = 2.0 - (first == second).to(_dtype(both.data))
    return Value(both.data, both.mask, text, compact=False, pair=(a, b), orders=orders)


def _dtype(data: Any) -> torch.dtype:
    found: list[torch.dtype] = []

    def look(tensor: Tensor) -> Tensor:
        found.append(tensor.dtype)
        return tensor

    map_data(look, data)
    return next((d for d in found if d.is_floating_point), torch.float64)


def _sort(value: Value, key: Value, text: str) -> Value:
    value, key = per_object(value, "sort"), per_object(key, "the key of sort")
    numbers(key)
    align(value, key)
    lowest = where_exists(real(key.data), key.mask, -math.inf).detach()
    order = lowest.argsort(dim=1, descending=True, stable=True)
    ordered = take(value, order)
    return Value(ordered.data, ordered.mask, text, compact=True)


_FUNCTIONS: dict[str, Callable[..., Value]] = {
    "sum": _sum,
    "count": _count,
    "mean": _mean,
    "any": _any,
    "all": _all,
    "max": _reduce_extremum(True),
    "min": _reduce_extremum(False),
    "where": _where,
    "arctan2": _two("arctan2"),
    "hypot": _two("hypot"),
    "transverse_mass": _transverse_mass,
    "pairs": _pairs,
    "pairs_with_self": partial(_pairs, own=True),
    **SHAPES,
    **POLYNOMIALS,
    **CLUSTERS,
    "cells": cells,
    "sort": _sort,
}


# ----------------------------------------------------------------------------------- elementwise


def _elementwise(name: str, value: Value) -> Value:
    numbers(value)
    if value.is_constant:
        number = torch.tensor(float(value.data), dtype=torch.float64)
        result = float(_ELEMENTWISE[name](number, None))
        if not math.isfinite(result):
            msg = f"{name} of this number is not a finite real number"
            raise Mismatch(msg)
        return Value(result)
    data = counting(value.data)
    if name not in ("abs", "sign"):
        data = real(data)
    return Value(_ELEMENTWISE[name](data, value.mask), value.mask, value.domain, value.compact)


def _regular(function: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    return lambda data, mask: function(data)


_ELEMENTWISE: dict[str, Callable[..., Tensor]] = {
    **{n: _regular(getattr(torch, n)) for n in ("abs", "sign", "floor", "sin", "cos", "tanh", "arctan")},
    **{n: singular(getattr(torch, n), 1.0) for n in ("sqrt", "log", "log10")},
    **{n: singular(getattr(torch, n), 0.0) for n in ("exp", "tan", "sinh", "cosh", "arcsin", "arccos")},
    "wrap": _regular(vectors.wrap),
}
