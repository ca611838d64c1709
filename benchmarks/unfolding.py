"""Closure of unfolding: pseudo-data at the detector against a simulation that is wrong, and the truth.

    python benchmarks/unfolding.py DATA --models FOLDER [--figures FOLDER] [--members 6] [--iterations 2]

DATA holds dis_train.root and dis_test_trained_energies.root: electrons at the vertex (Electron) and with
2% (+) 10%/sqrt(E) and 1 mrad (Detector). The simulation is a part of dis_train, drawn so that it differs from
the data by up to a factor of 2 in Q2 and x; the data are the detector's side of some test events, the truth
is the vertex of others. Unfolded are bootstrap samples of the data. FOLDER gets the prior and
the unfolded generators; what is there is not made anew.

Printed are the mean and the width of the pulls of k' (the electron's energy), Q2 and x at the vertex, outside
what the response declares ill-posed (small y, and bins), and at the detector; of the prior and each method.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import awkward as ak
import numpy as np
import torch
from physics import print_table

import hepgan
from hepgan.detector import Level, bootstrap, omnifold, response, unfold, unfold_through
from hepgan.detector.levels import event_weights, with_weights
from hepgan.detector.response import column_of
from hepgan.detector.unfolding import joined
from hepgan.events import EventBatch, Objects, to_awkward, to_batch
from hepgan.reweighting.weights import accepted
from hepgan.validation.unfolding import closure, plot_closure, plot_response

GENERATED = 150_000

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
    q2, x = column_of(found["Q2"], train), column_of(found["x"], train)
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


def folded(events: ak.Array, seed: int) -> ak.Array:
    """Events at both levels."""
    batch = to_batch(events)
    with torch.no_grad():
        return to_awkward(joined(batch, smear(batch, torch.Generator().manual_seed(seed))))


def kept(path: Path, make) -> hepgan.EventGenerator:
    """A generator, from its file if it is there."""
    if not path.exists():
        started = time.process_time()
        made = make()
        made.save(path)
        print(f"{path.name}: {time.process_time() - started:.0f} s of CPU time", flush=True)
    return hepgan.EventGenerator.load(path, device="cpu")


def main() -> None:
    """Runs it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--figures", type=Path)
    parser.add_argument("--members", type=int, default=6)
    parser.add_argument("--iterations", type=int, default=2)
    parser.add_argument(
        "--events", type=int, default=60_000, help="simulated events; twice as many as of data"
    )
    parser.add_argument("--steps", type=int, default=600, help="training steps in each iteration")
    parser.add_argument("--methods", nargs="+", default=["omnifold", "generator", "through"])
    chosen = parser.parse_args()
    chosen.models.mkdir(parents=True, exist_ok=True)
    test = hepgan.read_events(chosen.data / "dis_test_trained_energies.root")
    data, truth = test[: chosen.events // 2][["Detector", "beam_energy"]], test[len(test) // 2 :]
    simulation = simulated(hepgan.read_events(chosen.data / "dis_train.root"))
    print(f"{len(simulation):,} simulated events, {len(data):,} of data", flush=True)
    resolved = response(simulation, inelasticity("Electron"), inelasticity("Detector"), threshold=THRESHOLD)
    least = float(resolved.edges[:-1][~resolved.ill_posed].min())
    print("y:", [f"{r['low']:.3f} {r['purity']:.2f} {r['stability']:.2f}" for r in resolved.rows()])
    print(f"y < {least:.3g} is ill-posed")
    plain = judged("Electron")
    vertex = {n: above(o, inelasticity("Electron"), least) for n, o in plain.items()}
    detector = {n: above(o, inelasticity("Detector"), least) for n, o in judged("Detector").items()}
    responses = {n: response(simulation, vertex[n], detector[n], threshold=THRESHOLD) for n in vertex}
    for name, found in responses.items():
        ill = found.ill_posed
        print(f"{name}: condition {found.condition:.3g}, {ill.sum()} bins of {len(ill)} ill-posed")

    recipe = hepgan.load_recipe("dis").with_settings(SETTINGS)
    fit = hepgan.EventGenerator(recipe).fit
    prior = kept(
        chosen.models / "prior.safetensors", lambda: fit(simulation[["Electron", "beam_energy"]], seed=0)
    )
    seen, settings = level("Detector"), {"iterations": chosen.iterations}
    steps = [f"training.steps={chosen.steps}"]
    guides = electron("Detector")
    guides = guides | {"log_Q2": f"log({guides['Q2']})", "log_x": f"log({guides['x_seen']})"}
    guides = {n: hepgan.Observable(n, text) for n, text in guides.items()}

    def by_generator(k: int):
        return unfold(
            prior, smear, bootstrap(data, k), seen, events=chosen.events, settings=steps, seed=k, **settings
        )

    def through(k: int):
        return unfold_through(prior, smear, bootstrap(data, k), guides, THROUGH, seed=k)

    members = {"prior": [folded(prior.generate(GENERATED, seed=k), k) for k in range(chosen.members)]}
    if "omnifold" in chosen.methods:
        started, path = time.process_time(), chosen.models / f"omnifold-{chosen.iterations}.npy"
        if not path.exists():
            found = omnifold(
                simulation[: chosen.events],
                data,
                level("Electron"),
                seen,
                replicas=chosen.members,
                **settings,
            )
            np.save(path, found.replicas)
            print(
                f"OmniFold: {time.process_time() - started:.0f} s of CPU time, shares {found.shares.mean(0)}"
            )
        weights = np.load(path)
        used = simulation[: chosen.events]
        members["OmniFold"] = [with_weights(used, event_weights(used) * w) for w in weights]
    for name, label, make in (("generator", "generator", by_generator), ("through", "gradient", through)):
        if name in chosen.methods:
            which = f"{name}-{chosen.iterations}" if name == "generator" else name
            made = [
                kept(chosen.models / f"{which}-{k}.safetensors", partial(make, k))
                for k in range(chosen.members)
            ]
            members[label] = [folded(g.generate(GENERATED, seed=k), k) for k, g in enumerate(made)]

    rows: dict[str, dict[str, str]] = {label: {} for label in members}
    for where, observables in (("vertex", vertex), ("detector", judged("Detector"))):
        for name, observable in observables.items():
            ill = responses[name].ill_posed if where == "vertex" else None
            closures = {
                label: closure(observable, truth, events, ill_posed=ill, same_events=label == "OmniFold")
                for label, events in members.items()
            }
            for label, found in closures.items():
                rows[label][f"{name}, {where}"] = f"{found.mean:+.2f}, {found.width:.2f}"
                print(label, name, where, np.round(found.pulls, 1), found.excluded.astype(int), flush=True)
            if chosen.figures:
                plot_closure(closures).savefig(
                    chosen.figures / f"unfolding-{observable.name}-{where}.png", dpi=90
                )
    for name, found in responses.items() if chosen.figures else ():
        observable = plain[name]
        plot_response(found, observable).savefig(chosen.figures / f"response-{observable.name}.png", dpi=90)
    print_table(rows)


if __name__ == "__main__":
    main()
