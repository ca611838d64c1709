"""Ends of a coordinate's range that depend on the event: a pz that stays below the beam energy."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Set

import torch
from torch import Tensor

from hepgan.errors import InputError, RecipeError
from hepgan.events.batch import Objects
from hepgan.features.reading import Refusal
from hepgan.observables.evaluate import evaluate
from hepgan.observables.language import CONSTANTS, parse

__all__ = ["End", "Range"]

End = float | str | None
"""An end of a range: a number, an expression, or none."""

SLACK = 1e-3
"""By how much of its range, or of the end's and its own size, a training event's number may be outside."""


class Range:
    """A coordinate's range, whose ends may be expressions of numbers of the event and other coordinates.

    A number with two ends becomes the share of its range below it, in [0, 1]; with one end, its distance from
    that end. The inverse never leaves the range, whatever it is given; of a range whose ends cross, only the
    lower one is left.

    Args:
        name: What the range is of, for messages.
        low: Lower end: a number, an expression, or None.
        high: Upper end.
        known: The names that expressions may use.

    Raises:
        RecipeError: If an expression uses anything else, or there is no end.
    """

    def __init__(self, name: str, low: End, high: End, known: Set[str]) -> None:
        self.name, self.low, self.high = name, low, high
        if low is None and high is None:
            msg = f"ranges: {name} has no end"
            raise RecipeError(msg)
        for end in (low, high):
            unknown = sorted(parse(end).names - known - set(CONSTANTS)) if isinstance(end, str) else []
            if unknown:
                msg = f"ranges: {name} depends on {unknown[0]!r}; it may depend on {', '.join(sorted(known))}"
                raise RecipeError(msg)

    @property
    def shared(self) -> bool:
        """Whether there are two ends, so that numbers become shares."""
        return self.low is not None and self.high is not None

    def forward(
        self,
        values: Tensor,
        known: Mapping[str, Tensor],
        present: Tensor,
        refuse: Refusal | None = None,
    ) -> Tensor:
        """Shares or distances of numbers, 0 or more.

        Args:
            values: (N, M) numbers.
            known: (N,) or (N, M) numbers that the ends depend on, by name.
            present: (N, M) where there is a number.
            refuse: What becomes of events with a number outside; an error by default.

        Raises:
            InputError: If a number is outside its range by more than 0.1%.
        """
        refuse = Refusal() if refuse is None else refuse
        low, high = (self._end(end, known, values) for end in (self.low, self.high))
        if low is not None and high is not None:
            width = (high - low).clamp(min=0.0)
            share = (values - low) / torch.where(width > 0, width, 1.0)
            self._check(torch.maximum(-share, share - 1), values, (low, high), present, refuse)
            return share.clamp(0.0, 1.0)
        edge, distance = (low, values - low) if low is not None else (high, high - values)  # type: ignore[operator]
        size = torch.maximum(edge.abs(), values.abs()).clamp(min=1e-300)  # type: ignore[union-attr]
        self._check(-distance / size, values, (low, high), present, refuse)
        return distance.clamp(min=0.0)

    def _check(
        self,
        excess: Tensor,
        values: Tensor,
        ends: tuple[Tensor | None, Tensor | None],
        present: Tensor,
        refuse: Refusal,
    ) -> None:
        outside = ~(excess <= SLACK) & present

        def error(event: int) -> InputError:
            slot = int(outside[event].nonzero()[0])
            low, high = ("none" if e is None else f"{float(e[event, slot]):g}" for e in ends)
            msg = (
                f"{self.name} is {float(values[event, slot]):g}, outside its range {low} ... {high} "
                f"({int(outside.any(1).sum())} of {len(values)} events)"
            )
            return InputError(msg, entry=event)

        refuse(outside.any(1), error)

    def inverse(self, columns: Tensor, known: Mapping[str, Tensor]) -> Tensor:
        """The numbers (N, M) of shares or distances, which may be anything."""
        low, high = (self._end(end, known, columns) for end in (self.low, self.high))
        if low is not None and high is not None:
            # Measured from the nearer end, so that rounding doesn't cross the other one.
            share, width = columns.clamp(0.0, 1.0), (high - low).clamp(min=0.0)
            values = torch.where(share < 0.5, low + share * width, high - (1 - share) * width)
            return torch.maximum(values, low)
        distance = columns.clamp(min=0.0)
        return low + distance if low is not None else high - distance  # type: ignore[operator]

    def _end(self, end: End, known: Mapping[str, Tensor], like: Tensor) -> Tensor | None:
        if end is None:
            return None
        if not isinstance(end, str):
            return torch.full_like(like, float(end))
        numbers = {n: v if v.ndim == 2 else v.unsqueeze(1) for n, v in known.items()}
        source = _Numbers({n: v.to(like).expand_as(like).reshape(-1) for n, v in numbers.items()})
        found = evaluate(parse(end), source)
        return found.data.to(like).reshape(like.shape)


class _Numbers:
    """Numbers (N,) by name, as the language of observables sees them."""

    def __init__(self, numbers: Mapping[str, Tensor]) -> None:
        self._numbers = numbers

    @property
    def names(self) -> Collection[str]:
        return self._numbers.keys()

    def objects(self, name: str, fields: Set[str]) -> Objects | None:
        return None

    def scalar(self, name: str) -> Tensor | None:
        return self._numbers.get(name)
