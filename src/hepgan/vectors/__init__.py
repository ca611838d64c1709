"""A torch backend of scikit-hep's vector: differentiable vectors of any shape, dtype and device.

`array` makes vectors from tensors with vector's coordinate names; they have vector's properties and
methods, work under ``torch.compile``, ``torch.vmap`` and ``torch.func``, and have finite gradients for
padded and other degenerate vectors (see `VectorTorch4D`).

In operations with vectors of vector's object and numpy backends the result is a torch vector. With an
object vector on the left, vector raises a TypeError: put the torch vector there.
"""

from __future__ import annotations

from ._base import VectorTorch
from ._classes import (
    MomentumTorch2D,
    MomentumTorch3D,
    MomentumTorch4D,
    VectorTorch2D,
    VectorTorch3D,
    VectorTorch4D,
    array,
    concatenate,
    from_awkward,
    from_numpy,
    momentum,
    stack,
    to_awkward,
    to_numpy,
    where,
)
from ._kernels import finite_gradient
from .kinematics import Kinematics, wrap

__all__ = [
    "Kinematics",
    "MomentumTorch2D",
    "MomentumTorch3D",
    "MomentumTorch4D",
    "VectorTorch",
    "VectorTorch2D",
    "VectorTorch3D",
    "VectorTorch4D",
    "array",
    "concatenate",
    "finite_gradient",
    "from_awkward",
    "from_numpy",
    "momentum",
    "stack",
    "to_awkward",
    "to_numpy",
    "where",
    "wrap",
]
