from __future__ import annotations

import io
import random

import pytest

from hepgan.observables import Observable
from hepgan.plotting.readable import ReadableFigure
from hepgan.plotting.style import grid, styled

PIECES = (
    *("$", "$$", r"\frac{", r"\frac", "_", "^", "%", "#", "{", "}", "&", "~", "\\", "`", "'", '"', "<b>"),
    *("\n", "\0", "\x1b[31m", "\ud800", " ", r"\unknown", r"$p_T$", r"$\mu$", r"\$", "x_1", r"\mathrm{"),
    *(r"\left(", "Größe", "a"),
)
LABELS = [r"$\frac{$", "$p_T^{$", "a_b^c", "100% #1", "$x_$", "$$", r"$\nosuch$", "a$b", "$a$$b", "", " "]


@styled
def figure_of(labels):
    figure, panels = grid(2, 3.0, 2.0)
    for panel, label in zip(panels, (labels[0], labels[1]), strict=True):
        panel.plot([0, 1], [1, 2], label=label or "a")
        panel.set_title(label)
        panel.set_xlabel(Observable("x", "x", label=label, unit=labels[2]).title)
        panel.set_yticks([1, 2], labels[2:4])
        panel.legend(title=labels[4])
    figure.suptitle(labels[5])
    return figure


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_a_figure_is_drawn_whatever_its_labels_are(kind):
    random.seed(1)
    garbage = ["".join(random.choices(PIECES, k=random.randint(1, 5))) for _ in range(13)]
    for start in range(0, 24, 6):
        target = io.BytesIO()
        figure_of((LABELS + garbage)[start : start + 6]).savefig(target, format=kind)
        assert target.tell() > 1000


def test_formulas_stay_formulas_and_what_is_none_is_shown_as_it_is():
    figure = ReadableFigure()
    texts = [figure.text(0.5, 0.5, t) for t in (r"$\mu$ [GeV]", r"$\frac{$ [GeV$^2$]", "a$b")]
    figure.savefig(io.BytesIO(), format="png")
    assert [t.get_parse_math() for t in texts] == [True, False, True]
    assert texts[1].get_text() == r"$\frac{$ [GeV$^2$]"
