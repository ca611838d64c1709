"""Observables: physics quantities with one definition for files, training and histograms."""

from __future__ import annotations

from hepgan.observables.condition import Condition
from hepgan.observables.energy_flow import energy_flow_polynomials
from hepgan.observables.language import Expression, parse
from hepgan.observables.needs import needs
from hepgan.observables.observable import Checked, Observable, ObservableConfig
from hepgan.observables.standard import STANDARD, default_observables, from_config, from_python_file, standard
from hepgan.observables.values import Flat, Values

__all__ = [
    "STANDARD",
    "Checked",
    "Condition",
    "Expression",
    "Flat",
    "Observable",
    "ObservableConfig",
    "Values",
    "default_observables",
    "energy_flow_polynomials",
    "from_config",
    "from_python_file",
    "needs",
    "parse",
    "standard",
]
