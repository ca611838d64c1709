"""Closure of unfolding: pseudo-data at the detector against a simulation that is wrong, and the truth.

    python benchmarks/unfolding.py DATA --results FOLDER [--figures FOLDER] [--folding learned] [--swap]

DATA holds dis_train.root and dis_test_trained_energies.root: electrons at the vertex (Electron) and with
2% (+) 10%/sqrt(E) and 1 mrad (Detector). The simulation is a part of dis_train, drawn so that it differs from
the data by up to a factor of 2 in Q2 and x; the data are the detector's side of some test events, the truth
is the vertex of others. The folding is the function that made the sample, or the recipe `folding`, learned
from the simulation. Unfolded are bootstrap samples of the data. FOLDER gets the prior and
the numbers of each member; what is there is not made anew, so processes may share the members by --only.

Printed are the mean and the width of the pulls of k' (the electron's energy), Q2 and x at the vertex, outside
what the response declares ill-posed (small y, and bins), and at the detector; of the prior and each method
(`gradient` is training through the folding). `perfect` is the floor: what the data's own events at the vertex
give. Data and true events differ by chance, which is the same for all methods; with --swap the difference has
the other sign.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import awkward as ak
import numpy as np
import torch
from common import parser_of, print_table, read

import hepgan
from hepgan.detector import Folding, Level, bootstrap, omnifold, response, unfold, unfold_through
from hepgan.detector.closure import closure
from hepgan.detector.levels import Fold, event_weights, folding_of, with_weights
from hepgan.detector.unfolding import joined
from hepgan.events import EventBatch, Objects, to_awkward, to_batch
from hepgan.plotting.unfolding import plot_closure, plot_response
from hepgan.stats.weights import accepted

THRESHOLD = 0.5
"""Least purity and stability; y in bins of the same relative width has to have them, too."""

SETTINGS = [
    "features.blocks.0.direction=-1",
    "training.steps=4000",
    "training.batch_size=2048",
    "observables={}",
]
THROUGH = {
    "critics": [
        {
            "name": "critic",
            "loss": "lsgan",
            "features": False,
            "observables": ["Q2", "y", "log_x", "energy"],
            "network": {"kind": "mlp", "widths": [64, 64, 64], "activation": "leaky_relu"},
            "optimiser": {"lr": 1e-3, "betas": [0.5, 0.9]},
        }
    ],
    "penalties": [
        {"kind": "energy", "observables": n, "weight": 3.0} for n in ("log_Q2", "log_x", "y", "energy")
    ],
    "pull": 0.01,
    "training": {"steps": 600, "batch_size": 1024, "optimiser": {"lr": 3e-4, "betas": [0.5, 0.9]}},
}


def electron(collection: str) -> dict[str, str]:
    """Expressions of the electron of a collection, which goes along -z."""
    e = f"{collection}[0]"
    y = f"(1 - ({e}.p - {e}.pz) / (2 * beam_energy))"
    q2 = f"(2 * beam_energy * {e}.pt2 / ({e}.p - {e}.pz))"
    # The detector's y may be negative, where x would have no logarithm.
    x = f"({q2} / (4 * beam_energy ** 2 * (max({y}, 0) + 0.02)))"
    return {"energy": f"{e}.energy", "y": y, "Q2": q2, "x_seen": x}


def judged(collection: str) -> dict[str, hepgan.Observable]:
    """The observables that closure is judged by."""
    e = electron(collection)
    return {
        "k'": hepgan.Observable("energy", e["energy"], bins=24, range=(2, 50), label="$k'$", unit="GeV"),
        "Q2": hepgan.Observable(
            "Q2", e["Q2"], bins=24, range=(4, 2000), log=True, label="$Q^2$", unit="GeV$^2$"
        ),
        "x": hepgan.Observable(
            "x",
            f"{e['Q2']} / (4 * beam_energy ** 2 * {e['y']})",
            bins=18,
            range=(1e-3, 1),
            log=True,
            label="$x$",
        ),
    }


def inelasticity(collection: str) -> hepgan.Observable:
    """y, in bins as wide as those of x, by their logarithm."""
    edges = (*(0.1 * 1000.0 ** (k / 18) for k in range(-6, 6)), 1.0)
    return hepgan.Observable("y", electron(collection)["y"], edges=edges, label="$y$")


def above(observable: hepgan.Observable, y: hepgan.Observable, least: float) -> hepgan.Observable:
    """The same observable of events with so much y; others lack it."""

    def values(events: ak.Array) -> ak.Array:
        return ak.mask(observable(events), y(events) > least)

    return replace(observable, expression=None, function=values)


def level(collection: str) -> Level:
    """What classifiers see."""
    e = electron(collection) | {"beam": "beam_energy + 0"}
    return Level(observables={n: hepgan.Observable(n, text) for n, text in e.items()})


def simulated(train: ak.Array) -> ak.Array:
    """Events of the training sample, drawn so that Q2 and x are distributed otherwise."""
    found = judged("Electron")
    q2, x = found["Q2"].column(train), found["x"].column(train)
    x = np.where((x > 0) & (x < 1), x, 1.0)
    weight = 1 + 0.4 * np.tanh(np.log(q2 / 15)) - 0.3 * np.tanh(0.7 * np.log(x / 0.03))
    return train[accepted(weight, 1.7, np.random.default_rng(1))]


def smear(batch: EventBatch, generator: torch.Generator) -> EventBatch:
    """The detector as a function: energies by 2% (+) 10%/sqrt(E), directions by 1 mrad each way."""
    vertex = batch.Electron
    momentum = torch.stack([vertex.px, vertex.py, vertex.pz], -1)
    n = momentum / momentum.norm(dim=-1, keepdim=True)
    x, y, z = n.unbind(-1)
    sine = torch.hypot(x, y)
    polar = torch.stack([x * z / sine, y * z / sine, -sine], -1)
    azimuthal = torch.stack([-y / sine, x / sine, torch.zeros_like(sine)], -1)

    def normal(*more: int) -> torch.Tensor:
        shape = (*vertex.energy.shape, *more)
        return torch.randn(shape, generator=generator, dtype=n.dtype, device=n.device)

    angle = 1e-3 * normal(2)
    moved = n + angle[..., :1] * polar + angle[..., 1:] * azimuthal
    resolution = torch.sqrt(0.02**2 + 0.10**2 / vertex.energy)
    energy = vertex.energy * (1 + resolution * normal()).clamp(min=0.05)
    p = energy.unsqueeze(-1) * moved / moved.norm(dim=-1, keepdim=True)
    fields = dict(zip(("px", "py", "pz"), p.unbind(-1), strict=True)) | {"energy": energy}
    described = batch.schema.collection("Electron")
    renamed = tuple(f.model_copy(update={"branches": (f"Detector_{f.name}",)}) for f in described.fields)
    collection = described.model_copy(update={"name": "Detector", "counter": "nDetector", "fields": renamed})
    schema = batch.schema.model_copy(update={"collections": (collection,)})
    return EventBatch(schema, {"Detector": Objects(fields, vertex.mask)}, batch.scalars)


def folded(fold: Fold, events: ak.Array, seed: int) -> ak.Array:
    """Events at both levels."""
    batch = to_batch(events)
    with torch.no_grad():
        return to_awkward(joined(batch, fold(batch, torch.Generator().manual_seed(seed))))


def columns(events: ak.Array, sides: Mapping[str, Mapping[str, hepgan.Observable]]) -> dict[str, np.ndarray]:
    """The numbers that closure is judged by, of events at both levels, and their weights."""
    found = {f"{side}_{o.name}": o.column(events) for side, each in sides.items() for o in each.values()}
    return found | {"weight": event_weights(events)}


def kept(path: Path, make: Callable[[], dict[str, np.ndarray]]) -> ak.Array:
    """The columns of a member, from its file if it is there."""
    if not path.exists():
        started = time.process_time()
        np.savez(path, **make())
        print(f"{path.name}: {time.process_time() - started:.0f} s of CPU time", flush=True)
    return ak.zip(dict(np.load(path)), depth_limit=1)


def parsed() -> argparse.Namespace:
    """The options."""
    parser = parser_of(__doc__, data=True)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--figures", type=Path)
    parser.add_argument("--methods", nargs="+", default=["perfect", "prior", "OmniFold", "generator"])
    parser.add_argument("--members", type=int, default=10)
    parser.add_argument("--only", type=int, nargs="+", help="make these members, and judge nothing")
    parser.add_argument("--iterations", type=int, default=3)
    parser.add_argument("--calibration", choices=["temperature", "isotonic", "none"], default="none")
    parser.add_argument("--events", type=int, default=100_000, help="simulated ones; half as many of data")
    parser.add_argument(
        "--generated", type=int, default=100_000, help="events of each member that are judged"
    )
    parser.add_argument("--set", action="append", default=[], help="settings of the prior")
    parser.add_argument("--folding", choices=["exact", "learned"], default="exact")
    parser.add_argument("--swap", action="store_true", help="data and truth change places")
    parser.add_argument("--steps", type=int, default=500, help="training steps in each iteration")
    return parser.parse_args()


def main() -> None:
    """Runs it."""
    chosen = parsed()
    chosen.results.mkdir(parents=True, exist_ok=True)
    test = read(chosen, "dis_test_trained_energies")
    halves = [test[: len(test) // 2], test[len(test) // 2 :]]
    measured, truth = reversed(halves) if chosen.swap else halves
    measured = measured[: chosen.events // 2]
    data = measured[["Detector", "beam_energy"]]
    simulation = simulated(read(chosen, "dis_train"))
    print(f"{len(simulation):,} simulated events, {len(data):,} of data", flush=True)
    y = {side: inelasticity(side) for side in ("Electron", "Detector")}
    resolved = response(simulation, y["Electron"], y["Detector"], threshold=THRESHOLD)
    least = float(resolved.edges[:-1][~resolved.ill_posed].min())
    for row in resolved.rows():
        print("y from {low:.3f}: purity {purity:.2f}, stability {stability:.2f}".format(**row))
    print(f"y < {least:.3g} is ill-posed", flush=True)
    plain = {side: judged(side) for side in y}
    inside = {side: {n: above(o, y[side], least) for n, o in each.items()} for side, each in plain.items()}
    sides = {"vertex": inside["Electron"], "detector": plain["Detector"]}

    path = chosen.results / "prior.safetensors"
    if not path.exists():
        recipe = hepgan.load_recipe("dis").with_settings([*SETTINGS, *chosen.set])
        hepgan.EventGenerator(recipe).fit(simulation[["Electron", "beam_energy"]], seed=0).save(path)
    prior = hepgan.EventGenerator.load(path, device="cpu")
    folding: Folding | Fold = smear
    if chosen.folding == "learned":
        path = chosen.results / "folding.safetensors"
        if not path.exists():
            Folding("folding").fit(simulation, seed=0).save(path)
        folding = Folding.load(path, device="cpu")
    fold = folding_of(folding)
    used, seen = simulation[: chosen.events], level("Detector")
    guides = electron("Detector")
    guides |= {"log_Q2": f"log({guides['Q2']})", "log_x": f"log({guides['x_seen']})"}
    guides = {n: hepgan.Observable(n, text) for n, text in guides.items()}

    calibration = None if chosen.calibration == "none" else chosen.calibration
    common = {"iterations": chosen.iterations, "calibration": calibration}

    def made(generator: hepgan.EventGenerator, k: int) -> dict[str, np.ndarray]:
        print(generator.summary.get("unfolding", {}).get("shares", ""), flush=True)
        return columns(folded(fold, generator.generate(chosen.generated, seed=k), k), sides)

    def member(label: str, k: int) -> dict[str, np.ndarray]:
        again = bootstrap(data, k)
        if label == "perfect":
            return columns(bootstrap(measured, k), sides)
        if label == "prior":
            return made(prior, k)
        if label == "OmniFold":
            both = level("Electron"), seen
            found = omnifold(bootstrap(used, 100 + k), again, *both, seed=k, **common)
            print(found.shares[0])
            # The weights are those of the events as they are, whatever the bootstrap sample.
            return columns(with_weights(used, found.replicas[0]), sides)
        if label == "generator":
            options = {"events": chosen.events, "settings": [f"training.steps={chosen.steps}"], "seed": k}
            return made(unfold(prior, folding, again, seen, **common, **options), k)
        return made(unfold_through(prior, folding, again, guides, THROUGH, seed=k), k)

    given = ("folding", "swap", "iterations", "calibration", "events", "steps")
    settings = "".join(f"-{getattr(chosen, name)}" for name in given)
    members = {
        label: [
            kept(chosen.results / f"{label}-{k}{settings}.npz", partial(member, label, k))
            for k in chosen.only or range(chosen.members)
        ]
        for label in chosen.methods
    }
    if chosen.only:
        return
    # The true events are seen by the detector of the file.
    true = ak.zip(columns(truth, sides), depth_limit=1)
    rows: dict[str, dict[str, str]] = {label: {} for label in members}
    for side, observables in sides.items():
        for name, observable in observables.items():
            found = response(
                simulation, inside["Electron"][name], inside["Detector"][name], threshold=THRESHOLD
            )
            column = replace(
                plain["Electron"][name], expression=f"{side}_{observable.name} + 0", name=observable.name
            )
            closures = {
                label: closure(
                    column,
                    true,
                    events,
                    ill_posed=found.ill_posed if side == "vertex" else None,
                    same_events=label == "OmniFold",
                )
                for label, events in members.items()
            }
            for label, each in closures.items():
                rows[label][f"{name}, {side}"] = f"{each.mean:+.2f}, {each.width:.2f}"
                print(label, name, side, np.round(each.pulls, 1), each.excluded.astype(int), flush=True)
            if side == "vertex":
                ill = found.ill_posed
                print(f"{name}: condition {found.condition:.3g}, {ill.sum()} bins of {len(ill)} ill-posed")
            if chosen.figures:
                figure = plot_closure(closures)
                figure.savefig(chosen.figures / f"unfolding_{observable.name}_{side}.png", dpi=80)
            if chosen.figures and side == "vertex":
                figure = plot_response(found, plain["Electron"][name])
                figure.savefig(chosen.figures / f"response_{observable.name}.png", dpi=80)
    print_table(rows)


if __name__ == "__main__":
    main()
