"""Fields with a shape in a draft: what they are, how they are learned, what to look at."""

from __future__ import annotations

from collections.abc import Iterator

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from hepgan.events import Field
from hepgan.events.buffers import scalar_values
from hepgan.recipes.drafting.text import comment, plain, share

__all__ = ["array_lines", "array_told", "listed_array", "unlearnable_array"]

_MOST = 20_000
"""Cells of one event that a draft learns."""


_FEWEST, _EMPTY, _LONGEST = 64, 0.85, 200
"""An array of so many cells, of which such a share is empty and never more are not, is learned as a list."""


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


def listed_array(arrays: tuple[Field, ...], events: ak.Array) -> Field | None:
    """The array that is better learned as the list of its cells that are not empty; None if there is none.

    There is one list in a recipe, so there must be no other array.
    """
    if len(arrays) != 1 or arrays[0].cells < _FEWEST:
        return None
    values = scalar_values(events, arrays[0])
    if not _shares(arrays[0], values):
        return None
    filled = (values > 0).reshape(len(values), -1)
    return arrays[0] if filled.mean() <= 1 - _EMPTY and filled.sum(1).max() <= _LONGEST else None


def _totals(f: Field) -> list[str]:
    """Numbers of the whole array by which its cells are guided."""
    axes = [a.name for a in f.axes] or [f"index{k}" for k in range(len(f.shape))]
    if {*axes} == {"eta", "phi"}:
        return ["mass", "pt", f"mean_{axes[0]}", f"spread_{axes[1]}"]
    return ["sum", *(f"{what}_{axis}" for axis in axes for what in ("mean", "spread"))]


def array_lines(arrays: tuple[Field, ...], events: ak.Array) -> Iterator[str]:
    """The blocks of fields with a shape."""
    if (listed := listed_array(arrays, events)) is not None:
        yield from comment(
            f"Nearly all cells of {listed.name} are empty: the others are learned as a list, the largest "
            "content first, after numbers of the whole.",
            "    ",
        )
        yield (f"    - {{kind: cells, field: {plain(listed.name)}, totals: [{', '.join(_totals(listed))}]}}")
        return
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
