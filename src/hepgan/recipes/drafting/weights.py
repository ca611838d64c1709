"""The event weight of a file: which number it is, and what cannot be learned with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import awkward as ak
import numpy as np

from hepgan.errors import InputError
from hepgan.events import Address, EventSchema, read_events
from hepgan.events.buffers import buffers, scalar_values
from hepgan.events.weights import NO_WEIGHT, looks_like_weight, weight_names, weighted_by
from hepgan.stats.weights import NegativeDensity, negative_density

__all__ = ["FoundWeight", "factor_reason", "find_weight", "negative_fields"]


@dataclass(frozen=True)
class FoundWeight:
    """The event weight of a file.

    Attributes:
        name: The scalar that holds it; None if there is none.
        asked: Whether the user has said so.
        others: Scalars that could be it, too.
        refused: Scalars that could be it by their names, but not by their values, with the reason.
        written: What a recipe has to say of it; None where the name tells.
    """

    name: str | None = None
    asked: bool = False
    others: tuple[str, ...] = ()
    refused: dict[str, str] = field(default_factory=dict)
    written: str | None = None

    def question(self) -> str:
        """What is to be asked, where more than one scalar could be the weight; empty if nothing is."""
        if self.asked or not self.others:
            return ""
        could = f"{', '.join(self.others)} could be the event weight, too"
        return f"{could}: `hepgan init --weight {self.others[0]}` takes another, `--weight none` none"

    def lines(self, negative: float) -> Iterator[str]:
        """Sentences that tell of it.

        Args:
            negative: The share of events with a negative weight.
        """
        for name, reason in self.refused.items():
            yield f"{name} is called as an event weight is, but {reason}."
        if self.name is None:
            if self.written is not None:
                yield "All events weigh 1."
            return
        yield f"The event weight, {'as asked for' if self.asked else 'by its name'}."
        if negative:
            yield f"{100 * negative:.3g}% are negative, and count as such."
        yield "Files of generated events have the sum of weights of the training events."
        if question := self.question():
            yield f"{question}."


def find_weight(file: str, schema: EventSchema, asked: str | None, max_events: int) -> FoundWeight:
    """The event weight of a file, by names and values.

    Args:
        file: ``FILE.root:Tree``.
        schema: All that the names of the file's branches tell.
        asked: The scalar that the user has named, or ``none``; None if it is to be found.
        max_events: How many events to look at.

    Raises:
        InputError: If there is no such scalar, or if it is no weight.
    """
    by_name = schema.weight
    if asked is not None:
        try:
            chosen = weighted_by(schema, asked).weight
        except InputError as error:
            msg = f"--weight: {error.message}"
            raise InputError(msg, file=file) from None
        reason = "" if chosen is None else _refusal(_values(file, schema, [chosen], max_events)[chosen])
        if reason:
            msg = f"--weight: {chosen} is none, since {reason}"
            raise InputError(msg, file=file, branch=schema.scalar(str(chosen)).branch)
        return FoundWeight(chosen, asked=True, written=None if chosen is by_name is None else asked)
    names = weight_names(schema.scalars)
    if not names:
        return FoundWeight()
    values = _values(file, schema, names, max_events)
    refused = {n: reason for n in names if (reason := _refusal(values[n]))}
    usable = [n for n in names if n not in refused]
    # What is the same in all events says least.
    usable.sort(key=lambda n: bool((values[n] == values[n][0]).all()))
    if not usable:
        return FoundWeight(refused=refused, written=NO_WEIGHT)
    return FoundWeight(usable[0], others=tuple(usable[1:]), refused=refused, written=usable[0])


def _values(
    file: str, schema: EventSchema, names: list[str], max_events: int
) -> dict[str, np.ndarray[tuple[int], np.dtype[np.float64]]]:
    fields = [schema.scalar(n) for n in names]
    branches = [f.branch for f in fields]
    events = read_events(file, branches=branches, entry_stop=max_events, on_bad="keep")
    return {f.name: scalar_values(events, f).astype(np.float64) for f in fields}


def _refusal(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> str:
    """Why values are no weights, or nothing."""
    wrong = int((~np.isfinite(values)).sum())
    if wrong:
        return f"{wrong:,} of {values.size:,} values are not finite"
    total = float(values.sum())
    return "" if total > 0 else f"its values sum to {total:g}, which has to be positive"


def factor_reason(name: str, schema: EventSchema) -> str:
    """Why a scalar or collection is not learned that is called as weights are; empty if it is not."""
    if name == schema.weight or not looks_like_weight(name):
        return ""
    takes = f"; `hepgan init --weight {name}` makes it that" if name in schema.scalar_names else ""
    return f"looks like another weight; the events' weight is {schema.weight or 'not set'}{takes}"


def negative_fields(events: ak.Array, schema: EventSchema) -> dict[Address, NegativeDensity]:
    """The fields and scalars whose density, with the weights of the events, is negative somewhere."""
    if schema.weight is None:
        return {}
    weights = scalar_values(events, schema.scalar(schema.weight)).astype(np.float64)
    if not (weights < 0).any():
        return {}
    found: dict[Address, NegativeDensity] = {}
    for c in schema.collections:
        offsets, columns = buffers(events, c)
        own = weights if offsets is None else np.repeat(weights, np.diff(offsets))
        for f in c.fields:
            _look(found, Address(c.name, None, f.name), columns[f.name], own)
    for f in schema.scalars:
        if f.name != schema.weight:
            _look(found, Address(None, None, f.name), scalar_values(events, f), weights)
    return found


def _look(
    found: dict[Address, NegativeDensity],
    address: Address,
    values: np.ndarray[tuple[int], np.dtype[np.generic]],
    weights: np.ndarray[tuple[int], np.dtype[np.float64]],
) -> None:
    if values.dtype.kind == "U":
        return
    negative = negative_density(values.astype(np.float64), weights)
    if negative is not None:
        found[address] = negative
