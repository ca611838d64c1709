"""Vector behaviours for objects whose file stores more coordinates than a momentum needs.

vector refuses a record with both ``energy`` and ``mass``, or both ``px, py`` and ``pt, phi``, since it could
not know which to use. Files hold such records, and have to be written as they were read; so they get a
record name of their own, behind which the preferred coordinates (`hepgan.events.COORDINATES`) make the
momentum, and a stored number is returned as stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import awkward as ak
import vector
from vector.backends import awkward as backend

from hepgan.events.schema import coordinates

__all__ = ["record_name"]

_GENERIC = {"px": "x", "py": "y", "pz": "z", "pt": "rho", "energy": "t", "mass": "tau"}
_NAMES = (*_GENERIC, "phi", "eta", "theta")
_OTHERS = (*_GENERIC.values(), "E", "e", "M", "m")
_SIZES = {2: "2D", 3: "3D", 4: "4D"}


def record_name(names: Sequence[str]) -> str | None:
    """The record name under which fields with these names behave as momenta.

    Args:
        names: The names of all fields of an object.

    Returns:
        ``Momentum2D``, ``Momentum3D`` or ``Momentum4D``; the same with ``Redundant`` before it where there
        are more coordinates than needed; None if the fields make no momentum.
    """
    used = coordinates(tuple(names))
    if not used:
        return None
    size = _SIZES[len(used)]
    spare = {*_NAMES, *_OTHERS}.intersection(names) - set(used)
    return f"RedundantMomentum{size}" if spare else f"Momentum{size}"


class _Redundant:
    """Takes the preferred coordinates, and returns a stored number as it is stored."""

    def __awkward_validation__(self) -> None:
        """Accepts the redundant fields."""

    # What has none of these names is a sum, which vector gives the name of its terms, with x, y, z, t.

    @property
    def azimuthal(self: Any) -> Any:
        names = set(ak.fields(self))
        if {"px", "py"} <= names:
            return backend.AzimuthalAwkwardXY(self["px"], self["py"])
        if {"pt", "phi"} <= names:
            return backend.AzimuthalAwkwardRhoPhi(self["pt"], self["phi"])
        return super().azimuthal  # type: ignore[misc]

    @property
    def longitudinal(self: Any) -> Any:
        names = ak.fields(self)
        if "pz" in names:
            return backend.LongitudinalAwkwardZ(self["pz"])
        if "eta" in names:
            return backend.LongitudinalAwkwardEta(self["eta"])
        return super().longitudinal  # type: ignore[misc]

    @property
    def temporal(self: Any) -> Any:
        names = ak.fields(self)
        if "mass" in names:
            return backend.TemporalAwkwardTau(self["mass"])
        if "energy" in names:
            return backend.TemporalAwkwardT(self["energy"])
        return super().temporal  # type: ignore[misc]


def _stored(name: str) -> property:
    # vector's px is its x, which may be stored too and be something else (a vertex).
    generic = _GENERIC.get(name, name)

    def get(self: Any) -> Any:
        return self[name] if name in ak.fields(self) else getattr(super(_Redundant, self), generic)

    return property(get)


for _name in (*_NAMES, *_GENERIC.values()):
    setattr(_Redundant, _name, _stored(_name))


def _register() -> None:
    vector.register_awkward()
    renamed = {f"Momentum{s}": f"RedundantMomentum{s}" for s in _SIZES.values()}
    for key, value in backend.behavior.items():
        parts = key if isinstance(key, tuple) else (key,)
        choices = [(p, renamed[p]) if isinstance(p, str) and p in renamed else (p,) for p in parts]
        for chosen in product(*choices):
            if chosen != parts:
                ak.behavior[chosen if isinstance(key, tuple) else chosen[0]] = value
    for size in _SIZES.values():
        for kind, key in (
            ("Array", ("*", f"RedundantMomentum{size}")),
            ("Record", f"RedundantMomentum{size}"),
        ):
            base = getattr(backend, f"Momentum{kind}{size}")
            ak.behavior[key] = type(f"RedundantMomentum{kind}{size}", (_Redundant, base), {})


_register()
