"""The observable: a physics quantity with one definition for files, training and histograms."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NamedTuple

import awkward as ak
import hist
import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from pydantic import Field as Setting
from pydantic import field_validator, model_validator
from torch import Tensor

from hepgan.arguments import checked
from hepgan.config import Config
from hepgan.errors import InputError, RecipeError
from hepgan.events.batch import EventBatch, Objects
from hepgan.events.schema import Collection, EventSchema, Field, Kind
from hepgan.observables.evaluate import (
    evaluate,
    evaluate_awkward,
    evaluate_weighted,
    weighted_awkward,
)
from hepgan.observables.language import parse
from hepgan.observables.ranges import MOST_BINS, Span, find_span, is_small
from hepgan.observables.sources import BatchSource
from hepgan.observables.values import Flat, Values

__all__ = ["Checked", "Observable", "ObservableConfig", "check_axis", "example", "text_used"]


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
    bins: int = Setting(default=50, ge=1, le=MOST_BINS)
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
    if not math.isfinite(high - low):
        msg = f"the range {span} is too wide"
        raise ValueError(msg)
    if integer and not (float(low).is_integer() and float(high).is_integer()):
        msg = f"the range of whole numbers must be whole, not {span}"
        raise ValueError(msg)
    if integer and not (high - low < MOST_BINS and is_small(low) and is_small(high)):
        msg = f"whole numbers in {span} are too many, or too large, for a bin each"
        raise ValueError(msg)


class Checked(NamedTuple):
    """What an observable gives for events of a schema.

    Attributes:
        per_event: Whether there is one number an event (else one for each of some objects).
        integer: Whether the numbers are whole.
        optional: Whether an event may lack it.
    """

    per_event: bool
    integer: bool
    optional: bool


def example(schema: EventSchema) -> EventBatch:
    """One event with as many objects as there can be, all numbers 1."""

    def number(field: Field, *shape: int) -> Tensor:
        whole = field.kind is not Kind.CONTINUOUS
        return torch.ones(shape, dtype=torch.int64 if whole else torch.float64)

    def objects(collection: Collection) -> Objects:
        count = collection.max_count
        mask = None if collection.fixed else torch.ones((1, count), dtype=torch.bool)
        return Objects({f.name: number(f, 1, count) for f in collection.fields}, mask)

    return EventBatch(
        schema,
        {c.name: objects(c) for c in schema.collections},
        {f.name: number(f, 1, *f.shape) for f in schema.scalars},
        size=1,
    )


def text_used(schema: EventSchema, expression: str) -> str:
    """The field or scalar of text that an expression uses; empty if it uses none."""
    parsed = parse(expression)
    for collection in schema.collections:
        if collection.name in parsed.names:
            for field in collection.fields:
                if field.dtype == "string" and field.name in parsed.attributes:
                    return f"{collection.name}.{field.name}"
    return next((f.name for f in schema.scalars if f.dtype == "string" and f.name in parsed.names), "")


@checked
@dataclass(frozen=True)
class Observable:
    """A named quantity of events.

    It takes an awkward array of events or an `EventBatch`, and on a batch it is differentiable.

    Args:
        name: Its name, that of the histogram axis.
        expression: The quantity in the language of observables.
        function: Instead, a Python function of events, such as
            ``lambda ev: (ev.Muon[:, 0] + ev.Muon[:, 1]).mass``. For a batch it returns a tensor (N,), or
            (tensor, mask), or `Values`; the mask is due where an event may lack the quantity or a
            collection is padded. For an awkward array it returns an array of numbers or of lists.
        bins: Number of bins.
        range: Lower and upper end; for ``integer`` both are whole and inclusive.
        edges: Instead of bins and range, the bin edges.
        log: Whether the bins have equal widths in the logarithm.
        integer: Whether there is one bin for each whole number.
        label: The quantity in LaTeX, without the unit; the name by default.
        unit: The unit.
        weight: The weight of each value, an expression for the same objects or the event, as in an energy
            correlator. Histograms of a weighted observable are sums of weights per event, which are not
            normalised to their own area.

    Raises:
        RecipeError: If an expression is not of the language, or the axis makes no sense.
        ValueError: If there are both or neither of expression and function, or a weight of a function.
    """

    name: str
    expression: str | None = None
    function: Callable[[Any], Any] | None = None
    bins: int = 50
    range: tuple[float, float] | None = None
    edges: tuple[float, ...] | None = None
    log: bool = False
    integer: bool = False
    label: str | None = None
    unit: str = ""
    weight: str | None = None

    def __post_init__(self) -> None:
        if (self.expression is None) == (self.function is None):
            msg = f"{self.name}: give either an expression or a function"
            raise ValueError(msg)
        if self.expression is not None:
            parse(self.expression)
        if self.weight is not None:
            if self.expression is None:
                msg = f"{self.name}: only an expression can have a weight, not a function"
                raise ValueError(msg)
            parse(self.weight)
        for axis in ("range", "edges"):
            if getattr(self, axis) is not None:
                object.__setattr__(self, axis, tuple(getattr(self, axis)))
        try:
            check_axis(self.range, self.edges, self.log, self.integer)
        except ValueError as error:
            msg = f"observable {self.name}: {error}"
            raise RecipeError(msg) from None

    # ------------------------------------------------------------------------------- values

    def __call__(self, events: Any) -> Any:
        """The values for events.

        Args:
            events: N events, an `EventBatch` or an ak.Array.

        Returns:
            `Values` for a batch; for an awkward array an ak.Array of N numbers (None where an event lacks
            the quantity) or of N lists.

        Raises:
            RecipeError: If the observable does not fit the events.
            InputError: If the events are neither.
        """
        if isinstance(events, EventBatch):
            if self.expression is not None:
                return evaluate(parse(self.expression), BatchSource(events))
            return self._values_of_function(events)
        if isinstance(events, ak.Array):
            if self.expression is not None:
                return evaluate_awkward(parse(self.expression), events)
            return self._array_of_function(events)
        msg = f"events are an EventBatch or an ak.Array, not {type(events).__name__}"
        raise InputError(msg)

    def flat(self, events: Any) -> Flat:
        """All values that exist, in a row, with the number of the event and the weight of each.

        Args:
            events: N events.

        Returns:
            Tensors for a batch (values and weights are differentiable), numpy arrays for an awkward array.
            Conditions become 0 and 1. Values whose weight is missing are left out.

        Raises:
            RecipeError: If the observable does not fit the events.
            InputError: If the events are neither.
        """
        if self.weight is None:
            return _flat_batch(*self(events)) if isinstance(events, EventBatch) else _flat_array(self(events))
        parsed = parse(self.expression or ""), parse(self.weight)
        if isinstance(events, EventBatch):
            (data, mask), weights = evaluate_weighted(*parsed, BatchSource(events))
            return _flat_batch(data, mask, weights)
        if not isinstance(events, ak.Array):
            return _flat_array(self(events))  # which says what is wrong
        values, factors = weighted_awkward(*parsed, events)
        return _flat_array(values)._replace(weight=_flat_array(factors).values)

    @checked
    def per_event(self, events: ak.Array) -> bool:
        """Whether it is one number (or none) of each event, without a weight of its own."""
        return self.weight is None and (
            not len(events) or self(events[:1] if len(events) > 1 else events).ndim == 1
        )

    @checked
    def column(self, events: ak.Array) -> NDArray[np.float64]:
        """Its values (N,) in N events, NaN where an event has none.

        Raises:
            RecipeError: If the observable does not fit the events.
            ValueError: If an event has several.
        """
        flat = self.flat(events)
        index = np.asarray(flat.index)
        if len(np.unique(index)) != len(index):
            msg = f"observable {self.name} has several values in an event; one is needed here"
            raise ValueError(msg)
        values = np.full(len(events), np.nan)
        values[index] = np.asarray(flat.values, dtype=np.float64)
        return values

    def dense(self, batch: EventBatch) -> tuple[Tensor, Tensor]:
        """One floating-point number for each event, as critics and classifiers need it.

        Args:
            batch: N events.

        Returns:
            The numbers (N,), differentiable, 0 where the quantity does not exist; and where it does (N,).

        Raises:
            RecipeError: If the observable has one value for each object, or weighted ones.
        """
        if self.weight is not None:
            msg = f"observable {self.name} is weighted, so it is no number of each event"
            raise RecipeError(msg)
        data, mask = self(batch)
        if data.ndim != 1:
            msg = f"observable {self.name} has a value for each object; one for each event is needed here"
            raise RecipeError(msg)
        data = data if data.is_floating_point() else data.to(torch.float64)
        if mask is None:
            return data, torch.ones_like(data, dtype=torch.bool)
        return torch.where(mask, data, torch.zeros_like(data)), mask

    @checked
    def check(self, schema: EventSchema) -> Checked:
        """Whether the observable fits events of a schema, before there are any.

        Raises:
            RecipeError: If it names a collection, field or object that the events do not have.
        """
        batch = example(schema)
        if self.expression is not None:
            weight = None if self.weight is None else parse(self.weight)
            text = text_used(schema, self.expression) or text_used(schema, self.weight or "pi")
            if text:
                msg = f"observable {self.name}: {text} is text, not a number"
                raise RecipeError(msg)
            try:
                data, mask = (
                    evaluate(parse(self.expression), BatchSource(batch), strict=True)
                    if weight is None
                    else evaluate_weighted(parse(self.expression), weight, BatchSource(batch), strict=True)[0]
                )
            except RecipeError as error:
                msg = f"observable {self.name}: {error.message}"
                raise RecipeError(msg) from None
        else:
            data, mask = self._values_of_function(batch)
        return Checked(data.ndim == 1, not data.is_floating_point(), mask is not None)

    def _run(self, events: Any) -> Any:
        if self.function is None:
            msg = f"observable {self.name} has no function"
            raise ValueError(msg)
        try:
            return self.function(events)
        except (AttributeError, KeyError, IndexError) as error:
            msg = f"observable {self.name}: its function failed: {error}"
            raise RecipeError(msg) from error

    def _values_of_function(self, batch: EventBatch) -> Values:
        result = self._run(batch)
        data, mask = result if isinstance(result, tuple) else (result, None)
        if not isinstance(data, Tensor) or data.ndim not in (1, 2) or data.shape[0] != len(batch):
            shown = tuple(data.shape) if isinstance(data, Tensor) else type(data).__name__
            msg = f"observable {self.name}: its function gave {shown}, not a tensor of {len(batch)} events"
            raise RecipeError(msg)
        if mask is None:
            padded = [
                n
                for n, c in batch.collections.items()
                if data.ndim == 2 and not c.full and c.shape == data.shape
            ]
            if padded:
                msg = (
                    f"observable {self.name}: its function gave a number for each object; {padded[0]} is "
                    f"padded, so return (numbers, mask), as in (ev.{padded[0]}.pt, ev.{padded[0]}.mask)"
                )
                raise RecipeError(msg)
            return Values(data)
        mask = mask.expand(data.shape)
        return Values(torch.where(mask, data, torch.zeros_like(data)), mask)

    def _array_of_function(self, events: Any) -> Any:
        result = self._run(events)
        array = ak.Array(np.asarray(result)) if isinstance(result, np.ndarray) else result
        good = isinstance(array, ak.Array) and array.ndim in (1, 2) and not ak.fields(array)
        if not good or len(array) != len(events):
            msg = f"observable {self.name}: its function gave {result!r:.80}, not numbers of each event"
            raise RecipeError(msg)
        return array

    # --------------------------------------------------------------------------------- axis

    @property
    def title(self) -> str:
        """The label with its unit, as it stands at an axis."""
        label = self.name if self.label is None else self.label
        return f"{label} [{self.unit}]" if self.unit else label

    def axis(self) -> Any:
        """The axis of its histogram.

        Raises:
            ValueError: If the range is not known yet; `with_range_from` finds it.
        """
        names = {"name": self.name, "label": self.title}
        if self.edges is not None:
            return hist.axis.Variable(self.edges, **names)
        if self.range is None:
            msg = f"observable {self.name} has no range; give one, or find one by with_range_from(values)"
            raise ValueError(msg)
        low, high = self.range
        if self.integer:
            return hist.axis.Integer(round(low), round(high) + 1, **names)
        transform = hist.axis.transform.log if self.log else None
        return hist.axis.Regular(self.bins, low, high, transform=transform, **names)

    @checked
    def with_range_from(
        self, values: ArrayLike | Tensor, weights: ArrayLike | Tensor | None = None
    ) -> Observable:
        """The same observable with bins and a range that suit values.

        It covers 0.1% to 99.9% of them, rounded to nice numbers; whole numbers get one bin each, and
        positive ones over several orders of magnitude logarithmic bins.

        Args:
            values: (n,) values, for example ``observable.flat(events)[0]``.
            weights: (n,) weights, whose absolute values count; all 1 by default.

        Raises:
            ValueError: If there is no finite value.
        """
        span: Span = find_span(_numpy(values), None if weights is None else _numpy(weights), self.unit)
        return replace(
            self,
            bins=self.bins if span.bins is None else span.bins,
            range=(span.low, span.high),
            edges=None,
            log=span.log,
            integer=span.integer,
        )

    # ------------------------------------------------------------------------------- config

    @property
    def config(self) -> ObservableConfig:
        """The settings that make this observable again.

        Raises:
            RecipeError: If it is a Python function, which cannot be stored.
        """
        if self.expression is None:
            msg = (
                f"observable {self.name} is a Python function, which a recipe or model file cannot hold; "
                "write it as an expression"
            )
            raise RecipeError(msg)
        return ObservableConfig(
            expression=self.expression,
            bins=self.bins,
            range=self.range,
            edges=self.edges,
            log=self.log,
            integer=self.integer,
            label=self.label,
            unit=self.unit,
            weight=self.weight,
        )


def _flat_batch(data: Tensor, mask: Tensor | None, weight: Tensor | None = None) -> Flat:
    data = data.to(torch.int64) if data.dtype == torch.bool else data
    values, weights = data.reshape(-1), None if weight is None else weight.reshape(-1)
    width = data.shape[1] if data.ndim > 1 else 1
    if mask is None:
        index = torch.arange(len(values), device=data.device)
    else:
        index = mask.reshape(-1).nonzero()[:, 0]
        values = values.index_select(0, index)
        weights = None if weights is None else weights.index_select(0, index)
    return Flat(values, index if width == 1 else index // max(width, 1), weights)


def _flat_array(array: Any) -> Flat:
    if array.ndim == 1:
        rows = np.flatnonzero(~ak.to_numpy(ak.is_none(array)))
        values = ak.to_numpy(ak.drop_none(array))
    else:
        array = ak.drop_none(array, axis=1)
        counts = ak.to_numpy(ak.fill_none(ak.num(array), 0))
        rows = np.repeat(np.arange(len(array)), counts)
        values = ak.to_numpy(ak.flatten(array, axis=None))
    return Flat(values.astype(np.int64) if values.dtype == bool else values, rows)


def _numpy(values: Any) -> Any:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
