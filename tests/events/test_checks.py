"""Each kind of bad input gives one error with file, branch and first bad entry."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import awkward as ak
import numpy as np
import pytest

from hepgan.errors import InputError
from hepgan.events import EventSchema, check_events, read_events, schema_of, select, with_kinds
from hepgan.events.checks import ENERGY_TOLERANCE

from .conftest import Columns


def spoiled(columns: Columns, branch: str, entry: int, value: float) -> Columns:
    """The columns with one value changed, where there are several that of the first object."""
    values = columns[branch]
    if not isinstance(values, ak.Array):
        new = values.copy()
        new[entry] = value
        return columns | {branch: new}
    flat, counts = ak.to_numpy(ak.flatten(values)).copy(), ak.to_numpy(ak.num(values))
    assert counts[entry] > 0
    flat[counts[:entry].sum()] = value
    return columns | {branch: ak.unflatten(flat, counts)}


def busy(columns: Columns, at_least: int = 500) -> int:
    """The first event from ``at_least`` on that has a muon."""
    counts = ak.to_numpy(ak.num(columns["Muon_pt"]))
    return at_least + int(np.argmax(counts[at_least:] > 0))


@pytest.mark.parametrize(
    ("branch", "value", "reason"),
    [
        ("Muon_pt", np.nan, "not a number"),
        ("Muon_iso", np.inf, "infinite"),
        ("Muon_pt", -3.0, "negative pT"),
        ("Muon_phi", 3.2, "outside [-pi, pi]"),
        ("MET_pt", np.nan, "not a number"),
        ("MET_phi", -4.0, "outside [-pi, pi]"),
        ("genWeight", np.inf, "infinite"),
    ],
)
def test_a_bad_value_is_named_with_file_branch_and_entry(columns, make, branch, value, reason):
    entry = busy(columns)
    path = make(spoiled(columns, branch, entry, value))
    with pytest.raises(InputError, match=re.escape(reason)) as caught:
        read_events(path)
    error = caught.value
    assert (error.file, error.branch, error.entry) == (f"{path}:Events", branch, entry)
    assert str(error).count("\n") == 0


def test_the_entry_is_that_of_the_file_when_only_a_part_is_read(columns, make):
    entry = busy(columns)
    path = make(spoiled(columns, "Muon_pt", entry, np.nan))
    with pytest.raises(InputError) as caught:
        read_events(path, entry_start=400, entry_stop=900)
    assert caught.value.entry == entry
    assert len(read_events(path, entry_start=entry + 1)) == len(columns["run"]) - entry - 1


def test_the_file_is_named_among_several(columns, make):
    good, bad = make(columns, "a.root"), make(spoiled(columns, "MET_pt", 3, np.nan), "b.root")
    with pytest.raises(InputError) as caught:
        read_events([good, bad])
    assert (caught.value.file, caught.value.entry) == (f"{bad}:Events", 3)


def test_phi_at_pi_in_float32_is_no_fault(columns, make):
    path = make(spoiled(columns, "MET_phi", 3, np.float32(np.pi)))
    assert float(read_events(path).MET.phi[3]) > np.pi


def four_vectors(energy: np.ndarray, p: np.ndarray, dtype: str = "float32") -> Columns:
    rng = np.random.default_rng(0)
    direction = rng.normal(size=(len(p), 3))
    direction *= (p / np.linalg.norm(direction, axis=1))[:, None]
    x, y, z = direction.astype(dtype).T
    return {"Tau_px": x, "Tau_py": y, "Tau_pz": z, "Tau_E": energy.astype(dtype)}


def test_rounding_of_light_particles_is_no_fault_at_any_energy(make):
    p = np.logspace(-1, 4, 5000)
    path = make(four_vectors(np.hypot(p, 0.000511), p))
    assert len(read_events(path)) == 5000


@pytest.mark.parametrize("momentum", [10.0, 1000.0])
def test_an_energy_below_the_momentum_is_a_fault(make, momentum):
    relative, absolute = ENERGY_TOLERANCE
    p = np.full(10, momentum)
    energy = p.copy()
    energy[7] -= 2 * (relative * momentum + absolute)
    path = make(four_vectors(energy, p, "float64"))
    with pytest.raises(InputError, match=r"below the momentum \(E = .*, \|p\| = ") as caught:
        read_events(path)
    assert (caught.value.branch, caught.value.entry) == ("Tau_E", 7)


def test_an_energy_is_checked_against_pt_and_eta_too(columns, make):
    counts = ak.num(columns["Muon_pt"])
    energy = columns["Muon_pt"] * np.cosh(columns["Muon_eta"]) * np.float32(0.9)
    with pytest.raises(InputError, match="below the momentum") as caught:
        read_events(make(columns | {"Muon_energy": energy}))
    assert caught.value.entry == int(ak.argmax(counts > 0))


def test_the_branch_of_a_numbered_object_is_named(make):
    rng = np.random.default_rng(1)
    columns = {f"{c}{i}": rng.normal(size=50) for i in (1, 2) for c in ("px", "py", "pz")}
    columns["py2"][30] = np.nan
    with pytest.raises(InputError) as caught:
        read_events(make(columns))
    assert (caught.value.branch, caught.value.entry) == ("py2", 30)


def test_more_objects_than_the_schema_allows_are_a_fault(columns, make):
    first, counts = schema_of(read_events(make(columns))), ak.to_numpy(ak.num(columns["Muon_pt"]))
    few = first.model_copy(
        update={
            "collections": tuple(
                c.model_copy(update={"max_count": 3}) if c.name == "Muon" else c for c in first.collections
            )
        }
    )
    with pytest.raises(InputError, match="too many objects in Muon") as caught:
        read_events(make(columns), schema=few)
    assert (caught.value.branch, caught.value.entry) == ("nMuon", int(np.argmax(counts > 3)))


def test_a_value_outside_a_category_is_a_fault(columns, make):
    schema = schema_of(read_events(make(columns)))
    entry = busy(columns)
    with pytest.raises(InputError, match=r"does not know \(3, not in -1, 1\)") as caught:
        read_events(make(spoiled(columns, "Muon_charge", entry, 3)), schema=schema)
    assert (caught.value.branch, caught.value.entry) == ("Muon_charge", entry)
    free = with_kinds(schema, {"Muon.charge": "integer"})
    assert len(read_events(make(spoiled(columns, "Muon_charge", entry, 3)), schema=free)) == 1000


def test_weights_that_sum_to_zero_are_an_error(columns, make):
    path = make(columns | {"genWeight": np.tile([1.0, -1.0], 500)})
    with pytest.raises(InputError, match="weights sum to zero") as caught:
        read_events(path)
    assert caught.value.branch == "genWeight"


def test_lists_of_different_lengths_in_a_collection_are_an_error(columns):
    from hepgan.events import as_events

    known = schema_of(as_events(ak.Array(columns)))
    shifted = ak.concatenate([columns["Muon_eta"][:5], columns["Muon_eta"][6:], columns["Muon_eta"][5:6]])
    with pytest.raises(InputError, match="values, but Muon_pt has") as caught:
        as_events(ak.Array(columns | {"Muon_eta": shifted}), schema=known)
    assert caught.value.branch == "Muon_eta"
    assert caught.value.entry is not None
    # In nearly all events the same lengths are those of one object, of which a few are damaged.
    eta = columns["Muon_eta"]
    slip = ak.concatenate([eta[:5], eta[6:7], eta[6:]])
    with pytest.raises(InputError, match="values, but Muon_pt has") as caught:
        as_events(ak.Array(columns | {"Muon_eta": slip}))
    assert (caught.value.branch, caught.value.entry) == ("Muon_eta", 5)


def test_a_counter_that_disagrees_with_its_lists_is_an_error(columns):
    from hepgan.events import as_events

    counts = ak.to_numpy(ak.num(columns["Muon_pt"])).astype(np.int32)
    known = schema_of(as_events(ak.Array(columns | {"nMuon": counts})))
    counts[12] += 1
    with pytest.raises(InputError, match="objects, but Muon_pt has") as caught:
        as_events(ak.Array(columns | {"nMuon": counts}), schema=known)
    assert (caught.value.branch, caught.value.entry) == ("nMuon", 12)
    # Without a schema that says what it counts, it counts something else.
    assert as_events(ak.Array(columns | {"nMuon": counts})).nMuon.tolist() == counts.tolist()


def test_missing_values_are_an_error(columns):
    from hepgan.events import as_events

    met = ak.mask(ak.Array(columns["MET_pt"]), np.arange(1000) != 17)
    with pytest.raises(InputError, match="missing") as caught:
        as_events(ak.Array(columns | {"MET_pt": met}))
    assert (caught.value.branch, caught.value.entry) == ("MET_pt", 17)


def test_bad_events_can_be_dropped_with_a_count_for_each_reason(columns, make):
    bad = spoiled(columns, "MET_pt", 3, np.nan)
    bad = spoiled(bad, "MET_pt", 4, np.nan)
    bad = spoiled(bad, "genWeight", 4, np.inf)
    bad = spoiled(bad, "MET_phi", 900, 7.0)
    with pytest.warns(UserWarning, match="dropped 3 of 1000 events") as caught:
        events = read_events(make(bad), on_bad="drop")
    message = str(caught[0].message)
    assert "2 for MET_pt: not a number" in message
    assert "1 for MET_phi: outside [-pi, pi]" in message
    assert ak.to_list(events.event) == [100 + i for i in range(1000) if i not in (3, 4, 900)]


def test_bad_events_can_be_kept(columns, make):
    assert np.isnan(read_events(make(spoiled(columns, "MET_pt", 3, np.nan)), on_bad="keep").MET.pt[3])


def test_no_good_events_left_is_an_error(columns, make):
    with pytest.raises(InputError, match="no good events"), pytest.warns(UserWarning, match="dropped 1000"):
        read_events(make(columns | {"MET_pt": np.full(1000, np.nan)}), on_bad="drop")


def test_events_in_memory_are_checked_against_any_schema(columns, make):
    events = read_events(make(columns))
    schema = schema_of(events)
    check_events(events, schema)
    for lacking, branch in ((events[["Muon", "genWeight"]], "MET_pt"), (events[["MET"]], "Muon_pt")):
        with pytest.raises(InputError, match="these events have no") as caught:
            check_events(lacking, select(schema, ["Muon", "MET"]), "some.root")
        assert (caught.value.file, caught.value.branch) == ("some.root", branch)
    with pytest.raises(InputError, match="there are no events"):
        check_events(events[:0], schema)


def test_fields_of_the_wrong_shape_or_type_are_errors(columns, make):
    events = read_events(make(columns))
    schema = schema_of(events)
    flat = ak.with_field(events, events.MET, "Muon")
    with pytest.raises(InputError, match="one object in each event, where a list is expected"):
        check_events(flat, schema)
    text = ak.with_field(events, ak.Array(["a"] * len(events)), "genWeight")
    with pytest.raises(InputError, match="holds strings, where numbers are expected"):
        check_events(text, schema)


def test_a_schema_for_other_events_names_the_missing_branch(columns, make: Callable[..., Path]):
    schema: EventSchema = schema_of(read_events(make(columns)))
    other = make({"Jet_pt": columns["Muon_pt"], "MET_pt": columns["MET_pt"]}, "other.root")
    with pytest.raises(InputError, match="no such branch; there are") as caught:
        read_events(other, schema=schema)
    assert (caught.value.file, caught.value.branch) == (f"{other}:Events", "Muon_pt")
