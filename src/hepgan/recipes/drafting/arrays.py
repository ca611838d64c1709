"""Fields with a shape in a draft: what they are, how they are learned, what to look at."""

from __future__ import annotations

from collections.abc import Iterator

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from hepgan.events import Field
from hepgan.events.buffers import scalar_values
from hepgan.recipes.drafting.text import comment, plain, share

__all__ = ["array_lines", "array_told", "unlearnable_array"]

_MOST = 20_000
"""Cells of one event that a draft learns."""


def unlearnable_array(f: Field, events: ak.Array) -> str:
    """Why a field with a shape cannot be learned; empty if it can."""
    if f.cells > _MOST:
        return f"{f.cells:,} cells in each event are more than a draft learns"
    if f.dtype == "string" or f.missing is not None:
        return "some cells have no value" if f.missing is not None else "text in cells"
    values = scalar_values(events, f)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        return "cells that are not finite"
    return "always the same" if bool((values == values[:1]).all()) else ""


def array_told(f: Field, events: ak.Array) -> str:
    """What a field with a shape is, in words."""
    values = scalar_values(events, f)
    cells = " x ".join(map(str, f.shape))
    low, high = float(values.min()), float(values.max())
    what = "whole numbers" if values.dtype.kind != "f" else "contents"
    empty = float((values == 0).mean())
    told = f"{cells} cells, {what} from {low:.6g} to {high:.6g}"
    return f"{told}, {share(empty)} of them 0" if empty else told


def _shares(f: Field, values: NDArray[np.generic]) -> bool:
    """Whether cells share a sum: of contents that are continuous and not negative."""
    return values.dtype.kind == "f" and float(values.min()) >= 0.0


def array_lines(arrays: tuple[Field, ...], events: ak.Array) -> Iterator[str]:
    """The blocks of fields with a shape."""
    for f in arrays:
        values = scalar_values(events, f)
        name = plain(f.name)
        if _shares(f, values):
            yield from comment(
                f"A column for each cell of {f.name}: empty below a threshold that is learned; the sum is a "
                "number of its own.",
                "    ",
            )
            yield f"    - {{kind: grid, fields: {name}, sums: true}}"
        else:
            yield from comment(f"A column for each cell of {f.name}.", "    ")
            yield f"    - {{kind: grid, fields: {name}}}"
