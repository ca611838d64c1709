"""What is done before a training's first step."""

from __future__ import annotations

import itertools
import sys

import pytest
from toys import dimuons

from hepgan.generator import EventGenerator
from hepgan.generator.describe import outcome

RECIPE = {
    "name": "prepared",
    "events": {"select": ["Jet", "MET", "npv"]},
    "features": {"bounds": {"Jet.pt": [20.0, None]}},
    "model": {"kind": "flow_matching", "network": {"kind": "mlp", "widths": [8]}, "steps": 1},
    "training": {"steps": 3, "batch_size": 64},
}


@pytest.mark.parametrize("members", [1, 2])
def test_a_preparation_is_told_from_its_beginning_to_its_end(monkeypatch, members):
    told: list[tuple[float, str]] = []
    monkeypatch.setattr("hepgan.runtime.Progress.tell", lambda _, done, what: told.append((done, what)))
    recipe = {**RECIPE, "training": {**RECIPE["training"], "members": members}}
    EventGenerator(recipe).fit(dimuons(400, seed=1), device="cpu")
    shares = [done for done, _ in told]
    assert shares[0] == 0.0
    assert shares[-1] == 1.0
    assert all(a <= b for a, b in itertools.pairwise(shares))
    groups = [what for _, what in told if "groups" in what]
    last = groups[-1].split()
    assert len(groups) > 1
    assert last[-4] == last[-2], "all of them in the end"
    assert len(groups) == int(last[-2])


def test_a_preparation_has_a_bar_before_that_of_the_training(capfd, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    generator = EventGenerator(RECIPE).fit(dimuons(400, seed=1), device="cpu", progress=True)
    said = capfd.readouterr()
    assert said.out == ""
    assert 0 <= said.err.index("preparing") < said.err.index("training")
    assert generator.summary["preparation_seconds"] <= generator.summary["seconds"]


def test_the_time_of_a_training_is_told_apart_from_that_of_its_preparation():
    found = {"status": "time", "steps": 7, "seconds": 95.4, "metrics": {}, "best_step": None}
    assert outcome(found)[0] == "7 steps in 95 s, out of time"
    assert outcome({**found, "preparation_seconds": 5.4})[0] == (
        "7 steps in 90 s after 5 s of preparation, out of time"
    )
