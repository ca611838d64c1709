"""Folding: how near the detector-level events of a folding come to those of the detector itself.

    python benchmarks/folding.py DATA [--only toy dis efficiency] [--max-time 300] [--models FOLDER]

DATA holds dis_train.root, dis_test_trained_energies.root and dis_test_new_energies.root (see `hepgan dataset
dis`), with the electron of e p scattering at the vertex and in the detector. Prints tables in Markdown.

toy: a detector that smears energies by 2% (+) 10%/sqrt(E) and directions by 1 mrad, learned from energies
that follow a Gaussian, and applied to flat ones. Wasserstein distances between folded and true detector-level
events of the same vertex-level events, in units of the floor: the distance of two true detector-level samples
of these. Beside it the published deterministic folding (`direct`).

dis: the recipe `folding`, learned at beam energies of 10, 20, 30, 40, 50 GeV, applied to 15, 25, 35, 45,
60 GeV, twice. Mean and width of what is measured minus what is true, in bins of energy and angle, less
those of the detector: in per cent of the width.

efficiency: the same events with an efficiency that depends on energy and angle (60 to 98%), and with fakes.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import awkward as ak
import numpy as np
from common import parser_of, read

import hepgan
from hepgan.detector import Folding, folding_recipe, pairs, profile
from hepgan.events import schema_of
from hepgan.stats.distances import wasserstein_scaled

ENERGY = [2, 6, 10, 15, 20, 30, 40, 60]
THETA = [0.7, 2.6, 2.85, 2.97, 3.04, 3.07, 3.10]
TIMES = 2


def electrons(energy, theta, phi) -> ak.Array:
    """One massless electron an event."""
    p = [energy * np.sin(theta) * np.cos(phi), energy * np.sin(theta) * np.sin(phi), energy * np.cos(theta)]
    columns = dict(zip(("px", "py", "pz", "energy"), (*p, energy), strict=True))
    flat = ak.zip({n: v.astype(np.float32) for n, v in columns.items()}, with_name="Momentum4D")
    return ak.unflatten(flat, np.ones(len(flat), dtype=np.int64))


def numbers(objects, name: str) -> np.ndarray:
    """A property of one object an event, in double precision."""
    return ak.to_numpy(getattr(objects, name)).astype(np.float64)


def smeared(electron, rng: np.random.Generator) -> ak.Array:
    """What the detector makes of them: 2% (+) 10%/sqrt(E), and 1 mrad in two transverse directions."""
    e, theta, phi = (numbers(electron[:, 0], n) for n in ("energy", "theta", "phi"))
    e = e * np.clip(rng.normal(1.0, np.hypot(0.02, 0.10 / np.sqrt(e))), 0.05, None)
    u, v = rng.normal(0.0, 1e-3, (2, len(e)))
    n = np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)])
    a = np.stack([np.cos(theta) * np.cos(phi), np.cos(theta) * np.sin(phi), -np.sin(theta)])
    b = np.stack([-np.sin(phi), np.cos(phi), np.zeros_like(phi)])
    n = n + u * a + v * b
    n /= np.linalg.norm(n, axis=0)
    return electrons(e, np.arccos(n[2]), np.arctan2(n[1], n[0]))


def fitted(name: str, folding: Folding, events, chosen: argparse.Namespace) -> Folding:
    """A folding that has learned, from the folder of models if it is there."""
    path = chosen.models / f"{name}.safetensors" if chosen.models else None
    if path is not None and path.exists():
        return Folding.load(path)
    folding.fit(events, seed=chosen.seed, max_time=chosen.max_time)
    summary = folding.generator.summary
    print(f"{name}: {summary['seconds']:.0f} s of training, {summary['steps']:,} steps\n")
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        folding.save(path)
    return folding


def toy(chosen: argparse.Namespace) -> None:
    """Learned from a Gaussian, applied to a uniform distribution."""
    rng = np.random.default_rng(chosen.seed)
    n = 200_000 if chosen.limit is None else chosen.limit
    theta, phi = rng.uniform(0.2, 1.2, 2 * n), rng.uniform(-np.pi, np.pi, 2 * n)
    gauss = electrons(np.clip(rng.normal(30, 6, n), 5, 60), theta[:n], phi[:n])
    flat = electrons(rng.uniform(15, 45, n), theta[n:], phi[n:])
    train = ak.zip({"Electron": gauss, "Detector": smeared(gauss, rng)}, depth_limit=1)
    test = ak.zip({"Electron": flat}, depth_limit=1)
    truth = [smeared(flat, rng) for _ in range(5)]
    quantities = {"E": "energy", "pT": "pt", "theta": "theta"}

    def distance(one, other, quantity: str) -> float:
        return float(wasserstein_scaled(*(numbers(e[:, 0], quantities[quantity]) for e in (one, other))))

    def response(one, other) -> float:
        r = [ak.to_numpy(e[:, 0].energy / flat[:, 0].energy).astype(float) for e in (one, other)]
        return float(wasserstein_scaled(*r))

    others = truth[1:]
    rows = {q: [np.mean([distance(t, truth[0], q) for t in others])] for q in quantities}
    rows["E'/E"] = [np.mean([response(t, truth[0]) for t in others])]
    for kind in ("conditional", "direct"):
        recipe = folding_recipe(
            schema_of(train), vertex=["Electron"], detector=["Detector"], kind=kind
        ).with_settings(chosen.set)
        folding = fitted(f"toy-{kind}", Folding(recipe), train, chosen)
        folded = folding.fold(test, seed=1).Detector
        for q in quantities:
            rows[q].append(np.mean([distance(folded, t, q) for t in truth]))
        rows["E'/E"].append(np.mean([response(folded, t) for t in truth]))
    print("| Wasserstein distance | floor | conditional | ratio | direct | ratio |")
    print("|---|--:|--:|--:|--:|--:|")
    for q, (floor, one, other) in rows.items():
        print(f"| {q} | {floor:.5f} | {one:.5f} | {one / floor:.1f} | {other:.5f} | {other / floor:.0f} |")
    print()


def deviations(events) -> dict[str, np.ndarray]:
    """What is measured less what is true: E'/E - 1, and the angles towards larger theta and phi, in mrad."""
    found = pairs(events, within=0.05)
    t, m = found.true, found.measured
    return {
        "E": t["energy"],
        "theta": t["theta"],
        "E'/E - 1": m["energy"] / t["energy"] - 1,
        "theta' - theta": 1e3 * (m["theta"] - t["theta"]),
        "(phi' - phi) sin theta": 1e3
        * ((m["phi"] - t["phi"] + np.pi) % (2 * np.pi) - np.pi)
        * np.sin(t["theta"]),
    }


def joined(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """All entries."""
    return {k: np.concatenate([p[k] for p in parts]) for k in parts[0]}


def dis(chosen: argparse.Namespace) -> None:
    """Resolution at beam energies that were not learned."""
    train = read(chosen, "dis_train")
    folding = fitted(
        "folding", Folding(hepgan.load_recipe("folding").with_settings(chosen.set)), train, chosen
    )
    for sample in ("trained", "new"):
        test = read(chosen, f"dis_test_{sample}_energies")
        started = time.perf_counter()
        folded = [deviations(folding.fold(test, seed=i, keep_vertex=True)) for i in range(TIMES)]
        rate = TIMES * len(test) / (time.perf_counter() - started)
        rng = np.random.default_rng(chosen.seed)
        # The detector of the file once, and its formula for as many events as are folded.
        again = [ak.with_field(test, smeared(test.Electron, rng), "Detector") for _ in range(TIMES - 1)]
        true, made = joined([deviations(e) for e in (test, *again)]), joined(folded)
        wanted = [k for k in true if k not in ("E", "theta")]
        print(f"{sample} energies, {rate:,.0f} events/s; folded less true, in per cent of the width:\n")
        print("| | bins | mean: largest | mean: rms (its statistical error) | width: largest | width: rms |")
        print("|---|--:|--:|--:|--:|--:|")
        place = (
            np.digitize(true["E"], ENERGY) - 1 + (len(ENERGY) - 1) * (np.digitize(true["theta"], THETA) - 1)
        )
        inside = (true["E"] > ENERGY[0]) & (true["E"] < ENERGY[-1])
        inside &= (true["theta"] > THETA[0]) & (true["theta"] < THETA[-1])
        place = np.where(inside, place, -1)
        edges = np.arange((len(ENERGY) - 1) * (len(THETA) - 1) + 1) - 0.5
        for k in wanted:
            a, b = (profile(e[k], place, edges) for e in (true, made))
            good = a.number >= chosen.fewest
            mean = 100 * ((b.mean - a.mean) / a.width)[good]
            width = 100 * (b.width / a.width - 1)[good]
            noise = 100 * np.sqrt(2 / a.number[good])
            print(
                f"| {k} | {good.sum()} | {np.abs(mean).max():.1f} | {rms(mean):.1f} ({rms(noise):.1f}) | "
                f"{np.abs(width).max():.1f} | {rms(width):.1f} ({rms(noise / np.sqrt(2)):.1f}) |"
            )
        print("\nIn bins of energy alone, with the width of E'/E that the detector has:\n")
        print("| E [GeV] | width, formula | width, folded | mean, folded [% of the width] |")
        print("|---|--:|--:|--:|")
        made_e = profile(made["E'/E - 1"], made["E"], ENERGY)
        formula = profile(np.hypot(0.02, 0.10 / np.sqrt(true["E"])) ** 2, true["E"], ENERGY).mean ** 0.5
        for i in range(len(ENERGY) - 1):
            print(
                f"| {ENERGY[i]} to {ENERGY[i + 1]} | {formula[i]:.4f} | {made_e.width[i]:.4f} | "
                f"{100 * made_e.mean[i] / made_e.width[i]:+.1f} ± {100 / np.sqrt(made_e.number[i]):.1f} |"
            )
        print()


def rms(values) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(np.square(values))))


def efficiency_of(energy, theta):
    """The efficiency of the detector that loses electrons: 60 to 98%, less along the beam."""
    return 0.60 + 0.38 / (1 + np.exp(-(energy - 12) / 4)) * (1 - 0.8 * np.exp(-(np.pi - theta) / 0.1))


def with_losses(events, rng: np.random.Generator) -> ak.Array:
    """Events in which electrons are lost, and in which there are fakes, 0.4 an event."""
    n = len(events)
    true = events.Electron[:, 0]
    energy, theta = (numbers(true, q) for q in ("energy", "theta"))
    found = rng.random(n) < efficiency_of(energy, theta)
    own = events.Detector[ak.unflatten(found, np.ones(n, dtype=np.int64))]
    counts = np.minimum(rng.poisson(0.4, n), 3)
    m = int(counts.sum())
    fakes = electrons(
        2 + rng.exponential(3, m), np.arccos(rng.uniform(-1, 1, m)), rng.uniform(-np.pi, np.pi, m)
    )
    detector = ak.concatenate([own, ak.unflatten(ak.flatten(fakes), counts)], axis=1)
    detector = detector[ak.argsort(detector.energy, axis=1, ascending=False)]
    detector = ak.zip({f: detector[f] for f in detector.fields}, with_name="Momentum4D")
    parts = {"Electron": events.Electron, "Detector": detector, "beam_energy": events.beam_energy}
    made = ak.zip(parts, depth_limit=1)
    # Without the schema that the file had, of one electron in every event.
    return ak.Array(made.layout, behavior=made.behavior)


def efficiency(chosen: argparse.Namespace) -> None:
    """Lost and fake electrons."""
    rng = np.random.default_rng(chosen.seed)
    names = ("dis_train", "dis_test_trained_energies")
    train, test = (with_losses(read(chosen, name), rng) for name in names)
    settings = ["features.blocks.0.within=0.02", "observables={}", *chosen.set]
    recipe = hepgan.load_recipe("folding").with_settings(settings)
    folding = fitted("folding-losses", Folding(recipe), train, chosen)
    folded = folding.fold(test, seed=1, keep_vertex=True)
    a, b = (pairs(e, within=0.02) for e in (test, folded))
    print("| | bins | efficiency | folded less true: largest | rms (its statistical error) |")
    print("|---|--:|--:|--:|--:|")
    for quantity, edges in (("energy", np.linspace(2, 50, 17)), ("theta", THETA)):
        one, other = (profile(p.found, p.true[quantity], edges) for p in (a, b))
        good = one.number >= chosen.fewest
        off = 100 * (other.mean - one.mean)[good]
        noise = 100 * (one.width * np.sqrt(2 / np.maximum(one.number, 1)))[good]
        low, high = 100 * one.mean[good].min(), 100 * one.mean[good].max()
        print(
            f"| {quantity} | {good.sum()} | {low:.0f} to {high:.0f}% | {np.abs(off).max():.1f}% | "
            f"{rms(off):.2f}% ({rms(noise):.2f}%) |"
        )
    print("\n| fakes | 0 | 1 | 2 | 3 | mean |\n|---|--:|--:|--:|--:|--:|")
    for name, p in (("true", a), ("folded", b)):
        share = np.bincount(p.fakes, minlength=4)[:4] / len(p.fakes)
        print(f"| {name} | " + " | ".join(f"{s:.4f}" for s in share) + f" | {p.fakes.mean():.4f} |")
    print()


def main() -> None:
    """Runs what is asked for."""
    parser = parser_of(__doc__, data=True)
    parser.add_argument("--only", nargs="+", default=["toy", "dis", "efficiency"])
    parser.add_argument("--max-time", type=float, default=300)
    parser.add_argument("--set", action="append", default=[], help="settings of the recipes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--models", type=Path)
    parser.add_argument("--fewest", type=int, default=4000, help="events of a bin that is looked at")
    chosen = parser.parse_args()
    for name in chosen.only:
        print(f"## {name}\n")
        {"toy": toy, "dis": dis, "efficiency": efficiency}[name](chosen)


if __name__ == "__main__":
    main()
