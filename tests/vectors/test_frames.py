"""Boosts and frames of reference against vector's numpy backend."""

from __future__ import annotations

import numpy as np
import torch

from hepgan.vectors.frames import (
    Momentum,
    axes,
    boosted,
    direction,
    from_rest,
    into_rest,
    invariant_mass,
    pair_mass,
    transverse,
)
from hepgan.vectors.kinematics import azimuth

from .conftest import EDGES, SYSTEMS, as_numpy, regular

ROWS, OTHERS = regular(50, 1), regular(50, 2)


def momentum(rows):
    px, py, pz, energy = torch.from_numpy(rows).unbind(1)
    return Momentum(px, py, pz, torch.from_numpy(np.array(as_numpy(rows, SYSTEMS[0]).mass)), energy)


def test_boosts_of_stacked_momenta_are_those_of_vectors():
    frame = as_numpy(OTHERS, SYSTEMS[0])
    expected = as_numpy(ROWS, SYSTEMS[0]).boost(frame)
    velocity = torch.from_numpy(OTHERS[:, :3] / OTHERS[:, 3:])
    got = boosted(torch.from_numpy(ROWS), velocity)
    for i, name in enumerate(("px", "py", "pz", "energy")):
        np.testing.assert_allclose(got[:, i], getattr(expected, name), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(boosted(got, -velocity), torch.from_numpy(ROWS))


def test_masses_of_stacked_momenta_are_those_of_vectors_spacelike_ones_too():
    rows = np.concatenate([ROWS, EDGES])
    expected = np.array(as_numpy(rows, SYSTEMS[0]).mass)
    np.testing.assert_allclose(invariant_mass(torch.from_numpy(rows)), expected, rtol=1e-12)
    stacked = torch.from_numpy(EDGES).requires_grad_()
    invariant_mass(stacked).sum().backward()
    assert torch.isfinite(stacked.grad).all()


def test_the_mass_of_a_pair_is_that_of_the_sum_and_not_below_its_threshold():
    a, b = momentum(ROWS), momentum(OTHERS)
    expected = (as_numpy(ROWS, SYSTEMS[0]) + as_numpy(OTHERS, SYSTEMS[0])).mass
    np.testing.assert_allclose(pair_mass(a, b), expected, rtol=1e-10)
    assert (pair_mass(a, a) >= 2 * a.mass).all()
    np.testing.assert_allclose(pair_mass(a, a), 2 * a.mass, rtol=1e-9)


def test_the_rest_frame_of_a_system_has_its_mass_and_back_again():
    one, two = momentum(ROWS), momentum(OTHERS)
    px, py, pz, energy = one.px + two.px, one.py + two.py, one.pz + two.pz, one.energy + two.energy
    system, across = Momentum(px, py, pz, pair_mass(one, two), energy), transverse(px, py)
    inside = into_rest(one, system, across)
    total = as_numpy(ROWS, SYSTEMS[0]) + as_numpy(OTHERS, SYSTEMS[0])
    expected = as_numpy(ROWS, SYSTEMS[0]).rotateZ(-total.phi).boostCM_of(total.rotateZ(-total.phi))
    # boosts along the beam and then across it leave axes turned about y against those of one boost
    np.testing.assert_allclose(sum(c**2 for c in inside), expected.p2, rtol=1e-8)
    np.testing.assert_allclose(inside[1], expected.py, rtol=1e-8, atol=1e-8)
    other = into_rest(two, system, across)
    for a, b in zip(inside, other, strict=True):
        torch.testing.assert_close(a, -b, rtol=1e-9, atol=1e-9)
    back = from_rest(Momentum.of(*inside, one.mass), system, across)
    for got, want in zip(back, one[:3], strict=True):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)


def test_no_momentum_has_the_azimuth_0_and_finite_gradients():
    zero = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    pt, cos, sin = transverse(zero, zero)
    assert (pt.tolist(), cos.tolist(), sin.tolist()) == ([0.0, 0.0], [1.0, 1.0], [0.0, 0.0])
    (gradient,) = torch.autograd.grad((pt + cos + sin + azimuth(zero, zero)).sum(), zero)
    assert torch.isfinite(gradient).all()
    assert torch.equal(direction(torch.zeros(2, 3)), torch.zeros(2, 3))


def test_axes_are_orthonormal_whatever_they_are_told_along():
    axis, reference = (torch.from_numpy(rows[:, :3]) for rows in (ROWS, OTHERS))
    for along in (reference, axis, -2 * axis):
        x, y, z = axes(axis, along)
        frame = torch.stack([x, y, z], 1)
        torch.testing.assert_close(frame @ frame.mT, torch.eye(3, dtype=torch.float64).expand(50, 3, 3))
        assert (torch.linalg.det(frame) > 0).all()
    x, y, z = axes(axis, reference)
    assert ((x * reference).sum(1) > 0).all()
    torch.testing.assert_close(
        (y * reference).sum(1), torch.zeros(50, dtype=torch.float64), atol=1e-9, rtol=0
    )
