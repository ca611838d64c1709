from __future__ import annotations

from functools import partial

import awkward as ak
import numpy as np
import pytest
import torch
from normal import SCHEMA, after, fold, simulated

from hepgan import EventGenerator, Observable
from hepgan.detector import Level, bootstrap, omnifold, unfold, unfold_through
from hepgan.detector.closure import closure
from hepgan.detector.levels import event_weights
from hepgan.errors import InputError, RecipeError
from hepgan.generator.distillation import distill
from hepgan.plotting.unfolding import plot_closure

VERTEX, DETECTOR = Level(("t",)), Level(("Hit",))
TRUTH = (0.6, 0.8)
QUICK = ("training.steps=120", "training.batch_size=512")

FOUND = {"x": Observable("x", "Hit[0].x")}
ENERGY = {
    "penalties": [{"kind": "energy", "observables": "x"}],
    "training": {"steps": 100, "batch_size": 256, "optimiser": {"kind": "adam", "lr": 5e-3}},
}


def half(t):
    """More is lost on the left."""
    return 1 / (1 + np.exp(-2 * t))


@pytest.fixture(scope="module")
def data():
    return simulated(8000, *TRUTH, seed=1)[["Hit"]]


@pytest.fixture(scope="module")
def prior():
    recipe = {
        "name": "normal",
        "events": {"select": ["t"]},
        "features": {"transform": "standardise"},
        "model": {
            "kind": "flow_matching",
            "network": {"kind": "residual", "width": 32, "blocks": 1},
            "steps": 2,
        },
        "training": {"steps": 250, "batch_size": 512, "ema": 0.98, "optimiser": {"lr": 3e-3}},
    }
    return EventGenerator(recipe).fit(simulated(10_000, seed=2), seed=3, device="cpu")


def moments(events, weight=None):
    t = ak.to_numpy(events.t).astype(float)
    mean = np.average(t, weights=weight)
    return mean, np.sqrt(np.average((t - mean) ** 2, weights=weight))


@pytest.fixture(scope="module")
def simulation():
    return simulated(8000, seed=4)


def test_omnifold_is_where_the_iterations_lead(simulation):
    data = simulated(8000, *TRUTH, seed=1)[["Hit"]]
    first, last = (omnifold(simulation, data, VERTEX, DETECTOR, iterations=n, seed=1) for n in (1, 3))
    assert moments(simulation, first.weights.weight) == pytest.approx(after(1, *TRUTH), abs=0.06)
    assert moments(simulation, last.weights.weight) == pytest.approx(after(3, *TRUTH), abs=0.08)
    assert last.shares.shape == (1, 3)
    assert last.shares[0, 0] < 0.85
    assert last.shares[0, 2] > 0.97


def test_replicas_tell_the_statistical_uncertainty(simulation, data):
    simulation = simulation[:4000]
    options = {"iterations": 1, "replicas": 6, "seed": 2}
    found = omnifold(simulation, data[:1000], VERTEX, DETECTOR, **options)
    assert found.replicas.shape == (6, 4000)
    means = [moments(simulation, w)[0] for w in found.replicas]
    # One iteration moves the mean by a known share of what the mean of the data moves it.
    share = after(1, 1.0, 1.0)[0]
    expected = share * np.hypot(TRUTH[1], 0.6) / np.sqrt(1000)
    assert 0.4 * expected < np.std(means, ddof=1) < 2.5 * expected
    assert (found.weights.error > 0).all()


def test_events_that_are_lost_are_unfolded_with_the_others():
    simulation = simulated(8000, seed=5, efficiency=half)
    data = simulated(8000, seed=6, efficiency=half)
    data = data[ak.num(data.Hit) > 0][["Hit"]]
    found = omnifold(simulation, data, VERTEX, DETECTOR, iterations=2, seed=1)
    # The data are those of the simulation, though what is recorded is shifted by far.
    recorded = ak.num(simulation.Hit) > 0
    assert moments(simulation[recorded])[0] > 0.3
    assert moments(simulation, found.weights.weight)[0] == pytest.approx(0.0, abs=0.08)


def test_a_generator_is_where_the_iterations_lead(prior, data):
    made = unfold(prior, fold, data, DETECTOR, iterations=2, events=8000, settings=QUICK, seed=1)
    assert moments(made.generate(20_000, seed=1)) == pytest.approx(after(2, *TRUTH), abs=0.08)
    assert made.summary["unfolding"]["shares"][0] < 0.8 < made.summary["unfolding"]["shares"][1]


def test_a_generator_knows_of_events_that_are_lost(prior):
    data = simulated(8000, seed=7, efficiency=half)
    data = data[ak.num(data.Hit) > 0][["Hit"]]
    lossy = partial(fold, efficiency=half)
    options = {"iterations": 1, "events": 8000, "settings": QUICK, "seed": 1}
    made = unfold(prior, lossy, data, DETECTOR, **options)
    assert moments(made.generate(20_000, seed=1))[0] == pytest.approx(0.0, abs=0.08)


def test_the_prior_stays_and_the_same_seed_gives_the_same_generator(prior, data):
    before = {n: t.clone() for n, t in prior.parts.model.state_dict().items()}
    short = {"iterations": 1, "events": 600, "settings": ["training.steps=3"]}
    first, second, other = (unfold(prior, fold, data[:600], DETECTOR, seed=s, **short) for s in (1, 1, 2))
    assert all(torch.equal(t, before[n]) for n, t in prior.parts.model.state_dict().items())
    states = [g.parts.model.state_dict() for g in (first, second, other)]
    assert all(torch.equal(t, states[1][n]) for n, t in states[0].items())
    assert not all(torch.equal(t, states[2][n]) for n, t in states[0].items())


def test_an_unfolded_generator_is_a_model_file_like_any_other(prior, data, tmp_path):
    short = {"iterations": 1, "events": 600, "settings": ["training.steps=3"]}
    made = unfold(prior, fold, data[:600], DETECTOR, **short)
    made.save(tmp_path / "unfolded.safetensors")
    loaded = EventGenerator.load(tmp_path / "unfolded.safetensors", device="cpu")
    assert ak.array_equal(made.generate(300, seed=1), loaded.generate(300, seed=1), check_parameters=True)
    assert any(line.startswith("unfolded") for line in loaded.describe())


def test_a_gradient_through_the_folding_finds_the_truth(prior, data):
    made = unfold_through(prior, fold, data, FOUND, ENERGY, seed=1)
    assert moments(made.generate(20_000, seed=1)) == pytest.approx(TRUTH, abs=0.12)


def test_critics_see_folded_events_and_data(prior, data):
    critic = {
        "features": False,
        "observables": ["x"],
        "loss": "lsgan",
        "network": {"kind": "mlp", "widths": [8]},
    }
    config = {"critics": [critic], "training": {"steps": 3, "batch_size": 64, "diagnose_every": 1}}
    history = unfold_through(prior, fold, data, FOUND, config, seed=1).history
    assert {"critic/critic", "generator/critic_adversarial"} <= set(history.losses.names)
    assert "critic_adversarial/floor" in history.diagnostics.names


def test_a_strong_pull_keeps_the_prior(prior, data):
    made = unfold_through(prior, fold, data, FOUND, {**ENERGY, "pull": 100.0}, seed=1)
    was, free = moments(prior.generate(20_000, seed=1)), TRUTH
    now = moments(made.generate(20_000, seed=1))
    assert abs(now[0] - was[0]) < 0.25 * abs(free[0] - was[0])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "give critics, penalties or both"),
        ({"critics": [{"observables": ["x"]}]}, "say features: false"),
        ({"penalties": [{"kind": "energy", "observables": "x", "features": True}]}, "say features: false"),
    ],
)
def test_guides_that_data_cannot_have_are_refused(prior, data, config, message):
    with pytest.raises(ValueError, match=message):
        unfold_through(prior, fold, data, FOUND, config)


def test_observables_that_are_not_there_are_named(prior, data):
    with pytest.raises(RecipeError, match="names the observable 'x', which isn't there"):
        unfold_through(prior, fold, data, {}, ENERGY)


def test_settings_do_not_change_the_model_that_was_trained(prior, data):
    with pytest.raises(RecipeError, match="settings are those of training"):
        unfold(prior, fold, data, DETECTOR, settings=("model.steps=3",))


def test_what_does_not_learn_from_events_is_not_unfolded(prior, data):
    student = distill(prior, pairs=500, settings=["training.steps=2"])
    with pytest.raises(RecipeError, match="does not learn from events"):
        unfold(student, fold, data, DETECTOR, events=600)


def test_a_prior_with_weights_of_either_sign_is_refused(prior, data):
    events = simulated(1000, seed=2)
    weight = np.where(np.arange(1000) % 5 > 0, 1.0, -1.0)
    settings = ["events.weight=w", "events.signs=true", "training.steps=2"]
    signed = EventGenerator(prior.recipe.with_settings(settings))
    signed.fit(ak.with_field(events, weight, "w"), seed=3, device="cpu")
    with pytest.raises(RecipeError, match="either sign cannot be unfolded"):
        unfold(signed, fold, data, DETECTOR, events=600)


def test_data_without_what_is_to_be_seen_are_refused(prior, data):
    with pytest.raises(InputError, match="the data have no 'Track'"):
        unfold(prior, fold, data, Level(("Track",)))


def test_a_folding_is_a_function_or_has_one(prior, data):
    with pytest.raises(InputError, match="fold_batch"):
        unfold(prior, 3, data, DETECTOR)


def test_a_level_shows_something():
    with pytest.raises(ValueError, match="nothing to unfold by"):
        Level()


def test_bootstrap_samples_have_poisson_weights(data):
    weight = event_weights(bootstrap(data, 1))
    assert weight.mean() == pytest.approx(1.0, abs=0.06)
    assert weight.var() == pytest.approx(1.0, abs=0.1)
    assert not np.array_equal(weight, event_weights(bootstrap(data, 2)))


def test_pulls_of_independent_samples_are_standard_normal():
    observable = Observable("t", "t + 0", bins=20, range=(-2.5, 2.5))
    found = closure(observable, simulated(20_000, seed=1), [simulated(4000, seed=s) for s in range(2, 42)])
    # Each member is one unfolding; their mean is nearer to the truth by far.
    single = (found.unfolded - found.truth) / np.sqrt(found.truth_variance + found.unfolded_variance / 40)
    assert single[~found.excluded].std() == pytest.approx(1.0, abs=0.35)
    assert abs(found.mean) < 0.3
    figure = plot_closure({"toys": found})
    assert figure.axes[-1].get_xlabel() == "t"


def test_bins_that_are_ill_posed_are_not_judged():
    observable = Observable("t", "t + 0", bins=4, range=(-2, 2))
    samples = [simulated(1000, seed=s) for s in range(3)]
    found = closure(observable, samples[0], samples[1:], ill_posed=[True, False, False, False])
    assert len(found.judged) == 3
    with pytest.raises(ValueError, match="flags for 4 bins"):
        closure(observable, samples[0], samples[1:], ill_posed=[True])
    with pytest.raises(ValueError, match="at least two"):
        closure(observable, samples[0], samples[1:2])


def test_the_schema_of_the_detector_has_a_varying_number_of_hits():
    assert (SCHEMA.collection("Hit").min_count, SCHEMA.collection("Hit").max_count) == (0, 1)
