"""Processors on events that are generated where they are analysed, without files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Literal

import awkward as ak
from coffea import processor
from coffea.nanoevents import BaseSchema
from coffea.processor.executor import ExecutorBase

from hepgan.arguments import checked, whole
from hepgan.coffea.nanoevents import HepganSchema, to_nanoevents
from hepgan.errors import InputError
from hepgan.events import to_awkward
from hepgan.generator import EventGenerator
from hepgan.generator.conditions import check_lengths
from hepgan.production.plan import Plan
from hepgan.production.workers import Cargo, generator_of

__all__ = ["process_generated"]


@checked
def process_generated(
    generator: EventGenerator,
    n: int,
    work: Any,
    *,
    executor: ExecutorBase | None = None,
    dataset: str = "generated",
    schemaclass: type[BaseSchema] = HepganSchema,
    step: int = 100_000,
    seed: int = 0,
    condition: Mapping[str, Any] | ak.Array | None = None,
    member: int | Literal["all"] | None = None,
    where: str | Sequence[str] | None = None,
    cross_section: float | None = None,
    luminosity: float | None = None,
) -> Any:
    """Runs a coffea processor on n generated events, each chunk of which is made where it is processed.

    What the processor sees, and hence its output, is what ``processor.Runner`` gives it of the files that
    ``hepgan.produce`` would have written with the same arguments, in chunks of ``step`` events. No file is
    written or read; the model goes to each worker once.

    Args:
        generator: A trained generator.
        n: Number of events.
        work: The processor, a ``processor.ProcessorABC``.
        executor: coffea's executor, such as ``processor.DaskExecutor(client=client)``; by default
            ``IterativeExecutor``, in this process.
        dataset: The dataset's name in ``events.metadata``, in which ``entrystart`` and ``entrystop`` are the
            numbers of the events.
        schemaclass: coffea's schema.
        step: Events of a chunk.
        seed: As in ``hepgan.produce``, and so are all others.
        condition: See ``hepgan.produce``.
        member: See ``hepgan.produce``.
        where: See ``hepgan.produce``.
        cross_section: See ``hepgan.produce``.
        luminosity: See ``hepgan.produce``.

    Returns:
        What the processor's ``postprocess`` makes of the sum of its outputs.

    Raises:
        InputError: If ``work`` is no processor; or as of ``hepgan.produce``.
        ValueError: If a number is out of range.
    """
    if not all(callable(getattr(work, name, None)) for name in ("process", "postprocess")):
        msg = f"work must be a processor, with process and postprocess, not {type(work).__name__}"
        raise InputError(msg)
    n, step = whole("n", n), whole("step", step)
    check_lengths(condition, n)
    plan = Plan.of(
        generator,
        n,
        seed=seed,
        condition=condition,
        member=member,
        where=where,
        cross_section=cross_section,
        luminosity=luminosity,
        shard_size=step,
        format="ttree",
    )
    cargo = Cargo.of(generator, plan, condition)
    chosen = executor or processor.IterativeExecutor(status=False)
    alone = isinstance(chosen, processor.IterativeExecutor)
    items: list[int] = list(range(len(plan)))
    heavy = isinstance(chosen, processor.DaskExecutor)
    if heavy:
        chosen = chosen.copy(heavy_input=cargo)
    chunks = _Chunks(work, schemaclass, dataset, None if alone else 1, None if heavy else cargo)
    output, _ = chosen(items, chunks, None)
    return work.postprocess(output)


@dataclass
class _Chunks:
    """What makes a chunk of events, and processes it; executors call it in their workers.

    Attributes:
        work: The processor.
        schemaclass: coffea's schema.
        dataset: The dataset's name.
        workers: Threads that generate; as many as there are cores if None.
        cargo: The generator and the plan; None if they come with the number of the chunk.
    """

    work: Any
    schemaclass: type[BaseSchema]
    dataset: str
    workers: int | None
    cargo: Cargo | None

    def __call__(self, item: Any) -> Any:
        """The processor's output for the chunk of a number."""
        number, cargo = item if self.cargo is None else (item, self.cargo)
        return self.work.process(self._events(number, cargo))

    def _events(self, number: int, cargo: Cargo) -> Any:
        generator, plan, shard = generator_of(cargo), cargo.plan, cargo.plan.shard(number)
        plan.check(generator, cargo.condition)
        batches = generator.iterate(
            shard.size,
            seed=plan.seed,
            first=shard.first,
            step=shard.size,
            condition=cargo.condition,
            member=plan.member,
            where=plan.where,
            workers=self.workers,
        )
        with closing(batches):
            batch = next(batches)
        if (known := plan.normalisation) is not None:
            batch = known.weighted(batch, known.schema_of(generator.schema_of(plan.member)))
        metadata = {
            "dataset": self.dataset,
            "filename": plan.recipe,
            "treename": plan.tree,
            "entrystart": shard.first,
            "entrystop": shard.first + shard.size,
        }
        return to_nanoevents(
            to_awkward(batch), schemaclass=self.schemaclass, metadata=metadata, first=shard.first
        )
