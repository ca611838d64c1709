from __future__ import annotations

import json
from collections.abc import Iterator
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
        ("model: {kind: gan\n", ["line 2, column 1", "expected"]),
        ("", ["mapping"]),
        ("model: {kind: gan}\nevents: {select: [no, 1.5]}\n", ["events.select.1", "quotes", "'1.5'"]),
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
        ("-=3", "expected key=value"),
        ("model.stepps=3", r"model has no 'stepps'; there are kind, .*network, .* \(did you mean steps\?\)"),
        ("modle.steps=3", r"the recipe has no 'modle'; there are name, .* \(did you mean model\?\)"),
        ("features.blocks.9.kind=decay", r"features.blocks has no '9'; there are 0 \(Z\), 1 \(Jet\)"),
        ("features.blocks.Tau=decay", r"features.blocks has no 'Tau'; there are 0 \(Z\), 1 \(Jet\)"),
        ("features.blocks-=9", r"features.blocks has no '9'; there are 0 \(Z\), 1 \(Jet\)"),
        ("features.blocks.Jet={kind: objects, colection: Jet}", r"features.blocks.1.\w+: missing"),
        ("features.blocks.Jet.order.by=pt", "features.blocks.1 has no|is 'pt'|features.blocks.1.order"),
        ("observables-=m_muu", r"observables has no 'm_muu'; there are m_mumu, .* \(did you mean m_mumu\?\)"),
        ("observables.m_mumu.bin=3", r"observables.m_mumu has no 'bin'; there are expression, .*bins"),
        ("model.steps+=3", "model.steps is no list"),
        ("model.network.kind.x=3", "model.network.kind is 'residual', in which there is nothing"),
        (
            "model.network={kind: mlp, width: 3}",
            r"model.network.width: unknown key.* kind, .*widths",
        ),
        ("training.steps=-1", "training.steps"),
        ("training.steps=[1", "--set|expected|parsing"),
    ],
)
def test_a_wrong_setting_is_an_error_that_says_which(setting: str, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        load_recipe("zmumu").with_settings([setting])


@pytest.mark.parametrize("name", sorted(recipe_names()))
def test_every_number_and_switch_that_a_recipe_writes_can_be_set(name: str) -> None:
    """Down to each element of each list: so that any term can be left out in turn."""
    recipe = load_recipe(name)

    def leaves(node: object, path: str) -> Iterator[tuple[str, object]]:
        parts = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, value in parts:
            yield from leaves(value, f"{path}.{key}" if path else str(key))
        if isinstance(node, bool | int | float | str):
            yield path, node

    document = recipe.model_dump(mode="json", exclude_unset=True)
    found = [(k, v) for k, v in leaves(document, "") if k not in ("name", "description")]
    assert len(found) > 10
    assert recipe.with_settings([f"{k}={json.dumps(v)}" for k, v in found]) == recipe


GAN = {
    "name": "gan",
    "model": {
        "kind": "gan",
        "critics": [{"name": "all"}, {"name": "mass", "features": False, "observables": ["m"]}],
        "penalties": [
            {"kind": "moments", "observable": "m", "weight": 0.5},
            {"kind": "wasserstein", "observable": "met"},
        ],
    },
    "observables": {"m": "(Muon[0] + Muon[1]).mass", "met": "MET.pt"},
}


def model_with(*settings: str) -> GANConfig:
    model = load_recipe(GAN).with_settings(settings).model
    assert isinstance(model, GANConfig)
    return model


def test_terms_are_changed_by_number_or_name() -> None:
    model = model_with(
        "model.critics.mass.weight=0.25",
        "model.critics.0.steps=3",
        "model.penalties.-1.weight=0",
        "model.penalties.moments_m.target_mean=91.2",
    )
    assert [(c.weight, c.steps) for c in model.critics] == [(1.0, 3), (0.25, 1)]
    assert [p.weight for p in model.penalties] == [0.5, 0.0]
    assert model.penalties[0].target_mean == 91.2  # type: ignore[union-attr]


def test_terms_are_appended_and_taken_out() -> None:
    model = model_with(
        "model.penalties-=moments_m",
        "model.penalties+={kind: mmd, observable: m, widths: [1.0]}",
        "model.penalties.1.weight=0.125",
        "model.critics-=1",
    )
    assert [p.name for p in model.penalties] == ["wasserstein_met", "mmd_m"]
    assert model.penalties[1].weight == 0.125
    assert [c.name for c in model.critics] == ["all"]
    assert model_with("model.penalties=[]").penalties == ()


def test_lists_that_the_recipe_left_at_their_default_can_be_changed() -> None:
    recipe = load_recipe({**GAN, "model": {"kind": "gan"}})
    changed = recipe.with_settings(
        ["model.critics.critic.loss=wgan_gp", "model.critics+={name: second}", "conditions+=beam_energy"]
    )
    assert isinstance(changed.model, GANConfig)
    assert [(c.name, c.loss) for c in changed.model.critics] == [("critic", "wgan_gp"), ("second", "bce")]
    assert changed.conditions == ("beam_energy",)


def test_parts_of_a_default_network_keep_its_kind() -> None:
    flow = load_recipe(MINIMAL).with_settings(["model.network.width=32"]).model
    assert flow.network.width == 32  # type: ignore[union-attr]
    assert model_with("model.generator.widths=[8, 8]").generator.widths == (8, 8)  # type: ignore[union-attr]


def test_keys_that_hold_dots_need_no_quotes() -> None:
    recipe = load_recipe(MINIMAL).with_settings(
        [
            "features.discrete.PV.npvs=smear",
            "features.bounds.Muon.pt=[10, null]",
            "features.bounds.Muon.pt.1=200",
            "features.blocks=[{kind: objects, collection: Jet, transforms: {Jet.pt: {kind: quantile}}}]",
            "features.blocks.Jet.transforms.Jet.pt.low=20",
            "observables.met=MET.pt",
            "observables.met.bins=7",
        ]
    )
    assert recipe.features.discrete == {"PV.npvs": "smear"}
    assert recipe.features.bounds == {"Muon.pt": (10.0, 200.0)}
    assert recipe.features.blocks[0].transforms == {"Jet.pt": {"kind": "quantile", "low": 20}}
    assert (recipe.observables["met"].expression, recipe.observables["met"].bins) == ("MET.pt", 7)


def test_elements_of_plain_lists_are_taken_out_by_value() -> None:
    recipe = load_recipe({**MINIMAL, "conditions": ["a", "b", "c"]}).with_settings(
        ["conditions-=b", "conditions-=-1"]
    )
    assert recipe.conditions == ("a",)


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
