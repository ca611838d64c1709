"""Layers of images along any one to three axes: convolutions, with and without shared weights, and resizing.

Images are (N, channels, cells along each axis). An axis may be closed, its last cell next to its first, as on
a circle.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from hepgan.errors import RecipeError
from hepgan.networks.drawing import take, uniform

__all__ = ["Convolution", "LocallyConnected", "Pool", "Upsample"]

_CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_POOLS = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}

Ends = tuple[tuple[int, int], ...]
"""Cells that are added before the first and after the last cell of each axis."""


class _Windows(nn.Module):
    """What convolutions with and without shared weights have in common.

    Args:
        inputs: Channels of the image.
        outputs: Channels of the result.
        shape: Cells of the image along each axis.
        kernel: Cells of a window along each axis.
        stride: Cells from one window to the next.
        pad: Empty cells that are added at both ends of each axis; if None, as many as give one window
            for each stride.
        closed: Of each axis whether it is closed; what is beyond one end is then what is at the other.

    Attributes:
        out_shape: Windows along each axis.
        ends: Cells that are added at the ends of each axis.

    Raises:
        RecipeError: If a window does not fit in, or an axis would not stay closed.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        shape: Sequence[int],
        *,
        kernel: Sequence[int],
        stride: Sequence[int],
        pad: Sequence[int] | None,
        closed: Sequence[bool],
    ) -> None:
        super().__init__()
        self.inputs, self.outputs = inputs, outputs
        self.shape, self.kernel, self.stride = tuple(shape), tuple(kernel), tuple(stride)
        self.closed = tuple(closed)
        _check_closed(self.shape, self.stride, self.closed, "stride")
        if pad is not None and any(closed):
            msg = "an axis is closed: windows go on at its other end, so leave pad out"
            raise RecipeError(msg)
        if pad is None:
            self.ends: Ends = tuple(((k - 1) // 2, k // 2) for k in self.kernel)
        else:
            self.ends = tuple((p, p) for p in pad)
        rooms = [n + a + b - k for n, (a, b), k in zip(self.shape, self.ends, self.kernel, strict=True)]
        if min(rooms) < 0 or any(c and k > n for n, k, c in zip(shape, kernel, closed, strict=True)):
            msg = f"a window of {_by(self.kernel)} cells does not fit in an image of {_by(self.shape)}"
            raise RecipeError(msg)
        self.out_shape = tuple(room // s + 1 for room, s in zip(rooms, self.stride, strict=True))

    @property
    def fan_in(self) -> int:
        """Numbers in a window."""
        return self.inputs * math.prod(self.kernel)

    def extra_repr(self) -> str:
        """The sizes, for ``print(model)``."""
        return (
            f"{self.inputs} x {_by(self.shape)} -> {self.outputs} x {_by(self.out_shape)}, "
            f"kernel={_by(self.kernel)}"
        )


class Convolution(_Windows):
    """A convolution, whose windows share their weights.

    Args:
        inputs: Channels of the image.
        outputs: Channels of the result.
        shape: Cells of the image along each axis.
        kernel: Cells of a window along each axis.
        stride: Cells from one window to the next.
        pad: Empty cells that are added at both ends of each axis; if None, as many as give one window
            for each stride.
        closed: Of each axis whether it is closed.
        bias: Whether a number is added in each channel.
        gain: Weights are drawn with this times the standard deviation that keeps the size of numbers.

    Raises:
        RecipeError: If a window does not fit in, or an axis would not stay closed.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        shape: Sequence[int],
        *,
        kernel: Sequence[int],
        stride: Sequence[int],
        pad: Sequence[int] | None = None,
        closed: Sequence[bool],
        bias: bool = True,
        gain: float = 1.0,
    ) -> None:
        super().__init__(inputs, outputs, shape, kernel=kernel, stride=stride, pad=pad, closed=closed)
        take(outputs * self.fan_in)
        self.weight = nn.Parameter(uniform((outputs, inputs, *self.kernel), gain * (3 / self.fan_in) ** 0.5))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """The result (N, outputs, windows ...) for images (N, inputs, cells ...)."""
        convolve = _CONVOLUTIONS[len(self.shape)]
        even = all(a == b for a, b in self.ends)
        if even and not any(self.closed):
            return convolve(x, self.weight, self.bias, self.stride, [a for a, _ in self.ends])
        return convolve(_padded(x, self.ends, self.closed), self.weight, self.bias, self.stride)


class LocallyConnected(_Windows):
    """A convolution without shared weights: each window has its own, and its own bias.

    Images are laid out with the events as the fastest index, so that windows are gathered in long rows.

    Args:
        inputs: Channels of the image.
        outputs: Channels of the result.
        shape: Cells of the image along each axis.
        kernel: Cells of a window along each axis.
        stride: Cells from one window to the next.
        pad: Empty cells that are added at both ends of each axis; if None, as many as give one window
            for each stride.
        closed: Of each axis whether it is closed.
        bias: Whether a number is added in each channel of each window.
        gain: Weights are drawn with this times the standard deviation that keeps the size of numbers.

    Raises:
        RecipeError: If a window does not fit in, or an axis would not stay closed.
    """

    cells: Tensor

    def __init__(
        self,
        inputs: int,
        outputs: int,
        shape: Sequence[int],
        *,
        kernel: Sequence[int],
        stride: Sequence[int],
        pad: Sequence[int] | None = None,
        closed: Sequence[bool],
        bias: bool = True,
        gain: float = 1.0,
    ) -> None:
        super().__init__(inputs, outputs, shape, kernel=kernel, stride=stride, pad=pad, closed=closed)
        self.windows = math.prod(self.out_shape)
        take(self.windows * outputs * self.fan_in)
        bound = gain * (3 / self.fan_in) ** 0.5
        self.weight = nn.Parameter(uniform((self.windows, outputs, self.fan_in), bound))
        self.bias = nn.Parameter(torch.zeros(self.windows, outputs, 1)) if bias else None
        self.register_buffer("cells", self._cells().reshape(-1), persistent=False)
        self.padded = bool((self.cells == inputs * math.prod(self.shape)).any())

    def _cells(self) -> Tensor:
        """The number of each cell of each window (windows, inputs x kernel); of empty ones, one more."""
        axes = len(self.shape)
        index = torch.zeros((1,) * (2 * axes), dtype=torch.int64)
        inside = torch.ones((1,) * (2 * axes), dtype=torch.bool)
        for axis, (n, k, s, (before, _), out, closed) in enumerate(
            zip(self.shape, self.kernel, self.stride, self.ends, self.out_shape, self.closed, strict=True)
        ):
            place = torch.arange(out)[:, None] * s + torch.arange(k) - before
            form = [1] * (2 * axes)
            form[axis], form[axes + axis] = out, k
            place = place.reshape(form)
            inside = inside & (
                torch.ones_like(place, dtype=torch.bool) if closed else (place >= 0) & (place < n)
            )
            index = index * n + place % n
        windows = index.reshape(self.windows, 1, -1)
        number = math.prod(self.shape)
        windows = windows + number * torch.arange(self.inputs)[:, None]
        inside = inside.reshape(self.windows, 1, -1).expand_as(windows)
        return torch.where(inside, windows, self.inputs * number).reshape(self.windows, -1)

    def forward(self, x: Tensor) -> Tensor:
        """The result (N, outputs, windows ...) for images (N, inputs, cells ...)."""
        rows = x.flatten(1).t()
        rows = torch.cat((rows, rows.new_zeros(1, rows.shape[1]))) if self.padded else rows.contiguous()
        seen = rows.index_select(0, self.cells).reshape(self.windows, self.fan_in, -1)
        found = torch.bmm(self.weight, seen)
        if self.bias is not None:
            found = found + self.bias
        flat = found.transpose(0, 1).reshape(self.outputs * self.windows, -1)
        return flat.t().reshape(-1, self.outputs, *self.out_shape)


class Upsample(nn.Module):
    """Each cell several times along each axis.

    Args:
        shape: Cells of the image along each axis.
        times: How often each cell comes along each axis.

    Attributes:
        out_shape: Cells of the result along each axis.
    """

    def __init__(self, shape: Sequence[int], times: Sequence[int]) -> None:
        super().__init__()
        self.times = tuple(times)
        self.out_shape = tuple(n * t for n, t in zip(shape, times, strict=True))

    def forward(self, x: Tensor) -> Tensor:
        """The larger images (N, channels, ...)."""
        for axis, times in enumerate(self.times):
            x = x if times == 1 else x.repeat_interleave(times, dim=2 + axis)
        return x


class Pool(nn.Module):
    """Means over windows that follow each other; cells beyond the last whole window are left out.

    Args:
        shape: Cells of the image along each axis.
        window: Cells of a window along each axis.
        closed: Of each axis whether it is closed.

    Attributes:
        out_shape: Windows along each axis.

    Raises:
        RecipeError: If a window does not fit in, or an axis would not stay closed.
    """

    def __init__(self, shape: Sequence[int], window: Sequence[int], closed: Sequence[bool]) -> None:
        super().__init__()
        self.window = tuple(window)
        _check_closed(shape, window, closed, "pool")
        if any(w > n for n, w in zip(shape, window, strict=True)):
            msg = f"a window of {_by(window)} cells does not fit in an image of {_by(shape)}"
            raise RecipeError(msg)
        self.out_shape = tuple(n // w for n, w in zip(shape, window, strict=True))

    def forward(self, x: Tensor) -> Tensor:
        """The means (N, channels, ...)."""
        # Pooling needs cells in their order in memory.
        found: Tensor = _POOLS[len(self.window)](x.contiguous(), self.window)
        return found


def _padded(x: Tensor, ends: Ends, closed: Sequence[bool]) -> Tensor:
    for axis, ((before, after), circle) in enumerate(zip(ends, closed, strict=True)):
        if circle and before + after:
            n = x.shape[2 + axis]
            parts = (x.narrow(2 + axis, n - before, before), x, x.narrow(2 + axis, 0, after))
            x = torch.cat(parts, dim=2 + axis)
    flat = [n for (a, b), circle in zip(ends, closed, strict=True) for n in ((0, 0) if circle else (b, a))]
    return functional.pad(x, flat[::-1]) if any(flat) else x


def _check_closed(shape: Sequence[int], steps: Sequence[int], closed: Sequence[bool], option: str) -> None:
    for n, step, circle in zip(shape, steps, closed, strict=True):
        if circle and n % step:
            msg = (
                f"{option}: a closed axis of {n} cells is no circle of steps of {step}; take a divisor of {n}"
            )
            raise RecipeError(msg)


def _by(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
