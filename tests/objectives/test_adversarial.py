from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError

from hepgan.objectives import (
    ADVERSARIAL,
    AdversarialLoss,
    Term,
    TermSchedule,
    gradient_penalty,
    r1_penalty,
    register,
    total,
)


def test_bce_is_binary_cross_entropy():
    torch.manual_seed(0)
    real, fake, ones = torch.randn(9), torch.randn(9), torch.ones(9)
    loss = ADVERSARIAL["bce"]
    entropy = torch.nn.functional.binary_cross_entropy
    expected = entropy(real.sigmoid(), ones) + entropy(fake.sigmoid(), torch.zeros(9))
    torch.testing.assert_close(loss.critic(real, fake, ones, None), expected)
    torch.testing.assert_close(loss.generator(fake, None), entropy(fake.sigmoid(), ones))


def test_an_undecided_critic_has_the_loss_2_ln_2():
    zero, ones = torch.zeros(4), torch.ones(4)
    assert float(ADVERSARIAL["bce"].critic(zero, zero, ones, None)) == pytest.approx(2 * math.log(2))


def test_the_saturating_generator_maximises_what_the_critic_minimises():
    fake, ones = torch.randn(9, generator=torch.Generator().manual_seed(1)), torch.ones(9)
    loss = ADVERSARIAL["bce_saturating"]
    entropy = torch.nn.functional.binary_cross_entropy(fake.sigmoid(), torch.zeros(9))
    torch.testing.assert_close(loss.generator(fake, None), -entropy)
    assert loss.critic is ADVERSARIAL["bce"].critic
    # Where the critic is sure, the saturating loss has no slope, and the other one has slope 1.
    for name, slope in (("bce_saturating", 0.0), ("bce", -1.0)):
        rejected = torch.tensor([-30.0], requires_grad=True)
        ADVERSARIAL[name].generator(rejected, None).backward()
        assert float(rejected.grad) == pytest.approx(slope, abs=1e-6)
    assert float(loss.critic(fake, fake, ones, None)) > 0


def test_least_squares_pull_real_events_to_1_generated_ones_to_0_and_the_generator_to_1():
    real, fake = torch.tensor([1.0, 3.0]), torch.tensor([0.0, 2.0, 1.0])
    loss = ADVERSARIAL["lsgan"]
    assert float(loss.critic(real, fake, torch.ones(2), None)) == pytest.approx(0.5 * (2.0 + 5.0 / 3.0))
    assert float(loss.generator(fake, None)) == pytest.approx(0.5 * 2.0 / 3.0)


def test_wgans_differ_in_how_they_bound_the_slope():
    clipped, penalised = ADVERSARIAL["wgan"], ADVERSARIAL["wgan_gp"]
    assert (clipped.clip, clipped.gradient_penalty) == (0.01, 0.0)
    assert (penalised.clip, penalised.gradient_penalty) == (0.0, 10.0)
    assert float(clipped.critic(torch.tensor([3.0]), torch.tensor([1.0]), torch.ones(1), None)) == -2.0


@pytest.mark.parametrize("name", sorted(ADVERSARIAL))
def test_an_event_of_weight_two_counts_as_two_and_opposite_weights_cancel(name):
    loss = ADVERSARIAL[name]
    fake = torch.tensor([0.3, -0.2, 1.0])
    once = loss.critic(torch.tensor([1.0, 1.0, -0.5]), fake, torch.ones(3), None)
    weighted = loss.critic(torch.tensor([1.0, -0.5]), fake, torch.tensor([2.0, 1.0]), None)
    torch.testing.assert_close(weighted, once)
    values, weights = torch.tensor([1.0, 1.0, -0.5, 7.0, 7.0]), torch.tensor([1.0, 1.0, 1.0, 3.0, -3.0])
    torch.testing.assert_close(loss.critic(values, fake, weights, None), once)
    torch.testing.assert_close(loss.generator(values, weights), loss.generator(values[:3], None))


@pytest.mark.parametrize("name", sorted(ADVERSARIAL))
def test_of_several_scores_of_an_event_each_has_the_loss_of_one(name):
    loss = ADVERSARIAL[name]
    g = torch.Generator().manual_seed(1)
    real, fake = torch.randn(8, 3, generator=g), torch.randn(5, 3, generator=g)
    weight = torch.rand(8, generator=g)
    each = [loss.critic(r, f, weight, None) for r, f in zip(real.T, fake.T, strict=True)]
    torch.testing.assert_close(loss.critic(real, fake, weight, None), torch.stack(each).mean())
    each = [loss.generator(f, None) for f in fake.T]
    torch.testing.assert_close(loss.generator(fake, None), torch.stack(each).mean())
    slopes = torch.tensor([[3.0, 1.0], [4.0, 2.0]])
    squared = r1_penalty(lambda x: x @ slopes, torch.randn(8, 2), torch.ones(8))
    # the mean score rises by 2 and by 3
    assert float(squared) == pytest.approx(4.0 + 9.0, rel=1e-6)


def test_the_gradient_penalty_of_a_linear_critic_is_known():
    slope = torch.tensor([3.0, 4.0])
    g = torch.Generator().manual_seed(1)
    value = gradient_penalty(lambda x: x @ slope, torch.randn(8, 2), torch.randn(8, 2), g)
    assert float(value) == pytest.approx((5.0 - 1.0) ** 2, rel=1e-5)


def test_the_gradient_penalty_trains_the_critic():
    slope = torch.tensor([3.0, 4.0], requires_grad=True)
    g = torch.Generator().manual_seed(1)
    gradient_penalty(lambda x: x @ slope, torch.randn(8, 2), torch.randn(8, 2), g).backward()
    # d/ds (|s| - 1)^2 = 2 (|s| - 1) s / |s|
    torch.testing.assert_close(slope.grad, torch.tensor([4.8, 6.4]))


def test_the_gradient_penalty_is_finite_for_a_flat_critic():
    slope = torch.zeros(2, requires_grad=True)
    g = torch.Generator().manual_seed(1)
    gradient_penalty(lambda x: x @ slope, torch.randn(8, 2), torch.randn(8, 2), g).backward()
    assert torch.isfinite(slope.grad).all()


def test_the_gradient_of_several_inputs_has_one_length():
    def critic(inputs):
        flat, objects = inputs
        return 3.0 * flat[:, 0] + 2.0 * objects.sum(dim=(1, 2))

    g = torch.Generator().manual_seed(1)
    real = torch.randn(8, 2), torch.randn(8, 2, 2)
    fake = torch.randn(8, 2), torch.randn(8, 2, 2)
    # 3^2 + 4 * 2^2 = 5^2
    assert float(gradient_penalty(critic, real, fake, g)) == pytest.approx(16.0, rel=1e-5)
    assert float(r1_penalty(critic, real, torch.ones(8))) == pytest.approx(25.0, rel=1e-5)


def test_r1_is_the_mean_squared_slope_at_real_events_by_magnitude_of_weight():
    x = torch.tensor([[1.0], [2.0], [-3.0]], requires_grad=True)
    weight = torch.tensor([1.0, -2.0, 1.0])
    value = r1_penalty(lambda z: z[:, 0].square(), x, weight)
    assert float(value.detach()) == pytest.approx((4.0 + 2 * 16.0 + 36.0) / 4.0)


def test_a_schedule_is_zero_outside_and_rises_linearly():
    schedule = TermSchedule(start=0.2, ramp=0.4, end=0.8)
    shares = (0.0, 0.19, 0.2, 0.3, 0.6, 0.8, 0.81, 1.0)
    expected = (0.0, 0.0, 0.0, 0.25, 1.0, 1.0, 0.0, 0.0)
    assert [schedule.factor(s) for s in shares] == pytest.approx(expected)
    assert [TermSchedule().factor(s) for s in (0.0, 0.5, 1.0)] == [1.0, 1.0, 1.0]
    with pytest.raises(ValidationError, match="starts before it ends"):
        TermSchedule(start=0.5, end=0.5)


def test_new_losses_can_be_registered_once():
    loss = AdversarialLoss(lambda r, f, w, v: r.mean(), lambda f, w: f.mean())
    register("test_only", loss)
    try:
        assert ADVERSARIAL["test_only"] is loss
        with pytest.raises(ValueError, match="'test_only' already"):
            register("test_only", loss)
    finally:
        del ADVERSARIAL["test_only"]


def test_the_total_weighs_terms():
    terms = [Term("a", torch.tensor(2.0), 3.0), Term("b", torch.tensor(1.0, dtype=torch.float64), -1.0)]
    assert float(total(terms)) == pytest.approx(5.0)
