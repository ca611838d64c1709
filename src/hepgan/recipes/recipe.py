"""A recipe: which events, how they are represented, which model, how it is trained and judged."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field as Setting
from pydantic import ValidationError, field_validator, model_validator

from hepgan.config import Config
from hepgan.errors import RecipeError
from hepgan.events.schema import EventSchema, Kind
from hepgan.features.config import FeaturesConfig
from hepgan.models.config import ModelConfig
from hepgan.observables import Observable, ObservableConfig
from hepgan.observables import from_config as observable_from_config
from hepgan.observables.language import parse
from hepgan.recipes.settings import Change, change, known_keys, real_place
from hepgan.training import TrainingConfig

__all__ = ["EventsConfig", "Recipe", "load_recipe", "recipe_names", "recipe_text"]


class EventsConfig(Config):
    """Which of the file's branches are learned, and as what.

    Attributes:
        select: Collections (``Muon``), fields (``Muon.pt``) and scalars to learn; everything if empty.
        kinds: Kinds that the data alone would not tell: ``{"PV.npvs": "integer"}``.
        weight: The scalar that holds the event weight; ``genWeight`` and ``weight`` are found without.
        derived: Scalars that are computed from the rest of each generated event instead of being learned:
            ``{M: "(Muon[0] + Muon[1]).mass"}``. They have to agree with the data. Where an event has nothing
            to compute one from, it is 0.
        layout: The whole schema, for files whose branches follow no naming that hepgan knows.
    """

    select: tuple[str, ...] = ()
    kinds: dict[str, Kind] = Setting(default_factory=dict)
    weight: str | None = None
    derived: dict[str, str] = Setting(default_factory=dict)
    layout: EventSchema | None = None

    @field_validator("derived")
    @classmethod
    def _derived_are_expressions(cls, value: dict[str, str]) -> dict[str, str]:
        for name, expression in value.items():
            try:
                parse(expression)
            except RecipeError as error:
                msg = f"{name}: {error.message}"
                raise ValueError(msg) from None
        return value


class Recipe(Config):
    """Everything that makes an event generator, but for the events.

    Attributes:
        name: The recipe's name.
        description: What it is for, and the paper that it follows.
        events: What is read.
        conditions: Scalars (``beam_energy``) and collections (``GenJet``) that are given in generation
            instead of being generated.
        features: How events become numbers.
        model: The generative model.
        observables: Physics quantities by name: an expression, or a mapping with binning and label.
        training: How the model is trained, and which checkpoint is kept.
    """

    name: str
    description: str = ""
    events: EventsConfig = EventsConfig()
    conditions: tuple[str, ...] = ()
    features: FeaturesConfig = FeaturesConfig()
    model: ModelConfig
    observables: dict[str, ObservableConfig] = Setting(default_factory=dict)
    training: TrainingConfig = TrainingConfig()

    @model_validator(mode="after")
    def _derived_are_not_given(self) -> Recipe:
        for name in self.events.derived:
            if name in self.conditions or name == self.events.weight:
                what = "a condition" if name in self.conditions else "the event weight"
                msg = f"events.derived: {name} is {what}, which cannot be derived"
                raise ValueError(msg)
        return self

    @property
    def branches(self) -> list[str] | None:
        """What ``read_events`` needs to read for this recipe; None for everything."""
        if not self.events.select:
            return None
        weight = filter(None, [self.events.weight])
        return [*self.events.select, *self.events.derived, *self.conditions, *weight]

    def make_observables(self) -> dict[str, Observable]:
        """The recipe's observables, ready to be evaluated."""
        return {n: observable_from_config(c, n) for n, c in self.observables.items()}

    def with_settings(self, settings: Iterable[str]) -> Recipe:
        """The recipe with some values changed.

        Args:
            settings: ``key=value`` with dots between levels and a YAML value: ``model.steps=8``,
                ``training.optimiser.lr=1e-3``. Elements of lists are their number or name
                (``model.critics.0.weight=0.5``); ``+=`` appends to a list
                (``training.selection.metrics+=ks:met``), ``-=`` takes an element out, by number or name
                (``model.penalties-=0``, ``observables-=met``).

        Raises:
            RecipeError: If a setting is malformed, if there is nothing of its key, or if the changed recipe
                is not valid.
        """
        document = self.model_dump(mode="json", exclude_unset=True)
        change(document, Recipe, [_read(setting) for setting in settings])
        return _validated(document, self.name)

    def to_yaml(self) -> str:
        """The recipe as YAML, without the settings that stand at their defaults."""
        return yaml.safe_dump(self.model_dump(mode="json", exclude_unset=True), sort_keys=False)


def recipe_names() -> dict[str, str]:
    """The recipes that come with hepgan, each with the first line of its description."""
    return {name: load_recipe(name).description.strip().split("\n")[0] for name in sorted(_shipped())}


def recipe_text(name: str) -> str:
    """The YAML text of a recipe that comes with hepgan, comments included.

    Raises:
        RecipeError: If there is no recipe of that name.
    """
    found = _shipped()
    if name not in found:
        close = get_close_matches(name, found, 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        msg = f"no recipe {name!r}: give a YAML file, or one of {', '.join(sorted(found))}{hint}"
        raise RecipeError(msg)
    return found[name]


def load_recipe(recipe: str | Path | Mapping[str, Any] | Recipe) -> Recipe:
    """A recipe by its name, from a YAML file, or from a mapping.

    Raises:
        RecipeError: If there is no such recipe or file, or if a key or value in it is wrong.
    """
    if isinstance(recipe, Recipe):
        return recipe
    if isinstance(recipe, Mapping):
        return _validated(recipe, None)
    path = Path(recipe)
    if path.suffix not in (".yaml", ".yml") and not path.is_file():
        return _validated(parse_yaml(recipe_text(str(recipe)), str(recipe)), str(recipe))
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(_reason(error), file=path) from error
    document = parse_yaml(text, str(path))
    if not isinstance(document, Mapping):
        msg = "not a recipe: expected a mapping with name, model, ..."
        raise RecipeError(msg, file=path)
    return _validated({"name": path.stem, **document}, str(path))


def _shipped() -> dict[str, str]:
    folder = resources.files("hepgan.recipes")
    return {
        f.name.removesuffix(".yaml"): f.read_text(encoding="utf-8")
        for f in folder.iterdir()
        if f.name.endswith(".yaml")
    }


def _validated(document: Any, where: str | None) -> Recipe:
    try:
        return Recipe.model_validate(document)
    except ValidationError as error:
        raise RecipeError(_first_error(error, document), file=where) from error


def _first_error(error: ValidationError, document: Any) -> str:
    first = error.errors(include_url=False)[0]
    place = real_place(document, first["loc"])
    if first["type"] == "extra_forbidden":
        there = known_keys(document, Recipe, place[:-1])
        close = get_close_matches(str(place[-1]), there, 1)
        message = "unknown key" + (f"; there are {', '.join(there)}" if there else "")
        message += f" (did you mean {close[0]}?)" if close else ""
    elif first["type"] == "missing":
        place.append(first["loc"][-1])
        message = "missing"
    else:
        own = first["msg"].removeprefix("Value error, ")
        message = own if own != first["msg"] else own[0].lower() + own[1:]
    more = error.error_count() - 1
    key = ".".join(map(str, place))
    return (f"{key}: " if key else "") + message + (f" (and {more} more)" if more else "")


def parse_yaml(text: str, where: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise RecipeError(" ".join(str(error).split()), file=where) from error


class _Loader(yaml.SafeLoader):
    """YAML 1.1 reads ``1e-4`` as a string; physicists mean a number."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


def _read(setting: str) -> Change:
    key, equals, text = setting.partition("=")
    operation = key[-1] + "=" if key.endswith(("+", "-")) else "="
    key = key.rstrip("+-").strip() if operation != "=" else key.strip()
    if not equals or not key:
        msg = f"--set {setting!r}: expected key=value, as in model.steps=8"
        raise RecipeError(msg)
    return Change(setting, key, operation, parse_yaml(text, f"--set {setting}"))


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "not a recipe: it is no text"
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)
