"""Invertible maps between physical columns and the coordinates in which a network learns.

Every transform acts on a block of columns ``(N, D)`` in float64, learns its constants with ``fit`` and keeps
them as float64 buffers, so that they move with ``.to(device)`` and are stored in ``state_dict``. Conventions:

- ``mask`` is True where an entry is real; padded entries may hold anything, NaN included, in ``fit``. Before
  ``forward`` the caller fills them with a value inside the domain, for example ``inverse(zeros)``.
- ``log_abs_det`` has shape ``(N, D)`` and sums over D to the log-determinant; where columns do not mix, each
  entry is that column's own log |dy/dx|, so masked columns can be left out of the sum.
- ``forward`` never clamps: outside the domain it gives NaN, infinity or an extrapolation;
  ``check`` says where.
- A column without a single real entry keeps the state it had before ``fit``.
"""

from hepgan.features.transforms.angles import Angle, Arctanh, PeriodicAngle
from hepgan.features.transforms.base import Identity, Transform, transform_from_config
from hepgan.features.transforms.compose import Chain, Columns
from hepgan.features.transforms.edges import LogEdge, Logit, SignedLog
from hepgan.features.transforms.linear import PCA, MinMax, Standardise
from hepgan.features.transforms.quantile import QuantileNormal

__all__ = [
    "PCA",
    "Angle",
    "Arctanh",
    "Chain",
    "Columns",
    "Identity",
    "LogEdge",
    "Logit",
    "MinMax",
    "PeriodicAngle",
    "QuantileNormal",
    "SignedLog",
    "Standardise",
    "Transform",
    "transform_from_config",
]
