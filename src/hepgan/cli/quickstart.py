"""The whole path in one call: simulate, learn, generate, analyse with coffea, judge."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from hepgan.coffea import run_comparison
from hepgan.datasets import make_dataset, require_pythia
from hepgan.events import read_events
from hepgan.files import claim
from hepgan.generator import EventGenerator
from hepgan.production import produce
from hepgan.recipes import load_recipe
from hepgan.runtime import cores, telling
from hepgan.validation import claim_report, compare

__all__ = ["run"]

GENERATED = 100_000


def run(
    output: Path,
    *,
    events: int = 60_000,
    max_time: float = 180.0,
    seed: int = 0,
    force: bool = False,
    say: Callable[[str], None] = print,
) -> None:
    """Runs the recipe ``zmumu`` from simulation to report, and says where things are.

    Args:
        output: The folder for all files.
        events: Training events; a third as many more are simulated to judge with.
        max_time: Longest training, in seconds.
        seed: Seed of everything.
        force: Whether existing files may be replaced.
        say: Receives each line.

    Raises:
        HepganError: If something cannot be written or made.
        KeyboardInterrupt: At Ctrl-C, in training, too.
    """
    require_pythia()
    train, test = output / "zmumu_train.root", output / "zmumu_test.root"
    model, generated = output / "zmumu.safetensors", output / "generated.root"
    report = output / "report"
    for path in (train, test, model, generated):
        claim(path, force=force)
    claim_report(report, force=force)
    clock = _Clock(say)

    sizes = {train: events, test: max(events // 3, 1)}
    with ProcessPoolExecutor(min(2, cores()), mp_context=get_context("spawn")) as pool:
        jobs = [
            pool.submit(make_dataset, "zmumu", size, path, seed=2 * seed + 1 + k, force=force)
            for k, (path, size) in enumerate(sizes.items())
        ]
        for job in jobs:
            job.result()
    clock.lap(f"simulated {sum(sizes.values())} Z -> mu mu events with Pythia 8: {train}, {test}")

    recipe = load_recipe("zmumu")
    generator = EventGenerator(recipe).fit(
        read_events(train),
        seed=seed,
        max_time=max_time,
        progress=True,
        checkpoint=model.with_suffix(".part"),
    )
    model.with_suffix(".part").unlink(missing_ok=True)
    if generator.history is not None and generator.history.status == "interrupted":
        raise KeyboardInterrupt
    generator.save(model, force=force)
    clock.lap(f"learned {events} of them with the recipe zmumu: {model}")

    production = produce(generator, GENERATED, generated, seed=seed, force=force)
    rate = production.events / production.seconds
    clock.lap(f"generated {GENERATED} events at {rate:,.0f} events/s: {generated}, {production.fileset}")

    observables = recipe.make_observables()
    by_coffea = run_comparison([test], [generated], observables)
    clock.lap("filled the histograms of both samples by a coffea processor")

    with telling():
        comparison = compare(
            read_events(test),
            read_events(generated),
            observables,
            train=read_events(train),
            seed=seed,
            provenance={"reference": str(test), "generated": str(generated), "train": str(train)},
        )
        comparison.save(report, force=force)
    clock.lap(f"judged them: {report / 'report.html'}")
    same = sum(_equal(by_coffea.histograms[n], pair) for n, pair in comparison.histograms.items())
    say(f"  coffea's histograms equal the report's for {same} of {len(comparison.histograms)} observables")
    for line in comparison.verdicts():
        say("  " + line)
    say(f"open {report / 'report.html'} in a browser; the model is described by: hepgan info {model}")


def _equal(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    """Whether two pairs of histograms have the same contents."""
    return all(np.array_equal(a.view(flow=True), b.view(flow=True)) for a, b in zip(one, other, strict=True))


class _Clock:
    """Says what was done, and how long it took."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say, self._last = say, time.monotonic()

    def lap(self, what: str) -> None:
        now = time.monotonic()
        self._say(f"[{now - self._last:5.1f} s] {what}")
        self._last = now
