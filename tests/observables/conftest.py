from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import awkward as ak
import numpy as np
import pytest
import torch
import vector

from hepgan.events.batch import EventBatch, Objects
from hepgan.events.schema import Collection, EventSchema, Field, Kind

vector.register_awkward()


class Both(NamedTuple):
    """The same events in both forms."""

    array: Any
    batch: EventBatch
    schema: EventSchema


def _field(name, branch, kind=Kind.CONTINUOUS, **more):
    return Field(name=name, branches=(branch,), kind=kind, **more)


SCHEMA = EventSchema(
    collections=(
        Collection(
            name="Muon",
            layout="jagged",
            fields=(
                *(_field(n, f"Muon_{n}") for n in ("pt", "eta", "phi", "mass")),
                _field("charge", "Muon_charge", Kind.CATEGORY, values=(-1, 1), dtype="int32"),
            ),
            min_count=2,
            max_count=2,
        ),
        Collection(
            name="Jet",
            layout="jagged",
            fields=(
                *(_field(n, f"Jet_{n}") for n in ("px", "py", "pz", "energy")),
                _field("tight", "Jet_tight", Kind.CATEGORY, values=(False, True), dtype="bool"),
            ),
            max_count=7,
        ),
        Collection(
            name="MET",
            layout="single",
            fields=(_field("pt", "MET_pt"), _field("phi", "MET_phi")),
            min_count=1,
            max_count=1,
        ),
    ),
    scalars=(
        _field("beam_energy", "beam_energy"),
        _field("npv", "npv", Kind.INTEGER, dtype="int32", low=3, high=40),
        _field("genWeight", "genWeight"),
    ),
    weight="genWeight",
)


@cache
def make(seed: int, size: int = 60, dtype: torch.dtype = torch.float64) -> Both:
    """Random events; among the first there are some with 0, 1 and 7 jets."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 6, size)
    counts[:4] = (0, 1, 7, 2)
    total = int(counts.sum())
    muon = {
        "pt": np.sort(rng.exponential(30, (size, 2)) + 5, axis=1)[:, ::-1].copy(),
        "eta": rng.normal(0, 1.5, (size, 2)),
        "phi": rng.uniform(-np.pi, np.pi, (size, 2)),
        "mass": np.full((size, 2), 0.1057),
        "charge": rng.choice([-1, 1], (size, 2)),
    }
    p = rng.normal(0, 40, (3, total))
    jet = {
        **dict(zip(("px", "py", "pz"), p, strict=True)),
        "energy": np.sqrt((p**2).sum(0) + rng.uniform(1, 20, total) ** 2),
        "tight": rng.random(total) < 0.6,
    }
    met = {"pt": rng.exponential(20, size), "phi": rng.uniform(-np.pi, np.pi, size)}
    scalars = {
        "beam_energy": rng.choice([10.0, 50.0], size),
        "npv": rng.integers(3, 40, size),
        "genWeight": rng.normal(1, 1, size),
    }
    array = ak.zip(
        {
            "Muon": ak.zip(
                {k: ak.Array(ak.from_regular(v).layout) for k, v in muon.items()}, with_name="Momentum4D"
            ),
            "Jet": ak.unflatten(ak.zip(jet, with_name="Momentum4D"), counts),
            "MET": ak.zip(met, with_name="Momentum2D"),
            **scalars,
        },
        depth_limit=1,
    )
    mask = np.arange(7) < counts[:, None]

    def tensor(values):
        values = torch.from_numpy(np.ascontiguousarray(values))
        return values.to(dtype) if values.is_floating_point() else values

    def pad(values):
        padded = np.zeros(mask.shape, dtype=np.int64 if values.dtype == bool else values.dtype)
        padded[mask] = values
        return tensor(padded)

    batch = EventBatch(
        SCHEMA,
        {
            "Muon": Objects({k: tensor(v) for k, v in muon.items()}),
            "Jet": Objects({k: pad(v) for k, v in jet.items()}, torch.from_numpy(mask)),
            "MET": Objects({k: tensor(v) for k, v in met.items()}),
        },
        {k: tensor(v) for k, v in scalars.items()},
    )
    return Both(array, batch, SCHEMA)


@pytest.fixture
def events() -> Both:
    return make(1)


@pytest.fixture
def schema() -> EventSchema:
    return SCHEMA
