from __future__ import annotations

import base64
import cProfile
import json
import re
from concurrent.futures import ThreadPoolExecutor

import awkward as ak
import hist
import numpy as np
import pytest
import uproot
from toys import dimuons

from hepgan.errors import InputError, OutputError, RecipeError
from hepgan.events import read_events, schema_of, write_events
from hepgan.files import temporary
from hepgan.observables import Observable
from hepgan.validation import Comparison, claim_report, compare, compare_files

OBSERVABLES = {
    "m": Observable("m", "(Muon[0] + Muon[1]).mass", range=(60, 120), label="$m$", unit="GeV"),
    "jet_pt": Observable("jet_pt", "Jet.pt", range=(20, 200), unit="GeV"),
    "lead": Observable("lead", "Jet[0].pt", range=(20, 200), unit="GeV"),
    "n": Observable("n", "nJet", range=(0, 3), integer=True),
    "met": Observable("met", "MET.pt", range=(0, 80), unit="GeV"),
}


def _shifted(events: ak.Array, scale: float) -> ak.Array:
    muons = ak.with_field(events.Muon, events.Muon.pt * scale, "pt")
    return ak.with_field(events, muons, "Muon")


@pytest.fixture(scope="module")
def good() -> Comparison:
    return compare(dimuons(4000, 1), dimuons(3000, 2), OBSERVABLES, train=dimuons(4000, 3), n_jobs=1)


@pytest.fixture(scope="module")
def bad() -> Comparison:
    return compare(
        dimuons(4000, 1), _shifted(dimuons(3000, 2), 1.05), OBSERVABLES, train=dimuons(4000, 3), n_jobs=1
    )


def _walk(node, path=()):
    if isinstance(node, dict):
        if "value" in node:
            yield path, node
        for key, child in node.items():
            yield from _walk(child, (*path, key))


@pytest.mark.parametrize("number", [1000, 100])
def test_copies_of_true_events_are_told_first(good, number):
    true, train = dimuons(1000, 1), dimuons(1000, 3)
    for of, name in ((true, "reference"), (train, "training")):
        made = ak.concatenate([of[:number], dimuons(1000 - number, 2)]) if number < 1000 else of
        found = compare(true, made, OBSERVABLES, train=train, classifier=False)
        (told,) = found.metrics["copied"].items()
        assert told[0] == name
        assert told[1]["value"] == pytest.approx(number / 1000, abs=0.02)
        assert told[1]["floor"] == 0.0
        assert f"% of the generated events are copies of {name} events" in found.verdicts()[0]
    assert "copied" not in good.metrics
    counted = {"n": OBSERVABLES["n"]}
    assert "copied" not in compare(true, dimuons(1000, 2), counted, train=train, classifier=False).metrics


def test_true_events_lie_near_the_floor(good):
    for name, metrics in good.metrics["observables"].items():
        for m in ("ks", "wasserstein", "chi2"):
            assert metrics[m]["significance"] < 4, (name, m)
    auc = good.metrics["classifier"]["auc"]
    assert abs(auc["value"] - auc["floor"]) < 5 * auc["error"]
    assert good.metrics["memorisation"]["ratio_of_medians"]["value"] == pytest.approx(1, abs=0.15)


def test_a_wrong_scale_is_found_and_named(bad):
    mass = bad.metrics["observables"]["m"]
    assert mass["ks"]["ratio"] > 10
    assert mass["chi2"]["ratio"] > 10
    assert bad.metrics["classifier"]["auc"]["value"] > 0.7
    assert next(iter(bad.metrics["classifier"]["importance"])) == "m"
    text = "\n".join(bad.verdicts())
    assert "a classifier tells generated from true events with AUC 0." in text
    assert "the worst is m: KS distance" in text


def test_every_metric_has_value_floor_and_ratio(bad):
    found = dict(_walk(bad.metrics))
    assert len(found) == 3 * len(OBSERVABLES) + 1 + 3 + 2 + 2
    for path, metric in found.items():
        assert {"value", "floor", "ratio"} <= set(metric), path
        assert metric["floor"] is not None, path
        assert metric["ratio"] == pytest.approx(metric["value"] / metric["floor"]), path


def test_histograms_hold_the_weighted_events():
    events = dimuons(3000, 4, weighted=True)
    weights = np.random.default_rng(0).choice([-1.0, 2.0], 3000, p=[0.2, 0.8])
    found = compare(
        events, events[:1000], OBSERVABLES, reference_weights=weights, generated_weights=weights[:1000],
        classifier=False,
    )  # fmt: skip
    reference, generated = found.histograms["jet_pt"]
    counts = ak.to_numpy(ak.num(events.Jet))
    expected = hist.Hist(OBSERVABLES["jet_pt"].axis(), storage=hist.storage.Weight())
    pt, event = ak.to_numpy(ak.flatten(events.Jet.pt)), np.repeat(np.arange(len(events)), counts)
    expected.fill(pt, weight=weights[event])
    np.testing.assert_allclose(reference.view(flow=True)["value"], expected.view(flow=True)["value"])
    # jets of one event are not independent
    contents = np.zeros((len(events), expected.axes[0].extent))
    np.add.at(contents, (event, expected.axes[0].index(pt) + 1), weights[event])
    np.testing.assert_allclose(reference.view(flow=True)["variance"], (contents**2).sum(0))
    assert generated.sum(flow=True).value == pytest.approx(
        np.repeat(weights, counts)[: counts[:1000].sum()].sum()
    )


def test_the_schemas_weight_is_the_default():
    events = dimuons(500, 5, weighted=True)
    name = schema_of(events).weight
    found = compare(events, events, {"n": OBSERVABLES["n"]}, classifier=False)
    assert found.histograms["n"][0].sum(flow=True).value == pytest.approx(ak.sum(events[name]))


def test_the_same_seed_gives_the_same_metrics():
    a, b = dimuons(600, 1), dimuons(600, 2)
    first, second = (compare(a, b, OBSERVABLES, n_jobs=1, seed=3).metrics for _ in range(2))
    assert json.dumps(first) == json.dumps(second)


def test_files_in_chunks_give_the_histograms_of_all_events_at_once(tmp_path):
    events = dimuons(3000, 6)
    write_events(tmp_path / "a.root", events)
    write_events(tmp_path / "b.root", events[:1700])
    chunked = compare_files(
        tmp_path / "a.root", tmp_path / "b.root", OBSERVABLES, step=700, max_events=800, classifier=False
    )
    whole = compare(
        read_events(tmp_path / "a.root"), read_events(tmp_path / "b.root"), OBSERVABLES, classifier=False
    )
    for name in OBSERVABLES:
        for one, other in zip(chunked.histograms[name], whole.histograms[name], strict=True):
            np.testing.assert_array_equal(one.view(flow=True), other.view(flow=True))
        assert chunked.metrics["observables"][name]["chi2"]["value"] == pytest.approx(
            whole.metrics["observables"][name]["chi2"]["value"]
        )
    assert chunked.provenance["reference sample"]["events"] == 3000
    assert chunked.provenance["reference sample"]["events_for_unbinned_metrics"] == 800


def test_several_samples_share_a_reference():
    made = {"first": dimuons(800, 2), "second": _shifted(dimuons(800, 3), 1.1)}
    found = compare(dimuons(1500, 1), made, OBSERVABLES, classifier=False)
    assert found.labels == ("first", "second")
    assert len(found.histograms["m"]) == 3
    ks = [found.metrics[label]["observables"]["m"]["ks"]["value"] for label in found.labels]
    assert ks[1] > 5 * ks[0]
    assert any(line.startswith("second: ") for line in found.verdicts())
    assert len(found.plot("m").axes) == 2


def test_expressions_and_no_observables_at_all_will_do():
    a, b = dimuons(400, 1), dimuons(400, 2)
    found = compare(a, b, {"sum_pt": "Muon[0].pt + Muon[1].pt"}, classifier=False)
    assert list(found.observables) == ["sum_pt"]
    assert "MET_pt" in compare(a, b, classifier=False).observables


def test_small_samples_say_what_is_missing():
    found = compare(dimuons(400, 1), dimuons(60, 2), {"m": OBSERVABLES["m"]})
    assert "needs 200 events" in found.metrics["skipped"]["classifier"]
    assert "training events" in found.metrics["skipped"]["memorisation"]
    with pytest.raises(ValueError, match="needs 200 events"):
        found.plot_classifier()


def test_bad_samples_are_refused():
    events = dimuons(100, 1)
    with pytest.raises(InputError, match="no events"):
        compare(events, events[:0], OBSERVABLES)
    with pytest.raises(InputError, match="sum to 0"):
        compare(events, events, OBSERVABLES, generated_weights=np.tile([1.0, -1.0], 50))
    with pytest.raises(InputError, match="entry 7"):
        compare(events, events, OBSERVABLES, reference_weights=np.where(np.arange(100) == 7, np.nan, 1.0))
    with pytest.raises(ValueError, match="99"):
        compare(events, events, OBSERVABLES, reference_weights=np.ones(99))
    with pytest.raises(RecipeError):
        compare(events, events, {"x": "Tau[0].pt"})


def test_the_report_holds_pictures_verdicts_and_metrics(tmp_path):
    few = {name: OBSERVABLES[name] for name in ("m", "jet_pt", "n")}
    bad = compare(
        dimuons(1000, 1), _shifted(dimuons(800, 2), 1.05), few, train=dimuons(1000, 3), n_jobs=1
    )  # fmt: skip
    path = bad.save(tmp_path / "new" / "report")
    html = path.read_text()
    images = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    assert len(images) >= len(few) + 3
    assert all(base64.b64decode(i).startswith(b"\x89PNG") for i in images)
    assert not re.search(r'(src|href)="(?!data:|#)', html)
    for line in bad.verdicts():
        assert line in html
    for section in ("summary", "one", "two", "correlations", "classifier", "memorisation", "provenance"):
        assert f'<h2 id="{section}">' in html
    written = json.loads((path.parent / "metrics.json").read_text())
    assert written["observables"]["m"]["ks"] == bad.metrics["observables"]["m"]["ks"]
    assert written["provenance"]["versions"]["hepgan"]
    assert {p.name for p in path.parent.iterdir()} == {"report.html", "metrics.json", "histograms.root"}


def test_histograms_come_back_from_root(bad, tmp_path, monkeypatch):
    monkeypatch.setattr(Comparison, "_page", lambda *_: "page")
    bad.save(tmp_path)
    with uproot.open(tmp_path / "histograms.root") as file:
        for name in OBSERVABLES:
            for folder, h in zip(("reference", "generated"), bad.histograms[name], strict=True):
                back = file[f"{folder}/{name}"]
                np.testing.assert_allclose(back.values(flow=True), h.view(flow=True)["value"])
                np.testing.assert_allclose(back.variances(flow=True), h.view(flow=True)["variance"])
                np.testing.assert_allclose(back.axis().edges(), h.axes[0].edges)


def test_an_existing_folder_is_kept_without_force(good, bad, tmp_path, monkeypatch):
    monkeypatch.setattr(Comparison, "_page", lambda *_: "page")
    good.save(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    before = (tmp_path / "metrics.json").read_text()
    with pytest.raises(OutputError, match="not empty"):
        bad.save(tmp_path)
    with pytest.raises(OutputError, match="not empty"):
        claim_report(tmp_path)
    assert (tmp_path / "metrics.json").read_text() == before
    bad.save(tmp_path, force=True)
    assert (tmp_path / "metrics.json").read_text() != before
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_failed_save_leaves_the_old_report_whole(good, tmp_path, monkeypatch):
    monkeypatch.setattr(Comparison, "_page", lambda *_: "page")
    good.save(tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Comparison, "_page", fails)
    with pytest.raises(OutputError, match="No space left"):
        good.save(tmp_path, force=True)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_what_killed_ones_left_is_no_report_and_goes(good, tmp_path, monkeypatch):
    monkeypatch.setattr(Comparison, "_page", lambda *_: "page")
    left = [temporary(tmp_path / name) for name in ("report.html", "histograms.root", "metrics.json")]
    for path in left:
        path.write_text("cut")
    good.save(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["histograms.root", "metrics.json", "report.html"]


def test_of_two_reports_in_one_folder_the_second_is_refused_before_any_work(tmp_path):
    def second() -> str:
        with pytest.raises(OutputError, match="is being written") as refused:
            claim_report(tmp_path / "rep", force=True)
        return str(refused.value)

    with claim_report(tmp_path / "rep"), ThreadPoolExecutor(1) as pool:
        assert "rep" in pool.submit(second).result()
    assert not (tmp_path / "rep").exists()


@pytest.mark.parametrize("kind", ["link", "read-only"])
def test_links_and_read_only_files_are_no_reports_to_replace(tmp_path, kind):
    mine, path = tmp_path / "mine", tmp_path / "rep" / "report.html"
    path.parent.mkdir()
    mine.write_text("precious")
    if kind == "link":
        path.symlink_to(mine)
    else:
        mine.rename(path).chmod(0o400)
    with pytest.raises(OutputError, match=r"symbolic link|read-only"):
        claim_report(path.parent, force=True)
    assert path.read_text() == "precious"


def test_a_file_in_the_way_is_an_output_error(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(OutputError, match="not a folder"):
        claim_report(tmp_path / "taken", force=True)


def test_axes_are_logarithmic_only_where_the_contents_ask_for_it(good):
    assert good.plot("jet_pt").axes[0].get_yscale() == "log"
    assert good.plot("n").axes[0].get_xlim() == (-0.5, 3.5)
    labels = [a.get_xlabel() for a in good.plot("m").axes]
    assert labels[-1] == "$m$ [GeV]"


def test_unknown_names_are_key_errors(good):
    with pytest.raises(KeyError, match="nothing"):
        good.plot("nothing")
    with pytest.raises(KeyError, match="jet_pt"):
        good.plot_2d("m", "jet_pt")
    assert isinstance(good.plot_2d("m", "met").axes[0].get_xlabel(), str)


def test_a_found_range_holds_a_value_at_its_end():
    """A beam energy of exactly 50 GeV must not fall out of bins that end there."""
    energies = np.random.default_rng(0).choice([10.0, 20.0, 50.0], 600)
    events = ak.with_field(dimuons(600, 1), energies + 0.5, "beam_energy")
    observable = Observable("e", "beam_energy - 0.5", unit="GeV")
    reference, _ = compare(events, events, {"e": observable}, classifier=False).histograms["e"]
    assert reference.sum(flow=False).value == 600


def test_of_many_observables_the_worst_are_drawn_and_all_are_in_the_table(bad, tmp_path, monkeypatch):
    monkeypatch.setattr("hepgan.validation.report.MAX_PICTURES", 2)
    bad.save(tmp_path / "report")
    page = (tmp_path / "report/report.html").read_text(encoding="utf-8")
    drawn = re.findall(r'<figure id="plot-(\w+)">', page)
    assert len(drawn) == 2
    assert drawn[0] == "m"
    assert "Pictures of the 2 of 5 observables that differ most" in page
    assert re.findall(r'href="#plot-(\w+)"', page) == drawn
    assert all(re.search(rf"<td>(<a [^>]*>)?{name}\b", page) for name in OBSERVABLES)
    metrics = json.loads((tmp_path / "report/metrics.json").read_text())
    assert set(metrics["observables"]) == set(OBSERVABLES)


def test_work_grows_linearly_with_the_number_of_scalars():
    def calls(number: int) -> int:
        rng = np.random.default_rng(number)
        a, b = (ak.zip({f"x{i}": rng.normal(size=50) for i in range(number)}) for _ in range(2))
        with cProfile.Profile() as profile:
            compare(a, b, classifier=False)
        return sum(part.callcount for part in profile.getstats())

    few, many = calls(30), calls(120)
    assert many < 4.5 * few
