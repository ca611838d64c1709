"""Event shapes against closed forms and searches over many directions."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest
import torch

from hepgan.errors import RecipeError
from hepgan.events import read_events, to_batch
from hepgan.observables import Observable, shapes, standard

from .test_correlators import massless, padded

SHAPES = ("thrust", "sphericity", "aplanarity", "c_parameter", "d_parameter")


def values(name, momenta):
    p = np.asarray(momenta, dtype=float)
    parts = {"px": p[..., 0], "py": p[..., 1], "pz": p[..., 2], "energy": np.linalg.norm(p, axis=-1)}
    parton = ak.zip({n: ak.from_regular(ak.Array(v)) for n, v in parts.items()}, with_name="Momentum4D")
    return standard(name, "Parton").flat(ak.Array({"Parton": parton})).values


def directions(n):
    """Points that cover the sphere evenly."""
    i = np.arange(n) + 0.5
    polar, azimuth = np.arccos(1 - 2 * i / n), np.pi * (1 + 5**0.5) * i
    return np.stack([np.cos(azimuth) * np.sin(polar), np.sin(azimuth) * np.sin(polar), np.cos(polar)], axis=1)


KNOWN = {
    # back to back; three at 120 degrees in a plane; along the six half-axes
    "two": ([[0, 3, 4], [0, -3, -4]], (1, 0, 0, 0, 0)),
    "mercedes": ([[2, 0, 0], [-1, 3**0.5, 0], [-1, -(3**0.5), 0]], (2 / 3, 0.75, 0, 0.75, 0)),
    "axes": (np.concatenate([np.eye(3), -np.eye(3)]), (3**-0.5, 1, 0.5, 1, 1)),
}


@pytest.mark.parametrize("event", KNOWN)
@pytest.mark.parametrize("name", SHAPES)
def test_symmetric_events_have_their_known_shapes(event, name):
    momenta, expected = KNOWN[event]
    assert values(name, [momenta])[0] == pytest.approx(expected[SHAPES.index(name)], abs=1e-7)


def test_three_massless_partons_follow_their_energy_shares():
    events = massless([3] * 200, seed=4)
    energy = ak.to_numpy(ak.to_regular(events.Parton.energy))
    x = 2 * energy / energy.sum(1, keepdims=True)
    np.testing.assert_allclose(standard("thrust", "Parton").flat(events).values, x.max(1), rtol=1e-12)
    c = 6 * np.prod((1 - x) / x, axis=1)
    np.testing.assert_allclose(standard("c_parameter", "Parton").flat(events).values, c, atol=1e-12)
    np.testing.assert_allclose(standard("d_parameter", "Parton").flat(events).values, 0, atol=1e-12)


@pytest.mark.parametrize("number", [2, 3, 5, 8, 10, 11, 14])
def test_thrust_is_the_largest_sum_over_all_directions(number):
    p = np.random.default_rng(number).normal(0, 1, (20, number, 3))
    found = shapes.thrust(torch.from_numpy(p)).numpy()
    axes = directions(20_000)
    scan = np.abs(p @ axes.T).sum(1) / np.linalg.norm(p, axis=2).sum(1)[:, None]
    assert (found >= scan.max(1) - 1e-12).all()
    np.testing.assert_allclose(found, scan.max(1), atol=2e-3)


@pytest.mark.parametrize("number", [0, 1, 2, 8, 12])
def test_no_events_have_no_thrust(number):
    assert shapes.thrust(torch.zeros(0, number, 3)).shape == (0,)


def test_thrust_of_momenta_in_a_line_is_not_above_one():
    generator = torch.Generator().manual_seed(1)
    p = torch.randn(2000, 1, 3, generator=generator, dtype=torch.float64)
    bent = p * (1 + 1e-8 * torch.randn(2000, 1, 3, generator=generator, dtype=torch.float64))
    found = shapes.thrust(torch.cat([p, -bent], dim=1))
    assert found.max() == 1
    assert found.min() > 1 - 1e-12


@pytest.mark.parametrize("kind", ["space", "plane", "line", "few"])
def test_thrust_by_planes_is_that_by_all_halvings(kind):
    p = torch.from_numpy(np.random.default_rng(5).normal(0, 1, (200, 10, 3)))
    if kind != "space":
        p[..., 2 if kind == "plane" else slice(1, None)] *= 0 if kind != "few" else 1
    if kind == "few":
        p[:, 2:] = 0
    expected = shapes.thrust(p)
    more = torch.cat([p, torch.zeros(200, 3, 3, dtype=p.dtype)], dim=1)
    torch.testing.assert_close(shapes.thrust(more), expected, rtol=1e-12, atol=1e-12)


def test_the_order_of_particles_and_rotations_do_not_matter():
    p = np.random.default_rng(7).normal(0, 1, (30, 7, 3))
    q, _ = np.linalg.qr(np.random.default_rng(8).normal(0, 1, (3, 3)))
    for name in SHAPES:
        expected = values(name, p)
        np.testing.assert_allclose(values(name, p[:, ::-1] @ q), expected, atol=1e-9, err_msg=name)
        np.testing.assert_allclose(values(name, 12.5 * p), expected, atol=1e-9, err_msg=name)


def test_linear_shapes_do_not_change_where_a_particle_splits_in_parallel():
    p = np.random.default_rng(9).normal(0, 1, (30, 5, 3))
    split = np.concatenate([p[:, 1:], 0.3 * p[:, :1], 0.7 * p[:, :1]], axis=1)
    for name in ("thrust", "c_parameter", "d_parameter"):
        np.testing.assert_allclose(values(name, split), values(name, p), atol=1e-9, err_msg=name)
    assert np.abs(values("sphericity", split) - values("sphericity", p)).min() > 1e-4


def test_the_momentum_tensor_is_that_of_a_loop():
    p = np.random.default_rng(3).normal(0, 1, (4, 5, 3))
    for linear in (False, True):
        found = shapes.momentum_tensor(torch.from_numpy(p), linear=linear)
        for n in range(4):
            power = 1 if linear else 2
            tensor = sum(np.outer(k, k) * np.linalg.norm(k) ** (power - 2) for k in p[n])
            expected = tensor / sum(np.linalg.norm(k) ** power for k in p[n])
            np.testing.assert_allclose(found[n], expected, rtol=1e-12)


@pytest.mark.parametrize("name", SHAPES)
def test_arrays_and_padded_tensors_agree_and_empty_events_lack_it(name):
    events = massless([2, 3, 8, 5, 7], rest=False)
    empty = ak.concatenate([events, events[:1]])
    empty = ak.with_field(empty, empty.Parton[ak.local_index(empty.Parton) < [8, 8, 8, 8, 8, 0]], "Parton")
    found = standard(name, "Parton")(empty)
    assert found[-1] is None
    data, mask = standard(name, "Parton")(padded(empty))
    assert mask.tolist() == [True] * 5 + [False]
    np.testing.assert_allclose(data[:5], ak.to_numpy(ak.drop_none(found)), rtol=1e-12, atol=1e-14)
    chosen = Observable("x", f"{name}(Parton[Parton.energy > 5])")
    np.testing.assert_allclose(chosen.flat(padded(events)).values, chosen.flat(events).values, atol=1e-14)


@pytest.mark.parametrize("name", SHAPES)
def test_derivatives_are_those_of_finite_differences(name):
    p = torch.from_numpy(np.random.default_rng(6).normal(0, 1, (4, 6, 3))).requires_grad_()

    def compute(momenta):
        from hepgan.observables.values import Value
        from hepgan.vectors import array

        vector = array(px=momenta[..., 0], py=momenta[..., 1], pz=momenta[..., 2])
        return shapes.SHAPES[name](Value(vector, None, "Parton"), "").data

    assert torch.autograd.gradcheck(compute, (p,), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", SHAPES)
def test_gradients_are_finite_for_degenerate_events(name):
    batch = padded(massless([2, 3, 8, 1, 2], rest=False))
    parton = batch.Parton
    parton.fields["px"][0] = parton.fields["py"][0] = parton.fields["pz"][0] = 0
    leaves = {n: t.requires_grad_() for n, t in parton.fields.items()}
    standard(name, "Parton").flat(batch).values.sum().backward()
    for n in ("px", "py", "pz"):
        assert torch.isfinite(leaves[n].grad).all()
        assert (leaves[n].grad[~parton.mask] == 0).all()


def test_shapes_need_momenta_in_space_and_several_objects(events):
    for expression, reason in (
        ("thrust(MET)", "for objects"),
        ("thrust(Jet.pt)", "a momentum is needed"),
        ("sphericity(Jet.to_2D())", "three dimensions"),
    ):
        with pytest.raises(RecipeError, match=reason):
            Observable("x", expression).flat(events.batch)


def test_shapes_of_the_parton_sample_lie_within_their_limits(shared_data):
    events = read_events(f"{shared_data / 'ee_partons_test'}.root:Events", entry_stop=3000)
    batch = to_batch(events)
    two = ak.to_numpy(ak.num(events.Parton)) == 2
    limits = {"thrust": (0.5, 1), "sphericity": (0, 1), "aplanarity": (0, 0.5), "c_parameter": (0, 1)}
    for name, (low, high) in limits.items():
        found = standard(name, "Parton").flat(events).values
        assert len(found) == 3000
        assert found.min() >= low - 1e-9
        assert found.max() <= high + 1e-9
        np.testing.assert_allclose(found[two], float(name == "thrust"), atol=1e-5)
        np.testing.assert_allclose(standard(name, "Parton").flat(batch).values, found, atol=1e-12)
    balance = standard("momentum_balance", "Parton").flat(events).values
    assert balance[ak.to_numpy(ak.num(events.Parton)) < 8].max() < 1e-6
    mass = standard("event_mass", "Parton").flat(events).values
    assert mass.max() == pytest.approx(91.188, abs=1e-3)
    pairs = standard("pair_mass", "Parton").flat(events)
    assert len(pairs.values) == ak.sum(ak.num(ak.combinations(events.Parton, 2)))
