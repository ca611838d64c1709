"""Pictures of the filters of layers of images, and of what these make of differences of samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from hepgan.plotting.style import StyledFigure, styled

__all__ = ["Filtering", "plot_filters"]

Floats = NDArray[np.float64]

MOST = 8
"""Outputs of a layer that are drawn, those that tell most."""


class Filtering(Protocol):
    """A layer, as far as it is drawn (:class:`hepgan.explanation.filters.ImageLayer`)."""

    @property
    def kind(self) -> str:
        """What kind of layer it is."""

    @property
    def filters(self) -> Floats:
        """(outputs, a, b)."""

    @property
    def strength(self) -> Floats | None:
        """(outputs, c, d)."""


@styled
def plot_filters(layer: Filtering, responses: Mapping[str, Floats], title: str) -> Figure:
    """Filters, the strength of windows where they differ, and responses below, a column an output.

    Outputs are those whose responses are largest, or, without any, whose filters are.

    Args:
        layer: The layer.
        responses: (outputs, c, d) of each difference, by what it is.
        title: The layer.
    """
    rows: dict[str, tuple[Floats, str]] = {"filter": (layer.filters, "RdBu_r")}
    if layer.strength is not None:
        rows["strength of\nwindows"] = layer.strength, "viridis"
    rows |= {f"response to\n{name}": (values, "RdBu_r") for name, values in responses.items()}
    last = [*responses.values()][-1] if responses else layer.filters
    size = np.abs(last).reshape(len(last), -1).max(axis=1)
    shown = np.sort(np.argsort(-size, kind="stable")[:MOST])
    figure = StyledFigure(figsize=(1.65 * len(shown) + 2.6, 1.75 * len(rows) + 0.7), layout="constrained")
    panels = figure.subplots(len(rows), len(shown), squeeze=False)
    for k, (line, (name, (values, colours))) in enumerate(zip(panels, rows.items(), strict=True)):
        signed = colours == "RdBu_r"
        reach = float(np.abs(values[shown]).max(initial=0.0)) or 1.0
        image: Any = None
        for panel, number in zip(line, shown, strict=True):
            low = -reach if signed else 0.0
            image = panel.imshow(values[number], vmin=low, vmax=reach, cmap=colours, origin="lower")
            panel.set_xticks([])
            panel.set_yticks([])
            panel.minorticks_off()
            if k == 0:
                panel.set_title(f"output {number + 1}", fontsize=11)
        line[0].set_ylabel(name, fontsize=11)
        figure.colorbar(image, ax=list(line), pad=0.01, aspect=10)
    more = "" if len(shown) == len(last) else f", {len(shown)} of {len(last)} outputs"
    figure.suptitle(f"{title} ({layer.kind}{more})", fontsize=13)
    return figure
