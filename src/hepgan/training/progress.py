"""The progress bar of a training."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

__all__ = ["TrainingProgress"]

_SECONDS_BETWEEN_UPDATES = 0.25


class TrainingProgress:
    """Shows how far a training is, its rate, time left and losses; or nothing.

    Args:
        shown: Whether to show anything.
        done: Share that is done already.
    """

    def __init__(self, *, shown: bool, done: float = 0.0) -> None:
        self._last = -1.0
        self._done = done
        self._bar: Progress | None = None
        if shown:
            whole = Column(no_wrap=True)
            self._bar = Progress(
                BarColumn(bar_width=16),
                TextColumn("{task.percentage:>3.0f}%", table_column=whole),
                TimeRemainingColumn(compact=True, table_column=whole),
                TextColumn("left, {task.fields[text]}"),
                console=Console(stderr=True),
            )

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
            self._task = self._bar.add_task("training", total=1.0, text="")
            self._bar.update(self._task, completed=self._done)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, share: float, step: int, rate: float, losses: Mapping[str, float]) -> None:
        """Show the share done, the step, the rate (events/s) and the losses."""
        if self._bar is None:
            return
        now = time.monotonic()
        if now - self._last < _SECONDS_BETWEEN_UPDATES and share < 1.0:
            return
        self._last = now
        text = ", ".join(f"{n.removesuffix('/total')} {v:.4g}" for n, v in losses.items())
        self._bar.update(self._task, completed=share, text=f"step {step:,}, {rate:,.0f} events/s; {text}")
