"""What every event keeps: flags that are never set below a threshold, and selections of at least one.

Flags are of the event, or of each object: a b tag that is missing outside the tracker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from hepgan.events import Collection, EventSchema, Field, Kind
from hepgan.events.schema import quoted
from hepgan.observables import Condition, Observable
from hepgan.recipes.drafting.findings import find_edge
from hepgan.recipes.drafting.reading import every_event

__all__ = ["Rule", "find_rules", "kept_by"]

Flags = NDArray[np.bool_]

_BY_CHANCE = 25
"""How many events would break a rule at least, were what it is about independent."""

_MOST_FLAGS = 64
_MOST_COLLECTIONS = 6
_SLOTS = 2
"""Of how many of the hardest objects of a collection thresholds are looked for."""


@dataclass(frozen=True)
class Rule:
    """A condition that all events fulfil.

    Attributes:
        expression: It, in the language of observables.
        reason: Why it is no accident.
    """

    expression: str
    reason: str

    def lines(self, comment: Callable[[str, str], list[str]], text: Callable[[str], str]) -> Iterator[str]:
        """The rule in YAML, its reason first."""
        yield from comment(f"{self.reason}.", "    ")
        yield f"    - {text(self.expression)}"


class _Flag(NamedTuple):
    """A yes or no of each event.

    Attributes:
        name: As expressions have it.
        values: (N,).
    """

    name: str
    values: Flags


class _Quantity(NamedTuple):
    """A number of each event that a flag may hang on.

    Attributes:
        told: What it is, in words.
        values: (N,), NaN where an event has none.
        above: The condition that it is above a number, for the number as text; none if it is not looked for.
        below: That it is below one.
    """

    told: str
    values: NDArray[np.float64]
    above: Callable[[str], str] | None = None
    below: Callable[[str], str] | None = None


class _Threshold(NamedTuple):
    """A condition that all events fulfil whose flag has a value.

    Attributes:
        flag: The flag.
        value: Its value.
        condition: The condition.
        number: The threshold, larger ones being stricter.
        quantity: What it is a threshold of, and from which side.
        rule: The rule.
    """

    flag: _Flag
    value: bool
    condition: str
    number: float
    quantity: str
    rule: Rule


def find_rules(events: ak.Array, schema: EventSchema) -> list[Rule]:
    """Rules that the events keep, and would not by chance.

    - A flag that is never true (or never false) on one side of a threshold of a number, which is a hard edge
      at a round number: of the hardest objects' pt, of numbers of the event, of HT, of the leading object's
      eta or of the mass of the leading two.
    - What an object has, or lacks, on one side of a threshold of its |eta| or pt only.
    - At least one of some flags.
    - At least one object above a threshold, in one of two collections; so many objects in two or three.

    Args:
        events: The events.
        schema: What is learned of them.
    """
    flags = list(_flags(events, schema))
    thresholds = _thresholds(flags, events, schema) if flags else []
    either = _at_least_one(flags)
    rules = [t.rule for t in thresholds]
    implied = [
        {t.condition for t in thresholds if t.value and t.flag.name in {f.name for f in some}}
        for some, _ in either
        if all(any(t.value and t.flag.name == f.name for t in thresholds) for f in some)
    ]
    objects = _one_of_objects(events, schema)
    objects = [(pair, rule) for pair, rule in objects if not any(told <= pair for told in implied)]
    counted = [] if implied or objects else _enough_objects(events, schema)
    each = _of_each_object(events, schema)
    return [*(rule for _, rule in either), *rules, *(rule for _, rule in objects), *counted, *each]


def kept_by(file: str, rules: Sequence[Rule], schema: EventSchema) -> list[Rule]:
    """The rules that all events of the file keep, which may be more than were looked at."""
    kept = list(rules)
    here = {*schema.collection_names, *schema.scalar_names}
    used = {n for rule in rules for n in Condition(rule.expression).names}
    names = sorted(used & here | {n[1:] for n in used - here})
    if names:
        for events in every_event(file, names, schema):
            kept = [rule for rule in kept if bool(Condition(rule.expression)(events).all())]
    return kept


# ---------------------------------------------------------------------- flags and numbers


def _flags(events: ak.Array, schema: EventSchema) -> Iterator[_Flag]:
    """What is true in some events and false in others."""
    found = 0
    for name, f, values in _numbers(events, schema):
        if np.dtype(f.dtype).kind not in "biu" or not np.isin(values, (0, 1)).all():
            continue
        found += 1
        if found > _MOST_FLAGS:
            return
        flags = values != 0
        if 0 < np.count_nonzero(flags) < len(flags):
            yield _Flag(name, flags)


def _numbers(events: ak.Array, schema: EventSchema) -> Iterator[tuple[str, Field, NDArray[np.generic]]]:
    """The numbers of the event, and of what there is once in every event."""
    for f in schema.scalars:
        if f.dtype != "string" and f.name != schema.weight:
            yield quoted(f.name), f, ak.to_numpy(events[f.name])
    for c in schema.collections:
        if c.layout == "single":
            for f in c.fields:
                if f.dtype != "string":
                    yield f"{quoted(c.name)}.{quoted(f.name)}", f, ak.to_numpy(events[c.name, f.name])


def _quantities(events: ak.Array, schema: EventSchema) -> Iterator[_Quantity]:
    """What flags may hang on; what others follow from comes first."""

    def column(expression: str) -> NDArray[np.float64]:
        return Observable("quantity", expression).column(events)

    several = [c for c in schema.collections if c.layout != "single"]
    spatial = [c for c in several if "pt" in c.field_names or len(c.coordinates) > 2]
    for c in spatial:
        name = quoted(c.name)
        for slot in range(min(_SLOTS, c.max_count)):
            hardest = f"max({name}.pt)" if slot == 0 else f"sort({name}, {name}.pt)[{slot}].pt"
            told = f"a largest {name}.pt" if slot == 0 else f"a second {name}.pt"
            yield _Quantity(told, column(hardest), *_of_hardest(name, slot))
    for number, f, values in _numbers(events, schema):
        if f.kind is Kind.CONTINUOUS and f.name != "phi":
            yield _Quantity(number, values.astype(np.float64), *_of(number))
    for c in spatial:
        name = quoted(c.name)
        if c.max_count > 1:
            total = f"sum({name}.pt)"
            yield _Quantity(total, column(total), *_of(total))
        if "eta" in c.field_names or len(c.coordinates) > 2:
            first = f"abs({name}[0].eta)"
            yield _Quantity(first, column(first), None, _of(first)[1])
        if len(c.coordinates) == 4 and c.max_count > 1:
            mass = f"({name}[0] + {name}[1]).mass"
            yield _Quantity(mass, column(mass), *_of(mass))


def _of(expression: str) -> tuple[Callable[[str], str], Callable[[str], str]]:
    return (lambda t: f"{expression} > {t}"), (lambda t: f"{expression} < {t}")


def _of_hardest(name: str, slot: int) -> tuple[Callable[[str], str], Callable[[str], str]]:
    """That there are more than ``slot`` objects above, or not."""
    if slot == 0:
        return (lambda t: f"any({name}.pt > {t})"), (lambda t: f"all({name}.pt < {t})")
    counted = f"count({name}[{name}.pt"
    return (lambda t: f"{counted} > {t}]) > {slot}"), (lambda t: f"{counted} >= {t}]) <= {slot}")


# ---------------------------------------------------------------------- thresholds of flags


def _thresholds(flags: Sequence[_Flag], events: ak.Array, schema: EventSchema) -> list[_Threshold]:
    """Flags with a value on one side of a threshold only; without those that follow from others."""
    states = [(flag, value) for flag in flags for value in (True, False)]
    held = [np.ones(len(flag.values), np.bool_) for flag, _ in states]
    found: list[_Threshold] = []
    for quantity in _quantities(events, schema):
        new = [
            t
            for (flag, value), own in zip(states, held, strict=True)
            for upper in (False, True)
            if (t := _threshold(flag, value, quantity, upper, own)) is not None
        ]
        new = [t for t in new if not any(_follows(t, other) for other in new)]
        for t in new:
            condition, where = Condition(t.condition)(events), t.flag.values == t.value
            for (flag, value), own in zip(states, held, strict=True):
                if bool((where | (flag.values != value)).all()):
                    own &= condition
        found += new
    return found


def _threshold(flag: _Flag, value: bool, quantity: _Quantity, upper: bool, held: Flags) -> _Threshold | None:
    condition = quantity.below if upper else quantity.above
    if condition is None:
        return None
    chosen = flag.values == value
    numbers = quantity.values[chosen]
    if np.isnan(numbers).any():
        # what an event has no number of may be below a threshold, but not above it
        if not upper or not quantity.told.startswith("a "):
            return None
        numbers = numbers[~np.isnan(numbers)]
    edge = find_edge(numbers, upper=upper)
    if edge is None or not (numbers < edge.value if upper else numbers > edge.value).all():
        return None
    # What follows from other conditions of the same flag is no rule of its own.
    beyond = held & (quantity.values >= edge.value if upper else quantity.values <= edge.value)
    expected = np.count_nonzero(beyond) * float(chosen[held].mean() if held.any() else 0.0)
    if expected < _BY_CHANCE:
        return None
    number = f"{edge.value:.6g}"
    told = condition(number)
    side, state = ("above" if upper else "below"), ("true" if value else "false")
    reason = (
        f"{flag.name} is never {state} with {quantity.told} {side} {number} (nearest {edge.extreme:.6g}), "
        f"where {expected:,.0f} of {np.count_nonzero(beyond):,} events would have it by chance"
    )
    rule = Rule(f"{'not ' if value else ''}{flag.name} or {told}", reason)
    strict = -edge.value if upper else edge.value
    return _Threshold(flag, value, told, strict, f"{quantity.told} {side}", rule)


def _follows(one: _Threshold, other: _Threshold) -> bool:
    """Whether a threshold holds since another one does, for a flag that is always so with this one."""
    if one is other or one.quantity != other.quantity or other.number < one.number:
        return False
    mine, theirs = one.flag.values == one.value, other.flag.values == other.value
    return bool((~mine | theirs).all()) and not (
        bool((mine == theirs).all()) and one.flag.name < other.flag.name
    )


# ---------------------------------------------------------------------- each object


def _of_each_object(events: ak.Array, schema: EventSchema) -> list[Rule]:
    """What objects are, have or lack on one side of a threshold only."""
    return [
        rule
        for c in schema.collections
        if c.layout != "single" and len(events)
        for flag in _flags_of(c, events)
        for quantity in _quantities_of(c, events)
        for value in (True, False)
        for upper in (False, True)
        if (rule := _of_one(flag, value, quantity, upper)) is not None
    ]


def _flags_of(c: Collection, events: ak.Array) -> Iterator[_Flag]:
    """What is true of some objects and false of others; of what lacks together, the first."""
    found: list[Flags] = []
    for f in c.fields:
        name = f"{quoted(c.name)}.{quoted(f.name)}"
        if f.missing is not None:
            told = f"missing({name})"
            values = Observable("flag", told).flat(events).values
        elif np.dtype(f.dtype if f.dtype != "string" else "U").kind in "biu":
            told, values = name, ak.to_numpy(ak.flatten(events[c.name, f.name]))
        else:
            continue
        if not np.isin(values, (0, 1)).all():
            continue
        flags = np.asarray(values != 0)
        if 0 < np.count_nonzero(flags) < len(flags) and not any((flags == one).all() for one in found):
            found.append(flags)
            yield _Flag(told, flags)
        if len(found) == _MOST_FLAGS:
            return


def _quantities_of(c: Collection, events: ak.Array) -> Iterator[_Quantity]:
    """The numbers of each object that its flags may hang on."""
    name, spatial = quoted(c.name), len(c.coordinates) > 2
    for field, number in (("eta", f"abs({name}.eta)"), ("pt", f"{name}.pt")):
        if spatial or field in c.field_names:
            yield _Quantity(number, Observable("number", number).flat(events).values, *_of(number))


def _of_one(flag: _Flag, value: bool, quantity: _Quantity, upper: bool) -> Rule | None:
    if len(quantity.values) != len(flag.values):
        return None  # an object lacks it
    chosen = flag.values == value
    edge = find_edge(quantity.values[chosen], upper=upper)
    if edge is None or quantity.above is None or quantity.below is None:
        return None
    outside = quantity.values >= edge.value if upper else quantity.values <= edge.value
    expected = np.count_nonzero(outside) * float(chosen.mean())
    if (outside & chosen).any() or expected < _BY_CHANCE:
        return None
    number = f"{edge.value:.6g}"
    told = (quantity.below if upper else quantity.above)(number)
    side, state = ("above" if upper else "below"), ("true" if value else "false")
    reason = (
        f"{flag.name} is never {state} with {quantity.told} {side} {number} (nearest {edge.extreme:.6g}), "
        f"where {expected:,.0f} of {np.count_nonzero(outside):,} objects would have it by chance"
    )
    return Rule(f"all({'not ' if value else ''}{flag.name} or {told})", reason)


# ---------------------------------------------------------------------- at least one


def _at_least_one(flags: Sequence[_Flag]) -> list[tuple[list[_Flag], Rule]]:
    """Sets of flags, none larger than need be, of which every event has one."""
    left = list(flags)
    found = []
    while len(left) > 1 and np.logical_or.reduce([f.values for f in left]).all():
        some = list(left)
        # those that are rarely alone go first
        for flag in sorted(left, key=lambda f: int(f.values.sum())):
            others = [f for f in some if f is not flag]
            if others and np.logical_or.reduce([f.values for f in others]).all():
                some = others
        size = len(some[0].values)
        expected = size * float(np.prod([1 - f.values.mean() for f in some]))
        if len(some) > 1 and expected >= _BY_CHANCE:
            names = [f.name for f in some]
            reason = (
                f"Every event has at least one of {', '.join(names)}, where {expected:,.0f} of {size:,} "
                "would have none by chance"
            )
            found.append((some, Rule(" or ".join(names), reason)))
        left = [f for f in left if not any(f is one for one in some)]
    return found


def _one_of_objects(events: ak.Array, schema: EventSchema) -> list[tuple[set[str], Rule]]:
    """Pairs of collections of which every event has an object above a threshold in one."""
    found: list[tuple[set[str], Rule]] = []
    hardest: dict[str, NDArray[np.float64]] = {}
    for c in _varying(schema):
        if "pt" in c.field_names or len(c.coordinates) > 2:
            name = quoted(c.name)
            hardest[name] = np.nan_to_num(Observable("pt", f"max({name}.pt)").column(events), nan=-np.inf)
    for a, b in combinations(hardest, 2):
        first, second = hardest[a], hardest[b]
        alone = [one[np.isinf(other) & ~np.isinf(one)] for one, other in ((first, second), (second, first))]
        edges = [find_edge(one) for one in alone]
        if edges[0] is None or edges[1] is None:
            continue
        low = [edges[0].value, edges[1].value]
        below = first <= low[0], second <= low[1]
        expected = float(below[0].mean() * below[1].mean()) * len(first)
        soft = [np.count_nonzero(np.isfinite(v) & u) for v, u in ((first, below[0]), (second, below[1]))]
        if (below[0] & below[1]).any() or expected < _BY_CHANCE or min(soft) < _BY_CHANCE:
            continue
        parts = [f"any({n}.pt > {e:.6g})" for n, e in zip((a, b), low, strict=True)]
        reason = (
            f"Every event has {a}.pt above {low[0]:g} or {b}.pt above {low[1]:g}, where {expected:,.0f} of "
            f"{len(first):,} would have neither by chance"
        )
        found.append((set(parts), Rule(" or ".join(parts), reason)))
    return found


def _enough_objects(events: ak.Array, schema: EventSchema) -> list[Rule]:
    """The least number of objects in two or three collections together."""
    counts = {quoted(c.name): ak.to_numpy(ak.num(events[c.name])) for c in _varying(schema)}
    found: list[tuple[set[str], Rule]] = []
    for names in (*combinations(counts, 2), *combinations(counts, 3)):
        total = sum(counts[n] for n in names)
        least = int(np.min(total))
        if least <= sum(int(counts[n].min()) for n in names) or any(set(names) > told for told, _ in found):
            continue
        expected = len(events) * _share_below(least, [counts[n] for n in names])
        if expected >= _BY_CHANCE:
            written = " + ".join(f"count({n})" for n in names)
            reason = (
                f"Every event has {least} or more of {', '.join(names)}, where {expected:,.0f} of "
                f"{len(events):,} would have fewer by chance"
            )
            found.append((set(names), Rule(f"{written} >= {least}", reason)))
    return [rule for _, rule in found]


def _varying(schema: EventSchema) -> list[Collection]:
    """Collections of any number of objects."""
    chosen = [c for c in schema.collections if c.layout != "single" and c.min_count < c.max_count]
    return chosen[:_MOST_COLLECTIONS]


def _share_below(least: int, counts: Sequence[NDArray[np.int64]]) -> float:
    """The share of events with a smaller sum of counts, were these independent."""
    share = np.ones(1)
    for count in counts:
        share = np.convolve(share, np.bincount(count) / len(count))
    return float(share[:least].sum())
