"""Training events with weights of either sign."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from toys import dimuons

from hepgan import EventGenerator
from hepgan.events import schema_of, to_batch
from hepgan.features import FeaturesConfig, Representation
from hepgan.generator.signed import with_positive_weights


@pytest.fixture(scope="module")
def encoded():
    events = dimuons(3000, seed=1, weighted=True)
    representation = Representation(FeaturesConfig(), schema_of(events))
    batch = to_batch(events, schema_of(events))
    return representation.fit(batch), representation.encode(batch)


def test_models_learn_from_weights_that_are_not_negative(encoded):
    representation, features = encoded
    assert bool((features.weight < 0).any())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = with_positive_weights(representation, features)
    assert bool((found.weight >= 0).all())
    assert float(found.weight.sum()) == pytest.approx(float(features.weight.sum()))
    assert found.x is features.x


def test_a_density_that_is_negative_somewhere_is_told_with_the_place(encoded):
    representation, features = encoded
    name = "MET.px" if "MET.px" in representation.names else representation.names[0]
    column = representation.columns(features.x)[:, representation.names.index(name)]
    low, high = np.quantile(column.numpy(), [0.4, 0.6])
    weight = torch.where((column > low) & (column < high), -1.0, 1.0).to(features.weight)
    changed = features.map(lambda t: weight if t is features.weight else t)
    with pytest.warns(UserWarning, match=rf"less than nothing in .*{name} from .* to .*20.0% of the weights"):
        found = with_positive_weights(representation, changed)
    inside = (column > low) & (column < high)
    assert float(found.weight[inside].sum()) < 0.05 * float(found.weight.sum())


def test_weights_that_are_positive_stay(encoded):
    representation, features = encoded
    changed = features.map(lambda t: t.abs() if t is features.weight else t)
    assert with_positive_weights(representation, changed) is changed


def test_a_generator_learns_from_such_weights():
    model = {"kind": "flow_matching", "network": {"kind": "mlp", "widths": [16]}}
    recipe = {"name": "toy", "model": model, "training": {"steps": 2, "batch_size": 64}}
    generator = EventGenerator(recipe).fit(dimuons(500, seed=1, weighted=True), device="cpu")
    assert generator.history is not None
    assert generator.history.losses["velocity/velocity"].min() > 0
