from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from scipy import stats

from hepgan.objectives import MMD, Moments, PenaltyConfig, Sample, Wasserstein

PENALTIES = [
    Moments(observables="m"),
    Wasserstein(observables="m"),
    Wasserstein(observables="m", order=2),
    MMD(observables="m"),
]
IDS = [f"{p.kind}{getattr(p, 'order', '')}" for p in PENALTIES]


def normal(n, mean=0.0, std=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return mean + std * torch.randn(n, generator=generator, dtype=torch.float64)


def sample(values, weight=None):
    return Sample(values, torch.ones_like(values) if weight is None else weight)


@pytest.mark.parametrize("penalty", PENALTIES, ids=IDS)
@pytest.mark.parametrize("change", ["shift", "wider", "narrower", "collapse"])
def test_penalties_are_far_larger_for_wrong_samples_than_for_true_halves(penalty, change):
    real = sample(normal(500, 91.0, 3.0))
    truths = [float(penalty(real, sample(normal(500, 91.0, 3.0, seed=s)))) for s in range(1, 21)]
    wrong = {
        "shift": normal(500, 95.0, 3.0, seed=30),
        "wider": normal(500, 91.0, 9.0, seed=30),
        "narrower": normal(500, 91.0, 0.8, seed=30),
        "collapse": torch.full((500,), 91.0, dtype=torch.float64),
    }[change]
    assert float(penalty(real, sample(wrong))) > 2.0 * max(truths)


def test_mmd_is_zero_on_average_at_the_truth():
    penalty = MMD(observables="m")
    values = [
        float(penalty(sample(normal(100, seed=s)), sample(normal(100, seed=1000 + s)))) for s in range(200)
    ]
    error = np.std(values) / np.sqrt(len(values))
    assert abs(np.mean(values)) < 4 * error


@pytest.mark.parametrize("penalty", PENALTIES, ids=IDS)
def test_gradients_agree_with_finite_differences(penalty):
    real = sample(normal(9, 1.0, 2.0), torch.tensor([1.0, 1, 2, 1, -0.5, 1, 1, 0.5, 1]).double())
    values = normal(7, seed=2).requires_grad_()
    weight = torch.tensor([1.0, 1, 1, 2, 1, 1, -0.3]).double()
    assert torch.autograd.gradcheck(lambda v: penalty(real, Sample(v, weight)), values)


# An unbiased MMD tells one event of weight 2 from two events: those are a pair.
@pytest.mark.parametrize("penalty", PENALTIES[:3], ids=IDS[:3])
def test_opposite_weights_cancel_and_double_weights_count_twice(penalty):
    real = sample(normal(50))
    values = normal(40, 0.3, seed=1)
    double = torch.cat((values, values[:10]))
    weight = torch.ones(40, dtype=torch.float64)
    weight[:10] = 2.0
    torch.testing.assert_close(penalty(real, Sample(values, weight)), penalty(real, sample(double)))
    cancelling = torch.cat((values, normal(5, 9.0, seed=2).repeat(2)))
    signs = torch.cat((torch.ones(40), torch.ones(5), -torch.ones(5))).double()
    torch.testing.assert_close(penalty(real, Sample(cancelling, signs)), penalty(real, sample(values)))


def test_mmd_with_weights_agrees_with_its_definition():
    penalty = MMD(observables="m", widths=(0.7, 1.5), standardised=False)
    x, y = normal(6).numpy(), normal(5, 1.0, seed=1).numpy()
    w, v = np.array([1, 2, -0.5, 1, 1, 1.5]), np.array([1, 0.5, 1, 2, 1])

    def kernel(a, b):
        return np.mean([np.exp(-((a - b) ** 2) / (2 * s**2)) for s in (0.7, 1.5)])

    def mean(a, wa, b, wb, same):
        pairs = [
            (wa[i] * wb[j], kernel(a[i], b[j]))
            for i in range(len(a))
            for j in range(len(b))
            if not (same and i == j)
        ]
        return sum(p * k for p, k in pairs) / sum(p for p, _ in pairs)

    expected = mean(x, w, x, w, True) + mean(y, v, y, v, True) - 2 * mean(x, w, y, v, False)
    got = penalty(
        Sample(torch.from_numpy(x), torch.from_numpy(w)), Sample(torch.from_numpy(y), torch.from_numpy(v))
    )
    assert float(got) == pytest.approx(expected, rel=1e-12)


def test_w1_agrees_with_scipy_and_w2_with_the_normal_formula():
    x, y = normal(300, 5.0, 2.0), normal(200, 6.0, 1.0, seed=1)
    w, v = normal(300, seed=3).abs(), normal(200, seed=4).abs()
    got = Wasserstein(observables="m", standardised=False)(Sample(x, w), Sample(y, v))
    assert float(got) == pytest.approx(stats.wasserstein_distance(x, y, w, v), rel=1e-12)
    exact = torch.from_numpy(stats.norm.ppf((np.arange(4000) + 0.5) / 4000))
    squared = Wasserstein(observables="m", standardised=False, order=2)
    # W2^2 of two normal distributions: (difference of means)^2 + (difference of widths)^2
    assert float(squared(sample(exact), sample(0.5 + 3.0 * exact))) == pytest.approx(0.25 + 4.0, rel=1e-3)
    shifted = squared(sample(x), sample(x[torch.randperm(300)] + 2.0))
    assert float(shifted) == pytest.approx(4.0, rel=1e-9)


def test_w1_in_units_of_the_real_width_does_not_depend_on_the_unit():
    penalty = Wasserstein(observables="m")
    x, y = normal(100), normal(100, 0.5, seed=1)
    torch.testing.assert_close(penalty(sample(x), sample(y)), penalty(sample(1e3 * x), sample(1e3 * y)))


def test_moments_reach_for_given_targets():
    values = torch.tensor([88.0, 92.0], dtype=torch.float64)
    penalty = Moments(observables="m", target_mean=89.6, target_std=7.7, mean_weight=2.0, std_weight=0.5)
    expected = 2.0 * (90.0 - 89.6) ** 2 + 0.5 * (2.0 - 7.7) ** 2
    assert float(penalty(sample(values + 5.0), sample(values))) == pytest.approx(expected)


@pytest.mark.parametrize("penalty", PENALTIES, ids=IDS)
def test_a_collapsed_or_empty_sample_has_finite_gradients(penalty):
    for values in (torch.full((8,), 2.0).double(), torch.empty(0).double(), torch.tensor([1.0]).double()):
        values.requires_grad_()
        penalty(sample(normal(8)), sample(values)).backward()
        assert torch.isfinite(values.grad).all()


def test_penalties_are_told_apart_by_kind_and_unknown_keys_are_errors():
    adapter = TypeAdapter(PenaltyConfig)
    penalty = adapter.validate_python({"kind": "mmd", "observable": "pt", "weight": 2, "widths": [1.0]})
    assert isinstance(penalty, MMD)
    assert penalty.name == "mmd_pt"
    with pytest.raises(ValidationError):
        adapter.validate_python({"kind": "mmd", "observable": "pt", "order": 2})
    with pytest.raises(ValidationError):
        adapter.validate_python({"kind": "mmd", "observable": "pt", "widths": [-1.0]})
