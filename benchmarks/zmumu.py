"""Physics of Z -> mu mu recipes: trains one, generates 100,000 events, judges them on the test sample.

    python benchmarks/zmumu.py DATA [--recipe zmumu] [--max-time 240] [--save MODEL] [--load MODEL]

DATA holds zmumu_train.root and zmumu_test.root (``hepgan dataset zmumu -n 100000 --seed 21`` and
``-n 25000 --seed 22``). Every figure stands beside its floor, the same between training and test events.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import awkward as ak
import numpy as np
from scipy import stats

import hepgan
from hepgan.objectives.distances import ks

MUON_MASS = 0.10566
EVENTS = 100_000


def pair(events):
    """Four-momenta of the muon pairs, in float64."""
    muons = ak.values_astype(events.Muon[["pt", "eta", "phi", "mass"]], np.float64)
    muons = ak.with_name(muons, "Momentum4D")
    return muons[:, 0] + muons[:, 1]


def quantities(events) -> dict[str, np.ndarray]:
    """What the KS statistic is taken of."""
    found = {
        "m_mumu": pair(events).mass,
        "pt_mu1": events.Muon.pt[:, 0],
        "pt_mu2": events.Muon.pt[:, 1],
        "pt_jet": ak.flatten(events.Jet.pt),
        "met": events.MET.pt,
        "phi_met": events.MET.phi,
    }
    for name in ("isoCh", "isoPh", "isoNh"):
        for k in (0, 1):
            values = events.Muon[name][:, k]
            found[f"{name}{k + 1} > 0"] = values[values > 0]
    return {n: ak.to_numpy(v) for n, v in found.items()}


def counts(events) -> np.ndarray:
    """Events with 0, 1, ... 5 jets."""
    return np.bincount(ak.to_numpy(ak.num(events.Jet)), minlength=6)


def judge(true, generated, train) -> dict[str, object]:
    """All figures."""
    a, b, floor = quantities(true), quantities(generated), quantities(train)
    result: dict[str, object] = {
        "KS (floor)": {n: f"{ks(a[n], b[n]):.4f} ({ks(a[n], floor[n]):.4f})" for n in a}
    }
    result["chi2 p of the number of jets (floor)"] = tuple(
        round(float(stats.chi2_contingency(np.stack([counts(true), counts(e)]) + 0).pvalue), 4)
        for e in (generated, train)
    )
    fractions = {}
    for name in ("isoCh", "isoPh", "isoNh"):
        for k in (0, 1):
            zero = [ak.to_numpy(e.Muon[name][:, k] == 0) for e in (true, generated)]
            p, q = (z.mean() for z in zero)
            error = np.sqrt(p * (1 - p) / len(zero[0]) + q * (1 - q) / len(zero[1]))
            fractions[f"{name}{k + 1}"] = round(float((q - p) / error), 2)
    result["fraction at zero: sigmas"] = fractions
    muon, jet = generated.Muon, generated.Jet
    result["events off-shell, out of bounds, out of order"] = [
        int(ak.sum(ak.any(abs(muon.mass - np.float32(MUON_MASS)) > 0, axis=1))),
        int(ak.sum(ak.any(muon.pt < 10, axis=1) | ak.any(abs(muon.eta) > 5, axis=1))
            + ak.sum(ak.any(jet.pt < 15, axis=1) | ak.any(abs(jet.eta) > 5, axis=1))),
        int(ak.sum(muon.pt[:, 0] < muon.pt[:, 1]) + ak.sum(ak.any(jet.pt[:, 1:] > jet.pt[:, :-1], axis=1))),
    ]
    return result


def main() -> None:
    """Runs it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--recipe", default="zmumu")
    parser.add_argument("--max-time", type=float, default=240.0)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", type=Path)
    parser.add_argument("--load", type=Path)
    options = parser.parse_args()
    train = hepgan.read_events(options.data / "zmumu_train.root")
    test = hepgan.read_events(options.data / "zmumu_test.root")
    if options.load:
        generator = hepgan.EventGenerator.load(options.load)
    else:
        recipe = hepgan.load_recipe(options.recipe).with_settings(options.set)
        generator = hepgan.EventGenerator(recipe).fit(train, seed=options.seed, max_time=options.max_time)
        if options.save:
            generator.save(options.save, force=True)
    print(json.dumps(generator.summary, indent=1))
    started = time.perf_counter()
    generated = generator.generate(EVENTS, seed=1)
    print(f"{EVENTS / (time.perf_counter() - started):,.0f} events/s")
    if set(train.Jet.fields) == set(generated.Jet.fields):
        print(json.dumps(judge(test, generated, train), indent=1))
    comparison = hepgan.compare(test, generated, generator.recipe.make_observables(), train=train)
    for line in comparison.verdicts():
        print(line)
    for name, metric in comparison.metrics["observables"].items():
        print(f"{name:18}", {k: v for k, v in metric.items() if k in ("ks", "chi2")})


if __name__ == "__main__":
    main()
