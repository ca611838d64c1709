"""The networks that a recipe can choose."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from hepgan._config import Config
from hepgan.networks.base import Network
from hepgan.networks.layers import ActivationName
from hepgan.networks.mlp import MLP
from hepgan.networks.residual import ResidualMLP

__all__ = ["MLPConfig", "NetworkConfig", "ResidualConfig", "build_network"]

Width = Annotated[int, Field(ge=1)]


class MLPConfig(Config):
    """A plain dense network.

    Attributes:
        widths: Sizes of the hidden layers; inputs and outputs come from the data.
        activation: The activation between layers.
        slope: Slope of ``leaky_relu`` below 0.
        dropout: Share of each hidden layer's outputs set to 0 in training.
        layer_norm: Whether to normalise each hidden layer.
        spectral_norm: Whether to divide the weights of each hidden layer by their largest singular value.
    """

    kind: Literal["mlp"] = "mlp"
    widths: tuple[Width, ...] = (256, 256, 256)
    activation: ActivationName = "leaky_relu"
    slope: float = 0.2
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    layer_norm: bool = False
    spectral_norm: bool = False


class ResidualConfig(Config):
    """A residual dense network.

    Attributes:
        width: Columns inside.
        blocks: Number of blocks, of two matrix products each.
        activation: The activation in the blocks.
        slope: Slope of ``leaky_relu`` below 0.
        dropout: Share of each block's inner outputs set to 0 in training.
        layer_norm: Whether to normalise before each block.
    """

    kind: Literal["residual"] = "residual"
    width: Width = 256
    blocks: int = Field(default=4, ge=0)
    activation: ActivationName = "silu"
    slope: float = 0.2
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    layer_norm: bool = False


NetworkConfig = Annotated[MLPConfig | ResidualConfig, Field(discriminator="kind")]


def build_network(
    config: MLPConfig | ResidualConfig, inputs: int, outputs: int, *, context: int = 0, time: int = 0
) -> Network:
    """The network that the recipe describes.

    Args:
        config: The recipe's choice.
        inputs: Columns of x.
        outputs: Columns of the result.
        context: Columns of the context.
        time: Columns of the time features.
    """
    if isinstance(config, MLPConfig):
        return MLP(
            (inputs + context + time, *config.widths, outputs),
            activation=config.activation,
            slope=config.slope,
            dropout=config.dropout,
            layer_norm=config.layer_norm,
            spectral_norm=config.spectral_norm,
        )
    return ResidualMLP(
        inputs,
        outputs,
        width=config.width,
        blocks=config.blocks,
        context=context,
        time=time,
        activation=config.activation,
        slope=config.slope,
        dropout=config.dropout,
        layer_norm=config.layer_norm,
    )
