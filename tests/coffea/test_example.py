from __future__ import annotations

import importlib.util
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
from coffea import processor
from coffea.nanoevents import NanoAODSchema
from toys import dimuons

from hepgan.coffea import HepganSchema, to_nanoevents
from hepgan.events import read_events, write_events


@pytest.fixture(scope="module")
def example():
    path = Path(__file__).resolve().parents[2] / "examples" / "nanoaod_processor.py"
    spec = importlib.util.spec_from_file_location("nanoaod_processor", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _quiet(schema):
    """A schema without its warnings on a cut-down file."""
    return type("Quiet", (schema,), {"warn_missing_crossrefs": False})


Quiet = _quiet(NanoAODSchema)


def _expected(events):
    """The same analysis with vector's behaviours."""
    muons = events.Muon[(events.Muon.pt > 15) & (abs(events.Muon.eta) < 2.4)]
    muons = muons[(ak.num(muons) == 2) & (ak.sum(muons.charge, axis=1) == 0)]
    return (muons[:, 0] + muons[:, 1]).mass


def test_a_users_processor_runs_unchanged_on_written_events(example, tmp_path):
    write_events(tmp_path / "generated.root", dimuons(1500, 1), identifiers=True)
    events = read_events(tmp_path / "generated.root")
    files = {"generated": [str(tmp_path / "generated.root")]}
    found = example.analyse(files, processor.IterativeExecutor(status=False), Quiet)["generated"]
    mass = ak.to_numpy(_expected(events))
    assert found["events"] == 1500
    assert found["pairs"] == len(mass) > 500
    counts = np.histogram(mass, np.linspace(60, 120, 61))[0]
    assert np.abs(found["histograms"]["mass"].values() - counts).sum() <= 2  # float32 at bin edges


def test_a_users_processor_runs_unchanged_on_events_in_memory(example, tmp_path):
    write_events(tmp_path / "generated.root", dimuons(800, 2), identifiers=True)
    events = read_events(tmp_path / "generated.root")
    memory = to_nanoevents(events, metadata={"dataset": "generated"})
    found = example.DimuonProcessor().process(memory)["generated"]
    assert found["pairs"] == len(_expected(events))


@pytest.mark.parametrize("schema", [NanoAODSchema, HepganSchema])
def test_events_in_memory_need_no_identifiers_of_their_own(example, schema):
    events = dimuons(1500, 2)
    memory = to_nanoevents(events, schemaclass=_quiet(schema), metadata={"dataset": "generated"})
    assert example.DimuonProcessor().process(memory)["generated"]["pairs"] == len(_expected(events))
    assert memory.luminosityBlock.to_list() == [1] * 1000 + [2] * 500
    assert memory.event.to_list() == list(range(1, 1501))


@pytest.mark.filterwarnings("ignore:Branch Photon_:RuntimeWarning")
def test_the_same_processor_runs_on_cms_nanoaod_and_generated_z_bosons(example, shared_data, tmp_path):
    events = read_events(shared_data / "zmumu_test.root", entry_stop=3000)
    write_events(tmp_path / "generated.root", events, identifiers=True)
    files = {
        "real": [str(shared_data / "real" / "nano_dy.root")],
        "generated": [str(tmp_path / "generated.root")],
    }
    real = example.analyse({"real": files["real"]}, schema=Quiet)["real"]
    made = example.analyse({"generated": files["generated"]}, schema=Quiet)["generated"]
    assert real["events"] == 40
    assert real["in_window"] >= 1
    assert made["pairs"] == len(_expected(events))
    peak = made["histograms"]["mass"]
    assert abs(peak.axes[0].centers[np.argmax(peak.values())] - 91) <= 1.5
