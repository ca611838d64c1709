"""Building blocks of models: dense networks, networks of sets, activations, the embedding of time."""

from __future__ import annotations

from collections.abc import Sequence

from hepgan.errors import RecipeError
from hepgan.features.space import FeatureSpace
from hepgan.networks.base import Activation, FourierTime, Network
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


def build_network(
    config: NetworkConfig,
    inputs: int,
    outputs: int,
    *,
    context: int = 0,
    time: int = 0,
    space: FeatureSpace | None = None,
    owners: Sequence[int] | None = None,
) -> Network:
    """The network that the recipe describes.

    Args:
        config: The recipe's choice.
        inputs: Columns of x.
        outputs: Columns of the result.
        context: Columns of the context.
        time: Columns of the time features.
        space: The features, each of which has an output, for networks that know of objects or of an image;
            None if outputs are not features, or inputs are others.
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
    if space is None:
        msg = (
            f"a network of kind {config.kind} makes features of features: of flow matching, of students, and "
            "of GANs with as much noise as features; choose the kind mlp or residual here"
        )
        raise RecipeError(msg)
    if not space.tokens:
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
        tokens=space.tokens,
        owners=owners,
        positions=config.positions,
        context=context,
        time=time,
    )
