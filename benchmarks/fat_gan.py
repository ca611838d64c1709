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

import awkward as ak
import numpy as np
from common import generated, options, print_table, read, trained

from hepgan.stats.distances import ks

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


def judge(true: dict[str, np.ndarray], found: dict[str, np.ndarray]) -> dict[str, str]:
    """All figures, by name."""
    size, many = len(true["x"]), len(found["x"])
    row = {}
    for bins in BINS:
        t, g = histogram(true, bins), histogram(found, bins)
        row[f"chi2 of (Q2, x), {bins} x {bins} bins"] = f"{chi2(t, g, size / many):.2f}"
    row |= {f"KS, {name}": f"{ks(true[name], found[name]):.4f}" for name in true}
    row["events with E > Eb"] = f"{int((found['E'] > BEAM).sum()):,} of {many:,}"
    # In float32 numbers, x = 1 is good to a few 1e-4 at the smallest y.
    outside = (found["x"] < 0) | (found["x"] > 1.001) | (found["y"] < 0) | (found["y"] > 1)
    row["events with x or y outside 0 ... 1"] = f"{int(outside.sum()):,}"
    return row


def main() -> None:
    """Runs it."""
    chosen = options(__doc__, ["dis", "fat-gan", "fat-gan-spherical", "direct-gan"], 600.0).parse_args()
    events = read(chosen, "fatgan_50gev")
    third = np.arange(len(events)) % 3 == 2
    train, test = events[~third], events[third]
    true = kinematics(test)
    columns: dict[str, dict[str, str]] = {}
    for recipe in chosen.recipes:
        generator = trained(recipe, train, chosen)
        events_made, training, rate = generated(generator, TIMES * len(test))
        made = kinematics(events_made)
        columns[recipe] = {**training, **judge(true, made), **rate}
        print(recipe, columns[recipe], flush=True)
        if recipe == "dis":
            for bins in BINS:
                toys = expected(histogram(made, bins), len(true["x"]), TIMES)
                print(f"chi2 of a perfect generator in {bins} x {bins} bins: {toys}", flush=True)
    columns["training events"] = judge(true, kinematics(train))
    eleventh = np.arange(len(events)) % (TIMES + 1) == 0
    columns["1/11 against 10/11"] = judge(kinematics(events[eleventh]), kinematics(events[~eleventh]))
    print_table(columns)


if __name__ == "__main__":
    main()
