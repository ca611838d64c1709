"""Binary trees of objects: what clustering finds, the numbers that describe one, what its shape means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from hepgan.features.precise import constant

__all__ = ["Distance", "Tree", "cluster", "depth_first", "grow", "label_hints", "shape_hints"]

Distance = Literal["kt", "angle", "mass"]


class Tree(NamedTuple):
    """Binary trees of up to M objects, their nodes numbered depth first.

    A node precedes the nodes in it, those of its first child before those of its second. So node 0 holds all
    objects, and each node holds neighbours: a tree with n objects has the nodes 0 .. n - 2 and the objects
    (leaves) 0 .. n - 1, and the numbers of objects in the nodes' first children tell the whole tree.

    Attributes:
        child: (N, M - 1, 2) the two children of each node: a node's number, or M - 1 + l for leaf l; of nodes
            that don't exist, leaf 0.
        size: (N, M - 1) the number of objects in each node; 0 if it doesn't exist.
        parent: (N, M - 1) the node that each node is a child of; -1 for node 0 and where there is none.
        start: (N, M - 1) the first leaf of each node.
        first: (N, M - 1) the number of objects in each node's first child; 0 if it doesn't exist.
    """

    child: Tensor
    size: Tensor
    parent: Tensor
    start: Tensor
    first: Tensor


def grow(count: Tensor, first: Tensor) -> Tree:
    """The trees that numbers of objects in first children describe.

    Args:
        count: (N,) the number of objects in each event.
        first: (N, M - 1) for each node, what its first child holds; brought into 1 .. size - 1.
    """
    nodes = first.shape[1]
    shape = (len(count), nodes + 1)
    # One more node takes what is written for children that are leaves.
    size, parent, start = first.new_zeros(shape), first.new_full(shape, -1), first.new_zeros(shape)
    size[:, 0] = torch.where(count > 1, count, 0)
    child, chosen = first.new_full((len(count), nodes, 2), nodes), torch.zeros_like(first)
    for k in range(nodes):
        there = size[:, k] > 1
        number = torch.where(there, torch.minimum(first[:, k].clamp(min=1), size[:, k] - 1), 0)
        chosen[:, k] = number
        begin = start[:, k].clone()
        sides = ((number, k + 1 + 0 * number, begin), (size[:, k] - number, k + number, begin + number))
        for side, (objects, node, leaf) in enumerate(sides):
            composite = there & (objects > 1)
            place = torch.where(composite, node, nodes).unsqueeze(1)
            size.scatter_(1, place, objects.unsqueeze(1))
            start.scatter_(1, place, leaf.unsqueeze(1))
            parent.scatter_(1, place, first.new_full((len(count), 1), k))
            child[:, k, side] = torch.where(composite, node, torch.where(there, nodes + leaf, nodes))
    exists = size[:, :nodes] > 1
    return Tree(
        child,
        torch.where(exists, size[:, :nodes], 0),
        torch.where(exists, parent[:, :nodes], -1),
        torch.where(exists, start[:, :nodes], 0),
        chosen,
    )


def cluster(momenta: Tensor, count: Tensor, distance: Distance) -> tuple[Tensor, Tensor]:
    """Joins the nearest two objects of each event, and again, until one is left.

    The distances are those of algorithms for e+e- events: ``kt`` min(E_i, E_j)^2 (1 - cos theta_ij) (Durham;
    Catani et al., Phys. Lett. B 269 (1991) 432), ``angle`` 1 - cos theta_ij (Cambridge; Dokshitzer et al.,
    hep-ph/9707323), ``mass`` E_i E_j (1 - cos theta_ij) (JADE; Z. Phys. C 33 (1986) 23).

    Args:
        momenta: (N, M, 4) px, py, pz and energy; those of absent objects don't matter.
        count: (N,) the number of objects, which come first.
        distance: Which.

    Returns:
        The children (N, M - 1, 2) of each node, where node k is made when k + 2 objects are left: the number
        of a node, or M - 1 + l for object l; and the momenta (N, M - 1, 4) of the nodes.
    """
    number, width, _ = momenta.shape
    device, rows = momenta.device, torch.arange(number, device=momenta.device)
    slots = torch.arange(width, device=device)
    active = slots < count.unsqueeze(1)
    current = torch.where(active.unsqueeze(2), momenta, 0.0)
    name = (width - 1 + slots).repeat(number, 1)
    child = torch.full((number, width - 1, 2), width - 1, dtype=torch.int64, device=device)
    nodes = momenta.new_zeros((number, width - 1, 4))
    i, j = torch.triu_indices(width, width, 1, device=device)
    for left in range(width - 1, 0, -1):
        going = count > left
        apart = _distances(current, i, j, distance)
        apart = torch.where(active[:, i] & active[:, j], apart, torch.inf)
        nearest = apart.argmin(1)
        a, b = i[nearest], j[nearest]
        pair = torch.stack([name[rows, a], name[rows, b]], 1)
        joined = current[rows, a] + current[rows, b]
        child[:, left - 1] = torch.where(going.unsqueeze(1), pair, child[:, left - 1])
        nodes[:, left - 1] = torch.where(going.unsqueeze(1), joined, 0.0)
        current[rows, a] = torch.where(going.unsqueeze(1), joined, current[rows, a])
        name[rows, a] = torch.where(going, left - 1, name[rows, a])
        active[rows, b] &= ~going
    return child, nodes


def _distances(momenta: Tensor, i: Tensor, j: Tensor, distance: Distance) -> Tensor:
    direction = momenta[..., :3] / momenta[..., :3].norm(dim=-1, keepdim=True).clamp(min=1e-300)
    # Half the squared chord is 1 - cos theta, without its rounding at small angles.
    opening: Tensor = 0.5 * (direction[:, i] - direction[:, j]).square().sum(-1)
    if distance == "angle":
        return opening
    first, second = momenta[:, i, 3], momenta[:, j, 3]
    scale = first * second if distance == "mass" else torch.minimum(first, second).square()
    return opening * scale


def depth_first(child: Tensor, count: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Renumbers the trees of ``cluster``.

    Args:
        child: (N, M - 1, 2) children, in which a node's number is less than those of the nodes in it.
        count: (N,) the number of objects.

    Returns:
        For each new node the number it had (N, M - 1); for each new leaf the object (N, M); and what the
        first child of each new node holds (N, M - 1), 0 if the node doesn't exist.
    """
    number, nodes, _ = child.shape
    rows = torch.arange(number, device=child.device)
    exists = torch.arange(nodes, device=child.device) < (count - 1).unsqueeze(1)
    size = torch.cat(
        [torch.zeros_like(child[..., 0]), torch.ones_like(child[:, :1, 0]).repeat(1, nodes + 1)], 1
    )
    for k in range(nodes - 1, -1, -1):
        size[:, k] = torch.where(exists[:, k], size[rows, child[:, k, 0]] + size[rows, child[:, k, 1]], 0)
    # New numbers of nodes, first leaves of nodes, and new numbers of leaves; the last column takes the rest.
    place = child.new_zeros((number, 2 * nodes + 2))
    start = torch.zeros_like(place)
    old = child.new_zeros((number, nodes + 1))
    first = torch.zeros_like(old)
    for k in range(nodes):
        a, b = child[:, k, 0], child[:, k, 1]
        within = torch.where(exists[:, k], size[rows, a], 0)
        here = torch.where(exists[:, k], place[:, k], nodes)
        old[rows, here] = k
        first[rows, here] = within
        for kid, node, leaf in (
            (a, place[:, k] + 1, start[:, k].clone()),
            (b, place[:, k] + within, start[:, k] + within),
        ):
            target = torch.where(exists[:, k], kid, 2 * nodes + 1)
            place[rows, target] = torch.where(kid < nodes, node, leaf)
            start[rows, target] = leaf
    leaves = torch.arange(nodes + 1, device=child.device)
    new_leaf = torch.where(leaves < count.unsqueeze(1), place[:, nodes : 2 * nodes + 1], leaves)
    return old[:, :nodes], new_leaf.argsort(1), first[:, :nodes]


def shape_hints(tree: Tree) -> Tensor:
    """Of each node: its children's sizes, and its place in the tree.

    Args:
        tree: N trees of up to M - 1 nodes.

    Returns:
        (N, H) in float64: the logarithms of the children's sizes, whether they are leaves, whether the node
        is its parent's first child, and which node its parent is.
    """
    nodes, device = tree.first.shape[1], tree.first.device
    exists = (tree.size > 1).to(torch.float64)
    first, second = tree.first, tree.size - tree.first
    parts = [torch.log(s.clamp(min=1).to(torch.float64)) for s in (first, second)]
    parts += [(s == 1).to(torch.float64) * exists for s in (first, second)]
    numbers = torch.arange(nodes, device=device)
    leading = tree.child[..., 0].gather(1, tree.parent.clamp(min=0)) == numbers
    parts.append(leading.to(torch.float64) * (tree.parent >= 0))
    i, j = torch.tril_indices(nodes, nodes, -1, device=device)
    parts.append((tree.parent[:, i] == j).to(torch.float64))
    return torch.cat(parts, 1)


def label_hints(
    tree: Tree, discrete: Tensor, labels: Sequence[tuple[int, Sequence[int]]], kinds: int
) -> list[Tensor]:
    """Of each node's first and second children the halved numbers of leaves of each kind.

    Args:
        tree: N trees of up to M leaves.
        discrete: (N, K) classes.
        labels: For each leaf the column of its class, and the kind (0 ... kinds) of each class.
        kinds: The number of kinds that are counted, from 1 on.

    Returns:
        Two tensors (N, (M - 1) kinds) in float64.
    """
    found = []
    for number, table in labels:
        chosen = discrete[:, number]
        label = constant(tuple(table), discrete.device, torch.int64)[chosen.clamp(min=0)]
        found.append(torch.where(chosen >= 0, label, 0))
    of_kind = torch.stack(found, 1).unsqueeze(2) == torch.arange(1, kinds + 1, device=discrete.device)
    # Sums over the neighbouring leaves of a node are differences of sums over all leaves before.
    sums = torch.nn.functional.pad(of_kind.to(torch.float64).cumsum(1), (0, 0, 1, 0))
    ends = (tree.start, tree.start + tree.first, tree.start + tree.size)
    start, middle, end = (sums.gather(1, e.unsqueeze(2).expand(-1, -1, kinds)) for e in ends)
    return [0.5 * (middle - start).flatten(1), 0.5 * (end - middle).flatten(1)]
