"""Generators whose conditions are collections."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest
from response_toys import jet_pairs

from hepgan.errors import InputError
from hepgan.events import to_awkward, write_events
from hepgan.generator import EventGenerator

SMALL = {"kind": "mlp", "widths": [32]}
FAMILIES = {
    "gan": {"kind": "gan", "generator": SMALL, "critics": [{"network": SMALL, "observables": ["ht"]}]},
    "flow": {"kind": "flow", "blocks": 2, "network": SMALL},
    "flow_matching": {"kind": "flow_matching", "network": SMALL, "steps": 2},
}


def recipe(model, **more):
    return {
        "name": "toy",
        "conditions": ["GenJet", "rho"],
        "model": model,
        "observables": {"ht": "sum(Jet.pt)"},
        "features": {"blocks": [{"kind": "response", "collection": "Jet", "of": "GenJet"}]},
        "training": {"steps": 20, "batch_size": 256},
        **more,
    }


@pytest.fixture(scope="module", params=FAMILIES)
def trained(request):
    return EventGenerator(recipe(FAMILIES[request.param])).fit(jet_pairs(1500, 1), device="cpu")


@pytest.fixture(scope="module")
def flow():
    return EventGenerator(recipe(FAMILIES["flow"])).fit(jet_pairs(1500, 1), device="cpu")


def same(one, other):
    for name in ("GenJet", "Jet"):
        for field in one[name].fields:
            assert one[name][field].to_list() == other[name][field].to_list()
    assert one.rho.to_list() == other.rho.to_list()


def test_every_family_makes_events_of_given_objects_which_stay_as_they_are(trained):
    events = jet_pairs(5000, 2, flat=True)
    made = trained.generate(5000, seed=3, condition=events)
    for field in events.GenJet.fields:
        assert made.GenJet[field].to_list() == events.GenJet[field].to_list()
    np.testing.assert_allclose(made.rho, events.rho, rtol=1e-6)
    assert ak.all(np.isfinite(made.Jet.pt))
    assert int(ak.max(ak.num(made.Jet))) <= 4
    # No jet without a true one, but for the one fake that there may be.
    assert ak.all(ak.num(made.Jet) <= ak.num(made.GenJet) + 1)


def test_a_model_file_keeps_what_is_given(trained, tmp_path):
    trained.save(tmp_path / "model.safetensors")
    again = EventGenerator.load(tmp_path / "model.safetensors", device="cpu")
    events = jet_pairs(100, 4)
    same(again.generate(100, condition=events), trained.generate(100, condition=events))
    same(again.generate(100), trained.generate(100))


def test_events_are_the_same_for_any_number_of_threads_and_parts(flow):
    events = jet_pairs(9000, 5)
    whole = flow.generate(9000, seed=1, condition=events, workers=1)
    same(flow.generate(9000, seed=1, condition=events, workers=2), whole)
    given = {"GenJet": events.GenJet, "rho": events.rho}
    same(flow.generate(9000, seed=1, condition=given), whole)
    last = list(flow.pieces(808, to_awkward, seed=1, first=8192, offset=8192, condition=events[8192:]))
    same(ak.concatenate(last), whole[8192:])


def test_without_conditions_given_objects_are_those_of_training_events(flow):
    made = flow.generate(2000, seed=1)
    known = set(ak.flatten(jet_pairs(1500, 1).GenJet.pt).to_list())
    assert set(ak.flatten(made.GenJet.pt).to_list()) <= known
    at = flow.generate(50, condition={"rho": 4.0})
    np.testing.assert_allclose(at.rho, 4.0, rtol=1e-6)


def test_densities_are_of_what_is_generated_alone(flow):
    events = jet_pairs(40, 1)
    found = flow.log_prob(events)
    assert np.isfinite(found).all()
    moved = ak.with_field(events, ak.with_field(events.Jet, events.Jet.pt * 1.5, "pt"), "Jet")
    has = ak.to_numpy(ak.num(events.Jet) > 0)
    assert (flow.log_prob(moved) < found)[has].mean() > 0.9


def test_conditions_that_cannot_be_used_are_told(flow):
    events = jet_pairs(10, 6)
    with pytest.raises(InputError, match="rho is missing: collections are given together"):
        flow.generate(10, condition={"GenJet": events.GenJet})
    with pytest.raises(InputError, match="the events have no GenJet"):
        flow.generate(10, condition=events[["Jet", "rho"]])
    with pytest.raises(InputError, match=r"expected one number, or 10"):
        flow.generate(10, condition=events[:5])
    with pytest.raises(InputError, match="expected an array with the objects of 10"):
        flow.generate(10, condition={"GenJet": 3.0, "rho": 1.0})
    less = events.GenJet[["pt", "eta", "phi", "mass", "flavour"]]
    with pytest.raises(InputError, match="GenJet has no time"):
        flow.generate(10, condition={"GenJet": less, "rho": events.rho})
    four = ak.concatenate([events.GenJet, events.GenJet, events.GenJet, events.GenJet], axis=1)
    with pytest.raises(InputError, match="GenJet"):
        flow.generate(10, condition={"GenJet": four, "rho": events.rho})
    bad = ak.with_field(events.GenJet, events.GenJet.pt * np.nan, "pt")
    with pytest.raises(InputError, match="GenJet_pt"):
        flow.generate(10, condition={"GenJet": bad, "rho": events.rho})


def test_the_command_line_takes_collections_from_a_file(flow, tmp_path, run_hepgan):
    flow.save(tmp_path / "model.safetensors")
    write_events(tmp_path / "vertex.root", jet_pairs(200, 7))
    given = [f"--condition={name}={tmp_path / 'vertex.root'}" for name in ("GenJet", "rho")]
    out = tmp_path / "made.root"
    assert run_hepgan("generate", tmp_path / "model.safetensors", "-n", 150, "-o", out, *given) == 0


@pytest.fixture
def run_hepgan(monkeypatch):
    from hepgan.cli import main

    def run(*words):
        with pytest.raises(SystemExit) as ended:
            main([str(w) for w in words])
        return ended.value.code

    return run


def test_a_fixed_number_of_objects_needs_no_counts():
    events = jet_pairs(3000, 8)
    pair = events[(ak.num(events.GenJet) >= 1) & (ak.num(events.Jet) >= 1)]
    pair = ak.zip({"GenJet": pair.GenJet[:, :1], "Jet": pair.Jet[:, :1]}, depth_limit=1)
    made = EventGenerator(recipe(FAMILIES["flow"]) | {"conditions": ["GenJet"]}).fit(pair, device="cpu")
    assert "Jet:fakes" not in [v.name for v in made.representation.variables]
    folded = made.generate(300, condition=pair[:300])
    assert ak.all(ak.num(folded.Jet) == 1)
