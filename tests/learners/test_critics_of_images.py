"""Critics that tell classes, see the whole batch, are told wrongly, or see images; generators of images."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from hepgan.errors import RecipeError
from hepgan.features.space import Classes, FeatureBatch, FeatureSpace, Grid
from hepgan.learners import Critic, new_learner
from hepgan.learners.auxiliary import heads_of, wrongly
from hepgan.models import CriticConfig, FlowConfig, FlowMatchingConfig, GANConfig
from hepgan.networks import MLPConfig, build_network
from hepgan.networks.batch import BatchNorm, MinibatchFeatures
from hepgan.objectives import total
from hepgan.training import Trainer, TrainingConfig

LABEL = Classes("label", 3, first=1)
TAG = Classes("Jet[0].tag", 2, variable=0)
IMAGE = FeatureSpace(25, 4, grid=Grid((5, 5)), classes=(LABEL, TAG))


def images(number, seed=0):
    rng = torch.Generator().manual_seed(seed)
    label = torch.randint(0, 3, (number,), generator=rng)
    condition = torch.cat((torch.randn(number, 1, generator=rng), functional.one_hot(label, 3).float()), 1)
    x = torch.relu(torch.randn(number, 25, generator=rng) + label[:, None] - 1)
    tag = torch.randint(-1, 2, (number, 1), generator=rng)
    return FeatureBatch(x, None, tag, condition, condition, torch.ones(number))


def gan(critic=None, **settings):
    generator = {"kind": "grid", "layers": [{"dense": [4, 5, 5]}, {"conv": 1}], "rectified": True}
    found = {
        "kind": "gan",
        "noise": 6,
        "generator": generator,
        "critics": [
            {
                "context": False,
                "network": {"kind": "grid", "layers": [{"conv": 3}, {"local": 2, "stride": 2}]},
                **(critic or {}),
            }
        ],
        **settings,
    }
    return GANConfig.model_validate(found)


ALL = {
    "auxiliary": ["label", {"variable": "Jet[0].tag", "maker": 0.5}],
    "minibatch": {"features": 4, "size": 3},
    "flips": {"real": 0.05, "generated": 0.1, "auxiliary": 0.09},
    "network": {
        "kind": "grid",
        "norm": "batch",
        "dropout": 0.2,
        "layers": [{"conv": 3, "norm": "none"}, {"local": 2, "stride": 2}, {"pool": 2}],
    },
}


def trained(config, steps=3, batch=20, **settings):
    torch.manual_seed(1)
    learner = new_learner(config, IMAGE, lambda f: f, members=settings.get("members", 1))
    data = images(200)
    rows = [torch.arange(200)] * settings["members"] if "members" in settings else None
    found = TrainingConfig(steps=steps, batch_size=batch, validation_fraction=0.0, **settings)
    trainer = Trainer(learner, data, found, rows=rows)
    return learner, trainer.run()


# ------------------------------------------------------------------ classes


def test_the_class_of_an_event_is_that_of_its_condition_or_variable():
    batch = images(50)
    assert torch.equal(LABEL.of(batch), batch.condition[:, 1:].argmax(1))
    assert torch.equal(TAG.of(batch), batch.discrete[:, 0])
    with pytest.raises(ValueError, match="is to be a condition or a variable"):
        Classes("a", 2)


def test_heads_learn_the_cross_entropy_of_the_events_that_have_a_class():
    config = CriticConfig.model_validate({"auxiliary": ["Jet[0].tag"], "context": False})
    (head,) = heads_of(config, IMAGE.classes)
    batch = images(60)
    weight = torch.where(torch.arange(60) % 7 == 0, -0.5, 1.5)
    outputs = [torch.randn(60, 3), torch.randn(60, 3)]
    targets = TAG.of(batch)
    there = targets >= 0
    entropy, accuracy = head.critic(*outputs, (targets, targets), (weight, None))
    each = [functional.cross_entropy(o[there, 1:], targets[there], reduction="none") for o in outputs]
    w = weight[there]
    torch.testing.assert_close(entropy.value, (w * each[0]).sum() / w.sum() + each[1].mean())
    right = (outputs[0][there, 1:].argmax(1) == targets[there]).float()
    torch.testing.assert_close(accuracy.value, (w * right).sum() / w.sum())
    assert (entropy.name, accuracy.name) == ("critic_Jet_0_tag", "critic_Jet_0_tag_accuracy")
    assert (entropy.weight, accuracy.weight) == (1.0, 0.0)


def test_as_many_classes_are_wrong_as_asked_for_and_never_by_chance_the_right_ones():
    batch = images(20_000)
    (head,) = heads_of(CriticConfig.model_validate({"auxiliary": ["label"], "context": False}), [LABEL])
    true, found = LABEL.of(batch), wrongly(head, batch, 0.2, torch.Generator().manual_seed(4))
    assert float((true != found).double().mean()) == pytest.approx(0.2, abs=0.01)
    for wrong in (1, 2):
        assert float(((found - true) % 3 == wrong).double().mean()) == pytest.approx(0.1, abs=0.01)
    (head,) = heads_of(CriticConfig.model_validate({"auxiliary": ["Jet[0].tag"], "context": False}), [TAG])
    absent = TAG.of(batch) < 0
    assert bool((wrongly(head, batch, 0.4, torch.Generator().manual_seed(4))[absent] == -1).all())


def test_a_critic_of_classes_learns_them_and_its_maker_makes_them():
    config = gan({"auxiliary": ["label"]}, optimiser={"lr": 1e-2})
    config = config.model_copy(
        update={"critics": (config.critics[0].model_copy(update={"optimiser": config.optimiser}),)}
    )
    learner, history = trained(config, steps=150, batch=100)
    accuracy = history.losses["critic/critic_label_accuracy"]
    assert accuracy[-20:].mean() > max(0.8, accuracy[:5].mean() + 0.2)
    assert (
        history.losses["generator/critic_label"][-20:].mean()
        < 0.7 * history.losses["generator/critic_label"][:5].mean()
    )
    batch = images(600, seed=5)
    with torch.no_grad():
        x = learner.model.sample(torch.randn(600, 6), batch.context, None)
    means = torch.stack([x[LABEL.of(batch) == k].mean() for k in range(3)])
    assert bool((means.diff() > 0.1).all())


# ------------------------------------------------------------------ minibatch, flips


def test_minibatch_features_are_sums_of_closeness():
    torch.manual_seed(0)
    layer = MinibatchFeatures(4, 3, 2).double()
    x = torch.randn(7, 4, dtype=torch.float64, requires_grad=True)
    m = (x @ layer.map.weight.t()).reshape(7, 3, 2)
    expected = torch.exp(-(m[:, None] - m[None]).abs().sum(3)).sum(1)
    found = layer(x)
    torch.testing.assert_close(found, torch.cat((x, expected), 1))
    assert torch.autograd.gradcheck(lambda x: layer(x)[:, 4:], x)
    # Events that are all alike are as close as can be.
    torch.testing.assert_close(layer(x[:1].expand(7, 4))[:, 4:], torch.full((7, 3), 7.0).double())


@pytest.mark.parametrize("kind", ["mlp", "residual", "grid"])
def test_the_last_layer_of_each_network_may_see_the_batch(kind):
    layers = {"layers": [{"conv": 2}]} if kind == "grid" else {}
    config = CriticConfig.model_validate(
        {"network": {"kind": kind, **layers}, "minibatch": {}, "context": False}
    )
    critic = Critic(config, size=25, context_size=0, grid=IMAGE.grid)
    assert critic.apart
    batch = images(30)
    whole, part = (critic((x,), batch.context[: len(x)]) for x in (batch.x, batch.x[:10]))
    assert not torch.allclose(whole[:10], part)
    good, bad = critic.sides((batch.x[:10],), (batch.x[10:20],), batch.context[:10])
    torch.testing.assert_close(good, part)
    torch.testing.assert_close(bad, critic((batch.x[10:20],), batch.context[:10]))


@pytest.mark.parametrize("loss", ["bce", "lsgan"])
def test_flipped_events_count_as_the_other_kind(loss):
    config = CriticConfig(loss=loss, flips={"real": 0.3, "generated": 0.1})  # type: ignore[arg-type]
    critic = Critic(config, size=3, context_size=0)
    good, bad = torch.randn(50_000) + 1, torch.randn(50_000) - 1
    weights = torch.ones(50_000), None
    value = critic._value(good, bad, weights, torch.Generator().manual_seed(2))
    plain = critic.loss.critic
    # The means over those that are called real: 7 of 8 are.
    real = (
        0.7 * plain(good, bad * 0 - 40, weights[0], None) + 0.1 * plain(bad, bad * 0 - 40, weights[0], None)
    ) / 0.8
    far = plain(good * 0 + 40, bad * 0 - 40, weights[0], None)
    fake = (
        0.9 * plain(good * 0 + 40, bad, weights[0], None) + 0.3 * plain(good * 0 + 40, good, weights[0], None)
    ) / 1.2
    if loss == "bce":
        torch.testing.assert_close(value, real + fake - far, rtol=0.02, atol=0.0)
    expected_real = (0.7 * (good - 1).square().mean() + 0.1 * (bad - 1).square().mean()) / 0.8
    expected_fake = (0.9 * bad.square().mean() + 0.3 * good.square().mean()) / 1.2
    if loss == "lsgan":
        torch.testing.assert_close(value, 0.5 * (expected_real + expected_fake), rtol=0.02, atol=0.0)


def test_event_weights_count_for_flipped_events_too():
    critic = Critic(CriticConfig(flips={"real": 0.4}), size=3, context_size=0)  # type: ignore[arg-type]
    good, bad = torch.randn(4000), torch.randn(4000)
    weight = torch.where(torch.arange(4000) % 2 == 0, 2.0, 0.0)
    found = critic._value(good, bad, (weight, weight), torch.Generator().manual_seed(2))
    changed = good + torch.where(weight > 0, 0.0, 9.0)
    torch.testing.assert_close(
        critic._value(changed, bad, (weight, weight), torch.Generator().manual_seed(2)), found
    )


# ------------------------------------------------------------------ refusals


def test_what_cannot_be_is_refused_with_the_reason():
    with pytest.raises(ValueError, match="nothing for it to tell: say context: false"):
        CriticConfig.model_validate({"auxiliary": ["label"]})
    with pytest.raises(ValueError, match="flips of auxiliary classes, and it has none"):
        CriticConfig.model_validate({"flips": {"auxiliary": 0.1}})
    with pytest.raises(ValueError, match="twice"):
        CriticConfig.model_validate({"auxiliary": ["a", "a"], "context": False})
    with pytest.raises(RecipeError, match=r"'pt' is neither .* there are: label, Jet\[0\].tag"):
        new_learner(gan({"auxiliary": ["pt"]}), IMAGE, lambda f: f)
    for penalty in ({"gradient_penalty": 10.0}, {"r1": 1.0}, {"loss": "wgan_gp"}):
        with pytest.raises(RecipeError, match="depends on the other events; say norm: event"):
            new_learner(gan({**ALL, "auxiliary": [], "flips": {}, **penalty}), IMAGE, lambda f: f)
        with pytest.raises(RecipeError, match="depends on the other events"):
            new_learner(gan({"minibatch": {}, **penalty}), IMAGE, lambda f: f)
    with pytest.raises(RecipeError, match="there is no noise, so no product"):
        new_learner(gan(noise=0, conditioning="product"), IMAGE, lambda f: f)
    with pytest.raises(RecipeError, match="there is no context, so no product"):
        new_learner(gan(conditioning="product"), FeatureSpace(25, 0, grid=Grid((5, 5))), lambda f: f)
    with pytest.raises(ValueError, match="no image: choose mlp or residual"):
        FlowConfig.model_validate({"network": {"kind": "grid", "layers": [{"conv": 2}]}})


def test_a_gradient_penalty_goes_with_what_is_of_one_event():
    layers = [{"conv": 3, "norm": "event"}, {"local": 2}]
    config = gan({"loss": "wgan_gp", "auxiliary": ["label"], "network": {"kind": "grid", "layers": layers}})
    _, history = trained(config)
    assert {"critic/critic_gradient_penalty", "critic/critic_label"} <= {*history.losses.names}


# ------------------------------------------------------------------ models


def test_everything_together_trains_and_is_in_the_history():
    learner, history = trained(gan(ALL, conditioning="product"))
    assert {
        "critic/critic", "critic/critic_label", "critic/critic_label_accuracy", "critic/critic_Jet_0_tag",
        "generator/critic_adversarial", "generator/critic_label", "generator/critic_Jet_0_tag",
    } <= {*history.losses.names}  # fmt: skip
    found = learner.diagnose(images(20), images(20, 3), torch.Generator(), 0.5)
    assert {"critic_adversarial/floor", "critic_label/floor", "critic_Jet_0_tag/floor"} <= found.keys()


def test_product_is_an_embedding_of_each_class():
    learner, _ = trained(gan(conditioning="product"), steps=1)
    generator = learner.model.generator
    noise, context = torch.randn(5, 6), images(5).context
    expected = generator.network(noise * (context @ generator.factor.weight.t() + generator.factor.bias))
    torch.testing.assert_close(generator(noise, context), expected)
    assert not torch.allclose(generator(noise, context.roll(1, 0)), expected)


@pytest.mark.parametrize("conditioning", ["joined", "product"])
def test_blocks_of_any_size_make_the_same_events(conditioning):
    config = gan(ALL, conditioning=conditioning)
    config = config.model_copy(update={"generator": config.generator.model_copy(update={"norm": "batch"})})
    learner, _ = trained(config)
    learner.eval()
    noise, context = torch.randn(300, 6), images(300).context
    with torch.no_grad():
        whole = learner.model.sample(noise, context, None)
        parts = [learner.model.sample(noise[i : i + 7], context[i : i + 7], None) for i in range(0, 300, 7)]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-5, atol=1e-6)
    assert bool((whole >= 0).all())


def test_the_running_mean_of_weights_has_its_own_running_statistics():
    config = gan(ALL)
    config = config.model_copy(update={"generator": config.generator.model_copy(update={"norm": "batch"})})
    torch.manual_seed(1)
    learner = new_learner(config, IMAGE, lambda f: f)
    trainer = Trainer(learner, images(200), TrainingConfig(steps=8, batch_size=20, ema=0.9))
    before = [m.clone() for m in trainer._mean.mean]
    norms = [m for m in learner.model.modules() if isinstance(m, BatchNorm)]
    assert len(norms) == 1
    trainer.run()
    assert len(before) == sum(1 for _ in learner.model.parameters()) + 3
    assert any(torch.equal(norms[0].variance, m) for m in trainer._mean.mean)


def test_members_of_an_ensemble_have_batches_of_their_own():
    torch.manual_seed(2)
    learner, history = trained(gan(ALL, conditioning="product"), members=2)
    critics, batch = learner.critics, images(20)
    critic = next(iter(critics))
    inputs = (torch.cat((batch.x, batch.x * 2)),)
    critics.eval()
    together = critic.outputs(inputs, batch.context.repeat(2, 1))
    for k in range(2):
        alone = critics.member(k)[0].outputs((inputs[0][20 * k : 20 * (k + 1)],), batch.context)
        torch.testing.assert_close(together[20 * k : 20 * (k + 1)], alone, rtol=1e-4, atol=1e-5)
    statistics = [m.mean for m in critic.modules() if isinstance(m, BatchNorm)]
    assert all(s.shape[0] == 2 and float(s.abs().sum()) > 0 for s in statistics)
    assert not torch.allclose(statistics[0][0], statistics[0][1])
    assert "critic/critic_label_accuracy" in history.losses.names


@pytest.mark.parametrize("members", [1, 3])
def test_ensembles_without_batch_norm_train_at_once(members):
    config = gan({"auxiliary": ["label"], "minibatch": {"features": 2, "size": 2}}, conditioning="product")
    settings = {} if members == 1 else {"members": members}
    learner, history = trained(config, **settings)
    assert len(history.losses) == 3
    x = learner.model.sample(torch.randn(6, 6), images(6).context, None)
    assert x.shape == (6, 25)


def test_a_convolution_is_a_velocity():
    space = FeatureSpace(27, 4, grid=Grid((5, 5), first=1), classes=(LABEL,))
    layers = [{"conv": 6}, {"blocks": 2, "norm": "event"}, {"conv": 1}]
    config = FlowMatchingConfig.model_validate({"network": {"kind": "grid", "layers": layers}, "steps": 2})
    torch.manual_seed(0)
    learner = new_learner(config, space, lambda f: f)
    batch = images(400)
    beside = torch.stack((batch.x.sum(1) / 25, LABEL.of(batch).float() - 1), 1)
    batch = batch.with_x(torch.cat((beside[:, :1], batch.x, beside[:, 1:]), 1))
    history = Trainer(learner, batch, TrainingConfig(steps=150, batch_size=100, optimiser={"lr": 3e-3})).run()
    losses = history.losses["velocity/total"]
    assert losses[-20:].mean() < 0.75 * losses[:10].mean()
    with torch.no_grad():
        x = learner.model.sample(torch.randn(400, 27), batch.context, None)
        log_p = learner.model.log_prob(batch.x[:3], batch.context[:3], None)
    assert bool(torch.isfinite(log_p).all())
    # What is beside the image follows the class, too.
    assert float(torch.corrcoef(torch.stack((x[:, 26], beside[:, 1])))[0, 1]) > 0.6
    assert total(learner.loss(learner.phases[0], batch, torch.Generator())).isfinite()


def test_networks_that_see_the_batch_have_no_image_to_end_with():
    config = gan().generator
    with pytest.raises(RecipeError, match="minibatch is for networks that end with numbers"):
        build_network(config, 6, 25, made=Grid((5, 5)), minibatch=CriticConfig(minibatch={}).minibatch)  # type: ignore[arg-type]
    assert build_network(MLPConfig(), 6, 25).whole_batch is False
