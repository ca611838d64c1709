"""What follows from all blocks together: the numbers of discrete variables, which objects stay in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hepgan.features.layout import Layout, count_name
from hepgan.features.parts import Block, DecayBlock, ObjectsBlock
from hepgan.features.variables import DiscreteVariable

__all__ = ["numbered", "sorted_apart"]


def numbered(
    layout: Layout, blocks: Sequence[Block]
) -> tuple[tuple[DiscreteVariable, ...], dict[str, int | None]]:
    """All discrete variables: numbers of objects that vary first, then those of each block.

    Returns:
        The variables; and for each collection that is counted the number of its variable, None if its count
        is always the same.
    """
    variables: list[DiscreteVariable] = []
    hanging: dict[int, tuple[str, int] | None] = {}
    counts: dict[str, int | None] = {}
    for name, (low, high) in layout.counts.items():
        counts[name] = len(variables) if high > low else None
        if high > low:
            values = tuple(float(v) for v in range(low, high + 1))
            variables.append(DiscreteVariable(count_name(name), len(values), values, ordinal=True))
    for block in blocks:
        for v in block.variables:
            if v.collection is not None and v.slot is not None:
                hanging[len(variables)] = layout.hangs_on(v.collection, v.slot)
            variables.append(DiscreteVariable(v.name, len(v.values), v.values, None, v.slot, v.ordinal))
    numbers = {v.name: i for i, v in enumerate(variables)}
    for i, on in hanging.items():
        # A collection that never has an object has no variable that counts it.
        if on is not None and on[0] in numbers:
            variables[i] = replace(variables[i], count=numbers[on[0]], slot=on[1])
    return tuple(variables), counts


def sorted_apart(layout: Layout, blocks: Sequence[Block]) -> dict[str, str]:
    """By what to sort the objects of collections that blocks do not keep in order by themselves."""
    return {n: key for n, key in layout.orders.items() if not _kept_in_order(layout, blocks, n, key)}


def _kept_in_order(layout: Layout, blocks: Sequence[Block], collection: str, key: str) -> bool:
    if layout.deviation(collection, key) is not None:
        return False
    width = layout.collection(collection).max_count
    for block in blocks:
        if isinstance(block, ObjectsBlock) and block.collection == collection and len(block.slots) == width:
            return block.order == key and key != "energy"
        if isinstance(block, DecayBlock) and key == "pt" and width == 2 and block.keeps_order(collection):
            return True
    return False
