"""Weights of either sign made positive among neighbours, without a change of what they sum to."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["positive_weights"]

Floats = NDArray[np.float64]

_AXES = 32
"""Directions in which neighbours are looked for, at most: those in which points differ most."""

_NEAREST = 16
"""Neighbours that are found at once."""

_LEAF = 2048
"""Events among which neighbours are looked for first."""


def positive_weights(points: Tensor, weights: Tensor) -> Tensor:
    """Weights (N,) without negative ones, of the same density: cell resampling.

    Around each event of negative weight, a cell takes in the nearest events until its weights do not sum to
    less than 0; then these share the sum in proportion to the size of their weights. So sums of weights stay
    as they are over any region that is large against the cells, and these shrink with more events. Where the
    density itself is negative, cells reach as far as it takes, and nothing is left of it.

    The order of events plays no part but among equal weights.

    Reference: Andersen and Maier, Unbiased elimination of negative weights in Monte Carlo samples,
    arXiv:2109.07851.

    Args:
        points: Where events are (N, D), in units in which distances mean something.
        weights: Their weights (N,).

    Raises:
        ValueError: If the weights do not sum to more than 0.
    """
    signed = weights.detach().cpu().to(torch.float64).numpy()
    if not signed.sum() > 0:
        msg = f"weights that sum to {signed.sum():g} cannot all be positive"
        raise ValueError(msg)
    if not (signed < 0).any():
        return weights
    placed = _projected(points.detach().cpu())
    found = signed.copy()
    for leaf in _leaves(placed, torch.arange(len(placed))):
        own = signed[leaf.numpy()]
        seeds = leaf[torch.from_numpy(np.argsort(own, kind="stable")[: int((own < 0).sum())])]
        near = torch.cdist(placed[seeds], placed[leaf]).topk(min(_NEAREST, len(leaf)), largest=False)
        for seed, neighbours in zip(seeds.tolist(), leaf[near.indices].numpy(), strict=True):
            if found[seed] < 0:
                _share(found, seed, neighbours, placed)
    return torch.from_numpy(found).to(weights)


def _projected(points: Tensor) -> Tensor:
    """Points (N, d) along the directions in which they differ most, in single precision."""
    x = points.to(torch.float32) - points.to(torch.float32).mean(0)
    if x.shape[1] <= _AXES:
        return x
    _, axes = torch.linalg.eigh((x.T @ x).double())
    projected: Tensor = x @ axes[:, -_AXES:].to(x)
    return projected


def _leaves(points: Tensor, rows: Tensor) -> Iterator[Tensor]:
    """The numbers of events in parts, each half of one before it, cut where events are most apart."""
    if len(rows) <= _LEAF:
        yield rows
        return
    x = points[rows]
    half = len(rows) // 2
    order = x[:, int(x.std(0).argmax())].argsort(stable=True)
    for part in (order[:half], order[half:]):
        yield from _leaves(points, rows[part])


def _share(weights: Floats, seed: int, near: NDArray[np.int64], points: Tensor) -> None:
    """Shares the weights of the smallest cell around a seed that is not negative."""
    cell = _cell(weights, seed, near)
    if cell is None:
        far = torch.linalg.vector_norm(points - points[seed], dim=1)
        cell = _cell(weights, seed, far.argsort(stable=True).numpy())
    if cell is None:  # by rounding
        cell = np.arange(len(weights))
    sizes = np.abs(weights[cell])
    weights[cell] = sizes * (max(float(weights[cell].sum()), 0.0) / float(sizes.sum()))


def _cell(weights: Floats, seed: int, near: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """The first of the nearest whose weights, with that of the seed, sum to 0 or more; None if none do."""
    cell = np.concatenate([[seed], near[near != seed]])
    enough = np.cumsum(weights[cell]) >= 0
    return cell[: int(enough.argmax()) + 1] if enough.any() else None
