"""Numbers that were learned, as tensors where they are needed."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Self

import torch
from torch import Tensor, nn

__all__ = ["PreciseModule", "constant"]


def constant(values: Any, device: torch.device, dtype: torch.dtype = torch.float64) -> Tensor:
    """Learned numbers as a tensor on a device, made once; nobody may change it.

    Args:
        values: A number, or a tuple of numbers, or of such tuples of one length.
        device: The device.
        dtype: The type.
    """
    # What is made while a graph is traced belongs to the graph.
    return (_made if torch.compiler.is_compiling() else _kept)(values, device, dtype)


def _made(values: Any, device: torch.device, dtype: torch.dtype) -> Tensor:
    # Usable with gradients wherever it was made first.
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=dtype, device=device)


_kept = lru_cache(maxsize=4096)(_made)


class PreciseModule(nn.Module):
    """A module whose tensors keep their precision when a model is cast, and follow it to a device."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        def keep_dtype(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        super()._apply(keep_dtype, recurse)  # type: ignore[no-untyped-call]
        return self
