"""Boosts and frames of reference, differentiable and exact where momenta are degenerate.

Of stacked four-momenta (..., 4), px, py, pz and energy; and of single momenta as `Momentum`, whose boosts go
along the beam first and then along the transverse momentum.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ._base import compute
from ._classes import array
from ._kernels import kernel
from .kinematics import safe_sqrt

__all__ = [
    "Momentum",
    "Transverse",
    "axes",
    "boosted",
    "direction",
    "from_rest",
    "into_rest",
    "invariant_mass",
    "pair_mass",
    "transverse",
]

_SMALL = 1e-9
_TAU = kernel("lorentz", "tau")


def boosted(momenta: Tensor, velocity: Tensor) -> Tensor:
    """Momenta (..., 4) seen from a frame in which what was at rest moves with a velocity (..., 3)."""
    squared = velocity.square().sum(-1, keepdim=True)
    gamma = (1.0 - squared).clamp(min=1e-30).rsqrt()
    energy = momenta[..., 3:]
    along = (velocity * momenta[..., :3]).sum(-1, keepdim=True)
    factor = gamma * (gamma / (gamma + 1.0) * along + energy)
    return torch.cat([momenta[..., :3] + factor * velocity, gamma * (energy + along)], -1)


def invariant_mass(momenta: Tensor) -> Tensor:
    """Masses (...) of momenta (..., 4); negative where E < |p|, as those of all vectors."""
    px, py, pz, energy = momenta.unbind(-1)
    return compute(_TAU, array(px=px, py=py, pz=pz, energy=energy))  # type: ignore[no-any-return]


def direction(vector: Tensor) -> Tensor:
    """Unit vectors (..., 3); 0 for a vector of no length."""
    length = safe_sqrt(vector.square().sum(-1, keepdim=True))
    return vector / torch.where(length > 0, length, 1.0)


def axes(axis: Tensor, reference: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Right-handed axes x, y, z (..., 3) with z along ``axis`` and ``reference`` in the half plane x > 0.

    Where the reference is along the axis, another direction takes its place.
    """
    z = direction(axis)
    across = reference - (reference * z).sum(-1, keepdim=True) * z
    far = _SMALL**2 * reference.square().sum(-1, keepdim=True)
    parallel = across.square().sum(-1, keepdim=True) <= far
    spare = torch.zeros_like(z)
    upright = z[..., 2].abs() < 0.9
    spare[..., 2] = torch.where(upright, 1.0, 0.0)
    spare[..., 0] = torch.where(upright, 0.0, 1.0)
    across = torch.where(parallel, spare - (spare * z).sum(-1, keepdim=True) * z, across)
    x = direction(across)
    return x, torch.linalg.cross(z, x, dim=-1), z


class Momentum(NamedTuple):
    """Momenta of any shape with their masses and energies, which are kept since neither follows exactly."""

    px: Tensor
    py: Tensor
    pz: Tensor
    mass: Tensor
    energy: Tensor

    @classmethod
    def of(cls, px: Tensor, py: Tensor, pz: Tensor, mass: Tensor) -> Momentum:
        """The momenta of particles of known masses, which are not negative."""
        return cls(px, py, pz, mass, safe_sqrt(px**2 + py**2 + pz**2 + mass**2))


class Transverse(NamedTuple):
    """A transverse momentum: its length, and cosine and sine of its azimuth."""

    pt: Tensor
    cos: Tensor
    sin: Tensor


def transverse(px: Tensor, py: Tensor) -> Transverse:
    """A transverse momentum; the azimuth of none is 0."""
    pt = safe_sqrt(px**2 + py**2)
    none = pt == 0
    length = torch.where(none, 1.0, pt)
    return Transverse(pt, torch.where(none, 1.0, px / length), torch.where(none, 0.0, py / length))


def pair_mass(a: Momentum, b: Momentum) -> Tensor:
    """The mass of a system of two, not below the sum of theirs whatever rounding does."""
    m2 = a.mass**2 + b.mass**2 + 2 * (a.energy * b.energy - a.px * b.px - a.py * b.py - a.pz * b.pz)
    return torch.maximum(safe_sqrt(m2), a.mass + b.mass)


def into_rest(momentum: Momentum, system: Momentum, across: Transverse) -> tuple[Tensor, Tensor, Tensor]:
    """What a momentum is in the rest frame of a system.

    Args:
        momentum: The momentum.
        system: The system, with a mass above 0.
        across: The system's transverse momentum.

    Returns:
        x, y and z, with z along the beam and x along the system's transverse momentum.
    """
    mt = safe_sqrt(system.mass**2 + across.pt**2)
    along = momentum.px * across.cos + momentum.py * across.sin
    y = momentum.py * across.cos - momentum.px * across.sin
    moving = (system.energy * momentum.energy - system.pz * momentum.pz) / mt
    z = (system.energy * momentum.pz - system.pz * momentum.energy) / mt
    return (mt * along - across.pt * moving) / system.mass, y, z


def from_rest(momentum: Momentum, system: Momentum, across: Transverse) -> tuple[Tensor, Tensor, Tensor]:
    """px, py and pz of a momentum in a system's rest frame; the inverse of `into_rest`."""
    mt = safe_sqrt(system.mass**2 + across.pt**2)
    along = (mt * momentum.px + across.pt * momentum.energy) / system.mass
    moving = (mt * momentum.energy + across.pt * momentum.px) / system.mass
    px = along * across.cos - momentum.py * across.sin
    py = along * across.sin + momentum.py * across.cos
    return px, py, (system.energy * momentum.pz + system.pz * moving) / mt
