"""The settings of an observable in a recipe or a model file."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

from pydantic import Field as Setting
from pydantic import field_validator, model_validator

from hepgan.config import Config
from hepgan.observables.language import parse

__all__ = ["ObservableConfig", "check_axis"]


class ObservableConfig(Config):
    """An observable in a recipe; a plain text is short for ``{expression: ...}``.

    Attributes:
        expression: The quantity in the language of observables.
        standard: Instead of an expression, the name of a standard quantity.
        objects: The objects that the standard quantity is of; numbers, too, for those that take one.
        options: Options of the standard quantity, such as ``variable: chi`` of ``eec``.
        bins: Number of bins.
        range: Lower and upper end; whole numbers and inclusive for ``integer``.
        edges: Instead of bins and range, the bin edges.
        log: Whether the bins have equal widths in the logarithm.
        integer: Whether there is one bin for each whole number.
        label: The quantity in LaTeX, without the unit.
        unit: The unit, for example ``GeV``.
        weight: The weight of each value, an expression; a standard quantity may have one of its own.
    """

    expression: str | None = None
    standard: str | None = None
    objects: tuple[str, ...] = ()
    options: dict[str, bool | int | float | str] = Setting(default_factory=dict)
    bins: int = Setting(default=50, ge=1, le=100_000)
    range: tuple[float, float] | None = None
    edges: tuple[float, ...] | None = None
    log: bool = False
    integer: bool = False
    label: str | None = None
    unit: str = ""
    weight: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _text_is_an_expression(cls, data: Any) -> Any:
        return {"expression": data} if isinstance(data, str) else data

    @field_validator("objects", mode="before")
    @classmethod
    def _numbers_are_expressions(cls, objects: Any) -> Any:
        if not isinstance(objects, list | tuple):
            return objects
        return [o if isinstance(o, (str, bool)) else str(o) for o in objects]

    @model_validator(mode="after")
    def _is_consistent(self) -> ObservableConfig:
        if (self.expression is None) == (self.standard is None):
            msg = "an observable has either an expression or the name of a standard one"
            raise ValueError(msg)
        if self.expression is not None:
            parse(self.expression)
            if self.objects or self.options:
                msg = "objects and options belong to a standard observable; an expression names its own"
                raise ValueError(msg)
        if self.weight is not None:
            parse(self.weight)
        check_axis(self.range, self.edges, self.log, self.integer)
        return self


def check_axis(
    span: tuple[float, float] | None, edges: tuple[float, ...] | None, log: bool, integer: bool
) -> None:
    """Whether bins can be made so.

    Raises:
        ValueError: If not.
    """
    if edges is not None:
        if len(edges) < 2 or any(not a < b for a, b in pairwise(edges)):
            msg = f"edges must be at least two, each larger than the one before, not {edges}"
            raise ValueError(msg)
        return
    if span is None:
        return
    low, high = span
    if not (math.isfinite(low) and math.isfinite(high)) or not (low <= high if integer else low < high):
        msg = f"the range must be (low, high) with low < high, not {span}"
        raise ValueError(msg)
    if log and not low > 0:
        msg = f"a logarithmic axis must begin above 0, not at {low}"
        raise ValueError(msg)
    if integer and not (float(low).is_integer() and float(high).is_integer()):
        msg = f"the range of whole numbers must be whole, not {span}"
        raise ValueError(msg)
