"""The parts of a representation."""

from hepgan.features.parts.base import Block, Variable
from hepgan.features.parts.decay import DecayBlock
from hepgan.features.parts.fields import FieldsBlock
from hepgan.features.parts.objects import ObjectsBlock
from hepgan.features.parts.response import ResponseBlock
from hepgan.features.parts.scattering import ScatteringBlock
from hepgan.features.parts.tree import TreeBlock

__all__ = [
    "Block",
    "DecayBlock",
    "FieldsBlock",
    "ObjectsBlock",
    "ResponseBlock",
    "ScatteringBlock",
    "TreeBlock",
    "Variable",
]
