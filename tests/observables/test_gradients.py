from __future__ import annotations

import re

import pytest
import torch

from hepgan.events.batch import EventBatch, Objects
from hepgan.observables import Observable

from .conftest import make
from .test_evaluation import CASES

# step functions, and those whose result is whole or true and false
FLAT = (
    "max(Jet.tight)",
    "nJet",
    "count",
    "npv",
    "charge",
    ">",
    "<",
    "==",
    "floor",
    "any(",
    "all(",
    "orders ==",
)
SMOOTH = [e for e in CASES if not any(word in e for word in FLAT)]


def covering(expressions):
    """As few of the expressions as have every function, method, operator and index between them."""
    chosen, seen = [], set()
    for expression in sorted(expressions, key=len, reverse=True):
        words = set(re.findall(r"[A-Za-z_]\w*(?=\()|\.\w+|\*\*|[-+*/%~|&:]|\[-?\d", expression))
        if not words <= seen:
            chosen.append(expression)
            seen |= words
    return chosen


def leaves(batch):
    """The same batch on fresh leaf tensors, and these tensors."""
    found = []

    def leaf(tensor):
        if tensor.is_floating_point():
            tensor = tensor.clone().requires_grad_()
            found.append(tensor)
        return tensor

    collections = {
        n: Objects({k: leaf(t) for k, t in c.fields.items()}, c.mask) for n, c in batch.collections.items()
    }
    return EventBatch(batch.schema, collections, {n: leaf(t) for n, t in batch.scalars.items()}), found


def rebuilt(batch, tensors):
    tensors = iter(tensors)

    def leaf(tensor):
        return next(tensors) if tensor.is_floating_point() else tensor

    collections = {
        n: Objects({k: leaf(t) for k, t in c.fields.items()}, c.mask) for n, c in batch.collections.items()
    }
    return EventBatch(batch.schema, collections, {n: leaf(t) for n, t in batch.scalars.items()})


@pytest.mark.parametrize("expression", covering(SMOOTH))
def test_derivatives_agree_with_finite_differences(expression):
    batch = make(3, 4).batch
    _, tensors = leaves(batch)
    observable = Observable("x", expression)

    def values(*tensors):
        return observable.flat(rebuilt(batch, tensors))[0]

    options = {"fast_mode": True, "check_undefined_grad": False}
    assert torch.autograd.gradcheck(values, tensors, atol=1e-4, rtol=1e-3, **options)


@pytest.mark.parametrize("expression", CASES)
def test_missing_and_padded_objects_leave_all_gradients_finite(expression):
    batch, tensors = leaves(make(1, 12).batch)
    data, _ = Observable("x", expression)(batch)
    assert data.requires_grad or expression not in SMOOTH
    if data.requires_grad:
        data.sum().backward()
    for tensor in tensors:
        assert tensor.grad is None or torch.isfinite(tensor.grad).all()


@pytest.mark.parametrize(
    "expression",
    [
        "1 / Jet[0].pt",
        "MET.pt / Jet[0].pt",
        "log(Jet.pt) * MET.pt",
        "sqrt(Jet[1].pt) * MET.pt",
        "Jet.pt ** -1.5 * MET.pt",
        "MET.pt ** Jet[0].pt",
        "arccos(Jet.pz / Jet.p) * MET.pt",
        "arctan2(Jet[0].py, Jet[0].px) * MET.pt",
        "hypot(Jet[0].py, Jet[0].px) * MET.pt",
        "Jet.eta * Jet.rapidity * Jet.beta * Jet.gamma * Jet.theta * MET.pt",
        "Jet[0].mt * Jet[0].et * Jet[0].mass * MET.pt",
        "transverse_mass(Jet[0], MET)",
        "Jet[0].deltaR(Muon[0]) * MET.pt",
        "Jet[0].deltaR(Jet[0]) * MET.pt",
        "Muon[0].boostCM_of(Jet[0]).energy * MET.pt",
        "Jet[0].boost(Jet[1]).mass * MET.pt",
        "Jet[0].unit().energy * MET.pt",
        "Jet[Jet.pt > 1e9].eta * MET.pt",
        "max(Jet.pt) / min(Jet.pt) / mean(Jet.pt)",
        "MET.pt / sum(Jet.pt)",
    ],
)
def test_singular_functions_of_missing_objects_have_zero_gradient(expression):
    batch, tensors = leaves(make(1, 12).batch)
    values, index, _ = Observable("x", expression).flat(batch)
    values.sum().backward()
    for tensor in tensors:
        if tensor.grad is None:
            continue
        assert torch.isfinite(tensor.grad).all()
        # event 0 has no jets: nothing of it enters
        if 0 not in index.tolist():
            assert (tensor.grad[0] == 0).all()


def test_the_gradient_at_a_root_of_zero_is_zero():
    x = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    batch = EventBatch(make(1).schema, {}, {"x": x})
    for expression in ("sqrt(x)", "x ** 0.5", "hypot(x, 0)"):
        (gradient,) = torch.autograd.grad(Observable("r", expression)(batch).data.sum(), x)
        assert gradient.tolist() == [0.0, 0.0]


def test_dense_values_carry_gradients_and_are_0_where_they_are_missing():
    batch, tensors = leaves(make(1, 12).batch)
    values, mask = Observable("x", "log(Jet[0].pt)").dense(batch)
    assert values.shape == mask.shape == (12,)
    assert values[0].item() == 0.0
    assert not mask[0]
    values.sum().backward()
    assert all(t.grad is None or torch.isfinite(t.grad).all() for t in tensors)
