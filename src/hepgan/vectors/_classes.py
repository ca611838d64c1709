"""The public classes, and the functions that make, join and convert vectors."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

import numpy as np
import torch
import torch.utils._pytree as pytree
import vector
from torch import Tensor

from ._base import CARTESIAN, VectorTorch, read_names
from ._kernels import methods
from ._methods import LorentzMomentumTorch, LorentzTorch, PlanarTorch, SpatialTorch

__all__ = [
    "MomentumTorch2D",
    "MomentumTorch3D",
    "MomentumTorch4D",
    "TensorLike",
    "VectorTorch2D",
    "VectorTorch3D",
    "VectorTorch4D",
    "array",
    "concatenate",
    "from_awkward",
    "from_numpy",
    "momentum",
    "stack",
    "to_awkward",
    "to_numpy",
    "where",
]

_AZIMUTHAL = {"xy": methods.AzimuthalXY, "rhophi": methods.AzimuthalRhoPhi}
_LONGITUDINAL = {
    "z": methods.LongitudinalZ,
    "theta": methods.LongitudinalTheta,
    "eta": methods.LongitudinalEta,
}
_TEMPORAL = {"t": methods.TemporalT, "tau": methods.TemporalTau}
_MOMENTUM_NAMES = {
    "xy": "pxpy",
    "rhophi": "ptphi",
    "z": "pz",
    "theta": "theta",
    "eta": "eta",
    "t": "energy",
    "tau": "mass",
}


class TensorLike(VectorTorch):
    """The tensor-like half of every torch vector."""

    def map(self, function: Callable[[Tensor], Tensor]) -> Self:
        """The vector whose coordinates are ``function`` of these, of the same coordinate system."""
        return self._from_tiers(type(tier)(*map(function, tier.elements)) for tier in self._tiers)

    @property
    def coordinates(self) -> dict[str, Tensor]:
        """The stored coordinates by name (``pt``, ``mass``, ... for momenta), in vector's order."""
        names = [name for tier in self._tiers for name in tier.names]
        if isinstance(self, methods.Momentum):
            names = [methods._repr_generic_to_momentum.get(name, name) for name in names]
        return dict(zip(names, self.elements, strict=True))

    @property
    def elements(self) -> tuple[Tensor, ...]:
        """The stored coordinates, in vector's order."""
        return tuple(element for tier in self._tiers for element in tier.elements)

    def to_tensor(self, dim: int = -1) -> Tensor:
        """The stored coordinates stacked along a new dimension ``dim``."""
        return torch.stack(self.elements, dim)

    # shape

    @property
    def shape(self) -> torch.Size:
        """The shape of each coordinate."""
        return self._tiers[0].elements[0].shape

    @property
    def ndim(self) -> int:
        """The number of dimensions of each coordinate."""
        return len(self.shape)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the coordinates."""
        return self._tiers[0].elements[0].dtype

    @property
    def device(self) -> torch.device:
        """The device of the coordinates."""
        return self._tiers[0].elements[0].device

    def numel(self) -> int:
        """The number of vectors."""
        return self.shape.numel()

    def __len__(self) -> int:
        if not self.shape:
            msg = "len() of a 0-d vector"
            raise TypeError(msg)
        return self.shape[0]

    def __iter__(self) -> Iterator[Self]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, where: Any) -> Self:
        return self.map(lambda element: element[where])

    def reshape(self, *shape: Any) -> Self:
        """As `torch.Tensor.reshape`, for each coordinate."""
        return self.map(lambda element: element.reshape(*shape))

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Self:
        """As `torch.Tensor.flatten`, for each coordinate."""
        return self.map(lambda element: element.flatten(start_dim, end_dim))

    def unsqueeze(self, dim: int) -> Self:
        """As `torch.Tensor.unsqueeze`, for each coordinate."""
        return self.map(lambda element: element.unsqueeze(dim))

    def squeeze(self, dim: int) -> Self:
        """As `torch.Tensor.squeeze`, for each coordinate."""
        return self.map(lambda element: element.squeeze(dim))

    def expand(self, *shape: Any) -> Self:
        """As `torch.Tensor.expand`, for each coordinate."""
        return self.map(lambda element: element.expand(*shape))

    def masked_fill(self, mask: Tensor, value: float) -> Self:
        """Sets all stored coordinates to ``value`` where ``mask`` is true."""
        return self.map(lambda element: element.masked_fill(mask, value))

    # devices and gradients

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """As `torch.Tensor.to`: another dtype or device."""
        return self.map(lambda element: element.to(*args, **kwargs))

    def cpu(self) -> Self:
        """The vector on the CPU."""
        return self.to("cpu")

    def clone(self) -> Self:
        """A copy, through which gradients flow."""
        return self.map(torch.clone)

    def detach(self) -> Self:
        """The vector without its history."""
        return self.map(torch.Tensor.detach)

    @property
    def requires_grad(self) -> bool:
        """Whether any coordinate requires a gradient."""
        return any(element.requires_grad for element in self.elements)

    # coordinate systems

    def to_cartesian(self) -> Any:
        """The vector in x, y (, z (, t)); itself if it is so already."""
        if self.is_cartesian:
            return self
        if len(self._tiers) == 3 and self._tiers[1].kind is methods.LongitudinalEta:
            # the energy from x, y, z, tau: the kernel for eta would compute z a second time
            spatial = self._wrap_result(type(self), (self.x, self.y, self.z), CARTESIAN[:2], 1)
            return spatial._wrap_result(type(self), (*spatial.elements[:3], spatial.t), CARTESIAN, 1)
        names = ("x", "y", "z", "t")[: len(self._tiers) + 1]
        values = tuple(getattr(self, name) for name in names)
        return self._wrap_result(type(self), values, CARTESIAN[: len(self._tiers)], 1)

    def sum(self, dim: int | tuple[int, ...] | None = None, keepdim: bool = False) -> Any:
        """The vector sum over ``dim`` (all dimensions by default), in cartesian coordinates.

        Padded entries must be zero vectors (see `masked_fill`) in order to add nothing.
        """
        return self.to_cartesian().map(lambda element: element.sum(dim=dim, keepdim=keepdim))

    # operators

    def __eq__(self, other: object) -> Any:
        return self.equal(other) if isinstance(other, methods.Vector) else NotImplemented

    def __ne__(self, other: object) -> Any:
        return self.not_equal(other) if isinstance(other, methods.Vector) else NotImplemented

    # == is elementwise, as in vector, so a vector cannot be a dictionary's key
    __hash__ = None  # type: ignore[assignment]

    def __add__(self, other: Any) -> Any:
        return self.add(other) if isinstance(other, methods.Vector) else NotImplemented

    def __radd__(self, other: Any) -> Any:
        if isinstance(other, methods.Vector):
            return self.add(other)
        # the builtin sum() starts from 0
        return self if isinstance(other, int) and other == 0 else NotImplemented

    def __sub__(self, other: Any) -> Any:
        return self.subtract(other) if isinstance(other, methods.Vector) else NotImplemented

    def __rsub__(self, other: Any) -> Any:
        return self._lift(other, "-").subtract(self) if isinstance(other, methods.Vector) else NotImplemented

    def __mul__(self, factor: Any) -> Any:
        return self.scale(factor) if _is_factor(factor) else NotImplemented

    __rmul__ = __mul__

    def __truediv__(self, factor: Any) -> Any:
        return self.scale(1 / self._scalar(factor)) if _is_factor(factor) else NotImplemented

    def __neg__(self) -> Any:
        return self.scale(-1)

    def __pos__(self) -> Self:
        return self

    def __abs__(self) -> Any:
        return (self.rho, getattr(self, "mag", None), getattr(self, "tau", None))[len(self._tiers) - 1]

    def __pow__(self, exponent: Any) -> Any:
        if not _is_factor(exponent):
            return NotImplemented
        if isinstance(exponent, numbers.Real) and exponent == 2:
            return getattr(self, ("rho2", "mag2", "tau2")[len(self._tiers) - 1])
        return abs(self) ** exponent

    def __matmul__(self, other: Any) -> Any:
        return self.dot(other) if isinstance(other, methods.Vector) else NotImplemented

    def __rmatmul__(self, other: Any) -> Any:
        return self.dot(other) if isinstance(other, methods.Vector) else NotImplemented

    def __bool__(self) -> bool:
        msg = f"the truth value of a {type(self).__name__} is ambiguous"
        raise ValueError(msg)

    def __repr__(self) -> str:
        if self.numel() <= 4:
            body = ", ".join(f"{name}={value.tolist()}" for name, value in self.coordinates.items())
        else:
            body = f"{', '.join(self.coordinates)}, shape={tuple(self.shape)}"
        return f"{type(self).__name__}({body}, dtype={self.dtype}, device={self.device})"


def _is_factor(value: Any) -> bool:
    return isinstance(value, (numbers.Real, Tensor, np.ndarray)) and not isinstance(value, methods.Vector)


def _conversion(azimuthal: str, longitudinal: str | None, temporal: str | None, momentum: bool) -> Any:
    tiers = [t for t in (azimuthal, longitudinal, temporal) if t is not None]
    kinds = [table[tier] for table, tier in zip((_AZIMUTHAL, _LONGITUDINAL, _TEMPORAL), tiers, strict=False)]
    names = {"xy": ("x", "y"), "rhophi": ("rho", "phi")}[azimuthal] + tuple(tiers[1:])
    # the keyword that gives a coordinate which a vector of fewer dimensions lacks
    keywords = ["", *(_MOMENTUM_NAMES[tier] if momentum else tier for tier in tiers[1:])]
    shown = "".join(_MOMENTUM_NAMES[tier] if momentum else tier for tier in tiers)

    def convert(self: TensorLike, **missing: Any) -> Any:
        if unknown := set(missing) - set(keywords[1:]):
            msg = f"to_{shown}() got an unexpected keyword argument {sorted(unknown)[0]!r}"
            raise TypeError(msg)
        own = len(self._tiers)
        if kinds == list(CARTESIAN[:own]):
            return self.to_cartesian()
        have = tuple(getattr(self, name) for name in names[: own + 1])
        given = tuple(missing.get(keyword, 0.0) for keyword in keywords[own:])
        result = (*have, *given)
        returns = kinds if len(kinds) >= own else [*kinds, None]
        return self._wrap_result(type(self), result, returns, 1)

    convert.__name__ = f"to_{shown}"
    convert.__doc__ = (
        f"The vector in {', '.join(names)}; keyword arguments (0 by default) give the coordinates that a "
        "vector of fewer dimensions lacks."
    )
    return convert


for _az in _AZIMUTHAL:
    for _l in (None, *_LONGITUDINAL):
        for _t in (None, *_TEMPORAL) if _l else (None,):
            for _named in (False, True):
                _method = _conversion(_az, _l, _t, _named)
                setattr(TensorLike, _method.__name__, _method)


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


def to_numpy(vectors: Any) -> Any:
    """Torch vectors as a vector of the numpy backend, detached and on the CPU.

    Raises:
        TypeError: If ``vectors`` is not a torch vector.
    """
    return vector.array(_columns(vectors))


def from_numpy(
    vectors: Any, *, dtype: torch.dtype | None = None, device: torch.device | str | None = None
) -> Any:
    """Torch vectors from a vector of the numpy (or object) backend, in the same coordinate system.

    Args:
        vectors: ``vector.array(...)`` or ``vector.obj(...)``.
        dtype: The dtype of the coordinates; that of the array by default.
        device: The device; the CPU by default.

    Raises:
        TypeError: If ``vectors`` is neither.
    """
    if not isinstance(vectors, (vector.VectorNumpy, vector.VectorObject)):
        msg = f"expected a vector of the numpy or object backend, not {type(vectors).__name__}"
        raise TypeError(msg)
    tiers = (vectors.azimuthal, getattr(vectors, "longitudinal", None), getattr(vectors, "temporal", None))
    names = ("x", "y", "rho", "phi", "z", "theta", "eta", "t", "tau")
    coords = {
        name: _copied(np.asarray(getattr(tier, name)), dtype, device)
        for tier in tiers
        if tier is not None
        for name in names
        if hasattr(tier, name)
    }
    return momentum(**coords) if isinstance(vectors, methods.Momentum) else array(**coords)


def to_awkward(vectors: Any) -> Any:
    """Torch vectors as an awkward array of regular shape with vector's behaviour.

    Raises:
        TypeError: If ``vectors`` is not a torch vector, or is a single one (0-d).
    """
    import awkward as ak

    columns = _columns(vectors)
    if not vectors.shape:
        msg = "a 0-d vector has no awkward array; use to_numpy"
        raise TypeError(msg)
    return vector.zip({name: ak.from_numpy(values, regulararray=True) for name, values in columns.items()})


def from_awkward(
    vectors: Any, *, dtype: torch.dtype | None = None, device: torch.device | str | None = None
) -> Any:
    """Torch vectors from an awkward array of flat or regular shape.

    Args:
        vectors: Records with vector's coordinate names; other fields are left out.
        dtype: The dtype of the coordinates; that of the array by default.
        device: The device; the CPU by default.

    Raises:
        TypeError: If the fields do not describe exactly one vector.
        ValueError: If the array is jagged or has missing values: flatten or pad it first.
    """
    import awkward as ak

    _, _, pairs, _ = methods._check_coordinate_names(tuple(vectors.fields), None, None, True)
    is_momentum = isinstance(vectors, methods.Momentum)
    coords = {}
    for _, name in pairs:
        try:
            values = ak.to_numpy(vectors[name], allow_missing=False)
        except ValueError as error:
            shown = methods._repr_generic_to_momentum.get(name, name) if is_momentum else name
            msg = f"field {shown!r} is jagged or has missing values; flatten or pad the array first"
            raise ValueError(msg) from error
        coords[name] = _copied(values, dtype, device)
    return momentum(**coords) if is_momentum else array(**coords)


def _columns(vectors: Any) -> dict[str, np.ndarray[Any, Any]]:
    if not isinstance(vectors, VectorTorch):
        msg = f"expected a torch vector, not {type(vectors).__name__}"
        raise TypeError(msg)
    columns = {}
    for name, element in vectors.coordinates.items():
        value = element.detach().cpu()
        # numpy has no bfloat16
        columns[name] = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    return columns


def _copied(values: Any, dtype: torch.dtype | None, device: torch.device | str | None) -> torch.Tensor:
    # a copy: fields of numpy's structured arrays are strided and may be read-only
    return torch.as_tensor(np.array(values, copy=True, order="C"), dtype=dtype, device=device)
