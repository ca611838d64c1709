"""Networks of images, layer by layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from hepgan.errors import RecipeError
from hepgan.features.space import Grid
from hepgan.networks.base import Activation, ActivationName, Bound, Network
from hepgan.networks.batch import BatchNorm, last_layer
from hepgan.networks.config import GridNetworkConfig, LayerConfig
from hepgan.networks.convolution import Convolution, LocallyConnected, Pool, Upsample
from hepgan.networks.drawing import Dropout, Linear

__all__ = ["GridNetwork"]

_CACHED = 1 << 18
"""Numbers of the largest layer that stay in the cache of a CPU's core."""

_BESIDE = 128
"""Columns of the layer that makes what is beside an image."""


class _State(NamedTuple):
    """What there is between two layers: an image, or without axes plain numbers.

    Attributes:
        channels: Channels of the image, or how many numbers there are.
        shape: Its cells along each axis; none of plain numbers.
        closed: Of each axis whether it is closed.
    """

    channels: int
    shape: tuple[int, ...] = ()
    closed: tuple[bool, ...] = ()

    @property
    def size(self) -> int:
        return self.channels * math.prod(self.shape)

    def __str__(self) -> str:
        return " x ".join(map(str, (self.channels, *self.shape)))


class GridNetwork(Network):
    """Convolutions, locally connected and dense layers, one after another.

    It begins with the image among its inputs, or, if the first layer is dense, with all inputs as they are.
    It ends with the image among its outputs, or, where the layers end otherwise, with a linear layer from all
    numbers that there are then.

    What is not in the image (other inputs, context, time) shifts each channel of each convolution up to the
    first dense layer, to which it is joined. Outputs beside an image are made of the means of the channels
    that the last layer sees, and of what is not in the image.

    Args:
        config: The recipe's choice.
        inputs: Columns of x.
        outputs: Columns of the result.
        seen: Which inputs are an image; None if there is none.
        made: Which outputs are an image; None if there is none.
        context: Columns of the context.
        time: Columns of the time features.
        minibatch: Features, and numbers of each, by which a last linear layer sees the other events.

    Raises:
        RecipeError: If layers do not fit each other, or not the image.
    """

    def __init__(
        self,
        config: GridNetworkConfig,
        inputs: int,
        outputs: int,
        *,
        seen: Grid | None = None,
        made: Grid | None = None,
        context: int = 0,
        time: int = 0,
        minibatch: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.config, self.made = config, made
        if config.layers[0].kind == "dense":
            self.seen = None
        elif seen is None:
            msg = (
                "a network of kind grid begins with an image, and there is none among what it sees: learn a "
                "field with a shape by a part of kind grid, or begin with a dense layer: {dense: [64, 7, 7]}"
            )
            raise RecipeError(msg)
        else:
            self.seen = seen
        self.known = inputs + context + time - (0 if self.seen is None else self.seen.cells)
        self._joined = False
        axes = seen or made
        self._closed = None if axes is None else axes.closed
        state = _State(0)
        if self.seen is not None:
            state = _State(self.seen.channels, self.seen.shape, self.seen.closed)
        self.last = max((k for k, layer in enumerate(config.layers) if layer.has_weights), default=-1)
        steps = []
        largest, before = max(inputs, state.size), state
        for k, layer in enumerate(config.layers):
            before = state if k == self.last else before
            try:
                steps.append(self._step(layer, state, last=k == self.last and made is not None))
            except RecipeError as error:
                msg = f"layer {k + 1} ({layer.kind}): {error}"
                raise RecipeError(msg) from None
            state = steps[-1].state
            largest = max(largest, state.size)
        self.steps = nn.ModuleList(steps)
        self.leave: nn.Module | None = None
        self.beside: nn.Module | None = None
        if config.rectified and made is None:
            msg = "rectified is for networks that make an image"
            raise RecipeError(msg)
        if made is None or not state.shape:
            size = state.size + (0 if self._joined else self.known)
            self.leave = last_layer(size, outputs, minibatch)
        else:
            _check_image(state, made)
            if minibatch is not None:
                msg = "minibatch is for networks that end with numbers, and this one ends with an image"
                raise RecipeError(msg)
            if outputs > made.cells:
                size = before.channels + self.known
                self.beside = nn.Sequential(
                    Linear(size, _BESIDE), Activation("silu"), Linear(_BESIDE, outputs - made.cells)
                )
        self.whole_batch = minibatch is not None or any(isinstance(m, BatchNorm) for m in self.modules())
        self.chunk = min(1024, max(16, _CACHED // largest))

    def _step(self, layer: LayerConfig, state: _State, *, last: bool) -> _Step:
        """A layer with what follows it; nothing if it makes the last image."""
        if layer.kind == "dense":
            return self._dense(layer, state, last=last)
        if not state.shape:
            msg = "there is no image any more; make one by {dense: [channels, cells ...]}"
            raise RecipeError(msg)
        axes = len(state.shape)
        body: nn.Module
        if layer.upsample is not None:
            body = Upsample(state.shape, _along(layer.upsample, axes))
            return _Step(body, state._replace(shape=body.out_shape))
        if layer.pool is not None:
            body = Pool(state.shape, _along(layer.pool, axes), state.closed)
            return _Step(body, state._replace(shape=body.out_shape))
        shifts = 0 if self._joined else self.known
        kernel = _along(layer.kernel, axes)
        if layer.blocks is not None:
            blocks = (
                _Block(state, kernel, shifts, lambda: self._after(layer, state)) for _ in range(layer.blocks)
            )
            return _Step(_Blocks(blocks), state, shifts=True)
        kind = Convolution if layer.conv is not None else LocallyConnected
        channels = cast("int", layer.conv if layer.conv is not None else layer.local)
        body = kind(
            state.channels,
            channels,
            state.shape,
            kernel=kernel,
            stride=_along(layer.stride, axes),
            pad=None if layer.pad is None else _along(layer.pad, axes),
            closed=state.closed,
            bias=layer.bias,
            # Where a ReLU follows, half of the numbers are lost.
            gain=1.0 if last else math.sqrt(2.0),
        )
        new = _State(channels, body.out_shape, state.closed)
        after = [] if last else self._after(layer, new)
        return _Step(_Shifted(body, shifts), new, after, shifts=True)

    def _dense(self, layer: LayerConfig, state: _State, *, last: bool) -> _Step:
        channels, *shape = (layer.dense,) if isinstance(layer.dense, int) else layer.dense or ()
        closed = self._closed or (False,) * len(shape)
        if len(shape) not in (0, len(closed)) or len(shape) > 3:
            msg = f"{[channels, *shape]} is no image of {len(closed)} axes: channels, then cells along each"
            raise RecipeError(msg)
        new = _State(channels, tuple(shape), closed) if shape else _State(channels)
        joins, self._joined = not self._joined, True
        body = Linear(state.size + (self.known if joins else 0), new.size)
        after = [] if last and shape else self._after(layer, new)
        return _Step(body, new, after, joins=joins)

    def _after(self, layer: LayerConfig, state: _State) -> list[nn.Module]:
        """What follows a layer: activation, norm and dropout."""
        config = self.config
        found: list[nn.Module] = []
        activation: ActivationName | str = layer.activation or config.activation
        if activation != "none":
            found.append(Activation(cast("ActivationName", activation), config.slope))
        norm = layer.norm or config.norm
        if norm == "batch":
            found.append(BatchNorm(state.channels))
        elif norm == "event":
            found.append(nn.GroupNorm(1, state.channels))
        share = config.dropout if layer.dropout is None else layer.dropout
        if share:
            found.append(Dropout(share))
        return found

    def bind(self, context: Tensor | None, mask: Tensor | None = None) -> Bound:
        """The network with this context (N, C)."""

        def run(x: Tensor, time: Tensor | None = None) -> Tensor:
            image, others = self._entered(x)
            parts = [others, *([] if context is None else [context])]
            if time is not None:
                parts.append(time.expand(x.shape[0], -1))
            known = torch.cat(parts, dim=1)
            h = image
            before = known[:, :0]
            for k, step in enumerate(self.steps):
                if k == self.last:
                    before = h
                h = step(h, known)
            return self._result(h, before, known)

        return run

    def _entered(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The image among the inputs, and the other inputs."""
        if self.seen is None:
            return x[:, :0], x
        first, end = self.seen.first, self.seen.first + self.seen.cells
        image = x[:, first:end].reshape(-1, self.seen.channels, *self.seen.shape)
        others = x[:, end:] if first == 0 else torch.cat((x[:, :first], x[:, end:]), dim=1)
        return image, others

    def _result(self, h: Tensor, before: Tensor, known: Tensor) -> Tensor:
        """The outputs, of what the last layer gives and what the last one with weights sees."""
        flat = h.flatten(1)
        if self.leave is not None:
            flat = self.leave(flat if self._joined else torch.cat((flat, known), dim=1))
        elif self.beside is not None and self.made is not None:
            means = before.flatten(2).mean(2) if before.ndim > 2 else before
            others = self.beside(torch.cat((means, known), dim=1))
            flat = torch.cat((others[:, : self.made.first], flat, others[:, self.made.first :]), dim=1)
        if not self.config.rectified or self.made is None:
            return flat
        first, end = self.made.first, self.made.first + self.made.cells
        if self.made.cells == flat.shape[1]:
            return functional.relu(flat)
        return torch.cat((flat[:, :first], functional.relu(flat[:, first:end]), flat[:, end:]), dim=1)


class _Step(nn.Module):
    """A layer with what follows it.

    Args:
        body: The layer.
        state: What it makes.
        after: What follows.
        joins: Whether what is not in the image is joined to it.
        shifts: Whether the layer is given what is not in the image.
    """

    def __init__(
        self,
        body: nn.Module,
        state: _State,
        after: list[nn.Module] | None = None,
        *,
        joins: bool = False,
        shifts: bool = False,
    ) -> None:
        super().__init__()
        self.body, self.after = body, nn.Sequential(*(after or []))
        self.state, self.joins, self.shifts = state, joins, shifts

    def forward(self, h: Tensor, known: Tensor) -> Tensor:
        if isinstance(self.body, Linear):
            h = h.flatten(1)
            h = self.body(torch.cat((h, known), dim=1) if self.joins else h)
            h = h.reshape(-1, self.state.channels, *self.state.shape)
        else:
            h = self.body(h, known) if self.shifts else self.body(h)
        found: Tensor = self.after(h)
        return found


class _Shifted(nn.Module):
    """A convolution whose channels are shifted by a linear function of what is not in the image."""

    def __init__(self, body: Convolution | LocallyConnected, known: int) -> None:
        super().__init__()
        self.body = body
        self.shift = Linear(known, body.outputs, bias=False) if known else None

    def forward(self, h: Tensor, known: Tensor) -> Tensor:
        found: Tensor = self.body(h)
        if self.shift is None:
            return found
        shift: Tensor = self.shift(known)
        return found + shift.reshape(*found.shape[:2], *[1] * (found.ndim - 2))


class _Blocks(nn.Module):
    """Residual blocks."""

    def __init__(self, blocks: Iterable[_Block]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, h: Tensor, known: Tensor) -> Tensor:
        for block in self.blocks:
            h = block(h, known)
        return h


class _Block(nn.Module):
    """h + V a(W h + shift), with convolutions V and W of as many channels, and a norm and dropout after a."""

    def __init__(
        self, state: _State, kernel: tuple[int, ...], known: int, after: Callable[[], list[nn.Module]]
    ) -> None:
        super().__init__()

        def convolution(gain: float) -> Convolution:
            return Convolution(
                state.channels,
                state.channels,
                state.shape,
                kernel=kernel,
                stride=(1,) * len(kernel),
                closed=state.closed,
                gain=gain,
            )

        self.inner = _Shifted(convolution(math.sqrt(2.0)), known)
        self.after = nn.Sequential(*after())
        self.outer = convolution(0.5)

    def forward(self, h: Tensor, known: Tensor) -> Tensor:
        found: Tensor = h + self.outer(self.after(self.inner(h, known)))
        return found


def _check_image(state: _State, made: Grid) -> None:
    wanted = _State(made.channels, made.shape)
    if (state.channels, state.shape) != (wanted.channels, wanted.shape):
        msg = (
            f"the layers end with {state} (channels x cells along each axis), and the image that is learned "
            f"has {wanted}"
        )
        raise RecipeError(msg)


def _along(value: int | tuple[int, ...], axes: int) -> tuple[int, ...]:
    """A number for each axis."""
    if isinstance(value, int):
        return (value,) * axes
    if len(value) != axes:
        msg = f"{list(value)} has {len(value)} numbers for {axes} axes"
        raise RecipeError(msg)
    return value
