"""Sparse images in a draft: lists of their cells."""

from __future__ import annotations

import numpy as np
import pytest
import uproot

import hepgan
from hepgan.recipes import draft, load_recipe
from hepgan.recipes.document import parse_yaml

N = 600


def images(filled=6, seed=1):
    rng = np.random.default_rng(seed)
    made = np.zeros((N, 100), dtype=np.float32)
    for row in made:
        number = rng.integers(1, filled + 1)
        row[rng.permutation(100)[:number]] = 0.5 + rng.exponential(5, number)
    return made.reshape(N, 10, 10)


def written(tmp_path, **columns):
    with uproot.recreate(tmp_path / "images.root") as file:
        types = {n: (v.dtype, v.shape[1:]) if v.ndim > 1 else v.dtype for n, v in columns.items()}
        file.mktree("Events", types).extend(columns)
    return str(tmp_path / "images.root")


def test_an_image_of_mostly_empty_cells_is_a_list_that_trains_as_drafted(tmp_path):
    energy = np.random.default_rng(2).uniform(10, 50, N).astype(np.float32)
    file = written(tmp_path, Image=images(), energy=energy)
    text = draft(file, name="drafted").text
    assert "totals: [sum, mean_index0, spread_index0, mean_index1, spread_index1]" in text
    assert "Nearly all cells of Image are empty" in text
    recipe = load_recipe(parse_yaml(text, "drafted"))
    assert recipe.model.kind == "sequence"
    recipe = recipe.with_settings(["training.steps=3", "model.width=8", "model.flow.blocks=1"])
    made = hepgan.EventGenerator(recipe).fit(hepgan.read_events(file), seed=1).generate(200, seed=1)
    image = made.Image.to_numpy()
    assert image.shape == (200, 10, 10)
    assert set((image > 0).sum((1, 2))) <= set(range(1, 7))
    assert image[image > 0].min() >= 0.5


@pytest.mark.parametrize(
    "columns",
    [
        {"Image": images(filled=60)},
        {"Image": images(), "Other": images(seed=2)},
        {"Image": images() - 1},
        {"Image": np.round(images()).astype(np.int32)},
        {"Image": images()[:, :5, :5]},
    ],
    ids=["full", "two", "negative", "whole", "small"],
)
def test_other_arrays_have_a_column_a_cell(tmp_path, columns):
    recipe = load_recipe(parse_yaml(draft(written(tmp_path, **columns), name="drafted").text, "drafted"))
    assert {block.kind for block in recipe.features.blocks} == {"grid"}
    assert recipe.model.kind == "flow_matching"
