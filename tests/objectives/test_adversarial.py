from __future__ import annotations

import math

import pytest
import torch

from hepgan.objectives import ADVERSARIAL, AdversarialLoss, Term, gradient_penalty, register, total


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


@pytest.mark.parametrize("name", ["bce", "wgan_gp"])
def test_an_event_of_weight_two_counts_as_two_and_opposite_weights_cancel(name):
    loss = ADVERSARIAL[name]
    fake = torch.tensor([0.3, -0.2, 1.0])
    once = loss.critic(torch.tensor([1.0, 1.0, -0.5]), fake, torch.ones(3), None)
    weighted = loss.critic(torch.tensor([1.0, -0.5]), fake, torch.tensor([2.0, 1.0]), None)
    torch.testing.assert_close(weighted, once)
    values, weights = torch.tensor([1.0, 1.0, -0.5, 7.0, 7.0]), torch.tensor([1.0, 1.0, 1.0, 3.0, -3.0])
    torch.testing.assert_close(loss.critic(values, fake, weights, None), once)
    torch.testing.assert_close(loss.generator(values, weights), loss.generator(values[:3], None))


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
