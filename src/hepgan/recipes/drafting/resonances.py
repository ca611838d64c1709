"""Resonances among objects that are in every event: two, three or four objects with a peaked mass."""

from __future__ import annotations

from collections.abc import Container, Iterator
from itertools import chain, combinations, count
from typing import NamedTuple

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from hepgan.events import Collection, EventSchema
from hepgan.events.schema import quoted
from hepgan.observables import Observable
from hepgan.recipes.drafting.peaks import BY_CHANCE, highest_peak

__all__ = ["MOST_OBJECTS", "Resonance", "always", "find_resonances", "name_of"]

Numbers = NDArray[np.float64]

MOST_OBJECTS = 8
"""Of more objects in every event not all combinations are looked at."""

_SIZES = (2, 3, 4)
_LEAST = 20
_NARROW = 0.2
"""The largest distance of the quartiles of a resonance's mass, in units of the median."""

_PART = 0.1
"""The least share of events at a peak on a background."""

_KNOWN = {
    "Z": (91.19, 4.0),
    "W": (80.4, 4.0),
    "H": (125.2, 4.0),
    "top": (172.6, 6.0),
    "Jpsi": (3.097, 0.1),
    "Upsilon": (9.46, 0.2),
    "phi": (1.019, 0.02),
    "Lambda": (1.116, 0.01),
    "D": (1.867, 0.03),
    "B": (5.28, 0.06),
}


class Resonance(NamedTuple):
    """Objects whose mass is peaked, of which some may come from a resonance of their own.

    Attributes:
        name: A name.
        children: The objects, such as ``Muon[0]``, and resonances that it decays into.
        peak: Where the peak is.
        quartiles: The quartiles of the mass.
        massless: Objects whose masses are neglected.
    """

    name: str
    children: tuple[str | Resonance, ...]
    peak: float
    quartiles: tuple[float, float, float]
    massless: frozenset[str] = frozenset()

    @property
    def massive(self) -> bool:
        """Whether the objects have masses."""
        return self.massless.isdisjoint(self.objects)

    @property
    def mass(self) -> str:
        """The mass, in the language of observables."""
        total = f"({' + '.join(self.objects)})"
        if self.massive:
            return f"{total}.mass"
        return f"sqrt(max(0, ({' + '.join(f'{o}.p' for o in self.objects)})**2 - {total}.p2))"

    @property
    def objects(self) -> tuple[str, ...]:
        """The objects that it decays into in the end."""
        return tuple(o for c in self.children for o in ((c,) if isinstance(c, str) else c.objects))

    @property
    def systems(self) -> Iterator[Resonance]:
        """It, and the resonances that it decays into."""
        yield self
        for c in self.children:
            if not isinstance(c, str):
                yield from c.systems


class _Found(NamedTuple):
    """Objects whose mass is peaked, by number.

    Attributes:
        objects: The objects.
        width: The distance of the quartiles in units of the median, or the peak's width.
        peak: Where the peak is.
        quartiles: The quartiles of the mass.
    """

    objects: frozenset[int]
    width: float
    peak: float
    quartiles: tuple[float, float, float]


def find_resonances(events: ak.Array, schema: EventSchema) -> list[Resonance]:
    """Two, three or four objects that are in every event and whose mass is peaked, of any collections.

    The quartiles of the mass are close to its median, or it has a peak on a background. Of three or four
    objects this has to be so only where they belong together: with one of them taken from another event, at
    most half as many are at the peak. So a soft object beside a resonance makes none of its own.

    No object is in two of them, unless one is part of the other; the narrowest come first. Masses of single
    objects that have none are neglected; those of lists are left to pairs.

    Args:
        events: The events.
        schema: What they hold.
    """
    massive = [o for c in schema.collections if len(c.coordinates) == 4 for o in always(c)]
    massless = [o for c in schema.collections if _is_massless(c) for o in always(c)]
    objects, found = [*massive, *massless], []
    for first, some in ((0, massive), (len(massive), massless)):
        if not 2 <= len(some) <= MOST_OBJECTS or len(events) < _LEAST:
            continue
        momenta = [_momentum(o, events, massless=some is massless) for o in some]
        for size in _SIZES:
            for chosen in combinations(range(len(some)), size):
                peak = _peak(tuple(first + i for i in chosen), [momenta[i] for i in chosen])
                found += [] if peak is None else [peak]
    kept: list[_Found] = []
    for f in sorted(found, key=lambda f: f.width):
        if all(_apart(f.objects, k.objects) for k in kept):
            kept.append(f)
    return _named(kept, objects, schema, frozenset(massless))


def always(c: Collection) -> list[str]:
    """The objects of a collection that are in every event."""
    if c.layout == "single":
        return [quoted(c.name)]
    return [f"{quoted(c.name)}[{i}]" for i in range(c.max_count)] if c.fixed else []


def name_of(mass: float, used: Container[str], gev: float = 1.0) -> str:
    """A name for a resonance of a mass that none of those used has: that of a known one, or ``X``.

    Args:
        mass: The mass.
        used: The names that are used.
        gev: A GeV in its unit.
    """
    name = next((n for n, (m, w) in _KNOWN.items() if abs(mass / gev - m) < w), "X")
    return next(n for n in chain([name], (f"{name}{k}" for k in count(2))) if n not in used)


def _is_massless(c: Collection) -> bool:
    """Whether it is one object, with a momentum in space and no mass."""
    return c.layout == "single" and len(c.coordinates) == 3


def _momentum(expression: str, events: ak.Array, *, massless: bool) -> Numbers:
    """px, py, pz and energy of an object, (4, n)."""
    length = "p" if massless else "energy"
    parts = (Observable("q", f"{expression}.{q}").flat(events).values for q in ("px", "py", "pz", length))
    return np.stack([np.asarray(p, dtype=np.float64) for p in parts])


def _mass(momenta: list[Numbers]) -> Numbers:
    px, py, pz, energy = np.sum(momenta, axis=0)
    return np.asarray(np.sqrt(np.maximum(energy**2 - px**2 - py**2 - pz**2, 0.0)))


def _peak(chosen: tuple[int, ...], momenta: list[Numbers]) -> _Found | None:
    """The peak of some objects' mass, if it has one."""
    mass = _mass(momenta)
    mass = mass[np.isfinite(mass)]
    if mass.size < _LEAST:
        return None
    low, middle, high = (float(q) for q in np.quantile(mass, (0.25, 0.5, 0.75)))
    quartiles, members = (low, middle, high), frozenset(chosen)
    if middle > 0 and high - low < _NARROW * middle:
        ends = low - (high - low), high + (high - low)
        if len(chosen) == 2 or _together(momenta, mass, ends):
            inside = mass[(mass > ends[0]) & (mass < ends[1])]
            counts, edges = np.histogram(inside, bins=max(10, min(60, inside.size // 50)))
            at = int(counts.argmax())
            top = float(edges[at] + edges[at + 1]) / 2
            return _Found(members, (high - low) / middle, top, quartiles)
    excess = highest_peak(mass)
    if excess is None or excess.number < _PART * mass.size:
        return None
    if not _together(momenta, mass, excess.core(mass)):
        return None
    return _Found(members, excess.width, excess.mass, quartiles)


def _together(momenta: list[Numbers], mass: Numbers, ends: tuple[float, float]) -> bool:
    """Whether a range holds many more masses than with any of the objects from the event before."""
    number = _within(mass, ends)
    for i, own in enumerate(momenta):
        other = [*momenta[:i], np.roll(own, 1, axis=1), *momenta[i + 1 :]]
        if _within(_mass(other), ends) > BY_CHANCE * number:
            return False
    return True


def _within(mass: Numbers, ends: tuple[float, float]) -> int:
    return int(((mass > ends[0]) & (mass < ends[1])).sum())


def _apart(a: frozenset[int], b: frozenset[int]) -> bool:
    """Whether two sets of objects can both be resonances."""
    return not a & b or a < b or b < a


def _named(
    found: list[_Found], objects: list[str], schema: EventSchema, massless: frozenset[str]
) -> list[Resonance]:
    """The resonances that are part of no other, in order of the objects; each holds those in it."""
    names: dict[frozenset[int], str] = {}
    for f in found:
        used = {*names.values(), *schema.collection_names, *schema.scalar_names}
        names[f.objects] = name_of(f.peak, used, schema.gev)

    def inside(members: frozenset[int]) -> list[_Found]:
        """The largest of those that are part of some objects."""
        parts = [f for f in found if f.objects < members]
        return [p for p in parts if not any(p.objects < q.objects for q in parts)]

    def made(f: _Found) -> Resonance:
        parts = inside(f.objects)
        alone = f.objects.difference(*(p.objects for p in parts))
        children: list[tuple[int, str | Resonance]] = [(i, objects[i]) for i in alone]
        children += [(min(p.objects), made(p)) for p in parts]
        ordered = tuple(c for _, c in sorted(children, key=lambda pair: pair[0]))
        return Resonance(names[f.objects], ordered, f.peak, f.quartiles, massless)

    outermost = sorted(inside(frozenset(range(-1, len(objects)))), key=lambda f: min(f.objects))
    return [made(f) for f in outermost]
