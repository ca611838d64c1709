"""Files with fields that have a shape, on their whole way: a calorimeter of three layers, and waveforms."""

from __future__ import annotations

from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot
from grid_toys import SHAPES, pulses, showers

import hepgan
from hepgan.recipes import draft, load_recipe
from hepgan.recipes.document import parse_yaml

SMALL = (
    "model.network={kind: residual, width: 32, blocks: 1}",
    "model.steps=2",
    "training.steps=40",
    "training.batch_size=128",
)


def file_of(path: Path, columns) -> str:
    with uproot.recreate(path) as file:
        file.mktree("Events", {n: np.dtype((v.dtype, v.shape[1:])) for n, v in columns.items()})
        file["Events"].extend(columns)
    return f"{path}:Events"


def fitted(file, *settings, drafted=None):
    text = draft(file, name="drafted").text if drafted is None else drafted
    recipe = load_recipe(parse_yaml(text, "drafted")).with_settings([*SMALL, *settings])
    return hepgan.EventGenerator(recipe).fit(hepgan.read_events(file), seed=1, device="cpu")


@pytest.fixture(scope="module")
def calorimeter(tmp_path_factory) -> str:
    return file_of(tmp_path_factory.mktemp("calorimeter") / "showers.root", showers(1500))


@pytest.fixture(scope="module")
def generator(calorimeter):
    return fitted(calorimeter, "conditions=[energy]", "features.bounds={}")


def test_a_draft_tells_of_layers_and_looks_at_their_sums_and_widths(calorimeter):
    found = draft(calorimeter, name="drafted")
    text = found.text
    for name, (rows, columns) in SHAPES.items():
        assert f"- {{kind: grid, fields: {name}, sums: true}}" in text
        assert f"{name}: {rows} x {columns} cells, contents from 0 to" in text
        for observable in ("sum", "max", "filled", "index0", "index0_width", "index1", "index1_width"):
            assert f"  {name}_{observable}: " in text
    assert "select: []    # everything" in text
    recipe = load_recipe(parse_yaml(text, "drafted"))
    events = hepgan.read_events(calorimeter)
    observables = recipe.make_observables()
    image = ak.to_numpy(events.layer_1).astype(np.float64)
    place = np.arange(12)
    share = image.sum(2) / image.sum((1, 2))[:, None]
    mean = share @ place
    width = np.sqrt(share @ place**2 - mean**2)
    np.testing.assert_allclose(observables["layer_1_sum"].column(events), image.sum((1, 2)), rtol=1e-5)
    np.testing.assert_allclose(observables["layer_1_index0"].column(events), mean, rtol=1e-5)
    np.testing.assert_allclose(observables["layer_1_index0_width"].column(events), width, atol=1e-3)
    told = {line[0]: line[1] for line in found.told}
    assert told["layer_2"].startswith("12 x 6 cells")


def test_generated_layers_have_the_layout_threshold_and_sums_of_true_ones(generator, calorimeter, tmp_path):
    true = hepgan.read_events(calorimeter)
    made = generator.generate(600, seed=2, condition={"energy": 50.0})
    assert set(made.fields) == set(true.fields)
    for name, shape in SHAPES.items():
        image, training = ak.to_numpy(made[name]), ak.to_numpy(true[name])
        assert image.shape == (600, *shape)
        assert image.dtype == np.float32
        assert image.min() == 0.0
        assert image[image > 0].min() >= training[training > 0].min() * (1 - 1e-6)
        never = (training == 0).all(0)
        assert not image[:, never].any()
    path = tmp_path / "generated.root"
    hepgan.write_events(path, made)
    again = hepgan.read_events(f"{path}:Events")
    for name in SHAPES:
        np.testing.assert_array_equal(ak.to_numpy(again[name]), ak.to_numpy(made[name]))


def test_a_seed_gives_the_same_images_whatever_their_number(generator):
    few = generator.generate(50, seed=3)
    many = generator.generate(4200, seed=3)
    for name in SHAPES:
        np.testing.assert_array_equal(ak.to_numpy(few[name]), ak.to_numpy(many[name])[:50])


def test_a_model_of_layers_is_saved_and_judged(generator, calorimeter, tmp_path):
    path = tmp_path / "model.safetensors"
    generator.save(path)
    loaded = hepgan.EventGenerator.load(path, device="cpu")
    a, b = (g.generate(100, seed=4) for g in (generator, loaded))
    np.testing.assert_array_equal(ak.to_numpy(a.layer_0), ak.to_numpy(b.layer_0))
    true = hepgan.read_events(calorimeter)
    observables = generator.recipe.make_observables()
    comparison = hepgan.compare(
        true, generator.generate(1000, seed=5), observables=observables, classifier=False
    )
    found = comparison.metrics
    assert "layer_1_sum" in str(found)
    with pytest.raises(hepgan.errors.HepganError, match="have no density: cells of layer_0"):
        generator.log_prob(true[:10])


@pytest.mark.parametrize("kind", ["autoencoder", "gan"])
def test_other_families_make_layers_too(kind, calorimeter):
    network = "{kind: mlp, widths: [32]}"
    model = {
        "autoencoder": f"model={{kind: autoencoder, latent: 8, encoder: {network}, decoder: {network}}}",
        "gan": f"model={{kind: gan, noise: 16, generator: {network}, critics: [{{network: {network}}}]}}",
    }[kind]
    kept = [
        f"{{kind: grid, fields: {n}, transforms: {{{n}: {{kind: rectified, zeros: kept}}}}}}" for n in SHAPES
    ]
    recipe = load_recipe(parse_yaml(draft(calorimeter, name="drafted").text, "drafted"))
    recipe = recipe.with_settings(
        [
            "conditions=[energy]",
            "features.bounds={}",
            model,
            "training.steps=30",
            "training.batch_size=64",
            *([f"features.blocks=[{', '.join(kept)}]"] if kind == "gan" else []),
        ]
    )
    made = hepgan.EventGenerator(recipe).fit(hepgan.read_events(calorimeter), seed=1, device="cpu")
    image = ak.to_numpy(made.generate(300, seed=1).layer_1)
    assert image.min() == 0.0
    assert 0.0 < (image > 0).mean() < 1.0


def test_waveforms_and_counts_are_learned_and_stay_what_they_are(tmp_path):
    columns = pulses(1500)
    file = file_of(tmp_path / "pulses.root", columns)
    made = fitted(file).generate(500, seed=1)
    adc, wave = ak.to_numpy(made.adc), ak.to_numpy(made.wave)
    assert adc.dtype == np.int16
    assert adc.shape == wave.shape == (500, 30)
    assert adc.min() >= columns["adc"].min()
    assert adc.max() <= columns["adc"].max()
    assert wave.dtype == np.float32
    assert wave.min() < 0
