"""How far training events reach."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import ndtri

from hepgan.features.reach import reach_of, reached
from hepgan.features.space import FeatureBatch


def batch(x, mask=None):
    n = len(x)
    none = torch.zeros(n, 0)
    return FeatureBatch(x, mask, none.long(), none, none, torch.ones(n))


def test_it_is_a_tenth_more_than_the_range_of_many_events():
    x = torch.linspace(-40.0, 60.0, 1000, dtype=torch.float64)[:, None]
    assert reach_of(batch(x))[0] == pytest.approx((-50.0, 70.0))


@pytest.mark.parametrize("count", [1, 5, 40])
def test_few_events_of_a_normal_distribution_leave_room_for_the_rest_of_it(count):
    scores = torch.from_numpy(ndtri((np.arange(count) + 0.5) / count))[:, None]
    ((low, high),) = reach_of(batch(scores))
    # One event in twenty samples of so many is beyond.
    assert high >= -ndtri(0.05 / count) - 1e-9
    assert low == pytest.approx(-high)


def test_only_features_that_exist_count_and_angles_have_no_ends():
    x = torch.tensor([[1.0, 0.1], [9.0, 0.2], [2.0, 0.3]])
    mask = torch.tensor([[True, True], [False, True], [True, True]])
    of_line, of_angle = reach_of(batch(x, mask), periodic=(1,))
    assert of_line[1] < 9.0
    assert of_angle == (-math.inf, math.inf)
    never = torch.zeros(3, 2, dtype=torch.bool)
    assert reach_of(batch(x, never))[0] == (-math.inf, math.inf)


def test_events_reach_as_far_as_each_of_their_features():
    low, high = torch.tensor([-1.0, -2.0]), torch.tensor([1.0, 2.0])
    x = torch.tensor([[0.0, 0.0], [0.0, 3.0], [-1.5, 0.0], [math.nan, 0.0], [1.0, 2.0]])
    assert reached(batch(x), low, high).tolist() == [True, False, False, False, True]
    mask = torch.tensor([[True, True], [True, False], [True, True], [True, True], [True, True]])
    assert reached(batch(x, mask), low, high).tolist() == [True, True, False, False, True]


def test_a_cell_that_is_always_empty_may_be_anything():
    x = torch.zeros(50, 2, dtype=torch.float64)
    x[7, 1] = 3.0
    (empty, filled) = reach_of(batch(x), below=(0, 1))
    assert empty == (-math.inf, math.inf)
    assert filled[0] == -math.inf
    assert 3.0 < filled[1] < math.inf
