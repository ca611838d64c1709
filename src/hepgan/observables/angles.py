"""Angles between the two members of a pair, exact where they are nearly parallel or back to back."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from hepgan import vectors
from hepgan.observables.values import Value, align

__all__ = ["ANGLES", "angle_of"]

Parts = tuple[Tensor, ...]


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


def _direction(momentum: Any, parts: tuple[str, ...]) -> Parts:
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


def _cosine(a: Parts, b: Parts) -> Tensor:
    return _below(-_below(-_dot(a, b), 1.0), 1.0)


def _half_sine_squared(a: Parts, b: Parts) -> Tensor:
    difference = tuple(x - y for x, y in zip(a, b, strict=True))
    return _below(_dot(difference, difference) / 4, 1.0)


def _angle(a: Parts, b: Parts) -> Tensor:
    difference = tuple(x - y for x, y in zip(a, b, strict=True))
    total = tuple(x + y for x, y in zip(a, b, strict=True))
    sine, cosine = (vectors.finite_gradient(_root(_dot(v, v))) for v in (difference, total))
    return _below(2 * torch.atan2(sine, cosine), math.pi)


def _root(squared: Tensor) -> Tensor:
    return torch.sqrt(vectors.finite_gradient(squared))


_SPACE, _PLANE = ("px", "py", "pz"), ("px", "py")

ANGLES: dict[str, tuple[tuple[str, ...], Callable[[Parts, Parts], Tensor]]] = {
    "angle": (_SPACE, _angle),
    "cosangle": (_SPACE, _cosine),
    "z_angle": (_SPACE, _half_sine_squared),
    "absdeltaphi": (_PLANE, _angle),
    "cosdeltaphi": (_PLANE, _cosine),
}
"""Angles of pairs: the opening angle chi in [0, pi), its cosine in (-1, 1), z = (1 - cos chi) / 2 in [0, 1);
the azimuthal difference in [0, pi) and its cosine."""
