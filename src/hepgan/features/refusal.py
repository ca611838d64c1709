"""What becomes of events that cannot be: an error for the first of them, or a note of each."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from hepgan.errors import InputError

__all__ = ["Refusal"]


class Refusal:
    """Raises for the first event that cannot be, or notes all of them.

    Args:
        size: The number of events N, to note them; None to raise.
        device: Where the notes are kept.

    Attributes:
        events: (N,) True where an event was refused; None if refusal raises.
    """

    def __init__(self, size: int | None = None, device: torch.device | None = None) -> None:
        self.events = None if size is None else torch.zeros(size, dtype=torch.bool, device=device)

    def __call__(self, wrong: Tensor, error: Callable[[int], InputError]) -> None:
        """Refuses the events (N,) that are wrong.

        Args:
            wrong: Which.
            error: The error for an event's number.
        """
        if self.events is not None:
            self.events |= wrong
        elif bool(wrong.any()):
            raise error(int(wrong.nonzero()[0]))
