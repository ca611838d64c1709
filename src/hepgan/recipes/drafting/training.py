"""The model and the training that a draft proposes, by the numbers of events and features."""

from __future__ import annotations

import math
from collections.abc import Iterator

from hepgan.recipes.drafting.text import comment

__all__ = ["model_lines", "training_lines"]

_FEWEST_STEPS = 300
_MOST_PASSES = 250
"""How often each of few events is seen at most."""

_FEW = 5_000

_MANY = 150
"""Of so many numbers, such as the cells of images, a narrow network would lose most."""


def model_lines(size: int, events: int, *, cells: bool = False) -> Iterator[str]:
    """The model for so many continuous numbers in an event, and different events.

    Args:
        size: Continuous numbers in an event.
        events: Different events.
        cells: Whether some of them are a list of cells.
    """
    if cells:
        yield from comment("A network that makes one cell after another, and a flow of all other numbers.")
        yield "model:"
        yield "  kind: sequence"
        yield f"  width: {64 if events < _FEW else 96}"
        return
    if events < _FEW:
        width, blocks = 64, 2
    elif events < 20_000 or size <= 6:
        width, blocks = 128, 3
    else:
        width, blocks = (256, 4) if size <= 60 else (384, 4)
    if size > _MANY:
        width, blocks = max(width, 256), max(blocks, 3)
    few = "Few events: a small network, which learns less by heart."
    many = "A larger network learns more, and generates more slowly."
    yield from comment(f"Continuous numbers in an event: {size}. {few if events < _FEW else many}")
    yield "model:"
    yield "  kind: flow_matching"
    yield f"  network: {{kind: residual, width: {width}, blocks: {blocks}, layer_norm: true}}"
    yield "  time: logit_normal"
    yield "  solver: midpoint"
    yield "  steps: 8"


def training_lines(events: int, different: int, *, cells: bool = False) -> Iterator[str]:
    """The training for so many events, of which some are different; of a list of cells, or not."""
    batch, steps, lr = next(
        (b, s, r)
        for least, b, s, r in (
            (100_000, 2048, 8000, 2e-3),
            (20_000, 1024, 6000, 2e-3),
            (_FEW, 512, 4000, 1e-3),
            (1_000, 256, 2000, 1e-3),
            (0, 128, 1000, 1e-3),
        )
        if different >= least
    )
    batch = min(batch, 64) if cells else batch
    # What a network learns by heart of few events makes it leap where it has seen none.
    if different < _FEW:
        steps = min(steps, max(_FEWEST_STEPS, math.ceil(_MOST_PASSES * different / batch)))
    yield from comment(
        "All events are learned from: judge with others, by `hepgan validate`. "
        "`hepgan train --max-time 10m` ends earlier, with the learning rate annealed."
    )
    yield "training:"
    yield f"  steps: {steps}"
    passes = steps * min(batch, events) / max(events, 1)
    yield f"  batch_size: {batch}    # each event is seen {passes:,.0f} times"
    yield f"  optimiser: {{kind: adamw, lr: {lr:g}, betas: [0.9, 0.99], weight_decay: 1.0e-3}}"
    yield "  schedule: {kind: cosine, warmup: 100}"
    yield "  ema: 0.999"
    yield "  gradient_clip: 1.0"
    yield "  validation_fraction: 0.0"
