"""Quantities that a number of a file may be: of objects, of pairs of them, of other numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import combinations
from typing import NamedTuple

from hepgan.events import Collection, EventSchema, Field, Kind
from hepgan.events.schema import quoted

__all__ = ["Candidate", "own_fields", "quantities_of_events", "quantities_of_objects"]

_SLOTS = 3
"""How many leading objects of a collection are looked at, each by itself and in pairs."""

_COLLECTIONS = 6
_OF_ONE = ("pt", "eta", "phi", "mass", "energy", "px", "py", "pz", "p", "rapidity")
_OF_PAIRS = {2: ("pt", "phi"), 3: ("pt", "eta", "phi"), 4: ("mass", "pt", "eta", "phi", "rapidity")}
"""Quantities of sums of momenta, by the number of their coordinates."""

_KNOWN_MASSES = (91.1876, 91.19, 91.2)
"""Those of the Z in GeV, as analyses have them."""

_LEFT_ALONE = ("charge", "pdgId")
"""Fields that others need as they are."""


class Candidate(NamedTuple):
    """A quantity.

    Attributes:
        expression: It, in the language of observables.
        exists: The condition that an event has it; empty if all have.
        flag: Whether it is true or false.
    """

    expression: str
    exists: str = ""
    flag: bool = False


def own_fields(c: Collection) -> tuple[Field, ...]:
    """The fields of objects that are numbers of their own, and no coordinates."""
    return tuple(f for f in c.fields if f.dtype != "string" and f.name not in _coordinates(c))


def derivable(c: Collection) -> tuple[Field, ...]:
    """The fields of objects that may be derived from others."""
    return tuple(f for f in own_fields(c) if f.name not in _LEFT_ALONE and has_values(f))


def has_values(f: Field) -> bool:
    """Whether a field holds a number for all, which -999 is, too, where a value is missing."""
    return f.missing is None or math.isfinite(f.missing)


def _coordinates(c: Collection) -> set[str]:
    """What is a coordinate, or is computed from some."""
    if not c.coordinates:
        return set()
    return {"px", "py", "pt", "phi"} if len(c.coordinates) == 2 else {*_OF_ONE, "theta"}


def quantities_of_events(schema: EventSchema) -> Iterator[Candidate]:
    """Numbers of the event, the simple ones first."""
    several = [c for c in schema.collections if c.layout != "single"][:_COLLECTIONS]
    single = [c for c in schema.collections if c.layout == "single"]
    for f in schema.scalars:
        if f.dtype != "string" and f.name != schema.weight:
            yield Candidate(quoted(f.name), flag=f.dtype == "bool")
    for c in single:
        momentum = _of_one(c)
        yield from (Candidate(f"{quoted(c.name)}.{n}") for n in momentum)
        for f in own_fields(c):
            yield Candidate(f"{quoted(c.name)}.{quoted(f.name)}", flag=f.dtype == "bool")
    for c in several:
        yield from _of_collection(c)
    for first, second in combinations([quoted(c.name) for c in several if "pt" in _of_one(c)], 2):
        yield Candidate(f"count({first}) + count({second})")
        yield Candidate(f"sum({first}.pt) + sum({second}.pt)")
    objects = [(o, exists, c) for c in several if c.coordinates for o, exists in _leading(c)]
    for (a, has_a, one), (b, has_b, other) in combinations(objects, 2):
        # of one collection, the later object is there only with the earlier one
        exists = has_b if one is other else " and ".join(filter(None, (has_a, has_b)))
        yield from _of_pair(a, b, exists, len(one.coordinates), len(other.coordinates))
    for c in several:
        leading = list(_leading(c))
        if len(leading) > 2 and len(c.coordinates) > 2:
            three = " + ".join(o for o, _ in leading[:3])
            yield from (Candidate(f"({three}).{q}", leading[2][1]) for q in _OF_PAIRS[len(c.coordinates)])
    for met in single:
        if len(met.coordinates) == 2:
            for o, exists, _ in objects:
                yield Candidate(f"transverse_mass({o}, {quoted(met.name)})", exists)
                yield from _angles(o, quoted(met.name), exists)
    for c in several:
        yield from _of_pairs(c, schema.gev)


def _of_one(c: Collection) -> tuple[str, ...]:
    """The coordinates of an object."""
    if len(c.coordinates) < 2:
        return ()
    return {
        2: ("pt", "phi", "px", "py"),
        3: tuple(n for n in _OF_ONE if n not in ("mass", "energy", "rapidity")),
    }.get(len(c.coordinates), _OF_ONE)


def _leading(c: Collection) -> Iterator[tuple[str, str]]:
    """The first objects, and when they exist."""
    name = quoted(c.name)
    for i in range(min(c.max_count, _SLOTS)):
        yield f"{name}[{i}]", "" if i < c.min_count else f"count({name}) > {i}"


def _of_collection(c: Collection) -> Iterator[Candidate]:
    name, some = quoted(c.name), "" if c.min_count else f"count({quoted(c.name)}) > 0"
    yield Candidate(f"count({name})")
    momentum, own = _of_one(c), own_fields(c)
    for o, exists in _leading(c):
        yield from (Candidate(f"{o}.{n}", exists) for n in momentum)
        yield from (Candidate(f"{o}.{quoted(f.name)}", exists, f.dtype == "bool") for f in own)
        if "eta" in momentum:
            yield Candidate(f"abs({o}.eta)", exists)
    for n in ("pt", "energy", "mass", "p"):
        if n in momentum:
            yield Candidate(f"sum({name}.{n})")
            yield from (Candidate(f"{f}({name}.{n})", some) for f in ("max", "min", "mean"))
    for f in own:
        field = f"{name}.{quoted(f.name)}"
        yield Candidate(f"sum({field})")
        if f.dtype == "bool":
            yield from (Candidate(f"{g}({field})", flag=True) for g in ("any", "all"))
        else:
            yield from (Candidate(f"{g}({field})", some) for g in ("max", "min", "mean"))
    if "eta" in momentum:
        yield from (Candidate(f"{f}(abs({name}.eta))", some) for f in ("max", "min"))
    if momentum and c.max_count > 1:
        yield from (Candidate(f"sum({name}).{n}", some) for n in momentum)


def _of_pair(a: str, b: str, exists: str, size: int, other: int) -> Iterator[Candidate]:
    if size == other:  # momenta of three coordinates and of four have no sum
        yield from (Candidate(f"({a} + {b}).{q}", exists) for q in _OF_PAIRS.get(size, ()))
    if min(size, other) > 2:
        yield Candidate(f"{a}.deltaR({b})", exists)
        yield Candidate(f"{a}.eta - {b}.eta", exists)
        yield Candidate(f"abs({a}.eta - {b}.eta)", exists)
    yield from _angles(a, b, exists)


def _angles(a: str, b: str, exists: str) -> Iterator[Candidate]:
    yield Candidate(f"{a}.deltaphi({b})", exists)
    yield Candidate(f"abs({a}.deltaphi({b}))", exists)


def _of_pairs(c: Collection, gev: float) -> Iterator[Candidate]:
    """Of all pairs of a collection, also of opposite charge: the extreme ones, and that nearest to a mass."""
    if c.max_count < 2 or len(c.coordinates) < 3:
        return
    every = f"pairs({quoted(c.name)})"
    sets = [(every, f"count({quoted(c.name)}) > 1" if c.min_count < 2 else "")]
    if "charge" in c.field_names:
        opposite = f"{every}[{every}.first.charge * {every}.second.charge < 0]"
        sets.append((opposite, f"count({opposite}) > 0"))
    for pairs, exists in sets:
        yield Candidate(f"count({pairs})")
        for q in ("mass", "deltaR") if len(c.coordinates) > 3 else ("deltaR",):
            yield from (Candidate(f"{f}({pairs}.{q})", exists) for f in ("min", "max"))
        if len(c.coordinates) > 3:
            for mass in _KNOWN_MASSES:
                yield Candidate(f"sort({pairs}, -abs({pairs}.mass - {mass * gev:.10g}))[0].mass", exists)


def quantities_of_objects(c: Collection, singles: Iterable[Collection]) -> Iterator[Candidate]:
    """Numbers of each object of a collection."""
    name, momentum = quoted(c.name), _of_one(c)
    for f in own_fields(c):
        yield Candidate(f"{name}.{quoted(f.name)}", flag=f.dtype == "bool")
    yield from (Candidate(f"{name}.{n}") for n in momentum)
    for f in own_fields(c):
        if f.kind is Kind.CONTINUOUS:
            yield Candidate(f"abs({name}.{quoted(f.name)})")
    if "eta" in momentum:
        yield Candidate(f"abs({name}.eta)")
    if momentum:
        for met in singles:
            if len(met.coordinates) == 2:
                yield Candidate(f"transverse_mass({name}, {quoted(met.name)})")
                yield from _angles(name, quoted(met.name), "")
