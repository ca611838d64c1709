"""Images as lists of their non-empty cells."""

from __future__ import annotations

import math

import awkward as ak
import numpy as np
import pytest
import torch

from hepgan.errors import InputError, RecipeError
from hepgan.events import schema_of, to_batch
from hepgan.events.memory import as_events
from hepgan.events.shapes import with_grids
from hepgan.features import FeaturesConfig, Representation
from hepgan.observables.evaluate import evaluate
from hepgan.observables.language import parse
from hepgan.observables.sources import BatchSource

N, SHAPE = 400, (4, 5)
TOTALS = ("sum", "mass", "pt", "mean_phi", "spread_eta")
GRIDS = {"Image": {"phi": [-0.8, 0.8], "eta": [-1.0, 1.0]}}


def images(fewest=0, most=9, seed=1, least=0.1):
    """Sparse images, the first of them empty if any may be."""
    rng = np.random.default_rng(seed)
    number = rng.integers(fewest, most + 1, N)
    number[:2] = fewest, most
    content = (least * np.exp(rng.gamma(2.0, 0.5, (N, 20)))).astype("float32")
    rank = rng.random((N, 20)).argsort(1).argsort(1)
    return np.where(rank < number[:, None], content, 0).astype("float32").reshape(N, *SHAPE)


def events_of(array):
    image = ak.from_numpy(array, regulararray=True)
    return as_events(ak.Array({"Image": image, "x": np.arange(len(array)) % 7 + 0.5}))


def represent(array, block=None, grids=GRIDS):
    events = events_of(array)
    schema = with_grids(schema_of(events), grids) if grids else schema_of(events)
    batch = to_batch(events, schema)
    config = FeaturesConfig.model_validate({"blocks": [{"kind": "cells", "field": "Image", **(block or {})}]})
    return Representation(config, schema).fit(batch), batch


@pytest.mark.parametrize(("fewest", "most"), [(0, 9), (3, 9), (5, 5)])
def test_images_come_back_bit_for_bit(fewest, most):
    array = images(fewest, most)
    representation, batch = represent(array, {"totals": TOTALS})
    features = representation.encode(batch).to(dtype=torch.float32)
    back = representation.decode(features).scalars["Image"]
    assert back.shape == (N, *SHAPE)
    assert np.array_equal(back.to(torch.float32).numpy(), array)
    cells = representation.space.cells
    assert (cells.most, len(cells.middles)) == (most, 20)
    if features.mask is not None:
        number = features.mask[:, list(cells.features)][:, ::2].sum(1)
        assert number.tolist() == (array > 0).sum((1, 2)).tolist()


def test_cells_descend_and_totals_are_those_of_massless_cells():
    array = images()
    representation, batch = represent(array, {"totals": TOTALS})
    features = representation.encode(batch)
    cells = representation.space.cells
    content = features.x[:, list(cells.features)][:, 1::2]
    assert bool((content[:, 1:] <= content[:, :-1]).all())
    raw = representation.codec.standard.inverse(features.x)
    some = array.sum((1, 2)) > 0
    for k, text in enumerate(("sum(cells(Image).pt)", "sum(cells(Image)).mass", "sum(cells(Image)).pt")):
        expected = evaluate(parse(text), BatchSource(batch)).data.numpy()
        np.testing.assert_allclose(raw[some, k].numpy(), expected[some], rtol=1e-5, atol=1e-3)
    phi = -0.8 + (np.arange(4) + 0.5) * 0.4
    mean = (array.sum(2) * phi).sum(1)[some] / array.sum((1, 2))[some]
    np.testing.assert_allclose(raw[some, 3].numpy(), mean, atol=1e-6)
    eta = -1.0 + (np.arange(5) + 0.5) * 0.4
    p = array.sum(1)[some] / array.sum((1, 2))[some, None]
    spread = np.sqrt(np.maximum((p * eta**2).sum(1) - (p * eta).sum(1) ** 2, 0))
    np.testing.assert_allclose(raw[some, 4].numpy(), spread, atol=1e-4)


def test_models_know_totals_by_their_features():
    representation, batch = represent(images(), {"totals": ("sum", "pt")})
    x = representation.encode(batch).x
    raw = representation.codec.standard.inverse(x)
    for k, total in enumerate(representation.space.cells.totals):
        grid = np.linspace(-6, 6, len(total.knots))
        near = np.interp(x[:, total.feature].numpy(), grid, total.knots)
        off = np.abs(near - raw[:, k].numpy()) / total.spread
        # The largest numbers are far apart, and between them lines are straight.
        assert np.quantile(off, 0.98) < 0.02
        assert off.max() < 0.3
        assert math.isclose(total.spread, float(raw[:, k].std(correction=0)), rel_tol=1e-6)


def test_axes_without_names_are_indices():
    representation, batch = represent(images(), {"totals": ("mean_index1",)}, grids=None)
    assert representation.space.cells.axes == ("index0", "index1")
    back = representation.decode(representation.encode(batch)).scalars["Image"]
    assert torch.equal(back.to(torch.float32), batch.scalars["Image"].to(torch.float32))


def test_whatever_features_are_no_content_is_below_the_least():
    array = images(3, 9)
    representation, batch = represent(array)
    features = representation.encode(batch)
    wild = features.with_x(torch.where(features.mask, 30 * torch.randn_like(features.x), 0.0))
    back = representation.decode(wild).scalars["Image"]
    assert float(back[back > 0].min()) >= array[array > 0].min()
    assert bool((back.flatten(1) >= 0).all())


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda a: a.__setitem__((5, 1, 1), -1.0), "a cell of Image is negative"),
        (lambda a: a.__setitem__((5, 1, 1), np.nan), "a cell of Image is not finite"),
    ],
)
def test_contents_that_are_none_are_refused(change, text):
    array = images()
    change(array)
    with pytest.raises(InputError, match=text) as error:
        represent(array)
    assert error.value.entry == 5


def test_images_that_cannot_be_are_refused():
    array = images(3, 7)
    representation, _ = represent(array)
    for image, text in (
        (images(9, 9)[:1], "9 cells of Image are not empty, but 3 to 7"),
        (np.where(images(5, 5) > 0, images(5, 5) * 1e4, 0)[:1].astype("float32"), "more than the largest"),
        (np.where(images(5, 5) > 0, 0.01, 0)[:1].astype("float32"), "less than the least content"),
    ):
        with pytest.raises(InputError, match=text):
            representation.encode(to_batch(events_of(image), representation.schema))


@pytest.mark.parametrize(
    ("block", "text"),
    [
        ({"totals": ("energy",)}, "Image has no total 'energy'; there are sum, mean_phi"),
        ({"field": "x"}, "x is one number, and a list of cells is of a field with a shape"),
        ({"field": "Imag"}, "no 'Imag'"),
        ({"totals": ("sum",), "transforms": {"mass": "quantile"}}, "'mass' is no total of Image"),
    ],
)
def test_blocks_that_do_not_fit_are_refused(block, text):
    with pytest.raises(RecipeError, match=text):
        represent(images(), block)


def test_nothing_is_learned_of_images_without_cells():
    with pytest.raises(RecipeError, match="all cells of Image are empty"):
        represent(np.zeros((N, *SHAPE), "float32"))
