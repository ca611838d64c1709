from __future__ import annotations

import pytest
import torch
from feature_samples import z_events

from hepgan.errors import InputError, RecipeError
from hepgan.events.batch import EventBatch
from hepgan.events.schema import EventSchema, Field
from hepgan.features import FeaturesConfig, Representation, mirrored


@pytest.fixture(scope="module")
def events():
    return z_events(300)


def represent(events, *rules, **more):
    return Representation(FeaturesConfig(rules=rules, **more), events.schema)


def test_events_that_break_a_rule_are_found_and_refused_in_training(events):
    rule = "not npv > 25 or any(Muon.pt > 40)"
    representation = represent(events, rule, bounds={"Muon.pt": (0.0, None)})
    expected = ~(events.npv > 25) | (events.Muon.pt > 40).any(1)
    assert 0 < int(expected.sum()) < len(events)
    assert torch.equal(representation.valid(events), expected)
    broken = representation.restrictions.broken(events)
    assert list(broken) == ["features.bounds", rule]
    assert not broken["features.bounds"].any()
    assert torch.equal(broken[rule], ~expected)
    with pytest.raises(InputError, match=r"events break the recipe's rule not npv > 25 or any") as error:
        representation.fit(events)
    assert error.value.entry == int((~expected).nonzero()[0])
    kept = events[expected]
    fitted = represent(kept, rule).fit(kept)
    assert torch.equal(fitted.encode_possible(events)[1], expected)
    assert fitted.restricted


def test_rules_survive_saving(events):
    fitted = represent(events, "npv >= 0").fit(events)
    assert Representation.from_state(fitted.state()).config.rules == ("npv >= 0",)


def test_without_rules_and_bounds_nothing_is_restricted(events):
    assert not represent(events).restrictions
    assert represent(events).valid(events).all()


@pytest.mark.parametrize(("dtype", "kept"), [("float32", False), ("float64", True)])
def test_rules_are_judged_by_numbers_as_they_are_stored(dtype, kept):
    schema = EventSchema(scalars=(Field(name="x", branches=("x",), dtype=dtype),))
    close = EventBatch(schema, {}, {"x": torch.tensor([24.0 + 1e-9], dtype=torch.float64)})
    assert bool(represent(close, "x > 24").valid(close)) is kept


def test_events_near_the_edge_of_a_rule_get_mirror_images(events):
    low = float(events.Muon.pt[:, 0].quantile(0.3))
    kept = events[events.Muon.pt[:, 0] > low]
    block = {"kind": "decay", "name": "Z", "children": ["Muon[0]", "Muon[1]"]}
    representation = represent(kept, f"Muon[0].pt > {low}", blocks=[block]).fit(kept)
    features = representation.encode(kept)
    images = mirrored(representation, features, generator=torch.Generator().manual_seed(0))[len(kept) :]
    assert len(images) > 5
    assert not representation.valid(representation.decode(images)).any()


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("Muon.pt > 20", "rules: .*a condition for each of Muon"),
        ("Muno[0].pt > 20", "rules: .*did you mean 'Muon'"),
        ("weight > 0", "rules: weight > 0: weight is the event weight, which is not generated"),
    ],
)
def test_rules_that_do_not_fit_the_events_are_errors(events, rule, message):
    with pytest.raises(RecipeError, match=message):
        represent(events, rule)


def test_rules_that_are_no_expressions_are_errors_of_the_settings():
    with pytest.raises(ValueError, match="column 1: a lambda is not part of the language"):
        FeaturesConfig(rules=("lambda x: x",))
