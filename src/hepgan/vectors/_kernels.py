"""What the backend takes of vector, the compute kernels above all, and the library that they compute with.

vector's kernels are pure functions ``kernel(lib, *coordinates)``. Here every coordinate is a tensor; only a
kernel's own constants (``copysign(1, tau)``, ``maximum(t2, 0)``) are Python numbers. `TorchLib` is the
numpy-like library that they get: torch, with gradients that stay finite. All names that vector keeps to
itself are used through this module, which checks them at import.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import torch
import vector
import vector._methods as methods
from torch import Tensor

__all__ = [
    "COMPUTE_MODULES",
    "METHOD_NAMES",
    "Kernel",
    "TorchLib",
    "check_vector",
    "compute_module",
    "finite_gradient",
    "kernel",
    "methods",
]

#: Names of ``vector._methods`` that this backend uses.
METHOD_NAMES = (
    "AzimuthalRhoPhi",
    "AzimuthalXY",
    "Lorentz",
    "LorentzMomentum",
    "LongitudinalEta",
    "LongitudinalTheta",
    "LongitudinalZ",
    "Momentum",
    "Planar",
    "PlanarMomentum",
    "Spatial",
    "SpatialMomentum",
    "TemporalT",
    "TemporalTau",
    "Vector",
    "Vector2D",
    "Vector3D",
    "Vector4D",
    "_check_coordinate_names",
    "_handler_priority",
    "_maybe_same_dimension_error",
    "_repr_all_to_generic",
    "_repr_generic_to_momentum",
    "dim",
)

_BOTH = (
    *("add", "dot", "equal", "is_antiparallel", "is_parallel", "is_perpendicular", "isclose", "not_equal"),
    *("scale", "subtract", "unit"),
)

#: Modules of ``vector._compute``: all of them, so that a new one is noticed.
COMPUTE_MODULES = {
    "planar": (*_BOTH, "deltaphi", "phi", "rho", "rho2", "rotateZ", "transform2D", "x", "y"),
    "spatial": (
        *_BOTH,
        *("costheta", "cottheta", "cross", "deltaR", "deltaR2", "deltaangle", "deltaeta", "eta", "mag"),
        *("mag2", "rotateX", "rotateY", "rotate_axis", "rotate_euler", "rotate_quaternion", "theta"),
        *("transform3D", "z"),
    ),
    "lorentz": (
        *("Et", "Et2", "Mt", "Mt2", "add", "beta", "boostX_beta", "boostX_gamma", "boostY_beta"),
        *("boostY_gamma", "boostZ_beta", "boostZ_gamma", "boost_beta3", "boost_p4", "deltaRapidityPhi"),
        *("deltaRapidityPhi2", "dot", "equal", "gamma", "is_lightlike", "is_spacelike", "is_timelike"),
        *("isclose", "not_equal", "rapidity", "scale", "subtract", "t", "t2", "tau", "tau2", "to_beta3"),
        *("transform4D", "unit"),
    ),
}


def compute_module(package: str, name: str) -> ModuleType:
    """The module ``vector._compute.<package>.<name>``."""
    return importlib.import_module(f"vector._compute.{package}.{name}")


def check_vector(source: Any = methods) -> None:
    """Checks that the installed vector has what this backend builds on.

    Args:
        source: The module in which to look for the names of ``vector._methods``.

    Raises:
        ImportError: If names or kernels are missing, with the list of them and vector's version.
    """
    missing = [f"vector._methods.{name}" for name in METHOD_NAMES if not hasattr(source, name)]
    for package, names in COMPUTE_MODULES.items():
        for name in names:
            try:
                table = getattr(compute_module(package, name), "dispatch_map", None)
            except ImportError:
                table = None
            if not isinstance(table, dict) or not table:
                missing.append(f"vector._compute.{package}.{name}.dispatch_map")
    if missing:
        msg = (
            f"the torch backend needs vector>=1.9,<2, but vector {vector.__version__} lacks "
            f"{', '.join(missing)}"
        )
        raise ImportError(msg)


check_vector()


# These divide by something that can vanish; all others are singular only where the lib's functions are.
_SINGULAR = frozenset(
    (
        *("unit", "eta", "theta", "costheta", "cottheta", "deltaangle", "deltaeta", "deltaR", "deltaR2"),
        *("beta", "gamma", "rapidity", "Et", "Et2", "rotate_axis", "to_beta3"),
        *("boost_beta3", "boost_p4", "boostX_beta", "boostY_beta", "boostZ_beta"),
        *("boostX_gamma", "boostY_gamma", "boostZ_gamma"),
    )
)


class Kernel(NamedTuple):
    """One of vector's compute modules.

    Attributes:
        name: ``package.module``, for messages.
        table: vector's map from coordinate classes to (function, returned classes).
        tiers: How many tiers (1 to 3) it takes of each of its vectors.
        singular: Whether it divides by something that can vanish.
    """

    name: str
    table: dict[Any, Any]
    tiers: tuple[int, ...]
    singular: bool


def kernel(package: str, name: str, *tiers: int) -> Kernel:
    """The kernel ``vector._compute.<package>.<name>``; ``tiers`` defaults to the package's own."""
    own = {"planar": 1, "spatial": 2, "lorentz": 3}[package]
    table = {**compute_module(package, name).dispatch_map, **_SHARPER.get((package, name), {})}
    return Kernel(f"{package}.{name}", table, tiers or (own, own), name in _SINGULAR)


def _theta_of_xy(lib: Any, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    # -0 is no direction
    return lib.arctan2(lib.sqrt(x**2 + y**2), z + 0.0)  # type: ignore[no-any-return]


def _theta_of_rho(lib: Any, rho: Tensor, phi: Tensor, z: Tensor) -> Tensor:
    return lib.arctan2(lib.absolute(rho), z + 0.0)  # type: ignore[no-any-return]


def _rapidity(z: Callable[..., Tensor], rho2: Callable[..., Tensor], temporal: Any) -> Callable[..., Tensor]:
    def of_energy(lib: Any, *elements: Tensor) -> Tensor:
        along, energy = z(lib, *elements[:3]), elements[3]
        return lib.arcsinh(  # type: ignore[no-any-return]
            along / lib.copysign(lib.sqrt((energy - along) * (energy + along)), energy)
        )

    def of_mass(lib: Any, *elements: Tensor) -> Tensor:
        along, mass = z(lib, *elements[:3]), elements[3]
        transverse = lib.copysign(mass**2, mass) + rho2(lib, *elements[:2])
        return lib.arcsinh(along / lib.sqrt(transverse))  # type: ignore[no-any-return]

    return of_energy if temporal is methods.TemporalT else of_mass


def _rapidities() -> dict[Any, Any]:
    z, rho2 = (compute_module(*of).dispatch_map for of in (("spatial", "z"), ("planar", "rho2")))
    return {
        (azimuthal, longitudinal, temporal): (
            _rapidity(z[azimuthal, longitudinal][0], rho2[(azimuthal,)][0], temporal),
            float,
        )
        for azimuthal, longitudinal in z
        for temporal in (methods.TemporalT, methods.TemporalTau)
    }


# vector's arc cosine loses angles below 1e-8, and its t - z the digits of large rapidities
_SHARPER: dict[tuple[str, str], dict[Any, Any]] = {
    ("spatial", "theta"): {
        (methods.AzimuthalXY, methods.LongitudinalZ): (_theta_of_xy, float),
        (methods.AzimuthalRhoPhi, methods.LongitudinalZ): (_theta_of_rho, float),
    },
    ("lorentz", "rapidity"): _rapidities(),
}


class _Finite(torch.autograd.Function):
    """nan and infinities become zero, in the value and in the gradient, to any order."""

    generate_vmap_rule = True

    @staticmethod
    def forward(value: Tensor) -> Tensor:
        return torch.nan_to_num(value, nan=0.0, posinf=0.0, neginf=0.0)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _Finite.apply(gradients[0])  # type: ignore[no-any-return, no-untyped-call]


class _FiniteGradient(torch.autograd.Function):
    """The identity, behind which no nan or infinity passes backwards."""

    generate_vmap_rule = True

    @staticmethod
    def forward(value: Tensor) -> Tensor:
        return value.view_as(value)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _Finite.apply(gradients[0])  # type: ignore[no-any-return, no-untyped-call]


@torch.compiler.allow_in_graph  # type: ignore[untyped-decorator]
def _guard(value: Tensor) -> Tensor:
    # one node of the graph: dynamo's own tracing of autograd functions instantiates them, which warns
    return _FiniteGradient.apply(value)  # type: ignore[no-any-return, no-untyped-call]


def finite_gradient(value: Tensor) -> Tensor:
    """Returns ``value`` itself, with a gradient in which nan and infinities are zero.

    The forward pass costs nothing, unlike the usual pair of ``torch.where``; without a gradient to
    compute, ``value`` is passed through.
    """
    if torch.is_grad_enabled() and value.requires_grad:
        return _guard(value)  # type: ignore[no-any-return]
    return value


class TorchLib:
    """The names that vector's kernels ask of ``lib``, with numpy's meaning and torch's tensors."""

    pi = math.pi
    inf = math.inf

    absolute = staticmethod(torch.absolute)
    arcsinh = staticmethod(torch.arcsinh)
    arctan = staticmethod(torch.arctan)
    cos = staticmethod(torch.cos)
    exp = staticmethod(torch.exp)
    sign = staticmethod(torch.sign)
    sin = staticmethod(torch.sin)
    sinh = staticmethod(torch.sinh)
    tan = staticmethod(torch.tan)

    @staticmethod
    def sqrt(x: Tensor) -> Tensor:
        """Square root; its gradient at 0 is 0."""
        return finite_gradient(torch.sqrt(finite_gradient(x)))

    @staticmethod
    def log(x: Tensor) -> Tensor:
        """Natural logarithm; its gradient at 0 is 0."""
        return finite_gradient(torch.log(finite_gradient(x)))

    @staticmethod
    def arccos(x: Tensor) -> Tensor:
        """Arc cosine; its gradient at -1 and 1 is 0."""
        return finite_gradient(torch.arccos(finite_gradient(x)))

    @staticmethod
    def arctan2(y: Tensor, x: Tensor) -> Tensor:
        """Arc tangent of y / x in the right quadrant; its gradient at the origin is 0."""
        return finite_gradient(torch.arctan2(finite_gradient(y), finite_gradient(x)))

    @staticmethod
    def copysign(x: Tensor | float, y: Tensor) -> Tensor:
        """The magnitude of ``x`` with the sign of ``y``."""
        return torch.copysign(x if isinstance(x, Tensor) else torch.full_like(y, x), y)

    @staticmethod
    def maximum(x: Tensor | float, y: Tensor | float) -> Tensor:
        """The larger one; nan if either is nan."""
        if isinstance(x, Tensor):
            return torch.maximum(x, y) if isinstance(y, Tensor) else torch.clamp(x, min=y)
        return torch.clamp(torch.as_tensor(y), min=x)

    @staticmethod
    def minimum(x: Tensor | float, y: Tensor | float) -> Tensor:
        """The smaller one; nan if either is nan."""
        if isinstance(x, Tensor):
            return torch.minimum(x, y) if isinstance(y, Tensor) else torch.clamp(x, max=y)
        return torch.clamp(torch.as_tensor(y), max=x)

    @staticmethod
    def nan_to_num(
        x: Tensor, nan: Tensor | float = 0.0, posinf: float | None = None, neginf: float | None = None
    ) -> Tensor:
        """Replaces nan and infinities; ``nan`` may be a tensor, which torch's own function refuses."""
        if isinstance(nan, Tensor):
            x, nan = torch.where(torch.isnan(x), nan.to(x.dtype), x), math.nan
        return torch.nan_to_num(x, nan=nan, posinf=posinf, neginf=neginf)

    @staticmethod
    def isclose(
        x: Tensor, y: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
    ) -> Tensor:
        """Elementwise ``|x - y| <= atol + rtol * |y|``."""
        x, y = torch.broadcast_tensors(x, y)  # type: ignore[no-untyped-call]
        return torch.isclose(x, y, rtol=float(rtol), atol=float(atol), equal_nan=bool(equal_nan))
