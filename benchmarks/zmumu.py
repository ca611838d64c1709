"""Physics of the Z -> mu mu recipes: trains each, generates 100,000 events, judges them on the test sample.

    python benchmarks/zmumu.py DATA [--recipes zmumu dy-gan dy-gan-7] [--max-time 240] [--models FOLDER]

DATA holds zmumu_train.root and zmumu_test.root (``hepgan dataset zmumu -n 100000 --seed 21`` and
``-n 25000 --seed 22``). Prints a table in Markdown; its last column is the floor, the same figures between
training and test events. Nothing is trained for a model that FOLDER holds already.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import awkward as ak
import numpy as np
from scipy import stats

import hepgan
from hepgan.objectives.distances import ks

MUON_MASS = np.float32(0.10566)
EVENTS = 100_000
ISOLATIONS = ("isoCh", "isoPh", "isoNh")


def pair(events):
    """Four-momenta of the muon pairs, in float64."""
    muons = ak.values_astype(events.Muon[["pt", "eta", "phi", "mass"]], np.float64)
    muons = ak.with_name(muons, "Momentum4D")
    return muons[:, 0] + muons[:, 1]


def quantities(events) -> dict[str, np.ndarray]:
    """What the KS statistic is taken of."""
    found = {
        "m_mumu": pair(events).mass,
        "pT of muon 1": events.Muon.pt[:, 0],
        "pT of muon 2": events.Muon.pt[:, 1],
    }
    if "Jet" in events.fields:
        found["pT of jets"] = ak.flatten(events.Jet.pt)
        found["MET"] = events.MET.pt
        found["phi of MET"] = events.MET.phi
        for name in ISOLATIONS:
            found[f"{name} of muon 1"] = events.Muon[name][:, 0]
        for name in ISOLATIONS:
            for k in (0, 1):
                values = events.Muon[name][:, k]
                found[f"{name} of muon {k + 1}, above 0"] = values[values > 0]
    return {n: ak.to_numpy(v) for n, v in found.items()}


def judge(true, generated) -> dict[str, str]:
    """All figures, by name."""
    a, b = quantities(true), quantities(generated)
    row = {f"KS, {n}": f"{ks(a[n], b[n]):.4f}" for n in a if n in b and len(b[n])}
    if "Jet" in generated.fields:
        counts = [np.bincount(ak.to_numpy(ak.num(e.Jet)), minlength=6) for e in (true, generated)]
        row["chi2 p, number of jets"] = f"{stats.chi2_contingency(np.stack(counts)).pvalue:.2g}"
        worst = 0.0
        for name in ISOLATIONS:
            for k in (0, 1):
                p, q = (ak.to_numpy(e.Muon[name][:, k] == 0).mean() for e in (true, generated))
                if q == 1.0:  # not learned
                    continue
                error = np.sqrt(p * (1 - p) / len(true) + q * (1 - q) / len(generated))
                worst = max(worst, abs(q - p) / error)
        row["largest deviation of a fraction at zero [sigma]"] = f"{worst:.1f}"
    muon = generated.Muon
    row["events off-shell"] = str(int(ak.sum(ak.any(muon.mass != MUON_MASS, axis=1))))
    outside = ak.any(muon.pt < 10, axis=1) | ak.any(abs(muon.eta) > 5, axis=1)
    if "Jet" in generated.fields:
        outside = outside | ak.any(generated.Jet.pt < 15, axis=1)
    row["events out of bounds"] = str(int(ak.sum(outside)))
    row["events out of order"] = str(int(ak.sum(muon.pt[:, 0] < muon.pt[:, 1])))
    return row


def trained(recipe: str, train, options: argparse.Namespace) -> hepgan.EventGenerator:
    """A generator, from the folder of models if it is there."""
    path = options.models / f"{recipe}.safetensors" if options.models else None
    if path is not None and path.exists():
        return hepgan.EventGenerator.load(path)
    settings = options.set if recipe == options.recipes[0] else []
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
    parser.add_argument("--recipes", nargs="+", default=["zmumu", "dy-gan", "dy-gan-7"])
    parser.add_argument("--max-time", type=float, default=240.0)
    parser.add_argument("--set", action="append", default=[], help="settings of the first recipe")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--models", type=Path)
    options = parser.parse_args()
    train = hepgan.read_events(options.data / "zmumu_train.root")
    test = hepgan.read_events(options.data / "zmumu_test.root")
    columns: dict[str, dict[str, str]] = {}
    for recipe in options.recipes:
        generator = trained(recipe, train, options)
        started = time.perf_counter()
        generated = generator.generate(EVENTS, seed=1)
        rate = EVENTS / (time.perf_counter() - started)
        comparison = hepgan.compare(test, generated, generator.recipe.make_observables(), train=train)
        auc = comparison.metrics["classifier"]["auc"]
        summary = generator.summary
        columns[recipe] = {
            "seconds of training": f"{summary['seconds']:.0f}",
            "steps": f"{summary['steps']:,}",
            "classifier AUC": f"{auc['value']:.3f} (floor {auc['floor']:.3f})",
            **judge(test, generated),
            "events/s": f"{rate:,.0f}",
        }
        print(recipe, columns[recipe], flush=True)
        for line in comparison.verdicts():
            print("  " + line, flush=True)
    columns["floor"] = judge(test, train)
    print("| | " + " | ".join(columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for name in dict.fromkeys(name for column in columns.values() for name in column):
        print(f"| {name} | " + " | ".join(column.get(name, "") for column in columns.values()) + " |")


if __name__ == "__main__":
    main()
