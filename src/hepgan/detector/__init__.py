"""Detector effects undone: response, and unfolding."""

from __future__ import annotations

from hepgan.detector.levels import Fold, Level, bootstrap
from hepgan.detector.omnifold import OmniFolded, omnifold
from hepgan.detector.response import Response, response
from hepgan.detector.through import ThroughConfig, Unfolder, unfold_through
from hepgan.detector.unfolding import unfold

__all__ = [
    "Fold",
    "Level",
    "OmniFolded",
    "Response",
    "ThroughConfig",
    "Unfolder",
    "bootstrap",
    "omnifold",
    "response",
    "unfold",
    "unfold_through",
]
