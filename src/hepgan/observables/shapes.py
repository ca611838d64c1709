"""Event shapes of momenta in tensors: thrust, and the eigenvalues of momentum tensors.

All are differentiable, and gradients are finite for empty (zero) momenta. Momenta are (N, M, 3).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property, reduce
from itertools import product
from operator import mul
from typing import Any

import torch
from torch import Tensor

from hepgan import vectors
from hepgan.observables.values import Mismatch, Value, per_object, where_exists

__all__ = ["GRAPHS", "basis", "fractions", "momentum_tensor", "norms", "polynomial", "thrust"]


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
    """(N, 3) in ascending order, which sum to 1; NaN where momenta are not finite."""
    tensor = momentum_tensor(momenta, linear=linear)
    good = torch.isfinite(tensor).all(2, keepdim=True).all(1, keepdim=True)
    found: Tensor = torch.linalg.eigvalsh(torch.where(good, tensor, 0.0))
    return torch.where(good[:, 0], found.clamp(min=0.0), math.nan)


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


Edges = tuple[tuple[int, int], ...]


class _Shared:
    """What graphs have in common, computed when it is asked for.

    Args:
        z: Energy fractions (N, M).
        theta: Distances (N, M, M).
    """

    def __init__(self, z: Tensor, theta: Tensor) -> None:
        self.z = z
        self._powers = [theta]
        self._leaves: dict[int, Tensor] = {}

    def edge(self, times: int = 1) -> Tensor:
        """An edge drawn ``times`` times: theta to a power."""
        while len(self._powers) < times:
            self._powers.append(self._powers[-1] * self._powers[0])
        return self._powers[times - 1]

    def leaf(self, times: int = 1) -> Tensor:
        """An edge to a vertex that has no other: sum_j theta_ij z_j."""
        if times not in self._leaves:
            self._leaves[times] = torch.einsum("nij,nj->ni", self.edge(times), self.z)
        return self._leaves[times]

    @cached_property
    def arm(self) -> Tensor:
        """A path of two edges from i: sum_jk theta_ij z_j theta_jk z_k."""
        return torch.einsum("nij,nj,nj->ni", self.edge(), self.z, self.leaf())

    @cached_property
    def bridge(self) -> Tensor:
        """Two edges between i and j over a vertex in the middle."""
        return torch.einsum("nik,nkj->nij", self.edge() * self.z.unsqueeze(1), self.edge())

    def centre(self, *factors: Tensor) -> Tensor:
        """sum_i z_i times factors (N, M)."""
        return torch.einsum("ni,ni->n", self.z, reduce(mul, factors))

    def ring(self, *factors: Tensor) -> Tensor:
        """sum_ij z_i z_j times factors (N, M, M)."""
        return torch.einsum("ni,nj,nij->n", self.z, self.z, reduce(mul, factors))


_CONNECTED: tuple[tuple[Edges, Callable[[_Shared], Tensor]], ...] = (
    ((), lambda p: p.z.sum(1)),
    (((0, 1),), lambda p: p.centre(p.leaf())),
    (((0, 1), (0, 1)), lambda p: p.centre(p.leaf(2))),
    (((0, 1), (0, 1), (0, 1)), lambda p: p.centre(p.leaf(3))),
    (((0, 1), (0, 1), (0, 1), (0, 1)), lambda p: p.centre(p.leaf(4))),
    (((0, 1), (0, 2)), lambda p: p.centre(p.leaf(), p.leaf())),
    (((0, 1), (0, 2), (0, 2)), lambda p: p.centre(p.leaf(), p.leaf(2))),
    (((0, 1), (0, 2), (0, 2), (0, 2)), lambda p: p.centre(p.leaf(), p.leaf(3))),
    (((0, 1), (0, 1), (0, 2), (0, 2)), lambda p: p.centre(p.leaf(2), p.leaf(2))),
    (((0, 1), (0, 2), (1, 2)), lambda p: p.ring(p.edge(), p.bridge)),
    (((0, 1), (0, 2), (0, 2), (1, 2)), lambda p: p.ring(p.edge(2), p.bridge)),
    (((0, 1), (0, 2), (0, 3)), lambda p: p.centre(p.leaf(), p.leaf(), p.leaf())),
    (((0, 1), (0, 2), (0, 2), (0, 3)), lambda p: p.centre(p.leaf(), p.leaf(), p.leaf(2))),
    (((0, 1), (0, 2), (1, 3)), lambda p: p.centre(p.leaf(), p.arm)),
    (((0, 1), (0, 2), (0, 2), (1, 3)), lambda p: p.centre(p.leaf(2), p.arm)),
    (
        ((0, 1), (0, 1), (0, 2), (1, 3)),
        lambda p: p.centre(p.leaf(), torch.einsum("nij,nj,nj->ni", p.edge(2), p.z, p.leaf())),
    ),
    (
        ((0, 1), (0, 2), (1, 2), (0, 3)),
        lambda p: p.centre(p.leaf(), torch.einsum("nij,nij,nj->ni", p.edge(), p.bridge, p.z)),
    ),
    (((0, 1), (0, 2), (1, 3), (2, 3)), lambda p: p.ring(p.bridge, p.bridge)),
    (((0, 1), (0, 2), (0, 3), (0, 4)), lambda p: p.centre(p.leaf(), p.leaf(), p.leaf(), p.leaf())),
    (((0, 1), (0, 2), (0, 3), (1, 4)), lambda p: p.centre(p.leaf(), p.leaf(), p.arm)),
    (((0, 1), (0, 2), (1, 3), (2, 4)), lambda p: p.centre(p.arm, p.arm)),
)
"""Connected graphs by their edges, with the way to compute them."""

_PRODUCTS: tuple[tuple[int, ...], ...] = (
    *((1, 1), (1, 2), (1, 3), (2, 2), (1, 5), (2, 5), (1, 6), (1, 9)),
    *((1, 1, 1), (1, 11), (1, 13), (5, 5), (1, 1, 2), (1, 1, 5), (1, 1, 1, 1)),
)
"""Graphs of several parts, by the numbers of these."""


def _edges(number: int) -> Edges:
    if number < len(_CONNECTED):
        return _CONNECTED[number][0]
    edges: list[tuple[int, int]] = []
    for part in _PRODUCTS[number - len(_CONNECTED)]:
        start = 1 + max((max(e) for e in edges), default=-1)
        edges += [(a + start, b + start) for a, b in _CONNECTED[part][0]]
    return tuple(edges)


GRAPHS: tuple[Edges, ...] = tuple(_edges(i) for i in range(len(_CONNECTED) + len(_PRODUCTS)))
"""The edges of each of the 36 graphs, numbered as in the package EnergyFlow, ``EFPSet("d<=4")``."""


def polynomial(number: int, z: Tensor, theta: Tensor) -> Tensor:
    """One energy flow polynomial.

    Args:
        number: The graph's place in `GRAPHS`.
        z: Energy fractions (N, M), 0 for empty places.
        theta: Distances (N, M, M), symmetric.

    Returns:
        (N,).

    Raises:
        ValueError: If there is no such graph.
    """
    if not 0 <= number < len(GRAPHS):
        msg = f"energy flow polynomials have numbers from 0 to {len(GRAPHS) - 1}, not {number}"
        raise ValueError(msg)
    parts = _Shared(z, theta)
    if number < len(_CONNECTED):
        return _CONNECTED[number][1](parts)
    return reduce(mul, (_CONNECTED[k][1](parts) for k in _PRODUCTS[number - len(_CONNECTED)]))


def basis(z: Tensor, theta: Tensor) -> Tensor:
    """All energy flow polynomials of at most four edges, (N, 36), in the order of `GRAPHS`.

    Args:
        z: Energy fractions (N, M), 0 for empty places.
        theta: Distances (N, M, M), symmetric.
    """
    parts = _Shared(z, theta)
    found = [compute(parts) for _, compute in _CONNECTED]
    found += [reduce(mul, (found[k] for k in numbers)) for numbers in _PRODUCTS]
    return torch.stack(found, dim=1)


# ---------------------------------------------------------------- functions of the language


def _polynomial(hadronic: bool) -> Callable[..., Value]:
    name = "efp" if hadronic else "efp_ee"

    def function(value: Value, number: Value, *others: Any) -> Value:
        *given, _ = others
        exponent = given[0] if given else Value(1.0)
        if not (isinstance(number.data, int) and 0 <= number.data < len(GRAPHS)):
            msg = f"{name} needs the number of a graph, from 0 to {len(GRAPHS) - 1}"
            raise Mismatch(msg)
        if not (exponent.is_constant and exponent.data > 0):
            msg = f"the exponent of {name} is a positive number"
            raise Mismatch(msg)
        z, squared, exists = fractions(value, name, hadronic=hadronic)
        data = polynomial(number.data, z, _power(squared, float(exponent.data) / 2))
        return Value(where_exists(data, exists, 0.0), exists)

    return function


def fractions(value: Value, name: str, *, hadronic: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Energy fractions of objects and their squared distances.

    Args:
        value: Objects with momenta.
        name: What errors call the function that needs them.
        hadronic: Whether fractions are of pT, and distances in rapidity and azimuth.

    Returns:
        Fractions (N, M), 0 for empty places; distances (N, M, M); and which events have such objects (N,).

    Raises:
        Mismatch: If there are no objects, or they have no momenta in four dimensions.
    """
    momentum = per_object(value, name).momentum
    mask = value.exists()
    try:
        energy = momentum.pt if hadronic else momentum.energy
        squared = distances(momentum, mask) if hadronic else _products(momentum, mask)
    except AttributeError:
        msg = f"{name} needs momenta in four dimensions"
        raise Mismatch(msg) from None
    energy = where_exists(energy, mask, 0.0)
    total = energy.sum(1)
    exists = mask.any(1) & (total > 0)
    return energy / where_exists(total, exists, 1.0).unsqueeze(1), squared, exists


def distances(momentum: Any, mask: Tensor) -> Tensor:
    """Squared distances (N, M, M) in rapidity and azimuth; empty places are where the mask is False."""
    y, phi = (where_exists(c, mask, 0.0) for c in (momentum.rapidity, momentum.phi))
    turn = vectors.wrap(phi.unsqueeze(2) - phi.unsqueeze(1))
    return (y.unsqueeze(2) - y.unsqueeze(1)).square() + turn.square()


def _products(momentum: Any, mask: Tensor) -> Tensor:
    """2 p_i.p_j / (E_i E_j), a sum of terms that are not negative, so that small ones keep their digits."""
    energy = where_exists(momentum.energy, mask, 1.0)
    energy = torch.where(energy > 0, energy, torch.ones_like(energy))
    velocity = torch.stack([where_exists(getattr(momentum, n), mask, 0.0) for n in ("px", "py", "pz")], -1)
    velocity = velocity / energy.unsqueeze(-1)
    mass = where_exists(momentum.mass2, mask, 0.0).clamp(min=0.0) / energy.square()
    apart = (velocity.unsqueeze(2) - velocity.unsqueeze(1)).square().sum(-1)
    return apart + mass.unsqueeze(2) + mass.unsqueeze(1)


def _power(squared: Tensor, exponent: float) -> Tensor:
    """A power of what is not negative, with a gradient of 0 at 0."""
    if exponent == 1.0:
        return squared
    positive = squared > 0
    return torch.where(positive, torch.where(positive, squared, 1.0) ** exponent, 0.0)


POLYNOMIALS: dict[str, Callable[..., Value]] = {
    "efp": _polynomial(hadronic=True),
    "efp_ee": _polynomial(hadronic=False),
}
"""Functions of the language, by name; each takes the text of its call last."""
