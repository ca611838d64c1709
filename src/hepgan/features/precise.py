"""Modules whose constants stay in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor, nn

__all__ = ["PreciseModule"]


class PreciseModule(nn.Module):
    """A module whose tensors keep their precision when a model is cast, and follow it to a device."""

    def constant(self, name: str, values: Any, dtype: torch.dtype = torch.float64) -> None:
        """Keeps numbers where the module's tensors are, but out of ``state_dict``."""
        self.register_buffer(name, torch.as_tensor(values, dtype=dtype), persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        def keep_dtype(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        super()._apply(keep_dtype, recurse)  # type: ignore[no-untyped-call]
        return self
