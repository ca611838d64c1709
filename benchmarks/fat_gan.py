"""Physics of the recipes for inclusive e p scattering: trains each, generates events, judges them.

    python benchmarks/fat_gan.py DATA [--recipes dis fat-gan fat-gan-spherical direct-gan] [--max-time 600]

DATA holds fatgan_50gev.root, the events that the FAT-GAN paper was trained on. Of three entries two are
learned and one is judged by; ten times as many are generated. Prints a table in Markdown. Nothing is trained
for a model that the folder --models holds already.

The figure is the paper's (Y. Alanazi et al., IJCAI 2021): chi2 = 1/n sum (g - t)^2 / t over the n bins of the
(Q2, x) histogram that hold true events, t and g being the true and the scaled generated number. A perfect
generator has about 1.1, 1 from the true events and 0.1 from the generated ones; equally large samples of
true events have 2. The paper does not state its bins; those of the authors' program are 99 x 99, equal in the
logarithms of 1 < Q2 < 10,000 GeV^2 and 0.001 < x < 1, and others are beside them.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import awkward as ak
import numpy as np

import hepgan
from hepgan.objectives.distances import ks

BEAM = 50.0
Q2_RANGE, X_RANGE = (1.0, 1e4), (1e-3, 1.0)
BINS = (99, 50, 25)
TIMES = 10
TOYS = 20


def kinematics(events) -> dict[str, np.ndarray]:
    """E, Q2, x, y and more of the electron, which is massless, in float64."""
    px, py, pz = (ak.to_numpy(events.Electron[c]).astype(np.float64) for c in ("px", "py", "pz"))
    pt2 = px**2 + py**2
    energy = np.sqrt(pt2 + pz**2)
    with np.errstate(divide="ignore", invalid="ignore"):
        plus, minus = np.where(pz > 0, [energy + pz, pt2 / (energy + pz)], [pt2 / (energy - pz), energy - pz])
    return {
        "E": ak.to_numpy(events.Electron.energy).astype(np.float64),
        "pT": np.sqrt(pt2),
        "pz": pz,
        "px": px,
        "phi": np.arctan2(py, px),
        "Q2": 2 * BEAM * minus,
        "x": minus / (2 * BEAM - plus),
        "y": 1 - plus / (2 * BEAM),
    }


def histogram(found: dict[str, np.ndarray], bins: int) -> np.ndarray:
    """The numbers of events in bins of Q2 and x."""
    edges = [np.geomspace(*limits, bins + 1) for limits in (Q2_RANGE, X_RANGE)]
    return np.histogram2d(found["Q2"], found["x"], edges)[0]


def chi2(true: np.ndarray, generated: np.ndarray, scale: float) -> float:
    """Chi2 per bin of two histograms, over the bins that hold true events.

    Args:
        true: Numbers of true events.
        generated: Numbers of generated events.
        scale: How many true events there are for each generated one.
    """
    filled = true > 0
    return float(np.mean((scale * generated[filled] - true[filled]) ** 2 / true[filled]))


def expected(density: np.ndarray, size: int, times: float) -> str:
    """Chi2 of a perfect generator: mean and standard deviation of Poisson toys.

    Args:
        density: Numbers of events, of which the toys have the distribution.
        size: Number of true events.
        times: Generated events for each true one.
    """
    rng = np.random.default_rng(1)
    mean = density * size / density.sum()
    toys = [chi2(rng.poisson(mean), rng.poisson(times * mean), 1 / times) for _ in range(TOYS)]
    return f"{np.mean(toys):.2f} +- {np.std(toys):.2f}"


def judge(true: dict[str, np.ndarray], generated: dict[str, np.ndarray]) -> dict[str, str]:
    """All figures, by name."""
    size, many = len(true["x"]), len(generated["x"])
    row = {}
    for bins in BINS:
        t, g = histogram(true, bins), histogram(generated, bins)
        row[f"chi2 of (Q2, x), {bins} x {bins} bins"] = f"{chi2(t, g, size / many):.2f}"
    row |= {f"KS, {name}": f"{ks(true[name], generated[name]):.4f}" for name in true}
    row["events with E > Eb"] = f"{int((generated['E'] > BEAM).sum()):,} of {many:,}"
    # In float32 numbers, x = 1 is good to a few 1e-4 at the smallest y.
    outside = (generated["x"] < 0) | (generated["x"] > 1.001) | (generated["y"] < 0) | (generated["y"] > 1)
    row["events with x or y outside 0 ... 1"] = f"{int(outside.sum()):,}"
    return row


def trained(recipe: str, train, options: argparse.Namespace) -> hepgan.EventGenerator:
    """A generator, from the folder of models if it is there."""
    path = options.models / f"{recipe}.safetensors" if options.models else None
    if path is not None and path.exists():
        return hepgan.EventGenerator.load(path)
    settings = options.set if recipe != "dis" else options.set_dis
    chosen = hepgan.load_recipe(recipe).with_settings(settings)
    generator = hepgan.EventGenerator(chosen).fit(train, seed=options.seed, max_time=options.max_time)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        generator.save(path)
    return generator


def main() -> None:
    """Runs it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--recipes", nargs="*", default=["dis", "fat-gan", "fat-gan-spherical", "direct-gan"])
    parser.add_argument("--max-time", type=float, default=600.0)
    parser.add_argument("--set", action="append", default=[], help="settings of the published recipes")
    parser.add_argument("--set-dis", action="append", default=[], help="settings of dis")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--models", type=Path)
    options = parser.parse_args()
    events = hepgan.read_events(options.data / "fatgan_50gev.root")
    third = np.arange(len(events)) % 3 == 2
    train, test = events[~third], events[third]
    true = kinematics(test)
    columns: dict[str, dict[str, str]] = {}
    for recipe in options.recipes:
        generator = trained(recipe, train, options)
        started = time.perf_counter()
        generated = generator.generate(TIMES * len(test), seed=1)
        rate = TIMES * len(test) / (time.perf_counter() - started)
        summary = generator.summary
        made = kinematics(generated)
        columns[recipe] = {
            "seconds of training": f"{summary['seconds']:.0f}",
            "steps": f"{summary['steps']:,}",
            "batch": f"{generator.recipe.training.batch_size:,}",
            **judge(true, made),
            "events/s": f"{rate:,.0f}",
        }
        print(recipe, columns[recipe], flush=True)
        if recipe == "dis":
            for bins in BINS:
                toys = expected(histogram(made, bins), len(true["x"]), TIMES)
                print(f"chi2 of a perfect generator in {bins} x {bins} bins: {toys}", flush=True)
    columns["training events"] = judge(true, kinematics(train))
    eleventh = np.arange(len(events)) % (TIMES + 1) == 0
    columns["1/11 against 10/11"] = judge(kinematics(events[eleventh]), kinematics(events[~eleventh]))
    print("| | " + " | ".join(columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for name in dict.fromkeys(name for column in columns.values() for name in column):
        print(f"| {name} | " + " | ".join(column.get(name, "") for column in columns.values()) + " |")


if __name__ == "__main__":
    main()
