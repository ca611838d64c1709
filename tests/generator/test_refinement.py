from __future__ import annotations

import math

import awkward as ak
import numpy as np
import pytest
import torch
from torch import nn

from hepgan import EventGenerator
from hepgan.errors import InputError, RecipeError
from hepgan.features.space import FeatureSpace
from hepgan.generator.distillation import distill
from hepgan.generator.refinement import refine
from hepgan.learners import new_learner
from hepgan.models import FlowConfig, Refined, build_model

QUICK = (
    "training.steps=200",
    "training.batch_size=512",
    "training.max_time=null",
    "model.prior.blocks=2",
    "model.prior.network.widths=[32]",
)
STUDENT = ("training.steps=200", "training.max_time=null")
SHORT = ("training.steps=3", "training.batch_size=64", "training.max_time=null")


def leading(events):
    return ak.to_numpy(events.Muon.pt[:, 0])


def softer(events):
    """Weights that make the leading muon softer, and events of many jets no rarer."""
    return np.exp(-leading(events) / 40.0)


@pytest.fixture(scope="module")
def refined(toy_generator):
    return refine(toy_generator, softer, events=12_000, settings=QUICK, seed=1)


def flow(size, context=0, seed=0, change=0.2, **settings):
    torch.manual_seed(seed)
    config = FlowConfig.model_validate(
        {"kind": "flow", "blocks": 3, "network": {"kind": "mlp", "widths": [16, 16]}, **settings}
    )
    model = build_model(config, FeatureSpace(size, context))
    with torch.no_grad():
        for p in model.parameters():
            p.add_(change * torch.randn_like(p))
    return model.double().eval()


@pytest.fixture(scope="module")
def plain_and_refined(toy_generator, refined):
    return toy_generator.generate(20_000, seed=7), refined.generate(20_000, seed=8)


def test_refined_events_follow_the_weighted_distribution_without_weights(plain_and_refined):
    plain, made = plain_and_refined
    assert made.type == plain.type
    weight = softer(plain)
    wanted = np.average(leading(plain), weights=weight)
    error = leading(plain).std() / math.sqrt(20_000)
    # The weights shift the mean by far; of that, little is left to be desired (a statistical error is 0.05).
    shift = leading(plain).mean() - wanted
    assert shift > 20 * error
    assert abs(leading(made).mean() - wanted) < 0.25 * shift


def test_what_the_weights_do_not_concern_stays(plain_and_refined):
    plain, made = plain_and_refined
    for name in ("eta", "phi"):
        a, b = (ak.to_numpy(e.Muon[name][:, 1]) for e in (plain, made))
        assert abs(a.mean() - b.mean()) < 5 * math.hypot(a.std(), b.std()) / math.sqrt(20_000)


def test_events_within_bounds_stay_within_them(refined):
    assert ak.min(refined.generate(5000, seed=2).Muon.pt) >= 10.0


def test_a_refined_generator_is_a_model_file_like_any_other(refined, tmp_path):
    refined.save(tmp_path / "r.safetensors")
    loaded = EventGenerator.load(tmp_path / "r.safetensors", device="cpu")
    ours, theirs = refined.generate(500, seed=4), loaded.generate(500, seed=4)
    assert ak.array_equal(ours, theirs, check_parameters=True)
    lines = loaded.describe()
    assert any(line.startswith("model       refined") for line in lines)
    assert any(line.startswith("refined") for line in lines)


def test_the_model_that_is_refined_stays_what_it_was(toy_generator):
    model = toy_generator.parts.model
    before = {n: t.clone() for n, t in model.state_dict().items()}
    refine(toy_generator, softer, events=500, settings=SHORT)
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())


def test_the_same_seed_gives_the_same_prior(toy_generator):
    first, second, other = (
        refine(toy_generator, softer, events=500, settings=SHORT, seed=s).parts.model.state_dict()
        for s in (1, 1, 2)
    )
    assert all(torch.equal(first[n], second[n]) for n in first)
    assert not all(torch.equal(first[n], other[n]) for n in first)


@pytest.mark.parametrize("wrong", [np.nan, 0.0, -1.0])
def test_weights_that_are_no_weights_are_refused(toy_generator, wrong):
    with pytest.raises(InputError, match="finite numbers with a positive sum"):
        refine(toy_generator, lambda e: np.full(len(e), wrong), events=300, settings=SHORT)


def test_what_is_refined_once_is_not_refined_again(refined):
    with pytest.raises(RecipeError, match="refined already"):
        refine(refined, softer)


def test_a_refined_generator_is_distilled_into_one_call(refined):
    network = "model.network={kind: residual, width: 48, blocks: 2}"
    student = distill(refined, pairs=8000, settings=[*STUDENT, "training.batch_size=512", network], seed=1)
    slow, fast = refined.generate(5000, seed=2), student.generate(5000, seed=2)
    assert fast.Muon.charge.to_list() == slow.Muon.charge.to_list()
    assert np.corrcoef(leading(slow), leading(fast))[0, 1] > 0.97


def test_settings_do_not_change_the_model_that_was_trained(toy_generator):
    with pytest.raises(RecipeError, match=r"those of model\.prior and training"):
        refine(toy_generator, softer, settings=("model.model.steps=3",))


def test_a_recipe_of_a_refined_model_says_how_to_get_one(toy_generator, refined):
    recipe = toy_generator.recipe.model_copy(update={"model": refined.recipe.model})
    events = toy_generator.generate(300, seed=1)
    with pytest.raises(RecipeError, match="hepgan refine"):
        EventGenerator(recipe).fit(events)


@pytest.mark.parametrize("periodic", [(), (1,)])
def test_the_density_of_a_refined_model_integrates_to_1(periodic):
    torch.manual_seed(1)
    base = build_model(FlowConfig(blocks=2), FeatureSpace(2, 0, periodic))
    # Small changes only, since noise far out is an angle that no grid resolves.
    model = Refined.of(base.double(), flow(2, change=0.05)).eval()
    x = torch.linspace(-8, 8, 201, dtype=torch.float64)
    reach = math.pi if periodic else 8.0
    y = torch.linspace(-reach, reach, 202, dtype=torch.float64)[:-1] + reach / 201
    grid = torch.cartesian_prod(x, y)
    with torch.no_grad():
        density = model.log_prob(grid, grid.new_zeros(len(grid), 0), None).exp()
    area = 16 / 200 * 2 * reach / 201
    assert float(density.sum()) * area == pytest.approx(1.0, abs=2e-3)


def test_latents_of_a_refined_model_are_what_it_sampled():
    model = Refined.of(flow(3, context=2, seed=1), flow(3, context=2, seed=2))
    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(50, 3, generator=generator, dtype=torch.float64)
    context = torch.randn(50, 2, generator=generator, dtype=torch.float64)
    mask = torch.rand(50, 3, generator=generator) < 0.7
    with torch.no_grad():
        x = model.sample(noise, context, mask)
        back = model.latent(x, context, mask)
    assert (x[~mask] == 0).all()
    torch.testing.assert_close(back, noise.masked_fill(~mask, 0.0), atol=1e-5, rtol=0)


def test_features_that_an_event_lacks_do_not_count_in_its_density():
    base, prior = flow(2, seed=1, change=0.1), flow(2, seed=2, change=0.1)
    model = Refined.of(base, prior)
    x = torch.linspace(-9, 9, 2001, dtype=torch.float64)
    grid = torch.stack([x, torch.zeros_like(x)], 1)
    mask = torch.tensor([True, False]).expand(len(x), 2)
    with torch.no_grad():
        density = model.log_prob(grid, grid.new_zeros(len(grid), 0), mask).exp()
    assert float(density.sum()) * (18 / 2000) == pytest.approx(1.0, abs=2e-3)


def test_a_prior_knows_no_events():
    prior = build_model(FlowConfig(blocks=1), FeatureSpace(2))
    assert isinstance(prior, nn.Module)
    with pytest.raises(RecipeError, match="names the observable"):
        new_learner(
            FlowConfig.model_validate({"kind": "flow", "penalties": [{"kind": "mmd", "observables": "m"}]}),
            FeatureSpace(2),
        )
