"""What modules draw: the weights that they start from, and what dropout leaves out.

Torch's own modules draw from one generator that all threads of a process share, so that one training would
change another. These draw from the generator of :func:`drawing_from`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, nn
from torch.nn import functional, init
from torch.nn.utils import parametrize

__all__ = [
    "Dropout",
    "Linear",
    "drawing_from",
    "drawing_rows",
    "no_more_than",
    "normal",
    "normalise_spectrum",
    "take",
    "uniform",
]

_generator: ContextVar[torch.Generator | None] = ContextVar("hepgan_generator", default=None)
_rows: ContextVar[tuple[int, int, int] | None] = ContextVar("hepgan_rows", default=None)
_left: ContextVar[list[int] | None] = ContextVar("hepgan_left", default=None)


@contextmanager
def drawing_from(generator: torch.Generator | None) -> Iterator[None]:
    """Lets modules that this thread makes, or trains, draw from a generator; torch's global one if None."""
    token = _generator.set(generator)
    try:
        yield
    finally:
        _generator.reset(token)


@contextmanager
def drawing_rows(first: int, number: int, of: int) -> Iterator[None]:
    """Lets modules whose inputs are some rows of a batch draw what they would draw for all of it.

    Args:
        first: The first of these rows.
        number: How many there are; any beyond the last one of the batch stand for that.
        of: The rows of the batch.
    """
    token = _rows.set((first, number, of))
    try:
        yield
    finally:
        _rows.reset(token)


@contextmanager
def no_more_than(numbers: int) -> Iterator[None]:
    """Lets the modules that are made in this thread have so many weights together.

    Modules that would have more raise a ValueError before they take memory.
    """
    token = _left.set([numbers])
    try:
        yield
    finally:
        _left.reset(token)


def take(numbers: int) -> None:
    """Counts weights that a module is about to have, as `no_more_than` allows.

    Raises:
        ValueError: If these are too many.
    """
    left = _left.get()
    if left is not None:
        left[0] -= max(numbers, 1)
        if left[0] < 0:
            msg = "its networks are larger than what it holds"
            raise ValueError(msg)


def normal(*shape: int) -> Tensor:
    """Standard normal numbers to start from."""
    return torch.randn(shape, generator=_generator.get())


def uniform(shape: tuple[int, ...], bound: float) -> Tensor:
    """Numbers from -bound to bound to start from."""
    return torch.empty(shape).uniform_(-bound, bound, generator=_generator.get())


class Linear(nn.Linear):
    """A linear layer."""

    def __init__(self, inputs: int, outputs: int, *, bias: bool = True) -> None:
        take(inputs * outputs)
        super().__init__(inputs, outputs, bias)

    def reset_parameters(self) -> None:
        """Draws weights and biases, as torch's own layer does."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5.0), generator=_generator.get())
        if self.bias is not None:
            bound = 1.0 / math.sqrt(self.in_features) if self.in_features else 0.0
            init.uniform_(self.bias, -bound, bound, generator=_generator.get())


class Dropout(nn.Module):
    """Sets a share of its inputs to 0 in training, and enlarges the others accordingly.

    Args:
        share: The share, below 1.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        """What is left of x."""
        if not self.training or not self.share:
            return x
        kept = self._drawn(x)
        return x * kept.div_(1.0 - self.share)

    def _drawn(self, x: Tensor) -> Tensor:
        """1 where x is kept."""
        rows = _rows.get()
        if rows is None:
            return torch.empty_like(x).bernoulli_(1.0 - self.share, generator=_generator.get())
        first, number, of = rows
        # Of sets, a row of the batch has several here.
        shape = (of, len(x) // number, *x.shape[1:])
        whole = torch.empty(shape, dtype=x.dtype, device=x.device)
        whole.bernoulli_(1.0 - self.share, generator=_generator.get())
        index = torch.arange(first, first + number, device=x.device).clamp_(max=of - 1)
        return whole[index].view_as(x)

    def extra_repr(self) -> str:
        """The share, for ``print(model)``."""
        return f"{self.share}"


def normalise_spectrum(layer: nn.Linear) -> None:
    """Divides a layer's weights by their largest singular value, whatever they become.

    Reference: T. Miyato et al., Spectral normalization, arXiv:1802.05957.
    """
    parametrize.register_parametrization(layer, "weight", _SpectralNorm(layer.weight))


class _SpectralNorm(nn.Module):
    """Weights over their largest singular value, which one power iteration in each step follows."""

    _u: Tensor
    _v: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        for name, size in zip(("_u", "_v"), weight.shape, strict=True):
            self.register_buffer(name, functional.normalize(normal(size), dim=0, eps=1e-12))
        self._iterate(weight.detach(), 15)

    @torch.no_grad()
    def _iterate(self, weight: Tensor, times: int) -> None:
        for _ in range(times):
            functional.normalize(torch.mv(weight, self._v), dim=0, eps=1e-12, out=self._u)
            functional.normalize(torch.mv(weight.t(), self._u), dim=0, eps=1e-12, out=self._v)

    def forward(self, weight: Tensor) -> Tensor:
        """The divided weights."""
        if self.training:
            self._iterate(weight.detach(), 1)
        # Copies, since the next iteration overwrites what the gradient needs.
        u, v = self._u.clone(), self._v.clone()
        return weight / torch.vdot(u, torch.mv(weight, v))

    def right_inverse(self, value: Tensor) -> Tensor:
        """What weights are before they are divided."""
        return value
