"""Optimisers, learning rates, and the running mean of weights."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from hepgan.models import OptimiserConfig
from hepgan.networks import BatchNorm
from hepgan.training.config import ScheduleConfig
from hepgan.training.muon import Muon

__all__ = ["WeightMean", "build_optimiser", "clip_members", "norms_of_members", "rate"]


def build_optimiser(
    config: OptimiserConfig, parameters: Iterable[nn.Parameter], members: int = 1
) -> torch.optim.Optimizer:
    """The optimiser that the recipe describes.

    Args:
        config: The recipe's choice.
        parameters: What it moves.
        members: Members of an ensemble, which are the first dimension of parameters if there are several.
    """
    common: dict[str, Any] = {
        "params": list(parameters),
        "lr": config.lr,
        "weight_decay": config.weight_decay,
    }
    if config.eps is not None:
        common["eps"] = config.eps
    match config.kind:
        case "adam":
            return torch.optim.Adam(betas=config.betas, fused=True, **common)
        case "adamw":
            return torch.optim.AdamW(betas=config.betas, fused=True, **common)
        case "muon":
            return Muon(betas=config.betas, members=members, **common)
        case "adadelta":
            return torch.optim.Adadelta(rho=config.rho, **common)
        case "rmsprop":
            return torch.optim.RMSprop(alpha=config.rho, **common)


def rate(config: ScheduleConfig, step: int, progress: float, hold: float = 0.0) -> float:
    """The learning rate as a share of the highest.

    Args:
        config: The schedule.
        step: Steps done, since the warm-up began.
        progress: Share of the training that is done, by steps or by time.
        hold: Share of the training up to which it does not fall; what is left of the schedule follows then.
    """
    progress = min(max(progress, 0.0), 1.0)
    top = config.rise if config.kind == "onecycle" else 0.0
    if progress > top and hold > top:
        progress = top + (1.0 - top) * max(0.0, progress - hold) / (1.0 - hold)
    warm = min(1.0, (step + 1) / (config.warmup + 1))
    if config.kind == "constant":
        return warm
    if config.kind == "cosine":
        return warm * _cosine(1.0, config.final, progress)
    if progress < config.rise:
        return warm * _cosine(1.0 / 25.0, 1.0, progress / config.rise)
    return warm * _cosine(1.0, config.final, (progress - config.rise) / (1.0 - config.rise))


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * share))


@torch.no_grad()
def norms_of_members(gradients: Sequence[Tensor], members: int) -> Tensor:
    """The norms (M,) of the gradients of an ensemble's members, which are the tensors' first dimension."""
    return torch.stack([g.reshape(members, -1).square().sum(1) for g in gradients]).sum(0).sqrt()


@torch.no_grad()
def clip_members(gradients: Sequence[Tensor], limit: float, norms: Tensor) -> None:
    """Shorten the gradients of those members whose norms (M,) exceed a limit."""
    factor = (limit / (norms + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(factor.view(-1, *[1] * (gradient.ndim - 1)))


class WeightMean:
    """The exponential running mean of the weights that sampling uses.

    Early on the mean is over fewer steps, so that it does not remember the random start.

    Args:
        modules: The modules whose parameters are averaged.
        decay: Decay per step; 0 keeps the last weights.
    """

    def __init__(self, modules: Iterable[nn.Module], decay: float) -> None:
        self.decay = decay
        # What batch norm takes for mean and variance belongs to the weights that it was found with.
        self.parameters: list[Tensor] = [
            p
            for module in modules
            for p in (
                *module.parameters(),
                *(b for m in module.modules() if isinstance(m, BatchNorm) for b in m.buffers()),
            )
        ]
        self.mean = [p.detach().clone() for p in self.parameters]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take the weights after step ``step`` (from 1) into the mean."""
        decay = min(self.decay, step / (step + 10.0)) if self.decay else 0.0
        torch._foreach_lerp_(self.mean, self.parameters, 1.0 - decay)

    @contextmanager
    def used(self) -> Iterator[None]:
        """Let the modules have the mean weights for a while."""
        own = self._own()
        self.load(self.mean)
        try:
            yield
        finally:
            self.load(own)

    @torch.no_grad()
    def load(self, weights: Iterable[Tensor]) -> None:
        """Give the modules these weights."""
        for parameter, weight in zip(self.parameters, weights, strict=True):
            parameter.copy_(weight)

    def _own(self) -> list[Tensor]:
        return [p.detach().clone() for p in self.parameters]

    def state_dict(self) -> dict[str, Tensor]:
        """The mean, for a checkpoint."""
        return {str(i): m for i, m in enumerate(self.mean)}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore the mean."""
        for i, m in enumerate(self.mean):
            m.copy_(state[str(i)])
