"""Objects as grids and grids as objects: cells, sums in cells, alignment, massless momenta.

What lies in which cell, and by which angle objects are turned, is found outside the autograd graph; contents
of cells are differentiable, and so are coordinates that are moved.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from hepgan import vectors
from hepgan.events.axes import Axis
from hepgan.events.batch import Objects
from hepgan.events.schema import COORDINATES
from hepgan.observables.clustering import subjets
from hepgan.observables.values import Cells, Mismatch, Value, device_of, per_object, where_exists

__all__ = ["Grid", "Outside", "aligned", "binned", "cells", "grid", "is_angle", "massless"]

MOST_CELLS = 1_000_000
"""A grid has no more cells."""

_COORDINATES = frozenset(n for tier in COORDINATES for option in tier for n in option)

Options = Mapping[str, tuple[float, ...]]


def is_angle(name: str) -> bool:
    """Whether a coordinate is an azimuth, which begins anew after a turn: one whose name ends in ``phi``."""
    return name.lower().endswith("phi")


# ------------------------------------------------------------------------------------- cells of a grid


def cells(value: Value, text: str) -> Value:
    """The cells of a grid that are not 0, as objects, the largest content first.

    They have the ``value`` of their cell, the number of the ``cell``, and as their coordinates the middle of
    the cell along each axis. With the axes ``eta`` and ``phi`` they are massless momenta, whose ``pt`` is the
    content.
    """
    domain = value.domain
    if not isinstance(domain, Cells):
        msg = "cells is for a field of the event with a shape, such as Image, or for grid(...)"
        raise Mismatch(msg)
    contents = where_exists(value.data, value.mask, 0)
    contents = contents if contents.is_floating_point() else contents.to(torch.float64)
    there = contents != 0
    width = int(there.sum(1).max()) if there.numel() else 0
    order = torch.where(there, contents, -math.inf).detach().argsort(dim=1, descending=True, stable=True)
    order = order[:, :width]
    mask = there.gather(1, order)
    content = where_exists(contents.gather(1, order), mask, 0.0)
    fields = {"value": content, "cell": torch.where(mask, order, 0)}
    for name, middle in zip(_names(domain), _middles(domain), strict=True):
        place = torch.as_tensor(middle, dtype=content.dtype, device=content.device)
        fields[name] = where_exists(place[order], mask, 0.0)
    if {"eta", "phi"} <= fields.keys():
        fields |= {"pt": content, "mass": torch.zeros_like(content)}
    return Value(Objects(fields), mask, text)


def _names(domain: Cells) -> tuple[str, ...]:
    return tuple(a.name for a in domain.axes) or tuple(f"index{k}" for k in range(len(domain.shape)))


def _middles(domain: Cells) -> list[Tensor]:
    """The middles of all cells along each axis."""
    axes = []
    for k, size in enumerate(domain.shape):
        places = torch.arange(size, dtype=torch.float64)
        if domain.axes:
            axis = domain.axes[k]
            places = axis.low + (places + 0.5) * ((axis.high - axis.low) / size)
            places = places * (math.pi / 180) if is_angle(axis.name) and axis.unit == "deg" else places
        axes.append(places)
    return [m.reshape(-1) for m in torch.meshgrid(*axes, indexing="ij")]


# ------------------------------------------------------------------------------------- sums in cells


class Grid(NamedTuple):
    """Sums in cells, and what is in none of them.

    Attributes:
        contents: The sum of weights in each cell (N, ...).
        outside: Where an object is outside of the grid (N, M).
    """

    contents: Tensor
    outside: Tensor


@dataclass
class Outside:
    """What was outside of grids, and in them.

    Attributes:
        objects: The number of objects.
        outside: How many of them were in no cell.
        weight: The sum of their absolute weights.
        lost: That of those in no cell.
    """

    objects: int = 0
    outside: int = 0
    weight: float = 0.0
    lost: float = 0.0

    def count(self, weight: Tensor, mask: Tensor, outside: Tensor) -> None:
        """Counts objects (N, M), with their weights."""
        size = weight.detach().abs()
        self.objects += int(mask.sum())
        self.outside += int(outside.sum())
        self.weight += float(size[mask].sum())
        self.lost += float(size[outside].sum())

    def add(self, other: Outside) -> None:
        """Counts what another one has counted."""
        self.objects += other.objects
        self.outside += other.outside
        self.weight += other.weight
        self.lost += other.lost


def grid(
    value: Value,
    fields: Mapping[str, Value],
    weight: Value,
    options: Options,
    text: str,
    outside: Outside | None = None,
) -> Value:
    """The sum of a weight in each cell of a grid, of the objects in it.

    Args:
        value: The objects.
        fields: Their coordinates, that of the slowest index first.
        weight: What is summed.
        options: ``bins``, ``low`` and ``high`` of all axes, or of each.
        text: The call as text.
        outside: Counts what is in no cell.
    """
    per_object(value, "grid")
    if not 1 <= len(fields) <= 3:
        msg = "grid takes one to three coordinates: grid(Hit, phi, eta, weight=pt, bins=25, low=-1, high=1)"
        raise Mismatch(msg)
    parts = {}
    for name in ("bins", "low", "high"):
        given = options.get(name)
        if given is None:
            msg = f"grid needs {name}=, of all coordinates or of each"
            raise Mismatch(msg)
        if len(given) not in (1, len(fields)):
            msg = f"{name} of grid is one number, or one for each of {', '.join(fields)}"
            raise Mismatch(msg)
        parts[name] = given * len(fields) if len(given) == 1 else given
    shape = tuple(int(b) for b in parts["bins"])
    if (
        any(isinstance(b, bool) or b != int(b) or b < 1 for b in parts["bins"])
        or math.prod(shape) > MOST_CELLS
    ):
        msg = f"bins of grid are whole numbers from 1 on, of at most {MOST_CELLS:,} cells"
        raise Mismatch(msg)
    if any(not low < high for low, high in zip(parts["low"], parts["high"], strict=True)):
        msg = "low of grid must be below high"
        raise Mismatch(msg)
    axes = tuple(
        Axis(name=n, low=low, high=high)
        for n, low, high in zip(fields, parts["low"], parts["high"], strict=True)
    )
    mask = _together(value, *fields.values(), weight)
    found = binned([f.data for f in fields.values()], weight.data, mask, shape, axes)
    if outside is not None:
        outside.count(weight.data, mask, found.outside)
    return Value(found.contents.flatten(1), None, Cells(text, shape, axes))


def binned(
    coordinates: list[Tensor], weight: Tensor, mask: Tensor, shape: tuple[int, ...], axes: tuple[Axis, ...]
) -> Grid:
    """Sums of weights in the cells of a grid; differentiable in the weights.

    Args:
        coordinates: The objects' coordinates (N, M), that of the slowest index first.
        weight: Their weights (N, M).
        mask: Where there is an object (N, M).
        shape: The number of cells along each axis.
        axes: The axes; azimuths are brought into the turn that begins where their axis does.

    Returns:
        The grid; what is outside of it is lost.
    """
    cell = torch.zeros(mask.shape, dtype=torch.int64, device=mask.device)
    inside = mask.clone()
    for values, size, axis in zip(coordinates, shape, axes, strict=True):
        place = values.detach().to(torch.float64)
        if is_angle(axis.name):
            turn = 360.0 if axis.unit == "deg" else 2 * math.pi
            middle = (axis.low + axis.high) / 2
            # An angle that is where it should be stays the same number.
            away = torch.round((place - middle) / turn)
            place = torch.where(away != 0, place - turn * away, place)
        index = torch.floor((place - axis.low) / ((axis.high - axis.low) / size))
        inside &= (index >= 0) & (index < size)
        cell = cell * size + index.clamp(0, size - 1).nan_to_num().to(torch.int64)
    weight = weight if weight.is_floating_point() else weight.to(torch.float64)
    filled = torch.where(inside, weight, torch.zeros_like(weight))
    contents = weight.new_zeros(len(mask), math.prod(shape)).scatter_add(
        1, torch.where(inside, cell, 0), filled
    )
    return Grid(contents.view(-1, *shape), mask & ~inside)


def _together(value: Value, *numbers: Value) -> Tensor:
    """Where objects have all of some numbers."""
    mask = value.exists()
    for number in numbers:
        if not number.is_number or number.domain is None:
            msg = "numbers of each object are needed here"
            raise Mismatch(msg)
        mask = mask & number.exists()
    return mask


# ------------------------------------------------------------------------------------- moved objects


def massless(value: Value, fields: Mapping[str, Value], spent: frozenset[str]) -> Value:
    """Objects as massless momenta, of numbers of theirs that are ``pt``, ``eta`` and ``phi``.

    Args:
        value: The objects.
        fields: These numbers of each.
        spent: Fields that are not kept, since they have other names now.
    """
    others = {}
    if isinstance(value.data, Objects):
        others = {n: t for n, t in value.data.fields.items() if n not in _COORDINATES | spent}
    mask = _together(value, *fields.values()) if value.domain is not None else value.exists()
    moved = {n: where_exists(_real(f.data), mask, 0.0) for n, f in fields.items()}
    return _of_same(value, {**others, **moved, "mass": torch.zeros_like(moved["pt"])}, mask)


def _of_same(value: Value, fields: dict[str, Tensor], mask: Tensor) -> Value:
    """Other fields of the same objects, but for those that lack one of them."""
    same = bool((mask == value.exists()).all())
    return Value(Objects(fields), value.mask if same else mask, value.domain, value.compact and same)


def aligned(
    value: Value,
    fields: Mapping[str, Value],
    weight: tuple[str, Value],
    options: Options,
    spent: frozenset[str],
) -> Value:
    """Objects that are centred, rotated and flipped, each event by itself.

    They are centred on the leading subjet (kT, weights add), rotated so that the second one is at -pi/2 seen
    from there (the principal axis, if there is only one), and flipped so that the larger part of the weight
    has a positive first coordinate.

    Args:
        value: The objects.
        fields: Two coordinates; one whose name ends in ``phi`` is an angle.
        weight: The name and the values of the weight.
        options: ``radius`` of the subjets, 0.3 if it is not given; ``centre``, ``rotate`` and ``flip``, which
            are done if they are not given.
        spent: Fields that are not kept, since they have other names now.
    """
    per_object(value, "aligned")
    if len(fields) != 2:
        msg = "aligned takes two coordinates, as in aligned(Hit, x, y, weight=energy, radius=0.3)"
        raise Mismatch(msg)
    radius, centre, rotate, flip = (
        options.get(n, (default,))[0]
        for n, default in (("radius", 0.3), ("centre", True), ("rotate", True), ("flip", True))
    )
    if isinstance(radius, bool) or not radius > 0:
        msg = "the radius of aligned is above 0"
        raise Mismatch(msg)
    label, weights = weight
    mask = _together(value, weights, *fields.values())
    (first, x), (second, y) = ((n, where_exists(_real(f.data), mask, 0.0)) for n, f in fields.items())
    w = where_exists(_real(weights.data), mask, 0.0)
    if bool((w < 0).any()):
        msg = f"a weight of aligned is negative; {label} has to be 0 or more"
        raise Mismatch(msg)
    if is_angle(first):
        msg = f"the angle {first} comes second in aligned"
        raise Mismatch(msg)
    x, y = _turned(x, y, w, mask, radius, is_angle(second), bool(centre), bool(rotate))
    if flip:
        right = torch.where(x > 0, w, 0.0).sum(1) >= torch.where(x < 0, w, 0.0).sum(1)
        x = torch.where(right.unsqueeze(1), x, -x)
    others = {}
    if isinstance(value.data, Objects):
        moved = {*fields, *spent, label, *(f for f in _COORDINATES - {"pt", "mass"})}
        others = {n: t for n, t in value.data.fields.items() if n not in moved}
    made = {label: w, first: where_exists(x, mask, 0.0), second: where_exists(y, mask, 0.0), **others}
    return _of_same(value, made, mask)


def _turned(
    x: Tensor,
    y: Tensor,
    w: Tensor,
    mask: Tensor,
    radius: float,
    periodic: bool,
    centre: bool,
    rotate: bool,
) -> tuple[Tensor, Tensor]:
    """Coordinates (N, M) that are centred and rotated."""
    width = x.shape[1]
    if not width or not (centre or rotate):
        return x, y
    owner = subjets(w, x, y, mask, radius, periodic)
    total = torch.zeros_like(w).scatter_add(1, owner, w)
    heads = mask & (owner == torch.arange(width, device=device_of(w)))
    order = torch.where(heads, total, -1.0).argsort(dim=1, descending=True, stable=True)[:, :2]
    middles = [_middle(x, y, w, owner == order[:, k : k + 1], periodic) for k in range(order.shape[1])]
    x0, y0 = middles[0]
    if centre:
        x = x - x0.unsqueeze(1)
        y = y - y0.unsqueeze(1)
        y = vectors.wrap(y) if periodic else y
    if not rotate:
        return x, y
    angle = _principal(x, y, w)
    if len(middles) > 1:
        dx, dy = middles[1][0] - x0, middles[1][1] - y0
        dy = vectors.wrap(dy) if periodic else dy
        angle = torch.where(heads.sum(1) > 1, torch.atan2(dy, dx), angle)
    turn = (-math.pi / 2 - angle.detach()).unsqueeze(1)
    cosine, sine = torch.cos(turn), torch.sin(turn)
    return cosine * x - sine * y, sine * x + cosine * y


def _middle(x: Tensor, y: Tensor, w: Tensor, chosen: Tensor, periodic: bool) -> tuple[Tensor, Tensor]:
    """The weighted mean coordinates (N,) of some objects (N, M)."""
    share = torch.where(chosen, w, 0.0)
    total = share.sum(1)
    # Of objects that weigh nothing all count alike.
    share = torch.where((total > 0).unsqueeze(1), share, chosen.to(w.dtype))
    share = share / share.sum(1).clamp(min=torch.finfo(w.dtype).tiny).unsqueeze(1)
    first = share.argmax(1, keepdim=True)
    apart = y - y.gather(1, first)
    apart = vectors.wrap(apart) if periodic else apart
    return (share * x).sum(1), y.gather(1, first).squeeze(1) + (share * apart).sum(1)


def _principal(x: Tensor, y: Tensor, w: Tensor) -> Tensor:
    """The direction (N,) along which weighted points (N, M) are spread most."""
    share = w / w.sum(1).clamp(min=torch.finfo(w.dtype).tiny).unsqueeze(1)
    dx, dy = x - (share * x).sum(1, keepdim=True), y - (share * y).sum(1, keepdim=True)
    xx, xy, yy = ((share * a * b).sum(1) for a, b in ((dx, dx), (dx, dy), (dy, dy)))
    return torch.atan2(2 * xy, xx - yy) / 2


def _real(data: Tensor) -> Tensor:
    return data if data.is_floating_point() else data.to(torch.float64)
