"""Comparisons whose files the workers of a cluster read: the same as one process makes."""

from __future__ import annotations

import json

import awkward as ak
import numpy as np
import pytest
from cli_toys import changed, columns, run, write
from toys import dimuons

from hepgan.errors import InputError, RecipeError
from hepgan.events import read_events, write_events
from hepgan.observables import Observable
from hepgan.validation import compare_files

OBSERVABLES = {
    "m": Observable("m", "(Muon[0] + Muon[1]).mass", range=(60, 120), unit="GeV"),
    "jet_pt": Observable("jet_pt", "Jet.pt", range=(20, 200), unit="GeV"),
    "n": Observable("n", "nJet", range=(0, 3), integer=True),
    "met": Observable("met", "MET.pt", range=(0, 80), unit="GeV"),
}

QUICK = {"classifier": False, "step": 400}


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """Files of weighted events, in several files, of which one has no whole chunks."""
    folder = tmp_path_factory.mktemp("samples")
    for name, seed, sizes in (("true", 1, (900, 650)), ("train", 2, (1300,)), ("made", 3, (700, 401, 399))):
        for k, n in enumerate(sizes):
            write_events(folder / f"{name}{k}.root", dimuons(n, seed=10 * seed + k, weighted=True))
    return folder


def same(one, other) -> None:
    """Both comparisons are the same to the last bit."""
    alike = [json.dumps(c.metrics, sort_keys=True) for c in (one, other)]
    assert alike[0] == alike[1]
    for name, pair in one.histograms.items():
        for a, b in zip(pair, other.histograms[name], strict=True):
            assert np.array_equal(a.view(flow=True), b.view(flow=True)), name
    assert one.tables.keys() == other.tables.keys()
    for label, table in one.tables.items():
        assert np.array_equal(table.values, other.tables[label].values, equal_nan=True)
        assert np.array_equal(table.weights, other.tables[label].weights)


def both(client, *arguments, **options):
    """A comparison that one process makes, and one that the workers of a cluster help with."""
    return compare_files(*arguments, **options), compare_files(*arguments, **options, client=client)


@pytest.mark.parametrize("most", [1_000_000, 300])
def test_workers_gather_the_same_samples(samples, two_workers, most):
    paths = [str(samples / f"{name}*.root") for name in ("true", "made")]
    one, other = both(
        two_workers, *paths, OBSERVABLES, train=str(samples / "train*.root"), max_events=most, **QUICK
    )
    same(one, other)
    kept = one.provenance["generated sample"]["events_for_unbinned_metrics"]
    assert (one.provenance["generated sample"]["events"], kept) == (1500, min(most, 1500))


def test_histograms_do_not_depend_on_what_is_read_at_a_time(samples):
    paths = [str(samples / f"{name}*.root") for name in ("true", "made")]
    whole, parts = (compare_files(*paths, OBSERVABLES, classifier=False, step=step) for step in (10_000, 100))
    for name, (true, made) in whole.histograms.items():
        for a, b in zip((true, made), parts.histograms[name], strict=True):
            np.testing.assert_allclose(a.view(flow=True)["value"], b.view(flow=True)["value"], rtol=1e-12)


def test_features_of_a_model_are_found_by_workers(samples, two_workers, toy_generator):
    paths = [str(samples / f"{name}*.root") for name in ("true", "made")]
    one, other = both(two_workers, *paths, OBSERVABLES, features=toy_generator, **QUICK)
    same(one, other)
    same(one.features.scaled, other.features.scaled)
    for name, pair in one.features.physical.histograms.items():
        for a, b in zip(pair, other.features.physical.histograms[name], strict=True):
            assert np.array_equal(a.view(flow=True), b.view(flow=True))
    assert one.features.lost == other.features.lost


def test_what_is_wrong_in_a_worker_is_told_as_here(samples, two_workers, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "good.root", columns(300, seed=1))
    write(tmp_path / "bad.root", changed("Muon_pt", 250, np.nan))
    found = []
    for client in (None, two_workers):
        with pytest.raises(InputError) as error:
            compare_files("good.root", "bad.root", classifier=False, step=100, client=client)
        found.append(str(error.value))
    assert found[0] == found[1]
    assert found[0].startswith("bad.root:Events, branch Muon_pt, entry 250: ")
    judged = []
    for client in (None, two_workers):
        with pytest.warns(UserWarning, match="judged 1 of 300 events all the same"):
            judged.append(
                compare_files(
                    "good.root", "bad.root", classifier=False, step=100, on_bad="keep", client=client
                )
            )
    same(*judged)
    assert judged[0].provenance["generated faults"] == judged[1].provenance["generated faults"]
    with pytest.raises(InputError, match="client must be a client of Dask"):
        compare_files("good.root", "good.root", client=3)
    wrong = {"x": Observable("x", "Muon[0].nothing", range=(0, 1))}
    with pytest.raises((InputError, RecipeError), match="nothing"):
        compare_files("good.root", "good.root", wrong, client=two_workers)


def test_the_command_lets_a_cluster_read(samples, two_workers, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for k, name in enumerate(("true", "made")):
        write(tmp_path / f"{name}.root", columns(400, seed=k))
    monkeypatch.setattr("hepgan.validation.report.picture", lambda *_, **__: "data:,")
    address = two_workers.scheduler.address
    assert run("validate", "true.root", "made.root", "-o", "here") == 0
    assert run("validate", "true.root", "made.root", "-o", "there", "--scheduler", address) == 0
    found = [json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("here", "there")]
    for one in found:
        one.pop("provenance")
    assert found[0] == found[1]
    assert run("validate", "true.root", "made.root", "-o", "nowhere", "--jobs", "2") == 2
    assert "--jobs goes with --cluster" in capsys.readouterr().err
    assert len(ak.fields(read_events("true.root"))) > 2
