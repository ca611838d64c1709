"""What training minimises: adversarial losses, and penalties on observables' distributions."""

from __future__ import annotations

from hepgan.objectives.adversarial import (
    ADVERSARIAL,
    AdversarialLoss,
    gradient_penalty,
    r1_penalty,
    register,
)
from hepgan.objectives.penalties import (
    MMD,
    Energy,
    Histogram,
    Moments,
    Paired,
    Penalty,
    PenaltyConfig,
    Wasserstein,
)
from hepgan.objectives.terms import (
    Circumstances,
    Points,
    Term,
    TermSchedule,
    by_members,
    joined,
    normalised,
    of_members,
    total,
    weighted_mean,
)

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
    "Points",
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
