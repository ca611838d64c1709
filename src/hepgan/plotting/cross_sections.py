"""The picture of reduced cross sections."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from hepgan.plotting.style import COLOURS, REFERENCE, StyledFigure, styled

__all__ = ["CrossSection", "plot_reduced"]

Floats = NDArray[np.float64]

LEAST = 10
"""True events in a bin that is shown."""


class CrossSection(Protocol):
    """A reduced cross section in bins of x (I) and Q2 (J), as far as it is shown.

    :class:`hepgan.validation.ReducedCrossSection` tells what each part is.
    """

    @property
    def x_edges(self) -> Floats:
        """(I + 1,)."""

    @property
    def Q2_edges(self) -> Floats:
        """(J + 1,)."""

    @property
    def values(self) -> Floats:
        """(I, J)."""

    @property
    def errors(self) -> Floats:
        """(I, J)."""

    @property
    def band(self) -> Floats:
        """(I, J)."""

    @property
    def inside(self) -> Floats:
        """(I, J)."""

    @property
    def entries(self) -> NDArray[np.int64]:
        """(I, J)."""


@styled
def plot_reduced(reference: CrossSection, generated: Mapping[str, CrossSection]) -> Figure:
    """What ``ReducedCrossSection.plot`` gives.

    Raises:
        ValueError: If the bins differ.
    """
    for label, other in generated.items():
        same = [np.array_equal(a, b) for a, b in _edge_pairs(reference, other)]
        if not all(same):
            msg = f"{label} has other bins than the reference"
            raise ValueError(msg)
    figure = StyledFigure(figsize=(7.6, 9.0), layout="constrained")
    panel = figure.subplots()
    centres = np.sqrt(reference.Q2_edges[1:] * reference.Q2_edges[:-1])
    known = (reference.entries >= LEAST) & (reference.inside >= 0.5)
    shown = [i for i in range(len(known)) if known[i].any()]
    for i in shown:
        scale, there = 2.0 ** (len(known) - 1 - i), known[i]
        _points(panel, centres, reference, i, scale, there)
        for k, result in enumerate(generated.values()):
            _line(panel, centres, result, i, scale, there, COLOURS[k % len(COLOURS)])
        last = int(np.flatnonzero(there)[-1])
        middle = math.sqrt(reference.x_edges[i] * reference.x_edges[i + 1])
        place = (centres[last], scale * reference.values[i, last])
        power = len(known) - 1 - i
        panel.annotate(
            f"$x = {middle:.2g}$, $i = {power}$",
            place,
            (10, 0),
            "data",
            "offset points",
            fontsize=10,
            va="center",
        )
    handles = [panel.errorbar([], [], [], fmt="o", ms=4, color="black", label="true")]
    for k, label in enumerate(generated):
        handles += panel.plot([], [], color=COLOURS[k % len(COLOURS)], label=label)
    panel.legend(handles=handles, loc="best", frameon=False)
    panel.set(xscale="log", yscale="log", xlabel="$Q^2$ [GeV$^2$]", ylabel=r"$\sigma_r(x, Q^2) \times 2^i$")
    low, high = centres[known.any(axis=0)][[0, -1]]
    panel.set_xlim(low / 1.5, high * 12)
    return figure


def _edge_pairs(a: CrossSection, b: CrossSection) -> list[tuple[Floats, Floats]]:
    return [(a.x_edges, b.x_edges), (a.Q2_edges, b.Q2_edges)]


def _points(
    panel: Any, at: Floats, found: CrossSection, i: int, scale: float, there: NDArray[np.bool_]
) -> None:
    values, errors = scale * found.values[i][there], scale * found.errors[i][there]
    panel.errorbar(at[there], values, errors, fmt="o", ms=4, color="black", ecolor=REFERENCE, zorder=3)


def _line(
    panel: Any,
    at: Floats,
    found: CrossSection,
    i: int,
    scale: float,
    there: NDArray[np.bool_],
    colour: str,
) -> None:
    values, band = scale * found.values[i][there], scale * found.band[i][there]
    panel.plot(at[there], values, color=colour, lw=1.2)
    panel.fill_between(at[there], values - band, values + band, color=colour, alpha=0.35, lw=0)
