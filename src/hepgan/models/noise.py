"""Random numbers that depend on the seed and the event's number alone.

They come from the counter-based generator Philox4x64-10, so that any worker can make those of any block
without the ones before; and everything after it uses only additions, products, quotients and square
roots, which are the same on every machine (a library's log and cos are not).

Reference: Salmon et al., Parallel random numbers: as easy as 1, 2, 3, SC11, doi:10.1145/2063384.2063405.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["BLOCK", "gaussian", "uniform"]

BLOCK = 4096
"""Events in a block: row i of block b belongs to event b * BLOCK + i."""

_GAUSSIAN, _UNIFORM = 0, 1
_Floats = NDArray[np.float32]


def gaussian(seed: int, block: int, size: int, *, stream: int = 0, rows: Tensor | None = None) -> Tensor:
    """Standard normal numbers of one block of events.

    Args:
        seed: From 0 to 2^64 - 1.
        block: The block's number, from 0.
        size: Numbers per event.
        stream: From 0 to 2^64 - 1; streams of one seed are independent.
        rows: The events of the block that are wanted (n,); all if None.

    Returns:
        (BLOCK or n, size), float32; |z| <= 6.7.

    Raises:
        ValueError: If an argument is out of range.
    """
    if size == 0:
        return torch.empty((BLOCK if rows is None else len(rows), 0))
    if rows is not None:
        return _some(seed, stream, block, rows.cpu().numpy(), size)
    words = _words(seed, stream, block, _GAUSSIAN, BLOCK * size // 2)
    radius = _radius((words >> np.uint64(32)).astype(np.uint32))
    cosine, sine = _cosine_and_sine(words.astype(np.uint32))
    result = np.empty(BLOCK * size, dtype=np.float32)
    np.multiply(radius, cosine, out=result[: len(words)])
    np.multiply(radius, sine, out=result[len(words) :])
    return torch.from_numpy(result.reshape(BLOCK, size))


def _some(seed: int, stream: int, block: int, rows: NDArray[np.int64], size: int) -> Tensor:
    """Rows of the normal numbers that a block's words make."""
    half, word = np.divmod(rows[:, None] * size + np.arange(size), BLOCK * size // 2)
    chosen = np.empty(word.shape, np.uint64)
    for there in (half == 0, half == 1):
        if there.any():
            first, last = int(word[there].min()), int(word[there].max())
            words = _words(seed, stream, block, _GAUSSIAN, last + 1 - first, first)
            chosen[there] = words[word[there] - first]
    radius = _radius((chosen >> np.uint64(32)).astype(np.uint32))
    cosine, sine = _cosine_and_sine(chosen.astype(np.uint32))
    return torch.from_numpy(radius * np.where(half == 0, cosine, sine))


def uniform(seed: int, block: int, size: int, *, stream: int = 0, rows: Tensor | None = None) -> Tensor:
    """Uniform numbers in [0, 1) of one block of events; independent of :func:`gaussian`'s.

    Args:
        seed: From 0 to 2^64 - 1.
        block: The block's number, from 0.
        size: Numbers per event.
        stream: From 0 to 2^64 - 1; streams of one seed are independent.
        rows: The events of the block that are wanted (n,); all if None.

    Returns:
        (BLOCK or n, size), float64, multiples of 2^-53.

    Raises:
        ValueError: If an argument is out of range.
    """
    number = BLOCK if rows is None else len(rows)
    if size == 0 or number == 0:
        return torch.empty((number, size), dtype=torch.float64)
    first, last = (0, BLOCK - 1) if rows is None else (int(rows.min()), int(rows.max()))
    words = _words(seed, stream, block, _UNIFORM, (last + 1 - first) * size, first * size)
    found = torch.from_numpy(((words >> np.uint64(11)) * 2.0**-53).reshape(-1, size))
    return found if rows is None else found[rows.cpu() - first]


def _words(
    seed: int, stream: int, block: int, purpose: int, count: int, first: int = 0
) -> NDArray[np.uint64]:
    """The words ``first`` ... ``first + count - 1`` of a stream of one block."""
    for name, value in (("seed", seed), ("stream", stream), ("block", block)):
        if not 0 <= value < 2**64:
            msg = f"{name} must be from 0 to 2^64 - 1, not {value}"
            raise ValueError(msg)
    # The low half of the counter counts within the block, four words at a time, so blocks can't overlap.
    whole, rest = divmod(first, 4)
    philox = np.random.Philox(
        key=np.array([seed, stream], dtype=np.uint64),
        counter=np.array([whole, 0, block, purpose], dtype=np.uint64),
    )
    words: NDArray[np.uint64] = philox.random_raw(count + rest)
    return words[rest:]


def _radius(bits: NDArray[np.uint32]) -> _Floats:
    """sqrt(-2 ln u) of u = (bits + 1/2) / 2^32, relative error below 1e-6."""
    u = bits.astype(np.float32)
    u *= np.float32(2.0**-32)
    u += np.float32(2.0**-33)
    # u = m 2^e with m from sqrt(1/2) to sqrt(2), so that ln m needs few terms.
    pattern = u.view(np.int32)
    exponent = (pattern - np.int32(0x3F3504F3)) >> np.int32(23)
    m = (pattern - (exponent << np.int32(23))).view(np.float32)
    s = m - np.float32(1.0)
    m += np.float32(1.0)
    s /= m
    square = s * s
    # ln m = 2 artanh(s)
    series = _polynomial(square, [2.0 / (2 * k + 1) for k in range(5)])
    series *= s
    e = exponent.astype(np.float32)
    e *= np.float32(math.log(2.0))
    series += e
    series *= np.float32(-2.0)
    np.maximum(series, np.float32(0.0), out=series)
    return np.sqrt(series, out=series)


def _cosine_and_sine(bits: NDArray[np.uint32]) -> tuple[_Floats, _Floats]:
    """Cosine and sine of an angle uniform on the circle."""
    # The top bit turns by pi, the others give half the angle, from -pi/4 to pi/4.
    half = (bits & np.uint32(0x7FFFFFFF)).astype(np.float32)
    half -= np.float32(2.0**30)
    half *= np.float32(math.pi / 2.0**32)
    square = half * half
    s = _polynomial(square, [(-1.0) ** k / math.factorial(2 * k + 1) for k in range(5)])
    s *= half
    square = s * s
    c = np.sqrt(np.float32(1.0) - square)
    s *= c
    c = np.float32(1.0) - square
    c -= square
    sign = (bits >> np.uint32(31)).astype(np.float32)
    sign *= np.float32(-2.0)
    sign += np.float32(1.0)
    c *= sign
    s *= np.float32(2.0)
    s *= sign
    return c, s


def _polynomial(x: _Floats, coefficients: list[float]) -> _Floats:
    result = np.full_like(x, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        result *= x
        result += np.float32(coefficient)
    return result
