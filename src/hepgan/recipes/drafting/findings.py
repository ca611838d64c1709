"""What the numbers tell: edges and ranges, and symmetry."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import awkward as ak
import numpy as np
from numpy.typing import NDArray
from scipy import stats

from hepgan.events import Address, Collection, EventSchema, Field, Kind
from hepgan.events.schema import quoted
from hepgan.observables import Observable
from hepgan.recipes.drafting.reading import every_event
from hepgan.recipes.drafting.resonances import MOST_OBJECTS, Resonance, always

__all__ = [
    "Bound",
    "Edge",
    "End",
    "Symmetry",
    "abrupt_end",
    "constant_mass",
    "find_bounds",
    "find_edge",
    "find_symmetry",
    "is_at_rest",
    "within",
]

Numbers = NDArray[np.generic]

_LEAST = 400
"""With fewer values the density at an end is unknown."""

_HARD = 1.8
"""A ratio that is 1 for a density that ends abruptly, 2.4 if it falls linearly to 0, and over 5 for tails."""

_WITHOUT_ENDS = {"phi", "px", "py"}
"""Coordinates whose ends say nothing, or are no selection."""

_MOST_SLOTS = 4

_AT_REST = 1e-4
_DIRECTIONS = 24
_NEARLY_ALL = 0.95
_LEAST_PROBABILITY = 1e-3
_MASSES = {"Electron": 0.000511, "Muon": 0.1056584, "Photon": 0.0}


class Edge(NamedTuple):
    """An end of a distribution at which the density does not fall to 0.

    Attributes:
        value: The round number at the end.
        extreme: The outermost value.
        near: How many values there are within ``width`` of it.
        width: The width.
    """

    value: float
    extreme: float
    near: int
    width: float


class End(NamedTuple):
    """An end of a distribution at which the density does not fall to 0.

    Attributes:
        extreme: The outermost value.
        spacing: The mean distance of the outermost values from each other.
        near: How many values there are within ``width`` of the outermost, but for itself.
        width: The width.
    """

    extreme: float
    spacing: float
    near: int
    width: float


def abrupt_end(values: Numbers, *, upper: bool = False) -> End | None:
    """The lower or upper end of a distribution, if its density ends abruptly there.

    The density is the same in the outermost values' range and next to it, if it ends abruptly: the k-th
    value is as far from the first as the 2k-th from the k-th. In a tail the first distance is larger.

    Args:
        values: (n,) finite numbers, atoms left out.
        upper: Which end.
    """
    if values.size < _LEAST:
        return None
    k = min(100, max(20, values.size // 50))
    distances = -values.astype(np.float64) if upper else values.astype(np.float64)
    outermost = np.sort(np.partition(distances, 2 * k)[: 2 * k + 1])
    first, second = outermost[k] - outermost[0], outermost[2 * k] - outermost[k]
    if not (first > 0 and second > 0) or first > _HARD * second:
        return None
    spacing = float(outermost[2 * k] - outermost[0]) / (2 * k)
    return End(float(-outermost[0] if upper else outermost[0]), spacing, k, float(first))


def find_edge(values: Numbers, *, upper: bool = False) -> Edge | None:
    """A hard edge at the lower or upper end of a distribution, if there is one at a round number.

    Args:
        values: (n,) finite numbers, atoms left out.
        upper: Which end.
    """
    end = abrupt_end(values, upper=upper)
    if end is None:
        return None
    sign = -1.0 if upper else 1.0
    outermost = sign * end.extreme
    # Beyond 7 spacings there would be another value, but for one time in a thousand.
    edge = _round_number(outermost - 7 * end.spacing, outermost)
    if edge is None:
        return None
    return Edge(sign * edge + 0.0, end.extreme, end.near + 1, outermost - edge + end.width)


def _round_number(low: float, high: float) -> float | None:
    """The roundest number of two digits in [low, high]; None if there is none, or some would be by chance."""
    if low <= 0 <= high:
        return 0.0
    power = math.floor(math.log10(max(abs(low), abs(high))))
    for exponent in (power, power - 1):
        for factor in (5, 2, 1):
            step = factor * 10.0**exponent
            number = math.floor(high / step) * step
            if number >= low:
                return float(f"{number:.6g}") if high - low < 0.2 * step else None
    return None


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

    def lines(self, number: Callable[[float], str], text: Callable[[str], str]) -> Iterator[str]:
        """The bound in YAML, its reasons first."""
        yield f"    # {self.name}: {'; '.join(self.reasons)}"
        ends = ["null" if end is None else number(end) for end in (self.low, self.high)]
        yield f"    {text(self.name)}: [{', '.join(ends)}]"


def find_bounds(events: ak.Array, schema: EventSchema, masses: Container[str] = ()) -> list[Bound]:
    """The fields that end abruptly at a round number, and atoms that nothing lies beyond.

    Args:
        events: The events.
        schema: What they hold.
        masses: Collections whose masses are taken as constant.
    """
    found: list[Bound] = []
    for c in schema.collections:
        for name, f in _ending(c):
            if name == "mass" and c.name in masses:
                continue
            whole = _bound(f"{quoted(c.name)}.{quoted(name)}", f, events)
            found += [] if whole is None else [whole]
            if name == "pt" and c.layout != "single" and c.max_count > 1:
                found += _slots(c, whole, events)
    for f in schema.scalars:
        if f.kind is Kind.CONTINUOUS and f.name != schema.weight:
            bound = _bound(quoted(f.name), f, events)
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
        name = f"{quoted(c.name)}[{slot}].pt"
        edge = find_edge(_values(name, events))
        least = 0.0 if whole is None or whole.low is None else whole.low
        if edge is not None and edge.value > 1.1 * least and edge.value > 0:
            yield Bound(name, low=edge.value, reasons=(_reason(edge, "above"),))


def _reason(edge: Edge, side: str) -> str:
    outermost = "smallest" if side == "above" else "largest"
    return f"{edge.near} within {edge.width:.3g} {side} {edge.value:g} ({outermost} {edge.extreme:.6g})"


def within(file: str, bounds: Sequence[Bound], schema: EventSchema) -> list[Bound]:
    """The bounds that hold for all events of the file, which may be more than were looked at."""
    kept = list(bounds)
    names = list(dict.fromkeys(Address.parse(b.name).collection or b.name for b in bounds))
    if names:
        for events in every_event(file, names, schema):
            kept = [b for b in kept if _holds(b, events)]
    return kept


def _holds(bound: Bound, events: ak.Array) -> bool:
    values = _values(bound.name, events)
    low = -np.inf if bound.low is None else bound.low
    high = np.inf if bound.high is None else bound.high
    return bool(((values >= low) & (values <= high)).all())


class Symmetry(NamedTuple):
    """Whether events look the same from all azimuths.

    Attributes:
        reference: Objects whose summed azimuth stands for the event's; empty if there are none.
        probability: The smallest chi2 probability of a uniform azimuth, of the reference and of others.
        worst: What that was the azimuth of.
        at_rest: Whether the reference is a single object, since the sum of all has no transverse momentum.
        objects: The objects whose sum was looked at.
    """

    reference: str
    probability: float
    worst: str
    at_rest: bool = False
    objects: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether the azimuth may be divided out."""
        return bool(self.reference) and self.probability > _LEAST_PROBABILITY


def find_symmetry(
    events: ak.Array, schema: EventSchema, resonances: list[Resonance], moving: Container[str] = ()
) -> Symmetry:
    """Looks for a reference direction, and tests that it and the other objects point everywhere alike.

    Vectors of no length point nowhere: they are not tested, and are no reference.

    Args:
        events: The events.
        schema: What they hold.
        resonances: Of objects that are in every event.
        moving: Collections whose objects change places, so that they are no reference.
    """
    spatial = [c for c in schema.collections if c.coordinates and _azimuthal(c)]
    usable_sums = [c for c in spatial if not (_pt(_leading(c), events) == 0).any()]
    usable = [c for c in usable_sums if c.name not in moving]
    fixed = [c for c in usable if len(c.coordinates) > 2 and always(c) and c.max_count <= MOST_OBJECTS]
    flat = [c for c in usable if len(c.coordinates) == 2 and c.layout == "single"]
    some = [c for c in usable if len(c.coordinates) > 2 and c.min_count > 0 and len(events) > _LEAST]
    objects: list[str] = []
    if resonances:
        # Momenta with an energy and without one have no sum.
        objects = [o for r in resonances if r.massive == resonances[0].massive for o in r.objects]
    elif fixed or flat:
        objects = always((fixed or flat)[0])
    elif some:
        objects = [_leading(some[0])]
    whole: tuple[str, ...] = ()
    if not objects or (flat and objects == always(flat[0])):
        whole, better = _best_sum(usable_sums, quoted(flat[0].name) if flat else None, events)
        objects = [] if better else objects
    if not objects and not whole:
        return Symmetry("", 0.0, "")
    at_rest = len(objects) > 1 and is_at_rest(events, objects)
    reference = objects[0] if at_rest else " + ".join(objects or whole)
    tested = {_leading(c): _phi(_leading(c), events) for c in spatial if _leading(c) not in objects}
    if whole and not objects:
        angles = _azimuths([_transverse(c, events) for c in usable_sums if quoted(c.name) in whole])
        tested = {reference: angles[np.isfinite(angles)], **tested}
    else:
        tested = {reference: _phi(reference, events), **tested}
    probabilities = {t: _uniform(phi) for t, phi in tested.items()}
    worst = min(probabilities, key=lambda t: probabilities[t])
    return Symmetry(reference, probabilities[worst], worst, at_rest, tuple(objects))


def _best_sum(
    collections: Sequence[Collection], flat: str | None, events: ak.Array
) -> tuple[tuple[str, ...], bool]:
    """Whole collections whose sum is the best reference, and whether it is better than one vector.

    Nearly all events have some of their objects, and seen from their sum the directions of what else there is
    are least alike: what then is a peak in a column would else have to be learned as a correlation.

    Args:
        collections: What has directions.
        flat: The vector, which is in every event; None if there is none.
        events: The events.
    """
    listed = [c.name for c in collections if c.layout != "single" and len(c.coordinates) > 2]
    lacking = {quoted(n): ak.to_numpy(ak.num(events[n]) == 0) for n in listed}
    found = {quoted(c.name): _transverse(c, events) for c in collections} if lacking else {}

    def peaked(names: tuple[str, ...]) -> float:
        reference = _azimuths([found[n] for n in names])
        return sum(_unlikeness(_azimuths([found[n]]) - reference) for n in found if n not in names)

    covers = dict.fromkeys(c for first in lacking if (c := _cover(lacking, first)))
    scores = {c: peaked(c) for c in covers}
    if not scores:
        return (), False
    best = max(scores, key=lambda c: scores[c])
    return best, flat is None or scores[best] > peaked((flat,))


def _cover(lacking: Mapping[str, NDArray[np.bool_]], first: str) -> tuple[str, ...]:
    """Collections, this one among them, of which nearly every event has an object; empty if none."""
    chosen, left = [first], lacking[first]
    rest = {n: v for n, v in lacking.items() if n != first}
    while rest and left.any():
        name = min(rest, key=lambda n: int((left & rest[n]).sum()))
        still = left & rest.pop(name)
        if still.sum() == left.sum():
            break
        chosen.append(name)
        left = still
    return tuple(n for n in lacking if n in chosen) if left.mean() <= 1 - _NEARLY_ALL else ()


def _transverse(c: Collection, events: ak.Array) -> NDArray[np.float64]:
    """The transverse momentum (n, 2), as px and py, of all objects of a collection together."""
    name = quoted(c.name)
    found = np.zeros((len(events), 2))
    for k, q in enumerate(("px", "py")):
        total = f"{name}.{q}" if c.layout == "single" else f"sum({name}.{q})"
        values = Observable("quantity", total).flat(events)
        found[np.asarray(values.index), k] = np.asarray(values.values, dtype=np.float64)
    return found


def _azimuths(momenta: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """The azimuth (n,) of momenta (n, 2) together; NaN where they have none."""
    x, y = np.sum(momenta, axis=0).T
    return np.where((x == 0) & (y == 0), np.nan, np.arctan2(y, x))


def _unlikeness(angles: Numbers) -> float:
    """How far angles (n,) are from uniform: the Kullback-Leibler divergence, times the share of events."""
    known = angles[np.isfinite(angles)].astype(np.float64)
    counts, _ = np.histogram(known % (2 * math.pi), bins=_DIRECTIONS, range=(0.0, 2 * math.pi))
    p = counts[counts > 0] / max(known.size, 1)
    # The divergence of a uniform sample is not 0.
    noise = (_DIRECTIONS - 1) / (2 * max(known.size, 1))
    return (float((p * np.log(p * _DIRECTIONS)).sum()) - noise) * known.size / angles.size


def is_at_rest(events: ak.Array, objects: list[str]) -> bool:
    """Whether the transverse momenta of some objects cancel in all events."""
    total = _values(f"({' + '.join(objects)}).pt", events)
    scale = sum(_values(f"{o}.pt", events) for o in objects)
    return bool((total <= _AT_REST * scale).mean() > 0.999)


def _azimuthal(c: Collection) -> bool:
    return "phi" in c.field_names or {"px", "py"} <= set(c.field_names)


def _leading(c: Collection) -> str:
    return quoted(c.name) if c.layout == "single" else f"{quoted(c.name)}[0]"


def _pt(objects: str, events: ak.Array) -> NDArray[np.float64]:
    return _values(f"({objects}).pt", events)


def _phi(objects: str, events: ak.Array) -> NDArray[np.float64]:
    """The azimuths of what has a transverse momentum."""
    phi, pt = _values(f"({objects}).phi", events), _pt(objects, events)
    return phi[pt > 0] if len(phi) == len(pt) else phi


def _uniform(phi: Numbers) -> float:
    if phi.size < 20:
        return 1.0
    counts, _ = np.histogram(phi, bins=max(2, min(36, phi.size // 10)), range=(-math.pi, math.pi))
    return float(stats.chisquare(counts).pvalue)


def _values(expression: str, events: ak.Array) -> NDArray[np.float64]:
    values = Observable("quantity", expression).flat(events).values
    numbers: NDArray[np.float64] = np.asarray(values, dtype=np.float64)
    return numbers[np.isfinite(numbers)]


def constant_mass(collection: str, masses: Numbers, gev: float = 1.0) -> tuple[float, str] | None:
    """The one mass that stored masses stand for, where they differ by rounding only, with the reason.

    Args:
        collection: Whose they are.
        masses: (n,) the masses.
        gev: A GeV in their unit.
    """
    if not masses.size or masses.min() == masses.max():
        return None
    low, high, middle = float(masses.min()), float(masses.max()), float(np.median(masses.astype(np.float64)))
    if low > 0 and high - low < 1e-4 * middle:
        return float(f"{middle:.7g}"), f"stored masses from {low:.9g} to {high:.9g} differ by rounding"
    if low < 0 and abs(low) < 0.1 * gev and np.quantile(np.abs(masses), 0.99) < 0.1 * gev:
        return gev * _MASSES.get(
            collection, 0.0
        ), f"stored masses from {low:.3g} to {high:.3g} are rounding about 0"
    return None
