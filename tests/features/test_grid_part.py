"""Fields with a shape as features: a column for each cell."""

from __future__ import annotations

import json
import math

import pytest
import torch

from hepgan.errors import InputError, RecipeError
from hepgan.events.batch import EventBatch
from hepgan.events.schema import Axis, EventSchema, Field
from hepgan.features import Representation
from hepgan.features.config import FeaturesConfig
from hepgan.features.measure import Measure
from hepgan.features.space import Grid

TURN = (Axis(name="phi", low=-math.pi, high=math.pi), Axis(name="eta", low=-1.0, high=1.0))


def field(name, shape=(), dtype="float32", axes=()):
    return Field(name=name, branches=(name,), dtype=dtype, shape=shape, axes=axes)


SCHEMA = EventSchema(
    collections=(),
    scalars=(
        field("energy"),
        field("image", (5, 4), axes=TURN),
        field("other", (5, 4)),
        field("adc", (6,), "int16"),
        field("wave", (8,)),
        field("lit", (3,), "bool"),
    ),
)


def events(n=1500, seed=1):
    """Sparse images above a threshold, counts, and waveforms of either sign; some cells never vary."""
    rng = torch.Generator().manual_seed(seed)
    energy = 10.0 + 90.0 * torch.rand(n, generator=rng, dtype=torch.float64)

    def image():
        filled = torch.rand(n, 5, 4, generator=rng) < torch.linspace(0.0, 0.9, 20).reshape(5, 4)
        content = 0.2 + torch.randn(n, 5, 4, generator=rng, dtype=torch.float64).exp()
        return torch.where(filled, content, 0.0)

    adc = torch.poisson(torch.full((n, 6), 2.0), generator=rng).long()
    adc[:, 3] = 7
    wave = torch.randn(n, 8, generator=rng, dtype=torch.float64) + energy[:, None] / 50
    wave[:, 0] = 1.5
    lit = torch.rand(n, 3, generator=rng) < 0.4
    scalars = {"energy": energy, "image": image(), "other": image(), "adc": adc, "wave": wave, "lit": lit}
    return EventBatch(SCHEMA, {}, scalars)


def fitted(batch=None, conditions=(), **settings):
    batch = events() if batch is None else batch
    return Representation(FeaturesConfig(**settings), batch.schema, conditions).fit(batch)


BLOCKS = {
    "usual": [],
    "alike": [
        {"kind": "grid", "fields": "image", "transforms": {"image": {"kind": "rectified", "shared": True}}},
        {
            "kind": "grid",
            "fields": "wave",
            "transforms": {"wave": {"kind": "quantile_table", "shared": True}},
        },
    ],
    "sums": [
        {
            "kind": "grid",
            "fields": ["image", "other"],
            "sums": True,
            "transforms": {"other:sum": "standardise"},
        }
    ],
    "channels": [{"kind": "grid", "fields": ["image", "other"]}],
    "for a GAN": [
        {
            "kind": "grid",
            "fields": ["image", "other"],
            "transforms": {k: {"kind": "rectified", "zeros": "kept"} for k in ("image", "other")},
        },
        {"kind": "grid", "fields": "wave", "transforms": {"wave": "standardise"}},
    ],
}


@pytest.mark.parametrize("blocks", BLOCKS.values(), ids=BLOCKS)
def test_contents_come_back_and_stay_what_they_are_whatever_a_network_makes(blocks):
    batch = events()
    representation = fitted(batch, blocks=blocks)
    features = representation.encode(batch)
    sums = 2 if blocks and blocks[0].get("sums") else 0
    assert features.x.shape == (1500, sums + 1 + 20 + 20 + 6 + 8 + 3)
    assert features.mask is None
    assert bool(torch.isfinite(features.x).all())
    back = representation.decode(features)
    for name, value in batch.scalars.items():
        torch.testing.assert_close(back.scalars[name].to(value.dtype), value, rtol=1e-7, atol=1e-7)

    rng = torch.Generator().manual_seed(3)
    x = 3.0 * torch.randn(features.x.shape, generator=rng, dtype=torch.float64)
    x.requires_grad_()
    made = representation.decode(features.with_x(x))
    for name in ("image", "other"):
        contents = made.scalars[name].detach()
        assert contents.shape == (1500, 5, 4)
        assert float(contents.min()) == 0.0
        assert float(contents[contents > 0].min()) >= float(batch.scalars[name][batch.image > 0].min()) - 0.2
        least = float(batch.scalars[name][batch.scalars[name] > 0].min())
        assert float(contents[contents > 0].min()) >= least
        # The first cell is never filled.
        if not sums:
            assert bool((contents[:, 0, 0] == 0).all())
    assert made.adc.dtype == torch.int64
    assert set(made.adc.unique().tolist()) <= set(range(int(batch.adc.max()) + 1))
    assert bool((made.adc[:, 3] == 7).all())
    assert bool((made.wave[:, 0] == 1.5).all())
    assert set(made.lit.unique().tolist()) == {0, 1}
    (slope,) = torch.autograd.grad(made.image.sum(), x)
    assert bool(torch.isfinite(slope).all())
    assert float(slope.abs().sum()) > 0


def test_sums_are_those_that_are_learned_whatever_the_cells():
    batch = events()
    representation = fitted(batch, blocks=BLOCKS["sums"])
    assert representation.names[:2] == ("image:sum", "other:sum")
    x = 3.0 * torch.randn(1500, representation.size, generator=torch.Generator().manual_seed(3)).double()
    features = representation.encode(batch).with_x(x)
    sums = representation.columns(x)[:, 0]
    contents = representation.decode(features).image.flatten(1)
    least = float(batch.image[batch.image > 0].min())
    torch.testing.assert_close(contents.sum(1), torch.where(sums > 0, sums.clamp(min=least), 0.0))
    assert float(contents[contents > 0].min()) >= least
    # Even where no cell is above its threshold, or too many are for the sum.
    for value in (-9.0, 9.0):
        x[:, 2:] = value + 0.01 * x[:, 2:]
        contents = representation.decode(features.with_x(x)).image.flatten(1)
        torch.testing.assert_close(contents.sum(1), torch.where(sums > 0, sums.clamp(min=least), 0.0))
        assert float(contents[contents > 0].min()) >= least * (1 - 1e-12)


def test_features_are_alike_for_networks_and_belong_to_the_event_wherever_it_stands():
    batch = events()
    representation = fitted(batch)
    x = representation.encode(batch).x[:, 1:]
    assert float(x.mean(0).abs().max()) < 0.12
    assert float((x.std(0) - 1.0).abs().max()) < 0.12
    order = torch.randperm(len(batch), generator=torch.Generator().manual_seed(2))
    assert torch.equal(representation.encode(batch[order]).x[:, 1:], x[order])
    # Empty cells of one event do not follow from each other.
    empty = x[:, :4]
    assert float(torch.corrcoef(empty.T).fill_diagonal_(0.0).abs().max()) < 0.1


def test_networks_are_told_of_the_image_and_its_closed_axes():
    assert fitted(blocks=BLOCKS["channels"]).space.grid == Grid((5, 4), 2, 0, (True, False))
    assert fitted(blocks=BLOCKS["sums"]).space.grid == Grid((5, 4), 2, 2, (True, False))
    with_others_first = [{"kind": "fields", "fields": ["energy"]}, {"kind": "grid", "fields": "adc"}]
    assert fitted(blocks=with_others_first).space.grid == Grid((6,), 1, 1)


@pytest.mark.parametrize("name", ["usual", "channels", "for a GAN"])
def test_a_saved_representation_is_the_same(name):
    batch = events()
    representation = fitted(batch, blocks=BLOCKS[name], conditions=["energy"])
    features = representation.encode(batch)
    representation.take_reach(features)
    again = Representation.from_state(json.loads(json.dumps(representation.state(), allow_nan=True)))
    again.load_state_dict(representation.state_dict())
    assert torch.equal(again.encode(batch).x, features.x)
    assert again.names == representation.names
    assert again.space == representation.space
    noise = features.with_x(torch.randn_like(features.x))
    assert torch.equal(again.decode(noise).image, representation.decode(noise).image)


def test_no_content_is_too_small_to_be_reached_and_one_may_be_too_large():
    batch = events()
    representation = fitted(batch)
    features = representation.encode(batch)
    representation.take_reach(features)
    assert bool(representation.reaches(features).all())
    number = representation.names.index("image[4][3]")
    for value, expected in ((-50.0, True), (50.0, False)):
        x = features.x[:1].clone()
        x[0, number] = value
        assert bool(representation.reaches(features[:1].with_x(x))) is expected


def test_thousands_of_cells_are_learned_at_once():
    rng = torch.Generator().manual_seed(1)
    contents = torch.relu(torch.randn(300, 60, 100, generator=rng, dtype=torch.float64))
    schema = EventSchema(collections=(), scalars=(field("calorimeter", (60, 100)),))
    batch = EventBatch(schema, {}, {"calorimeter": contents})
    representation = fitted(batch)
    assert representation.size == 6000
    features = representation.encode(batch)
    representation.take_reach(features)
    assert representation.space.grid == Grid((60, 100))
    assert len(json.dumps(representation.state())) < 250 * 6000


def test_what_does_not_fit_is_refused():
    def refused(match, **settings):
        with pytest.raises(RecipeError, match=match):
            fitted(**settings)

    grid = {"kind": "grid", "fields": "image"}
    refused("image is a field of 5 x 4 cells", blocks=[{"kind": "fields", "fields": ["image"]}])
    refused("image is a field of 5 x 4 cells", bounds={"image": [0.0, None]})
    refused("image is a field of 5 x 4 cells", discrete={"image": "continuous"})
    refused("image is in two blocks", blocks=[grid, grid])
    refused("contents of wave are negative", blocks=[{"kind": "grid", "fields": "wave", "sums": True}])
    refused("contents of adc are whole", blocks=[{"kind": "grid", "fields": "adc", "sums": True}])
    refused("energy is one number", blocks=[{"kind": "grid", "fields": "energy"}])
    refused("no 'imgae' in the events; did you mean image", blocks=[{"kind": "grid", "fields": "imgae"}])
    refused("image and wave are of the shapes", blocks=[{"kind": "grid", "fields": ["image", "wave"]}])
    refused("no field 'wave' in this grid", blocks=[{**grid, "transforms": {"wave": "quantile"}}])
    rectified = {"kind": "grid", "fields": "wave", "transforms": {"wave": "rectified"}}
    refused("rectified is for contents that are not negative", blocks=[rectified])
    refused("conditions: image is a field of many cells", conditions=["image"])
    with pytest.raises(ValueError, match="image is there twice"):
        FeaturesConfig(blocks=[{"kind": "grid", "fields": ["image", "image"]}])
    with pytest.raises(RecipeError, match="have no density: cells of image"):
        Measure(fitted())


def test_events_that_cannot_be_are_refused_with_their_entry():
    batch = events()
    representation = fitted(batch)
    batch.scalars["image"][7, 2, 2] = -1.0
    with pytest.raises(InputError, match="cell of image is negative") as caught:
        representation.encode(batch)
    assert caught.value.entry == 7
    batch.scalars["image"][7, 2, 2] = math.nan
    with pytest.raises(InputError, match="cell of image is not finite"):
        fitted(batch)
