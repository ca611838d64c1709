"""Objects that are absent in part of the events, told from the values in their places.

Files without lists have a number of places for objects in each event, and something that stands where there
is none: -999 or NaN in all numbers of ``jet3``, zeros at the end of ``part_pt[30]``, 0 in ``part_mask``, or
``n_jets`` says how many there are. What is looked for, in this order:

1. A mask: a number of the places that is 0 (or 1) where all other numbers are always the same.
2. Fills: values that all numbers of a place have together, in several events, and that one of them has
   nowhere else. A single object needs some of them outside the range of what objects have.
3. A counter: a number of the event that is called so (``n_jets``), and beyond which all numbers are the same.

A number of the event that equals the number of objects is then their counter. Objects that are the first ones
in all events make a list; where they have roles (``lep1`` lacks, ``lep2`` is there), each is a collection of
its own.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hepgan.events.buffers import Numbers
from hepgan.events.formats import Source
from hepgan.events.missing import is_null
from hepgan.events.schema import Collection, Counter, EventSchema, Field
from hepgan.events.slots import is_fill

__all__ = ["with_absent"]

_EVENTS, _NUMBERS = 100_000, 20_000_000
"""How many events and numbers are looked at, at most."""

_LOOK = 1_000
"""Events in which numbers of the event are compared with numbers of objects first."""

_USUAL = (-999.0, -9999.0, -99.0, -9.0, -99999.0, -1000.0, -100.0, -10.0, -1.0, 0.0, 999.0, 9999.0, 99999.0)
"""Values that often stand for nothing, so that one object without numbers is enough."""

_OFTEN, _SHARE = 20, 1e-3
"""How often numbers have to be the same together where none of them usually stands for nothing."""

_FEW = 5
"""How often a momentum has to be 0 for it to be of no object."""

_COUNTING = re.compile(r"(n|num|number|nof|numof|numberof) s?| (n|num|size|count|mult|multiplicity)")
"""A counter's name, with a blank for that of the objects."""

_MASK = re.compile(r"(is_?)?(mask|valid|exists?|present|padding|padded)", re.IGNORECASE)


@dataclass
class _Absence:
    """What tells that objects are absent: where (N, K), fills by field, a mask, a counter."""

    absent: NDArray[np.bool_]
    fills: dict[str, float]
    mask: str | None = None
    counter: Field | None = None

    @property
    def trailing(self) -> bool:
        """Whether all objects are the first ones."""
        return bool((self.absent[:, :-1] <= self.absent[:, 1:]).all())


def with_absent(source: Source, schema: EventSchema) -> EventSchema:
    """A drafted schema with what its values tell of absent objects.

    Args:
        source: The file.
        schema: What it holds by the names of its branches.
    """
    looked = [c for c in schema.collections if _may_lack(c)]
    if not looked or not source.entries:
        return schema
    taken = {*schema.collection_names, *schema.scalar_names, *(f.name for f in schema.identifiers)}
    looked, collections = _joined(source, schema, looked, taken)
    found: dict[str, list[Collection]] = {}
    gone: set[str] = set()
    for c in looked:
        tables = _tables(source, c)
        if tables is None:
            continue
        absence = _absence(c, tables)
        if absence is None and c.slotted:
            absence = _by_counter(c, tables, _numbers(source, schema, gone, len(_first(tables))))
        if absence is None:
            continue
        if c.layout == "padded" and not absence.trailing:
            continue
        counters = _numbers(source, schema, gone, len(absence.absent))
        made = list(_made(c, tables, absence, counters, taken))
        found[c.name] = made
        gone |= {n.branch for m in made for n in m.counters}
    scalars = tuple(f for f in schema.scalars if f.branch not in gone)
    collections = [m for c in collections for m in found.get(c.name, [c])]
    weight = schema.weight if schema.weight in {f.name for f in scalars} else None
    return schema.model_copy(update={"collections": tuple(collections), "scalars": scalars, "weight": weight})


def _may_lack(c: Collection) -> bool:
    """Whether objects may be absent, and numbers would tell."""
    if c.layout == "jagged" or any(f.dtype == "string" for f in c.fields):
        return False
    return c.slotted or (len(c.fields) > 1 and bool(c.coordinates))


def _joined(
    source: Source, schema: EventSchema, looked: list[Collection], taken: set[str]
) -> tuple[list[Collection], list[Collection]]:
    """What is looked at, and all collections, where arrays without a prefix that lack together are joined.

    A mask is one of those whose numbers lack where it says so.
    """
    alone = [c for c in looked if c.layout == "padded" and c.field_names == ("value",)]
    sizes = {c.size for c in alone}
    hosts = [c for c in looked if c.layout == "padded" and c.size in sizes]
    if not alone or len(hosts) < 2:
        return looked, list(schema.collections)
    masks: list[tuple[Collection, NDArray[np.bool_]]] = []
    groups: dict[tuple[int | None, bytes], list[Collection]] = {}
    for c in hosts:
        tables = _tables(source, c)
        first = None if tables is None else _first(tables)
        if c in alone and first is not None and first.max() == 1 and ((first == 0) | (first == 1)).all():
            masks.append((c, first == 0))
        elif tables is not None and (absence := _absence(c, tables)) is not None and absence.trailing:
            groups.setdefault((c.size, absence.absent.tobytes()), []).append(c)
    for mask, absent in masks:
        key = next((k for a in (absent, ~absent) if (k := (mask.size, a.tobytes())) in groups), None)
        if key is not None:
            groups[key].append(mask)
    instead: dict[str, list[Collection]] = {}
    for group in groups.values():
        host = next((c for c in group if c not in alone), group[0])
        named = [(f.branch if c in alone else f.name, f) for c in group for f in c.fields]
        if (
            len(group) < 2
            or len({n for n, _ in named}) < len(named)
            or sum(c not in alone for c in group) > 1
        ):
            continue
        name = host.name if host not in alone else _free("Particle", taken)
        fields = tuple(f.model_copy(update={"name": n}) for n, f in named)
        instead |= {c.name: [] for c in group}
        instead[host.name] = [host.model_copy(update={"name": name, "fields": fields})]
    after = [[m for c in cs for m in instead.get(c.name, [c])] for cs in (looked, schema.collections)]
    return after[0], after[1]


def _free(name: str, taken: set[str]) -> str:
    """A name that nothing has."""
    while name in taken:
        name += "Objects"
    taken.add(name)
    return name


def _tables(source: Source, c: Collection) -> dict[str, Numbers] | None:
    """The numbers (N, K) of places in the first events; None if nothing lacks, as a few of them tell."""
    size = len(c.fields) * (c.places if c.slotted else 1)
    stop = min(source.entries, _EVENTS, max(_LOOK, _NUMBERS // size))
    fields = c.fields
    if c.layout == "single":
        # A file may have many numbers of one object; a few of its momentum show whether it may lack.
        momentum = tuple(f for f in c.fields if f.name in c.coordinates)
        first = _read(source, momentum, c, stop)
        if not any(_repeated(v) for v in first.values()):
            return None
    return _read(source, fields, c, stop)


def _read(source: Source, fields: Iterable[Field], c: Collection, stop: int) -> dict[str, Numbers]:
    fields = list(fields)
    columns = source.read([b for f in fields for b in f.branches], 0, stop)
    if c.layout == "padded":
        return {f.name: np.asarray(columns[f.branch]) for f in fields}
    return {f.name: np.stack([np.asarray(columns[b]) for b in f.branches], axis=1) for f in fields}


def _first(tables: Mapping[str, Numbers]) -> Numbers:
    return next(iter(tables.values()))


def _repeated(values: Numbers) -> bool:
    """Whether a number that varies has one value more often than chance would have it, or NaN."""
    return bool(_candidates(values))


def _candidates(table: Numbers) -> list[float]:
    """Values of a number that may stand for no object, the most frequent first."""
    values = table.reshape(-1)
    found: list[float] = []
    if values.dtype.kind == "f":
        missing = np.isnan(values)
        if missing.all():
            return []
        if missing.any():
            found.append(math.nan)
            values = values[~missing]
    values = values.astype(np.int8) if values.dtype.kind == "b" else values
    sample = values[:: max(1, values.size // 50_000)]
    distinct, counts = np.unique(sample, return_counts=True)
    if distinct.size < 2 and not found:
        return []
    often = np.argsort(-counts, kind="stable")[:3]
    found += [_plain(distinct[i].item()) for i in often if counts[i] > 1]
    found += [v for v in _USUAL if v not in found and _has(values, v)]
    return found


def _has(values: Numbers, value: float) -> bool:
    if values.dtype.kind == "u" and value < 0:
        return False
    return bool((values == np.asarray(value, values.dtype)).any()) if _fits(values, value) else False


def _fits(values: Numbers, value: float) -> bool:
    if values.dtype.kind == "f":
        return True
    ends = np.iinfo(values.dtype)
    return ends.min <= value <= ends.max


def _absence(c: Collection, tables: Mapping[str, Numbers]) -> _Absence | None:
    masked = _masked(tables) if c.slotted and len(tables) > 1 else None
    if masked is not None:
        return masked
    best: _Absence | None = None
    for name in tables:
        for value in _candidates(tables[name]):
            found = _together(tables, name, value)
            if found is None or not _convincing(c, tables, found):
                continue
            if best is None or found.absent.sum() > best.absent.sum():
                best = found
        if best is not None:
            break
    return best


def _masked(tables: Mapping[str, Numbers]) -> _Absence | None:
    """What a mask tells, the most telling name first."""
    for name in sorted(tables, key=lambda n: not _MASK.fullmatch(n)):
        table = tables[name]
        low, high = table.min(), table.max()
        if not (low == 0 and high == 1 and ((table == 0) | (table == 1)).all()):
            continue
        called = bool(_MASK.fullmatch(name))
        for fill in (0, 1):
            absent = table == fill
            others = {n: t for n, t in tables.items() if n != name}
            fills = {n: v for n, t in others.items() if (v := _constant(t[absent])) is not None}
            varies = any(_constant(t[~absent]) is None for t in others.values())
            found = _Absence(absent, fills, mask=name)
            if varies and (len(fills) == len(others) or (called and fill == 0 and found.trailing)):
                return found
    return None


def _constant(values: Numbers) -> float | None:
    """The value that all have; None if they differ."""
    if not values.size:
        return None
    first = values.flat[0].item()
    if isinstance(first, float) and math.isnan(first):
        return math.nan if np.isnan(values).all() else None
    return _plain(first) if (values == first).all() else None


def _plain(value: Any) -> float:
    """A value as a fill: false is 0, and so is -0.0, which is equal to it."""
    return float(value) + 0.0


def _together(tables: Mapping[str, Numbers], name: str, value: float) -> _Absence | None:
    """Where a number has a value, and all others have one, too: the most frequent."""
    absent = is_fill(tables[name], value)
    fills = {name: value}
    for other, table in tables.items():
        if other == name:
            continue
        there = table[absent]
        if not there.size:
            return None
        fill = _constant(there)
        if fill is None:
            kept = there[~np.isnan(there)] if there.dtype.kind == "f" else there
            distinct, counts = np.unique(kept, return_counts=True)
            missing = there.size - kept.size
            most = int(counts.max()) if counts.size else 0
            fill = math.nan if missing > most else _plain(distinct[counts.argmax()].item())
            absent = absent & is_fill(table, fill)
        fills[other] = fill
    return _Absence(absent, fills)


def _convincing(c: Collection, tables: Mapping[str, Numbers], found: _Absence) -> bool:
    """Whether numbers that are the same together stand for no object."""
    number = int(found.absent.sum())
    if not number or number == found.absent.size:
        return False
    telling, outside = [], []
    for name, table in tables.items():
        there, fill = table[~found.absent], found.fills[name]
        if not is_fill(there, fill).any() and _constant(there) is None:
            telling.append(name)
            low, high = np.nanmin(there), np.nanmax(there)
            if math.isnan(fill) or not low <= fill <= high:
                outside.append(name)
    if not telling:
        return False
    usual = [n for n, v in found.fills.items() if math.isnan(v) or v in _USUAL]
    often = number >= max(_OFTEN, _SHARE * found.absent.size)
    if number == 1 and len(usual) < max(2, len(tables) - 1):
        return False
    if c.layout != "single" and found.trailing:
        lacks = found.absent.any(1)
        if len(tables) == 1 and (lacks == found.absent.all(1)).all():
            return False
        # One number alone is nothing but its own value; at the end of many it is.
        return bool({*telling} & {*usual}) or (often and len(tables) > 1)
    # A momentum of zero in the transverse plane is one, and zeros among objects are objects.
    zeros = not any(found.fills.values())
    if zeros and number < _FEW:
        return False
    if zeros and (c.layout != "single" or len(c.coordinates) < 3):
        return False
    return c.layout != "padded" and bool({*outside} & {*usual})


def _numbers(source: Source, schema: EventSchema, gone: set[str], stop: int) -> _Numbers:
    return _Numbers(
        source, [f for f in schema.numbers if f.branch not in gone and f.name != schema.weight], stop
    )


@dataclass
class _Numbers:
    """Numbers of the event that may count objects."""

    source: Source
    fields: list[Field]
    stop: int

    def equal(self, c: Collection, counts: NDArray[np.int64]) -> list[Field]:
        """Those that are the number of objects in all events, what is called so first."""
        if not counts.size or counts.min() == counts.max():
            return []
        whole = [f for f in self.fields if f.dtype.startswith(("int", "uint", "bool")) or _called(f.name, c)]
        short = min(self.stop, _LOOK)
        first = self.source.read([f.branch for f in whole], 0, short) if whole else {}
        near = [f for f in whole if np.array_equal(np.asarray(first[f.branch]), counts[:short])]
        columns = self.source.read([f.branch for f in near], 0, self.stop) if near else {}
        same = [f for f in near if np.array_equal(np.asarray(columns[f.branch]), counts)]
        return sorted(same, key=lambda f: not _called(f.name, c))

    def called(self, c: Collection) -> Iterator[tuple[Field, Numbers]]:
        """Those that are called as the number of objects."""
        named = [f for f in self.fields if _called(f.name, c) and f.dtype not in ("string", "bool")]
        columns = self.source.read([f.branch for f in named], 0, self.stop) if named else {}
        yield from ((f, np.asarray(columns[f.branch])) for f in named)


def _called(name: str, c: Collection) -> bool:
    """Whether a number is called as that of objects: ``n_jets`` of those whose branches are ``jet1_pt``."""
    plain = re.sub(r"[^a-z]", "", name.lower())
    stems = {c.name.lower(), re.match(r"[a-z]*", c.fields[0].branch.lower())[0]}  # type: ignore[index]
    stems = {s.rstrip("s") for s in stems if s}
    return any(
        plain
        in {
            f"{before}{s}{plural}"
            for before in ("n", "num", "number", "nof", "numberof")
            for plural in ("", "s")
        }
        or plain in {f"{s}{after}" for after in ("n", "size", "count", "mult", "multiplicity")}
        for s in stems
    )


def _by_counter(c: Collection, tables: Mapping[str, Numbers], numbers: _Numbers) -> _Absence | None:
    """What a number that is called as their number tells of objects."""
    places = _first(tables).shape[1]
    for field, counts in numbers.called(c):
        if not ((counts >= 0) & (counts <= places) & (counts == np.round(counts))).all():
            continue
        absent = np.arange(places) >= counts[:, None]
        if not absent.any() or absent.all():
            continue
        fills = {n: v for n, t in tables.items() if (v := _constant(t[absent])) is not None}
        # What varies may be left from an event before, in the arrays of a TTree.
        if len(fills) == len(tables) or c.layout == "padded":
            return _Absence(absent, fills, counter=field)
    return None


def _made(
    c: Collection, tables: Mapping[str, Numbers], found: _Absence, numbers: _Numbers, taken: set[str]
) -> Iterator[Collection]:
    """The collections that a drafted one becomes."""
    fields = []
    mask: Field | None = None
    for f in c.fields:
        if f.name == found.mask:
            mask = f.model_copy(update={"fill": float(_constant(tables[f.name][found.absent]) != 0)})
            continue
        there = tables[f.name][~found.absent]
        there = there[np.isfinite(there)] if there.dtype.kind == "f" else there
        fill = found.fills.get(f.name)
        update: dict[str, Any] = {"fill": fill}
        if fill is not None and math.isnan(fill):
            update["nulls"] = bool(is_null(tables[f.name][found.absent]).all())
        if there.size:
            update |= {"low": float(there.min()), "high": float(there.max())}
        fields.append(f.model_copy(update=update))
    drafted = c.model_copy(update={"fields": tuple(fields), "mask": mask})
    if found.trailing:
        counts = (~found.absent).sum(1)
        equal = numbers.equal(c, counts) or [f for f in (found.counter,) if f is not None]
        layout: dict[str, Any] = {"layout": "indexed"} if c.layout == "single" else {}
        yield _counted(drafted.model_copy(update=layout), equal)
        return
    for k, absent in enumerate(found.absent.T):
        name = _free(_role(c, k), taken)
        one = tuple(f.model_copy(update={"branches": (f.branches[k],)}) for f in drafted.fields)
        mark = None if mask is None else mask.model_copy(update={"branches": (mask.branches[k],)})
        own = drafted.model_copy(update={"name": name, "fields": one, "mask": mark})
        if absent.any():
            yield _counted(own, numbers.equal(own, (~absent).astype(np.int64)))
            continue
        plain = tuple(f.model_copy(update={"fill": None}) for f in one)
        yield own.model_copy(
            update={"layout": "single", "fields": plain, "mask": None, "min_count": 1, "max_count": 1}
        )


def _counted(c: Collection, equal: list[Field]) -> Collection:
    update: dict[str, Any] = {"min_count": 0, "max_count": c.places}
    counters = tuple(Counter(branch=f.branch, dtype=f.dtype, title=f.title) for f in equal)
    if counters:
        first, *others = counters
        update |= {"counter": first.branch, "counter_dtype": first.dtype, "counter_title": first.title}
        update["counts"] = tuple(others)
    return c.model_copy(update=update)


def _role(c: Collection, k: int) -> str:
    """The name of one of several objects: ``Jet2`` of ``jet2_pt``."""
    numbers = [re.findall(r"\d+", b) for b in c.fields[0].branches]
    at = next((i for i in range(len(numbers[0])) if len({n[i] for n in numbers}) == len(numbers)), None)
    return f"{c.name}{k + 1 if at is None else numbers[k][at]}"
