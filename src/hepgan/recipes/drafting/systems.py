"""Peaks in the masses of more than the two objects of one collection, in the events that have them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations, product
from typing import NamedTuple

import awkward as ak
import numpy as np
import torch
from numpy.typing import NDArray

from hepgan.events import Address, EventBatch, EventSchema, Objects, coordinates, to_batch
from hepgan.events.angles import radians
from hepgan.features.parts.pairs import number_of_pairs, pairs_first
from hepgan.recipes.drafting.peaks import BY_CHANCE, LOOK, MOST_PAIRS, Excess, Peak, highest_peak

__all__ = ["Loose", "find_loose", "find_system"]

Numbers = NDArray[np.float64]

_LEAST = 30
_FIRST = 3
"""Objects of a collection that are combined with others, the first ones."""

_MOST_OBJECTS = 16
"""Collections of more objects are not combined with others."""


class Loose(NamedTuple):
    """A peak in the mass of objects that no block keeps together.

    Attributes:
        objects: What they are: collections, and ``a pair of Muon`` for two of one that has a peak itself.
        excess: Where, and how large.
        number: How many combinations there are.
    """

    objects: tuple[str, ...]
    excess: Excess
    number: int


class _Some(NamedTuple):
    """Objects, or pairs, of which events have some.

    Attributes:
        name: What they are called.
        collection: Whose they are.
        there: Which there are (n, m).
        momenta: px, py, pz and energy (n, m, 4).
    """

    name: str
    collection: str
    there: NDArray[np.bool_]
    momenta: Numbers


def find_system(events: ak.Array, schema: EventSchema, peaks: Sequence[Peak]) -> Excess | None:
    """The peak in the mass of the first two pairs of an event, of one collection or several; None if none.

    With the second pair of another event, at most half as many are there.

    Args:
        events: The events.
        schema: What they hold.
        peaks: The peaks of pairs.
    """
    if not peaks:
        return None
    batch = to_batch(events[:LOOK], schema)
    pairs = [_pairs_of(batch, p) for p in peaks]
    there = np.concatenate([p.there for p in pairs], 1)
    order = np.argsort(~there, axis=1, kind="stable")[:, :2]
    two = there.sum(1) >= 2
    if int(two.sum()) < _LEAST:
        return None
    momenta = np.concatenate([p.momenta for p in pairs], 1)
    both = np.take_along_axis(momenta, order[:, :, None], axis=1)[two]
    return _peak([both[:, 0], both[:, 1]])


def find_loose(
    events: ak.Array, schema: EventSchema, peaks: Sequence[Peak], held: Iterable[Sequence[str]] = ()
) -> list[Loose]:
    """Peaks of two objects of two collections, of three of one, and of a pair and an object of another.

    Only the first three objects of each collection are combined. With the last object of another event, at
    most half as many may be there.

    Args:
        events: The events.
        schema: What they hold.
        peaks: The peaks of pairs, which blocks keep.
        held: Objects (``Muon[0]``) of resonances that blocks keep.
    """
    batch = to_batch(events[:LOOK], schema)
    single = [
        _objects_of(batch, c.name)
        for c in schema.collections
        if len(c.coordinates) > 2 and 1 <= c.max_count <= _MOST_OBJECTS
    ]
    pairs = [_pairs_of(batch, p) for p in peaks]
    kept = {frozenset(Address.parse(o).name for o in objects) for objects in held}
    found = []
    for parts in _combined(single, pairs):
        if frozenset(p.collection for p in parts) in kept:
            continue
        momenta = [*_each(parts)]
        excess = _peak(momenta)
        if excess is not None:
            found.append(Loose(tuple(p.name for p in parts), excess, len(momenta[0])))
    return found


def _combined(single: list[_Some], pairs: list[_Some]) -> Iterator[tuple[_Some, ...]]:
    """What is looked at together."""
    yield from combinations(single, 2)
    yield from ((p, s) for p, s in product(pairs, single) if p.collection != s.collection)
    yield from ((s, s, s) for s in single if s.there.shape[1] > 2)


def _each(parts: tuple[_Some, ...]) -> Iterator[Numbers]:
    """The momenta (k, 4) of the first, second and last of all combinations that there are."""
    if all(p is parts[0] for p in parts):
        places = [list(c) for c in combinations(range(parts[0].there.shape[1]), len(parts))]
    else:
        places = [list(c) for c in product(*(range(p.there.shape[1]) for p in parts))]
    index = np.array(places)
    there = np.all([p.there[:, index[:, i]] for i, p in enumerate(parts)], axis=0)
    for i, p in enumerate(parts):
        yield p.momenta[:, index[:, i]][there]


def _peak(momenta: Sequence[Numbers]) -> Excess | None:
    """The peak in the mass of objects (n, 4) of the same events, if it is theirs together."""
    if len(momenta[0]) < _LEAST:
        return None
    masses = _mass(momenta)
    excess = highest_peak(masses)
    if excess is None:
        return None
    ends = excess.core(masses)
    mixed = _mass([*momenta[:-1], np.roll(momenta[-1], len(masses) // 2, axis=0)])
    real, by_chance = (int(((m > ends[0]) & (m < ends[1])).sum()) for m in (masses, mixed))
    return excess if by_chance <= BY_CHANCE * real else None


def _mass(momenta: Sequence[Numbers]) -> Numbers:
    """The mass (n,) of objects (n, 4) together."""
    total = np.sum(momenta, axis=0)
    return np.asarray(np.sqrt(np.maximum(total[:, 3] ** 2 - (total[:, :3] ** 2).sum(1), 0.0)))


def _objects_of(batch: EventBatch, name: str) -> _Some:
    """The first objects of a collection."""
    objects = _objects(batch, name)
    momenta = _stacked(objects)[:, :_FIRST, [0, 1, 2, 4]]
    return _Some(name, name, objects.mask[:, :_FIRST].numpy(), momenta.numpy())


def _pairs_of(batch: EventBatch, peak: Peak) -> _Some:
    """The pairs of a collection."""
    objects = _objects(batch, peak.collection)
    stacked = _stacked(objects)
    values = objects.fields[peak.opposite].to(torch.float64) if peak.opposite else None
    most = min(peak.most, MOST_PAIRS)
    order = pairs_first(stacked, objects.mask, values, peak.excess.mass, most)
    number = number_of_pairs(None if values is None else values.gather(1, order), objects.mask.sum(1), most)
    first = stacked.gather(1, order[:, : 2 * most, None].expand(-1, -1, 5))
    total = (first[:, ::2] + first[:, 1::2])[..., [0, 1, 2, 4]]
    there = torch.arange(most) < number.unsqueeze(1)
    return _Some(f"a pair of {peak.collection}", peak.collection, there.numpy(), total.numpy())


def _objects(batch: EventBatch, name: str) -> Objects:
    """The objects of a collection, with azimuths in radians."""
    objects = batch.collections[name]
    if "phi" not in objects.fields:
        return objects
    phi = radians(objects.fields["phi"], batch.schema.collection(name).field("phi"))
    return objects.with_fields({**objects.fields, "phi": phi})


def _stacked(objects: Objects) -> torch.Tensor:
    """Momenta (n, m, 5) as px, py, pz, mass and energy; objects without masses have none."""
    v = objects.momentum
    px, py, pz = (getattr(v, q).to(torch.float64) for q in ("px", "py", "pz"))
    massive = len(coordinates(tuple(objects.fields))) > 3
    mass = v.mass.to(torch.float64) if massive else torch.zeros_like(px)
    energy = (px**2 + py**2 + pz**2 + mass.clamp(min=0.0) ** 2).sqrt()
    return torch.stack([px, py, pz, mass, energy], 2)
