"""How much longer the way from events to a report takes while other processes use the machine.

Run with ``python benchmarks/busy_machine.py DATA`` on a folder with ``zmumu_train.root`` and
``zmumu_test.root`` (of ``hepgan dataset zmumu``). In each round a process of its own trains the recipe
``zmumu`` for some steps, generates, compares and writes a report, once alone and once with so many other
processes (``--busy``) that never wait; all that on so many cores (``--cores``). It prints the medians of the
seconds of each part, and of the ratios. ``--whole`` runs ``hepgan quickstart`` instead.

One other process on two cores takes one of them: what can use both may take twice as long, and no more.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from common import parser_of, print_table, read

BUSY = "while True: pass"


def main() -> None:
    """Prints seconds by part, without and with other processes, and their ratios."""
    parser = parser_of(__doc__, data=True)
    parser.add_argument("--busy", type=int, default=1, help="other processes")
    parser.add_argument("--cores", type=int, default=2, help="cores for all of them, at most")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=200, help="of the training")
    parser.add_argument("--generated", type=int, default=20_000, help="events to generate")
    parser.add_argument("--whole", action="store_true", help="run `hepgan quickstart`")
    parser.add_argument("--set", action="append", default=[], help="settings of the recipe")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.child:
        print(json.dumps(parts(chosen), indent=1))
        return
    usable = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(usable)[: chosen.cores])
    quiet, loaded = [], []
    print(f"load of the machine: {os.getloadavg()[0]:.1f}")
    try:
        for _ in range(chosen.rounds):
            quiet.append(run(chosen))
            with others(chosen.busy):
                loaded.append(run(chosen))
    finally:
        os.sched_setaffinity(0, usable)
    rows = list(quiet[0])
    ratios = {p: [b[p] / max(a[p], 1e-9) for a, b in zip(quiet, loaded, strict=True)] for p in rows}
    columns = {
        "alone [s]": {p: f"{statistics.median(r[p] for r in quiet):.1f}" for p in rows},
        "with others [s]": {p: f"{statistics.median(r[p] for r in loaded):.1f}" for p in rows},
        "ratio": {p: f"{statistics.median(ratios[p]):.2f}" for p in rows},
    }
    print_table(columns)
    print(f"load of the machine: {os.getloadavg()[0]:.1f}")


@contextmanager
def others(number: int) -> Iterator[None]:
    """So many processes that never wait."""
    processes = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(number)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def run(chosen: argparse.Namespace) -> Mapping[str, float]:
    """Seconds by part of one process."""
    started = time.perf_counter()
    if chosen.whole:
        with tempfile.TemporaryDirectory() as folder:
            words = [sys.executable, "-m", "hepgan", "quickstart", "-o", folder, "--force"]
            subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
        return {"whole": time.perf_counter() - started}
    done = subprocess.run(
        [sys.executable, __file__, *sys.argv[1:], "--child"], check=True, capture_output=True, text=True
    )
    found: dict[str, float] = json.loads(done.stdout)
    return {**found, "whole": time.perf_counter() - started}


def parts(chosen: argparse.Namespace) -> dict[str, float]:
    """Seconds of each part, in this process."""
    from hepgan.runtime import wait_briefly

    wait_briefly()  # as the command line does
    import hepgan
    from hepgan.production import produce
    from hepgan.validation import compare

    found, last = {}, time.perf_counter()

    def lap(part: str) -> None:
        nonlocal last
        now = time.perf_counter()
        found[part], last = now - last, now

    train, test = read(chosen, "zmumu_train"), read(chosen, "zmumu_test")
    recipe = hepgan.load_recipe("zmumu").with_settings([*chosen.set, f"training.steps={chosen.steps}"])
    lap("read")
    generator = hepgan.EventGenerator(recipe).fit(train)
    lap("train")
    with tempfile.TemporaryDirectory() as folder:
        produce(generator, chosen.generated, Path(folder) / "generated.root")
        lap("generate")
        made = hepgan.read_events(Path(folder) / "generated.root")
        comparison = compare(test, made, recipe.make_observables(), train=train)
        lap("judge")
        comparison.save(Path(folder) / "report")
        lap("report")
    return found


if __name__ == "__main__":
    main()
