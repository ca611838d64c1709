"""Muon: a matrix of weights moves by an orthogonal matrix, whatever its gradient's size."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adam import adam

__all__ = ["Muon"]

MOMENTUM = 0.95
"""Kept of the running mean of a matrix's gradient in each step."""

TURN = 10.0
"""A square matrix moves by an orthogonal one times this and the learning rate, so that its numbers, where it
is some 100 wide, move as far as Adam's."""

ITERATIONS = 5
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the polynomial a s + b s^3 + c s^5 that brings singular values to about 1, again and again."""


class Muon(torch.optim.Optimizer):
    """Weight matrices by Muon, all other parameters by Adam with decoupled weight decay.

    The running mean of a matrix's gradient is made orthogonal (all its singular values about 1), so that
    directions that are rare in the gradient are learned as fast as others. In single precision throughout:
    torch's own Muon rounds to 8 bits, which processors do differently and some slowly, and takes no stacks
    of matrices.

    Kernels of convolutions are matrices of one row for each output. Of several matrices in one parameter
    (members of an ensemble, windows that are not alike) each is one by itself.

    References: K. Jordan et al., Muon: an optimizer for hidden layers in neural networks (2024);
    J. Bernstein and L. Newhouse, Old optimizer, new norm, arXiv:2409.20325.

    Args:
        params: The parameters.
        lr: The learning rate of Adam; see ``TURN`` for matrices.
        betas: Of Adam.
        eps: Of Adam.
        weight_decay: Pull of all parameters to 0, in units of the learning rate.
        members: Members of an ensemble, which are the first dimension of parameters if there are several.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        *,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        members: int = 1,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})
        self._ahead = 0 if members == 1 else 1

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Moves all parameters that have a gradient."""
        del closure
        for group in self.param_groups:
            there = [p for p in group["params"] if p.grad is not None and p.numel()]
            self._turn([p for p in there if p.ndim - self._ahead >= 2], group)
            self._follow([p for p in there if p.ndim - self._ahead < 2], group)

    def _turn(self, matrices: list[Tensor], group: dict[str, Any]) -> None:
        alike: dict[torch.Size, list[tuple[Tensor, Tensor]]] = {}
        for p in matrices:
            gradient = p.grad
            assert gradient is not None
            state = self.state[p]
            if "momentum" not in state:
                # Also in a checkpoint of Adam's, which had other states.
                state["momentum"] = torch.zeros_like(p)
            mean = state["momentum"].lerp_(gradient, 1.0 - MOMENTUM)
            step = self._as_matrices(gradient.lerp(mean, MOMENTUM))
            alike.setdefault(step.shape[1:], []).append((p, step))
        for (rows, columns), found in alike.items():
            # Those of one shape at once: most are small.
            steps = orthogonal(torch.cat([step for _, step in found]))
            size = TURN * group["lr"] * max(1.0, rows / columns) ** 0.5
            own = torch.split(steps, [len(step) for _, step in found])
            for (p, _), step in zip(found, own, strict=True):
                p.mul_(1.0 - group["lr"] * group["weight_decay"])
                p.sub_(step.view_as(p), alpha=size)

    def _as_matrices(self, step: Tensor) -> Tensor:
        """One or several matrices (M, rows, columns) of a parameter's step."""
        if step.ndim - self._ahead > 3:
            step = step.flatten(1 + self._ahead)
        return step.reshape(-1, *step.shape[-2:])

    def _follow(self, others: list[Tensor], group: dict[str, Any]) -> None:
        if not others:
            return
        for p in others:
            if not self.state[p]:
                self.state[p].update(
                    step=torch.zeros((), dtype=torch.float32, device=p.device),
                    exp_avg=torch.zeros_like(p),
                    exp_avg_sq=torch.zeros_like(p),
                )
        states = [self.state[p] for p in others]
        beta1, beta2 = group["betas"]
        adam(
            others,
            [p.grad for p in others if p.grad is not None],
            [s["exp_avg"] for s in states],
            [s["exp_avg_sq"] for s in states],
            [],
            [s["step"] for s in states],
            fused=True,
            decoupled_weight_decay=True,
            amsgrad=False,
            beta1=beta1,
            beta2=beta2,
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )


def orthogonal(matrices: Tensor) -> Tensor:
    """Matrices (M, A, B) with the same singular vectors, and singular values from about 0.7 to 1.2.

    A singular value that is less than a thousandth of the norm of its matrix stays smaller.
    """
    a, b, c = COEFFICIENTS
    wide = matrices if matrices.shape[1] <= matrices.shape[2] else matrices.mT
    size = torch.linalg.vector_norm(wide, dim=(1, 2), keepdim=True)
    x: Tensor = wide / size.clamp(min=torch.finfo(wide.dtype).tiny)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = a * x + torch.baddbmm(gram, gram, gram, beta=b, alpha=c) @ x
    return x if wide is matrices else x.mT
