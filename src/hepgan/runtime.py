"""What a process has and does: its cores and device, requests to stop it, and its progress.

Nothing here imports torch or rich before it needs them, for the command line's help does not.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Self

from hepgan.errors import InputError

if TYPE_CHECKING:
    import torch

__all__ = [
    "Interrupt",
    "Progress",
    "choose_device",
    "cores",
    "interruptible",
    "progress",
    "terminable",
    "threads",
]

_SECONDS_BETWEEN_UPDATES = 0.25

_ENDINGS = ("SIGHUP", "SIGXCPU", "SIGUSR1")
"""Signals that, like SIGTERM, come before the end: a terminal's, a limit of time's, a batch system's."""

_received: list[int] = []
"""Signals by which the user has asked the process to stop; filled inside `terminable` alone."""


# ------------------------------------------------------------------ cores and devices


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Lets torch's operations use ``count`` cores each, as seen from this thread.

    Many small operations are faster on one core, most of all where others use the machine too: a second
    core has to be waited for at the end of each.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def choose_device(device: torch.device | str | None) -> torch.device:
    """The device of that name, or for None a GPU if there is one, else the CPU.

    Raises:
        InputError: If numbers cannot be computed there.
    """
    import torch

    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.zeros(1, device=chosen).tolist()
    except (RuntimeError, AssertionError, ImportError) as error:
        there = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        msg = f"device {str(device)!r} is not available here; there are {', '.join(there)}"
        raise InputError(msg) from error
    return chosen


# ------------------------------------------------------------------ requests to stop


class Interrupt:
    """Whether the user has asked to stop."""

    asked = False


@contextmanager
def interruptible() -> Iterator[Interrupt]:
    """Notes the first SIGINT instead of raising KeyboardInterrupt; the second one raises.

    Outside the main thread, where signals can't be caught, nothing changes.
    """
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return

    def note(number: int, frame: FrameType | None) -> None:
        if interrupt.asked:
            raise KeyboardInterrupt
        interrupt.asked = True

    before = signal.signal(signal.SIGINT, note)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def terminable() -> Iterator[Callable[[], int | None]]:
    """Lets the signals by which batch systems and terminals end a process do so as Ctrl-C does.

    These are SIGTERM, SIGHUP, SIGXCPU and SIGUSR1. What has been told to ignore one of the last three (as
    ``nohup`` does), or has a handler of its own for it, is left so.

    Yields:
        What tells the first signal by which the process was asked to stop, if there was one.
    """
    _received.clear()
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        _received.append(number)
        handler = signal.getsignal(signal.SIGINT)
        # SIGINT is ignored in the background of a shell, but others must be heard there, too.
        if number == signal.SIGINT or not callable(handler):
            raise KeyboardInterrupt
        handler(signal.SIGINT, frame)

    before = {signal.SIGTERM: signal.signal(signal.SIGTERM, interrupt)}
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        before[signal.SIGINT] = signal.signal(signal.SIGINT, interrupt)
    for name in _ENDINGS:
        number = getattr(signal, name, None)  # Windows has none of them
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            before[number] = signal.signal(number, interrupt)
    try:
        yield lambda: _received[0] if _received else None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _received.clear()


# ------------------------------------------------------------------ progress


class Progress:
    """A bar on stderr with the share that is done, the time left and a line about it; or nothing.

    Args:
        what: What is being done.
        total: How much of it there is to do.
        done: How much of it is done already.
        shown: Whether to show anything; on a terminal alone, by default.
    """

    def __init__(
        self, what: str, total: float = 1.0, *, done: float = 0.0, shown: bool | None = None
    ) -> None:
        self._last = -1.0
        self._total = total
        self._bar: Any = None
        terminal = sys.stderr is not None and sys.stderr.isatty()
        if terminal if shown is None else shown:
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar
            from rich.table import Column

            whole = Column(no_wrap=True)
            self._bar = Bar(
                TextColumn("{task.description}", table_column=whole),
                BarColumn(bar_width=16),
                TextColumn("{task.percentage:>3.0f}%", table_column=whole),
                TimeRemainingColumn(compact=True, table_column=whole),
                TextColumn("left, {task.fields[text]}"),
                console=Console(stderr=True),
                transient=terminal,
            )
            self._task = self._bar.add_task(what, total=total, completed=done, text="")

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, done: float, text: Callable[[], str]) -> None:
        """Shows how much is done, and what is to be said of it."""
        if self._bar is None:
            return
        now = time.monotonic()
        if now - self._last < _SECONDS_BETWEEN_UPDATES and done < self._total:
            return
        self._last = now
        self._bar.update(self._task, completed=done, text=text())


@contextmanager
def progress(what: str, total: int, *, shown: bool | None = None) -> Iterator[Callable[[int], None]]:
    """Progress of work on events, with its rate.

    Args:
        what: What is being done.
        total: Number of events.
        shown: Whether to show it; on a terminal alone, by default.

    Yields:
        What to call with the number of events done so far. It raises KeyboardInterrupt if the user has asked
        the process to stop, for Python drops what strikes in a finaliser, say.
    """
    started = time.monotonic()

    def advance(done: int) -> None:
        if _received:
            raise KeyboardInterrupt
        rate = done / max(time.monotonic() - started, 1e-9)
        bar.update(done, lambda: f"{done:,}/{total:,}, {rate:,.0f} events/s")

    with Progress(what, total, shown=shown) as bar:
        yield advance
