"""Columns that are angles on the full circle stay as they are, and models are told which they are."""

from __future__ import annotations

import math

import pytest
import torch
from feature_samples import particles, rng, uniform, z_events
from test_scattering import fitted, scattered
from test_trees import partons

from hepgan.errors import InputError, RecipeError
from hepgan.events.batch import EventBatch
from hepgan.events.schema import EventSchema, Field
from hepgan.features import FeaturesConfig, Representation

PAIR = {"kind": "decay", "name": "X", "children": ["Particle[0]", "Particle[1]"]}


def represent(events, **config):
    return Representation(FeaturesConfig.model_validate(config), events.schema).fit(events)


def pairs():
    return particles(30 * torch.randn(400, 2, 3, generator=rng(1), dtype=torch.float64))


def angular(representation):
    return [representation.names[i] for i in representation.periodic]


def blocks(kind):
    angles = {"phi": "angle"}
    if kind == "objects":
        coordinates = ["pt", "eta", "phi"]
        block = {
            "kind": "objects",
            "collection": "Particle",
            "coordinates": coordinates,
            "transforms": angles,
        }
        return represent(pairs(), blocks=[block]), pairs(), ["Particle[0].phi", "Particle[1].phi"]
    if kind == "decay":
        block = {**PAIR, "transforms": {**angles, "phi_star": "angle"}}
        return represent(pairs(), blocks=[block]), pairs(), ["X.phi", "X.phi_star"]
    if kind == "scattering":
        batch, representation = fitted(scattered()[0], transforms=angles)
        return representation, batch, ["Electron.phi"]
    block = {"kind": "tree", "collection": "Parton", "total_energy": 91.188, "transforms": angles}
    names = ["Parton.rest.phi", *(f"Parton.tree[{k}].phi" for k in range(4))]
    return represent(partons(), blocks=[block]), partons(), names


@pytest.mark.parametrize("kind", ["objects", "decay", "scattering", "tree"])
def test_angles_of_every_block_are_features_as_they_are(kind):
    representation, events, names = blocks(kind)
    assert angular(representation) == names
    features = representation.encode(events)
    x = features.x[:, list(representation.periodic)]
    assert float(x.abs().max()) <= math.pi
    assert float(x.abs().max()) > 3.0
    # A turn more is the same event.
    turned = features.x.clone()
    turned[:, list(representation.periodic)] += 2 * math.pi
    once, twice = (representation.decode(f) for f in (features, features.with_x(turned)))
    for name, objects in once.collections.items():
        for field, values in objects.fields.items():
            again = twice.collections[name].fields[field]
            torch.testing.assert_close(values.double(), again.double(), rtol=1e-9, atol=1e-9)


def test_no_angle_is_periodic_unless_the_recipe_says_so():
    assert represent(z_events()).periodic == ()


def test_what_is_periodic_is_kept_with_the_representation():
    representation = blocks("decay")[0]
    again = Representation.from_state(representation.state())
    again.load_state_dict(representation.state_dict())
    assert again.periodic == representation.periodic
    alone = numbers(dphi=uniform(rng(2), -math.pi, math.pi, 200))
    only = represent(alone, transform="angle")
    assert only.periodic == (0,)
    assert Representation.from_state(only.state()).periodic == (0,)


def numbers(**values):
    schema = EventSchema(scalars=tuple(Field(name=n, branches=(n,)) for n in values))
    return EventBatch(schema, {}, values)


@pytest.mark.parametrize(
    ("transforms", "reason"),
    [
        ({"cos_theta": "angle"}, "X.cos_theta: not an angle on the full circle; it is from -1.0 to 1.0"),
        ({"mass": "angle"}, "X.mass: not an angle"),
        ({"phi": ["angle", "standardise"]}, "no other transform goes with it"),
    ],
)
def test_what_is_no_angle_is_refused(transforms, reason):
    with pytest.raises(RecipeError, match=reason):
        represent(pairs(), blocks=[{**PAIR, "transforms": transforms}])


def test_half_a_circle_is_no_circle():
    events = z_events()
    block = {
        "kind": "decay",
        "name": "Z",
        "children": ["Muon[0]", "Muon[1]"],
        "transforms": {"phi_star": "angle"},
    }
    with pytest.raises(RecipeError, match=r"Z\.phi_star: not an angle on the full circle"):
        represent(events, blocks=[block])


def test_angles_cannot_be_decorrelated():
    with pytest.raises(RecipeError, match="pca"):
        represent(pairs(), blocks=[{**PAIR, "pca": True, "transforms": {"phi": "angle"}}])


def test_numbers_beyond_the_circle_are_no_angles():
    with pytest.raises(InputError, match="an angle, from -pi to pi"):
        represent(numbers(x=uniform(rng(1), 0, 7, 100)), transform="angle")
