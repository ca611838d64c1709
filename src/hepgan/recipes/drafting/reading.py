"""What of a file a draft can be made of, and what is said where that is nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import awkward as ak

from hepgan.errors import InputError
from hepgan.events import Address, EventSchema, Kind, iterate_events, select
from hepgan.events.common import Files, opened
from hepgan.events.damage import DamageError, unreadable
from hepgan.events.reading import files_of
from hepgan.recipes.drafting.text import grouped

__all__ = ["constants", "every_event", "nothing", "readable", "without_damage"]

T = TypeVar("T")

_STEP = 100_000
_MOST = 8


def without_damage(file: str, work: Callable[[Mapping[str, str]], T]) -> T:
    """What is made of a file, once more without its damaged branches where these turn out to be needed.

    Args:
        file: ``FILE.root:Tree``.
        work: Makes it, without the branches that it is told of, each with the reason.

    Raises:
        InputError: If what is asked for is damaged, or as ``work`` does.
    """
    damaged: dict[str, str] = {}
    while True:
        try:
            return work(damaged)
        except DamageError as error:
            branch = str(error.branch)
            if branch in damaged:
                raise
            damaged |= _damaged(file) | {branch: _reason(error)}


def _reason(error: InputError) -> str:
    at = "" if error.entry is None else f" from event {error.entry} on"
    return f"{error.message}{at} in {error.file}"


def _damaged(file: str) -> dict[str, str]:
    """All branches that cannot be read, in any of the files."""
    found: dict[str, str] = {}
    for path, tree in files_of(file).places:
        with opened(path, tree) as source:
            for start in range(0, source.entries, _STEP):
                names = [n for n in source.branches if n not in found]
                found |= unreadable(source, names, start, min(start + _STEP, source.entries))
    return found


def readable(
    files: Files, damaged: Mapping[str, str], wanted: Sequence[str], left_out: dict[str, str]
) -> EventSchema:
    """What files hold of what can be read.

    Args:
        files: The files.
        damaged: Branches that cannot be read, with the reasons.
        wanted: What the user has asked for.
        left_out: Gets what is left out, and why.

    Raises:
        InputError: If a branch or a field that is asked for is damaged.
    """
    kept = []
    lost: dict[str, tuple[str, str]] = {}
    for c in files.schema.collections:
        counter = next((b for b in (c.counter, *(n.branch for n in c.counts)) if b in damaged), None)
        if counter is not None:
            lost[c.name] = counter, damaged[counter]
            continue
        gone = {f.name: b for f in c.fields for b in f.branches if b in damaged}
        lost |= {str(Address(c.name, None, n)): (b, damaged[b]) for n, b in gone.items()}
        if fields := tuple(f for f in c.fields if f.name not in gone):
            kept.append(c if not gone else c.model_copy(update={"fields": fields}))
    scalars = tuple(f for f in files.schema.scalars if f.branch not in damaged)
    lost |= {
        str(Address(None, None, f.name)): (f.branch, damaged[f.branch])
        for f in files.schema.scalars
        if f.branch in damaged
    }
    for name, (branch, reason) in lost.items():
        if {name, branch} & {*wanted}:
            msg = f"--select {name}: {reason}"
            raise InputError(msg, file=files.named, branch=branch)
        left_out[name] = reason
    weight = files.schema.weight if files.schema.weight in {f.name for f in scalars} else None
    return files.schema.model_copy(update={"collections": tuple(kept), "scalars": scalars, "weight": weight})


def every_event(file: str, names: Iterable[str], schema: EventSchema) -> Iterator[ak.Array]:
    """A part of all events of a file, in chunks.

    Args:
        file: ``FILE.root:Tree``.
        names: Collections and scalars.
        schema: What is read of these.
    """
    part = select(schema, [n for n in names if n in (*schema.collection_names, *schema.scalar_names)])
    yield from iterate_events(file, schema=part.model_copy(update={"identifiers": ()}), on_bad="keep")


def nothing(file: str, schema: EventSchema, left_out: Mapping[str, str]) -> InputError:
    """The error that says why nothing of a file can be learned.

    Args:
        file: ``FILE.root:Tree``.
        schema: What it holds, as far as that is known.
        left_out: What is not learned, and why.
    """
    told = dict(left_out)
    told |= {f.name: "names the event" for f in schema.identifiers}
    if schema.weight is not None:
        told[schema.weight] = "the weight of the events"
    lines = grouped(told)
    more = f"; and {len(lines) - _MOST} more reasons" if len(lines) > _MOST else ""
    reasons = "; ".join(lines[:_MOST]) or "it has no branches of numbers"
    msg = f"nothing in it can be learned: {reasons}{more}"
    return InputError(msg, file=file)


def constants(schema: EventSchema) -> dict[str, str]:
    """Of numbers none of which is continuous and varies, what each is."""
    fields = [(Address(c.name, None, f.name), f) for c in schema.collections for f in c.fields]
    fields += [(Address(None, None, f.name), f) for f in schema.scalars if f.name != schema.weight]
    found: dict[str, str] = {}
    for address, f in fields:
        only = f.values[0] if f.values is not None and len(f.values) == 1 else f.low
        if only is not None and (f.low == f.high or (f.values is not None and len(f.values) == 1)):
            found[str(address)] = f"always {only:.6g}" if isinstance(only, float) else f"always {only}"
        elif f.kind is Kind.CATEGORY:
            found[str(address)] = "a category, and no number varies continuously beside it"
        else:
            found[str(address)] = (
                "whole numbers, and none varies continuously beside them; a recipe's `events.kinds` may say "
                "that one does"
            )
    return found
