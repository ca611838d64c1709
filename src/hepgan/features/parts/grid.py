"""Fields with a shape, a column for each cell: images, layers of a calorimeter, waveforms."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property, partial
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field as Setting
from pydantic import field_validator
from torch import Tensor

from hepgan.config import Config
from hepgan.errors import InputError, RecipeError
from hepgan.events.schema import Address, Field
from hepgan.features.draft import Draft
from hepgan.features.parts.base import Encoded, Part, TransformSpec
from hepgan.features.precise import constant
from hepgan.features.reading import Reading
from hepgan.features.space import Grid
from hepgan.features.transforms import QuantileTable, Rectified
from hepgan.features.variables import Column

__all__ = ["GridConfig", "GridPart"]


class GridConfig(Config):
    """Fields with a shape, such as images, a column for each of their cells.

    Attributes:
        fields: One field, or several of the same shape, which are the channels of one image.
        sums: Whether the sum of each field's contents is learned as a number of its own, which the cells then
            share, so that it comes out as exactly as that number: of contents that are not negative.
        transforms: Transforms by field, of all its cells; if there is none, ``rectified`` where no content is
            negative, so that empty cells are empty, else ``quantile_table``. With ``shared: true`` all cells
            of a field are treated alike. That of the sum is called ``Image:sum``.
    """

    kind: Literal["grid"] = "grid"
    fields: tuple[str, ...] = Setting(min_length=1)
    sums: bool = False
    transforms: dict[str, TransformSpec] = Setting(default_factory=dict)

    @field_validator("fields", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("fields")
    @classmethod
    def _fields_are_different(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            if value.count(text) > 1:
                msg = f"{text} is there twice"
                raise ValueError(msg)
        return value


class Cells(Config):
    """The cells of a field.

    Attributes:
        name: The field.
        shape: How many there are along each axis.
        closed: Of each axis whether its last cell is next to its first.
        transform: What becomes of the contents.
        least: The least content that is above 0; 0 if none is.
        low: The least content.
        high: The largest content.
        whole: Whether contents are whole numbers.
        constants: Numbers of cells whose content is always the same, and what it is.
    """

    name: str
    shape: tuple[int, ...]
    closed: tuple[bool, ...]
    transform: TransformSpec
    least: float
    low: float
    high: float
    whole: bool = False
    constants: tuple[tuple[int, float], ...] = ()

    @property
    def number(self) -> int:
        """How many cells there are."""
        return math.prod(self.shape)

    @property
    def rectified(self) -> bool:
        """Whether what is below 0 is an empty cell."""
        first = self.transform[0] if isinstance(self.transform, list) else self.transform
        kind = first if isinstance(first, str) else first.get("kind")
        return kind == Rectified.kind

    @cached_property
    def fixed(self) -> tuple[tuple[bool, ...], tuple[float, ...]]:
        """Of each cell whether its content is always the same, and what it is."""
        known = dict(self.constants)
        return tuple(k in known for k in range(self.number)), tuple(
            known.get(k, 0.0) for k in range(self.number)
        )

    def names(self) -> list[str]:
        """What the cells are called: ``Image[0][3]``."""
        found = [self.name]
        for size in self.shape:
            found = [f"{name}[{k}]" for name in found for k in range(size)]
        return found


class GridPart(Part):
    """Fields with a shape: the contents of all cells as columns, in the order of the file.

    An empty cell of a field that is rectified has minus a random number between 0 and 1 for a column, and
    whatever is not positive decodes to an empty cell. Whole numbers are rounded up, so a random number is
    taken off each: counts stay counts. Random numbers are those of the event, wherever it stands. A cell
    whose content never varies has a random column, so that networks see a complete image, and decodes to that
    content. Where sums are learned, they come first, and cells are their shares.

    Attributes:
        settings: The recipe's settings.
        cells: The cells of each field.
    """

    first: ClassVar[bool] = False

    kind: Literal["grid"] = "grid"
    # Thousands, which follow from the cells.
    columns: tuple[Column, ...] = Setting(default=(), exclude=True)
    settings: GridConfig
    cells: tuple[Cells, ...]

    def model_post_init(self, context: Any, /) -> None:
        """Makes the columns of the cells."""
        super().model_post_init(context)
        sums = [Column(Address(None, None, _sum_of(c.name)), low=0.0) for c in self.cells]
        columns = [
            Column(Address(None, None, name), aliases=(cells.name,), rounded=cells.whole, cell=True)
            for cells in self.cells
            for name in cells.names()
        ]
        self.__dict__["columns"] = (*sums, *columns) if self.settings.sums else tuple(columns)

    @classmethod
    def learn(cls, settings: GridConfig, reading: Reading) -> Self:
        """Finds out what the cells hold.

        Args:
            settings: The recipe's settings.
            reading: The training events.

        Raises:
            RecipeError: If fields are of different shapes, or cannot be learned as contents of cells.
        """
        found = [_cells(name, settings, reading) for name in settings.fields]
        for other in found[1:]:
            if other.shape != found[0].shape:
                msg = (
                    f"blocks: {found[0].name} and {other.name} are of the shapes {found[0].shape} and "
                    f"{other.shape}; the channels of a grid have the same shape"
                )
                raise RecipeError(msg)
        return cls(settings=settings, cells=tuple(found))

    @property
    def transforms(self) -> Mapping[str, TransformSpec]:
        """Those of the fields, the recipe's or the usual ones; of sums the recipe's."""
        return {**self.settings.transforms, **{c.name: c.transform for c in self.cells}}

    @property
    def grid(self) -> Grid | None:
        """The image, with a channel for each field."""
        one, number = self.cells[0], len(self.cells)
        return Grid(one.shape, number, number if self.settings.sums else 0, closed=one.closed)

    def check_transforms(self) -> None:
        """Checks that the recipe's transforms are of its fields.

        Raises:
            RecipeError: If one is not.
        """
        fields = self.settings.fields
        names = (*fields, *map(_sum_of, fields)) if self.settings.sums else fields
        for key in self.settings.transforms:
            if key not in names:
                known = ", ".join(names)
                msg = f"transforms: no field {key!r} in this grid; there are {known}"
                raise RecipeError(msg)

    def read(self, reading: Reading) -> Encoded:
        """Columns (N, D)."""
        columns, sums = [], []
        for cells in self.cells:
            values = _contents(reading, cells.name)
            noise = reading.noise_of(cells.name, cells.number)
            if cells.rectified:
                reading.refuse((values < 0).any(1), partial(_negative, cells.name))
            if self.settings.sums:
                sums.append(values.sum(1, keepdim=True))
                values = values / torch.where(sums[-1] > 0, sums[-1], 1.0)
            if cells.whole:
                values = values - noise
            elif cells.rectified:
                values = torch.where(values > 0, values, -noise)
            if cells.constants:
                same = constant(cells.fixed[0], values.device, torch.bool)
                values = torch.where(same, -noise, values)
            columns.append(values)
        return Encoded(torch.cat([*sums, *columns], 1), reading.no_classes())

    def write(self, encoded: Encoded, draft: Draft) -> None:
        """Puts in the fields."""
        start = len(self.cells) if self.settings.sums else 0
        for number, cells in enumerate(self.cells):
            values = encoded.columns[:, start : start + cells.number]
            start += cells.number
            if cells.constants:
                same = constant(cells.fixed[0], values.device, torch.bool)
                values = torch.where(same, -torch.inf if self.settings.sums else 0.0, values)
            if self.settings.sums:
                values = _shared(values, encoded.columns[:, number : number + 1], cells.least)
            values = torch.relu(values) if cells.rectified else values
            if cells.whole:
                values = values.ceil().clamp(cells.low, cells.high)
            if cells.constants:
                values = torch.where(same, constant(cells.fixed[1], values.device), values)
            values = values.reshape(-1, 1, *cells.shape)
            draft.put_field(None, cells.name, values.to(torch.int64) if cells.whole else values)


def _contents(reading: Reading, name: str) -> Tensor:
    """The contents (N, cells) of a field, in float64."""
    return reading.events.scalars[name].flatten(1).to(torch.float64)


def _sum_of(name: str) -> str:
    return f"{name}:sum"


def _shared(columns: Tensor, total: Tensor, least: float) -> Tensor:
    """The contents (N, cells) with a sum (N, 1), in proportion to what is positive, none below the least.

    If nothing is positive, all is in the cell that is nearest to it; where the sum is not enough for all
    cells with the least content, those with the largest shares have some.
    """
    shares = torch.relu(columns)
    nothing = ~(shares > 0).any(1, keepdim=True)
    if bool(nothing.any()):
        nearest = torch.zeros_like(shares).scatter(1, columns.argmax(1, keepdim=True), 1.0)
        shares = torch.where(nothing, nearest, shares)
    there = total > 0
    total = total.clamp(min=least)
    filled = shares > 0
    many = (filled.sum(1) * least > total[:, 0]).nonzero()[:, 0]
    if len(many):
        rank = shares[many].detach().argsort(1, descending=True).argsort(1)
        most = torch.floor(total[many] / least * (1.0 + 1e-9)).clamp(min=1.0)
        shares = shares.index_put((many,), torch.where(rank < most, shares[many], 0.0))
        filled = shares > 0
    contents = shares / shares.sum(1, keepdim=True) * total
    above = torch.where(filled, torch.relu(contents - least), 0.0)
    rest = above.sum(1, keepdim=True)
    room = total - least * filled.sum(1, keepdim=True)
    scaled = above * (room / torch.where(rest > 0, rest, 1.0)).clamp(min=0.0)
    return torch.where(filled & there, least + scaled, 0.0)


def _negative(name: str, event: int) -> InputError:
    msg = f"a cell of {name} is negative, and no content was in the events that were learned from"
    return InputError(msg, branch=name, entry=event)


def _cells(name: str, settings: GridConfig, reading: Reading) -> Cells:
    field = reading.facts.schema.scalar(name)
    values = _contents(reading, name)
    bad = ~torch.isfinite(values).all(1)
    if bool(bad.any()):
        msg = f"a cell of {name} is not finite ({int(bad.sum())} events with such)"
        raise InputError(msg, branch=field.branch, entry=int(bad.nonzero()[0]))
    least, most = values.amin(0), values.amax(0)
    low, high = float(least.min()), float(most.max())
    usual: TransformSpec = Rectified.kind if low >= 0 else QuantileTable.kind
    same = least == most
    positive = values[values > 0]
    if settings.sums:
        if low < 0 or not field.dtype.startswith("float"):
            kind = "negative" if low < 0 else "whole numbers"
            msg = f"blocks: contents of {name} are {kind}, which have no sums to share; leave sums out"
            raise RecipeError(msg)
        same &= most == 0
    cells = Cells(
        name=name,
        shape=field.shape,
        closed=_closed(field),
        transform=settings.transforms.get(name, usual),
        least=float(positive.min()) if len(positive) else 0.0,
        low=low,
        high=high,
        whole=not field.dtype.startswith("float"),
        constants=tuple((int(k), float(least[k])) for k in same.nonzero()[:, 0]),
    )
    if cells.rectified and low < 0:
        msg = f"transform of {name}: rectified is for contents that are not negative, and one is {low:g}"
        raise RecipeError(msg)
    return cells


def _closed(field: Field) -> tuple[bool, ...]:
    """Of each axis whether it is the full circle of an azimuth."""
    axes = field.axes or (None,) * len(field.shape)
    turn = 2 * math.pi
    return tuple(
        axis is not None and "phi" in axis.name.lower() and abs(axis.high - axis.low - turn) < 1e-3 * turn
        for axis in axes
    )
