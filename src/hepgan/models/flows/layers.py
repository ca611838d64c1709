"""Layers in which some features decide how others are transformed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from hepgan.models.circles import Circles
from hepgan.models.config import FlowConfig
from hepgan.models.flows.univariate import Univariate
from hepgan.networks import MLP, MLPConfig, Network, ResidualMLP, Stacked, build_network
from hepgan.networks.masked import MaskedMLP

__all__ = ["Autoregressive", "Coupling"]

_FIRST = 0.01
"""The factor of the first weights of a network's last layer, so that flows begin near the identity."""


class Coupling(nn.Module):
    """Half of the features decide by a network how the others are transformed.

    Both ways cost one call of the network.

    References: L. Dinh et al., Density estimation using Real NVP, arXiv:1605.08803; C. Durkan et al., Neural
    spline flows, arXiv:1906.04032.

    Args:
        config: The recipe's choice.
        order: The features' numbers; the first half of them stay as they are.
        periodic: Numbers of the features that are angles.
        context_size: Columns of the context C.
    """

    index: Tensor
    order: Tensor

    def __init__(
        self, config: FlowConfig, *, order: Sequence[int], periodic: Sequence[int], context_size: int
    ) -> None:
        super().__init__()
        self.register_buffer("index", torch.tensor(order, dtype=torch.int64), persistent=False)
        self.register_buffer("order", torch.argsort(self.index), persistent=False)
        self.kept = len(order) // 2
        angular = [i in set(periodic) for i in order]
        self.circles = Circles(self.kept, [i for i, a in enumerate(angular[: self.kept]) if a])
        self.univariate = Univariate(config, angular[self.kept :])
        # A network that would have nothing to see is shown a 1.
        inputs = self.circles.inputs or 1
        self.context_size = context_size
        self.network = build_network(
            config.network, inputs, len(self.univariate.owners), context=context_size
        )
        _shrink(self.network)

    def forward(self, x: Tensor, context: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """The transformed features (N, D), and the logarithm of the Jacobian determinant (N,)."""
        return self._transformed(x, context, mask, inverse=False)

    def inverse(self, y: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        """The features (N, D) that these (N, D) were transformed from."""
        return self._transformed(y, context, mask, inverse=True)[0]

    def _transformed(
        self, x: Tensor, context: Tensor, mask: Tensor | None, *, inverse: bool
    ) -> tuple[Tensor, Tensor]:
        x = x.index_select(1, self.index)
        kept, changed = x[:, : self.kept], x[:, self.kept :]
        seen = self.circles.seen(kept) if self.kept else torch.ones_like(x[:, :1])
        raw = self.network(seen, context if self.context_size else None)
        y, slopes = self.univariate(changed, raw, inverse=inverse)
        if mask is not None:
            there = mask.index_select(1, self.index[self.kept :])
            y, slopes = torch.where(there, y, 0.0), torch.where(there, slopes, 0.0)
        return torch.cat((kept, y), 1).index_select(1, self.order), slopes.sum(1)


class Autoregressive(nn.Module):
    """Each feature is transformed as those before it decide.

    The density costs one call of the network, and sampling one for each feature.

    References: G. Papamakarios et al., Masked autoregressive flow for density estimation, arXiv:1705.07057;
    M. Germain et al., MADE, arXiv:1502.03509.

    Args:
        config: The recipe's choice.
        order: The features' numbers, each decided by those before.
        periodic: Numbers of the features that are angles.
        context_size: Columns of the context C.
    """

    index: Tensor
    order: Tensor

    def __init__(
        self, config: FlowConfig, *, order: Sequence[int], periodic: Sequence[int], context_size: int
    ) -> None:
        super().__init__()
        self.register_buffer("index", torch.tensor(order, dtype=torch.int64), persistent=False)
        self.register_buffer("order", torch.argsort(self.index), persistent=False)
        angular = [i in set(periodic) for i in order]
        self.circles = Circles(len(order), [i for i, a in enumerate(angular) if a])
        self.univariate = Univariate(config, angular)
        self.context_size = context_size
        self.network: Network = MaskedMLP(
            cast("MLPConfig", config.network),
            inputs=(*range(len(order)), *self.circles.periodic),
            outputs=self.univariate.owners,
            context=context_size,
        )
        _shrink(self.network)

    def forward(self, x: Tensor, context: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """The transformed features (N, D), and the logarithm of the Jacobian determinant (N,)."""
        x = x.index_select(1, self.index)
        y, slopes = self.univariate(x, self._raw(x, context))
        if mask is not None:
            there = mask.index_select(1, self.index)
            y, slopes = torch.where(there, y, 0.0), torch.where(there, slopes, 0.0)
        return y.index_select(1, self.order), slopes.sum(1)

    def inverse(self, y: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        """The features (N, D) that these (N, D) were transformed from, one after another."""
        y = y.index_select(1, self.index)
        there = torch.ones_like(y, dtype=torch.bool) if mask is None else mask.index_select(1, self.index)
        numbers = torch.arange(y.shape[1], device=y.device)
        x = torch.zeros_like(y)
        # What is cached would be one member's weights for all.
        with nullcontext() if isinstance(self.network, Stacked) else parametrize.cached():
            for k in range(y.shape[1]):
                found, _ = self.univariate(y, self._raw(x, context), inverse=True)
                x = torch.where((numbers == k) & there, found, x)
        return x.index_select(1, self.order)

    def _raw(self, x: Tensor, context: Tensor) -> Tensor:
        raw: Tensor = self.network(self.circles.seen(x), context if self.context_size else None)
        return raw


def _shrink(network: Network) -> None:
    """Let a new network give almost 0."""
    last = network.layers[-1] if isinstance(network, MLP) else cast("ResidualMLP", network).leave
    with torch.no_grad():
        for name, parameter in last.named_parameters():
            parameter.mul_(0.0 if name.endswith("bias") else _FIRST)
