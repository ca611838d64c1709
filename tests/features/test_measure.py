"""Volumes of events: by hand, by numerical derivatives of encode, and with what is left out of them."""

from __future__ import annotations

import math

import pytest
import torch
from feature_samples import fields, particles, rng, uniform, z_events
from test_scattering import fitted, scattered
from test_trees import partons

from hepgan.errors import InputError, RecipeError
from hepgan.events.batch import EventBatch, Objects
from hepgan.events.schema import Collection, EventSchema, Field
from hepgan.features import FeaturesConfig, Measure, Representation

N = 300


def represent(events, **config):
    return Representation(FeaturesConfig.model_validate(config), events.schema).fit(events)


def volume(representation, events):
    features, possible = representation.encode_possible(events)
    assert bool(possible.all())
    found = Measure(representation)(events, features)
    assert bool(found.possible.all())
    return found


def names(found, event=0):
    return [n for n, c in zip(found.coordinates, found.chosen[event].tolist(), strict=True) if c]


def by_encoding(representation, events, event, coordinates):
    """Log |d features / d coordinates| of one event, by central differences of encode."""
    one = events[event : event + 1].map(torch.clone)

    def moved(name, by):
        changed = one.map(torch.clone)
        place, _, field = name.rpartition(".")
        collection, _, slot = place.partition("[")
        values = changed.collections[collection].fields[field] if place else changed.scalars[name]
        where = (0, int(slot[:-1])) if slot else (0,)
        values[where] += by * max(1.0, abs(float(values[where])))
        return changed, max(1.0, abs(float(values[where]) / (1 + by)))

    features = representation.encode(one)
    exists = slice(None) if features.mask is None else features.mask[0]
    rows = []
    for name in coordinates:
        ends = [moved(name, sign * 1e-6) for sign in (1, -1)]
        x = [representation.encode(e).x[0][exists] for e, _ in ends]
        value = [float(_value(e, name)) for e, _ in ends]
        rows.append((x[0] - x[1]) / (value[0] - value[1]))
    return float(torch.linalg.slogdet(torch.stack(rows))[1])


def _value(events, name):
    place, _, field = name.rpartition(".")
    if not place:
        return events.scalars[name][0]
    collection, _, slot = place.partition("[")
    values = events.collections[collection].fields[field]
    return values[0, int(slot[:-1])] if slot else values[0]


def decay_pair(n=N):
    p = 30 * torch.randn(n, 2, 3, generator=rng(3), dtype=torch.float64)
    return particles(p, torch.full((n, 2), 0.5, dtype=torch.float64))


def massless(count, n=N):
    return particles(30 * torch.randn(n, count, 3, generator=rng(4), dtype=torch.float64))


def moving(events):
    """Partons with a total momentum, which they share."""
    known = dict(events.collections["Parton"].fields)
    mask = events.collections["Parton"].mask
    for i, name in enumerate(("px", "py", "pz")):
        shift = 5 * torch.randn(len(events), 1, generator=rng(20 + i), dtype=torch.float64)
        known[name] = torch.where(mask, known[name] + shift, 0.0)
    p2 = known["px"] ** 2 + known["py"] ** 2 + known["pz"] ** 2
    known["energy"] = torch.sqrt(p2 + known["mass"] ** 2)
    order = torch.where(mask, known["energy"], -1.0).argsort(1, descending=True)
    known = {n: v.gather(1, order) for n, v in known.items()}
    return EventBatch(events.schema, {"Parton": Objects(known, mask)})


def linear(**more):
    return {"transform": "standardise", **more}


def objects(coordinates, **more):
    return [{"kind": "objects", "collection": "Particle", "coordinates": coordinates, "order": False, **more}]


NESTED = {"name": "A", "children": ["Particle[0]", "Particle[1]"]}
CASES = {
    "jets, muons and numbers": (z_events, {}),
    "px, py, pz": (lambda: massless(3), linear(blocks=objects(["px", "py", "pz"]))),
    "pt, eta, phi": (lambda: massless(3), linear(blocks=objects(["pt", "eta", "phi"]))),
    "plus, minus": (lambda: massless(2), linear(blocks=objects(["plus", "minus", "phi"]))),
    "p, costheta": (lambda: massless(2), linear(blocks=objects(["p", "costheta", "phi"]))),
    "angles": (
        lambda: massless(2),
        linear(blocks=objects(["pt", "eta", "phi"], transforms={"phi": "angle"})),
    ),
    "pca": (lambda: massless(2), linear(blocks=objects(["px", "py", "pz"], pca=True))),
    "ranges": (
        lambda: massless(2),
        linear(blocks=objects(["px", "py", "pz"], ranges={"px": [-200, 200], "pz": [None, "300 - px"]})),
    ),
    "decay": (decay_pair, linear(blocks=[{"kind": "decay", **NESTED}])),
    "nested decay": (
        lambda: massless(3),
        linear(
            blocks=[{"kind": "decay", "name": "B", "children": [{"kind": "decay", **NESTED}, "Particle[2]"]}]
        ),
    ),
    "decay of three": (
        lambda: massless(3),
        linear(blocks=[{"kind": "decay", "name": "B", "children": [f"Particle[{i}]" for i in range(3)]}]),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_volumes_are_those_of_numerical_derivatives_of_encode(name):
    make, config = CASES[name]
    events = make()
    representation = represent(events, **config)
    found = volume(representation, events)
    for event in range(0, N, 47):
        expected = -by_encoding(representation, events, event, names(found, event))
        assert float(found.log_abs_det[event]) == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize("direction", [1, -1])
def test_volumes_of_scattered_leptons_are_those_of_numerical_derivatives(direction):
    events, _, _ = scattered(direction=direction)
    transforms = {"Q2": [{"kind": "log_edge", "edge": 0}], "x": "standardise", "phi": "angle"}
    batch, representation = fitted(events, direction=direction, transforms=transforms)
    found = volume(representation, batch)
    assert names(found) == ["Electron.px", "Electron.py", "Electron.pz"]
    for event in range(0, 200, 21):
        expected = -by_encoding(representation, batch, event, names(found, event))
        assert float(found.log_abs_det[event]) == pytest.approx(expected, abs=5e-3)


def test_volumes_of_trees_are_those_of_numerical_derivatives():
    events = moving(partons())
    representation = represent(events, **linear(blocks=[{"kind": "tree", "collection": "Parton"}]))
    found = volume(representation, events)
    arranged = representation.arranged(events)
    some = range(0, N, 60)
    assert len(set(events.Parton.mask.sum(1)[list(some)].tolist())) > 1
    for event in some:
        coordinates = names(found, event)
        assert {c.split(".")[1] for c in coordinates} == {"px", "py", "pz"}
        expected = -by_encoding(representation, arranged, event, coordinates)
        assert float(found.log_abs_det[event]) == pytest.approx(expected, abs=5e-3)


def test_the_last_objects_momentum_is_left_out_where_the_total_is_known():
    events = partons()
    block = {"kind": "tree", "collection": "Parton", "total_energy": 91.188}
    found = volume(represent(events, blocks=[block]), events)
    count = events.Parton.mask.sum(1)
    complete = (events.Parton.energy.sum(1) - 91.188).abs() < 1e-6
    for event in complete.nonzero()[:20, 0].tolist():
        left = names(found, event)
        # Energy and momentum fix four numbers.
        assert len(left) == 3 * int(count[event]) - 4
        assert not any(n.startswith(f"Parton[{int(count[event]) - 1}]") for n in left)


def test_momenta_in_other_coordinates_have_the_volume_of_textbooks():
    events = massless(1)
    p = events.Particle
    pt, eta = torch.hypot(p.px, p.py)[:, 0], torch.asinh(p.pz / torch.hypot(p.px, p.py))[:, 0]
    representation = represent(events, **linear(blocks=objects(["pt", "eta", "phi"])))
    found = volume(representation, events)
    assert names(found) == ["Particle[0].px", "Particle[0].py", "Particle[0].pz"]
    features = representation.encode(events)
    # d px d py d pz = pt^2 cosh(eta) d pt d eta d phi
    expected = (pt**2 * torch.cosh(eta)).log() - representation.log_abs_det(features)
    torch.testing.assert_close(found.log_abs_det, expected, rtol=0, atol=1e-9)


def test_a_pair_at_rest_has_the_volume_computed_by_hand():
    g = rng(5)
    px, py = (20 * torch.randn(N, generator=g, dtype=torch.float64) for _ in range(2))
    pz = 30 * torch.randn(N, 2, generator=g, dtype=torch.float64)
    events = particles(torch.stack([torch.stack([px, -px], 1), torch.stack([py, -py], 1), pz], 2))
    representation = represent(
        events, **linear(blocks=[{"kind": "decay", "name": "X", "children": ["Particle[0]", "Particle[1]"]}])
    )
    found = volume(representation, events)
    assert names(found) == ["Particle[0].px", "Particle[0].py", "Particle[0].pz", "Particle[1].pz"]
    pt = torch.hypot(px, py)
    y = torch.asinh(pz / pt.unsqueeze(1))
    # M = 2 pt cosh(D/2), cos* = tanh(D/2), y = (y1 + y2)/2 with D = y1 - y2
    by_columns = (pt**3 * torch.cosh(y).prod(1) * torch.cosh((y[:, 0] - y[:, 1]) / 2)).log()
    expected = by_columns - representation.log_abs_det(representation.encode(events))
    torch.testing.assert_close(found.log_abs_det, expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("component", ["px", "py", "pz"])
def test_of_a_conserved_component_the_last_objects_is_left_out(component):
    p = 30 * torch.randn(N, 3, 3, generator=rng(6), dtype=torch.float64)
    i = ("px", "py", "pz").index(component)
    p[:, 2, i] = 5.0 - p[:, :2, i].sum(1)
    events = particles(p)
    blocks = objects(["px", "py", "pz"], conserve={component: 5.0})
    representation = represent(events, **linear(blocks=blocks))
    found = volume(representation, events)
    assert set(names(found)) == {
        f"Particle[{k}].{c}" for k in range(3) for c in ("px", "py", "pz") if (k, c) != (2, component)
    }
    expected = -representation.log_abs_det(representation.encode(events))
    torch.testing.assert_close(found.log_abs_det, expected, rtol=0, atol=1e-9)


def test_a_mass_that_is_learned_counts_and_a_known_one_does_not():
    p = 30 * torch.randn(N, 2, 3, generator=rng(7), dtype=torch.float64)
    own = particles(p, uniform(rng(8), 1, 9, N, 2))
    known = particles(p, torch.full((N, 2), 0.1, dtype=torch.float64))
    for events, expected in ((own, 8), (known, 6)):
        found = volume(represent(events, blocks=objects(["px", "py", "pz"])), events)
        assert int(found.chosen[0].sum()) == expected


def test_the_drawn_azimuth_takes_the_place_of_one_coordinate():
    events = massless(2)
    turned = represent(events, azimuth="Particle[0]", **linear(blocks=objects(["pt", "eta", "phi"])))
    still = represent(events, **linear(blocks=objects(["pt", "eta", "phi"])))
    assert turned.size == still.size - 1
    a, b = volume(turned, events), volume(still, events)
    assert names(a) == names(b)
    scales = [r.log_abs_det(r.encode(events)) for r in (turned, still)]
    torch.testing.assert_close(a.log_abs_det + scales[0], b.log_abs_det + scales[1], rtol=0, atol=1e-8)


def test_integers_learned_as_continuous_count_with_their_noise():
    g = rng(9)
    schema = EventSchema(scalars=(Field(name="n", branches=("n",), dtype="int32", kind="integer"),))
    events = EventBatch(schema, {}, {"n": torch.randint(0, 400, (2000,), generator=g)})
    representation = represent(events, transform="standardise")
    assert representation.rounded == (0,)
    found = volume(representation, events)
    assert found.coordinates == ("n (with noise)",)
    expected = -representation.log_abs_det(representation.encode(events))
    torch.testing.assert_close(found.log_abs_det, expected, rtol=0, atol=1e-9)


def test_more_features_than_coordinates_are_an_error():
    events = massless(2)
    representation = represent(
        events, azimuth="Particle[0] + Particle[1]", blocks=objects(["px", "py", "pz"])
    )
    features, _ = representation.encode_possible(events)
    with pytest.raises(RecipeError, match=r"no density: 7 numbers are generated .* only 6"):
        Measure(representation)(events, features)


def test_the_measure_of_an_event_does_not_depend_on_the_others():
    events = z_events()
    representation = represent(events, azimuth="Muon[0]")
    whole = volume(representation, events)
    part = volume(representation, events[100:130])
    torch.testing.assert_close(whole.log_abs_det[100:130], part.log_abs_det, rtol=0, atol=1e-9)
    assert [names(whole, 100 + i) for i in range(30)] == [names(part, i) for i in range(30)]


def test_objects_that_only_pass_a_threshold_have_no_density():
    events = z_events()
    block = {"kind": "objects", "collection": "Jet", "count": "threshold", "threshold": {"pt": 14}}
    representation = represent(events, blocks=[block])
    features, _ = representation.encode_possible(events)
    with pytest.raises(RecipeError, match="no density"):
        Measure(representation)(events, features)


def outside(representation, events, wrong):
    """Whether just the wrong events (N,) are noted as such, and the others' features are as ever."""
    features, possible = representation.encode_possible(events)
    assert bool(torch.equal(possible, ~wrong))
    assert 0 < int(wrong.sum()) < len(events)
    expected = representation.encode(events[~wrong]).x
    torch.testing.assert_close(features.x[~wrong], expected, rtol=1e-12, atol=1e-12)
    with pytest.raises(InputError):
        representation.encode(events)


def test_numbers_of_objects_that_never_occurred_are_noted():
    events = z_events()
    many = events.Jet.mask.sum(1) > 2
    outside(represent(events[~many]), events, many)


def test_classes_that_never_occurred_are_noted():
    events = z_events()
    wrong = events.Muon.charge[:, 0] > 0
    outside(represent(events[~wrong]), events, wrong)


def test_numbers_outside_their_range_are_noted():
    events = massless(2)
    wrong = (events.Particle.px.abs() > 40).any(1)
    blocks = objects(["px", "py", "pz"], ranges={"px": [-40, 40]})
    outside(represent(events[~wrong], **linear(blocks=blocks)), events, wrong)


def test_numbers_that_a_transform_cannot_take_are_noted():
    events = massless(2)
    wrong = (events.Particle.px < -40).any(1)
    transforms = {"px": {"kind": "log_edge", "edge": -40}}
    blocks = objects(["px", "py", "pz"], transforms=transforms)
    outside(represent(events[~wrong], **linear(blocks=blocks)), events, wrong)


def test_leptons_outside_phase_space_are_noted():
    events, _, _ = scattered()
    batch, representation = fitted(events)
    wrong = torch.arange(len(batch)) < 30
    electron = batch.collections["Electron"].fields
    electron["pz"][wrong] = 10 * batch.beam_energy[wrong, None]
    electron["energy"] = (electron["px"] ** 2 + electron["py"] ** 2 + electron["pz"] ** 2).sqrt()
    outside(representation, batch, wrong)


def test_trees_that_never_occurred_are_noted():
    events = partons()
    block = {"kind": "tree", "collection": "Parton", "total_energy": 91.188}
    whole = represent(events, blocks=[block])
    features = whole.encode(events)
    number = [v.name for v in whole.variables].index("Parton.tree[0]")
    wrong = features.discrete[:, number] == int(features.discrete[:, number].max())
    outside(represent(events[~wrong], blocks=[block]), events, wrong)


def single(**values):
    schema = EventSchema(
        collections=(
            Collection(name="MET", layout="single", fields=fields("MET", *values), min_count=1, max_count=1),
        )
    )
    return EventBatch(schema, {"MET": Objects(values)})


def test_events_that_do_not_come_back_are_told():
    p = 30 * torch.randn(N, 3, 3, generator=rng(6), dtype=torch.float64)
    p[:, 2, 0] = -p[:, :2, 0].sum(1)
    representation = represent(particles(p), blocks=objects(["px", "py", "pz"], conserve={"px": 0.0}))
    p[:5, 2, 0] += 1.0
    events = particles(p)
    features, possible = representation.encode_possible(events)
    assert bool(possible.all())
    found = Measure(representation)(events, features).possible
    assert found.tolist() == [False] * 5 + [True] * (N - 5)


def test_unsorted_objects_do_not_come_back():
    events = z_events()
    representation = represent(events)
    fields_ = events.collections["Muon"].fields
    swapped = events.map(torch.clone)
    for name, values in fields_.items():
        swapped.collections["Muon"].fields[name][:10] = values[:10].flip(1)
    features, _ = representation.encode_possible(swapped)
    found = Measure(representation)(swapped, features).possible
    assert found.tolist() == [False] * 10 + [True] * (len(events) - 10)


def test_angles_come_back_across_the_cut():
    phi = uniform(rng(1), -math.pi, math.pi, N)
    events = single(pt=uniform(rng(2), 1, 60, N), phi=phi)
    block = {
        "kind": "objects",
        "collection": "MET",
        "coordinates": ["pt", "phi"],
        "transforms": {"phi": "angle"},
    }
    representation = represent(events, blocks=[block])
    assert representation.periodic == (1,)
    other = single(pt=events.MET.pt, phi=phi + 2 * math.pi)
    features, possible = representation.encode_possible(other)
    assert bool((possible & Measure(representation)(other, features).possible).all())
