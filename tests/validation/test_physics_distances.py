"""Fréchet and kernel physics distances in comparisons: beside floors, in metrics.json and in the report."""

from __future__ import annotations

import json

import awkward as ak
import numpy as np
import pytest
from click.testing import CliRunner
from shortened import shorten_classifiers
from toys import dimuons

from hepgan import compare, write_events
from hepgan.cli import cli
from hepgan.errors import RecipeError
from hepgan.observables import energy_flow_polynomials
from hepgan.stats.frechet import fpd
from hepgan.validation.verdicts import grade_distance, overall

OBSERVABLES = {"m": "(Muon[0] + Muon[1]).mass", "met": "MET.pt", "jet": "Jet[0].pt"}


def spread(events: ak.Array, factor: float) -> ak.Array:
    return ak.with_field(events, ak.with_field(events.Muon, events.Muon.eta * factor, "eta"), "Muon")


@pytest.fixture(scope="module")
def found():
    samples = {"good": dimuons(800, 2), "wide": spread(dimuons(800, 3), 1.5)}
    options = {"efp": "Muon", "classifier": False}
    return compare(dimuons(1000, 1), samples, OBSERVABLES, train=dimuons(900, 4), **options)


def test_what_is_near_in_observables_and_what_is_far_in_energy_flow_is_told(found):
    good, wide = (found.metrics[label]["physics_distances"] for label in ("good", "wide"))
    assert good["Muon"]["fpd"]["floor"] == wide["Muon"]["fpd"]["floor"]
    assert grade_distance(found.results["good"].distances["Muon"].fpd) == "good"
    assert grade_distance(found.results["wide"].distances["Muon"].fpd) == "poor"
    assert any("energy flow polynomials of Muon" in line for line in found["wide"].verdicts())
    names = [*overall(found.results["good"])]
    assert names[:2] == ["Fréchet physics distance", "kernel physics distance"]
    assert "kernel physics distance, energy flow of Muon" in names


def test_events_that_lack_an_observable_are_told_by_a_feature(found):
    features = found.metrics["good"]["physics_distances"]["observables"]["features"]
    assert features == [*OBSERVABLES, "has jet"]


def test_the_value_is_that_of_the_polynomials(found):
    x, y = (energy_flow_polynomials(dimuons(*part), "Muon")[:, 1:] for part in ((1000, 1), (800, 2)))
    value = found.results["good"].distances["Muon"].fpd.value
    assert fpd(x, y).value == pytest.approx(value, rel=0.5)


def test_the_report_has_them(found, tmp_path):
    found.save(tmp_path / "report")
    page = (tmp_path / "report" / "report.html").read_text()
    assert "Fréchet physics distance, energy flow of Muon" in page
    numbers = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert np.isfinite(numbers["good"]["physics_distances"]["Muon"]["kpd"]["value"])


def test_few_events_are_not_judged():
    found = compare(dimuons(1000, 1), dimuons(60, 2), OBSERVABLES, classifier=False)
    assert "needs 100 events" in found.metrics["skipped"]["physics distances in observables"]


def test_objects_that_are_not_there_are_one_error_before_any_work(tmp_path):
    with pytest.raises(RecipeError, match="unknown name 'Muons'"):
        compare(dimuons(300, 1), dimuons(300, 2), OBSERVABLES, efp="Muons")
    for seed in (1, 2):
        write_events(tmp_path / f"{seed}.root", dimuons(300, seed))
    files = [str(tmp_path / f"{seed}.root") for seed in (1, 2)]
    run = CliRunner().invoke(cli, ["validate", *files, "-o", str(tmp_path / "out"), "--efp", "MET.pt"])
    assert isinstance(run.exception, RecipeError | SystemExit)
    assert not (tmp_path / "out" / "metrics.json").exists()


@pytest.mark.usefixtures("_reports_without_pictures")
def test_files_are_read_as_far_as_the_polynomials_need(tmp_path, monkeypatch):
    shorten_classifiers(monkeypatch)
    for seed in (1, 2):
        write_events(tmp_path / f"{seed}.root", dimuons(300, seed))
    files = [str(tmp_path / f"{seed}.root") for seed in (1, 2)]
    out = tmp_path / "out"
    run = CliRunner().invoke(cli, ["validate", *files, "-o", str(out), "--efp", "Jet"])
    assert run.exit_code == 0, run.output
    assert "energy flow polynomials of Jet" in run.output
    assert "Jet" in json.loads((out / "metrics.json").read_text())["physics_distances"]
