"""Every sample comes back as it was: values, branches, types and titles."""

from __future__ import annotations

import warnings
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot

from hepgan.events import fileset, infer_schema, read_events, schema_of, to_awkward, to_batch, write_events

FIRST = 20_000
PAIRS = ("ee_partons", "zmumu", "drell_yan", "wz", "jet_images")
SAMPLES = (
    *(f"{sample}_{part}" for sample in PAIRS for part in ("train", "test")),
    *("dis_train", "dis_test_trained_energies", "dis_test_new_energies"),
    *("fatgan/fatgan_50gev", *(f"fatgan/cfatgan_{e}gev" for e in (10, 20, 30, 40, 50))),
    *("real/uproot-Zmumu", "real/Run2012BC_DoubleMuParked_Muons_1000evts_rntuple_v1-0-0-0"),
)
SOME = ("zmumu_test", "ee_partons_test", "real/uproot-Zmumu", "fatgan/cfatgan_10gev")
NANOAOD = ["Jet", "Muon_p*", "Muon_*Id", "MET", "SV", "LHEPdfWeight", "HTXS", "Flag_*Filter"]


def same(a: ak.Array, b: ak.Array) -> bool:
    return a.fields == b.fields and all(ak.array_equal(a[n], b[n], equal_nan=True) for n in a.fields)


@pytest.mark.parametrize("name", SAMPLES)
def test_samples_come_back_as_trees(shared_data: Path, tmp_path, name):
    source = shared_data / f"{name}.root"
    events = read_events(source, entry_stop=FIRST)
    path = write_events(tmp_path / "out.root", events)
    again = read_events(path)
    assert same(again, events)
    assert schema_of(again) == schema_of(events)
    tree = schema_of(events).tree
    with uproot.open(source) as before, uproot.open(path) as after:
        old, new = before[tree], after[tree]
        if "RNTuple" in before.classnames(cycle=False)[tree]:
            return
        assert set(new.keys()) == set(old.keys())
        for key in old.keys():  # noqa: SIM118
            assert (new[key].typename, new[key].title) == (old[key].typename, old[key].title)
            there = old[key].array(entry_stop=FIRST)
            assert ak.array_equal(new[key].array(), there)


@pytest.mark.parametrize("format", ["rntuple", "parquet"])
@pytest.mark.parametrize("name", SOME)
def test_samples_come_back_in_other_formats(shared_data: Path, tmp_path, name, format):
    events = read_events(shared_data / f"{name}.root", entry_stop=FIRST)
    path = write_events(tmp_path / ("a.parquet" if format == "parquet" else "a.root"), events, format=format)
    again = read_events(path)
    assert same(again, events)
    assert schema_of(again) == schema_of(events)


@pytest.mark.parametrize("name", SAMPLES)
def test_samples_come_back_from_tensors(shared_data: Path, name):
    events = read_events(shared_data / f"{name}.root", entry_stop=FIRST)
    again = to_awkward(to_batch(events))
    assert all(ak.array_equal(again[n], events[n]) for n in again.fields)
    assert {*again.fields} | {f.name for f in schema_of(events).identifiers} == {*events.fields}


def test_a_part_of_nanoaod_comes_back_and_is_read_by_nanoaodschema(shared_data: Path, tmp_path):
    from coffea.nanoevents import NanoAODSchema, NanoEventsFactory

    source = shared_data / "real" / "nano_dy.root"
    events = read_events(source, branches=NANOAOD, on_bad="keep")
    path = write_events(tmp_path / "out.root", events, check=False)
    again = read_events(path, on_bad="keep")
    assert same(again, events)
    with uproot.open(source) as before, uproot.open(path) as after:
        for key, branch in after["Events"].items():
            old = before["Events"][key]
            assert branch.typename == old.typename
            assert branch.title == old.title or old.title == ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        factory = NanoEventsFactory.from_root({str(path): "Events"}, schemaclass=NanoAODSchema, mode="eager")
        nano = factory.events()
        assert ak.array_equal(nano.Jet.pt, events.Jet.pt, check_parameters=False)
        assert ak.array_equal(nano.event, events.event, check_parameters=False)
        there, here = (ak.to_numpy(ak.flatten(e.Jet.energy)) for e in (nano, events))
        assert np.allclose(there, here)


def test_all_of_nanoaod_is_understood(shared_data: Path):
    events = read_events(shared_data / "real" / "nano_dy.root", on_bad="keep")
    schema = schema_of(events)
    branches = [b for c in schema.collections for f in c.fields for b in f.branches]
    branches += [c.counter for c in schema.collections if c.counter]
    branches += [f.branch for f in (*schema.scalars, *schema.identifiers)]
    with uproot.open(f"{shared_data}/real/nano_dy.root:Events") as tree:
        assert sorted(branches) == sorted(tree.keys())
    assert len(branches) == 1499
    assert schema.weight == "genWeight"
    assert schema.collection("LHEPdfWeight").field_names == ("value",)


@pytest.mark.parametrize("format", ["ttree", "rntuple"])
def test_written_samples_are_read_by_nanoaodschema(shared_data: Path, tmp_path, format):
    from coffea.nanoevents import NanoAODSchema, NanoEventsFactory

    events = read_events(shared_data / "zmumu_test.root", entry_stop=5000, branches=["Muon", "Jet", "MET"])
    path = write_events(tmp_path / "out.root", events, identifiers=True, weight=True, format=format)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        factory = NanoEventsFactory.from_root(
            {str(path): "Events"}, schemaclass=NanoAODSchema, mode="virtual"
        )
        nano = factory.events()
        mass = ak.to_numpy((nano.Muon[:, 0] + nano.Muon[:, 1]).mass)
        expected = ak.to_numpy((events.Muon[:, 0] + events.Muon[:, 1]).mass)
        assert np.median(np.abs(mass / expected - 1)) < 1e-4
        for name in ("pt", "charge", "isoCh"):
            assert ak.array_equal(ak.materialize(nano.Muon[name]), events.Muon[name], check_parameters=False)
        assert ak.to_list(nano.event[:3]) == [1, 2, 3]
    assert fileset(path)["events"]["files"][str(path)]["num_entries"] == 5000


def test_kinds_of_the_samples_are_as_their_physics(shared_data: Path):
    partons = infer_schema(shared_data / "ee_partons_test.root").collection("Parton")
    assert partons.field("mass").values == tuple(float(np.float32(m)) for m in (0, 0.33, 0.5, 1.5, 4.8))
    assert partons.field("pdgId").values == (-5, -4, -3, -2, -1, 1, 2, 3, 4, 5, 21)
    assert (partons.min_count, partons.max_count) == (2, 8)
    muons = infer_schema(shared_data / "zmumu_test.root").collection("Muon")
    spikes = {f.name: f.atoms for f in muons.fields if f.atoms}
    assert spikes == dict.fromkeys(("isoCh", "isoPh", "isoNh"), (0.0,))
    assert muons.field("charge").values == (-1, 1)
    assert muons.fixed
    beam = infer_schema(shared_data / "dis_train.root").scalar("beam_energy")
    assert (beam.kind, beam.atoms, beam.low, beam.high) == ("continuous", (), 10.0, 50.0)
    real = infer_schema(shared_data / "real" / "uproot-Zmumu.root")
    assert real.collection("Particle").layout == "indexed"
    assert [f.branch for f in real.identifiers] == ["Run", "Event"]
