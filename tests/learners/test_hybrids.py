"""Likelihood models with critics and penalties."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import nn

from hepgan.features.space import FeatureSpace
from hepgan.learners import DensityLearner, new_critics, new_learner
from hepgan.models import (
    CriticConfig,
    DensityConfig,
    DensityModel,
    FlowMatchingConfig,
    LikelihoodConfig,
    ModelConfig,
    OptimiserConfig,
    build_model,
)
from hepgan.networks import MLPConfig, ResidualConfig
from hepgan.objectives import MMD, Energy, Term, TermSchedule, total
from hepgan.plotting.training import plot_history
from hepgan.training import Trainer, TrainingConfig

SMALL = MLPConfig(widths=(8,))
LINEAR = MLPConfig(widths=())


class Normal(DensityModel):
    """A normal distribution of independent features, of which critics' gradients are known."""

    def __init__(self, space, mean=0.0):
        super().__init__()
        self.space, self.noise_size = space, space.size
        self.mean = nn.Parameter(torch.full((space.size,), mean))
        self.log_scale = nn.Parameter(torch.zeros(space.size))

    def sample(self, noise, context, mask):
        x = self.mean + self.log_scale.exp() * noise
        return x if mask is None else x.masked_fill(~mask, 0.0)

    def latent(self, x, context, mask):
        z = (x - self.mean) / self.log_scale.exp()
        return z if mask is None else z.masked_fill(~mask, 0.0)

    def log_prob(self, x, context, mask):
        raise NotImplementedError

    def sampling_modules(self):
        return (self,)


class NormalLearner(DensityLearner):
    maker = "normal"
    default_optimiser = OptimiserConfig(lr=1e-2)

    def _likelihood_terms(self, batch, generator):
        z = self.model.latent(batch.x, batch.context, batch.mask)
        values = (0.5 * z.square() + self.model.log_scale).sum(1)
        return [Term("likelihood", (batch.weight * values).mean())]


class NormalConfig(DensityConfig):
    kind: str = "normal"
    own = ("normal", "likelihood")


def normal(size=1, mean=0.0, context=0, observables=None, **settings):
    torch.manual_seed(1)
    config = NormalConfig(**settings)
    critics = new_critics(config, size, size, context, NormalLearner.critics_limit)
    model = Normal(FeatureSpace(size, context), mean)
    return NormalLearner(config, model, lambda f: f, observables or {}, critics)


def hybrid(kind, column, size=3, context=0, **settings):
    """A model of each kind with every sort of guide."""
    torch.manual_seed(1)
    critics = (
        CriticConfig(network=SMALL, loss="bce_saturating", weight=0.5),
        CriticConfig(name="mass", features=False, observables=("mass",), network=SMALL, steps=2),
        CriticConfig(name="noise", latent=True, network=SMALL),
    )
    guides = {
        "critics": critics,
        "penalties": (MMD(observables="mass", widths=(5.0, 2.0, 1.0), standardised=False, weight=2.0),),
        "likelihood": LikelihoodConfig(reweighted_by="mass"),
    }
    own = {
        "flow": {"network": SMALL, "blocks": 2, "bins": 4},
        "flow_matching": {
            "network": ResidualConfig(width=16, blocks=1),
            "steps": 2,
        },
    }[kind]
    config = TypeAdapter(ModelConfig).validate_python({"kind": kind, **own, **guides, **settings})
    return new_learner(
        config,
        FeatureSpace(size, context),
        decode=lambda f: f,
        observables={"mass": column(0, 91.0, 2.5)},
    )


KINDS = ("flow", "flow_matching")
OWN = {"flow": "likelihood", "flow_matching": "velocity"}


def rng():
    return torch.Generator().manual_seed(1)


def terms_of(model, phase, batch, share=0.0):
    return model.loss(model.phase(phase), batch, rng(), share)


# ------------------------------------------------------------------ every combination


@pytest.mark.parametrize("kind", KINDS)
def test_every_phase_has_its_terms_and_gradients_for_its_own_parameters_alone(feature_batch, column, kind):
    model = hybrid(kind, column, context=2)
    batch = feature_batch(torch.randn(64, 3), context=torch.randn(64, 2))
    model.prepare(batch)
    expected = {
        "critic+noise": {"critic", "noise"},
        "mass": {"mass"},
        model.maker: {
            OWN[kind],
            "critic_adversarial",
            "mass_adversarial",
            "noise_adversarial",
            "mmd_mass",
        },
    }
    assert [p.name for p in model.phases] == list(expected)
    seen = [id(p) for phase in model.phases for p in phase.parameters]
    assert len(seen) == len(set(seen)) == len(list(model.parameters()))
    for phase in model.phases:
        terms = model.loss(phase, batch, rng())
        assert {t.name for t in terms} == expected[phase.name]
        for term in terms:
            assert np.isfinite(float(term.value.detach()))
            slopes = torch.autograd.grad(term.value, phase.parameters, retain_graph=True, allow_unused=True)
            assert any(s is not None and s.abs().sum() > 0 for s in slopes)
        if phase.name != model.maker:
            assert all(
                s is None for s in torch.autograd.grad(total(terms), model._makers(), allow_unused=True)
            )


@pytest.mark.parametrize(("kind", "masked"), [("flow", True), ("flow_matching", False)])
def test_hybrids_train_and_their_history_has_every_term_with_its_value_at_the_truth(
    feature_batch, column, kind, masked
):
    mask = torch.rand(300, 3) > 0.3 if masked else None
    x = torch.randn(300, 3)
    data = feature_batch(x if mask is None else x * mask, mask=mask)
    config = TrainingConfig(steps=6, batch_size=64, diagnose_every=3)
    model = hybrid(kind, column, fakes=32)
    history = Trainer(model, data, config, seed=3).run()
    assert history.status == "finished"
    names = {OWN[kind], "critic_adversarial", "mass_adversarial", "noise_adversarial", "mmd_mass"}
    assert set(history.terms) == names
    for name in names:
        assert np.isfinite(history.losses[f"{model.maker}/{name}"]).all()
        assert np.isfinite(history.diagnostics[f"{name}/floor"]).all()
    for name in (f"{model.maker}/coherence", "guides/coherence", "guides/agreement"):
        assert bool((np.abs(history.diagnostics[name]) <= 1 + 1e-6).all())
    if masked:
        plot_history(history).draw_without_rendering()


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_without_guides_has_the_parameters_and_the_terms_of_its_own_only(column, kind):
    model = hybrid(kind, column, critics=(), penalties=(), likelihood={})
    assert not [n for n in model.state_dict() if n.startswith("critics")]
    assert [p.name for p in model.phases] == [model.maker]


# ------------------------------------------------------------------ schedules


def test_nothing_is_generated_while_no_critic_and_no_penalty_counts(feature_batch, column, monkeypatch):
    late = TermSchedule(start=0.5)
    model = normal(
        critics=(CriticConfig(network=SMALL, schedule=late, warmup=0.1),),
        penalties=(Energy(observables="m", schedule=late), MMD(observables="m", weight=0.0)),
        observables={"m": column(0)},
    )
    calls = []
    monkeypatch.setattr(model.model, "sample", lambda *a: calls.append(len(a[0])) or a[0] + model.model.mean)
    batch = feature_batch(torch.randn(16, 1))
    for phase in model.phases:
        model.loss(phase, batch, rng(), 0.3)
    assert calls == []
    assert terms_of(model, "critic", batch, 0.3) == []
    assert len(terms_of(model, "critic", batch, 0.45)) == 1
    assert {t.name for t in terms_of(model, "normal", batch, 0.6)} == {
        "likelihood",
        "critic_adversarial",
        "energy_m",
        "mmd_m",
    }
    assert len(calls) == 2


def test_the_likelihood_has_a_weight_and_a_schedule(feature_batch):
    model = normal(
        likelihood={"weight": 0.5, "schedule": {"end": 0.5}}, critics=(CriticConfig(network=SMALL),)
    )
    batch = feature_batch(torch.randn(16, 1))
    weights = {s: {t.name: t.weight for t in terms_of(model, "normal", batch, s)} for s in (0.2, 0.8)}
    assert weights == {0.2: {"likelihood": 0.5, "critic_adversarial": 1.0}, 0.8: {"critic_adversarial": 1.0}}


def test_critics_and_penalties_see_no_more_events_than_asked_for(feature_batch, column, monkeypatch):
    model = normal(
        fakes=10,
        penalties=(Energy(observables="m"),),
        critics=(CriticConfig(network=SMALL),),
        observables={"m": column(0)},
    )
    calls = []
    sample = model.model.sample
    monkeypatch.setattr(model.model, "sample", lambda *a: calls.append(len(a[0])) or sample(*a))
    batch = feature_batch(torch.randn(64, 1))
    terms = terms_of(model, "normal", batch)
    terms_of(model, "critic", batch)
    assert calls == [10, 10]
    torch.testing.assert_close(terms[0].value, 0.5 * batch.x.square().mean(), check_dtype=False)


def test_critics_of_likelihood_models_see_logarithms_of_what_is_far_off(feature_batch):
    x = torch.tensor([[-1e9], [-12.0], [-10.0], [3.0], [10.0], [12.0], [1e9]])
    flow = normal(critics=(CriticConfig(network=LINEAR),))
    (seen,) = flow.critics[0].inputs(flow.observed(feature_batch(x)))
    far = 10.0 + float(np.log1p(1e9 - 10.0))
    near = 10.0 + float(np.log(3.0))
    torch.testing.assert_close(seen[:, 0], torch.tensor([-far, -near, -10.0, 3.0, 10.0, near, far]))
    gan = TypeAdapter(ModelConfig).validate_python({"kind": "gan"})
    model = new_learner(gan, FeatureSpace(1, 0), decode=lambda f: f, observables={})
    assert torch.equal(model.critics[0].inputs(model.observed(feature_batch(x)))[0], x)


def test_an_event_far_off_has_a_gradient_that_brings_it_back(feature_batch):
    flow = normal(mean=1e6, critics=(CriticConfig(network=LINEAR),))
    noise, context = torch.zeros(4, 1), torch.zeros(4, 0)
    made = feature_batch(torch.zeros(4, 1)).with_x(flow.model.sample(noise, context, None))
    (seen,) = flow.critics[0].inputs(flow.observed(made))
    (slope,) = torch.autograd.grad(seen.mean(), flow.model.mean)
    assert float(slope) == pytest.approx(1e-6, rel=1e-2)


# ------------------------------------------------------------------ latent space


def test_a_critic_of_latent_space_alone_teaches_the_distribution(feature_batch):
    torch.manual_seed(1)
    critic = CriticConfig(latent=True, network=MLPConfig(widths=(32, 32)), optimiser=OptimiserConfig(lr=3e-3))
    model = normal(size=2, mean=0.0, critics=(critic,), likelihood={"weight": 0.0})
    data = feature_batch(torch.tensor([1.0, -1.0]) + torch.tensor([0.5, 2.0]) * torch.randn(4000, 2))
    Trainer(model, data, TrainingConfig(steps=500, batch_size=128), seed=1).run()
    torch.testing.assert_close(model.model.mean.detach(), torch.tensor([1.0, -1.0]), atol=0.15, rtol=0)
    torch.testing.assert_close(
        model.model.log_scale.detach().exp(), torch.tensor([0.5, 2.0]), atol=0, rtol=0.2
    )


def test_a_critic_of_latent_space_takes_noise_for_true_and_real_events_noise_for_generated(feature_batch):
    model = normal(size=2, mean=5.0, critics=(CriticConfig(latent=True, network=LINEAR),))
    weight = torch.rand(64) + 0.5
    batch = feature_batch(5.0 + torch.randn(64, 2), weight=weight)
    layer = model.critics[0].network.layers[0]
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, -2.0]]))
        layer.bias.zero_()
    (term,) = terms_of(model, "critic", batch)
    noise = torch.randn((64, 2), generator=rng())
    output = [z @ torch.tensor([1.0, -2.0]) for z in (noise, batch.x - 5.0)]
    expected = (
        nn.functional.softplus(-output[0]).mean()
        + (weight * nn.functional.softplus(output[1])).sum() / weight.sum()
    )
    torch.testing.assert_close(term.value, expected)
    terms = {t.name: t.value for t in terms_of(model, "normal", batch)}
    expected = (weight * nn.functional.softplus(-output[1])).sum() / weight.sum()
    torch.testing.assert_close(terms["critic_adversarial"], expected)


def test_noise_of_features_that_an_event_lacks_is_not_seen(feature_batch):
    model = normal(size=2, mean=5.0, critics=(CriticConfig(latent=True, network=LINEAR),))
    mask = torch.tensor([True, False]).expand(64, 2)
    batch = feature_batch(torch.randn(64, 2) * mask, mask=mask)
    seen = []
    model.critics[0].network.register_forward_pre_hook(lambda _, a: seen.append(a[0]))
    terms_of(model, "critic", batch)
    assert bool((seen[0][:, 1] == 0).all())
    assert bool((seen[0][:, 0] != 0).all())


# ------------------------------------------------------------------ the reweighted likelihood


def at(mean, power, **settings):
    """A normal distribution at this mean, events around 0, and the critic that knows both densities."""
    critic = CriticConfig(network=LINEAR, **settings)
    model = normal(
        mean=mean, critics=(critic,), likelihood=LikelihoodConfig(reweighted_by="critic", power=power)
    )
    layer = model.critics[0].network.layers[0]
    with torch.no_grad():
        # log N(x; 0, 1) - log N(x; m, 1) = m^2 / 2 - m x; of the noise x - m: the negative of it.
        if critic.latent:
            layer.weight.fill_(mean)
            layer.bias.fill_(0.5 * mean**2)
        else:
            layer.weight.fill_(-mean)
            layer.bias.fill_(0.5 * mean**2)
    return model


@pytest.mark.parametrize(
    ("power", "factor", "latent"),
    [(0.0, 1.0, False), (1.0, 2.0, True), (-1.0, 0.0, False), (1.0, 2.0, False)],
)
def test_real_weights_double_the_pull_to_the_truth_and_inverse_ones_have_none(
    feature_batch, power, factor, latent
):
    mean = 0.4
    model = at(mean, power, latent=latent)
    x = torch.special.ndtri((torch.arange(20_000) + 0.5) / 20_000)[:, None]
    own = terms_of(model, "normal", feature_batch(x))[0]
    slope, _ = torch.autograd.grad(own.value, model._makers())
    assert float(slope) == pytest.approx(factor * mean, abs=0.01)


def test_reweighting_follows_the_critics_schedule_and_keeps_the_sum_of_weights(feature_batch):
    model = at(0.5, 1.0, weight=0.0, schedule={"start": 0.4, "ramp": 0.4})
    weight = torch.rand(500) - 0.2
    batch = feature_batch(torch.randn(500, 1), weight=weight)
    assert model._reweighted(batch, 0.2) is batch
    half = model._reweighted(batch, 0.6).weight / weight
    full = model._reweighted(batch, 0.9).weight / weight
    for ratio, power in ((half, 0.5), (full, 1.0)):
        assert float((ratio * weight.abs()).sum() / weight.abs().sum()) == pytest.approx(1.0, rel=1e-4)
        expected = (power * (0.5 * 0.5**2 - 0.5 * batch.x[:, 0])).exp()
        torch.testing.assert_close(ratio / ratio[0], expected / expected[0], rtol=1e-4, atol=0)


def test_the_largest_weights_are_clamped(feature_batch):
    model = at(10.0, 1.0)
    batch = feature_batch(torch.tensor([[-9.0], [-3.0], [5.0], [20.0]]))
    ratio = model._reweighted(batch, 0.0).weight
    torch.testing.assert_close(ratio / ratio[0], torch.tensor([1.0, 1.0, 0.1, 0.01]))


def test_a_reweighted_likelihood_finds_a_distribution_that_the_model_can_be(feature_batch):
    critic = CriticConfig(network=SMALL, weight=0.0)
    config = {"critics": (critic,), "likelihood": {"reweighted_by": "critic"}}
    model = normal(size=2, mean=1.0, **config)
    data = feature_batch(torch.tensor([0.0, 2.0]) + torch.randn(4000, 2))
    Trainer(model, data, TrainingConfig(steps=300, batch_size=256), seed=1).run()
    torch.testing.assert_close(model.model.mean.detach(), torch.tensor([0.0, 2.0]), atol=0.15, rtol=0)
    torch.testing.assert_close(model.model.log_scale.detach().exp(), torch.ones(2), atol=0, rtol=0.15)


# ------------------------------------------------------------------ the equilibrium


def test_gradients_of_likelihood_and_guides_that_agree_and_that_fight(feature_batch, column):
    x = torch.randn(4000, 1)
    halves = feature_batch(x[:2000]), feature_batch(x[2000:])
    observables = {"m": column(0)}
    alike = normal(mean=1.0, observables=observables, penalties=(Energy(observables="m"),))
    found = alike.diagnose(*halves, rng(), 0.0)
    assert found["guides/agreement"] > 0.8
    assert found["guides/coherence"] > 0.8
    assert found["normal/coherence"] > 0.8
    target = {"kind": "moments", "observables": "m", "target_mean": 2.0, "std_weight": 0.0}
    fighting = normal(mean=1.0, observables=observables, penalties=(target,))
    with torch.no_grad():
        fighting.model.log_scale.fill_(np.log(np.sqrt(2.0)))
    assert fighting.diagnose(*halves, rng(), 0.0)["guides/agreement"] < -0.9


def test_an_equilibrium_shows_as_agreement_of_minus_one_and_a_joint_minimum_does_not(feature_batch, column):
    data = feature_batch(torch.randn(4000, 1))

    def ended(target, weight, steps):
        penalty = {"kind": "moments", "observables": "m", "target_mean": target, "std_weight": 0.0}
        model = normal(observables={"m": column(0)}, penalties=(penalty | {"weight": weight},))
        config = TrainingConfig(steps=steps, batch_size=64, diagnose_every=4)
        history = Trainer(model, data, config, seed=1).run()
        return model, history

    model, history = ended(target=1.0, weight=0.5, steps=400)
    # Minimum of m^2 / 2 (log-likelihood, with the variance that fits) and (m - 1)^2 / 2.
    assert 0.3 < float(model.model.mean.detach()) < 0.7
    step, agreement = history.agreement(50)
    assert step.tolist() == [102.0, 302.0]
    assert agreement[-1] < -0.9
    assert history.diagnostics["normal/coherence"][-50:].mean() > 0.3
    model, history = ended(target=0.0, weight=0.5, steps=250)
    assert abs(float(model.model.mean.detach())) < 0.1
    # The mean of 30 has a statistical error of 0.13; that of the equilibrium is 0.8.
    assert history.diagnostics["normal/coherence"][-30:].mean() < 0.5


def test_the_floor_of_the_likelihood_is_that_of_the_models_own_events(feature_batch, column):
    model = normal(mean=3.0, observables={"m": column(0)}, penalties=(Energy(observables="m"),))
    x = torch.randn(20_000, 1)
    found = model.diagnose(feature_batch(x[:10_000]), feature_batch(x[10_000:]), rng(), 0.0)
    assert found["likelihood/floor"] == pytest.approx(0.5, abs=0.03)
    assert found["likelihood/value"] == pytest.approx(0.5 + 4.5, abs=0.1)


# ------------------------------------------------------------------ what is refused


def test_wrong_hybrids_are_refused_with_the_reason():
    adapter = TypeAdapter(ModelConfig)
    flow = {"kind": "flow_matching"}
    for settings, message in (
        ({"kind": "gan", "critics": [{"latent": True}]}, "a GAN has no likelihood"),
        (flow | {"critics": [{"latent": True, "observables": ["m"]}]}, "sees noise"),
        (flow | {"critics": [{"name": "velocity"}]}, "can't be called 'velocity'"),
        (flow | {"likelihood": {"reweighted_by": "c"}}, "critic 'c', which isn't there"),
        (
            flow | {"critics": [{"loss": "wgan"}], "likelihood": {"reweighted_by": "critic"}},
            "no ratios of densities",
        ),
        (flow | {"penalties": [{"kind": "mmd", "features": True, "name": "velocity"}]}, "has such a column"),
    ):
        with pytest.raises(ValidationError, match=message):
            adapter.validate_python(settings)


def test_generated_events_have_weights_of_their_own_without_a_context(feature_batch):
    model = normal(critics=(CriticConfig(network=LINEAR),))
    batch = feature_batch(torch.randn(16, 1), weight=torch.rand(16))
    assert model.generated(batch, rng()).weight is None
    context = replace(batch, context=torch.randn(16, 2))
    with_context = normal(context=2, critics=(CriticConfig(network=LINEAR),))
    assert torch.equal(with_context.generated(context, rng()).full_weight, batch.weight)


def test_flow_matching_pulls_back_with_gradients_by_the_steps_of_sampling():
    torch.manual_seed(1)
    config = FlowMatchingConfig(network=ResidualConfig(width=16, blocks=1), steps=64, solver="midpoint")
    model = build_model(config, FeatureSpace(2))
    for p in model.parameters():
        nn.init.normal_(p, std=0.2)
    noise, context = torch.randn(32, 2), torch.zeros(32, 0)
    x = model.sample(noise, context, None)
    back = model.pulled_back(x.detach(), context, None)
    torch.testing.assert_close(back, noise, atol=1e-3, rtol=0)
    assert back.requires_grad
