"""The names that vector keeps to itself and a backend outside vector needs, checked at import."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import vector
import vector._methods as methods

__all__ = ["COMPUTE_MODULES", "METHOD_NAMES", "check_vector", "compute_module", "methods"]

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

#: Modules of ``vector._compute`` whose ``dispatch_map`` this backend reads.
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
