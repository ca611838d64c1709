"""Physics of the Drell-Yan and W Z recipes: trains each, generates, and judges every bin on the test sample.

    python benchmarks/bosons.py DATA [--recipes drell-yan wz] [--max-time 1800] [--events 1000000]
        [--models FOLDER] [--reweight] [--refine]

DATA holds drell_yan_{train,test}.root and wz_{train,test}.root. Nothing is trained for a model that FOLDER
holds already. A bin is good if |ratio - 1| <= 1% + 2 sigma, where the ratio is that of generated to test
events and sigma has the statistical errors of the test, the training and the generated sample. Bins: 1 GeV
of the resonances' masses around their peaks, 50 of pT and eta of each particle and of Delta R of each pair.

With --reweight, classifiers learn from the training events and 200,000 generated ones, and weight the others;
by these weights others are kept or not (unweighted). With --refine, too, the generator is refined by them.

Prints a table in Markdown; the column "floor" is the training sample in place of the generated one.
"""

from __future__ import annotations

import time

import awkward as ak
import numpy as np
from common import generated, options, print_table, read, trained

import hepgan
from hepgan.reweighting import Reweighter, effective_sample_size, unweight
from hepgan.reweighting.apply import weighted

PEAKS = {"m_z": 91.2, "m_w": 80.4}
JUDGED = ("m_z", "m_w", "pt_l", "pt_q", "eta_", "deltar_")


def counts(observable, events) -> tuple[np.ndarray, np.ndarray]:
    """The sum of weights and of their squares in each bin."""
    flat = observable.flat(events)
    weight = np.ones(len(flat.values))
    if "weight" in events.fields:
        weight = ak.to_numpy(events.weight)[flat.index].astype(float)
    edges = observable.axis().edges
    values = np.asarray(flat.values, dtype=float)
    return tuple(np.histogram(values, edges, weights=w)[0] for w in (weight, weight**2))


def share_of_good_bins(observables, test, train, found) -> dict[str, float]:
    """All bins, those of the peaks, and the largest deviation where truth is known to 1%."""
    total = [float(np.sum(e.weight)) if "weight" in e.fields else len(e) for e in (test, train, found)]
    good, peaks, worst, centre = [], [], 0.0, 0.0
    for name, observable in observables.items():
        if not name.startswith(JUDGED) or name.endswith("_tails"):
            continue
        (t, _), (r, _), (g, g2) = (counts(observable, e) for e in (test, train, found))
        full = t > 0
        t, r, g, g2 = t[full], r[full], g[full], g2[full]
        ratio = (g / total[2]) / (t / total[0])
        sigma = ratio * np.sqrt(1 / t + 1 / np.maximum(r, 1) + g2 / np.maximum(g, 1) ** 2)
        fine = abs(ratio - 1) <= 0.01 + 2 * sigma
        good += fine.tolist()
        # Both true samples together know a bin best.
        pooled = (g / total[2]) / ((t + r) / (total[0] + total[1]))
        known = t + r > 10_000
        worst = max(worst, float(abs(pooled - 1)[known].max(initial=0.0)))
        if name in PEAKS:
            peaks += fine.tolist()
            middle = observable.axis().centers[full]
            centre = max(centre, float(abs(pooled - 1)[abs(middle - PEAKS[name]) < 2.5].max()))
    return {"good": np.mean(good), "peaks": np.mean(peaks), "worst": worst, "centre": centre}


def judge(observables, test, train, found) -> dict[str, str]:
    """All figures, by name."""
    share = share_of_good_bins(observables, test, train, found)
    row = {
        "good bins": f"{share['good']:.1%}",
        "good bins of masses": f"{share['peaks']:.1%}",
        "largest deviation of a bin known to 1%": f"{share['worst']:.1%}",
        "largest deviation of a mass within 2.5 GeV of its peak": f"{share['centre']:.1%}",
    }
    particles = found[found.fields[[f in ("Lepton", "Particle") for f in found.fields].index(True)]]
    momenta = ak.values_astype(particles[["px", "py"]], np.float64)
    sums = [abs(ak.sum(momenta[c], axis=1)) / ak.sum(abs(momenta[c]), axis=1) for c in ("px", "py")]
    row["largest |sum p| / sum |p| of px, py"] = f"{max(ak.max(s) for s in sums):.1e}"
    return row


def figures(observables, test, train, found) -> dict[str, str]:
    """All figures, by name, with the classifier's."""
    auc = hepgan.compare(test, found, observables, train=train).metrics["classifier"]["auc"]
    return {
        "classifier AUC": f"{auc['value']:.4f} (floor {auc['floor']:.4f})",
        **judge(observables, test, train, found),
    }


def improved(generator, observables, test, train, made, chosen) -> dict[str, dict[str, str]]:
    """Columns of events with weights, of those that are kept by them, and of a refined generator."""
    started = time.perf_counter()
    reweighter = Reweighter(observables, seed=chosen.seed).fit(train, made[: chosen.learned])
    seconds = time.perf_counter() - started
    weights = reweighter(made[chosen.learned :])
    others = weighted(made[chosen.learned :], weights)
    size = effective_sample_size(weights.weight) / len(others)
    kept = unweight(weights.weight, seed=chosen.seed)
    columns = {
        "reweighted": {
            "seconds of training": f"{seconds:.0f}",
            **figures(observables, test, train, others),
            "effective sample size": f"{size:.1%}",
        },
        "unweighted": {
            **figures(observables, test, train, made[chosen.learned :][kept.kept]),
            "share of events kept": f"{kept.efficiency:.1%}",
        },
    }
    if chosen.refine:
        refined = hepgan.refine(generator, lambda e: reweighter(e).weight, seed=chosen.seed)
        better, _, rate = generated(refined, chosen.events)
        columns["refined"] = {
            "seconds of training": f"{refined.summary['refinement']['seconds']:.0f}",
            **figures(observables, test, train, better),
            **rate,
        }
    return columns


def main() -> None:
    """Runs it."""
    parser = options(__doc__, ["drell-yan", "wz"], 1800.0, events=1_000_000)
    parser.add_argument("--reweight", action="store_true")
    parser.add_argument("--refine", action="store_true")
    parser.add_argument("--learned", type=int, default=200_000, help="generated events that weights are of")
    chosen = parser.parse_args()
    columns: dict[str, dict[str, str]] = {}
    for recipe in chosen.recipes:
        stem = "wz" if recipe.startswith("wz") else "drell_yan"
        train = read(chosen, f"{stem}_train")
        test = read(chosen, f"{stem}_test")
        generator = trained(recipe, train, chosen)
        observables = generator.recipe.make_observables()
        made, training, rate = generated(generator, chosen.events)
        columns[recipe] = {**training, **figures(observables, test, train, made), **rate}
        if chosen.reweight:
            for name, column in improved(generator, observables, test, train, made, chosen).items():
                columns[f"{recipe}, {name}"] = column
                print(recipe, name, column, flush=True)
        columns[f"floor ({stem})"] = judge(observables, test, train, train)
        print(recipe, columns[recipe], flush=True)
    print_table(columns)


if __name__ == "__main__":
    main()
