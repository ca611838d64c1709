"""Building blocks of models: dense networks, networks of sets, activations, the embedding of time."""

from __future__ import annotations

from hepgan.networks.base import Activation, FourierTime, Network
from hepgan.networks.build import build_network
from hepgan.networks.config import (
    AttentionConfig,
    DeepSetsConfig,
    MLPConfig,
    NetworkConfig,
    ResidualConfig,
)
from hepgan.networks.dense import MLP, MaskedMLP, ResidualMLP
from hepgan.networks.drawing import drawing_from, no_more_than
from hepgan.networks.sets import Attention, DeepSets, SetBlocks, SetNetwork
from hepgan.networks.stacked import Stacked, StackedNetwork

__all__ = [
    "MLP",
    "Activation",
    "Attention",
    "AttentionConfig",
    "DeepSets",
    "DeepSetsConfig",
    "FourierTime",
    "MLPConfig",
    "MaskedMLP",
    "Network",
    "NetworkConfig",
    "ResidualConfig",
    "ResidualMLP",
    "SetBlocks",
    "SetNetwork",
    "Stacked",
    "StackedNetwork",
    "build_network",
    "drawing_from",
    "no_more_than",
]
