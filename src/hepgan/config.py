"""The base of everything that a recipe configures."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, model_validator

__all__ = ["LARGEST", "Config", "Settings"]


class Config(BaseModel):
    """Immutable settings; an unknown key or a wrong type is an error, never ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")


LARGEST = 1e30
"""The largest number of settings and conditions; single precision, in which networks calculate, holds not
much more."""


class Settings(Config):
    """Settings whose numbers are finite and fit single precision; true and false are no numbers."""

    model_config = ConfigDict(allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _numbers_are_numbers(cls, data: Any) -> Any:
        for name, value in data.items() if isinstance(data, dict) else ():
            if name not in cls.model_fields:
                continue
            kinds = {*_types(cls.model_fields[name].annotation)}
            for part in _parts(value) if kinds & {int, float} else ():
                if isinstance(part, bool) and bool not in kinds:
                    msg = f"{name}: {str(part).lower()} is no number"
                    raise ValueError(msg)
                if isinstance(part, int | float) and LARGEST < abs(part) < math.inf:
                    msg = f"{name}: {str(part)[:20]} is too large"
                    raise ValueError(msg)
        return data


def _parts(value: Any) -> Iterator[Any]:
    """A value, or those of a list."""
    if isinstance(value, list | tuple):
        for part in value:
            yield from _parts(part)
    else:
        yield value


def _types(annotation: Any) -> Iterator[Any]:
    """A type, and those that it is made of."""
    yield annotation
    for part in get_args(annotation):
        # What a Literal is made of are values.
        yield from _types(type(part) if isinstance(part, int) else part)
