"""Numbers whose values are of two populations, as the scores of classifiers are."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from typing import Any

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from hepgan.events import Address, Collection, EventSchema, Field, Kind
from hepgan.events.missing import is_missing
from hepgan.features.facts import MOMENTUM
from hepgan.recipes.drafting.contents import values_of

__all__ = ["Populations", "find_populations"]

_LEAST = 1_000
"""Fewer values than this tell of no populations."""

_BINS = 40

_OUTSIDE = 0.001
"""The share of values at either end that may lie anywhere."""

_SMALLEST = 0.02
"""The smaller of two populations has this share at least."""

_VALLEY = 0.25
"""Between two populations the density falls below this part of either one's largest."""


@dataclass(frozen=True)
class Populations:
    """A number whose density has a valley.

    Attributes:
        name: ``Jet.btag``, or a scalar.
        cut: Where it is lowest.
        upper: The share of values from there on, atoms left out.
        depth: The density there, in units of that of the lower of the two peaks.
    """

    name: str
    cut: float
    upper: float
    depth: float

    def lines(self, number: Callable[[float], str], text: Callable[[str], str]) -> Iterator[str]:
        """The setting in YAML, its reason first."""
        yield f"    # {self.name}: {self.upper:.0%} are above {number(self.cut)}, and hardly any near it"
        yield f"    {text(self.name)}: [{number(self.cut)}]"


def find_populations(events: ak.Array, schema: EventSchema, given: Container[str] = ()) -> list[Populations]:
    """The continuous numbers, apart from momenta, whose density has a deep valley.

    Args:
        events: The events.
        schema: What is learned of them.
        given: Scalars that are given in generation.
    """
    found = []
    fields: list[tuple[Collection | None, Field]] = [(None, f) for f in schema.scalars if f.name not in given]
    fields += [(c, f) for c in schema.collections for f in c.fields]
    for c, f in fields:
        if f.kind is not Kind.CONTINUOUS or not f.dtype.startswith("float") or f.name == schema.weight:
            continue
        if c is not None and f.name in MOMENTUM:
            continue
        values = values_of(events, schema, None if c is None else c.name, f.name)
        values = values[~np.isin(values, np.asarray(f.atoms, values.dtype))]
        if f.missing is not None:
            values = values[~is_missing(values, f.missing)]
        name = str(Address(None if c is None else c.name, None, f.name))
        valley = _valley(values.astype(np.float64))
        found += [] if valley is None else [Populations(name, *valley)]
    return found


def _valley(values: NDArray[Any]) -> tuple[float, float, float] | None:
    """Where the density of values (n,) is lowest between two peaks, the share above, and how low it is."""
    if values.size < _LEAST:
        return None
    low, high = np.quantile(values, [_OUTSIDE, 1 - _OUTSIDE])
    if not high > low:
        return None
    heights, edges = np.histogram(values, _BINS, (low, high))
    # Between its neighbours, since a single bin is low by chance.
    smooth = np.convolve(heights, np.ones(3), "valid") / 3
    left, right = np.maximum.accumulate(smooth), np.maximum.accumulate(smooth[::-1])[::-1]
    ratio = smooth / np.maximum(np.minimum(left, right), 1.0)
    place = int(ratio.argmin())
    peak = float(min(left[place], right[place]))
    # Even if both were off by three of their errors.
    if smooth[place] + np.sqrt(3 * smooth[place] + 3) > _VALLEY * (peak - np.sqrt(3 * peak)):
        return None
    cut = float(f"{(edges[place + 1] + edges[place + 2]) / 2:.2g}")
    upper = float((values >= cut).mean())
    return (cut, upper, float(ratio[place])) if _SMALLEST < upper < 1 - _SMALLEST else None
