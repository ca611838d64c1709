"""What an expression makes of events as a new part of them: a number, objects, or a field with a shape."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import awkward as ak
import numpy as np
import torch
from torch import Tensor

from hepgan.events.axes import Axis
from hepgan.events.batch import Objects
from hepgan.events.buffers import record_name
from hepgan.observables.evaluate import Evaluator
from hepgan.observables.images import Outside
from hepgan.observables.language import Expression
from hepgan.observables.sources import AwkwardSource, chunked
from hepgan.observables.values import Cells, Value, where_exists

__all__ = ["Made", "make"]


@dataclass(frozen=True)
class Made:
    """A new part of N events.

    Attributes:
        column: Numbers (N,), arrays of one shape (N, ...) or lists of records.
        axes: Of a field with a shape, what its indices stand for.
        outside: What was outside of grids.
    """

    column: ak.Array
    axes: tuple[Axis, ...] = ()
    outside: Outside = field(default_factory=Outside)


def make(expression: Expression, events: ak.Array, *, single: bool = True) -> Made:
    """What an expression makes of events.

    Args:
        expression: A number of the event, objects, or a grid.
        events: N events.
        single: Whether numbers that are not whole are to have single precision.

    Raises:
        RecipeError: If the expression does not fit the events, or makes something else.
        InputError: If a column that it uses is not made of numbers.
    """
    fields = frozenset(f for name in ak.fields(events) for f in ak.fields(events[name]))
    outside = Outside()
    parts: list[ak.Array] = []
    axes: tuple[Axis, ...] = ()
    for part in chunked(events, expression):
        # Objects keep all of their fields.
        evaluator = Evaluator(expression, AwkwardSource(part), False, keep=fields, outside=outside)
        value = evaluator.visit(expression.tree)
        if isinstance(value.domain, Cells):
            axes = value.domain.axes
        parts.append(_column(expression, value, single))
    column = parts[0] if len(parts) == 1 else ak.concatenate(parts)
    return Made(column, axes, outside)


def _column(expression: Expression, value: Value, single: bool) -> ak.Array:
    if value.is_constant:
        raise expression.error(expression.tree, "the result does not depend on the events")
    if isinstance(value.domain, Cells) and value.is_number:
        contents = where_exists(value.data, value.mask, 0)
        return ak.Array(_stored(contents, single).reshape(-1, *value.domain.shape))
    if value.is_number:
        if value.domain is not None:
            reason = "a number of each object; what is prepared is a number of the event, objects or a grid"
            raise expression.error(expression.tree, reason)
        data = value.data
        if data.is_floating_point():
            there = torch.isfinite(data) if value.mask is None else torch.isfinite(data) & value.mask
            return ak.Array(_stored(torch.where(there, data, 0.0), single))
        return ak.Array(_stored(where_exists(data, value.mask, 0), single))
    if not isinstance(value.data, Objects):
        reason = "the result is momenta without a name for their numbers; massless(...) or objects have some"
        raise expression.error(expression.tree, reason)
    return _records(value, single)


def _records(value: Value, single: bool) -> ak.Array:
    # Fields whose names end in a line feed say where others are there.
    fields = {n: t for n, t in value.data.fields.items() if not n.endswith("\n")}
    behaves = record_name(tuple(fields))
    if value.domain is None:
        return ak.zip({n: _stored(t, single) for n, t in fields.items()}, with_name=behaves)
    mask = value.exists()
    counts = mask.sum(1).numpy()
    flat = {n: _stored(t[mask], single) for n, t in fields.items()}
    return ak.zip({n: ak.unflatten(v, counts) for n, v in flat.items()}, with_name=behaves)


def _stored(data: Tensor, single: bool) -> Any:
    values = data.detach().numpy()
    if values.dtype.kind == "f":
        return values.astype(np.float32 if single else np.float64)
    if values.dtype.kind == "i" and values.size and np.abs(values).max() < 2**31:
        return values.astype(np.int32)
    return values
