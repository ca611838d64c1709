from __future__ import annotations

import awkward as ak
import numpy as np
import pytest

from hepgan.errors import InputError
from hepgan.events import (
    Field,
    Kind,
    as_events,
    check_events,
    read_events,
    schema_of,
    select,
    to_awkward,
    to_batch,
    with_kinds,
)
from hepgan.events.buffers import ATTRIBUTE
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
    assert (kind(two).atoms, kind(two).missing) == ((0.0,), -1.0)


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
        ({"Muon.q": "category"}, InputError),
        ({"Tau.pt": "integer"}, InputError),
        ({"rho": "integer"}, InputError),
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
    with pytest.raises(InputError, match="Tau"):
        select(schema, ["Tau"])
    with pytest.raises(InputError, match="Muon has no field 'q'"):
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


# ------------------------------------------------------------------ limits are those of the events at hand


def parts_of_a_sample():
    """Two samples that differ in everything that a schema says of numbers."""

    def sample(counts, low, charge, energy, sign, name):
        counts = np.resize(counts, 400)
        size = int(counts.sum())
        rng = np.random.default_rng(low)
        charges = np.resize(charge, size).astype(np.int32)
        return as_events(
            ak.Array(
                {
                    "Muon_pt": ak.unflatten(rng.uniform(low, low + 10, size), counts),
                    "Muon_charge": ak.unflatten(charges, counts),
                    "Muon_iso": ak.unflatten(np.where(rng.random(size) < 0.5, low, rng.random(size)), counts),
                    "npvs": rng.integers(low, low + 40, 400),
                    "beam": np.full(400, energy),
                    "genWeight": np.full(400, sign),
                    "channel": ak.Array([name] * 400),
                }
            )
        )

    first = sample([1, 2], 10, [-1, 1], 10.0, 1.0, "a")
    return first, sample([0, 5], 50, [-2, 2], 30.0, -1.0, "b")


def limits(schema):
    """All that a schema says of numbers."""
    return {
        **{c.name: (c.min_count, c.max_count) for c in schema.collections},
        **{f.name: (f.kind, f.low, f.high, f.values, f.atoms) for c in schema.collections for f in c.fields},
        **{f.name: (f.kind, f.low, f.high, f.values, f.atoms) for f in schema.scalars},
    }


def test_a_schema_of_several_reads_is_that_of_all_their_events():
    first, second = parts_of_a_sample()
    both = ak.concatenate([first, second])
    found = limits(schema_of(both))
    assert found == limits(schema_of(ak.Array(both, attrs={})))
    assert found["Muon"] == (0, 5)
    assert found["charge"][3] == (-2, -1, 1, 2)
    assert found["beam"][:4] == (Kind.CONTINUOUS, 10.0, 30.0, None)
    assert found["channel"][3] == ("a", "b")
    batch = to_batch(both)
    assert batch.Muon.shape == (800, 5)
    assert ak.array_equal(to_awkward(batch), both)
    check_events(both, schema_of(both), weights=False)


@pytest.mark.parametrize(
    ("name", "change", "expected"),
    [
        ("pt", lambda v: 1000 * v, {"low": 10_000.0}),
        ("pt", lambda v: -v, {"high": -10.0}),
        ("charge", lambda v: 3 * v, {"values": (-3, 3), "kind": Kind.CATEGORY}),
        ("charge", lambda v: v * 3.0, {"values": (-3, 3), "kind": Kind.CATEGORY}),
        ("iso", lambda v: v + 100, {"atoms": (110.0,)}),
        ("npvs", lambda v: v + 100, {"low": 110.0, "kind": Kind.INTEGER}),
        ("beam", lambda v: v + 1, {"values": (11.0,)}),
    ],
)
def test_limits_follow_numbers_that_are_changed(name, change, expected):
    events, _ = parts_of_a_sample()
    where = name if name in events.fields else ("Muon", name)
    changed = ak.with_field(events, change(events[where]), where)
    schema = schema_of(changed)
    field = schema.scalar(name) if name in events.fields else schema.collection("Muon").field(name)
    for key, value in expected.items():
        found = getattr(field, key)
        assert found == pytest.approx(value, rel=0.05) if isinstance(value, float) else found == value
    unchanged = limits(schema_of(events)) | {name: limits(schema)[name]}
    assert limits(schema) == unchanged
    assert to_batch(changed).Muon.pt.isfinite().all()


def test_numbers_of_objects_follow_what_is_selected():
    events, _ = parts_of_a_sample()
    none = ak.with_field(events, events.Muon[events.Muon.pt > 15], "Muon")
    assert limits(schema_of(none))["Muon"] == (0, 2)
    twice = ak.with_field(events, ak.concatenate([events.Muon, events.Muon], axis=1), "Muon")
    assert limits(schema_of(twice))["Muon"] == (2, 4)
    assert to_batch(twice).Muon.shape == (400, 4)


def test_numbered_objects_are_a_list_where_their_number_is_another():
    columns = {f"{c}{i}": np.arange(1.0, 51.0) for i in (1, 2) for c in ("px", "py")}
    events = as_events(ak.Array(columns))
    fewer = ak.with_field(events, events.Particle[:, :1], "Particle")
    assert schema_of(events).collection("Particle").layout == "indexed"
    described = schema_of(fewer).collection("Particle")
    assert (described.layout, described.max_count) == ("jagged", 1)
    assert ak.array_equal(to_awkward(to_batch(fewer)), fewer)


def test_a_part_has_the_limits_and_the_kinds_of_the_whole():
    events, _ = parts_of_a_sample()
    for part in (events[:3], events[events.npvs > 30], events[:0]):
        assert schema_of(part) == schema_of(events)


def test_a_kind_that_was_chosen_by_hand_stays_where_numbers_change():
    events, second = parts_of_a_sample()
    chosen = with_kinds(schema_of(events), {"npvs": "continuous", "Muon.pt": "continuous"})
    events.attrs[ATTRIBUTE] = chosen
    npvs = schema_of(ak.concatenate([events, second])).scalar("npvs")
    assert (npvs.kind, npvs.values) == (Kind.CONTINUOUS, None)
    assert npvs.high > 80


def test_what_was_read_is_looked_at_once(path):
    events = read_events(path)
    assert schema_of(events) is events.attrs[ATTRIBUTE]


def test_limits_are_looked_up_anew_whenever_numbers_are_others():
    events, second = parts_of_a_sample()
    for _ in range(20):
        changed = ak.with_field(events, events.Muon.pt * 2, ("Muon", "pt"))
        assert schema_of(changed).collection("Muon").field("pt").high > 30
        del changed
        shorter = events[events.npvs > 30]
        assert schema_of(shorter) == schema_of(events)
        other = ak.with_field(events, second.Muon, "Muon")
        assert limits(schema_of(other))["Muon"] == (0, 5)
        del shorter, other
