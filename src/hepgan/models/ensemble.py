"""Ensembles: several models that differ in where they start and in the events that they learn from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from hepgan.features.batch import FeatureBatch
from hepgan.models.base import Model, Phase
from hepgan.models.config import OptimiserConfig
from hepgan.models.critic import Critic
from hepgan.models.flows import Mixing
from hepgan.models.guided import GuidedModel
from hepgan.networks import Network, Stacked, StackedNetwork
from hepgan.objectives import Term

__all__ = ["Ensemble", "by_member"]

_WHOLE = 1 << 62
"""Rows that a stacked model computes at a time: all, since they are those of all members in turn."""


class Ensemble(Model):
    """M models of one kind, trained together, each with weights, noise and events of its own.

    Training sees one model whose networks are those of all members (:class:`~hepgan.networks.Stacked`), so
    that members have the losses of a single model. Batches hold equally many events of each member, one
    member's after another's; terms are means over members, so M times a term's gradient is in each member's
    parameters that of its own term.

    Its events are an equal mixture of the members'. Each member's features may have a meaning of their own,
    so there is no density of an ensemble's features.

    Args:
        stacked: A model of the kind, which this one takes over.
        members: The M models, with the weights that they start from; this one takes them over, too.
    """

    def __init__(self, stacked: GuidedModel, members: Sequence[GuidedModel]) -> None:
        super().__init__()
        self.members = len(members)
        self.noise_size = members[0].noise_size
        self.has_likelihood = members[0].has_likelihood  # type: ignore[misc]
        self.default_optimiser: OptimiserConfig = members[0].default_optimiser  # type: ignore[misc]
        self.default_ema: float = members[0].default_ema  # type: ignore[misc]
        self._places = _stack(stacked, members)
        for part in stacked.modules():
            if isinstance(part, Model | Critic):
                part.members = len(members)
        stacked.chunk = _WHOLE
        self.stacked = stacked
        # In a list they stay out of the state: their parameters are parts of the stacked model's.
        self._each = [member.eval() for member in members]
        self._share()

    @property
    def phases(self) -> tuple[Phase, ...]:
        """Those of a member, with the parameters of all."""
        return self.stacked.phases

    def loss(
        self, phase: str, batch: FeatureBatch, generator: torch.Generator, share: float = 0.0
    ) -> list[Term]:
        """The terms of a phase, means over members, of a batch with the events of all in turn."""
        return self.stacked.loss(phase, batch, generator, share)

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

    def prepare(self, data: FeatureBatch) -> None:
        """Take from all training events what the losses need."""
        self.stacked.prepare(data)

    def after_step(self, phase: str) -> None:
        """Change the parameters of a phase after each of its steps."""
        self.stacked.after_step(phase)

    def diagnose(
        self, batch: FeatureBatch, other: FeatureBatch, generator: torch.Generator, share: float
    ) -> dict[str, float]:
        """Means over members, and root mean squares of gradients; batches as for :meth:`loss`."""
        return self.stacked.diagnose(batch, other, generator, share)

    def member(self, number: int) -> GuidedModel:
        """One of the models; its parameters share the memory of this one's."""
        return self._each[number]

    @torch.no_grad()
    def start_from(self, model: Model) -> None:
        """Give all members the weights of one model of their kind, and what it has taken from its events."""
        for place in self._places:
            own = cast("Stacked", self.stacked.get_submodule(place)).own
            weights = model.get_submodule(place).state_dict()
            for name, values in own.items():
                values.copy_(weights[name])
        common = dict(model.named_buffers())
        for name, buffer in self._common_buffers().items():
            buffer.copy_(common[name])

    def _common_buffers(self) -> dict[str, Tensor]:
        """The buffers by name that are no member's own."""
        inside = tuple(p + "." for p in self._places)
        return {n: b for n, b in self.stacked.named_buffers() if not n.startswith(inside)}

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Ensemble:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for member in self._each:
            member._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._share()
        return self

    def train(self, mode: bool = True) -> Ensemble:
        """Set the mode; members, which are used for sampling alone, have that of evaluation."""
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


def by_member(function: Callable[..., Tensor], member: Tensor, members: int, *arguments: Any) -> Tensor:
    """What ``function(k, *arguments)`` makes of the rows of each member k, in the order of the rows.

    Args:
        function: Makes a tensor with as many rows as its arguments.
        member: The number (N,) of each row's member.
        members: How many there are.
        arguments: Tensors or other things that rows can be taken of (N, ...), or None.
    """
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
