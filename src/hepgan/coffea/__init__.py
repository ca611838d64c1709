"""Generated events in coffea: a schema, events in memory, and a processor for comparisons."""

from __future__ import annotations

from hepgan.coffea.nanoevents import HepganSchema, to_nanoevents
from hepgan.coffea.processor import ComparisonProcessor, run_comparison

__all__ = ["ComparisonProcessor", "HepganSchema", "run_comparison", "to_nanoevents"]
