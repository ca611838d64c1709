from __future__ import annotations

import itertools
import re

import pytest
import torch
from feature_samples import difference, fields, particles, rng, uniform, z_events

from hepgan.errors import RecipeError
from hepgan.events.batch import EventBatch, Objects
from hepgan.events.schema import Collection, EventSchema, Field, Kind
from hepgan.features import FeaturesConfig, Representation

PAIR = ["Particle[0]", "Particle[1]"]
OTHER = ["Particle[2]", "Particle[3]"]


def represent(events, **config):
    return Representation(FeaturesConfig.model_validate(config), events.schema).fit(events)


@pytest.fixture(scope="module")
def events():
    return z_events(300)


@pytest.fixture(scope="module")
def four():
    return particles(30 * torch.randn(300, 4, 3, generator=rng(), dtype=torch.float64))


@pytest.mark.parametrize("section", ["bounds", "discrete"])
@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("Muon", "Muon is an object; name its fields, as in Muon.pt"),
        ("Muon[0]", "Muon[0] is an object; name its fields, as in Muon[0].pt"),
        ("MET", "MET is an object; name its fields, as in MET.pt"),
        ("Muon.isolation", "Muon has no field 'isolation'; there are pt, eta"),
        ("MET.mass", "MET has no field 'mass'"),
        ("MET.eta", "MET has no field 'eta'"),
        ("Muon[2].pt", "Muon[2].pt, but there are at most 2 Muon"),
        ("Tau.pt", "no 'Tau' in the events"),
        ("rhoo", "no 'rhoo' in the events; did you mean rho?"),
    ],
)
def test_bounds_and_kinds_are_of_numbers_that_there_are(events, section, key, message):
    value = [10, None] if section == "bounds" else "classes"
    with pytest.raises(RecipeError, match=re.escape(f"{section}: {message}")):
        represent(events, **{section: {key: value}})


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("Muon.pt", "belongs to the momentum"),
        ("Jet.phi", "belongs to the momentum"),
        ("Muon.px", "it is not stored"),
        ("Muon[0].iso", "say Muon.iso, of all objects alike"),
        ("weight", "is given or the weight"),
    ],
)
def test_a_way_to_learn_a_number_that_would_have_no_effect_is_refused(events, key, message):
    with pytest.raises(RecipeError, match=re.escape(message)):
        represent(events, discrete={key: "classes"})


def test_two_systems_of_one_name_are_refused(four):
    def decays(*names):
        return [
            {"kind": "decay", "name": n, "children": c} for n, c in zip(names, (PAIR, OTHER), strict=True)
        ]

    assert represent(four, blocks=decays("Z", "W")).size == 12
    with pytest.raises(RecipeError, match="2 systems are called 'Z'"):
        represent(four, blocks=decays("Z", "Z"))
    inner = {"kind": "decay", "name": "Z", "children": [*PAIR, {"name": "Z", "children": OTHER}]}
    with pytest.raises(RecipeError, match="2 systems are called 'Z'"):
        represent(four, blocks=[inner])


def test_a_system_that_is_called_like_something_else_is_refused(events):
    schema = events.schema
    met = schema.collection("MET").model_copy(update={"fields": fields("MET", "pt", "phi", "mass")})
    other = schema.model_copy(update={"collections": (*schema.collections[:2], met)})
    objects = events.collections["MET"]
    more = objects.with_fields({**objects.fields, "mass": uniform(rng(), 1, 2, 300, 1)})
    batch = EventBatch(other, {**events.collections, "MET": more}, events.scalars)
    block = {"kind": "decay", "name": "MET", "children": ["Muon[0]", "Muon[1]"]}
    with pytest.raises(RecipeError, match=r"2 numbers are called 'MET.*'"):
        represent(batch, blocks=[block])


@pytest.mark.parametrize("names", [("Muon[0].iso", "Muon[1].iso"), ("Muon[1].iso", "Muon[0].iso")])
def test_fields_of_one_name_in_two_blocks_come_back_each(events, names):
    blocks = [{"kind": "fields", "fields": [name]} for name in names]
    representation = represent(events, blocks=blocks)
    back = representation.decode(representation.encode(events))
    torch.testing.assert_close(back.Muon.iso, events.Muon.iso)
    assert sum("iso" in v.name for v in representation.variables) == 2


@pytest.mark.parametrize("again", ["Muon[0].iso", "Muon.iso", "rho"])
def test_what_is_in_two_blocks_is_refused(events, again):
    blocks = [{"kind": "fields", "fields": f} for f in (["Muon[0].iso", "rho"], [again])]
    with pytest.raises(RecipeError, match="is in two blocks"):
        represent(events, blocks=blocks)


COORDINATES = ("pt", "px", "py", "pz", "phi", "eta", "theta", "mass", "energy")
SOME = [*itertools.combinations(COORDINATES, 1), *itertools.combinations(COORDINATES, 2)][::2]
SOME += [("mass", "theta", "phi"), ("pt", "eta", "mass"), ("px", "pz", "energy"), ("pt", "theta", "energy")]


@pytest.mark.parametrize("names", [*[(c,) for c in COORDINATES], *SOME], ids="-".join)
@pytest.mark.parametrize("azimuth", [None, "Muon[0]"])
def test_any_coordinates_of_a_momentum_come_back_or_are_refused(events, names, azimuth):
    g = rng(4)
    values = {n: uniform(g, 0.2, 3.0, 300, 2) for n in names}
    thing = Collection(
        name="Thing",
        layout="jagged",
        counter="nThing",
        fields=fields("Thing", *names),
        min_count=2,
        max_count=2,
    )
    schema = EventSchema(collections=(events.schema.collection("Muon"), thing))
    batch = EventBatch(schema, {"Muon": events.collections["Muon"], "Thing": Objects(values)})
    config = {"azimuth": azimuth, "transform": "standardise"}
    if azimuth and len({"px", "py"} & set(names)) == 1:
        with pytest.raises(RecipeError, match="only one component, so it cannot be turned"):
            represent(batch, **config)
        return
    representation = represent(batch, **config)
    back = representation.decode(representation.encode(batch), representation.azimuth(batch))
    name, worst = difference(batch, back)
    assert worst < 1e-6, name


@pytest.mark.parametrize(
    "coordinates", [["mass", "theta", "phi"], ["theta", "phi"], ["pt", "pt", "phi", "eta"]]
)
def test_coordinates_that_make_no_momentum_are_refused(events, coordinates):
    block = {"kind": "objects", "collection": "Muon", "coordinates": coordinates}
    with pytest.raises(RecipeError, match=r"make no momentum|occurs twice"):
        represent(events, blocks=[block])


@pytest.mark.parametrize("weight", [-1.0, 0.0])
def test_events_of_any_weight_can_be_encoded(events, weight):
    representation = represent(events, transform="standardise")
    scalars = {**events.scalars, "weight": torch.full((300,), weight, dtype=torch.float64)}
    other = EventBatch(events.schema, events.collections, scalars)
    for part in (other, other[:1]):
        features = representation.encode(part)
        assert torch.equal(features.x, representation.encode(events).x[: len(part)])
        assert (features.weight == weight / float(events.weight.mean())).all()


@pytest.mark.parametrize("way", ["dequantise", "smear", "continuous"])
def test_true_and_false_are_no_numbers(way):
    field = Field(name="flag", branches=("flag",), dtype="bool", kind=Kind.CATEGORY, values=(False, True))
    flags = EventBatch(EventSchema(scalars=(field,)), {}, {"flag": torch.arange(60) % 2})
    assert represent(flags, discrete={"flag": "classes"}).variables[0].values == (0.0, 1.0)
    with pytest.raises(RecipeError, match=f"flag is true or false, so it cannot be learned by {way}"):
        represent(flags, discrete={"flag": way})
