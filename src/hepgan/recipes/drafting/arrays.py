"""Fields with a shape in a draft: what they are, how they are learned, what to look at."""

from __future__ import annotations

from collections.abc import Iterator

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from hepgan.events import Field
from hepgan.events.buffers import scalar_values
from hepgan.events.schema import quoted
from hepgan.observables import Observable
from hepgan.recipes.drafting.text import comment, plain, share

__all__ = ["array_lines", "array_observables", "array_told", "unlearnable_array"]

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


def array_observables(arrays: tuple[Field, ...], events: ak.Array) -> Iterator[Observable]:
    """What to look at of fields with a shape: sum, filled cells, extremes, centre and width on each axis."""
    for f in arrays:
        values = scalar_values(events, f)
        cells, name = quoted(f.name), f.name
        yield Observable(f"{name}_sum", f"sum({cells})", label=f"sum of {name}")
        yield Observable(f"{name}_max", f"max({cells})", label=f"largest of {name}")
        if float(values.min()) < 0:
            yield Observable(f"{name}_min", f"min({cells})", label=f"least of {name}")
            continue
        if bool((values == 0).any()):
            yield Observable(
                f"{name}_filled", f"sum({cells} > 0)", label=f"cells of {name} above 0", integer=True
            )
        for k in range(len(f.shape)):
            axis = f.axes[k].name if f.axes else f"index{k}"
            of, weight = f"cells({cells}).{quoted(axis)}", f"cells({cells}).value"
            mean = f"sum({weight} * {of}) / sum({weight})"
            ends = (0.0, f.shape[k] - 1.0) if not f.axes else (f.axes[k].low, f.axes[k].high)
            own = f.axes[k].unit if f.axes else ""
            yield Observable(
                f"{name}_{axis}", mean, label=f"centre of {name} in {axis}", unit=own, range=ends
            )
            yield Observable(
                f"{name}_{axis}_width",
                f"sqrt(max(0, sum({weight} * {of}**2) / sum({weight}) - ({mean})**2))",
                label=f"width of {name} in {axis}",
                unit=own,
            )
