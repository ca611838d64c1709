from __future__ import annotations

import pickle
import shutil
import uuid
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import awkward as ak
import hist
import numpy as np
import pytest
import uproot
from coffea import processor
from coffea.nanoevents import NanoEventsFactory
from toys import dimuons

from hepgan.coffea import ComparisonProcessor, HepganSchema, run_comparison, to_nanoevents
from hepgan.errors import InputError, RecipeError
from hepgan.events import read_events, write_events
from hepgan.observables import Observable
from hepgan.validation import compare

OBSERVABLES = {
    "m": Observable("m", "(Muon[0] + Muon[1]).mass", range=(60, 120), unit="GeV"),
    "jet_pt": Observable("jet_pt", "Jet.pt", range=(20, 200), unit="GeV"),
    "lead": Observable("lead", "Jet[0].pt", range=(20, 200), unit="GeV"),
    "n": Observable("n", "nJet", range=(0, 3), integer=True),
    "mt": Observable("mt", "transverse_mass(Muon[0], MET)", range=(0, 150), unit="GeV"),
    "w": Observable("w", "Jet.eta", range=(-4, 4), weight="Jet.pt / 64 + 0 * Muon[0].pt"),
    "npv": Observable("npv", "npv", range=(0, 60), integer=True),
}

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("samples")
    write_events(folder / "reference.root", dimuons(2500, 1, weighted=True))
    write_events(folder / "generated.root", dimuons(1500, 2, weighted=True))
    return folder / "reference.root", folder / "generated.root"


@pytest.fixture(scope="module")
def expected(files):
    return compare(read_events(files[0]), read_events(files[1]), OBSERVABLES, classifier=False)


@pytest.mark.parametrize("elsewhere", [False, True])
def test_histograms_and_chi2_are_those_of_compare(files, expected, elsewhere):
    if elsewhere:
        # One process for all steps, which has the modules already.
        with ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool:
            executor = processor.FuturesExecutor(pool=pool, status=False)
            found = run_comparison(*files, OBSERVABLES, executor=executor, step=1000)
    else:
        found = run_comparison(*files, OBSERVABLES, step=1000)
    for name in OBSERVABLES:
        for one, other in zip(found.histograms[name], expected.histograms[name], strict=True):
            if name == "w":  # its sums are rounded, in another order
                for part in ("value", "variance"):
                    np.testing.assert_allclose(one.view(flow=True)[part], other.view(flow=True)[part])
                continue
            assert one == other, name
        chi2, wanted = (c.metrics["observables"][name]["chi2"] for c in (found, expected))
        assert chi2["value"] == pytest.approx(wanted["value"], rel=1e-9)
        assert chi2["p_value"] == pytest.approx(wanted["p_value"], rel=1e-6)
        assert 0 < chi2["floor"] == pytest.approx(1.0, abs=3 * np.sqrt(2 / chi2["ndf"]))
    assert found.histograms["n"][0].sum(flow=True).value < 2500  # the weights are not all 1
    assert found.provenance["reference sample"]["events"] == 2500


def test_floors_do_not_depend_on_where_files_lie(files, tmp_path):
    copies = [shutil.copy(file, tmp_path) for file in files]
    some = {name: OBSERVABLES[name] for name in ("m", "w")}
    found, again = (run_comparison(*pair, some, step=1000) for pair in (files, copies))
    assert again.metrics["observables"] == found.metrics["observables"]
    less = run_comparison(*files, {"m": OBSERVABLES["m"]}, step=1000).metrics["observables"]
    assert less["m"]["chi2"]["floor"] == found.metrics["observables"]["m"]["chi2"]["floor"]
    other = run_comparison(*files, {"m": OBSERVABLES["m"]}, step=1000, seed=1).metrics["observables"]
    assert other["m"]["chi2"]["floor"] != found.metrics["observables"]["m"]["chi2"]["floor"]


def test_the_processor_holds_text_and_numbers_only():
    work = ComparisonProcessor(OBSERVABLES, weight="genWeight")
    back = pickle.loads(pickle.dumps(work))
    assert {n: o.expression for n, o in back.observables.items()} == {
        n: o.expression for n, o in OBSERVABLES.items()
    }
    with pytest.raises(RecipeError, match="function"):
        ComparisonProcessor({"f": Observable("f", function=lambda events: events.MET.pt, range=(0, 1))})
    with pytest.raises(ValueError, match="no range"):
        ComparisonProcessor({"m": "(Muon[0] + Muon[1]).mass"})


def test_a_rewritten_file_is_read_anew(tmp_path):
    for size in (300, 200):
        write_events(tmp_path / "a.root", dimuons(size, size), force=True)
        found = run_comparison(tmp_path / "a.root", tmp_path / "a.root", {"n": OBSERVABLES["n"]})
        assert found.provenance["generated sample"]["events"] == size


def test_scalars_with_an_underscore_are_found(tmp_path):
    rng = np.random.default_rng(0)
    n = 200
    with uproot.recreate(tmp_path / "dis.root") as file:
        names = ("px", "py", "pz", "energy")
        columns = {f"Electron_{c}": rng.uniform(1, 5, n).astype("f4") for c in names}
        columns["Electron_energy"] += np.float32(10)
        columns["beam_energy"] = rng.choice([10.0, 50.0], n).astype("f4")
        file.mktree("Events", {k: v.dtype for k, v in columns.items()})
        file["Events"].extend(columns)
    observables = {"y": Observable("y", "Electron.energy / beam_energy", range=(0, 1))}
    found = run_comparison(tmp_path / "dis.root", tmp_path / "dis.root", observables)
    expected = hist.Hist(observables["y"].axis(), storage=hist.storage.Weight())
    expected.fill(columns["Electron_energy"].astype(float) / columns["beam_energy"])
    assert found.histograms["y"][0].view(flow=True).tolist() == expected.view(flow=True).tolist()


def test_an_output_without_reference_is_refused(files):
    work = ComparisonProcessor(OBSERVABLES)
    with pytest.raises(InputError, match="'reference'"):
        work.comparison({"generated": {"histograms": {}, "events": 0, "sum_of_weights": 0.0}})


def test_a_missing_weight_is_an_input_error():
    work = ComparisonProcessor(OBSERVABLES, weight="nothing")
    with pytest.raises(InputError, match="nothing"):
        work.process(to_nanoevents(dimuons(50, 1), metadata={"dataset": "generated"}))


def test_events_in_memory_are_those_of_the_file(files):
    events = read_events(files[1])
    memory = to_nanoevents(events)
    file = NanoEventsFactory.from_root({str(files[1]): "Events"}, schemaclass=HepganSchema).events()
    assert set(memory.fields) >= {"Muon", "Jet", "MET", "npv", "genWeight"}
    for name in ("pt", "eta", "phi", "mass", "charge"):
        assert ak.array_equal(memory.Muon[name], ak.materialize(file.Muon[name]), check_parameters=False)
    pair = memory.Muon[:, 0] + memory.Muon[:, 1]
    np.testing.assert_allclose(pair.mass, (events.Muon[:, 0] + events.Muon[:, 1]).mass, rtol=1e-3)
    assert ak.all(pair.charge == 0)
    assert ak.all(memory.Muon.nearest(memory.Jet).pt >= 20)
    ComparisonProcessor(OBSERVABLES).process(memory)


def _preloaded(columns: dict[str, ak.Array], size: int) -> ak.Array:
    from coffea.nanoevents.mapping import SimplePreloadedColumnSource

    source = SimplePreloadedColumnSource(columns, uuid.uuid4(), size, "/Events")
    return NanoEventsFactory.from_preloaded(source, schemaclass=HepganSchema).events()


def test_collections_get_the_behaviour_that_their_fields_allow():
    numbers = ak.Array([[1.0, 2.0], [3.0]])
    four = {f"Electron_{c}": numbers for c in ("px", "py", "pz")} | {"Electron_energy": 4 * numbers}
    polar = {f"Muon_{c}": numbers for c in ("pt", "eta", "phi", "mass")}
    flat = {"PV_npvs": ak.Array([3, 4]), "MET_pt": ak.Array([1.0, 2.0])}
    jets = {f"Jet_{c}": numbers for c in ("pt", "eta", "phi", "mass", "charge")}
    counts = {f"n{n}": ak.Array(np.array([2, 1], np.int32)) for n in ("Electron", "Muon", "Jet")}
    events = _preloaded({**four, **polar, **flat, **jets, **counts}, 2)
    np.testing.assert_allclose(ak.flatten(events.Electron.mass), np.sqrt(13) * np.array([1, 2, 3]), rtol=1e-6)
    assert len((events.Muon[:, 0] + events.Muon[:, 0]).mass) == 2
    assert events.PV.npvs.tolist() == [3, 4]
    # coffea's own schema would replace a jet's charge by 0
    assert events.Jet.charge.tolist() == numbers.tolist()
