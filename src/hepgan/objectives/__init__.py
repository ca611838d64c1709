"""What training minimises: adversarial losses, and penalties on observables' distributions."""

from __future__ import annotations

from hepgan.objectives.adversarial import (
    ADVERSARIAL,
    AdversarialLoss,
    gradient_penalty,
    r1_penalty,
    register,
)
from hepgan.objectives.base import Penalty
from hepgan.objectives.histogram import Histogram
from hepgan.objectives.members import by_members, joined, normalised, of_members
from hepgan.objectives.mmd import MMD
from hepgan.objectives.penalties import Energy, Moments, Paired, PenaltyConfig, Wasserstein
from hepgan.objectives.samples import Circumstances, Sample
from hepgan.objectives.terms import Term, TermSchedule, total, weighted_mean

__all__ = [
    "ADVERSARIAL",
    "MMD",
    "AdversarialLoss",
    "Circumstances",
    "Energy",
    "Histogram",
    "Moments",
    "Paired",
    "Penalty",
    "PenaltyConfig",
    "Sample",
    "Term",
    "TermSchedule",
    "Wasserstein",
    "by_members",
    "gradient_penalty",
    "joined",
    "normalised",
    "of_members",
    "r1_penalty",
    "register",
    "total",
    "weighted_mean",
]
