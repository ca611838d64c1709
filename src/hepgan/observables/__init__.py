"""Observables: physics quantities with one definition for files, training and histograms."""

from __future__ import annotations

from hepgan.observables.checking import Checked
from hepgan.observables.config import ObservableConfig
from hepgan.observables.language import Expression, parse
from hepgan.observables.loading import from_config, from_python_file
from hepgan.observables.observable import Observable
from hepgan.observables.standard import STANDARD, default_observables, standard
from hepgan.observables.values import Flat, Values

__all__ = [
    "STANDARD",
    "Checked",
    "Expression",
    "Flat",
    "Observable",
    "ObservableConfig",
    "Values",
    "default_observables",
    "from_config",
    "from_python_file",
    "parse",
    "standard",
]
