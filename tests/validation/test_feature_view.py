from __future__ import annotations

import json
import re

import awkward as ak
import numpy as np
import pytest
import torch
import uproot
from toys import dimuons

from hepgan.errors import InputError, ModelFileError
from hepgan.events import to_batch, write_events
from hepgan.generator import EventGenerator
from hepgan.validation import compare, compare_files
from hepgan.validation.features import FeatureView

OBSERVABLES = {"met": "MET.pt", "m": "(Muon[0] + Muon[1]).mass"}


def _events(n: int, seed: int) -> ak.Array:
    return dimuons(n, seed, weighted=True)


@pytest.fixture(scope="module")
def wide() -> ak.Array:
    events = _events(900, 3)
    met = ak.with_field(events.MET, events.MET.pt * 2, "pt")
    return ak.with_field(events, met, "MET")


@pytest.fixture(scope="module")
def found(toy_generator, wide):
    return compare(
        _events(900, 2), {"true": _events(900, 4), "wide": wide}, OBSERVABLES, features=toy_generator,
        classifier=False,
    )  # fmt: skip


def test_all_features_are_compared_with_metrics_and_floors(found, toy_generator):
    names = toy_generator.representation.names
    for label in ("true", "wide"):
        metrics = found.metrics[label]["features"]["observables"]
        assert set(metrics) <= set(names)
        assert {"MET.px", "MET.py", "Muon[0].px"} <= set(metrics)
        for name, of in metrics.items():
            assert {"value", "floor", "ratio"} <= set(of["ks"]), name
            assert of["ks"]["floor"] > 0, name
        assert found.metrics[label]["features"]["correlations"]["observables"]
    ks = {
        label: found.metrics[label]["features"]["observables"]["MET.px"]["ks"] for label in ("true", "wide")
    }
    assert ks["true"]["significance"] < 3
    assert ks["wide"]["significance"] > 3


def test_features_are_scaled_and_columns_are_physical(found, toy_generator):
    events = _events(900, 2)
    representation = toy_generator.representation
    x = representation.encode(to_batch(events, representation.schema)).x.numpy()
    weight = ak.to_numpy(events.genWeight)
    i = representation.names.index("MET.px")
    for part, values in ((found.features.scaled, x[:, i]), (found.features.physical, None)):
        h = part.reference["MET.px"]
        if values is None:
            # the azimuth is that of the muon pair, from which phi is measured
            pair = events.Muon[:, 0] + events.Muon[:, 1]
            values = ak.to_numpy(events.MET.pt * np.cos(events.MET.phi - pair.phi))
            assert part.observables["MET.px"].title == "MET.px [GeV]"
        edges = np.concatenate([[-np.inf], h.axes[0].edges, [np.inf]])
        expected = np.histogram(values, edges, weights=weight)[0]
        # numbers next to an edge may fall on its other side by rounding
        np.testing.assert_allclose(h.values(flow=True), expected, atol=2)
        assert h.sum(flow=True).value == pytest.approx(weight.sum())


def test_distances_that_scaling_cannot_change_are_the_same(toy_generator):
    """KS is that of any increasing function of the values."""
    reference, made = _events(400, 2), _events(400, 3)
    comparison = compare(reference, made, {"jet": "Jet[0].pt"}, features=toy_generator, classifier=False)
    physical = comparison.metrics["observables"]["jet"]["ks"]["value"]
    scaled = comparison.metrics["features"]["observables"]["Jet[0].pt"]["ks"]["value"]
    assert scaled == pytest.approx(physical, abs=1e-6)


def test_absent_objects_have_no_features(found):
    events = _events(900, 2)
    there = ak.to_numpy(ak.num(events.Jet) > 0)
    h = found.features.scaled.reference["Jet[0].pt"]
    assert h.sum(flow=True).value == pytest.approx(ak.to_numpy(events.genWeight)[there].sum())


def test_the_report_shows_features_physically_and_scaled(found, tmp_path, monkeypatch):
    titles = []

    def draw(figure, **_):
        titles.append(figure().axes[-1].get_xlabel() if len(titles) < 12 else "")
        return "data:image/png;base64,"

    monkeypatch.setattr("hepgan.validation.report.picture", draw)
    html = found.save(tmp_path / "report").read_text()
    assert '<h2 id="features">' in html
    for name in found.features.scaled.observables:
        figure = re.search(
            f'<figure class="pair" id="feature-{re.escape(name)}">.*?</figure>', html, re.DOTALL
        )
        assert figure[0].count('src="data:image/png') == 2, name
    assert any(t.endswith(", scaled") for t in titles)
    assert "scaled features are as near" in "\n".join(found.all_verdicts()["wide"])
    with uproot.open(tmp_path / "report" / "histograms.root") as file:
        for label in ("reference", "true", "wide"):
            for folder in ("features", "columns"):
                assert file[f"{label}/{folder}/MET.px"].values().sum() > 100
    assert (
        "MET.px"
        in json.loads((tmp_path / "report/metrics.json").read_text())["wide"]["features"]["observables"]
    )
    assert (
        '<h2 id="features">'
        not in compare(_events(300, 1), _events(300, 2), OBSERVABLES, classifier=False)
        .save(tmp_path / "plain")
        .read_text()
    )


def test_files_in_chunks_have_the_features_of_all_events_at_once(toy_generator, tmp_path):
    toy_generator.save(tmp_path / "toy.safetensors")
    reference, made = _events(300, 2), _events(250, 3)
    write_events(tmp_path / "a.root", reference)
    write_events(tmp_path / "b.root", made)
    files, model = (tmp_path / "a.root", tmp_path / "b.root"), tmp_path / "toy.safetensors"
    chunked = compare_files(*files, OBSERVABLES, features=model, step=110, classifier=False)
    assert chunked.features.model.endswith("toy.safetensors")
    whole = compare(reference, made, OBSERVABLES, features=toy_generator, classifier=False)
    for name in ("MET.px", "Jet[0].eta"):
        one, other = (c.features.scaled.histograms[name] for c in (chunked, whole))
        assert one[0].sum(flow=True).value == pytest.approx(other[0].sum(flow=True).value)
        assert one[1].sum(flow=True).value == pytest.approx(other[1].sum(flow=True).value)


def _with_many_jets(events: ak.Array, number: int) -> ak.Array:
    """The first events have more jets than any that the model has seen."""
    many = ak.concatenate([events.Jet] * 7, axis=1)[:, :5]
    few = np.arange(len(events)) >= number
    jets = ak.where(few, events.Jet, ak.with_name(many, "Momentum4D"))
    return ak.with_field(events, jets, "Jet")


def test_events_without_features_are_counted_and_left_out(toy_generator):
    events = _events(400, 3)
    odd = _with_many_jets(events[ak.num(events.Jet) > 0], 4)
    comparison = compare(_events(300, 2), odd, OBSERVABLES, features=toy_generator, classifier=False)
    number, reason = comparison.features.lost["generated"]
    assert number == 4
    assert "Jet" in reason
    assert any(
        line.startswith("4 generated events have no features of toy") for line in comparison.verdicts()
    )
    assert comparison.features.lost["reference"] == (0, "")
    kept = comparison.features.scaled.results["generated"].histograms["MET.px"].sum(flow=True).value
    assert kept == pytest.approx(ak.sum(odd.genWeight[4:]))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_generator_on_a_gpu_is_a_view_too():
    recipe = {
        "name": "toy",
        "model": {"kind": "flow_matching", "network": {"kind": "residual", "width": 8, "blocks": 1}},
        "training": {"steps": 2, "batch_size": 64},
    }
    generator = EventGenerator(recipe).fit(_events(300, 3), device="cuda")
    encoded, (lost, _) = FeatureView(generator).encode(_events(50, 4), "events")
    assert len(encoded) == 50
    assert lost == 0


def test_a_model_for_other_events_is_an_error_that_says_why(toy_generator, tmp_path):
    events = _events(300, 3)
    with_jets = events[ak.num(events.Jet) > 0]
    with pytest.raises(InputError, match=r"events have no features of toy; the first: .*Jet"):
        compare(_events(300, 2), _with_many_jets(with_jets, 99), OBSERVABLES, features=toy_generator)
    # Of a later chunk, too, the entry is that in the file.
    view = FeatureView(toy_generator)
    view.prepare(events, np.ones(300), "events")
    gathered = view.gather("events", seed=0, max_events=1000, groups=False)
    gathered.take(gathered.portion(events, np.ones(300), number=0, before=0))
    later = _with_many_jets(with_jets, 99)
    with pytest.raises(InputError) as found:
        gathered.portion(later, np.ones(len(later)), number=1, before=300)
    assert found.value.entry == 300
    without = events[[f for f in events.fields if f != "Jet"]]
    write_events(tmp_path / "b.root", without)
    write_events(tmp_path / "a.root", events)
    with pytest.raises(InputError, match="model toy needs") as error:
        compare_files(tmp_path / "a.root", tmp_path / "b.root", OBSERVABLES, features=toy_generator)
    assert "b.root" in str(error.value)
    with pytest.raises(ModelFileError):
        FeatureView(tmp_path / "a.root")
