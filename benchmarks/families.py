"""Families of generators with the same training events and the same time: fidelity and speed.

    python benchmarks/families.py DATA [--budgets 180 600 1800] [--families ...] [--models FOLDER]
        [--events 500000] [--results FILE.json]

DATA holds wz_train.root and wz_test.root. The families of hepgan share the features of the recipe `wz`.
Peers are zuko's own neural spline flow, on the momenta and on hepgan's features, and CTGAN where it is
installed; they learn the momenta of events (energies follow from the masses), and get the flavours of
training events. All use as many threads as torch is given (OMP_NUM_THREADS). Results are kept in FILE, and
what is there is not done again; so the table can be made in parts. Each generator is judged on the test
sample, as benchmarks/bosons.py does.
"""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

import awkward as ak
import numpy as np
import torch
from bosons import share_of_good_bins
from common import parser_of, print_table, read
from scipy.stats import wasserstein_distance

import hepgan

MLP = "{kind: mlp, widths: [256, 256, 256, 256]}"
CRITIC = "network: {kind: mlp, widths: [256, 256, 256]}"

FAMILIES = {
    "flow matching": [
        "model={kind: flow_matching, network: {kind: residual, width: 256, blocks: 4, layer_norm: true}, "
        "time: logit_normal, solver: midpoint, steps: 8}",
        "training.optimiser={kind: adamw, lr: 2.0e-3, betas: [0.9, 0.99], weight_decay: 1.0e-3}",
        "training.batch_size=2048",
    ],
    "GAN": [
        f"model={{kind: gan, generator: {MLP}, critics: [{{loss: bce, r1: 0.1, {CRITIC}}}]}}",
        "training.batch_size=2048",
    ],
    "flow, affine": ["model={kind: flow, layer: coupling, transform: affine, blocks: 10}"],
    "flow, spline": [],
    "flow, spline + MMD of masses": [
        "model={kind: flow, layer: coupling, transform: spline, blocks: 8, penalties: "
        "[{name: mmd_z, kind: mmd, observables: m_z, weight: 0.2}, "
        "{name: mmd_w, kind: mmd, observables: m_w, weight: 0.2}]}",
    ],
    "flow, spline + critic": [
        "model={kind: flow, layer: coupling, transform: spline, blocks: 8, critics: "
        f"[{{loss: bce, r1: 0.1, weight: 0.1, {CRITIC}}}]}}",
    ],
}
PEERS = ("zuko NSF, momenta", "zuko NSF, hepgan's features", "CTGAN")
BATCH = 512


def kinds_of(events) -> np.ndarray:
    """The four flavours of each event (N, 4)."""
    return ak.to_numpy(ak.to_regular(events.Particle.pdgId))


def momenta_of(events) -> np.ndarray:
    """px, py, pz of the four particles (N, 12)."""
    parts = [ak.to_numpy(ak.to_regular(events.Particle[c])) for c in ("px", "py", "pz")]
    return np.stack(parts, axis=2).reshape(len(events), 12).astype(np.float64)


def events_from(momenta: np.ndarray, kinds: np.ndarray, like) -> ak.Array:
    """Events with the masses of the kinds, and the energies that follow."""
    known = ak.to_numpy(ak.flatten(like.Particle.pdgId)), ak.to_numpy(ak.flatten(like.Particle.mass))
    values, first = np.unique(known[0], return_index=True)
    mass = known[1][first][np.searchsorted(values, kinds)].astype(np.float64)
    p = momenta.reshape(-1, 4, 3)
    columns = {c: p[:, :, i] for i, c in enumerate(("px", "py", "pz"))}
    columns |= {"energy": np.sqrt((p**2).sum(2) + mass**2), "mass": mass}
    columns = {n: ak.from_regular(v.astype(np.float32)) for n, v in columns.items()}
    particles = ak.zip({**columns, "pdgId": ak.from_regular(kinds)}, with_name="RedundantMomentum4D")
    return ak.zip({"Particle": particles}, depth_limit=1)


def own(name: str, train, budget: float, events: int, models: Path | None):
    """A family of hepgan: what it generates, seconds of training and of generation, steps."""
    recipe = hepgan.load_recipe("wz").with_settings(
        [*FAMILIES[name], f"training.max_time={budget}", "training.steps=1000000"]
    )
    generator = hepgan.EventGenerator(recipe).fit(train, seed=0)
    if models is not None:
        models.mkdir(parents=True, exist_ok=True)
        generator.save(models / f"{name.replace(' ', '_')}-{budget:.0f}.safetensors", force=True)
    started = time.perf_counter()
    made = generator.generate(events, seed=1)
    return made, generator.summary["seconds"], time.perf_counter() - started, generator.summary["steps"]


def spline_flow(x: torch.Tensor, context: torch.Tensor, budget: float):
    """Zuko's NSF, trained with Adam and a cosine over the budget."""
    import zuko

    torch.manual_seed(0)
    flow = zuko.flows.NSF(x.shape[1], context.shape[1], transforms=5, hidden_features=(128, 128, 128))
    optimiser = torch.optim.Adam(flow.parameters(), lr=1e-3)
    started, steps = time.perf_counter(), 0
    while (share := (time.perf_counter() - started) / budget) < 1:
        for group in optimiser.param_groups:
            group["lr"] = 1e-3 * 0.5 * (1 + math.cos(math.pi * share))
        rows = torch.randint(len(x), (BATCH,))
        loss = -flow(context[rows]).log_prob(x[rows]).mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(flow.parameters(), 1.0)
        optimiser.step()
        steps += 1
    return flow.eval(), steps


@torch.no_grad()
def drawn(flow, context: torch.Tensor) -> torch.Tensor:
    """One sample for each context."""
    return torch.cat([flow(c).sample() for c in context.split(8192)])


def peer(name: str, train, budget: float, events: int):
    """A peer: as :func:`own`."""
    kinds = kinds_of(train)
    sets, label = np.unique(kinds, axis=0, return_inverse=True)
    choice = np.random.default_rng(1).integers(len(train), size=events)
    started = time.perf_counter()
    if name == "CTGAN":
        return ctgan(train, sets, label, budget, events)
    if name.endswith("features"):
        from hepgan.events import to_awkward, to_batch
        from hepgan.features import Representation

        recipe = hepgan.load_recipe("wz")
        generator = hepgan.EventGenerator(recipe.with_settings(["training.steps=1"])).fit(train, seed=0)
        representation: Representation = generator.representation
        features = representation.encode(to_batch(train, generator.schema))
        started = time.perf_counter()
        flow, steps = spline_flow(features.x.float(), features.context.float(), budget)
        seconds, started = time.perf_counter() - started, time.perf_counter()
        given = features[torch.from_numpy(choice)]
        x = drawn(flow, given.context.float())
        azimuth = (torch.rand(events, dtype=torch.float64) * 2 - 1) * math.pi
        made = to_awkward(representation.decode(given.with_x(x), azimuth))
        return made, seconds, time.perf_counter() - started, steps
    x = momenta_of(train)
    mean, std = x.mean(0), x.std(0)
    context = torch.nn.functional.one_hot(torch.from_numpy(label.reshape(-1)), len(sets)).float()
    flow, steps = spline_flow(torch.from_numpy((x - mean) / std).float(), context, budget)
    seconds, started = time.perf_counter() - started, time.perf_counter()
    found = drawn(flow, context[torch.from_numpy(choice)]).double().numpy() * std + mean
    made = events_from(found, kinds[choice], train)
    return made, seconds, time.perf_counter() - started, steps


def ctgan(train, sets: np.ndarray, label: np.ndarray, budget: float, events: int):
    """CTGAN with its defaults, for as many epochs as fit."""
    import pandas as pd
    from ctgan import CTGAN

    table = pd.DataFrame(momenta_of(train), columns=[f"p{i}" for i in range(12)])
    table["kind"] = label.reshape(-1).astype(str)
    spent = []
    for epochs in (1, 2):
        started = time.perf_counter()
        CTGAN(epochs=epochs, enable_gpu=False).fit(table, ["kind"])
        spent.append(time.perf_counter() - started)
    epoch = spent[1] - spent[0]
    epochs = max(int((budget - spent[0]) / epoch) + 1, 1)
    torch.manual_seed(0)
    started = time.perf_counter()
    model = CTGAN(epochs=epochs, enable_gpu=False)
    model.fit(table, ["kind"])
    seconds, started = time.perf_counter() - started, time.perf_counter()
    found = model.sample(events)
    made = events_from(found.iloc[:, :12].to_numpy(float), sets[found["kind"].astype(int)], train)
    return made, seconds, time.perf_counter() - started, epochs * (len(table) // 500)


def judge(observables, train, test, made) -> dict[str, float]:
    """Figures of generated events, or as a floor those of the training events."""
    comparison = hepgan.compare(test, made, observables, train=train)
    auc = comparison.metrics["classifier"]["auc"]
    share = share_of_good_bins(observables, test, train, made)
    masses = {}
    for name in ("m_z", "m_w"):
        values = [np.asarray(observables[name].flat(e).values, dtype=float) for e in (test, made)]
        masses[f"W1 of {name}"] = float(wasserstein_distance(*values))
    found = {"AUC": auc["value"], "AUC floor": auc["floor"], **masses, **share}
    return {n: float(v) for n, v in found.items()}


def main() -> None:
    """Runs it."""
    parser = parser_of(__doc__, data=True)
    parser.add_argument("--budgets", type=float, nargs="+", default=[180.0, 600.0, 1800.0])
    parser.add_argument("--families", nargs="+", default=[*FAMILIES, *PEERS])
    parser.add_argument("--events", type=int, default=500_000)
    parser.add_argument("--models", type=Path)
    parser.add_argument("--results", type=Path)
    chosen = parser.parse_args()
    train = read(chosen, "wz_train")
    test = read(chosen, "wz_test")
    observables = hepgan.load_recipe("wz").make_observables()
    results: dict[str, dict[str, float]] = {}
    if chosen.results is not None and chosen.results.exists():
        results = json.loads(chosen.results.read_text())
    if "floor" not in results:
        results["floor"] = judge(observables, train, test, train)
    for budget in chosen.budgets:
        for name in chosen.families:
            key = f"{name}, {budget / 60:g} min"
            if key in results:
                continue
            if name in PEERS:
                made, seconds, generating, steps = peer(name, train, budget, chosen.events)
            else:
                made, seconds, generating, steps = own(name, train, budget, chosen.events, chosen.models)
            results[key] = {
                **judge(observables, train, test, made),
                "seconds": seconds,
                "steps": steps,
                "events/s": chosen.events / generating,
            }
            print(key, results[key], flush=True)
            if chosen.results is not None:
                chosen.results.write_text(json.dumps(results, indent=1))
    shown = {
        key: {n: f"{v:,.0f}" if abs(v) >= 100 else f"{v:.4g}" for n, v in row.items()}
        for key, row in results.items()
    }
    print_table(shown)


if __name__ == "__main__":
    main()
