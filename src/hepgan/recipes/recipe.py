"""A recipe: everything that makes an event generator, but for the events; and changes of its settings."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError, field_validator, model_validator
from pydantic import Field as Setting
from pydantic.fields import FieldInfo

from hepgan.arguments import checked
from hepgan.config import Config
from hepgan.errors import RecipeError
from hepgan.events.schema import Address, EventSchema, Kind, Unit
from hepgan.events.shapes import AxisConfig, Grids
from hepgan.events.weights import NO_WEIGHT
from hepgan.features.config import FeaturesConfig
from hepgan.models.config import ModelConfig
from hepgan.observables import Observable, ObservableConfig
from hepgan.observables import from_config as observable_from_config
from hepgan.observables.language import parse
from hepgan.observables.preparation import Preparation
from hepgan.recipes.document import parse_yaml, read_document, to_yaml
from hepgan.training import TrainingConfig

__all__ = [
    "Change",
    "EventsConfig",
    "Recipe",
    "change",
    "known_keys",
    "load_recipe",
    "real_place",
    "recipe_names",
    "recipe_text",
]


class Change(NamedTuple):
    """What to change.

    Attributes:
        text: As the user wrote it.
        key: Where.
        operation: ``=``, ``+=`` or ``-=``.
        value: The value.
    """

    text: str
    key: str
    operation: str
    value: Any


def change(document: dict[str, Any], model: type[BaseModel], settings: Sequence[Change]) -> None:
    """Changes values of a document in place.

    Args:
        document: A recipe as plain data, without what stands at its default.
        model: What describes the document.
        settings: Keys are joined by dots; elements of a list are their number (from the end, if negative)
            or their name. ``=`` sets a value, ``+=`` appends to a list, ``-=`` takes out an element of
            a list or a key of a mapping.

    Raises:
        RecipeError: If there is nothing of a key, with what there is.
    """
    for setting in settings:
        try:
            _change(document, model, setting.key, setting.operation, setting.value)
        except LookupError as error:
            msg = f"--set {setting.text!r}: {error.args[0]}"
            raise RecipeError(msg) from None


def known_keys(document: Any, model: type[BaseModel], place: Sequence[str | int]) -> list[str]:
    """The keys that a mapping in a document may have, where the model fixes them; else none.

    Args:
        document: Plain data that need not be valid.
        model: What describes it.
        place: Keys and numbers on the way to the mapping.
    """
    node: Any = document
    types_: list[Any] = [model]
    for part in place:
        types_, node = _types_of(types_, node, part), node[part]
    return list(_fields(types_, node))


def real_place(document: Any, place: Sequence[str | int]) -> list[str | int]:
    """A place in a document without the tags of unions, which pydantic adds to it."""
    node, found = document, []
    for part in place:
        listed = isinstance(node, Sequence) and isinstance(part, int) and part < len(node)
        if listed or (isinstance(node, Mapping) and part in node):
            node = node[part]
            found.append(part)
    return found


def _change(document: dict[str, Any], model: Any, key: str, operation: str, value: Any) -> None:
    node: Any = document
    types_, path, parts = [model], "", key.split(".")
    while True:
        where, parts = _next(node, types_, path, parts)
        inner = _types_of(types_, node, where)
        if not parts and operation == "=":
            node[where] = value
            return
        if isinstance(node, dict) and where not in node:
            node[where] = _default(types_, node, where)
        elif isinstance(node[where], str) and any(_is_config(t) for t in _flat(inner)):
            node[where] = _written_out(node[where], inner)
        node, types_ = node[where], inner
        path = f"{path}.{where}" if path else str(where)
        if not parts:
            break
    if operation == "+=":
        if not isinstance(node, list):
            msg = f"{path} is no list"
            raise LookupError(msg)
        node.append(value)
    elif isinstance(node, list):
        del node[node.index(value) if value in node else _number(node, types_, path, str(value))]
    elif isinstance(node, dict) and str(value) in node:
        del node[str(value)]
    else:
        raise LookupError(_nothing(path, str(value), node if isinstance(node, dict) else ()))


def _next(node: Any, types_: list[Any], path: str, parts: list[str]) -> tuple[Any, list[str]]:
    """The first step of the way, and what is left of it."""
    if isinstance(node, list):
        return _number(node, types_, path, parts[0]), parts[1:]
    if not isinstance(node, dict):
        raise LookupError(f"{path} is {node!r}, in which there is nothing to change")  # noqa: EM102, TRY004
    fields = _fields(types_, node)
    if fields:
        if parts[0] not in fields:
            raise LookupError(_nothing(path, parts[0], fields))
        return parts[0], parts[1:]
    # Names such as Muon.pt hold dots themselves: a known one first, then all of what can't be divided.
    for size in range(len(parts), 0, -1):
        if ".".join(parts[:size]) in node:
            return ".".join(parts[:size]), parts[size:]
    if any(_is_config(t) for t in _types_of_key(types_, node, parts[0])):
        return parts[0], parts[1:]
    return ".".join(parts), []


def _number(node: list[Any], types_: list[Any], path: str, name: str) -> int:
    """The number of the element of that number or name."""
    names = [_name(element, _types_of_elements(types_)) for element in node]
    if name.removeprefix("-").isdecimal() and -len(node) <= int(name) < len(node):
        return int(name) % len(node)
    if names.count(name) == 1:
        return names.index(name)
    there = [f"{i} ({n})" if n else str(i) for i, n in enumerate(names)]
    raise LookupError(_nothing(path, name, there))


def _name(element: Any, types_: list[Any]) -> str | None:
    """What a list's element is called, its default included."""
    if not isinstance(element, dict):
        return str(element)
    for annotation in types_:
        with suppress(ValidationError, RecipeError):
            made = TypeAdapter(annotation).validate_python(element)
            if found := getattr(made, "name", None) or getattr(made, "collection", None):
                return str(found)
    return None


def _written_out(short: str, types_: list[Any]) -> Any:
    """The mapping for which a text is short, or the text if it is not."""
    for config in filter(_is_config, _flat(types_)):
        with suppress(ValidationError, RecipeError):
            return _plain(config.model_validate(short))
    return short


def _default(types_: list[Any], node: dict[str, Any], key: str) -> Any:
    """What a key that is not written stands for, as far as one can change parts of it."""
    for field in _field(types_, node, key):
        value = field.get_default(call_default_factory=True)
        if isinstance(value, BaseModel):
            kind = getattr(value, "kind", None)
            return {} if kind is None else {"kind": kind}
        if isinstance(value, list | tuple):
            return [_plain(v) for v in value]
    return {}


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json", exclude_unset=True) if isinstance(value, BaseModel) else value


def _nothing(path: str, name: str, there: Iterable[str]) -> str:
    names = list(there)
    close = get_close_matches(name, names, 1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    place = path or "the recipe"
    return f"{place} has no {name!r}; there {_are(names)}{hint}"


def _are(names: list[str]) -> str:
    return f"{'is' if len(names) == 1 else 'are'} {', '.join(names)}" if names else "is nothing in it"


# ------------------------------------------------------------------------- types


def _types_of(types_: list[Any], node: Any, where: Any) -> list[Any]:
    return _types_of_elements(types_) if isinstance(node, list) else _types_of_key(types_, node, where)


def _types_of_key(types_: list[Any], node: Any, key: str) -> list[Any]:
    found = [f.annotation for f in _field(types_, node, key)]
    return found or [get_args(t)[1] for t in _flat(types_) if _origin(t, dict)]


def _types_of_elements(types_: list[Any]) -> list[Any]:
    return [get_args(t)[0] for t in _flat(types_) if _origin(t, list, tuple, Sequence)]


def _field(types_: list[Any], node: Any, key: str) -> list[FieldInfo]:
    return [c.model_fields[key] for c in _configs(types_, node) if key in c.model_fields]


def _fields(types_: list[Any], node: Any) -> dict[str, None]:
    """The keys that a mapping may have, in order; none where it may have any."""
    return dict.fromkeys(name for c in _configs(types_, node) for name in c.model_fields)


def _configs(types_: list[Any], node: Any) -> list[type[BaseModel]]:
    """The models that may describe a mapping: that of its kind, or all."""
    found = [t for t in _flat(types_) if _is_config(t)]
    kind = node.get("kind") if isinstance(node, Mapping) else None
    own = [c for c in found if "kind" in c.model_fields and c.model_fields["kind"].default == kind]
    return own or found


def _is_config(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _flat(types_: list[Any]) -> Iterator[Any]:
    """The members of unions."""
    for annotation in types_:
        if get_origin(annotation) is Annotated:
            yield from _flat([get_args(annotation)[0]])
        elif get_origin(annotation) in (Union, types.UnionType):
            yield from _flat(list(get_args(annotation)))
        else:
            yield annotation


def _origin(annotation: Any, *wanted: Callable[..., Any]) -> bool:
    return get_origin(annotation) in wanted


class EventsConfig(Config):
    """Which of the file's branches are learned, and as what.

    Attributes:
        select: Collections (``Muon``), fields (``Muon.pt``) and scalars to learn; everything if empty.
        kinds: Kinds that the data alone would not tell: ``{"PV.npvs": "integer"}``.
        weight: The scalar that holds the event weight, or ``none``; without it, ``genWeight``, ``weight``,
            ``nSig_sw`` and the like are found.
        signs: Whether generated events have weights of either sign, as those of the training have; if not,
            all have the same weight. Their signs are learned with the discrete part, all else by absolute
            weights.
        prepared: What is made of the file's events before anything else, in order: objects, fields with a
            shape, numbers: ``{Aligned: "aligned(Constituent, deta, dphi)"}``. What it is made of need not be
            learned. Events that lack that, as generated ones do, have it already.
        derived: Numbers that are computed from the rest of each generated event instead of being learned, of
            the event or of objects: ``{M: "(Muon[0] + Muon[1]).mass", Muon.tight: Muon.iso < 0.15}``. They
            have to agree with the data. Where an event has nothing to compute one from, it is 0. A field
            with a shape that is a ``grid(...)`` of objects is prepared by it, too.
        unit: The unit of the file's momenta, energies and masses: ``MeV``, ``GeV`` or ``TeV``; without it, it
            is told from the data. Numbers stay in it; labels and what is meant in GeV inside follow it.
        grids: Axes of arrays, slowest index first: ``{Image: {phi: [-1.2, 1.2], eta: [-1.2, 1.2]}}``. With
            numbers of bins, ``{phi: {low: -1.2, high: 1.2, bins: 25}, ...}``, ``Image[625]`` becomes an array
            of 25 x 25.
        layout: The whole schema, for files whose branches follow no naming that hepgan knows.
    """

    select: tuple[str, ...] = ()
    kinds: dict[str, Kind] = Setting(default_factory=dict)
    weight: str | None = None
    signs: bool = False
    prepared: dict[str, str] = Setting(default_factory=dict)
    derived: dict[str, str] = Setting(default_factory=dict)
    unit: Unit | None = None
    grids: dict[str, dict[str, AxisConfig]] = Setting(default_factory=dict)
    layout: EventSchema | None = None

    @field_validator("prepared", "derived")
    @classmethod
    def _they_are_expressions(cls, value: dict[str, str]) -> dict[str, str]:
        for name, expression in value.items():
            try:
                parse(expression)
            except RecipeError as error:
                msg = f"{name}: {error.message}"
                raise ValueError(msg) from None
        return value

    @model_validator(mode="after")
    def _layouts_are_of_files(self) -> EventsConfig:
        if self.layout is not None and self.prepared:
            msg = "a layout is that of files, which what is prepared is not in: leave out one of them"
            raise ValueError(msg)
        return self

    @property
    def axes(self) -> Grids:
        """The axes of all arrays that the recipe tells: those of ``grids``, and of what is prepared."""
        return {**self.preparation.axes, **self.grids}

    @property
    def preparation(self) -> Preparation:
        """What makes the prepared part of events, and the grids among what is derived."""
        grids = {n: e for n, e in self.derived.items() if parse(e).grid is not None}
        return Preparation({**self.prepared, **{n: e for n, e in grids.items() if n not in self.prepared}})


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
            try:
                given = {name, Address.parse(name).name} & {*self.conditions}
            except ValueError:
                given = {name} & {*self.conditions}
            if given or name == self.events.weight:
                what = "a condition" if given else "the event weight"
                msg = f"events.derived: {name} is {what}, which cannot be derived"
                raise ValueError(msg)
        return self

    @property
    def branches(self) -> list[str] | None:
        """What ``read_events`` needs to read for this recipe; None for everything."""
        if not self.events.select:
            return None
        weight = [] if self.events.weight in (None, NO_WEIGHT) else [self.events.weight]
        return [*self.events.select, *self.events.derived, *self.conditions, *weight]

    def make_observables(self) -> dict[str, Observable]:
        """The recipe's observables, ready to be evaluated."""
        unit = self.events.unit or "GeV"
        return {n: observable_from_config(c, n, unit=unit) for n, c in self.observables.items()}

    def with_settings(self, settings: Iterable[str]) -> Recipe:
        """The recipe with some values changed.

        Args:
            settings: ``key=value`` with dots between levels and a YAML value: ``model.steps=8``,
                ``training.optimiser.lr=1e-3``. Elements of lists are their number or name
                (``model.critics.0.weight=0.5``); ``+=`` appends to a list
                (``training.selection.metrics+=ks:met``), ``-=`` takes an element out, by number or name
                (``model.penalties-=0``, ``observables-=met``). They are done one after the other.

        Raises:
            RecipeError: If a setting is malformed, if there is nothing of its key, or if the changed recipe
                is not valid.
        """
        document = self.model_dump(mode="json", exclude_unset=True)
        change(document, Recipe, [_read(setting) for setting in settings])
        return _validated(document, self.name)

    def to_yaml(self) -> str:
        """The recipe as YAML, without the settings that stand at their defaults."""
        return to_yaml(self.model_dump(mode="json", exclude_unset=True))


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


@checked
def load_recipe(recipe: str | Path | Mapping[str, Any] | Recipe) -> Recipe:
    """A recipe by its name, from a YAML file, or from a mapping.

    Raises:
        RecipeError: If there is no such recipe or file, or if a key or value in it is wrong.
    """
    if isinstance(recipe, Recipe):
        return recipe
    if isinstance(recipe, Mapping):
        return _validated(recipe, None)
    try:
        path = Path(recipe)
    except TypeError:
        msg = f"recipe must be a name, a YAML file, a mapping or a Recipe, not {type(recipe).__name__}"
        raise TypeError(msg) from None
    if path.suffix not in (".yaml", ".yml") and not _is_file(path):
        return _validated(parse_yaml(recipe_text(str(recipe)), str(recipe)), str(recipe))
    document = read_document(path)
    if not isinstance(document, Mapping):
        msg = "not a recipe: expected a mapping with name, model, ..."
        raise RecipeError(msg, file=path)
    return _validated({"name": path.stem, **document}, str(path))


def _is_file(path: Path) -> bool:
    with suppress(OSError, ValueError):  # of names that no file can have
        return path.is_file()
    return False


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
        if first["type"] == "string_type" and isinstance(first["input"], bool | int | float | None):
            message += f"; put what is text into quotes, such as '{first['input']}'"
    more = error.error_count() - 1
    key = ".".join(map(str, place))
    return (f"{key}: " if key else "") + message + (f" (and {more} more)" if more else "")


def _read(setting: str) -> Change:
    key, equals, text = setting.partition("=")
    operation = key[-1] + "=" if key.endswith(("+", "-")) else "="
    key = key.rstrip("+-").strip() if operation != "=" else key.strip()
    if not equals or not key:
        msg = f"--set {setting!r}: expected key=value, as in model.steps=8"
        raise RecipeError(msg)
    return Change(setting, key, operation, parse_yaml(text, f"--set {setting}"))
