"""An analyst's file: drafts a recipe for it, trains it as it stands, judges generated events on test events.

    python benchmarks/multilepton.py DATA [--steps 1500 | --max-time 1200] [--limit N] [--models FOLDER]

DATA holds multilepton_train.root and multilepton_test.root. Events of the test sample count with their
weights; generated events with theirs, which are alike. The last column is the floor, the same figures between
training and test events.
"""

from __future__ import annotations

from pathlib import Path

import awkward as ak
import numpy as np
from common import generated, options, print_table

import hepgan
from hepgan.observables.table import Table
from hepgan.recipes.document import parse_yaml
from hepgan.recipes.drafting.draft import draft_recipe
from hepgan.recipes.recipe import load_recipe
from hepgan.stats.distances import ks
from hepgan.stats.two_sample import two_sample_test

LEPTONS = ("Muon", "Electron")
Z = 91.19


def weights(events) -> np.ndarray:
    """The events' weights."""
    return ak.to_numpy(events.genWeight).astype(np.float64)


def momenta(objects):
    """Four-momenta in float64."""
    found = ak.values_astype(objects[["pt", "eta", "phi", "mass"]], np.float64)
    return ak.with_name(found, "Momentum4D")


def pairs(events, name: str):
    """Masses of all pairs of one collection, and the sum of their charges."""
    a, b = ak.unzip(ak.combinations(momenta(events[name]), 2))
    p, q = ak.unzip(ak.combinations(events[name].charge, 2))
    return (a + b).mass, p + q


def flat(values, weight) -> tuple[np.ndarray, np.ndarray]:
    """Values of objects, and the weight of their event."""
    return ak.to_numpy(ak.flatten(values)), ak.to_numpy(ak.flatten(ak.broadcast_arrays(weight, values)[0]))


def leading(events) -> np.ndarray:
    """The largest lepton pT in GeV."""
    both = ak.concatenate([events[c].pt for c in LEPTONS], axis=1)
    return ak.to_numpy(ak.fill_none(ak.max(both, axis=1), 0.0))


def multiplicities(events) -> np.ndarray:
    """Shares of the joint numbers of muons, electrons and jets, each up to 3."""
    counts = [np.minimum(ak.to_numpy(ak.num(events[c])), 3) for c in (*LEPTONS, "Jet")]
    index = np.ravel_multi_index(counts, (4, 4, 4))
    found = np.bincount(index, weights(events), minlength=64)
    return found / found.sum()


def links(events) -> dict[str, int]:
    """How many references there are, dangle, are beyond 0.4, and point to the nearest jet as they should."""
    found = dict.fromkeys(("links", "dangle", "beyond 0.4", "right", "missed"), 0)
    jets = events.Jet
    for name in LEPTONS:
        index, leptons = events[name].jetIdx, events[name]
        pair = ak.cartesian([leptons[["eta", "phi"]], jets[["eta", "phi"]]], nested=True)
        a, b = ak.unzip(pair)
        dphi = (a.phi - b.phi + np.pi) % (2 * np.pi) - np.pi
        distance = np.hypot(a.eta - b.eta, dphi)
        nearest = ak.fill_none(ak.argmin(distance, axis=2), -1)
        least = ak.fill_none(ak.min(distance, axis=2), 9.0)
        linked = index >= 0
        there = linked & (index < ak.num(jets))
        safe = ak.where(there, index, -1)
        own = ak.fill_none(ak.min(distance[ak.local_index(distance, axis=2) == safe], axis=2), 9.0)
        found["links"] += int(ak.sum(linked))
        found["dangle"] += int(ak.sum(linked & ~there))
        found["beyond 0.4"] += int(ak.sum(there & (own > 0.4)))
        found["right"] += int(ak.sum(there & (index == nearest) & (own < 0.4)))
        found["missed"] += int(ak.sum(~linked & (least < 0.4)))
    return found


def against_triggers(events) -> int:
    """Events in which a trigger fires below its threshold, or none does."""
    wrong = ~(events.HLT.IsoMu24 | events.HLT.Ele27)
    for name, trigger, least in (("Muon", "IsoMu24", 24.0), ("Electron", "Ele27", 27.0)):
        highest = ak.fill_none(ak.max(events[name].pt, axis=1), 0.0)
        wrong = wrong | (events.HLT[trigger] & (highest <= least))
    return int(ak.sum(wrong))


def table(events) -> np.ndarray:
    """What a classifier sees: momenta, multiplicities, pair masses, isolations, scores."""

    def padded(values, number: int) -> np.ndarray:
        filled = ak.fill_none(ak.pad_none(values, number, clip=True), np.nan)
        return ak.to_numpy(filled).astype(np.float64)

    columns = [np.stack([ak.to_numpy(ak.num(events[c])) for c in (*LEPTONS, "Jet")], 1).astype(np.float64)]
    for name, fields, number in (
        ("Muon", ("pt", "eta", "phi", "iso"), 3),
        ("Electron", ("pt", "eta", "phi", "iso"), 3),
        ("Jet", ("pt", "eta", "phi", "mass", "btag"), 4),
    ):
        columns += [padded(events[name][f], number) for f in fields]
    for name in LEPTONS:
        mass, charge = pairs(events, name)
        columns.append(padded(ak.where(charge == 0, mass, np.nan), 3))
    jets = momenta(events.Jet)
    a, b = ak.unzip(ak.combinations(jets[:, :3], 2))
    columns.append(padded((a + b).mass, 3))
    columns.append(np.stack([ak.to_numpy(events.MET.pt), ak.to_numpy(events.MET.phi)], 1))
    return np.concatenate(columns, 1)


def as_table(events) -> Table:
    """What the classifier sees, with weights."""
    values = table(events)
    return Table(tuple(map(str, range(values.shape[1]))), values, weights(events))


def judge(true, made) -> dict[str, str]:
    """All figures, by name."""
    w, v = weights(true), weights(made)
    row: dict[str, str] = {}
    for name, label in (("Muon", "mumu"), ("Electron", "ee")):
        masses = []
        for events, weight in ((true, w), (made, v)):
            mass, charge = pairs(events, name)
            m, own = flat(mass[charge == 0], weight)
            alike = flat(mass[charge != 0], weight)[1].sum() / weight.sum()
            at_peak = own[np.abs(m - Z) < 5].sum() / own.sum()
            masses.append((m, own, at_peak, alike))
        (a, wa, pa, la), (b, wb, pb, lb) = masses
        row[f"KS, m({label})"] = f"{ks(a, b, wa, wb):.4f}"
        row[f"share of m({label}) within 5 GeV of the Z"] = f"{pb:.3f} ({100 * (pb / pa - 1):+.1f}%)"
        row[f"like-charge {label} pairs per event"] = f"{lb:.4f} ({lb - la:+.4f})"
    for label, of in (
        ("MET", lambda e: ak.to_numpy(e.MET.pt)),
        ("HT", lambda e: ak.to_numpy(ak.sum(e.Jet.pt, axis=1))),
        ("leading lepton pT", leading),
    ):
        row[f"KS, {label}"] = f"{ks(of(true), of(made), w, v):.4f}"
    row["joint multiplicities"] = f"{np.abs(multiplicities(true) - multiplicities(made)).sum():.3f}"
    found = links(made)
    per = 1e4 / len(made)
    row["links, of 10,000 events"] = f"{per * found['links']:.1f}"
    for key in ("dangle", "beyond 0.4", "right"):
        row[f"links, {key}"] = f"{found[key]} of {found['links']}"
    row["leptons in a jet without a link"] = str(found["missed"])
    row["events against a trigger"] = f"{against_triggers(made)} of {len(made)}"
    test = two_sample_test(as_table(true), as_table(made), max_events=25_000)
    row["classifier AUC"] = f"{test.auc.value:.3f}"
    return row


def generator_of(chosen, file: Path, train) -> hepgan.EventGenerator:
    """The generator of the drafted recipe, as it stands but for the number of steps."""
    folder = chosen.models
    if folder is not None and (folder / "multilepton.safetensors").exists():
        return hepgan.EventGenerator.load(folder / "multilepton.safetensors")
    text = draft_recipe(str(file), name="multilepton", max_events=chosen.limit or 200_000)
    recipe = load_recipe(parse_yaml(text, "multilepton")).with_settings(chosen.set)
    if not chosen.max_time:
        recipe = recipe.with_settings([f"training.steps={chosen.steps}"])
    generator = hepgan.EventGenerator(recipe)
    generator.fit(train, seed=chosen.seed, max_time=chosen.max_time or None)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "multilepton.yaml").write_text(text, encoding="utf-8")
        generator.save(folder / "multilepton.safetensors")
    return generator


def main() -> None:
    """Runs it."""
    parser = options(__doc__, ["multilepton"], 0.0, events=100_000)
    parser.add_argument("--steps", type=int, default=1500)
    chosen = parser.parse_args()
    files = [chosen.data / f"multilepton_{sample}.root" for sample in ("train", "test")]
    train, test = (hepgan.read_events(f, entry_stop=chosen.limit) for f in files)
    made, training, rate = generated(generator_of(chosen, files[0], train), chosen.events)
    floor = judge(test, train[: len(test)])
    print_table({"generated": {**training, **judge(test, made), **rate}, "floor": floor})


if __name__ == "__main__":
    main()
