"""Layers whose output for one event depends on the other events of the batch."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from hepgan.networks.drawing import Linear

__all__ = ["BatchNorm", "MinibatchFeatures", "last_layer"]

_KEPT = 0.01
"""The least share of a batch in the running mean and variance, which begin as those of the first batch."""


class BatchNorm(nn.Module):
    """Channels with mean 0 and variance 1, then a scale and a shift that are learned.

    In training mean and variance are those of the batch, without event weights; else running ones, so that
    an event does not depend on those made with it.

    Reference: S. Ioffe and C. Szegedy, Batch normalization, arXiv:1502.03167.

    Args:
        channels: Number of channels.
    """

    mean: Tensor
    variance: Tensor
    batches: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels))
        self.shift = nn.Parameter(torch.zeros(channels))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))
        self.register_buffer("batches", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """The same of channels (N, C, ...), normalised."""
        kept = _KEPT
        if self.training:
            self.batches.add_(1.0)
            kept = max(_KEPT, 1.0 / float(self.batches))
        return functional.batch_norm(x, self.mean, self.variance, self.scale, self.shift, self.training, kept)


class MinibatchFeatures(nn.Module):
    """How close an event is to the others of the batch, joined to its own numbers.

    Feature b of event i is the sum over events j of exp(-|M_ib - M_jb|), where each M is a few numbers that
    are linear in the event's own, and their distance is the sum of absolute differences. So a critic sees if
    events are too much alike.

    Reference: T. Salimans et al., Improved techniques for training GANs, arXiv:1606.03498.

    Args:
        inputs: Numbers of each event.
        features: Features that are added.
        size: Numbers by whose distance each is found.
    """

    def __init__(self, inputs: int, features: int, size: int) -> None:
        super().__init__()
        self.features, self.size = features, size
        self.outputs = inputs + features
        self.map = Linear(inputs, features * size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """The events' numbers (N, inputs) with their features (N, inputs + features)."""
        m = self.map(x).reshape(-1, self.features, self.size).transpose(0, 1)
        close = torch.exp(-torch.cdist(m, m, p=1.0)).sum(2)
        return torch.cat((x, close.t()), dim=1)


def last_layer(inputs: int, outputs: int, minibatch: tuple[int, int] | None = None) -> nn.Module:
    """The linear layer that ends a network.

    Args:
        inputs: Its inputs.
        outputs: Its outputs.
        minibatch: Features, and numbers of each, by which it sees the other events; None if it does not.
    """
    if minibatch is None:
        return Linear(inputs, outputs)
    added = MinibatchFeatures(inputs, *minibatch)
    return nn.Sequential(added, Linear(added.outputs, outputs))
