"""Histograms and metrics of observables with several, or weighted, values an event."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest
from toys import dimuons

from hepgan.errors import InputError
from hepgan.observables import Observable
from hepgan.validation import compare
from hepgan.validation.histograms import empty_histogram, fill, flat_values, per_event
from hepgan.validation.samples import SampleBuilder

PT = Observable("pt", "Muon.pt", range=(0, 100))
WEIGHTED = Observable("w", "Muon.eta", bins=12, range=(-3, 3), weight="Muon.pt / sum(Muon.pt)")


def by_events(observable, events, weights):
    """Sums over events of each event's contents and of their squares, one event at a time."""
    axis = observable.axis()
    edges = np.concatenate([[-np.inf], axis.edges, [np.inf]])
    flat = observable.flat(events)
    own = np.ones(len(flat.values)) if flat.weight is None else flat.weight
    contents = np.zeros((len(events), axis.extent))
    for value, event, weight in zip(flat.values, flat.index, own, strict=True):
        contents[event, np.searchsorted(edges, value, side="right") - 1] += weights[event] * weight
    return contents


@pytest.mark.parametrize("observable", [PT, WEIGHTED], ids=lambda o: o.name)
def test_variances_are_sums_over_events_of_squared_sums(observable):
    events = dimuons(400, seed=3, weighted=True)
    weights = np.asarray(events.genWeight, dtype=float)
    group = np.arange(len(events)) % 10
    histogram, groups = empty_histogram(observable), empty_histogram(observable, 10)
    assert fill(flat_values(observable, events), weights, histogram, groups, group) == 0
    contents = by_events(observable, events, weights)
    view = histogram.view(flow=True)
    np.testing.assert_allclose(view["value"], contents.sum(0), atol=1e-9)
    np.testing.assert_allclose(view["variance"], (contents**2).sum(0), atol=1e-9)
    for g in range(10):
        part = groups.view(flow=True)[g]
        np.testing.assert_allclose(part["value"], contents[group == g].sum(0), atol=1e-9)
        np.testing.assert_allclose(part["variance"], (contents[group == g] ** 2).sum(0), atol=1e-9)


def test_a_weighted_histogram_is_a_mean_over_events_with_its_standard_error():
    rng = np.random.default_rng(5)
    means = []
    for seed in rng.integers(10**6, size=80):
        events = dimuons(60, seed=int(seed))
        h = SampleBuilder(_schema(events), {"w": WEIGHTED})
        h.begin(events)
        h.take(h.portion(events))
        means.append(h.finish().histograms["w"].view(flow=True))
    values = np.array([m["value"] for m in means])
    np.testing.assert_allclose(values.sum(1), 1, rtol=1e-6)  # each event's weights sum to 1
    filled = values.mean(0) > 0.02
    errors = np.sqrt(np.mean([m["variance"] for m in means], axis=0))
    np.testing.assert_allclose(errors[filled], values.std(0)[filled], rtol=0.3)


def _schema(events):
    from hepgan.events import schema_of

    return schema_of(events)


def test_what_all_events_have_in_common_has_no_variance():
    constant = Observable("c", "Muon.eta * 0", range=(-1, 1), weight="1 / count(Muon) + 0 * Muon.pt")
    events = dimuons(50, seed=1)
    histogram = empty_histogram(constant)
    weights = np.ones(len(events))
    fill(flat_values(constant, events), weights, histogram)
    whole, _ = per_event({"c": constant}, {"c": histogram}, {}, np.array([[len(events)], [len(events)]]))
    view = whole["c"].view()
    assert view["value"].sum() == pytest.approx(1)
    assert view["variance"].max() < 1e-11


def test_chi2_between_samples_of_one_distribution_is_that_of_its_floor():
    found = compare(
        dimuons(4000, seed=1), dimuons(4000, seed=2), {"w": WEIGHTED, "pt": PT}, classifier=False
    ).metrics["observables"]
    for name in ("w", "pt"):
        assert 0.3 < found[name]["chi2"]["value"] < 2.2
        assert found[name]["chi2"]["floor"] == pytest.approx(1, abs=0.5)
        assert found[name]["ks"]["value"] < 0.05


def test_a_wrong_integral_is_seen_where_the_shape_is_right():
    reference, same = dimuons(3000, seed=1), dimuons(3000, seed=2)
    lost = Observable("w", WEIGHTED.expression, range=(-3, 3), bins=12, weight="Muon.pt / 100")
    softer = ak.with_field(same, ak.with_field(same.Muon, same.Muon.pt * 0.8, "pt"), "Muon")
    found = compare(reference, {"same": same, "softer": softer}, {"w": lost}, classifier=False)
    chi2 = {label: m["observables"]["w"]["chi2"]["value"] for label, m in found.metrics.items()}
    assert chi2["same"] < 2.5
    assert chi2["softer"] > 8
    h_true, h_same, h_softer = found.histograms["w"]
    expected = ak.mean(ak.sum(reference.Muon.pt, axis=1)) / 100
    assert h_true.view(flow=True)["value"].sum() == pytest.approx(expected)
    assert h_softer.view(flow=True)["value"].sum() == pytest.approx(
        0.8 * h_same.view(flow=True)["value"].sum()
    )
    pulls = found.results["softer"].pulls["w"]
    assert np.nanmean(pulls) < -3


def test_distances_use_the_full_weights():
    events = dimuons(2000, seed=1)
    reference = dimuons(2000, seed=2)
    plain = Observable("w", "Muon.pt", range=(0, 100))
    tilted = Observable("w", "Muon.pt", range=(0, 100), weight="Muon.pt > 40")
    found = {
        n: compare(
            reference, events[np.asarray(ak.max(events.Muon.pt, axis=1) < 45)], {"w": o}, classifier=False
        )
        for n, o in (("plain", plain), ("tilted", tilted))
    }
    ks = {n: c.metrics["observables"]["w"]["ks"]["value"] for n, c in found.items()}
    pt = np.concatenate([reference.Muon.pt[:, 0], reference.Muon.pt[:, 1]])
    above = pt[pt > 40]
    # above 40 the cut sample has no muons from 45 on
    assert ks["tilted"] == pytest.approx(np.mean(above >= 45), abs=0.1)
    assert ks["tilted"] > 1.5 * ks["plain"]


def test_weights_of_both_signs_have_a_chi2_but_no_distances():
    signed = Observable("w", "Muon.eta", bins=12, range=(-3, 3), weight="sign(Muon.pt - 30)")
    found = compare(dimuons(500, seed=1), dimuons(500, seed=2), {"w": signed, "pt": PT}, classifier=False)
    metrics = found.metrics["observables"]["w"]
    assert metrics["ks"]["value"] is None
    assert metrics["wasserstein"]["value"] is None
    assert 0 < metrics["chi2"]["value"] < 4
    assert found.metrics["observables"]["pt"]["ks"]["value"] > 0
    assert found.verdicts()


def test_weights_of_a_sample_that_is_not_there_are_refused():
    events = dimuons(100, seed=1)
    with pytest.raises(ValueError, match="no sample 'b'; there are a"):
        compare(events, {"a": events}, {"pt": PT}, generated_weights={"b": np.ones(100)}, classifier=False)


def test_weighted_observables_are_drawn_per_event_and_are_no_columns():
    found = compare(
        dimuons(500, seed=1), dimuons(500, seed=2), {"w": WEIGHTED, "m": "(Muon[0] + Muon[1]).mass"}
    )
    figure = found.plot("w")
    assert figure.axes[0].get_ylabel().startswith("Weight per event")
    assert all("w" not in t.names for t in found.tables.values())


def test_errors_name_the_event_by_its_number_in_all_chunks():
    events = dimuons(50, seed=6)
    builder = SampleBuilder(_schema(events), {"pt": PT}, source="events.root")
    builder.begin(events)
    builder.take(builder.portion(events, np.ones(50)))
    weights = np.ones(50)
    weights[7] = np.nan
    with pytest.raises(InputError, match="not finite") as error:
        builder.portion(events, weights, number=1, before=50)
    assert (error.value.entry, error.value.file) == (57, "events.root")
