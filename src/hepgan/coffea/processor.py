"""A coffea processor that fills the histograms of a comparison."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import awkward as ak
import numpy as np
from coffea import processor
from coffea.processor.executor import ExecutorBase

from hepgan.arguments import checked
from hepgan.coffea.nanoevents import HepganSchema
from hepgan.errors import InputError
from hepgan.events import fileset, read_events, select
from hepgan.events.common import names_in
from hepgan.events.reading import Paths, files_of, inferred
from hepgan.events.schema import EventSchema
from hepgan.observables import Observable, ObservableConfig, default_observables, from_config, needs, parse
from hepgan.stats.metrics import random_for
from hepgan.validation import Comparison
from hepgan.validation.histograms import GROUPS, Histograms, flat_values, per_event, with_ranges
from hepgan.validation.samples import checked_event_weights

__all__ = ["ComparisonProcessor", "run_comparison"]

RANGE_EVENTS = 100_000
"""Events from which the ranges of observables are found that have none."""


class ComparisonProcessor(processor.ProcessorABC):  # type: ignore[misc]
    """Fills one histogram for each observable and dataset, the same as :func:`hepgan.compare` does.

    It runs on NanoEvents, in this process or in others: it holds nothing but text and numbers.

    Args:
        observables: Observables (expressions with ranges) or their configurations, by name.
        reference: The dataset of true events; the others are generated ones.
        weight: The event weight's branch; None for weights of 1.
        seed: Seed of the random groups, from which the metrics' floors come.

    Raises:
        RecipeError: If an observable is a Python function, or has no range.
    """

    @checked
    def __init__(
        self,
        observables: Mapping[str, Observable | ObservableConfig | Mapping[str, Any] | str],
        *,
        reference: str = "reference",
        weight: str | None = None,
        seed: int = 0,
    ) -> None:
        self.configs = {
            name: (o if isinstance(o, Observable) else from_config(o, name)).config
            for name, o in observables.items()
        }
        self.reference, self.weight, self.seed = reference, weight, seed
        for observable in self.observables.values():
            observable.axis()

    @property
    def observables(self) -> dict[str, Observable]:
        """The observables, by name."""
        return {name: from_config(config, name) for name, config in self.configs.items()}

    def process(self, events: Any) -> dict[str, Any]:
        """Histograms of one chunk of events.

        Args:
            events: NanoEvents, with ``metadata["dataset"]``.

        Returns:
            ``{dataset: {"histograms": {name: Hist}, "groups": ..., "events": N, "invalid": ...}}``; chunks
            add up. Histograms are sums over events, of weighted observables, too.
        """
        about = events.metadata
        dataset = str(about["dataset"])
        place = f"{about.get('filename', '')}:{about.get('entrystart', 0)}"
        weights = self._weights(events, place)
        observables = self.observables
        group = None
        if dataset == self.reference:
            # The file's name decides, not the folder where it lies.
            group = random_for(self.seed, PurePath(place).name).integers(GROUPS, size=len(weights))
        made = Histograms(observables, 0 if group is None else GROUPS)
        values = {n: flat_values(o, _columns(events, o)) for n, o in observables.items()}
        made.fill(values, weights, group)
        return {
            dataset: {
                "histograms": made.whole,
                "groups": made.groups,
                "events": len(weights),
                "sum_of_weights": float(weights.sum()),
                "group_sums": made.sums,
                "invalid": made.invalid,
            }
        }

    def postprocess(self, accumulator: Any) -> Any:
        """Nothing is left to do."""
        return accumulator

    def comparison(
        self, output: Mapping[str, Any], provenance: Mapping[str, Any] | None = None
    ) -> Comparison:
        """The comparison that a runner's output makes.

        Args:
            output: What ``Runner`` returned, for filesets with the reference and generated datasets.
            provenance: What a report shall tell besides.

        Raises:
            InputError: If the reference or every generated dataset is missing.
        """
        generated = {label: part for label, part in output.items() if label != self.reference}
        if self.reference not in output or not generated:
            found = ", ".join(output) or "nothing"
            msg = f"needs the dataset {self.reference!r} and a generated one; the output has {found}"
            raise InputError(msg)
        observables = self.observables
        true, groups = self._per_event(output[self.reference])
        samples = {
            f"{label} sample": {k: part[k] for k in ("events", "sum_of_weights")}
            for label, part in output.items()
        }
        return Comparison.from_histograms(
            observables,
            true,
            {label: self._per_event(part)[0] for label, part in generated.items()},
            groups=groups,
            provenance={**(provenance or {}), **samples, "seed": self.seed},
            seed=self.seed,
        )

    def _per_event(self, part: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        return per_event(self.observables, part["histograms"], part["groups"], part["group_sums"])

    def _weights(self, events: Any, place: str) -> Any:
        if self.weight is None:
            return np.ones(len(events))
        values = _scalar(events, self.weight)
        if values is None:
            msg = "no such branch for the event weight"
            raise InputError(msg, file=place, branch=self.weight)
        return checked_event_weights(events, EventSchema(), ak.to_numpy(values), place)


@checked
def run_comparison(
    reference: Paths,
    generated: Paths | Mapping[str, Paths],
    observables: Mapping[str, Observable | ObservableConfig | Mapping[str, Any] | str] | None = None,
    *,
    executor: ExecutorBase | None = None,
    step: int = 100_000,
    seed: int = 0,
) -> Comparison:
    """Compares files through coffea's ``Runner``; its histograms are those of ``compare``.

    Args:
        reference: Files of true events (``file.root:Events``, globs, lists).
        generated: Files of generated events, or several samples by label.
        observables: The observables; by default those for the reference's schema.
        executor: coffea's executor; by default ``IterativeExecutor``, in this process.
        step: Events of a chunk.
        seed: Seed of the floors' splits.

    Raises:
        InputError: If a file cannot be read.
        RecipeError: If an observable does not fit the events, or is a Python function.
    """
    samples = dict(generated) if isinstance(generated, Mapping) else {"generated": generated}
    true = files_of(reference)
    given = [o if isinstance(o, Observable) else from_config(o, n) for n, o in (observables or {}).items()]
    if given:
        expressions = [text for o in given for text in (o.expression, o.weight)]
        layout = select(true.schema, needs(expressions, true.schema))
    else:
        layout = true.schema
    true.tell(names_in(layout))
    schema = inferred(true.places, layout, 1_000_000, "raise")
    first = read_events(reference, schema=schema, entry_stop=RANGE_EVENTS)
    ready = with_ranges(observables or default_observables(schema), first)
    work = ComparisonProcessor(ready, weight=None if schema.weight is None else _branch(schema), seed=seed)
    runner = processor.Runner(
        executor=executor or processor.IterativeExecutor(status=False),
        schema=HepganSchema,
        chunksize=step,
        # coffea's own cache outlives this call, and would serve a rewritten file's old numbers.
        metadata_cache={},
    )
    # Runner takes the trees' names only; steps and entries of a whole fileset are for coffea's dataset tools.
    files = {
        dataset: {"files": {path: about["object_path"] for path, about in part["files"].items()}}
        for dataset, part in fileset({"reference": reference, **samples}, step=step).items()
    }
    output = runner(files, processor_instance=work)
    return work.comparison(output, {"reference": reference, **samples})


def _branch(schema: EventSchema) -> str:
    return schema.scalar(str(schema.weight)).branch


def _columns(events: Any, observable: Observable) -> Any:
    """The collections and scalars that an observable uses, named as in hepgan's events."""
    names = ak.fields(events)
    columns = {}
    texts = [t for t in (observable.expression, observable.weight) if t is not None]
    for name in frozenset().union(*(parse(t).names for t in texts)):
        for wanted in (name, name.removeprefix("n")):
            if wanted in names:
                columns[wanted] = events[wanted]
        if name not in names and (values := _scalar(events, name)) is not None:
            columns[name] = values
    return ak.zip(columns, depth_limit=1) if columns else events


def _scalar(events: Any, name: str) -> Any:
    """A number of the event, which NanoAODSchema makes ``beam.energy`` of where it is ``beam_energy``."""
    if name in ak.fields(events):
        return events[name]
    group, _, field = name.partition("_")
    if group in ak.fields(events) and field in ak.fields(events[group]):
        return events[group][field]
    return None
