from __future__ import annotations

import json
import math

import pytest
import torch
from feature_samples import fields, particles, rng, uniform

from hepgan.events.batch import EventBatch, Objects
from hepgan.events.schema import Collection, EventSchema
from hepgan.features.config import FeaturesConfig
from hepgan.features.representation import Representation
from hepgan.features.survey import survey

N = 4000


def beside(events, **more):
    """The events, with more fields of their particles."""
    collection = events.schema.collections[0]
    schema = events.schema.model_copy(
        update={
            "collections": (
                collection.model_copy(update={"fields": (*collection.fields, *fields("Particle", *more))}),
            )
        }
    )
    return EventBatch(schema, {"Particle": Objects({**events.Particle.fields, **more})})


def momenta(count=2, seed=1):
    return 30 * torch.randn(N, count, 3, generator=rng(seed), dtype=torch.float64)


def polar(p):
    px, py, pz = p.unbind(-1)
    pt = torch.hypot(px, py)
    return {"pt": pt, "eta": torch.asinh(pz / pt), "phi": torch.atan2(py, px), "theta": torch.atan2(pt, pz)}


def measured(p, share=0.5, seed=5):
    """Coordinates of another measurement, for that share of the particles."""
    again = torch.rand(p.shape[:-1], generator=rng(seed)) < share
    same = polar(p)
    off = {
        n: 1e-3 * torch.randn(again.shape, generator=rng(seed + i), dtype=torch.float64)
        for i, n in enumerate(same, 1)
    }
    other = {
        "pt": same["pt"] * (1 + 10 * off["pt"]),
        "eta": same["eta"] + off["eta"],
        "phi": torch.atan2(*(f(same["phi"] + off["phi"]) for f in (torch.sin, torch.cos))),
        "theta": (same["theta"] + off["theta"]).clamp(0, math.pi),
    }
    return {n: torch.where(again, other[n], same[n]) for n in same}, again


def represent(events, **config):
    return Representation(FeaturesConfig.model_validate(config), events.schema).fit(events)


def deviations(events, **config):
    return survey(events, events.schema, FeaturesConfig.model_validate(config)).deviations.get("Particle", {})


def digits(decimals):
    return lambda t: (t * 10.0**decimals).round() / 10.0**decimals


def mantissa(bits):
    def shorten(t):
        m, e = torch.frexp(t)
        return torch.ldexp((m * 2.0**bits).round() / 2.0**bits, e)

    return shorten


def single(t):
    return t.float().double()


@pytest.mark.parametrize(
    "stored",
    [lambda t: t, single, digits(3), digits(5), mantissa(12), mantissa(16)],
    ids=["float64", "float32", "3 decimals", "5 decimals", "12 bits", "16 bits"],
)
@pytest.mark.parametrize("exact", ["momentum", "others", "none"])
def test_coordinates_that_agree_within_the_digits_of_the_file_are_computed(stored, exact):
    p = momenta()
    own = {n: v if exact == "others" else stored(v) for n, v in polar(p).items()}
    p = p if exact == "momentum" else stored(p)
    p[..., :2] = torch.where(p[..., :2] == 0, 1e-3, p[..., :2])
    events = beside(particles(p), **own)
    assert deviations(events) == {}
    representation = represent(events)
    assert not [n for n in (*representation.names, *(v.name for v in representation.variables)) if "own" in n]
    back = representation.decode(representation.encode(events)).Particle
    torch.testing.assert_close(back.pt, torch.hypot(back.px, back.py), rtol=1e-12, atol=0)


def test_other_measurements_are_learned_and_come_back():
    p = momenta()
    own, again = measured(p)
    events = beside(particles(p), **own)
    assert set(deviations(events)) == {"pt", "eta", "phi", "theta"}
    representation = represent(events)
    back = representation.decode(representation.encode(events)).Particle
    for name in ("px", "py", "pz", *own):
        torch.testing.assert_close(back.fields[name], events.Particle.fields[name], rtol=1e-6, atol=1e-6)
    assert {f"Particle[{i}].{n}:own" for i in (0, 1) for n in own} <= set(representation.names)
    names = [v.name for v in representation.variables]
    atom = representation.encode(events).discrete[:, names.index("Particle[1].pt:own:atom")]
    assert torch.equal(atom == 1, ~again[:, 1])


def test_measurements_that_never_agree_have_no_atom():
    p = momenta()
    events = beside(particles(p), **measured(p, 1.0)[0])
    representation = represent(events)
    assert {"Particle[0].pt:own", "Particle[1].phi:own"} <= set(representation.names)
    assert representation.variables == ()


def test_a_few_outliers_make_no_measurement():
    p = momenta()
    assert deviations(beside(particles(p), **measured(p, 5e-4)[0])) == {}
    assert set(deviations(beside(particles(p), **measured(p, 5e-3)[0]))) == {"pt", "eta", "phi", "theta"}


@pytest.mark.parametrize("exact", [False, True])
def test_whatever_a_network_gives_other_measurements_are_physical(exact):
    p = momenta()
    events = beside(particles(p), **measured(p, 1.0 if exact else 0.5)[0])
    representation = represent(events)
    features = representation.encode(events)
    x = 3 * torch.randn(features.x.shape, generator=rng(2), dtype=torch.float64)
    x = x if features.mask is None else torch.where(features.mask, x, 0.0)
    x.requires_grad_()
    made = representation.decode(features.with_x(x), uniform(rng(3), -3, 3, N)).Particle
    assert all(bool(torch.isfinite(v).all()) for v in made.fields.values())
    assert (made.pt > 0).all()
    assert (made.phi.abs() <= math.pi).all()
    assert ((made.theta >= 0) & (made.theta <= math.pi)).all()
    total = sum(v.sum() for v in made.fields.values())
    assert torch.isfinite(torch.autograd.grad(total, x)[0]).all()


def test_deviations_do_not_depend_on_the_azimuth():
    p = momenta()
    own, _ = measured(p)
    turn = uniform(rng(9), -3, 3, N, 1)
    x, y, cos, sin = p[..., 0], p[..., 1], torch.cos(turn), torch.sin(turn)
    turned = torch.stack([x * cos - y * sin, x * sin + y * cos, p[..., 2]], -1)
    phi = torch.remainder(own["phi"] + turn + math.pi, 2 * math.pi) - math.pi
    events, other = beside(particles(p), **own), beside(particles(turned), **{**own, "phi": phi})
    representation = represent(events, azimuth="Particle[0]")
    torch.testing.assert_close(
        representation.encode(other).x, representation.encode(events).x, rtol=0, atol=1e-5
    )
    back = representation.decode(representation.encode(other), representation.azimuth(other)).Particle
    torch.testing.assert_close(back.pt, own["pt"])
    assert float(torch.cos(back.phi - phi).min()) > 1 - 1e-11


def test_energies_measured_apart_from_mass_and_momentum_are_learned_unless_the_recipe_sets_masses():
    p = momenta()
    events = particles(p, uniform(rng(4), 0.1, 2, N, 2))
    assert deviations(events) == {}
    energy = events.Particle.energy * (1 + 0.02 * torch.randn(N, 2, generator=rng(5), dtype=torch.float64))
    events = EventBatch(events.schema, {"Particle": Objects({**events.Particle.fields, "energy": energy})})
    assert set(deviations(events)) == {"energy"}
    back = represent(events)
    made = back.decode(back.encode(events)).Particle
    torch.testing.assert_close(made.energy, energy)
    torch.testing.assert_close(made.mass, events.Particle.mass)
    assert deviations(events, masses={"Particle": 0.14}) == {}


def test_objects_sorted_by_the_other_measurement_stay_sorted_by_it():
    p = momenta(3)
    own, _ = measured(p, 1.0)
    own["pt"] = own["pt"] * (1 + 0.3 * torch.rand(N, 3, generator=rng(8), dtype=torch.float64))
    order = own["pt"].argsort(1, descending=True)
    p = p.gather(1, order.unsqueeze(2).expand(-1, -1, 3))
    events = beside(particles(p), pt=own["pt"].gather(1, order))
    representation = represent(events)
    assert representation.facts.orders == {"Particle": "pt"}
    features = representation.encode(events)
    back = representation.decode(features).Particle
    for name in ("px", "py", "pz", "pt"):
        torch.testing.assert_close(back.fields[name], events.Particle.fields[name])
    x = 2 * torch.randn(features.x.shape, generator=rng(2), dtype=torch.float64)
    made = representation.decode(features.with_x(x)).Particle
    assert (made.pt[:, 1:] <= made.pt[:, :-1] * (1 + 1e-11)).all()


def test_state_keeps_what_was_found():
    p = momenta()
    events = beside(particles(p), **measured(p)[0])
    representation = represent(events)
    restored = Representation.from_state(json.loads(json.dumps(representation.state(), allow_nan=False)))
    restored.load_state_dict(representation.state_dict())
    assert restored.facts == representation.facts
    features = representation.encode(events)
    assert torch.equal(restored.encode(events).x, features.x)
    assert torch.equal(restored.decode(features).Particle.pt, representation.decode(features).Particle.pt)


def test_single_transverse_objects_may_have_another_measurement_too():
    p = momenta(1)[:, 0]
    own, _ = measured(p)
    stored = {"px": p[:, 0], "py": p[:, 1], "pt": own["pt"], "phi": own["phi"]}
    collection = Collection(
        name="MET", layout="single", fields=fields("MET", *stored), min_count=1, max_count=1
    )
    events = EventBatch(EventSchema(collections=(collection,)), {"MET": Objects(stored)})
    representation = represent(events)
    assert {"MET.pt:own", "MET.phi:own"} <= set(representation.names)
    back = representation.decode(representation.encode(events)).MET
    for name, values in stored.items():
        torch.testing.assert_close(back.fields[name], values, rtol=1e-6, atol=1e-6)
