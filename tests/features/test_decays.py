from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import vector
from feature_samples import difference, particles, rng, uniform

from hepgan.errors import RecipeError
from hepgan.features.config import FeaturesConfig
from hepgan.features.representation import Representation

N = 500


def momenta(count, seed=1, n=N):
    return 30 * torch.randn(n, count, 3, generator=rng(seed), dtype=torch.float64)


def masses(*values, n=N):
    return torch.tensor(values, dtype=torch.float64).expand(n, len(values)).clone()


def represent(events, *children, **config):
    block = {"kind": "decay", "name": "X", "children": list(children)}
    settings = FeaturesConfig.model_validate({"blocks": [block], **config})
    return Representation(settings, events.schema).fit(events)


def raw_column(representation, events, name):
    """A column before its transform."""
    features = representation.encode(events)
    return representation.codec.standard.inverse(features.x)[:, raw_names(representation).index(name)]


def raw_names(representation):
    return [c.name for b in representation.codec.parts for c in b.columns]


def four(events, i):
    p = events.Particle
    return vector.array({n: getattr(p, n)[:, i].numpy() for n in ("px", "py", "pz", "energy")})


PAIR = ("Particle[0]", "Particle[1]")
NESTED = (
    {"name": "A", "children": ["Particle[0]", "Particle[1]"]},
    {"name": "B", "children": ["Particle[2]", "Particle[3]"]},
)


@pytest.mark.parametrize(
    ("children", "count"),
    [(PAIR, 2), ((*PAIR, "Particle[2]"), 3), (NESTED, 4), ((*NESTED, "Particle[4]"), 5)],
    ids=["pair", "three", "nested", "deep"],
)
def test_decays_are_exact_there_and_back(children, count):
    mass = masses(0.1, 5.0, 0.0, 2.0, 80.0)[:, :count]
    events = particles(momenta(count), mass)
    representation = represent(events, *children)
    name, worst = difference(events, representation.decode(representation.encode(events)))
    assert worst < 1e-9, name


def test_columns_are_the_systems_mass_momentum_and_decay_angles():
    events = particles(momenta(2), masses(0.5, 3.0))
    representation = represent(events, *PAIR)
    a, b = four(events, 0), four(events, 1)
    pair = a + b
    np.testing.assert_allclose(raw_column(representation, events, "X.mass"), pair.mass - 3.5, rtol=1e-9)
    np.testing.assert_allclose(raw_column(representation, events, "X.pt"), pair.pt, rtol=1e-9)
    np.testing.assert_allclose(raw_column(representation, events, "X.y"), pair.rapidity, rtol=1e-9)
    # The frame: turned to phi = 0, boosted along the beam to pz = 0, then along x to rest.
    turned = a.rotateZ(-pair.phi)
    upright = turned.boostZ(-np.tanh(pair.rapidity))
    rest = upright.boostX(-pair.pt / np.hypot(pair.mass, pair.pt))
    np.testing.assert_allclose(raw_column(representation, events, "X.cos_theta"), rest.costheta, atol=1e-8)
    centre = float(representation.codec.parts[0].centres[1])
    phi = raw_column(representation, events, "X.phi_star").numpy() + centre
    np.testing.assert_allclose(np.cos(phi - rest.phi), 1, atol=1e-9)


def test_two_body_momenta_have_the_invariant_mass_that_was_asked_for():
    events = particles(momenta(2), masses(1.0, 10.0))
    representation = represent(events, *PAIR)
    features = representation.encode(events)
    wild = features.with_x(torch.randn(features.x.shape, generator=rng(2), dtype=torch.float64))
    made = representation.decode(wild)
    pair = four(made, 0) + four(made, 1)
    excess = representation.codec.standard.inverse(wild.x)[:, raw_names(representation).index("X.mass")]
    np.testing.assert_allclose(pair.mass, excess.numpy() + 11, rtol=1e-6)


def test_a_resonance_that_decays_into_different_masses_stays_in_its_place():
    light, heavy = masses(0.33, 0.33), masses(1.5, 4.8)
    which = torch.arange(N) % 2 == 0
    mass = torch.where(which[:, None], light, heavy)
    events = particles((40 + momenta(2).abs()) * torch.tensor([[[1.0], [-1.0]]]), mass)
    representation = represent(events, *PAIR)
    pair = four(events, 0) + four(events, 1)
    np.testing.assert_allclose(raw_column(representation, events, "X.mass"), pair.mass - 6.3, rtol=1e-9)
    name, worst = difference(events, representation.decode(representation.encode(events)))
    assert worst < 1e-9, name
    wild = torch.randn(N, representation.size, generator=rng(4), dtype=torch.float64) * 6
    made = representation.decode(representation.encode(events).with_x(wild))
    pair = four(made, 0) + four(made, 1)
    assert (pair.mass >= 6.3 * (1 - 1e-9)).all()


def test_no_mass_falls_below_its_threshold_whatever_a_network_gives():
    events = particles(momenta(4), masses(1.0, 2.0, 3.0, 4.0))
    representation = represent(events, *NESTED)
    features = representation.encode(events)
    made = representation.decode(
        features.with_x(4 * torch.randn(features.x.shape, generator=rng(3), dtype=torch.float64))
    )
    a, b = four(made, 0) + four(made, 1), four(made, 2) + four(made, 3)
    assert (a.mass >= 3 * (1 - 1e-7)).all()
    assert (b.mass >= 7 * (1 - 1e-7)).all()
    assert ((a + b).mass >= (a.mass + b.mass) * (1 - 1e-6)).all()
    p = made.Particle
    shell = p.energy**2 - p.px**2 - p.py**2 - p.pz**2 - p.mass**2
    assert (shell.abs() <= 1e-12 * p.energy**2).all()
    for field in p.fields.values():
        assert torch.isfinite(field).all()


def test_a_system_at_rest_conserves_transverse_momentum():
    p = momenta(4)
    p[:, 3, :2] = -p[:, :3, :2].sum(1)
    # Rounded as a float32 file has them.
    events = particles(p.float().double(), masses(0.0, 0.0, 1.5, 4.8))
    representation = represent(events, *NESTED, azimuth="Particle[0]")
    assert not {"X.pt", "X.phi"} & set(raw_names(representation))
    features = representation.encode(events)
    made = representation.decode(
        features.with_x(2 * torch.randn(features.x.shape, generator=rng(5), dtype=torch.float64)),
        uniform(rng(6), -3, 3, N),
    )
    for component in (made.Particle.px, made.Particle.py):
        scale = component.abs().sum(1)
        assert (component.sum(1).abs() <= 1e-9 * (1 + scale)).all()
    back = representation.decode(features, representation.azimuth(events))
    assert difference(events, back)[1] < 0.05
    torch.testing.assert_close(back.Particle.px, events.Particle.px, atol=1e-4, rtol=0)


def test_back_to_back_pairs_have_three_features():
    p = momenta(2)
    p[:, 1, :2] = -p[:, 0, :2]
    events = particles(p)
    representation = represent(events, *PAIR, azimuth="Particle[0]")
    assert representation.names == ("X.y", "X.mass", "X.cos_theta")
    back = representation.decode(representation.encode(events), representation.azimuth(events))
    assert difference(events, back)[1] < 1e-9
    assert (back.Particle.px.sum(1).abs() < 1e-12).all()


def test_single_events_with_zero_pt_are_exact():
    p = momenta(2)
    p[:50, 1, :2] = -p[:50, 0, :2]
    events = particles(p, masses(0.2, 0.2))
    representation = represent(events, *PAIR)
    back = representation.decode(representation.encode(events))
    assert difference(events, back)[1] < 1e-9


def test_ordered_children_are_half_a_range_of_phi_star():
    p = momenta(2)
    first = (p[..., :2].norm(dim=2)).argsort(dim=1, descending=True)
    p = p.gather(1, first.unsqueeze(2).expand(-1, -1, 3))
    events = particles(p, masses(0.105, 0.105))
    representation = represent(events, *PAIR)
    phi = next(c for c in representation.codec.parts[0].columns if c.name == "X.phi_star")
    assert (phi.low, phi.high) == (-math.pi / 2, math.pi / 2)
    features = representation.encode(events)
    made = representation.decode(
        features.with_x(3 * torch.randn(features.x.shape, generator=rng(9), dtype=torch.float64))
    ).Particle
    assert (made.pt[:, 0] >= made.pt[:, 1] * (1 - 1e-12)).all()


def test_unordered_children_keep_the_whole_range():
    events = particles(momenta(2), masses(0.105, 0.105))
    phi = next(c for c in represent(events, *PAIR).codec.parts[0].columns if c.name == "X.phi_star")
    assert (phi.low, phi.high) == (-math.pi, math.pi)
    block = {"kind": "decay", "name": "X", "children": list(PAIR), "ordered": True}
    with pytest.raises(RecipeError, match="falling pt"):
        Representation(FeaturesConfig.model_validate({"blocks": [block]}), events.schema).fit(events)


def test_objects_outside_the_decay_have_their_own_columns():
    events = particles(momenta(3), masses(0.1, 0.1, 7.0))
    representation = represent(events, *PAIR)
    assert {"Particle[2].px", "Particle[2].py", "Particle[2].pz"} <= set(representation.names)
    assert difference(events, representation.decode(representation.encode(events)))[1] < 1e-9


def test_gradients_through_a_nested_decay_are_right():
    events = particles(momenta(4, n=40), masses(1.0, 2.0, 3.0, 4.0, n=40))
    representation = represent(events, *NESTED)
    features = representation.encode(events)[:2]

    def observables(x):
        p = representation.decode(features.with_x(x)).Particle
        return p.px, p.pz, p.energy

    x = (
        features.x + 0.01 * torch.randn(features.x.shape, generator=rng(7), dtype=torch.float64)
    ).requires_grad_()
    assert torch.autograd.gradcheck(observables, (x,), eps=1e-8, atol=1e-3, rtol=1e-3)
