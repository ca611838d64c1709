"""The looks of a comparison's figures: fonts, colours, panels."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import wraps
from typing import Any

import matplotlib.style
import mplhep
from matplotlib.figure import Figure

from hepgan.plotting.readable import ReadableFigure

__all__ = [
    "COLOURS",
    "LINES",
    "NOTHING",
    "REFERENCE",
    "Line",
    "StyledFigure",
    "columns",
    "grid",
    "styled",
]

COLOURS = ("#e42536", "#5790fc", "#f89c20", "#964a8b", "#1b8a5a", "#8c5a3c")
"""Of generated samples: the first as M. Petroff has them (arXiv:2107.02270), for colour-blind readers."""

Line = str | tuple[int, tuple[int, ...]]

LINES: tuple[Line, ...] = ("-", "--", "-.", (0, (1, 1)), (0, (6, 1, 1, 1, 1, 1)), (0, (4, 3)))
"""Of generated samples, so that they can be told apart in print."""

REFERENCE = "0.45"

NOTHING = "0.86"
"""Of bins without events, where white has a meaning."""

_STYLE = [
    mplhep.style.CMS,
    {
        "font.size": 13,
        "axes.labelsize": 14,
        "axes.titlesize": 14,
        "xtick.labelsize": 12,
        "ytick.labelsize": 12,
        "legend.fontsize": 12,
        "xtick.major.size": 7,
        "ytick.major.size": 7,
        "xtick.minor.size": 3.5,
        "ytick.minor.size": 3.5,
        "axes.linewidth": 1.2,
        "figure.dpi": 100,
    },
]


class StyledFigure(ReadableFigure):
    """A figure that keeps its style where it is drawn, since matplotlib resolves fonts only then."""

    def draw(self, renderer: Any) -> None:
        """Draws the figure."""
        with matplotlib.style.context(_STYLE):
            super().draw(renderer)

    def savefig(self, fname: Any, **kwargs: Any) -> None:
        """Writes the figure to a file."""
        with matplotlib.style.context(_STYLE):
            super().savefig(fname, **kwargs)


def styled(function: Callable[..., Figure]) -> Callable[..., Figure]:
    """Lets a function draw in this style."""

    @wraps(function)
    def draw(*args: Any, **kwargs: Any) -> Figure:
        with matplotlib.style.context(_STYLE):
            return function(*args, **kwargs)

    return draw


def columns(panels: int, most: int = 4) -> int:
    """How many panels stand in a row, at most, in rows as even as can be."""
    return math.ceil(panels / math.ceil(panels / most))


def grid(number: int, width: float, height: float, most: int = 4) -> tuple[Figure, list[Any]]:
    """A figure with panels in rows that share their axes."""
    across = columns(number, most)
    rows = math.ceil(number / across)
    figure = StyledFigure(figsize=(1.2 + width * across, height * rows), layout="constrained")
    panels = figure.subplots(rows, across, sharex=True, sharey=True, squeeze=False).ravel()
    for panel in panels[number:]:
        panel.remove()
    return figure, list(panels[:number])
