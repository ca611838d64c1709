"""The discrete part of an event: multiplicities, charges, particle identities, flags."""

from __future__ import annotations

from hepgan.features._variables import DiscreteVariable

__all__ = ["DiscreteVariable"]
