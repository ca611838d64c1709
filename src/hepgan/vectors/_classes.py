"""The public classes and the functions that make or join vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.utils._pytree as pytree
from torch import Tensor

from ._base import VectorTorch
from ._coordinates import read_names
from ._kinematics import LorentzMomentumTorch, LorentzTorch, PlanarTorch, SpatialTorch
from ._private import methods
from ._tensors import TensorLike

__all__ = [
    "MomentumTorch2D",
    "MomentumTorch3D",
    "MomentumTorch4D",
    "VectorTorch2D",
    "VectorTorch3D",
    "VectorTorch4D",
    "array",
    "concatenate",
    "momentum",
    "stack",
    "where",
]


def _tier(index: int) -> property:
    return property(lambda self: self._tiers[index])


class VectorTorch2D(TensorLike, PlanarTorch, methods.Vector2D):  # type: ignore[misc]
    """Vectors (x, y) or (rho, phi) of torch tensors.

    Args:
        **coords: Tensors, arrays or numbers that broadcast, under vector's names.

    Raises:
        TypeError: If the names do not describe a 2D vector, or a value is not real.
        ValueError: If the shapes do not broadcast.
    """

    azimuthal = _tier(0)


class VectorTorch3D(TensorLike, SpatialTorch, methods.Vector3D):  # type: ignore[misc]
    """Vectors of two azimuthal coordinates and z, theta or eta, of torch tensors.

    Args:
        **coords: Tensors, arrays or numbers that broadcast, under vector's names.

    Raises:
        TypeError: If the names do not describe a 3D vector, or a value is not real.
        ValueError: If the shapes do not broadcast.
    """

    azimuthal, longitudinal = _tier(0), _tier(1)


class VectorTorch4D(TensorLike, LorentzTorch, methods.Vector4D):  # type: ignore[misc]
    """Four-vectors of torch tensors, in any of vector's twelve coordinate systems.

    Values are those of vector's numpy backend, at the edges too: eta is infinite at pt = 0, and a
    spacelike vector has a negative ``tau``. Sums and differences come out in cartesian coordinates. A
    difference keeps the sign of its energy, which vector loses where both operands are stored with
    ``tau``.

    Gradients are finite: where a derivative is undefined or infinite (pt at pt = 0, deltaR of equal
    vectors, every quantity of an all-zero padded particle), it is zero. The derivative of the mass by
    the energy is E / m. It grows without bound towards m = 0 and is zero at m = 0 exactly, so losses
    near the mass shell had better use ``mass2``. A nan among the values themselves stays a nan, but no
    nan comes back through a gradient: check the loss, not its gradient.

    Inside ``torch.compile(fullgraph=True)`` write ``a.dot(b)`` for ``a @ b``, which dynamo cannot trace.

    Precision: ``t**2 - p**2`` loses half the digits of the mass and more for E >> m. In float32 a fifth
    of the muons of pt = 500 GeV get a negative squared mass. Keep light particles in (pt, eta, phi,
    mass), or compute in float64; masses of well separated pairs are good to 1e-7 in float32.

    Args:
        **coords: Tensors, arrays or numbers that broadcast, under vector's names.

    Raises:
        TypeError: If the names do not describe a 4D vector, or a value is not real.
        ValueError: If the shapes do not broadcast.
    """

    azimuthal, longitudinal, temporal = _tier(0), _tier(1), _tier(2)


class MomentumTorch2D(methods.PlanarMomentum, VectorTorch2D):  # type: ignore[misc]
    """`VectorTorch2D` with the names of momenta (px, py, pt)."""


class MomentumTorch3D(methods.SpatialMomentum, VectorTorch3D):  # type: ignore[misc]
    """`VectorTorch3D` with the names of momenta (px, py, pz, pt, p)."""


class MomentumTorch4D(LorentzMomentumTorch, VectorTorch4D):
    """`VectorTorch4D` with the names of momenta (px, py, pz, pt, energy, mass, mt, ...)."""


_GENERIC = (VectorTorch2D, VectorTorch3D, VectorTorch4D)
_MOMENTUM = (MomentumTorch2D, MomentumTorch3D, MomentumTorch4D)


def _flatten(value: Any) -> tuple[list[Tensor], Any]:
    return list(value.elements), tuple(type(tier) for tier in value._tiers)


def _register(cls: Any) -> None:
    def unflatten(leaves: Any, classes: Any) -> Any:
        elements = iter(leaves)
        return cls._from_tiers(tier(*[next(elements) for _ in tier.names]) for tier in classes)

    # torch.vmap, torch.func and torch.compile take and return vectors through this
    pytree.register_pytree_node(cls, _flatten, unflatten)


for _family in (_GENERIC, _MOMENTUM):
    for _cls, _generic, _momentum in zip(_family, _GENERIC, _MOMENTUM, strict=True):
        _cls.ProjectionClass2D, _cls.ProjectionClass3D, _cls.ProjectionClass4D = _family
        _cls.GenericClass, _cls.MomentumClass = _generic, _momentum
        _register(_cls)

# vector asks which of two backends wraps a result by the place of their modules in this list
if __name__ not in methods._handler_priority:
    methods._handler_priority.append(__name__)


def array(**coords: Any) -> Any:
    """Makes vectors from coordinates, with the names and rules of ``vector.obj``.

    Momentum names (``px``, ``pt``, ``mass``, ``energy``, ...) make a momentum, generic names (``x``,
    ``rho``, ``tau``, ``t``, ...) a generic vector.

    Args:
        **coords: Tensors, arrays or real numbers that broadcast to one shape. Numbers take the dtype and
            device of the tensors, integer tensors become floating point.

    Returns:
        One of the six classes ``VectorTorch2D`` to ``MomentumTorch4D``.

    Raises:
        TypeError: If the names do not describe exactly one vector, or a value is not real.
        ValueError: If the shapes do not broadcast.

    Example:
        >>> muon = array(pt=torch.tensor([30.0, 45.0]), eta=0.5, phi=torch.tensor([0.1, 3.0]), mass=0.10566)
        >>> (muon[0] + muon[1]).mass
        tensor(72.9495)
    """
    is_momentum, pairs = read_names(coords)
    return (_MOMENTUM if is_momentum else _GENERIC)[len(pairs) - 2](**coords)


def momentum(**coords: Any) -> Any:
    """As `array`, but always a momentum, whatever the names.

    Raises:
        TypeError: If the names do not describe exactly one vector, or a value is not real.
        ValueError: If the shapes do not broadcast.
    """
    return _MOMENTUM[len(read_names(coords)[1]) - 2](**coords)


def _aligned(vectors: Sequence[Any], operation: str) -> list[Any]:
    """The vectors in one coordinate system: their own, or cartesian where they differ."""
    if not vectors:
        msg = f"{operation} needs at least one vector"
        raise ValueError(msg)
    for value in vectors:
        if not isinstance(value, VectorTorch):
            msg = f"{operation} takes torch vectors, not {type(value).__name__}"
            raise TypeError(msg)
    first = vectors[0]
    aligned = [first._same(value, operation) for value in vectors]
    if any([type(t) for t in v._tiers] != [type(t) for t in first._tiers] for v in aligned):
        aligned = [value.to_cartesian() for value in aligned]
    # a momentum among them makes all momenta, as in vector's own operations
    momenta = [value for value in aligned if isinstance(value, methods.Momentum)]
    if momenta:
        aligned = [type(momenta[0])._from_tiers(value._tiers) for value in aligned]
    return aligned


def _combine(aligned: Sequence[Any], function: Any) -> Any:
    elements = iter([function(parts) for parts in zip(*(value.elements for value in aligned), strict=True)])
    first = aligned[0]
    return first._from_tiers(type(tier)(*[next(elements) for _ in tier.names]) for tier in first._tiers)


def stack(vectors: Sequence[Any], dim: int = 0) -> Any:
    """Stacks vectors of one shape along a new dimension, as `torch.stack`.

    Vectors in different coordinate systems are converted to cartesian coordinates.

    Raises:
        TypeError: If something is not a torch vector, or the vectors' dimensions differ.
        ValueError: If there is none.
    """
    return _combine(_aligned(vectors, "stack"), lambda parts: torch.stack(parts, dim))


def concatenate(vectors: Sequence[Any], dim: int = 0) -> Any:
    """Joins vectors along a dimension that they have, as `torch.cat`.

    Vectors in different coordinate systems are converted to cartesian coordinates.

    Raises:
        TypeError: If something is not a torch vector, or the vectors' dimensions differ.
        ValueError: If there is none.
    """
    return _combine(_aligned(vectors, "concatenate"), lambda parts: torch.cat(parts, dim))


def where(condition: Tensor, vector: Any, other: Any) -> Any:
    """The vectors of ``vector`` where ``condition`` is true, of ``other`` elsewhere.

    Args:
        condition: Booleans that broadcast with both vectors.
        vector: Torch vectors.
        other: Torch vectors of the same dimension; if their coordinate systems differ, the result is
            cartesian.

    Raises:
        TypeError: If something is not a torch vector, or the vectors' dimensions differ.
    """
    return _combine(
        _aligned((vector, other), "where"), lambda parts: torch.where(condition, parts[0], parts[1])
    )
