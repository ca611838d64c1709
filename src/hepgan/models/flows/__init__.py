"""The invertible layers that flows are made of."""

from __future__ import annotations

from hepgan.models.flows.layers import Autoregressive, Coupling
from hepgan.models.flows.mixing import Mixing

__all__ = ["Autoregressive", "Coupling", "Mixing"]
