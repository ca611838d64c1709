"""The check of arguments that users give in Python."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import operator
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin

import numpy as np
from numpy.typing import ArrayLike

from hepgan.errors import InputError

__all__ = ["SEEDS", "Made", "checked", "whole"]

F = TypeVar("F", bound=Callable[..., Any])


SEEDS = 2**64 - 1
"""The largest seed."""

COUNTS = 2**63 - 1
"""The largest of other whole numbers, which arrays can still count."""


@dataclass(frozen=True)
class Made:
    """How an argument is made of what a user gives: the metadata of an ``Annotated``.

    Attributes:
        words: What it may be, in words.
        takes: Whether something is of such a kind.
        make: Makes the argument of it.
        hint: How to come from something else to what it may be, in words.
    """

    words: str
    takes: Callable[[Any], bool]
    make: Callable[[Any], Any]
    hint: Callable[[Any], str]


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


def checked(function: F) -> F:
    """A public function, or dataclass, that looks at its arguments before it does anything.

    Each must be what its annotation says: numbers may be NumPy's, and become Python's, but are never logical
    values; a seed is from 0 to 2^64 - 1, other whole numbers are not negative; numbers are not NaN; paths
    are not empty; a text is no sequence of texts; arrays have no masked numbers; events are an array with
    fields. What an annotation says of the elements of iterators, and of arrays beyond their being numbers,
    is left to the function.

    Raises:
        InputError: If an argument is something else; it names the argument.
    """
    if isinstance(function, type):
        made: Any = function
        made.__init__ = checked(made.__init__)
        return function
    signature = inspect.signature(function)

    @functools.cache
    def wanted() -> dict[str, list[Any]]:
        found = {n: _members(_evaluated(p.annotation, function)) for n, p in signature.parameters.items()}
        free = [n for n, p in signature.parameters.items() if p.kind is p.VAR_KEYWORD or Any in found[n]]
        return {n: members for n, members in found.items() if n not in free}

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        bound = None
        with suppress(TypeError):
            bound = signature.bind(*args, **kwargs)
        if bound is None:
            return function(*args, **kwargs)  # Python's own error names the function
        given = bound.arguments
        for name, members in wanted().items():
            if name in given and signature.parameters[name].kind is inspect.Parameter.VAR_POSITIONAL:
                given[name] = tuple(_taken(name, value, members) for value in given[name])
            elif name in given:
                given[name] = _taken(name, given[name], members)
        return function(*bound.args, **bound.kwargs)

    return cast("F", call)


def _evaluated(annotation: Any, function: Callable[..., Any]) -> Any:
    """An annotation's type; anything where there is none."""
    if not isinstance(annotation, str):
        return Any if annotation is inspect.Parameter.empty else annotation
    module = sys.modules[function.__module__]
    try:
        return eval(annotation, vars(module))
    except NameError:
        return eval(annotation, vars(module), _deferred(module))


def _deferred(module: types.ModuleType) -> dict[str, Any]:
    """What a module imports for the type checker alone, by name; anything where it is not installed."""
    found: dict[str, Any] = {}
    blocks = (block for block in ast.parse(inspect.getsource(module)).body if isinstance(block, ast.If))
    for line in (line for b in blocks if ast.unparse(b.test) == "TYPE_CHECKING" for line in b.body):
        if isinstance(line, ast.ImportFrom):
            for one in line.names:
                try:
                    value = getattr(importlib.import_module(str(line.module)), one.name)
                except ImportError:
                    value = Any
                found[one.asname or one.name] = value
    return found


def _taken(name: str, value: Any, members: list[Any]) -> Any:
    """The value of an argument, if it is one of what its annotation says."""
    nowhere = Path in members and isinstance(value, str | Path) and ("\0" in str(value) or value == "")
    # A list becomes a tuple where nothing else takes it.
    for member in sorted(members, key=_is_tuple) if not nowhere else ():
        found = _as(name, value, member)
        if found is not _NOTHING:
            return found
    if int in members and len(members) <= 1 + (type(None) in members):
        return whole(name, value, 0, _most(name, value))
    wanted = ", ".join(
        dict.fromkeys("a path" if Path in members and m in (str, Path) else _called(m) for m in members)
    )
    msg = f"{name} must be {wanted}, not {_shown(value)}{_way(value, members)}"
    raise InputError(msg)


_NOTHING = object()


def _most(name: str, value: Any) -> int | None:
    """The largest whole number that an argument may be, where it matters."""
    if name == "seed":
        return SEEDS
    return COUNTS if isinstance(value, int) and value > COUNTS else None


def _members(annotation: Any) -> list[Any]:
    if annotation is ArrayLike:
        return [ArrayLike]
    if get_origin(annotation) is Annotated:
        kind, *told = get_args(annotation)
        return [m for m in told if isinstance(m, Made)] or _members(kind)
    if get_origin(annotation) in (Union, types.UnionType):
        parts, numbers = get_args(annotation), get_args(ArrayLike)
        if set(numbers) <= set(parts):  # a union forgets which of its members were one
            rest = [m for part in parts if part not in numbers for m in _members(part)]
            return [ArrayLike, *rest]
        return [member for part in get_args(annotation) for member in _members(part)]
    return [type(None) if annotation is None else annotation]


def _as(name: str, value: Any, wanted: Any) -> Any:
    """The value as what is wanted, or `_NOTHING`."""
    if isinstance(wanted, Made):
        return wanted.make(value) if wanted.takes(value) else _NOTHING
    origin = get_origin(wanted) or wanted
    if wanted is int:
        try:
            return whole(name, value, 0, _most(name, value))
        except InputError:
            return _NOTHING
    if wanted is float:
        if not _is_number(value):
            return _NOTHING
        return value if isinstance(value, int | float) else value.item()
    if origin is Iterable and get_args(wanted) == (str,) and isinstance(value, Iterator):
        value = tuple(value)
    if origin is tuple and isinstance(value, list):
        value = tuple(value)
    if origin is Literal:
        fits = isinstance(value, str | int) and value in get_args(wanted)
    elif wanted is ArrayLike or origin is np.ndarray:
        fits = _numeric(value)
    elif wanted is bool:
        fits = isinstance(value, bool | np.bool)
    elif origin is type:
        fits = isinstance(value, type) and issubclass(value, get_args(wanted))
    elif origin is Callable:
        fits = callable(value)
    elif isinstance(origin, type) and not getattr(origin, "_is_protocol", False):
        fits = isinstance(value, origin) and not isinstance(value, bytes) and _elements(name, value, wanted)
    else:
        return value
    return value if fits else _NOTHING


def _is_tuple(wanted: Any) -> bool:
    origin: Any = get_origin(wanted)
    return origin is tuple


def _elements(name: str, value: Any, wanted: Any) -> bool:
    """Whether the elements of what is held in memory are what is wanted; events have fields."""
    if _is_array(wanted):
        return bool(value.fields)
    kinds = get_args(wanted)
    if not kinds:
        return True
    if isinstance(value, str):  # its letters are never meant
        return False
    if isinstance(value, Mapping) and len(kinds) == 2:
        return all(_fits(name, k, kinds[0]) and _fits(name, v, kinds[1]) for k, v in value.items())
    if isinstance(value, tuple) and get_origin(wanted) is tuple and kinds[-1] is not Ellipsis:
        return len(value) == len(kinds) and all(map(_fits, [name] * len(kinds), value, kinds))
    if isinstance(value, Iterator):
        return True
    try:
        return all(_fits(name, v, kinds[0]) for v in value)
    except Exception:  # whatever an object says that has no elements
        return False


def _fits(name: str, value: Any, annotation: Any) -> bool:
    members = _members(annotation)
    return Any in members or any(
        member.takes(value) if isinstance(member, Made) else _as(name, value, member) is not _NOTHING
        for member in members
    )


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        return False
    try:
        return not np.isnan(float(value))
    except OverflowError:
        return False


def _numeric(value: Any) -> bool:
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        return False
    try:
        return np.asarray(value).dtype.kind in "biuf"
    except Exception:  # whatever an object says that is no array
        return False


def _is_array(wanted: Any) -> bool:
    return getattr(wanted, "__name__", "") == "Array" and wanted.__module__.startswith("awkward")


def _called(wanted: Any) -> str:
    if wanted is type(None):
        return "None"
    if isinstance(wanted, Made):
        return wanted.words
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
    if get_args(wanted):
        return str(wanted).replace("collections.abc.", "").replace("typing.", "").replace("pathlib.", "")
    return f"a {wanted.__name__}"


def _way(value: Any, members: Sequence[Any]) -> str:
    """How what is wanted is made of something else."""
    made = next((m for m in members if isinstance(m, Made)), None)
    if made is not None:
        return made.hint(value)
    if not any(map(_is_array, members)):
        return ""
    if isinstance(value, Mapping) or hasattr(value, "columns"):
        return "; hepgan.events.as_events makes events of tables"
    return "; hepgan.read_events reads events, hepgan.events.to_awkward makes them of an EventBatch"


def _shown(value: Any) -> str:
    shown = repr(value) if isinstance(value, str | bytes | int | float | complex | None) else ""
    return shown if shown and len(shown) < 40 else type(value).__name__
