"""How many cores torch's operations use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["threads"]


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Lets torch's operations use ``count`` cores each, as seen from this thread.

    Many small operations are faster on one core, most of all where others use the machine too: a second
    core has to be waited for at the end of each.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
