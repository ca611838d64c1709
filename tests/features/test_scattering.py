"""Scattered leptons stay within the phase space of their beams, whatever a network makes of the features."""

from __future__ import annotations

import math
from dataclasses import replace

import awkward as ak
import numpy as np
import pytest
import torch

from hepgan.errors import InputError, RecipeError
from hepgan.events import schema_of, to_batch, with_kinds
from hepgan.events.schema import Kind
from hepgan.features import Representation
from hepgan.features.config import FeaturesConfig

N = 3000


def scattered(n=N, *, direction=1, hadron=None, jagged=False, objects=1, energies=(10.0, 20.0, 40.0)):
    """Massless electrons evenly within 0 < x, y < 1, and the x and Q2 that they have."""
    rng = np.random.default_rng(1)
    beam = rng.choice(np.array(energies), n)
    other = beam if hadron is None else np.full(n, hadron)
    x, y = rng.uniform(0.001, 0.999, (2, n))
    q2 = 4 * beam * other * x * y
    along, against = 2 * beam * (1 - y), q2 / (2 * beam)
    phi = rng.uniform(-math.pi, math.pi, n)
    pt = np.sqrt(along * against)
    columns = {"px": pt * np.cos(phi), "py": pt * np.sin(phi), "pz": direction * (along - against) / 2}
    columns["energy"] = (along + against) / 2
    electrons = ak.zip({k: v.astype(np.float32) for k, v in columns.items()}, with_name="Momentum4D")
    if jagged:
        electrons = ak.unflatten(electrons, np.ones(n, int))
    if objects > 1:
        electrons = ak.concatenate([electrons] * objects, axis=1)
    events = ak.zip({"Electron": electrons, "beam_energy": beam.astype(np.float32)}, depth_limit=1)
    return events, x, q2


def fitted(events, azimuth=None, **settings):
    batch = to_batch(events, with_kinds(schema_of(events), {"beam_energy": Kind.CONTINUOUS}))
    block = {"kind": "scattering", "lepton": "Electron", **settings}
    document = {"azimuth": azimuth, "masses": {"Electron": "massless"}, "blocks": [block]}
    config = FeaturesConfig.model_validate(document)
    return batch, Representation(config, batch.schema, ["beam_energy"]).fit(batch)


def momenta(batch):
    electron = batch.collections["Electron"].fields
    return [electron[n].reshape(-1).double() for n in ("px", "py", "pz", "energy")]


@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize("hadron", [None, 920.0])
@pytest.mark.parametrize("jagged", [False, True])
def test_columns_are_q2_and_x_and_decode_inverts_encode(direction, hadron, jagged):
    events, x, q2 = scattered(direction=direction, hadron=hadron, jagged=jagged)
    beams = ["beam_energy", "beam_energy" if hadron is None else hadron]
    batch, representation = fitted(events, direction=direction, beams=beams)
    label = "Electron[0]" if jagged else "Electron"
    assert representation.names == (f"{label}.Q2", f"{label}.x", f"{label}.phi")
    features = representation.encode(batch)
    raw = representation.codec.standard.inverse(features.x)
    np.testing.assert_allclose(raw[:, 0], q2, rtol=1e-4)
    np.testing.assert_allclose(raw[:, 1], x, rtol=2e-3)
    back = representation.decode(features)
    for found, given in zip(momenta(back), momenta(batch), strict=True):
        torch.testing.assert_close(found, given, rtol=1e-5, atol=1e-4)


def test_without_azimuth_two_numbers_are_left_that_need_no_more_than_an_angle():
    events, _, _ = scattered()
    batch, representation = fitted(events, azimuth="Electron")
    assert representation.names == ("Electron.Q2", "Electron.x")
    back = representation.decode(representation.encode(batch), representation.azimuth(batch))
    for found, given in zip(momenta(back), momenta(batch), strict=True):
        torch.testing.assert_close(found, given, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("beam", [10.0, 33.0, 60.0], ids=["trained", "between", "beyond"])
@pytest.mark.parametrize(
    "transforms",
    [{}, {"Q2": {"kind": "log_edge", "edge": 0}, "x": {"kind": "logit", "low": 0, "high": 1}}],
    ids=["quantile", "logarithms"],
)
def test_nothing_leaves_phase_space_at_any_beam_energy(beam, transforms):
    events, _, _ = scattered()
    batch, representation = fitted(events, transforms=transforms)
    features = representation.encode(batch)
    beams = torch.full((len(batch),), beam, dtype=torch.float64)
    condition = representation.encode_condition({"beam_energy": beams})
    context, _ = representation.context(features.discrete, condition)
    x = 8 * torch.randn(features.x.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    made = representation.decode(replace(features, x=x, condition=condition, context=context))
    px, py, pz, energy = momenta(made)
    assert all(bool(torch.isfinite(v).all()) for v in (px, py, pz, energy))
    assert float((energy / beam).max()) <= 1 + 1e-12, "x < 1"
    assert float(((energy + pz) / (2 * beam)).max()) <= 1 + 1e-12, "y > 0"
    assert float((energy + pz).min()) >= 0.0, "y < 1"
    assert float(energy.max()) > 0.95 * beam
    torch.testing.assert_close(energy**2, px**2 + py**2 + pz**2)


def test_what_is_beyond_an_edge_is_mirrored_in_the_logarithm():
    events, _, _ = scattered(energies=(10.0,))
    logarithms = {"Q2": {"kind": "log_edge", "edge": 0}, "x": {"kind": "logit", "low": 0, "high": 1}}
    batch, representation = fitted(events, transforms=logarithms)
    # s = 400: (Q2, x) with y = 2 becomes y = 1/2 at the same Q2; Q2 = 2 s becomes s / 2.
    columns = torch.tensor([[100.0, 0.125, 0.3], [100.0, 0.5, 0.3], [800.0, 0.75, 0.0], [200.0, 0.75, 0.0]])
    features = representation.encode(batch)[: len(columns)]
    x = representation.codec.standard(columns.double(), None)
    px, py, pz, energy = momenta(representation.decode(features.with_x(x)))
    q2, y = 20 * (energy - pz), 1 - (energy + pz) / 20
    torch.testing.assert_close(q2, torch.tensor([100.0, 100.0, 200.0, 200.0], dtype=torch.float64))
    torch.testing.assert_close(y[:3], torch.tensor([0.5, 0.5, 2 / 3], dtype=torch.float64))
    assert float(px[2]) == float(px[3])
    assert torch.all(py[:2] > 0)


def test_gradients_are_those_of_finite_differences():
    events, _, _ = scattered()
    batch, representation = fitted(events, transforms=dict.fromkeys(("Q2", "x", "phi"), "standardise"))
    features = representation.encode(batch[:40])
    x = features.x.requires_grad_()

    def total(x):
        return sum(v.sum() for v in momenta(representation.decode(features.with_x(x))))

    assert torch.autograd.gradcheck(total, x, eps=1e-6, atol=1e-4)


def test_state_restores_the_block():
    events, _, _ = scattered()
    batch, representation = fitted(events)
    again = Representation.from_state(representation.state())
    again.load_state_dict(representation.state_dict())
    features = representation.encode(batch)
    assert torch.equal(again.decode(features).Electron.px, representation.decode(features).Electron.px)


def test_events_outside_phase_space_are_refused_with_their_entry():
    events, _, _ = scattered()
    with pytest.raises(InputError, match=r"outside phase space.*direction right\?"):
        fitted(events, direction=-1, beams=[8.0, 8.0])


@pytest.mark.parametrize(
    ("changes", "settings", "message"),
    [
        ({"jagged": True, "objects": 2}, {}, "has to be the only one"),
        ({}, {"beams": ["beam", 5.0]}, "no 'beam' in the events"),
        ({}, {"lepton": "Muon"}, "no 'Muon' in the events"),
    ],
)
def test_what_does_not_fit_is_an_error(changes, settings, message):
    events, _, _ = scattered(100, **changes)
    with pytest.raises(RecipeError, match=message):
        fitted(events, **settings)


def test_a_heavy_lepton_is_an_error():
    events, _, _ = scattered()
    events["Electron", "energy"] = np.sqrt(events.Electron.energy**2 + np.float32(4.0))
    batch = to_batch(events)
    config = FeaturesConfig.model_validate({"blocks": [{"kind": "scattering"}]})
    with pytest.raises(RecipeError, match="mass is not negligible"):
        Representation(config, batch.schema, ()).fit(batch)
