"""Samples of the published systems, simulated with Pythia 8 (extra ``pythia``)."""

from hepgan.datasets.make import DATASETS, make_dataset, require_pythia

__all__ = ["DATASETS", "make_dataset", "require_pythia"]
