from __future__ import annotations

import pytest
import torch
from feature_samples import particles, rng, uniform, z_events

from hepgan.errors import RecipeError
from hepgan.events.batch import EventBatch, Objects
from hepgan.features.config import FeaturesConfig
from hepgan.features.representation import Representation
from hepgan.features.survey import survey

N = 4000


def momenta(count=2, seed=1, scale=30.0):
    return scale * torch.randn(N, count, 3, generator=rng(seed), dtype=torch.float64)


def rounded(events):
    """As a float32 file has it."""
    return events.map(lambda t: t.float().double() if t.is_floating_point() else t)


def mass_of(events, **config):
    return survey(events, events.schema, FeaturesConfig.model_validate(config)).masses["Particle"]


def test_float32_four_vectors_give_the_mass_back():
    events = rounded(particles(momenta(), None))
    assert (mass_of(events).source, mass_of(events).value) == ("fixed", 0.0)
    p = momenta()
    muons = particles(p, torch.full((N, 2), 0.10566, dtype=torch.float64))
    muons = without_mass(rounded(muons))
    found = mass_of(muons)
    assert found.source == "fixed"
    assert found.value == pytest.approx(0.10566, rel=0.02)


def without_mass(events):
    fields = {n: v for n, v in events.Particle.fields.items() if n != "mass"}
    collection = events.schema.collections[0]
    kept = tuple(f for f in collection.fields if f.name != "mass")
    schema = events.schema.model_copy(
        update={"collections": (collection.model_copy(update={"fields": kept}),)}
    )
    return EventBatch(schema, {"Particle": Objects(fields)})


def test_masses_of_particle_codes_are_told_apart_in_float32():
    code = torch.where(torch.rand(N, 2, generator=rng(3)) < 0.5, 13, 11)
    mass = torch.where(code == 13, 0.10566, 0.000511).double()
    events = without_mass(rounded(particles(momenta(scale=5.0), mass, pdgId=code)))
    found = mass_of(events)
    assert (found.source, found.by, found.keys) == ("table", "pdgId", (11.0, 13.0))
    assert found.values[0] == pytest.approx(0.0, abs=0.01)
    assert found.values[1] == pytest.approx(0.10566, rel=0.01)


def test_masses_that_vary_are_learned_and_vanish_below_the_rounding():
    mass = uniform(rng(4), 5, 30, N, 2)
    mass[:100] = 0.0
    events = without_mass(rounded(particles(momenta(), mass)))
    found = mass_of(events)
    assert found.source == "own"
    representation = Representation(FeaturesConfig(), events.schema).fit(events)
    features = representation.encode(events)
    made = representation.decode(features).Particle
    m2 = made.energy**2 - made.px**2 - made.py**2 - made.pz**2
    torch.testing.assert_close(made.energy, events.Particle.energy, rtol=1e-6, atol=0)
    assert (m2[:100].abs() <= 1e-12 * made.energy[:100] ** 2).all()
    torch.testing.assert_close(m2[100:].clamp(min=0).sqrt(), mass[100:], rtol=1e-3, atol=1e-3)


def test_stored_masses_that_a_code_determines_are_looked_up():
    code = torch.randint(1, 6, (N, 2), generator=rng(5))
    mass = torch.tensor([0.0, 0.33, 0.33, 0.5, 1.5, 4.8], dtype=torch.float64)[code]
    events = particles(momenta(), mass, pdgId=code)
    found = mass_of(events)
    assert (found.source, found.by) == ("table", "pdgId")
    assert found.values == (0.33, 0.33, 0.5, 1.5, 4.8)
    representation = Representation(FeaturesConfig(), events.schema).fit(events)
    assert not [v for v in representation.variables if "mass" in v.name]
    assert torch.equal(representation.decode(representation.encode(events)).Particle.mass, mass)


def test_few_masses_without_a_code_are_classes():
    mass = torch.tensor([0.0, 1.5, 4.8], dtype=torch.float64)[torch.randint(0, 3, (N, 2), generator=rng(6))]
    events = particles(momenta(), mass)
    representation = Representation(FeaturesConfig(), events.schema).fit(events)
    assert [v.values for v in representation.variables] == 2 * [(0.0, 1.5, 4.8)]
    assert not representation.variables[0].ordinal
    assert torch.equal(representation.decode(representation.encode(events)).Particle.mass, mass)


def test_recipes_can_set_masses():
    events = particles(momenta(), uniform(rng(7), 1, 2, N, 2))
    assert mass_of(events, masses={"Particle": 0.14}).value == 0.14
    assert mass_of(events, masses={"Particle": "massless"}).value == 0.0
    assert mass_of(events, masses={"Particle": "from_energy"}).source == "own"
    with pytest.raises(RecipeError, match="no field mass"):
        mass_of(without_mass(events), masses={"Particle": "field"})


def test_orders_are_found_where_there_are_any():
    events = z_events()
    layout = survey(events, events.schema, FeaturesConfig())
    assert layout.orders == {"Muon": "pt", "Jet": "pt"}
    assert layout.counts == {"Jet": (0, 3)}
    assert survey(particles(momenta()), particles(momenta()).schema, FeaturesConfig()).orders == {}


def test_ties_and_back_to_back_pairs_are_no_order():
    p = momenta()
    p[:, 1] = -p[:, 0]
    events = particles(p)
    assert survey(events, events.schema, FeaturesConfig()).orders == {}


def test_energy_order_of_cartesian_objects_is_restored_on_decode():
    p = momenta(3)
    p = p.gather(1, p.norm(dim=2).argsort(dim=1, descending=True).unsqueeze(2).expand(-1, -1, 3))
    events = particles(p)
    for blocks in (
        [],
        [{"kind": "objects", "collection": "Particle", "coordinates": ["energy", "costheta", "phi"]}],
        [{"kind": "objects", "collection": "Particle", "coordinates": ["p", "theta", "phi"]}],
    ):
        representation = Representation(FeaturesConfig.model_validate({"blocks": blocks}), events.schema).fit(
            events
        )
        features = representation.encode(events)
        torch.testing.assert_close(representation.decode(features).Particle.px, events.Particle.px)
        made = representation.decode(
            features.with_x(3 * torch.randn(features.x.shape, generator=rng(2), dtype=torch.float64))
        ).Particle
        assert (made.energy[:, 1:] <= made.energy[:, :-1]).all()


def test_pt_order_is_restored_where_the_file_has_no_pt():
    p = momenta(3)
    p = p.gather(1, p[..., :2].norm(dim=2).argsort(dim=1, descending=True).unsqueeze(2).expand(-1, -1, 3))
    events = particles(p, uniform(rng(3), 1, 2, N, 3))
    for config in ({}, {"blocks": [THREE]}):
        representation = Representation(FeaturesConfig.model_validate(config), events.schema).fit(events)
        features = representation.encode(events)
        torch.testing.assert_close(representation.decode(features).Particle.px, events.Particle.px)
        made = representation.decode(
            features.with_x(3 * torch.randn(features.x.shape, generator=rng(2), dtype=torch.float64))
        ).Particle
        pt = torch.hypot(made.px, made.py)
        assert (pt[:, 1:] <= pt[:, :-1] * (1 + 1e-11)).all()
        m2 = made.energy**2 - made.px**2 - made.py**2 - made.pz**2 - made.mass**2
        assert (m2.abs() <= 1e-12 * made.energy**2).all()


THREE = {"kind": "decay", "name": "X", "children": ["Particle[0]", "Particle[1]", "Particle[2]"]}


def test_conserved_components_are_solved_for():
    g = rng(8)
    p = momenta(4)
    count = torch.randint(2, 5, (N,), generator=g)
    mask = torch.arange(4) < count.unsqueeze(1)
    p = torch.where(mask.unsqueeze(2), p, 0.0)
    last = torch.arange(4) == count.unsqueeze(1) - 1
    p = p - torch.where(last.unsqueeze(2), p.sum(1, keepdim=True), 0.0)
    events = particles(p)
    collection = events.schema.collections[0].model_copy(update={"min_count": 2})
    schema = events.schema.model_copy(update={"collections": (collection,)})
    objects = Objects({n: v.masked_fill(~mask, 0) for n, v in events.Particle.fields.items()}, mask)
    events = EventBatch(schema, {"Particle": objects})
    block = {
        "kind": "objects",
        "collection": "Particle",
        "coordinates": ["px", "py", "pz"],
        "conserve": {"px": 0, "py": 0, "pz": 0},
    }
    representation = Representation(FeaturesConfig.model_validate({"blocks": [block]}), schema).fit(events)
    assert representation.size == 9
    features = representation.encode(events)
    back = representation.decode(features).Particle
    torch.testing.assert_close(back.px, events.Particle.px, atol=1e-9, rtol=0)
    x = 3 * torch.randn(features.x.shape, generator=rng(2), dtype=torch.float64)
    made = representation.decode(features.with_x(torch.where(features.mask, x, 0.0))).Particle
    for component in (made.px, made.py, made.pz):
        assert (component.sum(1).abs() < 1e-9).all()
        assert (component[~made.mask] == 0).all()


def test_conservation_that_the_events_do_not_have_is_refused():
    events = particles(momenta())
    block = {"kind": "objects", "collection": "Particle", "conserve": {"px": 0}}
    with pytest.raises(RecipeError, match="the px of Particle sums to"):
        Representation(FeaturesConfig.model_validate({"blocks": [block]}), events.schema).fit(events)


def test_published_systems_may_generate_the_energy_too():
    events = particles(momenta(), uniform(rng(9), 1, 5, N, 2))
    block = {"kind": "objects", "collection": "Particle", "coordinates": ["px", "py", "pz", "energy"]}
    representation = Representation(FeaturesConfig.model_validate({"blocks": [block]}), events.schema).fit(
        events
    )
    assert {"Particle[0].energy", "Particle[1].energy"} <= set(representation.names)
    features = representation.encode(events)
    back = representation.decode(features).Particle
    torch.testing.assert_close(back.energy, events.Particle.energy)
    torch.testing.assert_close(back.mass, events.Particle.mass, rtol=1e-6, atol=1e-6)
    shuffled = representation.decode(
        features.with_x(features.x.flip(0) * torch.linspace(0, 1, N).unsqueeze(1))
    )
    assert torch.isfinite(shuffled.Particle.mass).all()
