"""What makes a vector behave like a tensor: shape, indexing, devices, operators, coordinate changes."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Iterator
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from ._base import CARTESIAN, VectorTorch
from ._private import methods

__all__ = ["TensorLike"]

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
            for _momentum in (False, True):
                _method = _conversion(_az, _l, _t, _momentum)
                setattr(TensorLike, _method.__name__, _method)
