"""Building blocks of models: networks dense, of sets and of images, activations, the embedding of time."""

from __future__ import annotations

from collections.abc import Sequence

from hepgan.errors import RecipeError
from hepgan.features.space import FeatureSpace, Grid
from hepgan.networks.base import Activation, FourierTime, Network
from hepgan.networks.batch import BatchNorm
from hepgan.networks.config import (
    AttentionConfig,
    DeepSetsConfig,
    GridNetworkConfig,
    LayerConfig,
    MinibatchConfig,
    MLPConfig,
    NetworkConfig,
    ResidualConfig,
)
from hepgan.networks.dense import MLP, MaskedMLP, ResidualMLP
from hepgan.networks.drawing import drawing_from, no_more_than
from hepgan.networks.grid import GridNetwork
from hepgan.networks.product import Product
from hepgan.networks.sets import Attention, DeepSets, SetBlocks, SetNetwork
from hepgan.networks.stacked import Stacked, StackedNetwork

__all__ = [
    "MLP",
    "Activation",
    "Attention",
    "AttentionConfig",
    "BatchNorm",
    "DeepSets",
    "DeepSetsConfig",
    "FourierTime",
    "GridNetwork",
    "GridNetworkConfig",
    "LayerConfig",
    "MLPConfig",
    "MaskedMLP",
    "MinibatchConfig",
    "Network",
    "NetworkConfig",
    "Product",
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
    seen: Grid | None = None,
    made: Grid | None = None,
    minibatch: MinibatchConfig | None = None,
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
        seen: Which inputs are an image; that of the space if None.
        made: Which outputs are an image; that of the space if None.
        minibatch: How the last layer sees the other events of the batch; not at all if None.

    Raises:
        RecipeError: If a network of sets is chosen where there are no objects for it, or one of images whose
            layers do not fit the image.
    """
    added = None if minibatch is None else (minibatch.features, minibatch.size)
    if isinstance(config, MLPConfig):
        return MLP(
            (inputs + context + time, *config.widths, outputs),
            activation=config.activation,
            slope=config.slope,
            dropout=config.dropout,
            layer_norm=config.layer_norm,
            spectral_norm=config.spectral_norm,
            minibatch=added,
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
            minibatch=added,
        )
    if isinstance(config, GridNetworkConfig):
        grid = None if space is None else space.grid
        return GridNetwork(
            config,
            inputs,
            outputs,
            seen=seen or grid,
            made=made or grid,
            context=context,
            time=time,
            minibatch=added,
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
