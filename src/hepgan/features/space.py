"""What a model must know of the features that it makes."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hepgan.features.tokens import Tokens

__all__ = ["FeatureSpace", "Grid"]


@dataclass(frozen=True)
class Grid:
    """Features that are the cells of an image, for networks that treat neighbours alike.

    The image of an event is ``x[:, first : first + cells]``, with the channel as the slowest index and the
    last axis as the fastest.

    Attributes:
        shape: Cells along each axis.
        channels: Numbers of each cell.
        first: The number of the first feature.
        closed: Of each axis whether its last cell is next to its first, as on a circle; none is if empty.

    Raises:
        ValueError: If there is no cell, or ``closed`` is not of the same axes.
    """

    shape: tuple[int, ...]
    channels: int = 1
    first: int = 0
    closed: tuple[bool, ...] = ()

    def __post_init__(self) -> None:
        closed = tuple(self.closed) or (False,) * len(self.shape)
        object.__setattr__(self, "shape", tuple(self.shape))
        object.__setattr__(self, "closed", closed)
        numbers = (*self.shape, self.channels)
        if not self.shape or min(numbers) < 1 or self.first < 0 or len(closed) != len(self.shape):
            msg = f"no grid of cells: {self.shape}, {self.channels} channels from {self.first}, {closed}"
            raise ValueError(msg)

    @property
    def cells(self) -> int:
        """Its number of features."""
        return self.channels * math.prod(self.shape)


@dataclass(frozen=True)
class FeatureSpace:
    """The features of an event, and what is given of them.

    Attributes:
        size: Number of features D.
        context_size: Columns of the context C, which features are conditional on.
        periodic: Numbers of the features that are angles in (-pi, pi].
        tokens: Which features belong to which object, for networks of sets.
        grid: Which features are the cells of an image.

    Raises:
        ValueError: If a size is negative, or the grid has more cells than there are features.
    """

    size: int
    context_size: int = 0
    periodic: tuple[int, ...] = ()
    tokens: tuple[Tokens, ...] = ()
    grid: Grid | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "periodic", tuple(self.periodic))
        object.__setattr__(self, "tokens", tuple(self.tokens))
        if self.size < 0 or self.context_size < 0:
            msg = f"no space of {self.size} features and {self.context_size} columns of context"
            raise ValueError(msg)
        if self.grid is not None and self.grid.first + self.grid.cells > self.size:
            msg = f"a grid of {self.grid.cells} cells from {self.grid.first} in {self.size} features"
            raise ValueError(msg)

    def of_noise(self, size: int) -> FeatureSpace:
        """The space of the noise that a model makes these features of, given the same context.

        Where each feature has its noise, its objects and its image do, too; noise has no angles.

        Args:
            size: Noise per event.
        """
        if size != self.size:
            return FeatureSpace(size, self.context_size)
        return FeatureSpace(size, self.context_size, tokens=self.tokens, grid=self.grid)
