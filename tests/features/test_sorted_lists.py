"""Objects without a momentum that a file has in order of some number."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest
import torch

from hepgan.events import as_events, to_batch
from hepgan.features import FeaturesConfig, Representation

N = 400


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(1)
    number = rng.integers(0, 6, N)

    def listed(values):
        return ak.unflatten(values, number)

    energy = listed(rng.exponential(1.0, number.sum()))
    clusters = {
        "time": listed(rng.normal(size=number.sum())),
        "size": ak.sort(energy, ascending=False, axis=1),
        "crystals": listed(rng.poisson(3.0, number.sum())),
    }
    few = {"score": ak.Array([[2.0, 1.0], *[[1.0]] * (N - 1)])}
    return to_batch(as_events(ak.zip({"cl": ak.zip(clusters), "few": ak.zip(few)}, depth_limit=1)))


def test_they_stay_in_this_order_whatever_a_network_makes(batch):
    representation = Representation(FeaturesConfig(), batch.schema).fit(batch)
    # One pair tells no order.
    assert representation.facts.orders == {"cl": "size"}
    features = representation.encode(batch)
    torch.manual_seed(0)
    made = representation.decode(features.with_x(2 * torch.randn_like(features.x))).collections["cl"]
    size, both = made.fields["size"], made.mask[:, 1:]
    assert bool(both.any())
    assert bool((size[:, 1:] <= size[:, :-1])[both].all())
    back = representation.decode(features).collections["cl"].fields["time"]
    torch.testing.assert_close(back, batch.collections["cl"].fields["time"].to(back), rtol=1e-4, atol=1e-6)


def test_what_rises_somewhere_is_no_order(batch):
    turned = batch.collections["cl"].fields["size"].clone()
    row = int(batch.collections["cl"].mask[:, 1].nonzero()[0])
    turned[row, :2] = turned[row, :2].flip(0)
    fields = {**batch.collections["cl"].fields, "size": turned}
    objects = {**batch.collections, "cl": batch.collections["cl"].with_fields(fields)}
    changed = type(batch)(batch.schema, objects, batch.scalars, size=len(batch))
    assert not Representation(FeaturesConfig(), batch.schema).fit(changed).facts.orders
