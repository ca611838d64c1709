"""What recipes say of networks."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from hepgan.config import Settings
from hepgan.networks.base import ActivationName

__all__ = [
    "AttentionConfig",
    "DeepSetsConfig",
    "MLPConfig",
    "NetworkConfig",
    "ResidualConfig",
]

Width = Annotated[int, Field(ge=1, le=65_536)]
Blocks = Annotated[int, Field(ge=1, le=1000)]
Slope = Annotated[float, Field(ge=0.0, le=10.0)]


class MLPConfig(Settings):
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
    widths: tuple[Width, ...] = Field(default=(256, 256, 256), max_length=1000)
    activation: ActivationName = "leaky_relu"
    slope: Slope = 0.2
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    layer_norm: bool = False
    spectral_norm: bool = False


class ResidualConfig(Settings):
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
    blocks: int = Field(default=4, ge=0, le=1000)
    activation: ActivationName = "silu"
    slope: Slope = 0.2
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    layer_norm: bool = False


class DeepSetsConfig(Settings):
    """A network that treats the objects of a collection alike, each knowing mean and sum of all.

    Attributes:
        width: Columns of an object inside.
        blocks: Number of blocks.
        activation: The activation in the blocks.
        dropout: Share of each block's inner outputs set to 0 in training.
        positions: Whether objects are told apart by their place in the collection; null: where they descend
            in some coordinate.
    """

    kind: Literal["deep_sets"] = "deep_sets"
    width: Width = 128
    blocks: Blocks = 4
    activation: ActivationName = "silu"
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    positions: bool | None = None


class AttentionConfig(Settings):
    """A transformer: a network that treats the objects of a collection alike, each attending to all.

    Attributes:
        width: Columns of an object inside.
        blocks: Number of blocks, of attention and a dense layer of twice the width each.
        heads: Number of attentions side by side, which share the width.
        activation: The activation in the dense layers.
        dropout: Share of the dense layers' inner outputs set to 0 in training.
        positions: Whether objects are told apart by their place in the collection; null: where they descend
            in some coordinate.
    """

    kind: Literal["attention"] = "attention"
    width: Width = 128
    blocks: Blocks = 4
    heads: int = Field(default=4, ge=1, le=65_536)
    activation: ActivationName = "silu"
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    positions: bool | None = None

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> AttentionConfig:
        if self.width % self.heads:
            msg = f"a width of {self.width} can't be divided among {self.heads} heads"
            raise ValueError(msg)
        return self


NetworkConfig = Annotated[
    MLPConfig | ResidualConfig | DeepSetsConfig | AttentionConfig, Field(discriminator="kind")
]
"""Any network, told apart by ``kind``."""
