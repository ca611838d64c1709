r"""Energy flow polynomials up to degree 4.

A multigraph G stands for

.. math:: \sum_{i_1 \dots i_V} z_{i_1} \cdots z_{i_V} \prod_{(k, l) \in G} \theta_{i_k i_l}

with energy fractions z and distances theta, summed over all objects at each vertex. The 36 graphs with at
most four edges are the trivial one, 20 more that are connected, and 15 products of these.

Reference: P. T. Komiske, E. M. Metodiev and J. Thaler, JHEP 04 (2018) 013, arXiv:1712.07124.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, reduce
from operator import mul
from typing import Any

import torch
from torch import Tensor

from hepgan import vectors
from hepgan.observables.values import Mismatch, Value, per_object, where_exists

__all__ = ["GRAPHS", "basis", "polynomial"]

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
        z = energy / where_exists(total, exists, 1.0).unsqueeze(1)
        data = polynomial(number.data, z, _power(squared, float(exponent.data) / 2))
        return Value(where_exists(data, exists, 0.0), exists)

    return function


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
