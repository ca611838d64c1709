"""Numbers that are functions of others: found in some events, confirmed in all that were looked at."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from functools import cached_property
from itertools import combinations
from typing import NamedTuple

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from hepgan.errors import RecipeError
from hepgan.events import Address, Collection, EventBatch, EventSchema, Field, Kind, to_batch
from hepgan.events.schema import quoted
from hepgan.observables import default_observables
from hepgan.observables.evaluate import evaluate, evaluate_objects
from hepgan.observables.language import parse
from hepgan.observables.sources import BatchSource
from hepgan.recipes.derived import CHECKED, Derived
from hepgan.recipes.drafting.candidates import (
    Candidate,
    derivable,
    has_values,
    own_fields,
    quantities_of_events,
    quantities_of_objects,
)
from hepgan.recipes.drafting.cuts import Cut, Literal, both, counting, single, summing
from hepgan.recipes.drafting.resonances import Resonance

__all__ = ["Function", "find_functions"]

Floats = NDArray[np.float64]

_SCREENED = 600
"""Events in which all quantities are compared; those that agree are confirmed in all."""

_GLANCE, _GLANCED = 60, 0.7
"""Events of these by which most pairs of quantities are ruled out, and the share that has to agree."""

_CLOSE = 1e-3
_MEDIAN = 1e-5
_LEAST = 30
"""How often a number has to be another one than its most frequent value, to tell anything."""

_SETTINGS = 32
"""A continuous number of no more values is a setting."""

_BASE = 30
"""Of how many numbers sums, differences, products and quotients are tried."""

_TRIPLED = 15
"""Of how many numbers sums of three are tried."""

_UNEXPLAINED = 1e-7
_TRIED = 5
_ETAS = (0.8, 1.0, 1.3, 1.4442, 1.5, 2.0, 2.1, 2.3, 2.4, 2.5, 2.6, 2.7, 2.8, 3.0, 4.0, 4.5, 4.7, 5.0)
_PTS = (5, 7, 8, 10, 12, 15, 17, 20, 25, 30, 35, 40, 50, 60)
_FACTORS = (1.0, -1.0, 1000.0, 0.001, 2.0, 0.5, -2.0, -0.5, 100.0, 0.01)


class Function(NamedTuple):
    """A number that follows from others.

    Attributes:
        name: What it is: a scalar (``HT``), or a number of objects (``Muon.tight``).
        expression: What it is computed by.
        off: The median relative difference.
    """

    name: str
    expression: str
    off: float


class _Target(NamedTuple):
    name: str
    address: Address
    field: Field

    @property
    def written(self) -> str:
        """As expressions have it."""
        of = "" if self.address.collection is None else f"{quoted(self.address.collection)}."
        return f"{of}{quoted(self.address.field)}"


def find_functions(
    events: ak.Array,
    schema: EventSchema,
    resonances: Sequence[Resonance] = (),
    *,
    apart: Container[str] = (),
) -> list[Function]:
    """Numbers of events and objects that others determine.

    They are equal to another one; properties of objects, of pairs of them, of all; numbers and sums of those
    that pass cuts; polynomials, quotients and roots of other numbers; flags that cuts on one or two
    quantities make. What follows from what is taken so that nothing follows from itself.

    Args:
        events: The events.
        schema: What they hold.
        resonances: Objects in every event that one particle decays into.
        apart: Numbers that are not derived, whatever they equal.
    """
    finders: dict[str | None, _Finder] = {}

    def find(target: _Target, avoided: Container[str]) -> Function | None:
        owner = target.address.collection
        several = owner if owner is not None and schema.collection(owner).layout != "single" else None
        if several not in finders:
            finders[several] = _Finder(events, schema, several, resonances)
        return finders[several].find(target, avoided)

    targets = [t for t in _targets(schema) if t.name not in apart]
    written = {t.written for t in targets}
    # What follows from momenta alone cannot be what others follow from as well.
    found = {t.name: f for t in targets if (f := find(t, written - {t.written})) is not None}
    derived, used = {t.written for t in targets if t.name in found}, set[str]()
    for target in reversed(targets):
        if target.name in found or target.written in used:
            continue
        function = find(target, derived)
        if function is not None:
            found[target.name] = function
            derived.add(target.written)
            used |= _mentions(function.expression)
    return [found[t.name] for t in targets if t.name in found]


def _targets(schema: EventSchema) -> Iterator[_Target]:
    for f in schema.scalars:
        if f.dtype != "string" and f.name != schema.weight and has_values(f):
            yield _Target(f.name, Address(None, None, f.name), f)
    for c in schema.collections:
        for f in derivable(c) if len(c.fields) > 1 or c.layout == "single" else ():
            address = Address(c.name, None, f.name)
            yield _Target(str(address), address, f)


def _raw(events: EventBatch) -> EventBatch:
    """The events without knowledge of what stands for missing values."""

    def known(fields: tuple[Field, ...]) -> tuple[Field, ...]:
        return tuple(f.model_copy(update={"missing": None}) for f in fields)

    schema = events.schema
    collections = tuple(c.model_copy(update={"fields": known(c.fields)}) for c in schema.collections)
    schema = schema.model_copy(update={"collections": collections, "scalars": known(schema.scalars)})
    return EventBatch(schema, events.collections, events.scalars, size=len(events))


def _mentions(expression: str) -> set[str]:
    """The scalars and fields that an expression may use, as they are written."""
    parsed = parse(expression)
    names = {quoted(n) for n in parsed.names}
    return names | {f"{n}.{quoted(a)}" for n in names for a in parsed.attributes}


class _Finder:
    """Compares numbers of the event, or of the objects of a collection, with all that there is."""

    def __init__(
        self, events: ak.Array, schema: EventSchema, collection: str | None, resonances: Sequence[Resonance]
    ) -> None:
        self.events, self.schema, self.collection = events, schema, collection
        step = max(1, len(events) // _SCREENED)
        self.some = to_batch(events[::step][:_SCREENED], schema)
        self.candidates = list(dict.fromkeys(self._candidates(resonances)))

    @cached_property
    def every(self) -> EventBatch:
        """All events."""
        return to_batch(self.events, self.schema)

    @cached_property
    def first(self) -> EventBatch:
        """The events by which a training compares what is derived."""
        return self.every[:CHECKED]

    @cached_property
    def columns(self) -> Floats:
        """(K, m) the candidates in some events."""
        return self.matrix(self.candidates, self.some)

    def _candidates(self, resonances: Sequence[Resonance]) -> Iterator[Candidate]:
        singles = [c for c in self.schema.collections if c.layout == "single"]
        if self.collection is not None:
            yield from quantities_of_objects(self.schema.collection(self.collection), singles)
            return
        for r in resonances:
            for system in r.systems:
                yield from map(Candidate, (system.mass, f"({' + '.join(system.objects)}).pt"))
        yield from quantities_of_events(self.schema)
        objects = self.schema.model_copy(update={"scalars": (), "weight": None})
        for o in default_observables(objects).values():
            if o.expression and o.check(self.schema).per_event:
                yield Candidate(o.expression)

    # ------------------------------------------------------------------ values

    def values(self, expression: str, batch: EventBatch) -> Floats:
        """One number for each event, or object in a row; NaN where there is none."""
        parsed = parse(expression)
        if self.collection is None:
            data, mask = evaluate(parsed, BatchSource(batch))
            numbers = data.numpy().astype(np.float64)
            return numbers if mask is None else np.where(mask.numpy(), numbers, np.nan)
        data, there = evaluate_objects(parsed, BatchSource(batch), self.collection)
        numbers = np.where(there.numpy(), data.numpy().astype(np.float64), np.nan)
        row: Floats = numbers[batch.collections[self.collection].mask.expand(data.shape).numpy()]
        return row

    def matrix(self, candidates: Sequence[Candidate], batch: EventBatch) -> Floats:
        """(K, m) the candidates' values."""
        if not candidates:
            return np.zeros((0, 0))
        return np.stack([_finite(self.values(c.expression, batch)) for c in candidates], 1)

    # ------------------------------------------------------------------ finding

    def find(self, target: _Target, avoided: Container[str]) -> Function | None:
        """What a number is, of others than those to be avoided."""
        # Of a target, what stands for a missing value is a number as any other.
        raw = target.field.missing is not None
        stored = self.values(target.written, _raw(self.every) if raw else self.every)
        if not _tells(stored, target.field):
            return None
        some = self.values(target.written, _raw(self.some) if raw else self.some)
        usable = np.array([self._is_usable(c.expression, target, avoided) for c in self.candidates], np.bool_)
        for expression in self._expressions(target, some, stored, usable):
            off = self._off(stored, expression, target.field)
            if off is None or not self._is_usable(expression, target, avoided):
                continue
            try:
                Derived(self.schema, {target.name: expression}).check(self.first)
            except RecipeError:
                continue
            return Function(target.name, expression, off)
        return None

    @staticmethod
    def _is_usable(expression: str, target: _Target, avoided: Container[str]) -> bool:
        used = _mentions(expression)
        return target.written not in used and not any(one in avoided for one in used)

    def _expressions(
        self, target: _Target, some: Floats, stored: Floats, usable: NDArray[np.bool_]
    ) -> Iterator[str]:
        """What it may be, the likeliest first."""
        yes_or_no = np.isin(some, (0, 1)).all() and np.dtype(target.field.dtype).kind in "biu"
        if target.field.dtype != "bool":
            yield from self._equal(some, usable)
        if self.collection is None:
            yield from self._of_what_passes(target, some, stored)
        if yes_or_no:
            yield from self._flags(some, stored, usable)
        elif target.field.kind is not Kind.CATEGORY:
            yield from self._combined(some, usable)

    def _off(self, stored: Floats, expression: str, field: Field) -> float | None:
        """The median relative difference in all events, if they agree."""
        try:
            made = self.values(expression, self.every)
        except RecipeError:
            return None
        made = np.where(np.isfinite(made), made, 0.0)
        off = np.abs(stored - made) / np.maximum(np.abs(stored), 1e-6)
        if np.dtype(field.dtype).kind != "f":
            return 0.0 if np.mean(stored != made) < 1e-4 else None
        good = np.median(off) < _MEDIAN and np.quantile(off, 0.99) < _CLOSE
        return float(np.median(off)) if good else None

    def _equal(self, some: Floats, usable: NDArray[np.bool_]) -> Iterator[str]:
        """Candidates that it equals, but for a factor, where they exist."""
        columns = self.columns
        exists = ~np.isnan(columns)
        for factor in _FACTORS:
            close = np.abs(some[:, None] - factor * columns) <= _CLOSE * np.abs(some[:, None]) + 1e-9
            enough = (exists.sum(0) >= 20) & usable
            share = (close & exists).sum(0) / np.maximum(exists.sum(0), 1)
            for k in np.flatnonzero(enough & (share > 0.98)).tolist():
                candidate, rest = self.candidates[k], some[~exists[:, k]]
                scaled = candidate.expression if factor == 1 else f"{factor:g} * ({candidate.expression})"
                if not rest.size or (rest == 0).all():
                    yield scaled
                elif candidate.exists and (rest == rest[0]).all():
                    yield f"where({candidate.exists}, {scaled}, {rest[0]:g})"

    # ------------------------------------------------------------------ cuts on objects

    def _of_what_passes(self, target: _Target, some: Floats, stored: Floats) -> Iterator[str]:
        """The number, or the sum of pt, of objects that pass cuts."""
        whole = bool((some == np.round(some)).all()) and some.min() >= 0
        total = not whole and some.min() >= 0
        for c in self.schema.collections:
            if c.layout == "single" or not (whole or total):
                continue
            fields = _object_fields(c)
            shown = {n: _padded(f"{quoted(c.name)}.{quoted(n)}", self.some, c) for n in fields}
            for base, passing in _bases(c, shown, self.schema.gev, counts=whole):
                for n, upper in _primaries(shown, whole, base):
                    values = np.where(passing(shown), shown[n], np.nan)
                    if (counting(some, values, upper) if whole else summing(some, values)) is None:
                        continue
                    seen = {m: _padded(f"{quoted(c.name)}.{quoted(m)}", self.every, c) for m in fields}
                    values = np.where(passing(seen), seen[n], np.nan)
                    cut = counting(stored, values, upper) if whole else summing(stored, values, 1e-4)
                    if cut is not None:
                        yield _selected(c, n, cut, base, whole)

    # ------------------------------------------------------------------ flags

    def _flags(self, some: Floats, stored: Floats, usable: NDArray[np.bool_]) -> Iterator[str]:
        """Cuts on one or two quantities that are true where it is."""
        chosen = np.flatnonzero(usable)
        columns = self.columns[:, chosen]
        for value in (True, False):
            flag = (some != 0) == value
            if not 0 < flag.sum() < len(flag):
                return
            for literal in single(flag, columns, missing=not value):
                yield from self._confirmed([literal.column], chosen, stored, value)
        for value in (True, False):
            flag = (some != 0) == value
            for one, two in both(flag, columns, missing=not value):
                if one.column != two.column:
                    yield from self._confirmed([one.column, two.column], chosen, stored, value)

    def _confirmed(
        self, columns: Sequence[int], chosen: NDArray[np.int64], stored: Floats, value: bool
    ) -> Iterator[str]:
        """The same cuts with thresholds from all events."""
        candidates = [self.candidates[int(chosen[k])] for k in columns]
        flag, seen = (stored != 0) == value, self.matrix(candidates, self.every)
        found: Iterator[tuple[Literal, ...]] = (
            ((one,) for one in single(flag, seen, missing=not value))
            if len(columns) == 1
            else iter(both(flag, seen, 4, missing=not value))
        )
        for literals in found:
            parts = [_condition(candidates[one.column], one, value) for one in literals]
            yield parts[0] if len(parts) == 1 else (" and " if value else " or ").join(parts)

    # ------------------------------------------------------------------ arithmetic

    def _combined(self, some: Floats, usable: NDArray[np.bool_]) -> Iterator[str]:
        """Polynomials, quotients and roots of other numbers."""
        base = [
            k
            for k in np.flatnonzero(usable).tolist()
            if _is_plain(self.candidates[k].expression) and np.isfinite(self.columns[:, k]).all()
        ][:_BASE]
        if not base:
            return
        names = [self.candidates[k].expression for k in base]
        x = self.columns[:, base]
        yield from _of_one_number(some, names, x)
        yield from _of_two_numbers(some, names, x)
        yield from _linear(some, names, x)


def _finite(values: Floats) -> Floats:
    return np.where(np.isfinite(values), values, np.nan)


def _tells(stored: Floats, field: Field) -> bool:
    """Whether a number is no constant or setting, whose agreement says something."""
    if stored.size < 2 * _LEAST:
        return False
    values, counts = np.unique(stored, return_counts=True)
    if field.kind is Kind.CONTINUOUS and values.size <= _SETTINGS:
        return False
    return bool(stored.size - counts.max() >= _LEAST)


def _is_plain(expression: str) -> bool:
    """Whether it is a number of the file, or a count, a sum or a coordinate of objects."""
    return not any(f in expression for f in ("delta", "transverse", "pairs", "sort", "+", "mean", "abs"))


# ---------------------------------------------------------------------- cuts on objects


def _object_fields(c: Collection) -> list[str]:
    momentum = ["pt", "eta"] if len(c.coordinates) > 2 else ["pt"] if "pt" in c.field_names else []
    return [*momentum, *(f.name for f in own_fields(c) if f.name not in momentum)]


def _padded(expression: str, batch: EventBatch, c: Collection) -> Floats:
    """(N, M) of the objects, NaN where there is none."""
    data, there = evaluate_objects(parse(expression), BatchSource(batch), c.name)
    return np.where(there.numpy(), data.numpy().astype(np.float64), np.nan)


Passing = Callable[[dict[str, Floats]], NDArray[np.bool_]]


def _bases(
    c: Collection, shown: dict[str, Floats], gev: float, *, counts: bool
) -> Iterator[tuple[str, Passing]]:
    """Cuts besides that whose threshold is looked for."""
    name = quoted(c.name)

    def above(field: str, number: float) -> Passing:
        return lambda x: x[field] > number

    def within(number: float) -> Passing:
        return lambda x: np.abs(x["eta"]) < number

    def hard(pt: float, eta: float) -> Passing:
        return lambda x: (x["pt"] > pt) & (np.abs(x["eta"]) < eta)

    def true(field: str) -> Passing:
        return lambda x: x[field] != 0

    yield "", lambda x: ~np.isnan(next(iter(x.values())))
    flags = [f.name for f in own_fields(c) if f.dtype == "bool"]
    for f in flags:
        yield f"{name}.{quoted(f)}", true(f)
    etas = [e for e in _ETAS if "eta" in shown and np.nanmax(np.abs(shown["eta"]), initial=0.0) > e]
    for e in etas:
        yield f"abs({name}.eta) < {e:g}", within(e)
    least = np.nanmin(shown["pt"], initial=np.inf) if "pt" in shown else np.inf
    for t in [p * gev for p in _PTS] if counts and "pt" in shown else ():
        if t <= least:
            continue
        yield f"{name}.pt > {t:g}", above("pt", t)
        for e in etas:
            if e in (2.1, 2.4, 2.5):
                yield f"({name}.pt > {t:g}) & (abs({name}.eta) < {e:g})", hard(t, e)


def _primaries(shown: dict[str, Floats], whole: bool, base: str) -> Iterator[tuple[str, bool]]:
    """The fields whose threshold is looked for, and whether what is below it passes."""
    if not whole:
        yield from (("pt", False) for _ in range("pt" in shown))
        return
    for n, values in shown.items():
        if n == "eta" or (n == "pt" and ".pt >" in base) or np.isnan(values).all():
            continue
        yield n, False
        if n != "pt":
            yield n, True


def _selected(c: Collection, field: str, cut: Cut, base: str, whole: bool) -> str:
    name = quoted(c.name)
    condition = cut.of(f"{name}.{quoted(field)}")
    flag = next((f for f in own_fields(c) if f.name == field and f.dtype == "bool"), None)
    if flag is not None:
        own = f"{name}.{quoted(field)}"
        condition = own if cut.operator.startswith(">") else f"~{own}"
    if base:
        simple = base if base.startswith("(") and ") & (" in base else f"({base})"
        condition = f"({condition}) & {simple}"
    objects = f"{name}[{condition}]"
    return f"count({objects})" if whole else f"sum({objects}.pt)"


def _condition(candidate: Candidate, literal: Literal, value: bool) -> str:
    """A cut, or its opposite."""
    if candidate.flag:
        return candidate.expression if literal.upper != value else f"not {candidate.expression}"
    cut = literal.cut
    if value:
        return cut.of(candidate.expression)
    opposite = {">": "<=", ">=": "<", "<": ">=", "<=": ">"}
    condition = cut._replace(operator=opposite[cut.operator]).of(candidate.expression)
    # What is missing would make the whole of it missing.
    return f"where({candidate.exists}, {condition}, False)" if candidate.exists else condition


# ---------------------------------------------------------------------- arithmetic


def _agreeing(some: Floats, made: Floats, share: float = 0.98) -> NDArray[np.int64]:
    """The numbers of the columns (K, m) that some numbers (K,) equal, nearly all of them."""
    with np.errstate(invalid="ignore"):
        close = np.abs(made - some[:, None]) <= _CLOSE * np.abs(some[:, None]) + 1e-9
    found: NDArray[np.int64] = np.flatnonzero(close.mean(0) > share)
    return found


def _of_one_number(some: Floats, names: Sequence[str], x: Floats) -> Iterator[str]:
    with np.errstate(all="ignore"):
        tried = {
            "{} ** 2": x**2,
            "sqrt({})": np.sqrt(x),
            "abs({})": np.abs(x),
            "1 / {}": 1 / x,
            "log({})": np.log(x),
            "log10({})": np.log10(x),
            "exp({})": np.exp(np.clip(x, -500, 500)),
            "cosh({})": np.cosh(np.clip(x, -500, 500)),
            "cos({})": np.cos(x),
            "sin({})": np.sin(x),
            "{} ** 3": x**3,
            "sign({})": np.sign(x),
        }
    for form, made in tried.items():
        for k in _agreeing(some, made).tolist():
            yield form.format(names[k])


def _of_two_numbers(some: Floats, names: Sequence[str], x: Floats) -> Iterator[str]:
    pairs = list(combinations(range(len(names)), 2))
    if not pairs:
        return
    i, j = (np.array(k) for k in zip(*pairs, strict=True))
    rows = slice(None, None, max(1, len(some) // _GLANCE))
    with np.errstate(all="ignore"):
        for form, of in _OF_TWO.items():
            # Most are ruled out by a few rows.
            near = _agreeing(some[rows], of(x[rows, i], x[rows, j]), _GLANCED)
            for k in near[_agreeing(some, of(x[:, i[near]], x[:, j[near]]))].tolist():
                yield form.format(names[pairs[k][0]], names[pairs[k][1]])


_OF_TWO: dict[str, Callable[[Floats, Floats], Floats]] = {
    "{0} + {1}": lambda a, b: a + b,
    "{0} - {1}": lambda a, b: a - b,
    "{1} - {0}": lambda a, b: b - a,
    "{0} * {1}": lambda a, b: a * b,
    "{0} / {1}": lambda a, b: a / b,
    "{1} / {0}": lambda a, b: b / a,
    "hypot({0}, {1})": np.hypot,
    "abs({0} - {1})": lambda a, b: np.abs(a - b),
    "max({0}, {1})": np.maximum,
    "min({0}, {1})": np.minimum,
    "({0} - {1}) / ({0} + {1})": lambda a, b: (a - b) / (a + b),
    "({1} - {0}) / ({0} + {1})": lambda a, b: (b - a) / (a + b),
    "sqrt({0} ** 2 - {1} ** 2)": lambda a, b: np.sqrt(a**2 - b**2),
    "sqrt({1} ** 2 - {0} ** 2)": lambda a, b: np.sqrt(b**2 - a**2),
    "{0} * cosh({1})": lambda a, b: a * np.cosh(np.clip(b, -500, 500)),
    "{1} * cosh({0})": lambda a, b: b * np.cosh(np.clip(a, -500, 500)),
}


def _linear(some: Floats, names: Sequence[str], x: Floats) -> Iterator[str]:
    """Sums of one or two numbers, squares or products, or of three numbers, with coefficients."""
    own = range(len(names))
    one, two = np.triu_indices(len(names), 1)
    texts = [
        *names,
        *(f"{names[i]} ** 2" for i in own),
        *(f"{names[i]} * {names[j]}" for i, j in zip(one.tolist(), two.tolist(), strict=True)),
    ]
    columns = np.concatenate([x, x**2, x[:, one] * x[:, two]], 1)
    # Of the same columns, that of the numbers that come first is taken.
    order = np.argsort(np.concatenate([own, own, two]), kind="stable")
    order = order[columns[:, order].std(0) > 0]
    if not order.size or not some.std() > 0:
        return
    columns, terms = columns[:, order], [texts[k] for k in order.tolist()]
    plain = np.flatnonzero(order < len(names))[:_TRIPLED].tolist()
    for chosen in _explaining(some, columns, plain):
        solved, made = _solved(some, columns[:, chosen])
        off = np.abs(some - made) / np.maximum(np.abs(some), 1e-6)
        if np.quantile(off, 0.98) < _CLOSE / 10:
            yield _sum_of(solved, [terms[k] for k in chosen], columns[:, chosen], float(np.abs(some).max()))
            return


def _explaining(some: Floats, columns: Floats, plain: Sequence[int]) -> list[tuple[int, ...]]:
    """Single columns, pairs of them, and three ``plain`` ones, of which a linear function leaves nothing.

    Args:
        some: Numbers (K,).
        columns: What they may be made of (K, m).
        plain: The columns of which three are tried.
    """
    normal = (columns - columns.mean(0)) / (columns.std(0) * np.sqrt(len(columns)))
    rest = (some - some.mean()) / (some.std() * np.sqrt(len(some)))
    with_it, mutual = normal.T @ rest, normal.T @ normal
    alone = [(int(k),) for k in np.flatnonzero(with_it**2 > 1 - _UNEXPLAINED)]
    first, second = np.triu_indices(len(with_it), 1)
    a, b, ab = with_it[first], with_it[second], mutual[first, second]
    share = (a**2 + b**2 - 2 * a * b * ab) / np.maximum(1 - ab**2, 1e-9)
    found = np.flatnonzero((share > 1 - _UNEXPLAINED) & (ab**2 < 1 - 1e-6))
    by_rank = found[np.argsort(first[found] + second[found], kind="stable")]
    pairs = [(int(first[k]), int(second[k])) for k in by_rank[:_TRIED]]
    three = np.array(list(combinations(plain, 3)), np.int64).reshape(-1, 3)
    # What is the same in two columns leaves no unique solution, but for the last digits.
    among = mutual[three[:, :, None], three[:, None, :]] + 1e-12 * np.eye(3)
    share = (with_it[three] * np.linalg.solve(among, with_it[three][:, :, None])[:, :, 0]).sum(1)
    return [*alone, *pairs, *map(tuple, three[share > 1 - _UNEXPLAINED].tolist())]


def _sum_of(solved: Floats, names: Sequence[str], columns: Floats, size: float) -> str:
    """A constant and columns with coefficients, as an expression."""
    parts = [
        name if np.isclose(c, 1, rtol=1e-6) else f"{c:.9g} * {name}"
        for c, name, column in zip(solved[1:], names, columns.T, strict=True)
        if abs(c) * np.abs(column).max() > 1e-9 * size
    ]
    constant = [f"{solved[0]:.9g}"] if abs(solved[0]) > 1e-5 * size else []
    return " + ".join([*parts, *constant]).replace("+ -", "- ")


def _solved(some: Floats, columns: Floats) -> tuple[Floats, Floats]:
    """The constant and the coefficients of columns (K, m) that make some numbers (K,), and what they make."""
    design = np.column_stack([np.ones(len(some)), columns])
    scale = np.maximum(np.abs(design).max(0), 1e-300)
    solved: Floats = np.linalg.lstsq(design / scale, some, rcond=None)[0] / scale
    return solved, design @ solved
