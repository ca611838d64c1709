"""A draft, and what it is made of in a few lines: what was found, and what is left out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hepgan.events import Address
from hepgan.features import Representation
from hepgan.recipes.drafting.arrays import array_told
from hepgan.recipes.drafting.contents import Contents, counts, values_of
from hepgan.recipes.drafting.findings import Bound, Symmetry
from hepgan.recipes.drafting.peaks import Peak
from hepgan.recipes.drafting.resonances import Resonance
from hepgan.recipes.drafting.rules import Rule
from hepgan.recipes.drafting.text import by_reason, rounded

__all__ = ["Draft", "Line", "summary"]

_LONG = 130
"""Characters of names that are listed in a line for the user."""

_COLLECTIONS, _REASONS = 12, 8
"""Lines for the user about each of these."""


class Line(NamedTuple):
    """A line for the user.

    Attributes:
        about: What it is about: a collection's name, or a word.
        text: What is said of it.
    """

    about: str
    text: str


@dataclass(frozen=True)
class Draft:
    """A recipe as a draft.

    Attributes:
        text: It, as YAML with comments.
        told: What was found, and what is left out.
        bad: Events that training would refuse, of those that were looked at.
    """

    text: str
    told: tuple[Line, ...] = ()
    bad: int = 0


def summary(
    contents: Contents,
    representation: Representation,
    resonances: Sequence[Resonance],
    peaks: Sequence[Peak],
    symmetry: Symmetry,
    bounds: Sequence[Bound],
    rules: Sequence[Rule],
    conditions: Iterable[str],
) -> tuple[Line, ...]:
    """What a draft is made of, in about ten lines of what is learned and as many of what is left out.

    Args:
        contents: What there is in the file.
        representation: The events as they are learned.
        resonances: Those that are in all events.
        peaks: Those that are in some events.
        symmetry: Around the beam.
        bounds: Edges.
        rules: What all events keep.
        conditions: Numbers that are given in generation.
    """
    lines = [
        Line("events", _events(contents)),
        *_objects(contents),
        Line("weight", _weight(contents)),
    ]
    if unit := _unit(contents):
        lines.append(Line("unit", unit))
    if settings := list(conditions):
        lines.append(Line("conditions", f"{_some(settings)}: given in generation"))
    if masses := [f"{name} {rounded(mass)}" for name, (mass, _) in contents.masses.items()]:
        lines.append(Line("masses", f"{', '.join(masses)}, as constants"))
    if found := [*_resonances(resonances, peaks, contents.schema.unit)]:
        lines.append(Line("resonances", "; ".join(found)))
    if symmetry.reference:
        lines.append(Line("symmetry", _symmetry(symmetry)))
    if lacking := [*_missing(contents)]:
        lines.append(Line("missing", f"{_some(lacking)}: generated as missing, together where they are"))
    if contents.derived:
        lines.append(Line("derived", f"{_some(list(contents.derived))}, from the rest of the event"))
    lines.append(Line("learned", _learned(representation, bounds, rules)))
    return (*lines, *_left_out(contents))


def _some(names: Sequence[str]) -> str:
    """As many names as a line or two hold, and the number of the others."""
    few = [names[0]] if names else []
    for name in names[1:]:
        if sum(len(n) + 2 for n in few) + len(name) > _LONG:
            break
        few.append(name)
    rest = len(names) - len(few)
    return f"{', '.join(few)}{f' and {rest:,} more' if rest else ''}"


def _events(contents: Contents) -> str:
    seen, bad = len(contents.events), sum(contents.bad.values())
    text = f"{contents.total:,}"
    if seen + bad < contents.total:
        text += f", of which the first {seen + bad:,} are looked at"
    if contents.different < seen:
        named = ", ".join(f.name for f in contents.schema.identifiers)
        text += f", {contents.different:,} of these different by {named}"
    return text


def _objects(contents: Contents) -> Iterator[Line]:
    schema = contents.schema
    for c in schema.collections[:_COLLECTIONS]:
        yield Line(c.name, f"{counts(c)}: {_some(c.field_names)}")
    if rest := schema.collections[_COLLECTIONS:]:
        yield Line("others", f"{len(rest)} more: {_some([c.name for c in rest])}")
    if scalars := [f.name for f in schema.numbers if f.name != schema.weight]:
        yield Line("numbers", _some(scalars))
    for f in schema.arrays:
        yield Line(f.name, array_told(f, contents.events))


def _weight(contents: Contents) -> str:
    name = contents.schema.weight
    if name is None:
        refused = "; ".join(f"{n} is none, since {reason}" for n, reason in contents.weight.refused.items())
        return f"none: all events weigh 1{f' ({refused})' if refused else ''}"
    values = np.asarray(values_of(contents.events, contents.schema, None, name), np.float64)
    negative = float((values < 0).mean())
    return f"{name}{f', negative in {100 * negative:.3g}% of the events' if negative else ''}"


def _unit(contents: Contents) -> str:
    found = contents.unit
    if found.asked:
        return f"{found.unit}, as asked for"
    if found.against:
        return f"{found.unit}, but that is in doubt: {'; '.join(found.against)} (--units sets another)"
    if not found.reasons:
        return ""
    return "GeV" if found.unit == "GeV" else f"{found.unit}: {'; '.join(found.reasons)}"


def _missing(contents: Contents) -> Iterator[str]:
    """The numbers that some events, or objects, lack, and what files have in their place."""
    schema = contents.schema
    fields = [(c.name, f) for c in schema.collections for f in c.fields]
    for collection, f in [*fields, *((None, f) for f in schema.scalars)]:
        if f.missing is not None:
            what = "null" if f.nulls else f"{f.missing:g}".replace("nan", "NaN")
            yield f"{Address(collection, None, f.name)} ({what})"


def _resonances(resonances: Sequence[Resonance], peaks: Sequence[Peak], unit: str) -> Iterator[str]:
    for r in resonances:
        for system in r.systems:
            yield f"{' + '.join(system.objects)} at {rounded(system.peak)} {unit}"
    for p in peaks:
        charges = f" of opposite {p.opposite}" if p.opposite else ""
        yield f"pairs of {p.collection}{charges} at {rounded(p.excess.mass)} {unit}, in some events"


def _symmetry(symmetry: Symmetry) -> str:
    if symmetry.holds:
        return f"around the beam; azimuths are measured from {symmetry.reference}"
    return f"none around the beam: the azimuth of {symmetry.worst} is not uniform"


def _learned(representation: Representation, bounds: Sequence[Bound], rules: Sequence[Rule]) -> str:
    discrete = len(representation.variables)
    text = f"{representation.size:,} continuous and {discrete:,} discrete numbers in an event"
    limits = [
        f"{len(found)} {what}{'' if len(found) == 1 else 's'}"
        for found, what in ((bounds, "edge"), (rules, "rule"))
        if found
    ]
    return text + (f", within {' and '.join(limits)}" if limits else "")


def _left_out(contents: Contents) -> Iterator[Line]:
    if anew := [f.name for f in contents.schema.identifiers]:
        yield Line("written anew", _some(anew))
    reasons = by_reason(contents.left_out)
    for reason, names in list(reasons.items())[:_REASONS]:
        # Some are told together.
        yield Line("left out", f"{_some([n for told in names for n in told.split(', ')])}: {reason}")
    if (rest := len(reasons) - _REASONS) > 0:
        yield Line("left out", f"others for {rest:,} more reasons, which the recipe tells")
    for reason, number in contents.bad.items():
        share = 100 * number / (len(contents.events) + sum(contents.bad.values()))
        yield Line("bad events", f"{number:,} ({share:.2g}%), which --drop-bad leaves out: {reason}")
