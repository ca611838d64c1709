"""Whether events come back from their features: what is asked of every representation, and of densities."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from hepgan.errors import RecipeError
from hepgan.events.angles import radians
from hepgan.events.batch import EventBatch, Objects
from hepgan.events.schema import Address
from hepgan.events.schema import Collection as Described
from hepgan.features.facts import Facts
from hepgan.vectors.kinematics import wrap

__all__ = ["Difference", "differences", "prove"]

SAME = 1e-4
"""Relative difference within which a number comes back, whatever its file rounded."""

FEW = 5e-3
"""Share of events in which a number need not come back: what is computed need not agree in all objects."""

ENERGIES = ("px", "py", "pz", "pt", "p", "mass", "energy")


class Difference(NamedTuple):
    """How a number of events comes back.

    Attributes:
        address: The field, or the scalar.
        original: (N, M) what it was.
        back: (N, M) what became of it.
        off: (N, M) by how much, in units of what is tolerated; 0 where there is nothing.
    """

    address: Address
    original: Tensor
    back: Tensor
    off: Tensor


def differences(originals: Sequence[EventBatch], decoded: EventBatch) -> Iterator[Difference]:
    """How all numbers of events come back, but the weight; integers have to be exact.

    Args:
        originals: The N events with their objects in one order or another, of which the nearest counts.
        decoded: What their features decode to.
    """
    for name, back in decoded.collections.items():
        offers = [_compared(decoded.schema.collection(name), e.collections[name], back) for e in originals]
        if not offers[0]:
            continue
        worst = torch.stack([torch.stack([d.off.amax(1) for d in o]).amax(0) for o in offers])
        best = worst.argmin(0)
        for versions in zip(*offers, strict=True):
            chosen = [
                torch.stack([v[k] for v in versions])[best, torch.arange(len(best), device=best.device)]
                for k in (1, 2, 3)
            ]
            yield Difference(versions[0].address, *chosen)
    for name, made in decoded.scalars.items():
        value = originals[0].scalars.get(name)
        if name != decoded.schema.weight and value is not None:
            a, b = value.reshape(len(value), -1), made.reshape(len(made), -1)
            yield Difference(Address(None, None, name), a, b, _off(name, a, b, None))


def _compared(described: Described, objects: Objects, back: Objects) -> list[Difference]:
    if 0 in objects.shape[1:]:
        return []
    energies = [v.abs() for n, v in objects.fields.items() if n in ENERGIES and v.is_floating_point()]
    scale = torch.stack(energies).amax(0) if energies else None
    there = objects.mask & back.mask
    # What has no transverse momentum has no azimuth, whatever its file says.
    pointed = there if "pt" not in objects.fields else there & (objects.fields["pt"] != 0)
    found = []
    for field, made in back.fields.items():
        value = objects.fields[field]
        compared = (value, made)
        if field == "phi":
            known = described.field("phi") if "phi" in described.field_names else None
            compared = (radians(value, known), radians(made, known))
        off = _off(field, *compared, scale if field in ENERGIES else None)
        counts = pointed if field == "phi" else there
        found.append(
            Difference(Address(described.name, None, field), value, made, torch.where(counts, off, 0.0))
        )
    return found


def _off(name: str, original: Tensor, back: Tensor, scale: Tensor | None) -> Tensor:
    if not original.is_floating_point():
        # As integers, whose last digits a double may not have.
        return (original.to(torch.int64) - back.round().to(torch.int64)).abs() / SAME
    a, b = original.to(torch.float64), back.to(torch.float64)
    size = a.abs() + (1.0 if name == "phi" else 1e-3) if scale is None else scale.to(a).clamp(min=1e-12)
    off = ((wrap(a - b) if name == "phi" else a - b).abs() / (SAME * size)).nan_to_num(torch.inf)
    # What is missing in both is the same.
    return torch.where(torch.isnan(a) & torch.isnan(b), 0.0, off)


def prove(
    originals: Sequence[EventBatch],
    decoded: EventBatch,
    facts: Facts,
    lost: Mapping[tuple[str | None, str], tuple[int, ...]],
    massive: Collection[str],
    entries: Tensor,
) -> None:
    """Checks that events are what their features decode to, but for what a recipe leaves out on purpose.

    Args:
        originals: N events with their objects in one order or another, of which the nearest counts.
        decoded: What their features decode to.
        facts: What is known of the events.
        lost: The objects whose number of a name (by collection and field) does not come back.
        massive: Collections whose masses the recipe sets, with which those of the events need not agree.
        entries: (N,) the numbers of the events among those that were learned from.

    Raises:
        RecipeError: If a number does not come back, or an object.
    """
    for name, objects in decoded.collections.items():
        number, back = originals[0].collections[name].mask.sum(1), objects.mask.sum(1)
        wrong = number != back
        if bool(wrong.any()) and name not in facts.padded:
            event = int(wrong.nonzero()[0])
            msg = (
                f"{int(number[event])} {name} come back from their features as {int(back[event])} "
                f"({int(wrong.sum())} of {len(wrong)} events)"
            )
            raise RecipeError(msg, entry=int(entries[event]))
    masses = {(name, "mass") for name in massive}
    for found in differences(originals, decoded):
        collection, field = found.address.collection, found.address.field
        if collection is not None and (field in facts.computed(collection) or (collection, field) in masses):
            continue
        off = found.off.clone()
        off[:, list(lost.get((collection, field), ()))] = 0.0
        wrong = (off > 1.0).any(1)
        if int(wrong.sum()) > FEW * len(off):
            event, slot = divmod(int(off.argmax()), off.shape[1])
            address = found.address if collection is None else facts.address(collection, slot, field)
            msg = (
                f"{address} does not come back from its features: {float(found.original[event, slot]):g} "
                f"becomes {float(found.back[event, slot]):g} ({int(wrong.sum())} of {len(off)} events);"
                " the recipe's blocks or transforms do not fit these events"
            )
            raise RecipeError(msg, entry=int(entries[event]))
