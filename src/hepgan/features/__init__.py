"""Features: events as the numbers that models learn, and back."""

from __future__ import annotations

from hepgan.features.config import DecayConfig, FeaturesConfig, FieldsConfig, ObjectsConfig
from hepgan.features.measure import Measure, Volume
from hepgan.features.reflections import edges, mirrored, reflected
from hepgan.features.representation import Representation
from hepgan.features.space import Classes, FeatureBatch, FeatureSpace, Grid, Tokens
from hepgan.features.variables import DiscreteVariable

__all__ = [
    "Classes",
    "DecayConfig",
    "DiscreteVariable",
    "FeatureBatch",
    "FeatureSpace",
    "FeaturesConfig",
    "FieldsConfig",
    "Grid",
    "Measure",
    "ObjectsConfig",
    "Representation",
    "Tokens",
    "Volume",
    "edges",
    "mirrored",
    "reflected",
]
