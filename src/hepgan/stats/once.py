"""What several samples have in common is computed once."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import numpy as np

__all__ = ["Once"]

T = TypeVar("T")


class Once:
    """Keeps results by what they depend on, the state of the random numbers included.

    A sample's metrics are therefore the same whether it is compared alone or together with others.
    """

    def __init__(self) -> None:
        self._known: dict[Hashable, tuple[Any, Any]] = {}

    def __call__(self, key: Hashable, rng: np.random.Generator, make: Callable[[], T]) -> T:
        """The result of ``make``; what is drawn from ``rng`` afterwards is the same as if it had run.

        Args:
            key: What the result depends on.
            rng: Source of what is random in it.
            make: Computes it.
        """
        whole = (key, repr(rng.bit_generator.state))
        if whole not in self._known:
            self._known[whole] = make(), rng.bit_generator.state
        value, rng.bit_generator.state = self._known[whole]
        return value  # type: ignore[no-any-return]
