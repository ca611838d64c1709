"""Ensembles: several models that differ in where they start and in the events that they learn from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, Self, TypeVar, cast

import torch
from torch import Tensor, nn

from hepgan.models.base import Model
from hepgan.models.layers import Mixing
from hepgan.networks import Network, Stacked, StackedNetwork

__all__ = ["Ensemble", "InOne", "by_member"]

_WHOLE = 1 << 62
"""Rows that a stacked model computes at a time: all, since they are those of all members in turn."""

T = TypeVar("T", bound=nn.Module)


class InOne(nn.Module, Generic[T]):
    """M modules of one kind in one, ``stacked``, whose networks are those of all members.

    Its networks (:class:`~hepgan.networks.Stacked`) take rows of all members, equally many each, one member's
    after another's. Members share their memory, so that each can be used alone as it is at any time.

    Args:
        stacked: A module of the kind, which this one takes over.
        members: The M modules, with the weights that they start from; this one takes them over, too.
    """

    stacked: T

    def __init__(self, stacked: T, members: Sequence[T]) -> None:
        super().__init__()
        self._places = _stack(stacked, members)
        self.stacked = stacked
        # In a list they stay out of the state: their parameters are parts of the stacked module's.
        self._each = [member.eval() for member in members]
        self._share()

    def member(self, number: int) -> T:
        """One of the modules; its parameters share the memory of this one's."""
        return self._each[number]

    @torch.no_grad()
    def start_from(self, module: nn.Module) -> None:
        """Give all members the weights of one module of their kind, and what it has taken from its events."""
        for place in self._places:
            own = cast("Stacked", self.stacked.get_submodule(place)).own
            weights = module.get_submodule(place).state_dict()
            for name, values in own.items():
                values.copy_(weights[name])
        common = dict(module.named_buffers())
        for name, buffer in self._common_buffers().items():
            buffer.copy_(common[name])

    def _common_buffers(self) -> dict[str, Tensor]:
        """The buffers by name that are no member's own."""
        inside = tuple(p + "." for p in self._places)
        return {n: b for n, b in self.stacked.named_buffers() if not n.startswith(inside)}

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for member in self._each:
            member._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._share()
        return self

    def train(self, mode: bool = True) -> Self:
        """Set the mode; members, which are used alone for sampling, have that of evaluation."""
        super().train(mode)
        for member in self._each:
            member.eval()
        return self

    @torch.no_grad()
    def _share(self) -> None:
        """Let members have the stacked model's memory."""
        for place in self._places:
            own = cast("Stacked", self.stacked.get_submodule(place)).own
            for k, member in enumerate(self._each):
                part = member.get_submodule(place)
                for name, values in own.items():
                    prefix, _, leaf = name.rpartition(".")
                    found = getattr(part.get_submodule(prefix), leaf)
                    found.data = values.data[k]
                    found.requires_grad_(False)
        common = self._common_buffers()
        for member in self._each:
            for name, buffer in member.named_buffers():
                if name in common:
                    buffer.data = common[name].data


class Ensemble(InOne[Model], Model):
    """M models of one kind, each with weights of its own, which may be trained :attr:`together`.

    Its events are an equal mixture of the members'. Each member's features may have a meaning of their own,
    so there is no density of an ensemble's features.

    Args:
        stacked: A model of the kind, which this one takes over.
        members: The M models, with the weights that they start from; this one takes them over, too.
    """

    def __init__(self, stacked: Model, members: Sequence[Model]) -> None:
        super().__init__(stacked, members)
        self.members = len(members)
        self.space, self.noise_size = members[0].space, members[0].noise_size
        stacked.chunk = _WHOLE

    @property
    def has_likelihood(self) -> bool:
        """Whether its members have one."""
        return self._each[0].has_likelihood

    @property
    def together(self) -> Model:
        """What makes events of all members, equally many each, one member's after another's."""
        return self.stacked

    def sample(
        self, noise: Tensor, context: Tensor, mask: Tensor | None, member: Tensor | None = None
    ) -> Tensor:
        """Features (N, D), 0 where masked, as members make them.

        Args:
            noise: Standard normal numbers (N, noise_size).
            context: What the events are conditional on (N, C).
            mask: True where a feature exists (N, D); None if all do.
            member: The number (N,) of each event's member; one after another in turn if None.
        """
        if member is None:
            member = torch.arange(len(noise), device=noise.device) % self.members

        def made(k: int, noise: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
            return self._each[k].sample(noise, context, mask)

        return by_member(made, member, self.members, noise, context, mask)

    def noise_mask(self, mask: Tensor | None) -> Tensor | None:
        """That of a member."""
        return self._each[0].noise_mask(mask)

    def sampling_modules(self) -> Iterable[nn.Module]:
        """Those of a member, of all members."""
        return self.stacked.sampling_modules()


def by_member(function: Callable[..., Tensor], member: Tensor, members: int, *arguments: Any) -> Tensor:
    """What ``function(k, *arguments)`` makes of the rows of each member k, in the order of the rows.

    Args:
        function: Makes a tensor with as many rows as its arguments.
        member: The number (N,) of each row's member.
        members: How many there are.
        arguments: Tensors or other things that rows can be taken of (N, ...), or None.
    """
    if torch.compiler.is_compiling():
        # Which rows a member has is not known then, so each computes all.
        whole = function(0, *arguments)
        for k in range(1, members):
            whole = torch.where((member == k).unsqueeze(1), function(k, *arguments), whole)
        return whole
    numbers = [k for k in range(members) if bool((member == k).any())]
    rows = [(member == k).nonzero()[:, 0] for k in numbers]
    parts = [
        function(k, *(None if a is None else a[chosen] for a in arguments))
        for k, chosen in zip(numbers, rows, strict=True)
    ]
    if not parts:
        return function(0, *arguments)
    whole = torch.cat(parts)
    return torch.empty_like(whole).index_copy_(0, torch.cat(rows), whole)


def _stack(stacked: nn.Module, members: Sequence[nn.Module]) -> tuple[str, ...]:
    """Put stacked modules in the place of all that have parameters; their names."""
    places: list[str] = []
    for name, part in list(stacked.named_modules()):
        if not isinstance(part, Network | Mixing) or any(name.startswith(p + ".") for p in places):
            continue
        kind = StackedNetwork if isinstance(part, Network) else Stacked
        prefix, _, leaf = name.rpartition(".")
        owner = stacked.get_submodule(prefix)
        owner._modules[leaf] = kind(part, [m.get_submodule(name) for m in members])
        places.append(name)
    lonely = [n for n, _ in stacked.named_parameters() if not n.startswith(tuple(p + "." for p in places))]
    if lonely:
        msg = f"the parameter {lonely[0]} is in no module that ensembles know"
        raise TypeError(msg)
    return tuple(places)
