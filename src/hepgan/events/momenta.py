"""Momenta that no names tell, found in the numbers: four columns whose E^2 - p^2 is the square of a mass.

Nothing is guessed. Four numbers are a momentum only if E^2 - p^2 is nowhere negative, and constant or narrow
against what it is the difference of, and if no one of the components can be left out for that. One that is 0
everywhere could as well be a distance from a point, so it is none; and where two choices are possible, none
is taken. Of polar coordinates the azimuth, which E^2 - p^2 does not hold, has to be the only number that is
uniform within [-pi, pi].
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import combinations
from typing import NamedTuple

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from hepgan.errors import InputError
from hepgan.events.buffers import buffers, scalar_values
from hepgan.events.names import coordinate
from hepgan.events.schema import Collection, EventSchema, Field

__all__ = ["find_momentum", "unnamed", "with_momenta", "with_momenta_of"]

Floats = NDArray[np.float64]

_LEAST = 100
"""Objects that prove anything."""

_MOST_COLUMNS = 12
"""Numbers of an object, or of a group, among which a momentum is looked for."""

_MOST_GROUPS = 100
_FEW = 400
_SCREEN = 0.3
"""The variation of E^2 - p^2 in a few objects, against that of E^2, with which all are looked at."""

_GOOD = 0.999
_NARROW = 0.05
"""The spread of E^2 - p^2, against that of E^2."""

_NEEDED = 2.0
"""By how much it grows without a component."""

_SINGLE, _DOUBLE = 8 * 2.0**-24, 8 * 2.0**-50
_STEEP = 12.0
_UNIFORM = 0.08
"""The largest distance of the cumulative distribution of an azimuth from a uniform one."""

_CARTESIAN = ("px", "py", "pz")


class _Choice(NamedTuple):
    """Which columns are which coordinates."""

    names: dict[str, str]
    spread: float


def with_momenta(schema: EventSchema, read: Callable[[EventSchema], ak.Array]) -> EventSchema:
    """The schema with the momenta that the first events have, but that names do not tell.

    Args:
        schema: What the names of branches tell.
        read: Reads the first events of a part of the schema; it may leave out what cannot be read.

    Returns:
        The schema, in which fields that are coordinates are called so, and scalars that are a momentum are
        objects of their own.
    """
    wanted = [c.model_copy(update={"fields": used}) for c in schema.collections if (used := _wanted(c))]
    groups = list(_groups(schema))
    single = {f.name: f for fields in groups for f in fields}
    if not wanted and not single:
        return schema
    part = EventSchema(collections=tuple(wanted), scalars=tuple(single.values()), tree=schema.tree)
    events = read(part)
    found: dict[str, dict[str, str]] = {}
    for c in wanted:
        names = find_momentum(_columns(events, c))
        if names:
            found[c.name] = names
    collections = [c if c.name not in found else _renamed(c, found[c.name]) for c in schema.collections]
    columns = {n: v for n, f in single.items() if (v := _scalar(events, f)) is not None}
    left = {f.name: f for f in schema.numbers}
    for fields in groups:
        here = {f.name: columns[f.name] for f in fields if f.name in columns and f.name in left}
        names = find_momentum(here)
        if names:
            taken = {c.name for c in collections} | left.keys() | {f.name for f in schema.identifiers}
            made = _made(names, left, taken)
            collections.append(made)
            left = {n: f for n, f in left.items() if f.branch not in {x.branch for x in made.fields}}
    weight = schema.weight if schema.weight in left else None
    scalars = tuple(f for f in schema.scalars if f.shape or f.name in left)
    update = {"collections": tuple(collections), "scalars": scalars, "weight": weight}
    return schema.model_copy(update=update)


def find_momentum(columns: Mapping[str, NDArray[np.floating]]) -> dict[str, str]:
    """Which of some numbers are the coordinates of a momentum with a mass; none if there is no proof.

    Args:
        columns: (n,) numbers by name, of n objects. Those that are called ``px``, ``py``, ``pz``, ``pt``,
            ``eta`` or ``phi`` are these.

    Returns:
        For each number that is one, and is called otherwise, which coordinate it is.
    """
    usable = {n: v for n, v in columns.items() if len(v) >= _LEAST and v.dtype.kind == "f"}
    with np.errstate(over="ignore", under="ignore"):
        single = {
            n for n, v in usable.items() if v.dtype.itemsize < 8 or bool((v.astype(np.float32) == v).all())
        }
    with np.errstate(over="ignore", invalid="ignore"):
        numbers = {
            n: v.astype(np.float64)
            for n, v in usable.items()
            if np.isfinite(v).all() and 0 < v.std() < np.inf
        }
    precision = _SINGLE if single & numbers.keys() else _DOUBLE
    choices = [*_cartesian(numbers, precision), *_polar(numbers, precision)]
    if not choices:
        return {}
    # What is the same up to the names of components is one choice, the first.
    best: dict[frozenset[str], _Choice] = {}
    for c in choices:
        best.setdefault(frozenset(c.names), c)
    if len(best) > 1:
        return {}
    (chosen,) = best.values()
    return {n: coordinate for n, coordinate in chosen.names.items() if n != coordinate}


def with_momenta_of(schema: EventSchema, reference: EventSchema) -> EventSchema:
    """What a file holds, with the momenta that numbers have told of another file of the same branches.

    Its own numbers may be too few for that, or not so good.

    Args:
        schema: What it holds.
        reference: What the other file holds.
    """
    for c in reference.collections:
        here = {f.branches: f for o in schema.collections for f in o.fields}
        here |= {f.branches: f for f in schema.scalars}
        known = next((o for o in schema.collections if o.name == c.name), None)
        told = known is not None and known.field_names == c.field_names
        alike = all(f.branches in here and here[f.branches].dtype == f.dtype for f in c.fields)
        if told or not alike or not unnamed(c):
            continue
        wanted = {f.branches for f in c.fields}
        host = next((o for o in schema.collections if wanted <= {f.branches for f in o.fields}), None)
        if host is not None:
            names = {f.branches: f.name for f in c.fields}
            fields = tuple(f.model_copy(update={"name": names.get(f.branches, f.name)}) for f in host.fields)
            made = host.model_copy(update={"fields": fields})
            collections = tuple(made if o is host else o for o in schema.collections)
            schema = schema.model_copy(update={"collections": collections})
        elif c.layout == "single" and wanted <= {f.branches for f in schema.scalars}:
            rest = tuple(f for f in schema.scalars if f.branches not in wanted)
            weight = schema.weight if schema.weight in {f.name for f in rest} else None
            update = {"collections": (*schema.collections, c), "scalars": rest, "weight": weight}
            schema = schema.model_copy(update=update)
    return schema


def unnamed(c: Collection) -> tuple[str, ...]:
    """The branches of a collection's momentum, in the order of its coordinates, if names do not tell them."""
    branches = {n: c.field(n).branch for n in c.coordinates}
    told = all(n in ("pt", "phi") or n in _told(b) for n, b in branches.items())
    return () if told else tuple(branches.values())


def _told(branch: str) -> set[str | None]:
    """The coordinates that words of a branch's name may stand for."""
    words = re.split(r"[_.:/]|(?<=[a-z])(?=[A-Z])", branch)
    plain = [re.sub(r"\d+$", "", w) for w in words]
    size = range(len(words))
    return {coordinate("".join(p[i : j + 1])) for p in (words, plain) for i in size for j in size if j >= i}


# ---------------------------------------------------------------------- proof


def _cartesian(numbers: Mapping[str, Floats], precision: float) -> Iterator[_Choice]:
    known = [n for n in _CARTESIAN if n in numbers]
    if len(known) < 3 and ("pt" in numbers or "eta" in numbers):
        return
    free = [n for n in numbers if n not in known and n not in _OTHERS][:_MOST_COLUMNS]
    lacking = [n for n in _CARTESIAN if n not in known]
    squares = {n: v**2 for n, v in numbers.items()}
    for energy in free:
        if (numbers[energy] <= 0).any():
            continue
        inside = [n for n in free if n != energy and (squares[n] <= squares[energy]).mean() > _GOOD]
        for chosen in _promising(squares, energy, known, inside, len(lacking)):
            components = [*known, *chosen]
            signs = sum(bool((numbers[n] < 0).any() and (numbers[n] > 0).any()) for n in components)
            if signs < 2:
                continue
            spread = _proven(squares[energy], [squares[n] for n in components], precision)
            if spread is not None:
                names = dict(zip(known, known, strict=True)) | dict(zip(chosen, lacking, strict=True))
                yield _Choice({**names, energy: "energy"}, spread)


def _promising(
    squares: Mapping[str, Floats], energy: str, known: list[str], free: list[str], size: int
) -> list[tuple[str, ...]]:
    """Choices of so many components with which E^2 - p^2 varies less than E^2, in a few objects."""
    choices = list(combinations(free, size))
    if not choices:
        return []
    some = {n: v[:_FEW] for n, v in squares.items()}
    start = some[energy] - sum(some[n] for n in known)
    left = np.stack([start - sum(some[n] for n in chosen) for chosen in choices])
    good = _varies(left) < _SCREEN * _varies(some[energy][None])
    return [c for c, g in zip(choices, good, strict=True) if g]


def _varies(values: Floats) -> Floats:
    """How far numbers (m, n) are from their means, on average."""
    return np.asarray(np.abs(values - values.mean(1, keepdims=True)).mean(1))


def _polar(numbers: Mapping[str, Floats], precision: float) -> Iterator[_Choice]:
    if any(n in numbers for n in _CARTESIAN):
        return
    free = [n for n in numbers if n not in _OTHERS][:_MOST_COLUMNS]
    azimuths = ["phi"] if "phi" in numbers else [n for n in free if _is_azimuth(numbers[n])]
    if len(azimuths) != 1:
        return
    (phi,) = azimuths
    rest = [n for n in free if n != phi]
    for eta in ["eta"] if "eta" in numbers else rest:
        angle = numbers[eta]
        if np.abs(angle).max() > _STEEP or not ((angle < 0).any() and (angle > 0).any()):
            continue
        for pt in ["pt"] if "pt" in numbers else [n for n in rest if n != eta]:
            if (numbers[pt] <= 0).any():
                continue
            transverse = numbers[pt] ** 2
            along = transverse * np.sinh(angle) ** 2
            whole = (transverse + along)[:_FEW]
            for energy in rest:
                if energy in (eta, pt) or (numbers[energy] <= 0).any():
                    continue
                squared = numbers[energy][:_FEW] ** 2
                if _varies((squared - whole)[None]) >= _SCREEN * _varies(squared[None]):
                    continue
                # eta in single precision moves p by its own size
                noise = precision * (1 + np.abs(angle).max())
                spread = _proven(numbers[energy] ** 2, [transverse, along], noise)
                if spread is not None:
                    yield _Choice({phi: "phi", eta: "eta", pt: "pt", energy: "energy"}, spread)


_OTHERS = ("px", "py", "pz", "pt", "eta", "phi", "theta", "mass", "energy", "p")


def _proven(energy2: Floats, parts: list[Floats], precision: float) -> float | None:
    """The spread of E^2 - p^2 against that of E^2, if it is the square of a mass; None if it is not."""
    m2 = energy2 - np.sum(parts, axis=0)
    noise = precision * energy2
    if (m2 < -noise).mean() > 1 - _GOOD or (np.abs(m2) <= 2 * noise).mean() > 0.5:
        return None
    whole, left = _spread(energy2), _spread(m2)
    floor = float(np.median(noise))
    if not whole > 0 or left > _NARROW * whole + floor:
        return None
    if any(_spread(m2 + p) < _NEEDED * max(left, floor) for p in parts):
        return None
    # A narrow middle with wide wings would be chance.
    low, high = np.quantile(m2, (0.005, 0.995))
    if high - low > 4 * _NARROW * float(np.subtract(*np.quantile(energy2, (0.995, 0.005)))) + 4 * floor:
        return None
    return left / whole


def _spread(values: Floats) -> float:
    low, high = np.quantile(values, (0.25, 0.75))
    return float(high - low)


def _is_azimuth(values: Floats) -> bool:
    if np.abs(values).max() > np.pi * (1 + 1e-6):
        return False
    turned = np.sort(values) / (2 * np.pi) + 0.5
    even = (np.arange(len(turned)) + 0.5) / len(turned)
    return bool(np.abs(turned - even).max() < _UNIFORM)


# ---------------------------------------------------------------------- where it is looked for


def _is_number(f: Field) -> bool:
    return f.dtype.startswith("float")


def _wanted(c: Collection) -> tuple[Field, ...]:
    """The numbers of a collection that may be a momentum; none if it has one, or has too few."""
    names = set(c.field_names)
    if len(c.coordinates) == 4 or names & {"mass", "energy"}:
        return ()
    numbers = [f for f in c.fields if _is_number(f)]
    known = [f for f in numbers if f.name in (*_CARTESIAN, "pt", "eta", "phi")]
    free = [f for f in numbers if f.name not in _OTHERS]
    if not free or len(known) + len(free) < 4:
        return ()
    return (*known, *free[:_MOST_COLUMNS])


def _groups(schema: EventSchema) -> Iterator[list[Field]]:
    """Scalars that may be a momentum: of a common prefix, of a common suffix, or next to each other."""
    numbers = [f for f in schema.numbers if _is_number(f) and f.name != schema.weight]
    by: dict[tuple[str, str], list[Field]] = {}
    for f in numbers:
        if prefix := _prefix(f.name):
            by.setdefault(("prefix", prefix), []).append(f)
        first, _, rest = f.name.partition("_")
        if rest and first:
            by.setdefault(("suffix", rest), []).append(f)
    kept = [fields[:_MOST_COLUMNS] for fields in by.values() if len(fields) >= 4]
    kept += [list(numbers[i : i + 4]) for i in range(len(numbers) - 3)]
    yield from kept[:_MOST_GROUPS]


def _prefix(name: str) -> str:
    """``mu`` of ``mu_x0``, ``p4`` of ``p4.fX``, ``x`` of ``x3``."""
    found = re.fullmatch(r"(.+)[_.][^_.]+", name) or re.fullmatch(r"(.*[A-Za-z])\d+", name)
    return found[1] if found else ""


def _columns(events: ak.Array, c: Collection) -> dict[str, NDArray[np.floating]]:
    if c.name not in events.fields:
        return {}
    try:
        return dict(buffers(events, c).fields)
    except InputError:
        return {}


def _scalar(events: ak.Array, f: Field) -> NDArray[np.floating] | None:
    try:
        return scalar_values(events, f)
    except InputError:
        return None


def _renamed(c: Collection, names: Mapping[str, str]) -> Collection:
    fields = tuple(f.model_copy(update={"name": names.get(f.name, f.name)}) for f in c.fields)
    return c.model_copy(update={"fields": fields})


def _made(names: Mapping[str, str], scalars: Mapping[str, Field], taken: Iterable[str]) -> Collection:
    """The object that some scalars are, with what else has their prefix."""
    prefixes = {_prefix(n) for n in names}
    prefix = prefixes.pop() if len(prefixes) == 1 else ""
    joined = re.compile(rf"{re.escape(prefix)}[_.](.+)")
    rest = {n: found[1] for n in scalars if prefix and n not in names and (found := joined.fullmatch(n))}
    suffixes = {n.partition("_")[2] for n in names}
    base = prefix or (suffixes.pop() if len(suffixes) == 1 else "") or "Particle"
    called = base
    while called in taken:
        called += "Objects"
    fields: dict[str, Field] = {}
    for n, f in scalars.items():
        name = names.get(n, rest.get(n))
        while name in fields or (name in _OTHERS and n in rest):
            name += "_"
        if name is not None:
            fields[name] = f.model_copy(update={"name": name})
    return Collection(name=called, layout="single", fields=tuple(fields.values()), min_count=1, max_count=1)
