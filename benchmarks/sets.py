"""Flow matching of jets' constituents by networks of sets and by a plain one, trained for the same time.

    python benchmarks/sets.py DATA [--seconds 90] [--constituents 20] [--pt-min 5]

DATA holds jet_images_train.root and jet_images_test.root (``hepgan dataset jet_images``). Events are the
constituents of a jet above a pT, the hardest first, or (``shuffled``) in no order. Generated events are
sorted before they are compared, so that both orders are judged alike. Prints a table in Markdown: the
classifier's AUC and its floor, between training and test events; the Wasserstein distance of the jet's mass
in units of its spread; events per second of CPU time, which does not depend on the training.
"""

from __future__ import annotations

import argparse
import time

import awkward as ak
import numpy as np
from common import parser_of, print_table, read

import hepgan

NETWORKS = {
    "residual": "{kind: residual, width: 256, blocks: 4}",
    "deep_sets": "{kind: deep_sets, width: 96, blocks: 3}",
    "attention": "{kind: attention, width: 64, blocks: 3}",
    "deep_sets, no positions": "{kind: deep_sets, width: 96, blocks: 3, positions: false}",
}
RECIPE = {
    "name": "constituents",
    "model": {"kind": "flow_matching", "time": "logit_normal", "solver": "midpoint", "steps": 8},
    "observables": {
        "n": "nConstituent",
        "pt": "sum(Constituent).pt",
        "mass": "sum(Constituent).mass",
        "pt_1": "Constituent[0].pt",
        "pt_2": "Constituent[1].pt",
        "delta_r_12": "Constituent[0].deltaR(Constituent[1])",
        "delta_r_min": "min(pairs(Constituent).deltaR)",
        "delta_r_max": "max(pairs(Constituent).deltaR)",
        "mass_max": "max(pairs(Constituent).mass)",
    },
    "training": {
        "steps": 1_000_000,
        "batch_size": 256,
        "optimiser": {"kind": "adamw", "lr": 2e-3, "betas": [0.9, 0.99]},
        "schedule": {"kind": "cosine", "warmup": 100},
        "gradient_clip": 1.0,
        "ema": 0.998,
    },
}


def constituents(chosen: argparse.Namespace, part: str) -> ak.Array:
    """Massless momenta around the jet's axis, the hardest first."""
    found = read(chosen, f"jet_images_{part}").Constituent
    found = found[found.pt > chosen.pt_min][:, : chosen.constituents]
    parts = {"pt": found.pt, "eta": found.deta, "phi": found.dphi, "mass": ak.zeros_like(found.pt)}
    return ak.zip({"Constituent": ak.zip(parts, with_name="Momentum4D")}, depth_limit=1)


def shuffled(events: ak.Array, seed: int) -> ak.Array:
    """The same with constituents in no order."""
    counts = ak.num(events.Constituent)
    key = ak.unflatten(np.random.default_rng(seed).random(int(ak.sum(counts))), counts)
    return ak.zip({"Constituent": events.Constituent[ak.argsort(key)]}, depth_limit=1)


def in_order(events: ak.Array) -> ak.Array:
    """The same with the hardest constituents first."""
    best = ak.argsort(events.Constituent.pt, ascending=False, stable=True)
    return ak.zip({"Constituent": events.Constituent[best]}, depth_limit=1)


def judged(network: str, train: ak.Array, test: ak.Array, chosen: argparse.Namespace) -> dict[str, str]:
    """A column of the table."""
    recipe = hepgan.load_recipe(RECIPE).with_settings([f"model.network={network}"])
    generator = hepgan.EventGenerator(recipe).fit(train, seed=0, max_time=chosen.seconds, progress=False)
    started = time.process_time()
    made = generator.generate(len(test), seed=1)
    rate = len(test) / (time.process_time() - started)
    comparison = hepgan.compare(test, in_order(made), recipe.make_observables(), train=in_order(train))
    auc = comparison.metrics["classifier"]["auc"]
    mass = comparison.metrics["observables"]["mass"]["wasserstein"]
    return {
        "steps": f"{generator.summary['steps']:,}",
        "parameters": f"{sum(p.numel() for p in generator.parts.model.parameters()):,}",
        "classifier AUC": f"{auc['value']:.3f} ± {auc['error']:.3f}",
        "its floor": f"{auc['floor']:.3f}",
        "mass, Wasserstein": f"{mass['value']:.3f} (floor {mass['floor']:.3f})",
        "events per second of CPU time": f"{rate:,.0f}",
    }


def main() -> None:
    """Runs it."""
    parser = parser_of(__doc__, data=True)
    parser.add_argument("--seconds", type=float, default=90.0, help="of each training")
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--constituents", type=int, default=20, help="most constituents of a jet")
    parser.add_argument("--pt-min", type=float, default=5.0, help="least pT of a constituent in GeV")
    chosen = parser.parse_args()
    train, test = (constituents(chosen, part) for part in ("train", "test"))
    columns: dict[str, dict[str, str]] = {}
    networks = {name: NETWORKS[name] for name in chosen.networks}
    for order, learned in (("sorted", train), ("shuffled", shuffled(train, seed=1))):
        for name, network in networks.items():
            if order == "shuffled" and "positions" in name:
                continue
            columns[f"{order}: {name}"] = judged(network, learned, test, chosen)
            print(name, columns[f"{order}: {name}"], flush=True)
    print_table(columns)


if __name__ == "__main__":
    main()
