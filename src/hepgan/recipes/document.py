"""YAML as recipes are written in it: the part that says one thing only, read in bounded time and memory."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import yaml

from hepgan.errors import RecipeError

__all__ = ["parse_yaml", "read_document", "to_yaml"]

LARGEST = 4_000_000
"""Bytes of a recipe; a draft of 1,500 branches has a tenth."""

DEEPEST = 64
"""Levels of a recipe; those that come with hepgan have up to 8."""

MOST = 200_000
"""Values of a recipe, each as often as it is referred to."""


def read_document(path: Path) -> Any:
    """What a YAML file says, in UTF-8 or in UTF-16, as Windows' shell writes it.

    Raises:
        RecipeError: If the file cannot be read, is too large, is no text or no YAML.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            msg = f"not a recipe: it is larger than {LARGEST // 1_000_000} MB"
            raise RecipeError(msg, file=path)
        text = content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError as error:
        msg = "not a recipe: it is no text"
        raise RecipeError(msg, file=path) from error
    except (OSError, ValueError) as error:  # ValueError of a name with a null
        reason = getattr(error, "strerror", None) or str(error)
        raise RecipeError(reason, file=path) from error
    return parse_yaml(text, str(path))


def parse_yaml(text: str, where: str) -> Any:
    """What YAML says.

    A key stands once, and is text, whatever it looks like. Only ``true`` and ``false`` are logical values
    (``no`` is a name), and there are no dates.

    Args:
        text: The YAML.
        where: Its file or name, for errors.

    Raises:
        RecipeError: If it is no YAML, has a key twice, or is too deep or large.
    """
    try:
        node = yaml.compose(text, Loader=_Loader)
        return None if node is None else _document(node)
    except RecursionError as error:
        msg = f"more than {DEEPEST} levels"
        raise RecipeError(msg, file=where) from error
    except yaml.MarkedYAMLError as error:
        raise RecipeError(_reason(error), file=where) from error
    except yaml.YAMLError as error:
        raise RecipeError(str(error), file=where) from error


def to_yaml(document: Any) -> str:
    """Plain data as YAML that `parse_yaml` reads back."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False)


def _reason(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or ""
    if r"'\t'" in problem:
        problem = "a tab, where YAML has spaces alone"
    elif error.context:
        problem = f"{error.context}: {problem}"
    mark = error.problem_mark or error.context_mark
    return problem if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: {problem}"


def _document(node: yaml.Node) -> Any:
    """Plain data of a tree of nodes; what is referred to is copied."""
    total = 0

    def plain(node: yaml.Node, depth: int) -> Any:
        nonlocal total
        total += 1
        if depth > DEEPEST:
            _refuse(f"more than {DEEPEST} levels", node)
        if total > MOST:
            _refuse(f"more than {MOST:,} values, each as often as it is referred to", node)
        kind = node.tag.removeprefix(TAG)
        if isinstance(node, yaml.SequenceNode) and kind == "seq":
            return [plain(element, depth + 1) for element in node.value]
        if isinstance(node, yaml.MappingNode) and kind == "map":
            return mapping(node, depth)
        if isinstance(node, yaml.ScalarNode) and kind in SCALARS:
            try:
                return SCALARS[kind](node.value)
            except ValueError:  # of a tag that is written out, or of more digits than Python reads
                shown = node.value if len(node.value) < 40 else f"{node.value[:40]}..."
                _refuse(f"{shown} is no {kind}", node)
        _refuse(f"a recipe has no {node.tag}", node)

    def mapping(node: yaml.MappingNode, depth: int) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        own: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                _refuse("a key is no text", key)
            if key.tag == f"{TAG}merge":
                found = plain(value, depth + 1)
                for each in found if isinstance(found, list) else [found]:
                    if not isinstance(each, dict):
                        _refuse("<< merges mappings alone", value)
                    merged = {**each, **merged}
            elif key.value in own:
                _refuse(f"the key {key.value} stands here a second time", key)
            else:
                own[key.value] = plain(value, depth + 1)
        return {**merged, **own}

    return plain(node, 0)


def _refuse(problem: str, node: yaml.Node) -> NoReturn:
    raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


TAG = "tag:yaml.org,2002:"

SCALARS: dict[str, Callable[[str], Any]] = {
    "str": str,
    "null": lambda text: None,
    "bool": lambda text: bool(("false", "true").index(text.lower())),
    "int": lambda text: int(text.replace("_", "")),
    "float": lambda text: float(text.replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan")),
}

_RESOLVED = {
    "null": (r"~|null|Null|NULL|", "~nN", ""),
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "int": (r"[-+]?[0-9][0-9_]*", "-+0123456789"),
    # YAML 1.1 reads 1e-4 as text; physicists mean a number.
    "float": (
        r"[-+]?([0-9][0-9_]*(\.[0-9_]*)?|\.[0-9][0-9_]*)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
    "merge": (r"<<", "<"),
}


class _Loader(yaml.SafeLoader):
    """Tells by a text whether it is a number, a logical value or null."""

    yaml_implicit_resolvers = {}  # noqa: RUF012


class _Dumper(yaml.SafeDumper):
    """Puts into quotes what another reader of YAML, or this one, takes for something else than text."""


for _kind, (_pattern, *_first) in _RESOLVED.items():
    _begin = [letter for letters in _first for letter in (letters or [""])]
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(TAG + _kind, re.compile(f"^(?:{_pattern})$"), _begin)
