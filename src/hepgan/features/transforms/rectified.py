"""Contents of cells, most of which may be empty."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from hepgan.features.transforms.base import Transform
from hepgan.features.transforms.table import QuantileTable

__all__ = ["Rectified"]

_RARE = 1e-9
"""The least share of empty cells, so that one has a place even where none was in the data."""

_FARTHEST = 30.0
"""Scores beyond this have no probability in double precision."""


class Rectified(Transform, kind="rectified"):
    """Maps contents so that everything below a threshold is an empty cell, as a ReLU does.

    Columns hold positive contents, and for each empty cell minus a number between 0 and 1, which is random
    but belongs to the event. With ``zeros: spread`` empty cells have a normal distribution's part below a
    threshold and contents, by their quantiles, the part above, so that each column is normal. With ``zeros:
    kept`` an empty cell is 0, and contents are divided by one number for all columns; so a GAN may learn, and
    what it makes that is negative is empty.

    No content that the inverse gives is below the least one in the data.

    Reference for ``kept``: L. de Oliveira, M. Paganini and B. Nachman, Learning particle physics by example:
    location-aware generative adversarial networks for physics synthesis, arXiv:1701.05927.

    Args:
        size: Number of columns D.
        zeros: ``spread`` or ``kept``.
        shared: Whether all columns have one threshold and the same quantiles, those of all together.
        log: Whether to take the logarithm of 1 plus the ratio to the least content first (``kept``).
        knots: Quantiles of each column (``spread``).
        names: Names of the columns for error messages.

    Raises:
        ValueError: An option that ``zeros`` does not have.
    """

    domain = "above -1"
    empty: Tensor
    least: Tensor
    scale: Tensor

    def __init__(
        self,
        size: int,
        *,
        zeros: Literal["spread", "kept"] = "spread",
        shared: bool = False,
        log: bool = False,
        knots: int = 200,
        names: Sequence[str] | None = None,
    ) -> None:
        super().__init__(size, names=names)
        if zeros not in ("spread", "kept"):
            msg = f"zeros are spread or kept, not {zeros!r}"
            raise ValueError(msg)
        if log and zeros == "spread":
            msg = "log is for zeros that are kept: quantiles need none"
            raise ValueError(msg)
        self.options = {"zeros": zeros, "shared": shared, "log": log, "knots": knots}
        self.kept = zeros == "kept"
        self.table = None if self.kept else QuantileTable(size, knots=knots, shared=shared)
        self.register_buffer("empty", torch.full((size,), 0.5, dtype=torch.float64))
        self.register_buffer("least", torch.zeros((), dtype=torch.float64))
        self.register_buffer("scale", torch.ones((), dtype=torch.float64))

    def inside(self, x: Tensor) -> Tensor:
        """Finite, and above -1."""
        return torch.isfinite(x) & (x > -1.0)

    def _fit(self, x: Tensor, present: Tensor, weight: Tensor) -> None:
        counts = present & (weight != 0).unsqueeze(1)
        filled = counts & (x > 0)
        sizes = torch.where(counts, weight.unsqueeze(1), 0.0)
        total, lit = sizes.sum(0), torch.where(filled, sizes, 0.0).sum(0)
        if self.options["shared"]:
            total, lit = total.sum().expand(self.size), lit.sum().expand(self.size)
        share = 1.0 - (lit / torch.where(total > 0, total, 1.0)).clamp(0.0, 1.0)
        never = ~(filled.any() if self.options["shared"] else filled.any(0))
        # Weights of either sign may cancel; what was seen may be seen again.
        number = int(counts.any(1).sum())
        share = share.clamp(_RARE, 1.0 - 0.5 / max(number, 1)).masked_fill(never, 1.0)
        self.empty.copy_(torch.where(counts.any(0), share, self.empty))
        if not bool(filled.any()):
            return
        contents = x[filled]
        self.least.copy_(contents.min())
        if self.table is None:
            scaled = self._scaled(contents)
            self.scale.copy_(scaled.square().mean().sqrt())
        else:
            self.table.fit(x, filled, weight)

    def _scaled(self, x: Tensor) -> Tensor:
        return torch.log1p(x / self.least) if self.options["log"] else x

    def forward(self, x: Tensor) -> Tensor:
        """Latent numbers."""
        x = self._promoted(x)
        filled = x > 0
        if self.table is None:
            return torch.where(filled, self._scaled(torch.where(filled, x, 1.0)) / self.scale, 0.0)
        inner = self.table(torch.where(filled, x, self.least)).clamp(-_FARTHEST, _FARTHEST)
        above = -torch.special.ndtri((1.0 - self.empty) * torch.special.ndtr(-inner))
        below = torch.special.ndtri(self.empty * (1.0 + torch.where(filled, 0.0, x)))
        return torch.where(filled, above, below)

    def inverse(self, y: Tensor) -> Tensor:
        """Contents, at least the least; for empty cells numbers that are 0 or negative."""
        y = self._promoted(y)
        if self.table is None:
            x = y * self.scale
            if self.options["log"]:
                x = torch.where(x > 0, self.least * torch.expm1(x.clamp(0.0, 700.0)), x)
            # Rounding must not empty the least of all cells.
            there = x >= self.least * (1.0 - 1e-6)
            return torch.where(there & (x > 0), torch.maximum(x, self.least), x.clamp(max=0.0))
        rest = 1.0 - self.empty
        upper = torch.special.ndtr(-y)
        filled = upper < rest
        share = torch.where(filled, upper, 0.5 * rest) / torch.where(rest > 0, rest, 1.0)
        share = share.clamp(1e-300, 1.0 - 1e-15)
        contents = torch.maximum(self.table.inverse(-torch.special.ndtri(share)), self.least)
        below = (torch.special.ndtr(torch.where(filled, 0.0, y)) / self.empty - 1.0).clamp(max=0.0)
        return torch.where(filled, contents, below)

    def log_abs_det(self, x: Tensor) -> Tensor:
        """Log of the slope; 0 where empty cells are kept."""
        x = self._promoted(x)
        filled = x > 0
        y = self.forward(x)
        if self.table is None:
            slope = -(self.least + x).log() if self.options["log"] else torch.zeros_like(x)
            return torch.where(filled, slope - self.scale.log(), 0.0)
        contents = torch.where(filled, x, self.least)
        inner = self.table(contents)
        above = torch.log1p(-self.empty) + 0.5 * (y.square() - inner.square())
        below = self.empty.log() + 0.5 * y.square() + 0.918938533204672742
        return torch.where(filled, above + self.table.log_abs_det(contents), below)
