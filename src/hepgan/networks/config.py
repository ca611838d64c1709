"""What recipes say of networks."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from hepgan.config import Settings
from hepgan.networks.base import ActivationName

__all__ = [
    "AttentionConfig",
    "DeepSetsConfig",
    "GridNetworkConfig",
    "LayerConfig",
    "MLPConfig",
    "MinibatchConfig",
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


Cells = Annotated[int, Field(ge=1, le=65_536)]
Along = Cells | tuple[Cells, ...]
"""A number for all axes, or one for each."""

_LAYERS = ("conv", "local", "blocks", "dense", "upsample", "pool")
_OPTIONS = {
    "kernel": ("conv", "local", "blocks"),
    "stride": ("conv", "local"),
    "pad": ("conv", "local"),
    "bias": ("conv", "local"),
    "norm": ("conv", "local", "blocks", "dense"),
    "activation": ("conv", "local", "blocks", "dense"),
    "dropout": ("conv", "local", "blocks", "dense"),
}


class LayerConfig(Settings):
    """A layer of a network of images: exactly one of the first six, with its options.

    Attributes:
        conv: A convolution of so many channels.
        local: The same with weights of its own for each window (locally connected).
        blocks: So many residual blocks of two convolutions, which keep shape and channels.
        dense: Connects all numbers: to so many, or to the channels and cells of an image.
        upsample: How often each cell comes along each axis.
        pool: Cells along each axis whose mean becomes one.
        kernel: Cells of a window along each axis.
        stride: Cells from one window to the next.
        pad: Empty cells added at both ends of each axis; if null, as many as give one window for each stride.
        bias: Whether numbers are added that are learned.
        norm: What normalises the results; the network's if null.
        activation: The activation; the network's if null.
        dropout: Share of the results set to 0 in training; the network's if null.
    """

    conv: Width | None = None
    local: Width | None = None
    blocks: Blocks | None = None
    dense: Along | None = None
    upsample: Along | None = None
    pool: Along | None = None
    kernel: Along = 3
    stride: Along = 1
    pad: (
        Annotated[int, Field(ge=0, le=65_536)] | tuple[Annotated[int, Field(ge=0, le=65_536)], ...] | None
    ) = None
    bias: bool = True
    norm: Literal["none", "batch", "event"] | None = None
    activation: ActivationName | Literal["none"] | None = None
    dropout: float | None = Field(default=None, ge=0.0, lt=1.0)

    @model_validator(mode="after")
    def _is_one_layer(self) -> LayerConfig:
        found = [name for name in _LAYERS if getattr(self, name) is not None]
        if len(found) != 1:
            msg = f"a layer is one of {', '.join(_LAYERS)}, not {' and '.join(found) or 'none of these'}"
            raise ValueError(msg)
        for option, layers in _OPTIONS.items():
            # A model file holds all options, as they are.
            given = getattr(self, option) != type(self).model_fields[option].default
            if given and found[0] not in layers:
                msg = f"a layer {found[0]} has no {option}"
                raise ValueError(msg)
        return self

    @property
    def kind(self) -> str:
        """Which of the layers it is."""
        return next(name for name in _LAYERS if getattr(self, name) is not None)

    @property
    def has_weights(self) -> bool:
        """Whether it learns."""
        return self.kind not in ("upsample", "pool")


class GridNetworkConfig(Settings):
    """A network of images, layer by layer.

    The layer that makes the last image has neither activation nor norm nor dropout.

    Attributes:
        layers: The layers in order. With a dense one first, images are made of numbers.
        activation: The activation after each layer that has weights.
        slope: Slope of ``leaky_relu`` below 0.
        norm: What follows each activation: nothing (``none``), ``batch`` (each channel has the same mean and
            spread over the batch) or ``event`` (all numbers of an event together have).
        dropout: Share of a layer's results set to 0 in training.
        rectified: Whether contents of an image that would be negative are 0, as a ReLU makes them.
    """

    kind: Literal["grid"] = "grid"
    layers: tuple[LayerConfig, ...] = Field(min_length=1, max_length=1000)
    activation: ActivationName = "leaky_relu"
    slope: Slope = 0.2
    norm: Literal["none", "batch", "event"] = "none"
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    rectified: bool = False


class MinibatchConfig(Settings):
    """What a critic sees of how alike the events of a batch are (minibatch discrimination).

    Attributes:
        features: Features that are added before the last layer.
        size: Numbers by whose distance each of them is found.
    """

    features: int = Field(default=20, ge=1, le=65_536)
    size: int = Field(default=10, ge=1, le=65_536)


NetworkConfig = Annotated[
    MLPConfig | ResidualConfig | DeepSetsConfig | AttentionConfig | GridNetworkConfig,
    Field(discriminator="kind"),
]
"""Any network, told apart by ``kind``."""
