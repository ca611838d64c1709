"""vector's properties and methods on torch tensors, dimension by dimension.

Each has vector's name, meaning and docstring; only the way to the kernel differs (see `_base`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ._base import VectorTorch, compute
from ._kernels import TorchLib, kernel, methods

__all__ = ["LorentzMomentumTorch", "LorentzTorch", "PlanarTorch", "SpatialTorch"]


def _doc(name: str) -> str | None:
    for source in ("VectorProtocolLorentz", "MomentumProtocolLorentz"):
        found = getattr(getattr(methods, source, None), name, None)
        if found is not None:
            return str(found.__doc__)
    return None


def _quantity(package: str, name: str) -> property:
    which = kernel(package, name)

    def quantity(self: VectorTorch) -> Any:
        return compute(which, self)

    return property(quantity, doc=_doc(name))


def _angle(package: str, name: str) -> Callable[[Any, Any], Any]:
    which = kernel(package, name)

    def rotate(self: VectorTorch, angle: Any) -> Any:
        return compute(which, self, scalars=(self._scalar(angle),))

    rotate.__name__, rotate.__doc__ = name, _doc(name)
    return rotate


def _scale(package: str, name: str) -> Callable[[Any, Any], Any]:
    which = kernel(package, "scale")

    def scale(self: VectorTorch, factor: Any) -> Any:
        return compute(which, self, scalars=(self._scalar(factor),))

    scale.__name__, scale.__doc__ = name, _doc(name)
    return scale


def _negative(package: str, name: str) -> property:
    which = kernel(package, "scale")

    def negative(self: VectorTorch) -> Any:
        return compute(which, self, scalars=(self._scalar(-1),))

    return property(negative, doc=_doc(name))


def _pair(package: str, name: str, at_least: int = 0) -> Callable[[Any, Any], Any]:
    """A method of two vectors: of one dimension, or of at least ``at_least`` dimensions."""
    which = kernel(package, name)

    def pair(self: VectorTorch, other: Any) -> Any:
        other = self._lift(other, name) if at_least else self._same(other, name)
        if at_least and methods.dim(other) < at_least:
            msg = f"{other!r} is not a {'3D or a 4D' if at_least == 3 else '4D'} vector"
            raise TypeError(msg)
        return compute(which, self, other)

    pair.__name__, pair.__doc__ = name, _doc(name)
    return pair


def _cartesian_pair(package: str, name: str) -> Callable[[Any, Any], Any]:
    which = kernel(package, name)

    def pair(self: Any, other: Any) -> Any:
        other = self._same(other, name)
        return compute(which, self.to_cartesian(), other.to_cartesian())

    pair.__name__ = name
    pair.__doc__ = f"{_doc(name)}\n\nThe result is in cartesian coordinates, whatever those of the operands."
    return pair


def _direction(package: str, name: str) -> Callable[..., Any]:
    which = kernel(package, name)

    def direction(self: VectorTorch, other: Any, tolerance: Any = 1e-5) -> Any:
        return compute(which, self, self._same(other, name), scalars=(self._scalar(tolerance),))

    direction.__name__, direction.__doc__ = name, _doc(name)
    return direction


def _isclose(package: str) -> Callable[..., Any]:
    which = kernel(package, "isclose")

    def isclose(
        self: VectorTorch, other: Any, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False
    ) -> Any:
        return compute(which, self, self._same(other, "isclose"), scalars=(rtol, atol, equal_nan))

    isclose.__doc__ = _doc("isclose")
    return isclose


def _causal(name: str, default: float) -> Callable[..., Any]:
    which = kernel("lorentz", name)

    def causal(self: VectorTorch, tolerance: Any = default) -> Any:
        return compute(which, self, scalars=(self._scalar(tolerance),))

    causal.__name__, causal.__doc__ = name, _doc(name)
    return causal


def _transform(package: str, name: str, axes: str) -> Callable[[Any, Any], Any]:
    which = kernel(package, name)
    entries = tuple(row + column for row in axes for column in axes)

    def transform(self: VectorTorch, obj: Mapping[str, Any]) -> Any:
        return compute(which, self, scalars=tuple(self._scalar(obj[entry]) for entry in entries))

    transform.__name__, transform.__doc__ = name, _doc(name)
    return transform


def _unit(package: str) -> Callable[[Any], Any]:
    which = kernel(package, "unit")

    def unit(self: VectorTorch) -> Any:
        return compute(which, self)

    unit.__doc__ = _doc("unit")
    return unit


def _boost_axis(axis: str) -> Callable[..., Any]:
    by_beta, by_gamma = (kernel("lorentz", f"boost{axis}_{by}") for by in ("beta", "gamma"))

    def boost(self: VectorTorch, beta: Any = None, gamma: Any = None) -> Any:
        if (beta is None) == (gamma is None):
            msg = "specify 'beta' xor 'gamma', not both or neither"
            raise TypeError(msg)
        if beta is not None:
            return compute(by_beta, self, scalars=(self._scalar(beta),))
        return compute(by_gamma, self, scalars=(self._scalar(gamma),))

    boost.__name__, boost.__doc__ = f"boost{axis}", _doc(f"boost{axis}")
    return boost


class PlanarTorch(methods.Planar):  # type: ignore[misc]
    """What vectors of two and more dimensions have."""

    x, y, rho, rho2, phi = (_quantity("planar", name) for name in ("x", "y", "rho", "rho2", "phi"))
    deltaphi = _pair("planar", "deltaphi", at_least=2)
    rotateZ = _angle("planar", "rotateZ")
    transform2D = _transform("planar", "transform2D", "xy")
    is_parallel = _direction("planar", "is_parallel")
    is_antiparallel = _direction("planar", "is_antiparallel")
    is_perpendicular = _direction("planar", "is_perpendicular")
    unit = _unit("planar")
    dot, equal, not_equal = (_pair("planar", name) for name in ("dot", "equal", "not_equal"))
    add, subtract = (_cartesian_pair("planar", name) for name in ("add", "subtract"))
    isclose = _isclose("planar")
    scale, scale2D = (_scale("planar", name) for name in ("scale", "scale2D"))
    neg2D = _negative("planar", "neg2D")


class SpatialTorch(PlanarTorch, methods.Spatial):  # type: ignore[misc]
    """What vectors of three and more dimensions have."""

    z, theta, eta, costheta, cottheta, mag, mag2 = (
        _quantity("spatial", name) for name in ("z", "theta", "eta", "costheta", "cottheta", "mag", "mag2")
    )
    deltaangle, deltaeta, deltaR, deltaR2 = (
        _pair("spatial", name, at_least=3) for name in ("deltaangle", "deltaeta", "deltaR", "deltaR2")
    )
    rotateX, rotateY = (_angle("spatial", name) for name in ("rotateX", "rotateY"))
    transform3D = _transform("spatial", "transform3D", "xyz")
    is_parallel = _direction("spatial", "is_parallel")
    is_antiparallel = _direction("spatial", "is_antiparallel")
    is_perpendicular = _direction("spatial", "is_perpendicular")
    unit = _unit("spatial")
    dot, equal, not_equal = (_pair("spatial", name) for name in ("dot", "equal", "not_equal"))
    add, subtract = (_cartesian_pair("spatial", name) for name in ("add", "subtract"))
    isclose = _isclose("spatial")
    scale, scale3D = (_scale("spatial", name) for name in ("scale", "scale3D"))
    neg3D = _negative("spatial", "neg3D")

    _cross = kernel("spatial", "cross")
    _rotate_axis = kernel("spatial", "rotate_axis")
    _rotate_euler = kernel("spatial", "rotate_euler")
    _rotate_quaternion = kernel("spatial", "rotate_quaternion")

    def cross(self, other: Any) -> Any:
        """The cross product of two 3D vectors."""
        other = self._lift(other, "cross")
        if methods.dim(self) != 3 or methods.dim(other) != 3:
            msg = "cross is only defined for 3D vectors"
            raise TypeError(msg)
        return compute(self._cross, self, other)

    def rotate_axis(self, axis: Any, angle: Any) -> Any:
        """Rotates by ``angle`` (radians) about the 3D vector ``axis``."""
        axis = self._lift(axis, "rotate_axis")
        if methods.dim(axis) != 3:
            msg = f"{axis!r} is not a 3D vector"
            raise TypeError(msg)
        return compute(self._rotate_axis, axis, self, scalars=(self._scalar(angle),), keep=self)

    def rotate_euler(self, phi: Any, theta: Any, psi: Any, order: str = "zxz") -> Any:
        """Rotates by three Euler angles (radians), in ROOT's convention."""
        angles = tuple(self._scalar(angle) for angle in (phi, theta, psi))
        return compute(self._rotate_euler, self, scalars=angles, key=(order.lower(),))

    def rotate_nautical(self, yaw: Any, pitch: Any, roll: Any) -> Any:
        """Rotates by yaw, pitch and roll (radians)."""
        return self.rotate_euler(roll, pitch, yaw, "zyx")

    def rotate_quaternion(self, u: Any, i: Any, j: Any, k: Any) -> Any:
        """Rotates by the quaternion ``u + i I + j J + k K``."""
        parts = tuple(self._scalar(part) for part in (u, i, j, k))
        return compute(self._rotate_quaternion, self, scalars=parts)


class LorentzTorch(SpatialTorch, methods.Lorentz):  # type: ignore[misc]
    """What four-vectors have."""

    t, t2, tau, tau2, beta, gamma, rapidity = (
        _quantity("lorentz", name) for name in ("t", "t2", "tau", "tau2", "beta", "gamma", "rapidity")
    )
    boostX, boostY, boostZ = (_boost_axis(axis) for axis in "XYZ")
    transform4D = _transform("lorentz", "transform4D", "xyzt")
    is_timelike = _causal("is_timelike", 0)
    is_spacelike = _causal("is_spacelike", 0)
    is_lightlike = _causal("is_lightlike", 1e-5)
    unit = _unit("lorentz")
    dot, equal, not_equal = (_pair("lorentz", name) for name in ("dot", "equal", "not_equal"))
    add, subtract = (_cartesian_pair("lorentz", name) for name in ("add", "subtract"))
    isclose = _isclose("lorentz")
    scale, scale4D = (_scale("lorentz", name) for name in ("scale", "scale4D"))
    neg4D = _negative("lorentz", "neg4D")

    _to_beta3 = kernel("lorentz", "to_beta3")
    _boost_p4 = kernel("lorentz", "boost_p4")
    _boost_beta3 = kernel("lorentz", "boost_beta3", 3, 2)

    def deltaRapidityPhi2(self, other: Any) -> Any:
        """The squared distance to ``other`` in rapidity and azimuth."""
        other = self._lift(other, "deltaRapidityPhi2")
        if methods.dim(other) < 4:
            msg = f"{other!r} is not a 4D vector"
            raise TypeError(msg)
        return (self.rapidity - other.rapidity) ** 2 + self.deltaphi(other) ** 2

    def deltaRapidityPhi(self, other: Any) -> Any:
        """The distance to ``other`` in rapidity and azimuth."""
        return TorchLib.sqrt(self.deltaRapidityPhi2(other))

    def to_beta3(self) -> Any:
        """The velocity as a 3D vector."""
        return compute(self._to_beta3, self)

    def boost_p4(self, p4: Any) -> Any:
        """Boosts by the velocity of the four-vector ``p4``."""
        p4 = self._lift(p4, "boost_p4")
        if methods.dim(p4) != 4:
            msg = f"{p4!r} is not a 4D vector"
            raise TypeError(msg)
        return compute(self._boost_p4, self, p4)

    def boost_beta3(self, beta3: Any) -> Any:
        """Boosts by the velocity ``beta3``, a 3D vector."""
        beta3 = self._lift(beta3, "boost_beta3")
        if methods.dim(beta3) != 3:
            msg = f"{beta3!r} is not a 3D vector"
            raise TypeError(msg)
        return compute(self._boost_beta3, self, beta3)

    def boost(self, booster: Any) -> Any:
        """Boosts by a velocity (3D) or by the velocity of a four-vector (4D)."""
        booster = self._lift(booster, "boost")
        if methods.dim(booster) == 2:
            msg = f"specify a 3D vector (velocity) or a 4D vector to boost by, not {booster!r}"
            raise TypeError(msg)
        return self.boost_beta3(booster) if methods.dim(booster) == 3 else self.boost_p4(booster)

    def boostCM_of_p4(self, p4: Any) -> Any:
        """Boosts into the rest frame of the four-vector ``p4``."""
        return self.boost_p4(self._lift(p4, "boostCM_of_p4").neg3D)

    def boostCM_of_beta3(self, beta3: Any) -> Any:
        """Boosts into the frame that moves with the velocity ``beta3``, a 3D vector."""
        return self.boost_beta3(self._lift(beta3, "boostCM_of_beta3").neg3D)

    def boostCM_of(self, booster: Any) -> Any:
        """Boosts into the frame of a velocity (3D) or a four-vector (4D)."""
        return self.boost(self._lift(booster, "boostCM_of").neg3D)


class LorentzMomentumTorch(methods.LorentzMomentum):  # type: ignore[misc]
    """What four-momenta have under names that generic vectors lack."""

    Et = et = _quantity("lorentz", "Et")
    Et2 = et2 = _quantity("lorentz", "Et2")
    Mt = mt = _quantity("lorentz", "Mt")
    Mt2 = mt2 = _quantity("lorentz", "Mt2")
