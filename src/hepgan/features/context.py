"""What the continuous part of an event is conditional on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from hepgan.errors import InputError
from hepgan.events.batch import EventBatch
from hepgan.events.schema import EventSchema, Kind
from hepgan.features.precise import PreciseModule
from hepgan.features.space import Classes
from hepgan.features.variables import DiscreteVariable

__all__ = ["ConditionEncoder", "ContextEncoder", "require_whole"]

MAX_ONE_HOT = 16
"""An ordinal variable with more classes than this is given by its value alone."""

WHOLE = 1 << 53
"""Doubles hold all integers up to this."""


class ContextEncoder(PreciseModule):
    """Discrete variables as numbers: one-hot classes, and the standardised value of ordinal ones.

    All numbers of an absent object's variables are 0.

    Args:
        variables: The discrete variables.
        moments: Mean and standard deviation of the values of each ordinal variable, in order.
    """

    offsets: Tensor
    numbers: Tensor

    def __init__(self, variables: Sequence[DiscreteVariable], moments: Sequence[Sequence[float]]) -> None:
        super().__init__()
        self.one_hot = [i for i, v in enumerate(variables) if not v.ordinal or v.size <= MAX_ONE_HOT]
        self.ordinal = [i for i, v in enumerate(variables) if v.ordinal]
        sizes = torch.tensor([variables[i].size for i in self.one_hot], dtype=torch.int64)
        self.width = int(sizes.sum())
        self.register_buffer("offsets", sizes.cumsum(0) - sizes, persistent=False)
        longest = max((variables[i].size for i in self.ordinal), default=0)
        numbers = torch.zeros(len(self.ordinal), longest + 1, dtype=torch.float64)
        for row, (i, (mean, deviation)) in enumerate(zip(self.ordinal, moments, strict=True)):
            values = torch.tensor(variables[i].values, dtype=torch.float64)
            numbers[row, 1 : len(values) + 1] = (values - mean) / deviation
        self.register_buffer("numbers", numbers, persistent=False)
        self.size = self.width + len(self.ordinal)

    def places(self, variable: int) -> tuple[int | None, int | None]:
        """The columns of a variable's value and of the first of its classes; None where there are none."""
        value = self.ordinal.index(variable) if variable in self.ordinal else None
        if variable not in self.one_hot:
            return value, None
        return value, len(self.ordinal) + int(self.offsets[self.one_hot.index(variable)])

    @staticmethod
    def moments(variables: Sequence[DiscreteVariable], discrete: Tensor, weight: Tensor) -> list[list[float]]:
        """Mean and standard deviation of each ordinal variable's values, of events (N, K) that have it."""
        found = []
        for i, variable in enumerate(variables):
            if not variable.ordinal:
                continue
            classes = discrete[:, i]
            values = torch.tensor(variable.values, dtype=torch.float64, device=discrete.device)[
                classes.clamp(min=0)
            ]
            w = torch.where(classes >= 0, weight.abs(), 0.0)
            w = w / w.sum().clamp(min=1e-300)
            mean = float((w * values).sum())
            deviation = float((w * (values - mean) ** 2).sum()) ** 0.5
            found.append([mean, deviation if deviation > 0 else 1.0])
        return found

    def forward(self, discrete: Tensor) -> Tensor:
        """(N, size) numbers of classes (N, K), in float64."""
        parts = []
        if self.ordinal:
            classes = discrete[:, self.ordinal] + 1
            parts.append(self.numbers[torch.arange(len(self.ordinal), device=discrete.device), classes])
        if self.one_hot:
            classes = discrete[:, self.one_hot]
            index = torch.where(classes >= 0, classes + self.offsets, self.width)
            flags = self.numbers.new_zeros((len(discrete), self.width + 1))
            parts.append(flags.scatter_(1, index, 1.0)[:, : self.width])
        return torch.cat(parts, 1) if parts else self.numbers.new_zeros((len(discrete), 0))


class ConditionEncoder(PreciseModule):
    """Numbers of the event that are given instead of generated.

    Categories become one-hot, other numbers are standardised.

    Args:
        schema: What the events hold.
        names: The scalars.
        moments: Mean, standard deviation, least and largest value of each; older models lack the last two.
    """

    def __init__(
        self, schema: EventSchema, names: Sequence[str], moments: Mapping[str, Sequence[float]]
    ) -> None:
        super().__init__()
        self.names = tuple(names)
        self._fields = {n: schema.scalar(n) for n in names}
        self._moments = {n: (float(m[0]), float(m[1])) for n, m in moments.items()}
        self.ranges = {n: (float(m[2]), float(m[3])) for n, m in moments.items() if len(m) > 3}
        self._places: dict[str, slice] = {}
        start = 0
        for n in names:
            values = self._values(n)
            width = 1 if values is None else len(values)
            self._places[n] = slice(start, start + width)
            start += width
        self.size = start

    @property
    def classes(self) -> tuple[Classes, ...]:
        """The conditions that are categories."""
        sizes = {n: self._values(n) for n in self.names}
        return tuple(
            Classes(n, len(values), first=self._places[n].start)
            for n, values in sizes.items()
            if values is not None
        )

    def _values(self, name: str) -> list[float] | None:
        field = self._fields[name]
        if field.kind is not Kind.CATEGORY or field.values is None:
            return None
        if any(isinstance(v, str) for v in field.values):
            return [float(i) for i in range(len(field.values))]
        return [float(v) for v in field.values]

    @staticmethod
    def moments(events: EventBatch, names: Sequence[str], weight: Tensor) -> dict[str, list[float]]:
        """Mean, standard deviation (1 for a constant), least and largest value of scalars.

        Raises:
            InputError: If one has integers that are no doubles.
        """
        found = {}
        w = weight.abs() / weight.abs().sum()
        for n in names:
            require_whole(n, events.scalars[n])
            values = events.scalars[n].to(torch.float64)
            mean = float((w * values).sum())
            deviation = float((w * (values - mean) ** 2).sum()) ** 0.5
            deviation = deviation if deviation > 1e-12 * abs(mean) else 1.0
            found[n] = [mean, deviation, float(values.min()), float(values.max())]
        return found

    def encode(self, values: Mapping[str, Tensor]) -> Tensor:
        """(N, Q) of the conditions (N,).

        Raises:
            InputError: If one is missing, not finite, an integer that is no double, or an unknown category.
        """
        parts = []
        for n in self.names:
            if n not in values:
                msg = f"the condition {n} is missing"
                raise InputError(msg, branch=self._fields[n].branch)
            require_whole(n, values[n])
            v = values[n].to(torch.float64)
            classes = self._values(n)
            if classes is None:
                bad = ~torch.isfinite(v)
                mean, deviation = self._moments[n]
                parts.append(((v - mean) / deviation).unsqueeze(1))
            else:
                flags = v.unsqueeze(1) == torch.tensor(classes, dtype=torch.float64, device=v.device)
                bad = ~flags.any(1)
                parts.append(flags.to(torch.float64))
            if not torch.compiler.is_compiling() and bool(bad.any()):
                event = int(bad.nonzero()[0])
                msg = f"the condition {n} cannot be {float(v[event]):g}"
                raise InputError(msg, branch=self._fields[n].branch, entry=event)
        return torch.cat(parts, 1)

    def decode(self, condition: Tensor) -> dict[str, Tensor]:
        """The conditions (N,) of their encoded form (N, Q)."""
        values: dict[str, Tensor] = {}
        for n in self.names:
            part = condition[:, self._places[n]].to(torch.float64)
            classes = self._values(n)
            if classes is None:
                mean, deviation = self._moments[n]
                value = part[:, 0] * deviation + mean
            else:
                value = torch.tensor(classes, dtype=torch.float64, device=part.device)[part.argmax(1)]
            whole = self._fields[n].kind is Kind.INTEGER or "int" in self._fields[n].dtype or self._is_text(n)
            values[n] = value.round().to(torch.int64) if whole else value
        return values

    def _is_text(self, name: str) -> bool:
        return self._fields[name].dtype == "string"


def require_whole(name: str, values: Tensor) -> None:
    """Refuses conditions (of any shape) that are integers and would lose digits as doubles.

    Raises:
        InputError: If some are.
    """
    if values.is_floating_point() or torch.compiler.is_compiling():
        return
    wrong = values.abs() > WHOLE
    if bool(wrong.any()):
        event = int(wrong.nonzero()[0, 0])
        msg = f"the condition {name} is {int(values[wrong][0])}; integers above 2^53 cannot be conditions"
        raise InputError(msg, branch=name, entry=event)
