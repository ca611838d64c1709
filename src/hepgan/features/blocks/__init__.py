"""The parts of a representation."""

from hepgan.features.blocks.base import Block, Variable
from hepgan.features.blocks.decay import DecayBlock
from hepgan.features.blocks.fields import FieldsBlock
from hepgan.features.blocks.objects import ObjectsBlock
from hepgan.features.blocks.response import ResponseBlock
from hepgan.features.blocks.scattering import ScatteringBlock
from hepgan.features.blocks.tree import TreeBlock

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
