"""How far generated events can be trusted: histograms, metrics with their floors, plots and a report."""

from __future__ import annotations

from hepgan.stats.amplification import EquivalentSize, equivalent_size
from hepgan.stats.metrics import Metric
from hepgan.validation.compare import compare, compare_files
from hepgan.validation.comparison import Comparison
from hepgan.validation.cross_sections import ReducedCrossSection, reduced_cross_section
from hepgan.validation.features import FeatureComparison
from hepgan.validation.labels import sample_labels
from hepgan.validation.members import Band
from hepgan.validation.report import claim_report

__all__ = [
    "Band",
    "Comparison",
    "EquivalentSize",
    "FeatureComparison",
    "Metric",
    "ReducedCrossSection",
    "claim_report",
    "compare",
    "compare_files",
    "equivalent_size",
    "reduced_cross_section",
    "sample_labels",
]
