from __future__ import annotations

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from hepgan.errors import RecipeError
from hepgan.models import CriticConfig, GANConfig, OptimiserConfig, build_model
from hepgan.models.config import ModelConfig
from hepgan.networks import MLPConfig
from hepgan.objectives import MMD, Moments, Wasserstein, total

SMALL = MLPConfig(widths=(8,))


def build(size=3, context=0, observables=None, critics=None, **settings):
    torch.manual_seed(1)
    critics = critics or (CriticConfig(network=SMALL),)
    config = GANConfig(generator=SMALL, critics=critics, **settings)
    return build_model(
        config, size=size, context_size=context, decode=lambda f: f, observables=observables or {}
    )


def two_critics(column):
    return {
        "observables": {"mass": column(0, 91.0, 2.5), "jet": column(1, 30.0, 10.0, missing=2)},
        "critics": (
            CriticConfig(network=SMALL, loss="wgan_gp", steps=5),
            CriticConfig(name="physics", features=False, observables=("mass", "jet"), network=SMALL),
            CriticConfig(name="both", observables=("mass",), network=SMALL, weight=0.3),
        ),
        "penalties": (
            Moments(observables="mass", weight=1e-4, target_mean=89.6, target_std=7.7),
            MMD(observables="jet"),
            Wasserstein(observables="mass", weight=0.1),
        ),
    }


def test_critics_of_equal_steps_share_a_phase_and_phases_share_no_parameters(column):
    model = build(**two_critics(column))
    assert [(p.name, p.repeats) for p in model.phases] == [
        ("critic", 5),
        ("physics+both", 1),
        ("generator", 1),
    ]
    parameters = [id(p) for phase in model.phases for p in phase.parameters]
    assert len(parameters) == len(set(parameters)) == len(list(model.parameters()))


def test_every_phase_has_its_terms_and_gradients_for_all_its_parameters(feature_batch, column):
    model = build(context=2, **two_critics(column))
    batch = feature_batch(torch.randn(64, 3), context=torch.randn(64, 2))
    model.prepare(batch)
    expected = {
        "critic": {"critic", "critic_gradient_penalty"},
        "physics+both": {"physics", "both"},
        "generator": {
            "critic_adversarial",
            "physics_adversarial",
            "both_adversarial",
            "moments_mass",
            "mmd_jet",
            "wasserstein_mass",
        },
    }
    for phase in model.phases:
        terms = model.loss(phase.name, batch, torch.Generator().manual_seed(1))
        assert {t.name for t in terms} == expected[phase.name]
        model.zero_grad()
        total(terms).backward(inputs=list(phase.parameters))
        # The last bias of a Wasserstein critic cancels between real and generated events.
        inner = [p for p in phase.parameters if p.shape != (1,)]
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in inner)


def test_terms_keep_the_recipes_weights(feature_batch, column):
    model = build(**two_critics(column))
    terms = model.loss("generator", feature_batch(torch.randn(64, 3)), torch.Generator().manual_seed(1))
    assert {t.name: t.weight for t in terms} == {
        "critic_adversarial": 1.0,
        "physics_adversarial": 1.0,
        "both_adversarial": 0.3,
        "moments_mass": 1e-4,
        "mmd_jet": 1.0,
        "wasserstein_mass": 0.1,
    }


def test_observables_enter_critics_standardised_by_weighted_real_events(feature_batch, column):
    model = build(**two_critics(column))
    x = torch.randn(5000, 3)
    weight = torch.rand(5000)
    weight[:500] *= -0.5
    batch = feature_batch(x, weight=weight)
    model.prepare(batch)
    physics = model.critics[1]
    (inputs,) = physics.inputs(model._view(batch))
    values, present = inputs[:, :2], inputs[:, 2:]
    assert torch.equal(present[:, 0], torch.ones(5000))
    assert torch.equal(present[:, 1], (x[:, 2] > 0).float())
    assert bool((values[:, 1][present[:, 1] == 0] == 0).all())
    w = weight[:, None] * present
    mean = (w * values).sum(0) / w.sum(0)
    variance = (w * (values - mean) ** 2).sum(0) / w.sum(0)
    torch.testing.assert_close(mean, torch.zeros(2), atol=1e-4, rtol=0)
    torch.testing.assert_close(variance, torch.ones(2), atol=1e-3, rtol=0)
    assert float(physics.mean[0]) == pytest.approx(91.0, abs=0.3)


def test_real_and_generated_events_take_the_same_way(feature_batch):
    seen = []

    class Seen:
        def dense(self, batch, fill=0.0):
            seen.append(batch)
            return batch.x[:, 0].double(), None

    critic = CriticConfig(features=False, observables=("o",), network=SMALL)
    model = build(observables={"o": Seen()}, critics=(critic,))
    mask = torch.rand(16, 3) > 0.3
    batch = feature_batch(torch.randn(16, 3) * mask, mask=mask)
    model.loss("critic", batch, torch.Generator().manual_seed(1))
    real, fake = seen
    assert torch.equal(real.x, batch.x)
    assert fake.mask is batch.mask
    assert fake.discrete is batch.discrete
    assert bool((fake.x[~mask] == 0).all())


def test_weights_enter_the_real_side_and_with_a_context_the_generated_side_too(feature_batch):
    weight = torch.rand(64) - 0.2
    x, context = torch.randn(64, 3), torch.randn(64, 2)
    for size, with_context in ((0, False), (2, True)):
        model = build(context=size)
        batch = feature_batch(x, context=context if with_context else None, weight=weight)
        (term,) = model.loss("critic", batch, torch.Generator().manual_seed(1))
        fake = model._fake(batch, torch.Generator().manual_seed(1)).batch
        critic = model.critics[0]
        real_loss = torch.nn.functional.softplus(-critic((batch.x,), batch.context))
        fake_loss = torch.nn.functional.softplus(critic((fake.x,), batch.context))
        expected = (weight * real_loss).sum() / weight.sum()
        v = weight if with_context else torch.ones(64)
        expected = expected + (v * fake_loss).sum() / v.sum()
        torch.testing.assert_close(term.value, expected, rtol=1e-4, atol=1e-5)


def test_samples_depend_on_noise_and_context_and_are_zero_where_masked():
    model = build(context=2, noise=5)
    assert model.noise_size == 5
    noise, context = torch.randn(6, 5), torch.randn(6, 2)
    mask = torch.rand(6, 3) > 0.5
    x = model.sample(noise, context, mask)
    assert bool((x[~mask] == 0).all())
    assert not torch.allclose(x, model.sample(-noise, context, mask))
    assert not torch.allclose(x, model.sample(noise, -context, mask))


def test_wrong_recipes_are_refused_with_the_reason():
    with pytest.raises(RecipeError, match=r"critic 'c' names the observable 'mas'.*there are: none"):
        build(critics=(CriticConfig(name="c", observables=("mas",)),))
    with pytest.raises(RecipeError, match="penalty 'mmd_pt' names the observable 'pt'"):
        build(penalties=(MMD(observables="pt"),))
    adapter = TypeAdapter(ModelConfig)
    for critic, message in (
        ({"features": False}, "sees nothing"),
        ({"loss": "hinge?"}, "unknown adversarial loss"),
        ({"name": "generator"}, "can't be called"),
        ({"name": "a+b"}, "pattern"),
    ):
        with pytest.raises(ValidationError, match=message):
            adapter.validate_python({"kind": "gan", "critics": [critic]})
    with pytest.raises(ValidationError, match="called 'critic'"):
        adapter.validate_python({"kind": "gan", "critics": [{}, {}]})


def test_a_critic_has_its_own_optimiser_if_the_recipe_says_so():
    adam = OptimiserConfig(lr=0.3)
    model = build(critics=(CriticConfig(network=SMALL, optimiser=adam),))
    assert [p.optimiser for p in model.phases] == [adam, None]
