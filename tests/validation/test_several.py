from __future__ import annotations

import json
import re
from dataclasses import replace

import awkward as ak
import numpy as np
import pytest
import uproot
from toys import by_members, dimuons

from hepgan.errors import InputError
from hepgan.events import write_events
from hepgan.observables import Observable
from hepgan.plotting.comparison import COLOURS, LINES
from hepgan.stats import memorisation, two_sample
from hepgan.validation import Comparison, Metric, compare, compare_files, sample_labels
from hepgan.validation.sections import Section
from hepgan.validation.verdicts import best, observable_rows, overall_rows

OBSERVABLES = {
    "m": Observable("m", "(Muon[0] + Muon[1]).mass", range=(60, 120), label="$m$", unit="GeV"),
    "jet_pt": Observable("jet_pt", "Jet.pt", range=(20, 200), unit="GeV"),
    "met": Observable("met", "MET.pt", range=(0, 80), unit="GeV"),
}
LABELS = ("good", "heavy", "soft_met")


def _shifted(events: ak.Array, scale: float) -> ak.Array:
    muons = ak.with_field(events.Muon, events.Muon.pt * scale, "pt")
    return ak.with_field(events, muons, "Muon")


@pytest.fixture(scope="module")
def samples() -> dict[str, ak.Array]:
    soft = dimuons(1500, 4)
    met = ak.with_field(soft.MET, soft.MET.pt * 0.7, "pt")
    return {
        "good": dimuons(1500, 2),
        "heavy": _shifted(dimuons(1500, 3), 1.05),
        "soft_met": ak.with_field(soft, met, "MET"),
    }


@pytest.fixture(scope="module")
def found(samples) -> Comparison:
    return compare(dimuons(2000, 1), samples, OBSERVABLES, train=dimuons(2000, 5), n_jobs=1)


@pytest.mark.parametrize("with_train", [True, False])
def test_a_sample_has_the_same_metrics_alone_and_among_others(with_train, samples, found):
    size, train, together = (2000, dimuons(2000, 5), found) if with_train else (500, None, None)
    if together is None:
        some = {label: samples[label][:500] for label in LABELS[:2]}
        together = compare(dimuons(size, 1), some, OBSERVABLES, n_jobs=1)
    one = samples["heavy"] if with_train else samples["heavy"][:500]
    alone = compare(dimuons(size, 1), one, OBSERVABLES, train=train, n_jobs=1)
    assert json.dumps(together.metrics["heavy"]) == json.dumps(alone.metrics)
    assert together.all_verdicts()["heavy"] == alone.verdicts()


def test_what_is_of_true_events_alone_is_computed_once(samples, monkeypatch):
    calls = {"trees": 0, "index": 0}
    trial, index = two_sample._trial, memorisation.NearestNeighbors

    def counted_trial(*arguments, **options):
        calls["trees"] += 1
        return trial(*arguments, **options)

    def counted_index(*arguments, **options):
        calls["index"] += 1
        return index(*arguments, **options)

    monkeypatch.setattr(two_sample, "_trial", counted_trial)
    monkeypatch.setattr(memorisation, "NearestNeighbors", counted_index)
    few = {label: events[["Muon"]][:300] for label, events in samples.items()}
    true, train = (dimuons(300, seed)[["Muon"]] for seed in (1, 5))
    compare(true, few, {"m": OBSERVABLES["m"]}, train=train, n_jobs=1)
    assert calls == {"trees": len(samples) + 1, "index": 1}


def test_one_sample_is_taken_out_of_a_comparison(found):
    one = found["heavy"]
    assert one.labels == ("heavy",)
    assert one.metrics == found.metrics["heavy"]
    assert set(one.tables) == {"reference", "heavy"}
    assert "good sample" not in one.provenance
    assert {"reference sample", "heavy sample"} <= set(one.provenance)
    with pytest.raises(KeyError, match=r"no sample 'light'.*good, heavy, soft_met"):
        found["light"]


# ------------------------------------------------------------------------ tables


def test_the_best_is_the_smallest_and_what_cannot_be_told_from_it():
    metrics = {"a": Metric(0.10, error=0.01), "b": Metric(0.12, error=0.01), "c": Metric(0.20, error=0.01)}
    assert best(metrics) == {"a", "b"}
    assert best({**metrics, "d": None, "e": Metric(float("nan"))}) == {"a", "b"}
    assert best({"a": metrics["a"], "b": metrics["b"]}) == set()
    assert best({"a": metrics["a"]}) == set()
    assert best({"a": Metric(1.0), "b": Metric(2.0)}) == {"a"}
    # an AUC below one half is chance, no better than one half
    aucs = {"a": Metric(0.47, error=0.001), "b": Metric(0.5, error=0.001), "c": Metric(0.6, error=0.001)}
    assert best(aucs, lambda v: max(v, 0.5)) == {"a", "b"}


def test_rows_mark_the_samples_that_are_right(found):
    rows = {row.name: row for row in observable_rows(found.results, "ks")}
    assert list(rows) == list(OBSERVABLES)
    assert rows["m"].best == {"good", "soft_met"}
    assert rows["met"].best == {"good", "heavy"}
    assert rows["m"].grades["heavy"] == "poor"
    overall = {row.name: row for row in overall_rows(found.results)}
    assert overall["classifier AUC"].best == {"good"}
    assert all(set(row.metrics) == set(LABELS) for row in overall.values())


def test_overview_has_a_line_for_each_sample(found):
    lines = found.overview()
    assert lines[0].split()[:3] == ["sample", "AUC", "floor"]
    assert [line.split()[0] for line in lines[1:]] == list(LABELS)
    assert float(lines[2].split()[1]) > float(lines[1].split()[1])
    assert "m (KS" in lines[2]
    assert "met (KS" in lines[3]
    assert compare(dimuons(300, 1), dimuons(300, 2), OBSERVABLES, classifier=False).overview()[1].split()[
        1:3
    ] == ["-", "-"]


# ------------------------------------------------------------------------ report


@pytest.fixture
def _without_pictures(monkeypatch):
    monkeypatch.setattr("hepgan.validation.report.picture", lambda *_, **__: "data:,")


@pytest.mark.usefixtures("_without_pictures")
def test_the_report_has_a_column_for_each_sample(found, tmp_path):
    path = found.save(tmp_path / "report")
    html = path.read_text()
    tables = re.findall(r'<table class="compared">.*?</table>', html, re.DOTALL)
    assert len(tables) == 1 + 3  # of samples as a whole, and of each metric
    for table in tables:
        heads = re.findall(r'border-bottom-color: [^"]*">(.*?)</th>', table)
        assert [h.replace("<wbr>", "") for h in heads] == list(LABELS)
    row = re.search(r'<tr><td><a href="#plot-m">m</a>.*?</tr>', tables[1], re.DOTALL)[0]
    cells = re.findall(r'<td class="group (\w+)( best)?">', row)
    assert cells == [("good", " best"), ("poor", ""), ("good", " best")]
    assert html.count("× floor") >= 3 * (3 * len(OBSERVABLES) + 1)
    for lines in found.all_verdicts().values():
        assert all(line in html for line in lines)
    assert not re.search(r'(src|href)="(?!data:|#)', html)

    written = json.loads((path.parent / "metrics.json").read_text())
    assert written["samples"] == list(LABELS)
    for label in LABELS:
        alone = found[label].metrics
        assert set(written[label]) == set(alone)
        assert written[label]["observables"]["m"]["ks"] == alone["observables"]["m"]["ks"]
    with uproot.open(path.parent / "histograms.root") as file:
        for label in ("reference", *LABELS):
            assert file[f"{label}/met"].values().sum() > 1000


@pytest.mark.usefixtures("_without_pictures")
def test_samples_of_different_sizes_are_pointed_out(samples, tmp_path):
    for size, told in ((1500, False), (700, True)):
        made = {"a": samples["good"], "b": samples["heavy"][:size]}
        path = compare(dimuons(900, 1), made, OBSERVABLES, classifier=False).save(tmp_path / str(size))
        assert ("different numbers of events" in path.read_text()) == told


def test_the_report_of_several_samples_holds_all_pictures(found, tmp_path, monkeypatch):
    drawn = []

    def picture(draw, *_, **__):
        drawn.append(draw())
        return "data:image/png;base64,"

    monkeypatch.setattr("hepgan.validation.report.picture", picture)
    few = replace(found, results={n: found.results[n] for n in LABELS[:2]})
    html = few.save(tmp_path / "report").read_text()
    # three densities, a plane, differences, and for each sample matrices and classifier; memorisation
    assert html.count('src="data:image/png') == 3 + 1 + 1 + 2 * 2 + 1
    assert html.count("<details>") == 1 + 2
    assert all(figure.axes for figure in drawn)


@pytest.mark.usefixtures("_without_pictures")
def test_samples_with_missing_parts_are_reported(tmp_path):
    made = {"few": dimuons(60, 2), "many": dimuons(400, 3)}
    html = compare(dimuons(500, 1), made, OBSERVABLES, n_jobs=1).save(tmp_path / "r").read_text()
    assert "few: not judged: needs 200 events of each sample; there are 500 and 60." in html
    assert "many: not judged: needs the training events." in html
    row = re.search(r"<tr><td>classifier AUC</td>.*?</tr>", html, re.DOTALL)[0]
    assert row.count('<td class="group">–</td>') == 1


def test_six_curves_are_told_apart_and_hidden_by_nothing():
    made = {f"variant_{k}": dimuons(300, 10 + k) for k in range(6)}
    comparison = compare(dimuons(400, 1), made, {"m": OBSERVABLES["m"]}, classifier=False)
    assert len(set(COLOURS)) == len(set(LINES)) == 6
    figure = comparison.plot("m")
    figure.canvas.draw()
    main, *ratios = figure.axes
    assert len(ratios) == 2
    legend = main.get_legend()
    assert [t.get_text() for t in legend.get_texts()] == ["reference", *made]
    box, axes = legend.get_window_extent(), main.get_window_extent()
    assert box.y0 >= axes.y1 - 1
    assert box.y1 <= figure.bbox.y1
    assert box.x1 <= figure.bbox.x1
    for ratio in ratios:
        assert ratio.get_ylabel() == "Ratio"
    assert ratios[-1].get_xlabel() == "$m$ [GeV]"


def test_pictures_of_several_samples_show_all(found):
    assert len(found.plot_2d("m", "met").axes) == len(LABELS) + 2  # reference and colour bar
    titles = [a.get_title() for a in found.plot_correlations().axes]
    assert [t for t in titles if t] == ["reference", *(f"{n} \N{MINUS SIGN} reference" for n in LABELS)]
    texts = [t.get_text() for t in found.plot_memorisation().axes[0].get_legend().get_texts()]
    assert [t.partition(":")[0] for t in texts] == ["reference", *LABELS]
    assert [t for t in (a.get_title() for a in found.plot_correlations("heavy").axes) if t][1] == "generated"


@pytest.mark.parametrize("label", ["reference", "train", "provenance", "a/b", "a;1", " ", ""])
def test_labels_that_would_name_something_else_are_refused(label):
    events = dimuons(50, 1)
    with pytest.raises(InputError, match=f"cannot be called {label!r}"):
        compare(events, {label: events}, OBSERVABLES)


@pytest.mark.usefixtures("_without_pictures")
def test_no_sample_can_have_the_name_of_another_key_of_the_metrics(tmp_path):
    """Else the one or the other would be lost there."""
    values = np.random.default_rng(0).normal(size=(4, 800)).astype(np.float32)
    x = {"x": Observable("x", "x", bins=10, range=(-3, 3))}
    true, made, other, tall = (ak.zip({"x": v}, depth_limit=1) for v in values)
    ensemble = by_members(made, np.arange(len(made)) % 2)
    found = compare(true, {"a": ensemble, "b": other}, x, train=tall, classifier=False)
    more = replace(found, sections={**found.sections, "mine": Section("Mine", "", {"one": 1})})
    path = more.save(tmp_path / "report")
    written = json.loads((path.parent / "metrics.json").read_text())
    keys = set(written) - {"a", "b"}
    assert {"samples", "verdicts", "provenance", "ensemble", "mine"} <= keys
    for key in keys - {"mine"}:
        with pytest.raises(InputError, match=f"cannot be called {key!r}"):
            compare(true, {key: made, "b": other}, x, classifier=False)
    for key in keys:
        with pytest.raises(InputError, match=f"cannot be called {key!r}"):
            replace(more, results={key: found.results["a"], "b": found.results["b"]})
    assert sample_labels(["weights.root", "latents.root:Events", "a.root"], []) == [
        "weights_2",
        "latents_2",
        "a",
    ]


def test_all_are_compared_in_what_all_have():
    """Else their AUCs could not be set side by side."""
    true, full, part = (dimuons(300, seed)[["MET", "npv"]] for seed in (1, 2, 3))
    with pytest.warns(UserWarning, match="the b events lack it: npv"):
        comparison = compare(true, {"a": full, "b": part[["MET"]]}, n_jobs=1)
    for label in "ab":
        assert "npv" not in comparison.metrics[label]["classifier"]["importance"]
        assert np.isfinite(comparison.metrics[label]["classifier"]["auc"]["value"])


# ------------------------------------------------------------------- bad events


def _without_a_shell(n: int, bad: int) -> ak.Array:
    """Events of single particles, of which some have less energy than momentum."""
    rng = np.random.default_rng(n)
    p = rng.normal(0, 10, (n, 3))
    energy = np.sqrt((p**2).sum(axis=1) + 1)
    energy[:bad] *= 0.5
    fields = {"px": p[:, 0], "py": p[:, 1], "pz": p[:, 2], "energy": energy}
    particles = ak.unflatten(ak.zip(fields, with_name="Momentum4D"), np.ones(n, dtype=int))
    return ak.zip({"Parton": particles}, depth_limit=1)


def test_events_that_cannot_be_are_judged_on_request_and_counted(tmp_path):
    write_events(tmp_path / "true.root", _without_a_shell(500, 0))
    write_events(tmp_path / "good.root", _without_a_shell(400, 0))
    write_events(tmp_path / "bad.root", _without_a_shell(450, 30))
    files = {"good": tmp_path / "good.root", "bad": tmp_path / "bad.root"}
    m2 = Observable("m2", "Parton.mass2", range=(-400, 100), unit="GeV$^2$")
    observables = {"m2": m2, "energy": "Parton.energy"}
    with pytest.raises(InputError, match=r"below the momentum.*on_bad='keep'") as error:
        compare_files(tmp_path / "true.root", files, observables, classifier=False)
    assert error.value.entry == 0
    with pytest.warns(UserWarning, match=r"bad.root: judged 30 of 450 events all the same: 30 for .*energy"):
        comparison = compare_files(
            tmp_path / "true.root", files, observables, classifier=False, on_bad="keep", step=200
        )
    ((reason, number),) = comparison.provenance["bad faults"].items()
    assert (number, "below the momentum" in reason) == (30, True)
    assert "good faults" not in comparison.provenance
    assert "bad faults" not in comparison["good"].provenance
    assert comparison.results["bad"].histograms["m2"].sum(flow=True).value == 450
    with pytest.raises(InputError, match="below the momentum") as error:
        compare_files(tmp_path / "bad.root", tmp_path / "good.root", observables, on_bad="keep")
    assert "keep" not in str(error.value)
