"""The whole way from random numbers to the columns of a file, as one function of tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from hepgan.events import EventBatch, EventSchema
from hepgan.events.grids import rounded
from hepgan.events.schema import Field, Kind
from hepgan.features import FeatureBatch
from hepgan.generator.ensembles import MEMBER
from hepgan.generator.parts import Parts
from hepgan.models import BLOCK
from hepgan.models.discrete import DiscreteModel

__all__ = ["VALID", "Chain", "Column", "Input"]

VALID = "valid"
"""The column that tells which events hepgan would not draw anew."""

CONDITION = "condition_"
"""What stands before the name of a condition that is given, since the events have it, too."""

_TYPES: dict[str, torch.dtype] = {
    "float16": torch.float16,
    "float32": torch.float32,
    "float64": torch.float64,
    "bool": torch.bool,
    **{name: getattr(torch, name) for name in ("int8", "uint8", "int16", "int32", "int64")},
}
"""What columns are in; other types of files are int64."""


@dataclass(frozen=True)
class Input:
    """What an exported generator is given.

    Attributes:
        name: Its name.
        dtype: The type of its numbers.
        width: Numbers of each event; None where it is one number, of the shape (N,).
        what: What it has to be, in words.
        columns: What each of several numbers is for.
        values: The values that a condition may have; None where it may have any.
        range: The least and the largest value of a condition in the training events.
    """

    name: str
    dtype: torch.dtype
    width: int | None
    what: str
    columns: tuple[str, ...] = ()
    values: tuple[bool | int | float | str, ...] | None = None
    range: tuple[float, float] | None = None

    def example(self, size: int, generator: torch.Generator) -> Tensor:
        """Such numbers (size, width), or (size,)."""
        shape = (size,) if self.width is None else (size, self.width)
        if self.name == "noise":
            return torch.randn(shape, generator=generator, dtype=self.dtype)
        share = torch.rand(shape, generator=generator, dtype=torch.float64)
        if self.name == "uniform":
            return share
        if self.values is not None:
            return (share * len(self.values)).long()
        low, high = self.range or (0.0, 1.0)
        found = low + share * (high - low)
        return found if self.dtype.is_floating_point else found.round().to(self.dtype)


@dataclass(frozen=True)
class Column:
    """What an exported generator makes: a branch of the file.

    Attributes:
        name: The branch.
        dtype: The type of its numbers.
        objects: The most objects that it has numbers of; None for a number of the event.
        field: What hepgan knows of it; None of counts and flags.
        count: The column with the number of objects, where that varies.
        what: What it is, in words.
    """

    name: str
    dtype: torch.dtype
    objects: int | None = None
    field: Field | None = None
    count: str | None = None
    what: str = ""


class Chain(nn.Module):
    """A generator as a function of its random numbers and conditions: columns of events.

    It is what ``generate`` does with one block, by the same code, but for drawing anew.

    Args:
        parts: What the generator has learned, without given collections.
    """

    def __init__(self, parts: Parts) -> None:
        super().__init__()
        self.parts = parts
        for name, module in parts.modules.items():
            if name != "critics":
                setattr(self, f"part_{name}", module)
        for k in range(parts.members):
            cast("DiscreteModel", parts.member(k).discrete).prepared()
        self.inputs = tuple(_inputs(parts))
        self.judges = parts.representation.restricted
        self.columns = tuple(_columns(parts.schema, judged=self.judges))

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The columns of N events.

        Args:
            tensors: What :attr:`inputs` says, in that order.
        """
        parts = self.parts
        by_name = dict(zip((i.name for i in self.inputs), tensors, strict=True))
        noise, member = by_name["noise"], by_name.get(f"{CONDITION}{MEMBER}")
        size = noise.shape[0]
        numbers = by_name.get("uniform", noise.new_zeros((size, 0), dtype=torch.float64))
        classes = numbers[:, : len(parts.representation.variables)]
        azimuth = parts.azimuth(numbers[:, -1]) if parts.representation.has_azimuth else None
        values = {n: by_name[CONDITION + n] for n in parts.representation.scalar_conditions}
        condition = numbers.new_zeros((size, 0))
        if values:
            condition = parts.representation.encode_condition(values, size)
        features = parts.features(parts.given(condition, classes, None, member), noise, member)
        events = parts.decode(features, azimuth, member)
        valid = self._valid(events, features) if self.judges else None
        return tuple(_stored(events, valid))

    def _valid(self, events: EventBatch, features: FeatureBatch) -> Tensor:
        representation = self.parts.representation
        return representation.valid(events) & representation.reaches(features)

    def example(self, size: int = BLOCK, seed: int = 0) -> tuple[Tensor, ...]:
        """Inputs of events, as they may be."""
        generator = torch.Generator().manual_seed(seed)
        return tuple(i.example(size, generator) for i in self.inputs)


def _inputs(parts: Parts) -> list[Input]:
    representation = parts.representation
    found = [Input("noise", torch.float32, parts.model.noise_size, "standard normal numbers")]
    uses = [f"class of {v.name}" for v in representation.variables]
    uses += ["azimuth of the event"] if representation.has_azimuth else []
    if uses:
        what = "uniform numbers in [0, 1)"
        found.append(Input("uniform", torch.float64, len(uses), what, columns=tuple(uses)))
    ranges = parts.condition_ranges
    for name in representation.scalar_conditions:
        field = representation.schema.scalar(name)
        values = field.values if field.kind is Kind.CATEGORY else None
        texts = field.dtype == "string"
        what = "the number of one of the values, from 0" if texts else "a condition, in the file's unit"
        dtype = torch.float64 if np.dtype("int64" if texts else field.dtype).kind == "f" else torch.int64
        found.append(Input(CONDITION + name, dtype, None, what, values=values, range=ranges.get(name)))
    if parts.members > 1:
        what = f"the member that makes the event, 0 ... {parts.members - 1}; in turn, all have equal shares"
        found.append(Input(f"{CONDITION}{MEMBER}", torch.int64, None, what, range=(0, parts.members - 1)))
    return found


def _columns(schema: EventSchema, *, judged: bool) -> list[Column]:
    found = []
    for c in schema.collections:
        single = c.layout == "single"
        varies = not c.fixed
        counter = (c.counter or f"n{c.name}") if varies else None
        if counter is not None:
            found.append(Column(counter, torch.int64, what=f"number of {c.name}"))
        for f in c.fields:
            name = f.branch if len(f.branches) == 1 else f"{c.name}_{f.name}"
            objects = None if single else c.max_count
            found.append(Column(name, _type(f), objects, f, counter, f"{f.name} of {c.name}"))
    found += [Column(f.branch, _type(f), None, f, what=f.title or f.name) for f in schema.scalars]
    if judged:
        found.append(Column(VALID, torch.bool, what="whether the event is one to keep; draw others anew"))
    return found


def _type(field: Field) -> torch.dtype:
    return _TYPES.get("int64" if field.dtype == "string" else np.dtype(field.dtype).name, torch.int64)


def _stored(events: EventBatch, valid: Tensor | None) -> Sequence[Tensor]:
    """The columns of a batch in the order of :func:`_columns`, rounded as a file has them."""
    found = []
    for c in events.schema.collections:
        objects = events.collections[c.name]
        if not c.fixed:
            found.append(objects.mask.sum(1))
        for f in c.fields:
            values = _cast(objects.fields[f.name], f)
            found.append(values[:, 0] if c.layout == "single" else values)
    found += [_cast(events.scalars[f.name], f) for f in events.schema.scalars]
    return found if valid is None else [*found, valid]


def _cast(values: Tensor, field: Field) -> Tensor:
    if (values.is_floating_point() and _type(field) in (torch.bool, torch.int64)) or "int" in field.dtype:
        values = values.round() if values.is_floating_point() else values
    return rounded(values, field).to(_type(field))
