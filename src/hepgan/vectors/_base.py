"""What all torch vectors share: coordinates, construction, conversion of operands, the call of the kernels.

vector's own ``dispatch`` functions enter ``numpy.errstate``, which breaks the graph of
``torch.compile``; `compute` looks a kernel up in the same ``dispatch_map`` without it.
"""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Sequence
from functools import reduce
from itertools import product
from typing import Any, ClassVar, Self

import numpy as np
import torch
import vector
from torch import Tensor

from ._kernels import Kernel, TorchLib, finite_gradient, methods

__all__ = [
    "CARTESIAN",
    "COORDINATES",
    "TIERS",
    "CoordinatesTorch",
    "VectorTorch",
    "compute",
    "read_names",
    "uniform",
]


class CoordinatesTorch:
    """The tensors of one tier, in vector's order.

    Args:
        *elements: One tensor a coordinate, all of one shape, dtype and device.
    """

    kind: ClassVar[Any]
    names: ClassVar[tuple[str, ...]]
    tier: ClassVar[int]

    def __init__(self, *elements: Tensor) -> None:
        self._elements = elements

    @property
    def elements(self) -> tuple[Tensor, ...]:
        """The tensors, in the order of ``names``."""
        return self._elements

    def __repr__(self) -> str:
        body = ", ".join(f"{name}={value!r}" for name, value in zip(self.names, self.elements, strict=True))
        return f"{type(self).__name__}({body})"


class AzimuthalTorchXY(CoordinatesTorch, methods.AzimuthalXY):  # type: ignore[misc]
    """``x`` and ``y``."""

    kind, names, tier = methods.AzimuthalXY, ("x", "y"), 0
    x = property(lambda self: self.elements[0])
    y = property(lambda self: self.elements[1])


class AzimuthalTorchRhoPhi(CoordinatesTorch, methods.AzimuthalRhoPhi):  # type: ignore[misc]
    """``rho`` and ``phi`` (radians)."""

    kind, names, tier = methods.AzimuthalRhoPhi, ("rho", "phi"), 0
    rho = property(lambda self: self.elements[0])
    phi = property(lambda self: self.elements[1])


class LongitudinalTorchZ(CoordinatesTorch, methods.LongitudinalZ):  # type: ignore[misc]
    """``z``."""

    kind, names, tier = methods.LongitudinalZ, ("z",), 1
    z = property(lambda self: self.elements[0])


class LongitudinalTorchTheta(CoordinatesTorch, methods.LongitudinalTheta):  # type: ignore[misc]
    """``theta`` (radians)."""

    kind, names, tier = methods.LongitudinalTheta, ("theta",), 1
    theta = property(lambda self: self.elements[0])


class LongitudinalTorchEta(CoordinatesTorch, methods.LongitudinalEta):  # type: ignore[misc]
    """``eta``."""

    kind, names, tier = methods.LongitudinalEta, ("eta",), 1
    eta = property(lambda self: self.elements[0])


class TemporalTorchT(CoordinatesTorch, methods.TemporalT):  # type: ignore[misc]
    """``t``."""

    kind, names, tier = methods.TemporalT, ("t",), 2
    t = property(lambda self: self.elements[0])


class TemporalTorchTau(CoordinatesTorch, methods.TemporalTau):  # type: ignore[misc]
    """``tau``; negative for spacelike vectors, as in vector."""

    kind, names, tier = methods.TemporalTau, ("tau",), 2
    tau = property(lambda self: self.elements[0])


#: vector's marker class -> the class of its torch coordinates.
COORDINATES: dict[Any, type[CoordinatesTorch]] = {
    cls.kind: cls
    for cls in (
        AzimuthalTorchXY,
        AzimuthalTorchRhoPhi,
        LongitudinalTorchZ,
        LongitudinalTorchTheta,
        LongitudinalTorchEta,
        TemporalTorchT,
        TemporalTorchTau,
    )
}

#: Names of a tier's coordinates -> the class of its torch coordinates, for each tier.
TIERS: tuple[dict[tuple[str, ...], type[CoordinatesTorch]], ...] = tuple(
    {cls.names: cls for cls in COORDINATES.values() if cls.tier == tier} for tier in range(3)
)


def _accepted_names() -> dict[frozenset[str], tuple[bool, tuple[tuple[str, str], ...]]]:
    aliases = {
        generic: [name for name, own in methods._repr_all_to_generic.items() if own == generic]
        for cls in COORDINATES.values()
        for generic in cls.names
    }
    spellings = [
        [given for names in tier for given in product(*(aliases[name] for name in names))] for tier in TIERS
    ]
    accepted = {}
    for dimension in (1, 2, 3):
        for choice in product(*spellings[:dimension]):
            given = tuple(name for part in choice for name in part)
            momentum, _, pairs, _ = methods._check_coordinate_names(given)
            accepted[frozenset(given)] = (momentum, pairs)
    return accepted


# vector's own check is cached with functools.lru_cache, about which torch.compile warns
_ACCEPTED = _accepted_names()


def read_names(names: Iterable[str]) -> tuple[bool, tuple[tuple[str, str], ...]]:
    """Reads the coordinate names of a vector by vector's rules.

    Returns:
        Whether there are momentum names among them, and (generic name, given name) pairs in vector's order.

    Raises:
        TypeError: If the names do not describe exactly one vector.
    """
    names = tuple(names)
    found = _ACCEPTED.get(frozenset(names))
    if found is None:
        momentum, _, found_pairs, _ = methods._check_coordinate_names(names)
        return momentum, found_pairs
    return found


CARTESIAN = (methods.AzimuthalXY, methods.LongitudinalZ, methods.TemporalT)


def compute(
    which: Kernel,
    *vectors: VectorTorch,
    scalars: Sequence[Any] = (),
    key: tuple[str, ...] = (),
    keep: VectorTorch | None = None,
    lib: type[TorchLib] = TorchLib,
) -> Any:
    """Runs one of vector's kernels.

    Args:
        which: The kernel.
        *vectors: Its vectors, torch ones.
        scalars: What the kernel takes before the coordinates.
        key: What the kernel's ``dispatch_map`` wants beside the coordinate classes.
        keep: The vector whose untouched tiers the result takes over; the first one by default.
        lib: What the kernel computes with.

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
    result = function(lib, *elements)
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
