"""Columns of numbers that differ by orders of magnitude."""

import numpy as np
import pytest
import torch

from hepgan.events import Collection, EventBatch, EventSchema, Field, Objects
from hepgan.features import FeaturesConfig, Representation
from hepgan.features.standard import spans_decades

RNG = np.random.default_rng(2)
N = 20_000


def generated(values, dtype="float64", size=100_000, of_objects=False):
    """What a perfect model of one column makes, in the file's type."""
    field = Field(name="x", branches=("x",), dtype=dtype)
    numbers = torch.tensor(values.astype(dtype).astype(np.float64))
    if of_objects:
        collection = Collection(
            name="Jet",
            layout="indexed",
            fields=(Field(name="x", branches=("x1", "x2")),),
            min_count=2,
            max_count=2,
        )
        schema = EventSchema(collections=(collection,))
        batch = EventBatch(schema, {"Jet": Objects({"x": numbers.reshape(-1, 2)})})
    else:
        schema = EventSchema(scalars=(field,))
        batch = EventBatch(schema, {}, {"x": numbers})
    representation = Representation(FeaturesConfig(), schema).fit(batch)
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(size, representation.size, generator=generator, dtype=torch.float64)
    return representation.columns(noise).numpy().astype(dtype).reshape(-1)


@pytest.mark.parametrize("of_objects", [False, True])
@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (np.exp(RNG.normal(-40, 8, N)), "float64"),
        (np.exp(RNG.normal(-55, 8, N)), "float32"),
        (np.exp(RNG.normal(0, 3, N)), "float32"),
        (10 ** RNG.uniform(-20, 0, N), "float32"),
    ],
    ids=["probabilities", "float32", "three sigmas", "flat"],
)
def test_the_lowest_decades_are_kept(values, dtype, of_objects):
    found = generated(values, "float32" if of_objects else dtype, of_objects=of_objects)
    assert found.min() > 0
    assert np.log10(found.min()) >= np.floor(np.log10(values.min())) - 1e-6
    for q in (0.02, 0.5, 0.98):
        assert abs(np.log10(np.quantile(found, q) / np.quantile(values, q))) < 0.1


def test_numbers_of_both_signs_keep_their_decades_too():
    values = np.exp(RNG.normal(-20, 5, N)) * RNG.choice([-1, 1], N)
    found = generated(values)
    assert abs((found > 0).mean() - 0.5) < 0.02
    for q in (0.02, 0.5, 0.98):
        assert abs(np.log10(np.quantile(abs(found), q) / np.quantile(abs(values), q))) < 0.1


@pytest.mark.parametrize(
    "values", [RNG.normal(size=N), RNG.exponential(size=N), RNG.random(N), 1e9 + RNG.random(N)]
)
def test_usual_numbers_span_no_decades(values):
    assert not spans_decades(torch.tensor(values))


def test_numbers_that_span_decades_do():
    assert spans_decades(torch.tensor(np.exp(RNG.normal(0, 3, N))))
    assert spans_decades(torch.tensor(RNG.choice([-1, 1], N) * 10 ** RNG.uniform(-9, 0, N)))
