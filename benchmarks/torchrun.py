"""Training on one process and on several: are the losses the same, and how much faster is it?

Each recipe is trained on one process and on several, in turns, for so many steps::

    python benchmarks/torchrun.py ../shared/data --steps 200 --processes 2
"""

import csv
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from common import parser_of, print_table, read

import hepgan

RECIPES = ("wz", "zmumu")


def trained(recipe, file, folder, processes, chosen):
    """The rate of a training, in steps a second, and its losses."""
    out = folder / f"{recipe}-{processes}.safetensors"
    several = ["-m", "torch.distributed.run", "--nproc-per-node", str(processes), "--local-addr", "127.0.0.1"]
    command = ["-m", "hepgan", "train", recipe, str(file), "-o", str(out), "--force", "--device", "cpu"]
    settings = ["training.diagnose_every=0", *chosen.set, f"training.steps={chosen.steps}"]
    command += [word for setting in settings for word in ("--set", setting)]
    subprocess.run(
        [sys.executable, *(several if processes > 1 else []), *command, "--max-time", "24h"],
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
    )
    summary = hepgan.EventGenerator.load(out).summary
    with out.with_suffix(".history.csv").open() as table:
        rows = list(csv.DictReader(table))
    total = next(name for name in rows[0] if name.endswith("/total"))
    seconds = summary["seconds"] - summary["preparation_seconds"]
    return len(rows) / seconds, np.array([float(row[total]) for row in rows])


def main():
    """Trains and prints the table."""
    parser = parser_of(__doc__, data=True)
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES), choices=RECIPES)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--set", action="append", default=[], help="settings of the recipes")
    chosen = parser.parse_args()
    columns = {}
    with tempfile.TemporaryDirectory() as folder:
        for recipe in chosen.recipes:
            file = Path(folder) / f"{recipe}.root"
            hepgan.write_events(file, read(chosen, f"{recipe}_train"))
            rates, losses = {1: [], chosen.processes: []}, {}
            for _ in range(chosen.rounds):
                for number, found in rates.items():
                    rate, losses[number] = trained(recipe, file, Path(folder), number, chosen)
                    found.append(rate)
            one, other = (max(found) for found in rates.values())
            first, second = losses.values()
            apart = np.abs(first - second).max() / np.abs(first).max()
            columns[recipe] = {
                "steps/s, one process": f"{one:.2f}",
                f"steps/s, {chosen.processes} processes": f"{other:.2f}",
                "ratio": f"{other / one:.2f}",
                "losses differ by (of the largest)": f"{apart:.1e}",
            }
    print_table(columns)


if __name__ == "__main__":
    main()
