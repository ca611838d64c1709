"""Indices into other collections: what a file's numbers tell of them, and how a draft has them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import awkward as ak
import torch

from hepgan.events import Address, Collection, EventBatch, EventSchema, Field, Kind, to_batch
from hepgan.features.parts.references import backwards, distances

__all__ = ["Reference", "find_references", "reference_lines"]

_NAMED = re.compile(r"(?i)(?P<of>.*?)_?(?:idx|index)(?:\d*|[A-Z_]\w*)")

_LOOK = 50_000
_ENOUGH = 30
"""Fewer links tell no rule."""

_NEXT = 1.5
"""An edge is one if objects that are not linked begin within this, in units of the largest distance."""

_CLOSE = 0.5
"""What is pointed to is near if its median distance is less than this share of that of all objects."""

_MOST_BACK = 4


class Reference(NamedTuple):
    """An index that points to objects of another collection.

    Attributes:
        name: The field, as a recipe calls it.
        to: The collection.
        objects: How many objects there are that can point.
        linked: How many of them do.
        largest: The largest distance in eta and phi; None where there are no directions, or no links.
        within: The distance within which it always points to the nearest; None if it does not.
        back: The index of the collection pointed to from which this one follows; empty if none.
        number: Which of the objects that point back it is.
    """

    name: str
    to: str
    objects: int
    linked: int
    largest: float | None = None
    within: float | None = None
    back: str = ""
    number: int = 0


def find_references(
    events: ak.Array, schema: EventSchema, structure: EventSchema
) -> tuple[list[Reference], dict[str, str]]:
    """Indices into other collections, by their names and by what they point to.

    A name like ``jetIdx`` says which collection it is of; one like ``matchIdx`` does not, and is taken as an
    index into the one whose objects it points to are near. All of them have to be there.

    Args:
        events: The events.
        schema: What they hold.
        structure: What all of the file holds.

    Returns:
        The indices; and why others, which are called so, are none that can be learned, by their names.
    """
    found: list[Reference] = []
    refused: dict[str, str] = {}
    for c in schema.collections:
        for f in c.fields:
            match = _NAMED.fullmatch(f.name)
            whole = f.kind in (Kind.INTEGER, Kind.CATEGORY) and "int" in f.dtype
            if match is None or not whole or c.layout == "single":
                continue
            name = str(Address(c.name, None, f.name))
            meant = _meant(match["of"], structure.collection_names)
            if meant == c.name:
                refused[name] = f"an index of {c.name} itself; chains of objects (mothers) are not learned"
            elif meant and meant not in schema.collection_names:
                refused[name] = f"an index into {meant}, which is not learned, so it would point to nothing"
            else:
                others = [o for o in schema.collections if o.layout != "single" and o.name != c.name]
                others = [o for o in others if o.name == meant] if meant else others
                looked = [_look(events[:_LOOK], schema, c, f, o, named=bool(meant)) for o in others]
                ways = [w for w in looked if isinstance(w, Reference)]
                if ways:
                    found.append(min(ways, key=lambda w: math.inf if w.largest is None else w.largest))
                elif meant and looked:
                    refused[name] = str(looked[0])
    return _with_backward(found, events, schema), refused


def reference_lines(references: Sequence[Reference]) -> Iterator[tuple[str, str]]:
    """For each index what was found, as a sentence, and the line of a recipe's ``fields``."""
    for r in references:
        who, many = Address.parse(r.name).name, f"{r.linked:,} of {r.objects:,}"
        if r.back:
            order = "first" if r.number == 0 else f"number {r.number + 1}"
            yield (
                f"{r.name} is the {order} {r.to} whose {r.back} points here, in every event: it is computed.",
                f"{{back: {_quoted(r.back)}, number: {r.number}}}",
            )
            continue
        told = f"{r.name} is an index into {r.to}, of objects that are always there ({many} {who} have one)"
        if r.within is not None:
            told += (
                f"; it is that of the nearest within {r.within:g} in eta and phi wherever there is one "
                f"(largest distance {r.largest:.4g}), and so it will be: other events are drawn anew."
            )
        elif r.largest is not None:
            rule = (
                "too few to tell a rule"
                if r.linked < _ENOUGH
                else "it is not always the nearest, or some that are as near are not pointed to"
            )
            told += f", at most {r.largest:.4g} away in eta and phi; {rule}."
        else:
            told += "."
        within = "" if r.within is None else f", nearest: {r.within!r}"
        yield told, f"{{to: {_quoted(r.to)}{within}}}"


def _quoted(text: str) -> str:
    return text if re.fullmatch(r"[A-Za-z][A-Za-z0-9_.]*", text) else f"{text!r}"


def _meant(of: str, collections: Sequence[str]) -> str:
    """The collection that an index is of, by its name; empty if none is called so."""
    own = of.lower().removesuffix("s")
    return next((n for n in collections if own and n.lower().removesuffix("s") == own), "")


def _look(
    events: ak.Array, schema: EventSchema, c: Collection, f: Field, to: Collection, *, named: bool
) -> Reference | str:
    """What an index is if it is one into a collection, or why it is none."""
    name, batch = str(Address(c.name, None, f.name)), _batch(events, schema, c.name, to.name)
    objects, others = batch.collections[c.name], batch.collections[to.name]
    index, there = objects.fields[f.name].to(torch.int64), objects.mask
    linked = there & (index >= 0)
    beyond = linked & (index >= others.mask.sum(1, keepdim=True))
    if bool(beyond.any()):
        return (
            f"called an index into {to.name}, but it points to objects that are not there in "
            f"{int(beyond.any(1).sum()):,} of {len(batch):,} events"
        )
    made = Reference(name, to.name, int(there.sum()), int(linked.sum()))
    if min(len(x.coordinates) for x in (c, to)) < 3 or not made.linked:
        return made if named else "not known what it points to"
    apart = distances(batch, c.name, to.name)
    own = apart.gather(2, index.clamp(min=0).unsqueeze(2))[:, :, 0][linked]
    every = apart[there.unsqueeze(2) & torch.isfinite(apart)]
    if not named and float(own.median()) > _CLOSE * float(every.median()):
        return "not known what it points to"
    least = apart.amin(2)
    largest, next_ = (
        float(own.max()),
        float(least[there & ~linked].amin()) if bool((there & ~linked).any()) else math.inf,
    )
    always = made.linked >= _ENOUGH and bool((own == least[linked]).all())
    rule = always and largest <= next_ < _NEXT * largest
    return made._replace(largest=largest, within=_between(largest, next_) if rule else None)


def _batch(events: ak.Array, schema: EventSchema, *names: str) -> EventBatch:
    kept = tuple(c for c in schema.collections if c.name in names)
    some = schema.model_copy(update={"collections": kept, "scalars": (), "weight": None, "identifiers": ()})
    return to_batch(events[[*names]], some)


def _between(low: float, high: float) -> float:
    """The number of fewest digits above one and up to another."""
    for digits in range(8):
        value = math.ceil(low * 10.0**digits) / 10.0**digits
        if low < value <= high:
            return value
    return high


def _with_backward(found: list[Reference], events: ak.Array, schema: EventSchema) -> list[Reference]:
    """The indices, of which those that follow from others come last."""
    kept: list[Reference] = []
    computed: list[Reference] = []
    # An index that is called the first or second of several is more likely the one that follows.
    for reference in sorted(found, key=lambda r: r.name[-1].isdigit()):
        name = Address.parse(reference.name).name
        ways = (r for r in kept if r.to == name and Address.parse(r.name).name == reference.to)
        back = next(
            (b for b in (_backward(reference, r, events, schema) for r in ways) if b is not None), None
        )
        (kept if back is None else computed).append(reference if back is None else back)
    return [*kept, *computed]


def _backward(
    reference: Reference, other: Reference, events: ak.Array, schema: EventSchema
) -> Reference | None:
    """An index as what points back, if it is that in all events."""
    own, back = Address.parse(reference.name), Address.parse(other.name)
    digits = re.search(r"\d+$", own.field)
    number = max(int(digits.group()) - 1, 0) if digits else 0
    if number >= _MOST_BACK or not (reference.linked or (digits and other.linked)):
        return None
    batch = _batch(events[:_LOOK], schema, own.name, back.name)
    objects, others = batch.collections[own.name], batch.collections[back.name]
    index = objects.fields[own.field].to(torch.int64).clamp(min=-1)
    pointing = others.fields[back.field].to(torch.int64)
    wanted = backwards(pointing, others.mask, index.shape[1], number)
    same = bool((wanted == index)[objects.mask].all())
    return reference._replace(back=other.name, number=number) if same else None
