"""Muon against singular values, against torch's own and against Adam."""

import math

import pytest
import torch
from torch import nn

from hepgan.training.muon import ITERATIONS, TURN, Muon, orthogonal


def moved(optimiser, parameters, gradients):
    """Parameters after steps with gradients."""
    for step in gradients:
        for p, g in zip(parameters, step, strict=True):
            p.grad = g.clone()
        optimiser.step()
    return [p.detach() for p in parameters]


def some(*shapes, seed=0, steps=3):
    """Parameters, and gradients of some steps."""
    g = torch.Generator().manual_seed(seed)
    parameters = [nn.Parameter(torch.randn(s, generator=g)) for s in shapes]
    return parameters, [[torch.randn(s, generator=g) for s in shapes] for _ in range(steps)]


@pytest.mark.parametrize("shape", [(1, 96, 96), (3, 40, 300), (2, 300, 40), (4, 1, 7)])
def test_singular_values_become_one(shape):
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    matrices = matrices * torch.logspace(-2, 0, shape[2])
    found = orthogonal(matrices)
    (u, s, vh), values = torch.linalg.svd(matrices, full_matrices=False), torch.linalg.svdvals(found)
    large = s > 3e-3 * s.norm(dim=1, keepdim=True)
    assert large.any()
    assert float(values[large].min()) > 0.6
    assert float(values.max()) < 1.25
    # The singular vectors stay.
    diagonal = u.mT @ found @ vh.mT
    off = diagonal - torch.diag_embed(torch.diagonal(diagonal, dim1=1, dim2=2))
    assert float(off.abs().max()) < 1e-3


def test_the_size_of_gradients_does_not_matter():
    tiny = 1e-20 * torch.randn(1, 8, 8, generator=torch.Generator().manual_seed(1))
    assert float(torch.linalg.svdvals(orthogonal(tiny)).max()) > 0.6
    assert not orthogonal(torch.zeros(1, 4, 4)).any()


def test_matrices_move_as_by_torchs_own():
    (own,), gradients = some((64, 32))
    theirs = nn.Parameter(own.detach().clone())
    reference = torch.optim.Muon([theirs], lr=TURN * 1e-2, weight_decay=0.1 / TURN, ns_steps=ITERATIONS)
    before = own.detach().clone()
    (a,) = moved(Muon([own], lr=1e-2, weight_decay=0.1), [own], gradients)
    (b,) = moved(reference, [theirs], gradients)
    # Theirs has 8 bits.
    assert float((a - b).norm() / (a - before).norm()) < 0.03


def test_all_else_moves_as_by_adamw():
    parameters, gradients = some((7,), (3,))
    others = [nn.Parameter(p.detach().clone()) for p in parameters]
    settings = {"lr": 1e-2, "betas": (0.9, 0.98), "eps": 1e-6, "weight_decay": 0.1}
    found = moved(Muon(parameters, **settings), parameters, gradients)
    known = moved(torch.optim.AdamW(others, **settings), others, gradients)
    for a, b in zip(found, known, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("shapes", [[(12, 5), (12,)], [(8, 3, 2, 2), (8,)], [(6, 4, 9), (6, 4, 1)]])
def test_members_of_an_ensemble_move_as_if_alone(shapes):
    members = [some(*shapes, seed=k) for k in range(3)]
    whole = [nn.Parameter(torch.stack(ps).detach()) for ps in zip(*(m[0] for m in members), strict=True)]
    steps = [[torch.stack(gs) for gs in zip(*(m[1][i] for m in members), strict=True)] for i in range(3)]
    together = moved(Muon(whole, lr=1e-2, members=3), whole, steps)
    for k, (parameters, gradients) in enumerate(members):
        alone = moved(Muon(parameters, lr=1e-2), parameters, gradients)
        for a, b in zip(together, alone, strict=True):
            torch.testing.assert_close(a[k], b, rtol=1e-4, atol=1e-6)


def test_a_kernel_is_one_matrix_and_windows_are_many():
    (kernel, windows), gradients = some((8, 3, 2, 2), (6, 4, 9), steps=1)
    before = [kernel.detach().clone(), windows.detach().clone()]
    after = moved(Muon([kernel, windows], lr=1e-2), [kernel, windows], gradients)
    step = (after[0] - before[0]).flatten(1) / (TURN * 1e-2)
    assert torch.linalg.svdvals(step).min() > 0.6
    each = torch.linalg.svdvals((after[1] - before[1]) / (TURN * 1e-2))
    assert each.shape == (6, 4)
    assert each.min() > 0.6


def test_tall_matrices_move_further():
    (tall, wide), gradients = some((100, 25), (25, 100), steps=1)
    before = [tall.detach().clone(), wide.detach().clone()]
    after = moved(Muon([tall, wide], lr=1e-3), [tall, wide], gradients)
    sizes = [float(torch.linalg.svdvals(a - b).mean()) for a, b in zip(after, before, strict=True)]
    assert sizes[0] / sizes[1] == pytest.approx(math.sqrt(100 / 25), rel=0.1)
    assert sizes[1] == pytest.approx(TURN * 1e-3, rel=0.3)


def test_it_goes_on_from_states_of_adam():
    parameters, gradients = some((6, 4), (6,))
    adam = torch.optim.AdamW(parameters, lr=1e-2)
    moved(adam, parameters, gradients)
    muon = Muon(parameters, lr=1e-2)
    muon.load_state_dict({**muon.state_dict(), "state": adam.state_dict()["state"]})
    before = [p.clone() for p in parameters]
    after = moved(muon, parameters, gradients)
    assert all(bool((a != b).all()) for a, b in zip(after, before, strict=True))


def test_matrices_without_numbers_are_left_alone():
    parameters, gradients = some((8, 0), (8, 3))
    before = parameters[1].detach().clone()
    after = moved(Muon(parameters, lr=1e-2), parameters, gradients)
    assert after[0].shape == (8, 0)
    assert bool((after[1] != before).all())
