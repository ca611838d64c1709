"""Weighted sums over pairs of values of different events, and the kernels in them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from hepgan.objectives.terms import Points, sums_of_events

__all__ = [
    "BreitWigner",
    "Distance",
    "Gaussian",
    "Kernel",
    "RationalQuadratic",
    "absolute_mean",
    "kernel_mean",
]

_CHUNK = 2**16
"""Pairs at a time: few enough to stay in a core's cache."""


class Kernel(ABC):
    """A function of the squared distance of two values."""

    @abstractmethod
    def add(self, squared: Tensor, value: Tensor, slope: Tensor | None) -> None:
        """Add the kernel of squared distances to ``value``, and its derivative in them to ``slope``."""

    def __call__(self, squared: Tensor) -> Tensor:
        """The kernel of squared distances."""
        value = torch.zeros_like(squared)
        self.add(squared, value, None)
        return value


@dataclass(frozen=True)
class Gaussian(Kernel):
    """exp(-u^2 / 2 width^2)."""

    width: float

    def add(self, squared: Tensor, value: Tensor, slope: Tensor | None) -> None:
        """Slope -k / 2 width^2."""
        factor = -0.5 / self.width**2
        k = (squared * factor).exp_()
        value += k
        if slope is not None:
            slope.add_(k, alpha=factor)


@dataclass(frozen=True)
class BreitWigner(Kernel):
    """width^2 / (u^2 + width^2)."""

    width: float

    def add(self, squared: Tensor, value: Tensor, slope: Tensor | None) -> None:
        """Slope -k^2 / width^2."""
        k = (squared + self.width**2).reciprocal_() * self.width**2
        value += k
        if slope is not None:
            slope.addcmul_(k, k, value=-1.0 / self.width**2)


@dataclass(frozen=True)
class RationalQuadratic(Kernel):
    """(1 + u^2 / 2 alpha width^2)^-alpha, a Gaussian with tails."""

    width: float
    alpha: float = 1.0

    def add(self, squared: Tensor, value: Tensor, slope: Tensor | None) -> None:
        """Slope -k / (2 width^2 + u^2 / alpha)."""
        base = (squared * (0.5 / (self.alpha * self.width**2))).add_(1.0)
        k = base**-self.alpha
        value += k
        if slope is not None:
            slope.addcdiv_(k, base, value=-0.5 / self.width**2)


@dataclass(frozen=True)
class Distance(Kernel):
    """|u|, the negative of the energy distance's kernel."""

    def add(self, squared: Tensor, value: Tensor, slope: Tensor | None) -> None:
        """Slope 1 / 2 |u|; 0 at 0."""
        k = squared.sqrt()
        value += k
        if slope is not None:
            slope += torch.where(k > 0.0, 0.5 / k, 0.0)


def kernel_mean(kernels: tuple[Kernel, ...], a: Points, b: Points | None = None) -> Tensor:
    """The weighted mean of the kernels' mean over pairs of values of different events; a scalar.

    All pairs enter, in chunks, so memory does not grow with their number.

    Args:
        kernels: The kernels.
        a: The first value of each pair.
        b: The second; of the same sample if None.
    """
    norm = _norm(a, b)
    if norm is None:
        return a.values.sum() * 0.0
    other = a if b is None else b
    event_a, event_b = _events(a, b)
    result: Tensor = _PairSum.apply(  # type: ignore[no-untyped-call]
        _columns(a), _columns(other), a.weight, other.weight, event_a, event_b, kernels, b is None
    )
    return result / norm


def absolute_mean(a: Points, b: Points | None = None) -> Tensor:
    """The weighted mean of the distance |x - y| over pairs of values (n,) of different events; a scalar.

    The cost is that of sorting.

    Args:
        a: The first value of each pair.
        b: The second; of the same sample if None.
    """
    norm = _norm(a, b)
    if norm is None:
        return a.values.sum() * 0.0
    event_a, event_b = _events(a, b)
    if b is None:
        whole = _absolute_sum(a.values, a.weight)
        # A value has no distance from itself.
        if a.event is None or _single(a.event):
            return whole / norm
        return (whole - _absolute_sum(a.values, a.weight, a.event)) / norm
    values, weight = torch.cat((a.values, b.values)), torch.cat((a.weight, b.weight))
    own = _absolute_sum(a.values, a.weight) + _absolute_sum(b.values, b.weight)
    between = 0.5 * (_absolute_sum(values, weight) - own)
    if event_a is None or event_b is None:
        return between / norm
    if _single(event_a) and torch.equal(event_a, event_b):
        same = (a.weight * b.weight * (a.values - b.values).abs()).sum()
    else:
        same = _absolute_sum(values, weight, torch.cat((event_a, event_b)))
        same = same - _absolute_sum(a.values, a.weight, event_a) - _absolute_sum(b.values, b.weight, event_b)
        same = 0.5 * same
    return (between - same) / norm


def _single(event: Tensor) -> bool:
    """Whether each event has one value."""
    return bool((event.diff() > 0).all())


def _columns(points: Points) -> Tensor:
    return points.values if points.values.ndim == 2 else points.values[:, None]


def _events(a: Points, b: Points | None) -> tuple[Tensor | None, Tensor | None]:
    """The events of both; None for both where events of the two samples have nothing in common."""
    if b is None:
        event = a.event
        if event is None:
            event = torch.arange(len(a.weight), device=a.weight.device)
        return event, event
    return (None, None) if a.event is None or b.event is None else (a.event, b.event)


def _norm(a: Points, b: Points | None) -> Tensor | None:
    """The sum of the weights of all pairs; None if it isn't positive."""
    event_a, event_b = _events(a, b)
    other = a if b is None else b
    norm = a.weight.sum() * other.weight.sum()
    if event_a is not None and event_b is not None:
        size = 1 + max(int(event_a.max()), int(event_b.max()))
        first = sums_of_events(a.weight, event_a, size)
        second = first if b is None else sums_of_events(b.weight, event_b, size)
        norm = norm - first @ second
    # What is left of a single event is rounding.
    least = 1e-9 * float(a.weight.detach().abs().sum() * other.weight.detach().abs().sum())
    return norm if float(norm.detach()) > least else None


def _absolute_sum(values: Tensor, weight: Tensor, event: Tensor | None = None) -> Tensor:
    """The sum of w_i w_j |x_i - x_j| over all i and j, or over those of the same event."""
    order = torch.argsort(values)
    if event is None:
        x, below = values[order], torch.cumsum(weight[order], dim=0)
        left = below[:-1]
        return 2.0 * (x.diff() * left * (below[-1:] - left)).sum()
    order = order[torch.argsort(event[order], stable=True)]
    x, w, e = values[order], weight[order], event[order].contiguous()
    below = torch.cumsum(w, dim=0)
    first, last = torch.searchsorted(e, e), torch.searchsorted(e, e, right=True) - 1
    start = (below - w)[first]
    left, whole = below - start, below[last] - start
    gap = torch.where(e.diff() == 0, x.diff(), torch.zeros_like(x[1:]))
    return 2.0 * (gap * (left * (whole - left))[:-1]).sum()


class _PairSum(torch.autograd.Function):
    """The sum of a_i b_j k(|x_i - y_j|^2) over pairs of different events.

    Gradients come with the values, chunk by chunk, so that no array of all pairs is ever kept. x and y may
    be the same sample; then each pair is made once, and all gradients go to x and a.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        y: Tensor,
        a: Tensor,
        b: Tensor,
        event_x: Tensor | None,
        event_y: Tensor | None,
        kernels: tuple[Kernel, ...],
        same: bool,
    ) -> Tensor:
        """The sum."""
        need_x, need_y, need_a, need_b = ctx.needs_input_grad[:4]
        sloped = need_x or need_y
        grad_x, grad_y = torch.zeros_like(x), torch.zeros_like(y)
        potential_x, potential_y = torch.zeros_like(a), torch.zeros_like(b)
        square_y = y.square().sum(dim=1)
        rows = max(1, _CHUNK // len(y))
        for i in range(0, len(x), rows):
            part = slice(i, i + rows)
            # Of one sample, the pairs below the diagonal are those above it.
            rest = slice(i, None) if same else slice(None)
            x_part, y_part = x[part], y[rest]
            squared = _squared(x_part, y_part, square_y[rest])
            value = torch.zeros_like(squared)
            slope = torch.zeros_like(squared) if sloped else None
            for kernel in kernels:
                kernel.add(squared, value, slope)
            counted = torch.ones_like(value)
            if event_x is not None and event_y is not None:
                counted *= event_x[part, None] != event_y[rest]
            if same:
                # The pairs within the part come twice.
                counted[:, : len(x_part)] *= 0.5
            value *= counted
            potential_x[part] += value @ b[rest]
            if need_b or same:
                potential_y[rest] += a[part] @ value
            if slope is not None:
                slope *= counted.mul_(a[part, None]).mul_(b[rest])
                grad_x[part] += x_part * slope.sum(dim=1)[:, None] - slope @ y_part
                if need_y or same:
                    grad_y[rest] += y_part * slope.sum(dim=0)[:, None] - slope.T @ x_part
        twice = 1.0
        if same:
            grad_x, potential_x, twice = grad_x + grad_y, potential_x + potential_y, 2.0
            need_y = need_b = False
        share = 1.0 / len(kernels)
        ctx.save_for_backward(
            2.0 * twice * share * grad_x if need_x else None,
            2.0 * share * grad_y if need_y else None,
            twice * share * potential_x if need_a else None,
            share * potential_y if need_b else None,
        )
        return share * (a @ potential_x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients that were found on the way."""
        return (*(None if g is None else grad * g for g in ctx.saved_tensors), None, None, None, None)


def _squared(x: Tensor, y: Tensor, square_y: Tensor) -> Tensor:
    if x.shape[1] == 1:
        return (x - y.T).square()
    return (x.square().sum(dim=1)[:, None] + square_y - 2.0 * (x @ y.T)).clamp_min(0.0)
