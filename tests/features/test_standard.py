from __future__ import annotations

import math

import pytest
import torch
from feature_samples import fields, rng, uniform

from hepgan.errors import InputError, RecipeError
from hepgan.events.batch import EventBatch, Objects
from hepgan.events.schema import Collection, EventSchema, Field
from hepgan.features.config import FeaturesConfig
from hepgan.features.representation import Representation

N = 5000


def numbers(**values):
    schema = EventSchema(scalars=tuple(Field(name=n, branches=(n,)) for n in values))
    return EventBatch(schema, {}, values)


def represent(events, **config):
    return Representation(FeaturesConfig.model_validate(config), events.schema).fit(events)


def extremes(representation, events):
    """What features at -9 and 9 decode to."""
    features = representation.encode(events)[:2]
    ends = torch.tensor([[-9.0], [9.0]], dtype=torch.float64).expand(2, representation.size)
    return representation.decode(features.with_x(ends))


def test_sharp_edges_of_the_data_are_kept_and_tails_go_on():
    g = rng()
    events = numbers(
        cut=uniform(g, 15, 60, N),
        falling=15 - 10 * torch.log(uniform(g, 0, 1, N)),
        peak=91 + 3 * torch.randn(N, generator=g, dtype=torch.float64),
    )
    ends = extremes(represent(events), events)
    assert float(ends.cut[0]) == pytest.approx(15, abs=0.05)
    assert float(ends.cut[1]) == pytest.approx(60, abs=0.05)
    assert float(ends.falling[0]) == pytest.approx(15, abs=0.02)
    assert float(ends.falling[1]) > 1.2 * float(events.falling.max())
    assert float(ends.peak[0]) < float(events.peak.min()) - 3
    assert float(ends.peak[1]) > float(events.peak.max()) + 3


def test_numbers_that_are_never_negative_stay_so():
    events = numbers(energy=torch.randn(N, generator=rng(), dtype=torch.float64) ** 2 + 0.001)
    assert float(extremes(represent(events), events).energy[0]) >= 0
    mirrored = numbers(energy=-events.energy)
    assert float(extremes(represent(mirrored), mirrored).energy[1]) <= 0


def test_recipes_can_set_the_edges():
    events = numbers(x=uniform(rng(), 3, 5, N))
    block = {
        "kind": "fields",
        "fields": ["x"],
        "transforms": {"x": {"kind": "quantile", "low": 1, "high": 8}},
    }
    ends = extremes(represent(events, blocks=[block]), events).x
    assert 1 <= float(ends[0]) < float(events.x.min()) - 0.01
    assert float(events.x.max()) + 0.01 < float(ends[1]) <= 8
    by_bounds = extremes(represent(events, bounds={"x": [2.9, 5.5]}), events).x
    assert float(by_bounds[0]) >= 2.9
    assert float(by_bounds[1]) <= 5.5


def test_all_transforms_are_followed_by_a_standardisation():
    events = numbers(a=uniform(rng(), 10, 90, N), b=uniform(rng(3), 1000, 3000, N))
    for transform in ("min_max", "signed_log", ["signed_log", "quantile"], {"kind": "logit"}):
        representation = represent(events, transform=transform)
        features = representation.encode(events)
        torch.testing.assert_close(features.x.mean(0), torch.zeros(2).double(), atol=0.02, rtol=0)
        torch.testing.assert_close(features.x.std(0), torch.ones(2).double(), atol=0.02, rtol=0)
        torch.testing.assert_close(representation.decode(features).b, events.b, rtol=1e-9, atol=0)


def test_numbers_outside_a_transforms_domain_are_named():
    events = numbers(pt=uniform(rng(), 10, 90, N))
    representation = represent(events, transform={"kind": "log_edge", "edge": 10.0})
    wrong = numbers(pt=torch.tensor([20.0, 5.0], dtype=torch.float64))
    with pytest.raises(InputError, match="pt is 5") as caught:
        representation.encode(wrong)
    assert caught.value.entry == 1


def test_azimuths_are_cut_where_there_are_fewest():
    g = rng()
    phi = math.pi + 0.7 * torch.randn(N, generator=g, dtype=torch.float64)
    phi = torch.atan2(torch.sin(phi), torch.cos(phi)).unsqueeze(1)
    values = {"pt": uniform(g, 20, 90, N, 1), "eta": uniform(g, -2, 2, N, 1), "phi": phi}
    jet = Collection(name="Jet", layout="jagged", fields=fields("Jet", *values), min_count=1, max_count=1)
    events = EventBatch(EventSchema(collections=(jet,)), {"Jet": Objects(values)})
    representation = represent(events)
    column = representation.names.index("Jet[0].phi")
    x = representation.encode(events).x[:, column]
    # Neighbouring angles on both sides of +-pi stay neighbours.
    near = math.pi - phi[:, 0].abs() < 0.05
    assert float(x[near].max() - x[near].min()) < 0.4
    torch.testing.assert_close(representation.decode(representation.encode(events)).Jet.phi, phi)


def jets_in_twos_or_ones():
    g = rng()
    count = torch.randint(1, 3, (N,), generator=g)
    mask = torch.arange(2) < count.unsqueeze(1)
    values = {"pt": uniform(g, 20, 90, N, 2), "eta": uniform(g, -2, 2, N, 2), "phi": uniform(g, -3, 3, N, 2)}
    jet = Collection(name="Jet", layout="jagged", fields=fields("Jet", *values), min_count=1, max_count=2)
    jets = Objects({n: v.masked_fill(~mask, 0) for n, v in values.items()}, mask)
    return EventBatch(EventSchema(collections=(jet,)), {"Jet": jets})


@pytest.mark.parametrize(
    "settings",
    [{"pca": True}, {"transforms": {"pt": "pca"}}, {"transforms": {"eta": ["min_max", "pca", "quantile"]}}],
)
def test_decorrelation_needs_columns_that_always_exist(settings):
    with pytest.raises(
        RecipeError, match=r"pca mixes Jet\[1\]\.\w+ with Jet\[0\].*must exist in every event"
    ):
        represent(jets_in_twos_or_ones(), blocks=[{"kind": "objects", "collection": "Jet", **settings}])


def test_decorrelation_of_one_field_of_objects_that_always_exist_is_undone():
    events = numbers(a=uniform(rng(), 10, 90, N), b=uniform(rng(3), 1000, 3000, N))
    representation = represent(events, transform=["min_max", "pca"])
    decoded = representation.decode(representation.encode(events))
    torch.testing.assert_close(decoded.b, events.b, rtol=1e-9, atol=0)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_named_and_never_makes_a_column_constant(value):
    x = uniform(rng(), 10, 90, N)
    x[17] = value
    with pytest.raises(InputError, match=rf"entry 17: x is {value}, but must be finite") as caught:
        represent(numbers(a=uniform(rng(1), 0, 1, N), x=x))
    assert caught.value.entry == 17


def test_rounding_below_zero_is_no_negative_number():
    values = torch.randn(N, generator=rng(), dtype=torch.float64) ** 2
    values[:100] = 0.0
    rounded = values.clone()
    rounded[:50] = -1e-17
    for x in (values, rounded):
        events = numbers(x=x)
        assert float(extremes(represent(events), events).x[0]) == 0.0


@pytest.mark.parametrize("pca", [False, True])
def test_columns_of_features_that_differ_in_one_are_those_of_an_inverse_of_all(pca):
    g = rng()
    events = numbers(
        large=4e6 + torch.randn(N, generator=g, dtype=torch.float64),
        fixed=torch.full((N,), 3.0, dtype=torch.float64),
        flat=uniform(g, 0, 1, N),
        decades=10 ** uniform(g, -6, 6, N),
        plain=torch.randn(N, generator=g, dtype=torch.float64),
    )
    transforms = {} if pca else {"plain": "standardise"}
    block = {"kind": "fields", "fields": list(events.scalars), "transforms": transforms, "pca": pca}
    representation = represent(events, blocks=[block])
    x = representation.encode(events).x[:100]
    assert representation.size == 4
    for feature in range(representation.size):
        moved = x.clone()
        moved[:, feature] += 0.3
        found = representation.codec.standard.moved(representation.raw(x), moved, feature)
        torch.testing.assert_close(found, representation.raw(moved), rtol=1e-12, atol=1e-12)
        assert not torch.equal(found, representation.raw(x))
