"""Weights that make generated events follow the distribution of true ones."""

from __future__ import annotations

from hepgan.reweighting.apply import ReweightedFile, reweight, reweight_file
from hepgan.reweighting.reweighter import Reweighter
from hepgan.stats.classifiers import Reliability
from hepgan.stats.weights import Unweighted, Weights, effective_sample_size, unweight

__all__ = [
    "Reliability",
    "ReweightedFile",
    "Reweighter",
    "Unweighted",
    "Weights",
    "effective_sample_size",
    "reweight",
    "reweight_file",
    "unweight",
]
