"""From densities of features to densities of events, in the coordinates that these are stored in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from hepgan.errors import RecipeError
from hepgan.events.batch import EventBatch
from hepgan.events.schema import coordinates
from hepgan.features.proof import differences
from hepgan.features.representation import Representation
from hepgan.features.space import FeatureBatch

__all__ = ["Measure", "Volume"]

POINTS = 6
"""Features drawn at random for each kind of event, to find out which coordinates are independent there."""

SPREAD = 1.5

DEPENDENT = 1e-9
"""Share of a gradient outside the span of others below which it is one of them."""


class Volume(NamedTuple):
    """How events' coordinates follow from their features.

    Attributes:
        log_abs_det: (N,) log of the volume in the coordinates per volume in the features (and the azimuth,
            where that is drawn).
        coordinates: Names of all coordinates that some event has, such as ``Muon[0].pt``.
        chosen: (N, M) which of them make the measure in each event.
        possible: (N,) whether the features give the event back.
    """

    log_abs_det: Tensor
    coordinates: tuple[str, ...]
    chosen: Tensor
    possible: Tensor


class Measure:
    """The density of events with respect to the coordinates that they are stored in.

    The measure is d pt d eta d phi d mass of objects, or d px d py d pz d energy, as the file has them, and
    the continuous numbers beside. A coordinate that follows from those before it, in the order of the schema,
    is left out: an energy that a known mass determines, the last object's px and py where the sum is known.
    Of integers that are learned as continuous, it is the integer with its noise. Jacobians are exact, by
    automatic differentiation of ``decode`` in double precision.

    Args:
        representation: The fitted representation.

    Raises:
        RecipeError: If a number of the event has a shape.
    """

    def __init__(self, representation: Representation) -> None:
        shaped = [f.name for f in representation.schema.scalars if f.shape]
        if shaped:
            msg = f"these events have no density: cells of {shaped[0]} are empty with finite probability"
            raise RecipeError(msg)
        self.representation = representation
        self._kinds: dict[bytes, Tensor] = {}

    def __call__(self, events: EventBatch, features: FeatureBatch) -> Volume:
        """The volumes of events (N) with their features.

        Raises:
            RecipeError: If the features don't follow from the events' coordinates.
        """
        azimuth = self.representation.azimuth(events)
        decoded = self.representation.decode(features, azimuth)
        chosen = self._chosen(decoded, features, azimuth)
        wanted = chosen.any(0).nonzero()[:, 0].tolist()
        names, rows = self._jacobian(features, azimuth, wanted)
        determinant = _log_abs_det(rows, chosen[:, wanted], features.mask)
        # A number of probability, not of density.
        possible = self._comes_back(events, decoded) & torch.isfinite(determinant)
        return Volume(determinant, tuple(names[i] for i in wanted), chosen[:, wanted], possible)

    # ------------------------------------------------------------------ Jacobians

    def _coordinates(self, events: EventBatch, x: Tensor) -> tuple[list[str], list[Tensor]]:
        """All continuous numbers (N,) of events, and rounded columns with their noise; with their names."""
        schema, facts = self.representation.schema, self.representation.facts
        names, values = [], []
        for c in schema.collections:
            fields = events.collections[c.name].fields
            order = [*coordinates(tuple(fields)), *fields]
            for slot in range(c.max_count):
                for name in dict.fromkeys(order):
                    names.append(str(facts.address(c.name, slot, name)))
                    values.append(fields[name][:, slot])
        for name in schema.scalar_names:
            names.append(name)
            values.append(events.scalars[name])
        rounded = self.representation.rounded
        if rounded:
            columns = self.representation.columns(x)
            names += [f"{self.representation.names[i]} (with noise)" for i in rounded]
            values += [columns[:, i] for i in rounded]
        return names, values

    def _jacobian(
        self, features: FeatureBatch, azimuth: Tensor | None, wanted: Sequence[int] | None = None
    ) -> tuple[list[str], Tensor]:
        """Names of coordinates, and the derivatives (N, M, T) of those wanted by features and azimuth."""
        with torch.enable_grad():
            x = features.x.detach().to(torch.float64).requires_grad_()
            angle = None if azimuth is None else azimuth.detach().requires_grad_()
            events = self.representation.decode(features.with_x(x), angle)
            names, values = self._coordinates(events, x)
            inputs = [x] if angle is None else [x, angle]
            rows = []
            for i in range(len(values)) if wanted is None else wanted:
                if not values[i].requires_grad:
                    rows.append(x.new_zeros(len(x), x.shape[1] + len(inputs) - 1))
                    continue
                slopes = torch.autograd.grad(
                    values[i].sum(), inputs, retain_graph=True, materialize_grads=True
                )
                rows.append(torch.cat([s.reshape(len(x), -1) for s in slopes], 1))
        found = torch.stack(rows, 1)
        if features.mask is not None:
            width = features.mask.shape[1]
            found[..., :width] = found[..., :width].masked_fill(~features.mask.unsqueeze(1), 0.0)
        return names, found

    # ------------------------------------------------------------------ choice of coordinates

    def _chosen(self, events: EventBatch, features: FeatureBatch, azimuth: Tensor | None) -> Tensor:
        """Which coordinates (N, M) make the measure: the first that are independent of each other."""
        parts = [] if features.mask is None else [features.mask]
        parts += [o.mask for o in events.collections.values() if not o.full]
        flags = torch.cat([*parts, torch.zeros(len(features), 1, dtype=torch.bool, device=events.device)], 1)
        kinds, kind = torch.unique(flags, dim=0, return_inverse=True)
        keys = [bytes(k.to(torch.uint8).tolist()) for k in kinds]
        new = [i for i, k in enumerate(keys) if k not in self._kinds]
        if new:
            first = torch.stack([(kind == i).nonzero()[0, 0] for i in new])
            turned = None if azimuth is None else azimuth[first]
            for i, found in zip(new, self._independent(features[first], turned), strict=True):
                self._kinds[keys[i]] = found
        return torch.stack([self._kinds[k] for k in keys])[kind]

    def _independent(self, features: FeatureBatch, azimuth: Tensor | None) -> Tensor:
        """Which coordinates (P, M) are independent in events like these P."""
        number, size = features.x.shape
        generator = torch.Generator().manual_seed(0)
        draws = SPREAD * torch.randn(POINTS, size, generator=generator, dtype=torch.float64)
        draws = draws.to(features.x.device)
        every = torch.arange(number, device=draws.device).repeat_interleave(POINTS)
        some = features[every]
        x = draws.repeat(number, 1)
        x = x if some.mask is None else x.masked_fill(~some.mask, 0.0)
        names, rows = self._jacobian(some.with_x(x), None if azimuth is None else azimuth[every])
        flags = _first_independent(rows).reshape(number, POINTS, -1)
        existing = torch.full((number,), size) if features.mask is None else features.mask.sum(1).cpu()
        found = []
        for kind, wanted in zip(flags, existing.tolist(), strict=True):
            # At points where something is at its limit, other coordinates may be independent, or fewer.
            best = torch.tensor(max(kind.tolist()), dtype=torch.bool, device=flags.device)
            wanted += azimuth is not None
            if int(best.sum()) != wanted:
                msg = (
                    f"these events have no density: {wanted} numbers are generated (with the azimuth, where "
                    f"it is drawn), but only {int(best.sum())} independent ones are stored: "
                    f"{', '.join(n for n, b in zip(names, best.tolist(), strict=True) if b)}"
                )
                raise RecipeError(msg)
            found.append(best)
        return torch.stack(found)

    # ------------------------------------------------------------------ support

    def _comes_back(self, events: EventBatch, decoded: EventBatch) -> Tensor:
        """Whether events (N,) are what their features give back, up to rounding."""
        same = torch.ones(len(events), dtype=torch.bool, device=events.device)
        # Objects may come back in the order in which a part wants them.
        for found in differences((events, self.representation.arranged(events)), decoded):
            if found.original.is_floating_point() and found.back.is_floating_point():
                same &= (found.off <= 1.0).all(1)
        return same


def _first_independent(rows: Tensor) -> Tensor:
    """Which of the rows (P, M, T) are not linear combinations of those before them, (P, M)."""
    number, count, size = rows.shape
    basis = rows.new_zeros(number, size, size)
    taken = torch.zeros(number, dtype=torch.int64, device=rows.device)
    every = torch.arange(number, device=rows.device)
    found = []
    for i in range(count):
        row = rows[:, i]
        length = row.norm(dim=1)
        rest = row / torch.where(length > 0, length, 1.0).unsqueeze(1)
        for _ in range(2):
            rest = rest - torch.einsum("pkt,pk->pt", basis, torch.einsum("pkt,pt->pk", basis, rest))
        left = rest.norm(dim=1)
        free = (length > 0) & (left > DEPENDENT) & (taken < size)
        place = taken.clamp(max=size - 1)
        unit = rest / torch.where(left > 0, left, 1.0).unsqueeze(1)
        basis[every, place] = torch.where(free.unsqueeze(1), unit, basis[every, place])
        taken = taken + free
        found.append(free)
    return torch.stack(found, 1)


def _log_abs_det(rows: Tensor, chosen: Tensor, mask: Tensor | None) -> Tensor:
    """Log |det| (N,) of the derivatives (N, W, T), of the chosen coordinates (N, W) by what exists."""
    number, width, size = rows.shape
    order = chosen.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :size]
    square = rows.gather(1, order.unsqueeze(2).expand(-1, -1, size))
    if width < size:
        square = torch.nn.functional.pad(square, (0, 0, 0, size - width))
    if mask is not None:
        # What doesn't exist stays as it is: a row of its own for each.
        absent = torch.nn.functional.pad(~mask, (0, size - mask.shape[1]))
        places = absent.to(torch.int8).argsort(dim=1, descending=True, stable=True)
        rank = chosen.sum(1, keepdim=True)
        lines = torch.arange(size, device=rows.device).expand(number, -1)
        unit = torch.nn.functional.one_hot(places.gather(1, (lines - rank).clamp(min=0)), size).to(rows)
        square = torch.where((lines >= rank).unsqueeze(2), unit, square)
    found: Tensor = torch.linalg.slogdet(square).logabsdet
    return found
