"""The parts of a representation, each with its settings."""

from typing import Annotated

from pydantic import Field as Setting

from hepgan.features.parts.base import Encoded, Part, Planned, TransformSpec
from hepgan.features.parts.cells import CellsConfig, CellsPart
from hepgan.features.parts.decay import DecayConfig, DecayPart
from hepgan.features.parts.fields import FieldsConfig, FieldsPart
from hepgan.features.parts.grid import GridConfig, GridPart
from hepgan.features.parts.objects import ObjectsConfig, ObjectsPart
from hepgan.features.parts.pairs import PairsConfig, PairsPart
from hepgan.features.parts.references import ReferencesConfig, ReferencesPart
from hepgan.features.parts.response import ResponseConfig, ResponsePart
from hepgan.features.parts.scattering import ScatteringConfig, ScatteringPart
from hepgan.features.parts.systems import SystemsConfig, SystemsPart
from hepgan.features.parts.tree import TreeConfig, TreePart

__all__ = [
    "AnyConfig",
    "AnyPart",
    "CellsConfig",
    "CellsPart",
    "DecayConfig",
    "DecayPart",
    "Encoded",
    "FieldsConfig",
    "FieldsPart",
    "GridConfig",
    "GridPart",
    "ObjectsConfig",
    "ObjectsPart",
    "PairsConfig",
    "PairsPart",
    "Part",
    "Planned",
    "ReferencesConfig",
    "ReferencesPart",
    "ResponseConfig",
    "ResponsePart",
    "ScatteringConfig",
    "ScatteringPart",
    "SystemsConfig",
    "SystemsPart",
    "TransformSpec",
    "TreeConfig",
    "TreePart",
]

AnyConfig = Annotated[
    DecayConfig
    | PairsConfig
    | SystemsConfig
    | TreeConfig
    | ObjectsConfig
    | ScatteringConfig
    | ResponseConfig
    | ReferencesConfig
    | CellsConfig
    | FieldsConfig
    | GridConfig,
    Setting(discriminator="kind"),
]
"""What a recipe may say of any part."""

AnyPart = Annotated[
    DecayPart
    | PairsPart
    | SystemsPart
    | TreePart
    | ObjectsPart
    | ScatteringPart
    | ResponsePart
    | ReferencesPart
    | CellsPart
    | FieldsPart
    | GridPart,
    Setting(discriminator="kind"),
]
"""Any part that was learned."""
