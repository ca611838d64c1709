"""What a GPU brings: the tests of one, and rates of training and generation beside the CPU's.

One command, of at most six minutes::

    python benchmarks/gpu.py ../shared/data

First the tests that are marked ``gpu``. Then each recipe makes training steps on both devices, for so many
seconds each, and generates events, in memory, of what it has learned; on the GPU also with its networks
compiled (``torch.compile``), and trained with their products in bfloat16 (``torch.autocast``; what is in
double precision stays so). The losses of the last steps tell whether bfloat16 does harm.
"""

import contextlib
import shutil
import statistics
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from common import parser_of, print_table, read

import hepgan
from hepgan.networks import Network
from hepgan.training import Trainer

SAMPLES = {
    "zmumu": "zmumu_train",
    "dy-gan": "zmumu_train",
    "wz": "wz_train",
    "cfat-gan": "cfatgan_50gev",
}
WAYS = ("", "compiled", "bfloat16")
MINUTES = 6.0


@contextlib.contextmanager
def steps_of(way, device, seconds):
    """Trainings within end after so many seconds of steps that are counted; yields their times and losses.

    The first steps, in which networks are compiled, are not counted.
    """
    made, found = Trainer._train_step, []

    def step(self):
        if way == "compiled" and not found:
            for part in self.learner.modules():
                if isinstance(part, Network):
                    part.compile()
        cast = torch.autocast(device, torch.bfloat16, enabled=way == "bfloat16")
        with cast:
            row = made(self)
        if device == "cuda":
            torch.cuda.synchronize()
        found.append((time.perf_counter(), next(v for n, v in row.items() if n.endswith("/total"))))
        warm = found[min(len(found), 10) - 1][0]
        if len(found) > 10 and found[-1][0] - warm > seconds:
            self.config = self.config.model_copy(update={"steps": self._step})
        return row

    Trainer._train_step = step
    try:
        yield found
    finally:
        Trainer._train_step = made


def rates(recipe, events, device, way, chosen):
    """Events a second in training and in generation, and the median of the last losses."""
    settings = ["training.diagnose_every=0", "training.evaluate_every=null", "training.selection=null"]
    settings += ["training.patience=null", *chosen.set]
    loaded = hepgan.load_recipe(recipe).with_settings(settings)
    with steps_of(way, torch.device(device).type, chosen.seconds) as found:
        generator = hepgan.EventGenerator(loaded).fit(events, seed=1, device=device, max_time=1e6)
    times = np.array([t for t, _ in found[min(len(found), 10) - 1 :]])
    batch = loaded.training.batch_size
    training = batch * (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else float("nan")
    number = chosen.events
    generator.generate(number, seed=2)
    started = time.perf_counter()
    generator.generate(number, seed=3)
    generation = number / (time.perf_counter() - started)
    return training, generation, statistics.median(v for _, v in found[-50:])


def main():
    """Tests, measures and prints."""
    parser = parser_of(__doc__, data=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--recipes", nargs="+", default=list(SAMPLES), choices=list(SAMPLES))
    parser.add_argument("--seconds", type=float, default=5.0, help="of training, each time")
    parser.add_argument("--events", type=int, default=50_000)
    parser.add_argument("--set", action="append", default=[], help="settings of the recipes")
    parser.add_argument("--no-tests", action="store_true")
    chosen = parser.parse_args()
    started = time.perf_counter()
    if chosen.device == "cuda" and not torch.cuda.is_available():
        sys.exit("there is no GPU here: torch finds none")
    if not chosen.no_tests:
        tests = Path(__file__).parents[1] / "tests"
        subprocess.run([sys.executable, "-m", "pytest", "-q", "-m", "gpu", str(tests)], check=True)
    for kind in (UserWarning, DeprecationWarning):  # torch.compile calls what torch deprecates
        warnings.simplefilter("ignore", kind)
    compiler = any(map(shutil.which, ("gcc", "g++", "cc", "clang")))
    if not compiler:
        print("no compiler here, so nothing is compiled", file=sys.stderr)
    all_ways = [way for way in WAYS if compiler or way != "compiled"]
    columns = {}
    for recipe in chosen.recipes:
        events = read(chosen, SAMPLES[recipe])
        for device, ways in (("cpu", WAYS[:1]), (chosen.device, all_ways)):
            for way in ways:
                if time.perf_counter() - started > 60 * MINUTES - 30:
                    print(f"{recipe}, {device} {way}: left out, since six minutes are over", file=sys.stderr)
                    continue
                training, generation, loss = rates(recipe, events, device, way, chosen)
                columns[f"{recipe}, {device} {way}".strip()] = {
                    "training, events/s": f"{training:,.0f}",
                    "generation, events/s": f"{generation:,.0f}",
                    "loss": f"{loss:.4g}",
                }
    rows = dict.fromkeys(row for column in columns.values() for row in column)
    print_table({row: {name: column[row] for name, column in columns.items()} for row in rows})


if __name__ == "__main__":
    main()
