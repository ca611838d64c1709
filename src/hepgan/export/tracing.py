"""A chain as a graph of elementary operations, which onnxruntime has in the precision that is asked."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from hepgan.export.elementary import Elementary

__all__ = ["traced"]


def traced(module: nn.Module, example: tuple[Tensor, ...]) -> ExportedProgram:
    """What a module does with tensors of any number of events.

    Args:
        module: A function of tensors (N, ...), which goes the same way whatever their values.
        example: Such tensors.
    """
    many = {0: Dim("events", min=1)}
    with torch.no_grad(), _symbolic_lengths():
        return torch.export.export(
            _Whole(module), example, dynamic_shapes={"tensors": tuple(many for _ in example)}, strict=False
        )


class _Whole(nn.Module):
    """A module by elementary operations."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *tensors: Tensor) -> Any:
        with Elementary():
            return self.module(*tensors)


@contextmanager
def _symbolic_lengths() -> Iterator[None]:
    """Lets hepgan's modules take ``len`` of what has any number of events.

    Python makes a plain number of a length; that of a tensor that stands for all sizes has to stay a symbol.
    """

    def sized(thing: Any) -> Any:
        return thing.__len__() if hasattr(thing, "__len__") else len(thing)

    modules = [m for n, m in sys.modules.items() if n.split(".")[0] == "hepgan"]
    changed = [m for m in modules if "len" not in vars(m)]
    for module in changed:
        vars(module)["len"] = sized
    try:
        yield
    finally:
        for module in changed:
            vars(module).pop("len", None)
