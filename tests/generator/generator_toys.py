"""Small generators, and what tests compare of them."""

from __future__ import annotations

import json
from typing import Any

import awkward as ak
import torch
from torch import Tensor

from hepgan.generator import EventGenerator

SMALL: dict[str, Any] = {
    "name": "small",
    "events": {"select": ["Muon", "Jet.pt", "MET"]},
    "model": {"kind": "flow_matching", "network": {"kind": "mlp", "widths": [16]}, "steps": 2},
    "training": {"steps": 30, "batch_size": 64, "checkpoint_every": 0.0},
    "observables": {"met": "MET.pt", "n_jet": "nJet", "jet": "Jet.pt"},
}
GAN: dict[str, Any] = {
    "kind": "gan",
    "generator": {"kind": "mlp", "widths": [16]},
    "critics": [{"network": {"kind": "mlp", "widths": [16]}, "observables": ["met"]}],
}


def small(**changes: Any) -> EventGenerator:
    """A generator that has not learned yet; ``section__key`` changes a key of a section."""
    recipe = json.loads(json.dumps(SMALL))
    for key, value in changes.items():
        section, _, name = key.partition("__")
        if name:
            recipe.setdefault(section, {})[name] = value
        else:
            recipe[key] = value
    return EventGenerator(recipe)


def same(a: ak.Array, b: ak.Array) -> bool:
    """Whether events are the same bit for bit, and of the same type."""
    return a.type == b.type and bool(ak.array_equal(a, b, check_parameters=True))


def weights(generator: EventGenerator) -> dict[str, Tensor]:
    """All tensors that a generator has learned, by name."""
    parts = generator.parts
    return {f"{k}.{n}": t for k, m in parts.modules.items() for n, t in m.state_dict().items()}


def assert_same_weights(a: EventGenerator, b: EventGenerator) -> None:
    """Two generators have the same tensors bit for bit."""
    ours, theirs = weights(a), weights(b)
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name
