"""What the recipes for jets promise of every event, after next to no training."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest

from hepgan.events import read_events, write_events
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


def test_images_have_no_pixel_twice_and_none_below_the_least(jets, monkeypatch, tmp_path):
    monkeypatch.setattr("hepgan.learners.discrete.STEPS", 30)
    settings = ["training.steps=3", "training.batch_size=32", "model.width=16", "model.flow.blocks=1"]
    recipe = load_recipe("jet-images").with_settings(settings)
    # Reading keeps what is learned alone: not the constituents, nor what they are on the way to images.
    known = recipe.events.preparation.read(jets_file(tmp_path, jets), branches=recipe.branches)
    assert {*known.fields} == {"Image", "label"}
    generator = EventGenerator(recipe).fit(known, seed=1, device="cpu")
    again = EventGenerator(recipe).fit(known, seed=1, device="cpu")
    assert generator.digest() == again.digest(), "the same seed gives the same model"
    classes = np.arange(100) % 2
    made = generator.generate(100, seed=2, condition={"label": classes})
    image, true = (ak.to_numpy(e.Image) for e in (made, known))
    assert image.shape == (100, 25, 25)
    assert image.min() == 0
    assert image[image > 0].min() >= true[true > 0].min()
    counts = (true > 0).sum((1, 2))
    assert (((image > 0).sum((1, 2)) >= counts.min()) & ((image > 0).sum((1, 2)) <= counts.max())).all()
    assert (made.label.to_numpy() == classes).all()
    generator.save(tmp_path / "m.safetensors")
    loaded = EventGenerator.load(tmp_path / "m.safetensors", device="cpu")
    same = loaded.generate(100, seed=2, condition={"label": classes})
    assert ak.all(same.Image == made.Image)
    few = loaded.generate(40, seed=2, condition={"label": classes[:40]})
    assert ak.all(few.Image == made.Image[:40])


def jets_file(folder, jets):
    """A file with these jets."""
    write_events(folder / "jets.root", jets)
    return folder / "jets.root"
