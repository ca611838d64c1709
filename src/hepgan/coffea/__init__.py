"""Generated events in coffea: a schema, events in memory or made in workers, comparisons."""

from __future__ import annotations

from hepgan.coffea.access import branches_read, load_processor
from hepgan.coffea.generated import process_generated
from hepgan.coffea.nanoevents import HepganSchema, to_nanoevents
from hepgan.coffea.processor import ComparisonProcessor, run_comparison

__all__ = [
    "ComparisonProcessor",
    "HepganSchema",
    "branches_read",
    "load_processor",
    "process_generated",
    "run_comparison",
    "to_nanoevents",
]
