"""Every feature of the language, against awkward and vector's own awkward backend."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest
import torch

from hepgan.errors import InputError, RecipeError
from hepgan.events.batch import EventBatch, Objects
from hepgan.observables import Observable

from .conftest import make


def slot(objects, i):
    return ak.pad_none(objects, i + 1)[:, i]


def last(objects):
    return ak.firsts(objects[:, ::-1])


def total(ev):
    return ak.sum(ev.Jet, axis=1)


def pairs(ev):
    a, b = ak.unzip(ak.combinations(ev.Jet, 2))
    return a, b


def with_self(ev):
    index = ak.local_index(ev.Jet)
    a, b = ak.unzip(
        ak.combinations(ak.zip({"jet": ev.Jet, "index": index}, depth_limit=2), 2, replacement=True)
    )
    return a.jet, b.jet, ak.where(a.index == b.index, 1.0, 2.0)


def met4(ev, like):
    return like.deltaphi(ev.MET)


def sorted_by(objects, key, ascending=False):
    return objects[ak.argsort(key, ascending=ascending)]


# expression, and the same written out with awkward and vector
CASES = {
    # indexing
    "Muon[0].pt": lambda ev: ev.Muon[:, 0].pt,
    "Muon[-1].eta": lambda ev: ev.Muon[:, 1].eta,
    "Jet[0].pt": lambda ev: slot(ev.Jet, 0).pt,
    "Jet[3].energy": lambda ev: slot(ev.Jet, 3).energy,
    "Jet[-1].pt": lambda ev: last(ev.Jet).pt,
    "Jet[-2].pt": lambda ev: slot(ev.Jet[:, ::-1], 1).pt,
    "Jet.pt": lambda ev: ev.Jet.pt,
    "Jet[:2].pt": lambda ev: ev.Jet[:, :2].pt,
    "Jet[1:].mass": lambda ev: ev.Jet[:, 1:].mass,
    "Jet[1:3].pt": lambda ev: ev.Jet[:, 1:3].pt,
    "Jet[-2:].pt": lambda ev: ev.Jet[:, -2:].pt,
    "Jet[:-1].pt": lambda ev: ev.Jet[:, :-1].pt,
    "Jet[1:][0].pt": lambda ev: slot(ev.Jet, 1).pt,
    "Jet.pt[0]": lambda ev: slot(ev.Jet, 0).pt,
    # selection
    "Jet[Jet.pt > 40].eta": lambda ev: ev.Jet[ev.Jet.pt > 40].eta,
    "Jet[Jet.pt > 40][0].pt": lambda ev: slot(ev.Jet[ev.Jet.pt > 40], 0).pt,
    "Jet[Jet.pt > 40][-1].pt": lambda ev: last(ev.Jet[ev.Jet.pt > 40]).pt,
    "Jet[Jet.pt > 40][1:].pt": lambda ev: ev.Jet[ev.Jet.pt > 40][:, 1:].pt,
    "Jet[Jet.pt > 40][:2].pt": lambda ev: ev.Jet[ev.Jet.pt > 40][:, :2].pt,
    "Jet[Jet.pt > 40][-2:-1].pt": lambda ev: ev.Jet[ev.Jet.pt > 40][:, -2:-1].pt,
    "Jet[Jet.tight].pt": lambda ev: ev.Jet[ev.Jet.tight].pt,
    "Jet[~Jet.tight].pt": lambda ev: ev.Jet[~ev.Jet.tight].pt,
    "Jet[Jet.tight & (Jet.pt > 40) | (Jet.eta < 0)].pt": lambda ev: (
        ev.Jet[ev.Jet.tight & (ev.Jet.pt > 40) | (ev.Jet.eta < 0)].pt
    ),
    "Jet[Jet.tight and not Jet.pt > 40].pt": lambda ev: ev.Jet[ev.Jet.tight & ~(ev.Jet.pt > 40)].pt,
    "Jet[20 < Jet.pt < 50].pt": lambda ev: ev.Jet[(ev.Jet.pt > 20) & (ev.Jet.pt < 50)].pt,
    "Jet[MET.pt > 20].pt": lambda ev: ev.Jet[ak.broadcast_arrays(ev.MET.pt, ev.Jet.pt)[0] > 20].pt,
    "Jet.pt[Jet.pt > 40] / Jet[Jet.pt > 40].energy": lambda ev: (ev.Jet.pt / ev.Jet.energy)[ev.Jet.pt > 40],
    "count(Jet[Jet.deltaR(Muon[0]) > 0.4])": lambda ev: ak.sum(ev.Jet.deltaR(ev.Muon[:, 0]) > 0.4, axis=1),
    # momenta
    "(Muon[0] + Muon[1]).mass": lambda ev: (ev.Muon[:, 0] + ev.Muon[:, 1]).mass,
    "(Muon[0] - Muon[1]).pt": lambda ev: (ev.Muon[:, 0] - ev.Muon[:, 1]).pt,
    "(Jet[0] + Jet[1]).rapidity": lambda ev: (slot(ev.Jet, 0) + slot(ev.Jet, 1)).rapidity,
    "(2 * Muon[0] + Muon[1] / 4).mass2": lambda ev: (ev.Muon[:, 0] * 2 + ev.Muon[:, 1] * 0.25).mass2,
    "(-Muon[0]).px": lambda ev: -ev.Muon[:, 0].px,
    "(Jet + Muon[0]).mass": lambda ev: (ev.Jet + ev.Muon[:, 0]).mass,
    "Jet.deltaphi(MET)": lambda ev: ev.Jet.deltaphi(ev.MET),
    "Muon[0].deltaR(Muon[1])": lambda ev: ev.Muon[:, 0].deltaR(ev.Muon[:, 1]),
    "Muon[0].deltaR2(Muon[1])": lambda ev: ev.Muon[:, 0].deltaR2(ev.Muon[:, 1]),
    "Muon[0].deltaRapidityPhi(Muon[1])": lambda ev: ev.Muon[:, 0].deltaRapidityPhi(ev.Muon[:, 1]),
    "Jet.deltaangle(Muon[1])": lambda ev: ev.Jet.deltaangle(ev.Muon[:, 1]),
    "Jet[0].deltaeta(Muon[1])": lambda ev: slot(ev.Jet, 0).deltaeta(ev.Muon[:, 1]),
    "Muon[0].dot(Muon[1])": lambda ev: ev.Muon[:, 0].dot(ev.Muon[:, 1]),
    "Muon[0].to_3D().cross(Muon[1].to_3D()).pz": lambda ev: (
        ev.Muon[:, 0].to_Vector3D().cross(ev.Muon[:, 1].to_Vector3D()).z
    ),
    "(Muon[0].to_2D() + MET).pt": lambda ev: (ev.Muon[:, 0].to_Vector2D() + ev.MET).rho,
    "Muon[0].unit().energy": lambda ev: ev.Muon[:, 0].unit().energy,
    "Muon[0].boostCM_of(Muon[0] + Muon[1]).costheta": lambda ev: (
        ev.Muon[:, 0].boostCM_of(ev.Muon[:, 0] + ev.Muon[:, 1]).costheta
    ),
    "Muon[0].boost(Jet[0]).energy": lambda ev: ev.Muon[:, 0].boost(slot(ev.Jet, 0)).energy,
    "sum(Jet).mass": lambda ev: total(ev).mass,
    "(sum(Jet) + Muon[0]).pt": lambda ev: (total(ev) + ev.Muon[:, 0]).pt,
    "sum(Muon).rapidity": lambda ev: (ev.Muon[:, 0] + ev.Muon[:, 1]).rapidity,
    "sum(Jet[Jet.pt > 40]).pt": lambda ev: ak.sum(ev.Jet[ev.Jet.pt > 40], axis=1).pt,
    "pairs(Jet).mass": lambda ev: (pairs(ev)[0] + pairs(ev)[1]).mass,
    "pairs(Jet).deltaR": lambda ev: pairs(ev)[0].deltaR(pairs(ev)[1]),
    "max(pairs(Jet).mass)": lambda ev: ak.max((pairs(ev)[0] + pairs(ev)[1]).mass, axis=1),
    "pairs(Jet)[pairs(Jet).mass > 50].first.pt": lambda ev: pairs(ev)[0].pt[
        (pairs(ev)[0] + pairs(ev)[1]).mass > 50
    ],
    "pairs(Jet)[pairs(Jet).mass > 50].deltaphi": lambda ev: pairs(ev)[0].deltaphi(pairs(ev)[1])[
        (pairs(ev)[0] + pairs(ev)[1]).mass > 50
    ],
    "pairs(Muon, Jet).second.pt": lambda ev: ak.cartesian([ev.Muon, ev.Jet])["1"].pt,
    "pairs(Jet, Muon).deltaR": lambda ev: ak.cartesian([ev.Jet, ev.Muon])["0"].deltaR(
        ak.cartesian([ev.Jet, ev.Muon])["1"]
    ),
    "sort(Jet, Jet.pt).energy": lambda ev: sorted_by(ev.Jet, ev.Jet.pt).energy,
    "sort(Jet, -Jet.eta)[0].pt": lambda ev: slot(sorted_by(ev.Jet, ev.Jet.eta, True), 0).pt,
    "sort(Jet[Jet.tight], Jet[Jet.tight].pt)[1].pt": lambda ev: (
        slot(sorted_by(ev.Jet[ev.Jet.tight], ev.Jet[ev.Jet.tight].pt), 1).pt
    ),
    "transverse_mass(Muon[0], MET)": lambda ev: np.sqrt(
        2 * ev.Muon[:, 0].pt * ev.MET.pt * (1 - np.cos(ev.Muon[:, 0].deltaphi(ev.MET)))
    ),
    # counting and reducing
    "nJet": lambda ev: ak.num(ev.Jet),
    "nJet + 1": lambda ev: ak.num(ev.Jet) + 1,
    "count(Jet)": lambda ev: ak.num(ev.Jet),
    "count(Jet.pt)": lambda ev: ak.num(ev.Jet),
    "sum(Jet.pt)": lambda ev: ak.sum(ev.Jet.pt, axis=1),
    "sum(Jet.pt > 40)": lambda ev: ak.sum(ev.Jet.pt > 40, axis=1),
    "sum(Muon.charge)": lambda ev: ak.sum(ev.Muon.charge, axis=1),
    "mean(Jet.pt)": lambda ev: ak.mask(ak.mean(ev.Jet.pt, axis=1), ak.num(ev.Jet) > 0),
    "mean(Muon.charge)": lambda ev: ak.mean(ev.Muon.charge, axis=1),
    "max(Jet.pt)": lambda ev: ak.max(ev.Jet.pt, axis=1),
    "min(Jet[Jet.tight].pt)": lambda ev: ak.min(ev.Jet[ev.Jet.tight].pt, axis=1),
    "max(Jet.tight)": lambda ev: ak.max(ak.values_astype(ev.Jet.tight, np.int64), axis=1),
    "max(Muon[0].pt, 30, MET.pt)": lambda ev: np.maximum(np.maximum(ev.Muon[:, 0].pt, 30), ev.MET.pt),
    "min(Jet.pt, MET.pt)": lambda ev: ak.where(ev.Jet.pt < ev.MET.pt, ev.Jet.pt, ev.MET.pt),
    "any(Jet.pt > 60)": lambda ev: ak.any(ev.Jet.pt > 60, axis=1),
    "all(Jet.pt > 20)": lambda ev: ak.all(ev.Jet.pt > 20, axis=1),
    "sum(Jet.pt * Jet[1].pt)": lambda ev: ak.sum(ev.Jet.pt, axis=1) * ak.fill_none(slot(ev.Jet, 1).pt, 0.0),
    # numbers
    "Jet.pt / sum(Jet.pt)": lambda ev: ev.Jet.pt / ak.sum(ev.Jet.pt, axis=1),
    "Jet.pt / Jet[0].pt": lambda ev: ev.Jet.pt / ak.fill_none(slot(ev.Jet, 0).pt, 1.0),
    "Jet.pt / beam_energy - npv * 0.5 + 1": lambda ev: ev.Jet.pt / ev.beam_energy - ev.npv * 0.5 + 1,
    "npv / 7 + npv % 4": lambda ev: ev.npv / 7 + ev.npv % 4,
    "Muon[0].eta % 2": lambda ev: ev.Muon[:, 0].eta % 2,
    "npv ** 2 + npv ** -1 + 2 ** npv": lambda ev: ev.npv**2 + ev.npv**-1.0 + 2.0**ev.npv,
    "Jet.pt ** 0.5 * Jet.pt ** 1.5": lambda ev: ev.Jet.pt**2,
    "-Muon[0].charge * Muon[1].charge": lambda ev: -ev.Muon[:, 0].charge * ev.Muon[:, 1].charge,
    "(Jet.pt > 30) + Jet.tight": lambda ev: ak.values_astype(ev.Jet.pt > 30, np.int64) + ev.Jet.tight,
    "+npv == 2 * 5 or npv != 4": lambda ev: (ev.npv == 10) | (ev.npv != 4),
    "npv <= 10 and npv >= 5": lambda ev: (ev.npv <= 10) & (ev.npv >= 5),
    "where(nJet > 1, Jet[1].pt, -1)": lambda ev: ak.fill_none(slot(ev.Jet, 1).pt, -1.0),
    "where(Jet.tight, Jet.pt, 0)": lambda ev: ak.where(ev.Jet.tight, ev.Jet.pt, 0.0),
    "where(nJet > 2, 1, 0)": lambda ev: ak.values_astype(ak.num(ev.Jet) > 2, np.int64),
    "where(nJet > 2, Jet.pt, MET.pt)": lambda ev: ak.where(
        ak.broadcast_arrays(ak.num(ev.Jet), ev.Jet.pt)[0] > 2,
        ev.Jet.pt,
        ak.broadcast_arrays(ev.MET.pt, ev.Jet.pt)[0],
    ),
    "abs(Jet.eta) + sign(Jet.eta) + floor(Jet.pt)": lambda ev: (
        abs(ev.Jet.eta) + np.sign(ev.Jet.eta) + np.floor(ev.Jet.pt)
    ),
    "sqrt(Jet[2].pt)": lambda ev: np.sqrt(slot(ev.Jet, 2).pt),
    "log(Jet.energy) + log10(Jet.pt) + exp(-Jet.pt)": lambda ev: (
        np.log(ev.Jet.energy) + np.log10(ev.Jet.pt) + np.exp(-ev.Jet.pt)
    ),
    "sin(MET.phi) + cos(MET.phi) + tan(MET.phi)": lambda ev: (
        np.sin(ev.MET.phi) + np.cos(ev.MET.phi) + np.tan(ev.MET.phi)
    ),
    "sinh(Jet.eta) / cosh(Jet.eta) - tanh(Jet.eta / 2)": lambda ev: (
        np.tanh(ev.Jet.eta) - np.tanh(ev.Jet.eta / 2)
    ),
    "arccos(Jet.costheta) + arcsin(Jet.px / Jet.p) + arctan(Jet.py)": lambda ev: (
        ev.Jet.theta + np.arcsin(ev.Jet.px / ev.Jet.p) + np.arctan(ev.Jet.py)
    ),
    "arctan2(Jet.py, Jet.px)": lambda ev: ev.Jet.phi,
    "hypot(Jet.px, Jet.py)": lambda ev: ev.Jet.pt,
    # angles of pairs
    "pairs(Jet).angle": lambda ev: pairs(ev)[0].deltaangle(pairs(ev)[1]),
    "pairs(Jet).cosangle": lambda ev: np.cos(pairs(ev)[0].deltaangle(pairs(ev)[1])),
    "pairs(Jet).z_angle": lambda ev: np.sin(pairs(ev)[0].deltaangle(pairs(ev)[1]) / 2) ** 2,
    "pairs(Jet).absdeltaphi": lambda ev: abs(pairs(ev)[0].deltaphi(pairs(ev)[1])),
    "pairs(Muon, Jet).cosdeltaphi": lambda ev: np.cos(
        ak.flatten(ak.cartesian([ev.Muon, ev.Jet], nested=True), axis=2)["0"].deltaphi(
            ak.flatten(ak.cartesian([ev.Muon, ev.Jet], nested=True), axis=2)["1"]
        )
    ),
    "pairs_with_self(Jet).first.pt * pairs_with_self(Jet).orders": lambda ev: (
        with_self(ev)[0].pt * with_self(ev)[2]
    ),
    "pairs_with_self(Jet)[pairs_with_self(Jet).orders == 1].mass": lambda ev: 2 * ev.Jet.mass,
    "wrap(Muon[0].phi - Muon[1].phi)": lambda ev: ev.Muon[:, 0].deltaphi(ev.Muon[:, 1]),
    "wrap(Muon.phi + 3 * pi)": lambda ev: (ev.Muon.phi + 4 * np.pi) % (2 * np.pi) - np.pi,
}


def as_flat(array):
    observable = Observable("reference", function=lambda ev: array)
    return observable.flat(ak.Array(np.zeros(len(array))))[:2]


@pytest.mark.parametrize("expression", CASES)
def test_an_expression_gives_what_awkward_and_vector_give(expression, events):
    """Its values and their events, from arrays and tensors, with the shape that the check foresees."""
    expected, index = as_flat(CASES[expression](events.array))
    observable = Observable("x", expression)
    for form in (events.array, events.batch):
        values, rows, weight = observable.flat(form)
        assert weight is None
        np.testing.assert_array_equal(np.asarray(rows), index)
        np.testing.assert_allclose(np.asarray(values), expected, rtol=1e-9, atol=1e-9)
    data, mask = observable(events.batch)
    assert observable.check(events.schema)[:2] == (data.ndim == 1, not data.is_floating_point())
    assert len(data) == len(events.batch)
    if mask is not None:
        assert mask.shape == data.shape
        assert (data[~mask] == 0).all()


@pytest.mark.parametrize(
    "expression", ["Jet[0].pt", "Jet.pt", "nJet", "pairs(Jet).mass", "Jet[Jet.pt > 40].eta"]
)
def test_arrays_have_the_shape_of_tensors(expression, events):
    observable = Observable("x", expression)
    array, values = observable(events.array), observable(events.batch)
    assert array.ndim == values.data.ndim
    assert len(array) == len(values.data)


@pytest.mark.parametrize("expression", ["Jet[0].pt", "Jet[Jet.pt > 1e9][0].pt", "max(Jet.pt)", "Jet[20].pt"])
def test_an_event_that_lacks_the_object_has_a_missing_value(expression, events):
    array = Observable("x", expression)(events.array)
    assert array[0] is None
    _, mask = Observable("x", expression)(events.batch)
    assert not mask[0]


def test_sums_over_no_objects_are_zero(events):
    assert Observable("x", "sum(Jet.pt)")(events.array)[0] == 0.0
    assert Observable("x", "sum(Jet).mass")(events.batch).data[0] == 0.0


@pytest.mark.parametrize(
    "expression", ["Jet.pt", "(Jet[0] + Jet[1]).mass", "nJet", "pairs(Jet).mass", "max(Jet.pt)"]
)
def test_no_events_and_events_without_any_object_are_fine(expression, events):
    observable = Observable("x", expression)
    assert len(observable(events.array[:0])) == 0
    assert len(observable(events.batch[:0]).data) == 0
    empty = events.array[:1]
    values, index, _ = observable.flat(empty)
    assert len(values) == len(index) == (1 if expression == "nJet" else 0)


def test_long_arrays_are_evaluated_in_parts_with_the_same_result(events, monkeypatch):
    observable = Observable("x", "pairs(Jet).mass")
    whole = observable(events.array)
    monkeypatch.setattr("hepgan.observables.sources._ENTRIES", 49 * 7)
    assert ak.almost_equal(observable(events.array), whole)


def test_flags_and_whole_numbers_keep_their_type(events):
    assert Observable("x", "npv")(events.array).type.content.primitive == "int64"
    assert Observable("x", "npv > 3")(events.array).type.content.primitive == "bool"
    assert Observable("x", "npv > 3").flat(events.array)[0].dtype == np.int64


def test_float32_batches_stay_float32():
    batch = make(1, dtype=torch.float32).batch
    for expression in ("(Muon[0] + Muon[1]).mass", "Jet.pt / sum(Jet.pt)", "sqrt(Muon[0].pt * 2 + 1)"):
        assert Observable("x", expression)(batch).data.dtype == torch.float32


def test_whole_numbers_meet_fractions_in_double_precision(events):
    big = {"n": np.array([2**24 + 1, 3])}
    array = ak.Array(big)
    assert Observable("x", "n * 1.0").flat(array)[0].tolist() == [2**24 + 1, 3]
    assert Observable("x", "n == 16777216.0").flat(array)[0].tolist() == [0, 0]


def test_fields_with_the_name_of_a_property_win():
    array = ak.Array({"Jet": [[{"pt": 1.0, "phi": 0.0, "mt": 5.0}]]})
    assert Observable("x", "Jet.mt").flat(array)[0].tolist() == [5.0]


def test_a_column_that_is_no_number_is_an_input_error():
    array = ak.Array({"Jet": [[{"pt": 1.0, "label": "b"}]], "name": ["x"]})
    with pytest.raises(InputError, match=r"Jet\.label"):
        Observable("x", "Jet.label == 1")(array)
    with pytest.raises(InputError, match="name"):
        Observable("x", "name + 1")(array)


def test_things_that_are_no_events_are_told():
    with pytest.raises(InputError, match="list"):
        Observable("x", "Jet.pt")([1])


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("Jeti[0].pt", r"column 1: unknown name 'Jeti'; did you mean 'Jet'\?"),
        ("Muon[0].pt + Jet[0].ptt", r"column 21: Jet\[0\] has no field or property 'ptt'; did you mean 'pt'"),
        ("MET.eta", "column 5: MET has no field or property 'eta'"),
        ("Muon[0]", "a number"),
        ("1 + 2", "does not depend on the events"),
        ("Jet.pt + Muon.pt", "Jet and Muon are different sets of objects"),
        ("Jet.pt + Jet[:2].pt", "different sets"),
        ("Jet[Muon.pt > 3].pt", "different sets"),
        ("(Muon[0] + MET).mass", "do not have the same dimension"),
        ("Muon[0].deltaR(MET)", "deltaR does not work"),
        ("Muon[0].pt[0]", "column 1: only objects can be indexed"),
        ("MET[0].pt", "only objects can be indexed"),
        ("Jet[Jet].pt", "chosen by"),
        ("Jet[Jet.pt].pt", "condition"),
        ("Jet[True].pt", "chosen by"),
        ("sum(MET.pt)", "sum is for objects"),
        ("count(Jet.pt > 30)", "use sum"),
        ("mean(Jet)", "mean is for numbers"),
        ("max(Jet)", "a number is needed"),
        ("sqrt(Jet)", "a number is needed"),
        ("Jet[0] * Jet[1]", "momenta can be added"),
        ("Jet[0] + 1", "momenta can be added"),
        ("Jet.pt.mass", "a number has no attribute"),
        ("npv.deltaR(Jet)", "a momentum is needed"),
        ("pairs(Jet.pt)", "not of numbers"),
        ("nMET", "unknown name"),
        ("not Jet.pt", "condition"),
        ("npv ** 9 ** 9 ** 9", "cannot be computed"),
        ("npv / (1 / 0)", "cannot be computed"),
        ("npv * (-8) ** 0.5", "cannot be computed"),
        ("npv + log(0)", "not a finite"),
        ("where(True, 1, 2)", "does not depend"),
    ],
)
def test_an_expression_that_does_not_fit_is_an_error_on_both_and_in_the_check(expression, reason, events):
    observable = Observable("x", expression)
    for run in (lambda: observable(events.array), lambda: observable(events.batch)):
        with pytest.raises(RecipeError, match=reason):
            run()
    with pytest.raises(RecipeError, match=f"observable x: .*{reason}"):
        observable.check(events.schema)


def test_the_check_knows_objects_that_no_event_can_have(schema):
    with pytest.raises(RecipeError, match=r"at most 2 of Muon"):
        Observable("x", "Muon[2].pt").check(schema)
    assert Observable("x", "Jet[6].pt").check(schema).optional
    assert not Observable("x", "Muon[1].pt").check(schema).optional


def test_objects_without_momentum_say_so():
    batch = EventBatch(make(1).schema, {"PV": Objects({"npvs": torch.ones(3)})})
    assert Observable("x", "PV.npvs")(batch).data.sum() == 3
    with pytest.raises(RecipeError, match="PV has no field or property 'pt'"):
        Observable("x", "PV.pt")(batch)
    with pytest.raises(RecipeError, match="no momentum"):
        Observable("x", "PV.deltaphi(PV)")(batch)
