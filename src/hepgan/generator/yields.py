"""What the training events of a generator weigh, by which its events get the same yields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

from pydantic import Field as Setting
from torch import Tensor

from hepgan.config import Config
from hepgan.events.runs import Runs

__all__ = ["YIELDS", "Factors", "Sums", "Yields", "sums"]

YIELDS = "yields"
"""What they are called in the summary of a generator."""


class Sums(NamedTuple):
    """Sums over some events.

    Attributes:
        events: Number of events.
        weights: Their sum of weights.
        absolute: Their sum of absolute weights.
        squares: Their sum of squared weights.
    """

    events: int
    weights: float
    absolute: float
    squares: float


def sums(weights: Tensor) -> Sums:
    """The sums over events of these weights (N,)."""
    w = weights.detach().cpu().double()
    return Sums(len(w), float(w.sum()), float(w.abs().sum()), float(w.square().sum()))


class Factors(NamedTuple):
    """What there was before the selection, for what is left of it.

    Attributes:
        counted: Of events.
        summed: Of weights.
        squared: Of squared weights.
    """

    counted: float = 1.0
    summed: float = 1.0
    squared: float = 1.0


class Yields(Config):
    """Sums over the events that a generator has learned from, those kept apart included.

    Attributes:
        events: Number of events; 0 where nothing is known.
        sum_of_weights: Their sum of weights; None where nothing is known.
        absolute: Their sum of absolute weights.
        squares: Their sum of squared weights.
        runs: What there was before their selection, where their files tell.
    """

    events: int = Setting(default=0, ge=0)
    sum_of_weights: float | None = Setting(default=None, gt=0, allow_inf_nan=False)
    absolute: float = Setting(default=1.0, gt=0, allow_inf_nan=False)
    squares: float = Setting(default=1.0, gt=0, allow_inf_nan=False)
    runs: Runs | None = None

    @classmethod
    def of_events(cls, weights: Tensor, runs: Runs | None = None) -> Self:
        """The sums over events of these weights (N,), which have a positive sum."""
        return cls.of_sums([sums(weights)], runs)

    @classmethod
    def of_sums(cls, parts: Sequence[Sums], runs: Runs | None = None) -> Self:
        """Likewise of several parts of the events."""
        events, total, absolute, squares = (sum(values) for values in zip(*parts, strict=True))
        return cls(events=events, sum_of_weights=total, absolute=absolute, squares=squares, runs=runs)

    def noted(self) -> dict[str, Any]:
        """What the summary of a generator is to hold."""
        return self.model_dump(mode="json", exclude_none=True)

    @classmethod
    def of(cls, summary: Mapping[str, Any]) -> Self:
        """What the summary of a generator tells; nothing in those of earlier versions.

        Raises:
            ValueError: If it is not as it was written.
        """
        return cls.model_validate(summary.get(YIELDS, {}))

    @property
    def asymmetry(self) -> float:
        """The sum of weights as a share of that of absolute weights."""
        return 1.0 if self.sum_of_weights is None else self.sum_of_weights / self.absolute

    def before_selection(self) -> Factors:
        """What there was before the selection of the events; 1 where their files don't tell."""
        if self.runs is None or self.sum_of_weights is None:
            return Factors()
        return Factors(
            self.runs.count / self.events,
            self.runs.sum_of_weights / self.sum_of_weights,
            self.runs.sum_of_squares / self.squares,
        )
