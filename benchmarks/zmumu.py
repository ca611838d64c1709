"""Physics of the Z -> mu mu recipes: trains each, generates 100,000 events, judges them on the test sample.

    python benchmarks/zmumu.py DATA [--recipes zmumu dy-gan dy-gan-7] [--max-time 240] [--models FOLDER]

DATA holds zmumu_train.root and zmumu_test.root (``hepgan dataset zmumu -n 100000 --seed 21`` and
``-n 25000 --seed 22``). Prints a table in Markdown; its last column is the floor, the same figures between
training and test events. Nothing is trained for a model that FOLDER holds already.
"""

from __future__ import annotations

import awkward as ak
import numpy as np
from common import generated, options, print_table, read, trained
from scipy import stats

import hepgan
from hepgan.stats.distances import ks

MUON_MASS = np.float32(0.10566)
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


def judge(true, found) -> dict[str, str]:
    """All figures, by name."""
    a, b = quantities(true), quantities(found)
    row = {f"KS, {n}": f"{ks(a[n], b[n]):.4f}" for n in a if n in b and len(b[n])}
    if "Jet" in found.fields:
        counts = np.stack([np.bincount(ak.to_numpy(ak.num(e.Jet)), minlength=6) for e in (true, found)])
        counts = counts[:, counts.sum(axis=0) > 0]
        row["chi2 p, number of jets"] = f"{stats.chi2_contingency(counts).pvalue:.2g}"
        worst = 0.0
        for name in ISOLATIONS:
            for k in (0, 1):
                p, q = (ak.to_numpy(e.Muon[name][:, k] == 0).mean() for e in (true, found))
                if q == 1.0:  # not learned
                    continue
                error = np.sqrt(p * (1 - p) / len(true) + q * (1 - q) / len(found))
                worst = max(worst, abs(q - p) / error)
        row["largest deviation of a fraction at zero [sigma]"] = f"{worst:.1f}"
    muon = found.Muon
    row["events off-shell"] = str(int(ak.sum(ak.any(muon.mass != MUON_MASS, axis=1))))
    outside = ak.any(muon.pt < 10, axis=1) | ak.any(abs(muon.eta) > 5, axis=1)
    if "Jet" in found.fields:
        outside = outside | ak.any(found.Jet.pt < 15, axis=1)
    row["events out of bounds"] = str(int(ak.sum(outside)))
    row["events out of order"] = str(int(ak.sum(muon.pt[:, 0] < muon.pt[:, 1])))
    return row


def main() -> None:
    """Runs it."""
    chosen = options(__doc__, ["zmumu", "dy-gan", "dy-gan-7"], 240.0, events=100_000).parse_args()
    train = read(chosen, "zmumu_train")
    test = read(chosen, "zmumu_test")
    columns: dict[str, dict[str, str]] = {}
    for recipe in chosen.recipes:
        generator = trained(recipe, train, chosen)
        made, training, rate = generated(generator, chosen.events)
        comparison = hepgan.compare(test, made, generator.recipe.make_observables(), train=train)
        auc = comparison.metrics["classifier"]["auc"]
        columns[recipe] = {
            **training,
            "classifier AUC": f"{auc['value']:.3f} (floor {auc['floor']:.3f})",
            **judge(test, made),
            **rate,
        }
        print(recipe, columns[recipe], flush=True)
        for line in comparison.verdicts():
            print("  " + line, flush=True)
    columns["floor"] = judge(test, train)
    print_table(columns)


if __name__ == "__main__":
    main()
