"""Generated events in coffea: a schema, events in memory, and a processor for comparisons."""

from __future__ import annotations

from hepgan.coffea.memory import to_nanoevents
from hepgan.coffea.processor import ComparisonProcessor, run_comparison
from hepgan.coffea.schema import HepganSchema

__all__ = ["ComparisonProcessor", "HepganSchema", "run_comparison", "to_nanoevents"]
