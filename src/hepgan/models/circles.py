"""Features that are angles: uniform noise, the shorter way round, and what networks see of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hepgan.vectors.kinematics import wrap

__all__ = ["Circles"]

_LOG_TURN = math.log(2 * math.pi)


class Circles(nn.Module):
    """Some of D features on the circle (-pi, pi], the others on the line.

    Without any angle, every method gives its argument back as it is.

    Args:
        size: Number of features D.
        periodic: Numbers of those that are angles.

    Attributes:
        inputs: How many columns networks see.
        owners: The feature that each of these belongs to.

    Raises:
        ValueError: If a number is out of range, or there twice.
    """

    index: Tensor
    angular: Tensor

    def __init__(self, size: int, periodic: Sequence[int] = ()) -> None:
        super().__init__()
        self.periodic = tuple(periodic)
        if len(set(self.periodic)) != len(self.periodic) or not all(0 <= p < size for p in self.periodic):
            msg = f"periodic features must be different numbers from 0 to {size - 1}, got {self.periodic}"
            raise ValueError(msg)
        self.inputs = size + len(self.periodic)
        self.owners = (*range(size), *self.periodic)
        angular = torch.zeros(size, dtype=torch.bool)
        angular[list(self.periodic)] = True
        self.register_buffer("index", torch.tensor(self.periodic, dtype=torch.int64), persistent=False)
        self.register_buffer("angular", angular, persistent=False)

    def start(self, noise: Tensor) -> Tensor:
        """Where paths start (N, D): normal numbers (N, D), for angles made uniform on the circle."""
        if not self.periodic:
            return noise
        return torch.where(self.angular, math.pi * torch.erf(noise / math.sqrt(2)), noise)

    def noise(self, start: Tensor) -> Tensor:
        """The normal numbers (N, D) that paths' starts (N, D) are made of."""
        if not self.periodic:
            return start
        # The cut itself would be infinitely far away.
        most = 1.0 - torch.finfo(start.dtype).eps
        share = (wrap(start) / math.pi).clamp(-most, most)
        return torch.where(self.angular, math.sqrt(2) * torch.erfinv(share), start)

    def between(self, start: Tensor, end: Tensor) -> Tensor:
        """The shortest way (N, D) from start to end, on the circle the shorter way round."""
        way = end - start
        return torch.where(self.angular, wrap(way), way) if self.periodic else way

    def wrapped(self, x: Tensor) -> Tensor:
        """Features (N, D) with the angles back in [-pi, pi]."""
        return torch.where(self.angular, wrap(x), x) if self.periodic else x

    def seen(self, x: Tensor) -> Tensor:
        """What networks see (N, D + P) of features (N, D): cosines in place of angles, then their sines."""
        if not self.periodic:
            return x
        return torch.cat([torch.where(self.angular, x.cos(), x), x[:, self.index].sin()], 1)

    def log_density(self, start: Tensor, mask: Tensor | None) -> Tensor:
        """Log of the density (N,) of paths' starts (N, D), of the features that exist."""
        each = -0.5 * (start.square() + _LOG_TURN)
        if self.periodic:
            each = torch.where(self.angular, -_LOG_TURN, each)
        return (each if mask is None else torch.where(mask, each, 0.0)).sum(1)
