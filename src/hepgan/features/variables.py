"""What one discrete number of an event is."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DiscreteVariable"]


@dataclass(frozen=True)
class DiscreteVariable:
    """One discrete number of an event, given as a class 0 .. size - 1, or -1 where its object is absent.

    Attributes:
        name: What messages call it, for example ``Muon[0].charge``.
        size: The number of classes.
        values: The physical value of each class.
        count: The index, among the model's variables, of the count of the collection that its object belongs
            to; None where the object is always there. The object exists if that count's value exceeds `slot`.
        slot: Which object of its collection it belongs to (0 is the first); None outside collections.
        ordinal: Whether neighbouring classes are alike (numbers of vertices), so that what depends on it does
            so smoothly.

    Raises:
        ValueError: If there is not one value for each class, or a count without a slot.
    """

    name: str
    size: int
    values: tuple[float, ...]
    count: int | None = None
    slot: int | None = None
    ordinal: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", tuple(self.values))
        if self.size < 1 or len(self.values) != self.size:
            msg = f"{self.name}: {len(self.values)} values for {self.size} classes"
            raise ValueError(msg)
        if self.count is not None and self.slot is None:
            msg = f"{self.name}: has a count but no slot"
            raise ValueError(msg)
