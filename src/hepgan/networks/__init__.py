"""Building blocks of models: dense networks, networks of sets, activations, the embedding of time."""

from __future__ import annotations

from hepgan.networks.base import Network
from hepgan.networks.config import (
    AttentionConfig,
    DeepSetsConfig,
    MLPConfig,
    NetworkConfig,
    ResidualConfig,
    build_network,
)
from hepgan.networks.layers import Activation, FourierTime
from hepgan.networks.mlp import MLP
from hepgan.networks.residual import ResidualMLP
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
    "Network",
    "NetworkConfig",
    "ResidualConfig",
    "ResidualMLP",
    "SetBlocks",
    "SetNetwork",
    "Stacked",
    "StackedNetwork",
    "build_network",
]
