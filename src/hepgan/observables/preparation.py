"""What is made of a file's events before anything is learned: aligned objects, grids, plain numbers."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import awkward as ak

from hepgan.errors import InputError, RecipeError
from hepgan.events import EventSchema, read_events, schema_of, select, with_grids
from hepgan.events.common import Files, listed, names_in
from hepgan.events.inference import attach
from hepgan.events.reading import (
    Paths,
    Places,
    chunks_as_read,
    chunks_of,
    files_of,
    inferred,
    read_part,
)
from hepgan.events.schema import Address
from hepgan.events.shapes import Grids
from hepgan.events.weights import NO_WEIGHT
from hepgan.observables.images import Outside
from hepgan.observables.language import CONSTANTS, parse
from hepgan.observables.making import make

__all__ = ["Preparation", "Reading"]

_DONE = "@hepgan_prepared"
"""The attribute that tells what was made of events already."""

_STEP = 100_000
"""So many events are prepared at a time."""

_LOOKED = 1_000_000
"""So many events tell what all files hold."""

_LOOK = 1000
"""So many events tell what is made of all."""

OnBad = Literal["raise", "drop", "keep"]


@dataclass(frozen=True)
class _Plan:
    """What of files has to be read.

    Attributes:
        reading: Arguments of `read_events`.
        making: What is made of that.
        spare: What of all that is not asked for.
    """

    reading: dict[str, Any]
    making: Mapping[str, set[str]] = field(default_factory=dict)
    spare: Collection[str] = ()

    def kept(self, events: ak.Array) -> ak.Array:
        """What is asked for."""
        return events[[n for n in events.fields if n not in self.spare]] if self.spare else events


class Preparation:
    """What is made of events that enter: ``{"Aligned": "aligned(Constituent, deta, dphi)", ...}``.

    It is made anew wherever all that its expression needs is there, of the file or of what was made before
    it. Where that is not there, as in files of generated events, the events have it already.

    Args:
        expressions: What is made, in order: objects, fields with a shape, numbers of the event.

    Raises:
        RecipeError: If an expression is not of the language.

    Attributes:
        told: What was made of the last events, in words.
    """

    def __init__(self, expressions: Mapping[str, str]) -> None:
        self.expressions = dict(expressions)
        self.told: list[str] = []
        self._outside: dict[str, Outside] = {}
        self._parsed = {}
        for name, text in expressions.items():
            try:
                self._parsed[name] = parse(text)
            except RecipeError as error:
                msg = f"events.prepared: {name}: {error.message}"
                raise RecipeError(msg) from None

    @property
    def axes(self) -> Grids:
        """The axes of what is a ``grid(...)``, as of `hepgan.events.with_grids`."""
        grids = {name: parsed.grid for name, parsed in self._parsed.items()}
        return {name: axes for name, axes in grids.items() if axes}

    def __bool__(self) -> bool:
        return bool(self.expressions)

    # ------------------------------------------------------------------ what is made of what

    def made_of(
        self, there: Collection[str], wanted: Collection[str] | None = None, *, strict: bool = True
    ) -> dict[str, set[str]]:
        """What is made of events, each with the names in them that it takes, directly or by others.

        Args:
            there: Names of collections and scalars that events have.
            wanted: What is asked for; everything if None.
            strict: Whether what can neither be made nor is there is an error.

        Raises:
            InputError: If there is such a thing.
        """
        found: dict[str, set[str]] = {}
        for name in self.expressions:
            sources: set[str] = set()
            lacking = None
            for used in self._uses(name):
                known = used in found or used in there
                # Numbers of objects are called nJet.
                source = used[1:] if used.startswith("n") and not known else used
                if source in found:
                    sources |= found[source]
                elif source in there:
                    sources.add(source)
                else:
                    lacking = used
            if lacking is None:
                found[name] = sources
            elif strict and name not in there and self._needed(name, there, wanted):
                msg = f"{name} is prepared from {lacking}, and the events have neither"
                raise InputError(msg, branch=lacking)
        if wanted is None:
            return found
        kept = {_owner(name) for name in wanted}
        for name in reversed(found):
            if name in kept:
                kept |= {u for used in self._uses(name) for u in (used, used.removeprefix("n"))}
        return {name: sources for name, sources in found.items() if name in kept}

    def _needed(self, name: str, there: Collection[str], wanted: Collection[str] | None) -> bool:
        """Whether something is asked for, and no mere step on the way to others, which are there already."""
        if wanted is not None:
            return name in wanted
        users = [other for other in self.expressions if name in self._uses(other)]
        return not users or not all(other in there for other in users)

    def _uses(self, name: str) -> list[str]:
        return sorted(self._parsed[name].names - CONSTANTS.keys())

    # ----------------------------------------------------------------------- events in memory

    def __call__(
        self, events: ak.Array, *, wanted: Collection[str] | None = None, strict: bool = True
    ) -> ak.Array:
        """The events with what is made of them; all else stays.

        Args:
            events: N events.
            wanted: What is asked for; everything if None.
            strict: Whether what can neither be made nor is there is an error.

        Raises:
            InputError: If there is such a thing.
            RecipeError: If an expression does not fit the events.
        """
        self.told, self._outside = [], {}
        expressions, told = events.attrs.get(_DONE, ({}, []))
        if expressions == self.expressions and all(n in events.fields for n in expressions):
            self.told = told
            return events
        if not len(events):
            return events
        making = self.made_of(events.fields, wanted, strict=strict)
        if not making:
            return _with_axes(events, self.axes)
        single = _single(schema_of(events), set().union(*making.values()))
        axes = dict(self.axes)
        for name in making:
            try:
                made = make(self._parsed[name], events, single=single)
            except RecipeError as error:
                msg = f"events.prepared: {name}: {error.message}"
                raise RecipeError(msg) from None
            axes |= {name: {a.name: (a.low, a.high) for a in made.axes}} if made.axes else {}
            events = ak.with_field(events, made.column, name)
            self._outside[name] = made.outside
            self.told.append(_line(name, self.expressions[name], made.outside))
        events = _with_axes(events, axes)
        events.attrs[_DONE] = (self.expressions, self.told)
        return events

    # ------------------------------------------------------------------------------ files

    def read(
        self,
        paths: Paths,
        *,
        schema: EventSchema | None = None,
        branches: Iterable[str] | None = None,
        weight: str | None = None,
        grids: Grids | None = None,
        on_bad: OnBad = "raise",
    ) -> ak.Array:
        """Events of files, as `hepgan.events.read_events` reads them, with what is made of them.

        Args:
            paths: The files.
            schema: What the events are to hold.
            branches: Or a part of what there is, by names as of `hepgan.events.select`; everything if both
                are None.
            weight: The number of the event that is its weight, or ``none``.
            grids: Axes of arrays that the files have.
            on_bad: What is done with bad events.

        Raises:
            InputError: As of `hepgan.events.read_events`, or if something can neither be made nor is there.
            RecipeError: If an expression does not fit the events.
        """
        plan = self._plan(paths, schema, branches, weight, grids)
        events = read_events(paths, **plan.reading, on_bad=on_bad)
        return plan.kept(self(events, wanted=plan.making)) if plan.making else events

    def iterate(
        self,
        paths: Paths,
        step: int,
        *,
        schema: EventSchema | None = None,
        branches: Iterable[str] | None = None,
        weight: str | None = None,
        grids: Grids | None = None,
        on_bad: OnBad = "raise",
    ) -> Iterator[ak.Array]:
        """What :meth:`read` gives in chunks of up to ``step`` events, as of `reading.chunks_as_read`."""
        plan = self._plan(paths, schema, branches, weight, grids)
        outside: dict[str, Outside] = {}
        for chunk in chunks_as_read(paths, step, **plan.reading, on_bad=on_bad):
            if plan.making:
                whole = self(chunk, wanted=plan.making)
                for name, found in self._outside.items():
                    outside.setdefault(name, Outside()).add(found)
                chunk = plan.kept(whole)
            yield chunk
        self.told = [_line(name, self.expressions[name], found) for name, found in outside.items()]

    def note(self, attrs: MutableMapping[str, Any]) -> None:
        """Says in the attributes of events that came in chunks what was made of all of them."""
        if _DONE in attrs:
            attrs[_DONE] = (self.expressions, self.told)

    @staticmethod
    def noted(attrs: Mapping[str, Any]) -> list[str]:
        """What was made of events, in words, by their attributes."""
        told: list[str] = attrs.get(_DONE, ({}, []))[1]
        return told

    def _plan(
        self,
        paths: Paths,
        schema: EventSchema | None,
        branches: Iterable[str] | None,
        weight: str | None,
        grids: Grids | None,
    ) -> _Plan:
        """What of files has to be read, and what is to be made of that."""
        named = None if branches is None else list(branches)

        def plain(grids: Grids | None) -> _Plan:
            # A schema knows its axes.
            grids = None if schema is not None else grids
            return _Plan({"schema": schema, "branches": named, "weight": weight, "grids": grids})

        if not self:
            return plain(grids)
        wanted = names_in(schema) if schema is not None else named
        found = files_of(paths).schema
        there = _names(found)
        try:
            making = self.made_of(there, wanted if wanted is None else {_owner(n) for n in wanted})
        except InputError as error:
            raise InputError(error.message, file=listed(paths), branch=error.branch) from None
        shaped = {f.name for f in found.scalars if f.shape}
        grids = {n: a for n, a in self.axes.items() if n in shaped} | dict(grids or {})
        grids = {n: a for n, a in grids.items() if n not in making}
        if not making:
            return plain(grids)
        spare: set[str] = set()
        if wanted is not None:
            kept = [n for n in wanted if _owner(n) not in making]
            spare = set().union(making, *making.values()) - {_owner(n) for n in wanted}
            wanted = [*kept, *sorted(set().union(*making.values()) - {*kept})]
        weight = schema.weight or NO_WEIGHT if schema is not None else weight
        return _Plan({"branches": wanted, "weight": weight, "grids": grids}, making, spare)

    def known(self, files: Files) -> Files:
        """Files with a schema that has what can be made of their events, too."""
        making = self.made_of(_names(files.schema), strict=False)
        if not making:
            return files
        sources = sorted(set().union(*making.values()))
        places = [path if tree is None else f"{path}:{tree}" for path, tree in files.places]
        first = read_events(places, branches=sources, weight=NO_WEIGHT, entry_stop=_LOOK, on_bad="keep")
        made = schema_of(self(first, strict=False))
        rest = files.schema
        update = {
            "collections": (
                *(c for c in rest.collections if c.name not in making),
                *(c for c in made.collections if c.name in making),
            ),
            "scalars": (
                *(f for f in rest.scalars if f.name not in making),
                *(f for f in made.scalars if f.name in making),
            ),
        }
        return replace(files, schema=rest.model_copy(update=update))

    def whole(self, files: Files, layout: EventSchema) -> ak.Array:
        """All events of files, as `chunks` gives them.

        Raises:
            InputError: As of `hepgan.events.read_events`.
        """
        if not self._here(files, layout):
            return read_part(files, layout)
        parts = list(self.chunks(files, layout, _STEP, "raise"))
        if not parts:
            msg = "there are no events"
            raise InputError(msg, file=files.named)
        return parts[0] if len(parts) == 1 else ak.concatenate(parts)

    def _here(self, files: Files, layout: EventSchema) -> dict[str, set[str]]:
        """What of a layout is made of the events of files that :meth:`known` gives."""
        return self.made_of(_names(files.schema) - self.expressions.keys(), _names(layout), strict=False)

    def chunks(self, files: Files, layout: EventSchema, step: int, on_bad: OnBad) -> Iterator[ak.Array]:
        """The events of files in chunks, whose schemas have what all files hold.

        Args:
            files: What :meth:`known` gives.
            layout: A part of their schema.
            step: Events in a chunk.
            on_bad: What is done with bad events.
        """
        return self.reading(files, layout, on_bad).chunks(files.places, step)

    def reading(self, files: Files, layout: EventSchema, on_bad: OnBad) -> Reading:
        """How each of the files, or a part of it, is read like all of them, as of :meth:`chunks`.

        Raises:
            InputError: As of `hepgan.events.read_events`.
        """
        wanted = _names(layout)
        making = self._here(files, layout)
        read, sources = layout, set[str]()
        if making:
            kept = [n for n in (*names_in(layout), *_weight_of(layout)) if _owner(n) not in making]
            sources = set().union(*making.values()) - {*kept}
            read = select(files.schema, [*kept, *sorted(sources)])
            read = read.model_copy(update={"weight": layout.weight, "identifiers": layout.identifiers})
        schema = inferred(files.places, read, _LOOKED, on_bad)
        return Reading(schema, on_bad, self if making else None, wanted, sources - wanted)


@dataclass(frozen=True)
class Reading:
    """How events are read of files, here or in another process, in parts that fit together.

    Attributes:
        schema: What is read, with the kinds, ranges and numbers of objects of all files.
        on_bad: What is done with bad events.
        preparation: What is made of the events; None for nothing.
        wanted: Names of what is asked for.
        spare: Names of what is read only for what is made of it.
    """

    schema: EventSchema
    on_bad: OnBad
    preparation: Preparation | None
    wanted: set[str]
    spare: set[str]

    def chunks(
        self,
        places: Places,
        step: int,
        *,
        entry_start: int | None = None,
        entry_stop: int | None = None,
    ) -> Iterator[ak.Array]:
        """Events of files.

        Args:
            places: The files, or some of them.
            step: Events in a chunk.
            entry_start: The first event.
            entry_stop: The event after the last one.

        Raises:
            InputError: As of `hepgan.events.read_events`.
        """
        found = chunks_of(
            places, self.schema, step, self.on_bad, entry_start=entry_start, entry_stop=entry_stop
        )
        for chunk in found:
            if self.preparation is None:
                yield chunk
                continue
            whole = self.preparation(chunk, wanted=self.wanted, strict=False)
            yield whole[[n for n in whole.fields if n not in self.spare]]


def _with_axes(events: ak.Array, axes: Grids) -> ak.Array:
    """Events whose schema has axes of arrays that have none."""
    schema = schema_of(events)
    bare = {f.name for f in schema.scalars if f.shape and not f.axes}
    attach(events, with_grids(schema, {n: a for n, a in axes.items() if n in bare}))
    return events


def _names(schema: EventSchema) -> set[str]:
    return {*schema.collection_names, *schema.scalar_names}


def _weight_of(schema: EventSchema) -> tuple[str, ...]:
    return () if schema.weight is None else (schema.weight,)


def _owner(name: str) -> str:
    """The collection, or the number of the event, of a name as of `hepgan.events.select`."""
    try:
        return Address.parse(name).name
    except ValueError:
        return name


def _single(schema: EventSchema, sources: Iterable[str]) -> bool:
    """Whether sources have no number of double precision."""
    named = set(sources)
    fields = [f for c in schema.collections if c.name in named for f in c.fields]
    fields += [f for f in schema.scalars if f.name in named]
    return not any(f.dtype == "float64" for f in fields)


def _line(name: str, text: str, outside: Outside) -> str:
    """What was made, in words."""
    if not outside.outside:
        return f"{name} = {text}"
    weight = f", {_share(outside.lost, outside.weight)} of the weight" if outside.weight > 0 else ""
    return (
        f"{name} = {text}; outside: {outside.outside:,} of {outside.objects:,} objects "
        f"({_share(outside.outside, outside.objects)}{weight})"
    )


def _share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.3g}%"
