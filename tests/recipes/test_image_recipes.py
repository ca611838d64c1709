"""The recipes of published generators of jet images."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest
import torch

from hepgan.events import read_events
from hepgan.features.space import Classes, FeatureBatch, FeatureSpace, Grid
from hepgan.generator import EventGenerator, sampling
from hepgan.learners import new_learner
from hepgan.networks import BatchNorm
from hepgan.networks.convolution import Convolution, LocallyConnected
from hepgan.recipes import load_recipe
from hepgan.training import Trainer

NAMES = ["lagan", "dcgan", "hybrid-gan", "fcgan"]
SPACE = FeatureSpace(625, 2, grid=Grid((25, 25)), classes=(Classes("label", 2, first=0),))


@pytest.fixture(scope="module")
def images(shared_data):
    return read_events(f"{shared_data}/jet_images_train.root:Events", entry_stop=300)


def learner(name):
    torch.manual_seed(0)
    return new_learner(load_recipe(name).model, SPACE, lambda f: f)


def test_lagan_has_the_layers_that_are_published():
    found = learner("lagan")
    generator, critic = found.model.generator, found.critics[0]
    assert generator.factor.out_features == found.model.noise_size == 200
    layers = [m for m in generator.modules() if isinstance(m, Convolution | LocallyConnected)]
    assert [(type(m), m.outputs, m.kernel, m.out_shape) for m in layers] == [
        (Convolution, 64, (5, 5), (7, 7)),
        (LocallyConnected, 6, (5, 5), (14, 14)),
        (LocallyConnected, 6, (3, 3), (26, 26)),
        (LocallyConnected, 1, (2, 2), (25, 25)),
    ]
    layers = [m for m in critic.modules() if isinstance(m, Convolution | LocallyConnected)]
    assert [(type(m), m.outputs, m.kernel, m.out_shape) for m in layers] == [
        (Convolution, 32, (5, 5), (25, 25)),
        (LocallyConnected, 8, (5, 5), (13, 13)),
        (LocallyConnected, 8, (5, 5), (13, 13)),
        (LocallyConnected, 8, (3, 3), (7, 7)),
    ]
    # Means of 2 x 2 leave 3 x 3 of 8 channels, and 20 features of the batch.
    added, last = critic.network.leave
    assert (added.map.in_features, added.map.out_features) == (72, 20 * 10)
    assert (last.in_features, last.out_features) == (92, 1 + 2)


@pytest.mark.parametrize("name", NAMES)
def test_critics_tell_classes_that_they_are_not_given(name):
    found = learner(name)
    critic = found.critics[0]
    assert critic.context_size == 0
    assert critic.apart
    assert [(h.name, h.classes.size) for h in critic.heads] == [("critic_label", 2)]
    assert any(isinstance(m, BatchNorm) for m in found.model.modules())
    kinds = {type(m) for m in found.modules() if isinstance(m, Convolution | LocallyConnected)}
    expected = {"dcgan": {Convolution}, "fcgan": set()}
    assert kinds == expected.get(name, {Convolution, LocallyConnected})


@pytest.mark.parametrize("name", NAMES)
def test_generators_make_images_that_are_never_negative_after_a_step(name):
    found = learner(name)
    x = torch.relu(torch.randn(30, 625) - 1.5)
    context = torch.eye(2)[torch.arange(30) % 2]
    batch = FeatureBatch(x, None, torch.zeros(30, 0).long(), context, context, torch.ones(30))
    settings = load_recipe(name).training.model_copy(update={"steps": 1, "batch_size": 20})
    history = Trainer(found, batch, settings).run()
    assert {"critic/critic_label_accuracy", "generator/critic_label"} <= {*history.losses.names}
    with torch.no_grad():
        made = found.model.sample(torch.randn(30, 200), context, None)
        again = found.model.sample(torch.ones(5, 200), context[:5], None)
        alone = found.model.sample(torch.ones(1, 200), context[:1], None)
    assert made.shape == (30, 625)
    assert bool((made >= 0).all())
    assert bool((made > 0).any())
    torch.testing.assert_close(again[:1], alone)


def test_images_are_made_of_constituents_learned_and_generated(images, tmp_path, monkeypatch):
    # What a generator makes after two steps is not drawn anew for long.
    monkeypatch.setattr(sampling, "STUBBORN", 1)
    recipe = load_recipe("fcgan").with_settings(["training.steps=2", "training.batch_size=50"])
    generator = EventGenerator(recipe).fit(images, seed=1, progress=False)
    made = generator.generate(40, seed=3, condition={"label": 1})
    assert {*made.fields} == {"Image", "label"}
    contents = ak.to_numpy(made.Image)
    assert contents.shape == (40, 25, 25)
    assert np.all(contents >= 0)
    assert np.any(contents > 0)
    assert np.all(ak.to_numpy(made.label) == 1)
    # A cell that no training image has filled is empty, and does not make an image a wrong one.
    filled = ak.to_numpy(recipe.events.preparation(images).Image).max(0) > 0
    assert np.all(contents[:, ~filled] == 0)
    ends = torch.tensor(generator.parts.representation.space.reach)
    assert torch.equal(ends[:, 1].isinf(), torch.from_numpy(~filled.ravel()))
    generator.save(tmp_path / "model.safetensors")
    again = EventGenerator.load(tmp_path / "model.safetensors")
    same = again.generate(30, seed=3, condition={"label": 1})
    np.testing.assert_array_equal(ak.to_numpy(same.Image), contents[:30])
