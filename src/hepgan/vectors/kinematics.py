"""A momentum in whatever coordinates are asked for, computed once and safely differentiable."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

__all__ = ["COORDINATE_NAMES", "Kinematics", "one_by_one", "safe_sqrt", "wrap"]

COORDINATE_NAMES = (
    *("px", "py", "pz", "pt", "eta", "phi", "theta", "mass", "energy", "y", "p", "costheta"),
    *("plus", "minus"),
)
"""Every coordinate that ``Kinematics`` can compute."""

_TURN = 2 * math.pi


def wrap(angle: Tensor) -> Tensor:
    """The same angle within [-pi, pi]."""
    return angle - _TURN * torch.round(angle / _TURN)


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


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    zero = denominator == 0
    return numerator / torch.where(zero, 1e-150, denominator)


class Kinematics:
    """Momenta of any shape, given by some of their coordinates.

    ``mass`` is the magnitude of a four-momentum, 0 where E < |p|; ``y`` the rapidity; ``plus`` and ``minus``
    are E + pz and E - pz. A direction along the beam has a large finite ``eta``.

    Args:
        known: Coordinates by name: at least a transverse part (``px, py``, or ``pt, phi``, or one of ``p,
            energy`` with a polar angle and ``phi``; or ``plus, minus, phi``).
    """

    def __init__(self, known: Mapping[str, Tensor]) -> None:
        self.known = dict(known)

    def __contains__(self, name: str) -> bool:
        return name in self.known

    def __getitem__(self, name: str) -> Tensor:
        """A coordinate.

        Raises:
            KeyError: If it is no coordinate, or does not follow from those given.
        """
        if name not in self.known:
            if name not in _FORMULAS:
                msg = f"{name!r} is not a momentum coordinate; they are {', '.join(COORDINATE_NAMES)}"
                raise KeyError(msg)
            self.known[name] = _FORMULAS[name](self)
        return self.known[name]

    def rotated(self, angle: Tensor) -> Kinematics:
        """The momenta turned about the beam by an angle, of a shape that broadcasts."""
        known = {n: v for n, v in self.known.items() if n not in ("px", "py", "phi")}
        if "phi" in self.known:
            known["phi"] = wrap(self.known["phi"] + angle)
        if "px" in self.known and "py" in self.known:
            x, y, cos, sin = self.known["px"], self.known["py"], torch.cos(angle), torch.sin(angle)
            known["px"], known["py"] = x * cos - y * sin, x * sin + y * cos
        return Kinematics(known)


def _pt(k: Kinematics) -> Tensor:
    if "px" in k and "py" in k:
        return safe_sqrt(k["px"] ** 2 + k["py"] ** 2)
    if "theta" in k:
        return k["p"] * torch.sin(k["theta"])
    if "costheta" in k:
        return k["p"] * safe_sqrt((1 - k["costheta"]) * (1 + k["costheta"]))
    if "plus" in k and "minus" in k:
        return safe_sqrt(k["plus"] * k["minus"] - _known_mass(k) ** 2)
    msg = f"no transverse momentum follows from {', '.join(k.known)}"
    raise KeyError(msg)


def _phi(k: Kinematics) -> Tensor:
    x, y = k.known["px"], k.known["py"]
    # The gradient of atan2 at the origin is NaN, even where nothing depends on it.
    nowhere = (x == 0) & (y == 0)
    return one_by_one(torch.atan2, y, torch.where(nowhere, 1.0, x))


def _pz(k: Kinematics) -> Tensor:
    if "eta" in k:
        return k["pt"] * one_by_one(torch.sinh, k["eta"])
    if "y" in k:
        return safe_sqrt(k["mass"] ** 2 + k["pt"] ** 2) * one_by_one(torch.sinh, k["y"])
    if "costheta" in k:
        return k["p"] * k["costheta"]
    if "theta" in k and ("p" in k or "energy" in k):
        return k["p"] * torch.cos(k["theta"])
    if "theta" in k:
        return _ratio(k["pt"], torch.tan(k["theta"]))
    if "plus" in k and "minus" in k:
        return (k["plus"] - k["minus"]) / 2
    msg = f"no longitudinal momentum follows from {', '.join(k.known)}"
    raise KeyError(msg)


def _eta(k: Kinematics) -> Tensor:
    if "theta" in k and "pz" not in k:
        return -torch.log(torch.tan(k["theta"] / 2))
    return torch.asinh(_ratio(k["pz"], k["pt"]))


def _p(k: Kinematics) -> Tensor:
    if "energy" in k and "mass" in k and not ({"pt", "px", "pz"} & set(k.known)):
        return safe_sqrt((k["energy"] - k["mass"]) * (k["energy"] + k["mass"]))
    if "energy" in k and not ({"pt", "px", "pz"} & set(k.known)):
        return k["energy"]
    return safe_sqrt(k["pt"] ** 2 + k["pz"] ** 2)


def _mass(k: Kinematics) -> Tensor:
    if "energy" not in k:
        msg = f"no mass follows from {', '.join(k.known)}"
        raise KeyError(msg)
    p2 = k["pz"] ** 2 + (k["px"] ** 2 + k["py"] ** 2 if "px" in k else k["pt"] ** 2)
    return safe_sqrt(k["energy"] ** 2 - p2)


def _energy(k: Kinematics) -> Tensor:
    p2 = k["pz"] ** 2 + (k["px"] ** 2 + k["py"] ** 2 if "px" in k else k["pt"] ** 2)
    return safe_sqrt(p2 + k["mass"] ** 2)


def _known_mass(k: Kinematics) -> Tensor:
    return k["mass"] if "mass" in k or "energy" in k else torch.zeros((), dtype=torch.float64)


def _light_cone(k: Kinematics, sign: float) -> Tensor:
    """E + pz or E - pz; the smaller of them without the difference, of which rounding leaves little."""
    transverse = k["pt"] ** 2 + _known_mass(k) ** 2
    along = sign * k["pz"]
    large = safe_sqrt(transverse + along**2) + along.abs()
    return torch.where(along >= 0, large, _ratio(transverse, large))


_FORMULAS: dict[str, Callable[[Kinematics], Tensor]] = {
    "px": lambda k: k["pt"] * torch.cos(k["phi"]),
    "py": lambda k: k["pt"] * torch.sin(k["phi"]),
    "pt": _pt,
    "phi": _phi,
    "pz": _pz,
    "eta": _eta,
    "theta": lambda k: one_by_one(torch.atan2, k["pt"], k["pz"]),
    "y": lambda k: torch.asinh(_ratio(k["pz"], safe_sqrt(k["mass"] ** 2 + k["pt"] ** 2))),
    "p": _p,
    "costheta": lambda k: _ratio(k["pz"], k["p"]),
    "mass": _mass,
    "energy": _energy,
    "plus": lambda k: _light_cone(k, 1.0),
    "minus": lambda k: _light_cone(k, -1.0),
}
