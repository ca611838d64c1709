"""Clustering by kT, of many events at a time, and N-subjettiness with its axes.

Objects are (N, M) with a mask. Which objects belong together is found outside the autograd graph; what is
computed of the clusters is differentiable.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from hepgan import vectors
from hepgan.observables.values import Mismatch, Value, per_object, where_exists
from hepgan.vectors.kinematics import safe_sqrt

__all__ = ["CLUSTERS", "axes_of", "exclusive", "subjets", "taus"]

_ENTRIES = 2**21
"""So many pairs of objects are held at a time."""

Merge = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]


def subjets(weight: Tensor, x: Tensor, y: Tensor, mask: Tensor, radius: float, periodic: bool) -> Tensor:
    """The clusters of the inclusive kT algorithm.

    Weights of what is merged add, coordinates become their weighted means (the pT scheme).

    Reference: S. D. Ellis and D. E. Soper, Phys. Rev. D 48 (1993) 3160.

    Args:
        weight: Transverse momenta, or other weights that are not negative (N, M).
        x: A coordinate (N, M).
        y: Another one (N, M).
        mask: Where there is an object (N, M).
        radius: The radius R.
        periodic: Whether ``y`` is an angle.

    Returns:
        The place of one member of each object's cluster, which all its members have (N, M); of what is no
        object, its own place.
    """

    def start(w: Tensor, a: Tensor, b: Tensor) -> Merge:
        def merge(row: Tensor, i: Tensor, j: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            one, two = w[row, i], w[row, j]
            total = one + two
            share = torch.where(total > 0, two / torch.where(total > 0, total, 1.0), 0.5)
            apart = b[row, j] - b[row, i]
            turned = b[row, i] + share * (vectors.wrap(apart) if periodic else apart)
            mean = a[row, i] + share * (a[row, j] - a[row, i])
            return total, mean, vectors.wrap(turned) if periodic else turned

        return merge

    return _clusters((weight, x, y), mask, start, radius=radius, periodic=periodic)


def exclusive(momenta: Tensor, mask: Tensor, number: int) -> Tensor:
    """The clusters of the exclusive kT algorithm, with momenta that add.

    Reference: S. Catani, Y. L. Dokshitzer, M. H. Seymour and B. R. Webber, Nucl. Phys. B 406 (1993) 187.

    Args:
        momenta: px, py, pz and energy (N, M, 4).
        mask: Where there is an object (N, M).
        number: How many clusters there are to be; fewer if there are fewer objects.

    Returns:
        As of `subjets`.
    """

    def start(p: Tensor) -> Callable[..., Merge]:
        def merge(row: Tensor, i: Tensor, j: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            p[row, i] += p[row, j]
            return _coordinates(p[row, i])

        return lambda *_: merge

    parts = []
    for rows in _chunks(mask):
        p = momenta.detach()[rows].to(torch.float64, copy=True)
        order = _front(mask[rows])
        p = p.gather(1, order.unsqueeze(-1).expand(*order.shape, 4))
        parts.append(_in_order(_coordinates(p), mask[rows], order, start(p), number=number, periodic=True))
    return _joined(parts, mask)


def _coordinates(p: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """pT, rapidity and azimuth of px, py, pz and energy (..., 4)."""
    px, py, pz, energy = p.unbind(-1)
    pt = torch.hypot(px, py)
    # The smaller of E + pz and E - pz follows from the transverse mass.
    longitudinal = pz.abs()
    mt2 = (pt.square() + (energy.square() - px.square() - py.square() - pz.square()).clamp(min=0)).clamp(
        min=1e-300
    )
    rapidity = torch.log((energy.abs() + longitudinal).square().clamp(min=1e-300) / mt2) / 2
    return pt, torch.where(pz < 0, -rapidity, rapidity), torch.atan2(py, px)


def _clusters(
    coordinates: tuple[Tensor, Tensor, Tensor], mask: Tensor, start: Callable[..., Merge], **options: object
) -> Tensor:
    parts = []
    for rows in _chunks(mask):
        order = _front(mask[rows])
        w, x, y = (t.detach()[rows].to(torch.float64).gather(1, order) for t in coordinates)
        parts.append(_in_order((w, x, y), mask[rows], order, start, **options))  # type: ignore[arg-type]
    return _joined(parts, mask)


def _chunks(mask: Tensor) -> Iterator[Tensor]:
    """The events, those with most objects first, few enough at a time."""
    counts = mask.sum(1)
    rows = counts.argsort(descending=True, stable=True)
    sizes = counts[rows].tolist()
    start = 0
    while start < len(sizes):
        step = max(1, _ENTRIES // max(sizes[start], 1) ** 2)
        yield rows[start : start + step]
        start += step


def _front(mask: Tensor) -> Tensor:
    """The places of the objects of some events, before all others (n, M')."""
    width = int(mask.sum(1).max()) if mask.numel() else 0
    return mask.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :width]


def _joined(parts: list[tuple[Tensor, Tensor]], mask: Tensor) -> Tensor:
    size, width = mask.shape
    owner = torch.arange(width, device=mask.device).expand(size, width).clone()
    for rows, (order, found) in zip(_chunks(mask), parts, strict=True):
        part = owner[rows]
        owner[rows] = part.scatter(1, order, order.gather(1, found))
    return owner


def _in_order(
    coordinates: tuple[Tensor, Tensor, Tensor],
    mask: Tensor,
    order: Tensor,
    start: Callable[..., Merge],
    *,
    periodic: bool,
    radius: float = math.inf,
    number: int = 0,
) -> tuple[Tensor, Tensor]:
    """Clusters events that are sorted by their numbers of objects, largest first.

    The pair of the smallest distance min(w_i, w_j)^2 R_ij^2 is one of neighbours, of which each object has
    one (M. Cacciari and G. P. Salam, Phys. Lett. B 641 (2006) 57); so no distance is computed twice.
    """
    w, x, y = coordinates
    counts = mask.sum(1)
    alive = mask.gather(1, order)
    size, width = w.shape
    owner = torch.arange(width, device=w.device).expand(size, width).clone()
    limit = radius**2
    merge = start(w, x, y)

    def apart(x1: Tensor, y1: Tensor, x2: Tensor, y2: Tensor) -> Tensor:
        turn = y1 - y2
        if periodic:
            turn = turn.abs()
            turn = torch.minimum(turn, 2 * math.pi - turn)
        return (x1 - x2).square() + turn.square()

    def nearest(row: Tensor, column: Tensor) -> tuple[Tensor, Tensor]:
        """The nearest neighbours of some objects (k,)."""
        x1, y1 = (t[row, column].unsqueeze(1) for t in (x, y))
        found = apart(x1, y1, x[row], y[row]).masked_fill(~alive[row], math.inf)
        found[torch.arange(len(row), device=row.device), column] = math.inf
        return found.min(1)

    pairs = apart(x.unsqueeze(2), y.unsqueeze(2), x.unsqueeze(1), y.unsqueeze(1))
    pairs.masked_fill_(~(alive.unsqueeze(1) & alive.unsqueeze(2)), math.inf)
    pairs.diagonal(dim1=1, dim2=2).fill_(math.inf)
    near, partner = pairs.min(2) if width else (w.clone(), owner.clone())
    del pairs
    places = torch.arange(width, device=w.device)
    # Each step takes one object away from each event, so that those that go on are the first ones.
    going = (counts.unsqueeze(0) - torch.arange(width, device=w.device).unsqueeze(1) > number).sum(1)
    for k in going.tolist():
        if not k:
            break
        row = torch.arange(k, device=w.device)
        distance = w[:k].square() * near[:k].clamp(max=limit)
        i = distance.masked_fill_(~alive[:k], math.inf).argmin(1)
        joins = near[row, i] < limit
        # What is alone leaves; of what is joined one takes the place of both.
        j = partner[row, i]
        gone = torch.where(joins, j, i)
        one, two = row[joins], i[joins]
        w[one, two], x[one, two], y[one, two] = merge(one, two, j[joins])
        alive[row, gone] = False
        owner[:k] = torch.where(
            joins.unsqueeze(1) & (owner[:k] == gone.unsqueeze(1)), i.unsqueeze(1), owner[:k]
        )
        lost = alive[:k] & ((partner[:k] == gone.unsqueeze(1)) | (partner[:k] == i.unsqueeze(1)))
        if len(one):
            x1, y1 = (t[one, two].unsqueeze(1) for t in (x, y))
            found = apart(x1, y1, x[one], y[one])
            found = found.masked_fill(~alive[one] | (places == two.unsqueeze(1)), math.inf)
            closer = found < near[one]
            near[one] = torch.where(closer, found, near[one])
            partner[one] = torch.where(closer, two.unsqueeze(1), partner[one])
            near[one, two], partner[one, two] = found.min(1)
            lost[one] &= ~closer
            lost[one, two] = False
        at, column = lost.nonzero(as_tuple=True)
        if len(at):
            near[at, column], partner[at, column] = nearest(at, column)
    return order, owner


def axes_of(momenta: Tensor, mask: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """The momenta of the clusters of the exclusive kT algorithm.

    Args:
        momenta: px, py, pz and energy (N, M, 4).
        mask: Where there is an object (N, M).
        number: How many clusters there are to be.

    Returns:
        Their momenta (N, number, 4), differentiable, and where there is one (N, number).
    """
    momenta = where_exists(momenta, mask.unsqueeze(-1).expand(momenta.shape), 0.0)
    if number == 1:
        return momenta.sum(1, keepdim=True), mask.any(1, keepdim=True)
    size, width, _ = momenta.shape
    owner = exclusive(momenta, mask, number)
    heads = mask & (owner == torch.arange(width, device=mask.device))
    chosen = heads.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :number]
    total = torch.zeros_like(momenta).scatter_add(1, owner.unsqueeze(-1).expand(size, width, 4), momenta)
    found = total.gather(1, chosen.unsqueeze(-1).expand(*chosen.shape, 4))
    return found, heads.gather(1, chosen)


def taus(momenta: Tensor, mask: Tensor, number: int) -> Tensor:
    r"""N-subjettiness :math:`\sum_i p_{T,i} \min_k \Delta R_{ik} / \sum_i p_{T,i}`, for an R of 1.

    Axes are the clusters of the exclusive kT algorithm, distances in rapidity and azimuth. The gradient is
    that at fixed clusters.

    Reference: J. Thaler and K. Van Tilburg, JHEP 03 (2011) 015.

    Args:
        momenta: px, py, pz and energy (N, M, 4); of what is no object, of any values.
        mask: Where there is an object (N, M).
        number: The number of axes, at least 1.

    Returns:
        (N,); 0 where there are no more objects than axes, or no pT.
    """
    at_rest = momenta.new_tensor([1.0, 0.0, 0.0, 1.0])
    axes, there = axes_of(momenta, mask, number)
    pt, y, phi = _coordinates(torch.where(mask.unsqueeze(-1), momenta, at_rest))
    _, y_axis, phi_axis = _coordinates(torch.where(there.unsqueeze(-1), axes, at_rest))
    turn = vectors.wrap(phi.unsqueeze(2) - phi_axis.unsqueeze(1))
    squared = (y.unsqueeze(2) - y_axis.unsqueeze(1)).square() + turn.square()
    squared = squared.masked_fill(~there.unsqueeze(1), math.inf)
    if not squared.shape[2]:
        return momenta.new_zeros(len(momenta))
    distance = safe_sqrt(where_exists(squared.amin(2), mask, 0.0))
    pt = where_exists(pt, mask, 0.0)
    total = pt.sum(1)
    return torch.where(total > 0, (pt * distance).sum(1) / torch.where(total > 0, total, 1.0), 0.0)


def _subjettiness(value: Value, number: Value, _: str) -> Value:
    if not (isinstance(number.data, int) and not isinstance(number.data, bool) and 1 <= number.data <= 10):
        msg = "nsubjettiness needs the number of axes, from 1 to 10"
        raise Mismatch(msg)
    momentum = per_object(value, "nsubjettiness").momentum
    try:
        p = [momentum.px, momentum.py, momentum.pz]
    except AttributeError:
        msg = "nsubjettiness needs momenta in three or four dimensions; massless(...) makes some of others"
        raise Mismatch(msg) from None
    energy = momentum.energy if hasattr(momentum, "energy") else momentum.p
    mask = value.exists()
    momenta = torch.stack([where_exists(c, mask, 0.0) for c in (*p, energy)], -1)
    exists = (mask & (momenta != 0).any(-1)).any(1)
    return Value(where_exists(taus(momenta, mask, number.data), exists, 0.0), exists)


CLUSTERS: dict[str, Callable[..., Value]] = {"nsubjettiness": _subjettiness}
"""Functions of the language, by name; each takes the text of its call last."""
