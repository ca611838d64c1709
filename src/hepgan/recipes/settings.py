"""Changes of single values of a recipe, and what there is to change."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from hepgan.errors import RecipeError

__all__ = ["Change", "change", "known_keys", "real_place"]


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
    if name.removeprefix("-").isdigit() and -len(node) <= int(name) < len(node):
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
