"""What a detector makes of events, learned: folding, response, and unfolding."""

from __future__ import annotations

from hepgan.detector.folding import Folding, fold_file, folding_recipe
from hepgan.detector.levels import Fold, Level, bootstrap
from hepgan.detector.omnifold import OmniFolded, omnifold
from hepgan.detector.response import Pairs, Profile, Response, pairs, profile, response
from hepgan.detector.through import ThroughConfig, Unfolder, unfold_through
from hepgan.detector.unfolding import unfold

__all__ = [
    "Fold",
    "Folding",
    "Level",
    "OmniFolded",
    "Pairs",
    "Profile",
    "Response",
    "ThroughConfig",
    "Unfolder",
    "bootstrap",
    "fold_file",
    "folding_recipe",
    "omnifold",
    "pairs",
    "profile",
    "response",
    "unfold",
    "unfold_through",
]
