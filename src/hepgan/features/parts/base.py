"""What the parts of a representation promise."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from hepgan.errors import RecipeError
from hepgan.events.batch import EventBatch
from hepgan.features.config import TransformSpec
from hepgan.features.layout import Column, Layout
from hepgan.features.precise import PreciseModule
from hepgan.features.view import Builder, View

__all__ = ["Block", "Variable", "circular_mean"]


class Variable(NamedTuple):
    """A discrete number that a block needs.

    Attributes:
        name: Its name.
        values: The physical value of each class.
        collection: The collection of its object; None for a scalar.
        slot: Which object.
        ordinal: Whether neighbouring classes are alike.
    """

    name: str
    values: tuple[float, ...]
    collection: str | None
    slot: int | None
    ordinal: bool


class Block(PreciseModule):
    """A part of a representation: some objects or fields as columns and discrete variables, and back.

    ``learn`` finds out from events what ``set_up`` needs, as JSON can hold it; ``set_up`` fixes ``columns``
    and ``variables``. Constants are buffers outside ``state_dict``, since they follow from what was learned.

    Args:
        layout: What is known of the collections.
        transforms: The recipe's transforms, by column.
        pca: Whether to decorrelate the columns.

    Attributes:
        structured: Whether classes decide which columns exist beyond their gates (``present``), and some
            events can be impossible (``valid``).
    """

    structured: ClassVar[bool] = False

    def __init__(self, layout: Layout, transforms: dict[str, TransformSpec], pca: bool = False) -> None:
        super().__init__()
        self.layout, self.transforms, self.pca = layout, transforms, pca
        self.collection = ""
        self.columns: tuple[Column, ...] = ()
        self.variables: tuple[Variable, ...] = ()

    @abstractmethod
    def learn(self, view: View) -> dict[str, Any]:
        """What has to be known of the events."""

    @abstractmethod
    def set_up(self, learned: dict[str, Any]) -> None:
        """Fixes the columns and variables."""

    @abstractmethod
    def encode(self, view: View) -> tuple[Tensor, Tensor]:
        """Columns (N, D) in float64, meaningless where they don't exist; classes (N, K)."""

    @property
    def optional(self) -> frozenset[str]:
        """Names of columns that the block may have for other events, so that a recipe may name them."""
        return frozenset()

    def check_transforms(self) -> None:
        """Checks that the recipe's transforms are of columns that the block can have.

        Raises:
            RecipeError: If one is not.
        """
        known = {key.rsplit(".", 1)[-1] for c in self.columns for key in c.keys} | self.optional
        for key in self.transforms:
            if key.rsplit(".", 1)[-1] not in known:
                close = get_close_matches(key.rsplit(".", 1)[-1], known, 1)
                hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(sorted(known))}"
                msg = f"transforms: no column {key!r}; {hint}"
                raise RecipeError(msg)

    def arranged(self, view: View) -> View:
        """The events as the block wants to read them, with objects in another order."""
        return view

    def attach(self, names: Sequence[str], values: Sequence[Sequence[float]]) -> None:
        """Tells the names and values of all discrete variables."""

    @property
    def hint_count(self) -> int:
        """Columns of ``hints``."""
        return 0

    def hints(self, discrete: Tensor, own: Tensor, count: Tensor) -> Tensor:
        """Numbers (N, H) that follow from the classes (N, K), and that help networks to understand them."""
        return discrete.new_zeros((len(discrete), 0), dtype=torch.float64)

    def present(self, own: Tensor, count: Tensor) -> Tensor | None:
        """Which columns (N, D) exist, by the block's own classes; None if their gates tell."""
        return None

    def valid(self, events: EventBatch) -> Tensor | None:
        """Which events (N,) can be; None if all can."""
        return None

    @abstractmethod
    def decode(self, columns: Tensor, discrete: Tensor, builder: Builder) -> None:
        """Puts what columns (N, D) and classes (N, K) stand for into the builder."""


def circular_mean(angles: Tensor, present: Tensor | None) -> list[float]:
    """The mean direction of each column of (N, M), opposite which it is best cut; 0 if flat."""
    weight = torch.ones_like(angles) if present is None else present.to(angles.dtype)
    x = (weight * torch.where(weight > 0, angles, 0.0).cos()).sum(0)
    y = (weight * torch.where(weight > 0, angles, 0.0).sin()).sum(0)
    number = weight.sum(0)
    # Beyond 5 standard deviations of the resultant of random directions.
    directed = (x**2 + y**2).sqrt() > 5 * (number / 2).sqrt()
    return [float(a) for a in torch.where(directed, torch.atan2(y, x), 0.0)]
