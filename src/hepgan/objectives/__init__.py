"""What training minimises: adversarial losses, and penalties on observables' distributions."""

from __future__ import annotations

from hepgan.objectives.adversarial import ADVERSARIAL, AdversarialLoss, gradient_penalty, register
from hepgan.objectives.penalties import MMD, Moments, Penalty, PenaltyConfig, Sample, Wasserstein
from hepgan.objectives.terms import Term, total, weighted_mean

__all__ = [
    "ADVERSARIAL",
    "MMD",
    "AdversarialLoss",
    "Moments",
    "Penalty",
    "PenaltyConfig",
    "Sample",
    "Term",
    "Wasserstein",
    "gradient_penalty",
    "register",
    "total",
    "weighted_mean",
]
