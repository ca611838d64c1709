"""What of a file is to be learned, and why the rest is not."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from hepgan.errors import InputError
from hepgan.events import (
    Address,
    Collection,
    EventSchema,
    Field,
    Kind,
    infer_schema,
    read_events,
    schema_of,
    select,
    weighted_by,
)
from hepgan.events.buffers import buffers as parts
from hepgan.events.buffers import record_name, scalar_values
from hepgan.events.checks import drop_faulty
from hepgan.events.missing import is_missing
from hepgan.events.reading import files_of
from hepgan.events.schema import Unit, quoted
from hepgan.events.slots import filled
from hepgan.events.units import FoundUnit, find_unit
from hepgan.features.parts.entries import WHOLE
from hepgan.recipes.derived import Derived
from hepgan.recipes.drafting.arrays import unlearnable_array
from hepgan.recipes.drafting.findings import constant_mass
from hepgan.recipes.drafting.reading import nothing, readable
from hepgan.recipes.drafting.selection import named, of_analysis, unlearnable, usual
from hepgan.recipes.drafting.weights import FoundWeight, factor_reason, find_weight, negative_fields

__all__ = ["Contents", "look_at", "values_of"]

_LOOK = 2_000
"""Events whose every branch is read, to see what there is."""

_CELLS = 50_000_000
"""Cells of arrays that are looked at, at most."""

_MANY_BRANCHES = 200
"""A file with more branches is not learned as a whole."""

_CROWD = 12
"""More objects than this, in events that hold many on average, are constituents rather than a final state."""

_WIDE = 150
"""Constituents with no more numbers in an event than this are learned where there are no other objects."""

_TEXTS = 256

_MOST_BAD = 0.1
"""A field with a larger share of values that are not finite is left out, rather than the events."""


@dataclass
class Contents:
    """The part of a file that is to be learned.

    Attributes:
        file: The file as the user gave it.
        events: The events that were looked at, with only what is to be learned.
        schema: What they hold.
        structure: What all of the file holds, by the names of its branches alone.
        total: Number of events in the file.
        left_out: What is not learned, and why.
        bad: How many events were not looked at, for each reason.
        masses: Masses that are constants but for rounding, by collection, with the reason.
        derived: Scalars that follow from the rest of the event, with the expression and how closely.
        weight: The event weight.
        negative: What cannot be learned well, since its weighted density is negative somewhere, and where.
        besides: What is learned that was not asked for, and why.
        unit: The unit of momenta.
        told: What a field is, where more is known than its kind, by its name in recipes.
        damaged: Whether there is more, which cannot be read.
        arrays: The fields with a shape that can be learned, which are in the events, but not in the schema
            before they are taken: what is found of single numbers is not for them.
    """

    file: str
    events: ak.Array
    schema: EventSchema
    structure: EventSchema
    total: int
    left_out: dict[str, str] = field(default_factory=dict)
    bad: dict[str, int] = field(default_factory=dict)
    masses: dict[str, tuple[float, str]] = field(default_factory=dict)
    derived: dict[str, tuple[str, float]] = field(default_factory=dict)
    weight: FoundWeight = field(default_factory=FoundWeight)
    negative: dict[str, str] = field(default_factory=dict)
    besides: dict[str, str] = field(default_factory=dict)
    told: dict[str, str] = field(default_factory=dict)
    damaged: bool = False
    arrays: tuple[Field, ...] = ()
    unit: FoundUnit = field(default_factory=FoundUnit)

    @property
    def complete(self) -> bool:
        """Whether everything in the file is learned or derived."""
        return not self.damaged and set(_names(self.structure)) == set(_names(self.schema))

    @property
    def learned(self) -> EventSchema:
        """What is learned: all but what is derived."""
        return Derived(self.schema, {n: e for n, (e, _) in self.derived.items()}).learned

    @property
    def different(self) -> int:
        """How many of the events that were looked at have identifiers of their own."""
        return len(self.once)

    @property
    def once(self) -> ak.Array:
        """The events, but only the first of those with the same identifiers."""
        named = [f for f in self.schema.identifiers if f.name in self.events.fields]
        if not named:
            return self.events
        # Numbers of their values, since those of one type may lose digits in the other's.
        columns = (scalar_values(self.events, f) for f in named)
        keys = np.stack([np.unique(c, return_inverse=True)[1] for c in columns], 1)
        first = np.unique(keys, axis=0, return_index=True)[1]
        # Simulated samples number all events alike, or not at all.
        return self.events[np.sort(first)] if 1 < first.size < len(self.events) else self.events

    def take_arrays(self) -> None:
        """Puts fields with a shape into what is to be learned."""
        self.schema = self.schema.model_copy(update={"scalars": (*self.schema.scalars, *self.arrays)})
        self.arrays = ()

    def leave_out(self, reasons: Mapping[str, str]) -> None:
        """Takes fields of collections out of what is to be learned, for reasons given by name."""
        collections = []
        for c in self.schema.collections:
            kept = tuple(f for f in c.fields if str(Address(c.name, None, f.name)) not in reasons)
            collections += [c.model_copy(update={"fields": kept})] if kept else []
        self.left_out.update(reasons)
        self.schema = self.schema.model_copy(update={"collections": tuple(collections)})
        _restrict(self)

    @property
    def selection(self) -> list[str]:
        """The recipe's ``events.select``: whole collections by name, parts by their fields."""
        names: list[str] = []
        for c in self.schema.collections:
            whole = self.structure.collection(c.name).field_names
            names += (
                [c.name]
                if set(whole) == set(c.field_names)
                else [str(Address(c.name, None, f.name)) for f in c.fields]
            )
        scalars = (n for n in self.learned.scalar_names if n != self.schema.weight)
        return [*names, *(str(Address(None, None, n)) for n in scalars)]


def look_at(
    file: str,
    wanted: Sequence[str],
    max_events: int,
    weight: str | None = None,
    read: Sequence[str] = (),
    unit: Unit | None = None,
    damaged: Mapping[str, str] = MappingProxyType({}),
) -> Contents:
    """Reads a part of a file, and decides what of it is to be learned.

    Args:
        file: ``FILE.root:Tree``.
        wanted: Collections, fields and scalars that the user asked for, and patterns of these; all that can
            be learned if empty.
        max_events: How many events to look at.
        weight: The scalar that is the event weight, or ``none``; found if None.
        read: Branches that an analysis reads, to be learned where they can be, besides those asked for.
        unit: The unit of momenta; told from the data if None.
        damaged: Branches that cannot be read, with the reasons.

    Raises:
        InputError: If the file cannot be read, has nothing to learn, or lacks what was asked for.
    """
    files = files_of(file)
    total = files.entries
    left_out = {} if read else dict.fromkeys(files.others, "neither numbers nor lists of numbers")
    left_out |= files.left_out
    structure = readable(files, damaged, [*wanted, *([] if weight is None else [weight])], left_out)
    if not structure.collections and not structure.scalars:
        raise nothing(file, structure, left_out)
    found = find_weight(file, structure, weight, max_events)
    structure = weighted_by(structure, found.written)
    branches = sum(len(f.branches) for c in structure.collections for f in c.fields)
    branches += len(structure.scalars)
    besides: dict[str, str] = {}
    asked = _asked(structure, wanted, file, besides)
    if read:
        analysed = _without_variations(of_analysis(structure, read, left_out, besides), left_out)
        chosen = select(structure, [*_names(asked), *_names(analysed)])
    elif wanted:
        chosen = asked
    else:
        chosen = _default(structure, branches, left_out)
    names = _names(chosen)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        chosen = infer_schema(file, branches=names, max_events=min(_LOOK, max_events), on_bad="keep")
        chosen = weighted_by(chosen, found.written)
    limits = {c.name: (c.min_count, c.max_count) for c in chosen.collections}
    chosen = _without_crowds(chosen, left_out, set(asked.collection_names))
    chosen = _without_empty(chosen, left_out)
    names = _names(chosen)
    if not [n for n in names if n != chosen.weight]:
        raise nothing(file, structure, left_out)
    cells = sum(f.cells for f in chosen.arrays)
    most = min(max_events, max(_LOOK, _CELLS // cells)) if cells else max_events
    events = read_events(file, branches=names, entry_stop=most, on_bad="keep")
    seen = weighted_by(schema_of(events), found.written)
    # The first look counted the objects of all events, where the file has counters.
    collections = tuple(
        c.model_copy(
            update={
                "min_count": min(c.min_count, limits[c.name][0]),
                "max_count": max(c.max_count, limits[c.name][1]),
            }
        )
        for c in seen.collections
    )
    units = find_unit(events, seen) if unit is None else FoundUnit(unit, asked=True)
    arrays = tuple(f for f in seen.scalars if f.shape)
    scalars = tuple(f for f in seen.scalars if not f.shape)
    left_out |= {f.name: why for f in arrays if (why := unlearnable_array(f, events))}
    schema = seen.model_copy(update={"collections": collections, "scalars": scalars, "unit": units.unit})
    contents = Contents(
        file, events, schema, structure, total, left_out, weight=found, unit=units, damaged=bool(damaged)
    )
    contents.arrays = tuple(f for f in arrays if f.name not in left_out)
    _drop_unusable(contents, explicit=set(wanted))
    numbers = [n for n in _names(contents.schema) if n != contents.schema.weight]
    if not (numbers or contents.arrays):
        raise nothing(file, contents.schema, left_out)
    contents.events, contents.bad = drop_faulty(contents.events, contents.schema, file)
    if not len(contents.events):
        msg = f"all events are bad: {'; '.join(contents.bad)}"
        raise InputError(msg, file=file)
    _drop_negative(contents, explicit=set(wanted))
    contents.besides = {n: besides[n] for n in _names(contents.schema) if n in besides}
    _find_masses(contents)
    return contents


def values_of(
    events: ak.Array, schema: EventSchema, collection: str | None, name: str
) -> NDArray[np.generic]:
    """All values of a field, in a row, or those of a scalar if the collection is None."""
    if collection is None:
        return scalar_values(events, schema.scalar(name))
    return parts(events, schema.collection(collection)).fields[name]


def _names(schema: EventSchema) -> list[str]:
    """Everything but identifiers, field by field."""
    fields = [Address(c.name, None, f.name) for c in schema.collections for f in c.fields]
    return [str(a) for a in (*fields, *(Address(None, None, n) for n in schema.scalar_names))]


def _asked(schema: EventSchema, wanted: Sequence[str], file: str, besides: dict[str, str]) -> EventSchema:
    try:
        return named(schema, wanted, besides)
    except InputError as error:
        msg = f"--select: {error.message}"
        raise InputError(msg, file=file) from None


def _default(schema: EventSchema, branches: int, left_out: dict[str, str]) -> EventSchema:
    """Everything, or of a file of many branches what analyses usually read."""
    if branches > _MANY_BRANCHES and (chosen := usual(schema, left_out)) is not None:
        return chosen
    names = (*schema.collection_names, *schema.scalar_names)
    factors = {name: reason for name in names if (reason := factor_reason(name, schema))}
    left_out.update(factors)
    collections = tuple(c for c in schema.collections if c.name not in factors)
    scalars = tuple(f for f in schema.scalars if f.name not in factors)
    return schema.model_copy(update={"collections": collections, "scalars": scalars})


def _without_variations(schema: EventSchema, left_out: dict[str, str]) -> EventSchema:
    reasons = {c.name: reason for c in schema.collections if (reason := unlearnable(c))}
    left_out.update(reasons)
    return schema.model_copy(
        update={"collections": tuple(c for c in schema.collections if c.name not in reasons)}
    )


def _without_crowds(schema: EventSchema, left_out: dict[str, str], asked: set[str]) -> EventSchema:
    kept: list[Collection] = []
    reasons: dict[str, str] = {}
    for c in schema.collections:
        crowded = c.max_count > 2 * _CROWD or (c.max_count > _CROWD and c.min_count > _CROWD // 2)
        if crowded and c.name not in asked:
            reasons[c.name] = (
                f"up to {c.max_count} objects in an event look like constituents; "
                f"`hepgan init --select {c.name}` takes them"
            )
        else:
            kept.append(c)
    crowd = [c for c in schema.collections if c.name in reasons]
    if not kept and (not schema.scalars or sum(c.max_count * len(c.fields) for c in crowd) <= _WIDE):
        return schema  # they are what the file is about
    left_out.update(reasons)
    return schema.model_copy(update={"collections": tuple(kept)})


def _without_empty(schema: EventSchema, left_out: dict[str, str]) -> EventSchema:
    for c in schema.collections:
        if c.max_count == 0:
            left_out[c.name] = "there are none in any event"
    kept = tuple(c for c in schema.collections if c.max_count)
    return schema.model_copy(update={"collections": kept})


def _drop_unusable(contents: Contents, explicit: set[str]) -> None:
    """Takes away what training would refuse, or what says nothing new."""
    schema, left_out = contents.schema, contents.left_out
    collections = []
    for c in schema.collections:
        _, columns = parts(contents.events, c)
        asked = bool(explicit & {c.name, *(str(Address(c.name, None, f.name)) for f in c.fields)})
        bad = {
            f.name: reason
            for f in c.fields
            if (reason := unlearnable(c, f) or _unusable(f, columns[f.name], asked))
        }
        left_out.update({str(Address(c.name, None, n)): reason for n, reason in bad.items()})
        kept = tuple(f for f in c.fields if f.name not in bad)
        if kept:
            collections.append(c.model_copy(update={"fields": kept}))
    scalars = []
    for f in schema.scalars:
        values = scalar_values(contents.events, f)
        asked = bool(explicit & {f.name, f.branch, quoted(f.name)})
        reason = _unusable(f, values, asked) or ("" if asked else _counter(f, values))
        if reason and f.name != schema.weight:
            left_out[f.name] = reason
        else:
            scalars.append(f)
    contents.schema = schema.model_copy(update={"collections": tuple(collections), "scalars": tuple(scalars)})
    _restrict(contents)


def _drop_negative(contents: Contents, explicit: set[str]) -> None:
    """Takes away what has a negative density with these weights, but for momenta and what was asked for."""
    schema = contents.schema
    gone: set[Address] = set()
    for address, found in negative_fields(contents.events, schema).items():
        where = f"from {found.low:.6g} to {found.high:.6g}"
        much = f"{found.significance:.0f} standard deviations below 0"
        name = str(address)
        of_momentum = address.collection is not None and (
            address.field in schema.collection(address.collection).coordinates
        )
        if of_momentum or explicit & {name, address.name}:
            contents.negative[name] = f"{where} ({much})"
        else:
            gone.add(address)
            contents.left_out[name] = (
                f"its density, weighted by {schema.weight}, is negative {where} ({much}), so there is no "
                "distribution to learn, as of a quantity that the weights were made from"
            )
    if not gone:
        return
    collections = tuple(
        c.model_copy(update={"fields": kept})
        for c in schema.collections
        if (kept := tuple(f for f in c.fields if Address(c.name, None, f.name) not in gone))
    )
    scalars = tuple(f for f in schema.scalars if Address(None, None, f.name) not in gone)
    contents.schema = schema.model_copy(update={"collections": collections, "scalars": scalars})
    _restrict(contents)


def _restrict(contents: Contents) -> None:
    """Takes what the schema no longer holds out of the events."""
    events, schema = contents.events, contents.schema
    for c in schema.collections:
        gone = [n for n in events[c.name].fields if n not in c.field_names]
        if gone:
            # Without one of its coordinates, what is left may be a momentum of another kind, or none.
            kept = {n: events[c.name][n] for n in c.field_names}
            one = c.layout == "single"
            rest = ak.zip(kept, depth_limit=1 if one else 2, with_name=record_name(c.field_names))
            events = ak.with_field(events, rest, c.name)
    others = (f.name for f in (*schema.identifiers, *contents.arrays))
    here = {*schema.collection_names, *schema.scalar_names, *others}
    contents.events = events[[n for n in events.fields if n in here]]


def _unusable(f: Field, values: NDArray[np.generic], asked: bool) -> str:
    """Why a field cannot be learned; a few bad values cost their events instead."""
    there = values if f.missing is None or f.dtype == "string" else values[~is_missing(values, f.missing)]
    if values.dtype.kind == "f" and not asked:
        wrong = int((~np.isfinite(there)).sum())
        if wrong > _MOST_BAD * values.size:
            return f"{wrong:,} of {values.size:,} values are not finite (NaN or infinite)"
        if values.size and not there.size:
            return "it is missing in all events"
    if values.dtype.kind in "iu" and values.size:
        low, high = int(values.min()), int(values.max())
        if high >= 2**63 or high - low > (2**53 if f.kind is Kind.CATEGORY else WHOLE):
            return f"whole numbers from {low} to {high}, whose last digits no model would keep"
    if f.dtype == "string" and f.values is not None and len(f.values) > _TEXTS:
        return f"text with {len(f.values):,} different values"
    return ""


def _counter(f: Field, values: NDArray[np.generic]) -> str:
    if f.kind is not Kind.INTEGER or values.size < 30:
        return ""
    number = np.unique(values).size
    rises = bool((np.diff(values.astype(np.float64)) >= 0).all())
    if number > 0.9 * values.size and (rises or number == values.size > 1000):
        return "nearly every event has its own value: it names the event"
    return ""


def _find_masses(contents: Contents) -> None:
    for c in contents.schema.collections:
        if "mass" in c.field_names and len(c.coordinates) == 4:
            masses = values_of(contents.events, contents.schema, c.name, "mass").astype(np.float64)
            found = constant_mass(c.name, masses, contents.schema.gev)
            if found is not None:
                contents.masses[c.name] = found


def counts(c: Collection) -> str:
    """How many objects there are, in words."""
    if c.layout == "single":
        return "one in every event"
    number = f"{c.max_count} in every event" if c.fixed else f"{c.min_count} to {c.max_count} in an event"
    return "; ".join(part for part in (number, filled(c)) if part)
