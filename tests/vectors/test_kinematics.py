"""Coordinates asked by name, torch vectors and vector's numpy backend: one set of numbers."""

from __future__ import annotations

import itertools
import math

import awkward as ak
import numpy as np
import pytest
import torch
import vector
from hypothesis import given, settings
from hypothesis import strategies as st

from hepgan import vectors
from hepgan.vectors.kinematics import COORDINATE_NAMES, Kinematics, safe_sqrt, wrap

from .conftest import EDGES, SYSTEMS, as_numpy

NAMES = {"E": "energy"}
DEGENERATE = np.array(
    [
        *EDGES,
        [1e-100, 0.0, 1.0, 2.0],
        [1e-9, 2e-9, 250.0, 250.0 + 1e-6],
        [-20.0, 0.0, 0.0, 20.0],
        [-20.0, -1e-16, 0.0, 21.0],
        [-20.0, 1e-16, 1e4, 1e4 + 1.0],
        [3.0, 4.0, 1e8, 1e8],
        [3.0, -4.0, -2e5, 2e5 + 1e-3],
        [1e-3, 1e-3, 1e-3, 1e-2],
    ]
)
"""(px, py, pz, E): at rest, massless, along the beam, none, spacelike, fast, of tiny pt, with phi at +-pi."""


def numbers(reference, name):
    """A coordinate by its name here, from vector's numpy backend."""
    with np.errstate(all="ignore"):
        if name in ("plus", "minus"):
            return reference.energy + (1 if name == "plus" else -1) * reference.pz
        return np.asarray(getattr(reference, {"y": "rapidity"}.get(name, name)))


def coordinates(rows, system):
    reference = as_numpy(rows, system)
    known = {NAMES.get(n, n): torch.from_numpy(np.array(getattr(reference, n))) for n in system}
    return reference, known


def near(name, got, expected, reference):
    """Equal within the rounding of vector's formula, relative to the energies that cancel in it."""
    with np.errstate(all="ignore"):
        size = np.abs(reference.energy) + reference.p
        got, expected = (np.array(np.broadcast_to(x, size.shape), dtype=float) for x in (got, expected))
        if name in ("mass", "plus", "minus"):
            # of two numbers that cancel only the difference of the squares is known
            ok = np.abs(got * np.abs(got) - expected * np.abs(expected)) <= 1e-12 * size**2
            ok |= np.abs(got - expected) <= 1e-12 * size
            # near an energy of 0 the square root of rounding remains
            ok |= (np.abs(reference.energy) < 1e-3 * size) & (np.abs(got - expected) <= 1e-6 * size)
            # vector has no energy of a zero momentum that is given by theta
            ok |= np.isnan(expected) & (name in ("plus", "minus"))
        elif name == "y":
            # where E - |pz| is rounding, vector has no rapidity to compare with
            known = reference.energy - np.abs(reference.pz) > 1e-8 * reference.energy
            ok = ~known | (np.abs(np.tanh(got) - np.tanh(expected)) <= 1e-12)
        elif name in ("theta", "costheta"):
            ok = np.abs(got - expected) <= 3e-8
        else:
            ok = np.abs(got - expected) <= 1e-11 * (1.0 + np.abs(expected))
        ok |= (got == expected) | (np.isnan(got) & np.isnan(expected))
    assert ok.all(), (name, got[~ok], expected[~ok])


ROWS = np.concatenate([DEGENERATE, np.random.default_rng(4).normal(0.0, 30.0, (40, 4))])


@pytest.mark.parametrize("system", SYSTEMS, ids="-".join)
def test_features_observables_and_analyses_have_one_set_of_numbers(system):
    reference, known = coordinates(ROWS, system)
    momenta = vectors.from_numpy(reference)
    records = ak.zip({n: ak.from_numpy(v.numpy()) for n, v in known.items()}, with_name="Momentum4D")
    records = ak.Array(records, behavior=vector.backends.awkward.behavior)
    k = Kinematics(known)
    for name in COORDINATE_NAMES:
        expected = numbers(reference, name)
        near(name, k[name].numpy(), expected, reference)
        if name not in ("plus", "minus"):
            near(name, getattr(momenta, {"y": "rapidity"}.get(name, name)).numpy(), expected, reference)
            near(name, ak.to_numpy(numbers(records, name)), expected, reference)


def test_what_was_asked_before_changes_no_bit():
    for system, again in itertools.product(SYSTEMS, (False, True)):
        _, known = coordinates(ROWS, system)
        alone = {name: Kinematics(known)[name].nan_to_num(nan=7.0) for name in COORDINATE_NAMES}
        k = Kinematics(known)
        for name in COORDINATE_NAMES[:: -1 if again else 1]:
            assert torch.equal(k[name].nan_to_num(nan=7.0), alone[name]), (system, name)
        assert set(k.known) == set(known)


@pytest.mark.parametrize(("one", "two"), [(SYSTEMS[0], SYSTEMS[-1]), (SYSTEMS[5], SYSTEMS[2])])
def test_distances_are_those_of_the_coordinates(one, two):
    pairs = np.array(list(itertools.product(ROWS[:20], ROWS[10:30])))
    a, b = as_numpy(pairs[:, 0], one), as_numpy(pairs[:, 1], two)
    ours = [Kinematics(coordinates(pairs[:, i], s)[1]) for i, s in ((0, one), (1, two))]
    with np.errstate(all="ignore"):
        deltaphi, distance = a.deltaphi(b), a.deltaR(b)
    turned = wrap(ours[0]["phi"] - ours[1]["phi"])
    torch.testing.assert_close(turned.cos(), torch.from_numpy(np.cos(deltaphi)))
    torch.testing.assert_close(turned.sin(), torch.from_numpy(np.sin(deltaphi)), atol=1e-12, rtol=0)
    across = torch.hypot(ours[0]["eta"] - ours[1]["eta"], turned)
    np.testing.assert_allclose(across, distance, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(
        vectors.from_numpy(a).deltaR(vectors.from_numpy(b)), distance, rtol=1e-9, atol=1e-12
    )


NUMBER = st.one_of(st.just(0.0), st.floats(1e-9, 1e6), st.floats(-1e6, -1e-9))


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    st.sampled_from(SYSTEMS),
    st.lists(NUMBER, min_size=4, max_size=4),
    st.permutations(COORDINATE_NAMES),
)
def test_any_momentum_has_the_numbers_of_the_numpy_backend(system, row, order):
    reference, known = coordinates(np.array([row]), system)
    k = Kinematics(known)
    for name in order:
        near(name, k[name].numpy(), numbers(reference, name), reference)


RNG = np.random.default_rng(5)
TIMELIKE = vector.array(
    {
        "pt": RNG.uniform(1, 80, 200),
        "eta": RNG.uniform(-4, 4, 200),
        "phi": RNG.uniform(-3.1, 3.1, 200),
        "mass": RNG.uniform(0.01, 20, 200),
    }
)
EXPECTED = {name: np.array(numbers(TIMELIKE, name)) for name in COORDINATE_NAMES}


def given_by(names):
    return Kinematics({n: torch.from_numpy(EXPECTED[n].copy()) for n in names.split()})


@pytest.mark.parametrize(
    "names",
    [
        *("pt phi y mass", "pt phi y energy", "pt phi costheta mass", "plus minus phi mass"),
        *("plus minus phi mass energy", "p theta phi mass", "p costheta phi mass", "p eta phi energy"),
        *(
            "energy theta phi mass",
            "energy costheta phi mass",
            "energy eta phi mass",
            "px py eta mass energy",
        ),
    ],
)
def test_momenta_may_be_given_by_other_coordinates_than_vectors(names):
    k = given_by(names)
    for name, expected in EXPECTED.items():
        np.testing.assert_allclose(k[name].numpy(), expected, rtol=1e-7, atol=1e-9, err_msg=name)


def test_masses_below_zero_are_those_of_spacelike_momenta_wherever_they_stand():
    known = {n: torch.tensor([v], dtype=torch.float64) for n, v in (("pt", 3.0), ("phi", 0.1), ("eta", 0.5))}
    spacelike = Kinematics({**known, "mass": torch.tensor([-2.0], dtype=torch.float64)})
    for names in ("px py pz energy", "energy theta phi mass", "pt phi y mass", "plus minus phi mass"):
        again = Kinematics({n: spacelike[n] for n in names.split()})
        for name in COORDINATE_NAMES:
            torch.testing.assert_close(again[name], spacelike[name])


def test_small_angles_and_large_rapidities_keep_their_digits():
    pz, pt, mass = (torch.tensor([v], dtype=torch.float64) for v in (1000.0, 1e-7, 0.000511))
    for momentum in (
        Kinematics({"px": pt, "py": 0 * pt, "pz": pz, "mass": mass}),
        vectors.array(px=pt, py=0 * pt, pz=pz, mass=mass),
    ):
        theta, y = (
            (momentum["theta"], momentum["y"])
            if isinstance(momentum, Kinematics)
            else (momentum.theta, momentum.rapidity)
        )
        assert theta.item() == pytest.approx(1e-10, rel=1e-12)
        assert y.item() == pytest.approx(math.asinh(1000.0 / math.hypot(1e-7, 0.000511)), rel=1e-14)
    light = Kinematics({"pt": pt, "phi": 0 * pt, "pz": pz, "mass": 0 * pt})
    assert light["minus"].item() == pytest.approx(1e-14 / 2000, rel=1e-12)


def test_a_number_has_the_same_coordinates_wherever_in_a_tensor_it_is():
    rows = np.random.default_rng(6).normal(0.0, 30.0, (67, 3))
    rows = np.column_stack([rows, np.sqrt((rows**2).sum(1) + 4.0)])
    for system in SYSTEMS:
        _, known = coordinates(rows, system)
        whole = Kinematics(known)
        for start in (1, 5, 60, 66):
            part = Kinematics({n: v[start:].clone() for n, v in known.items()})
            for name in COORDINATE_NAMES:
                assert torch.equal(part[name], whole[name][start:]), (system, name)


def test_a_rotation_changes_phi_and_leaves_the_rest():
    turn = torch.from_numpy(RNG.uniform(-3, 3, 200))
    expected = TIMELIKE.rotateZ(turn.numpy())
    for names in ("pt eta phi mass", "px py pz mass"):
        k = given_by(names)
        assert torch.isfinite(k["px"]).all()
        k = k.rotated(turn)
        np.testing.assert_allclose(k["px"].numpy(), expected.px, atol=1e-9)
        np.testing.assert_allclose(k["phi"].numpy(), expected.phi, atol=1e-12)
        np.testing.assert_allclose(k["pz"].numpy(), TIMELIKE.pz, rtol=1e-12)


def test_replaced_coordinates_take_the_place_of_others():
    k = given_by("px py pz energy mass")
    heavier = k.replaced(mass=k["mass"] + 1.0, energy=None)
    torch.testing.assert_close(heavier["energy"] ** 2, k["p"] ** 2 + (k["mass"] + 1.0) ** 2)
    assert "energy" in k.known


def test_wrapped_angles_are_the_same_angles_from_minus_pi_to_pi():
    angle = torch.linspace(-40, 40, 997, dtype=torch.float64)
    edges = [math.pi * n for n in range(-9, 10)]
    around = [math.nextafter(x, y) for x in edges for y in (-math.inf, math.inf)]
    angle = torch.cat([angle, torch.tensor([*edges, *around], dtype=torch.float64)]).requires_grad_()
    wrapped = wrap(angle)
    assert wrapped.min() >= -math.pi
    assert wrapped.max() < math.pi
    torch.testing.assert_close(torch.exp(1j * wrapped), torch.exp(1j * angle))
    inside = (angle >= -math.pi) & (angle < math.pi)
    assert torch.equal(wrapped[inside], angle[inside])
    assert torch.equal(
        torch.autograd.grad(wrapped.sum(), angle)[0][:997], torch.ones(997, dtype=torch.float64)
    )
    values = angle.detach().numpy()
    np.testing.assert_array_equal(wrap(values), wrapped.detach())
    np.testing.assert_array_equal(ak.to_numpy(wrap(ak.from_numpy(values))), wrapped.detach())


def test_bounded_coordinates_are_finite_and_those_that_are_given_stay():
    # a theta of 0 with pt leaves no pz
    for system in (s for s in SYSTEMS if "theta" not in s):
        _, known = coordinates(DEGENERATE, system)
        finite = torch.stack([v.isfinite() for v in known.values()]).all(0)
        k = Kinematics({n: v[finite] for n, v in known.items()})
        for name in COORDINATE_NAMES:
            assert torch.isfinite(k.bounded(name)).all(), (system, name)
            if name in known or name not in ("eta", "y", "mass"):
                assert torch.equal(k.bounded(name), k[name])
    zero = torch.zeros(1, dtype=torch.float64)
    beam = Kinematics({"px": zero, "py": zero, "pz": zero - 50, "energy": zero + 40})
    assert beam["eta"].item() == -math.inf
    assert beam.bounded("eta").item() == -80.0
    assert beam["mass"].item() == -30.0
    assert beam.bounded("mass").item() == 0.0


def test_gradients_are_finite_at_degenerate_momenta():
    for system in (
        *SYSTEMS,
        ("p", "theta", "phi", "mass"),
        ("pt", "phi", "y", "mass"),
        ("plus", "minus", "phi"),
    ):
        rows = torch.from_numpy(DEGENERATE)
        k = Kinematics(dict(zip(("px", "py", "pz", "energy"), rows.unbind(1), strict=True)))
        leaves = {NAMES.get(n, n): k.bounded(NAMES.get(n, n)).clone().requires_grad_() for n in system}
        made = Kinematics(leaves)
        for name in COORDINATE_NAMES:
            if name == "mass" and system[0] == "plus":
                continue
            gradients = torch.autograd.grad(
                made[name].sum(), list(leaves.values()), allow_unused=True, retain_graph=True
            )
            assert all(g is None or torch.isfinite(g).all() for g in gradients), (system, name)
    assert float(safe_sqrt(torch.tensor(-1.0))) == 0.0


@pytest.mark.parametrize(
    ("names", "name", "missing"),
    [
        ("pt phi", "pz", "no longitudinal momentum follows from pt, phi"),
        ("theta phi mass", "pt", "no transverse momentum"),
        ("theta phi mass", "energy", "no transverse momentum"),
        ("pt phi eta", "mass", "no mass"),
        ("pt eta", "px", "no azimuth"),
        ("px", "pt", "no transverse momentum"),
        ("pt phi y", "pz", "no mass"),
        ("pt phi", "colour", "not a momentum coordinate"),
    ],
)
def test_what_does_not_follow_is_an_error_that_says_so(names, name, missing):
    with pytest.raises(KeyError, match=missing):
        given_by(names)[name]


def test_what_does_not_need_the_azimuth_follows_without_it():
    np.testing.assert_allclose(given_by("pt eta mass")["energy"], EXPECTED["energy"])
