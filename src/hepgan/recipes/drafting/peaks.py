"""Peaks in the masses of pairs of a collection, in the events that have such pairs."""

from __future__ import annotations

import math
from collections.abc import Container
from itertools import pairwise
from typing import NamedTuple

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from hepgan.events import Collection, EventSchema, Kind

__all__ = ["BY_CHANCE", "LOOK", "MOST_PAIRS", "Excess", "Peak", "find_peaks", "highest_peak", "populations"]

Numbers = NDArray[np.float64]

_WIDTHS = (0.02, 0.04, 0.07)
"""Half a peak's width, in units of its mass."""

_STEP = 0.01
"""Of the logarithm of the mass, from one place to look at to the next."""

_SIGNED = ("charge", "q", "pdgid")
"""Fields of opposite values in a particle and its antiparticle."""

_MOST_OBJECTS = 16
LOOK = 50_000
"""Events whose masses are looked at."""

MOST_PAIRS = 2
"""Pairs of one collection that are looked for in an event, at most."""

_POPULATION = 200
"""Pairs below or above a peak, that are a population."""

_LEAST = 30
_SIGNIFICANT = 6.0
BY_CHANCE = 0.5
"""How many of the events at a peak may be there with one of the objects from another event, at most."""

_ABOVE = 2.0
"""A peak is so many times what is on either side: what is smooth is nowhere so."""


class Excess(NamedTuple):
    """Where masses are most in excess of their neighbours.

    Attributes:
        mass: The middle.
        width: Half the width, in units of the mass.
        number: How many masses are within.
        beside: How many there are in an equal range next to it, on the side that has more.
    """

    mass: float
    width: float
    number: int
    beside: float

    @property
    def significance(self) -> float:
        """The excess in standard deviations of both numbers."""
        return (self.number - self.beside) / math.sqrt(self.number + self.beside + 1)

    def core(self, masses: Numbers) -> tuple[float, float]:
        """The ends of the range in which most of these masses (n,) are that belong to the peak."""
        inside = masses[np.abs(np.log(np.maximum(masses, 1e-300) / self.mass)) < self.width]
        low, high = (float(q) for q in np.quantile(inside, (0.25, 0.75)))
        return low - (high - low), high + (high - low)


class Peak(NamedTuple):
    """Pairs of objects of a collection whose mass has a peak.

    Attributes:
        collection: The collection.
        opposite: The field that has opposite values in these pairs; empty if it has none such.
        excess: Where, and how large.
        pairs: How many pairs there are.
        alike: How many pairs of other values have a mass in the peak.
        most: The most pairs that an event can have.
        populations: Masses between those in the peak and those below and above, and half of the peak's, as
            far as there are many on both sides.
    """

    collection: str
    opposite: str
    excess: Excess
    pairs: int
    alike: int
    most: int
    populations: tuple[float, ...] = ()


def find_peaks(events: ak.Array, schema: EventSchema, taken: Container[str]) -> list[Peak]:
    """Collections whose pairs (of opposite charge, where there are charges) have a mass with a peak.

    Args:
        events: The events.
        schema: What they hold.
        taken: Collections whose objects belong to other systems.
    """
    found = []
    for c in schema.collections:
        pairs = c.layout != "single" and 2 <= c.max_count <= _MOST_OBJECTS and len(c.coordinates) > 2
        if not pairs or c.name in taken:
            continue
        masses, opposite, field = _masses(events[:LOOK], c)
        excess = highest_peak(masses[opposite])
        if excess is not None:
            inside = np.abs(np.log(np.maximum(masses, 1e-300) / excess.mass)) < excess.width
            alike = int((inside & ~opposite).sum())
            cuts = populations(masses[opposite], excess)
            found.append(Peak(c.name, field, excess, int(opposite.sum()), alike, c.max_count // 2, cuts))
    return found


def populations(masses: Numbers, excess: Excess) -> tuple[float, ...]:
    """Masses that divide all masses (n,) into populations, of which none is small."""
    low, high = (excess.mass * math.exp(side * excess.width) for side in (-1, 1))
    cuts = [excess.mass / 2, low, high]
    for cut in list(cuts):
        place = cuts.index(cut)
        ends = [0.0, *cuts, math.inf]
        beside = [int(((masses >= a) & (masses < b)).sum()) for a, b in pairwise(ends)][place : place + 2]
        if min(beside) < _POPULATION:
            cuts.remove(cut)
    return tuple(cuts)


def _masses(events: ak.Array, c: Collection) -> tuple[Numbers, NDArray[np.bool_], str]:
    """The masses of all pairs, which of them have opposite values, and the field with these."""
    objects = events[c.name]
    known = {n: objects[n] for n in c.coordinates}
    if "phi" in known and c.field("phi").degrees:
        known["phi"] = known["phi"] * (math.pi / 180)
    # Objects without masses have none.
    known |= {} if len(known) == 4 else {"mass": 0.0 * objects[c.coordinates[0]]}
    momenta = ak.zip(known, with_name="Momentum4D")
    first, second = ak.unzip(ak.combinations(momenta, 2))
    masses = ak.to_numpy(ak.flatten((first + second).mass)).astype(np.float64)
    for f in sorted(c.fields, key=lambda f: f.name.lower() != "charge"):
        signed = f.name.lower() in _SIGNED and f.kind in (Kind.CATEGORY, Kind.INTEGER)
        if signed and ak.any(objects[f.name] < 0):
            a, b = ak.unzip(ak.combinations(objects[f.name], 2))
            opposite = (a == -b) & (a != 0)
            return masses, ak.to_numpy(ak.flatten(opposite)), f.name
    return masses, np.ones(len(masses), dtype=bool), ""


def highest_peak(masses: Numbers) -> Excess | None:
    """The narrow range of masses that has most more than the ranges next to it; None if there is no peak.

    Both neighbours have the peak's width, in the logarithm of the mass, and a distance of half of it. A
    range has to have twice as many as either of them, and 6 standard deviations more; an edge of a selection
    has as many on one side, and what phase space and selections make is wider.

    Args:
        masses: (n,) of any unit.
    """
    logs = np.sort(np.log(masses[masses > 0]))
    if len(logs) < _LEAST:
        return None
    best: Excess | None = None
    middles = np.arange(logs[0], logs[-1], _STEP)
    for width in _WIDTHS:
        within, below, above = (
            np.diff(np.searchsorted(logs, [middles + low * width, middles + high * width]), axis=0)[0]
            for low, high in ((-1, 1), (-3.5, -1.5), (1.5, 3.5))
        )
        beside = np.maximum(below, above)
        score = (within - beside) / np.sqrt(within + beside + 1.0)
        score = np.where((within >= _LEAST) & (within > _ABOVE * beside), score, -np.inf)
        at = int(score.argmax())
        found = Excess(math.exp(middles[at]), width, int(within[at]), float(beside[at]))
        if score[at] > _SIGNIFICANT and (best is None or found.significance > best.significance):
            best = found
    if best is None:
        return None
    inside = logs[np.abs(logs - math.log(best.mass)) < best.width]
    return best._replace(mass=float(math.exp(np.median(inside))))
