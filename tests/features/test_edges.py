"""Edges of densities, to the last bit of the file's type."""

import numpy as np
import pytest
import torch

from hepgan.events import EventBatch, EventSchema, Field, to_awkward
from hepgan.features import FeaturesConfig, Representation

RNG = np.random.default_rng(4)
N = 5000

HARD = {
    "flat": RNG.uniform(25, 100, N),
    "cut": np.abs(RNG.normal(0, 1.5, 4 * N))[np.abs(RNG.normal(0, 1.5, 4 * N)) < 2.4][:N].clip(0, 2.4),
    "threshold": 25 + RNG.exponential(30, N),
    "pi": RNG.uniform(-np.pi, np.pi, N),
}


def fitted(columns, config=None):
    schema = EventSchema(scalars=tuple(Field(name=n, branches=(n,), dtype="float32") for n in columns))
    batch = EventBatch(
        schema, {}, {n: torch.tensor(v.astype(np.float32).astype(np.float64)) for n, v in columns.items()}
    )
    representation = Representation(config or FeaturesConfig(), schema).fit(batch)
    features = representation.encode(batch)
    representation.take_reach(features)
    generator = torch.Generator().manual_seed(0)
    noise = 1.1 * torch.randn(200_000, representation.size, generator=generator, dtype=torch.float64)
    some = features[torch.zeros(len(noise), dtype=torch.int64)].with_x(noise)
    made = representation.decode(some)
    kept = representation.valid(made) & representation.reaches(some)
    return to_awkward(made[kept]), float(kept.double().mean())


@pytest.mark.parametrize("name", HARD)
def test_nothing_is_generated_beyond_an_end_at_which_a_density_stops(name):
    values = HARD[name].astype(np.float32)
    made, share = fitted({name: values})
    found = np.asarray(made[name])
    assert found.dtype == np.float32
    assert share > 0.9
    assert found.min() >= values.min()
    if name != "threshold":
        assert found.max() <= values.max()


def test_tails_go_on():
    values = RNG.normal(size=N).astype(np.float32)
    made, _ = fitted({"x": values})
    found = np.asarray(made["x"])
    assert found.min() < values.min()
    assert found.max() > values.max()


def test_bounds_hold_for_numbers_as_they_are_stored():
    edge = 2.4
    values = RNG.uniform(-edge, edge, N).astype(np.float32)
    values = values[np.abs(values.astype(np.float64)) <= edge]
    schema = EventSchema(scalars=(Field(name="eta", branches=("eta",), dtype="float32"),))
    batch = EventBatch(schema, {}, {"eta": torch.tensor(values.astype(np.float64))})
    representation = Representation(FeaturesConfig(bounds={"eta": (-edge, edge)}), schema).fit(batch)
    inside = edge - 1e-9
    assert float(np.float32(inside)) > edge
    near = EventBatch(schema, {}, {"eta": torch.tensor([0.0, inside, -inside], dtype=torch.float64)})
    assert representation.valid(near).tolist() == [True, False, False]
