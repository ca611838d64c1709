"""The discrete part of an event."""

from __future__ import annotations

from hepgan.models.discrete.model import DiscreteModel

__all__ = ["DiscreteModel"]
