"""Shifts, scales and rotations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from hepgan.features.transforms._moments import column_weights, moments, range_of_present
from hepgan.features.transforms.base import Transform

__all__ = ["PCA", "MinMax", "Standardise"]


class Standardise(Transform, kind="standardise"):
    """Weighted mean 0 and standard deviation 1 in every column; a constant column is only shifted."""

    mean: Tensor
    scale: Tensor

    def __init__(self, size: int, *, names: Sequence[str] | None = None) -> None:
        super().__init__(size, names=names)
        self.register_buffer("mean", torch.zeros(size, dtype=torch.float64))
        self.register_buffer("scale", torch.ones(size, dtype=torch.float64))

    def _fit(self, x: Tensor, present: Tensor, weight: Tensor) -> None:
        self.mean, self.scale = moments(x, present, weight)

    def forward(self, x: Tensor) -> Tensor:
        """(x - mean) / scale."""
        return (self._promoted(x) - self.mean) / self.scale

    def inverse(self, y: Tensor) -> Tensor:
        """Mean + scale y."""
        return self.mean + self.scale * self._promoted(y)

    def log_abs_det(self, x: Tensor) -> Tensor:
        """-log scale."""
        return -self.scale.log().expand_as(self._promoted(x))


class MinMax(Transform, kind="min_max"):
    """The data's range in every column onto [low, high]; values beyond it are extrapolated, not clamped.

    Args:
        size: Number of columns D.
        low: Image of the smallest value.
        high: Image of the largest value; a constant column comes to lie midway.
        names: Names of the columns for error messages.

    Raises:
        ValueError: ``low`` is not below ``high``.
    """

    center: Tensor
    scale: Tensor

    def __init__(
        self, size: int, *, low: float = -1.0, high: float = 1.0, names: Sequence[str] | None = None
    ) -> None:
        super().__init__(size, names=names)
        if not low < high:
            msg = f"low must be below high, got {low} and {high}"
            raise ValueError(msg)
        self.low, self.high = float(low), float(high)
        self.register_buffer("center", torch.zeros(size, dtype=torch.float64))
        self.register_buffer("scale", torch.ones(size, dtype=torch.float64))

    def options(self) -> dict[str, Any]:
        """The target range."""
        return {"low": self.low, "high": self.high}

    def _fit(self, x: Tensor, present: Tensor, weight: Tensor) -> None:
        low, high, filled = range_of_present(x, present)
        width = high - low
        self.scale = torch.where(filled & (width > 0), width / (self.high - self.low), 1.0)
        self.center = torch.where(filled, low + width / 2, 0.0)

    def forward(self, x: Tensor) -> Tensor:
        """Linear, with the data's range onto [low, high]."""
        return (self._promoted(x) - self.center) / self.scale + (self.low + self.high) / 2

    def inverse(self, y: Tensor) -> Tensor:
        """Linear, with [low, high] onto the data's range."""
        return (self._promoted(y) - (self.low + self.high) / 2) * self.scale + self.center

    def log_abs_det(self, x: Tensor) -> Tensor:
        """-log scale."""
        return -self.scale.log().expand_as(self._promoted(x))


class PCA(Transform, kind="pca"):
    """Principal components of the weighted covariance, largest first.

    Columns mix, so the constant log-determinant is spread evenly over them. Only events whose columns are all
    real enter the fit. A direction without spread is rotated but not scaled.

    Args:
        size: Number of columns D.
        whiten: Scale each component to standard deviation 1; otherwise only shift and rotate.
        names: Names of the columns for error messages.
    """

    mean: Tensor
    components: Tensor
    scale: Tensor

    def __init__(self, size: int, *, whiten: bool = True, names: Sequence[str] | None = None) -> None:
        super().__init__(size, names=names)
        self.whiten = whiten
        self.register_buffer("mean", torch.zeros(size, dtype=torch.float64))
        self.register_buffer("components", torch.eye(size, dtype=torch.float64))
        self.register_buffer("scale", torch.ones(size, dtype=torch.float64))

    def options(self) -> dict[str, Any]:
        """Whether components are scaled."""
        return {"whiten": self.whiten}

    def _fit(self, x: Tensor, present: Tensor, weight: Tensor) -> None:
        complete = present.all(1, keepdim=True)
        if not bool(complete.any()):
            return
        variances, vectors = self._spectrum(x, complete, weight)
        if variances[0] < -1e-9 * variances[-1]:
            # Negative weights can leave a covariance that is none; absolute ones never do.
            variances, vectors = self._spectrum(x, complete, weight.abs())
        variances, vectors = variances.flip(0), vectors.flip(1).T
        # The sign of an eigenvector is arbitrary; fixing it makes fits comparable between machines.
        largest = vectors.gather(1, vectors.abs().argmax(1, keepdim=True))
        self.components = vectors * largest.sign()
        self.mean = (column_weights(complete, weight) * x).sum(0)
        if self.whiten:
            spread = variances > 1e-14 * variances[0].clamp(min=0.0)
            self.scale = torch.where(spread & (variances > 0), variances, 1.0).sqrt()

    @staticmethod
    def _spectrum(x: Tensor, complete: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        w = column_weights(complete, weight)
        centred = torch.where(complete, x - (w * x).sum(0), 0.0)
        variances, vectors = torch.linalg.eigh(centred.T @ (w * centred))
        return variances, vectors

    def forward(self, x: Tensor) -> Tensor:
        """Components of x - mean, divided by their scales."""
        return (self._promoted(x) - self.mean) @ self.components.T / self.scale

    def inverse(self, y: Tensor) -> Tensor:
        """Mean + the sum of the components."""
        return (self._promoted(y) * self.scale) @ self.components + self.mean

    def log_abs_det(self, x: Tensor) -> Tensor:
        """The mean of -log scale in each column."""
        return -self.scale.log().mean().expand_as(self._promoted(x))
