"""Coordinates: the tensors of one tier (azimuthal, longitudinal, temporal) of a vector."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from typing import Any, ClassVar

from torch import Tensor

from ._private import methods

__all__ = ["COORDINATES", "TIERS", "CoordinatesTorch", "read_names"]


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
