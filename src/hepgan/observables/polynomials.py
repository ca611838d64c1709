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

import torch
from torch import Tensor

__all__ = ["GRAPHS", "basis", "polynomial"]

Edges = tuple[tuple[int, int], ...]


class _Parts:
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


_CONNECTED: tuple[tuple[Edges, Callable[[_Parts], Tensor]], ...] = (
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
    parts = _Parts(z, theta)
    if number < len(_CONNECTED):
        return _CONNECTED[number][1](parts)
    return reduce(mul, (_CONNECTED[k][1](parts) for k in _PRODUCTS[number - len(_CONNECTED)]))


def basis(z: Tensor, theta: Tensor) -> Tensor:
    """All energy flow polynomials of at most four edges, (N, 36), in the order of `GRAPHS`.

    Args:
        z: Energy fractions (N, M), 0 for empty places.
        theta: Distances (N, M, M), symmetric.
    """
    parts = _Parts(z, theta)
    found = [compute(parts) for _, compute in _CONNECTED]
    found += [reduce(mul, (found[k] for k in numbers)) for numbers in _PRODUCTS]
    return torch.stack(found, dim=1)
