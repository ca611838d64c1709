from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError

from hepgan.errors import RecipeError
from hepgan.features.space import FeatureSpace
from hepgan.learners import new_learner
from hepgan.models import AutoencoderConfig, CriticConfig, OptimiserConfig, build_model
from hepgan.networks import DeepSetsConfig, MLPConfig
from hepgan.objectives import Circumstances, Points, Wasserstein
from hepgan.training import Trainer, TrainingConfig

SMALL = MLPConfig(widths=(32, 32), activation="silu")
KINDS = {
    "kl": {"match": "kl", "beta": 1.0},
    "sliced_wasserstein": {"match": "sliced_wasserstein", "beta": 2.0},
}


def autoencoder(size, context=0, periodic=(), **settings):
    torch.manual_seed(1)
    own = {"encoder": SMALL, "decoder": SMALL, "optimiser": OptimiserConfig(lr=3e-3)}
    config = AutoencoderConfig(**{**own, **settings})
    return new_learner(config, FeatureSpace(size, context, periodic))


def trained(learner, data, steps=400):
    Trainer(learner, data, TrainingConfig(steps=steps, batch_size=512, validation_fraction=0.0), seed=1).run()
    return learner.eval()


def ring(number, seed):
    """An angle around a mean that the context tells, and a number that follows its cosine."""
    rng = torch.Generator().manual_seed(seed)
    context = torch.randint(2, (number, 1), generator=rng).float()
    angle = math.pi * context[:, 0] + 0.5 * torch.randn(number, generator=rng)
    angle = torch.remainder(angle + math.pi, 2 * math.pi) - math.pi
    line = angle.cos() + 0.3 * torch.randn(number, generator=rng)
    return torch.stack((angle, line), 1), context


def distance(a, b, context=None):
    """The squared sliced distance of two samples, each angle as a point on the circle."""

    def points(x):
        columns = [x[:, :1].cos(), x[:, :1].sin(), x[:, 1:]]
        return torch.cat(columns if context is None else [*columns, context], 1)

    one = torch.ones(len(a))
    found = Wasserstein(features=True, order=2, standardised=False, directions=64)
    at = Circumstances(generator=torch.Generator().manual_seed(5))
    return float(found(Points(points(a), one), Points(points(b), one), at))


@pytest.mark.parametrize("kind", KINDS)
def test_generated_events_are_distributed_like_true_ones_given_their_context(kind, feature_batch):
    x, context = ring(6000, seed=1)
    learner = trained(
        autoencoder(2, 1, periodic=(0,), **KINDS[kind]), feature_batch(x, context=context), steps=500
    )
    other, given = ring(4000, seed=2)
    true, _ = ring(4000, seed=3)
    noise = torch.randn(4000, learner.model.noise_size, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        made = learner.model.sample(noise, given, None)
    floor = distance(other, true)
    assert distance(other, made, given) < 0.02 + 3 * floor
    # Without the context they are far apart, and the cut of the angle is nowhere.
    assert distance(other, made.flip(0), given) > 0.04
    assert float((made[:, 0].abs() > 3.0).float().mean()) > 0.02


def test_both_terms_are_an_upper_bound_on_the_negative_logarithm_of_the_likelihood(feature_batch):
    rng = torch.Generator().manual_seed(1)
    mixing = torch.tensor([[1.0, 0.8], [0.0, 0.6]])
    x = torch.randn(8000, 2, generator=rng) @ mixing
    entropy = float(0.5 * torch.logdet(2 * math.pi * math.e * (mixing.T @ mixing)))
    learner = autoencoder(2, latent=1)
    batch = feature_batch(x[:4000])

    def bound():
        with torch.no_grad():
            terms = learner.loss(learner.phase("autoencoder"), batch, torch.Generator().manual_seed(2))
        return sum(float(t.weight * t.value.detach()) for t in terms)

    assert bound() > entropy + 0.3
    trained(learner, feature_batch(x))
    # One number for two, and a spread of each: a normal distribution can be said exactly.
    assert entropy - 0.05 < bound() < entropy + 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_what_does_not_exist_neither_counts_nor_has_influence(kind, feature_batch):
    learner = autoencoder(3, **KINDS[kind])
    mask = torch.ones(50, 3, dtype=torch.bool)
    mask[::2, 1] = False
    x = torch.randn(50, 3)

    def values(x):
        terms = learner.loss(
            learner.phase("autoencoder"), feature_batch(x, mask=mask), torch.Generator().manual_seed(2)
        )
        return [float(t.value.detach()) for t in terms]

    assert values(x) == values(x.masked_fill(~mask, 9.0))
    assert values(x) != values(x + 1.0)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_of_either_sign_count_as_they_are(kind, feature_batch):
    learner = autoencoder(2, **KINDS[kind])
    x = torch.randn(64, 2)
    twice = torch.cat((x, x[:8], x[:8]))
    weight = torch.cat((torch.ones(64), torch.ones(8), -torch.ones(8)))

    def reconstruction(batch):
        # What is drawn for each event is left out, so that pairs of opposite weights cancel.
        learner.model.config = learner.model.config.model_copy(update={"match": "sliced_wasserstein"})
        terms = learner.loss(learner.phase("autoencoder"), batch, torch.Generator().manual_seed(2))
        return float(terms[0].value.detach()) * len(batch)

    if kind == "sliced_wasserstein":
        found = reconstruction(feature_batch(twice, weight=weight))
        assert found == pytest.approx(reconstruction(feature_batch(x)), rel=1e-5)
    terms = learner.loss(learner.phase("autoencoder"), feature_batch(twice, weight=weight), torch.Generator())
    assert all(math.isfinite(float(t.value.detach())) for t in terms)


def test_without_a_spread_events_are_what_the_decoder_makes():
    learner = autoencoder(3, latent=5, observation="none")
    assert learner.model.noise_size == 5
    noise, none = torch.randn(7, 5), torch.zeros(7, 0)
    assert torch.equal(learner.model.sample(noise, none, None), learner.model.decoded(noise, none, None))
    spread = autoencoder(3, latent=5)
    assert spread.model.noise_size == 8


def test_critics_and_penalties_see_its_events_and_both_networks_learn(feature_batch):
    config = {"critics": (CriticConfig(network=SMALL),)}
    learner = autoencoder(3, penalties=(Wasserstein(features=True, name="far"),), **config)
    batch = feature_batch(torch.randn(64, 3))
    names = {"reconstruction", "codes", "critic_adversarial", "far"}
    terms = learner.loss(learner.phase("autoencoder"), batch, torch.Generator().manual_seed(1))
    assert {t.name for t in terms} == names
    sum(t.weight * t.value for t in terms).backward()
    for network in (learner.model.encoder, learner.model.decoder):
        assert all(float(p.grad.abs().sum()) > 0 for p in network.parameters())
    found = learner.diagnose(batch, feature_batch(torch.randn(64, 3)), torch.Generator().manual_seed(1), 0.0)
    assert {n.split("/")[0] for n in found} == {*names, "autoencoder", "guides"}
    assert all(math.isfinite(v) for v in found.values())


def test_what_cannot_be_is_refused():
    with pytest.raises(ValidationError, match="an autoencoder has none"):
        AutoencoderConfig(critics=(CriticConfig(latent=True),))
    with pytest.raises(ValidationError, match="can't be called 'codes'"):
        AutoencoderConfig(critics=(CriticConfig(name="codes"),))
    with pytest.raises(RecipeError, match="needs numbers to encode"):
        build_model(AutoencoderConfig(), FeatureSpace(0, 2))
    with pytest.raises(RecipeError, match="kind deep_sets"):
        build_model(AutoencoderConfig(decoder=DeepSetsConfig()), FeatureSpace(4))
