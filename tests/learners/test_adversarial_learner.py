from __future__ import annotations

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import nn

from hepgan.errors import RecipeError
from hepgan.features.space import FeatureBatch, FeatureSpace
from hepgan.learners import Critic, Observed, new_learner
from hepgan.models import CriticConfig, GANConfig, OptimiserConfig, SetConfig
from hepgan.models.config import ModelConfig
from hepgan.networks import MLPConfig, Network
from hepgan.objectives import (
    MMD,
    Circumstances,
    Energy,
    Histogram,
    Moments,
    Paired,
    TermSchedule,
    Wasserstein,
    total,
)
from hepgan.observables import Flat

SMALL = MLPConfig(widths=(8,))


def build(size=3, context=0, observables=None, critics=None, **settings):
    torch.manual_seed(1)
    critics = critics or (CriticConfig(network=SMALL),)
    config = GANConfig(generator=SMALL, critics=critics, **settings)
    return new_learner(config, FeatureSpace(size, context), decode=lambda f: f, observables=observables or {})


def terms_of(model, phase, batch, share=0.0):
    return model.loss(model.phase(phase), batch, torch.Generator().manual_seed(1), share)


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
        terms = model.loss(phase, batch, torch.Generator().manual_seed(1))
        assert {t.name for t in terms} == expected[phase.name]
        model.zero_grad()
        total(terms).backward(inputs=list(phase.parameters))
        # The last bias of a Wasserstein critic cancels between real and generated events.
        inner = [p for p in phase.parameters if p.shape != (1,)]
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in inner)


def test_terms_keep_the_recipes_weights(feature_batch, column):
    model = build(**two_critics(column))
    terms = terms_of(model, "generator", feature_batch(torch.randn(64, 3)))
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
    (inputs,) = physics.inputs(model.observed(batch))
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
        def dense(self, batch):
            seen.append(batch)
            return batch.x[:, 0].double(), None

    critic = CriticConfig(features=False, observables=("o",), network=SMALL)
    model = build(observables={"o": Seen()}, critics=(critic,))
    mask = torch.rand(16, 3) > 0.3
    batch = feature_batch(torch.randn(16, 3) * mask, mask=mask)
    terms_of(model, "critic", batch)
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
        (term,) = terms_of(model, "critic", batch)
        fake = model.generated(batch, torch.Generator().manual_seed(1)).batch
        critic = model.critics[0]
        real_loss = torch.nn.functional.softplus(-critic((batch.x,), batch.context))
        fake_loss = torch.nn.functional.softplus(critic((fake.x,), batch.context))
        expected = (weight * real_loss).sum() / weight.sum()
        v = weight if with_context else torch.ones(64)
        expected = expected + (v * fake_loss).sum() / v.sum()
        torch.testing.assert_close(term.value, expected, rtol=1e-4, atol=1e-5)


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
        ({"name": "total"}, "can't be called"),
        ({"name": "a+b"}, "pattern"),
    ):
        with pytest.raises(ValidationError, match=message):
            adapter.validate_python({"kind": "gan", "critics": [critic]})
    with pytest.raises(ValidationError, match="called 'critic'"):
        adapter.validate_python({"kind": "gan", "critics": [{}, {}]})
    for name in ("gradient", "critic_adversarial"):
        penalty = {"kind": "energy", "observables": ["m"], "name": name}
        with pytest.raises(ValidationError, match=f"a penalty can't be called '{name}'"):
            adapter.validate_python({"kind": "gan", "penalties": [penalty]})


def test_a_critic_has_its_own_optimiser_if_the_recipe_says_so():
    adam = OptimiserConfig(lr=0.3)
    model = build(critics=(CriticConfig(network=SMALL, optimiser=adam),))
    assert [p.optimiser for p in model.phases] == [adam, None]


# ------------------------------------------------------------------ schedules, clipping


def test_terms_count_by_their_schedules_and_critics_learn_until_theirs_ends(feature_batch, column):
    model = build(
        observables={"mass": column(0)},
        critics=(
            CriticConfig(network=SMALL),
            CriticConfig(
                name="late",
                features=False,
                observables=("mass",),
                network=SMALL,
                steps=2,
                schedule=TermSchedule(start=0.4, ramp=0.2, end=0.8),
            ),
        ),
        penalties=(Energy(observables="mass", weight=3.0, schedule=TermSchedule(end=0.5)),),
    )
    batch = feature_batch(torch.randn(16, 3))

    def weights(phase, share):
        terms = terms_of(model, phase, batch, share)
        return {t.name: pytest.approx(t.weight) for t in terms}

    assert weights("generator", 0.0) == {"critic_adversarial": 1.0, "energy_mass": 3.0}
    assert weights("generator", 0.5) == {
        "critic_adversarial": 1.0,
        "late_adversarial": 0.5,
        "energy_mass": 3.0,
    }
    assert weights("generator", 0.7) == {"critic_adversarial": 1.0, "late_adversarial": 1.0}
    assert weights("generator", 0.9) == {"critic_adversarial": 1.0}
    assert weights("late", 0.0) == weights("late", 0.8) == {"late": 1.0}
    assert weights("late", 0.9) == {}


def test_a_cooling_width_follows_the_share_of_the_training(feature_batch, column):
    penalty = MMD(observables="mass", widths=(1.0,), cooling=0.01)
    model = build(observables={"mass": column(0)}, penalties=(penalty,))
    batch = feature_batch(torch.randn(64, 3))
    early, late = (terms_of(model, "generator", batch, s)[1] for s in (0.0, 1.0))
    real, fake = (
        v.sample(("mass",))
        for v in (model.observed(batch), model.generated(batch, torch.Generator().manual_seed(1)))
    )
    fixed = MMD(observables="mass", widths=(0.01,))
    at = Circumstances(precision=torch.float32)
    torch.testing.assert_close(late.value, fixed(real, fake, at))
    assert float(late.value.detach()) != pytest.approx(float(early.value.detach()))


def test_a_clipped_critic_stays_within_its_limit_and_others_do_not(feature_batch):
    critics = (
        CriticConfig(network=SMALL, loss="wgan"),
        CriticConfig(name="wide", network=SMALL, loss="wgan", clip=0.2),
        CriticConfig(name="free", network=SMALL, loss="bce"),
    )
    model = build(critics=critics)
    before = [p.detach().clone() for p in model.critics[2].parameters()]
    model.after_step(model.phase("critic+wide+free"))
    for critic, limit in zip(model.critics[:2], (0.01, 0.2), strict=True):
        largest = max(float(p.detach().abs().max()) for p in critic.parameters())
        assert largest == pytest.approx(limit)
    assert all(torch.equal(a, b) for a, b in zip(before, model.critics[2].parameters(), strict=True))


def test_r1_is_a_term_of_its_own(feature_batch):
    model = build(critics=(CriticConfig(network=SMALL, r1=4.0),))
    terms = terms_of(model, "critic", feature_batch(torch.randn(16, 3)))
    assert [(t.name, t.weight) for t in terms] == [("critic", 1.0), ("critic_r1", 2.0)]
    total(terms).backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in model.critics.parameters())


# ------------------------------------------------------------------ sets of objects


class Objects:
    """An observable of toy events with three places for objects, of which those with a positive last column
    of features exist; the first feature adds to each value.
    """

    def __init__(self, scale, weight=None):
        self.scale, self.weight = scale, weight

    def __call__(self, events):
        places = self.scale * torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
        mask = events.x[:, :3].detach() > 0
        data = events.x[:, :1].double() + places + events.x[:, :3].double()
        return torch.where(mask, data, 0.0), mask

    def flat(self, events):
        data, mask = self(events)
        weight = None if self.weight is None else torch.full_like(data[mask], self.weight)
        return Flat(data[mask], mask.nonzero()[:, 0], weight)


def with_sets(loss="bce", **settings):
    torch.manual_seed(1)
    seen = SetConfig(observables=("angle", "mass"), network=SMALL, size=5)
    critic = CriticConfig(features=False, sets=(seen,), network=SMALL, loss=loss)
    return build(observables={"angle": Objects(0.1), "mass": Objects(10.0)}, critics=(critic,), **settings)


@pytest.mark.parametrize("loss", ["bce", "wgan_gp"])
def test_a_critic_of_a_set_reaches_the_generator_and_all_its_parameters(feature_batch, loss):
    model = with_sets(loss)
    batch = feature_batch(torch.randn(64, 3))
    model.prepare(batch)
    for phase in model.phases:
        terms = model.loss(phase, batch, torch.Generator().manual_seed(1))
        model.zero_grad()
        total(terms).backward(inputs=list(phase.parameters))
        inner = [p for p in phase.parameters if p.shape != (1,)]
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in inner)


def test_a_critic_of_a_set_does_not_see_the_order_of_objects_or_places_without_one(feature_batch):
    model = with_sets()
    critic = model.critics[0]
    batch = feature_batch(torch.randn(64, 3))
    model.prepare(batch)
    plain, elements = critic.inputs(model.observed(batch))
    assert elements.shape == (64, 3, 3)
    order = torch.tensor([2, 0, 1])
    expected = critic((plain, elements), batch.context)
    torch.testing.assert_close(critic((plain, elements[:, order]), batch.context), expected)
    filled = elements.clone()
    filled[..., :2][elements[..., 2] == 0] = 77.0
    torch.testing.assert_close(critic((plain, filled), batch.context), expected)
    there = elements[..., 2] == 1
    torch.testing.assert_close(elements[there][:, :2].mean(0), torch.zeros(2), atol=1e-4, rtol=0)
    torch.testing.assert_close(elements[there][:, :2].std(0), torch.ones(2), atol=2e-2, rtol=0)


class Whole(Objects):
    """The same in whole numbers, such as charges."""

    def __call__(self, events):
        data, mask = super().__call__(events)
        return data.round().long(), mask


def test_a_set_of_whole_numbers_and_others_keeps_the_digits_of_the_others(feature_batch):
    batch = feature_batch(torch.randn(16, 3))
    seen = Observed(batch, None, lambda b: b, {"charge": Whole(1.0), "mass": Objects(10.0)})
    elements = seen.elements(("charge", "mass"))
    torch.testing.assert_close(elements[..., 1], Objects(10.0)(batch)[0])
    assert torch.equal(elements[..., 0], elements[..., 0].round())


# ------------------------------------------------------------------ samples of penalties


def view(model, x, weight=None):
    batch = FeatureBatch(
        x=x,
        mask=None,
        discrete=torch.zeros(len(x), 0, dtype=torch.int64),
        condition=torch.zeros(len(x), 0),
        context=torch.zeros(len(x), 0),
        weight=torch.ones(len(x)) if weight is None else weight,
    )
    return model.observed(batch)


def test_several_observables_are_taken_where_all_exist_with_the_weights_of_values_and_events(column):
    names = ("first", "second", "objects")
    model = build(
        observables={"first": column(0, missing=2), "second": column(1), "objects": Objects(1.0, weight=0.5)},
        penalties=(Energy(observables=names),),
    )
    x = torch.tensor([[1.0, 5.0, -1.0], [2.0, 6.0, 1.0], [3.0, -7.0, 1.0]])
    weight = torch.tensor([1.0, -2.0, 3.0])
    seen = view(model, x, weight)
    pair = seen.sample(("first", "second"))
    assert pair.values.tolist() == [[2.0, 6.0], [3.0, -7.0]]
    assert pair.event.tolist() == [1, 2]
    assert pair.weight.tolist() == [-2.0, 3.0]
    assert pair.event_weight.tolist() == [1.0, -2.0, 3.0]
    objects = seen.sample(("second", "objects"))
    assert objects.event.tolist() == [0, 0, 1, 1, 1, 2, 2]
    assert objects.values[:, 0].tolist() == [5.0, 5.0, 6.0, 6.0, 6.0, -7.0, -7.0]
    assert objects.weight.tolist() == [0.5, 0.5, -1.0, -1.0, -1.0, 1.5, 1.5]
    joined = seen.sample(("first",), features=True)
    torch.testing.assert_close(joined.values[:, 1:], x[1:].double())
    assert seen.sample((), features=True).values.shape == (3, 3)


class PerEvent:
    def __call__(self, events):
        return events.x[:, 0].double(), None


def test_observables_of_different_objects_have_no_joint_distribution():
    class Fewer(Objects):
        def flat(self, events):
            return Flat(*(t[:-1] for t in super().flat(events)[:2]))

    names = ("a", "b")
    model = build(observables={"a": Objects(1.0), "b": Fewer(1.0)}, penalties=(Energy(observables=names),))
    with pytest.raises(RecipeError, match="a, b are not of the same objects"):
        view(model, torch.ones(4, 3)).sample(names)
    single = build(observables={"m": PerEvent()}, penalties=(Energy(observables="m"),))
    with pytest.raises(RecipeError, match="a set needs observables of the same objects"):
        view(single, torch.ones(4, 3)).elements(("m",))


def test_each_observable_is_evaluated_once_for_all_terms_and_events_are_decoded_once(feature_batch, column):
    calls = []

    class Counted(column):
        def flat(self, events):
            calls.append("flat")
            return super().flat(events)

        def dense(self, batch):
            calls.append("dense")
            return super().dense(batch)

    torch.manual_seed(1)
    model = new_learner(
        GANConfig(
            generator=SMALL,
            critics=tuple(CriticConfig(name=n, observables=("m",), network=SMALL) for n in ("a", "b")),
            penalties=(Energy(observables="m"), MMD(observables="m"), Moments(observables="m")),
        ),
        FeatureSpace(3, 0),
        decode=lambda f: calls.append("decode") or f,
        observables={"m": Counted(0)},
    )
    batch = feature_batch(torch.randn(16, 3))
    terms_of(model, "a+b", batch)
    assert sorted(calls) == ["decode", "decode", "dense", "dense"]
    calls.clear()
    terms_of(model, "generator", batch)
    assert sorted(calls) == ["decode", "decode", "dense", "flat", "flat"]


def test_a_histogram_penalty_takes_the_bins_of_its_observable(feature_batch, column):
    class Binned(column):
        def axis(self):
            if self.scale > 1.0:
                msg = "no range"
                raise ValueError(msg)
            return type("Axis", (), {"edges": [-2.0, -1.0, 0.0, 1.0, 2.0]})()

    batch = feature_batch(torch.randn(64, 3))

    def term(observable, **binning):
        penalty = Histogram(observables="m", **binning)
        model = build(observables={"m": observable}, penalties=(penalty,))
        return terms_of(model, "generator", batch)[-1].value

    torch.testing.assert_close(term(Binned(0)), term(column(0), bins=4, range=(-2.0, 2.0)))
    with pytest.raises(RecipeError, match="histogram_m"):
        term(Binned(0, scale=2.0))


# ------------------------------------------------------------------ diagnoses


def test_a_diagnosis_has_value_floor_and_gradient_of_every_term(feature_batch, column):
    torch.manual_seed(0)
    model = build(
        observables={"m": column(0)},
        penalties=(
            Paired(observables="m", weight=0.5),
            Energy(observables="m", schedule=TermSchedule(start=0.9)),
        ),
    )
    batch, other = feature_batch(torch.randn(2000, 3)), feature_batch(torch.randn(2000, 3))
    found = model.diagnose(batch, other, torch.Generator().manual_seed(1), 0.0)
    names = ("critic_adversarial", "paired_m", "energy_m")
    assert set(found) == {f"{n}/{part}" for n in names for part in ("value", "floor", "gradient")}
    # The untrained generator makes a narrow distribution, for which the flawed term is below its floor.
    assert found["paired_m/floor"] == pytest.approx(2 / torch.pi**0.5, rel=0.08)
    assert found["paired_m/value"] < 0.9 * found["paired_m/floor"]
    assert found["energy_m/value"] > 0.05 > 10 * abs(found["energy_m/floor"])
    assert found["energy_m/gradient"] == 0.0
    terms = terms_of(model, "generator", batch)
    model.zero_grad()
    (terms[1].weight * terms[1].value).backward()
    norm = torch.stack([p.grad.norm() for p in model.model.generator.parameters()]).norm()
    assert found["paired_m/gradient"] == pytest.approx(float(norm), rel=1e-5)
    real = model.critics[0]((other.x,), other.context)
    assert found["critic_adversarial/floor"] == pytest.approx(
        float(torch.nn.functional.softplus(-real.detach()).mean())
    )


# ------------------------------------------------------------------ outputs and sides


class OfTheBatch(Network):
    """A network of three outputs, which are sums over all rows of a call."""

    whole_batch = True

    def __init__(self, inputs):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(inputs, 3))
        self.calls = []

    def bind(self, context, mask=None):
        def run(x, time=None):
            self.calls.append(len(x))
            return (x @ self.weight).sum(0).expand(len(x), 3)

        return run


def test_real_and_generated_events_are_scored_apart_where_a_network_sees_the_whole_batch(
    feature_batch, monkeypatch
):
    monkeypatch.setattr(
        "hepgan.learners.critic.build_network", lambda config, inputs, outputs, **_: OfTheBatch(inputs)
    )
    critic = Critic(CriticConfig(loss="lsgan"), size=3, context_size=0, outputs=3)
    batch = feature_batch(torch.randn(8, 3))
    real, fake = batch.x, torch.randn(8, 3)
    good, bad = critic.sides((real,), (fake,), batch.context)
    assert critic.network.calls == [8, 8]
    weight = critic.network.weight
    torch.testing.assert_close(good[0], (real @ weight).sum(0))
    torch.testing.assert_close(bad[0], (fake @ weight).sum(0))
    # The first output tells real from generated, the others are heads'.
    weights = batch.weight, batch.weight
    (term,) = critic.terms((real,), (fake,), batch.context, weights, torch.Generator())
    expected = 0.5 * (good[0, 0] - 1.0).square() + 0.5 * bad[0, 0].square()
    torch.testing.assert_close(term.value, expected)
    assert critic((real,), batch.context).shape == (8,)
