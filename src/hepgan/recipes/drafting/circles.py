"""Numbers whose largest value is next to their smallest: azimuths without a momentum, right ascensions."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterator, Sequence
from typing import NamedTuple

import awkward as ak
import numpy as np

from hepgan.events import Address, Collection, EventSchema, Field, Kind
from hepgan.events.missing import is_missing
from hepgan.features.facts import MOMENTUM
from hepgan.recipes.drafting.contents import values_of
from hepgan.recipes.drafting.findings import Numbers, abrupt_end
from hepgan.recipes.drafting.text import comment, number

__all__ = ["Circle", "circle_lines", "find_circles"]

_TURNS = ((-math.pi, math.pi), (0.0, 2 * math.pi), (-180.0, 180.0), (0.0, 360.0))
_BEYOND = 1e-6
"""How far numbers may be beyond a turn, in units of it: in single precision pi is above pi."""

_REACH = 7.0
"""Distances between neighbours within which the outermost number is from the end of a turn."""

_ALIKE = 2.0
"""The densities at both ends, which are one place, have no larger ratio."""


class Circle(NamedTuple):
    """A number that goes all the way round.

    Attributes:
        name: ``trk.phi``, or a scalar.
        low: Where a turn begins.
        high: Where it ends.
    """

    name: str
    low: float
    high: float


def find_circles(events: ak.Array, schema: EventSchema, given: Container[str] = ()) -> list[Circle]:
    """The continuous numbers, apart from momenta, that fill a turn, and have the same density at both ends.

    Args:
        events: The events.
        schema: What is learned of them.
        given: Scalars that are given in generation.
    """
    found = []
    fields: list[tuple[Collection | None, Field]] = [(None, f) for f in schema.numbers if f.name not in given]
    fields += [
        (c, f) for c in schema.collections for f in c.fields if not (c.coordinates and f.name in MOMENTUM)
    ]
    for c, f in fields:
        if f.kind is not Kind.CONTINUOUS or f.step is not None or f.name == schema.weight:
            continue
        values = values_of(events, schema, None if c is None else c.name, f.name)
        values = values[~np.isin(values, np.asarray(f.atoms, values.dtype))]
        if f.missing is not None:
            values = values[~is_missing(values, f.missing)]
        turn = _turn(values)
        found += (
            [] if turn is None else [Circle(str(Address(None if c is None else c.name, None, f.name)), *turn)]
        )
    return found


def _turn(values: Numbers) -> tuple[float, float] | None:
    """The turn that numbers (n,) fill; None if they fill none."""
    first, last = abrupt_end(values), abrupt_end(values, upper=True)
    if first is None or last is None or not 1 / _ALIKE < first.spacing / last.spacing < _ALIKE:
        return None
    for low, high in _TURNS:
        slack = _BEYOND * (high - low)
        begins = low - slack <= first.extreme <= low + _REACH * first.spacing
        if begins and high - _REACH * last.spacing <= last.extreme <= high + slack:
            return low, high
    return None


def circle_lines(circles: Sequence[Circle], text: Callable[[str], str]) -> Iterator[str]:
    """The block in YAML, with its reason."""
    if not circles:
        return
    yield from comment(
        "Angles that go all the way round, with as many events at one end as at the other: learned as "
        "points on a circle, which has no ends.",
        "    ",
    )
    yield "    - kind: fields"
    yield f"      fields: [{', '.join(text(c.name) for c in circles)}]"
    yield "      transforms:"
    for c in circles:
        ends = "" if c.low == -math.pi else f", low: {number(c.low)}, high: {number(c.high)}"
        yield f"        {text(c.name)}: {{kind: angle{ends}}}"
