"""What a process has and does: its cores and device, requests to stop it, and its progress.

Nothing here imports torch or rich before it needs them, for the command line's help does not.
"""

from __future__ import annotations

import _thread
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from hepgan.errors import InputError, printable

if TYPE_CHECKING:
    import torch

T = TypeVar("T")

__all__ = [
    "Interrupt",
    "Progress",
    "choose_device",
    "cores",
    "doing",
    "idle_cores",
    "interruptible",
    "place_among_processes",
    "progress",
    "side_by_side",
    "telling",
    "terminable",
    "threads",
    "use_at_most",
    "wait_briefly",
]

_SECONDS_BETWEEN_UPDATES, _SECONDS_BETWEEN_LINES = 0.25, 30.0
"""Of a bar on a terminal, and of the lines that stand for it elsewhere."""

_ENDINGS = ("SIGHUP", "SIGXCPU", "SIGUSR1")
"""Signals that, like SIGTERM, come before the end: a terminal's, a limit of time's, a batch system's."""

_GROUP, _STAT = Path("/sys/fs/cgroup"), Path("/proc/stat")

_limits: list[int] = []
"""The number of threads that the user allows, if he has said."""

_told: list[Any] = []
"""Where what is being done is shown, if anywhere."""

_SECONDS_TO_STRIKE_AGAIN = 0.01

_received: list[int] = []
"""Signals by which the user has asked the process to stop; filled inside `terminable` alone."""

_again, _heard = threading.Event(), threading.Event()
"""Whether the next signal is one that Python has dropped, and whether something is being done about one."""


# ------------------------------------------------------------------ cores and devices


def cores() -> int:
    """How many cores this process may use: by its affinity, its control group's quota and `use_at_most`."""
    return max(1, int(min(len(_allowed()), _quota(), *_limits)))


def use_at_most(count: int | None) -> None:
    """Limits the threads that all work of this process takes from now on; None lifts the limit."""
    _limits[:] = [] if count is None else [count]


def idle_cores(seconds: float = 0.1) -> int:
    """How many of the cores that this process may use nobody uses, 1 at least; all where that is unknown.

    Args:
        seconds: How long to look, in which the caller waits.
    """
    most = cores()
    if most == 1 or (before := _spent()) is None:
        return most
    time.sleep(seconds)
    after = _spent()
    if after is None or not (whole := after[1] - before[1]) > 0:
        return most
    free = (after[0] - before[0]) / whole * len(_allowed())
    return max(1, min(most, round(free)))


def wait_briefly() -> None:
    """Lets threads that wait for each other spin for a moment only; to be called before torch is imported.

    By default they spin for long, and where others use the machine they do so for as long as the one that
    they wait for has no core: with one other process on two cores, training takes 2 to 50 times as long. A
    thread that sleeps at once loses time on an idle machine. What the user has set himself stays.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
        os.environ.setdefault("KMP_BLOCKTIME", "0")


def side_by_side(jobs: Sequence[Callable[[], T]], count: int | None = None, each: int = 1) -> list[T]:
    """The results of independent jobs, each in a thread of its own that has its share of the cores.

    Jobs that run side by side wait for each other once, where threads that share one job do at each of its
    many operations.

    Args:
        jobs: What to run; each may use torch, scikit-learn and numpy.
        count: Threads of all together; by default one for each core, or fewer where others use the machine.
        each: Threads of one job, at most.

    Returns:
        What each job returns, in their order.
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    together = max(1, min(len(jobs), cores() if count is None else count))
    free = 1 if each == 1 else idle_cores() if count is None else count
    share = max(1, min(each, free // together))

    def alone(job: Callable[[], T]) -> T:
        # OpenMP's number of threads is one of each thread; a new one has that of the environment.
        with threads(share), threadpool_limits(limits=share, user_api="openmp"):
            return job()

    if together == 1:
        return [alone(job) for job in jobs]
    with ThreadPoolExecutor(together) as pool:
        return list(pool.map(alone, jobs))


def _allowed() -> set[int]:
    """The numbers of the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return set(os.sched_getaffinity(0))
    return set(range(os.cpu_count() or 1))


def _quota() -> float:
    """How many cores' time the control group has, rounded up; infinite without a quota."""
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            text = " ".join((_GROUP / name).read_text(encoding="ascii") for name in names)
            quota, period = (float(part) for part in text.split())
        except (OSError, ValueError):  # there is no such file, or no limit (max)
            continue
        if quota > 0 and period > 0:
            return math.ceil(quota / period)
    return math.inf


def _spent() -> tuple[float, float] | None:
    """Time that the cores of this process have been idle, and time in all, in the system's units."""
    try:
        lines = _STAT.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    named = {f"cpu{number}" for number in _allowed()}
    times = [[float(t) for t in rest] for name, *rest in map(str.split, lines) if name in named]
    # user, nice, system, idle, iowait, irq, softirq, steal; a guest's time is in the user's.
    return sum(t[3] + t[4] for t in times), sum(sum(t[:8]) for t in times)


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
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if str(device) == "cuda" and place_among_processes()[1] > 1:
        # Each of several processes has a GPU of its own.
        device = f"cuda:{int(os.environ.get('LOCAL_RANK', '0')) % max(torch.cuda.device_count(), 1)}"
    try:
        chosen = torch.device(device)
        torch.zeros(1, device=chosen).tolist()
    except (RuntimeError, AssertionError, ImportError) as error:
        there = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        msg = f"device {str(device)!r} is not available here; there are {', '.join(there)}"
        raise InputError(msg) from error
    return chosen


def place_among_processes() -> tuple[int, int]:
    """The number of this process among those that ``torchrun`` has started, and how many there are."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


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


def _strike_again(number: int) -> None:
    _again.set()
    _thread.interrupt_main(signal.Signals(number))


@contextmanager
def terminable() -> Iterator[Callable[[], int | None]]:
    """Lets the signals by which batch systems and terminals end a process do so as Ctrl-C does.

    These are SIGTERM, SIGHUP, SIGXCPU and SIGUSR1. What has been told to ignore one of the last three (as
    ``nohup`` does), or has a handler of its own for it, is left so.

    Yields:
        What tells the first signal by which the process was asked to stop, if there was one.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    _received.clear()
    _heard.clear()
    _again.clear()

    def interrupt(number: int, frame: FrameType | None) -> None:
        again = _again.is_set()
        _again.clear()
        if again and _heard.is_set():
            return  # what is being done about it is not to be disturbed
        _received.append(number)
        handler = signal.getsignal(signal.SIGINT)
        # SIGINT is ignored in the background of a shell, but others must be heard there, too.
        if number == signal.SIGINT or not callable(handler):
            raise KeyboardInterrupt
        handler(signal.SIGINT, frame)

    hook, timers = sys.unraisablehook, list[threading.Timer]()

    def dropped(what: sys.UnraisableHookArgs) -> None:
        # Python drops what strikes in a finaliser: again, then, but not here, where it would be dropped, too.
        if issubclass(what.exc_type, KeyboardInterrupt) and _received:
            timer = threading.Timer(_SECONDS_TO_STRIKE_AGAIN, _strike_again, (_received[-1],))
            timer.daemon = True
            timer.start()
            timers.append(timer)
        else:
            hook(what)

    before = {signal.SIGTERM: signal.signal(signal.SIGTERM, interrupt)}
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        before[signal.SIGINT] = signal.signal(signal.SIGINT, interrupt)
    for name in _ENDINGS:
        number = getattr(signal, name, None)  # Windows has none of them
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            before[number] = signal.signal(number, interrupt)
    sys.unraisablehook = dropped
    try:
        yield lambda: _received[0] if _received else None
    finally:
        _heard.set()
        sys.unraisablehook = hook
        for timer in timers:
            timer.cancel()
            timer.join()
        for number, handler in before.items():
            signal.signal(number, handler)
        _received.clear()


# ------------------------------------------------------------------ progress


class Progress:
    """A bar on stderr with the share that is done, the time left and a line about it.

    Where stderr is no terminal, a line every half minute stands for it.

    Args:
        what: What is being done.
        total: How much of it there is to do.
        done: How much of it is done already.
        shown: Whether to show anything.
    """

    def __init__(self, what: str, total: float = 1.0, *, done: float = 0.0, shown: bool = True) -> None:
        self._what, self._total, self._begun = what, total, done
        self._shown = shown and sys.stderr is not None and not place_among_processes()[0]
        self._started = time.monotonic()
        self._last = -math.inf
        self._bar: Any = None
        if self._shown and sys.stderr.isatty():
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
                transient=True,
            )
            self._task = self._bar.add_task(what, total=total, completed=done, text="")
        else:
            self._last = self._started

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def tell(self, done: float, text: str) -> None:
        """Shows how much is done, and a line about it."""
        self.update(done, lambda: text)

    def update(self, done: float, text: Callable[[], str]) -> None:
        """Shows how much is done, and what is to be said of it."""
        now = time.monotonic()
        if self._bar is not None:
            if now - self._last >= _SECONDS_BETWEEN_UPDATES or done >= self._total:
                self._last = now
                self._bar.update(self._task, completed=done, text=text())
        elif self._shown and now - self._last >= _SECONDS_BETWEEN_LINES:
            self._last = now
            self._write(done, now - self._started, text())

    def _write(self, done: float, seconds: float, text: str) -> None:
        left = ""
        if done > self._begun:
            left = f", {_duration(seconds * (self._total - done) / (done - self._begun))} left"
        with suppress(OSError, ValueError):  # where it cannot be written, the work goes on
            print(
                printable(f"{self._what} {100 * done / self._total:.0f}%{left}: {text}"),
                file=sys.stderr,
                flush=True,
            )


def _duration(seconds: float) -> str:
    """A time in words: 45 s, 12 min or 3 h 20 min."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


@contextmanager
def telling() -> Iterator[None]:
    """Shows on stderr what `doing` says; where that is no terminal, a line every half minute, if that."""
    if sys.stderr is None or place_among_processes()[0]:
        yield
        return
    with ExitStack() as stack:
        shown: Any = _Lines()
        if sys.stderr.isatty():
            from rich.console import Console

            shown = stack.enter_context(Console(stderr=True).status("", refresh_per_second=4))
        _told.append(shown)
        try:
            yield
        finally:
            _told.remove(shown)


class _Lines:
    """What is being done, in lines."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def update(self, what: str) -> None:
        """Tells what begins now, if nothing was told for half a minute."""
        if what and time.monotonic() - self._last >= _SECONDS_BETWEEN_LINES:
            self._last = time.monotonic()
            with suppress(OSError, ValueError):
                print(printable(what), file=sys.stderr, flush=True)


def doing(what: str) -> None:
    """Says what begins now, where `telling` shows it."""
    if not _told:
        return
    if not isinstance(_told[-1], _Lines):
        from rich.markup import escape

        what = escape(what)
    _told[-1].update(what)


@contextmanager
def progress(what: str, total: int, *, shown: bool = True) -> Iterator[Callable[[int], None]]:
    """Progress of work on events, with its rate.

    Args:
        what: What is being done.
        total: Number of events.
        shown: Whether to show it.

    Yields:
        What to call with the number of events done so far. It raises KeyboardInterrupt if the user has asked
        the process to stop, for Python drops what strikes in a finaliser, say.
    """
    started = time.monotonic()

    def advance(done: int) -> None:
        if _received:
            _heard.set()
            raise KeyboardInterrupt
        rate = done / max(time.monotonic() - started, 1e-9)
        bar.update(done, lambda: f"{done:,}/{total:,}, {rate:,.0f} events/s")

    with Progress(what, total, shown=shown) as bar:
        yield advance
