"""What the recipes for Drell-Yan and W Z events promise of every event, after next to no training."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest

from hepgan.events import read_events
from hepgan.generator import EventGenerator
from hepgan.recipes import load_recipe

SHORT = ("training.steps=3", "model.network.widths=[32, 32]")


def made(name, path, columns):
    events = read_events(f"{path}:Events", entry_stop=20_000)
    generator = EventGenerator(load_recipe(name).with_settings(SHORT)).fit(events, seed=1)
    return generator, generator.generate(3000, seed=2), columns(events)


def numbers(particles, *names):
    return [ak.to_numpy(ak.to_regular(particles[n])).astype(np.float64) for n in names]


def mass(particles, *members):
    px, py, pz, e = (c[:, list(members)].sum(1) for c in numbers(particles, "px", "py", "pz", "energy"))
    return np.sqrt(e**2 - px**2 - py**2 - pz**2)


@pytest.fixture(scope="module")
def drell_yan(shared_data):
    return made("drell-yan", shared_data / "drell_yan_train.root", lambda e: e.Lepton)


@pytest.fixture(scope="module")
def wz(shared_data):
    return made("wz", shared_data / "wz_train.root", lambda e: e.Particle)


def test_a_drell_yan_event_is_three_numbers(drell_yan):
    assert set(drell_yan[0].representation.names) == {"Z.mass", "Z.y", "Z.cos_theta"}


def test_leptons_are_back_to_back_exactly(drell_yan):
    px, py = numbers(drell_yan[1].Lepton, "px", "py")
    np.testing.assert_array_equal(px[:, 0], -px[:, 1])
    np.testing.assert_array_equal(py[:, 0], -py[:, 1])


def test_no_pair_is_below_the_mass_at_which_the_sample_begins(drell_yan):
    _, events, true = drell_yan
    assert mass(true, 0, 1).min() > 50.0
    assert mass(events.Lepton, 0, 1).min() > 49.98  # the edge is found in the events


def test_masses_of_leptons_are_those_of_their_kinds(drell_yan):
    lepton = drell_yan[1].Lepton
    px, py, pz, e, kind = numbers(lepton, "px", "py", "pz", "energy", "pdgId")
    p2 = px**2 + py**2 + pz**2
    # The sample's energies know a muon's mass to 1e-6 and an electron's not at all.
    expected = np.where(abs(kind) == 13, 0.10566, 0.0)
    np.testing.assert_allclose(e, np.sqrt(p2 + expected**2), rtol=3e-7)


def test_transverse_momentum_of_w_and_z_balances(wz):
    px, py = numbers(wz[1].Particle, "px", "py")
    # Zero but for the rounding of four numbers to float32.
    scale = abs(px).sum(1) + abs(py).sum(1)
    assert (abs(px.sum(1)) <= 2e-7 * scale).all()
    assert (abs(py.sum(1)) <= 2e-7 * scale).all()


def test_particles_of_w_and_z_have_the_masses_and_flavours_of_the_sample(wz):
    _, events, true = wz
    kinds, known = (ak.to_numpy(ak.to_regular(p.pdgId)) for p in (events.Particle, true))
    assert {tuple(k) for k in kinds.tolist()} <= {tuple(k) for k in known.tolist()}
    table = dict(
        zip(known.ravel().tolist(), ak.to_numpy(ak.to_regular(true.mass)).ravel().tolist(), strict=True)
    )
    found = ak.to_numpy(ak.to_regular(events.Particle.mass))
    np.testing.assert_array_equal(found, np.vectorize(table.get)(kinds).astype(np.float32))
    px, py, pz, e = numbers(events.Particle, "px", "py", "pz", "energy")
    np.testing.assert_allclose(e, np.sqrt(px**2 + py**2 + pz**2 + found.astype(float) ** 2), rtol=3e-7)


def test_the_resonances_are_features_of_their_own(wz):
    generator, events, _ = wz
    assert {"Z.mass", "W.mass", "WZ.mass"} <= set(generator.representation.names)
    # Whatever three steps of training give, the peaks are where they are.
    assert abs(np.median(mass(events.Particle, 0, 1)) - 91.2) < 1.0
    assert abs(np.median(mass(events.Particle, 2, 3)) - 80.4) < 1.0
