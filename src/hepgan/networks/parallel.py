"""Several processes that train one model: each computes a part of every batch's rows.

All processes hold the same weights and draw the same numbers. Networks, which take most of the time, are
called by each process with its own rows (`by_rows`), and the results are put together, so that whatever is
made of them (losses, penalties on whole batches, metrics) is what one process makes. The gradients of weights
are then means over processes (`Processes.average`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist

from hepgan.networks.base import Network
from hepgan.networks.drawing import Dropout, drawing_rows
from hepgan.runtime import place_among_processes

__all__ = ["Processes", "by_rows", "processes", "together"]

_LEAST = 64
"""Fewer rows for each process are not worth the way between them."""


@dataclass(frozen=True)
class Processes:
    """The processes that train together, of which this is one.

    Attributes:
        rank: The number of this one; 0 leads: it alone writes and tells.
        size: How many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes files and tells of the training."""
        return self.rank == 0

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Puts means over all processes in place of tensors."""
        if self.size == 1 or not tensors:
            return
        flat = torch.cat([t.reshape(-1) for t in tensors])
        dist.all_reduce(flat)
        flat /= self.size
        means = torch.split(flat, [t.numel() for t in tensors])
        for tensor, mean in zip(tensors, means, strict=True):
            tensor.copy_(mean.view_as(tensor))

    def largest(self, *numbers: float) -> list[float]:
        """The largest of each of these numbers, over all processes."""
        if self.size == 1:
            return list(numbers)
        found = torch.tensor(numbers, dtype=torch.float64)
        device = torch.device("cuda") if dist.get_backend() == "nccl" else torch.device("cpu")
        found = found.to(device)
        dist.all_reduce(found, dist.ReduceOp.MAX)
        values: list[float] = found.tolist()
        return values

    @torch.no_grad()
    def share(self, tensors: Iterable[Tensor]) -> None:
        """Gives all processes the leading one's tensors."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, 0)

    def shared(self, value: Any) -> Any:
        """The leading process's value, of plain data, on all of them."""
        if self.size == 1:
            return value
        held = [value]
        dist.broadcast_object_list(held, 0)
        return held[0]


_processes: ContextVar[Processes | None] = ContextVar("hepgan_processes", default=None)


def processes() -> Processes:
    """Those that train together here; one, unless within `together`."""
    return _processes.get() or Processes()


@contextmanager
def together(device: torch.device | str = "cpu", *, limit: float = 600.0) -> Iterator[Processes]:
    """Lets the processes that ``torchrun`` has started train together what is trained within.

    Without ``torchrun`` there is one process, and nothing changes.

    Args:
        device: Where this process trains: on a GPU they meet by NCCL, else by gloo.
        limit: Seconds after which a process that waits for another one gives up.
    """
    rank, size = place_among_processes()
    if size == 1:
        yield Processes()
        return
    backend = "nccl" if torch.device(device).type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=timedelta(seconds=limit))
    found = Processes(rank, size)
    token = _processes.set(found)
    try:
        yield found
        # None ends, which would end all, before the leading one has written everything.
        dist.barrier()
    finally:
        _processes.reset(token)
        dist.destroy_process_group()


class _Own(torch.autograd.Function):
    """This process's rows of what all have; the gradient is that of all rows, over their number."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Processes) -> Tensor:
        ctx.group = group
        each = x.shape[1] // group.size
        return x[:, group.rank * each : (group.rank + 1) * each].contiguous()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        whole: Tensor = _All.apply(gradient.contiguous(), ctx.group)  # type: ignore[no-untyped-call]
        return whole / ctx.group.size, None


class _All(torch.autograd.Function):
    """All rows of what each process has a part of; the gradient is that of the part, times their number."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Processes) -> Tensor:
        ctx.group = group
        parts = [torch.empty_like(x) for _ in range(group.size)]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts, 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        own: Tensor = _Own.apply(gradient, ctx.group)  # type: ignore[no-untyped-call]
        return own * ctx.group.size, None


def by_rows(
    module: nn.Module, function: Callable[..., Tensor], *arguments: Tensor | None, members: int = 1
) -> Tensor:
    """What a function makes of rows, of which each process computes a part.

    With one process, or where the rows depend on each other (batch norm), it is simply called.

    Args:
        module: The networks that it calls.
        function: Makes a tensor of as many rows as its arguments have, each of the same row of these.
        arguments: Tensors (N, ...), or None.
        members: Of an ensemble the number of members, whose rows stand one member's after another's.

    Returns:
        The tensor of all rows, on all processes.
    """
    group = processes()
    rows = next(len(a) for a in arguments if a is not None)
    if group.size == 1 or rows // members < _LEAST * group.size or not _apart(module, members):
        return function(*arguments)
    each = rows // members
    padded = -(-each // group.size) * group.size

    def own(x: Tensor | None) -> Tensor | None:
        if x is None:
            return None
        table = x.reshape(members, each, *x.shape[1:])
        if padded > each:
            # Rows that make the parts alike; the last one again, which is taken away below.
            table = torch.cat([table, table[:, -1:].expand(-1, padded - each, *x.shape[1:])], 1)
        found: Tensor = _Own.apply(table, group)  # type: ignore[no-untyped-call]
        return found.flatten(0, 1)

    share = padded // group.size
    with drawing_rows(group.rank * share, share, each):
        made = function(*map(own, arguments))
    whole: Tensor = _All.apply(made.reshape(members, share, *made.shape[1:]), group)  # type: ignore[no-untyped-call]
    return whole[:, :each].flatten(0, 1)


def _apart(module: nn.Module, members: int) -> bool:
    """Whether rows do not depend on each other, nor members' rows on the order in which they are drawn."""
    for part in module.modules():
        if isinstance(part, Network) and part.whole_batch:
            return False
        if isinstance(part, Dropout) and part.share and part.training and members > 1:
            return False
    return True
