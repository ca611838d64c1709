"""Building blocks of models: dense and residual networks, activations, the embedding of time."""

from __future__ import annotations

from hepgan.networks.base import Network
from hepgan.networks.config import MLPConfig, NetworkConfig, ResidualConfig, build_network
from hepgan.networks.layers import Activation, FourierTime
from hepgan.networks.mlp import MLP
from hepgan.networks.residual import ResidualMLP

__all__ = [
    "MLP",
    "Activation",
    "FourierTime",
    "MLPConfig",
    "Network",
    "NetworkConfig",
    "ResidualConfig",
    "ResidualMLP",
    "build_network",
]
