"""What all torch vectors share: construction, conversion of operands, and the call of vector's kernels.

vector's own ``dispatch`` functions enter ``numpy.errstate``, which breaks the graph of
``torch.compile``; `compute` looks a kernel up in the same ``dispatch_map`` without it.
"""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Sequence
from functools import reduce
from typing import Any, NamedTuple, Self

import numpy as np
import torch
import vector
from torch import Tensor

from ._coordinates import COORDINATES, TIERS, CoordinatesTorch, read_names
from ._lib import TorchLib, finite_gradient
from ._private import compute_module, methods

__all__ = ["CARTESIAN", "Kernel", "VectorTorch", "compute", "kernel", "uniform"]

CARTESIAN = (methods.AzimuthalXY, methods.LongitudinalZ, methods.TemporalT)

# These divide by something that can vanish; all others are singular only where the lib's functions are.
_SINGULAR = frozenset(
    (
        *("unit", "eta", "theta", "costheta", "cottheta", "deltaangle", "deltaeta", "deltaR", "deltaR2"),
        *("beta", "gamma", "rapidity", "Et", "Et2", "deltaRapidityPhi", "deltaRapidityPhi2", "rotate_axis"),
        *("to_beta3", "boost_beta3", "boost_p4", "boostX_beta", "boostY_beta", "boostZ_beta"),
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
    table = compute_module(package, name).dispatch_map
    return Kernel(f"{package}.{name}", table, tiers or (own, own), name in _SINGULAR)


def compute(
    which: Kernel,
    *vectors: VectorTorch,
    scalars: Sequence[Any] = (),
    key: tuple[str, ...] = (),
    keep: VectorTorch | None = None,
) -> Any:
    """Runs one of vector's kernels.

    Args:
        which: The kernel.
        *vectors: Its vectors, torch ones.
        scalars: What the kernel takes before the coordinates.
        key: What the kernel's ``dispatch_map`` wants beside the coordinate classes.
        keep: The vector whose untouched tiers the result takes over; the first one by default.

    Returns:
        A tensor, or a vector of the dimension of ``keep``.
    """
    kinds: list[Any] = []
    elements: list[Any] = list(scalars)
    guard = which.singular
    for operand, count in zip(vectors, which.tiers, strict=False):
        for tier in operand._tiers[:count]:
            kinds.append(tier.kind)
            elements.extend(tier.elements)
            guard = guard or (tier.tier == 1 and tier.kind is not methods.LongitudinalZ)
    entry = which.table.get((*kinds, *key))
    if entry is None:
        msg = f"{which.name} has no signature {(*kinds, *key)}"
        raise TypeError(msg)
    function, *returns = entry
    if guard:
        elements = _guarded(elements)
    result = function(TorchLib, *elements)
    if guard:
        if isinstance(result, tuple):
            result = tuple(finite_gradient(value) for value in result)
        else:
            result = finite_gradient(result)
    if returns in ([float], [bool]):
        return result
    keep = vectors[0] if keep is None else keep
    momentum = any(isinstance(operand, methods.Momentum) for operand in vectors)
    return keep._wrap_result(keep.MomentumClass if momentum else keep.GenericClass, result, returns, 1)


def _guarded(elements: list[Any]) -> list[Any]:
    """Elements whose gradients are kept finite entry by entry.

    They are expanded first: the gradient of a broadcast element is a sum, of which one entry that is not
    finite would spoil the others.
    """
    tensors = [value for value in elements if isinstance(value, Tensor)]
    if any(value.shape != tensors[0].shape for value in tensors):
        shape = torch.broadcast_shapes(*(value.shape for value in tensors))  # type: ignore[no-untyped-call]
        elements = [value.expand(shape) if isinstance(value, Tensor) else value for value in elements]
    return [finite_gradient(value) if isinstance(value, Tensor) else value for value in elements]


def uniform(values: Iterable[Any], like: Tensor | None = None) -> tuple[Tensor, ...]:
    """Numbers, arrays and tensors as floating-point tensors of one shape and dtype.

    Args:
        values: The values; numbers take the dtype and device of the tensors.
        like: The tensor that gives dtype and device where no value is a tensor.

    Raises:
        TypeError: If a value is complex or not numeric.
        ValueError: If the shapes do not broadcast.
    """
    values = tuple(values)
    for value in values:
        if isinstance(value, Tensor):
            like = value
            break
    if like is not None and like.is_floating_point():
        shape, dtype = like.shape, like.dtype
        if all(isinstance(v, Tensor) and v.shape == shape and v.dtype == dtype for v in values):
            return values
    tensors = [_tensor(value, like) for value in values]
    floating = [t for t in tensors if t.is_floating_point()]
    # as in torch's own arithmetic, a 0-d tensor does not widen the others
    dtypes = [t.dtype for t in floating if t.ndim] or [t.dtype for t in floating]
    dtype = reduce(torch.promote_types, dtypes) if dtypes else torch.get_default_dtype()
    tensors = [t if t.dtype == dtype else t.to(dtype) for t in tensors]
    try:
        return tuple(torch.broadcast_tensors(*tensors))  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        shapes = ", ".join(str(tuple(t.shape)) for t in tensors)
        msg = f"coordinates of shapes {shapes} do not broadcast"
        raise ValueError(msg) from error


def _tensor(value: Any, like: Tensor | None) -> Tensor:
    if isinstance(value, Tensor):
        tensor = value
    elif isinstance(value, (int, float, np.floating, np.integer)):
        dtype = like.dtype if like is not None and like.is_floating_point() else torch.get_default_dtype()
        return torch.full((), float(value), dtype=dtype, device=None if like is None else like.device)
    elif isinstance(value, (np.ndarray, list, tuple)):
        tensor = torch.as_tensor(value, device=None if like is None else like.device)
    else:
        msg = f"a coordinate must be a tensor, an array or a number, not {type(value).__name__}: {value!r}"
        raise TypeError(msg)
    if tensor.is_complex():
        msg = f"a coordinate must be real, not {tensor.dtype}"
        raise TypeError(msg)
    return tensor


class VectorTorch(methods.Vector):  # type: ignore[misc]
    """Base of all vectors whose coordinates are torch tensors; made by `hepgan.vectors.array`.

    All coordinates have one shape, dtype and device. Vectors are immutable: operations return new ones.
    """

    lib: Any = TorchLib
    # numpy arrays and vectors on the left leave binary operators to this class
    __array_ufunc__ = None

    _tiers: tuple[CoordinatesTorch, ...]
    MomentumClass: type[Any]
    GenericClass: type[Any]

    def __new__(cls, *args: Any, **coords: Any) -> Self:
        # vector's own __new__ knows its object classes only
        return object.__new__(cls)

    def __init__(self, **coords: Any) -> None:
        momentum, pairs = read_names(coords)
        if len(pairs) != methods.dim(self) or (momentum and not isinstance(self, methods.Momentum)):
            # raises vector's own complaint
            methods._check_coordinate_names(
                tuple(coords), methods.dim(self), isinstance(self, methods.Momentum)
            )
        values = dict(
            zip(
                (generic for generic, _ in pairs),
                uniform(coords[given] for _, given in pairs),
                strict=True,
            )
        )
        self._tiers = tuple(
            cls(*(values[name] for name in names))
            for tier in TIERS
            for names, cls in tier.items()
            if names[0] in values
        )

    @classmethod
    def _from_tiers(cls, tiers: Iterable[CoordinatesTorch]) -> Self:
        new = cls.__new__(cls)
        new._tiers = tuple(tiers)
        return new

    def _wrap_result(self, cls: Any, result: Any, returns: Sequence[Any], num_vecargs: Any) -> Any:
        """What vector's methods call: ``result`` as a vector of the classes in ``returns``.

        Tiers beyond ``returns`` are taken over from ``self``, unless ``returns`` ends in None.
        """
        kinds = [kind for kind in returns if kind is not None]
        kept = () if None in returns else self._tiers[len(kinds) :]
        elements = iter(
            uniform((*result, *(e for tier in kept for e in tier.elements)), self._tiers[0].elements[0])
        )
        classes = [COORDINATES[kind] for kind in kinds] + [type(tier) for tier in kept]
        tiers = [tier(*[next(elements) for _ in tier.names]) for tier in classes]
        target = (cls.ProjectionClass2D, cls.ProjectionClass3D, cls.ProjectionClass4D)[len(tiers) - 1]
        return target._from_tiers(tiers)

    def _wrap_dispatched_function(self, func: Any) -> Any:
        return func

    def _lift(self, other: Any, operation: str) -> Any:
        """``other`` as a torch vector of this dtype and device."""
        if isinstance(other, VectorTorch):
            return other
        if isinstance(other, (vector.VectorObject, vector.VectorNumpy)):
            like = self._tiers[0].elements[0]
            tiers = (other.azimuthal, getattr(other, "longitudinal", None), getattr(other, "temporal", None))
            own = [tier for tier in tiers if tier is not None]
            elements = iter(
                uniform(
                    torch.as_tensor(np.array(e), dtype=like.dtype, device=like.device)
                    for tier in own
                    for e in tier.elements
                )
            )
            classes = [next(c for k, c in COORDINATES.items() if isinstance(tier, k)) for tier in own]
            family = self.MomentumClass if isinstance(other, methods.Momentum) else self.GenericClass
            target = (family.ProjectionClass2D, family.ProjectionClass3D, family.ProjectionClass4D)
            return target[len(own) - 1]._from_tiers(
                cls(*[next(elements) for _ in cls.names]) for cls in classes
            )
        hint = "; convert it with from_awkward first" if "awkward" in type(other).__module__ else ""
        msg = f"cannot use {type(other).__name__} with {type(self).__name__} in {operation}{hint}"
        raise TypeError(msg)

    def _same(self, other: Any, operation: str) -> Any:
        """``other`` as a torch vector of this dimension."""
        other = self._lift(other, operation)
        if methods.dim(self) != methods.dim(other):
            methods._maybe_same_dimension_error(self, other, operation)
        return other

    def _scalar(self, value: Any) -> Tensor:
        """An angle, factor or velocity as a tensor of this dtype and device."""
        if isinstance(value, Tensor):
            return value
        like = self._tiers[0].elements[0]
        if isinstance(value, numbers.Real):
            return torch.full((), float(value), dtype=like.dtype, device=like.device)
        if isinstance(value, (np.ndarray, list, tuple)):
            return torch.as_tensor(value, dtype=like.dtype, device=like.device)
        msg = f"expected a number or a tensor, not {type(value).__name__}: {value!r}"
        raise TypeError(msg)

    @property
    def is_cartesian(self) -> bool:
        """Whether the coordinates are x, y (, z (, t))."""
        return all(
            tier.kind is kind for tier, kind in zip(self._tiers, CARTESIAN[: len(self._tiers)], strict=True)
        )
