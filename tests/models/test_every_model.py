"""What every kind of model promises."""

from __future__ import annotations

import math

import pytest
import torch
from safetensors.torch import load, save

from hepgan.errors import RecipeError
from hepgan.features.space import FeatureSpace, Grid, Tokens
from hepgan.models import (
    AutoencoderConfig,
    CriticConfig,
    DensityModel,
    FlowConfig,
    FlowMatchingConfig,
    GANConfig,
    RefinedConfig,
    StudentConfig,
    build_model,
)
from hepgan.networks import DeepSetsConfig, MLPConfig, ResidualConfig

N, D, C = 40, 3, 2
SMALL = MLPConfig(widths=(8,), activation="silu")
CRITIC = CriticConfig(network=SMALL)
FLOW = FlowConfig(blocks=2, bins=4, rotations="learned", network=SMALL, critics=(CRITIC,))
MATCHING = FlowMatchingConfig(network=SMALL, steps=64, time_frequencies=2)
GAN = GANConfig(generator=SMALL)
AUTOENCODER = AutoencoderConfig(encoder=SMALL, decoder=SMALL, latent=2)
PRIOR = FlowConfig(blocks=1, bins=4, network=SMALL)
KINDS = {
    "coupling": FLOW,
    "autoregressive": FlowConfig(layer="autoregressive", blocks=2, transform="affine", network=SMALL),
    "flow_matching": MATCHING,
    "gan": GAN,
    "gan_of_more_noise": GANConfig(generator=SMALL, noise=5),
    "autoencoder": AUTOENCODER,
    "autoencoder_of_middles": AutoencoderConfig(
        encoder=SMALL, decoder=SMALL, match="sliced_wasserstein", observation="none"
    ),
    "student": StudentConfig(network=SMALL),
    "student_of_steps": StudentConfig(network=ResidualConfig(width=8, blocks=1), steps=3),
    "refined_flow": RefinedConfig(model=FLOW, prior=PRIOR),
    "refined_autoencoder": RefinedConfig(model=AUTOENCODER, prior=PRIOR),
    "refined_gan": RefinedConfig(model=GAN, prior=PRIOR),
}
DENSITIES = ("coupling", "autoregressive", "flow_matching", "refined_flow")


def model_of(kind, periodic=(1,), seed=1, members=1):
    torch.manual_seed(seed)
    model = build_model(KINDS[kind], FeatureSpace(D, C, periodic), members=members)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return model.double().eval()


def given(seed=2, n=N):
    rng = torch.Generator().manual_seed(seed)
    context = torch.randn(n, C, generator=rng, dtype=torch.float64)
    mask = torch.ones(n, D, dtype=torch.bool)
    mask[::3, 2] = False
    return context, mask, rng


@pytest.mark.parametrize("kind", KINDS)
def test_samples_are_functions_of_noise_and_context_with_zeros_for_what_does_not_exist(kind):
    model = model_of(kind)
    context, mask, rng = given()
    noise = torch.randn(N, model.noise_size, generator=rng, dtype=torch.float64)
    with torch.no_grad():
        x = model.sample(noise, context, mask)
        assert x.shape == (N, D)
        assert bool((x[~mask] == 0).all())
        assert bool((x[mask] != 0).all())
        for other in (model.sample(-noise, context, mask), model.sample(noise, -context, mask)):
            assert not torch.allclose(x, other)
        alone = torch.cat(
            [model.sample(noise[i : i + 1], context[i : i + 1], mask[i : i + 1]) for i in range(4)]
        )
        torch.testing.assert_close(x[:4], alone)
    if kind not in ("gan", "gan_of_more_noise", "refined_gan"):
        assert bool((x[:, 1].abs() <= math.pi).all())
    if kind not in ("gan", "gan_of_more_noise", "refined_gan") and "autoencoder" not in kind:
        hidden = model.noise_mask(mask)
        assert torch.equal(hidden, mask)
        moved = torch.where(hidden, noise, 7.0)
        with torch.no_grad():
            assert torch.equal(model.sample(moved, context, mask), x)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_samples_reach_every_parameter_and_there_are_no_others(kind):
    model = model_of(kind, periodic=())
    context, _, rng = given()
    noise = torch.randn(N, model.noise_size, generator=rng, dtype=torch.float64, requires_grad=True)
    model.sample(noise, context, None).square().sum().backward()
    parameters = [p for m in model.sampling_modules() for p in m.parameters()]
    encoders = [p for n, p in model.named_parameters() if "encoder." in n and "autoencoder" in kind]
    assert {id(p) for p in (*parameters, *encoders)} == {id(p) for p in model.parameters()}
    assert all(float(p.grad.abs().sum()) > 0 for p in parameters)
    assert float(noise.grad.abs().sum()) > 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_loaded_model_samples_the_same(kind):
    model, other = model_of(kind), model_of(kind, seed=5)
    context, mask, rng = given()
    noise = torch.randn(N, model.noise_size, generator=rng, dtype=torch.float64)
    with torch.no_grad():
        expected = model.sample(noise, context, mask)
        assert not torch.equal(other.sample(noise, context, mask), expected)
        other.load_state_dict(load(save(model.state_dict())))
        assert torch.equal(other.sample(noise, context, mask), expected)


@pytest.mark.parametrize("kind", DENSITIES)
@pytest.mark.parametrize("periodic", [(), (1,)])
def test_latents_are_the_noise_of_samples(kind, periodic):
    model = model_of(kind, periodic)
    context, mask, rng = given()
    noise = torch.randn(N, D, generator=rng, dtype=torch.float64) * mask
    with torch.no_grad():
        x = model.sample(noise, context, mask)
        found = model.latent(x, context, mask)
    torch.testing.assert_close(found, noise, rtol=0, atol=5e-4 if kind == "flow_matching" else 1e-6)


@pytest.mark.parametrize("kind", DENSITIES)
@pytest.mark.parametrize("periodic", [(), (1,)])
def test_the_density_is_that_of_the_noise_times_the_jacobian(kind, periodic):
    model = model_of(kind, periodic)
    context, _, rng = given(n=6)
    x = torch.randn(6, D, generator=rng, dtype=torch.float64).clamp(-2.5, 2.5)
    pull = model.pulled_back
    expected = []
    for k in range(6):
        jacobian = torch.autograd.functional.jacobian(
            lambda y, k=k: pull(y[None], context[k : k + 1], None)[0], x[k]
        )
        z = pull(x[k : k + 1], context[k : k + 1], None)[0].detach()
        normal = -0.5 * (z.square() + math.log(2 * math.pi)).sum()
        expected.append(normal + torch.linalg.slogdet(jacobian)[1])
    found = model.log_prob(x, context, None).detach()
    tolerance = 2e-3 if kind == "flow_matching" else 1e-7
    torch.testing.assert_close(found, torch.stack(expected), rtol=0, atol=tolerance)


@pytest.mark.parametrize("kind", DENSITIES)
def test_features_that_do_not_exist_do_not_count_in_the_density(kind):
    model = model_of(kind)
    context, mask, rng = given(n=9)
    x = torch.randn(9, D, generator=rng, dtype=torch.float64)
    with torch.no_grad():
        found = model.log_prob(x, context, mask)
        assert torch.equal(found, model.log_prob(torch.where(mask, x, 9.0), context, mask))
        none = model.log_prob(x, context, torch.zeros_like(mask))
    assert bool((none == 0).all())


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_knows_nothing_of_learning_and_says_whether_it_has_a_density(kind):
    model = model_of(kind)
    assert not [n for n in model.state_dict() if "critic" in n]
    assert not hasattr(model, "loss")
    assert model.has_likelihood == isinstance(model, DensityModel) == (kind in DENSITIES)
    assert model.together is model
    assert model.space == FeatureSpace(D, C, (1,))


@pytest.mark.parametrize("kind", ["coupling", "flow_matching", "gan", "autoencoder"])
def test_an_ensemble_has_what_its_members_have(kind):
    model = model_of(kind, members=2)
    assert model.has_likelihood == (kind in DENSITIES)
    assert model.noise_size == model.member(1).noise_size
    with pytest.raises(RecipeError, match="no ensembles"):
        build_model(StudentConfig(network=SMALL), FeatureSpace(D, C), members=2)


# ------------------------------------------------------------------ spaces


def test_noise_has_the_objects_of_features_where_each_has_its_own_and_no_angles():
    tokens = (Tokens("Jet", features=((0, 1), (2, 3))),)
    space = FeatureSpace(4, 1, (1,), tokens)
    assert space.of_noise(4) == FeatureSpace(4, 1, (), tokens)
    assert space.of_noise(7) == FeatureSpace(7, 1)
    sets = FlowMatchingConfig(network=DeepSetsConfig(width=8, blocks=1))
    assert build_model(sets, space.of_noise(4)).noise_size == 4
    with pytest.raises(RecipeError, match="kind deep_sets needs a collection"):
        build_model(sets, space.of_noise(7))


def test_a_space_that_cannot_be_is_refused():
    image = Grid((4, 5), channels=2, first=1, closed=(False, True))
    assert image.cells == 40
    assert FeatureSpace(41, grid=image).grid is image
    with pytest.raises(ValueError, match="40 cells from 1 in 40 features"):
        FeatureSpace(40, grid=image)
    for wrong in ({"shape": ()}, {"shape": (0, 2)}, {"shape": (2,), "closed": (True, True)}):
        with pytest.raises(ValueError, match="no grid of cells"):
            Grid(**wrong)
    with pytest.raises(ValueError, match="no space of -1 features"):
        FeatureSpace(-1)
