"""Functions of one feature each, whose parameters a network gives."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hepgan.models.config import FlowConfig
from hepgan.models.flows.splines import parameters_of, spline
from hepgan.vectors.kinematics import wrap

__all__ = ["Univariate"]


class Univariate(nn.Module):
    """An increasing function of each of F features: affine or a spline; of angles a spline on the circle.

    An affine one is x exp(a tanh(s / a)) + t. On the circle, a spline is followed by a shift.

    Args:
        config: The recipe's choice.
        angular: Of each feature whether it is an angle in (-pi, pi].

    Attributes:
        owners: Of each parameter the number of its feature.
    """

    lines: Tensor
    angles: Tensor
    order: Tensor

    def __init__(self, config: FlowConfig, angular: Sequence[bool]) -> None:
        super().__init__()
        self.affine = config.transform == "affine"
        self.clamp, self.bins, self.bound = config.clamp, config.bins, config.bound
        lines = [i for i, a in enumerate(angular) if not a]
        angles = [i for i, a in enumerate(angular) if a]
        self.mixed = bool(lines and angles)
        self.of_line = 2 if self.affine else parameters_of(self.bins, circular=False)
        self.of_angle = 1 + parameters_of(self.bins, circular=True)
        self.owners = tuple(lines * self.of_line + angles * self.of_angle)
        self.line_parameters = len(lines) * self.of_line
        self.register_buffer("lines", torch.tensor(lines, dtype=torch.int64), persistent=False)
        self.register_buffer("angles", torch.tensor(angles, dtype=torch.int64), persistent=False)
        order = torch.argsort(torch.tensor(lines + angles))
        self.register_buffer("order", order, persistent=False)

    def forward(self, x: Tensor, raw: Tensor, *, inverse: bool = False) -> tuple[Tensor, Tensor]:
        """Values (N, F) of features (N, F) with parameters (N, P), and logarithms of the slopes (N, F).

        The slopes are those of the function itself, also where the inverse is taken.
        """
        if not len(self.angles):
            return self._on_lines(x, raw, inverse)
        if not len(self.lines):
            return self._on_circles(x, raw, inverse)
        p = self.line_parameters
        parts = (
            self._on_lines(x.index_select(1, self.lines), raw[:, :p], inverse),
            self._on_circles(x.index_select(1, self.angles), raw[:, p:], inverse),
        )
        values, slopes = (torch.cat(both, 1).index_select(1, self.order) for both in zip(*parts, strict=True))
        return values, slopes

    def _on_lines(self, x: Tensor, raw: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
        if self.affine:
            s, t = raw.chunk(2, 1)
            log_slope = self.clamp * torch.tanh(s / self.clamp)
            if inverse:
                return (x - t) * torch.exp(-log_slope), log_slope
            return torch.addcmul(t, x, log_slope.exp()), log_slope
        y, slope = spline(
            x.t(), _events_last(raw, x.shape[1]), bins=self.bins, bound=self.bound, inverse=inverse
        )
        return y.t(), slope.t()

    def _on_circles(self, x: Tensor, raw: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
        parameters = _events_last(raw, x.shape[1])
        angle, shift = x.t(), parameters[-1]
        angle = wrap(angle - shift) if inverse else wrap(angle)
        y, slope = spline(
            angle, parameters[:-1], bins=self.bins, bound=math.pi, circular=True, inverse=inverse
        )
        return (y if inverse else wrap(y + shift)).t(), slope.t()


def _events_last(raw: Tensor, features: int) -> Tensor:
    return raw.t().contiguous().view(-1, features, raw.shape[0])
