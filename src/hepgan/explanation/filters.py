"""What layers of images look for: their filters, and what these make of the differences of classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from hepgan.networks.convolution import Convolution, LocallyConnected

__all__ = ["MAPPED", "ImageLayer", "described", "differences", "image_layers", "listening"]

Floats = NDArray[np.float64]

MAPPED = 500
"""Events over which responses are averaged."""


@dataclass(frozen=True)
class ImageLayer:
    """A layer of images with windows: a convolution, or one that is locally connected.

    Attributes:
        kind: ``convolution`` or ``locally connected``.
        filters: (outputs, kernel ...) weights of the input channel that each output weighs most; of a locally
            connected layer, their mean over the windows.
        strength: (outputs, windows ...) root of the sum of the squared weights of each window; None of
            a convolution, which has the same for all.
        generated: What it makes of generated events (n, outputs, windows ...), before the activation.
        true: What it makes of true events; only critics see them.
    """

    kind: str
    filters: Floats
    strength: Floats | None
    generated: Floats
    true: Floats | None = field(default=None)


def image_layers(modules: Mapping[str, nn.Module]) -> dict[str, Convolution | LocallyConnected]:
    """The layers with windows of networks, as ``network.window.k`` with k from 1.

    Args:
        modules: The networks by name.
    """
    found: dict[str, Convolution | LocallyConnected] = {}
    known: set[int] = set()
    for name, network in modules.items():
        layers = [m for m in network.modules() if isinstance(m, Convolution | LocallyConnected)]
        # A network may hold another one.
        new = [m for m in layers if id(m) not in known]
        known |= {id(m) for m in new}
        found |= {f"{name}.window.{k}": layer for k, layer in enumerate(new, 1)}
    return found


@contextmanager
def listening(layers: Mapping[str, nn.Module], taken: dict[str, Tensor]) -> Iterator[None]:
    """Keeps what layers make of the first events, of their last call, where it isn't known yet."""
    last: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
            # What follows a layer may overwrite its output.
            last[name] = output[:MAPPED].detach().clone()

        return hook

    handles = [layer.register_forward_hook(keep(name)) for name, layer in layers.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
    for name, output in last.items():
        taken.setdefault(name, output)


def described(
    layers: Mapping[str, Convolution | LocallyConnected],
    generated: Mapping[str, Tensor],
    true: Mapping[str, Tensor],
) -> dict[str, ImageLayer]:
    """The layers with their filters and what they made of events."""
    found = {}
    for name, layer in layers.items():
        if name not in generated:
            continue
        weight = layer.weight.detach().double().cpu().numpy()
        strength = None
        if isinstance(layer, LocallyConnected):
            each = weight.reshape(*layer.out_shape, layer.outputs, layer.inputs, *layer.kernel)
            axes = len(layer.out_shape)
            strength = np.moveaxis(
                np.sqrt(np.square(each).reshape(*layer.out_shape, layer.outputs, -1).sum(-1)), -1, 0
            )
            weight = each.mean(axis=tuple(range(axes)))
        channel = np.square(weight).reshape(*weight.shape[:2], -1).sum(-1).argmax(1)
        found[name] = ImageLayer(
            "convolution" if isinstance(layer, Convolution) else "locally connected",
            weight[np.arange(len(weight)), channel],
            strength,
            _array(generated[name]),
            _array(true[name]) if name in true else None,
        )
    return found


def differences(
    layer: ImageLayer, classes: NDArray[np.int64] | None, names: tuple[str, ...]
) -> dict[str, Floats]:
    """What a layer makes of the mean differences of samples, (outputs, windows ...).

    A layer is linear up to its activation, so of the first one it is its convolution with the difference of
    the mean images; of others, with the difference of the means of what the layers before make of events.

    Args:
        layer: The layer.
        classes: The class of generated events (n,), -1 for none.
        names: What the classes are called.
    """
    found = {}
    if layer.true is not None and len(layer.true):
        found["true \N{MINUS SIGN} generated"] = layer.true.mean(0) - layer.generated.mean(0)
    if classes is not None and len(names) > 1:
        known = classes[: len(layer.generated)]
        first, last = (layer.generated[known == k] for k in (0, len(names) - 1))
        if len(first) and len(last):
            found[f"{names[-1]} \N{MINUS SIGN} {names[0]}"] = last.mean(0) - first.mean(0)
    return found


def _array(values: Tensor) -> Floats:
    return np.asarray(values.double().cpu().numpy())
