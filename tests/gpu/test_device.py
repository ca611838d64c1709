"""What a GPU makes is what a CPU makes, up to rounding.

These tests need a GPU; ``HEPGAN_TEST_DEVICE=cpu`` tries them without one.
"""

from __future__ import annotations

import os

import awkward as ak
import numpy as np
import pytest
import torch

import hepgan
from hepgan.events import as_events, to_awkward

DEVICE = os.environ.get("HEPGAN_TEST_DEVICE", "cuda")

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(DEVICE == "cuda" and not torch.cuda.is_available(), reason="needs a GPU"),
]

MLP = {"kind": "mlp", "widths": [32, 32]}
MODELS = {
    "flow": {"kind": "flow", "blocks": 2, "network": MLP},
    "flow_matching": {"kind": "flow_matching", "network": {"kind": "deep_sets", "width": 16, "blocks": 2}},
    "gan": {
        "kind": "gan",
        "generator": MLP,
        "critics": [{"loss": "wgan_gp", "network": MLP, "observables": ["ht"]}],
        "penalties": [{"kind": "mmd", "observables": ["ht"], "name": "mmd"}],
    },
}


@pytest.fixture(scope="module")
def events():
    """One to three jets with a tag, and a weight of either sign."""
    rng = np.random.default_rng(5)
    counts = rng.integers(1, 4, 1500)
    total = int(counts.sum())
    jets = {
        "pt": rng.exponential(30, total) + 20,
        "eta": rng.normal(size=total),
        "phi": rng.uniform(-3, 3, total),
        "tag": rng.integers(0, 2, total).astype(np.float32),
    }
    listed = {k: ak.unflatten(v.astype(np.float32), counts) for k, v in jets.items()}
    weight = np.where(rng.random(1500) < 0.1, -1.0, 1.0).astype(np.float32)
    return as_events(ak.Array({"Jet": ak.zip(listed), "genWeight": weight}))


def fitted(events, model, device, steps=3, **options):
    """A generator that has learned on a device."""
    recipe = {
        "name": "toy",
        "model": MODELS[model],
        "observables": {"ht": "sum(Jet).pt"},
        "training": {"steps": steps, "batch_size": 256, "schedule": {"kind": "constant"}},
    }
    return hepgan.EventGenerator(recipe).fit(events, seed=1, device=device, **options)


@pytest.mark.parametrize("model", MODELS)
def test_a_model_makes_the_same_events_on_both(events, model, tmp_path):
    fitted(events, model, "cpu").save(tmp_path / "m.safetensors")
    one, other = (
        hepgan.EventGenerator.load(tmp_path / "m.safetensors", device=device).generate(3000, seed=2)
        for device in ("cpu", DEVICE)
    )
    assert ak.to_list(ak.num(one.Jet)) == ak.to_list(ak.num(other.Jet)), "the discrete part is exact"
    assert ak.all(one.Jet.tag == other.Jet.tag)
    for field in ("pt", "eta"):
        first, second = (ak.flatten(e.Jet[field]).to_numpy() for e in (one, other))
        assert np.mean(~np.isclose(first, second, rtol=1e-3, atol=1e-3)) < 1e-3


@pytest.mark.parametrize("model", MODELS)
def test_a_model_is_trained_there(events, model):
    generator = fitted(events, model, DEVICE, steps=20)
    assert generator.parts.device.type == DEVICE
    assert generator.history.status == "finished"
    losses = [n for n in generator.history.losses.names if n.endswith("/total")]
    assert all(np.isfinite(generator.history.losses[n]).all() for n in losses)
    made = generator.generate(1000, seed=1)
    assert ak.all(made.Jet.pt >= 20)


def test_blocks_of_generation_change_nothing(events):
    generator = fitted(events, "flow_matching", DEVICE)
    whole = generator.generate(10_000, seed=3)
    parts = [batch.to("cpu") for batch in generator.iterate(10_000, seed=3, step=4096)]
    made = ak.concatenate([to_awkward(batch) for batch in parts])
    assert ak.all(whole.Jet.tag == made.Jet.tag)
    assert ak.all(whole.Jet.pt == made.Jet.pt)


def test_a_training_goes_on_from_one_kind_of_device_to_the_other(events, tmp_path):
    checkpoint = tmp_path / "c.safetensors"
    fitted(events, "flow", DEVICE, steps=10, checkpoint=checkpoint)
    generator = fitted(events, "flow", "cpu", steps=20, checkpoint=checkpoint, resume=True)
    assert len(generator.history.losses) == 20
