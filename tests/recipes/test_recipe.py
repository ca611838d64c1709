from __future__ import annotations

from pathlib import Path

import pytest

from hepgan.errors import RecipeError
from hepgan.models import FlowMatchingConfig, GANConfig
from hepgan.recipes import Recipe, load_recipe, recipe_names, recipe_text

MINIMAL = {"name": "minimal", "model": {"kind": "flow_matching"}}


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return path


# --------------------------------------------------------------------- loading


def test_recipes_are_loaded_from_all_that_describes_them(tmp_path: Path) -> None:
    path = written(tmp_path, "name: minimal\nmodel: {kind: flow_matching}\n")
    recipe = load_recipe(MINIMAL)
    assert load_recipe(path) == load_recipe(str(path)) == load_recipe(recipe) == recipe
    assert isinstance(load_recipe("zmumu").model, FlowMatchingConfig)


def test_a_file_without_a_name_is_called_after_itself(tmp_path: Path) -> None:
    assert load_recipe(written(tmp_path, "model: {kind: gan}\n")).name == "mine"


@pytest.mark.parametrize("name", sorted(recipe_names()))
def test_shipped_recipes_are_valid_and_explained(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe_names()[name]
    assert set(recipe.make_observables()) == set(recipe.observables)
    assert "#" in recipe_text(name)


def test_numbers_are_written_as_physicists_write_them(tmp_path: Path) -> None:
    text = "model: {kind: gan}\ntraining: {optimiser: {lr: 1e-4, weight_decay: 2.5E-3}}\n"
    optimiser = load_recipe(written(tmp_path, text)).training.optimiser
    assert optimiser is not None
    assert (optimiser.lr, optimiser.weight_decay) == (1e-4, 2.5e-3)


def test_an_expression_is_short_for_an_observable() -> None:
    short = load_recipe({**MINIMAL, "observables": {"m": "(Muon[0] + Muon[1]).mass"}})
    long = load_recipe({**MINIMAL, "observables": {"m": {"expression": "(Muon[0] + Muon[1]).mass"}}})
    assert short.make_observables() == long.make_observables()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model: {kind: flow_matching}\nmodels: 3\n", ["models", "unknown key"]),
        ("description: none\n", ["model", "missing"]),
        ("model: {kind: diffusion}\n", ["model", "gan"]),
        ("model: {kind: flow_matching, steps: many}\n", ["model.steps"]),
        ("model: {kind: flow_matching, steps: 0}\ntraining: {steps: 0}\n", ["model.steps", "1 more"]),
        ("model: {kind: gan}\nobservables: {m: 'Muon[0'}\n", ["observables.m"]),
        ("model: {kind: gan}\nfeatures: {bounds: {'Muon[0': [1, null]}}\n", ["bounds", "Muon[0"]),
        ("model: {kind: gan}\nevents: {derived: {M: 'Muon[0'}}\n", ["events.derived: ", "M: "]),
        (
            "model: {kind: gan}\nevents: {derived: {E: 'Muon[0].energy'}}\nconditions: [E]\n",
            ["E is a condition"],
        ),
        (
            "model: {kind: gan}\nevents: {derived: {w: 'nMuon'}, weight: w}\n",
            ["w is the event weight"],
        ),
        ("- a list\n", ["mapping"]),
        ("model: {kind: gan\n", ["expected"]),
    ],
)
def test_a_wrong_recipe_is_one_error_that_names_file_and_place(
    text: str, words: list[str], tmp_path: Path
) -> None:
    with pytest.raises(RecipeError) as error:
        load_recipe(written(tmp_path, text))
    message = str(error.value)
    assert "mine.yaml" in message
    assert "\n" not in message
    for word in words:
        assert word in message


def test_a_misspelt_name_gets_a_suggestion() -> None:
    with pytest.raises(RecipeError, match="did you mean zmumu"):
        load_recipe("zmumuu")
    with pytest.raises(RecipeError, match=r"no recipe 'nothing like it'.*zmumu"):
        recipe_text("nothing like it")


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="No such file") as error:
        load_recipe(tmp_path / "nowhere.yaml")
    assert "nowhere.yaml" in str(error.value)


# -------------------------------------------------------------------- settings


def test_settings_change_values_at_any_depth() -> None:
    recipe = load_recipe("zmumu")
    changed = recipe.with_settings(
        [
            "model.steps=3",
            "training.optimiser.lr=1e-4",
            "features.blocks.1.transforms.pt.low=20",
            "features.bounds={Muon.pt: [12.0, null]}",
            "training.max_time=null",
            "model.network.dropout = 0.1",
        ]
    )
    assert isinstance(changed.model, FlowMatchingConfig)
    assert changed.model.steps == 3
    assert changed.training.optimiser is not None
    assert changed.training.optimiser.lr == 1e-4
    assert changed.features.blocks[1].transforms["pt"] == {"kind": "quantile", "low": 20}
    assert changed.features.bounds == {"Muon.pt": (12.0, None)}
    assert changed.training.max_time is None
    assert changed.model.network.dropout == 0.1
    assert changed.observables == recipe.observables
    assert recipe == load_recipe("zmumu")


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("model.steps", "expected key=value"),
        ("=3", "expected key=value"),
        ("model.stepps=3", "model.stepps: unknown key"),
        ("features.blocks.9.kind=decay", "'9' is not there"),
        ("features.blocks.9=decay", "'9' is not there"),
        ("training.steps=-1", "training.steps"),
        ("training.steps=[1", "--set|expected|parsing"),
    ],
)
def test_a_wrong_setting_is_an_error_that_says_which(setting: str, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        load_recipe("zmumu").with_settings([setting])


def test_settings_can_add_what_the_recipe_left_at_its_default() -> None:
    recipe = load_recipe(MINIMAL).with_settings(["training.optimiser.kind=adamw", "conditions=[beam_energy]"])
    assert recipe.training.optimiser is not None
    assert recipe.training.optimiser.kind == "adamw"
    assert recipe.conditions == ("beam_energy",)


# --------------------------------------------------------------------- writing


@pytest.mark.parametrize("name", sorted(recipe_names()))
def test_yaml_brings_the_recipe_back(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    assert load_recipe(written(tmp_path, recipe.to_yaml())) == recipe


def test_yaml_leaves_defaults_out() -> None:
    assert load_recipe(load_recipe(MINIMAL)).to_yaml() == "name: minimal\nmodel:\n  kind: flow_matching\n"


def test_what_to_read_is_what_is_selected_given_and_weighed() -> None:
    assert load_recipe(MINIMAL).branches is None
    recipe = load_recipe(
        {**MINIMAL, "conditions": ["beam_energy"], "events": {"select": ["Muon", "Jet.pt"], "weight": "w"}}
    )
    assert recipe.branches == ["Muon", "Jet.pt", "beam_energy", "w"]
    recipe = load_recipe({**MINIMAL, "events": {"select": ["Muon"], "derived": {"m": "Muon[0].mass"}}})
    assert recipe.branches == ["Muon", "m"]


def test_recipes_cannot_be_changed_in_place() -> None:
    recipe = load_recipe({**MINIMAL, "model": {"kind": "gan"}})
    assert isinstance(recipe, Recipe)
    assert isinstance(recipe.model, GANConfig)
    with pytest.raises(ValueError, match="frozen"):
        recipe.name = "other"  # type: ignore[misc]
