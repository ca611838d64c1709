"""An observable of a batch of tensors and of an array, and the features, have the numbers of vector."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest
import torch
import vector

from hepgan.events.batch import EventBatch, Objects
from hepgan.events.schema import Collection, EventSchema, Field, Kind
from hepgan.observables import Observable
from hepgan.vectors.kinematics import Kinematics

from .conftest import EDGES, as_numpy, regular

ROWS = np.concatenate([EDGES, regular(20, 9)])
ROWS = np.stack([ROWS, np.roll(ROWS, 7, 0)], 1)
"""(N, 2, 4): pairs of degenerate and regular momenta."""

SINGLE = {"mass": "mass", "mass2": None, "pt": "pt", "eta": "eta", "phi": "phi", "theta": "theta", "p": "p"}
PAIRS = ("deltaphi", "deltaeta", "deltaR")


@pytest.mark.parametrize("names", ["px py pz energy", "pt eta phi mass", "pt phi theta energy"])
def test_observables_of_batches_and_arrays_and_features_have_the_numbers_of_vector(names):
    system = tuple(names.replace("energy", "E").split())
    reference = [as_numpy(ROWS[:, i], system) for i in (0, 1)]
    columns = {n: np.stack([np.asarray(getattr(r, n)) for r in reference], 1) for n in names.split()}
    with np.errstate(all="ignore"):
        columns = {n: np.nan_to_num(v, posinf=50.0, neginf=-50.0) for n, v in columns.items()}
    full = vector.array({n.replace("energy", "E"): v for n, v in columns.items()})
    fields = tuple(Field(name=n, branches=(f"Track_{n}",), kind=Kind.CONTINUOUS) for n in columns)
    schema = EventSchema(
        collections=(Collection(name="Track", layout="jagged", fields=fields, min_count=2, max_count=2),),
        scalars=(),
    )
    tensors = {n: torch.from_numpy(v) for n, v in columns.items()}
    there = torch.ones(len(ROWS), 2, dtype=torch.bool)
    batch = EventBatch(schema, {"Track": Objects(tensors, there)})
    vector.register_awkward()
    tracks = ak.zip({n: ak.from_numpy(v) for n, v in columns.items()}, with_name="Momentum4D")
    array = ak.zip({"Track": tracks}, depth_limit=1)
    k = Kinematics(tensors)
    for name, feature in SINGLE.items():
        with np.errstate(all="ignore"):
            expected = np.asarray(getattr(full, name))
        wanted = {"rtol": 1e-9, "atol": 3e-8 if name == "theta" else 1e-9}
        for events in (batch, array):
            got = np.asarray(Observable("x", f"Track.{name}").flat(events)[0]).reshape(expected.shape)
            np.testing.assert_allclose(got, expected, **wanted, err_msg=name)
        np.testing.assert_allclose(getattr(batch.Track, name), expected, **wanted, err_msg=name)
        if feature is not None:
            np.testing.assert_allclose(k[feature], expected, **wanted, err_msg=name)
    for name in PAIRS:
        with np.errstate(all="ignore"):
            expected = np.asarray(getattr(full[:, 0], name)(full[:, 1]))
        for events in (batch, array):
            got = np.asarray(Observable("x", f"Track[0].{name}(Track[1])").flat(events)[0])
            np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-9, err_msg=name)
