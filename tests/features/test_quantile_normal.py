from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from hepgan.features.transforms import QuantileNormal
from hepgan.stats.distances import ks

N = 40_000
MARGINALS = {
    "normal": lambda rng, n: rng.normal(size=n),
    "uniform": lambda rng, n: rng.uniform(size=n),
    "cauchy": lambda rng, n: rng.standard_cauchy(n),
    "lognormal": lambda rng, n: rng.lognormal(0.0, 2.0, n),
    "exponential": lambda rng, n: 20 + rng.exponential(30.0, n),
    "Breit-Wigner": lambda rng, n: 91.19 + 1.25 * np.tan(rng.uniform(-1.5, 1.5, n)),
    "two far peaks": lambda rng, n: np.where(
        rng.random(n) < 0.3, rng.normal(-50, 0.01, n), rng.normal(3, 1, n)
    ),
    "float32": lambda rng, n: rng.exponential(30.0, n).astype(np.float32).astype(np.float64),
}
every_marginal = pytest.mark.parametrize("name", MARGINALS)


def _normals(seed, n=N):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(n, 1)))


def _fit(x, w=None, **options):
    weight = None if w is None else torch.from_numpy(w)
    return QuantileNormal(1, **options).fit(torch.from_numpy(x)[:, None], weight=weight)


@every_marginal
def test_normal_noise_becomes_the_fitted_marginal_and_the_other_way_round(name):
    x = MARGINALS[name](np.random.default_rng(1), N)
    transform = _fit(x)
    assert stats.kstest(transform(torch.from_numpy(x)[:, None])[:, 0].numpy(), "norm").statistic < 2e-3
    sample = transform.inverse(_normals(2))[:, 0].numpy()
    # Two samples of N: N_eff = N / 2.
    assert ks(x, sample) < 1.5 / math.sqrt(N / 2)


@every_marginal
@pytest.mark.parametrize("side", [-1, 1])
def test_tails_down_to_1e_4_are_kept_within_statistics(name, side):
    x = np.sort(side * MARGINALS[name](np.random.default_rng(3), N))
    transform = _fit(side * x)
    for count in (10, 30, 100, 1000):
        threshold = (x[-count] + x[-count - 1]) / 2
        score = side * float(transform(torch.tensor([[side * threshold]], dtype=torch.float64)))
        assert abs(N * stats.norm.sf(score) - count) < math.sqrt(count)


@pytest.mark.parametrize("name", ["exponential", "cauchy", "Breit-Wigner"])
@pytest.mark.parametrize("negative", [False, True])
def test_weighted_marginals_are_kept(name, negative):
    rng = np.random.default_rng(5)
    x = MARGINALS[name](rng, N)
    w = np.where(rng.random(N) < 0.2, -1.0, 1.0) if negative else rng.exponential(1.0, N)
    sample = _fit(x, w).inverse(_normals(6))[:, 0].numpy()
    effective = w.sum() ** 2 / (w**2).sum()
    assert ks(x, sample, w) < 1.5 / math.sqrt(effective * N / (effective + N))


def test_an_empty_range_between_peaks_stays_empty():
    rng = np.random.default_rng(14)
    x = MARGINALS["two far peaks"](rng, N)
    sample = _fit(x).inverse(_normals(15))[:, 0].numpy()
    assert ((sample > -49) & (sample < -2)).sum() <= 5


def test_which_of_equally_wide_ranges_stay_empty_does_not_hang_on_rounding():
    x = (np.arange(20)[:, None] + np.linspace(0.0, 1e-3, 30)).ravel()
    # More ranges are empty than the knots can keep so.
    expected = _fit(x, knots=60)
    for seed in range(4):
        bits = np.random.default_rng(seed).integers(-2, 3, x.size) * 2.0**-52
        made = _fit(x * (1 + bits), knots=60)
        torch.testing.assert_close(
            made.inverse(_normals(3, 500)), expected.inverse(_normals(3, 500)), rtol=1e-6, atol=1e-6
        )


def test_integer_weights_count_as_repeated_entries():
    rng = np.random.default_rng(7)
    x, w = rng.normal(size=2000), rng.integers(1, 4, 2000)
    probe = torch.linspace(-2, 2, 41, dtype=torch.float64)[:, None]
    weighted, repeated = _fit(x, w.astype(float))(probe), _fit(np.repeat(x, w))(probe)
    torch.testing.assert_close(weighted, repeated, rtol=0, atol=0.02)


def test_repeated_values_keep_their_probability():
    rng = np.random.default_rng(8)
    counts = rng.poisson(2.0, N).astype(float)
    zeros = np.where(rng.random(N) < 0.3, 0.0, rng.exponential(1.0, N))
    for x in (counts, zeros):
        transform = _fit(x)
        sample = transform.inverse(_normals(9))[:, 0].numpy().round(6)
        assert ks(x.round(6), sample) < 1.5 / math.sqrt(N / 2)
    lowest = float(_fit(zeros)(torch.zeros(1, 1)))
    assert lowest == pytest.approx(stats.norm.ppf((zeros == 0).mean() / 2), abs=1e-3)


@pytest.mark.parametrize("x", [[2.5], [0.0, 0.0], [1.0, 2.0], [1.0, 1.0, 1.0, 7.0], [-1.0, 0.0, 0.0, 1e9]])
@pytest.mark.parametrize("bounds", [{}, {"low": -1.0, "high": 1e9}])
def test_few_distinct_values_are_inverted(x, bounds):
    x = np.array(x)
    transform = _fit(x, **bounds)
    y = transform(torch.from_numpy(x)[:, None])
    assert bool(torch.isfinite(y).all())
    assert float(y.abs().max()) < 10
    np.testing.assert_allclose(transform.inverse(y)[:, 0], x, rtol=1e-9, atol=1e-9 * max(np.ptp(x), 1.0))


def test_samples_of_a_constant_are_the_constant():
    transform = _fit(np.full(1000, 0.1056584))
    np.testing.assert_allclose(transform.inverse(_normals(10)), 0.1056584, rtol=1e-9)


DATA = arrays(
    np.float64, st.integers(1, 60), elements=st.floats(-1, 1) | st.sampled_from([-1.0, 0.0, 1.0, 0.5])
)


@given(x=DATA, knots=st.sampled_from([8, 30, 1000]), low=st.sampled_from([-1.0, -2.0, None]))
@settings(max_examples=40, deadline=None)
def test_the_inverse_stays_within_bounds_for_any_score(x, knots, low):
    transform = _fit(x, knots=knots, low=low, high=1.0)
    y = torch.linspace(-10, 10, 401, dtype=torch.float64)[:, None]
    inverse = transform.inverse(y)
    assert float(inverse.max()) <= 1.0
    assert low is None or float(inverse.min()) >= low
    assert float(transform.inverse(torch.tensor([[1e6]]))) <= 1.0
    assert bool((inverse.diff(dim=0) >= 0).all())


@given(x=DATA, knots=st.sampled_from([8, 30, 1000]), low=st.sampled_from([-1.0, -2.0, None]))
@settings(max_examples=40, deadline=None)
def test_knots_increase_strictly_and_data_are_recovered(x, knots, low):
    transform = _fit(x, knots=knots, low=low, high=1.0)
    used = int(transform.last[0]) + 1
    assert 2 <= used <= knots
    assert bool((transform.x_knots[0, :used].diff() > 0).all())
    assert bool((transform.y_knots[0, :used].diff() > 0).all())
    column = torch.from_numpy(x)[:, None]
    torch.testing.assert_close(transform.inverse(transform(column)), column, rtol=1e-9, atol=1e-9)


@given(data=st.data(), x=DATA)
@settings(max_examples=40, deadline=None)
def test_any_signed_weights_give_an_invertible_map(data, x):
    weights = st.sampled_from([-1.0, -0.25, 0.0, 1.0, 3.0])
    w = data.draw(arrays(np.float64, len(x), elements=weights).filter(lambda w: w.sum() > 0))
    transform = _fit(x, w)
    used = int(transform.last[0]) + 1
    assert bool((transform.x_knots[0, :used].diff() > 0).all())
    assert bool((transform.y_knots[0, :used].diff() > 0).all())
    assert float(transform.y_knots[0, :used].abs().max()) < 10
    inside = torch.from_numpy(x[w != 0])[:, None]
    torch.testing.assert_close(transform.inverse(transform(inside)), inside, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("bounds", [{}, {"low": 20.0}, {"low": 20.0, "high": 1e4}])
def test_tails_beyond_the_data_are_inverted_with_finite_gradients(bounds):
    x = 20 + np.random.default_rng(11).exponential(30.0, 1000)
    transform = _fit(x, **bounds)
    y = torch.linspace(-6, 6, 101, dtype=torch.float64)[:, None].requires_grad_()
    inverse = transform.inverse(y)
    (slope,) = torch.autograd.grad(inverse.sum(), y)
    assert bool((torch.isfinite(slope) & (slope > 0)).all())
    torch.testing.assert_close(transform(inverse), y, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(transform.log_abs_det(inverse.detach()), -slope.log(), rtol=1e-6, atol=1e-6)


def test_a_bound_that_data_touch_is_in_the_domain():
    x = np.append(np.random.default_rng(12).uniform(size=500), [0.0, 1.0, 1.0, 1.0])
    transform = _fit(x, low=0.0, high=1.0)
    column = torch.from_numpy(x)[:, None].requires_grad_()
    y = transform(column)
    (slope,) = torch.autograd.grad(y.sum(), column)
    assert bool(torch.isfinite(slope).all())
    assert bool(transform.inside(column).all())
    torch.testing.assert_close(transform.inverse(y), column, rtol=1e-9, atol=1e-12)


def test_before_a_fit_the_map_is_linear_within_its_bounds():
    y = torch.linspace(-3, 3, 13, dtype=torch.float64)[:, None]
    torch.testing.assert_close(QuantileNormal(1).inverse(y), y)
    bounded = QuantileNormal(1, low=5.0, high=6.0).inverse(y)
    assert bool(((bounded > 5) & (bounded < 6)).all())


@pytest.mark.parametrize("options", [{"knots": 4}, {"low": 1.0, "high": 1.0}, {"low": [0.0, 1.0]}])
def test_unusable_options_are_refused(options):
    with pytest.raises(ValueError, match=r"knots|low|bound"):
        QuantileNormal(1, **options)
