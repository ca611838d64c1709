"""What the indices of a field with a shape stand for."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from hepgan.config import Config

__all__ = ["Axis"]


class Axis(Config):
    """A coordinate that is divided into bins of one width, one for each index.

    Attributes:
        name: The coordinate: ``phi``, ``eta``, ``time``.
        low: Where the first bin begins.
        high: Where the last bin ends.
        unit: Its unit, for labels; empty if it has none.
    """

    name: str
    low: float
    high: float
    unit: str = ""

    @model_validator(mode="after")
    def _is_an_interval(self) -> Axis:
        if not self.name:
            msg = "an axis needs a name"
            raise ValueError(msg)
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            msg = f"{self.name}: an axis needs low < high, not {self.low:g} and {self.high:g}"
            raise ValueError(msg)
        return self

    def edges(self, bins: int) -> NDArray[np.float64]:
        """The edges (bins + 1,) of its bins."""
        return np.linspace(self.low, self.high, bins + 1)

    def centres(self, bins: int) -> NDArray[np.float64]:
        """The centres (bins,) of its bins."""
        edges = self.edges(bins)
        return (edges[1:] + edges[:-1]) / 2
