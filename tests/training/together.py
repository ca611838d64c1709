"""What `test_together.py` runs in several processes: trainings, of which each writes the losses."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import awkward as ak
import numpy as np

import hepgan
from hepgan.events import as_events
from hepgan.training import Trainer, together

MLP = {"kind": "mlp", "widths": [16, 16]}
BATCH = 301
"""Not a multiple of two."""

RECIPES = {
    "flow": {"model": {"kind": "flow", "blocks": 2, "network": MLP}},
    "sets": {
        "model": {
            "kind": "flow_matching",
            "network": {"kind": "deep_sets", "width": 16, "blocks": 2, "dropout": 0.2},
        }
    },
    "gan": {
        "model": {
            "kind": "gan",
            "generator": {**MLP, "dropout": 0.1},
            "critics": [
                {"loss": "wgan_gp", "network": MLP, "observables": ["ht"], "steps": 2},
                {"name": "lazy", "loss": "bce", "r1": 0.5, "network": MLP},
            ],
            "penalties": [{"kind": "mmd", "observables": ["ht"], "name": "mmd"}],
        },
        "observables": {"ht": "sum(Jet).pt"},
    },
    "portions": {"model": {"kind": "flow", "blocks": 2, "network": MLP}, "training": {"portion": 700}},
    "ensemble": {"model": {"kind": "flow", "blocks": 2, "network": MLP}, "training": {"members": 2}},
    "selected": {
        "model": {"kind": "flow_matching", "network": MLP},
        "observables": {"ht": "sum(Jet).pt"},
        "training": {"evaluate_every": 5, "selection": {}},
    },
}


def events():
    """One to three jets, with weights of either sign."""
    rng = np.random.default_rng(3)
    counts = rng.integers(1, 4, 1500)
    total = int(counts.sum())
    jets = {
        "pt": rng.exponential(30, total) + 20,
        "eta": rng.normal(size=total),
        "phi": rng.uniform(-3, 3, total),
    }
    listed = {k: ak.unflatten(v.astype(np.float32), counts) for k, v in jets.items()}
    weight = np.where(rng.random(1500) < 0.1, -1.0, 1.0)
    return as_events(ak.Array({"Jet": ak.zip(listed), "genWeight": weight.astype(np.float32)}))


def train(name, steps=20, **options):
    """The generator of a recipe."""
    recipe = {"name": name, **RECIPES[name]}
    recipe["training"] = {
        "batch_size": BATCH,
        "diagnose_every": 10,
        **recipe.get("training", {}),
        "steps": steps,
    }
    return hepgan.EventGenerator(recipe).fit(events(), seed=4, **options)


def main(out, *names):
    """Trains by recipes and writes the losses."""
    with together() as group:
        for name in names:
            generator = train(name)
            history = generator.history
            found = {n: history.losses[n].tolist() for n in history.losses.names}
            logs = {"losses": found, "metrics": history.metrics.rows(), "digest": generator.digest()}
            Path(f"{out}.{name}.{group.rank}").write_text(json.dumps(logs))
        stop_at(7 if group.rank == 1 else None)
        stopped = train("flow", checkpoint=f"{out}.checkpoint").history
        assert stopped.status == "interrupted"
        assert len(stopped.losses) == 7


def stop_at(step):
    """Lets this process, alone, be asked to stop after a step."""
    made = Trainer._train_step

    def one(self):
        row = made(self)
        if len(self.history.losses) == step:
            os.kill(os.getpid(), signal.SIGINT)
        return row

    Trainer._train_step = one


if __name__ == "__main__":
    main(*sys.argv[1:])
