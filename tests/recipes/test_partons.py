"""What the recipes for e+ e- partons promise of every event, after next to no training."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest

from hepgan.events import read_events
from hepgan.generator import EventGenerator
from hepgan.recipes import load_recipe

Q = 91.188
MASSES = np.array([0.0, 0.33, 0.5, 1.5, 4.8], dtype=np.float32)


@pytest.fixture(scope="module")
def partons(shared_data):
    return read_events(f"{shared_data}/ee_partons_train.root:Events", entry_stop=4000)


@pytest.fixture(scope="module", autouse=True)
def _short_trainings_of_what_is_discrete():
    """What is promised of every event is by structure, which no training makes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hepgan.learners.discrete.STEPS", 30)
        patch.setattr("hepgan.learners.discrete.BATCH", 256)
        yield


def generated(name, events, *settings):
    recipe = load_recipe(name).with_settings(settings)
    return EventGenerator(recipe).fit(events, seed=1, progress=False).generate(3000, seed=2)


@pytest.fixture(scope="module")
def made(partons):
    return generated("ee-partons", partons, "training.steps=3", "model.network.width=32", "model.steps=4")


def test_masses_are_those_of_the_flavours_and_energies_follow(made):
    parton = made.Parton
    mass = ak.to_numpy(ak.flatten(parton.mass))
    flavour = ak.to_numpy(ak.flatten(abs(parton.pdgId)))
    assert set(np.unique(mass)) <= set(MASSES)
    expected = np.select([flavour == 21, flavour <= 2, flavour == 3, flavour == 4], MASSES[:4], MASSES[4])
    np.testing.assert_array_equal(mass, expected)
    p2 = sum(ak.values_astype(parton[c], np.float64) ** 2 for c in ("px", "py", "pz"))
    energy = np.sqrt(p2 + ak.values_astype(parton.mass, np.float64) ** 2)
    np.testing.assert_allclose(ak.flatten(parton.energy), ak.flatten(energy), rtol=1e-6)
    assert ak.all(energy[:, 1:] <= energy[:, :-1] * (1 + 1e-6))


def test_few_partons_balance_exactly_and_many_lack_what_something_can_have(made):
    parton = ak.values_astype(made.Parton[["px", "py", "pz", "energy"]], np.float64)
    count = ak.to_numpy(ak.num(made.Parton))
    lacking = {c: Q * (c == "energy") - ak.to_numpy(ak.sum(parton[c], axis=1)) for c in parton.fields}
    few = count < 8
    assert few.any()
    assert not few.all()
    for component in lacking.values():
        assert np.abs(component[few]).max() < 1e-4
    momentum2 = sum(lacking[c] ** 2 for c in ("px", "py", "pz"))
    assert (lacking["energy"] > -1e-4).all()
    assert (lacking["energy"] ** 2 - momentum2 > -2e-4 * (1 + lacking["energy"])).all()


def test_the_published_set_up_leaves_masses_to_the_network(partons):
    settings = ("training.steps=3", "training.batch_size=64", "model.critics.critic.steps=1")
    events = generated("ee-partons-paper", partons, *settings)
    assert set(events.Parton.fields) == {"px", "py", "pz", "energy"}
    squared = events.Parton.energy**2 - events.Parton.px**2 - events.Parton.py**2 - events.Parton.pz**2
    assert ak.any(abs(squared) > 4.8**2 + 1.0), "no mass shell"
    recipe = load_recipe("ee-partons-paper")
    assert [p.kind for p in recipe.model.penalties] == ["paired"]
    assert ak.all(events.Parton.energy > 0.1)


def test_critics_on_pairs_and_a_penalty_on_the_energy_correlation_train_a_gan(partons):
    settings = ("training.steps=4", "training.batch_size=64", "model.generator.width=32")
    penalty = "model.penalties.0.schedule={start: 0.0, ramp: 0.0}"
    recipe = load_recipe("ee-partons-gan").with_settings((*settings, penalty))
    generator = EventGenerator(recipe).fit(partons, seed=1, progress=False)
    terms = {n.split("/")[1] for n in generator.history.losses.names if n.startswith("generator/")}
    assert {"tree_adversarial", "pairs_adversarial", "histogram_eec"} <= terms
    made = generator.generate(500, seed=2)
    assert set(np.unique(ak.to_numpy(ak.flatten(made.Parton.mass)))) <= set(MASSES)
