"""Weights of either sign that are made positive."""

from __future__ import annotations

import pytest
import torch

from hepgan.stats.cells import positive_weights


def signed(count: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Events whose weights have a positive density, exp(-x^2 / 2), though every fourth or so is negative."""
    generator = torch.Generator().manual_seed(5)
    points = torch.randn(count, size, generator=generator)
    negative = torch.rand(count, generator=generator) < 0.2
    return points, torch.where(negative, -1.0, 1.0).double() * (1 + torch.rand(count, generator=generator))


@pytest.mark.parametrize("size", [1, 3, 60])
def test_none_is_negative_and_the_sum_stays(size):
    points, weights = signed(2000, size)
    found = positive_weights(points, weights)
    assert bool((found >= 0).all())
    assert float(found.sum()) == pytest.approx(float(weights.sum()))


def test_sums_over_regions_stay_within_cells():
    points, weights = signed(20_000, 2)
    found = positive_weights(points, weights)
    for low, high in ((-3.0, -1.0), (-1.0, 0.0), (0.0, 1.0), (1.0, 3.0)):
        inside = (points[:, 0] > low) & (points[:, 0] < high)
        assert float(found[inside].sum()) == pytest.approx(float(weights[inside].sum()), rel=0.01)


def test_only_neighbours_of_negative_weights_change():
    points = torch.tensor([[0.0], [0.1], [5.0], [9.0]])
    weights = torch.tensor([-0.5, 1.0, 1.0, 2.0])
    assert positive_weights(points, weights).tolist() == pytest.approx([1 / 6, 1 / 3, 1.0, 2.0])


def test_cells_reach_far_where_the_density_is_negative():
    points = torch.cat([torch.linspace(0, 1, 50), torch.linspace(10, 11, 100)])[:, None]
    weights = torch.cat([-torch.ones(50), torch.ones(100)])
    found = positive_weights(points, weights)
    assert float(found[:50].sum()) < 1.0
    assert float(found.sum()) == pytest.approx(50.0)


def test_positive_weights_are_left_alone():
    weights = torch.rand(10)
    assert positive_weights(torch.randn(10, 2), weights) is weights


def test_nothing_can_be_made_of_a_negative_sum():
    with pytest.raises(ValueError, match="weights that sum to -1"):
        positive_weights(torch.zeros(3, 1), torch.tensor([1.0, -1.0, -1.0]))
