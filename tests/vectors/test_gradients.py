from __future__ import annotations

import numpy as np
import pytest
import torch

from hepgan import vectors

from .conftest import EDGES, SYSTEMS, as_numpy, regular, share

QUANTITIES = [
    *("px", "py", "pt", "pt2", "phi", "pz", "theta", "eta", "costheta", "cottheta", "p", "p2"),
    *("energy", "E2", "mass", "mass2", "beta", "gamma", "rapidity", "Et", "Et2", "mt", "mt2"),
]
PAIRS = {
    "deltaphi": lambda a, b: a.deltaphi(b),
    "deltaeta": lambda a, b: a.deltaeta(b),
    "deltaR": lambda a, b: a.deltaR(b),
    "deltaR2": lambda a, b: a.deltaR2(b),
    "deltaangle": lambda a, b: a.deltaangle(b),
    "deltaRapidityPhi": lambda a, b: a.deltaRapidityPhi(b),
    "pair mass": lambda a, b: (a + b).mass,
    "pair pt": lambda a, b: (a + b).pt,
    "difference": lambda a, b: (a - b).mass2,
    "dot": lambda a, b: a @ b,
    "boost": lambda a, b: a.boost(b).pz,
    "boostCM_of": lambda a, b: a.boostCM_of(b).energy,
    "boost_beta3": lambda a, b: a.boost_beta3(b.to_beta3()).px,
    "rotate_axis": lambda a, b: a.rotate_axis(b.to_3D(), 0.4).px,
}
SINGLES = {
    **{name: lambda v, name=name: getattr(v, name) for name in QUANTITIES},
    "unit": lambda v: v.unit().px,
    "scale": lambda v: (v * 2.5).pz,
    "boostZ": lambda v: v.boostZ(0.3).energy,
    "boostX gamma": lambda v: v.boostX(gamma=1.3).energy,
    "sum": lambda v: v.sum().mass,
}


def coordinates(rows, names, dtype=torch.float64):
    """The finite coordinates of the rows, as leaves."""
    reference = as_numpy(rows, names)
    values = np.column_stack([np.asarray(getattr(reference, name)) for name in names])
    values = values[np.isfinite(values).all(1)]
    return [torch.tensor(column, dtype=dtype, requires_grad=True) for column in values.T]


def make(names, values):
    return vectors.array(**dict(zip(names, values, strict=True)))


def test_gradients_are_right_at_regular_points(system):
    for name in share(SINGLES, system, 2):
        leaves = coordinates(regular(2, 5), system)
        assert torch.autograd.gradcheck(
            lambda *x, of=SINGLES[name]: of(make(system, x)), leaves, atol=1e-4
        ), name


def test_gradients_of_pairs_are_right_at_regular_points(system):
    for name in share(PAIRS, system, 2):
        a, b = coordinates(regular(2, 6), system), coordinates(regular(2, 7), SYSTEMS[-1])
        assert torch.autograd.gradcheck(
            lambda *x, of=PAIRS[name]: of(make(system, x[:4]), make(SYSTEMS[-1], x[4:])),
            [*a, *b],
            atol=1e-4,
        ), name


def assert_finite(result, leaves, what):
    gradients = torch.autograd.grad(result.sum(), leaves, allow_unused=True)
    for gradient in gradients:
        assert gradient is None or torch.isfinite(gradient).all(), (what, gradient)


def test_gradients_of_degenerate_vectors_are_finite(system):
    for dtype in (torch.float32, torch.float64):
        leaves = coordinates(EDGES, system, dtype)
        for name, function in SINGLES.items():
            assert_finite(function(make(system, leaves)), leaves, name)


def test_gradients_of_equal_and_of_degenerate_pairs_are_finite(system):
    leaves = coordinates(EDGES, system, torch.float32 if SYSTEMS.index(system) % 3 else torch.float64)
    for name, function in PAIRS.items():
        v = make(system, leaves)
        assert_finite(function(v[:, None], v[None, :]), leaves, name)


def test_gradients_of_infinite_eta_are_finite():
    leaves = [torch.tensor([x], requires_grad=True) for x in (0.0, 0.1, float("inf"), 0.0)]
    v = make(("pt", "phi", "eta", "mass"), leaves)
    for name, function in SINGLES.items():
        assert_finite(function(v), leaves, name)


@pytest.mark.parametrize("system", [SYSTEMS[i] for i in (0, 3, 8, 11)], ids="-".join)
def test_padding_masked_out_afterwards_leaves_the_gradients_of_the_others_alone(system):
    real = coordinates(regular(3, 8), system)
    padded = [torch.cat([leaf, torch.zeros(2, dtype=leaf.dtype)]) for leaf in real]
    mask = torch.tensor([True] * 3 + [False] * 2)
    for name, function in SINGLES.items():
        if name == "sum":
            continue
        plain = torch.autograd.grad(function(make(system, real)).sum(), real, allow_unused=True)
        masked = torch.where(mask, function(make(system, padded)), 0.0).sum()
        with_padding = torch.autograd.grad(masked, real, allow_unused=True)
        for expected, got in zip(plain, with_padding, strict=True):
            assert (expected is None) == (got is None)
            if got is not None:
                torch.testing.assert_close(got, expected)


def test_undefined_gradients_are_zero_and_defined_ones_beside_them_remain():
    zero = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    v = vectors.array(px=zero[0], py=zero[1], pz=zero[2] + 2.0, E=zero[3] + 3.0)
    assert torch.autograd.grad(v.pt, zero)[0].tolist() == [0.0] * 4
    assert torch.autograd.grad(v.phi, zero)[0].tolist() == [0.0] * 4
    # d mass / dE = E / m and d mass / dpz = -pz / m, at pt = 0 too
    expected = torch.tensor([0.0, 0.0, -2.0, 3.0], dtype=torch.float64) / 5**0.5
    torch.testing.assert_close(torch.autograd.grad(v.mass, zero)[0], expected)


def test_the_gradient_of_the_mass_is_energy_over_mass_and_zero_at_no_mass():
    energy = torch.tensor([5.0, 5.0 + 1e-6], dtype=torch.float64, requires_grad=True)
    v = vectors.array(px=3.0, py=4.0, pz=0.0, E=energy)
    gradient = torch.autograd.grad(v.mass.sum(), energy)[0]
    assert gradient[0] == 0.0
    assert gradient[1].item() == pytest.approx((energy[1] / v.mass[1]).item())


def test_second_derivatives_of_degenerate_vectors_are_finite():
    weight = torch.ones((), dtype=torch.float64, requires_grad=True)
    for names in (SYSTEMS[0], ("pt", "phi", "eta", "mass")):
        leaves = coordinates(EDGES, names)
        for name in ("pt", "phi", "eta", "mass", "p", "energy", "rapidity", "mt"):
            value = getattr(make(names, leaves).scale(weight), name).sum()
            first = list(torch.autograd.grad(value, leaves, create_graph=True, allow_unused=True))
            penalty = sum(((g * weight) ** 2).sum() for g in first if g is not None and g.requires_grad)
            if isinstance(penalty, torch.Tensor):
                assert_finite(penalty, [weight, *leaves], (names, name))


def test_second_derivatives_are_right_at_regular_points():
    leaves = coordinates(regular(2, 9), ("pt", "phi", "eta", "mass"))
    for name in ("px", "energy", "rapidity", "gamma", "mt"):
        assert torch.autograd.gradgradcheck(
            lambda *x, name=name: getattr(make(("pt", "phi", "eta", "mass"), x), name), leaves, atol=1e-4
        )


def test_one_padded_entry_does_not_spoil_the_gradient_of_a_broadcast_vector():
    jets = vectors.array(
        pt=torch.tensor([[30.0, 0.0]], dtype=torch.float64),
        eta=torch.tensor([[0.5, 0.0]], dtype=torch.float64),
        phi=torch.tensor([[1.0, 0.0]], dtype=torch.float64),
        mass=torch.tensor([[5.0, 0.0]], dtype=torch.float64),
    )
    pt = torch.tensor([[40.0]], dtype=torch.float64)
    eta = torch.tensor([[0.2]], dtype=torch.float64, requires_grad=True)
    lead = vectors.array(pt=pt, eta=eta, phi=torch.zeros_like(pt), mass=torch.zeros_like(pt))
    (with_padding,) = torch.autograd.grad(jets.deltaangle(lead)[:, :1].sum(), eta, retain_graph=True)
    (alone,) = torch.autograd.grad(jets[:, :1].deltaangle(lead).sum(), eta)
    assert alone.abs() > 0
    torch.testing.assert_close(with_padding, alone)
    (everything,) = torch.autograd.grad(jets.deltaangle(lead).sum(), eta)
    assert torch.isfinite(everything).all()
    torch.testing.assert_close(everything, alone)
