"""Combinations of options for tests, in which every two values of different options meet."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations, product
from typing import Any


def paired(**options: Iterable[Any]) -> list[tuple[Any, ...]]:
    """Few combinations of options with values for each, in the order of the names.

    Faults hang on one value or on two together, hardly ever on more; all combinations would be many more.

    Example:
        >>> paired(layer="ab", masked=(False, True), bins=(2, 7))
        [('a', False, 2), ('b', True, 2), ('a', True, 7), ('b', False, 7)]
    """
    values = [list(v) for v in options.values()]
    every = list(product(*(range(len(v)) for v in values)))

    def met(combination: tuple[int, ...]) -> set[tuple[tuple[int, int], ...]]:
        return set(combinations(enumerate(combination), 2))

    left = set().union(*map(met, every))
    chosen = []
    while left:
        best = max(every, key=lambda c: len(met(c) & left))
        chosen.append(best)
        left -= met(best)
    return [tuple(v[i] for v, i in zip(values, c, strict=True)) for c in chosen]
