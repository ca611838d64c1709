from __future__ import annotations

import awkward as ak
import numpy as np
import pytest

from hepgan.events import Field, Kind, as_events, read_events, schema_of, select, with_kinds
from hepgan.events.inference import kind_of

RNG = np.random.default_rng(3)


def kind(values: np.ndarray, name: str = "x", **options) -> Field:
    return kind_of(Field(name=name, branches=(name,), dtype=values.dtype.name), values, **options)


def test_charges_flags_and_pdg_codes_are_categories_with_their_values(path):
    schema = schema_of(read_events(path))
    muon = schema.collection("Muon")
    assert muon.field("charge").values == (-1, 1)
    assert muon.field("tight").values == (False, True)
    codes = RNG.choice([-13, -11, 11, 13, 21, 22, 111, 211, 2212], 500)
    assert kind(codes, "pdgId").kind is Kind.CATEGORY
    assert kind(codes, "pdgId").values == tuple(sorted({int(c) for c in codes}))


def test_counts_are_integers_with_their_range(path):
    npvs = schema_of(read_events(path)).collection("PV").field("npvs")
    assert npvs.kind is Kind.INTEGER
    assert npvs.low is not None
    assert npvs.low < 25 < npvs.high


def test_few_valued_masses_of_objects_are_categories_exactly():
    masses = RNG.choice(np.array([0, 0.33, 4.8], np.float32), 5000)
    found = kind(masses, "mass", of_object=True)
    assert found.kind is Kind.CATEGORY
    assert np.array_equal(np.array(found.values, np.float32), np.array([0, 0.33, 4.8], np.float32))


def test_few_valued_numbers_of_the_event_stay_continuous_and_constants_are_categories():
    beam = RNG.choice([10.0, 20.0, 50.0], 5000)
    assert kind(beam).kind is Kind.CONTINUOUS
    assert (kind(beam).low, kind(beam).high) == (10.0, 50.0)
    assert kind(np.full(50, 50.0)).values == (50.0,)


def test_momentum_components_are_never_categories():
    assert kind(np.full(5000, 45.6), "energy", of_object=True).kind is Kind.CONTINUOUS


def test_a_spike_in_a_continuous_number_is_an_atom():
    values = np.where(RNG.random(20_000) < 0.02, 0.0, RNG.exponential(1, 20_000))
    assert kind(values).atoms == (0.0,)
    two = np.where(RNG.random(20_000) < 0.3, -1.0, values)
    assert kind(two).atoms == (-1.0, 0.0)


def test_rare_values_and_grids_are_no_atoms():
    rare = np.where(RNG.random(20_000) < 0.001, 0.0, RNG.exponential(1, 20_000))
    assert kind(rare).atoms == ()
    grid = np.round(RNG.uniform(0, 1, 20_000), 2)
    assert kind(grid).atoms == ()


def test_leading_and_other_objects_are_both_seen_in_large_samples():
    pairs = np.stack([RNG.normal(size=400_000), np.zeros(400_000)], axis=1).reshape(-1)
    assert kind(pairs, of_object=True).atoms == (0.0,)


def test_strings_are_categories():
    found = kind_of(Field(name="t", branches=("t",), dtype="string"), np.array(["TT", "GT", "TT"]))
    assert found.values == ("GT", "TT")


def test_not_finite_numbers_do_not_enter_ranges():
    found = kind(np.array([1.0, np.nan, np.inf, 2.5]))
    assert (found.low, found.high) == (1.0, 2.5)


def test_counts_of_objects_come_from_the_data(columns):
    muon = schema_of(as_events(ak.Array(columns))).collection("Muon")
    counts = ak.num(columns["Muon_pt"])
    assert (muon.min_count, muon.max_count) == (int(ak.min(counts)), int(ak.max(counts)))


def test_kinds_can_be_overridden(path):
    schema = schema_of(read_events(path))
    changed = with_kinds(
        schema,
        {
            "Muon.charge": "continuous",
            "PV.npvs": {"kind": "category", "values": [3, 1, 2]},
            "Muon.iso": {"atoms": (), "low": -1.0},
        },
    )
    assert changed.collection("Muon").field("charge").kind is Kind.CONTINUOUS
    assert changed.collection("Muon").field("charge").values is None
    assert changed.collection("PV").field("npvs").values == (1, 2, 3)
    assert changed.collection("Muon").field("iso").atoms == ()
    assert changed.collection("Muon").field("iso").low == -1.0
    assert changed.collection("MET") == schema.collection("MET")
    npvs = schema.collection("PV").field("npvs")
    as_category = with_kinds(schema, {"PV.npvs": "category"}).collection("PV").field("npvs")
    assert as_category.values == tuple(range(int(npvs.low), int(npvs.high) + 1))


@pytest.mark.parametrize(
    ("kinds", "error"),
    [
        ({"Muon.pt": "category"}, ValueError),
        ({"Muon.charge": "colour"}, ValueError),
        ({"Muon.q": "category"}, KeyError),
        ({"Tau.pt": "integer"}, KeyError),
        ({"rho": "integer"}, KeyError),
    ],
)
def test_wrong_overrides_are_errors(path, kinds, error):
    with pytest.raises(error):
        with_kinds(schema_of(read_events(path)), kinds)


def test_a_part_keeps_order_weight_and_identifiers(path):
    schema = schema_of(read_events(path))
    part = select(schema, ["MET", "Muon.phi", "Muon.pt"])
    assert {c.name: c.field_names for c in part.collections} == {"Muon": ("pt", "phi"), "MET": ("pt", "phi")}
    assert part.weight == "genWeight"
    assert part.identifiers == schema.identifiers
    with pytest.raises(KeyError, match="Tau"):
        select(schema, ["Tau"])
    with pytest.raises(KeyError, match="Muon has no field 'q'"):
        select(schema, ["Muon.q"])


def test_events_made_in_memory_get_nanoaod_branches():
    events = ak.Array(
        {"Muon": [[{"pt": 1.0, "phi": 0.5, "charge": 1}], []], "MET": [{"pt": 3.0}, {"pt": 4.0}], "x": [1, 2]}
    )
    schema = schema_of(events)
    muon = schema.collection("Muon")
    assert (muon.counter, muon.max_count, muon.layout) == ("nMuon", 1, "jagged")
    assert [f.branch for f in muon.fields] == ["Muon_pt", "Muon_phi", "Muon_charge"]
    assert schema.collection("MET").layout == "single"
    assert schema.scalar_names == ("x",)


def test_schema_follows_fields_that_are_added_and_taken_away(path):
    events = read_events(path)
    events["Muon", "twice"] = 2 * events.Muon.pt
    events["n"] = ak.num(events.Muon)
    fewer = events[[name for name in events.fields if name != "MET"]]
    schema = schema_of(fewer)
    assert "MET" not in schema.collection_names
    assert schema.collection("Muon").field("twice").branch == "Muon_twice"
    assert schema.collection("Muon").field("iso") == schema_of(read_events(path)).collection("Muon").field(
        "iso"
    )
    assert "n" in schema.scalar_names


def test_schema_survives_masks_and_slices(path):
    events = read_events(path)
    assert schema_of(events[ak.num(events.Muon) > 1][:10]) == schema_of(events)
