"""What a draft says of event weights."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import uproot

from hepgan.errors import InputError
from hepgan.events import read_events
from hepgan.generator import EventGenerator
from hepgan.recipes import Recipe, draft_recipe, load_recipe
from hepgan.recipes.document import parse_yaml

N = 4000


def columns(seed: int = 0) -> dict[str, np.ndarray]:
    """A mass with a peak, another number, the sWeights of the peak, and weights of a simulation."""
    rng = np.random.default_rng(seed)
    signal = rng.random(N) < 0.4
    mass = np.where(signal, rng.normal(5279, 20, N), 5000 + 600 * rng.random(N))
    peak, flat = np.exp(-0.5 * ((mass - 5279) / 20) ** 2) / (20 * np.sqrt(2 * np.pi)), np.full(N, 1 / 600)
    density = signal.sum() * peak + (~signal).sum() * flat
    v = np.linalg.inv([[np.sum(a * b / density**2) for b in (peak, flat)] for a in (peak, flat)])
    return {
        "M": mass,
        "PT": np.where(signal, rng.gamma(4, 2000, N), rng.gamma(2, 1500, N)),
        "nSig_sw": (v[0, 0] * peak + v[0, 1] * flat) / density,
        "nBkg_sw": (v[1, 0] * peak + v[1, 1] * flat) / density,
    }


def write(path: Path, data: dict[str, np.ndarray]) -> str:
    with uproot.recreate(path) as file:
        file.mktree("DecayTree", {n: v.dtype for n, v in data.items()}).extend(data)
    return str(path)


def drafted(text: str) -> tuple[Recipe, str]:
    """The recipe, and all comments in one line."""
    return load_recipe(parse_yaml(text, "r")), " ".join(line.strip(" #") for line in text.splitlines())


@pytest.fixture(scope="module")
def splot(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write(tmp_path_factory.mktemp("splot") / "sw.root", columns())


def test_sweights_are_found_and_what_they_were_made_from_is_left_out(splot):
    with pytest.warns(UserWarning, match="nSig_sw") as told:
        text = draft_recipe(splot, name="r")
    messages = [str(w.message) for w in told]
    assert any("by nSig_sw, but nBkg_sw could be the event weight, too" in m for m in messages)
    assert any(m.endswith("is negative somewhere: M") for m in messages)
    recipe, comments = drafted(text)
    assert recipe.events.weight == "nSig_sw"
    assert recipe.events.select == ("PT",)
    assert list(recipe.observables) == ["PT"]
    assert "M: its density, weighted by nSig_sw, is negative from 5" in comments
    assert "% are negative, and count as such" in comments
    assert "nBkg_sw: looks like another weight; the events' weight is nSig_sw" in comments
    assert "hepgan init --weight nBkg_sw" in comments


def test_what_the_weights_were_made_from_is_learned_where_it_is_asked_for_and_told(splot):
    with pytest.warns(UserWarning, match=r"weighted by nSig_sw, the density of M is negative from 5\d+"):
        text = draft_recipe(splot, name="r", select=["M", "PT"], weight="nSig_sw")
    recipe, comments = drafted(text)
    assert recipe.events.select == ("M", "PT")
    assert "With it, the density of M is negative" in comments


def test_another_weight_or_none_is_taken_where_it_is_asked_for(splot):
    for weight, reason in (("nBkg_sw", "as asked for"), ("none", "All events weigh 1")):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="left out")
            recipe, comments = drafted(draft_recipe(splot, name="r", weight=weight))
        assert recipe.events.weight == weight
        assert reason in comments
        assert "PT" in recipe.events.select
        assert not {"nSig_sw", "nBkg_sw"} & set(recipe.events.select)
        fast = ["model.network={kind: mlp, widths: [8]}", "training.steps=2", "training.batch_size=64"]
        recipe = recipe.with_settings(fast)
        events = read_events(splot, branches=recipe.branches)
        made = EventGenerator(recipe).fit(events, device="cpu")
        assert made.schema.weight == (None if weight == "none" else weight)
        assert "nSig_sw" not in made.schema.scalar_names


def test_a_weight_that_is_none_is_refused(splot):
    with pytest.raises(InputError, match="--weight: no number of the events is called 'w'"):
        draft_recipe(splot, name="r", weight="w")


def test_values_tell_which_of_several_names_is_the_weight(tmp_path):
    rng = np.random.default_rng(1)
    data = {
        "x": rng.normal(size=N),
        "mcWeight": np.ones(N),
        "weight": np.where(np.arange(N) == 7, np.nan, 1.0),
        "weight_mc": rng.choice([-1.0, 1.0], N, p=[0.2, 0.8]),
        "puWeight": rng.normal(1, 0.1, N),
    }
    file = write(tmp_path / "several.root", data)
    with pytest.warns(UserWarning, match="by weight_mc, but mcWeight could be the event weight, too"):
        recipe, comments = drafted(draft_recipe(file, name="r"))
    assert recipe.events.weight == "weight_mc"
    assert recipe.events.select == ("x",)
    assert f"weight is called as an event weight is, but 1 of {N:,} values are not finite" in comments
    assert "puWeight: looks like another weight; the events' weight is weight_mc" in comments


def test_weights_without_a_positive_sum_are_no_weights(tmp_path):
    rng = np.random.default_rng(1)
    file = write(tmp_path / "none.root", {"x": rng.normal(size=N), "weight": np.full(N, -1.0)})
    recipe, comments = drafted(draft_recipe(file, name="r"))
    assert recipe.events.weight == "none"
    assert "weight is called as an event weight is, but its values sum to -4000" in comments
    with pytest.raises(InputError, match="--weight: weight is none, since its values sum to -4000"):
        draft_recipe(file, name="r", weight="weight")
