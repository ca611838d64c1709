"""Physics of the recipes for e+ e- partons: trains each, generates events, judges them on the test sample.

    python benchmarks/ee_partons.py DATA [--recipes ee-partons ...] [--max-time 2400]
        [--models FOLDER] [--report FOLDER]

DATA holds ee_partons_train.root and ee_partons_test.root (``hepgan dataset ee_partons -n 200000 --seed 11``
and ``-n 50000 --seed 12``). Prints a table in Markdown; its last column is the floor, the same figures of
training events against test events. Nothing is trained for a model that FOLDER holds already.
"""

from __future__ import annotations

from pathlib import Path

import awkward as ak
import numpy as np
from common import generated, options, print_table, read, trained
from scipy import stats

import hepgan

Q = 91.188
BINS = 50
MOST = 8


def momenta(events) -> dict[str, np.ndarray]:
    """Padded momenta (N, 8) in float64, and where there is a parton."""
    fields = ak.values_astype(events.Parton[["px", "py", "pz", "energy"]], np.float64)
    padded = ak.pad_none(fields, MOST, clip=True)
    found = {n: ak.to_numpy(ak.fill_none(padded[n], 0.0)) for n in fields.fields}
    found["there"] = np.arange(MOST) < ak.to_numpy(ak.num(fields.px))[:, None]
    return found


def correlation(p: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The EEC in bins of cos chi, self-pairs left out, and the errors of its bins, from event to event."""
    i, j = np.triu_indices(MOST, 1)
    length = np.sqrt(p["px"] ** 2 + p["py"] ** 2 + p["pz"] ** 2)
    dot = sum(p[c][:, i] * p[c][:, j] for c in ("px", "py", "pz"))
    both = p["there"][:, i] & p["there"][:, j]
    cos = np.divide(dot, length[:, i] * length[:, j], out=np.zeros_like(dot), where=both)
    weight = np.where(both, 2 * p["energy"][:, i] * p["energy"][:, j] / Q**2, 0.0)
    place = np.clip(((cos + 1) / 2 * BINS).astype(int), 0, BINS - 1) + BINS * np.arange(len(cos))[:, None]
    events = np.bincount(place.ravel(), weight.ravel(), BINS * len(cos)).reshape(-1, BINS)
    return events.mean(axis=0), events.std(axis=0) / np.sqrt(len(events))


def judge(true, found) -> dict[str, str]:
    """All figures, by name."""
    a, b = momenta(true), momenta(found)
    (eec, error), (made, made_error) = correlation(a), correlation(b)
    precise = error / eec < 0.01
    chi2 = np.mean((made - eec) ** 2 / (error**2 + made_error**2))
    counts = [p["there"].sum(axis=1) for p in (a, b)]
    table = np.stack([np.bincount(c, minlength=MOST + 1)[2:] for c in counts])
    table = table[:, table.sum(axis=0) > 0]
    few = b["there"].sum(axis=1) < MOST
    lacking = [Q * (c == "energy") - b[c].sum(axis=1) for c in ("px", "py", "pz", "energy")]
    deviation = np.max(np.abs(lacking), axis=0)
    rising = (b["energy"][:, 1:] > b["energy"][:, :-1] * (1 + 1e-6)) & b["there"][:, 1:]
    largest = np.max(np.abs(made / eec - 1)[precise], initial=0.0)
    row = {
        "EEC, largest deviation of a bin with error < 1%": f"{largest:.1%}" if precise.any() else "-",
        "EEC, chi2/ndf": f"{chi2:.2f}",
        "chi2 p, number of partons": f"{stats.chi2_contingency(table).pvalue:.2g}",
        "energies out of order": str(int(rising.sum())),
        "fewer than 8: largest |sum - (Q, 0)| [GeV]": f"{deviation[few].max():.1e}" if few.any() else "-",
    }
    squared = b["energy"] ** 2 - b["px"] ** 2 - b["py"] ** 2 - b["pz"] ** 2
    if "mass" in found.Parton.fields:
        row |= masses(true, found)
    else:
        # What float32 leaves of m2 = E^2 - p^2.
        outside = (squared < -1e-5 * b["energy"] ** 2) & b["there"]
        row["partons with m2 < 0"] = f"{outside.sum() / b['there'].sum():.1%}"
        allowed = np.array([0.0, 0.33, 0.5, 1.5, 4.8]) ** 2
        off = np.abs(squared[..., None] - allowed).min(axis=2) > 1e-5 * b["energy"] ** 2
        row["partons off the allowed masses"] = f"{(off & b['there']).sum() / b['there'].sum():.1%}"
    return row


def masses(true, found) -> dict[str, str]:
    """Whether masses are those of the flavours, in the right proportions."""
    parton = found.Parton
    precise = ak.values_astype(parton[["px", "py", "pz", "mass"]], np.float64)
    precise = ak.with_name(precise, "Momentum4D")
    polar = ak.zip({n: getattr(precise, n) for n in ("pt", "eta", "phi", "mass")}, with_name="Momentum4D")
    known = [np.round(ak.to_numpy(ak.flatten(e.Parton.mass)).astype(float), 3) for e in (true, found)]
    values = np.unique(known[0])
    worst = 0.0
    for value in values:
        shares = []
        for events in (true, found):
            # Partons of one event are not independent.
            number = ak.to_numpy(ak.sum(abs(events.Parton.mass - value) < 1e-3, axis=1))
            every = ak.to_numpy(ak.num(events.Parton))
            share = number.sum() / every.sum()
            shares.append((share, np.std(number - share * every) / every.mean() / np.sqrt(len(events))))
        (p, dp), (q, dq) = shares
        worst = max(worst, abs(p - q) / np.hypot(dp, dq))
    return {
        "partons with m2 < 0": str(int(ak.sum(polar.mass2 < 0))),
        "partons off the allowed masses": str(int((~np.isin(known[1], values)).sum())),
        "largest deviation of a mass's fraction [sigma]": f"{worst:.1f}",
    }


def main() -> None:
    """Runs it."""
    parser = options(__doc__, ["ee-partons", "ee-partons-gan", "ee-partons-paper"], 2400.0, events=50_000)
    parser.add_argument("--report", type=Path)
    chosen = parser.parse_args()
    train = read(chosen, "ee_partons_train")
    test = read(chosen, "ee_partons_test")
    # Both are judged by what the file of the published set-up holds, too.
    common = hepgan.load_recipe("ee-partons-paper").make_observables()
    columns: dict[str, dict[str, str]] = {}
    for recipe in chosen.recipes:
        generator = trained(recipe, train, chosen)
        made, training, rate = generated(generator, chosen.events)
        observables = {**common, **generator.recipe.make_observables()}
        comparison = hepgan.compare(test, made, observables, train=train)
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
        if chosen.report:
            comparison.save(chosen.report / recipe, force=True)
    columns["floor"] = judge(test, train[: chosen.events])
    print_table(columns)


if __name__ == "__main__":
    main()
