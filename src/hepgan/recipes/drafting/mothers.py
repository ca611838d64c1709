"""Objects whose momentum is the sum of those of others, as that of a B meson is of its decay products."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from hepgan.errors import RecipeError
from hepgan.events import Collection, EventSchema, to_batch
from hepgan.events.schema import quoted
from hepgan.observables import Observable
from hepgan.recipes.derived import CHECKED, Derived
from hepgan.recipes.drafting.resonances import MOST_OBJECTS

__all__ = ["find_mothers"]

Momenta = NDArray[np.float64]

_SIZES = (2, 3, 4)
_SCREENED = 100
_ROUNDING = 1e-5
"""Difference of a component from the sum, in units of the lengths that are summed."""

_OF_SPACE = ("px", "py", "pz", "pt", "eta", "theta", "phi", "p")


def find_mothers(events: ak.Array, schema: EventSchema) -> dict[str, tuple[str, float]]:
    """The momenta of single objects that are the sums of others' in all events, with how closely they agree.

    A mass is the sum's where that agrees, too; else it is a number to be learned, from which the energy
    follows. Nothing follows from what follows itself.

    Args:
        events: The events.
        schema: What they hold.

    Returns:
        The expression, by the field that it gives, and the median relative difference.
    """
    singles = {c.name: c for c in schema.collections if c.layout == "single" and len(c.coordinates) > 2}
    if not 3 <= len(singles) <= MOST_OBJECTS or not len(events):
        return {}
    momenta = {n: _momentum(quoted(n), events) for n in singles}
    sums = {n: found for n in singles if (found := [*_sums(n, momenta)])}
    derived: dict[str, tuple[str, float]] = {}
    for name, found in sums.items():
        chosen = next((f for f in found if not set(f) & sums.keys()), None)
        if chosen is not None:
            derived |= _derived(singles[name], [singles[n] for n in chosen], events, schema)
    return derived


def _momentum(expression: str, events: ak.Array) -> Momenta:
    """px, py and pz of an object, (3, n)."""
    parts = (Observable("q", f"{expression}.{q}").flat(events).values for q in ("px", "py", "pz"))
    return np.stack([np.asarray(p, dtype=np.float64) for p in parts])


def _sums(name: str, momenta: Mapping[str, Momenta]) -> Iterator[tuple[str, ...]]:
    """Other objects whose momenta sum to that of an object."""
    others = [n for n in momenta if n != name]
    for size in _SIZES:
        for chosen in combinations(others, size):
            if all(_agree(name, chosen, momenta, most) for most in (_SCREENED, None)):
                yield chosen


def _agree(name: str, chosen: Sequence[str], momenta: Mapping[str, Momenta], most: int | None) -> bool:
    parts = np.stack([momenta[n][:, :most] for n in chosen])
    size = np.linalg.norm(parts, axis=1).sum(0)
    return bool((np.abs(parts.sum(0) - momenta[name][:, :most]) <= _ROUNDING * size).all())


def _derived(
    mother: Collection, daughters: Sequence[Collection], events: ak.Array, schema: EventSchema
) -> dict[str, tuple[str, float]]:
    """What gives the fields of an object that follow from others; none if its energy would not."""
    total, own = f"({' + '.join(quoted(d.name) for d in daughters)})", quoted(mother.name)
    batch = to_batch(events[:CHECKED], schema)

    def agrees(field: str, expression: str) -> bool:
        try:
            Derived(schema, {f"{own}.{field}": expression}).check(batch)
        except RecipeError:
            return False
        return True

    found = {f: f"{total}.{f}" for f in _OF_SPACE if f in mother.field_names}
    if all(len(d.coordinates) == 4 for d in daughters):
        whole = {f: f"{total}.{f}" for f in ("mass", "energy") if f in mother.field_names}
        found |= {f: e for f, e in whole.items() if agrees(f, e)}
    if "energy" in mother.field_names and "energy" not in found:
        if "mass" not in mother.field_names:
            return {}
        found["energy"] = f"sqrt({total}.p**2 + {own}.mass**2)"
    if not all(agrees(f, e) for f, e in found.items()):
        return {}
    return {f"{own}.{f}": (e, _off(f"{own}.{f}", e, events)) for f, e in found.items()}


def _off(name: str, expression: str, events: ak.Array) -> float:
    """The median relative difference of a number from what it follows from."""
    stored, made = (
        np.asarray(Observable("q", e).flat(events).values, dtype=np.float64) for e in (name, expression)
    )
    return float(np.median(np.abs(stored - made) / np.maximum(np.abs(stored), 1e-6)))
