from __future__ import annotations

import pytest
import torch
from toys import dimuons

from hepgan.events import schema_of, select, to_batch
from hepgan.features import FeaturesConfig, Representation, mirrored

FEATURES = {
    "azimuth": "Muon[0] + Muon[1]",
    "blocks": [{"kind": "decay", "name": "Z", "children": ["Muon[0]", "Muon[1]"]}],
    "bounds": {"Muon.pt": [10.0, None]},
}


@pytest.fixture(scope="module")
def encoded():
    events = dimuons(20_000, seed=3)
    schema = select(schema_of(events), ["Muon.pt", "Muon.eta", "Muon.phi", "Muon.mass"])
    batch = to_batch(events, schema)
    representation = Representation(FeaturesConfig.model_validate(FEATURES), schema).fit(batch)
    return representation, representation.encode(batch)


def test_the_events_come_first_and_the_images_are_outside_the_bounds(encoded):
    representation, features = encoded
    whole = mirrored(representation, features, generator=torch.Generator().manual_seed(0))
    assert len(whole) > 1.005 * len(features)
    torch.testing.assert_close(whole.x[: len(features)], features.x, rtol=0, atol=0)
    assert not representation.valid(representation.decode(whole[len(features) :])).any()
    assert float(whole.weight.sum()) == pytest.approx(len(whole))


def test_the_density_goes_on_across_the_edge(encoded):
    representation, features = encoded
    whole = mirrored(representation, features, generator=torch.Generator().manual_seed(0))

    def events_between(low, high):
        pt = representation.decode(whole).Muon.pt[:, 1]
        return int(((pt > low) & (pt < high)).sum())

    inside, outside = events_between(10.0, 10.5), events_between(9.5, 10.0)
    assert events_between(10.0, 10.5) > 20
    assert abs(inside - outside) < 4 * (inside + outside) ** 0.5


def test_without_bounds_nothing_is_added(encoded):
    _, features = encoded
    events = dimuons(500, seed=3)
    schema = schema_of(events)
    batch = to_batch(events, schema)
    representation = Representation(FeaturesConfig(), schema).fit(batch)
    features = representation.encode(batch)
    assert mirrored(representation, features, generator=torch.Generator()) is features
