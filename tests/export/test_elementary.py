"""What replaces functions that onnxruntime lacks agrees with torch's own."""

from __future__ import annotations

import math

import pytest
import torch

from hepgan.export import elementary

RANGES = {
    "sinh": (-700.0, 700.0),
    "cosh": (-700.0, 700.0),
    "tan": (-1.5, 1.5),
    "asinh": (-1e6, 1e6),
    "acosh": (1.0, 1e6),
    "atanh": (-0.999, 0.999),
    "atan": (-50.0, 50.0),
    "asin": (-1.0, 1.0),
    "acos": (-1.0, 1.0),
}


def numbers(low, high, n=2000):
    rng = torch.Generator().manual_seed(1)
    x = low + (high - low) * torch.rand(n, generator=rng, dtype=torch.float64)
    return torch.cat([x, 1e-6 * x.clamp(-1, 1) if low < 0 else x, torch.tensor([low, high]).double()])


@pytest.mark.parametrize("name", RANGES)
def test_functions_of_one_number_agree_in_double_precision(name):
    x = numbers(*RANGES[name])
    expected = getattr(torch, name)(x)
    torch.testing.assert_close(getattr(elementary, name)(x), expected, rtol=2e-14, atol=2e-15)


def test_large_numbers_have_finite_inverse_hyperbolic_functions():
    x = torch.tensor([1e200, -1e200, 1e150, 1e151], dtype=torch.float64)
    torch.testing.assert_close(elementary.asinh(x), torch.asinh(x))
    torch.testing.assert_close(elementary.acosh(x.abs()), torch.acosh(x.abs()))


def test_angles_are_in_the_right_quadrant_to_the_last_digits():
    rng = torch.Generator().manual_seed(2)
    y, x = torch.randn(2, 5000, generator=rng, dtype=torch.float64)
    edge = torch.tensor([0.0, -0.0, 1.0, -1.0, 1e-300, -1e300], dtype=torch.float64)
    y = torch.cat([y, edge.repeat(6)])
    x = torch.cat([x, edge.repeat_interleave(6)])
    torch.testing.assert_close(elementary.atan2(y, x), torch.atan2(y, x), rtol=0, atol=1e-15)


def test_neighbours_and_signs_and_mantissas_are_exact():
    rng = torch.Generator().manual_seed(3)
    x = torch.randn(5000, generator=rng, dtype=torch.float64) * 10.0 ** torch.arange(-50, 50).double().repeat(
        50
    )
    x = torch.cat([x, torch.tensor([0.0, -0.0, 1.0, 2.0, -4.0, 0.5, 1 - 2**-53, 2.0**60]).double()])
    for other in (torch.full_like(x, math.inf), torch.full_like(x, -math.inf), x):
        assert torch.equal(elementary.nextafter(x, other), torch.nextafter(x, other))
    assert torch.equal(elementary.copysign(x.flip(0), x), torch.copysign(x.flip(0), x))
    for mine, theirs in zip(elementary.frexp(x), torch.frexp(x), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("size", [1, 3, 16, 17, 100, 1000])
@pytest.mark.parametrize("right", [False, True])
def test_places_among_sorted_numbers_are_equal(size, right):
    rng = torch.Generator().manual_seed(size)
    knots = torch.rand(4, size, generator=rng, dtype=torch.float64).sort(1).values
    values = torch.cat([torch.rand(4, 50, generator=rng, dtype=torch.float64) * 1.4 - 0.2, knots], 1)
    expected = torch.searchsorted(knots, values, right=right)
    assert torch.equal(elementary.searchsorted(knots, values, right=right), expected)
    expected = torch.searchsorted(knots[0], values, right=right)
    assert torch.equal(elementary.searchsorted(knots[0].contiguous(), values, right=right), expected)


def test_orders_and_products_are_equal():
    x = torch.rand(50, 7, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    for descending in (False, True):
        mine, theirs = elementary.sort(x, 1, descending), torch.sort(x, dim=1, descending=descending)
        assert torch.equal(mine.values, theirs.values)
        assert torch.equal(mine.indices, theirs.indices)
    torch.testing.assert_close(elementary.cumprod(x, 1), x.cumprod(1))


def test_they_take_the_place_of_torchs_where_that_is_asked_and_nowhere_else():
    x = torch.tensor([0.3, 40.0], dtype=torch.float64)
    with elementary.Elementary():
        assert torch.equal(x.sinh(), elementary.sinh(x))
        assert torch.equal(torch.sinh(x.float()), x.float().sinh())
    knots = torch.arange(20.0)
    with elementary.Elementary():
        assert torch.searchsorted(knots, torch.tensor([3.5])).tolist() == [4]
    assert torch.equal(x.sinh(), torch.sinh(x))
