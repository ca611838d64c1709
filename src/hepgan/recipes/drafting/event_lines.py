"""What the draft of a recipe says of events: what is in them, what is learned, and what each number is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch

from hepgan.events import Address, Collection, Field, Kind
from hepgan.events.missing import is_missing
from hepgan.events.momenta import unnamed
from hepgan.features.facts import COMPUTED, Facts
from hepgan.features.standard import spans_decades
from hepgan.recipes.drafting.arrays import array_told
from hepgan.recipes.drafting.contents import Contents, counts, values_of
from hepgan.recipes.drafting.selection import HOW
from hepgan.recipes.drafting.text import comment, grouped, plain, quote, share

__all__ = ["event_lines", "given_lines"]

_WIDTH = 100
_LISTED = 12
_OWN = "at odds with the momentum; the deviation from it is learned"


def event_lines(contents: Contents, facts: Facts) -> Iterator[str]:
    """The block ``events`` in YAML, with what each number is in comments.

    Args:
        contents: What the file holds.
        facts: What features are made of.
    """
    schema = contents.schema
    yield "events:"
    yield from _unit(contents)
    for c in schema.collections:
        yield f"  # {c.name}: {counts(c)}"
        yield from _fields(contents, facts, c, c.fields)
    scalars = tuple(f for f in schema.scalars if f.name != schema.weight)
    if scalars:
        yield "  # numbers of the event:"
        yield from _fields(contents, facts, None, scalars)
    if contents.complete:
        yield "  select: []    # everything"
    else:
        yield from _list("select", contents.selection)
    if schema.arrays:
        first = schema.arrays[0]
        axes = ", ".join(f"index{k}: [0, {n}]" for k, n in enumerate(first.shape))
        yield from comment(
            "No file tells what the indices of arrays stand for. `grids` names their axes, slowest first; "
            "with numbers of bins it gives them other shapes, and makes arrays of places for objects:",
            "  ",
        )
        yield f"  # grids: {{{plain(first.name)}: {{{axes}}}}}"
    yield from _weight(contents)
    if contents.derived:
        yield "  # Computed from the rest of each event instead of being learned:"
        yield "  derived:"
        for name, (expression, off) in contents.derived.items():
            agrees = f"agrees to {off:.0e}" if off else "exactly"
            yield f"    {plain(name)}: {quote(expression)}    # {agrees}"
    yield from _left_out(contents)


def _unit(contents: Contents) -> Iterator[str]:
    found = contents.unit
    if told := found.told():
        yield from comment(told, "  ")
        yield f"  unit: {found.unit}"


def _list(key: str, names: Iterable[str]) -> Iterator[str]:
    text = [""]
    for name in map(plain, names):
        if text[-1] and len(text[-1]) + len(name) > _WIDTH - 6:
            text.append("")
        text[-1] += f" {name}," if text[-1] else f"{name},"
    text[-1] = text[-1].removesuffix(",")
    if len(text) == 1:
        yield f"  {key}: [{text[0]}]"
    else:
        yield f"  {key}:"
        yield f"    [{text[0]}"
        yield from (f"     {line}" for line in text[1:-1])
        yield f"     {text[-1]}]"


def _fields(contents: Contents, facts: Facts, c: Collection | None, fields: Iterable[Field]) -> Iterator[str]:
    told: dict[str, list[str]] = {}
    for f in fields:
        own = c is not None and facts.deviation(c.name, f.name) is not None
        kind = _OWN if own else _kind(contents, c, f)
        told.setdefault(kind, []).append(f.name)
    for reason, names in told.items():
        yield from comment(f"{', '.join(names)}: {reason}", "  ", "  ")
    if c is not None and (branches := unnamed(c)):
        yield from comment(
            f"{', '.join(branches)} are {', '.join(c.coordinates)}, which their numbers tell: E^2 - p^2 is "
            "the square of a mass",
            "  ",
            "  ",
        )


def _kind(contents: Contents, c: Collection | None, f: Field) -> str:
    """What a field is, in words."""
    if f.shape:
        return array_told(f, contents.events)
    told = _kind_of_value(contents, c, f)
    if f.missing is None:
        return told
    values = values_of(contents.events, contents.schema, c.name if c else None, f.name)
    what = "null" if f.nulls else f"{f.missing:.6g}".replace("nan", "NaN")
    return f"{told}; missing ({what}) in {share(float(is_missing(values, f.missing).mean()))}"


def _kind_of_value(contents: Contents, c: Collection | None, f: Field) -> str:
    told = None if c is None else contents.told.get(str(Address(c.name, None, f.name)))
    if told is not None:
        return told
    if c is not None and f.name == "mass" and c.name in contents.masses:
        return "a constant; see masses below"
    if (f.name if c is None else str(Address(c.name, None, f.name))) in contents.derived:
        return "derived, see below"
    if f.low is not None and f.low == f.high:
        return f"always {f.low:.6g}"
    if f.kind is Kind.CATEGORY and f.values is not None:
        listed = ", ".join(f"{v:.6g}" if isinstance(v, float) else str(v) for v in f.values[:_LISTED])
        if len(f.values) == 1:
            return f"always {listed}"
        listed += f", ... ({len(f.values)} values)" if len(f.values) > _LISTED else ""
        why = {"s": "text", "b": "true or false"}.get(f.dtype[0], "few values that are labels, not amounts")
        return f"a category ({why}): {listed}"
    if f.kind is Kind.INTEGER:
        return (
            "whole numbers"
            if f.low is None or f.high is None
            else f"whole numbers, {f.low:.0f} to {f.high:.0f}"
        )
    if f.atoms:
        values = values_of(contents.events, contents.schema, c.name if c else None, f.name)
        atoms = " and ".join(
            f"{a:.6g} in {share(float((values == np.asarray(a, values.dtype)).mean()))}" for a in f.atoms
        )
        return f"continuous, but exactly {atoms}; whether it is, is drawn first"
    if c is not None and f.name in c.coordinates:
        return "momentum"
    known = COMPUTED if c is not None and len(c.coordinates) > 2 else ("px", "py", "pt", "phi")
    if c is not None and c.coordinates and f.name in known:
        return "computed from the momentum"
    values = values_of(contents.events, contents.schema, c.name if c else None, f.name).astype(np.float64)
    there = values if f.missing is None else values[~is_missing(values, f.missing)]
    over = there.size and spans_decades(torch.from_numpy(there))
    if over:
        return "continuous, over many orders of magnitude: learned as its logarithm"
    if f.step is not None:
        return f"continuous, in steps of {f.step:g}"
    return "continuous" if f.bits is None else f"continuous, rounded to {f.bits} bits"


def _weight(contents: Contents) -> Iterator[str]:
    name, found = contents.schema.weight, contents.weight
    values = None if name is None else values_of(contents.events, contents.schema, None, name)
    negative = 0.0 if values is None else float((values.astype(np.float64) < 0).mean())
    if told := " ".join(found.lines(negative)):
        yield from comment(told, "  ")
    for field, where in contents.negative.items():
        yield from comment(
            f"With it, the density of {field} is negative {where}: there is no distribution to learn.", "  "
        )
    if found.written is not None:
        yield f"  weight: {plain(found.written)}"


def _left_out(contents: Contents) -> Iterator[str]:
    identifiers = [f.name for f in contents.schema.identifiers]
    if identifiers:
        yield from comment(f"Not learned, but written anew: {', '.join(identifiers)}.", "  ")
    for reason in grouped(contents.besides):
        yield from comment(f"Learned besides: {reason}.", "  ")
    reasons = grouped(contents.left_out)
    if not reasons:
        return
    yield "  # Left out:"
    for reason in reasons:
        yield from comment(reason, "  ", "  ")
    if any("beyond the usual" in r for r in reasons):
        yield from comment(HOW, "  ")


def given_lines(contents: Contents, conditions: dict[str, list[float]]) -> Iterator[str]:
    """The block ``conditions`` in YAML; nothing if there is none.

    Args:
        contents: What the file holds.
        conditions: The values of each condition.
    """
    if not conditions:
        return
    yield ""
    for name, values in conditions.items():
        listed = ", ".join(f"{v:g}" for v in values[:_LISTED])
        yield from comment(
            f"{name} has only the values {listed}: a setting. It is given in generation, and values between "
            "may be asked for; without one, it is drawn as in training."
        )
    yield f"conditions: [{', '.join(map(plain, conditions))}]"
