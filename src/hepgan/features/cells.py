"""Images as lists of their non-empty cells: what a model must know of them, and what sums over them say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["CellList", "CellSums", "Total"]


class CellSums:
    """Numbers that follow from sums over the cells of an image, of all cells or of the first ones.

    There are the ``sum`` of the contents, their ``mean_x`` and ``spread_x`` along each axis ``x``; of axes
    ``eta`` and ``phi`` also the ``pt`` and the ``mass`` of the cells as massless momenta.

    Args:
        axes: The names of the axes.
        middles: The middle (L, A) of each cell along each axis.
    """

    def __init__(self, axes: Sequence[str], middles: Tensor) -> None:
        self.axes = tuple(axes)
        columns = [torch.ones_like(middles[:, 0])]
        for k in range(len(self.axes)):
            columns += [middles[:, k], middles[:, k].square()]
        self.names = ("sum", *(f"{what}_{a}" for a in self.axes for what in ("mean", "spread")))
        self.massless = {"eta", "phi"} <= set(self.axes)
        if self.massless:
            eta, phi = (middles[:, self.axes.index(a)] for a in ("eta", "phi"))
            columns += [phi.cos(), phi.sin(), eta.sinh(), eta.cosh()]
            self.names = (*self.names, "pt", "mass")
        self.weights = torch.stack(columns, 1)

    def totals(self, sums: Tensor) -> Tensor:
        """The numbers (..., names) of sums (..., Q) of contents times the cells' ``weights`` (L, Q)."""
        whole = sums[..., 0]
        each = sums / whole.clamp(min=torch.finfo(sums.dtype).tiny).unsqueeze(-1)
        found = [whole]
        for k in range(len(self.axes)):
            mean, square = each[..., 1 + 2 * k], each[..., 2 + 2 * k]
            found += [mean, (square - mean.square()).clamp(min=0.0).sqrt()]
        if self.massless:
            px, py, pz, energy = sums[..., -4:].unbind(-1)
            pt2 = px.square() + py.square()
            found += [pt2.sqrt(), (energy.square() - pt2 - pz.square()).clamp(min=0.0).sqrt()]
        return torch.stack(found, -1)


class Total(NamedTuple):
    """A number of the whole image that is a feature, by which the cells are guided.

    Attributes:
        name: Which of :attr:`CellSums.names` it is.
        feature: The number of the feature.
        knots: The number itself at values of the feature that are evenly spaced from ``-REACH`` to ``REACH``.
        spread: Its standard deviation in the training events.
    """

    name: str
    feature: int
    knots: tuple[float, ...]
    spread: float


@dataclass(frozen=True)
class CellList:
    """Features that are the non-empty cells of an image, the largest content first.

    Of cell ``k`` of the list, feature ``first + 2 k`` is which cell of the image it is, and the next one its
    content, both as they are. Features of cells that an event does not have are masked.

    Attributes:
        first: The number of the first feature.
        most: Cells of the longest list.
        axes: The names of the image's axes.
        middles: The middle of each cell of the image along each axis.
        least: The least content of a cell.
        largest: The largest content of a cell.
        totals: Numbers of the image that are features.
    """

    first: int
    most: int
    axes: tuple[str, ...]
    middles: tuple[tuple[float, ...], ...]
    least: float
    largest: float
    totals: tuple[Total, ...] = ()

    REACH = 6.0
    """Features of totals are taken to be within this."""

    @property
    def features(self) -> range:
        """The numbers of its features."""
        return range(self.first, self.first + 2 * self.most)

    def sums(self) -> CellSums:
        """What sums over cells say."""
        return CellSums(
            self.axes, torch.tensor(self.middles, dtype=torch.float64).reshape(-1, len(self.axes))
        )

    def scaled(self) -> Tensor:
        """The middles (L, A) of the cells, from -1 to 1 along each axis."""
        middles = torch.tensor(self.middles, dtype=torch.float64).reshape(-1, len(self.axes))
        low, high = middles.amin(0), middles.amax(0)
        half = torch.where(high > low, (high - low) / 2, 1.0)
        return (middles - (low + high) / 2) / half

    @property
    def span(self) -> float:
        """The logarithm of the largest content over the least."""
        return math.log(self.largest / self.least)
