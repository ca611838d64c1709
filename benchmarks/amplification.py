"""How many true events a generated sample is worth, per observable: the question of amplification.

    OMP_NUM_THREADS=1 python benchmarks/amplification.py DATA

A model is trained on few events of inclusive DIS (``fatgan_50gev.root``); the others, which it has not seen,
stand for the truth. ``hepgan.equivalent_size`` tells how many true events would be as near to the truth, in
bins of equal contents, as generated samples of several sizes are, and as the training events are. The figures
are harmonic means over several trainings on different events: 1 / size is the mean of squared deviations.

Reference: A. Butter et al., GANplifying event samples, arXiv:2008.06545.
"""

from __future__ import annotations

import awkward as ak
import numpy as np
from common import parser_of, read

import hepgan
from hepgan.validation import equivalent_size

OBSERVABLES = ("Q2", "x_bj", "y", "pt", "pz", "theta")
TIMES = (1, 10, 100)
BINS = 20


def values(events: ak.Array, generator: hepgan.EventGenerator) -> dict[str, np.ndarray]:
    """The observables of events."""
    known = generator.recipe.make_observables()
    return {name: np.asarray(known[name].flat(events).values, dtype=np.float64) for name in OBSERVABLES}


def main() -> None:
    """Trains and prints a table."""
    parser = parser_of(__doc__, data=True)
    parser.add_argument("--events", type=int, nargs="+", default=[1_000], help="training events")
    parser.add_argument("--toys", type=int, default=4)
    parser.add_argument("--steps", type=int, default=1_500)
    parser.add_argument("--batch-size", type=int, default=500)
    parser.add_argument("--max-generated", type=int, default=100_000)
    chosen = parser.parse_args()
    events = read(chosen, "fatgan_50gev")
    order = np.random.default_rng(0).permutation(len(events))
    settings = [
        f"training.steps={chosen.steps}",
        f"training.batch_size={chosen.batch_size}",
        "training.ema=0.99",
        "training.validation_fraction=0.0",
    ]
    for size in chosen.events:
        truth = None
        found: dict[str, dict[str, list[float]]] = {}
        for toy in range(chosen.toys):
            own = order[toy * size : (toy + 1) * size]
            recipe = hepgan.load_recipe("dis").with_settings(settings)
            generator = hepgan.EventGenerator(recipe).fit(events[np.sort(own)], seed=toy, device="cpu")
            if truth is None:
                # Events of none of the trainings.
                truth = values(events[np.sort(order[chosen.toys * size :])], generator)
            samples = {"training": values(events[own], generator)}
            most = min(max(TIMES) * size, chosen.max_generated)
            every = values(generator.generate(most, seed=toy, workers=1), generator)
            for times in TIMES:
                if times * size <= most:
                    samples[f"{times} x"] = {n: v[: times * size] for n, v in every.items()}
            for label, sample in samples.items():
                row = found.setdefault(label, {n: [] for n in OBSERVABLES})
                for name in OBSERVABLES:
                    worth = equivalent_size(truth[name], sample[name], bins=BINS)
                    row[name].append(1 / worth.size)
            print(f"{size} training events, {toy + 1} trainings; worth in units of the training events")
            print(f"{'sample':<10}" + "".join(f"{n:>14}" for n in OBSERVABLES))
            for label, row in found.items():
                cells = []
                for name in OBSERVABLES:
                    mean = np.mean(row[name])
                    error = np.std(row[name], ddof=1) / np.sqrt(len(row[name])) if toy else 0.0
                    ratio = 1 / (mean * size)
                    cells.append(f"{ratio:6.2f} +- {ratio * error / mean:4.2f}")
                print(f"{label:<10}" + "".join(f"{c:>14}" for c in cells), flush=True)


if __name__ == "__main__":
    main()
