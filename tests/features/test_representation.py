from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch
import vector
from feature_samples import difference, fields, particles, rng, uniform, z_events, z_schema

from hepgan.errors import InputError, RecipeError
from hepgan.events.batch import EventBatch, Objects
from hepgan.events.schema import Collection, EventSchema, Field, Kind
from hepgan.features.config import FeaturesConfig
from hepgan.features.representation import Representation

BEST = {
    "azimuth": "Muon[0] + Muon[1]",
    "blocks": [{"kind": "decay", "name": "Z", "children": ["Muon[0]", "Muon[1]"]}],
    "bounds": {"Jet.pt": [15, None], "Jet.eta": [-4, 4]},
}


def represent(events, config=None, conditions=()):
    made = Representation(FeaturesConfig.model_validate(config or {}), events.schema, conditions)
    return made.fit(events)


def there_and_back(representation, events):
    return representation.decode(representation.encode(events), representation.azimuth(events))


def wild(representation, events, scale=3.0, seed=4):
    """Features that no sensible network would give."""
    features = representation.encode(events)
    x = scale * torch.randn(features.x.shape, generator=rng(seed), dtype=torch.float64)
    return features.with_x(x if features.mask is None else torch.where(features.mask, x, 0.0))


@pytest.fixture(scope="module")
def events():
    return z_events()


@pytest.fixture(scope="module", params=[{}, BEST], ids=["automatic", "decay"])
def representation(request, events):
    return represent(events, request.param)


# ---------------------------------------------------------------------- there and back


def test_decode_inverts_encode(representation, events):
    back = there_and_back(representation, events)
    expected = EventBatch(
        events.schema, events.collections, {**events.scalars, "weight": torch.ones(len(events))}
    )
    name, worst = difference(expected, back)
    assert worst < 1e-9, name


def test_decode_inverts_encode_for_new_events(representation):
    fresh = z_events(300, seed=8)
    inside = representation.valid(fresh)
    fresh = fresh[inside]
    back = there_and_back(representation, fresh)
    expected = EventBatch(
        fresh.schema, fresh.collections, {**fresh.scalars, "weight": torch.ones(len(fresh))}
    )
    # What lies beyond a sharp edge of the training events is moved to that edge.
    name, worst = difference(expected, back)
    assert worst < 0.05, name
    pt = (back.Muon.pt - fresh.Muon.pt).abs().amax(1)
    assert float((pt < 1e-8).double().mean()) > 0.98


def test_features_are_near_standard_normal(representation, events):
    features = representation.encode(events)
    assert torch.isfinite(features.x).all()
    for i, name in enumerate(representation.names):
        x = features.x[:, i] if features.mask is None else features.x[features.mask[:, i], i]
        assert abs(float(x.mean())) < 0.35, name
        assert 0.6 < float(x.std()) < 1.4, name


def test_absent_features_are_zero_and_present_ones_follow_from_the_discrete_part(representation, events):
    features = representation.encode(events)
    jets = events.collections["Jet"].mask
    assert (features.x[~features.mask] == 0).all()
    for i, name in enumerate(representation.names):
        if name.startswith("Jet"):
            assert torch.equal(features.mask[:, i], jets[:, int(name[4])]), name
        elif ".iso" in name:
            assert torch.equal(features.mask[:, i], events.Muon.iso[:, int(name[5])] != 0), name
        else:
            assert features.mask[:, i].all(), name


def test_context_is_zero_for_absent_objects(representation, events):
    features = representation.encode(events)
    assert features.context.shape == (len(events), representation.context_size)
    nothing = torch.full_like(features.discrete, -1)
    context, mask = representation.context(nothing, features.condition)
    assert (context == 0).all()
    assert not mask[:, [n.startswith("Jet") for n in representation.names]].any()


def test_encoding_is_the_same_in_chunks(representation, events, monkeypatch):
    whole = representation.encode(events)
    monkeypatch.setattr("hepgan.features.representation.CHUNK", 7)
    parts = representation.encode(events)
    assert len(parts) == len(events)
    for name in ("x", "mask", "discrete", "condition", "context", "weight"):
        a, b = getattr(whole, name), getattr(parts, name)
        assert (a is None and b is None) or torch.allclose(a.double(), b.double(), rtol=1e-14, atol=1e-14), (
            name
        )


def test_decoding_is_the_same_in_blocks_and_for_single_precision_features(representation, events):
    features = representation.encode(events)
    whole = representation.decode(features)
    part = representation.decode(features[100:107])
    assert difference(whole[100:107], part)[1] == 0
    single = representation.decode(features.to(dtype=torch.float32))
    assert single.Muon.pt.dtype == torch.float64
    assert difference((whole.collections["Muon"].pt is None and whole) or whole, single)[1] < 1e-2


@pytest.mark.parametrize(
    "coordinates", ["px py pz", "px py theta", "pt phi y", "pt phi eta", "p theta phi", "energy costheta phi"]
)
def test_an_event_decodes_to_the_same_bits_whatever_is_decoded_with_it(events, coordinates):
    block = {"kind": "objects", "collection": "Muon", "coordinates": coordinates.split()}
    representation = represent(events, {"blocks": [block]})
    features = wild(representation, events, 1.0)
    whole = representation.decode(features)
    for first, last in ((0, 1), (100, 107), (3, 50), (0, 790)):
        assert difference(whole[first:last], representation.decode(features[first:last]))[1] == 0


def test_state_restores_the_representation_exactly(representation, events):
    state = json.loads(json.dumps(representation.state(), allow_nan=False))
    restored = Representation.from_state(state)
    restored.load_state_dict(representation.state_dict())
    assert restored.names == representation.names
    assert restored.variables == representation.variables
    old, new = representation.encode(events), restored.encode(events)
    for a, b in (
        (old.x, new.x),
        (old.discrete, new.discrete),
        (old.context, new.context),
        (old.mask, new.mask),
    ):
        assert torch.equal(a, b)
    assert difference(representation.decode(old), restored.decode(new))[1] == 0


def test_casting_a_model_keeps_the_representation_in_double_precision(events):
    representation = represent(events, BEST)
    before = representation.decode(representation.encode(events))
    after = representation.float().decode(representation.encode(events))
    assert difference(before, after)[1] == 0


# ---------------------------------------------------------------------- physics by construction


def test_whatever_a_network_gives_decodes_to_physical_events(representation, events):
    made = representation.decode(wild(representation, events))
    for name, objects in made.collections.items():
        for field, values in objects.fields.items():
            assert torch.isfinite(values).all(), (name, field)
    muons, jets = made.Muon, made.Jet
    slack = 1 + 1e-12
    assert (muons.pt[:, 1] <= muons.pt[:, 0] * slack).all()
    assert (jets.pt[:, 1:] <= jets.pt[:, :-1] * slack)[jets.mask[:, 1:]].all()
    assert (muons.mass == 0.10566).all()
    assert (muons.pt > 0).all()
    assert set(muons.charge.unique().tolist()) == {-1, 1}
    assert (muons.iso >= 0).all()
    assert (made.npv >= 3).all()
    assert (made.npv < 40).all()
    assert made.npv.dtype == torch.int64


def test_recipe_bounds_of_columns_hold_by_construction(events):
    representation = represent(events, BEST)
    jets = representation.decode(wild(representation, events)).Jet
    present = jets.mask
    assert (jets.pt[present] >= 15).all()
    assert (jets.eta[present].abs() <= 4).all()


def test_decoded_four_vectors_have_the_resonance_that_the_features_say(events):
    representation = represent(events, BEST)
    muons = representation.decode(wild(representation, events, 1.0), azimuth=torch.zeros(len(events))).Muon
    a, b = (
        vector.array({n: getattr(muons, n)[:, i].numpy() for n in ("pt", "eta", "phi", "mass")})
        for i in (0, 1)
    )
    pair = a + b
    np.testing.assert_allclose(pair.phi, 0, atol=1e-9)
    np.testing.assert_array_less(2 * 0.10566, pair.mass)
    assert (pair.mass > 59).all()
    assert (pair.mass < 122).all()


def test_azimuth_turns_whole_events(events):
    representation = represent(events, BEST)
    features = representation.encode(events)
    angle = uniform(rng(3), -3, 3, len(events))
    plain, turned = representation.decode(features), representation.decode(features, angle)
    turns = angle.unsqueeze(1)
    for name, width in (("Muon", 2), ("Jet", 3)):
        delta = turned.collections[name].phi - plain.collections[name].phi - turns
        mask = turned.collections[name].mask
        delta = delta if mask is None else delta[mask]
        assert torch.cos(delta).min() > 1 - 1e-12, (name, width)
    assert torch.cos(turned.MET.phi - plain.MET.phi - angle).min() > 1 - 1e-12
    torch.testing.assert_close(turned.Muon.pt, plain.Muon.pt, rtol=1e-9, atol=0)


def test_features_do_not_depend_on_the_events_azimuth(events):
    representation = represent(events, BEST)
    turn = uniform(rng(5), -3, 3, len(events)).unsqueeze(1)
    turned = {}
    for name, objects in events.collections.items():
        phi = objects.phi + (turn[:, 0] if objects.phi.ndim == 1 else turn)
        phi = torch.atan2(torch.sin(phi), torch.cos(phi))
        turned[name] = Objects({**objects.fields, "phi": phi}, objects.mask)
    other = representation.encode(EventBatch(events.schema, turned, events.scalars))
    same = representation.encode(events)
    torch.testing.assert_close(other.x, same.x, rtol=0, atol=1e-6)


def test_gradients_of_decoded_events_are_finite(representation, events):
    features = wild(representation, events, 2.0)
    x = features.x.clone().requires_grad_()
    made = representation.decode(features.with_x(x), uniform(rng(2), -3, 3, len(events)))
    total = sum(
        v.sum() for c in made.collections.values() for v in c.fields.values() if v.is_floating_point()
    )
    (gradient,) = torch.autograd.grad(total, x)
    assert torch.isfinite(gradient).all()
    assert (gradient[~features.mask] == 0).all()
    assert (gradient[features.mask] != 0).double().mean() > 0.9


def test_gradients_of_decoded_events_are_right(events):
    representation = represent(events, BEST)
    features = representation.encode(events[:3])

    def observables(x):
        made = representation.decode(features.with_x(x), torch.tensor([0.3, -1.0, 2.0]))
        muon = made.Muon
        return muon.pt, muon.eta, torch.sin(muon.phi), made.Jet.pt, made.MET.pt

    x = (
        features.x + 0.013 * torch.randn(features.x.shape, generator=rng(7), dtype=torch.float64)
    ).requires_grad_()
    assert torch.autograd.gradcheck(observables, (x,), eps=1e-8, atol=1e-4, rtol=1e-3)


# ---------------------------------------------------------------------- columns and variables


def test_constants_are_not_features_and_come_back(events):
    muons = events.collections["Muon"]
    flat = EventBatch(
        events.schema,
        {
            **events.collections,
            "Muon": Objects({**muons.fields, "iso": torch.full_like(muons.iso, 0.25)}),
        },
        {**events.scalars, "npv": torch.full((len(events),), 7)},
    )
    representation = represent(flat, BEST)
    assert not [n for n in representation.names if "iso" in n or "Muon" in n or n == "Z.phi"]
    assert not [v for v in representation.variables if v.name == "npv"]
    back = there_and_back(representation, flat)
    assert (back.Muon.iso == 0.25).all()
    assert (back.npv == 7).all()


def test_counts_come_first_and_objects_hang_on_them(representation):
    first = representation.variables[0]
    assert (first.name, first.values) == ("nJet", (0.0, 1.0, 2.0, 3.0))
    tags = [v for v in representation.variables if v.name.endswith(".tag")]
    assert [(v.count, v.slot) for v in tags] == [(0, 0), (0, 1), (0, 2)]
    charges = [v for v in representation.variables if v.name.endswith(".charge")]
    assert [(v.count, v.slot, v.values) for v in charges] == [
        (None, 0, (-1.0, 1.0)),
        (None, 1, (-1.0, 1.0)),
    ]


def test_weights_are_scaled_to_the_number_of_events_and_decode_to_one(representation, events):
    features = representation.encode(events)
    assert float(features.weight.sum()) == pytest.approx(len(events))
    assert (features.weight < 0).any()
    assert (representation.decode(features).weight == 1).all()
    assert "weight" not in representation.names


def test_conditions_are_given_and_come_back(events):
    representation = represent(events, BEST, ("rho", "npv"))
    features = representation.encode(events)
    assert features.condition.shape == (len(events), 2)
    assert not {"rho", "npv"} & {*representation.names, *(v.name for v in representation.variables)}
    torch.testing.assert_close(features.condition.mean(0), torch.zeros(2).double(), atol=0.5, rtol=0)
    back = representation.decode(features)
    torch.testing.assert_close(back.rho, events.rho)
    assert torch.equal(back.npv, events.npv)
    given = representation.encode_condition({"rho": torch.tensor([12.5]), "npv": torch.tensor([9])})
    values = representation.decode_condition(given)
    assert float(values["rho"]) == pytest.approx(12.5)
    assert int(values["npv"]) == 9
    with pytest.raises(InputError, match="npv is missing"):
        representation.encode_condition({"rho": torch.tensor([12.5])})


@pytest.mark.parametrize("how", ["dequantise", "smear"])
def test_integers_can_be_columns(events, how):
    representation = represent(events, {"discrete": {"npv": how}})
    assert "npv" in representation.names
    features = representation.encode(events)
    assert torch.equal(features.x, representation.encode(events).x)
    back = representation.decode(features).npv
    assert back.dtype == torch.int64
    if how == "dequantise":
        assert torch.equal(back, events.npv)
        made = representation.decode(wild(representation, events)).npv
        assert int(made.min()) >= int(events.npv.min())
        assert int(made.max()) <= int(events.npv.max())
    else:
        # Floor of n + 1/2 + Gaussian noise of width 1/2 is unbiased, and right in 68% of the events.
        shift = (back - events.npv).double()
        assert abs(float(shift.mean())) < 0.1
        assert float((shift == 0).double().mean()) == pytest.approx(0.683, abs=0.06)


def test_integers_with_many_values_are_columns(events):
    many = EventBatch(
        events.schema, events.collections, {**events.scalars, "npv": torch.arange(len(events)) * 3}
    )
    representation = represent(many)
    assert "npv" in representation.names
    assert torch.equal(representation.decode(representation.encode(many)).npv, many.npv)


def test_atoms_can_be_left_to_the_network(events):
    representation = represent(events, {"discrete": {"Muon.iso": "continuous"}})
    assert not [v for v in representation.variables if "iso" in v.name]
    back = there_and_back(representation, events)
    torch.testing.assert_close(back.Muon.iso, events.Muon.iso, atol=1e-8, rtol=1e-8)


def test_fields_of_one_object_leave_the_others_filled(events):
    config = {"blocks": [{"kind": "fields", "fields": ["Muon[0].iso"], "fill": -1.0}]}
    representation = represent(events, config)
    assert not [n for n in representation.names if n.startswith("Muon[1].iso")]
    back = there_and_back(representation, events)
    torch.testing.assert_close(back.Muon.iso[:, 0], events.Muon.iso[:, 0])
    assert (back.Muon.iso[:, 1] == -1).all()


def test_objects_can_be_counted_by_a_threshold(events):
    config = {
        "blocks": [{"kind": "objects", "collection": "Jet", "count": "threshold", "threshold": {"pt": 15}}]
    }
    representation = represent(events, {**config, "discrete": {"Jet.tag": "continuous"}})
    assert "nJet" not in [v.name for v in representation.variables]
    features = representation.encode(events)
    back = representation.decode(features)
    assert torch.equal(back.Jet.mask, events.Jet.mask)
    torch.testing.assert_close(back.Jet.pt, events.Jet.pt, atol=1e-7, rtol=1e-9)
    made = representation.decode(wild(representation, events, 1.0)).Jet
    assert (made.pt[made.mask] > 15).all()
    assert (made.pt[~made.mask] == 0).all()
    assert (made.mask[:, 1:] <= made.mask[:, :-1]).all()
    assert (made.pt[:, 1:] <= made.pt[:, :-1]).all()


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (
            {
                "kind": "decay",
                "name": "Z",
                "children": ["Muon[0]", "Muon[1]"],
                "transforms": {"Z.mas": "log"},
            },
            "no column 'Z.mas'; did you mean mass",
        ),
        (
            {"kind": "objects", "collection": "Jet", "transforms": {"ptt": "log"}},
            "no column 'ptt'; did you mean pt",
        ),
        (
            {"kind": "fields", "fields": ["rho"], "transforms": {"roh": "log"}},
            "no column 'roh'; did you mean rho",
        ),
        (
            {"kind": "objects", "collection": "Jet", "transforms": {"x": "log"}},
            "no column 'x'; there are eta, eta_ratio, mass, phi, phi_ratio, pt, pt_ratio",
        ),
    ],
)
def test_transforms_of_columns_that_cannot_be_are_refused(events, block, message):
    with pytest.raises(RecipeError, match=re.escape(message)):
        represent(events, {"blocks": [block]})


def test_transforms_can_be_chosen_by_column(events):
    config = {
        "transform": "standardise",
        "blocks": [
            {
                "kind": "objects",
                "collection": "Jet",
                "order": False,
                "transforms": {
                    "pt": {"kind": "log_edge", "edge": 15.0},
                    "eta": ["min_max", "standardise"],
                },
            }
        ],
    }
    pure = replace_jets(events)
    representation = represent(pure, config)
    features = representation.encode(pure)
    column = representation.names.index("Jet[0].pt")
    present = features.mask[:, column]
    expected = torch.log(pure.Jet.pt[present, 0] - 15.0)
    correlation = torch.corrcoef(torch.stack([expected, features.x[present, column]]))[0, 1]
    assert float(correlation) == pytest.approx(1.0, abs=1e-9)
    name, worst = difference(pure.map(lambda t: t), there_and_back(representation, pure))
    assert worst < 1e-9 or name == "weight", name


def replace_jets(events):
    jets = events.collections["Jet"]
    pt = torch.where(jets.mask, jets.pt + 0.5, 0.0)
    return EventBatch(
        events.schema,
        {**events.collections, "Jet": Objects({**jets.fields, "pt": pt}, jets.mask)},
        events.scalars,
    )


def test_columns_of_a_block_can_be_decorrelated(events):
    config = {"blocks": [{**BEST["blocks"][0], "pca": True}], "azimuth": BEST["azimuth"]}
    representation = represent(events, config)
    features = representation.encode(events)
    n = 5
    x = features.x[:, :n]
    weight = features.weight / features.weight.sum()
    centred = x - (weight.unsqueeze(1) * x).sum(0)
    covariance = centred.T @ (weight.unsqueeze(1) * centred)
    torch.testing.assert_close(covariance, torch.eye(n, dtype=torch.float64), atol=1e-6, rtol=0)
    back = there_and_back(representation, events)
    torch.testing.assert_close(back.Muon.pt, events.Muon.pt, rtol=1e-8, atol=0)


def test_files_with_pt_alone_keep_their_objects_in_order():
    g = rng(11)
    pt = torch.sort(uniform(g, 1, 50, 400, 5), dim=1, descending=True).values
    mask = torch.arange(5) < torch.randint(1, 6, (400,), generator=g).unsqueeze(1)
    schema = EventSchema(
        collections=(
            Collection(
                name="Hit",
                layout="jagged",
                fields=fields("Hit", "pt", "depth"),
                min_count=1,
                max_count=5,
            ),
        )
    )
    values = {"pt": pt, "depth": uniform(g, 0, 1, 400, 5)}
    events = EventBatch(
        schema, {"Hit": Objects({n: v.masked_fill(~mask, 0) for n, v in values.items()}, mask)}
    )
    representation = represent(events)
    assert difference(events, there_and_back(representation, events))[1] < 1e-9
    hits = representation.decode(wild(representation, events)).Hit
    assert (hits.pt[:, 1:] <= hits.pt[:, :-1]).all()


def test_events_without_anything_continuous_or_discrete_pass_through():
    whole = EventSchema(scalars=(Field(name="label", branches=("label",), dtype="int32", kind=Kind.INTEGER),))
    events = EventBatch(whole, {}, {"label": torch.randint(0, 2, (50,), generator=rng())})
    representation = represent(events)
    assert representation.size == 0
    assert torch.equal(representation.decode(representation.encode(events)).label, events.label)
    numbers = EventSchema(scalars=(Field(name="x", branches=("x",)),))
    events = EventBatch(numbers, {}, {"x": uniform(rng(), 0, 1, 50)})
    representation = represent(events)
    assert representation.variables == ()
    assert representation.encode(events).mask is None
    torch.testing.assert_close(representation.decode(representation.encode(events)).x, events.x)


def test_strings_and_floats_can_be_categories():
    schema = EventSchema(
        scalars=(
            Field(
                name="kind",
                branches=("kind",),
                dtype="string",
                kind=Kind.CATEGORY,
                values=("GG", "GT", "TT"),
            ),
            Field(name="energy", branches=("energy",), kind=Kind.CATEGORY, values=(5.5, 10.0)),
        )
    )
    g = rng()
    scalars = {
        "kind": torch.randint(0, 3, (60,), generator=g),
        "energy": torch.where(torch.rand(60, generator=g) < 0.5, 5.5, 10.0).double(),
    }
    events = EventBatch(schema, {}, scalars)
    for conditions in ((), ("kind", "energy")):
        representation = represent(events, conditions=conditions)
        back = representation.decode(representation.encode(events))
        assert torch.equal(back.kind, events.kind)
        assert torch.equal(back.energy, events.energy)


# ---------------------------------------------------------------------- errors


def test_events_outside_the_bounds_are_found(events):
    config = FeaturesConfig(bounds={"Muon[0].pt": (20, None), "npv": (None, 30), "MET.px": (-1000, 1000)})
    representation = Representation(config, events.schema)
    expected = (events.Muon.pt[:, 0] >= 20) & (events.npv <= 30)
    assert torch.equal(representation.valid(events), expected)
    with pytest.raises(InputError, match=r"outside the recipe's features\.bounds"):
        representation.fit(events)


def test_absent_objects_are_never_out_of_bounds(events):
    representation = Representation(FeaturesConfig(bounds={"Jet.pt": (15, None)}), events.schema)
    assert representation.valid(events).all()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"azimuth": "Muon[2]"}, "at most 2 Muon"),
        ({"azimuth": "Jet[0]"}, "not in every event"),
        ({"azimuth": "Muno[0]"}, "did you mean Muon"),
        ({"bounds": {"Muon.ptt": [1, 2]}}, "no field 'ptt'"),
        ({"discrete": {"Muons.iso": "classes"}}, "did you mean Muon"),
        ({"discrete": {"rho": "smear"}}, "not an integer"),
        (
            {"blocks": [{"kind": "decay", "name": "Z", "children": ["Muon[0]", "Muon[0]"]}]},
            "occurs twice",
        ),
        (
            {"blocks": [{"kind": "decay", "name": "Z", "children": ["Muon[0]", "Jet[0]"]}]},
            "not in every event",
        ),
        (
            {"blocks": [{"kind": "decay", "name": "Z", "children": ["Muon[0]", "MET"]}]},
            "three-dimensional",
        ),
        ({"blocks": [{"kind": "decay", "name": "Z", "children": ["Muon", "MET"]}]}, "say which Muon"),
        ({"blocks": 2 * [{"kind": "objects", "collection": "Jet"}]}, "all in other blocks"),
        (
            {"blocks": [{"kind": "objects", "collection": "Jet", "coordinates": ["pt", "px"]}]},
            "no momentum",
        ),
        (
            {"blocks": [{"kind": "objects", "collection": "Jet", "order": "eta"}]},
            "not in order of falling eta",
        ),
        ({"blocks": [{"kind": "objects", "collection": "Jet", "order": "luck"}]}, "cannot be ordered"),
        (
            {"blocks": [{"kind": "objects", "collection": "Jet", "conserve": {"px": 0}}]},
            "conserve needs px",
        ),
        ({"blocks": [{"kind": "fields", "fields": ["Muon.pt"]}]}, "follows from the momentum"),
        ({"blocks": [{"kind": "fields", "fields": ["Muon"]}]}, "name its fields"),
        ({"transform": "magic"}, "unknown transform 'magic'"),
    ],
)
def test_recipes_that_do_not_fit_the_events_are_refused(events, config, message):
    with pytest.raises(RecipeError, match=message):
        represent(events, config)


def test_conditions_must_be_of_the_events(events):
    with pytest.raises(RecipeError, match="'Tau' is no scalar or collection"):
        represent(events, conditions=("Tau",))


@pytest.mark.parametrize("chunk", [4096, 10])
def test_categories_that_were_not_learned_are_refused(monkeypatch, chunk):
    monkeypatch.setattr("hepgan.features.representation.CHUNK", chunk)
    p = torch.randn(100, 2, 3, generator=rng(), dtype=torch.float64)
    events = particles(p, code=torch.randint(0, 3, (100, 2), generator=rng()))
    field = events.schema.collections[0].field("code")
    wanted = field.model_copy(update={"kind": Kind.CATEGORY, "values": (0, 1, 2, 9)})
    collection = events.schema.collections[0]
    changed = collection.model_copy(
        update={"fields": tuple(wanted if f.name == "code" else f for f in collection.fields)}
    )
    schema = events.schema.model_copy(update={"collections": (changed,)})
    events = EventBatch(schema, events.collections)
    representation = represent(events)
    events.collections["Particle"].fields["code"][17, 1] = 9
    with pytest.raises(InputError, match="9 did not occur") as caught:
        representation.encode(events)
    assert caught.value.entry == 17
    assert caught.value.branch == "Particle_code"


def test_more_objects_than_were_learned_are_refused(events):
    few = events[events.Jet.mask.sum(1) < 3]
    representation = represent(few)
    with pytest.raises(InputError, match="3 Jet, but 0 to 2"):
        representation.encode(events)


def test_no_events_and_weights_that_cancel_are_refused(events):
    with pytest.raises(InputError, match="no events"):
        represent(events[:0])
    cancelled = EventBatch(
        events.schema, events.collections, {**events.scalars, "weight": -torch.ones(len(events))}
    )
    with pytest.raises(InputError, match="must be positive"):
        represent(cancelled)


def test_a_state_of_another_format_is_refused(representation):
    with pytest.raises(ValueError, match="format 99"):
        Representation.from_state({**representation.state(), "format": 99})
    with pytest.raises(ValueError, match="not been fitted"):
        Representation(FeaturesConfig(), z_schema()).state()
