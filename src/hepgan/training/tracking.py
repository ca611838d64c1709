"""Who watches a training: trackers, which are told its losses and metrics while it runs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from hepgan.training.history import History

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Tracker", "Watch", "current_watch", "watched"]

EVERY = 50
"""Steps between two logs."""


@runtime_checkable
class Tracker(Protocol):
    """What keeps the course of trainings, such as TensorBoard.

    Attributes:
        name: What messages and checkpoints call it.
    """

    name: str

    def start(self, settings: Mapping[str, Any], run: str | None, step: int) -> str | None:
        """A training begins, or goes on.

        Args:
            settings: All that decides what is learned, by name: numbers, texts and None.
            run: What this returned when a training began that now goes on; None for a new one.
            step: Steps that were made before.

        Returns:
            By what the tracker finds this run again; None if it needs nothing.
        """

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """The values of a step, by name; those that are not finite are left out."""

    def figure(self, step: int, name: str, figure: Figure) -> None:
        """A picture."""

    def end(self, status: str) -> None:
        """The training has ended: ``finished``, ``time``, ``patience``, ``interrupted`` or ``failed``."""


class Watch:
    """Trackers of one training, or of several one after another. What fails in one never stops a training.

    Args:
        trackers: Who is told.
        every: Steps between two logs.

    Raises:
        ValueError: If ``every`` is not positive.
    """

    def __init__(self, *trackers: Tracker, every: int = EVERY) -> None:
        if every < 1:
            msg = f"every must be positive, not {every}"
            raise ValueError(msg)
        self._trackers = list(trackers)
        self._every = every
        self._status = "failed"
        self._offset = self._last = self._made = self._logged = self._metrics = self._diagnostics = 0
        self._begun = False
        self.runs: dict[str, str] = {}

    def begin(self, settings: Mapping[str, Any], step: int, runs: Mapping[str, str]) -> None:
        """A training begins.

        Args:
            settings: As trackers get them.
            step: Steps that were made before.
            runs: What trackers find their runs by, of a training that goes on.
        """
        if self._begun:
            # The steps of another training after the first one are counted on.
            if step != self._made:
                self._offset, self._metrics, self._diagnostics = self._last, 0, 0
                self._logged = step
            return
        self._begun = True
        self._logged = step

        def start(tracker: Tracker) -> None:
            run = tracker.start(settings, runs.get(tracker.name), step)
            if run is not None:
                self.runs[tracker.name] = run

        self._tell_all(start)

    def step(self, history: History, *, last: bool = False) -> None:
        """A step was made: its losses, and metrics and diagnostics that are new.

        Args:
            history: The training's.
            last: Whether no other follows, so that steps since the last log are logged, however few.
        """
        step = self._made = len(history.losses)
        if not self._trackers:
            return
        found: dict[str, float] = {}
        if step > self._logged and (last or step % self._every == 0):
            for name in history.losses.names:
                part = history.losses.part(name, self._logged, step)
                there = part[part == part]
                if len(there) and name != "step":
                    found[f"loss/{name}"] = float(there[-1] if name == "lr" else there.mean())
            self._logged = step
        for what, log, seen in (
            ("metric", history.metrics, self._metrics),
            ("diagnostic", history.diagnostics, self._diagnostics),
        ):
            if len(log) > seen:
                found |= {f"{what}/{n}": float(log.part(n, len(log) - 1, len(log))[0]) for n in log.names[1:]}
        self._metrics, self._diagnostics = len(history.metrics), len(history.diagnostics)
        if not found:
            return
        self._last = self._offset + step
        finite = {n: v for n, v in found.items() if abs(v) < float("inf")}
        self._tell_all(lambda tracker: tracker.log(self._last, finite))

    def ended(self, history: History) -> None:
        """A training has ended; what was not told yet is."""
        self._status = history.status
        self.step(history, last=True)

    def figure(self, name: str, figure: Figure) -> None:
        """Hands a picture to all trackers."""
        self._tell_all(lambda tracker: tracker.figure(self._last, name, figure))

    def close(self) -> None:
        """All trainings have ended."""
        if self._begun:
            self._tell_all(lambda tracker: tracker.end(self._status))

    def _tell_all(self, say: Callable[[Tracker], None]) -> None:
        for tracker in list(self._trackers):
            try:
                say(tracker)
            except Exception as error:
                self._trackers.remove(tracker)
                reason = f"{type(error).__name__}: {error}"
                msg = f"{tracker.name} is told no more of this training, which goes on: {reason}"
                warnings.warn(msg, stacklevel=2)


_watch: ContextVar[Watch | None] = ContextVar("hepgan_watch", default=None)


def current_watch() -> Watch:
    """Who watches what is trained here; nobody, unless within `watched`."""
    return _watch.get() or Watch()


@contextmanager
def watched(*trackers: Tracker, every: int = EVERY) -> Iterator[Watch]:
    """Tells trackers of all that is trained within.

    Args:
        trackers: Who is told, such as `hepgan.training.trackers.TensorBoard`.
        every: Steps between two logs; losses are the mean over these steps.

    Raises:
        ValueError: If ``every`` is not positive.

    Example:
        >>> from hepgan.training.trackers import TensorBoard
        >>> with watched(TensorBoard("runs/zmumu")):  # doctest: +SKIP
        ...     generator.fit(events)
    """
    watch = Watch(*trackers, every=every)
    token = _watch.set(watch)
    try:
        yield watch
    finally:
        _watch.reset(token)
        watch.close()
