"""The check of arguments that users give in Python."""

from __future__ import annotations

import functools
import inspect
import operator
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Annotated, Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin

import numpy as np
from numpy.typing import ArrayLike

from hepgan.errors import InputError

__all__ = ["SEEDS", "checked", "whole"]

P = ParamSpec("P")
R = TypeVar("R")


SEEDS = 2**64 - 1
"""The largest seed."""


def whole(name: str, value: Any, least: int = 1, most: int | None = None) -> int:
    """The whole number, of Python or NumPy, that an argument gives.

    Args:
        name: The argument.
        value: What it gives.
        least: The smallest number that it may give.
        most: The largest one, if there is one.

    Raises:
        InputError: If it gives something else, which a logical value is, too, and 2.0.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool) or number < least or (most is not None and number > most):
        span = f"of at least {least:,}" if most is None else f"from {least:,} to {most:,}"
        msg = f"{name} must be a whole number {span}, not {_shown(value)}"
        raise InputError(msg)
    return number


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """A public function that looks at its arguments before it does anything.

    Each must be what its annotation says: whole numbers may be NumPy's, and become Python's, but are never
    logical values; a seed is from 0 to 2^64 - 1, other whole numbers are not negative; numbers are not NaN;
    events are an array with fields. What an annotation says of the elements of iterators, and of arrays
    beyond their being numbers, is left to the function.

    Raises:
        InputError: If an argument is something else; it names the argument.
    """
    signature = inspect.signature(function)

    @functools.cache
    def annotations() -> dict[str, Any]:
        return {name: _evaluated(p.annotation, function) for name, p in signature.parameters.items()}

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        bound = signature.bind(*args, **kwargs)
        for name, value in bound.arguments.items():
            kind = signature.parameters[name].kind
            if kind not in (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL):
                bound.arguments[name] = _taken(name, value, annotations()[name])
        return function(*bound.args, **bound.kwargs)

    return call


def _evaluated(annotation: Any, function: Callable[..., Any]) -> Any:
    """An annotation's type; anything where there is none, or it is known to the type checker alone."""
    if not isinstance(annotation, str):
        return Any if annotation is inspect.Parameter.empty else annotation
    try:
        return eval(annotation, vars(sys.modules[function.__module__]))
    except NameError:
        return Any


def _taken(name: str, value: Any, annotation: Any) -> Any:
    """The value of an argument, if it is what its annotation says."""
    members = _members(annotation)
    if Any in members:
        return value
    for member in members:
        found = _as(name, value, member)
        if found is not _NOTHING:
            return found
    if int in members and len(members) <= 1 + (type(None) in members):
        return whole(name, value, 0, SEEDS if name == "seed" else None)
    wanted = ", ".join(dict.fromkeys(map(_called, members)))
    msg = f"{name} must be {wanted}, not {_shown(value)}{_way(value, members)}"
    raise InputError(msg)


_NOTHING = object()


def _members(annotation: Any) -> list[Any]:
    if annotation is ArrayLike:
        return [ArrayLike]
    if get_origin(annotation) is Annotated:
        return _members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return [member for part in get_args(annotation) for member in _members(part)]
    return [type(None) if annotation is None else annotation]


def _as(name: str, value: Any, wanted: Any) -> Any:
    """The value as what is wanted, or `_NOTHING`."""
    origin = get_origin(wanted) or wanted
    if wanted is int:
        try:
            return whole(name, value, 0, SEEDS if name == "seed" else None)
        except InputError:
            return _NOTHING
    if wanted is float:
        number = not isinstance(value, bool | np.bool) and isinstance(value, Real)
        return value if number and not np.isnan(float(value)) else _NOTHING
    if origin is Literal:
        fits = isinstance(value, str | int) and value in get_args(wanted)
    elif wanted is ArrayLike or origin is np.ndarray:
        fits = _numeric(value)
    elif wanted is bool:
        fits = isinstance(value, bool | np.bool)
    elif origin is Callable:
        fits = callable(value)
    elif origin in (Path, str) and isinstance(value, origin) and "\0" in str(value):
        fits = False
    elif isinstance(origin, type) and not getattr(origin, "_is_protocol", False):
        fits = isinstance(value, origin) and not isinstance(value, bytes) and _elements(name, value, wanted)
    else:
        return value
    return value if fits else _NOTHING


def _elements(name: str, value: Any, wanted: Any) -> bool:
    """Whether the elements of what is held in memory are what is wanted; events have fields."""
    if _is_array(wanted):
        return bool(value.fields)
    if isinstance(value, str) or not get_args(wanted):
        return True
    if isinstance(value, Mapping):
        key, element = get_args(wanted)
        return all(_fits(name, k, key) and _fits(name, v, element) for k, v in value.items())
    return not isinstance(value, Sequence) or all(_fits(name, v, get_args(wanted)[0]) for v in value)


def _fits(name: str, value: Any, annotation: Any) -> bool:
    try:
        _taken(name, value, annotation)
    except InputError:
        return False
    return True


def _numeric(value: Any) -> bool:
    try:
        return np.asarray(value).dtype.kind in "biuf"
    except (TypeError, ValueError):
        return False


def _is_array(wanted: Any) -> bool:
    return getattr(wanted, "__name__", "") == "Array" and wanted.__module__.startswith("awkward")


def _called(wanted: Any) -> str:
    if wanted is type(None):
        return "None"
    if _is_array(wanted):
        return "events (an ak.Array with fields)"
    if get_origin(wanted) is Literal:
        return " or ".join(map(repr, get_args(wanted)))
    known = {
        int: "a whole number",
        float: "a number",
        str: "text",
        ArrayLike: "numbers",
    }
    if wanted in known:
        return known[wanted]
    if get_origin(wanted) is np.ndarray:
        return "numbers"
    return str(wanted).replace("collections.abc.", "") if get_args(wanted) else f"a {wanted.__name__}"


def _way(value: Any, members: Sequence[Any]) -> str:
    """How events are made of something else."""
    if not any(map(_is_array, members)):
        return ""
    if isinstance(value, Mapping) or hasattr(value, "columns"):
        return "; of a table, hepgan.events.as_events(ak.Array({name: numbers, ...})) makes events"
    return "; hepgan.read_events reads events, hepgan.events.to_awkward makes them of an EventBatch"


def _shown(value: Any) -> str:
    shown = repr(value) if isinstance(value, str | bytes | int | float | complex | None) else ""
    return shown if shown and len(shown) < 40 else type(value).__name__
