"""From and to vector's numpy and awkward backends."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import vector

from ._base import VectorTorch
from ._classes import array, momentum
from ._private import methods

__all__ = ["from_awkward", "from_numpy", "to_awkward", "to_numpy"]


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
        name: _tensor(np.asarray(getattr(tier, name)), dtype, device)
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
        coords[name] = _tensor(values, dtype, device)
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


def _tensor(values: Any, dtype: torch.dtype | None, device: torch.device | str | None) -> torch.Tensor:
    # a copy: fields of numpy's structured arrays are strided and may be read-only
    return torch.as_tensor(np.array(values, copy=True, order="C"), dtype=dtype, device=device)
