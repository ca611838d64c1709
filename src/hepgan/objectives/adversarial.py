"""What critics and generators minimise against each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from hepgan.objectives.terms import weighted_mean

__all__ = ["ADVERSARIAL", "AdversarialLoss", "gradient_penalty", "register"]

CriticLoss = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]
GeneratorLoss = Callable[[Tensor, Tensor | None], Tensor]


@dataclass(frozen=True)
class AdversarialLoss:
    """An adversarial objective on the critic's outputs (N,), which have no final nonlinearity.

    Attributes:
        critic: (real output, generated output, real weight, generated weight) -> loss of the critic.
        generator: (generated output, generated weight) -> loss of the generator.
        gradient_penalty: The usual factor of the critic's gradient penalty; 0 for none.
    """

    critic: CriticLoss
    generator: GeneratorLoss
    gradient_penalty: float = 0.0


ADVERSARIAL: dict[str, AdversarialLoss] = {}
"""The adversarial losses, by the name that a recipe gives."""


def register(name: str, loss: AdversarialLoss) -> None:
    """Make an adversarial loss known to recipes.

    Raises:
        ValueError: If the name is taken.
    """
    if name in ADVERSARIAL:
        msg = f"there is an adversarial loss {name!r} already"
        raise ValueError(msg)
    ADVERSARIAL[name] = loss


def _bce_critic(real: Tensor, fake: Tensor, real_weight: Tensor, fake_weight: Tensor | None) -> Tensor:
    return weighted_mean(functional.softplus(-real), real_weight) + weighted_mean(
        functional.softplus(fake), fake_weight
    )


def _bce_generator(fake: Tensor, weight: Tensor | None) -> Tensor:
    return weighted_mean(functional.softplus(-fake), weight)


def _wasserstein_critic(
    real: Tensor, fake: Tensor, real_weight: Tensor, fake_weight: Tensor | None
) -> Tensor:
    return weighted_mean(fake, fake_weight) - weighted_mean(real, real_weight)


def _wasserstein_generator(fake: Tensor, weight: Tensor | None) -> Tensor:
    return -weighted_mean(fake, weight)


register("bce", AdversarialLoss(_bce_critic, _bce_generator))
register("wgan_gp", AdversarialLoss(_wasserstein_critic, _wasserstein_generator, gradient_penalty=10.0))


def gradient_penalty(
    critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, generator: torch.Generator
) -> Tensor:
    """Mean of (|gradient| - 1)^2 of the critic, midway between real and generated events.

    Reference: Gulrajani et al., Improved training of Wasserstein GANs, arXiv:1704.00028.

    Args:
        critic: (N, I) -> (N,).
        real: Real inputs (N, I).
        fake: Generated inputs (N, I).
        generator: Draws the points on the lines between them.
    """
    share = torch.rand((real.shape[0], 1), generator=generator, device=real.device, dtype=real.dtype)
    between = torch.lerp(real, fake, share).detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    # The floor keeps the root's slope finite where the critic is flat.
    norm = (gradient.square().sum(dim=1) + 1e-12).sqrt()
    return (norm - 1.0).square().mean()
