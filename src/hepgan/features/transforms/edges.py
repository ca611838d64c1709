"""Logarithms: hard edges of phase space as infinities of the learned coordinate, and long two-sided tails."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from hepgan.features.transforms._moments import range_of_present
from hepgan.features.transforms.base import Transform

__all__ = ["LogEdge", "Logit", "SignedLog"]


def _margins(x: Tensor, present: Tensor, fraction: float) -> Tensor:
    """A fraction of the distances (2, D) from the lowest and highest real entry to the median."""
    low, high, filled = range_of_present(x, present)
    median = torch.where(present, x, torch.nan).nanmedian(0).values
    distances = torch.stack([median - low, high - median])
    width = torch.where(high > low, high - low, low.abs().clamp(min=1.0))
    distances = torch.where(distances > 0, distances, width)
    # A margin below the rounding of float32 input would not move the edge.
    rounding = (1e-6 * torch.stack([low.abs(), high.abs()])).clamp(min=1e-300)
    return torch.where(filled, torch.maximum(fraction * distances, rounding), 0.0)


def _strictly_inside(x: Tensor, low: Tensor | None, high: Tensor | None) -> Tensor:
    """Keep rounding from putting x on an edge."""
    if low is not None:
        x = torch.maximum(x, torch.nextafter(low, torch.full_like(low, torch.inf)))
    if high is not None:
        x = torch.minimum(x, torch.nextafter(high, torch.full_like(high, -torch.inf)))
    return x


def _positive_margin(margin: float) -> float:
    if not margin > 0:
        msg = f"margin must be positive, got {margin}"
        raise ValueError(msg)
    return float(margin)


class LogEdge(Transform, kind="log_edge"):
    """Logarithm of the distance from an edge, which the inverse can never reach: pt > cut, pz < beam energy.

    Args:
        size: Number of columns D.
        edge: The edge, one for all columns or one each; None takes it from the data, just beyond the
            outermost entry.
        side: ``lower``: y = log(x - edge); ``upper``: y = log(edge - x), which decreases with x.
        margin: How far beyond the data an edge taken from them lies, in units of the distance between the
            outermost entry and the median.
        names: Names of the columns for error messages.

    Raises:
        ValueError: An unknown side, an edge that is not finite, a margin that is not positive.
    """

    edge: Tensor

    def __init__(
        self,
        size: int,
        *,
        edge: float | Sequence[float] | None = None,
        side: Literal["lower", "upper"] = "lower",
        margin: float = 1e-3,
        names: Sequence[str] | None = None,
    ) -> None:
        super().__init__(size, names=names)
        if side not in ("lower", "upper"):
            msg = f"side must be 'lower' or 'upper', got {side!r}"
            raise ValueError(msg)
        self.given, self.side, self.margin = edge, side, _positive_margin(margin)
        self._sign = 1.0 if side == "lower" else -1.0
        self.domain = f"{'above' if side == 'lower' else 'below'} its edge"
        self.register_buffer("edge", self._column(0.0 if edge is None else edge, "edge"))

    def options(self) -> dict[str, Any]:
        """The given edge, its side and the margin."""
        given = self.given if self.given is None else self.edge.tolist()
        return {"edge": given, "side": self.side, "margin": self.margin}

    def inside(self, x: Tensor) -> Tensor:
        """Finite and beyond the edge."""
        return torch.isfinite(x) & (self._sign * (x - self.edge) > 0)

    def _fit(self, x: Tensor, present: Tensor, weight: Tensor) -> None:
        if self.given is None:
            low, high, filled = range_of_present(x, present)
            below, above = _margins(x, present, self.margin)
            fitted = low - below if self.side == "lower" else high + above
            self.edge = torch.where(filled, fitted, 0.0)

    def forward(self, x: Tensor) -> Tensor:
        """Log |x - edge|; NaN beyond the edge."""
        return (self._sign * (self._promoted(x) - self.edge)).log()

    def inverse(self, y: Tensor) -> Tensor:
        """The edge plus or minus exp(y), strictly inside the edge whatever y is."""
        x = self.edge + self._sign * self._promoted(y).exp()
        return _strictly_inside(x, *((self.edge, None) if self.side == "lower" else (None, self.edge)))

    def log_abs_det(self, x: Tensor) -> Tensor:
        """-log |x - edge|."""
        return -self.forward(x)


class Logit(Transform, kind="logit"):
    """Both edges at infinity: y = log(x - low) - log(high - x); the inverse stays strictly between them.

    Args:
        size: Number of columns D.
        low: Lower edge, one for all columns or one each; None takes it from the data as ``LogEdge`` does.
        high: Upper edge, likewise.
        margin: See ``LogEdge``.
        names: Names of the columns for error messages.

    Raises:
        ValueError: A low edge that is not below the high one, a margin that is not positive.
    """

    low: Tensor
    high: Tensor
    domain = "strictly between its edges"

    def __init__(
        self,
        size: int,
        *,
        low: float | Sequence[float] | None = None,
        high: float | Sequence[float] | None = None,
        margin: float = 1e-3,
        names: Sequence[str] | None = None,
    ) -> None:
        super().__init__(size, names=names)
        self.given_low, self.given_high, self.margin = low, high, _positive_margin(margin)
        lower = None if low is None else self._column(low, "low")
        upper = None if high is None else self._column(high, "high")
        self.register_buffer(
            "low", (self._column(0.0, "low") if upper is None else upper - 1) if lower is None else lower
        )
        self.register_buffer("high", self.low + 1 if upper is None else upper)
        if not bool((self.low < self.high).all()):
            msg = f"low must be below high, got {low} and {high}"
            raise ValueError(msg)

    def options(self) -> dict[str, Any]:
        """The given edges and the margin."""
        low = self.given_low if self.given_low is None else self.low.tolist()
        high = self.given_high if self.given_high is None else self.high.tolist()
        return {"low": low, "high": high, "margin": self.margin}

    def inside(self, x: Tensor) -> Tensor:
        """Strictly between the edges."""
        return (x > self.low) & (x < self.high)

    def _fit(self, x: Tensor, present: Tensor, weight: Tensor) -> None:
        low, high, filled = range_of_present(x, present)
        below, above = _margins(x, present, self.margin)
        if self.given_low is None:
            self.low = torch.where(filled, low - below, self.low)
        if self.given_high is None:
            self.high = torch.where(filled, high + above, self.high)

    def forward(self, x: Tensor) -> Tensor:
        """log(x - low) - log(high - x); NaN beyond the edges."""
        x = self._promoted(x)
        return (x - self.low).log() - (self.high - x).log()

    def inverse(self, y: Tensor) -> Tensor:
        """Strictly between the edges, measured from the nearer one to keep its precision."""
        y = self._promoted(y)
        step = (self.high - self.low) * torch.sigmoid(-y.abs())
        return _strictly_inside(torch.where(y < 0, self.low + step, self.high - step), self.low, self.high)

    def log_abs_det(self, x: Tensor) -> Tensor:
        """log(high - low) - log(x - low) - log(high - x)."""
        x = self._promoted(x)
        return (self.high - self.low).log() - (x - self.low).log() - (self.high - x).log()


class SignedLog(Transform, kind="signed_log"):
    """y = sign(x) log(1 + |x|/s): linear near zero, logarithmic in both tails, smooth once.

    Args:
        size: Number of columns D.
        scale: s, one for all columns or one each; None takes the median of |x|.
        names: Names of the columns for error messages.

    Raises:
        ValueError: A scale that is not positive.
    """

    scale: Tensor

    def __init__(
        self, size: int, *, scale: float | Sequence[float] | None = None, names: Sequence[str] | None = None
    ) -> None:
        super().__init__(size, names=names)
        self.given = scale
        self.register_buffer("scale", self._column(1.0 if scale is None else scale, "scale"))
        if not bool((self.scale > 0).all()):
            msg = f"scale must be positive, got {scale}"
            raise ValueError(msg)

    def options(self) -> dict[str, Any]:
        """The given scale."""
        return {"scale": self.given if self.given is None else self.scale.tolist()}

    def _fit(self, x: Tensor, present: Tensor, weight: Tensor) -> None:
        if self.given is None:
            used = present & (x != 0)
            median = torch.where(used, x.abs(), torch.nan).nanmedian(0).values
            # Where most values are next to nothing, the rest must not overflow.
            smallest = 1e-12 * torch.where(used, x.abs(), 0.0).amax(0)
            self.scale = torch.where(used.any(0), torch.maximum(median, smallest), 1.0)

    def forward(self, x: Tensor) -> Tensor:
        """sign(x) log(1 + |x|/s)."""
        x = self._promoted(x)
        # abs() and sign() have gradient 0 at 0, where this map has gradient 1/s.
        sign = torch.where(x < 0, -1.0, 1.0).to(x)
        return sign * torch.log1p(sign * x / self.scale)

    def inverse(self, y: Tensor) -> Tensor:
        """Scale times sign(y) (exp|y| - 1)."""
        y = self._promoted(y)
        sign = torch.where(y < 0, -1.0, 1.0).to(y)
        return self.scale * sign * torch.expm1(sign * y)

    def log_abs_det(self, x: Tensor) -> Tensor:
        """-log(s + |x|)."""
        return -(self.scale + self._promoted(x).abs()).log()
