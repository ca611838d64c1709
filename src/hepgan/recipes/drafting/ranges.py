"""Hard edges of the fields of events."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from hepgan.events import Collection, EventSchema, Field, Kind, iterate_events
from hepgan.observables import Observable
from hepgan.recipes.drafting.findings import Edge, find_edge

__all__ = ["Bound", "find_bounds", "outside"]

_WITHOUT_ENDS = {"phi", "px", "py"}
"""Coordinates whose ends say nothing, or are no selection."""

_MOST_SLOTS = 4


@dataclass(frozen=True)
class Bound:
    """The range of a number.

    Attributes:
        name: ``Muon.pt``, ``Muon[0].pt`` or a scalar.
        low: The lower end; None if it is open.
        high: The upper end.
        reasons: Why.
    """

    name: str
    low: float | None = None
    high: float | None = None
    reasons: tuple[str, ...] = ()

    def lines(self, number: Callable[[float], str]) -> Iterator[str]:
        """The bound in YAML, its reasons first."""
        yield f"    # {self.name}: {'; '.join(self.reasons)}"
        ends = ["null" if end is None else number(end) for end in (self.low, self.high)]
        name = f'"{self.name}"' if "[" in self.name else self.name
        yield f"    {name}: [{', '.join(ends)}]"


def find_bounds(events: ak.Array, schema: EventSchema, masses: object = ()) -> list[Bound]:
    """The fields that end abruptly at a round number, and atoms that nothing lies beyond.

    Args:
        events: The events.
        schema: What they hold.
        masses: Collections whose masses are taken as constant.
    """
    fixed = set(masses) if isinstance(masses, dict) else set()
    found: list[Bound] = []
    for c in schema.collections:
        for name, f in _ending(c):
            if name == "mass" and c.name in fixed:
                continue
            whole = _bound(f"{c.name}.{name}", f, events)
            found += [] if whole is None else [whole]
            if name == "pt" and c.layout != "single" and c.max_count > 1:
                found += _slots(c, whole, events)
    for f in schema.scalars:
        if f.kind is Kind.CONTINUOUS and f.name != schema.weight:
            bound = _bound(f.name, f, events)
            found += [] if bound is None else [bound]
    return found


def _ending(c: Collection) -> Iterator[tuple[str, Field | None]]:
    """A collection's fields that may have ends, pt and eta included where they follow from the momentum."""
    for f in c.fields:
        if f.kind is Kind.CONTINUOUS and f.name not in _WITHOUT_ENDS:
            yield f.name, f
    if len(c.coordinates) > 2:
        for name in ("pt", "eta"):
            if name not in c.field_names:
                yield name, None


def _bound(name: str, f: Field | None, events: ak.Array) -> Bound | None:
    values = _values(name, events)
    if not values.size:
        return None
    atoms = f.atoms if f is not None else ()
    smooth = values[~np.isin(values, np.asarray(atoms, values.dtype))] if atoms else values
    low, high = find_edge(smooth), find_edge(smooth, upper=True)
    bound = Bound(name)
    least, most = float(values.min()), float(values.max())
    # What is never negative stays so without a bound.
    if least in atoms and least != 0:
        bound = replace(bound, low=least, reasons=(f"nothing below {least:g}, where many lie exactly",))
    elif low is not None and low.value <= least and low.value != 0:
        bound = replace(bound, low=low.value, reasons=(_reason(low, "above"),))
    if most in atoms:
        bound = replace(bound, high=most, reasons=(*bound.reasons, f"nothing above {most:g}"))
    elif high is not None and high.value >= most:
        bound = replace(bound, high=high.value, reasons=(*bound.reasons, _reason(high, "below")))
    return bound if bound.reasons else None


def _slots(c: Collection, whole: Bound | None, events: ak.Array) -> Iterator[Bound]:
    """Higher thresholds of leading objects, as triggers leave them."""
    for slot in range(min(c.max_count, _MOST_SLOTS)):
        name = f"{c.name}[{slot}].pt"
        edge = find_edge(_values(name, events))
        least = 0.0 if whole is None or whole.low is None else whole.low
        if edge is not None and edge.value > 1.1 * least and edge.value > 0:
            yield Bound(name, low=edge.value, reasons=(_reason(edge, "above"),))


def _reason(edge: Edge, side: str) -> str:
    outermost = "smallest" if side == "above" else "largest"
    return f"{edge.near} within {edge.width:.3g} {side} {edge.value:g} ({outermost} {edge.extreme:.6g})"


def _values(name: str, events: ak.Array) -> NDArray[Any]:
    values = Observable("values", name).flat(events).values
    finite: NDArray[Any] = values[np.isfinite(values)]
    return finite


def outside(file: str, schema: EventSchema, bound: Bound) -> bool:
    """Whether some of the file's events, which may be more than were looked at, are outside a bound."""
    collection = bound.name.partition(".")[0].partition("[")[0]
    for events in iterate_events(file, branches=[collection], on_bad="keep"):
        values = _values(bound.name, events)
        low = -np.inf if bound.low is None else bound.low
        high = np.inf if bound.high is None else bound.high
        if values.size and not bool(((values >= low) & (values <= high)).all()):
            return True
    return False
