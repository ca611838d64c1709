from __future__ import annotations

from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from toys import dimuons

from hepgan.errors import ModelFileError, RecipeError
from hepgan.events import schema_of, to_batch
from hepgan.generator import EventGenerator
from hepgan.recipes import Derived

EXPRESSIONS = {
    "m": "(Muon[0] + Muon[1]).mass",
    "ht": "sum(Jet.pt)",
    "njet": "nJet",
    "leading": "Jet[0].pt",
    "busy": "nJet > 1",
}


def with_derived(events: ak.Array) -> ak.Array:
    """The events with scalars of several types, computed by vector and awkward in the files' precision."""
    jets = events.Jet.pt
    columns = {
        "m": (events.Muon[:, 0] + events.Muon[:, 1]).mass,
        "ht": ak.sum(jets, axis=1),
        "njet": ak.values_astype(ak.num(jets), np.int16),
        "leading": ak.values_astype(ak.fill_none(ak.firsts(jets), 0.0), np.float32),
        "busy": ak.num(jets) > 1,
    }
    for name, values in columns.items():
        events = ak.with_field(events, values, name)
    return events


def generator(derived: dict[str, str], **sections: Any) -> EventGenerator:
    events = {"derived": derived, **sections.pop("events", {})}
    recipe = {
        "name": "derived",
        "events": events,
        "model": {"kind": "flow_matching", "network": {"kind": "mlp", "widths": [16]}, "steps": 2},
        "training": {"steps": 5, "batch_size": 64},
    }
    return EventGenerator({**recipe, **sections})


@pytest.fixture(scope="module")
def events() -> ak.Array:
    return with_derived(dimuons(1500, seed=4, weighted=True))


@pytest.fixture(scope="module")
def fitted(events: ak.Array) -> EventGenerator:
    return generator(EXPRESSIONS, features={"bounds": {"Muon.pt": [10.0, None]}}).fit(events, device="cpu")


def assert_follow(made: ak.Array) -> None:
    pair = (made.Muon[:, 0] + made.Muon[:, 1]).mass
    assert_allclose(ak.to_numpy(made.m), ak.to_numpy(pair), rtol=1e-3)
    assert_allclose(ak.to_numpy(made.ht), ak.to_numpy(ak.sum(made.Jet.pt, axis=1)), rtol=1e-5)
    assert ak.all(made.njet == ak.num(made.Jet))
    assert ak.all(made.leading == ak.fill_none(ak.firsts(made.Jet.pt), 0.0))
    assert ak.all(made.busy == (ak.num(made.Jet) > 1))


def test_generated_scalars_are_functions_of_the_generated_event(
    fitted: EventGenerator, events: ak.Array
) -> None:
    made = fitted.generate(1000, seed=1)
    assert made.type.content == events.type.content
    assert_follow(made)
    assert ak.any(made.njet == 0)
    assert ak.any(made.busy)


def test_derived_scalars_are_no_features(fitted: EventGenerator) -> None:
    representation = fitted.parts.representation
    named = {*representation.names, *(v.name for v in representation.variables)}
    assert not named & set(EXPRESSIONS)
    assert set(representation.schema.scalar_names) == {"npv", "genWeight"}
    assert set(fitted.schema.scalar_names) == {"npv", "genWeight", *EXPRESSIONS}


def test_a_loaded_model_derives_the_same(fitted: EventGenerator, tmp_path: Path) -> None:
    fitted.save(tmp_path / "model.safetensors")
    loaded = EventGenerator.load(tmp_path / "model.safetensors", device="cpu")
    ours, theirs = fitted.generate(300, seed=5), loaded.generate(300, seed=5)
    assert ak.array_equal(ours, theirs)
    assert_follow(theirs)
    assert "derived     m = (Muon[0] + Muon[1]).mass" in loaded.describe()


def test_a_model_file_whose_derived_scalars_do_not_fit_is_refused(
    fitted: EventGenerator, tmp_path: Path
) -> None:
    changed = fitted.recipe.with_settings(["events.derived={m: 'Tau[0].pt'}"])
    EventGenerator.from_parts(changed, fitted.parts, {}).save(tmp_path / "model.safetensors")
    with pytest.raises(ModelFileError, match="Tau"):
        EventGenerator.load(tmp_path / "model.safetensors", device="cpu")


def test_a_selection_keeps_derived_scalars(events: ak.Array) -> None:
    made = generator({"ht": "sum(Jet.pt)"}, events={"select": ["Jet"], "weight": "genWeight"})
    assert set(made.fit(events, device="cpu").generate(20).fields) == {"Jet", "genWeight", "ht"}


def test_critics_and_penalties_see_derived_scalars(events: ak.Array) -> None:
    network = {"kind": "mlp", "widths": [16]}
    model = {
        "kind": "gan",
        "generator": network,
        "critics": [{"network": network, "observables": ["mass"]}],
        "penalties": [{"kind": "mmd", "observable": "mass"}],
    }
    made = generator({"m": EXPRESSIONS["m"]}, model=model, observables={"mass": "m"})
    assert len(made.fit(events, device="cpu").generate(20)) == 20


OF_OBJECTS = {
    "Muon.close": "Muon.iso < 0.1",
    "Muon.absolute": "Muon.iso * Muon.pt",
    "Muon.p4pt": "Muon.pt",
    "Muon.mtw": "transverse_mass(Muon, MET)",
    "Jet.many": "nJet > 1",
    "HLT.hard": "any(Muon.pt > 30)",
    "MET.along": "MET.px",
}


@pytest.fixture(scope="module")
def objects() -> ak.Array:
    events = dimuons(1000, seed=5)
    muon, met, jet = events.Muon, events.MET, events.Jet
    mt = np.sqrt(2 * muon.pt * met.pt * (1 - np.cos(muon.phi - met.phi)))
    own = {"close": muon.iso < 0.1, "absolute": muon.iso * muon.pt, "p4pt": muon.pt, "mtw": mt}
    for name, values in own.items():
        muon = ak.with_field(muon, values, name)
    many = ak.broadcast_arrays(ak.num(jet) > 1, jet.pt)[0]
    events = ak.with_field(events, muon, "Muon")
    events = ak.with_field(events, ak.with_field(jet, ak.values_astype(many, np.uint8), "many"), "Jet")
    events = ak.with_field(events, ak.with_field(met, met.px, "along"), "MET")
    return ak.with_field(events, ak.zip({"hard": ak.any(muon.pt > 30, axis=1)}), "HLT")


def test_numbers_of_objects_are_functions_of_the_generated_event(objects: ak.Array, tmp_path: Path) -> None:
    made = generator(OF_OBJECTS).fit(objects, device="cpu")
    learned = made.parts.representation.schema
    assert "HLT" not in learned.collection_names
    assert set(learned.collection("Muon").field_names) == {"pt", "eta", "phi", "mass", "charge", "iso"}
    events = made.generate(500, seed=2)
    assert events.type.content == objects.type.content
    muon = events.Muon
    assert events.HLT.hard.layout.dtype == np.bool_
    assert ak.any(muon.close)
    assert ak.all(muon.close == (muon.iso < 0.1))
    assert ak.all(muon.p4pt == muon.pt)
    assert ak.all(events.HLT.hard == ak.any(muon.pt > 30, axis=1))
    assert ak.all(events.Jet.many == (ak.num(events.Jet) > 1))
    assert_allclose(ak.to_numpy(events.MET.along), ak.to_numpy(events.MET.px), rtol=1e-3, atol=1e-4)
    assert_allclose(ak.flatten(muon.absolute), ak.flatten(muon.iso * muon.pt), rtol=1e-5)
    made.save(tmp_path / "model.safetensors")
    again = EventGenerator.load(tmp_path / "model.safetensors", device="cpu").generate(500, seed=2)
    assert ak.array_equal(again, events)


@pytest.mark.parametrize(
    ("derived", "match"),
    [
        ({"Muon.close": "Jet.pt > 3"}, "a number for each of Jet; one for each of Muon is needed here"),
        ({"Muon.nothing": "Muon.pt"}, "Muon has no field 'nothing'; there are pt, eta"),
        ({"Muon[0].close": "Muon[0].pt > 3"}, "neither a scalar nor a number of a collection"),
        ({"MET.along": "Muon.pt"}, "MET"),
        (
            {"Muon.close": "Muon.iso < 0.2"},
            r"Muon.close is 0 where Muon.iso < 0.2 is 1, .* objects that differ",
        ),
        ({"Muon.p4pt": "1.001 * Muon.pt"}, "the largest difference"),
        ({f"HLT.{n}": "nJet" for n in ("hard",)}, "HLT.hard is"),
    ],
)
def test_numbers_of_objects_that_do_not_follow_are_told(
    objects: ak.Array, derived: dict[str, str], match: str
) -> None:
    schema = schema_of(objects)
    with pytest.raises(RecipeError, match=match):
        Derived(schema, derived).check(to_batch(objects, schema))


def test_what_is_not_finite_is_0() -> None:
    events = dimuons(50)
    events = ak.with_field(events, np.zeros(50), "ratio")
    schema = schema_of(events)
    derived = Derived(schema, {"ratio": "MET.pt / (MET.pt - MET.pt)"})
    assert torch.all(derived(to_batch(events, schema)).scalars["ratio"] == 0)


@pytest.mark.parametrize(
    ("derived", "match"),
    [
        ({"nothing": "nJet"}, "'nothing' is not a scalar of the events; they have .*m, ht, njet"),
        ({"m": "(Tau[0] + Tau[1]).mass"}, "Tau"),
        ({"m": "Muon.pt"}, "a number for each object"),
        ({"ht": "sum(Jet.pt)", "m": "ht * 2"}, "observable m: .*'ht'"),
        ({"m": "genWeight"}, "observable m: .*'genWeight'"),
        ({"m": "ht"}, "m is .* where ht is .*the largest difference"),
        ({"genWeight": "nJet"}, "the event weight"),
        ({"leading": "Jet[1].pt"}, r"leading is .* where Jet\[1\].pt does not exist"),
        ({"njet": "nJet + nMuon"}, "njet is . where nJet . nMuon is .*1,500 of 1,500"),
    ],
)
def test_what_cannot_be_derived_is_refused_before_training(
    events: ak.Array, derived: dict[str, str], match: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hepgan.generator.fitting.Representation", None)
    with pytest.raises(RecipeError, match=match):
        generator(derived).fit(events, device="cpu")


def test_the_largest_deviation_is_told_with_its_entry(events: ak.Array) -> None:
    mass = ak.to_numpy(events.m).copy()
    mass[[3, 70, 500]] *= [1.01, 1.5, 1.02]
    with pytest.raises(RecipeError, match="3 of 1,500") as error:
        generator({"m": EXPRESSIONS["m"]}).fit(ak.with_field(events, mass, "m"), device="cpu")
    assert (error.value.branch, error.value.entry) == ("m", 70)


@pytest.mark.parametrize("bits", [7, 10, 23])
def test_rounding_of_what_is_stored_is_no_deviation(bits: int) -> None:
    """NanoAOD keeps few bits of some numbers; what was computed before agrees within that."""
    events = dimuons(1000, seed=9)
    exact = ak.to_numpy((events.Muon[:, 0] + events.Muon[:, 1]).mass)
    mantissa, exponent = np.frexp(ak.to_numpy(ak.flatten(events.Muon.pt)).astype(np.float64))
    rounded = np.ldexp(np.round(mantissa * 2.0**bits) / 2.0**bits, exponent).astype(np.float32)
    muons = ak.with_field(events.Muon, ak.unflatten(rounded, 2), "pt")
    events = ak.with_field(ak.with_field(events, muons, "Muon"), exact, "m")
    schema = schema_of(events)
    Derived(schema, {"m": EXPRESSIONS["m"]}).check(to_batch(events, schema))
    wrong = ak.with_field(events, exact * np.float32(1.1), "m")
    with pytest.raises(RecipeError, match="1,000 of 1,000"):
        Derived(schema, {"m": EXPRESSIONS["m"]}).check(to_batch(wrong, schema))
