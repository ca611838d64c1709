"""Training events seen in mirrors: in those of a symmetry, and beyond the edges of a selection."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from hepgan.events import EventBatch
from hepgan.events.batch import Objects
from hepgan.features.config import Axis
from hepgan.features.representation import Representation
from hepgan.features.space import FeatureBatch

__all__ = ["edges", "mirrored", "reflected"]

_CHANGING_SIGN = {"y": ("py", "phi"), "z": ("pz", "eta", "rapidity", "costheta")}

WIDTH = 0.5
"""How far from an edge events are mirrored, in units of a standardised feature."""

SCAN = 2000
MAX_COLUMNS = 16
"""Along so many features at most, for each of which a few events are seen on its two sides."""
LEAST_SHARE = 0.005
BISECTIONS = 6
PORTION, CHUNK = 65_536, 4096
"""Events whose columns are kept, and that are decoded at once."""


def reflected(events: EventBatch, axes: Iterable[Axis]) -> EventBatch:
    """The events, and each seen in a mirror across each of the axes: for k axes 2^k times as many.

    Momenta are reflected, all other fields stay.

    Args:
        events: N events.
        axes: ``y``: phi and py change their signs. ``z``: pz, eta, rapidity and cos(theta) do, and theta
            becomes pi - theta.
    """
    for axis in axes:
        images = EventBatch(
            events.schema,
            {name: _image(objects, axis) for name, objects in events.collections.items()},
            events.scalars,
            len(events),
        )
        events = EventBatch.concatenate([events, images])
    return events


def _image(objects: Objects, axis: Axis) -> Objects:
    def value(name: str, values: Tensor) -> Tensor:
        if name in _CHANGING_SIGN[axis]:
            return -values
        if name == "theta" and axis == "z":
            return torch.where(objects.mask, math.pi - values, values)
        return values

    return objects.with_fields({n: value(n, v) for n, v in objects.fields.items()})


@torch.no_grad()
def mirrored(
    representation: Representation,
    features: FeatureBatch,
    *,
    generator: torch.Generator,
    columns: Sequence[int] | None = None,
) -> FeatureBatch:
    """The events, and mirror images of those near an edge of the recipe's bounds or rules.

    A cut such as pT > 10 GeV on the products of a decay is no edge of any one feature. A smooth model
    leaks through it, and since generation draws events outside anew, too few are left inside. With the
    density continued beyond the edge by mirror images, which fade out with the distance, there is nothing
    abrupt to learn; what generation rejects is what was added here. (The reflection method of kernel
    density estimation, M. Jones, Statistics and Computing 3 (1993) 135, along the features that cross the
    edges most.)

    Args:
        representation: The fitted representation, whose ``bounds`` and ``rules`` these are.
        features: N encoded training events.
        generator: Decides which images fade.
        columns: The features along which there are images, as of :func:`edges`, by default of these events.

    Returns:
        The events, followed by their images; the weights of all sum to their number.
    """
    if not representation.restrictions or len(features) == 0:
        return features
    along = edges(representation, features) if columns is None else columns
    parts = [features]
    for some in _chunks(representation, features):
        parts += some.images(along, generator)
    whole = FeatureBatch.concatenate(parts)
    return replace(whole, weight=whole.weight * (len(whole) / whole.weight.sum()))


@torch.no_grad()
def edges(representation: Representation, features: FeatureBatch) -> list[int]:
    """The features along which most events are near an edge, of those that are no cells of images.

    After the first of a collection, those that are near an edge along it do not count for its others.

    Args:
        representation: As of :func:`mirrored`.
        features: N encoded training events.
    """
    if not representation.restrictions or len(features) == 0:
        return []
    sample = features[: min(SCAN, len(features))]
    cells = set(representation.cells)
    columns = [c for c in range(representation.size) if c not in cells]
    if not columns:
        return []
    chunks = _chunks(representation, sample)
    near = torch.stack([torch.cat([some.near(column) for some in chunks]) for column in columns])
    chosen: list[int] = []
    owners = [representation.owners[c] for c in columns]
    while len(chosen) < MAX_COLUMNS:
        counts = near.sum(dim=1)
        best = int(counts.argmax())
        if int(counts[best]) < LEAST_SHARE * len(sample):
            break
        chosen.append(columns[best])
        own = torch.tensor([name == owners[best] for name in owners])
        near[own] &= ~near[best]
    return chosen


def _chunks(representation: Representation, features: FeatureBatch) -> list[_Movable]:
    return [
        _Movable(representation, features[start : start + PORTION])
        for start in range(0, len(features), PORTION)
    ]


class _Movable:
    """Some events, of which one feature at a time is moved.

    Args:
        representation: The fitted representation.
        features: The events.
    """

    def __init__(self, representation: Representation, features: FeatureBatch) -> None:
        self._representation, self._features = representation, features
        self._raw = representation.raw(features.x)
        self._every = torch.arange(len(features))

    def near(self, column: int) -> Tensor:
        """Which events (N,) are near an edge along a feature."""
        return self._crosses(self._every, column, WIDTH) | self._crosses(self._every, column, -WIDTH)

    def images(self, along: Sequence[int], generator: torch.Generator) -> list[FeatureBatch]:
        """Images of those that are near edges along some features."""
        owners = self._representation.owners
        done = {owners[column]: torch.zeros(len(self._features), dtype=torch.bool) for column in along}
        found = []
        for column in along:
            # Along several features of a collection events are near the same edges of it, and have images
            # along the first; those on its two sides, and of other collections, are other edges.
            taken = done[owners[column]]
            left = (~taken).nonzero()[:, 0]
            for sign in (1.0, -1.0):
                near = left[self._crosses(left, column, sign * WIDTH)]
                taken[near] = True
                found.append(self._images(near, column, sign, generator))
        return found

    def _images(self, rows: Tensor, column: int, sign: float, generator: torch.Generator) -> FeatureBatch:
        # An event at a distance d from an edge has an image with the probability cos^2(pi d / (2 WIDTH)).
        draw = torch.rand(len(rows), generator=generator, dtype=torch.float64)
        furthest = WIDTH * (2 / math.pi) * torch.acos(draw.sqrt())
        there = self._crosses(rows, column, sign * furthest)
        rows, outside = rows[there], furthest[there]
        inside = torch.zeros_like(outside)
        for _ in range(BISECTIONS if len(rows) else 0):
            middle = (inside + outside) / 2
            crosses = self._crosses(rows, column, sign * middle)
            inside, outside = torch.where(crosses, inside, middle), torch.where(crosses, middle, outside)
        shift = sign * 2 * outside
        beyond = self._crosses(rows, column, shift)
        return _moved(self._features[rows[beyond]], column, shift[beyond])

    def _crosses(self, rows: Tensor, column: int, shift: float | Tensor) -> Tensor:
        """Whether events (n,) leave the bounds or break a rule when a feature, which they have, moves."""
        crosses = torch.zeros(len(rows), dtype=torch.bool)
        mask = self._features.mask
        there = crosses.logical_not() if mask is None else mask[rows, column]
        every = there.nonzero()[:, 0]
        for some in torch.split(every, CHUNK) if len(every) else ():
            own = rows[some]
            moved = _moved(self._features[own], column, shift[some] if isinstance(shift, Tensor) else shift)
            raw = self._representation.codec.standard.moved(self._raw[own], moved.x, column)
            crosses[some] = ~self._representation.valid(self._representation.decode(moved, raw=raw))
        return crosses


def _moved(features: FeatureBatch, column: int, shift: float | Tensor) -> FeatureBatch:
    x = features.x.clone()
    x[:, column] += shift
    return features.with_x(x)
