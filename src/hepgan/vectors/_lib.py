"""The numpy-like library that vector's kernels compute with: torch, with gradients that stay finite.

vector's kernels are pure functions ``kernel(lib, *coordinates)``. Here every coordinate is a tensor;
only a kernel's own constants (``copysign(1, tau)``, ``maximum(t2, 0)``) are Python numbers.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

__all__ = ["TorchLib", "finite_gradient"]


class _Finite(torch.autograd.Function):
    """nan and infinities become zero, in the value and in the gradient, to any order."""

    generate_vmap_rule = True

    @staticmethod
    def forward(value: Tensor) -> Tensor:
        return torch.nan_to_num(value, nan=0.0, posinf=0.0, neginf=0.0)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _Finite.apply(gradients[0])  # type: ignore[no-any-return, no-untyped-call]


class _FiniteGradient(torch.autograd.Function):
    """The identity, behind which no nan or infinity passes backwards."""

    generate_vmap_rule = True

    @staticmethod
    def forward(value: Tensor) -> Tensor:
        return value.view_as(value)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _Finite.apply(gradients[0])  # type: ignore[no-any-return, no-untyped-call]


@torch.compiler.allow_in_graph  # type: ignore[untyped-decorator]
def _guard(value: Tensor) -> Tensor:
    # one node of the graph: dynamo's own tracing of autograd functions instantiates them, which warns
    return _FiniteGradient.apply(value)  # type: ignore[no-any-return, no-untyped-call]


def finite_gradient(value: Tensor) -> Tensor:
    """Returns ``value`` itself, with a gradient in which nan and infinities are zero.

    The forward pass costs nothing, unlike the usual pair of ``torch.where``; without a gradient to
    compute, ``value`` is passed through.
    """
    if torch.is_grad_enabled() and value.requires_grad:
        return _guard(value)  # type: ignore[no-any-return]
    return value


class TorchLib:
    """The names that vector's kernels ask of ``lib``, with numpy's meaning and torch's tensors."""

    pi = math.pi
    inf = math.inf

    absolute = staticmethod(torch.absolute)
    arcsinh = staticmethod(torch.arcsinh)
    arctan = staticmethod(torch.arctan)
    cos = staticmethod(torch.cos)
    exp = staticmethod(torch.exp)
    sign = staticmethod(torch.sign)
    sin = staticmethod(torch.sin)
    sinh = staticmethod(torch.sinh)
    tan = staticmethod(torch.tan)

    @staticmethod
    def sqrt(x: Tensor) -> Tensor:
        """Square root; its gradient at 0 is 0."""
        return finite_gradient(torch.sqrt(finite_gradient(x)))

    @staticmethod
    def log(x: Tensor) -> Tensor:
        """Natural logarithm; its gradient at 0 is 0."""
        return finite_gradient(torch.log(finite_gradient(x)))

    @staticmethod
    def arccos(x: Tensor) -> Tensor:
        """Arc cosine; its gradient at -1 and 1 is 0."""
        return finite_gradient(torch.arccos(finite_gradient(x)))

    @staticmethod
    def arctan2(y: Tensor, x: Tensor) -> Tensor:
        """Arc tangent of y / x in the right quadrant; its gradient at the origin is 0."""
        return finite_gradient(torch.arctan2(finite_gradient(y), finite_gradient(x)))

    @staticmethod
    def copysign(x: Tensor | float, y: Tensor) -> Tensor:
        """The magnitude of ``x`` with the sign of ``y``."""
        return torch.copysign(x if isinstance(x, Tensor) else torch.full_like(y, x), y)

    @staticmethod
    def maximum(x: Tensor | float, y: Tensor | float) -> Tensor:
        """The larger one; nan if either is nan."""
        if isinstance(x, Tensor):
            return torch.maximum(x, y) if isinstance(y, Tensor) else torch.clamp(x, min=y)
        return torch.clamp(torch.as_tensor(y), min=x)

    @staticmethod
    def minimum(x: Tensor | float, y: Tensor | float) -> Tensor:
        """The smaller one; nan if either is nan."""
        if isinstance(x, Tensor):
            return torch.minimum(x, y) if isinstance(y, Tensor) else torch.clamp(x, max=y)
        return torch.clamp(torch.as_tensor(y), max=x)

    @staticmethod
    def nan_to_num(
        x: Tensor, nan: Tensor | float = 0.0, posinf: float | None = None, neginf: float | None = None
    ) -> Tensor:
        """Replaces nan and infinities; ``nan`` may be a tensor, which torch's own function refuses."""
        if isinstance(nan, Tensor):
            x, nan = torch.where(torch.isnan(x), nan.to(x.dtype), x), math.nan
        return torch.nan_to_num(x, nan=nan, posinf=posinf, neginf=neginf)

    @staticmethod
    def isclose(
        x: Tensor, y: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
    ) -> Tensor:
        """Elementwise ``|x - y| <= atol + rtol * |y|``."""
        x, y = torch.broadcast_tensors(x, y)  # type: ignore[no-untyped-call]
        return torch.isclose(x, y, rtol=float(rtol), atol=float(atol), equal_nan=bool(equal_nan))
