"""Checks of events before anything is learned from them."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from hepgan.arguments import checked
from hepgan.errors import InputError
from hepgan.events.angles import TOLERANCE, ends
from hepgan.events.buffers import Numbers, buffers, scalar_values
from hepgan.events.missing import is_missing, is_null
from hepgan.events.schema import Collection, EventSchema, Field, Kind

__all__ = ["ENERGY_TOLERANCE", "Fault", "check_events", "drop_faulty", "find_faults"]

ENERGY_TOLERANCE = (1e-5, 2e-3)
"""How far abs(p) may exceed E: relative to E (float32 components give a few 1e-6), and besides, in GeV.

Files made of text are often rounded to an MeV in each component; the published FAT-GAN samples are.
"""


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with some events.

    Attributes:
        reason: What is wrong, in words.
        branch: The branch in which it is wrong.
        bad: The events with the fault, (N,) bool.
        detail: The first bad value, in words.
    """

    reason: str
    branch: str
    bad: NDArray[np.bool_]
    detail: str

    @property
    def entry(self) -> int:
        """The first bad event."""
        return int(self.bad.argmax())

    def error(self, file: str | None = None, first_entry: int = 0) -> InputError:
        """The error that says so."""
        text = f"{self.reason}{f' ({self.detail})' if self.detail else ''}"
        return InputError(text, file=file, branch=self.branch, entry=self.entry + first_entry)


@checked
def check_events(
    events: ak.Array,
    schema: EventSchema,
    file: str | None = None,
    *,
    first_entry: int = 0,
    weights: bool = True,
) -> None:
    """Checks that events fit a schema, and that their numbers can be true.

    Checked are: missing and mistyped fields, NaN (unless the schema has it for what is missing) and infinity,
    negative pT, negative cells of arrays that had none, phi outside [-pi, pi], E < abs(p) beyond rounding
    (`ENERGY_TOLERANCE`), more objects than the schema allows, category values that the schema does not know,
    and weights that sum to zero.

    Args:
        events: The events.
        schema: What they should hold. Counts and categories are checked as far as it knows them.
        file: The file, for the error.
        first_entry: The number of the first event in the file, for the error.
        weights: Whether to check the sum of weights, too.

    Raises:
        InputError: At the first fault, with branch and entry.
    """
    if len(events) == 0:
        message = "there are no events"
        raise InputError(message, file=file)
    for fault in find_faults(events, schema, file):
        raise fault.error(file, first_entry)
    if weights:
        check_weights(events, schema, file)


def check_weights(events: ak.Array, schema: EventSchema, file: str | None = None) -> None:
    """Checks that the events' weights do not sum to zero.

    Raises:
        InputError: If they do.
    """
    if schema.weight is None or not len(events):
        return
    field = schema.scalar(schema.weight)
    values = scalar_values(events, field).astype(np.float64)
    if abs(values.sum()) <= 1e-12 * np.abs(values).sum():
        message = "the weights sum to zero"
        raise InputError(message, file=file, branch=field.branch)


def drop_faulty(
    events: ak.Array, schema: EventSchema, file: str | None = None, known: Iterable[Fault] = ()
) -> tuple[ak.Array, dict[str, int]]:
    """The events without faults.

    Args:
        events: The events.
        schema: What they should hold.
        file: The file, for errors.
        known: Faults that were found before.

    Returns:
        The good events, and how many were dropped for each reason (an event counts for its first one).

    Raises:
        InputError: If a field is missing or of the wrong type.
    """
    bad = np.zeros(len(events), bool)
    report: dict[str, int] = {}
    for fault in chain(known, find_faults(events, schema, file)):
        new = int((fault.bad & ~bad).sum())
        if new:
            key = f"{fault.branch}: {fault.reason}"
            report[key] = report.get(key, 0) + new
        bad |= fault.bad
    return (events[~bad] if bad.any() else events), report


def warn_dropped(report: dict[str, int], total: int) -> None:
    """Says in one UserWarning how many events were dropped, and why."""
    if report:
        reasons = "; ".join(f"{count} for {reason}" for reason, count in report.items())
        message = f"dropped {sum(report.values())} of {total} events: {reasons}"
        warnings.warn(message, UserWarning, stacklevel=3)


def find_faults(events: ak.Array, schema: EventSchema, file: str | None = None) -> Iterator[Fault]:
    """All that is wrong with events, branch by branch.

    Raises:
        InputError: If a field is missing or of the wrong type, so that no event could be good.
    """
    size = len(events)
    for c in schema.collections:
        try:
            offsets, fields = buffers(events, c)
        except InputError as error:
            raise InputError(error.message, file=file, branch=error.branch, entry=error.entry) from None
        if offsets is not None:
            yield from _counts(c, np.diff(offsets))
        for f in c.fields:
            branch = _Branch(f, c, offsets, size, file)
            yield from _values(branch, fields[f.name])
        yield from _kinematics(c, fields, offsets, size, file, schema.gev)
    for f in (*schema.scalars, *schema.identifiers):
        try:
            values = scalar_values(events, f)
        except InputError as error:
            raise InputError(error.message, file=file, branch=error.branch, entry=error.entry) from None
        yield from _values(_Branch(f, None, None, size, file), values)


@dataclass(frozen=True)
class _Branch:
    field: Field
    collection: Collection | None
    offsets: NDArray[np.int64] | None
    size: int
    file: str | None

    def fault(self, reason: str, bad: NDArray[np.bool_], values: Numbers, text: str = "") -> Fault:
        first = int(bad.argmax())
        branch = self.field.branch
        detail = text or f"{values.flat[first]}"
        if self.field.shape and bad.ndim > 1:
            events = np.asarray(bad.reshape(len(bad), -1).any(1))
            cell = np.unravel_index(first, bad.shape)[1:]
            detail += f" in cell [{', '.join(map(str, cell))}]"
        elif self.offsets is None:
            events = bad
        else:
            at = np.searchsorted(self.offsets, np.flatnonzero(bad), side="right") - 1
            events = np.zeros(self.size, bool)
            events[at] = True
            if self.collection is not None and self.collection.layout == "indexed":
                branch = self.field.branches[first - int(self.offsets[at[0]])]
        return Fault(reason, branch, events, detail)


def _counts(c: Collection, counts: NDArray[np.int64]) -> Iterator[Fault]:
    # A schema straight from the branches' names knows no counts: 0 to 0.
    if c.layout == "jagged" and c.max_count == 0 and c.min_count == 0:
        return
    branch = c.counter or c.fields[0].branch
    if counts.size and counts.max() > c.max_count:
        bad = counts > c.max_count
        most = f"{counts[bad.argmax()]} where the schema allows {c.max_count}"
        yield Fault(f"too many objects in {c.name}", branch, bad, most)
    if c.slotted and not c.marked and (bad := counts < c.max_count).any():
        yield Fault(f"too few objects in {c.name}", branch, bad, f"{counts[bad.argmax()]}, not {c.max_count}")


def _values(branch: _Branch, values: Numbers) -> Iterator[Fault]:
    f = branch.field
    text, wanted = values.dtype.kind == "U", f.dtype == "string"
    if text != wanted and values.size:
        found, expected = "strings" if text else values.dtype.name, "strings" if wanted else "numbers"
        message = f"holds {found}, where {expected} are expected"
        raise InputError(message, file=branch.file, branch=f.branch)
    if values.dtype.kind == "f":
        with np.errstate(all="ignore"):
            total = values.sum(dtype=np.float64)
        there = True if f.missing is None or np.isfinite(total) else ~is_missing(values, f.missing)
        if not np.isfinite(total):
            null = is_null(values) & there
            if null.any():
                yield branch.fault("a value is missing", null, values, "null")
            if (bad := np.isnan(values) & there & ~null).any():
                yield branch.fault("not a number", bad, values, "nan")
            if (bad := np.isinf(values) & there).any():
                yield branch.fault("infinite", bad, values)
        whole = f.dtype != "string" and np.dtype(f.dtype).kind in "iu"
        if whole and (bad := (values != np.round(values)) & there).any():
            yield branch.fault("not a whole number", bad, values)
    if f.shape and f.low == 0 and values.dtype.kind in "if" and values.size and not values.min() >= 0:
        bad = values < 0 if f.missing is None else (values < 0) & ~is_missing(values, f.missing)
        if bad.any():
            yield branch.fault("negative, where no cell is", bad, values)
    if f.kind is Kind.CATEGORY and f.values is not None and values.size:
        known = np.array(f.values)
        if values.dtype.kind == "f":
            known = known.astype(values.dtype)
        known = np.sort(known)
        at = np.minimum(np.searchsorted(known, values), known.size - 1)
        bad = known[at] != values
        if bad.any() and f.missing is not None:
            bad &= ~is_missing(values, f.missing)
        if bad.any():
            listed = ", ".join(map(str, f.values[:8])) + (", ..." if len(f.values) > 8 else "")
            first = values.flat[int(bad.argmax())]
            yield branch.fault(
                "a value that the schema does not know", bad, values, f"{first}, not in {listed}"
            )


def _kinematics(
    c: Collection,
    fields: dict[str, Numbers],
    offsets: NDArray[np.int64] | None,
    size: int,
    file: str | None,
    gev: float,
) -> Iterator[Fault]:
    def fault(name: str, reason: str, bad: NDArray[np.bool_], text: str = "") -> Fault:
        return _Branch(c.field(name), c, offsets, size, file).fault(reason, bad, fields[name], text)

    numbers = {n: v for n, v in fields.items() if v.dtype.kind in "iuf"}
    if not c.coordinates:
        return
    if "pt" in numbers and (bad := numbers["pt"] < 0).any():
        yield fault("pt", "negative pT", bad)
    if "phi" in numbers and "pt" in numbers:
        low, high = ends(c.field("phi"), numbers["phi"])
        half = (high - low) / 2
        slack = TOLERANCE * half / np.pi
        if (bad := np.abs(numbers["phi"] - (low + high) / 2) > half + slack).any():
            name = "pi" if half < 4 else "180"
            turn = f"[-{name}, {name}]" if low else f"[0, {'360' if name == '180' else '2 pi'}]"
            yield fault("phi", f"outside {turn}", bad)
    energy = numbers.get("energy")
    with np.errstate(all="ignore"):
        momentum2 = None if energy is None else _momentum2(numbers)
    if energy is not None and momentum2 is not None:
        size_p = np.sqrt(momentum2)
        relative, absolute = ENERGY_TOLERANCE
        bad = (size_p - energy > relative * np.abs(energy) + absolute * gev) | (energy < 0)
        if bad.any():
            at = int(bad.argmax())
            text = f"E = {energy[at]}, |p| = {size_p[at]:.9g}"
            yield fault("energy", "below the momentum", bad, text)


def _momentum2(numbers: dict[str, Numbers]) -> NDArray[np.float64] | None:
    def square(name: str) -> NDArray[np.float64]:
        return np.square(numbers[name], dtype=np.float64)

    if {"px", "py"} <= numbers.keys():
        transverse = square("px") + square("py")
    elif "pt" in numbers:
        transverse = square("pt")
    else:
        return None
    if "pz" in numbers:
        return transverse + square("pz")
    if "eta" in numbers:
        # float32 rounds eta, and cosh(eta) turns that into a relative error of p of eta's own size
        return transverse * np.square(np.cosh(numbers["eta"].astype(np.float64)))
    if "theta" in numbers:
        return np.asarray(transverse / np.square(np.sin(numbers["theta"].astype(np.float64))))
    return None
