"""What the recipe for jets' constituents promises of every event, after next to no training."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest

from hepgan.events import read_events
from hepgan.generator import EventGenerator
from hepgan.observables import Observable
from hepgan.recipes import load_recipe

QUICK = ["training.steps=2", "training.batch_size=32", "model.network.width=8", "model.steps=1"]


@pytest.fixture(scope="module")
def jets(shared_data):
    return read_events(f"{shared_data}/jet_images_train.root:Events", entry_stop=400)


def test_constituents_descend_and_their_image_has_any_resolution(jets, monkeypatch):
    monkeypatch.setattr("hepgan.learners.discrete.STEPS", 30)
    grid = "grid(Aligned, phi=dphi, eta=deta, bins=(5, 10), low=-1.25, high=1.25)"
    for settings, shape in (((), (25, 25)), ([f"events.derived.Image={grid}"], (5, 10))):
        recipe = load_recipe("jet-constituents").with_settings([*QUICK, *settings])
        made = (
            EventGenerator(recipe)
            .fit(jets, seed=1, device="cpu")
            .generate(100, seed=2, condition={"label": np.arange(100) % 2})
        )
        assert {*made.fields} == {"Aligned", "Image", "label"}
        pt = made.Aligned.pt
        assert ak.all(pt[:, 1:] <= pt[:, :-1])
        image = ak.to_numpy(made.Image)
        assert image.shape == (100, *shape)
        found = Observable("x", recipe.events.derived["Image"])(made)
        np.testing.assert_allclose(image.reshape(100, -1), ak.to_numpy(found), rtol=1e-6)
        assert (made.label.to_numpy() == np.arange(100) % 2).all()
        for observable in recipe.make_observables().values():
            values = observable.flat(made)[0]
            assert np.isfinite(np.asarray(values, dtype=float)).all()
