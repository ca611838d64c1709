"""What every model offers to whoever makes events with it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from hepgan.features.space import FARTHEST, FeatureSpace
from hepgan.vectors.kinematics import wrap

__all__ = ["Circles", "DensityModel", "Model", "Tube", "in_chunks"]

_LOG_TURN = math.log(2 * math.pi)


class Model(nn.Module, ABC):
    """A distribution of features given their context: what makes events of noise, and no more.

    By what it learns is a :class:`~hepgan.learners.Learner`'s.

    Attributes:
        space: The features.
        noise_size: Standard normal numbers per event that :meth:`sample` needs.
        members: How many models of an ensemble it stands for.
        chunk: How many events it computes at a time on a CPU, so that their activations stay in the cache.
    """

    space: FeatureSpace
    noise_size: int
    members: int = 1
    chunk: int = 1024

    @property
    def has_likelihood(self) -> bool:
        """Whether it, or each member of an ensemble, is a :class:`DensityModel`."""
        return isinstance(self, DensityModel)

    @property
    def together(self) -> Model:
        """What makes events of all members, equally many each, one member's after another's."""
        return self

    @abstractmethod
    def sample(self, noise: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        """Features of new events.

        Args:
            noise: Standard normal numbers (N, noise_size).
            context: What the events are conditional on (N, C).
            mask: True where a feature exists (N, D); None if all do.

        Returns:
            Features (N, D), 0 where masked.
        """

    def noise_mask(self, mask: Tensor | None) -> Tensor | None:
        """Which noise counts (N, noise_size), if these features exist (N, D); None if all does."""
        return None

    @abstractmethod
    def sampling_modules(self) -> Iterable[nn.Module]:
        """The modules whose parameters :meth:`sample` uses."""

    def given(self, context: Tensor) -> Tensor | None:
        """The context (N, C) as networks are told it: None where there is none."""
        return context if self.space.context_size else None


class DensityModel(Model):
    """A model that knows the density of the features that it makes, and can be inverted."""

    @abstractmethod
    def log_prob(self, x: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        """Logarithm of the density of features, of those that exist.

        Args:
            x: Features (N, D).
            context: What the events are conditional on (N, C).
            mask: True where a feature exists (N, D); None if all do.

        Returns:
            (N,).
        """

    @abstractmethod
    def latent(self, x: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        """The noise (N, noise_size) that :meth:`sample` makes features of; arguments as of :meth:`log_prob`.

        The noise of features that do not exist is 0.
        """

    def pulled_back(self, x: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        """The same, differentiable in the parameters, at the cost of sampling."""
        return self.latent(x, context, mask)

    def noise_mask(self, mask: Tensor | None) -> Tensor | None:
        """Each feature has its noise."""
        return mask


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


class Tube(nn.Module):
    """Where straight paths from noise to events of a space can lead at any time.

    A network has learned nothing outside. What is there, it is to see on the tube's wall: otherwise a
    velocity that grows with the distance would carry it away ever faster.

    Args:
        space: The features; without a reach, there is no wall.
    """

    low: Tensor
    high: Tensor

    def __init__(self, space: FeatureSpace) -> None:
        super().__init__()
        self.closed = bool(space.reach)
        ends = torch.tensor(space.reach, dtype=torch.float64).reshape(-1, 2)
        # Features that do not exist are 0. An infinite end times a time of 0 would not be a number.
        largest = torch.finfo(torch.float32).max
        low, high = (t.to(torch.get_default_dtype()) for t in ends.clamp(-largest, largest).unbind(1))
        self.register_buffer("low", low.clamp(max=0.0), persistent=False)
        self.register_buffer("high", high.clamp(min=0.0), persistent=False)

    def nearest(self, x: Tensor, time: Tensor) -> Tensor:
        """The points (N, D) in the tube that are nearest to these (N, D).

        Args:
            x: Points on paths (N, D).
            time: From 0 to 1, a single one.
        """
        if not self.closed:
            return x
        noise = (1.0 - time) * FARTHEST
        return torch.clamp(x, time * self.low - noise, time * self.high + noise)


def in_chunks(
    sample: Callable[[Tensor, Tensor, Tensor | None], Tensor],
    noise: Tensor,
    context: Tensor,
    mask: Tensor | None,
    size: int,
) -> Tensor:
    """What ``sample`` makes of noise, context and mask, ``size`` events at a time where that is faster.

    On a CPU without gradients, the activations of so few events stay in a core's cache.
    """
    whole = torch.compiler.is_compiling() or noise.device.type != "cpu" or torch.is_grad_enabled()
    if whole or len(noise) <= size:
        return sample(noise, context, mask)
    chunks = [slice(i, i + size) for i in range(0, len(noise), size)]
    return torch.cat([sample(noise[c], context[c], None if mask is None else mask[c]) for c in chunks])
