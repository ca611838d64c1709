from __future__ import annotations

import pytest
import torch
from feature_samples import rng, uniform, z_events

from hepgan.events.batch import EventBatch, Objects
from hepgan.features import FeaturesConfig, Representation
from hepgan.features.facts import Facts
from hepgan.features.reading import Reading


@pytest.fixture(scope="module")
def events():
    return z_events(600)


@pytest.fixture(scope="module", params=["dequantise", "smear"])
def representation(request, events):
    config = FeaturesConfig.model_validate(
        {"discrete": {"npv": request.param, "Jet.tag": request.param}, "transform": "standardise"}
    )
    return Representation(config, events.schema).fit(events)


@pytest.mark.parametrize("chosen", ["tail", "order", "copies", "one"])
def test_features_of_an_event_depend_on_nothing_but_the_event(events, representation, chosen):
    rows = {
        "tail": torch.arange(1, 600),
        "order": torch.randperm(600, generator=rng(2)),
        "copies": torch.tensor([3, 3, 7, 3]),
        "one": torch.tensor([599]),
    }[chosen]
    whole, part = representation.encode(events)[rows], representation.encode(events[rows])
    for name in ("x", "mask", "discrete", "context", "weight"):
        assert torch.equal(getattr(whole, name), getattr(part, name)), name


def test_noise_does_not_depend_on_weights_or_on_empty_places(events, representation):
    jets = events.collections["Jet"]
    wide = {n: torch.nn.functional.pad(v, (0, 2)) for n, v in jets.fields.items()}
    padded = Objects(wide, torch.nn.functional.pad(jets.mask, (0, 2)))
    scalars = {**events.scalars, "weight": uniform(rng(), 1, 2, 600)}
    other = EventBatch(events.schema, {**events.collections, "Jet": padded}, scalars)
    facts: Facts = representation.facts
    first, second = (Reading(e, facts).noise("Jet", "tag", (0, 1)) for e in (events, other))
    assert torch.equal(first, second)


def test_noise_is_uniform_and_independent_of_numbers_objects_and_fields(events):
    many = z_events(20_000, seed=5)
    reading = Reading(many, Facts(many.schema))
    draws = torch.cat([reading.noise("Jet", "tag", (0, 1)), reading.noise(None, "npv", (0,))], 1)
    assert float(draws.min()) > 0
    assert float(draws.max()) < 1
    counts = torch.stack([torch.histc(d, 20, 0.0, 1.0) for d in draws.unbind(1)])
    chi2 = ((counts - 1000.0) ** 2 / 1000.0).sum(1)
    assert (chi2 < 50).all(), "19 degrees of freedom"
    numbers = torch.cat([draws.T, many.npv[None].double(), many.rho[None], many.Muon.pt.T])
    correlation = torch.corrcoef(numbers)[:3]
    assert float(correlation.fill_diagonal_(0).abs().max()) < 0.04


def test_equal_integers_of_other_events_have_other_noise(events):
    noise = Reading(events, Facts(events.schema)).noise(None, "npv", (0,))
    assert len(torch.unique(noise)) == len(events)
    fifteen = noise[events.npv == 15]
    assert float(fifteen.std()) > 0.15
