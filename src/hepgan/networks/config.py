"""The networks that a recipe can choose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator

from hepgan.config import Config
from hepgan.errors import RecipeError
from hepgan.features.tokens import Tokens
from hepgan.networks.base import Network
from hepgan.networks.layers import ActivationName
from hepgan.networks.mlp import MLP
from hepgan.networks.residual import ResidualMLP
from hepgan.networks.sets import Attention, DeepSets, SetNetwork

__all__ = [
    "AttentionConfig",
    "DeepSetsConfig",
    "MLPConfig",
    "NetworkConfig",
    "ResidualConfig",
    "build_network",
]

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


class DeepSetsConfig(Config):
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
    blocks: int = Field(default=4, ge=1)
    activation: ActivationName = "silu"
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    positions: bool | None = None


class AttentionConfig(Config):
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
    blocks: int = Field(default=4, ge=1)
    heads: int = Field(default=4, ge=1)
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


def build_network(
    config: MLPConfig | ResidualConfig | DeepSetsConfig | AttentionConfig,
    inputs: int,
    outputs: int,
    *,
    context: int = 0,
    time: int = 0,
    tokens: Sequence[Tokens] | None = None,
    owners: Sequence[int] | None = None,
) -> Network:
    """The network that the recipe describes.

    Args:
        config: The recipe's choice.
        inputs: Columns of x.
        outputs: Columns of the result.
        context: Columns of the context.
        time: Columns of the time features.
        tokens: For networks of sets: which of the features, each of which has an output, belong to which
            object; None if outputs are not features, or inputs are others.
        owners: The feature that each input belongs to; the feature of its number if None.

    Raises:
        RecipeError: If a network of sets is chosen where there are no objects for it.
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
    if isinstance(config, ResidualConfig):
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
    if tokens is None:
        msg = (
            f"a network of kind {config.kind} makes features of features: of flow matching, of students, and "
            "of GANs with as much noise as features; choose the kind mlp or residual here"
        )
        raise RecipeError(msg)
    if not tokens:
        msg = (
            f"a network of kind {config.kind} needs a collection of objects that are encoded alike, and here "
            "is none with two such objects; choose the kind mlp or residual"
        )
        raise RecipeError(msg)
    activation, dropout = config.activation, config.dropout
    body: DeepSets | Attention
    if isinstance(config, DeepSetsConfig):
        body = DeepSets(config.width, config.blocks, activation=activation, dropout=dropout)
    else:
        body = Attention(config.width, config.blocks, config.heads, activation=activation, dropout=dropout)
    return SetNetwork(
        inputs,
        outputs,
        body,
        tokens=tokens,
        owners=owners,
        positions=config.positions,
        context=context,
        time=time,
    )
