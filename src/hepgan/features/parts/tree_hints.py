"""What the shape of a tree means for each node, which a network would have to work out from its numbers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hepgan.features.parts.trees import Tree

__all__ = ["label_hints", "shape_hints"]


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
        label = torch.tensor(table, device=discrete.device)[chosen.clamp(min=0)]
        found.append(torch.where(chosen >= 0, label, 0))
    of_kind = torch.stack(found, 1).unsqueeze(2) == torch.arange(1, kinds + 1, device=discrete.device)
    # Sums over the neighbouring leaves of a node are differences of sums over all leaves before.
    sums = torch.nn.functional.pad(of_kind.to(torch.float64).cumsum(1), (0, 0, 1, 0))
    ends = (tree.start, tree.start + tree.first, tree.start + tree.size)
    start, middle, end = (sums.gather(1, e.unsqueeze(2).expand(-1, -1, kinds)) for e in ends)
    return [0.5 * (middle - start).flatten(1), 0.5 * (end - middle).flatten(1)]
