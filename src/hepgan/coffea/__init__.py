"""Generated events in coffea: a schema, events in memory, a processor for comparisons; what others read."""

from __future__ import annotations

from hepgan.coffea.access import branches_read, load_processor
from hepgan.coffea.nanoevents import HepganSchema, to_nanoevents
from hepgan.coffea.processor import ComparisonProcessor, run_comparison

__all__ = [
    "ComparisonProcessor",
    "HepganSchema",
    "branches_read",
    "load_processor",
    "run_comparison",
    "to_nanoevents",
]
