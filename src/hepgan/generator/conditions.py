"""What is given in generation: the conditions of each event."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import awkward as ak
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hepgan.errors import InputError
from hepgan.events import check_events, to_batch
from hepgan.features import Representation
from hepgan.generator.laws import Constant, Each, Law, read_law
from hepgan.models import BLOCK

__all__ = ["Conditions", "Pool", "check_lengths"]


class Pool(NamedTuple):
    """Conditions of training events, to draw from where none are given.

    Attributes:
        condition: (P, Q) encoded.
        given: (P, R) the given collections as they are; None if there are none.
    """

    condition: Tensor
    given: Tensor | None = None


class Conditions:
    """What is given in generation: the conditions of event number i.

    Args:
        representation: The fitted representation, which encodes them.
        given: By name a number for all events, an array with one for each event, or a text: values that
            take turns (``10,20,30``), or ``uniform:LOW:HIGH``; of a collection an array with the objects of
            each event, with which all other conditions have to be given, too. Or events that have them all.
            Names that are missing here follow their distribution in the training events.
        pool: The conditions of training events.
        size: The number of events that an array must have values for.
        first: The number of the event that the first values of arrays belong to.

    Raises:
        InputError: If a name is not a condition of the model, or its values are not usable.
    """

    def __init__(
        self,
        representation: Representation,
        given: Mapping[str, Any] | ak.Array | None,
        pool: Pool,
        size: int = 0,
        first: int = 0,
    ) -> None:
        self._representation, self._pool, self._first = representation, pool, first
        self.given: dict[str, Law] = {}
        self._objects: Tensor | None = None
        values = _by_name(given, representation.conditions)
        collections = {n: v for n, v in values.items() if n in representation.given}
        if collections:
            missing = [n for n in representation.conditions if n not in values]
            if missing:
                msg = f"the condition {missing[0]} is missing: collections are given together with all others"
                raise InputError(msg)
            self._objects = _packed(representation, collections, size)
        for name, value in values.items():
            if name in collections:
                continue
            if name not in representation.conditions:
                known = ", ".join(representation.conditions) or "none"
                msg = f"{name!r} is not a condition of this model; it has {known}"
                raise InputError(msg)
            self.given[name] = self._law(name, value, size)
        self._random = [name for name, law in self.given.items() if law.random]

    def _law(self, name: str, value: Any, size: int) -> Law:
        if isinstance(value, str):
            return read_law(name, value, self._representation.schema.scalar(name))
        numbers = self._numbers(name, value, size)
        return Each(numbers) if numbers.ndim else Constant(float(numbers))

    def _numbers(self, name: str, value: Any, size: int) -> NDArray[np.float64]:
        field = self._representation.schema.scalar(name)
        values = np.asarray(value)
        if values.dtype.kind in "US" and field.values is not None:
            known = [str(v) for v in field.values]
            wrong = ~np.isin(values, known)
            if wrong.any():
                msg = (
                    f"the condition {name} cannot be {str(values[wrong].flat[0])!r}; it is {', '.join(known)}"
                )
                raise InputError(msg)
            values = (values[..., None] == np.array(known)).argmax(-1)
        try:
            numbers = values.astype(float)
        except (TypeError, ValueError) as error:
            msg = f"the condition {name} must be a number, or an array of numbers"
            raise InputError(msg) from error
        if numbers.ndim > 1 or (numbers.ndim == 1 and len(numbers) < size):
            msg = f"the condition {name} has the shape {numbers.shape}; expected one number, or {size}"
            raise InputError(msg)
        bad = ~np.isfinite(numbers)
        if bad.any():
            entry = int(bad.argmax()) if numbers.ndim else None
            msg = f"the condition {name} is not a finite number"
            raise InputError(msg, entry=entry)
        return numbers

    @property
    def draws(self) -> int:
        """The uniform numbers per event that :meth:`block` needs."""
        return 1 + len(self._random) if self._representation.conditions else 0

    def block(self, number: int, draws: Tensor) -> tuple[Tensor, Tensor | None]:
        """(BLOCK, Q) encoded conditions, and (BLOCK, R) given collections as they are, if there are some.

        Args:
            number: The block's number.
            draws: Uniform numbers (BLOCK, draws), which choose from the pool.

        Raises:
            InputError: If a value is not one of its category.
        """
        if not self.draws:
            return draws, None
        draw = draws[:, 0]
        rows = (draw * len(self._pool.condition)).long().clamp(max=len(self._pool.condition) - 1)
        drawn = self._pool.condition.to(draw.device)[rows]
        given = None if self._pool.given is None else self._pool.given.to(draw.device)[rows]
        if not self.given and self._objects is None:
            return drawn, given
        values = self._representation.decode_condition(drawn)
        first = number * BLOCK - self._first
        event = np.arange(number * BLOCK, (number + 1) * BLOCK)
        for name, law in self.given.items():
            own = draws[:, 1 + self._random.index(name)] if law.random else draw
            values[name] = law.values(event - self._first if isinstance(law, Each) else event, own)
        if self._objects is not None:
            at = (event - self._first).clip(0, len(self._objects) - 1)
            given = self._objects[torch.from_numpy(at)].to(draw.device)
        try:
            return self._representation.encode_condition(values, BLOCK, given), given
        except InputError as error:
            entry = None if error.entry is None else error.entry + first
            raise InputError(error.message, branch=error.branch, entry=entry) from error


def _by_name(given: Mapping[str, Any] | ak.Array | None, names: Sequence[str]) -> Mapping[str, Any]:
    """Conditions by name; of events those that are conditions."""
    if isinstance(given, ak.Array):
        missing = [n for n in names if n not in given.fields]
        if missing:
            msg = f"the events have no {missing[0]}, which is a condition of this model"
            raise InputError(msg)
        return {n: given[n] for n in names}
    return given or {}


def _packed(representation: Representation, given: Mapping[str, Any], size: int) -> Tensor:
    """The objects of given collections (N, R), checked.

    Raises:
        InputError: If there are too few events, or some cannot be.
    """
    for name, value in given.items():
        if not isinstance(value, ak.Array) or len(value) < size:
            found = len(value) if hasattr(value, "__len__") else 1
            msg = f"the condition {name} is of {found} events; expected an array with the objects of {size}"
            raise InputError(msg)
    schema = representation.given_schema
    events = ak.zip(dict(given), depth_limit=1)
    check_events(events, schema, weights=False)
    packed = representation.pack(to_batch(events, schema))
    if packed is None:
        raise TypeError(given)
    return packed


def check_lengths(given: Mapping[str, Any] | ak.Array | None, n: int) -> None:
    """Sees to it that conditions that are arrays have a value for each of n events.

    Raises:
        InputError: If one has more or fewer.
    """
    named: Mapping[str, Any] = {"events": given} if isinstance(given, ak.Array) else given or {}
    for name, value in named.items():
        shape = (len(value),) if isinstance(value, ak.Array) else np.shape(value)
        if shape not in ((), (n,)):
            msg = f"the condition {name} has the shape {shape}; expected one number, or {n}"
            raise InputError(msg)
