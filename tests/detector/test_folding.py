"""Folding: what a detector makes of events, learned from pairs."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest
import torch
from response_toys import EFFICIENCY, FAKES, SMEARING, jet_pairs

from hepgan.detector import Folding, folding_recipe, pairs, profile
from hepgan.errors import InputError, RecipeError
from hepgan.events import schema_of, to_awkward, to_batch
from hepgan.generator import EventGenerator
from hepgan.recipes import load_recipe

JETS = {"vertex": ["GenJet"], "detector": ["Jet"], "conditions": ["rho"]}


def quick(kind="conditional", **training):
    recipe = folding_recipe(schema_of(jet_pairs(10)), **JETS, kind=kind)
    settings = {"steps": 40, "batch_size": 256} | training
    small = ["model.blocks=3", "model.network.widths=[32]"] if kind == "conditional" else []
    return recipe.with_settings([*small, *(f"training.{k}={v}" for k, v in settings.items())])


@pytest.fixture(scope="module")
def folding():
    return Folding(quick()).fit(jet_pairs(1500, 1, weighted=True), device="cpu")


def same(one, other, collection="Jet"):
    assert ak.array_equal(one[collection], other[collection])


def test_folded_events_have_the_response_of_the_detector():
    """Learned from falling spectra, applied to flat ones: smearing, efficiency by flavour, fakes."""
    learned = jet_pairs(6000, 1)
    folding = Folding(quick(steps=200, batch_size=512)).fit(learned, device="cpu")
    events = jet_pairs(8000, 2, flat=True)
    found = pairs(
        folding.fold(events, seed=1, keep_vertex=True), "GenJet", "Jet", distance="delta_r", within=0.12
    )
    before = pairs(learned, "GenJet", "Jet", distance="delta_r", within=0.12)
    flavour, other = (ak.to_numpy(ak.flatten(e.GenJet.flavour)) for e in (events, learned))
    for code, efficiency in EFFICIENCY.items():
        seen = before.found[other == code].mean()
        assert seen == pytest.approx(efficiency, abs=0.02)
        assert found.found[flavour == code].mean() == pytest.approx(seen, abs=0.03)
    assert found.fakes.mean() == pytest.approx(FAKES, abs=0.04)
    ratio = np.log(found.measured["pt"] / found.true["pt"])
    response = profile(ratio, found.true["pt"], [20, 40, 60, 80])
    np.testing.assert_allclose(response.width, SMEARING, rtol=0.12)
    np.testing.assert_allclose(response.mean, 0.0, atol=0.015)
    deta = profile(found.measured["eta"] - found.true["eta"], found.true["pt"], [20, 40, 60, 80])
    np.testing.assert_allclose(deta.width, 0.02, rtol=0.12)


def test_folded_events_are_of_the_detector_with_the_conditions_and_the_weights(folding):
    events = jet_pairs(500, 3, weighted=True)
    folded = folding.fold(events, seed=1)
    assert folded.fields == ["Jet", "rho", "genWeight"]
    assert folded.genWeight.to_list() == events.genWeight.to_list()
    assert schema_of(folded).weight == "genWeight"
    np.testing.assert_allclose(folded.rho, events.rho, rtol=1e-6)
    assert folding.fold(jet_pairs(50, 3), seed=1).fields == ["Jet", "rho"]
    kept = folding.fold(events, seed=1, keep_vertex=True)
    assert kept.fields == ["GenJet", "Jet", "rho", "genWeight"]
    same(kept, events, "GenJet")
    same(kept, folded)


def test_events_are_folded_the_same_after_saving_and_in_any_number_of_threads(folding, tmp_path):
    events = jet_pairs(4500, 4)
    folded = folding.fold(events, seed=2, workers=1)
    folding.save(tmp_path / "folding.safetensors")
    again = Folding.load(tmp_path / "folding.safetensors", device="cpu")
    assert (again.vertex, again.detector, again.conditions) == (("GenJet",), ("Jet",), ("GenJet", "rho"))
    same(again.fold(events, seed=2, workers=2), folded)
    assert again.fold(events, seed=3).Jet.pt.to_list() != folded.Jet.pt.to_list()


def test_vertex_events_may_hold_more_and_in_other_precision(folding):
    events = jet_pairs(200, 5)
    double = ak.zip(
        {
            n: events.GenJet[n] if n == "flavour" else ak.values_astype(events.GenJet[n], np.float64)
            for n in events.GenJet.fields
        },
        with_name="Momentum4D",
    )
    more = ak.with_field(ak.with_field(events, double, "GenJet"), np.arange(200), "run")
    same(folding.fold(more), folding.fold(events))


def test_gradients_reach_the_momenta_of_the_vertex(folding):
    batch = to_batch(jet_pairs(200, 6))
    jets = batch.collections["GenJet"]
    for name in ("pt", "eta", "phi"):
        jets.fields[name].requires_grad_()
    folded = folding.fold_batch(batch, torch.Generator().manual_seed(1))
    total = (folded.Jet.pt * folded.Jet.mask).sum()
    (slope,) = torch.autograd.grad(total, jets.fields["pt"])
    assert torch.isfinite(slope).all()
    found = pairs(to_awkward_with(folded, batch), "GenJet", "Jet", distance="delta_r", within=0.2)
    # A jet that is found grows with its true momentum, nearly in proportion; one that is lost does not.
    slopes = slope[jets.mask]
    assert float(slopes[torch.from_numpy(found.found)].median()) == pytest.approx(1.0, abs=0.25)
    assert not any(p.requires_grad for p in folding.generator.parts.model.parameters())
    other = folding.fold_batch(batch, torch.Generator().manual_seed(1))
    assert torch.equal(other.Jet.pt, folded.Jet.pt)


def to_awkward_with(folded, batch):
    made = to_awkward(folded.detach())
    return ak.with_field(made, to_awkward(batch.detach()).GenJet, "GenJet")


def test_batches_are_folded_as_arrays_are(folding):
    """The same distribution, by another way; and the weights come along."""
    events = jet_pairs(4000, 7, weighted=True)
    batch = to_batch(events)
    one = folding.fold_batch(batch, torch.Generator().manual_seed(1))
    other = folding.fold(events, seed=1)
    assert torch.equal(one.weight, batch.weight)
    assert float(one.Jet.mask.sum(1).double().mean()) == pytest.approx(ak.mean(ak.num(other.Jet)), abs=0.07)
    mean = float(one.Jet.pt.sum() / one.Jet.mask.sum())
    assert mean == pytest.approx(ak.mean(other.Jet.pt), rel=0.04)


def test_bounds_hold_in_folded_batches(monkeypatch):
    monkeypatch.setattr("hepgan.learners.discrete.STEPS", 40)
    recipe = quick().model_copy(update={"observables": {}})
    recipe = load_recipe(
        recipe.model_dump(mode="json", exclude_unset=True)
        | {
            "features": {
                "blocks": [{"kind": "response", "collection": "Jet", "of": "GenJet"}],
                "bounds": {"Jet.pt": [15.0, None]},
            }
        }
    )
    events = jet_pairs(1500, 8)
    events = events[ak.all(events.Jet.pt >= 15, axis=1)]
    folding = Folding(recipe).fit(events, device="cpu")
    folded = folding.fold_batch(to_batch(events), torch.Generator().manual_seed(1))
    assert float(folded.Jet.pt[folded.Jet.mask].min()) >= 15.0
    assert ak.all(folding.fold(events).Jet.pt >= 15.0)


def test_the_published_direct_folding_smears_nothing(monkeypatch):
    monkeypatch.setattr("hepgan.learners.discrete.STEPS", 40)
    folding = Folding(quick("direct")).fit(jet_pairs(800, 1), device="cpu")
    assert folding.generator.parts.model.noise_size == 0
    events = jet_pairs(100, 2)
    one, other = (folding.fold(events, seed=s) for s in (1, 2))
    alike = ak.to_numpy(ak.num(one.Jet) == ak.num(other.Jet))
    assert alike.any()
    equal = ak.all(one.Jet.eta[alike] == other.Jet.eta[alike], axis=1)
    assert ak.mean(equal) > 0.5


def test_a_draft_pairs_collections_and_takes_phi_from_the_first_object():
    recipe = folding_recipe(schema_of(jet_pairs(10)), **JETS)
    assert recipe.features.azimuth == "GenJet[0]"
    assert [(b.collection, b.of) for b in recipe.features.blocks] == [("Jet", "GenJet")]
    assert load_recipe(recipe.model_dump(mode="json", exclude_unset=True)) == recipe


def test_what_cannot_be_folded_is_told(folding, tmp_path):
    with pytest.raises(RecipeError, match="no 'Electron' in the events"):
        Folding().fit(jet_pairs(50))
    with pytest.raises(ValueError, match="not 'magic'"):
        Folding(kind="magic")
    with pytest.raises(RuntimeError, match="has not learned anything"):
        Folding().fold(jet_pairs(50))
    with pytest.raises(InputError, match="the events have no GenJet"):
        folding.fold(jet_pairs(50)[["Jet", "rho"]])
    batch = to_batch(jet_pairs(50))
    bare = type(batch)(batch.schema, {"GenJet": batch.collections["GenJet"]})
    with pytest.raises(InputError, match="the condition rho is missing"):
        folding.fold_batch(bare, torch.Generator())
    without = type(batch)(batch.schema, {"Jet": batch.collections["Jet"]}, batch.scalars)
    with pytest.raises(InputError, match="the collection GenJet is missing"):
        folding.fold_batch(without, torch.Generator())
    plain = {"name": "plain", "model": {"kind": "flow", "blocks": 1}, "training": {"steps": 1}}
    with pytest.raises(RecipeError, match="vertex-level collections among its conditions"):
        Folding(plain).fit(jet_pairs(50))
    with pytest.raises(RecipeError, match="a folding is a single model, not an ensemble of 2"):
        Folding(quick(members=2)).fit(jet_pairs(50))
    EventGenerator(plain).fit(jet_pairs(50), device="cpu").save(tmp_path / "plain.safetensors")
    with pytest.raises(InputError, match="no folding"):
        Folding.load(tmp_path / "plain.safetensors")
