from __future__ import annotations

import pytest

from hepgan.events import EventSchema
from hepgan.events.schema import Branch
from hepgan.events.structure import draft


def flat(*names: str, dtype: str = "float32") -> list[Branch]:
    return [Branch(n, dtype) for n in names]


def lists(counter: str | None, *names: str) -> list[Branch]:
    return [Branch(n, "float32", True, counter) for n in names]


def branches_of(schema: EventSchema, collection: str) -> dict[str, tuple[str, ...]]:
    return {f.name: f.branches for f in schema.collection(collection).fields}


def test_nanoaod_collections_have_their_prefix_as_name_and_coordinates_as_fields():
    schema = draft([Branch("nMuon", "uint32"), *lists("nMuon", "Muon_pt", "Muon_eta", "Muon_isoCh")])
    muon = schema.collection("Muon")
    assert (muon.layout, muon.counter, muon.counter_dtype) == ("jagged", "nMuon", "uint32")
    assert muon.field_names == ("pt", "eta", "isoCh")
    assert schema.scalars == ()


def test_capital_counters_and_components_get_the_names_of_the_field():
    schema = draft(
        [Branch("NMuon", "int32"), *lists("NMuon", "Muon_Px", "Muon_Py", "Muon_Pz", "Muon_E", "Muon_Charge")]
    )
    assert schema.collection("Muon").counter == "NMuon"
    assert branches_of(schema, "Muon") == {
        "px": ("Muon_Px",),
        "py": ("Muon_Py",),
        "pz": ("Muon_Pz",),
        "energy": ("Muon_E",),
        "Charge": ("Muon_Charge",),
    }
    assert schema.collection("Muon").coordinates == ("px", "py", "pz", "energy")


@pytest.mark.parametrize("counter", ["nMuon", "NMuon", "n_Muon", "Muon_n", "Muon_size", "nMuons", "nmuon"])
def test_a_counter_is_found_by_its_name_where_the_file_does_not_tell(counter):
    schema = draft([Branch(counter, "int32"), *lists(None, "Muon_pt")])
    assert schema.collection("Muon").counter == counter
    assert schema.scalars == ()


def test_lists_with_a_counter_each_make_one_collection():
    branches = [Branch("nMuon_pt", "int32"), Branch("nMuon_eta", "int32")]
    schema = draft([*branches, *lists("nMuon_pt", "Muon_pt"), *lists("nMuon_eta", "Muon_eta")])
    assert schema.collection("Muon").field_names == ("pt", "eta")
    assert (schema.collection("Muon").counter, schema.scalars) == (None, ())


def test_lists_without_a_counter_make_a_collection():
    schema = draft(lists(None, "Jet_pt", "Jet_phi", "weights"))
    assert schema.collection("Jet").counter is None
    assert branches_of(schema, "weights") == {"value": ("weights",)}


def test_numbered_branches_are_the_objects_of_one_collection():
    names = [f"{stem}{i}" for i in (1, 2) for stem in ("E", "px", "py", "pz")]
    schema = draft([*flat(*names), *flat("Q1", "Q2", dtype="int32"), *flat("M")])
    particle = schema.collection("Particle")
    assert (particle.layout, particle.min_count, particle.max_count) == ("indexed", 2, 2)
    assert branches_of(schema, "Particle")["energy"] == ("E1", "E2")
    assert branches_of(schema, "Particle")["Q"] == ("Q1", "Q2")
    assert schema.scalar_names == ("M",)


@pytest.mark.parametrize(
    ("names", "name"),
    [
        (["lep1_pt", "lep1_phi", "lep1_eta", "lep2_pt", "lep2_phi", "lep2_eta"], "Lepton"),
        (["mu0_px", "mu0_py", "mu1_px", "mu1_py", "mu2_px", "mu2_py"], "Muon"),
        (["pt_1", "phi_1", "pt_2", "phi_2"], "Particle"),
        (["jet_pt1", "jet_phi1", "jet_pt2", "jet_phi2"], "Jet"),
    ],
)
def test_numbers_may_stand_in_the_middle_or_after_an_underscore(names, name):
    schema = draft(flat(*names))
    assert schema.collection_names == (name,)
    assert schema.collection(name).layout == "indexed"
    assert {b for bs in branches_of(schema, name).values() for b in bs} == set(names)


@pytest.mark.parametrize(
    "names",
    [["tau1", "tau21", "tau32"], ["px1", "py1", "px3", "py3"], ["bin1", "bin2"], ["px1", "py2"]],
)
def test_numbers_in_names_that_are_no_objects_stay_scalars(names):
    schema = draft(flat(*names))
    assert schema.collections == ()
    assert schema.scalar_names == tuple(names)


def test_prefixes_make_single_objects_if_capital_or_with_a_momentum():
    schema = draft(
        flat("MET_pt", "MET_phi", "PV_npvs", "jet_pt", "jet_phi", "jet_tau21", "beam_energy", "rho")
    )
    assert {c.name: c.field_names for c in schema.collections} == {
        "MET": ("pt", "phi"),
        "PV": ("npvs",),
        "jet": ("pt", "phi", "tau21"),
    }
    assert {c.layout for c in schema.collections} == {"single"}
    assert schema.scalar_names == ("beam_energy", "rho")


def test_a_prefix_of_two_words_is_kept_whole_before_a_momentum():
    schema = draft(flat("gen_mu_px", "gen_mu_py", "gen_mu_pz", "gen_mu_E"))
    assert schema.collection("gen_mu").coordinates == ("px", "py", "pz", "energy")


@pytest.mark.parametrize("names", [("run", "luminosityBlock", "event"), ("Run", "LumiBlock", "Event")])
def test_identifiers_are_numbers_with_their_names(names):
    schema = draft([*flat(*names, dtype="int64"), *flat("x")])
    assert [f.name for f in schema.identifiers] == ["run", "luminosityBlock", "event"]
    assert [f.branch for f in schema.identifiers] == list(names)
    as_floats = draft(flat(*names)).identifiers
    assert [(f.name, f.dtype) for f in as_floats] == [(n.name, "float64") for n in schema.identifiers]
    assert draft(flat(*names, dtype="string")).identifiers == ()


def test_no_two_things_are_called_the_same():
    schema = draft([*flat("EventNumber", "event", dtype="int64"), *flat("x"), Branch("run", "float32", True)])
    assert [(f.name, f.branch) for f in schema.identifiers] == [("event", "event")]
    assert schema.scalar_names == ("EventNumber", "x")
    lists = [Branch("run", "float32", True), Branch("runObjects", "float32", True), *flat("runNumber")]
    assert set(draft(lists).collection_names) == {"runObjects", "runObjectsObjects"}
    assert draft(lists).identifiers[0].name == "run"


@pytest.mark.parametrize("name", ["genWeight", "weight", "EventWeight", "mcWeight"])
def test_the_weight_is_found_by_name(name):
    assert draft(flat("x", name)).weight == name
    assert draft(flat("x", "btagWeight_up")).weight is None


def test_two_coordinates_of_the_same_name_do_not_collide():
    schema = draft([Branch("nMuon", "int32"), *lists("nMuon", "Muon_E", "Muon_energy", "Muon_pt")])
    assert branches_of(schema, "Muon") == {"E": ("Muon_E",), "energy": ("Muon_energy",), "pt": ("Muon_pt",)}


def test_a_list_and_a_number_of_the_same_prefix_stay_apart():
    schema = draft([Branch("nJet", "int32"), *lists("nJet", "Jet_pt"), *flat("Jet_HT")])
    assert schema.collection("Jet").field_names == ("pt",)
    assert schema.scalar_names == ("Jet_HT",)


def test_nominal_values_of_atlas_belong_to_their_object():
    names = ("jet_NOSYS_pt", "jet_NOSYS_eta", "jet_NOSYS_phi", "jet_isBtag")
    schema = draft([*lists(None, *names), *flat("met_NOSYS_met", "met_NOSYS_phi", "generatorWeight_NOSYS")])
    assert schema.collection("jet").field_names == ("pt", "eta", "phi", "isBtag")
    assert branches_of(schema, "met") == {"pt": ("met_NOSYS_met",), "phi": ("met_NOSYS_phi",)}
    assert schema.weight == "generatorWeight_NOSYS"


def test_fields_of_numbered_objects_may_have_numbers_in_their_names():
    numbered = [f"{f}_h{i}" for f in ("pT", "eta", "phi", "r9", "sigma2eta") for i in (1, 2)]
    schema = draft(flat(*numbered))
    assert schema.collection("H").field_names == ("pt", "eta", "phi", "r9", "sigma2eta")
    assert schema.scalars == ()
