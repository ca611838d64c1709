from __future__ import annotations

import re

import awkward as ak
import pytest
import torch
from feature_samples import particles, rng, uniform, z_events

from hepgan.errors import RecipeError
from hepgan.events import read_events, schema_of, to_batch
from hepgan.events.batch import EventBatch, Objects
from hepgan.events.schema import Collection, EventSchema, Field
from hepgan.features import FeaturesConfig, Representation
from hepgan.features.parts import DecayPart, FieldsPart, ObjectsPart
from hepgan.features.parts.base import Encoded
from hepgan.recipes import load_recipe

DECAY = {"kind": "decay", "name": "Z", "children": ["Muon[0]", "Muon[1]"]}


def represent(events, **config):
    return Representation(FeaturesConfig.model_validate(config), events.schema).fit(events)


@pytest.mark.parametrize(
    ("part", "blocks", "named"),
    [
        (FieldsPart, [], "Muon"),
        (ObjectsPart, [], "Muon"),
        (DecayPart, [DECAY], "Muon"),
    ],
)
def test_a_part_that_does_not_give_its_numbers_back_is_found_when_it_is_fitted(
    monkeypatch, part, blocks, named
):
    write = part.write

    def wrong(self, encoded, draft):
        write(self, Encoded(1.5 * encoded.columns, encoded.classes.flip(0)), draft)

    monkeypatch.setattr(part, "write", wrong)
    with pytest.raises(RecipeError, match=rf"{named}.*come.* back.*\d+ of \d+ events") as raised:
        represent(z_events(400), blocks=blocks)
    assert 0 <= raised.value.entry < 400


def test_a_number_that_comes_back_wrong_is_named_with_its_worst_entry(monkeypatch):
    write = FieldsPart.write

    def wrong(self, encoded, draft):
        write(self, encoded, draft)
        if "rho" in draft.scalars:
            draft.scalars["rho"] = torch.where(draft.scalars["rho"] > 15, 1000.0, draft.scalars["rho"])

    monkeypatch.setattr(FieldsPart, "write", wrong)
    with pytest.raises(
        RecipeError, match=r"rho does not come back from its features: \S+ becomes 1000"
    ) as raised:
        represent(z_events(400))
    assert float(z_events(400).rho[raised.value.entry]) > 15


def test_a_few_numbers_that_disagree_with_what_follows_from_the_momentum_are_no_reason():
    events = particles(30 * torch.randn(4000, 2, 3, generator=rng(), dtype=torch.float64))
    fields = dict(events.collections["Particle"].fields)
    pt = torch.hypot(fields["px"], fields["py"])
    pt[7, 0] *= 1.5
    schema = events.schema.model_copy(
        update={
            "collections": (
                events.schema.collections[0].model_copy(
                    update={
                        "fields": (*events.schema.collections[0].fields, Field(name="pt", branches=("pt",)))
                    }
                ),
            )
        }
    )
    changed = EventBatch(schema, {"Particle": Objects({**fields, "pt": pt})})
    assert represent(changed).size == 6


# ---------------------------------------------------------------------- the direction of a beam


def leptons(n=500, energy=20.0):
    """Leptons that a beam along +z of this energy scatters, most of them at small Q2."""
    g = rng(3)
    q2 = 4 * energy**2 * 10 ** uniform(g, -4, -1, n)
    y = uniform(g, 0.2, 0.9, n)
    minus, plus = q2 / (2 * energy), 2 * energy * (1 - y)
    pt, phi = (plus * minus).sqrt(), uniform(g, -3, 3, n)
    fields = {"px": pt * phi.cos(), "py": pt * phi.sin(), "pz": (plus - minus) / 2}
    collection = Collection(
        name="Electron",
        layout="single",
        fields=tuple(Field(name=name, branches=(name,)) for name in fields),
        min_count=1,
        max_count=1,
    )
    schema = EventSchema(
        collections=(collection,), scalars=(Field(name="beam_energy", branches=("beam_energy",)),)
    )
    return EventBatch(
        schema, {"Electron": Objects(fields)}, {"beam_energy": torch.full((n,), energy, dtype=torch.float64)}
    )


@pytest.mark.parametrize("way", [1, -1])
def test_a_beam_that_goes_the_other_way_is_found(way):
    events = leptons()
    electron = events.collections["Electron"]
    turned = Objects({**electron.fields, "pz": way * electron.fields["pz"]})
    events = EventBatch(events.schema, {"Electron": turned}, events.scalars)
    block = {"kind": "scattering", "beams": ["beam_energy", 20.0]}
    assert represent(events, masses={}, blocks=[{**block, "direction": way}]).size == 3
    hint = re.escape(f"the beam goes the other way: 500 of 500 leptons go against the direction {-way:+d}")
    with pytest.raises(RecipeError, match=rf"{hint}.*say direction: {way} in"):
        represent(events, blocks=[{**block, "direction": -way}])


def test_leptons_that_are_scattered_far_back_are_no_reason():
    events = leptons()
    g = rng(5)
    q2, x = 1600 * uniform(g, 0.3, 0.5, 500), uniform(g, 0.6, 0.95, 500)
    y = q2 / 1600 / x
    plus, minus, phi = 40 * (1 - y), q2 / 40, uniform(g, -3, 3, 500)
    pt = (plus * minus).sqrt()
    fields = {"px": pt * phi.cos(), "py": pt * phi.sin(), "pz": (plus - minus) / 2}
    back = EventBatch(events.schema, {"Electron": Objects(fields)}, events.scalars)
    assert represent(back, blocks=[{"kind": "scattering"}]).size == 3


def test_simulated_scattering_with_its_beam_reversed_is_found(shared_data):
    events = read_events(shared_data / "dis_train.root", entry_stop=3000)
    recipe = load_recipe("dis-energies")
    chosen = events[["Electron", "beam_energy"]]
    config, schema = recipe.features, schema_of(chosen)
    Representation(config, schema, ("beam_energy",)).fit(to_batch(chosen, schema))
    reversed_ = ak.with_field(chosen, ak.with_field(chosen.Electron, -chosen.Electron.pz, "pz"), "Electron")
    with pytest.raises(RecipeError, match=r"the beam goes the other way.*say direction: "):
        Representation(config, schema, ("beam_energy",)).fit(to_batch(reversed_, schema))


def test_what_has_no_transverse_momentum_has_no_azimuth_to_lose():
    events = z_events(400)
    met = events.collections["MET"]
    pt = torch.where(torch.arange(400).unsqueeze(1) % 3 == 0, 0.0, met.fields["pt"])
    collections = {**events.collections, "MET": Objects({**met.fields, "pt": pt}, met.mask)}
    events = EventBatch(events.schema, collections, events.scalars)
    represent(events, blocks=[{"kind": "objects", "collection": "MET", "coordinates": ["px", "py"]}])
