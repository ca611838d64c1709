"""By what a generator has learned is there again when it comes from a file."""

from __future__ import annotations

from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import torch
from safetensors import safe_open

from hepgan import EventGenerator
from hepgan.errors import RecipeError
from hepgan.events import to_batch
from hepgan.generator.refinement import refine
from hepgan.learners import Critics, GuidedLearner
from hepgan.training import Trainer, TrainingConfig

FORMAT_1 = Path(__file__).parents[1] / "data" / "format1"
MLP = {"kind": "mlp", "widths": [8]}
CRITICS = [
    {"name": "judge", "features": False, "observables": ["product"], "network": MLP},
    {"name": "other", "network": MLP, "loss": "wgan"},
]
MODELS = {
    "gan": {"kind": "gan", "generator": MLP, "critics": CRITICS},
    "hybrid": {"kind": "flow", "blocks": 1, "network": MLP, "critics": CRITICS},
}


def events(n=400, seed=1):
    x, y = np.random.default_rng(seed).normal(size=(2, n))
    return ak.zip({"x": x.astype(np.float32), "y": (x + y).astype(np.float32)})


def fitted(kind, members=1):
    recipe = {
        "name": "toy",
        "model": MODELS[kind],
        "observables": {"product": "x * y"},
        "training": {"steps": 3, "batch_size": 64, "members": members},
    }
    return EventGenerator(recipe).fit(events(), seed=1, device="cpu")


def features_of(generator):
    parts = generator.parts
    return parts.representation.encode(to_batch(events(), parts.derived.learned)).to(dtype=torch.float32)


@pytest.mark.parametrize("kind", MODELS)
def test_a_generator_from_a_file_goes_on_learning_by_its_critics_of_observables(kind, tmp_path):
    generator = fitted(kind)
    generator.save(tmp_path / "m.safetensors")
    ends = []
    for made in (generator, EventGenerator.load(tmp_path / "m.safetensors", device="cpu")):
        learner = made.parts.learner(made.recipe)
        assert isinstance(learner, GuidedLearner)
        assert [c.config.name for c in learner.critics] == ["judge", "other"]
        data = features_of(made)
        Trainer(learner, data, TrainingConfig(steps=2, batch_size=64), seed=3).run()
        ends.append(learner.state_dict())
    for name, tensor in ends[0].items():
        assert torch.equal(tensor, ends[1][name]), name
    assert float(ends[0]["critics.0.std"][0]) != 1.0


def test_a_member_has_its_own_critics_and_keeps_them_in_its_file(tmp_path):
    generator = fitted("gan", members=2)
    generator.save(tmp_path / "all.safetensors")
    whole = EventGenerator.load(tmp_path / "all.safetensors", device="cpu")
    assert isinstance(whole.parts.critics, Critics)
    first, second = (whole.member(k).parts.critics.state_dict() for k in range(2))
    assert not torch.equal(first["1.network.layers.0.weight"], second["1.network.layers.0.weight"])
    whole.member(1).save(tmp_path / "one.safetensors")
    alone = EventGenerator.load(tmp_path / "one.safetensors", device="cpu")
    for name, tensor in alone.parts.critics.state_dict().items():
        assert torch.equal(tensor, second[name]), name
        assert torch.equal(tensor, generator.member(1).parts.critics.state_dict()[name]), name


def test_a_refined_generator_keeps_the_critics_of_its_model_and_learns_no_more(tmp_path):
    generator = fitted("hybrid")
    few = ("training.steps=2", "training.batch_size=64", "training.max_time=null")
    refine(generator, lambda e: np.ones(len(e)), events=300, settings=few).save(tmp_path / "m.safetensors")
    loaded = EventGenerator.load(tmp_path / "m.safetensors", device="cpu")
    own = generator.parts.critics.state_dict()
    assert {n: t.tolist() for n, t in loaded.parts.critics.state_dict().items()} == {
        n: t.tolist() for n, t in own.items()
    }
    with pytest.raises(RecipeError, match="a refined model does not learn from events"):
        loaded.parts.learner(loaded.recipe)


@pytest.mark.parametrize(
    ("name", "owner", "place"),
    [("drell-yan-paper", "model.critics.", ""), ("cfat-gan-x2", "model.stacked.critics.", "stacked.")],
)
def test_critics_of_a_file_of_version_0_1_are_read(name, owner, place):
    path = FORMAT_1 / f"{name}.safetensors"
    critics = EventGenerator.load(path, device="cpu").parts.critics.state_dict()
    with safe_open(path, "pt") as file:
        kept = {
            place + n.removeprefix(owner): file.get_tensor(n)
            for n in file.keys()  # noqa: SIM118
            if n.startswith(owner)
        }
    assert kept.keys() == critics.keys()
    assert all(torch.equal(kept[n], t) for n, t in critics.items())
