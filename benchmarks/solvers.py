"""How many steps a flow-matching model needs: fidelity and rate of one model by solver and steps.

    python benchmarks/solvers.py MODEL TRAIN TEST [--events 100000] [--solvers euler midpoint heun]
        [--calls 2 4 8 16 32]

The same trained MODEL generates with each solver and number of network calls, and is judged on TEST (the
floor of the classifier is between TRAIN and TEST). Prints a table in Markdown.
"""

from __future__ import annotations

import time
from pathlib import Path

from common import parser_of, print_table

import hepgan

CALLS = {"euler": 1, "midpoint": 2, "heun": 2}
"""Network calls of a step."""


def main() -> None:
    """Runs it."""
    parser = parser_of(__doc__)
    for name in ("model", "train", "test"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--limit", type=int, help="events of each file that are read, at most")
    parser.add_argument("--solvers", nargs="+", default=list(CALLS))
    parser.add_argument("--calls", type=int, nargs="+", default=[2, 4, 8, 16, 32])
    chosen = parser.parse_args()
    train, test = (hepgan.read_events(f, entry_stop=chosen.limit) for f in (chosen.train, chosen.test))
    generator = hepgan.EventGenerator.load(chosen.model)
    observables = generator.recipe.make_observables()
    columns: dict[str, dict[str, str]] = {}
    for solver in chosen.solvers:
        for calls in chosen.calls:
            steps = calls // CALLS[solver]
            if steps < 1:
                continue
            model = generator.parts.model
            model.config = model.config.model_copy(update={"solver": solver, "steps": steps})
            started = time.perf_counter()
            made = generator.generate(chosen.events, seed=1)
            rate = chosen.events / (time.perf_counter() - started)
            metrics = hepgan.compare(test, made, observables, train=train).metrics
            auc = metrics["classifier"]["auc"]
            columns[f"{solver}, {steps} steps"] = {
                "network calls": str(calls),
                "classifier AUC": f"{auc['value']:.4f} (floor {auc['floor']:.4f})",
                "events/s": f"{rate:,.0f}",
            }
            print(solver, steps, columns[f"{solver}, {steps} steps"], flush=True)
    print_table(columns)


if __name__ == "__main__":
    main()
