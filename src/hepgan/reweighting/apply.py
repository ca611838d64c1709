"""Weights as fields of events, in memory and in files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np

from hepgan.arguments import checked
from hepgan.errors import InputError, OutputError
from hepgan.events import (
    EventSchema,
    EventsLike,
    EventWriter,
    check_events,
    event_weights,
    iterate_events,
    read_events,
    read_runs,
    reads,
    schema_of,
    select,
    weighted_by,
)
from hepgan.events.buffers import ATTRIBUTE
from hepgan.events.common import names_in
from hepgan.events.formats import PathLike, format_for
from hepgan.events.momenta import with_momenta_of
from hepgan.events.reading import alike_of, files_of, inferred
from hepgan.events.runs import RUNS
from hepgan.events.weights import NO_WEIGHT, is_written, marked
from hepgan.files import claim
from hepgan.observables import Observable, needs
from hepgan.observables.preparation import Preparation
from hepgan.reweighting.reweighter import Reweighter
from hepgan.stats.weights import TAIL, Unweighted, Weights, accepted, effective_sample_size, unweight

__all__ = ["ReweightedFile", "check_name", "check_output", "reweight", "reweight_file", "weighted"]


@checked
def reweight(
    reference: EventsLike,
    generated: EventsLike,
    observables: Mapping[str, Observable] | None = None,
    *,
    name: str = "weight",
    **settings: Any,
) -> ak.Array:
    """Generated events with weights by which they follow the distribution of true ones.

    Args:
        reference: True events.
        generated: Generated events.
        observables: What the classifiers see besides the fields of the events.
        name: The field of the weights.
        settings: As of :class:`Reweighter`: ``classifier``, ``members``, ``calibration``, ...

    Returns:
        The generated events with the fields ``weight`` and ``weight_error``; a weight that they have already
        is a factor of both, and ``write_events`` and ``compare`` take ``weight`` for the event weight.

    Raises:
        InputError: If the samples cannot be told apart by anything, or are too small.
    """
    check_name(schema_of(generated), name)
    fitted = Reweighter(observables, **settings).fit(reference, generated)
    return weighted(generated, fitted.fitted_weights, name)


def weighted(events: ak.Array, weights: Weights, name: str = "weight") -> ak.Array:
    """Events with weights as the fields ``name`` and ``name_error``.

    Raises:
        InputError: If the events have a field of this name that is not their weight.
    """
    schema = schema_of(events)
    check_name(schema, name)
    factor = event_weights(events, schema)
    made = ak.with_field(events, (weights.weight * factor).astype(np.float32), name)
    made = ak.with_field(made, (weights.error * np.abs(factor)).astype(np.float32), f"{name}_error")
    described = marked(schema_of(made).model_copy(update={"weight": name}))
    return ak.Array(made, attrs={**made.attrs, ATTRIBUTE: described})


def check_name(schema: EventSchema, name: str) -> None:
    """Sees to it that weights can be called so.

    Raises:
        InputError: If the events have a field of this name that is not their weight.
    """
    fields = {*schema.collection_names, *schema.scalar_names, *(f.name for f in schema.identifiers)}
    for taken in (name, f"{name}_error"):
        if taken in fields and taken != schema.weight:
            msg = f"the events have a {taken!r} already, which is no weight: choose another name"
            raise InputError(msg)


CHUNK = 100_000

LITTLE = 0.8
"""A smaller share of true events that generated ones reach is told: classifiers err by less."""


@dataclass(frozen=True)
class ReweightedFile:
    """What has become of a file of generated events.

    Attributes:
        path: The file that was written.
        reweighter: What has learned the weights.
        read: Number of events of the generated file.
        written: Number of events of the new one.
        unweighted: Where events were kept by their weights, what that costs; else None.
    """

    path: Path
    reweighter: Reweighter
    read: int
    written: int
    unweighted: Unweighted | None = None

    @property
    def label(self) -> str:
        """What the new sample may be called beside the generated one."""
        return "reweighted" if self.unweighted is None else "unweighted"

    @property
    def metrics(self) -> dict[str, float]:
        """Numbers on how events were kept; none where they have weights."""
        if self.unweighted is None:
            return {}
        return {"efficiency": self.written / self.read, "overweight": self.unweighted.overweight}

    def lines(self) -> list[str]:
        """What is to be known of the weights, in words."""
        w, reach = self.reweighter.fitted_weights.weight, self.reweighter.reach
        low, high = np.quantile(w, (TAIL, 1 - TAIL))
        said = [f"effective sample size {effective_sample_size(w) / len(w):.1%} of the events"]
        if reach < LITTLE:
            said.append(f"generated events reach only {reach:.1%} of the true ones: no weights mend the rest")
        said.append(f"1% of the weights below {low:.3g}, 1% above {high:.3g}")
        if (found := self.unweighted) is not None:
            lost = f"{found.overweight:.2%} of the weight was beyond the largest that --quantile allows"
            said.append(f"{self.written:,} of {self.read:,} events kept, which need no weights")
            said.append(f"{lost}, and is lost")
        return said


@checked
def reweight_file(
    reference: PathLike,
    generated: PathLike,
    output: PathLike,
    observables: Mapping[str, Observable] | None = None,
    *,
    events: int = 500_000,
    name: str = "weight",
    keep: bool = False,
    weight: str | None = None,
    prepared: Mapping[str, str] | None = None,
    quantile: float = 0.999,
    seed: int = 0,
    force: bool = False,
    on_read: Callable[[str, str], None] = lambda generated, true: None,
    **settings: Any,
) -> ReweightedFile:
    """Writes generated events with weights by which they follow true ones, or a part that needs no weights.

    Events that were learned from are weighted by members of the ensemble that did not know them.

    Args:
        reference: True events, ``file.root:Tree``.
        generated: Generated events, likewise.
        output: The file to write.
        observables: What the classifiers see besides the fields of the events.
        events: Generated events to learn from, at most.
        name: The branch of the weights; that of their errors is ``name_error``.
        keep: Whether to keep events by their weights, and to write no weights.
        weight: The number of true events that is their weight, or ``none``; by default that which is the
            weight of generated events, or else what their names tell.
        prepared: What is made of true events that lack it, as of a recipe's ``events.prepared``.
        quantile: With ``keep``, the weight that is not to be exceeded, as a quantile of all.
        seed: The same seed gives the same events.
        force: Whether an existing file may be replaced.
        on_read: Is told which generated and which true events are learned from, and how they are weighted.
        settings: As of :class:`Reweighter`: ``classifier``, ``members``, ``calibration``, ...

    Raises:
        InputError: If the events cannot be read or told apart, have a field of the name that is no weight, or
            have weights already and are to be kept by others.
        OutputError: If the file exists (without ``force``), is one of those that are read, or cannot be
            written.
    """
    output = Path(output)
    format_for(output)
    claim(output, force=force, make=False)
    check_output(output, reference, generated)
    # What cannot be written is better known before anything is learned.
    both = alike_of({"generated": files_of(generated), "reference": files_of(reference)})
    preparation = Preparation(prepared or {})
    files, there = both["generated"], preparation.known(both["reference"])
    files.tell()
    layout = with_momenta_of(files.schema, there.schema)
    schema = inferred(files.places, layout, 1_000_000, "keep")
    if weight == NO_WEIGHT or (weight in schema.scalar_names and not is_written(schema)):
        schema = weighted_by(schema, weight, keep=schema.scalar_names)
    if not keep:
        check_name(schema, name)
    elif schema.weight is not None:
        msg = f"the events have weights ({schema.weight}) already, which --unweight would not do without"
        raise InputError(msg, file=str(generated))
    try:
        by = weight or (schema.weight if schema.weight in there.schema.scalar_names else None)
        known = weighted_by(there.schema, by)
    except InputError as error:
        raise InputError(error.message, file=str(reference)) from None
    needed = [text for o in (observables or {}).values() for text in (o.expression, o.weight)]
    shared = [n for n in names_in(known) if n in {*names_in(schema)}]
    if not shared:
        msg = f"has nothing of what the generated events have ({', '.join(names_in(schema)[:8])})"
        raise InputError(msg, file=str(reference))
    wanted = select(known, [*shared, *needs(needed, known)]).model_copy(update={"identifiers": ()})
    there.tell(names_in(wanted))
    true = preparation.whole(there, wanted)
    # What is only copied may hold anything.
    seen = select(schema, [*shared, *needs(needed, schema)]).model_copy(update={"identifiers": ()})
    made = read_events(generated, schema=seen, entry_stop=events)
    on_read(_told(made, "generated"), _told(true, "true"))
    reweighter = Reweighter(observables, seed=seed, **settings).fit(true, made)
    fitted = reweighter.fitted_weights.weight
    top = float(np.quantile(fitted, quantile)) if keep else None
    read, written = _write(reweighter, generated, schema, seen, output, len(made), name, top, seed, force)
    found = unweight(fitted, quantile=quantile) if keep else None
    return ReweightedFile(output, reweighter, read, written, found)


def _told(events: ak.Array, what: str) -> str:
    """How many events there are, and their weight, in words."""
    weight = schema_of(events).weight
    by = "" if weight is None else f", weighted by {weight},"
    return f"{len(events):,} {what} events{by}"


def check_output(output: Path, *sources: PathLike) -> None:
    """Sees to it that what is written is not read as well.

    Raises:
        OutputError: If it is.
    """
    if any(reads(source, output) for source in sources):
        msg = "is read and cannot be written, too: choose another --output"
        raise OutputError(msg, file=output)


def _write(
    reweighter: Reweighter,
    generated: PathLike,
    schema: EventSchema,
    seen: EventSchema,
    output: Path,
    known: int,
    name: str,
    top: float | None,
    seed: int,
    force: bool,
) -> tuple[int, int]:
    """Writes all generated events with weights, or those that are kept, with the probability weight / top.

    Of them the classifiers have seen a part; what else they hold is copied, whatever it is.

    Returns:
        The numbers of events read and written.
    """
    fitted = reweighter.fitted_weights
    # The mean of the weights is 1, so what there was before a selection stays as it is.
    before = read_runs(generated) if top is None else None
    done = kept = 0
    copied = {*names_in(schema)} - {*names_in(seen)}
    with ExitStack() as stack:
        writer: EventWriter | None = None
        for chunk in iterate_events(generated, step=CHUNK, schema=schema, on_bad="keep"):
            check_events(chunk, seen, str(generated), first_entry=done, weights=False)
            old = max(0, min(known - done, len(chunk)))
            parts = [fitted.weight[done : done + old]], [fitted.error[done : done + old]]
            if old < len(chunk):
                new = reweighter(chunk[old:])
                parts[0].append(new.weight)
                parts[1].append(new.error)
            found = Weights(*(np.concatenate(p) for p in parts))
            if top is None:
                events = weighted(chunk, found, name)
            else:
                events = chunk[accepted(found.weight, top, np.random.default_rng([seed, done]))]
            if writer is None:
                writer = stack.enter_context(
                    EventWriter(output, schema_of(events), force=force, check=not copied)
                )
                if before is not None:
                    writer.add(RUNS, before.columns(run=1))
            writer.extend(events)
            done, kept = done + len(chunk), kept + len(events)
    return done, kept
