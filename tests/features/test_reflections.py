from __future__ import annotations

import awkward as ak
import numpy as np
import pytest
import torch
from toys import dimuons

from hepgan import EventGenerator
from hepgan.errors import RecipeError
from hepgan.events import schema_of, select, to_awkward, to_batch
from hepgan.features import FeaturesConfig, Representation, edges, mirrored, reflected
from hepgan.generator.encoding import _with_images
from hepgan.recipes import load_recipe

TOY = {
    "name": "toy",
    "events": {"select": ["Muon"]},
    "model": {"kind": "flow", "blocks": 3, "network": {"kind": "mlp", "widths": [32]}},
    "training": {"steps": 40, "batch_size": 128, "validation_fraction": 0.0},
}

FORMS = {
    "cylinder": ("pt", "eta", "phi", "mass"),
    "cartesian": ("px", "py", "pz", "mass"),
    "theta": ("pt", "theta", "phi", "mass"),
}


@pytest.mark.parametrize("form", FORMS)
def test_images_have_the_momenta_of_a_mirror_in_any_coordinates(form):
    events = dimuons(50, 1)
    muons = ak.zip({n: getattr(events.Muon, n) for n in FORMS[form]}, with_name="Momentum4D")
    jets = ak.zip({n: getattr(events.Jet, n) for n in FORMS[form]}, with_name="Momentum4D")
    plain = ak.zip({"Muon": muons, "Jet": jets, "npv": events.npv}, depth_limit=1)
    images = to_awkward(reflected(to_batch(plain), ("y", "z")))
    assert len(images) == 200
    signs = [(1, 1), (-1, 1), (1, -1), (-1, -1)]
    for k, (y, z) in enumerate(signs):
        part = images[50 * k : 50 * (k + 1)]
        for name in ("Muon", "Jet"):
            for component, sign in (("px", 1), ("py", y), ("pz", z), ("mass", 1)):
                expected = sign * getattr(plain[name], component)
                found = getattr(part[name], component)
                assert ak.num(found).to_list() == ak.num(expected).to_list()
                np.testing.assert_allclose(ak.flatten(found), ak.flatten(expected), rtol=2e-4, atol=2e-4)
        assert part.npv.to_list() == plain.npv.to_list()


def test_places_without_an_object_stay_as_they_are():
    events = dimuons(50, 1)
    jets = ak.zip({n: getattr(events.Jet, n) for n in FORMS["theta"]}, with_name="Momentum4D")
    batch = to_batch(ak.zip({"Jet": jets}, depth_limit=1))
    images = reflected(batch, ("z",))
    absent = ~images.Jet.mask
    assert absent.any()
    assert torch.equal(images.Jet.theta[absent], torch.cat([batch.Jet.theta, batch.Jet.theta])[absent])


def test_no_axis_gives_the_same_events():
    batch = to_batch(dimuons(5, 1))
    assert reflected(batch, ()) is batch


def test_a_model_of_few_one_sided_events_learns_both_sides():
    events = dimuons(800, 1)[["MET", "Muon"]]
    forward = events[(ak.to_numpy(events.Muon.eta[:, 0]) > 0) | (np.arange(800) % 10 == 0)]
    sides = {}
    for axes in ([], ["z"]):
        generator = EventGenerator({**TOY, "features": {"reflections": axes}}).fit(forward, seed=1)
        sides[len(axes)] = np.mean(ak.to_numpy(generator.generate(4000, seed=2).Muon.eta[:, 0]) > 0)
        assert generator.summary["training_events"] == len(forward)
    assert sides[0] > 0.8
    assert abs(sides[1] - 0.5) < 0.08


def test_an_axis_is_reversed_once():
    recipe = load_recipe("zmumu")
    with pytest.raises(RecipeError, match="reversed once"):
        recipe.with_settings(["features.reflections=[z, z]"])
    with pytest.raises(RecipeError, match="reflections"):
        recipe.with_settings(["features.reflections=[x]"])


def test_images_weigh_as_much_as_their_events_and_have_the_features_of_events():
    events = dimuons(300, 1, weighted=True)
    recipe = load_recipe({**TOY, "features": {"reflections": ["z"]}}).with_settings(["training.steps=1"])
    generator = EventGenerator(recipe).fit(events, seed=1)
    representation = generator.representation
    batch = to_batch(events, representation.schema)
    features = representation.encode(batch)
    whole = _with_images(representation, features, batch)
    assert 590 < len(whole) <= 600
    names = list(representation.names)
    assert torch.equal(whole.x[:300], features.x)
    eta = representation.columns(whole.x)[:, names.index("Muon[0].eta")]
    np.testing.assert_allclose(eta[300:], -eta[: len(whole) - 300], rtol=1e-6, atol=1e-6)
    assert torch.equal(whole.weight[300:], features.weight[: len(whole) - 300])


def test_images_of_the_largest_values_make_no_tail_of_a_single_one():
    """Nearly equal extremes must not be taken for the slope of the density beyond them."""
    events = dimuons(2000, 1)
    generator = EventGenerator({**TOY, "features": {"reflections": ["y", "z"]}}).fit(events, seed=1)
    other = generator.latents(dimuons(10_000, 2)).values
    assert np.nanmax(np.abs(other)) < 30


FEATURES = {
    "azimuth": "Muon[0] + Muon[1]",
    "blocks": [{"kind": "decay", "name": "Z", "children": ["Muon[0]", "Muon[1]"]}],
    "bounds": {"Muon.pt": [10.0, None]},
}


@pytest.fixture(scope="module")
def encoded():
    events = dimuons(20_000, seed=3)
    schema = select(schema_of(events), ["Muon.pt", "Muon.eta", "Muon.phi", "Muon.mass"])
    batch = to_batch(events, schema)
    representation = Representation(FeaturesConfig.model_validate(FEATURES), schema).fit(batch)
    return representation, representation.encode(batch)


def test_the_events_come_first_and_the_images_are_outside_the_bounds(encoded):
    representation, features = encoded
    whole = mirrored(representation, features, generator=torch.Generator().manual_seed(0))
    assert len(whole) > 1.005 * len(features)
    torch.testing.assert_close(whole.x[: len(features)], features.x, rtol=0, atol=0)
    assert not representation.valid(representation.decode(whole[len(features) :])).any()
    assert float(whole.weight.sum()) == pytest.approx(len(whole))


def test_the_density_goes_on_across_the_edge(encoded):
    representation, features = encoded
    whole = mirrored(representation, features, generator=torch.Generator().manual_seed(0))

    def events_between(low, high):
        pt = representation.decode(whole).Muon.pt[:, 1]
        return int(((pt > low) & (pt < high)).sum())

    inside, outside = events_between(10.0, 10.5), events_between(9.5, 10.0)
    assert events_between(10.0, 10.5) > 20
    assert abs(inside - outside) < 4 * (inside + outside) ** 0.5


def test_without_bounds_nothing_is_added(encoded):
    _, features = encoded
    events = dimuons(500, seed=3)
    schema = schema_of(events)
    batch = to_batch(events, schema)
    representation = Representation(FeaturesConfig(), schema).fit(batch)
    features = representation.encode(batch)
    assert mirrored(representation, features, generator=torch.Generator()) is features


def test_each_of_several_rules_has_images_of_events_near_it():
    rng = np.random.default_rng(5)
    low = {"a": -1.0, "b": -1.0, "c": -1.0, "d": -1.0, "e": -2.5}  # few events are near the last one
    values = {name: rng.normal(size=12_000) for k in low for name in (k, f"{k}2")}
    kept = np.logical_and.reduce([values[k] + values[f"{k}2"] > least for k, least in low.items()])
    events = ak.Array({name: column[kept].astype(np.float32) for name, column in values.items()})
    config = FeaturesConfig(rules=[f"{k} + {k}2 > {least}" for k, least in low.items()])
    batch = to_batch(events)
    representation = Representation(config, schema_of(events)).fit(batch)
    found = edges(representation, representation.encode(batch))
    assert {representation.names[column][0] for column in found} == {*low}


def test_events_between_two_edges_have_images_beyond_either():
    rng = np.random.default_rng(6)
    a = rng.normal(size=4000)
    events = ak.Array({"a": a, "b": a + rng.uniform(-0.2, 0.2, 4000)})
    config = FeaturesConfig(rules=["a - b > -0.2", "a - b < 0.2"])
    batch = to_batch(events)
    representation = Representation(config, schema_of(events)).fit(batch)
    features = representation.encode(batch)
    whole = mirrored(representation, features, generator=torch.Generator().manual_seed(0), columns=[0])
    images = representation.decode(whole[len(features) :]).scalars
    above = float((images["a"] > images["b"]).double().mean())
    assert len(whole) > 1.5 * len(features)
    assert abs(above - 0.5) < 0.1


def test_events_near_edges_of_two_collections_have_images_beyond_each():
    rng = np.random.default_rng(7)
    a = {k: rng.normal(size=6000) for k in "xy"}
    values = {"A": a, "B": {k: x + rng.normal(scale=0.1, size=6000) for k, x in a.items()}}
    kept = np.logical_and.reduce([v["x"] + v["y"] > -0.5 for v in values.values()])
    events = ak.Array({c: ak.zip({k: x[kept] for k, x in v.items()}) for c, v in values.items()})
    batch, found = to_batch(events), {}
    for rules in (["A.x + A.y > -0.5"], ["B.x + B.y > -0.5", "A.x + A.y > -0.5"]):
        config = FeaturesConfig(rules=rules)
        representation = Representation(config, schema_of(events)).fit(batch)
        features = representation.encode(batch)
        whole = mirrored(representation, features, generator=torch.Generator().manual_seed(0))
        images = representation.decode(whole[len(features) :]).collections["A"].fields
        found[len(rules)] = int(((images["x"] + images["y"]) < -0.5).sum())
    assert found[1] > 100
    assert found[2] == pytest.approx(found[1], rel=0.1)
