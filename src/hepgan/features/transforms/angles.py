"""Azimuthal angles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from hepgan.features.transforms.base import Transform

__all__ = ["Angle", "Arctanh", "PeriodicAngle"]


class Angle(Transform, kind="angle"):
    """An angle in [-pi, pi] as it is; models that know circles learn it as a point on one, without a cut.

    The inverse wraps. For models that don't, prefer ``PeriodicAngle``.

    Args:
        size: Number of columns D.
        names: Names of the columns for error messages.
    """

    domain = "an angle, from -pi to pi"

    def inside(self, x: Tensor) -> Tensor:
        """|x| <= pi, which float32 rounds up."""
        return x.abs() <= math.pi * (1 + 1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """The angle in [-pi, pi)."""
        return _wrap(self._promoted(x))

    def inverse(self, y: Tensor) -> Tensor:
        """The angle in [-pi, pi), whatever y is."""
        return _wrap(self._promoted(y))

    def log_abs_det(self, x: Tensor) -> Tensor:
        """Zero."""
        return torch.zeros_like(self._promoted(x))


class Arctanh(Transform, kind="arctanh"):
    """The published atanh(phi / pi): puts the cut at +-pi at infinity. Prefer ``PeriodicAngle``.

    Args:
        size: Number of columns D.
        scale: The edge; one millionth above pi by default, since pi rounded to float32 lies above pi.
        names: Names of the columns for error messages.

    Raises:
        ValueError: A scale that is not positive.
    """

    domain = "between -scale and scale"

    def __init__(
        self, size: int, *, scale: float = math.pi * (1 + 1e-6), names: Sequence[str] | None = None
    ) -> None:
        super().__init__(size, names=names)
        if not 0 < scale < math.inf:
            msg = f"scale must be positive, got {scale}"
            raise ValueError(msg)
        self.scale = float(scale)

    def options(self) -> dict[str, Any]:
        """The edge."""
        return {"scale": self.scale}

    def inside(self, x: Tensor) -> Tensor:
        """|x| < scale."""
        return x.abs() < self.scale

    def forward(self, x: Tensor) -> Tensor:
        """atanh(x / scale); NaN beyond the edges."""
        x = self._promoted(x)
        # Forming x / scale first would lose the distance to the edge.
        size = torch.where(x < 0, -x, x)
        sign = torch.where(x < 0, -1.0, 1.0).to(x)
        return sign * 0.5 * torch.log1p(2 * size / (self.scale - size))

    def inverse(self, y: Tensor) -> Tensor:
        """Scale tanh(y), strictly inside the edges."""
        limit = math.nextafter(self.scale, 0.0)
        return (self.scale * torch.tanh(self._promoted(y))).clamp(-limit, limit)

    def log_abs_det(self, x: Tensor) -> Tensor:
        """log(scale / (scale^2 - x^2))."""
        x = self._promoted(x)
        return math.log(self.scale) - (self.scale - x).log() - (self.scale + x).log()


class PeriodicAngle(Transform, kind="periodic_angle"):
    """An angle wrapped into [-pi, pi) and scaled; the inverse wraps, so a sample may cross the cut freely.

    Any finite angle is in the domain, and ``inverse(forward(x))`` is x modulo 2 pi, exactly x in [-pi, pi).

    Args:
        size: Number of columns D.
        scaling: ``unit``: y in [-1, 1); ``variance``: a flat angle gets standard deviation 1.
        names: Names of the columns for error messages.

    Raises:
        ValueError: An unknown scaling.
    """

    def __init__(
        self,
        size: int,
        *,
        scaling: Literal["unit", "variance"] = "variance",
        names: Sequence[str] | None = None,
    ) -> None:
        super().__init__(size, names=names)
        if scaling not in ("unit", "variance"):
            msg = f"scaling must be 'unit' or 'variance', got {scaling!r}"
            raise ValueError(msg)
        self.scaling = scaling
        self._scale = math.pi if scaling == "unit" else math.pi / math.sqrt(3)

    def options(self) -> dict[str, Any]:
        """The scaling."""
        return {"scaling": self.scaling}

    def forward(self, x: Tensor) -> Tensor:
        """The wrapped angle divided by pi, or by pi / sqrt(3)."""
        return _wrap(self._promoted(x)) / self._scale

    def inverse(self, y: Tensor) -> Tensor:
        """The angle in [-pi, pi), whatever y is."""
        return _wrap(self._promoted(y) * self._scale)

    def log_abs_det(self, x: Tensor) -> Tensor:
        """-log of the scale."""
        return torch.full_like(self._promoted(x), -math.log(self._scale))


def _wrap(angle: Tensor) -> Tensor:
    """Into [-pi, pi), bit for bit unchanged where it already is, with gradient 1 everywhere."""
    turns = torch.floor((angle.detach() + math.pi) / (2 * math.pi))
    inside = (angle >= -math.pi) & (angle < math.pi)
    wrapped = angle - torch.where(inside, 0.0, 2 * math.pi * turns)
    # Rounding in the subtraction can leave the result a last bit outside.
    wrapped = torch.where(wrapped < -math.pi, wrapped + 2 * math.pi, wrapped)
    return torch.where(wrapped >= math.pi, wrapped - 2 * math.pi, wrapped).clamp(min=-math.pi)
