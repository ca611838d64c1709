"""Model cards."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import yaml

import hepgan
from hepgan.cli import main
from hepgan.errors import InputError, OutputError
from hepgan.events import as_events
from hepgan.generator.card import card, write_card

RECIPE = {
    "name": "tiny",
    "description": "Two numbers <of nothing>,\n  given a third",
    "conditions": ["energy"],
    "model": {"kind": "flow_matching", "network": {"kind": "mlp", "widths": [8]}},
    "observables": {"x": "x"},
    "training": {"steps": 5, "batch_size": 32},
}


@pytest.fixture(scope="module")
def events():
    rng = np.random.default_rng(1)
    numbers = {"x": rng.normal(size=400), "y": rng.normal(size=400), "energy": rng.uniform(10, 50, 400)}
    return as_events(numbers)


@pytest.fixture(scope="module")
def generator(events):
    return hepgan.EventGenerator(RECIPE).fit(events, seed=1)


@pytest.fixture(scope="module")
def metrics(events, generator, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    made = generator.generate(400, seed=2)
    hepgan.compare(events, made, observables=generator.recipe.make_observables(), seed=0).save(
        folder, force=True
    )
    return folder / "metrics.json"


def header(text):
    found = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
    assert found is not None
    return yaml.safe_load(found[1])


def test_a_card_says_what_the_model_is_and_that_nothing_was_measured(generator):
    text = card(generator, file="tiny.safetensors")
    assert header(text) == {
        "library_name": "hepgan",
        "tags": ["high-energy-physics", "event-generation", "generative-model", "physics", "flow_matching"],
    }
    assert "Two numbers <of nothing>, given a third" in text
    assert re.search(r"Given in generation .*energy \(1\d\.?\d* to [45]\d?\.?\d*\)", text)
    assert "It knows 360 training events" in text
    assert "Nothing was measured" in text
    assert "No licence is given" in text
    assert generator.digest() in text
    assert generator.summary["data_hash"] in text
    (recipe,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert hepgan.load_recipe(yaml.safe_load(recipe)) == generator.recipe


def test_metrics_stand_beside_their_floors(generator, metrics):
    found = json.loads(metrics.read_text())
    text = card(generator, metrics=found, license="CC-BY-4.0", authors=["Doe, Jane", "Roe, R."])
    head = header(text)
    assert head["license"] == "cc-by-4.0"
    (model,) = head["model-index"]
    (metric,) = model["results"][0]["metrics"]
    auc = found["classifier"]["auc"]
    assert metric["value"] == pytest.approx(auc["value"], abs=1e-4)
    assert f"floor {auc['floor']:.3f}" in metric["name"]
    ks = found["observables"]["x"]["ks"]
    assert f"| x | {ks['value']:.3g} | {ks['floor']:.3g} |" in text
    assert found["verdicts"][found["samples"][0]][0] in text
    assert "Made by: Doe, Jane; Roe, R." in text


@pytest.mark.parametrize(
    "found", [{}, [], {"samples": ["a", "b"]}, {"samples": ["a"], "verdicts": {"a": [1]}}, 3]
)
def test_what_is_no_metrics_is_refused(generator, found):
    with pytest.raises(InputError, match=r"no metrics\.json of hepgan validate"):
        card(generator, metrics=found)


def test_the_command_writes_both_files_and_none_over_others(generator, metrics, tmp_path, capsys):
    model = tmp_path / "tiny.safetensors"
    generator.save(model)
    given = ["info", str(model), "--card", str(tmp_path / "card"), "--metrics", str(metrics)]
    given += ["--license", "CC-BY-4.0", "--author", "Doe, Jane"]
    with pytest.raises(SystemExit) as ended:
        main(given)
    assert not ended.value.code
    made = json.loads((tmp_path / "card" / ".zenodo.json").read_text())
    assert made["creators"] == [{"name": "Doe, Jane"}]
    assert made["license"] == "cc-by-4.0"
    assert "&lt;of nothing&gt;" in made["description"]
    assert 'load("tiny.safetensors")' in (tmp_path / "card" / "README.md").read_text()
    with pytest.raises(SystemExit) as ended:
        main(given)
    assert ended.value.code == 2
    assert "--force" in capsys.readouterr().err


def test_without_a_licence_there_is_no_zenodo_file(generator, tmp_path):
    (written,) = write_card(tmp_path, generator)
    assert written.name == "README.md"
    with pytest.raises(OutputError):
        write_card(tmp_path, generator)
    with pytest.raises(InputError, match="no such file"):
        write_card(tmp_path, generator, metrics=tmp_path / "nothing.json", force=True)


def test_settings_of_a_card_without_one_are_refused(generator, tmp_path, capsys):
    generator.save(tmp_path / "tiny.safetensors")
    with pytest.raises(SystemExit) as ended:
        main(["info", str(tmp_path / "tiny.safetensors"), "--license", "MIT"])
    assert ended.value.code == 2
    assert "--card FOLDER" in capsys.readouterr().err
