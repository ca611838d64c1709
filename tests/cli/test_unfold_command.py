"""Unfolding with a learned folding, from the command line."""

from __future__ import annotations

import awkward as ak
import pytest
from response_toys import jet_pairs

from hepgan import EventGenerator
from hepgan.cli import main
from hepgan.detector import Folding, Level, folding_recipe, unfold_through
from hepgan.events import read_events, schema_of, write_events
from hepgan.observables import Observable

SMALL = ["training.steps=20", "training.batch_size=256"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A prior, a folding, and data."""
    folder = tmp_path_factory.mktemp("unfold")
    events = jet_pairs(1200, 1)
    recipe = folding_recipe(schema_of(events), vertex=["GenJet"], detector=["Jet"], conditions=["rho"])
    Folding(recipe.with_settings(SMALL)).fit(events, device="cpu").save(folder / "folding.safetensors")
    prior = {
        "name": "jets",
        "conditions": ["rho"],
        "model": {"kind": "flow_matching", "network": {"kind": "mlp", "widths": [16]}, "steps": 2},
        "training": {"steps": 20, "batch_size": 256},
    }
    generator = EventGenerator(prior).fit(events[["GenJet", "rho"]], device="cpu")
    generator.save(folder / "prior.safetensors")
    write_events(folder / "data.root", jet_pairs(800, 2)[["Jet", "rho"]])
    (folder / "seen.yaml").write_text(
        "name: seen\nmodel: {kind: flow_matching}\nobservables: {ht: 'sum(Jet.pt)'}\n"
    )
    return folder


def run(*arguments):
    with pytest.raises(SystemExit) as end:
        main(list(arguments))
    return end.value.code


def test_the_command_writes_a_generator_of_events_at_the_vertex(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("hepgan.stats.classifiers.STEPS", (20, 30))
    inputs = [str(folder / n) for n in ("prior.safetensors", "folding.safetensors", "data.root")]
    options = ["--events", "900", "--iterations", "2", "--set", "training.steps=5", "--device", "cpu"]
    output = tmp_path / "unfolded.safetensors"
    options += ["--recipe", str(folder / "seen.yaml")]
    assert run("unfold", *inputs, "-o", str(output), *options) == 0
    said = capsys.readouterr()
    assert "unfolded from 800 events of data, 2 iterations" in said.out + said.err
    made = EventGenerator.load(output, device="cpu").generate(500, seed=1)
    assert set(made.fields) == {"GenJet", "rho"}
    # Conditions are those of the data.
    assert set(made.rho.to_list()) <= set(read_events(folder / "data.root").rho.to_list())
    assert run("unfold", *inputs, "-o", str(output), *options) == 2


def test_a_gradient_goes_through_a_learned_folding(folder):
    prior = EventGenerator.load(folder / "prior.safetensors", device="cpu")
    folding = Folding.load(folder / "folding.safetensors", device="cpu")
    config = {
        "penalties": [{"kind": "energy", "observables": "pt"}],
        "pull": 0.1,
        "training": {"steps": 3, "batch_size": 128},
    }
    observables = {"pt": Observable("pt", "Jet[0].pt")}
    made = unfold_through(prior, folding, read_events(folder / "data.root"), observables, config)
    assert made.history.losses["generator/gradient"].min() > 0
    assert ak.any(made.generate(200, seed=1).GenJet.pt != prior.generate(200, seed=1).GenJet.pt)


def test_a_folding_is_no_prior(folder, capsys):
    inputs = [str(folder / n) for n in ("folding.safetensors", "folding.safetensors", "data.root")]
    assert run("unfold", *inputs, "-o", str(folder / "no.safetensors")) == 2
    assert "makes no events that could be unfolded" in capsys.readouterr().err


def test_levels_of_a_folding_name_what_it_makes(folder):
    folding = Folding.load(folder / "folding.safetensors", device="cpu")
    assert Level(folding.detector).fields == ("Jet",)
