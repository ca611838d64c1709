"""Invertible maps between physical columns and the coordinates in which a network learns.

Every transform acts on a block of columns ``(N, D)`` in float64, learns its constants with ``fit`` and keeps
them as float64 buffers, so that they move with ``.to(device)`` and are stored in ``state_dict``. Conventions:

- ``mask`` is True where an entry is real; padded entries may hold anything, NaN included, in ``fit``. Before
  ``forward`` the caller fills them with a value inside the domain, for example ``inverse(zeros)``.
- ``log_abs_det`` has shape ``(N, D)`` and sums over D to the log-determinant; where columns do not mix, each
  entry is that column's own log |dy/dx|, so masked columns can be left out of the sum.
- ``forward`` never clamps: outside the domain, where ``inside`` is False, it gives NaN, infinity or an
  extrapolation.
- A column without a single real entry keeps the state it had before ``fit``.
"""

from hepgan.features.transforms.base import Chain, Columns, Transform
from hepgan.features.transforms.elementary import (
    PCA,
    Angle,
    Arctanh,
    AsIs,
    LogEdge,
    Logit,
    MinMax,
    PeriodicAngle,
    SignedLog,
    Standardise,
)
from hepgan.features.transforms.quantile import QuantileNormal
from hepgan.features.transforms.rectified import Rectified
from hepgan.features.transforms.table import QuantileTable

__all__ = [
    "PCA",
    "Angle",
    "Arctanh",
    "AsIs",
    "Chain",
    "Columns",
    "LogEdge",
    "Logit",
    "MinMax",
    "PeriodicAngle",
    "QuantileNormal",
    "QuantileTable",
    "Rectified",
    "SignedLog",
    "Standardise",
    "Transform",
]
