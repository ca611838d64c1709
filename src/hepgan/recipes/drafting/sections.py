"""The parts of a drafted recipe that depend on few facts: model, training, observables."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator

import numpy as np

from hepgan.errors import RecipeError
from hepgan.observables import Observable, default_observables, standard
from hepgan.recipes.drafting.contents import Contents
from hepgan.recipes.drafting.findings import Resonance

__all__ = ["WIDTH", "comment", "model", "observables", "training"]

WIDTH = 100
_ROUNDING = 1e-6


def comment(text: str, indent: str = "", inner: str = "") -> list[str]:
    """Lines of a comment, indented before and after the ``#``."""
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=f"{indent}# {inner}",
        subsequent_indent=f"{indent}# {inner}  " if inner else f"{indent}# ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _plain(text: str) -> str:
    return text if text.isalpha() else json.dumps(text)


def model(size: int, events: int) -> Iterator[str]:
    """The model for so many continuous numbers in an event, and different events."""
    if events < 5_000:
        width, blocks = 64, 2
    elif events < 20_000 or size <= 6:
        width, blocks = 128, 3
    else:
        width, blocks = (256, 4) if size <= 60 else (384, 4)
    few = "Few events: a small network, which learns less by heart."
    many = "A larger network learns more, and generates more slowly."
    yield from comment(f"Continuous numbers in an event: {size}. {few if events < 5_000 else many}")
    yield "model:"
    yield "  kind: flow_matching"
    yield f"  network: {{kind: residual, width: {width}, blocks: {blocks}, layer_norm: true}}"
    yield "  time: logit_normal"
    yield "  solver: midpoint"
    yield "  steps: 8"


def training(events: int, different: int) -> Iterator[str]:
    """The training for so many events, of which some are different."""
    batch, steps, lr = next(
        (b, s, r)
        for least, b, s, r in (
            (100_000, 2048, 8000, 2e-3),
            (20_000, 1024, 6000, 2e-3),
            (5_000, 512, 4000, 1e-3),
            (1_000, 256, 2000, 1e-3),
            (0, 128, 1000, 1e-3),
        )
        if different >= least
    )
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


def observables(contents: Contents, resonances: list[Resonance]) -> Iterator[str]:
    """The observables, with ranges from the events."""
    found = {f"m_{r.name}": standard("mass", *r.objects, name=f"m_{r.name}") for r in resonances}
    known = {o.expression for o in found.values()}
    found |= {n: o for n, o in default_observables(contents.learned).items() if o.expression not in known}
    ranged = [o for o in (_ranged(o, contents) for o in found.values()) if o is not None]
    size = max((_reach(o) for o in ranged if o.unit == "GeV"), default=0.0)
    # The pt of a system at rest is rounding.
    lines = [_line(o) for o in ranged if o.unit != "GeV" or _reach(o) > _ROUNDING * size]
    yield from comment(
        "What to look at in validation: ranges hold 99.8% of the events. Expressions are explained in the "
        "documentation; standard ones are mass, deltaR, HT, ..."
    )
    if not lines:
        yield "observables: {}"
        return
    yield "observables:"
    yield from lines


def _ranged(observable: Observable, contents: Contents) -> Observable | None:
    """The observable with a range; None if it has only one value, or none."""
    try:
        values = np.asarray(observable.flat(contents.events).values)
    except RecipeError:
        return None
    values = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    if not values.size or values.min() == values.max():
        return None
    return observable if observable.range is not None else observable.with_range_from(values)


def _reach(observable: Observable) -> float:
    return max(map(abs, observable.range or (0.0,)))


def _line(observable: Observable) -> str:
    settings = [f"expression: {json.dumps(observable.expression)}"]
    if observable.range is not None:
        low, high = observable.range
        settings += [] if observable.integer else [f"bins: {observable.bins}"]
        settings.append(f"range: [{low:.10g}, {high:.10g}]")
    settings += ["log: true"] if observable.log else []
    settings += ["integer: true"] if observable.integer else []
    settings += [] if observable.label is None else [f"label: {json.dumps(observable.label)}"]
    settings += [f"unit: {_plain(observable.unit)}"] if observable.unit else []
    name = observable.name if observable.name.isidentifier() else json.dumps(observable.name)
    return f"  {name}: {{{', '.join(settings)}}}"
