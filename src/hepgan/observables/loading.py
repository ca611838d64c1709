"""Observables from recipes and from the user's own Python files."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hepgan.errors import RecipeError
from hepgan.observables.config import ObservableConfig
from hepgan.observables.observable import Observable
from hepgan.observables.standard import standard

__all__ = ["from_config", "from_python_file"]


def from_config(config: ObservableConfig | Mapping[str, Any] | str, name: str | None = None) -> Observable:
    """The observable that a recipe describes.

    Args:
        config: Settings, or an expression.
        name: Its name; that of the standard quantity or the expression itself by default.

    Raises:
        RecipeError: If the settings or the expression are wrong.
    """
    if not isinstance(config, ObservableConfig):
        try:
            config = ObservableConfig.model_validate(config)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            reason = str(first.get("ctx", {}).get("error", first["msg"]))
            text = ": ".join(part for part in (f"observable {name}" if name else "", where, reason) if part)
            raise RecipeError(text) from None
    keys = ("bins", "range", "edges", "log", "integer", "label", "unit", "weight")
    given: dict[str, Any] = {key: getattr(config, key) for key in keys if key in config.model_fields_set}
    if config.standard is not None:
        return replace(standard(config.standard, *config.objects, name=name, **config.options), **given)
    expression = config.expression or ""
    return Observable(name or expression, expression, **given)


def from_python_file(path: str | Path, name: str, function: str | None = None) -> Observable:
    """An observable from a function in a Python file, which is executed.

    Args:
        path: The file. It runs with all rights of the user: only the user's own files belong here.
        name: The observable's name.
        function: The function's name in the file; ``name`` by default.

    Raises:
        RecipeError: If there is no such file or function, or the file cannot be run.
    """
    path = Path(path)
    spec = importlib.util.spec_from_file_location(f"_hepgan_user_{path.stem}", path)
    if not path.is_file() or spec is None or spec.loader is None:
        msg = "no such Python file"
        raise RecipeError(msg, file=path)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        msg = f"the file cannot be run: {type(error).__name__}: {error}"
        raise RecipeError(msg, file=path) from error
    found = getattr(module, function or name, None)
    if not callable(found):
        msg = f"there is no function {function or name!r} in the file"
        raise RecipeError(msg, file=path)
    return Observable(name, function=found)
