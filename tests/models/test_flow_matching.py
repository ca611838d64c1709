from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from hepgan.features.space import FeatureBatch, FeatureSpace
from hepgan.learners import build_learner
from hepgan.models import FlowMatchingConfig, build_model
from hepgan.models.base import Circles
from hepgan.networks import MLPConfig, ResidualConfig
from hepgan.objectives import total

SMALL = ResidualConfig(width=16, blocks=1)


def loss_of(model, batch, generator):
    learner = build_learner(model.config, model, lambda f: f)
    return learner.loss(learner.phase("velocity"), batch, generator)


def build(size=3, context=0, **settings):
    torch.manual_seed(1)
    config = FlowMatchingConfig(**{"network": SMALL, **settings})
    return build_model(config, FeatureSpace(size, context))


def bounded(model, *reach):
    """The same model of a space whose features have this reach."""
    space = FeatureSpace(model.space.size, model.space.context_size, reach=reach)
    made = build_model(model.config, space)
    made.load_state_dict(model.state_dict())
    return made


class Growing(torch.nn.Module):
    """A velocity that grows with the distance, as networks' do where they have learned nothing."""

    def bind(self, context, mask=None):
        return lambda x, time: 20.0 * x


def exact_velocity(model, std):
    """Replace the network by the exact velocity of a normal distribution with this width, at mean 0."""

    class Exact(torch.nn.Module):
        def bind(self, context, mask=None):
            def run(x, time):
                t = (time[:, :1] + 1) / 2
                return x * (t * std**2 - (1 - t)) / ((1 - t) ** 2 + t**2 * std**2)

            return run

    model.velocity = Exact()
    return model


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("midpoint", 2), ("heun", 2)])
def test_solvers_converge_to_the_exact_transport_with_their_order(solver, order):
    noise = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]
    errors = []
    for steps in (32, 64):
        model = exact_velocity(build(size=1, solver=solver, steps=steps), std=0.5).double()
        errors.append(float((model.sample(noise, torch.zeros(9, 0), None) - 0.5 * noise).abs().max()))
    assert errors[1] < errors[0] / (2**order * 0.9)


def test_a_finer_grid_at_the_end_helps_narrow_peaks():
    noise = torch.linspace(-2, 2, 9)[:, None]
    errors = []
    for grid in (1.0, 2.0):
        model = exact_velocity(build(size=1, solver="midpoint", steps=8, grid=grid), std=0.02)
        errors.append(float((model.sample(noise, torch.zeros(9, 0), None) - 0.02 * noise).abs().max()))
    assert errors[1] < 0.5 * errors[0]


@pytest.mark.parametrize(
    ("solver", "network"), [("euler", SMALL), ("midpoint", MLPConfig(widths=(16,))), ("heun", SMALL)]
)
def test_masked_features_are_zero_and_have_no_influence(feature_batch, solver, network):
    model = build(context=2, solver=solver, network=network)
    noise, context = torch.randn(8, 3), torch.randn(8, 2)
    mask = torch.tensor([True, False, True]).expand(8, 3)
    other = noise.clone()
    other[:, 1] = 99.0
    with torch.no_grad():
        x = model.sample(noise, context, mask)
        assert torch.equal(x, model.sample(other, context, mask))
    assert bool((x[:, 1] == 0).all())
    assert bool((x[:, [0, 2]] != 0).all())
    assert bool((noise[:, 1] != 0).all())

    def loss_with(value):
        features = noise.clone()
        features[:, 1] = value
        batch = feature_batch(features, mask=mask, context=context)
        return float(total(loss_of(model, batch, torch.Generator().manual_seed(1))).detach())

    assert loss_with(0.0) == loss_with(50.0)


def test_an_event_is_sampled_the_same_in_any_batch_with_and_without_gradients():
    model = build(context=2)
    noise, context, mask = torch.randn(2500, 3), torch.randn(2500, 2), torch.rand(2500, 3) > 0.2
    with torch.no_grad():
        together = model.sample(noise, context, mask)
        apart = [model.sample(noise[i : i + 7], context[i : i + 7], mask[i : i + 7]) for i in (0, 1021, 2490)]
    for part, i in zip(apart, (0, 1021, 2490), strict=True):
        torch.testing.assert_close(together[i : i + 7], part, rtol=1e-5, atol=1e-6)
    alike = model.sample(noise, context, mask)
    torch.testing.assert_close(together, alike.detach(), rtol=1e-5, atol=1e-6)


def test_the_loss_is_linear_in_the_weights_and_negative_ones_subtract(feature_batch):
    model = build()
    x = torch.randn(32, 3)

    def loss(weight):
        g = torch.Generator().manual_seed(2)
        return total(loss_of(model, feature_batch(x, weight=weight), g)).detach()

    a, b = torch.rand(32), torch.rand(32)
    torch.testing.assert_close(loss(a - b), loss(a) - loss(b), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("time", ["uniform", "logit_normal"])
def test_training_times_follow_the_chosen_distribution(time):
    model = build(time=time)
    t = build_learner(model.config, model)._times(20_000, torch.Generator().manual_seed(3), torch.zeros(1))
    assert 0.0 <= float(t.min()) <= float(t.max()) <= 1.0
    below = {"uniform": 0.1, "logit_normal": 0.01397}[time]  # normal cdf of ln(1/9)
    assert float((t < 0.1).float().mean()) == pytest.approx(below, abs=2e-3)
    assert float(t.median()) == pytest.approx(0.5, abs=2e-3)


def solved(size=1, periodic=(), seed=1, **settings):
    """An untrained model in double precision, whose velocity is far from 0."""
    torch.manual_seed(seed)
    config = FlowMatchingConfig(**{"network": MLPConfig(widths=(16, 16)), **settings})
    model = build_model(config, FeatureSpace(size, 0, periodic))
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(2.0)
    return model.double()


def density(model, *axes, steps=64):
    """The density on a grid, and its integral."""
    points = torch.cartesian_prod(*axes).reshape(-1, len(axes))
    p = model.log_prob(points, torch.zeros(len(points), 0), None, steps=steps).exp()
    cell = math.prod(float(a[1] - a[0]) for a in axes)
    return p, float(p.sum()) * cell


LINE = torch.linspace(-14, 14, 1401, dtype=torch.float64)
COARSE = torch.linspace(-10, 10, 101, dtype=torch.float64)
CIRCLE = -math.pi + 2 * math.pi / 160 * torch.arange(160, dtype=torch.float64)


@pytest.mark.parametrize(("solver", "std"), [("euler", 2.0), ("midpoint", 0.3), ("heun", 0.3)])
def test_the_likelihood_of_a_normal_distribution_is_its_density(solver, std):
    model = exact_velocity(build(size=2, solver=solver), std=std).double()
    x = std * torch.randn(50, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = torch.distributions.Normal(0.0, std).log_prob(x).sum(1)
    found = model.log_prob(x, torch.zeros(50, 0), None, steps=400)
    torch.testing.assert_close(found, expected, rtol=0, atol=0.2 if solver == "euler" else 1e-3)
    assert not found.requires_grad


@pytest.mark.parametrize("periodic", [(), (0,)])
def test_the_density_integrates_to_one_in_one_dimension(periodic):
    model = solved(periodic=periodic)
    p, integral = density(model, CIRCLE if periodic else LINE)
    assert integral == pytest.approx(1.0, abs=2e-4)
    assert float(p.std() / p.mean()) > 0.05  # not just the noise's


@pytest.mark.parametrize("periodic", [(), (0, 1)])
def test_the_density_integrates_to_one_in_two_dimensions(periodic):
    axes = [CIRCLE if i in periodic else COARSE for i in range(2)]
    _, integral = density(solved(size=2, periodic=periodic), *axes, steps=24)
    assert integral == pytest.approx(1.0, abs=1e-3)


def test_densities_are_continuous_across_the_cut():
    model = solved(size=2, periodic=(0,))
    x = torch.tensor([[math.pi - 1e-9, 0.3], [-math.pi + 1e-9, 0.3]], dtype=torch.float64)
    p = model.log_prob(x, torch.zeros(2, 0), None)
    torch.testing.assert_close(p[0], p[1], rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    ("solver", "periodic"), [("euler", (1,)), ("midpoint", ()), ("midpoint", (1,)), ("heun", (1,))]
)
def test_the_latent_is_the_noise_that_features_were_made_of(solver, periodic):
    model = solved(size=3, periodic=periodic, solver=solver, steps=500)
    noise = torch.randn(20, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    mask = torch.ones(20, 3, dtype=torch.bool)
    mask[::2, 2] = False
    with torch.no_grad():
        x = model.sample(noise, torch.zeros(20, 0), mask)
    found = model.latent(x, torch.zeros(20, 0), mask, steps=500)
    torch.testing.assert_close(found, noise * mask, rtol=0, atol=0.1 if solver == "euler" else 1e-3)


def test_sampled_density_is_the_likelihood():
    model = solved(size=1, periodic=(0,), steps=32)
    n = 100_000
    noise = torch.randn(n, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        x = model.sample(noise, torch.zeros(n, 0), None)
    edges = torch.linspace(-math.pi, math.pi, 17, dtype=torch.float64)
    counts = torch.histogram(x[:, 0], edges).hist
    p, _ = density(model, CIRCLE)
    expected = n * p.reshape(16, 10).mean(1) * (2 * math.pi / 16)
    # The grid's bins begin at their points; the density is smooth enough for that.
    assert float(((counts - expected) ** 2 / expected).mean()) < 3


def test_masked_features_do_not_count():
    model = solved(size=3, periodic=(2,))
    x = torch.randn(6, 3, dtype=torch.float64)
    mask = torch.tensor([True, False, True]).expand(6, 3)
    other = x.clone()
    other[:, 1] = 7.0
    c = torch.zeros(6, 0)
    torch.testing.assert_close(model.log_prob(x, c, mask), model.log_prob(other, c, mask), rtol=0, atol=0)
    none = torch.zeros(6, 3, dtype=torch.bool)
    assert bool((model.log_prob(x, c, none) == 0).all())
    line = torch.zeros(len(LINE), 3, dtype=torch.float64)
    line[:, 0] = LINE
    p = model.log_prob(
        line, torch.zeros(len(LINE), 0), torch.tensor([[True, False, False]]).expand(len(LINE), 3)
    )
    assert float(p.exp().sum() * (LINE[1] - LINE[0])) == pytest.approx(1.0, abs=1e-3)


def test_single_precision_and_contexts_are_taken():
    model = build(context=2)
    x, context = torch.randn(1500, 3), torch.randn(1500, 2)
    p = model.log_prob(x, context, None)
    assert p.dtype == torch.float32
    assert p.shape == (1500,)
    exact = model.double().log_prob(x.double(), context.double(), None)
    torch.testing.assert_close(p.double(), exact, rtol=1e-3, atol=1e-3)
    assert float((model.log_prob(x.double(), -context.double(), None) - exact).abs().max()) > 1e-3


def trained(angles, periodic, steps=600):
    torch.manual_seed(1)
    config = FlowMatchingConfig(network=ResidualConfig(width=32, blocks=1))
    model = build_model(config, FeatureSpace(1, 0, periodic))
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 5e-3, total_steps=steps)
    g = torch.Generator().manual_seed(2)
    for _ in range(steps):
        x = angles[torch.randint(len(angles), (512,), generator=g)][:, None]
        batch = FeatureBatch(
            x, None, torch.zeros(512, 0, dtype=torch.int64), *(torch.zeros(512, 0),) * 2, torch.ones(512)
        )
        optimiser.zero_grad()
        total(loss_of(model, batch, g)).backward()
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        made = model.sample(torch.randn(20_000, 1, generator=g), torch.zeros(20_000, 0), None)[:, 0]
    return made.numpy()


def test_a_peak_across_the_cut_is_learned_better_on_the_circle():
    rng = np.random.default_rng(1)
    mixture = np.concatenate([rng.vonmises(np.pi, 4.0, 30_000), rng.vonmises(0.5, 8.0, 10_000)])
    angles = torch.from_numpy(mixture).float()
    on_circle, cut = trained(angles, (0,)), trained(angles, ())
    assert np.abs(on_circle).max() <= np.float32(np.pi)
    distances = [stats.ks_2samp(made, mixture).statistic for made in (on_circle, cut)]
    assert distances[0] < 0.015
    assert distances[0] < 0.6 * distances[1]


def test_a_uniform_angle_stays_uniform():
    model = build_model(
        FlowMatchingConfig(network=SMALL),
        FeatureSpace(1, 0, (0,)),
    )
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
        noise = torch.randn(20_000, 1, generator=torch.Generator().manual_seed(1))
        made = model.sample(noise, torch.zeros(20_000, 0), None)[:, 0].numpy()
    assert stats.kstest(made, stats.uniform(-np.pi, 2 * np.pi).cdf).pvalue > 1e-3


def test_paths_go_the_shorter_way_round(feature_batch):
    circles = Circles(2, (1,))
    way = circles.between(torch.tensor([[0.0, 3.0]]), torch.tensor([[5.0, -3.0]]))
    torch.testing.assert_close(way, torch.tensor([[5.0, 2 * math.pi - 6.0]]))


@pytest.mark.parametrize("periodic", [(2,), (0, 0), (-1,)])
def test_angles_that_are_no_features_are_refused(periodic):
    with pytest.raises(ValueError, match="periodic"):
        Circles(2, periodic)


def test_models_without_angles_have_the_parameters_they_always_had():
    model = build(context=2)
    assert {n.split(".")[0] for n in model.state_dict()} == {"velocity"}
    assert model.velocity.enter.in_features == 3


def test_no_path_runs_away():
    noise, context = torch.linspace(-3, 3, 7)[:, None], torch.zeros(7, 0)
    free = build(size=1, solver="midpoint", steps=8)
    kept = bounded(free, (-2.0, 3.0))
    free.velocity = kept.velocity = Growing()
    assert float(free.sample(noise, context, None).abs().max()) > 1e5
    # It cannot be faster anywhere than on the wall, which is at the noise at first.
    assert float(kept.sample(noise, context, None).abs().max()) < 3 + 20 * 6


def test_within_their_reach_features_and_densities_are_what_they_are_without():
    free = exact_velocity(build(size=1, steps=16), std=0.5)
    kept = exact_velocity(bounded(build(size=1, steps=16), (-3.0, 3.0)), std=0.5)
    noise, context = torch.randn(50, 1, generator=torch.Generator().manual_seed(3)), torch.zeros(50, 0)
    x = kept.sample(noise, context, None)
    assert torch.equal(x, free.sample(noise, context, None))
    assert torch.equal(kept.log_prob(x, context, None), free.log_prob(x, context, None))
    assert torch.equal(kept.latent(x, context, None), free.latent(x, context, None))


def test_a_density_that_is_held_back_integrates_to_one():
    model = bounded(build(size=1, steps=64), (-0.5, 0.5)).double()
    model.velocity = torch.nn.Sequential()
    model.velocity.bind = lambda context, mask=None: lambda x, time: 3.0 * x
    x = torch.linspace(-30, 30, 6001, dtype=torch.float64)[:, None]
    density = model.log_prob(x, torch.zeros(6001, 0), None, steps=256).exp()
    assert float(torch.trapezoid(density, x[:, 0])) == pytest.approx(1.0, abs=2e-3)


def test_networks_see_features_that_do_not_exist_as_they_learned_them():
    model = bounded(build(size=2, steps=2), (1.0, 2.0), (-2.0, -1.0))
    assert model.tube.nearest(torch.zeros(3, 2), torch.tensor(1.0)).tolist() == [[0.0, 0.0]] * 3


def test_a_space_has_a_reach_of_each_feature_or_of_none():
    with pytest.raises(ValueError, match="no reach of 2 features"):
        FeatureSpace(2, reach=((0.0, 1.0),))
    with pytest.raises(ValueError, match="no reach of 1 features"):
        FeatureSpace(1, reach=((1.0, 0.0),))
