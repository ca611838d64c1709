"""What critics and generators minimise against each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from hepgan.objectives.terms import weighted_mean

__all__ = ["ADVERSARIAL", "AdversarialLoss", "gradient_penalty", "r1_penalty", "register"]

CriticLoss = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]
GeneratorLoss = Callable[[Tensor, Tensor | None], Tensor]
Inputs = Tensor | tuple[Tensor, ...]
"""What a critic sees of N events: one or several tensors whose first dimension is N."""


@dataclass(frozen=True)
class AdversarialLoss:
    """An adversarial objective on a critic's scores, which have no final nonlinearity.

    Scores are (N,), or (N, K) where a critic judges K parts of an event, whose losses are averaged. Real and
    generated events may be scored apart, and in different numbers.

    Attributes:
        critic: (real scores, generated scores, real weight, generated weight) -> loss of the critic.
        generator: (generated scores, generated weight) -> loss of the generator.
        gradient_penalty: The usual factor of the critic's gradient penalty; 0 for none.
        clip: The usual largest magnitude of the critic's parameters, to which they are clipped after each
            of its steps; 0 for no limit.
    """

    critic: CriticLoss
    generator: GeneratorLoss
    gradient_penalty: float = 0.0
    clip: float = 0.0


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


def _bce_saturating_generator(fake: Tensor, weight: Tensor | None) -> Tensor:
    return -weighted_mean(functional.softplus(fake), weight)


def _lsgan_critic(real: Tensor, fake: Tensor, real_weight: Tensor, fake_weight: Tensor | None) -> Tensor:
    return 0.5 * (
        weighted_mean((real - 1.0).square(), real_weight) + weighted_mean(fake.square(), fake_weight)
    )


def _lsgan_generator(fake: Tensor, weight: Tensor | None) -> Tensor:
    return 0.5 * weighted_mean((fake - 1.0).square(), weight)


def _wasserstein_critic(
    real: Tensor, fake: Tensor, real_weight: Tensor, fake_weight: Tensor | None
) -> Tensor:
    return weighted_mean(fake, fake_weight) - weighted_mean(real, real_weight)


def _wasserstein_generator(fake: Tensor, weight: Tensor | None) -> Tensor:
    return -weighted_mean(fake, weight)


# Goodfellow et al., arXiv:1406.2661 (both); Mao et al., arXiv:1611.04076; Arjovsky et al., arXiv:1701.07875;
# Gulrajani et al., arXiv:1704.00028.
register("bce", AdversarialLoss(_bce_critic, _bce_generator))
register("bce_saturating", AdversarialLoss(_bce_critic, _bce_saturating_generator))
register("lsgan", AdversarialLoss(_lsgan_critic, _lsgan_generator))
register("wgan", AdversarialLoss(_wasserstein_critic, _wasserstein_generator, clip=0.01))
register("wgan_gp", AdversarialLoss(_wasserstein_critic, _wasserstein_generator, gradient_penalty=10.0))


def gradient_penalty(
    critic: Callable[..., Tensor], real: Inputs, fake: Inputs, generator: torch.Generator
) -> Tensor:
    """Mean of (|gradient| - 1)^2 of the critic, midway between real and generated events.

    Event weights do not enter: the critic's slope is to be 1 wherever there are events of either kind.

    Reference: Gulrajani et al., Improved training of Wasserstein GANs, arXiv:1704.00028.

    Args:
        critic: Inputs of N events -> scores (N,) or (N, K).
        real: Real inputs: (N, I), or several tensors whose first dimension is N.
        fake: Generated inputs of the same shapes.
        generator: Draws the points on the lines between them.
    """
    ends = list(zip(_several(real), _several(fake), strict=True))
    first = ends[0][0]
    share = torch.rand((first.shape[0], 1), generator=generator, device=first.device, dtype=first.dtype)
    between = [torch.lerp(r, f, share.reshape(-1, *[1] * (r.ndim - 1))) for r, f in ends]
    # The floor keeps the root's slope finite where the critic is flat.
    norm = (_squared_slope(critic, real, between) + 1e-12).sqrt()
    return (norm - 1.0).square().mean()


def r1_penalty(critic: Callable[..., Tensor], real: Inputs, weight: Tensor) -> Tensor:
    """Mean of |gradient|^2 of the critic at real events.

    Reference: Mescheder et al., Which training methods for GANs do actually converge?, arXiv:1801.04406.

    Args:
        critic: Inputs of N events -> scores (N,) or (N, K).
        real: Real inputs: (N, I), or several tensors whose first dimension is N.
        weight: Event weights (N,); their magnitudes count, since a negative slope penalty would reward
            steepness.
    """
    return weighted_mean(_squared_slope(critic, real, _several(real)), weight.abs())


def _several(inputs: Inputs) -> tuple[Tensor, ...]:
    return inputs if isinstance(inputs, tuple) else (inputs,)


def _squared_slope(
    critic: Callable[..., Tensor], form: Inputs, points: list[Tensor] | tuple[Tensor, ...]
) -> Tensor:
    """Squared length (N,) of the gradient of each event's mean score in all inputs together."""
    leaves = tuple(p.detach().requires_grad_(True) for p in points)
    scores = critic(leaves if isinstance(form, tuple) else leaves[0])
    gradients = torch.autograd.grad(scores.reshape(len(scores), -1).mean(1).sum(), leaves, create_graph=True)
    return torch.stack([g.flatten(1).square().sum(dim=1) for g in gradients]).sum(dim=0)
