"""Which of a detector's objects belong to which true ones."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from hepgan.events.batch import EventBatch, Objects
from hepgan.events.schema import Collection
from hepgan.features.config import ResponseConfig
from hepgan.features.layout import Layout, Places
from hepgan.features.view import raw_kinematics
from hepgan.vectors.kinematics import Kinematics, wrap

__all__ = [
    "Distance",
    "coordinates_of",
    "distance_kind",
    "distances",
    "find_places",
    "in_places",
    "match",
    "without_holes",
]

Distance = Literal["angle", "delta_r"]


def coordinates_of(layout: Layout, config: ResponseConfig) -> str:
    """What is asked for, or ``transverse`` for a detector's objects stored with pt, else ``polar``."""
    if config.coordinates is not None:
        return config.coordinates
    return "transverse" if "pt" in layout.collection(config.collection).field_names else "polar"


def distance_kind(layout: Layout, config: ResponseConfig) -> Distance:
    """The distance by which objects are matched."""
    return "delta_r" if coordinates_of(layout, config) == "transverse" else "angle"


def distances(true: Kinematics, measured: Kinematics, kind: Distance) -> Tensor:
    """(N, V, M) of V true and M measured objects: the angle between them, or delta R."""
    if kind == "delta_r":
        deta = true.bounded("eta").unsqueeze(2) - measured.bounded("eta").unsqueeze(1)
        dphi = wrap(true["phi"].unsqueeze(2) - measured["phi"].unsqueeze(1))
        return (deta**2 + dphi**2).sqrt()
    a, b = (torch.stack([k["px"], k["py"], k["pz"]], -1) for k in (true, measured))
    a, b = (v / v.norm(dim=-1, keepdim=True).clamp(min=1e-300) for v in (a, b))
    # The arc cosine of a scalar product loses small angles.
    return 2 * torch.asin(((a.unsqueeze(2) - b.unsqueeze(1)).norm(dim=-1) / 2).clamp(max=1.0))


@torch.no_grad()
def match(events: EventBatch, true: str, measured: str, kind: Distance, within: float) -> Tensor:
    """For each true object the measured one that belongs to it, (N, V); -1 if there is none.

    The nearest pair of an event first, one to one, as long as pairs are near enough. Where every event has
    one object of each, they belong together, however far apart.

    Args:
        events: N events.
        true: The collection of true objects.
        measured: The collection of measured objects.
        kind: What is near.
        within: The largest distance.
    """
    schemas = events.schema.collection(true), events.schema.collection(measured)
    if all(s.min_count == s.max_count == 1 for s in schemas):
        return torch.zeros(len(events), 1, dtype=torch.int64, device=events.device)
    found = distances(raw_kinematics(events, true), raw_kinematics(events, measured), kind)
    for axis, name in ((2, true), (1, measured)):
        found = torch.where(events.collections[name].mask.unsqueeze(axis), found, torch.inf)
    size, number, others = found.shape
    partner = torch.full((size, number), -1, dtype=torch.int64, device=events.device)
    every = torch.arange(size, device=events.device)
    for _ in range(min(number, others)):
        nearest, place = found.reshape(size, -1).min(1)
        rows = every[nearest <= within]
        if not len(rows):
            break
        i, j = place[rows] // others, place[rows] % others
        partner[rows, i] = j
        found[rows, i, :] = torch.inf
        found[rows, :, j] = torch.inf
    return partner


def find_places(events: EventBatch, true: str, measured: str, partner: Tensor) -> Places:
    """What occurs in events with these partners (N, V)."""
    there = events.collections[true].mask
    found, lost = [], []
    for i in range(partner.shape[1]):
        has = partner[:, i] >= 0
        found.append(tuple(torch.unique(has.long()).tolist()))
        lost.append(bool((~has & there[:, i]).any()))
    fakes = events.collections[measured].mask.sum(1) - (partner >= 0).sum(1)
    return Places(true, tuple(found), tuple(lost), (int(fakes.min()), int(fakes.max())))


def in_places(events: EventBatch, measured: str, partner: Tensor, width: int) -> tuple[Objects, Tensor]:
    """The measured objects in the places (N, width) of their partners (N, V), then the others in their order.

    Returns:
        The objects, with a mask that may have holes; and the number of others (N,), which may be more than
        there are places for.
    """
    objects = events.collections[measured]
    most = objects.shape[1]
    slots = torch.arange(most, device=partner.device)
    there = slots < objects.mask.sum(1, keepdim=True)
    taken = (partner.unsqueeze(2) == slots).any(1)
    fake = there & ~taken
    order = torch.sort(fake.to(torch.int8), dim=1, descending=True, stable=True).indices
    fakes = fake.sum(1)
    places = width - partner.shape[1]
    if most < places:
        order = torch.nn.functional.pad(order, (0, places - most))
    index = torch.cat([partner.clamp(min=0), order[:, :places]], 1)
    more = torch.arange(places, device=partner.device) < fakes.unsqueeze(1)
    mask = torch.cat([partner >= 0, more], 1)
    placed = {n: v.gather(1, index).masked_fill(~mask, 0) for n, v in objects.fields.items()}
    return Objects(placed, mask), fakes


def without_holes(objects: Objects, described: Collection) -> Objects:
    """The objects of a collection in their order, moved to the front of as many slots as it has."""
    if objects.full:
        return objects
    order = torch.sort(objects.mask.to(torch.int8), dim=1, descending=True, stable=True).indices
    lacking = max(described.max_count - order.shape[1], 0)

    def moved(values: Tensor) -> Tensor:
        return torch.nn.functional.pad(values.gather(1, order), (0, lacking))[:, : described.max_count]

    fields = {n: moved(v) for n, v in objects.fields.items()}
    return Objects(fields, None if described.fixed else moved(objects.mask))
