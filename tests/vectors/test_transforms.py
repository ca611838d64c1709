"""torch.compile, torch.vmap and torch.func. Graph capture is tested, so no C++ compiler is needed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hepgan import vectors

from .conftest import EDGES, as_numpy, regular

NAMES = (("px", "py", "pz", "E"), ("pt", "phi", "eta", "mass"))


def kinematics(names, *values):
    v = vectors.array(**dict(zip(names, values, strict=True)))
    other = v[[1, 0]]
    pair = v + other
    return (
        *(v.px, v.energy, v.mass2, v.rapidity, abs(v), pair.mass, pair.eta, v.deltaR(other)),
        *(v.boostCM_of(pair).energy, (v - other).rotateZ(0.2).px, v.sum(0).mt),
        vectors.where(v.pt > 1.0, v, pair).pt,
        vectors.stack([v, other], dim=1).masked_fill(v[:, None].pt > 1.0, 0.0).to(torch.float32).p,
    )


def leaves(names, rows):
    reference = as_numpy(rows, names)
    return [torch.tensor(getattr(reference, name), requires_grad=True) for name in names]


@pytest.fixture(autouse=True)
def _fresh_dynamo():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def essentials(names, *values):
    v = vectors.array(**dict(zip(names, values, strict=True)))
    pair = v + v.map(lambda x: x.flip(0))
    return v.energy, pair.mass, v.deltaR(pair)


def test_training_kinematics_compile_into_one_graph():
    names = NAMES[1]
    compiled = torch.compile(lambda *x: kinematics(names, *x), fullgraph=True, backend="eager")
    values = leaves(names, regular(2, 0))
    torch.testing.assert_close(compiled(*values), kinematics(names, *values))


def test_compiled_gradients_equal_the_plain_ones_and_are_finite_at_degenerate_vectors():
    names, rows = NAMES[1], np.concatenate([regular(2, 0), EDGES[[0, 0, 5, 7]]])
    compiled = torch.compile(lambda *x: essentials(names, *x), fullgraph=True, backend="aot_eager")
    plain, traced = leaves(names, rows), leaves(names, rows)
    expected, got = essentials(names, *plain), compiled(*traced)
    torch.testing.assert_close(got, expected)
    sum(value.sum() for value in expected).backward()
    sum(value.sum() for value in got).backward()
    for a, b in zip(plain, traced, strict=True):
        assert torch.isfinite(b.grad).all()
        torch.testing.assert_close(b.grad, a.grad)


def test_vectors_go_in_and_out_of_compiled_functions():
    def function(a, b):
        return a + b, a.deltaR(b)

    a, b = (vectors.array(pt=torch.rand(3) + 1, phi=0.1, eta=torch.rand(3), mass=0.1) for _ in range(2))
    total, distance = torch.compile(function, fullgraph=True, backend="eager")(a, b)
    assert type(total) is vectors.MomentumTorch4D
    torch.testing.assert_close(total.mass, (a + b).mass)
    torch.testing.assert_close(distance, a.deltaR(b))


@pytest.mark.parametrize("names", NAMES, ids="-".join)
def test_vmap_maps_over_vectors(names):
    rows = regular(6, 1)
    v = vectors.from_numpy(as_numpy(rows, names)).reshape(3, 2)
    total, distance = torch.vmap(lambda pair: (pair[0] + pair[1], pair[0].deltaR(pair[1])))(v)
    assert type(total) is vectors.MomentumTorch4D
    torch.testing.assert_close(total.mass, (v[:, 0] + v[:, 1]).mass)
    torch.testing.assert_close(distance, v[:, 0].deltaR(v[:, 1]))


@pytest.mark.parametrize("names", NAMES, ids="-".join)
def test_func_gives_per_event_gradients(names):
    def mass(v):
        return (v[0] + v[1]).mass + v[0].deltaR(v[1])

    v = vectors.from_numpy(as_numpy(regular(6, 1), names)).reshape(3, 2)
    gradient = torch.vmap(torch.func.grad(mass))(v)
    assert type(gradient) is vectors.MomentumTorch4D
    values = [element.clone().requires_grad_() for element in v.elements]
    w = vectors.array(**dict(zip(v.coordinates, values, strict=True)))
    total = ((w[:, 0] + w[:, 1]).mass + w[:, 0].deltaR(w[:, 1])).sum()
    for got, expected in zip(gradient.elements, torch.autograd.grad(total, values), strict=True):
        torch.testing.assert_close(got, expected)


def test_func_gradients_of_padded_particles_are_finite():
    v = vectors.array(px=torch.zeros(3, 2), py=0.0, pz=0.0, E=0.0)
    gradient = torch.vmap(torch.func.grad(lambda p: (p[0] + p[1]).mass + p[0].pt + p[0].deltaR(p[1])))(v)
    assert all(torch.isfinite(element).all() for element in gradient.elements)


# torch.func.jacfwd itself uses the deprecated torch.jit
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
def test_jacobians_in_both_modes_agree_at_regular_points():
    values = torch.tensor([30.0, 0.4, 1.2, 5.0], dtype=torch.float64)

    def function(x):
        v = vectors.array(pt=x[0], phi=x[1], eta=x[2], mass=x[3])
        return torch.stack([v.px, v.pz, v.energy, v.rapidity])

    torch.testing.assert_close(torch.func.jacfwd(function)(values), torch.func.jacrev(function)(values))
