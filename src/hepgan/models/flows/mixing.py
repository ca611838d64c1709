"""What stands between the layers of a flow: a scale and shift of each feature, and a rotation of them all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Mixing"]

_MOST = 16
"""The most reflections that a rotation is made of."""


class Mixing(nn.Module):
    """Scales and shifts of features on the line, then a product of Householder reflections of them.

    Features that an event does not have are left out of each reflection, which is one of the others still;
    so they stay 0 and have no influence. Angles stay as they are.

    References: J. Tomczak and M. Welling, Improving variational auto-encoders using Householder flow,
    arXiv:1611.09630; D. Kingma and P. Dhariwal, Glow, arXiv:1807.03039 (scales and shifts).

    Args:
        lines: Numbers of the features on the line, of which there are some.
        size: Number of features D.
        rotations: ``learned``, ``random`` (drawn evenly from all rotations, up to 17 features, and fixed), or
            ``none``.
    """

    index: Tensor
    order: Tensor
    axes: Tensor

    def __init__(
        self, lines: Sequence[int], size: int, rotations: Literal["learned", "random", "none"]
    ) -> None:
        super().__init__()
        others = [i for i in range(size) if i not in lines]
        self.whole = not others
        self.lines = len(lines)
        self.register_buffer("index", torch.tensor([*lines, *others], dtype=torch.int64), persistent=False)
        self.register_buffer("order", torch.argsort(self.index), persistent=False)
        self.log_scale = nn.Parameter(torch.zeros(self.lines))
        self.shift = nn.Parameter(torch.zeros(self.lines))
        count = 0 if rotations == "none" else min(self.lines - 1, _MOST)
        self.reflections = count
        # The reflections that make a matrix of normal numbers triangular make up an even random rotation.
        axes, _ = torch.geqrf(torch.randn(self.lines, self.lines))
        axes = axes[:, :count].tril(-1)
        if rotations == "random":
            self.register_buffer("axes", axes)
        elif count:
            self.axes = nn.Parameter(axes)

    def forward(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """The mixed features (N, D), and the logarithm of the Jacobian determinant (N,)."""
        x, mask, rest = self._taken(x, mask)
        if mask is None:
            matrix = self._matrix()
            y = functional.linear(x, matrix * self.log_scale.exp(), functional.linear(self.shift, matrix))
            return self._back(y, rest), self.log_scale.sum().expand(len(x))
        y = torch.where(mask, torch.addcmul(self.shift, x, self.log_scale.exp()), 0.0)
        y = self._reflected(y, mask, reverse=True)
        return self._back(y, rest), torch.where(mask, self.log_scale, 0.0).sum(1)

    def inverse(self, y: Tensor, mask: Tensor | None) -> Tensor:
        """The features (N, D) that these (N, D) were mixed from."""
        y, mask, rest = self._taken(y, mask)
        if mask is None:
            x = (functional.linear(y, self._matrix().t()) - self.shift) * torch.exp(-self.log_scale)
            return self._back(x, rest)
        y = self._reflected(y, mask, reverse=False)
        x = torch.where(mask, (y - self.shift) * torch.exp(-self.log_scale), 0.0)
        return self._back(x, rest)

    def _taken(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """The features on the line, their mask, and the other features."""
        if self.whole:
            return x, mask, None
        sorted_ = x.index_select(1, self.index)
        line = self.index[: self.lines]
        return (
            sorted_[:, : self.lines],
            None if mask is None else mask.index_select(1, line),
            sorted_[:, self.lines :],
        )

    def _back(self, x: Tensor, rest: Tensor | None) -> Tensor:
        return x if rest is None else torch.cat((x, rest), 1).index_select(1, self.order)

    def _vectors(self) -> Tensor:
        """The axes (L, R) of the reflections, with 1 on the diagonal and 0 above."""
        eye = torch.eye(self.lines, self.reflections, dtype=self.shift.dtype, device=self.shift.device)
        return self.axes.tril(-1) + eye

    def _matrix(self) -> Tensor:
        """The product of the reflections (L, L).

        Reference: T. Joffrain et al., Accumulating Householder transformations, ACM TOMS 32 (2006) 169.
        """
        if not self.reflections:
            return torch.eye(self.lines, dtype=self.shift.dtype, device=self.shift.device)
        vectors = self._vectors()
        gram = vectors.t() @ vectors
        # H_1 ... H_R = 1 - V T V^t, with V^t V above the diagonal of 1 / T, and half of it on the diagonal.
        inverse = gram.triu(1) + torch.diag(0.5 * gram.diagonal())
        within = torch.linalg.solve_triangular(inverse, vectors.t(), upper=True)
        matrix: Tensor = torch.eye(self.lines, dtype=vectors.dtype, device=vectors.device) - vectors @ within
        return matrix

    def _reflected(self, x: Tensor, mask: Tensor, *, reverse: bool) -> Tensor:
        """Each event's features (N, L), reflected at all axes, with ``reverse`` the last one first."""
        if not self.reflections:
            return x
        vectors = self._vectors()
        present = mask.to(x.dtype)
        squares = present @ vectors.square()
        # An event without any of an axis' features has nothing to reflect.
        factors = torch.where(squares > 0.0, 2.0 / squares.clamp(min=torch.finfo(x.dtype).tiny), 0.0)
        numbers = range(self.reflections)
        for k in reversed(numbers) if reverse else numbers:
            along = factors[:, k] * (x @ vectors[:, k])
            x = torch.addcmul(x, along[:, None], present * vectors[:, k], value=-1.0)
        return x
