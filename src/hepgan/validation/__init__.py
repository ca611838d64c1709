"""How far generated events can be trusted: histograms, metrics with their floors, plots and a report."""

from __future__ import annotations

from hepgan.stats.histograms import Band
from hepgan.stats.metrics import Metric
from hepgan.stats.weights import EquivalentSize, equivalent_size
from hepgan.validation.compare import compare, compare_files, compare_reweighted
from hepgan.validation.comparison import Comparison, FeatureComparison
from hepgan.validation.cross_sections import ReducedCrossSection, reduced_cross_section
from hepgan.validation.report import claim_report, sample_labels
from hepgan.validation.sections import latent_metrics

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
    "compare_reweighted",
    "equivalent_size",
    "latent_metrics",
    "reduced_cross_section",
    "sample_labels",
]
