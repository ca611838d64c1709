"""Event shapes of momenta in tensors: thrust, and the eigenvalues of momentum tensors.

All are differentiable, and gradients are finite for empty (zero) momenta. Momenta are (N, M, 3).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import torch
from torch import Tensor

from hepgan import vectors
from hepgan.observables.values import Mismatch, Value, per_object, where_exists

__all__ = ["momentum_tensor", "norms", "thrust"]

_MOST_SIGNS = 10
"""Up to so many momenta all halvings are tried, beyond only those that a plane makes."""

_ENTRIES = 2**21


def norms(momenta: Tensor) -> Tensor:
    """Absolute values (N, M); their gradient at 0 is 0."""
    return vectors.finite_gradient(torch.sqrt(vectors.finite_gradient(momenta.square().sum(-1))))


def thrust(momenta: Tensor) -> Tensor:
    r"""Thrust :math:`\max_n \sum_i |p_i \cdot n| / \sum_i |p_i|`, exactly.

    The axis is parallel to the sum of one half of the momenta less the other half. Of up to 10 momenta all
    :math:`2^{M-1}` halvings are tried; of more those that a plane through two of the momenta makes, which
    suffice. The gradient is that at fixed halves.

    Reference: E. Farhi, Phys. Rev. Lett. 39 (1977) 1587; the search as in S. Brandt and H. D. Dahmen,
    Z. Phys. C 1 (1979) 61.

    Args:
        momenta: (N, M, 3); zeros for empty places.

    Returns:
        (N,), from 1/2 to 1; 0 where all momenta are 0.
    """
    p = momenta.detach()
    if momenta.shape[1] == 0:
        return momenta.new_zeros(len(momenta))
    find = _halves if momenta.shape[1] <= _MOST_SIGNS else _plane_halves
    work = 2 ** min(momenta.shape[1], _MOST_SIGNS) if find is _halves else momenta.shape[1] ** 3
    signs = torch.cat([find(part) for part in torch.split(p, max(1, _ENTRIES // work))])
    total = norms(momenta).sum(1)
    empty = total <= 0
    along = norms((signs.unsqueeze(-1) * momenta).sum(1, keepdim=True)).squeeze(1)
    # Of momenta in a line rounding can make it more than 1.
    share = (along / torch.where(empty, 1.0, total)).clamp(max=1.0)
    return torch.where(empty, torch.zeros_like(total), share)


def _halves(p: Tensor) -> Tensor:
    """The signs (N, M) with the largest sum, of all."""
    size, number, _ = p.shape
    options = torch.tensor([(1.0, *s) for s in product((1.0, -1.0), repeat=number - 1)]).to(p)
    sums = p.transpose(1, 2).reshape(-1, number) @ options.T
    return options[sums.square_().view(size, 3, len(options)).sum(1).argmax(1)]


def _plane_halves(p: Tensor) -> Tensor:
    """The same, of the halves on the two sides of planes through two momenta, which go to either side."""
    size, number, _ = p.shape
    first, second = torch.triu_indices(number, number, 1, device=p.device)
    a, b = p[:, first], p[:, second]
    normal = torch.cross(a, b, dim=2)
    # what is in the plane itself goes by the side of the first momentum, or by its direction
    signs = p.new_zeros(size, len(first), number)
    for axis in (normal, torch.cross(a, normal, dim=2), a):
        side = axis @ p.mT
        reach = axis.norm(dim=2, keepdim=True) * p.norm(dim=2).unsqueeze(1)
        clear = side.abs() > 64 * torch.finfo(p.dtype).eps * reach
        signs = torch.where((signs == 0) & clear, side.sign(), signs)
    index = torch.arange(len(first), device=p.device)
    signs[:, index, first] = 0
    signs[:, index, second] = 0
    others = signs @ p
    turns = p.new_tensor([(1, 1), (1, -1), (-1, 1), (-1, -1)])
    sums = others.unsqueeze(2) + turns[:, :1] * a.unsqueeze(2) + turns[:, 1:] * b.unsqueeze(2)
    best = sums.square().sum(-1).flatten(1).argmax(1)
    pair, turn = best // len(turns), best % len(turns)
    rows = torch.arange(size, device=p.device)
    chosen = signs[rows, pair]
    chosen[rows, first[pair]] = turns[turn, 0]
    chosen[rows, second[pair]] = turns[turn, 1]
    return chosen


def momentum_tensor(momenta: Tensor, *, linear: bool = False) -> Tensor:
    r"""The tensor :math:`\sum p^a p^b / \sum p^2`, or :math:`\sum (p^a p^b / |p|) / \sum |p|`.

    Reference: J. D. Bjorken and S. J. Brodsky, Phys. Rev. D 1 (1970) 1416; the linear one, which is safe
    against collinear splittings, G. Parisi, Phys. Lett. B 74 (1978) 65.

    Args:
        momenta: (N, M, 3); zeros for empty places.
        linear: Whether momenta enter linearly.

    Returns:
        (N, 3, 3), of trace 1; zeros where all momenta are 0.
    """
    size = norms(momenta)
    weight = torch.where(size > 0, 1 / torch.where(size > 0, size, 1.0), 0.0) if linear else 1.0
    tensor = momenta.mT @ (momenta * (weight.unsqueeze(-1) if isinstance(weight, Tensor) else weight))
    trace = tensor.diagonal(dim1=1, dim2=2).sum(1)
    return tensor / torch.where(trace > 0, trace, 1.0)[:, None, None]


# ---------------------------------------------------------------- functions of the language


def _momenta(value: Value, use: str) -> Tensor:
    """(N, M, 3), 0 where there is no object."""
    momentum = per_object(value, use).momentum
    try:
        parts = [getattr(momentum, n) for n in ("px", "py", "pz")]
    except AttributeError:
        msg = f"{use} needs momenta in three dimensions"
        raise Mismatch(msg) from None
    return torch.stack([where_exists(p, value.mask, 0.0) for p in parts], dim=-1)


def _shape(name: str, compute: Callable[[Tensor], Tensor]) -> Callable[..., Value]:
    """A function of momenta that events with none at all lack."""

    def function(value: Value, _: str) -> Value:
        momenta = _momenta(value, name)
        exists = (momenta != 0).any(-1).any(1)
        return Value(where_exists(compute(momenta), exists, 0.0), exists)

    return function


def _eigenvalues(momenta: Tensor, *, linear: bool = False) -> Tensor:
    """(N, 3) in ascending order, which sum to 1."""
    found: Tensor = torch.linalg.eigvalsh(momentum_tensor(momenta, linear=linear))
    return found.clamp(min=0.0)


def _sphericity(momenta: Tensor) -> Tensor:
    return 1.5 * _eigenvalues(momenta)[:, :2].sum(1)


def _aplanarity(momenta: Tensor) -> Tensor:
    return 1.5 * _eigenvalues(momenta)[:, 0]


def _c_parameter(momenta: Tensor) -> Tensor:
    tensor = momentum_tensor(momenta, linear=True)
    return (1.5 * (1 - tensor.square().sum((1, 2)))).clamp(min=0.0)


def _d_parameter(momenta: Tensor) -> Tensor:
    return 27.0 * _eigenvalues(momenta, linear=True).prod(1)


SHAPES: dict[str, Callable[..., Value]] = {
    "thrust": _shape("thrust", thrust),
    "sphericity": _shape("sphericity", _sphericity),
    "aplanarity": _shape("aplanarity", _aplanarity),
    "c_parameter": _shape("c_parameter", _c_parameter),
    "d_parameter": _shape("d_parameter", _d_parameter),
}
"""Functions of the language, by name; each takes the text of its call last."""
