"""Energy flow polynomials against sums over all particles, and the completeness of the graphs."""

from __future__ import annotations

import itertools
import math

import awkward as ak
import numpy as np
import pytest
import torch

from hepgan.errors import RecipeError
from hepgan.observables import Observable, energy_flow_polynomials, standard
from hepgan.observables.shapes import GRAPHS, basis, polynomial

from .test_correlators import massless, padded


def canonical(edges):
    """The same for graphs that differ in the numbering of vertices only; of one part, up to 5 vertices."""
    vertices = sorted({v for e in edges for v in e})
    numbers = [dict(zip(vertices, p, strict=True)) for p in itertools.permutations(range(len(vertices)))]
    return min(tuple(sorted(tuple(sorted((n[a], n[b]))) for a, b in edges)) for n in numbers)


def parts(edges):
    """The connected parts of a graph."""
    left, found = list(edges), []
    while left:
        part = [left.pop(0)]
        while touching := [e for e in left if {v for p in part for v in p} & set(e)]:
            part += touching
            left = [e for e in left if e not in touching]
        found.append(tuple(part))
    return found


def name_of(edges):
    return tuple(sorted(canonical(p) for p in parts(edges)))


def brute(edges, z, theta):
    """The sum over the particles at all vertices, one after another."""
    size = 1 + max((v for e in edges for v in e), default=0)
    total = 0.0
    for at in itertools.product(range(len(z)), repeat=size):
        total += math.prod(z[i] for i in at) * math.prod(theta[at[a], at[b]] for a, b in edges)
    return total


def random(number, seed=0):
    rng = np.random.default_rng(seed)
    z, theta = rng.dirichlet(np.ones(number), 3), rng.uniform(0.1, 1.5, (3, number, number))
    return z, theta + theta.transpose(0, 2, 1)


def test_the_graphs_are_all_multigraphs_of_up_to_four_edges():
    connected = {}
    for degree in range(1, 5):
        for edges in itertools.combinations_with_replacement(
            itertools.combinations(range(degree + 1), 2), degree
        ):
            if len(parts(edges)) == 1:
                connected.setdefault(canonical(edges), degree)
    expected = set()
    for number in range(5):
        for chosen in itertools.combinations_with_replacement(sorted(connected), number):
            if sum(connected[c] for c in chosen) <= 4:
                expected.add(tuple(sorted(chosen)))
    assert len(expected) == 36
    assert {name_of(g) for g in GRAPHS} == expected
    assert len(GRAPHS) == 36
    # multigraphs by the number of edges: A050535 and A076864 of the OEIS
    assert [sum(len(g) == d for g in GRAPHS) for d in range(5)] == [1, 1, 3, 8, 23]
    assert [sum(len(g) == d and len(parts(g)) < 2 for g in GRAPHS) for d in range(5)] == [1, 1, 2, 5, 12]


@pytest.mark.parametrize("number", range(36))
def test_each_polynomial_is_the_sum_over_all_particles(number):
    z, theta = random(3, number)
    found = polynomial(number, torch.from_numpy(z), torch.from_numpy(theta))
    expected = [brute(GRAPHS[number], z[n], theta[n]) for n in range(3)]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_the_basis_is_all_of_them_in_order():
    z, theta = (torch.from_numpy(a) for a in random(6))
    found = basis(z, theta)
    assert found.shape == (3, 36)
    for number in range(36):
        np.testing.assert_allclose(found[:, number], polynomial(number, z, theta), rtol=1e-13)
    with pytest.raises(ValueError, match="not 36"):
        polynomial(36, z, theta)


@pytest.mark.parametrize(("number", "beta"), [(0, 1.0), (1, 0.5), (1, 2.0), (9, 1.0), (17, 0.5), (25, 2.0)])
def test_the_hadronic_measure_has_shares_of_pt_and_distances_in_rapidity_and_azimuth(number, beta):
    events = massless([2, 4, 3, 1], rest=False)
    observable = standard("efp", "Parton", number=number, beta=beta)
    expected = []
    for jets in events.Parton:
        y, phi = ak.to_numpy(jets.rapidity), ak.to_numpy(jets.phi)
        turn = (phi[:, None] - phi + np.pi) % (2 * np.pi) - np.pi
        theta = ((y[:, None] - y) ** 2 + turn**2) ** (beta / 2)
        expected.append(brute(GRAPHS[number], ak.to_numpy(jets.pt / ak.sum(jets.pt)), theta))
    for form in (events, padded(events)):
        np.testing.assert_allclose(observable.flat(form).values, expected, rtol=1e-9, atol=1e-12)


def test_the_ee_measure_of_one_edge_is_the_squared_mass_over_the_squared_energy():
    events = massless([2, 5, 8, 3], rest=False)
    total = ak.sum(events.Parton, axis=1)
    expected = ak.to_numpy(2 * total.mass2 / total.energy**2)
    observable = standard("efp", "Parton", number=1, beta=2.0, measure="ee")
    for form in (events, padded(events)):
        np.testing.assert_allclose(observable.flat(form).values, expected, rtol=1e-9)
    heavy = ak.with_field(
        events, ak.with_field(events.Parton, events.Parton.energy + 1.0, "energy"), "Parton"
    )
    total = ak.sum(heavy.Parton, axis=1)
    expected = ak.to_numpy(2 * total.mass2 / total.energy**2)
    np.testing.assert_allclose(observable.flat(heavy).values, expected, rtol=1e-9)


@pytest.mark.parametrize("expression", ["efp(Parton, 16, 0.5)", "efp(Parton, 35)", "efp_ee(Parton, 17, 1.5)"])
def test_gradients_are_those_of_finite_differences_and_finite_where_particles_coincide(expression):
    batch = padded(massless([3, 4, 1], rest=False), width=4)
    parton = batch.Parton
    names = ("px", "py", "pz", "energy")
    leaves = [parton.fields[c].clone().requires_grad_() for c in names]

    def compute(*tensors):
        # on the mass shell, where finite differences do not leave it
        fields = dict(zip(names, tensors, strict=True))
        fields["energy"] = (tensors[0] ** 2 + tensors[1] ** 2 + tensors[2] ** 2 + 1).sqrt()
        parton.fields.update(fields)
        return Observable("x", expression).flat(batch).values

    assert torch.autograd.gradcheck(compute, leaves, atol=1e-5, rtol=1e-4)
    same = [leaf.detach().clone() for leaf in leaves]
    for leaf in same:
        leaf[1, 1] = leaf[1, 0]
        leaf.requires_grad_()
    compute(*same).sum().backward()
    for leaf in same[:3]:
        assert torch.isfinite(leaf.grad).all()
        assert (leaf.grad[~parton.mask] == 0).all()


def test_an_event_without_particles_lacks_them_and_wrong_arguments_are_errors(events):
    data, mask = Observable("x", "efp(Jet, 3)")(events.batch)
    assert mask.tolist() == (events.batch.Jet.mask.any(1)).tolist()
    assert (data[~mask] == 0).all()
    for expression, reason in (
        ("efp(Jet, 36)", "from 0 to 35"),
        ("efp(Jet, nJet)", "number of a graph"),
        ("efp(Jet, 1, -1)", "a positive number"),
        ("efp(MET, 1)", "for objects"),
        ("efp_ee(Jet.to_3D(), 1)", "four dimensions"),
    ):
        with pytest.raises(RecipeError, match=reason):
            Observable("x", expression).flat(events.batch)


def test_all_polynomials_of_an_expression_are_those_of_the_language():
    events = massless([2, 4, 3, 1, 0], rest=False)
    found = energy_flow_polynomials(events, "Parton[Parton.pt > 5]")
    assert found.shape == (5, 36)
    for number in (0, 1, 9, 17, 30, 35):
        column = Observable("efp", f"efp(Parton[Parton.pt > 5], {number})").column(events)
        np.testing.assert_allclose(found[:, number], np.nan_to_num(column), rtol=1e-12)
    assert (found[4] == 0).all()


@pytest.mark.parametrize(("expression", "reason"), [("Parton.pt", "momentum"), ("Parton[0]", "each object")])
def test_polynomials_of_what_is_no_objects_are_an_error(expression, reason):
    with pytest.raises(RecipeError, match=reason):
        energy_flow_polynomials(massless([2, 3], rest=False), expression)
