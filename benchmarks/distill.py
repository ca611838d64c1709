"""Fidelity and speed of distilled generators next to their teacher's.

    python benchmarks/distill.py DATA --models FOLDER [--steps 1 2 4] [--max-time 225]

DATA holds zmumu_train.root and zmumu_test.root (see zmumu.py). FOLDER gets the teacher, zmumu.safetensors,
and a student for each number of steps, zmumu-1.safetensors for instance; what is there is not made anew.

Each is judged by 100,000 events against the test sample: the AUC of a classifier and its floor, the same
between training and test events. Rates are those of ``hepgan.produce`` into one ROOT file, in turns, and of
the CPU time of 4096 events; ratios are medians of ratios within a round, so other work on the machine
matters less.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from common import options, print_table, read, trained

import hepgan
from hepgan.generator.distillation import PAIRS
from hepgan.models import BLOCK

RECIPE = "zmumu"


def student(teacher: hepgan.EventGenerator, steps: int, chosen: argparse.Namespace) -> hepgan.EventGenerator:
    """A student, from the folder if it is there."""
    path = chosen.models / f"{RECIPE}-{steps}.safetensors"
    if path.exists():
        return hepgan.EventGenerator.load(path)
    made = hepgan.distill(teacher, steps=steps, pairs=chosen.pairs, settings=chosen.student, seed=chosen.seed)
    made.save(path)
    return made


def cost(generator: hepgan.EventGenerator, n: int, seed: int, path: Path) -> tuple[float, float]:
    """Events per second, and milliseconds of CPU time for 4096 events."""
    cpu, start = time.process_time(), time.perf_counter()
    hepgan.produce(generator, n, path, seed=seed, force=True)
    seconds = time.perf_counter() - start
    return n / seconds, (time.process_time() - cpu) * 1e3 * BLOCK / n


def speed(generators: dict[str, hepgan.EventGenerator], rounds: int, seconds: float) -> dict[str, dict]:
    """Rates of all generators, and ratios to the first one's, by name."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in generators}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "generated.root"
        counts = {}
        for name, generator in generators.items():
            rate, _ = cost(generator, 4 * BLOCK, 0, path)
            counts[name] = BLOCK * max(round(rate * seconds / BLOCK), 4)
        for turn in range(rounds):
            for name, generator in generators.items():
                found[name].append(cost(generator, counts[name], turn, path))
    first = found[next(iter(found))]
    rows = {}
    for name, costs in found.items():
        pairs = list(zip(costs, first, strict=True))
        rows[name] = {
            "events/s": f"{statistics.median(rate for rate, _ in costs):,.0f}",
            "times the teacher's": f"{statistics.median(a[0] / b[0] for a, b in pairs):.1f}",
            "CPU time of 4096 events [ms]": f"{statistics.median(cpu for _, cpu in costs):.1f}",
            "teacher's CPU time to this": f"{statistics.median(b[1] / a[1] for a, b in pairs):.1f}",
        }
    return rows


def main() -> None:
    """Runs it."""
    parser = options(__doc__, [RECIPE], 225.0, events=100_000)
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--pairs", type=int, default=PAIRS, help="events that a student learns from")
    parser.add_argument("--student", action="append", default=[], help="settings of the students")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0, help="about how long each takes in a round")
    chosen = parser.parse_args()
    train = read(chosen, "zmumu_train")
    test = read(chosen, "zmumu_test")
    generators = {"teacher": trained(RECIPE, train, chosen)}
    for steps in chosen.steps:
        name = f"{steps} step" + "s" * (steps > 1)
        generators[name] = student(generators["teacher"], steps, chosen)
    columns: dict[str, dict[str, str]] = {}
    for name, generator in generators.items():
        made = generator.generate(chosen.events, seed=1)
        comparison = hepgan.compare(test, made, generator.recipe.make_observables(), train=train)
        auc = comparison.metrics["classifier"]["auc"]
        summary = generator.summary.get("distillation")
        columns[name] = {
            "classifier AUC": f"{auc['value']:.4f}",
            "its error": f"{auc['error']:.4f}",
            "its floor": f"{auc['floor']:.4f}",
            "difference of features": "" if summary is None else f"{summary['metrics']['difference']:.3f}",
            "seconds of training": f"{(summary or generator.summary)['seconds']:.0f}",
        }
        for line in comparison.verdicts():
            print(f"{name}: {line}", flush=True)
    for name, row in speed(generators, chosen.rounds, chosen.seconds).items():
        columns[name] |= row
    print_table(columns)


if __name__ == "__main__":
    main()
