"""A field with a shape as the list of its non-empty cells: sparse images and layers of calorimeters."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property, partial
from typing import Literal, Self

import torch
from pydantic import Field as Setting
from torch import Tensor

from hepgan.config import Config
from hepgan.errors import InputError, RecipeError
from hepgan.events.schema import Address, Field
from hepgan.features.cells import CellSums
from hepgan.features.draft import Draft
from hepgan.features.parts.base import Encoded, Part, TransformSpec
from hepgan.features.reading import Reading
from hepgan.features.variables import Column, DiscreteVariable, Gate
from hepgan.observables.images import is_angle

__all__ = ["CellsConfig", "CellsPart"]

HEADROOM = 1.05
"""A content may be so much larger than the largest of the training events."""


class CellsConfig(Config):
    """A field with a shape as the list of its non-empty cells, the largest content first.

    How many there are is a discrete variable. A cell of the list has two columns: which cell of the image it
    is, and its content. Models of kind ``sequence`` learn them.

    Attributes:
        field: The field, whose contents are 0 or positive.
        totals: Numbers of the whole image that are learned first, and by which the cells are then guided:
            ``sum``, ``mean_x`` and ``spread_x`` of an axis ``x``; of axes ``eta`` and ``phi`` also ``pt`` and
            ``mass`` of massless cells. Generated images have their own, which are close to these.
        transforms: Transforms of the totals, by name.
    """

    kind: Literal["cells"] = "cells"
    field: str
    totals: tuple[str, ...] = ()
    transforms: dict[str, TransformSpec] = Setting(default_factory=dict)


class CellsPart(Part):
    """The non-empty cells of a field with a shape, as a list.

    Contents come back as they are, no cell is there twice, and none has a content below the least of the
    training events.

    Attributes:
        settings: The recipe's settings.
        shape: The image's shape.
        axes: The names of its axes.
        middles: The middle of each cell along each axis.
        least: The least content of a cell.
        largest: The largest content of a cell.
        fewest: The least number of cells in an event.
        most: The largest number of cells in an event.
        spreads: The standard deviation of each total.
    """

    kind: Literal["cells"] = "cells"
    settings: CellsConfig
    shape: tuple[int, ...]
    axes: tuple[str, ...]
    middles: tuple[tuple[float, ...], ...]
    least: float
    largest: float
    fewest: int
    most: int
    spreads: tuple[float, ...] = ()

    # ------------------------------------------------------------------ learning

    @classmethod
    def learn(cls, settings: CellsConfig, reading: Reading) -> Self:
        """Finds how many cells there are, and what they hold.

        Args:
            settings: The recipe's settings.
            reading: The training events.

        Raises:
            InputError: If a content is negative or not finite.
            RecipeError: If no cell ever has a content, or there is no such total.
        """
        name, field = settings.field, reading.facts.schema.scalar(settings.field)
        contents = _contents(reading, name)
        for wrong, what in ((~torch.isfinite(contents), "not finite"), (contents < 0, "negative")):
            if bool(wrong.any()):
                msg = f"a cell of {name} is {what} ({int(wrong.any(1).sum())} events with such)"
                raise InputError(msg, branch=field.branch, entry=int(wrong.any(1).nonzero()[0]))
        positive = contents[contents > 0]
        if not len(positive):
            msg = f"blocks: all cells of {name} are empty in all events, so there is no list to learn"
            raise RecipeError(msg)
        number = (contents > 0).sum(1)
        axes, middles = _middles(field)
        sums = CellSums(axes, middles)
        for total in settings.totals:
            if total not in sums.names:
                msg = f"blocks: {name} has no total {total!r}; there are {', '.join(sums.names)}"
                raise RecipeError(msg)
        found = sums.totals(contents @ sums.weights.to(contents))
        chosen = found[:, [sums.names.index(t) for t in settings.totals]]
        spreads = (chosen - chosen.mean(0)).square().mean(0).sqrt()
        fewest, most = int(number.min()), int(number.max())
        count = f"{name}:cells"
        variables = []
        if most > fewest:
            values = tuple(float(v) for v in range(fewest, most + 1))
            variables = [DiscreteVariable.of(Address(None, None, count), values, ordinal=True)]
        columns = [Column(Address(None, None, f"{name}:{t}"), aliases=(t,)) for t in settings.totals]
        for k in range(most):
            gate = Gate(count, k + 1 - fewest, most - fewest) if k >= fewest else None
            for what in ("cell", "value"):
                columns.append(Column(Address(None, None, f"{name}:{k}.{what}"), gate=gate))
        return cls(
            columns=tuple(columns),
            variables=tuple(variables),
            settings=settings,
            shape=field.shape,
            axes=axes,
            middles=tuple(tuple(row) for row in middles.tolist()),
            least=float(positive.min()),
            largest=float(positive.max()) * HEADROOM,
            fewest=fewest,
            most=most,
            spreads=tuple(spreads.tolist()),
        )

    @property
    def transforms(self) -> Mapping[str, TransformSpec]:
        """The recipe's of the totals; columns of cells are as they are."""
        own = [c.name for c in self.columns[len(self.settings.totals) :]]
        return {**self.settings.transforms, **dict.fromkeys(own, "as_is")}

    def check_transforms(self) -> None:
        """Checks that the recipe's transforms are of its totals.

        Raises:
            RecipeError: If one is not.
        """
        for key in self.settings.transforms:
            if key not in self.settings.totals:
                msg = f"transforms: {key!r} is no total of {self.settings.field} in this block"
                raise RecipeError(msg)

    @cached_property
    def sums(self) -> CellSums:
        """What sums over cells say."""
        middles = torch.tensor(self.middles, dtype=torch.float64).reshape(-1, len(self.axes))
        return CellSums(self.axes, middles)

    # ------------------------------------------------------------------ there and back

    def read(self, reading: Reading) -> Encoded:
        """Columns (N, totals + 2 most) and the class (N, 1) of the number of cells."""
        name = self.settings.field
        contents = _contents(reading, name)
        number = (contents > 0).sum(1)
        wrong = ~(contents >= 0).all(1) | ((contents > 0) & (contents < self.least)).any(1)
        reading.refuse(wrong, partial(_outside, name, self.least))
        reading.refuse((contents > self.largest).any(1), partial(_above, name, self.largest))
        reading.refuse((number < self.fewest) | (number > self.most), partial(self._miscounted, number))
        ordered, places = torch.sort(contents, dim=1, descending=True, stable=True)
        pairs = torch.stack([places[:, : self.most].to(ordered), ordered[:, : self.most]], 2)
        totals = self.sums.totals(contents @ self.sums.weights.to(contents))
        chosen = totals[:, [self.sums.names.index(t) for t in self.settings.totals]]
        classes = reading.no_classes()
        if self.variables:
            classes = (number.clamp(self.fewest, self.most) - self.fewest).unsqueeze(1)
        return Encoded(torch.cat([chosen, pairs.flatten(1)], 1), classes)

    def _miscounted(self, number: Tensor, event: int) -> InputError:
        msg = (
            f"{int(number[event])} cells of {self.settings.field} are not empty, but {self.fewest} to "
            f"{self.most} in the events that were learned from"
        )
        return InputError(msg, branch=self.settings.field, entry=event)

    def write(self, encoded: Encoded, draft: Draft) -> None:
        """Puts in the field."""
        pairs = encoded.columns[:, len(self.settings.totals) :].reshape(len(encoded.columns), -1, 2)
        number = encoded.classes + self.fewest if self.variables else self.fewest
        there = torch.arange(self.most, device=pairs.device).expand(len(pairs), -1) < number
        places = torch.where(there, pairs[:, :, 0].detach().round(), 0.0).to(torch.int64)
        places = places.clamp(0, math.prod(self.shape) - 1)
        contents = torch.where(there, pairs[:, :, 1].clamp(min=self.least), 0.0)
        whole = contents.new_zeros(len(pairs), math.prod(self.shape)).scatter_add(1, places, contents)
        draft.put_field(None, self.settings.field, whole.reshape(-1, 1, *self.shape))


def _contents(reading: Reading, name: str) -> Tensor:
    """The contents (N, L) of a field, in float64."""
    return reading.events.scalars[name].flatten(1).to(torch.float64)


def _middles(field: Field) -> tuple[tuple[str, ...], Tensor]:
    """The names of a field's axes, and the middle (L, A) of each cell along each; angles in radians."""
    names, places = [], []
    for k, size in enumerate(field.shape):
        middle = torch.arange(size, dtype=torch.float64)
        names.append(field.axes[k].name if field.axes else f"index{k}")
        if field.axes:
            axis = field.axes[k]
            middle = axis.low + (middle + 0.5) * ((axis.high - axis.low) / size)
            middle = middle * (math.pi / 180) if is_angle(axis.name) and axis.unit == "deg" else middle
        places.append(middle)
    return tuple(names), torch.stack([m.reshape(-1) for m in torch.meshgrid(*places, indexing="ij")], 1)


def _outside(name: str, least: float, event: int) -> InputError:
    msg = f"a cell of {name} is negative, or has less than the least content that was learned, {least:g}"
    return InputError(msg, branch=name, entry=event)


def _above(name: str, largest: float, event: int) -> InputError:
    msg = f"a cell of {name} has more than the largest content that is possible, {largest:g}"
    return InputError(msg, branch=name, entry=event)
