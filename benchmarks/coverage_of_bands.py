"""Whether the bands of ensembles cover the truth, over repeated toys.

    OMP_NUM_THREADS=1 python benchmarks/coverage_of_bands.py

Each toy draws a fresh training sample of a known distribution (a falling spectrum x with a peak, and y whose
mean depends on x), trains an ensemble on it, and compares the ensemble's histograms with the exact contents
of bins. The band of a bin is the standard deviation between members, without their statistical part; it
covers if the truth is inside in 68% of the bins. ``within`` is the share of bins where it is, with the error
from the scatter of the toys; ``spread / error`` compares the bands with the actual deviations, both in
quadrature, and is 1 for bands of the right size; ``bias`` is the share of the deviations (in quadrature) that
is common to all toys.
"""

from __future__ import annotations

import time

import awkward as ak
import hist
import numpy as np
from common import parser_of
from scipy import stats

import hepgan
from hepgan.stats.histograms import band

PEAK, WIDTH, SHARE, SLOPE = 2.0, 0.25, 0.3, 1.5
EDGES = {"x": np.linspace(0.0, 5.0, 26), "y": np.linspace(-3.0, 3.0, 25)}


def toy(n: int, rng: np.random.Generator) -> ak.Array:
    """Events with the scalars x and y."""
    peak = rng.random(n) < SHARE
    x = np.where(peak, stats.truncnorm.rvs(-PEAK / WIDTH, np.inf, PEAK, WIDTH, n, random_state=rng), 0.0)
    x = np.where(peak, x, rng.exponential(SLOPE, n))
    y = np.sin(x) + rng.normal(0.0, 0.5, n)
    return ak.zip({"x": x.astype(np.float32), "y": y.astype(np.float32)}, depth_limit=1)


def truth(name: str) -> np.ndarray:
    """The exact shares of events in bins."""
    if name == "x":
        peak = stats.truncnorm(-PEAK / WIDTH, np.inf, PEAK, WIDTH).cdf(EDGES["x"])
        return np.diff(SHARE * peak + (1 - SHARE) * stats.expon(scale=SLOPE).cdf(EDGES["x"]))
    fine = np.linspace(0.0, 30.0, 60_001)
    middle = 0.5 * (fine[1:] + fine[:-1])
    peak = stats.truncnorm(-PEAK / WIDTH, np.inf, PEAK, WIDTH).cdf(fine)
    weight = np.diff(SHARE * peak + (1 - SHARE) * stats.expon(scale=SLOPE).cdf(fine))
    below = np.array([weight @ stats.norm.cdf(e, np.sin(middle), 0.5) for e in EDGES["y"]])
    return np.diff(below)


def recipe(kind: str, members: int, steps: int, transform: str, shared: float) -> dict[str, object]:
    """A small model of the toy."""
    models = {
        "flow_matching": {
            "kind": "flow_matching",
            "network": {"kind": "residual", "width": 32, "blocks": 2},
            "solver": "midpoint",
            "steps": 6,
        },
        "flow": {
            "kind": "flow",
            "blocks": 4,
            "bins": 8,
            "rotations": "learned",
            "network": {"kind": "mlp", "widths": [32, 32]},
        },
        "gan": {
            "kind": "gan",
            "noise": 4,
            "generator": {"kind": "mlp", "widths": [32, 32]},
            "critics": [{"loss": "wgan_gp", "steps": 2, "network": {"kind": "mlp", "widths": [32, 32]}}],
        },
    }
    rate = {"flow_matching": 4e-3, "flow": 4e-3, "gan": 5e-4}[kind]
    return {
        "name": "coverage",
        "features": {
            "blocks": [
                {
                    "kind": "fields",
                    "fields": ["x", "y"],
                    "transforms": {"x": [{"kind": "log_edge", "edge": 0.0}, transform], "y": transform},
                }
            ]
        },
        "model": models[kind],
        "training": {
            "steps": steps,
            "batch_size": 250,
            "members": members,
            "shared_start": shared,
            "optimiser": {"kind": "adam", "lr": rate},
            "schedule": {"kind": "cosine", "warmup": 20},
            "ema": 0.99,
            "validation_fraction": 0.0,
        },
    }


def judged(generated: ak.Array, members: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Of each observable deviations from the truth and bands (standard deviations), bin by bin."""
    found = {}
    for name, edges in EDGES.items():
        axis = hist.axis.Variable(edges)
        number = hist.axis.Integer(0, members, underflow=False, overflow=False)
        each = hist.Hist(number, axis, storage=hist.storage.Weight())
        each.fill(ak.to_numpy(generated.member), ak.to_numpy(generated[name]))
        every = each[sum, :]
        result = band(every, every, each)
        found[name] = result.content - truth(name), np.sqrt(result.spread)
    return found


def summary(toys: list[tuple[np.ndarray, np.ndarray]]) -> str:
    """What deviations and bands of several toys come to."""
    deviation, sigma = (np.stack(part) for part in zip(*toys, strict=True))
    inside = np.mean(np.abs(deviation) < sigma, axis=1)
    squares = float(np.mean(deviation**2))
    # The mean over toys fluctuates, too.
    common = np.mean(deviation.mean(axis=0) ** 2 - deviation.var(axis=0, ddof=1) / len(toys))
    error = float(inside.std(ddof=1) / np.sqrt(len(inside)))
    return (
        f"within {inside.mean():.1%} +- {error:.1%}, "
        f"spread / error {np.sqrt(np.mean(sigma**2) / squares):.2f}, "
        f"bias {np.sqrt(max(common, 0.0) / squares):.2f}"
    )


def main() -> None:
    """Runs the toys and prints the figures."""
    parser = parser_of(__doc__)
    parser.add_argument("--kinds", nargs="+", default=["flow_matching", "flow", "gan"])
    parser.add_argument("--toys", type=int, default=12)
    parser.add_argument("--members", type=int, default=10)
    parser.add_argument("--events", type=int, default=2_000)
    parser.add_argument("--transform", default="quantile", choices=["quantile", "standardise"])
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--shared", type=float, default=0.0, help="training.shared_start")
    parser.add_argument("--verbose", action="store_true", help="tell after each toy")
    parser.add_argument("--generated", type=int, default=20_000, help="events of each member")
    chosen = parser.parse_args()
    print(f"{chosen.toys} toys of {chosen.events} events, ensembles of {chosen.members}", flush=True)
    for kind in chosen.kinds:
        started = time.monotonic()
        results: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {name: [] for name in EDGES}
        for number in range(chosen.toys):
            events = toy(chosen.events, np.random.default_rng([number, 7]))
            settings = recipe(kind, chosen.members, chosen.steps, chosen.transform, chosen.shared)
            generator = hepgan.EventGenerator(settings).fit(events, seed=number, device="cpu")
            made = generator.generate(chosen.generated * chosen.members, seed=number, workers=1)
            for name, pair in judged(made, chosen.members).items():
                results[name].append(pair)
            if chosen.verbose and number:
                told = "; ".join(f"{name}: {summary(pairs)}" for name, pairs in results.items())
                print(f"{kind}, {number + 1} toys: {told}", flush=True)
        for name, pairs in results.items():
            print(f"{kind:<14} {name}: {summary(pairs)}", flush=True)
        print(f"{kind:<14} {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
