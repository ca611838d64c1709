"""A momentum in whatever coordinates are asked for, from whatever coordinates are given.

The formulas are those of the vectors of this package. Beside vector's own coordinates a momentum may be given
by its length or energy and a polar angle, by its rapidity, or by light-cone momenta.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NoReturn, TypeVar, cast

import numpy as np
import torch
from torch import Tensor

from ._base import COORDINATES, CoordinatesTorch, compute
from ._classes import MomentumTorch2D, MomentumTorch3D, MomentumTorch4D
from ._kernels import Kernel, TorchLib, finite_gradient, kernel, methods

__all__ = ["COORDINATE_NAMES", "STEEPEST", "Kinematics", "azimuth", "one_by_one", "safe_sqrt", "wrap"]

COORDINATE_NAMES = (
    *("px", "py", "pz", "pt", "eta", "phi", "theta", "mass", "energy", "y", "p", "costheta"),
    *("plus", "minus"),
)
"""Every coordinate that ``Kinematics`` can compute."""

STEEPEST = 80.0
"""The largest ``eta`` and ``y`` of `Kinematics.bounded`; its hyperbolic sine is finite in float32."""

_TURN = 2 * math.pi

Angle = TypeVar("Angle")


def wrap(angle: Angle) -> Angle:
    """The same angle in [-pi, pi); an angle that is there already stays the same number.

    Args:
        angle: A tensor, whose gradient is 1 everywhere, or an array of numpy's or awkward's.
    """
    given: Any = angle
    # Rounding can leave the difference a last bit outside.
    if isinstance(given, Tensor):
        wrapped: Any = given - _TURN * torch.round(given.detach() / _TURN)
        wrapped = torch.where(wrapped >= math.pi, wrapped - _TURN, wrapped).clamp(min=-math.pi)
    else:
        wrapped = given - _TURN * np.rint(given / _TURN)
        wrapped = np.maximum(wrapped - _TURN * (wrapped >= math.pi), -math.pi)
    return cast("Angle", wrapped)


def safe_sqrt(x: Tensor) -> Tensor:
    """Square root; 0 with a gradient of 0 where x <= 0, instead of a gradient that is infinite or NaN."""
    positive = x > 0
    return torch.where(positive, torch.where(positive, x, 1.0).sqrt(), 0.0)


def one_by_one(function: Callable[..., Tensor], *arguments: Tensor) -> Tensor:
    """A function of each number, the same to the last bit wherever in a tensor it is.

    Of adjacent numbers torch takes several at once; but the last few, whose number depends on the tensor's
    length, by code that rounds sinh, cosh and atan2 differently. Numbers that are not adjacent all take that
    one.
    """
    return function(*(torch.stack((a, a), -1)[..., 0] for a in arguments))


class _RepeatableLib(TorchLib):
    """`TorchLib` with the same bits for a number wherever in a tensor it is."""

    @staticmethod
    def sinh(x: Tensor) -> Tensor:  # type: ignore[override]
        """Hyperbolic sine."""
        return one_by_one(torch.sinh, x)

    @staticmethod
    def arctan2(y: Tensor, x: Tensor) -> Tensor:
        """Arc tangent of y / x in the right quadrant; its gradient at the origin is 0."""
        return finite_gradient(one_by_one(torch.arctan2, finite_gradient(y), finite_gradient(x)))


def azimuth(x: Tensor, y: Tensor) -> Tensor:
    """The angle of (x, y) from x; 0, with a gradient of 0, for no momentum."""
    return _RepeatableLib.arctan2(y, x)


_KERNELS: dict[str, Kernel] = {
    "px": kernel("planar", "x"),
    "py": kernel("planar", "y"),
    "pt": kernel("planar", "rho"),
    "phi": kernel("planar", "phi"),
    "pz": kernel("spatial", "z"),
    "eta": kernel("spatial", "eta"),
    "theta": kernel("spatial", "theta"),
    "p": kernel("spatial", "mag"),
    "costheta": kernel("spatial", "costheta"),
    "mass": kernel("lorentz", "tau"),
    "energy": kernel("lorentz", "t"),
    "y": kernel("lorentz", "rapidity"),
}
_CLASSES = (MomentumTorch2D, MomentumTorch3D, MomentumTorch4D)
_AZIMUTHAL = {("px", "py"): methods.AzimuthalXY, ("pt", "phi"): methods.AzimuthalRhoPhi}
_LONGITUDINAL = {
    "pz": methods.LongitudinalZ,
    "eta": methods.LongitudinalEta,
    "theta": methods.LongitudinalTheta,
}


class Kinematics:
    """Momenta of any shape, given by some of their coordinates; the others are computed from these alone.

    A coordinate has the value that vectors of the given coordinates have, hence that of vector's numpy
    backend: ``mass`` is negative where E < |p|, ``eta`` infinite along the beam, ``phi`` and ``eta`` of no
    momentum 0, ``y`` of no momentum NaN. ``plus`` and ``minus`` are E + pz and E - pz; without a mass and an
    energy the objects count as massless for them. What is given is not computed: where both ``mass`` and
    ``energy`` are given, other coordinates follow from the mass. It does not matter what was asked for
    before.

    A number has the same coordinates to the last bit wherever in a tensor it is. Gradients are finite.

    Args:
        known: Coordinates by name: at least a transverse part (``px, py``, or ``pt, phi``, or one of ``p,
            energy`` with a polar angle and ``phi``; or ``plus, minus, phi``).
    """

    def __init__(self, known: Mapping[str, Tensor]) -> None:
        self._known = dict(known)
        self._found: dict[str, Tensor] = {}
        self._tiers: list[CoordinatesTorch] = []

    @property
    def known(self) -> Mapping[str, Tensor]:
        """The coordinates that are given."""
        return MappingProxyType(self._known)

    def __getitem__(self, name: str) -> Tensor:
        """A coordinate.

        Raises:
            KeyError: If it is no coordinate, or does not follow from those given.
        """
        if name in self._known:
            return self._known[name]
        if name not in self._found:
            if name in _KERNELS:
                self._found[name] = self._computed(_KERNELS[name])
            elif name in ("plus", "minus"):
                self._found[name] = self._light_cone(1.0 if name == "plus" else -1.0)
            else:
                msg = f"{name!r} is not a momentum coordinate; they are {', '.join(COORDINATE_NAMES)}"
                raise KeyError(msg)
        return self._found[name]

    def bounded(self, name: str) -> Tensor:
        """A coordinate as features and files need it: the given one, or the computed one within bounds.

        ``eta`` and ``y`` are within +-80, and 0 where they have no value; ``mass`` is 0 where E < |p|.

        Raises:
            KeyError: If it is no coordinate, or does not follow from those given.
        """
        value = self[name]
        if name in self._known or name not in ("eta", "y", "mass"):
            return value
        if name == "mass":
            return value.clamp(min=0.0)
        return torch.nan_to_num(value, nan=0.0, posinf=STEEPEST, neginf=-STEEPEST).clamp(-STEEPEST, STEEPEST)

    def replaced(self, **known: Tensor | None) -> Kinematics:
        """The momenta with other given coordinates beside the present ones; None takes one away."""
        return Kinematics({n: v for n, v in {**self._known, **known}.items() if v is not None})

    def rotated(self, angle: Tensor) -> Kinematics:
        """The momenta turned about the beam by an angle, of a shape that broadcasts."""
        known = dict(self._known)
        if "phi" in known:
            known["phi"] = wrap(known["phi"] + angle)
        if "px" in known and "py" in known:
            x, y, cos, sin = known["px"], known["py"], torch.cos(angle), torch.sin(angle)
            known["px"], known["py"] = x * cos - y * sin, x * sin + y * cos
        return Kinematics(known)

    # ------------------------------------------------------------------ formulas

    def _computed(self, which: Kernel) -> Tensor:
        if which.name in ("planar.x", "planar.y", "planar.phi") and not (
            "phi" in self._known or ("px" in self._known and "py" in self._known)
        ):
            self._lacking("azimuth")
        make = (self._azimuthal, self._longitudinal, self._temporal)
        number = which.tiers[0]
        while len(self._tiers) < number:
            self._tiers.append(make[len(self._tiers)]())
        momentum = _CLASSES[number - 1]._from_tiers(self._tiers[:number])
        return compute(which, momentum, lib=_RepeatableLib)  # type: ignore[no-any-return]

    def _lacking(self, what: str) -> NoReturn:
        msg = f"no {what} follows from {', '.join(self._known) or 'nothing'}"
        raise KeyError(msg)

    def _azimuthal(self) -> CoordinatesTorch:
        k = self._known
        if "px" in k and "py" in k:
            return COORDINATES[methods.AzimuthalXY](k["px"], k["py"])
        if "pt" in k:
            pt = k["pt"]
        elif self._has_length() and "theta" in k:
            pt = self._length() * torch.sin(k["theta"])
        elif self._has_length() and "costheta" in k:
            pt = self._length() * safe_sqrt((1 - k["costheta"]) * (1 + k["costheta"]))
        elif self._has_length() and "eta" in k:
            pt = self._length() / one_by_one(torch.cosh, k["eta"])
        elif "plus" in k and "minus" in k:
            pt = safe_sqrt(k["plus"] * k["minus"] - self._mass2())
        else:
            self._lacking("transverse momentum")
        # What is asked of momenta without an azimuth does not depend on it.
        return COORDINATES[methods.AzimuthalRhoPhi](pt, k.get("phi", torch.zeros_like(pt)))

    def _longitudinal(self) -> CoordinatesTorch:
        k = self._known
        transverse = "pt" in k or ("px" in k and "py" in k)
        if not transverse and self._has_length():
            if "costheta" in k:
                return self._along(self._length() * k["costheta"])
            if "theta" in k:
                return self._along(self._length() * torch.cos(k["theta"]))
        for name, kind in _LONGITUDINAL.items():
            if name in k:
                return COORDINATES[kind](k[name])
        if "y" in k and ("mass" in k or "energy" not in k):
            if "mass" not in k:
                self._lacking("mass")
            return self._along(safe_sqrt(self._mass2() + self["pt"] ** 2) * one_by_one(torch.sinh, k["y"]))
        if "y" in k:
            return self._along(k["energy"] * torch.tanh(k["y"]))
        if "costheta" in k:
            sine = safe_sqrt((1 - k["costheta"]) * (1 + k["costheta"]))
            return self._along(_ratio(self["pt"] * k["costheta"], sine))
        if "plus" in k and "minus" in k:
            return self._along((k["plus"] - k["minus"]) / 2)
        self._lacking("longitudinal momentum")

    def _temporal(self) -> CoordinatesTorch:
        k = self._known
        if "mass" in k:
            return COORDINATES[methods.TemporalTau](k["mass"])
        if "energy" in k:
            return COORDINATES[methods.TemporalT](k["energy"])
        if "plus" in k and "minus" in k:
            return COORDINATES[methods.TemporalT]((k["plus"] + k["minus"]) / 2)
        self._lacking("mass")

    @staticmethod
    def _along(pz: Tensor) -> CoordinatesTorch:
        return COORDINATES[methods.LongitudinalZ](pz)

    def _has_length(self) -> bool:
        return "p" in self._known or "energy" in self._known

    def _length(self) -> Tensor:
        """|p| where it is given, or the energy is; without a mass the objects are massless."""
        k = self._known
        if "p" in k:
            return k["p"]
        if "mass" not in k:
            return k["energy"]
        energy, mass = k["energy"], k["mass"]
        # A difference of squares would lose the digits of slow particles.
        squared = (energy - mass.abs()) * (energy + mass.abs())
        return safe_sqrt(torch.where(mass < 0, energy**2 + mass**2, squared))

    def _mass2(self) -> Tensor | float:
        """The squared mass, negative for a negative mass; 0 without a mass."""
        mass = self._known.get("mass")
        return 0.0 if mass is None else mass * mass.abs()

    def _light_cone(self, sign: float) -> Tensor:
        """E + pz or E - pz; the smaller of them without the difference, of which rounding leaves little."""
        if "energy" in self._known and "mass" not in self._known:
            return self._known["energy"] + sign * self["pz"]
        transverse = self["pt"] ** 2 + self._mass2()
        along = sign * self["pz"]
        large = safe_sqrt(transverse + along**2) + along.abs()
        return torch.where(along >= 0, large, _ratio(transverse, large))


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """A quotient; 0, with a gradient of 0, where the denominator is 0."""
    zero = denominator == 0
    return torch.where(zero, 0.0, numerator / torch.where(zero, 1.0, denominator))
