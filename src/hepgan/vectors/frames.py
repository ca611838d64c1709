"""Boosts and frames of reference for stacked four-momenta (..., 4): px, py, pz and energy."""

from __future__ import annotations

import torch
from torch import Tensor

from .kinematics import safe_sqrt

__all__ = ["axes", "boosted", "direction", "invariant_mass"]

_SMALL = 1e-9


def boosted(momenta: Tensor, velocity: Tensor) -> Tensor:
    """Momenta (..., 4) seen from a frame in which what was at rest moves with a velocity (..., 3)."""
    squared = velocity.square().sum(-1, keepdim=True)
    gamma = (1.0 - squared).clamp(min=1e-30).rsqrt()
    energy = momenta[..., 3:]
    along = (velocity * momenta[..., :3]).sum(-1, keepdim=True)
    factor = gamma * (gamma / (gamma + 1.0) * along + energy)
    return torch.cat([momenta[..., :3] + factor * velocity, gamma * (energy + along)], -1)


def invariant_mass(momenta: Tensor) -> Tensor:
    """Masses (...) of momenta (..., 4); 0 where E < |p|."""
    return safe_sqrt(momenta[..., 3].square() - momenta[..., :3].square().sum(-1))


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
