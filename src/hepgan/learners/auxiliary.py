"""Heads of critics that tell the classes of events."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from hepgan.errors import RecipeError
from hepgan.features.space import Classes, FeatureBatch
from hepgan.models import CriticConfig
from hepgan.objectives import Term

__all__ = ["Head", "heads_of", "wrongly"]


class Head:
    """Outputs of a critic, one for each class of a number of the event.

    Reference: A. Odena, C. Olah and J. Shlens, Conditional image synthesis with auxiliary classifier GANs,
    arXiv:1610.09585.

    Args:
        name: What its terms are called.
        classes: The number of the event.
        first: The number of its first output.
        weights: The factors of its terms, for the critic and for what makes events.
    """

    def __init__(self, name: str, classes: Classes, first: int, weights: tuple[float, float]) -> None:
        self.name, self.classes = name, classes
        self._outputs = slice(first, first + classes.size)
        self._for_critic, self._for_maker = weights

    def critic(
        self,
        real: Tensor,
        fake: Tensor,
        targets: tuple[Tensor, Tensor],
        weights: tuple[Tensor, Tensor | None],
    ) -> list[Term]:
        """What the critic minimises, and how often it is right for real events.

        Args:
            real: All outputs of the critic for N real events.
            fake: Likewise for N generated events.
            targets: The classes (N,) of both.
            weights: The event weights (N,) of both; None for 1.
        """
        value = self._entropy(real, targets[0], weights[0]) + self._entropy(fake, targets[1], weights[1])
        right = (real[:, self._outputs].detach().argmax(1) == targets[0]).to(real.dtype)
        return [
            Term(self.name, value, self._for_critic),
            Term(f"{self.name}_accuracy", _mean(right, targets[0], weights[0]), 0.0),
        ]

    def maker(self, fake: Tensor, targets: Tensor, weight: Tensor | None, factor: float) -> Term:
        """What what makes events minimises.

        Args:
            fake: All outputs of the critic for N generated events.
            targets: Their classes (N,).
            weight: Their weights (N,); None for 1.
            factor: The factor of the critic's terms.
        """
        return Term(self.name, self._entropy(fake, targets, weight), factor * self._for_maker)

    def _entropy(self, outputs: Tensor, targets: Tensor, weight: Tensor | None) -> Tensor:
        each = functional.cross_entropy(outputs[:, self._outputs], targets.clamp_min(0), reduction="none")
        return _mean(each, targets, weight)


def heads_of(config: CriticConfig, classes: Sequence[Classes]) -> list[Head]:
    """The heads that a critic has.

    Args:
        config: The recipe's choice.
        classes: The numbers of the event that have a few values.

    Raises:
        RecipeError: If there is no such number.
    """
    found: list[Head] = []
    there = {c.name: c for c in classes if c.size > 1}
    first = 1
    for auxiliary in config.auxiliary:
        if auxiliary.variable not in there:
            names = ", ".join(there) or "none"
            msg = (
                f"critic {config.name!r}: auxiliary {auxiliary.variable!r} is neither a condition nor a "
                f"discrete variable of two or more classes; there are: {names}"
            )
            raise RecipeError(msg)
        own = there[auxiliary.variable]
        plain = re.sub(r"\W+", "_", own.name).strip("_")
        name = f"{config.name}_{plain}"
        found.append(Head(name, own, first, (auxiliary.critic, auxiliary.maker)))
        first += own.size
    return found


def wrongly(head: Head, batch: FeatureBatch, share: float, generator: torch.Generator) -> Tensor:
    """The classes (N,) of events, of a share of them another one at random."""
    targets, size = head.classes.of(batch), head.classes.size
    if not share:
        return targets
    step = torch.randint(1, size, targets.shape, generator=generator, device=targets.device)
    wrong = torch.rand(targets.shape, generator=generator, device=targets.device) < share
    return torch.where(wrong & (targets >= 0), (targets + step) % size, targets)


def _mean(values: Tensor, targets: Tensor, weight: Tensor | None) -> Tensor:
    """The mean over the events that have a class; 0 if none has one."""
    full = (targets >= 0).to(values.dtype)
    full = full if weight is None else full * weight
    norm = full.sum()
    return (full * values).sum() / torch.where(norm == 0, torch.ones_like(norm), norm)
