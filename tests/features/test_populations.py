"""Numbers of two populations: a discrete variable and two columns for each object."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest
import torch

import hepgan
from hepgan.errors import RecipeError
from hepgan.events import schema_of, to_batch
from hepgan.events.memory import as_events
from hepgan.features import FeaturesConfig, Representation

N = 4000


def scores(dtype="float32", step=None, seed=1):
    """Two jets that are both b jets or both not; an atom at exactly 0.25."""
    rng = np.random.default_rng(seed)
    b = np.repeat(rng.random(N) < 0.4, 2)
    score = np.where(b, 1 - 0.3 * rng.random(2 * N), 0.3 * rng.random(2 * N) ** 2)
    score[rng.random(2 * N) < 0.1] = 0.25
    if step:
        score = np.round(score / step) * step
    counts = np.full(N, 2)
    counts[: N // 4] = 1
    jets = {
        "pt": rng.exponential(30, 2 * N) + 20,
        "eta": rng.normal(size=2 * N),
        "phi": rng.uniform(-3, 3, 2 * N),
    }
    jets = {k: v.reshape(N, 2) for k, v in (jets | {"btag": score.astype(dtype)}).items()}
    kept = np.arange(2) < counts[:, None]
    listed = {k: ak.unflatten(v[kept], counts) for k, v in jets.items()}
    return as_events(ak.Array({"Jet": ak.zip(listed), "tag": score.reshape(N, 2)[:, 0].astype(dtype)}))


def represent(events, **settings):
    config = FeaturesConfig.model_validate(settings)
    schema = schema_of(events)
    batch = to_batch(events, schema)
    return Representation(config, schema).fit(batch), batch


@pytest.mark.parametrize(("dtype", "step"), [("float32", None), ("float64", None), ("float32", 0.01)])
def test_each_population_has_a_column_and_its_range_by_construction(dtype, step):
    representation, batch = represent(scores(dtype, step), populations={"Jet.btag": [0.5], "tag": [0.5]})
    names = [v.name for v in representation.variables]
    assert {"Jet[0].btag:population", "Jet[1].btag:population", "tag:population"} <= set(names)
    features = representation.encode(batch)
    back = representation.decode(features)
    there = batch.Jet.mask
    torch.testing.assert_close(back.Jet.btag[there], batch.Jet.btag[there], rtol=1e-6, atol=1e-7)
    # Whatever a model makes of the columns, a number stays in its population.
    noise = 8 * torch.randn(features.x.shape, generator=torch.Generator().manual_seed(0))
    made = representation.decode(features.with_x(noise))
    assert torch.equal((made.Jet.btag >= 0.5)[there], (batch.Jet.btag >= 0.5)[there])
    assert torch.equal(made.scalars["tag"] >= 0.5, batch.scalars["tag"] >= 0.5)
    # On a grid, all numbers occur so often.
    atom = (batch.Jet.btag == 0.25) & (step is None)
    assert torch.equal((made.Jet.btag == 0.25)[there & atom], atom[there & atom])


def test_populations_of_one_event_are_drawn_together():
    events = scores()
    recipe = {
        "name": "b",
        "features": {"populations": {"Jet.btag": [0.5]}},
        "model": {"kind": "flow_matching", "network": {"kind": "mlp", "widths": [16]}},
        "training": {"steps": 20},
    }
    made = hepgan.EventGenerator(recipe).fit(events, seed=1).generate(4000, seed=2)

    def pairs(events):
        both = events.Jet.btag[ak.num(events.Jet.btag) == 2]
        both = both[ak.all(both != 0.25, axis=1)]
        return np.mean(ak.to_numpy(ak.sum(both >= 0.5, axis=1) == 1))

    assert pairs(events) == 0
    assert pairs(made) < 0.01


@pytest.mark.parametrize(
    ("populations", "message"),
    [
        ({"Jet.btag": [2.0]}, r"Jet\.btag has no population from 2 on"),
        ({"Jet.btag": [-1.0]}, r"Jet\.btag has no population below -1"),
        ({"Jet.pt": [30.0]}, r"Jet\.pt belongs to the momentum"),
        ({"Jet[0].btag": [0.5]}, "say Jet.btag, of all objects alike"),
        ({"Jet.nothing": [0.5]}, "no field 'nothing'"),
    ],
)
def test_what_cannot_be_divided_is_refused(populations, message):
    with pytest.raises(RecipeError, match=message):
        represent(scores(), populations=populations)


@pytest.mark.parametrize("cuts", [[], [0.5, 0.2], [0.5, 0.5], [float("inf")]])
def test_cuts_ascend(cuts):
    with pytest.raises(ValueError, match=r"populations of Jet\.btag are divided by ascending numbers"):
        FeaturesConfig.model_validate({"populations": {"Jet.btag": cuts}})
