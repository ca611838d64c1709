"""The one way from noise to events: the same for whatever asks, and differentiable."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from generator_toys import small
from toys import dimuons

import hepgan
from hepgan.generator import EventGenerator
from hepgan.generator.sampling import Sampler
from hepgan.models import BLOCK


@pytest.fixture(scope="module")
def ensemble():
    return small(training__members=2, training__steps=5).fit(dimuons(300, seed=2), device="cpu")


def test_what_generation_gives_is_drawn_of_its_noise_and_what_was_given(toy_generator):
    parts = toy_generator.parts
    noise, given = Sampler(parts, seed=5).noise(0)
    azimuth = torch.zeros(BLOCK, dtype=torch.float64)
    with torch.no_grad():
        drawn = parts.draw(given, noise, azimuth)
        reached = parts.representation.reaches(parts.features(given, noise))
    events = Sampler(parts, seed=5).block(0)
    kept = parts.representation.valid(drawn) & reached
    assert 0.2 < kept.double().mean() < 1.0
    torch.testing.assert_close(drawn.Muon.pt[kept], events.Muon.pt[kept], rtol=1e-12, atol=0)
    assert torch.equal(drawn.Jet.mask, events.Jet.mask)
    assert drawn.schema == parts.schema
    # The azimuth is drawn apart, and turns whole events.
    turned = (events.Muon.phi - drawn.Muon.phi)[kept]
    wrapped = (turned - turned[:, :1] + torch.pi) % (2 * torch.pi) - torch.pi
    assert wrapped.abs().max() < 1e-9


def test_gradients_reach_the_noise_and_the_weights(toy_generator):
    parts = toy_generator.parts
    noise, given = Sampler(parts, seed=6).noise(0)
    noise, given = noise[:200].requires_grad_(), given[torch.arange(200)]
    total = parts.draw(given, noise).Muon.pt.sum()
    slopes = torch.autograd.grad(total, [noise, *parts.model.parameters()], allow_unused=True)
    assert all(s is None or torch.isfinite(s).all() for s in slopes)
    assert slopes[0].abs().sum() > 0
    assert any(s is not None and s.abs().sum() > 0 for s in slopes[1:])


def test_members_take_turns_unless_they_are_named(ensemble):
    parts = ensemble.parts
    noise, given = Sampler(parts, seed=7).noise(0)
    noise, given = noise[:100], given[torch.arange(100)]
    with torch.no_grad():
        turns = parts.draw(given, noise)
        named = parts.draw(given, noise, member=torch.arange(100) % 2)
        alone = [parts.member(k).draw(given, noise) for k in range(2)]
    assert turns.schema == parts.schema
    assert turns.member.tolist() == [0, 1] * 50
    assert torch.equal(turns.MET.pt, named.MET.pt)
    for k in range(2):
        mine, own = turns.MET.pt[k::2], alone[k].MET.pt[k::2]
        # Products of more or fewer rows may round in other ways.
        np.testing.assert_allclose(mine.numpy(), own.numpy(), rtol=1e-4)


def test_what_has_not_been_learned_has_no_parts():
    fresh = EventGenerator({"name": "x", "model": {"kind": "flow"}})
    with pytest.raises(RuntimeError, match="not learned anything yet"):
        _ = fresh.parts


def test_features_become_events_in_no_other_place():
    """Whatever makes events asks the parts for them; a training decodes what a learner has made."""
    root = Path(hepgan.__file__).parent
    asks = re.compile(r"representation\.decode\b")
    files = {p.relative_to(root).as_posix() for p in root.rglob("*.py") if asks.search(p.read_text())}
    assert {f for f in files if not f.startswith("features/")} == {
        "generator/fitting.py",
        "generator/parts.py",
    }
