"""Networks that treat the objects of a collection alike, whatever their order and number."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from hepgan.features.space import Tokens
from hepgan.networks.base import TIME_WIDTH, Activation, ActivationName, Bound, Network
from hepgan.networks.drawing import Dropout, Linear, normal

__all__ = ["Attention", "DeepSets", "SetBlocks", "SetNetwork"]

_CACHED = 1 << 18
"""How many numbers of one layer stay in the cache of a CPU's core, with others' that are needed."""


class SetBlocks(nn.Module, ABC):
    """The blocks of a network of sets.

    Args:
        width: Columns of a token inside.
        blocks: Number of blocks.

    Raises:
        ValueError: If there are no blocks.
    """

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        if blocks < 1:
            msg = f"a network of sets needs blocks, not {blocks}"
            raise ValueError(msg)
        self.width, self.blocks = width, blocks

    @abstractmethod
    def forward(
        self, h: Tensor, event: Tensor, shifts: list[tuple[Tensor, Tensor]], there: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """What the blocks make of tokens.

        Args:
            h: Of objects, (N, M, width).
            event: Of the event, (N, width).
            shifts: What context and time add in each block, in two places, (N or 1, width).
            there: Which objects exist (N, M); None if all do.

        Returns:
            The tokens of objects and of the event.
        """


class DeepSets(SetBlocks):
    """Blocks in which objects know of each other by mean and sum of their tokens.

    In each block the event's token learns from these, and then each object's from the event's. The costs
    are proportional to the number of objects.

    References: M. Zaheer et al., Deep sets, arXiv:1703.06114; E. Buhmann, G. Kasieczka and J. Thaler,
    EPiC-GAN: equivariant point cloud generation for particle jets, arXiv:2301.08128.

    Args:
        width: Columns of a token inside.
        blocks: Number of blocks.
        activation: The activation in the blocks.
        dropout: Share of its outputs set to 0 in training.
    """

    def __init__(
        self,
        width: int = 128,
        blocks: int = 4,
        *,
        activation: ActivationName = "silu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__(width, blocks)
        self.pooled = nn.ModuleList(Linear(3 * width, width) for _ in range(blocks))
        self.common = nn.ModuleList(Linear(width, width, bias=False) for _ in range(blocks))
        self.inner = nn.ModuleList(Linear(width, width, bias=False) for _ in range(blocks))
        self.handed = nn.ModuleList(Linear(width, width) for _ in range(blocks))
        self.outer = nn.ModuleList(Linear(width, width, bias=False) for _ in range(blocks))
        self.activation = nn.Sequential(Activation(activation), Dropout(dropout))

    def forward(
        self, h: Tensor, event: Tensor, shifts: list[tuple[Tensor, Tensor]], there: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The tokens of objects and of the event after all blocks."""
        weight = None if there is None else there.to(h.dtype)[:, None]
        number = h.shape[1] if weight is None else weight.sum(2).clamp(min=1.0)
        layers = zip(self.pooled, self.common, self.inner, self.handed, self.outer, shifts, strict=True)
        for pooled, common, inner, handed, outer, (first, second) in layers:
            total = h.sum(1) if weight is None else torch.bmm(weight, h).squeeze(1)
            seen = torch.cat((total / number, total / h.shape[1], event), 1)
            event = event + common(self.activation(pooled(seen) + first))
            a = inner(h) + (handed(event) + second)[:, None]
            h = h + outer(self.activation(a))
        return h, event


class Attention(SetBlocks):
    """Blocks in which each object chooses which others it learns from: a transformer.

    The costs rise faster than the number of objects.

    Reference: A. Vaswani et al., Attention is all you need, arXiv:1706.03762; layers are normalised before
    each part of a block, as in R. Xiong et al., arXiv:2002.04745.

    Args:
        width: Columns of a token inside.
        blocks: Number of blocks, of attention and a dense layer each.
        heads: Number of choices that are made side by side.
        activation: The activation in the dense layers, of twice the width.
        dropout: Share of its outputs set to 0 in training.

    Raises:
        ValueError: If the width is no multiple of the heads, or there are no blocks.
    """

    def __init__(
        self,
        width: int = 128,
        blocks: int = 4,
        heads: int = 4,
        *,
        activation: ActivationName = "silu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__(width, blocks)
        if width % heads:
            msg = f"a width of {width} can't be divided among {heads} heads"
            raise ValueError(msg)
        self.heads = heads
        self.first_norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(blocks))
        self.second_norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(blocks))
        self.last_norm = nn.LayerNorm(width)
        self.chosen = nn.ModuleList(Linear(width, 3 * width) for _ in range(blocks))
        self.joined = nn.ModuleList(Linear(width, width) for _ in range(blocks))
        self.inner = nn.ModuleList(Linear(width, 2 * width) for _ in range(blocks))
        self.outer = nn.ModuleList(Linear(2 * width, width) for _ in range(blocks))
        self.activation = nn.Sequential(Activation(activation), Dropout(dropout))

    def forward(
        self, h: Tensor, event: Tensor, shifts: list[tuple[Tensor, Tensor]], there: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The tokens of objects and of the event after all blocks."""
        # The event's token is always there, so that there is something to attend to.
        h = torch.cat((h, event[:, None]), 1)
        allowed = None if there is None else functional.pad(there, (0, 1), value=True)[:, None, None]
        layers = zip(
            self.first_norms,
            self.chosen,
            self.joined,
            self.second_norms,
            self.inner,
            self.outer,
            shifts,
            strict=True,
        )
        for first_norm, chosen, joined, second_norm, inner, outer, (first, second) in layers:
            parts = chosen(first_norm(h) + first[:, None]).unflatten(2, (3, self.heads, -1))
            q, k, v = parts.permute(2, 0, 3, 1, 4)
            a = functional.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
            h = h + joined(a.transpose(1, 2).flatten(2))
            h = h + outer(self.activation(inner(second_norm(h) + second[:, None])))
        h = self.last_norm(h)
        return h[:, :-1], h[:, -1]


class SetNetwork(Network):
    """A function of features of objects and of the event, in whose blocks all objects share their weights.

    Objects that change places among those of their :class:`~hepgan.features.Tokens` get each other's outputs,
    and nothing else changes, unless they are told apart by their places. Absent objects influence nothing.
    The features that are no object's are those of one more token, the event's. What the context says of an
    object is seen by this object's token, the rest and the time are added in every block.

    Args:
        inputs: Columns of x.
        outputs: Number of features, each with one output.
        body: The blocks.
        tokens: Which features, and columns of the context, belong to which object.
        owners: The feature that each column of x belongs to; the feature of its number if None.
        positions: Whether objects are told apart by their place; None: where they are ordered.
        context: Columns of the context (0: none).
        time: Columns of the time features (0: none).

    Raises:
        ValueError: If there are no tokens, or features are missing.
    """

    order: Tensor
    owners: Tensor
    back: Tensor
    rest: Tensor

    def __init__(
        self,
        inputs: int,
        outputs: int,
        body: SetBlocks,
        *,
        tokens: Sequence[Tokens],
        owners: Sequence[int] | None = None,
        positions: bool | None = None,
        context: int = 0,
        time: int = 0,
    ) -> None:
        super().__init__()
        owners = tuple(range(inputs)) if owners is None else tuple(owners)
        features = [i for t in tokens for row in t.features for i in row]
        if not tokens:
            msg = "a network of sets needs objects"
            raise ValueError(msg)
        if len(owners) != inputs or {*owners} != {*range(outputs)} or not {*features} <= {*range(outputs)}:
            msg = f"{inputs} inputs of the features {owners} don't fit {outputs} outputs with {tuple(tokens)}"
            raise ValueError(msg)
        if len(set(features)) < len(features):
            msg = f"a feature belongs to one object, not to two: {tuple(tokens)}"
            raise ValueError(msg)
        self.body, self.context_size = body, context
        width, shifts = body.width, 2 * body.blocks * body.width
        columns = [[i for row in t.features for f in row for i in _of(owners, f)] for t in tokens]
        objects = [
            _Objects(t, len(c) // len(t.features), width, t.ordered if positions is None else positions)
            for t, c in zip(tokens, columns, strict=True)
        ]
        self.objects = nn.ModuleList(objects)
        many = sum(g.count for g in objects) * width
        self.chunk = 1 << max(5, min(10, (_CACHED // many).bit_length()))
        others = [f for f in range(outputs) if f not in set(features)]
        seen = [i for f in others for i in _of(owners, f)]
        self.enter = Linear(len(seen), width, bias=False) if seen else None
        self.start = nn.Parameter(normal(width) * width**-0.5)
        self.leave = Linear(width, len(others)) if others else None
        told = {c for t in tokens for row in t.context for c in row}
        rest = [c for c in range(context) if c not in told]
        self.context = Linear(len(rest), shifts, bias=False) if rest else None
        self.time = nn.Sequential(Linear(time, TIME_WIDTH), nn.SiLU()) if time else None
        self.shifts = Linear(TIME_WIDTH, shifts) if time else None
        for name, numbers in (
            ("order", [i for c in columns for i in c] + seen),
            ("owners", owners),
            ("back", torch.tensor(features + others).argsort().tolist()),
            ("rest", rest),
        ):
            self.register_buffer(name, torch.tensor(numbers, dtype=torch.int64), persistent=False)

    def bind(self, context: Tensor | None, mask: Tensor | None = None) -> Bound:
        """The network for this context (N, C), with the features that exist (N, outputs)."""
        if self.context_size and context is None:
            msg = f"the network needs a context of {self.context_size} columns"
            raise ValueError(msg)
        groups = cast("list[_Objects]", list(self.objects))
        own = [g.told(context) for g in groups]
        shift = None if self.context is None or context is None else self.context(context[:, self.rest])
        hidden = there = None
        if mask is not None:
            hidden = ~mask.index_select(1, self.owners)
            there = torch.cat([g.there(mask, context) for g in groups], 1)

        def run(x: Tensor, time: Tensor | None = None) -> Tensor:
            x = x if hidden is None else x.masked_fill(hidden, 0.0)
            x = x.index_select(1, self.order)
            parts, first = [], 0
            for group, known in zip(groups, own, strict=True):
                last = first + group.count * group.inputs
                part = group.enter(x[:, first:last].reshape(-1, group.count, group.inputs))
                parts.append(part if known is None else part + known)
                first = last
            event = self.start.expand(len(x), -1)
            event = event if self.enter is None else event + self.enter(x[:, first:])
            shifts = shift
            if self.time is not None and self.shifts is not None:
                late = self.shifts(self.time(time))
                shifts = late if shifts is None else shifts + late
            h, event = self.body(torch.cat(parts, 1), event, self._by_block(shifts), there)
            found = [
                g.leave(part).flatten(1)
                for g, part in zip(groups, torch.split(h, [g.count for g in groups], 1), strict=True)
            ]
            if self.leave is not None:
                found.append(self.leave(event))
            return torch.cat(found, 1).index_select(1, self.back)

        return run

    def _by_block(self, shifts: Tensor | None) -> list[tuple[Tensor, Tensor]]:
        """Both shifts (N or 1, width) of each block."""
        if shifts is None:
            shifts = self.start.new_zeros(1, 2 * self.body.blocks * self.body.width)
        each = torch.split(shifts, self.body.width, 1)
        return list(zip(each[::2], each[1::2], strict=True))


class _Objects(nn.Module):
    """The ways of a collection's objects into a network of sets, and out of it.

    Its biases tell collections apart.
    """

    features: Tensor
    context: Tensor

    def __init__(self, tokens: Tokens, inputs: int, width: int, positions: bool) -> None:
        super().__init__()
        self.count, self.inputs = len(tokens.features), inputs
        self.told_size = len(tokens.context[0])
        self.enter = Linear(inputs, width)
        self.own = Linear(self.told_size, width, bias=False) if self.told_size else None
        self.places = nn.Parameter(0.5 * normal(self.count, width)) if positions else None
        self.leave = Linear(width, len(tokens.features[0]))
        self.register_buffer("features", torch.tensor(tokens.features).flatten(), persistent=False)
        # What isn't there is the column before the first, which is put there.
        context = torch.tensor(tokens.context, dtype=torch.int64).flatten() + 1
        self.register_buffer("context", context, persistent=False)

    def told(self, context: Tensor | None) -> Tensor | None:
        """What objects' tokens (N or 1, count, width) are known to have, from context (N, C) and places."""
        places = None if self.places is None else self.places[None]
        if self.own is None or context is None:
            return places
        own: Tensor = self.own(self._told(context))
        return own if places is None else own + places

    def there(self, mask: Tensor, context: Tensor | None) -> Tensor:
        """Which objects exist (N, count): features of theirs do (N, D), or the context tells of them."""
        found = mask.index_select(1, self.features).reshape(len(mask), self.count, -1).any(2)
        if self.own is None or context is None:
            return found
        return found | (self._told(context) != 0).any(2)

    def _told(self, context: Tensor) -> Tensor:
        padded = functional.pad(context, (1, 0))
        return padded.index_select(1, self.context).reshape(len(context), self.count, -1)


def _of(owners: Sequence[int], feature: int) -> list[int]:
    """The columns that belong to a feature."""
    return [i for i, owner in enumerate(owners) if owner == feature]
