from __future__ import annotations

import pytest
import torch

from hepgan.models import FlowMatchingConfig, build_model
from hepgan.networks import MLPConfig, ResidualConfig
from hepgan.objectives import total

SMALL = ResidualConfig(width=16, blocks=1)


def build(size=3, context=0, **settings):
    torch.manual_seed(1)
    config = FlowMatchingConfig(**{"network": SMALL, **settings})
    return build_model(config, size=size, context_size=context, decode=lambda f: f, observables={})


def exact_velocity(model, std):
    """Replace the network by the exact velocity of a normal distribution with this width, at mean 0."""

    class Exact(torch.nn.Module):
        def bind(self, context):
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


@pytest.mark.parametrize("solver", ["euler", "midpoint", "heun"])
@pytest.mark.parametrize("network", [SMALL, MLPConfig(widths=(16,))])
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
        return float(total(model.loss("velocity", batch, torch.Generator().manual_seed(1))).detach())

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
        return total(model.loss("velocity", feature_batch(x, weight=weight), g)).detach()

    a, b = torch.rand(32), torch.rand(32)
    torch.testing.assert_close(loss(a - b), loss(a) - loss(b), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("time", ["uniform", "logit_normal"])
def test_training_times_follow_the_chosen_distribution(time):
    model = build(time=time)
    t = model._times(20_000, torch.Generator().manual_seed(3), torch.zeros(1))
    assert 0.0 <= float(t.min()) <= float(t.max()) <= 1.0
    below = {"uniform": 0.1, "logit_normal": 0.01397}[time]  # normal cdf of ln(1/9)
    assert float((t < 0.1).float().mean()) == pytest.approx(below, abs=2e-3)
    assert float(t.median()) == pytest.approx(0.5, abs=2e-3)


def test_gradients_reach_every_parameter(feature_batch):
    model = build(context=2)
    (phase,) = model.phases
    batch = feature_batch(torch.randn(16, 3), context=torch.randn(16, 2))
    total(model.loss(phase.name, batch, torch.Generator().manual_seed(1))).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in phase.parameters)
    assert {id(p) for p in phase.parameters} == {id(p) for p in model.parameters()}
