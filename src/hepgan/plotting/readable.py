"""Figures that can be drawn whatever users call their observables."""

from __future__ import annotations

import warnings
from typing import Any

from matplotlib.cbook import is_math_text
from matplotlib.figure import Figure
from matplotlib.mathtext import MathTextParser
from matplotlib.text import Text

__all__ = ["ReadableFigure"]


class ReadableFigure(Figure):  # type: ignore[misc]
    """A figure that can be drawn whatever its texts are.

    What cannot be read as a formula (a label such as ``$p_T^{``) is shown as it is written.
    """

    def draw(self, renderer: Any) -> None:
        """Draws the figure."""
        for panel in self.axes:
            for axis in (panel.xaxis, panel.yaxis):
                axis.get_ticklabels(which="both")  # which writes them anew
        for text in self.findobj(Text):
            words = text.get_text()
            if not words.isprintable():
                # no font has such characters, and of some of them matplotlib makes an error
                words = "".join(c if c.isprintable() or c == "\n" else "?" for c in words)
                text.set_text(words)
            if "$" in words and not _is_readable(words):
                text.set_parse_math(False)
        super().draw(renderer)


def _is_readable(text: str) -> bool:
    """Whether matplotlib can draw the formulas in a text."""
    parser = MathTextParser("path")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for line in filter(is_math_text, text.split("\n")):
                parser.parse(line)
        except (ValueError, RuntimeError, RecursionError):
            return False
    return True
