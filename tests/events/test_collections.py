"""Files of many experiments: which lists and numbers are one object, what counts them, how they come back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot

from hepgan.errors import InputError
from hepgan.events import EventSchema, as_events, read_events, schema_of, select, write_events
from hepgan.events.nanoaod import is_nanoaod

N = 500
RNG = np.random.default_rng(11)
MANY, FEW = RNG.poisson(3, N), RNG.poisson(1, N)
ONE = np.ones(N, np.int64)
Columns = dict[str, Any]


def lists(counts: np.ndarray = MANY) -> ak.Array:
    return ak.values_astype(ak.unflatten(RNG.uniform(0.5, 3, int(counts.sum())), counts), np.float32)


def some(pattern: str, names: str, counts: np.ndarray | None = MANY) -> Columns:
    """Lists with these lengths, or numbers, called by a pattern of names."""
    return {pattern.format(n): number() if counts is None else lists(counts) for n in names.split()}


def number() -> np.ndarray:
    return RNG.uniform(0.5, 3, N).astype(np.float32)


def whole(values: np.ndarray) -> np.ndarray:
    return values.astype(np.int32)


def tree(path: Path, data: Columns, counter: Callable[[str], str] | None = None, name: str = "tree") -> str:
    """Writes a TTree; each list gets a counter of its own, as uproot does it, if no other is told."""
    types = {
        k: f"var * {v.type.content.content}" if isinstance(v, ak.Array) else v.dtype for k, v in data.items()
    }
    with uproot.recreate(path) as file:
        file.mktree(name, types, counter_name=counter or (lambda branch: f"n{branch}"))
        file[name].extend(data)
    return f"{path}:{name}"


def ntuple(path: Path, data: Any, name: str = "tree") -> str:
    """Writes an RNTuple, where nothing tells what counts lists."""
    with uproot.recreate(path) as file:
        file.mkrntuple(name, data)
    return f"{path}:{name}"


def found(schema: EventSchema) -> dict[str, tuple[str, ...]]:
    return {c.name: c.field_names for c in schema.collections}


LAYOUTS: dict[str, tuple[Columns, dict[str, set[str]], set[str]]] = {
    "lists of other lengths under one prefix": (
        some("rec_part_{}", "px py pz") | some("rec_part_track_{}", "D0 Z0", FEW) | {"evt": number()},
        {"rec_part": {"px", "py", "pz"}, "rec_part_track": {"D0", "Z0"}},
        {"evt"},
    ),
    "easyjet": (
        some("offline_akt4_pf_{}_NOSYS", "pt eta phi m")
        | some("offline_pv_{}", "x y", FEW)
        | {"offline_njets": whole(MANY // 2)},
        {"offline_akt4_pf": {"pt", "eta", "phi", "mass"}, "offline_pv": {"x", "y"}},
        {"offline_njets"},
    ),
    "one list of other lengths": (
        some("reco_beam_calo_{}", "X Y Z") | some("reco_beam_dQdX_{}", "SCE", FEW),
        {"reco_beam_calo": {"X", "Y", "Z"}, "reco_beam_dQdX": {"SCE"}},
        set(),
    ),
    "prefixes of the same lengths": (
        some("reco_el_{}", "pt eta phi", ONE) | some("reco_mu_{}", "pt eta phi", ONE),
        {"reco_el": {"pt", "eta", "phi"}, "reco_mu": {"pt", "eta", "phi"}},
        set(),
    ),
    "other prefixes of the same lengths": (
        some("Jet_{}", "pt eta phi") | some("Tag_{}", "a b"),
        {"Jet": {"pt", "eta", "phi"}, "Tag": {"a", "b"}},
        set(),
    ),
    "number of selected jets": (
        {"nJets": whole(MANY // 2), "NJet": whole(MANY // 3)} | some("Jet_{}", "pt eta phi mass"),
        {"Jet": {"pt", "eta", "phi", "mass"}},
        {"nJets", "NJet"},
    ),
    "a number of any name that counts": (
        {"multiplicity": whole(MANY), "nJets": whole(MANY // 2)} | some("Jets_{}", "pt eta phi mass"),
        {"Jets": {"pt", "eta", "phi", "mass"}},
        {"nJets"},
    ),
    "Delphes": (
        some("Jet.{}", "PT Eta Phi Mass BTag")
        | some("MissingET.{}", "MET Phi", ONE)
        | {"Jet_size": whole(MANY)},
        {"Jet": {"pt", "eta", "phi", "mass", "BTag"}, "MissingET": {"pt", "phi"}},
        set(),
    ),
    "PHYSLITE": (
        some("AnalysisJetsAuxDyn.{}", "pt eta phi m") | some("AnalysisMuonsAuxDyn.{}", "pt eta phi", FEW),
        {"Jets": {"pt", "eta", "phi", "mass"}, "Muons": {"pt", "eta", "phi"}},
        set(),
    ),
    "PHYSLITE with colons": (
        some("AnalysisJetsAuxDyn:{}", "pt eta phi m") | some("METAuxDyn:{}", "mpx mpy sumet", ONE),
        {"Jets": {"pt", "eta", "phi", "mass"}, "MET": {"px", "py", "sumet"}},
        set(),
    ),
    "podio": (
        some("Jet.momentum.{}", "x y z") | some("Jet.{}", "mass energy") | some("Track.{}", "d0", FEW),
        {"Jet": {"px", "py", "pz", "mass", "energy"}, "Track": {"d0"}},
        set(),
    ),
    "TreeMaker": (
        some("Jets/Jets.fCoordinates.{}", "fPt fEta fPhi fE")
        | some("Jets_{}", "tag")
        | some("{}", "MET METPhi HT", None),
        {"Jets": {"pt", "eta", "phi", "energy", "tag"}, "MET": {"pt", "phi"}},
        {"HT"},
    ),
    "LHCb": (
        some("muplus_{}", "PX PY PZ PE P PT ETA PHI M ProbNNmu", None)
        | some("K_plus_{}", "PX PY PZ PE", None)
        | {"nTracks": whole(MANY)},
        {
            "muplus": {"px", "py", "pz", "energy", "p", "pt", "eta", "phi", "mass", "ProbNNmu"},
            "K_plus": {"px", "py", "pz", "energy"},
        },
        {"nTracks"},
    ),
    "fields before objects": (
        some("{}_h1", "pT eta phi m", None)
        | some("{}_h2", "pT eta phi m", None)
        | some("{}_jet", "pt eta phi btag")
        | some("{}_tau", "pt eta phi charge", None),
        {
            "H": {"pt", "eta", "phi", "mass"},
            "jet": {"pt", "eta", "phi", "btag"},
            "tau": {"pt", "eta", "phi", "charge"},
        },
        set(),
    ),
    "capitals and no separators": (
        some("jet{}", "Pt Eta Phi En CSV")
        | some("ele{}", "Pt Eta Phi", FEW)
        | some("{}", "pfMET pfMETPhi", None)
        | {"nEle": whole(FEW)},
        {"jet": {"pt", "eta", "phi", "energy", "CSV"}, "ele": {"pt", "eta", "phi"}, "pfMET": {"pt", "phi"}},
        set(),
    ),
    "an object without a prefix": (
        some("{}", "pt eta phi pdgId") | some("{}", "weights", FEW),
        {"Particle": {"pt", "eta", "phi", "pdgId"}, "weights": {"value"}},
        set(),
    ),
    "an ATLAS ntuple": (
        some("mu_{}", "pt eta phi e charge", FEW)
        | some("jet1_{}", "pt eta phi e", None)
        | some("met_{}", "met phi", None)
        | {"mu": number()},
        {
            "Muon": {"pt", "eta", "phi", "energy", "charge"},
            "jet1": {"pt", "eta", "phi", "energy"},
            "met": {"pt", "phi"},
        },
        {"mu"},
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("write", [tree, ntuple])
def test_objects_are_found_and_branches_come_back_under_their_names(
    layout: str, write: Callable[..., str], tmp_path: Path
) -> None:
    data, collections, scalars = LAYOUTS[layout]
    if write is ntuple and any(set(name) & {"/", "."} for name in data):
        pytest.skip("no field of an RNTuple has such a name")
    path = write(tmp_path / "true.root", data)
    events = read_events(path, on_bad="keep")
    schema = schema_of(events)
    assert {n: set(f) for n, f in found(schema).items()} == collections
    assert set(schema.scalar_names) == scalars
    again = write_events(
        tmp_path / "again.root", events, format="ttree" if write is tree else "rntuple", tree="tree"
    )
    with uproot.open(path) as true, uproot.open(f"{again}:tree") as made:
        assert {n: b.typename for n, b in made.items()} == {n: b.typename for n, b in true.items()}
        for name, values in data.items():
            assert ak.array_equal(made[name].array(), ak.Array(values), check_parameters=False), name


def test_counters_of_single_lists_belong_together(tmp_path: Path) -> None:
    data = {"nMuon": whole(MANY)} | some("Muon_{}", "pt eta phi mass")
    schema = schema_of(read_events(tree(tmp_path / "a.root", data, name="Events")))
    muon = schema.collection("Muon")
    assert (muon.counter, schema.scalar_names) == ("nMuon", ())
    assert [f.counter.branch for f in muon.fields if f.counter] == [
        f"nMuon_{n}" for n in ("pt", "eta", "phi", "mass")
    ]
    part = select(schema, ["Muon.pt"])
    write_events(
        tmp_path / "part.root", read_events(f"{tmp_path / 'a.root'}:Events", schema=part), schema=part
    )
    with uproot.open(tmp_path / "part.root") as file:
        assert file["Events"].keys() == ["nMuon", "nMuon_pt", "Muon_pt"]


def test_a_number_that_counts_in_the_first_events_only_is_a_number_of_its_own(tmp_path: Path) -> None:
    counts = np.concatenate([MANY] * 3)
    selected = counts.copy()
    selected[1200] += 1
    data = {"n": whole(selected), "nJet": whole(selected)} | some("Jet_{}", "pt phi", counts)
    events = read_events(ntuple(tmp_path / "late.root", data))
    assert set(schema_of(events).scalar_names) == {"n", "nJet"}
    assert events.n.tolist() == selected.tolist()
    assert schema_of(events).collection("Jet").counter is None
    path = write_events(tmp_path / "again.root", events, format="ttree")
    with uproot.open(path) as file:
        assert file["tree"]["nJet"].array(library="np").tolist() == selected.tolist()
        assert file["tree"]["Jet_size"].array(library="np").tolist() == counts.tolist()


def test_lists_that_differ_in_later_events_are_an_error_if_they_are_read(tmp_path: Path) -> None:
    counts = np.concatenate([MANY] * 3)
    other = counts.copy()
    other[1300] += 2
    data = some("Jet_{}", "pt phi", counts) | some("Jet_{}", "tag", other) | {"x": np.arange(1500.0)}
    path = ntuple(tmp_path / "late.root", data)
    with pytest.raises(InputError, match="values, but Jet_phi has") as caught:
        read_events(path)
    assert (caught.value.branch, caught.value.entry) == ("Jet_tag", 1300)
    assert read_events(path, branches=["Jet_pt", "Jet_phi", "x"]).Jet.fields == ["phi", "pt"]


def test_a_number_of_objects_can_be_had_without_them(tmp_path: Path) -> None:
    data = {"nJet": whole(MANY)} | some("Jet_{}", "pt eta phi mass") | some("MET_{}", "pt phi", None)
    path = tree(tmp_path / "a.root", data, lambda branch: "nJet", name="Events")
    assert read_events(path, branches=["nJet", "MET"]).nJet.tolist() == MANY.tolist()
    assert "nJet" not in read_events(path, branches=["nJet", "Jet.pt"]).fields


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("eventNumber", "runNumber"), {"event": "eventNumber", "run": "runNumber"}),
        (("mcEventNumber", "x"), {"event": "mcEventNumber"}),
        (("Event.Number", "RunNum"), {"event": "Event.Number", "run": "RunNum"}),
        (
            ("EventInfoAuxDyn.eventNumber", "EventInfoAuxDyn.lumiBlock"),
            {"event": "EventInfoAuxDyn.eventNumber", "luminosityBlock": "EventInfoAuxDyn.lumiBlock"},
        ),
        (("EventHeader.eventNumber", "x"), {"event": "EventHeader.eventNumber"}),
        (("evt", "lumi"), {"event": "evt", "luminosityBlock": "lumi"}),
    ],
)
def test_identifiers_of_other_names_keep_them(
    names: tuple[str, str], expected: dict[str, str], tmp_path: Path
) -> None:
    data = {n: np.arange(N, dtype=np.int64) for n in names} | {"y": number()}
    events = read_events(tree(tmp_path / "a.root", data))
    assert {f.name: f.branch for f in schema_of(events).identifiers} == expected
    bare = ak.Array(events[["y"]], attrs={})
    path = write_events(tmp_path / "b.root", bare, schema=select(schema_of(events), ["y"]), tree="tree")
    with uproot.open(path) as file:
        assert set(file["tree"].keys()) == {*expected.values(), "y"}
        if "event" in expected:
            assert file["tree"][expected["event"]].array(library="np").tolist() == list(range(1, N + 1))


def test_identifiers_in_a_record_of_one_are_those_of_the_event(tmp_path: Path) -> None:
    header = {"eventNumber": ak.unflatten(np.arange(N), ONE), "weight": lists(ONE)}
    data = {"EventHeader": ak.zip(header), "Jet": ak.zip(some("{}", "pt eta phi"))}
    schema = schema_of(read_events(ntuple(tmp_path / "a.root", ak.zip(data, depth_limit=1))))
    assert [f.branch for f in schema.identifiers] == ["EventHeader.eventNumber"]
    assert found(schema) == {"Jet": ("pt", "eta", "phi")}
    assert schema.weight == "EventHeader_weight"


def test_floating_point_numbers_called_evt_or_lumi_are_no_identifiers() -> None:
    schema = schema_of(as_events(ak.Array({"evt": number(), "lumi": number()})))
    assert set(schema.scalar_names) == {"evt", "lumi"}


@pytest.mark.parametrize(
    ("data", "name", "expected"),
    [
        (some("Muon_{}", "pt eta phi mass"), "Events", True),
        (some("Muon_{}", "pt eta phi mass"), "tree", False),
        (some("Jet.{}", "PT Eta Phi Mass"), "Events", False),
        (some("x{}", "1 2", None), "Events", False),
        ({"run": whole(MANY), "x": number()}, "Events", True),
        ({"luminosityBlock": whole(MANY), "x": number()}, "skim", True),
        ({"runNumber": whole(MANY), "x": number()}, "DecayTree", False),
    ],
)
def test_what_is_nanoaod_is_told_by_its_names(
    data: Columns, name: str, *, expected: bool, tmp_path: Path
) -> None:
    path = tree(tmp_path / "a.root", data, lambda branch: f"n{branch.partition('_')[0]}", name=name)
    assert is_nanoaod(schema_of(read_events(path))) is expected


@pytest.mark.parametrize("suffix", ["root", "parquet", "feather"])
def test_records_come_back_as_records(suffix: str, tmp_path: Path) -> None:
    momentum = ak.zip({n: lists() for n in "xyz"})
    records = {
        "Jet": ak.zip({"momentum": momentum, "mass": lists()}),
        "Event": ak.zip({"w": number(), "x": number()}, depth_limit=1),
        "time.t0": ak.Array(number()),
        "Hits": ak.zip({"a": lists(FEW), "b": lists(MANY)}, depth_limit=1),
    }
    data = ak.zip(records, depth_limit=1)
    events = read_events(ntuple(tmp_path / "true.root", data))
    assert set(found(schema_of(events))) >= {"Jet", "Event"}
    path = write_events(tmp_path / f"again.{suffix}", events, format="rntuple" if suffix == "root" else None)
    again = read_events(path)
    assert schema_of(again) == schema_of(events)
    for n in events.fields:
        assert ak.array_equal(again[n], events[n])
    if suffix == "parquet":
        table = ak.from_parquet(path)
        assert set(table.fields) >= {"Jet", "Event", "time.t0"}
        assert ak.array_equal(table.Jet.momentum.x, momentum.x, dtype_exact=False)


def test_a_number_that_counts_in_one_file_only_is_a_number_of_its_own(tmp_path: Path) -> None:
    jets = some("Jet_{}", "pt phi")
    first = ntuple(tmp_path / "first.root", {"nJet": whole(MANY)} | jets)
    second = ntuple(tmp_path / "second.root", {"nJet": whole(MANY // 2)} | jets)
    for files in ([first, second], [second, first]):
        events = read_events(files)
        assert schema_of(events).scalar_names == ("nJet",)
        assert sorted(events.nJet.tolist()) == sorted([*MANY, *(MANY // 2)])
    assert schema_of(read_events([first, first])).collection("Jet").counter == "nJet"
