"""Coordinates stay within ranges that depend on the event, whatever a network makes of the features."""

from __future__ import annotations

import math

import awkward as ak
import numpy as np
import pytest
import torch

from hepgan.errors import InputError, RecipeError
from hepgan.events import schema_of, to_batch, with_kinds
from hepgan.events.schema import Kind
from hepgan.features import Representation
from hepgan.features.config import FeaturesConfig
from hepgan.features.parts.objects import Range

N = 3000


def scattered(n=N, seed=1, jagged=False, energies=(10.0, 20.0, 40.0)):
    """Massless electrons within 0 < x, y < 1 of beams of several energies."""
    rng = np.random.default_rng(seed)
    beam = rng.choice(np.array(energies), n)
    x, y = rng.uniform(0.001, 0.999, (2, n))
    minus, plus = 2 * beam * x * y, 2 * beam * (1 - y)
    phi = rng.uniform(-math.pi, math.pi, n)
    pt = np.sqrt(plus * minus)
    columns = {"px": pt * np.cos(phi), "py": pt * np.sin(phi), "pz": (plus - minus) / 2}
    columns["energy"] = (plus + minus) / 2
    electrons = ak.zip({k: v.astype(np.float32) for k, v in columns.items()}, with_name="Momentum4D")
    electrons = ak.unflatten(electrons, np.ones(n, int)) if jagged else electrons
    return ak.zip({"Electron": electrons, "beam_energy": beam.astype(np.float32)}, depth_limit=1)


def fitted(ranges, coordinates, events=None, *, condition=True, transforms=None):
    events = scattered() if events is None else events
    schema = with_kinds(schema_of(events), {"beam_energy": Kind.CONTINUOUS})
    batch = to_batch(events, schema)
    block = {"kind": "objects", "collection": "Electron", "coordinates": coordinates, "ranges": ranges}
    config = FeaturesConfig.model_validate({"blocks": [{**block, "transforms": transforms or {}}]})
    names = ["beam_energy"] if condition else []
    return batch, Representation(config, schema, names).fit(batch)


LIGHT_CONE = {"minus": [0, "2 * beam_energy"], "plus": [0, "2 * beam_energy - minus"]}


@pytest.mark.parametrize("jagged", [False, True])
@pytest.mark.parametrize("condition", [False, True], ids=["generated", "given"])
@pytest.mark.parametrize(
    ("ranges", "coordinates"),
    [
        (LIGHT_CONE, ["minus", "plus", "phi"]),
        ({"energy": [None, "beam_energy"]}, ["energy", "theta", "phi"]),
        ({"pz": [None, "beam_energy"]}, ["px", "py", "pz"]),
        ({"pz": ["-sqrt(max(beam_energy ** 2 - pt ** 2, 0))", None]}, ["pt", "phi", "pz"]),
    ],
    ids=["light-cone", "energy", "upper", "lower"],
)
def test_decode_inverts_encode(ranges, coordinates, condition, jagged):
    batch, representation = fitted(ranges, coordinates, scattered(jagged=jagged), condition=condition)
    back = representation.decode(representation.encode(batch))
    for name in ("px", "py", "pz", "energy"):
        given, found = (b.collections["Electron"].fields[name].double() for b in (batch, back))
        torch.testing.assert_close(found, given, rtol=1e-5, atol=2e-5)
    torch.testing.assert_close(back.beam_energy.double(), batch.beam_energy.double())


@pytest.mark.parametrize("condition", [False, True], ids=["generated", "given"])
def test_nothing_leaves_the_phase_space_of_any_beam_energy(condition):
    batch, representation = fitted(LIGHT_CONE, ["minus", "plus", "phi"], condition=condition)
    features = representation.encode(batch)
    x = 6 * torch.randn(features.x.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    made = representation.decode(features.with_x(x))
    beam, electron = made.beam_energy, made.Electron
    slack = 1 + 1e-12
    assert float((electron.energy / beam).max()) <= slack
    plus, minus = electron.energy + electron.pz, electron.energy - electron.pz
    assert float((minus / (2 * beam - plus).clamp(min=1e-9 * beam))[plus < 1.99 * beam].max()) <= slack, "x"
    assert float((1 - plus / (2 * beam)).min()) >= -1e-12, "y"
    assert float(electron.energy.max()) > 20.0, "edges follow the event's own energy"


def test_edges_follow_a_condition_that_training_never_saw():
    batch, representation = fitted({"energy": [None, "beam_energy"]}, ["energy", "theta", "phi"])
    features = representation.encode(batch)
    beams = torch.full((len(batch),), 60.0, dtype=torch.float64)
    condition = representation.encode_condition({"beam_energy": beams})
    context, mask = representation.context(features.discrete, condition)
    x = 3 * torch.randn(features.x.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    moved = type(features)(x, mask, features.discrete, condition, context, features.weight)
    energy = representation.decode(moved).Electron.energy
    assert 40.0 < float(energy.max()) <= 60.0 * (1 + 1e-12)


def test_a_distance_from_a_moving_edge_is_the_published_logarithm():
    spec = {"pz": {"kind": "log_edge", "edge": 0.0}}
    batch, representation = fitted({"pz": [None, "beam_energy"]}, ["px", "py", "pz"], transforms=spec)
    x = representation.encode(batch).x[:, representation.names.index("Electron.pz")]
    expected = (batch.beam_energy.double() - batch.Electron.pz.double()).log()
    torch.testing.assert_close(x, (expected - expected.mean()) / expected.std(correction=0))


def test_numbers_beyond_an_end_are_put_on_it_and_crossed_ends_leave_the_lower_one():
    values = torch.tensor([[-3.0], [0.25], [7.0]], dtype=torch.float64)
    known = {"a": torch.tensor([2.0, 2.0, 2.0], dtype=torch.float64)}
    found = Range("v", 1.0, "1 + a", {"a"}).inverse(values, known)
    assert found.squeeze(1).tolist() == [1.0, 1.5, 3.0]
    assert Range("v", 5.0, "1 + a", {"a"}).inverse(values, known).squeeze(1).tolist() == [5.0, 5.0, 5.0]
    assert Range("v", None, "a", {"a"}).inverse(values, known).squeeze(1).tolist() == [2.0, 1.75, -5.0]


def test_gradients_reach_the_features_through_an_end_that_depends_on_them():
    batch, representation = fitted(LIGHT_CONE, ["minus", "plus", "phi"])
    features = representation.encode(batch[:50])
    # Off the knots of the quantiles, which have two slopes.
    x = (features.x + 0.01234).requires_grad_()
    energy = representation.decode(features.with_x(x)).Electron.energy
    (gradient,) = torch.autograd.grad(energy.sum(), x)
    step = torch.zeros_like(x)
    step[:, representation.names.index("Electron.minus")] = 1e-6
    with torch.no_grad():
        there, back = (representation.decode(features.with_x(x + s)).Electron.energy for s in (step, -step))
    numeric = (there - back) / 2e-6
    found = gradient[:, representation.names.index("Electron.minus")]
    torch.testing.assert_close(found, numeric, rtol=1e-4, atol=1e-6)


def test_state_restores_ranges():
    batch, representation = fitted(LIGHT_CONE, ["minus", "plus", "phi"])
    again = Representation.from_state(representation.state())
    again.load_state_dict(representation.state_dict())
    features = representation.encode(batch)
    assert torch.equal(again.encode(batch).x, features.x)
    assert torch.equal(again.decode(features).Electron.px, representation.decode(features).Electron.px)


def test_training_events_far_outside_are_refused_and_rounding_is_not():
    outside = {"pz": [None, "beam_energy / 2"]}
    with pytest.raises(InputError, match=r"Electron\.pz is .*outside its range none"):
        fitted(outside, ["px", "py", "pz"])
    events = scattered()
    events["Electron", "energy"] = events.Electron.energy * np.float32(1.00001)
    fitted({"energy": [None, "max(0.9999 * beam_energy, 1)"]}, ["energy", "theta", "phi"], events)


@pytest.mark.parametrize(
    ("ranges", "message"),
    [
        ({"pz": [None, "beam"]}, "'beam'; it may depend on beam_energy, px, py"),
        ({"px": [None, "pz"]}, "depends on 'pz'"),
        ({"pz": [None, None]}, "no end"),
        ({"eta": [None, 3]}, "cannot limit 'eta'"),
        ({"pz": [None, "exp("]}, "pz"),
    ],
)
def test_a_range_that_makes_no_sense_is_an_error(ranges, message):
    with pytest.raises((RecipeError, ValueError), match=message):
        fitted(ranges, ["px", "py", "pz"])
