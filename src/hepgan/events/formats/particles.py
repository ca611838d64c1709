"""What files of event generators hold: particles with momenta and PDG ids, and a few numbers of the event."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hepgan.errors import OutputError
from hepgan.events.buffers import Buffer, Jagged, Numbers
from hepgan.events.formats.source import Content
from hepgan.events.schema import GEV, Branch, Collection

COLLECTION, INCOMING, INTERMEDIATE = "Particle", "Incoming", "Intermediate"
"""What particles of the final state, of the initial state and all others are called."""

INTEGERS = ("id", "status", "mother1", "mother2", "color1", "color2")
MOMENTA = ("px", "py", "pz", "energy", "mass")
FLOATS = (*MOMENTA, "lifetime", "spin")

_IDS = ("id", "pdgId", "pdgid", "pdg_id", "PDG", "pid", "PID")
_VARIATION = "variation_"
"""What the names of weights begin with that are not the events'."""


def branches_of(
    integers: Sequence[str], floats: Sequence[str], collection: str = COLLECTION
) -> dict[str, Branch]:
    """Branches of numbers of particles, by what the numbers are."""
    types = dict.fromkeys(integers, "int32") | dict.fromkeys(floats, "float64")
    return {n: Branch(f"{collection}_{n}", t, jagged=True) for n, t in types.items()}


def variation(name: str) -> str:
    """The branch of a weight of that name."""
    return f"{_VARIATION}{name}"


class Particles(NamedTuple):
    """The particles of some events.

    Attributes:
        offsets: (N + 1,) where each event's begin.
        numbers: (P,) of each of ``INTEGERS`` and ``FLOATS``.
    """

    offsets: NDArray[np.int64]
    numbers: dict[str, Numbers]


class ParticleWriter:
    """Finds the particles and the numbers of events that such a file is to hold.

    A warning tells what it has no place for.

    Args:
        content: What the file is to hold.
        path: The file.
        numbers: Numbers of the event that the format knows.
        format: How it is called.
        others: Further collections that the format knows, which need no momenta.

    Attributes:
        others: Those of them that there are.
        variations: Names of further weights, and the scalars that hold them.

    Raises:
        OutputError: If there are no particles with momenta and PDG ids, or several collections of them.
    """

    def __init__(
        self, content: Content, path: Path, numbers: Sequence[str], format: str, others: Sequence[str] = ()
    ) -> None:
        schema = content.schema
        self._gev = GEV[schema.unit]
        self.others = {c.name: c for c in schema.collections if c.name in others and _identified(c)}
        rest_of = [c for c in schema.collections if c.name not in self.others]
        self.collection = _particles(rest_of, path, format)
        self.weight = None if schema.weight is None else schema.scalar(schema.weight).branch
        scalars = {f.name: f.branch for f in schema.scalars}
        self.scalars = {n: b for n, b in scalars.items() if n in numbers and b != self.weight}
        self.variations = {
            n.removeprefix(_VARIATION): b for n, b in scalars.items() if n.startswith(_VARIATION)
        }
        known = {self.weight, *self.scalars.values(), *self.variations.values()}
        c = self.collection
        told = {*_names(c).values(), *c.coordinates}
        rest = [
            *(other.name for other in rest_of if other is not c),
            *(n for n, b in scalars.items() if b not in known),
            *(f"{c.name}.{n}" for n in c.field_names if n not in told),
        ]
        if rest:
            listed = ", ".join(rest[:5]) + (", ..." if len(rest) > 5 else "")
            message = f"{format} files have no place for {listed}, which will not be in it"
            warnings.warn(message, UserWarning, stacklevel=6)

    def particles(self, columns: Mapping[str, Buffer], collection: Collection | None = None) -> Particles:
        """The particles in columns of a batch, in GeV; what is not known of them is 0, their status 1."""
        c = collection or self.collection
        offsets, fields = _objects(c, columns)
        size = int(offsets[-1])
        found = {n: fields[f] for n, f in _names(c).items()}
        if len(c.coordinates) == 4:
            found |= _momenta(c, fields)
            if self._gev != 1.0:
                found |= {n: found[n] / self._gev for n in MOMENTA}
        for n in INTEGERS:
            found[n] = found.get(n, np.full(size, int(n == "status"))).astype(np.int64)
        found.setdefault("spin", np.full(size, 9.0))
        for n in FLOATS:
            found.setdefault(n, np.zeros(size))
        return Particles(offsets, found)

    def number(self, name: str, columns: Mapping[str, Buffer], default: float) -> Numbers:
        """A number of each event, or what stands for it where there is none."""
        branch = self.weight if name == "weight" else self.scalars.get(name)
        size = len(next(iter(columns.values())))
        return np.full(size, default) if branch is None else np.asarray(columns[branch])


def _identified(c: Collection) -> bool:
    return bool(set(_IDS) & set(c.field_names))


def _names(c: Collection) -> dict[str, str]:
    """The fields of particles that hold what formats know by names of their own."""
    here = c.field_names
    found = {n: n for n in (*INTEGERS, *FLOATS) if n in here}
    return found | {"id": next(n for n in _IDS if n in here)}


def _particles(collections: Sequence[Collection], path: Path, format: str) -> Collection:
    identified = [c for c in collections if _identified(c)]
    whole = [c for c in identified if len(c.coordinates) == 4]
    if len(whole) == 1:
        c = whole[0]
        if c.layout == "jagged" or (c.layout != "padded" and c.fixed):
            return c
        message = f"{c.name} is in places of which some are empty, which {format} files do not have"
    elif whole:
        names = ", ".join(c.name for c in whole)
        message = f"a {format} file has one list of particles, and there are {names}: select one"
    elif identified:
        names = ", ".join(c.name for c in identified)
        message = f"a {format} file needs px, py, pz and energy, or pt, eta, phi and mass, of {names}"
    else:
        message = f"a {format} file needs particles with PDG ids (id or pdgId), which no collection has"
    raise OutputError(message, file=path)


def _objects(c: Collection, columns: Mapping[str, Buffer]) -> tuple[NDArray[np.int64], dict[str, Numbers]]:
    """The offsets and the numbers of objects in columns."""
    first = columns[c.fields[0].branch]
    if isinstance(first, Jagged):
        lists = {f.name: columns[f.branch] for f in c.fields}
        return first.offsets, {n: v.content for n, v in lists.items() if isinstance(v, Jagged)}
    size, places = len(first), len(c.fields[0].branches)
    stacked = {
        f.name: np.stack([np.asarray(columns[b]) for b in f.branches], axis=1).reshape(-1) for f in c.fields
    }
    return np.arange(size + 1, dtype=np.int64) * places, stacked


def _momenta(c: Collection, fields: Mapping[str, Numbers]) -> dict[str, Numbers]:
    """Cartesian components, energy and mass; what is stored is as it is stored."""
    wide = {n: fields[n].astype(np.float64) for n in {*c.coordinates, *({"energy", "mass"} & {*fields})}}
    if "px" in wide:
        px, py = wide["px"], wide["py"]
        pt = np.hypot(px, py)
    else:
        pt = wide["pt"]
        px, py = pt * np.cos(wide["phi"]), pt * np.sin(wide["phi"])
    if "pz" in wide:
        pz = wide["pz"]
    else:
        pz = pt * np.sinh(wide["eta"]) if "eta" in wide else pt / np.tan(wide["theta"])
    p2 = px**2 + py**2 + pz**2
    mass, energy = wide.get("mass"), wide.get("energy")
    if energy is None and mass is not None:
        energy = np.sqrt(np.maximum(p2 + mass * np.abs(mass), 0.0))
    if mass is None and energy is not None:
        m2 = energy**2 - p2
        mass = np.sign(m2) * np.sqrt(np.abs(m2))
    made = {"px": px, "py": py, "pz": pz, "energy": energy, "mass": mass}
    return {n: np.asarray(fields.get(n, v)) for n, v in made.items()}
