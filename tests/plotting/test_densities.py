from __future__ import annotations

import hist
import numpy as np
import pytest
from cli_toys import RECIPE, columns, run, write
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch

from hepgan.observables import Observable
from hepgan.plotting.densities import DEVIATIONS, density, horizontal, vertical

OBSERVABLE = Observable("x", "x", bins=5, range=(0.0, 5.0), unit="GeV")
REFERENCE = [1000, 2000, 4000, 2000, 1000]


def histogram(contents):
    filled = hist.Hist(hist.axis.Regular(5, 0.0, 5.0), storage=hist.storage.Weight())
    return filled.fill(np.repeat(np.arange(5) + 0.5, contents))


def lines(panel):
    """Values of the unfilled steps."""
    return [p.get_data().values for p in panel.patches if isinstance(p, StepPatch) and not p.get_fill()]


def band(panel):
    return next(p.get_data().values for p in panel.patches if isinstance(p, StepPatch) and p.get_fill())


def test_deviations_are_those_of_the_ratio_in_per_cent_beside_the_statistical_errors():
    made = [1010, 1980, 4400, 2000, 610]
    figure = density(OBSERVABLE, histogram(REFERENCE), {"a": histogram(made)}, deviation=True)
    _, ratio, deviation = figure.axes
    expected = np.array(made) / np.array(REFERENCE)
    np.testing.assert_allclose(lines(ratio)[0], expected)
    percent = 100 * abs(expected - 1)
    assert percent[3] == 0
    np.testing.assert_allclose(lines(deviation)[0], np.maximum(percent, DEVIATIONS[0]))
    np.testing.assert_allclose(band(deviation), 100 / np.sqrt(REFERENCE))
    assert deviation.get_yscale() == "log"
    assert deviation.get_ylim() == DEVIATIONS
    assert "%" in deviation.get_ylabel()
    assert "GeV" in deviation.get_xlabel()
    assert not ratio.get_xlabel()


def test_error_bars_of_deviations_are_those_of_the_generated_events_and_end_on_the_axis():
    figure = density(
        OBSERVABLE, histogram(REFERENCE), {"a": histogram([1000, 1000, 6000, 1990, 10])}, deviation=True
    )
    (bars,) = figure.axes[2].collections
    ends = np.array([segment[:, 1] for segment in bars.get_segments()])
    assert (ends > 0).all()
    up = 100 * np.sqrt([1000, 1000, 6000, 1990, 10]) / np.array(REFERENCE)
    low = np.maximum(100 * abs(np.array([1000, 1000, 6000, 1990, 10]) / REFERENCE - 1), DEVIATIONS[0])
    np.testing.assert_allclose(ends[:, 1], low + up)
    np.testing.assert_allclose(ends[2, 0], low[2] - up[2])


@pytest.mark.parametrize(("samples", "panels"), [(1, 1), (3, 1), (4, 2)])
def test_no_panel_holds_more_than_three_samples_and_each_sample_is_in_one(samples, panels):
    made = {f"s{k}": histogram(REFERENCE) for k in range(samples)}
    plain = density(OBSERVABLE, histogram(REFERENCE), made)
    assert len(plain.axes) == 1 + panels
    figure = density(OBSERVABLE, histogram(REFERENCE), made, deviation=True)
    assert len(figure.axes) == 1 + 2 * panels
    assert sum(len(lines(p)) for p in figure.axes[1 + panels :]) == samples


def test_labels_of_panels_below_each_other_do_not_touch():
    made = {f"s{k}": histogram(REFERENCE) for k in range(4)}
    figure = density(OBSERVABLE, histogram(REFERENCE), made, deviation=True)
    figure.canvas.draw()
    above, below = ([t.get_window_extent() for t in p.get_yticklabels()] for p in figure.axes[3:])
    assert min(b.y0 for b in above) > max(b.y1 for b in below)


def test_logarithmic_axes_of_few_decades_have_plain_numbers():
    figure = Figure()
    panel = figure.subplots()
    horizontal(panel, hist.axis.Regular(10, 150, 2000, transform=hist.axis.transform.log))
    vertical(panel, hist.axis.Regular(10, 1e-6, 1.0, transform=hist.axis.transform.log))
    figure.canvas.draw()
    shown = [t.get_text() for t in panel.get_xticklabels() if 150 <= t.get_position()[0] <= 2000]
    assert shown == ["200", "500", "1000", "2000"]
    assert not any(t.get_text() for t in panel.get_xticklabels(minor=True))
    assert panel.get_yscale() == "log"
    assert any("10^{" in t.get_text() for t in panel.get_yticklabels())


def test_whole_numbers_stand_in_the_middle_of_their_bins():
    panel = Figure().subplots()
    vertical(panel, hist.axis.Integer(10, 15))
    assert panel.get_ylim() == (9.5, 14.5)


def test_reports_show_deviations_where_they_are_asked_for(tmp_path, monkeypatch):
    heights: list[float] = []

    def picture(draw, *_, **__):
        heights.append(draw().get_figheight())
        return "data:,"

    monkeypatch.setattr("hepgan.validation.report.picture", picture)
    write(tmp_path / "true.root", columns(150, 1))
    write(tmp_path / "made.root", columns(150, 2))
    (tmp_path / "toy.yaml").write_text(RECIPE)
    sizes, words = {}, {}
    for name, options in {"plain": [], "more": ["--deviation"]}.items():
        heights.clear()
        files = [str(tmp_path / f) for f in ("true.root", "made.root")]
        told = ["--recipe", str(tmp_path / "toy.yaml"), "-o", str(tmp_path / name), *options]
        assert run("validate", *files, *told) == 0
        page = (tmp_path / name / "report.html").read_text()
        words[name] = "in per cent" in page
        sizes[name] = heights[0]
    assert words == {"plain": False, "more": True}
    assert sizes["more"] == pytest.approx(sizes["plain"] + 1.1)
