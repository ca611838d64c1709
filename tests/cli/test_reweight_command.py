from __future__ import annotations

import json
import re

import awkward as ak
import numpy as np
import pytest
from cli_toys import inside, run
from toys import dimuons

from hepgan import EventGenerator, read_events, write_events
from hepgan.events import schema_of
from hepgan.observables import Observable
from hepgan.plotting.weights import mean_weights, plot_weight_map, plot_weights
from hepgan.reweighting import Reweighter, effective_sample_size
from hepgan.stats import classifiers

RECIPE = """\
description: toy
events: {select: [Muon]}
model: {kind: flow_matching, network: {kind: mlp, widths: [16]}, steps: 2}
observables:
  m_mumu: {expression: "(Muon[0] + Muon[1]).mass", bins: 40, range: [50, 130], unit: GeV}
  pt_mu1: {expression: "Muon[0].pt", bins: 20, range: [0, 100], unit: GeV}
training: {steps: 40, batch_size: 128}
"""
FAST = ("--members", "2", "--classifier", "trees")


@pytest.fixture(scope="module", autouse=True)
def _short_trainings():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classifiers, "BATCH", 512)
        patch.setattr(classifiers, "EPOCHS", 6)
        patch.setattr(classifiers, "TREES", {**classifiers.TREES, "max_iter": 60})
        yield


def pt(events):
    return ak.to_numpy(events.Muon.pt[:, 0]).astype(float)


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """True events, and others that lack those with a large pT."""
    folder = tmp_path_factory.mktemp("reweighting")
    true, test, made = dimuons(10_000, 1), dimuons(6000, 2), dimuons(16_000, 3)
    rare = np.random.default_rng(0).random(len(made)) < np.exp(-pt(made) / 60)
    for name, events in (("true", true), ("test", test), ("made", made[rare])):
        write_events(folder / f"{name}.root", events[["Muon"]])
    (folder / "toy.yaml").write_text(RECIPE)
    return folder


def reweighted(here, *options, output="out.root"):
    words = [*inside(f"reweight @true.root @made.root -o @{output}", here), *FAST]
    assert run(*words, *inside(" ".join(options), here)) == 0
    return read_events(f"{here}/{output}")


def test_reweighted_files_hold_the_events_with_weights_by_which_they_are_true(here, monkeypatch):
    monkeypatch.setattr("hepgan.stats.classifiers.STEPS", (100, 100))
    events, made = reweighted(here, "--classifier mlp"), read_events(f"{here}/made.root")
    assert schema_of(events).weight == "weight"
    np.testing.assert_array_equal(pt(events), pt(made))
    assert ak.all(events.weight_error > 0)
    true = pt(read_events(f"{here}/test.root")).mean()
    before, after = pt(made).mean(), np.average(pt(events), weights=events.weight)
    assert abs(after - true) < 0.35 * abs(before - true)


def test_events_that_were_not_learned_from_get_weights_too(here):
    few = reweighted(here, "--events", "1500", output="few.root")
    assert len(few) == len(read_events(f"{here}/made.root"))
    assert np.average(few.weight[1500:]) == pytest.approx(1, abs=0.1)
    assert np.average(few.weight[:1500]) == pytest.approx(1, abs=1e-5)


def test_unweighted_files_hold_fewer_events_and_no_weights(here):
    events, made = reweighted(here, "--unweight", output="unweighted.root"), read_events(f"{here}/made.root")
    assert schema_of(events).weight is None
    assert 0.1 * len(made) < len(events) < len(made)
    assert set(pt(events)) <= set(pt(made))
    true = pt(read_events(f"{here}/test.root")).mean()
    assert abs(pt(events).mean() - true) < 0.5 * abs(pt(made).mean() - true)


def test_a_report_compares_before_and_after_and_tells_of_the_weights(here):
    reweighted(here, "--report @report --test @test.root --recipe @toy.yaml", output="r.root")
    metrics = json.loads((here / "report" / "metrics.json").read_text())
    assert set(metrics["samples"]) == {"generated", "reweighted"}
    summary = metrics["weights"]
    weights = ak.to_numpy(read_events(f"{here}/r.root").weight).astype(float)
    assert summary["effective_sample_size"] == pytest.approx(effective_sample_size(weights), rel=1e-4)
    low = summary["quantiles_of_the_weights"]["0.01"]
    assert low == pytest.approx(np.quantile(weights, 0.01), rel=1e-3)
    page = (here / "report" / "report.html").read_text().partition('<h2 id="weights">')[2]
    assert f"<td>quantiles of the weights, 0.01</td><td>{low:,.4g}</td>" in page
    pictures = re.findall(r'<img src="data:image/png;base64,[^"]{5000,}" alt="([^"]*)"', page)
    assert pictures == ["Weights, and reliability of the classifiers", "m_mumu and pt_mu1"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--report @x", "go together"),
        ("--report @x --test @true.root", "have not seen"),
        ("--report @x --test @./true.root", "have not seen"),
    ],
)
def test_weights_are_not_judged_by_the_events_that_made_them(here, capsys, options, message):
    assert run(*inside(f"reweight @true.root @made.root -o @y.root {options}", here))
    assert message in capsys.readouterr().err
    assert not (here / "x").exists()
    assert not (here / "y.root").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("-o @y.root --unweight", "(genWeight) already"),
        ("-o @y.root --name Muon", "have a 'Muon' already"),
        ("-o @weighted.root --force", "choose another --output"),
    ],
)
def test_what_cannot_be_written_is_told_before_anything_is_learned(
    here, capsys, monkeypatch, options, message
):
    def learned(*_):
        pytest.fail("it learned")

    monkeypatch.setattr(Reweighter, "fit", learned)
    write_events(here / "weighted.root", dimuons(300, 4, weighted=True)[["Muon", "genWeight"]], force=True)
    before = (here / "weighted.root").read_bytes()
    assert run(*inside(f"reweight @true.root @weighted.root {options}", here))
    assert message in capsys.readouterr().err
    assert (here / "weighted.root").read_bytes() == before


def test_a_refined_model_makes_events_that_are_nearer_to_the_truth(here, monkeypatch):
    monkeypatch.setattr("hepgan.stats.classifiers.STEPS", (100, 100))
    made = read_events(f"{here}/made.root")
    EventGenerator(here / "toy.yaml").fit(made, seed=1).save(here / "toy.safetensors")
    words = "refine @toy.safetensors @true.root -o @better.safetensors --events 8e3"
    settings = "--set training.steps=200 --set training.batch_size=512"
    assert run(*inside(f"{words} {settings}", here)) == 0
    steps = np.linspace(0.05, 0.95, 19)
    true = np.quantile(pt(read_events(f"{here}/test.root")), steps)
    before, after = (
        np.quantile(pt(EventGenerator.load(here / f"{n}.safetensors").generate(5000, seed=5)), steps)
        for n in ("toy", "better")
    )
    assert np.abs(after - true).mean() < 0.75 * np.abs(before - true).mean()


def test_a_map_shows_the_mean_weight_of_each_bin_and_nothing_where_there_are_no_events():
    events = ak.zip({"x": np.array([0.1, 0.2, 0.7, 0.8]), "y": np.array([0.1, 0.2, 0.1, 0.9])})
    x, y = (Observable(n, n, bins=2, range=(0.0, 1.0), label=n, unit="GeV") for n in ("x", "y"))
    weights = np.array([1.0, 3.0, 0.5, 4.0])
    mean, _ = mean_weights(events, x, y, weights)
    np.testing.assert_allclose(mean, [[2.0, np.nan], [0.5, 4.0]])
    panel, bar = plot_weight_map(events, x, y, weights).axes
    image = panel.collections[0].get_array()
    np.testing.assert_allclose(np.ma.filled(image, np.nan), mean.T)
    assert panel.get_xlabel() == "x [GeV]"
    assert bar.get_ylabel() == "Mean weight"
    assert image.mask.sum() == 1
    with pytest.raises(ValueError, match="for 4 events"):
        plot_weight_map(events, x, y, weights[:2])


def test_the_scale_of_a_map_is_that_of_most_events_and_its_axes_are_those_of_the_observables():
    n = np.repeat([1, 2], [999, 1])
    events = ak.zip({"n": n, "x": np.where(n == 1, 20.0, 500.0)})
    number = Observable("n", "n", bins=3, range=(0, 3), integer=True)
    x = Observable("x", "x", bins=4, range=(10.0, 1000.0), log=True)
    panel, bar = plot_weight_map(events, number, x, np.where(n == 1, 1.15, 50.0)).axes
    low, high = panel.collections[0].get_clim()
    assert (low, high) == pytest.approx((1 / 1.2, 1.2))
    ticks = bar.get_yticks()
    assert (low < ticks).all()
    assert (ticks < high).all()
    assert np.nanmax(panel.collections[0].get_array().filled(np.nan)) == pytest.approx(50.0)
    assert panel.get_yscale() == "log"
    assert panel.get_xlim() == (-0.5, panel.get_xlim()[1])


def test_mean_weights_below_zero_are_not_taken_for_empty_bins():
    events = ak.zip({"x": np.array([0.1, 0.7]), "y": np.array([0.1, 0.1])})
    x, y = (Observable(n, n, bins=2, range=(0.0, 1.0)) for n in ("x", "y"))
    image = plot_weight_map(events, x, y, np.array([-1.0, 1.0])).axes[0].collections[0]
    shown = image.get_array()
    assert shown.mask.tolist() == [[False, False], [True, True]]
    assert 0 < shown[0, 0] < image.get_clim()[0]


def test_the_picture_of_weights_holds_all_of_them():
    true = ak.zip({"x": np.random.default_rng(1).normal(0.3, 1, 3000)})
    made = ak.zip({"x": np.random.default_rng(2).normal(0, 1, 3000)})
    reweighter = Reweighter(classifier="trees", members=2).fit(true, made)
    left, right = plot_weights(reweighter).axes
    assert left.patches[0].get_xy()[:, 1].max() > 100
    assert f"{effective_sample_size(reweighter.fitted_weights.weight) / 3000:.1%}" in left.get_title()
    assert len(right.get_legend().get_texts()) == 2
