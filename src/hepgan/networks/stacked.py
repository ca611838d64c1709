"""Modules of several members of an ensemble, computed together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.utils import parametrize

from hepgan.networks.base import Bound, Network
from hepgan.networks.batch import BatchNorm
from hepgan.networks.sets import Attention

__all__ = ["Stacked", "StackedNetwork"]

_FEW = 256
"""Rows of a member up to which a CPU is faster with one product for all members; above, its caches count."""


class Stacked(nn.Module):
    """M modules of one architecture in one, whose parameters have the member as their first dimension.

    Rows of all arguments are those of the first member, then those of the second, ..., equally many each;
    results are in the same order. Each member's rows are seen by its own parameters alone.

    Args:
        body: A module of the architecture, which this one takes over.
        members: The M modules; their parameters are copied.
    """

    def __init__(self, body: nn.Module, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = len(members)
        self.body = body
        everyone = [_own(m) for m in members]
        for name in everyone[0]:
            owner, leaf = _place(body, name)
            values = torch.stack([own[name].detach() for own in everyone])
            if leaf in owner._parameters:
                owner._parameters[leaf] = nn.Parameter(values)
            else:
                owner._buffers[leaf] = values
        # What writes into buffers, vmap does not allow: power iterations, running means. Attention it has no
        # rule for.
        self._separate = any(
            isinstance(m, Attention | BatchNorm) or parametrize.is_parametrized(m) for m in body.modules()
        )
        # Hidden in a list, so that the body is not here twice.
        self._caller = [_Caller(body)]

    @property
    def own(self) -> dict[str, Tensor]:
        """The parameters and buffers that members have of their own, (M, ...), by their name in the body."""
        return _own(self.body)

    def call(self, method: str, *arguments: Tensor | None) -> Any:
        """What a method of the body gives for rows of all members.

        Args:
            method: Its name.
            arguments: Tensors with rows of all members; with one row that all share; or None.
        """
        rows = max(a.shape[0] for a in arguments if a is not None)
        own = {f"body.{name}": value for name, value in self.own.items()}
        split = [
            a if a is None or a.shape[0] != rows else a.reshape(self.members, -1, *a.shape[1:])
            for a in arguments
        ]
        each = [a is not None and a.shape[0] == rows for a in arguments]

        def one(own: dict[str, Tensor], *found: Tensor | None) -> Any:
            return functional_call(self._caller[0], own, (method, *found))

        few = rows <= _FEW * self.members or any(a is not None and a.is_cuda for a in arguments)
        if few and not self._separate:
            places: tuple[int | None, ...] = tuple(0 if e else None for e in each)
            recorded = torch.is_grad_enabled()
            # Without gradients, networks overwrite what they need no more, in ways that vmap does not know.
            with torch.enable_grad():
                result = vmap(one, in_dims=(0, *places), randomness="different")(own, *split)
            return _mapped(result, lambda t: t.flatten(0, 1) if recorded else t.detach().flatten(0, 1))
        members = zip(*(t.unbind(0) for t in own.values()), strict=True)
        results = [
            one(
                dict(zip(own, values, strict=True)),
                *(a[k] if e and a is not None else a for a, e in zip(split, each, strict=True)),
            )
            for k, values in enumerate(members)
        ]
        if isinstance(results[0], tuple):
            return tuple(torch.cat(parts) for parts in zip(*results, strict=True))
        return torch.cat(results)

    def forward(self, *arguments: Tensor | None) -> Any:
        """The body's own ``forward`` for rows of all members."""
        return self.call("forward", *arguments)

    def inverse(self, *arguments: Tensor | None) -> Any:
        """The body's ``inverse`` for rows of all members."""
        return self.call("inverse", *arguments)


class StackedNetwork(Stacked, Network):
    """Networks of several members in one."""

    def bind(self, context: Tensor | None, mask: Tensor | None = None) -> Bound:
        """The networks with this context (M * N, C)."""

        def run(x: Tensor, time: Tensor | None = None) -> Tensor:
            result: Tensor = self.call("forward", x, context, time, mask)
            return result

        return run

    forward = Network.forward  # type: ignore[assignment]


class _Caller(nn.Module):
    """Makes any method of a module its ``forward``."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, method: str, *arguments: Tensor | None) -> Any:
        if method == "forward":
            return self.body(*arguments)
        return getattr(self.body, method)(*arguments)


def _own(module: nn.Module) -> dict[str, Tensor]:
    """Parameters, and buffers of real numbers that are kept; others follow from the architecture."""
    found: dict[str, Tensor] = dict(module.named_parameters())
    for prefix, part in module.named_modules():
        for name, buffer in part.named_buffers(recurse=False):
            if name not in part._non_persistent_buffers_set and buffer.is_floating_point():
                found[f"{prefix}.{name}" if prefix else name] = buffer
    return found


def _place(module: nn.Module, name: str) -> tuple[nn.Module, str]:
    prefix, _, leaf = name.rpartition(".")
    return module.get_submodule(prefix), leaf


def _mapped(result: Any, function: Callable[[Tensor], Tensor]) -> Any:
    return tuple(map(function, result)) if isinstance(result, tuple) else function(result)
