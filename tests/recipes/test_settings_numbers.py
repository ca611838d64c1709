"""No number in a recipe ends in a traceback: it is refused, or a tiny model of it trains."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, get_args

import pytest
import torch
from feature_toys import Column
from pydantic import BaseModel

from hepgan.errors import HepganError, RecipeError
from hepgan.features.space import FeatureBatch, FeatureSpace, Tokens
from hepgan.learners import new_learner
from hepgan.networks import drawing_from, no_more_than
from hepgan.recipes import load_recipe
from hepgan.training import Trainer

BAD = (math.nan, math.inf, -1, 0, 1e-300, 1e300, 0.5, "x", True, [1], None)
MLP: dict[str, Any] = {"kind": "mlp", "widths": [3], "activation": "leaky_relu"}
RESIDUAL: dict[str, Any] = {"kind": "residual", "width": 3, "blocks": 1, "activation": "leaky_relu"}
SETS: dict[str, Any] = {"kind": "deep_sets", "width": 4, "blocks": 1}
ATTENTION: dict[str, Any] = {"kind": "attention", "width": 4, "blocks": 1, "heads": 2}
SCHEDULE = {"start": 0.0, "ramp": 0.1, "end": 1.0}
ADAM = {"kind": "adam", "eps": 1e-8}
PENALTIES = [
    {"kind": "moments", "observables": ["x"], "target_mean": 1.0, "target_std": 1.0, "schedule": SCHEDULE},
    {"kind": "wasserstein", "features": True},
    {"kind": "energy", "features": True},
    {"kind": "mmd", "observables": ["x"], "cooling": 0.5, "kernel": "rational_quadratic"},
    {"kind": "mmd", "features": True, "estimate": "median"},
    {"kind": "histogram", "observables": ["x"], "range": [-1.0, 1.0], "bins": 4, "name": "h"},
    {"kind": "histogram", "observables": ["x"], "edges": [-1.0, 0.0, 1.0]},
]
CRITIC = {
    "network": MLP,
    "schedule": SCHEDULE,
    "warmup": 0.1,
    "gradient_penalty": 1.0,
    "r1": 0.1,
    "clip": 1.0,
    "optimiser": {"kind": "adamw"},
}
MODELS: dict[str, dict[str, Any]] = {
    "gan": {"kind": "gan", "generator": MLP, "noise": 2, "critics": [CRITIC], "optimiser": ADAM},
    "penalties": {
        "kind": "gan",
        "generator": RESIDUAL,
        "critics": [{"network": MLP}],
        "penalties": PENALTIES,
    },
    "splines": {"kind": "flow", "blocks": 1, "network": MLP, "fakes": 4, "critics": [{"network": MLP}]},
    "affine": {
        "kind": "flow",
        "blocks": 1,
        "network": MLP,
        "transform": "affine",
        "likelihood": {"reweighted_by": "critic", "schedule": SCHEDULE, "power": 1.0},
        "critics": [{"network": MLP}],
    },
    "flow_matching": {"kind": "flow_matching", "network": RESIDUAL, "steps": 1},
    "student": {"kind": "student", "network": MLP, "steps": 1},
    "deep_sets": {"kind": "flow_matching", "network": SETS, "steps": 1},
    "attention": {"kind": "flow_matching", "network": ATTENTION, "steps": 1},
}
TRAINING: dict[str, Any] = {
    "steps": 1,
    "batch_size": 8,
    "members": 1,
    "optimiser": {"kind": "rmsprop"},
    "schedule": {"kind": "onecycle"},
    "ema": 0.5,
    "gradient_clip": 1.0,
    "evaluate_every": 1,
    "diagnose_every": 1,
    "max_time": 5.0,
    "selection": {},
    "patience": 1,
}


def numbers(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The places of all numeric settings of a recipe's section, those at their defaults included."""
    if isinstance(value, BaseModel):
        for name, field in type(value).model_fields.items():
            found = getattr(value, name)
            if isinstance(found, BaseModel | tuple):
                yield from numbers(found, (*place, name))
            if {int, float} & {*kinds(field.annotation)} and not isinstance(found, BaseModel):
                yield (*place, name)
    elif isinstance(value, tuple):
        for k, part in enumerate(value):
            if isinstance(part, BaseModel):
                yield from numbers(part, (*place, k))
            elif isinstance(part, int | float):
                yield (*place, k)


def kinds(annotation: Any) -> Iterator[Any]:
    yield annotation
    for part in get_args(annotation):
        yield from kinds(part)


def plain(value: Any) -> Any:
    """A document whose parts can be changed."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return [plain(v) for v in value] if isinstance(value, list | tuple) else value


def works(document: dict[str, Any]) -> None:
    """Builds the model, trains it for a step, and lets it make features."""
    found = load_recipe(document)
    space = FeatureSpace(2, tokens=(Tokens("Hit", [[0], [1]]),))
    generator = torch.Generator().manual_seed(1)
    with no_more_than(1_000_000), drawing_from(generator):
        learner = new_learner(found.model, space, lambda f: f, {"x": Column(0, 0.0, 1.0)})
    none = torch.zeros(16, 0)
    x = torch.randn(16, 4 if found.model.kind == "student" else 2, generator=generator)
    data = FeatureBatch(x, None, none.long(), none, none, torch.ones(16))
    Trainer(learner, data, found.training, evaluate=lambda _: {"m": 1.0}, seed=1).run()
    with torch.no_grad():
        noise = torch.randn(3, learner.model.noise_size, generator=generator)
        assert learner.model.sample(noise, none[:3], None).shape == (3, 2)


CASES = {"training": {"model": MODELS["gan"], "training": TRAINING}} | {
    kind: {"model": model, "training": {"steps": 1, "batch_size": 8, "diagnose_every": 1}}
    for kind, model in MODELS.items()
}


@pytest.mark.parametrize("case", CASES)
def test_a_bad_number_is_refused_or_works(case):
    section = "training" if case == "training" else "model"
    whole = load_recipe({"name": "t", **CASES[case]})
    works({"name": "t", **CASES[case]})
    # Critics are those of the first, and what has many penalties is there for them alone.
    places = [
        place
        for place in numbers(getattr(whole, section))
        if (place[0] != "critics" or case == "gan") and (place[0] == "penalties" or case != "penalties")
    ]
    assert len(places) > 3
    refused = 0
    for place in places:
        for bad in BAD:
            document = plain(whole.model_dump())
            inner = document[section]
            for key in place[:-1]:
                inner = inner[key]
            inner[place[-1]] = bad
            if case == "penalties":
                document[section]["penalties"] = [document[section]["penalties"][place[1]]]
            try:
                works(document)
            except HepganError:
                refused += 1
            except Exception as error:
                pytest.fail(f"{'.'.join(map(str, place))}={bad}: {error!r}")
    assert refused > 3 * len(places)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("training.optimiser.betas=[2,3]", r"training\.optimiser\.betas\.0: input should be less than 1"),
        ("training.steps=true", "steps: true is no number"),
        ("training.steps=1.5", r"training\.steps: input should be a valid integer"),
        ("training.max_time=.inf", r"training\.max_time: input should be a finite number"),
        ("model.steps=1000000000", r"model\.steps: input should be less than or equal to 10000"),
        (
            "model.network.widths=[0]",
            r"model\.network\..*widths\.0: input should be greater than",
        ),
    ],
)
def test_a_refused_number_is_named(setting, said):
    with pytest.raises(RecipeError, match=said):
        load_recipe("zmumu").with_settings(["model.network={kind: mlp}", setting])


def test_a_whole_number_may_be_written_with_an_exponent():
    assert load_recipe("zmumu").with_settings(["training.steps=1e4"]).training.steps == 10_000
