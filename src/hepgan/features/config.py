"""What a recipe says about the representation of events."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import Field as Setting
from pydantic import field_validator

from hepgan.config import Config
from hepgan.errors import RecipeError
from hepgan.events.schema import Address, terms
from hepgan.features.parts import (
    AnyConfig,
    DecayConfig,
    FieldsConfig,
    ObjectsConfig,
    PairsConfig,
    ReferencesConfig,
    ResponseConfig,
    ScatteringConfig,
    SystemsConfig,
    TransformSpec,
    TreeConfig,
)
from hepgan.features.parts.base import whole
from hepgan.observables import Condition

__all__ = [
    "Axis",
    "DecayConfig",
    "FeaturesConfig",
    "FieldsConfig",
    "ObjectsConfig",
    "PairsConfig",
    "ReferencesConfig",
    "ResponseConfig",
    "ScatteringConfig",
    "SystemsConfig",
    "TransformSpec",
    "TreeConfig",
]

Axis = Literal["y", "z"]
"""An axis of a mirror."""


class FeaturesConfig(Config):
    """How events become numbers. What no block names is covered automatically.

    Attributes:
        azimuth: Objects whose summed momentum sets phi = 0 (``Muon[0] + Muon[1]``), or whole collections, of
            which events have what they have (``Muon + Electron``); the angle is drawn uniformly in
            generation, or that of the objects if they are given. None keeps phi as it is.
        reflections: Axes that can be reversed without changing the distribution of the events; each doubles
            the events to learn from. ``z``: both beams are alike; ``y``: nothing tells left from right.
        blocks: The parts of the representation.
        discrete: How numbers are learned, by field: as ``classes``; as a column with uniform noise
            (``dequantise``); as one with Gaussian noise of width 0.5 (``smear``); or ``continuous``, even
            values of finite probability.
        populations: Values that divide a continuous number into populations, by field: ``Jet.btag: [0.5]``
            for a score that is near 0 or near 1. Which of them each object is of is a discrete variable,
            drawn together with those of the other objects; each population has a column of its own.
        masses: Where masses come from, by collection: a number, ``field``, ``from_energy``, ``massless`` or
            ``auto``.
        bounds: Range of a field, null for an open end; events outside are drawn anew.
        rules: Conditions that every event fulfils (``not HLT.IsoMu24 or any(Muon.pt > 24)``); events that
            break one are drawn anew.
        transform: The transform of columns that have none of their own.
    """

    azimuth: str | None = None
    reflections: tuple[Axis, ...] = ()
    blocks: tuple[AnyConfig, ...] = ()
    discrete: dict[str, Literal["classes", "dequantise", "smear", "continuous"]] = Setting(
        default_factory=dict
    )
    populations: dict[str, tuple[float, ...]] = Setting(default_factory=dict)
    masses: dict[str, float | Literal["field", "from_energy", "massless", "auto"]] = Setting(
        default_factory=dict
    )
    bounds: dict[str, tuple[float | None, float | None]] = Setting(default_factory=dict)
    rules: tuple[str, ...] = ()
    transform: TransformSpec = "quantile"

    @field_validator("azimuth")
    @classmethod
    def _azimuth_is_a_sum_of_objects(cls, value: str | None) -> str | None:
        for text in () if value is None else terms(value):
            if whole(text).field:
                msg = f"{text.strip()!r} is a number; azimuth is a sum of objects, as in Muon[0] + Muon[1]"
                raise ValueError(msg)
        return value

    @field_validator("masses")
    @classmethod
    def _masses_are_not_negative(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name, mass in value.items():
            if isinstance(mass, float) and not 0.0 <= mass < math.inf:
                msg = f"the mass of {name} cannot be {mass}"
                raise ValueError(msg)
        return value

    @field_validator("bounds")
    @classmethod
    def _bounds_are_in_order(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name, (low, high) in value.items():
            if low is not None and high is not None and not low < high:
                msg = f"the bounds of {name} must be (low, high) with low < high, not {low}, {high}"
                raise ValueError(msg)
        return value

    @field_validator("populations")
    @classmethod
    def _cuts_ascend(cls, value: dict[str, tuple[float, ...]]) -> dict[str, tuple[float, ...]]:
        for name, cuts in value.items():
            if not cuts or not all(map(math.isfinite, cuts)) or list(cuts) != sorted(set(cuts)):
                msg = f"the populations of {name} are divided by ascending numbers, not by {list(cuts)}"
                raise ValueError(msg)
        return value

    @field_validator("rules")
    @classmethod
    def _rules_are_expressions(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            try:
                Condition(text)
            except RecipeError as error:
                raise ValueError(error.message) from None
        return value

    @field_validator("discrete", "bounds", "populations")
    @classmethod
    def _keys_are_readable(cls, value: dict[str, Any]) -> dict[str, Any]:
        for text in value:
            Address.parse(text)
        return value

    @field_validator("reflections")
    @classmethod
    def _axes_are_different(cls, value: tuple[Axis, ...]) -> tuple[Axis, ...]:
        if len(set(value)) != len(value):
            msg = f"{', '.join(value)}: an axis is reversed once"
            raise ValueError(msg)
        return value

    @property
    def azimuth_objects(self) -> tuple[Address, ...]:
        """The objects that set phi = 0."""
        return () if self.azimuth is None else tuple(map(whole, terms(self.azimuth)))
