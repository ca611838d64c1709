"""The unit of momenta, energies and masses, told from the data: constant masses, resonances, titles, sizes.

Several hints vote. A constant mass that is that of a known particle, or a unit that titles or names say,
counts most; then a peak in the mass of a pair at that of a well-known resonance, and sizes that no collider
could make of GeV. Where the votes for another unit are too few, or as many as for GeV, it is GeV, in doubt.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from hepgan.arguments import checked
from hepgan.errors import InputError
from hepgan.events.angles import in_degrees
from hepgan.events.buffers import Buffers, buffers, scalar_values
from hepgan.events.schema import GEV, Collection, EventSchema, Field, Unit

__all__ = ["PARTICLES", "FoundUnit", "find_unit", "telling", "with_unit"]

Floats = NDArray[np.float64]

LOOK = 5_000
"""Events that are looked at."""

PARTICLES = {
    "electron": 0.000510999,
    "muon": 0.1056584,
    "neutral pion": 0.1349768,
    "charged pion": 0.1395704,
    "charged kaon": 0.493677,
    "neutral kaon": 0.497611,
    "proton": 0.938272,
    "neutron": 0.939565,
    "Lambda": 1.115683,
    "tau": 1.77693,
    "neutral D": 1.86484,
    "charged D": 1.86966,
}
"""Masses in GeV of particles that files hold as constants."""

_RESONANCES = {
    "Z": (91.188, 0.03, 2.0),
    "W": (80.37, 0.03, 2.0),
    "Higgs boson": (125.2, 0.02, 1.0),
    "top": (172.6, 0.02, 1.0),
    "J/psi": (3.0969, 0.02, 2.0),
    "Upsilon": (9.460, 0.015, 2.0),
    "B": (5.280, 0.01, 1.0),
    "D": (1.867, 0.015, 1.0),
    "phi": (1.0195, 0.015, 1.0),
    "Lambda": (1.1157, 0.005, 1.0),
    "neutral kaon": (0.4976, 0.015, 1.0),
}
"""Mass in GeV, half the width of its window in units of it, and how much a peak there says."""

_CONSTANT, _TOLD, _SIZE = 3.0, 3.0, 2.0
_ENOUGH = 2.0
"""What speaks for another unit than GeV, at least."""

_CLOSE = 0.004
_FLOAT32 = 4 * 2.0**-23
_OUTLIERS = 0.01
_SHARE = 0.05
_LEAST = 30
_SIGNIFICANT = 6.0
_MOST_PARTS = 8
_HARDEST, _FASTEST = 3000.0, 7000.0
"""Half of the pT, or of the momenta, of a collection in GeV are below this in any collider."""

_SOFT = (0.3, 100.0)
"""A median pT between these is one in GeV, most likely."""

_SOFTEST = 0.05
"""A median pT in GeV above this."""

_WORD = re.compile(r"(?<![A-Za-z])([MGT]eV)(?![A-Za-z])")
_MASS = re.compile(r"(?:.*[_.])?(?:m|mm|mass|minv|m[a-z0-9]{2})(?:[_.].*)?|.*mass.*", re.IGNORECASE)
_SIZED = re.compile(r"(?:.*[_.])?(?:met|ht|pt|et|energy|e|p)(?:[_.].*)?", re.IGNORECASE)


class FoundUnit(NamedTuple):
    """The unit of the momenta, and why.

    Attributes:
        unit: The unit.
        reasons: What speaks for it, in words.
        against: What speaks for another one.
        asked: Whether the user has said so.
    """

    unit: Unit = "GeV"
    reasons: tuple[str, ...] = ()
    against: tuple[str, ...] = ()
    asked: bool = False

    def told(self) -> str:
        """It in words; empty if there is nothing to tell."""
        if self.asked:
            return f"Momenta, energies and masses are in {self.unit}, as asked for."
        if self.against:
            why = f" ({'; '.join(self.reasons)})" if self.reasons else ""
            return (
                f"Momenta, energies and masses are taken to be in {self.unit}{why}, but that is in doubt: "
                f"{'; '.join(self.against)}. `hepgan init --units MeV` takes another unit."
            )
        if not self.reasons or self.unit == "GeV":
            return ""
        return f"Momenta, energies and masses are in {self.unit}: {'; '.join(self.reasons)}."


class _Hint(NamedTuple):
    unit: Unit
    weight: float
    text: str


@checked
def find_unit(events: ak.Array, schema: EventSchema) -> FoundUnit:
    """The unit in which events have their momenta, energies and masses.

    Args:
        events: The events, of which the first 5,000 are looked at.
        schema: What they hold.
    """
    some = events[:LOOK]
    hints: list[_Hint] = [*_said(schema), *_of_parts(some, schema)]
    votes: dict[Unit, float] = dict.fromkeys(GEV, 0.0)
    for hint in hints:
        votes[hint.unit] += hint.weight
    best = max(votes, key=lambda u: (votes[u], u == "GeV"))
    if best != "GeV" and (votes[best] < _ENOUGH or sum(v == votes[best] for v in votes.values()) > 1):
        best = "GeV"
    others: dict[Unit, float] = {u: v for u, v in votes.items() if u != best}
    doubt = max(others.values()) >= 1.0 and max(others.values()) >= 0.5 * votes[best]
    return FoundUnit(
        best,
        _texts(h for h in hints if h.unit == best),
        _texts(h for h in hints if h.unit != best) if doubt else (),
    )


def telling(schema: EventSchema) -> EventSchema:
    """The part of what events hold that may tell their unit: momenta, charges, and masses."""
    collections = tuple(
        c.model_copy(update={"fields": used}) for c in schema.collections if (used := _used(c))
    )
    scalars = tuple(f for f in schema.numbers if _MASS.fullmatch(f.name) or _SIZED.fullmatch(f.name))
    return EventSchema(collections=collections, scalars=scalars, tree=schema.tree)


@checked
def with_unit(schema: EventSchema, events: ak.Array) -> EventSchema:
    """The schema with the unit that events of it have."""
    return schema.model_copy(update={"unit": find_unit(events, schema).unit})


def _texts(hints: Iterator[_Hint], most: int = 3) -> tuple[str, ...]:
    return tuple(dict.fromkeys(h.text for h in sorted(hints, key=lambda h: -h.weight)))[:most]


# ---------------------------------------------------------------------- what is said


def _said(schema: EventSchema) -> Iterator[_Hint]:
    """The unit that titles or names of momenta tell, or where there is none those of other numbers."""
    momenta = [f for c in schema.collections for f in c.fields if f.name in (*c.coordinates, *_ENERGIES)]
    rest = [f for c in schema.collections for f in c.fields] + list(schema.scalars)
    for fields in (momenta, rest):
        told: dict[str, list[Field]] = {}
        for f in fields:
            for unit in dict.fromkeys(_WORD.findall(f"{f.title} {f.branch}")):
                told.setdefault(unit, []).append(f)
        if told:
            unit, most = max(told.items(), key=lambda item: len(item[1]))
            if 2 * len(most) > sum(map(len, told.values())):
                yield _Hint(_unit(unit), _TOLD, f"the name or title of {most[0].branch} says {unit}")
            return


_ENERGIES = ("px", "py", "pz", "pt", "mass", "energy")


def _unit(text: str) -> Unit:
    return next(u for u in GEV if u == text)


# ---------------------------------------------------------------------- what numbers tell


@dataclass(frozen=True)
class _Part:
    """Objects of a collection, of all events in a row.

    Attributes:
        name: Their collection.
        offsets: Where those of each event begin (N + 1,).
        momenta: px, py, pz and energy (n, 4); no columns (n, 0) for transverse vectors.
        pt: Their transverse momenta (n,).
        masses: Their masses (n,), if they are stored.
        charge: Their charges (n,), if they have some.
    """

    name: str
    offsets: NDArray[np.int64]
    momenta: Floats
    pt: Floats
    masses: Floats | None
    charge: Floats | None

    @property
    def spatial(self) -> bool:
        """Whether their momenta are known."""
        return bool(self.momenta.shape[1])

    def slot(self, number: int) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """Which events (N,) have an object of a number, and its place in the row."""
        places = self.offsets[:-1] + number
        there = places < self.offsets[1:]
        return there, np.where(there, places, 0)


def _of_parts(events: ak.Array, schema: EventSchema) -> Iterator[_Hint]:
    parts = [part for c in schema.collections if (part := _part(events, c)) is not None and len(part.pt)]
    for part in parts:
        yield from _constants(part)
        yield from _size(part)
    for name, masses in _pairs(parts):
        yield from _peak(f"the mass of {name}", masses)
    for name, masses in _stored(events, schema):
        yield from _peak(name, masses)
    if not parts:
        yield from _sizes_of_numbers(events, schema)


def _part(events: ak.Array, c: Collection) -> _Part | None:
    if not c.coordinates or any(f.dtype in ("string", "bool") for f in _used(c)):
        return None
    try:
        offsets, fields = buffers(events, c.model_copy(update={"fields": _used(c)}))
    except InputError:
        return None
    known = {n: np.asarray(v, dtype=np.float64) for n, v in fields.items()}
    if "phi" in known and in_degrees(known["phi"]):
        known["phi"] = np.radians(known["phi"])
    size = len(next(iter(known.values())))
    if offsets is None:
        offsets = np.arange(size + 1, dtype=np.int64)
    with np.errstate(all="ignore"):
        px, py = (
            (known["px"], known["py"])
            if {"px", "py"} <= known.keys()
            else (known["pt"] * np.cos(known["phi"]), known["pt"] * np.sin(known["phi"]))
        )
        pt = np.hypot(px, py)
        momenta = _momenta(known, px, py, pt) if len(c.coordinates) > 2 else np.zeros((size, 0))
    charge = known.get("charge")
    return _Part(c.name, offsets, momenta, pt, known.get("mass"), charge)


def _used(c: Collection) -> tuple[Field, ...]:
    wanted = {*c.coordinates, "mass", "energy"}
    used = tuple(f for f in c.fields if f.name in wanted)
    return used and (*used, *(f for f in c.fields if f.name == "charge"))


def _momenta(known: dict[str, Floats], px: Floats, py: Floats, pt: Floats) -> Floats:
    if "pz" in known:
        pz = known["pz"]
    elif "eta" in known:
        pz = pt * np.sinh(np.clip(known["eta"], -50, 50))
    else:
        pz = pt / np.tan(known["theta"])
    mass = known.get("mass")
    p2 = px**2 + py**2 + pz**2
    if mass is not None:
        energy = np.sqrt(p2 + np.maximum(mass, 0.0) ** 2)
    else:
        energy = known["energy"] if "energy" in known else np.sqrt(p2)
    found = np.stack([px, py, pz, energy], 1)
    return np.where(np.isfinite(found).all(1, keepdims=True), found, np.nan)


def _constants(part: _Part) -> Iterator[_Hint]:
    """Known particles among the masses of objects."""
    if part.masses is not None:
        values = part.masses[np.isfinite(part.masses) & (part.masses > 0)]
        if values.size < _LEAST:
            return
        rounded, counts = np.unique(np.float32(np.round(values, 6)), return_counts=True)
        often = rounded[counts >= max(_SHARE * values.size, _LEAST)]
        middle = float(np.median(values))
        narrow = (np.abs(values - middle) < _CLOSE * middle).mean() > 1 - _OUTLIERS
        found = [middle] if narrow else [float(m) for m in often[:_MOST_PARTS]]
    else:
        mass = implied_mass(part.momenta) if part.spatial else None
        found = [] if mass is None else [mass]
    for mass in found:
        for unit, gev in GEV.items():
            name = next((n for n, m in PARTICLES.items() if abs(mass - gev * m) < _CLOSE * gev * m), None)
            if name is not None:
                yield _Hint(unit, _CONSTANT, f"{part.name} has the mass of {_article(name)}, {mass:.6g}")


def _shown(number: float) -> str:
    """A large number to three digits: 40600."""
    return f"{float(f'{number:.3g}'):.10g}"


def _article(name: str) -> str:
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def implied_mass(momenta: Floats) -> float | None:
    """The one mass that objects (n, 4) have, as far as the digits of single precision tell; None if none."""
    momenta = momenta[np.isfinite(momenta).all(1) & (momenta[:, 3] > 0)]
    if len(momenta) < _LEAST:
        return None
    energy2 = momenta[:, 3] ** 2
    m2 = energy2 - (momenta[:, :3] ** 2).sum(1)
    weight = energy2.mean() ** 2 / energy2**2
    mean = float((weight * m2).sum() / weight.sum())
    noise = _FLOAT32 * energy2
    error = float(np.sqrt(((weight * noise) ** 2).sum()) / weight.sum())
    outside = np.abs(m2 - mean) > noise + 2 * _CLOSE * abs(mean)
    if mean <= 0 or error > _CLOSE * mean or outside.mean() > _OUTLIERS:
        return None
    return float(np.sqrt(mean))


def _size(part: _Part) -> Iterator[_Hint]:
    pt = part.pt[np.isfinite(part.pt) & (part.pt > 0)]
    if pt.size < _LEAST:
        return
    middle = float(np.median(pt))
    p = np.sqrt((part.momenta[:, :3] ** 2).sum(1))
    fast = float(np.median(p[np.isfinite(p)])) if np.isfinite(p).any() else 0.0
    if middle > _HARDEST:
        yield _Hint("MeV", _SIZE, f"half of all pt of {part.name} are above {_shown(middle)}")
    elif fast > _FASTEST:
        yield _Hint("MeV", _SIZE, f"half of all momenta of {part.name} are above {_shown(fast)}")
    elif middle < _SOFTEST:
        yield _Hint("TeV", 1.0, f"the median pt of {part.name} is only {middle:.3g}")
    elif _SOFT[0] < middle < _SOFT[1]:
        yield _Hint("GeV", 1.0, f"the median pt of {part.name} is {middle:.3g}")


def _pairs(parts: list[_Part]) -> Iterator[tuple[str, Floats]]:
    """Masses of the first two objects of a collection, and of two that are alone in theirs."""
    spatial = [p for p in parts if p.spatial]
    alone = [p for p in spatial if len(p.pt) == len(p.offsets) - 1 and (np.diff(p.offsets) == 1).all()]
    for p in spatial:
        there, second = p.slot(1)
        first = p.slot(0)[1]
        if p.charge is not None:
            there = there & (p.charge[first] * p.charge[second] < 0)
        if there.sum() >= _LEAST:
            yield f"pairs of {p.name}", _mass(p, first[there], p, second[there])
    for a, b in combinations(alone[:_MOST_PARTS], 2):
        every = np.arange(len(a.pt))
        yield f"{a.name} and {b.name}", _mass(a, every, b, every)


def _mass(a: _Part, i: NDArray[np.int64], b: _Part, j: NDArray[np.int64]) -> Floats:
    total = a.momenta[i] + b.momenta[j]
    return np.asarray(np.sqrt(np.maximum(total[:, 3] ** 2 - (total[:, :3] ** 2).sum(1), 0.0)))


def _stored(events: ak.Array, schema: EventSchema) -> Iterator[tuple[str, Floats]]:
    """Numbers that are called as masses are, and vary."""
    for f in schema.numbers:
        if _MASS.fullmatch(f.name) and f.dtype.startswith("float"):
            yield f.name, _numbers(events, f)
    for c in schema.collections:
        own = tuple(f for f in c.fields if f.name == "mass" and f.dtype.startswith("float"))
        if own:
            try:
                yield f"the mass of {c.name}", _only(buffers(events, c.model_copy(update={"fields": own})))
            except InputError:
                continue


def _only(found: Buffers) -> Floats:
    return np.asarray(next(iter(found.fields.values())), dtype=np.float64)


def _numbers(events: ak.Array, f: Field) -> Floats:
    try:
        return scalar_values(events, f).astype(np.float64)
    except InputError:
        return np.zeros(0)


def _peak(name: str, masses: Floats) -> Iterator[_Hint]:
    """Known resonances at which masses have a peak."""
    masses = masses[np.isfinite(masses) & (masses > 0)]
    if masses.size < _LEAST or masses.min() == masses.max():
        return
    logs = np.sort(np.log(masses))
    for unit, gev in GEV.items():
        for known, (mass, width, says) in _RESONANCES.items():
            middle = np.log(gev * mass)
            within, below, above = (
                int(np.diff(np.searchsorted(logs, [middle + low * width, middle + high * width]))[0])
                for low, high in ((-1.0, 1.0), (-3.5, -1.5), (1.5, 3.5))
            )
            beside = max(below, above)
            excess = (within - beside) / np.sqrt(within + beside + 1.0)
            if within >= _LEAST and within > 2 * beside and excess > _SIGNIFICANT:
                # The peak's own middle, so that the flank of a wider one elsewhere is none.
                inside = logs[np.abs(logs - middle) < width]
                several = bool(np.quantile(inside, 0.25) < np.quantile(inside, 0.75))
                if several and abs(float(np.median(inside)) - middle) < 0.5 * width:
                    at = float(np.exp(np.median(inside)))
                    yield _Hint(unit, says, f"{name} peaks at that of the {known}, {at:.5g}")


def _sizes_of_numbers(events: ak.Array, schema: EventSchema) -> Iterator[_Hint]:
    """Of files without momenta: numbers that are called as transverse momenta and energies are."""
    for f in schema.numbers:
        if not _SIZED.fullmatch(f.name) or not f.dtype.startswith("float"):
            continue
        values = _numbers(events, f)
        values = np.abs(values[np.isfinite(values)])
        middle = float(np.median(values)) if values.size >= _LEAST else 0.0
        if middle > _FASTEST:
            yield _Hint("MeV", 1.0, f"half of all {f.name} are above {_shown(middle)}")


# ---------------------------------------------------------------------- two samples


_APART = 30.0
"""Momenta whose units seem to differ, and that differ by more than this, are in two units."""

_THOUSAND = 1.3
"""Momenta that differ by a thousand or a million, to within this factor, are so whatever units seem to be."""


def check_units(
    events: ak.Array, schema: EventSchema, others: ak.Array, other: EventSchema, *, file: str | None, of: str
) -> None:
    """Checks that two samples that are to be compared have their momenta in one unit.

    Units that seem to differ do so only if the momenta differ, too.

    Args:
        events: Some events.
        schema: What they hold.
        others: Some events of the other sample.
        other: What they hold.
        file: The other sample's file, for the error.
        of: What errors call the other sample.

    Raises:
        InputError: If the momenta of one are some hundred times those of the other.
    """
    here = {p.name: p for c in schema.collections if (p := _part(events[:LOOK], c)) is not None}
    there = {p.name: p for c in other.collections if (p := _part(others[:LOOK], c)) is not None}
    ratios = [_typical(there[n]) / _typical(here[n]) for n in here if n in there]
    known = [r for r in ratios if np.isfinite(r) and r > 0]
    ratio = float(np.median(known)) if known else 1.0
    thousands = round(np.log10(ratio) / 3)
    exact = thousands != 0 and abs(np.log(ratio / 1000.0**thousands)) < np.log(_THOUSAND)
    if exact or (schema.unit != other.unit and max(ratio, 1 / ratio) > _APART):
        msg = (
            f"the {of} events have momenta in another unit than the reference: their pt are {ratio:.3g} "
            "times as large; write one of them in the unit of the other"
        )
        raise InputError(msg, file=file)


def _typical(part: _Part) -> float:
    """The median pt of objects; NaN if there are none."""
    pt = part.pt[np.isfinite(part.pt) & (part.pt > 0)]
    return float(np.median(pt)) if pt.size else float("nan")
