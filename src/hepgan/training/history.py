"""What happened in a training, and which of its models was the best."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats

from hepgan.errors import RecipeError
from hepgan.training.config import SelectionConfig

__all__ = ["History", "Log", "is_best", "too_few_steps"]

_FEWEST = 100
"""With fewer steps, no training has begun."""

_FEW = 1000
"""With fewer steps, a training has to have seen each event once."""


class Log:
    """Columns of numbers, one row for each step; nan where a row lacks a column."""

    def __init__(self, columns: Mapping[str, NDArray[np.float64]] | None = None) -> None:
        self._columns = {name: values.tolist() for name, values in (columns or {}).items()}

    def __len__(self) -> int:
        return max((len(c) for c in self._columns.values()), default=0)

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names, ``step`` first."""
        return tuple(self._columns)

    def append(self, step: int, values: Mapping[str, float]) -> None:
        """Add a row."""
        rows = len(self)
        for name, value in {"step": float(step), **values}.items():
            column = self._columns.setdefault(name, [])
            column.extend([math.nan] * (rows - len(column)))
            column.append(float(value))

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        """A column.

        Raises:
            KeyError: If there is none of this name.
        """
        column = self._columns[name]
        return np.array(column + [math.nan] * (len(self) - len(column)), dtype=np.float64)

    def part(self, name: str, first: int, last: int) -> NDArray[np.float64]:
        """The rows ``first`` ... ``last - 1`` of a column; nan where it has none."""
        rows = self._columns[name][first:last]
        return np.array(rows + [math.nan] * (last - first - len(rows)), dtype=np.float64)

    def columns(self) -> dict[str, NDArray[np.float64]]:
        """All columns."""
        return {name: self[name] for name in self._columns}

    def rows(self) -> list[dict[str, float]]:
        """All rows."""
        columns = {name: values.tolist() for name, values in self.columns().items()}
        return [{name: values[i] for name, values in columns.items()} for i in range(len(self))]

    def to_csv(self, path: str | Path) -> None:
        """Write the log, with a line of names first."""
        with Path(path).open("w", newline="") as file:
            writer = csv.DictWriter(file, self.names)
            writer.writeheader()
            writer.writerows(self.rows())


class History:
    """What happened in a training.

    Attributes:
        losses: For each step: every term (``phase/term``, without its weight), ``phase/total`` (with all
            weights), ``phase/gradient`` (its norm), ``lr`` (as a share of the highest).
        metrics: For each evaluation: the metrics.
        diagnostics: For each diagnosis, of each term of what makes events: ``term/value`` and
            ``term/floor`` (between two batches of real events; of a likelihood, for generated events),
            without its weight, and ``term/gradient`` (the norm of the gradient), with its weight. In a
            hybrid also ``MODEL/coherence`` and ``guides/coherence``, cosines between the gradients of two
            batches, and ``guides/agreement``, that between likelihood and guides.
        status: ``running``, ``finished`` (all steps), ``time`` (out of time), ``patience`` (no better
            model for long) or ``interrupted`` (by the user).
        best_step: The step of the model that was kept; None if it is the last.
        seconds: Time spent, over all runs that a resumed training consists of.
        events: Real events seen.
    """

    def __init__(self) -> None:
        self.losses = Log()
        self.metrics = Log()
        self.diagnostics = Log()
        self.status = "running"
        self.best_step: int | None = None
        self.seconds = 0.0
        self.events = 0

    @property
    def terms(self) -> tuple[str, ...]:
        """The names of the terms that were diagnosed."""
        return tuple(n.removesuffix("/value") for n in self.diagnostics.names if n.endswith("/value"))

    def agreement(self, rows: int = 20) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The cosine between the mean gradients of a hybrid's own term and of its guides, less their noise.

        It is the mean of ``guides/agreement`` over the root of the product of the mean coherences. At -1 the
        one undoes what the other does. Where the gradients are all noise it is not a number.

        Args:
            rows: How many diagnoses are averaged for each value.

        Returns:
            Steps and values; empty if the model is no hybrid, or not diagnosed often enough.
        """
        log = self.diagnostics
        names = [n for n in log.names if n.endswith("/coherence")]
        if "guides/agreement" not in log.names or len(log) < rows:
            return np.empty(0), np.empty(0)
        usable = len(log) // rows * rows

        def mean(name: str) -> NDArray[np.float64]:
            means: NDArray[np.float64] = log[name][-usable:].reshape(-1, rows).mean(axis=1)
            return means

        signal = np.prod([mean(n).clip(0.0) for n in names], axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            values = np.where(signal > 0, mean("guides/agreement") / np.sqrt(signal), np.nan)
        return mean("step"), values.clip(-1.0, 1.0)

    def state_dict(self) -> dict[str, Any]:
        """All of it but for the status, for a checkpoint."""
        logs = {
            name: {n: torch.from_numpy(c) for n, c in log.columns().items()}
            for name, log in (
                ("losses", self.losses),
                ("metrics", self.metrics),
                ("diagnostics", self.diagnostics),
            )
        }
        return {**logs, "best_step": self.best_step, "seconds": self.seconds, "events": self.events}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint.

        Raises:
            ValueError: If it holds something else.
        """
        numbers = [state["seconds"], state["events"], *filter(None, [state["best_step"]])]
        if not all(type(n) in (int, float) and math.isfinite(n) and n >= 0 for n in numbers):
            msg = f"numbers of a history that are none: {numbers}"
            raise ValueError(msg)
        self.losses, self.metrics, self.diagnostics = (
            Log({n: _column(c) for n, c in state[name].items()})
            for name in ("losses", "metrics", "diagnostics")
        )
        best = state["best_step"]
        if best is not None and (self.metrics.names[:1] != ("step",) or best not in self.metrics["step"]):
            msg = f"the best step, {best}, was not evaluated"
            raise ValueError(msg)
        self.best_step, self.seconds, self.events = state["best_step"], state["seconds"], state["events"]

    def __repr__(self) -> str:
        return (
            f"History({self.status}, {len(self.losses)} steps, {self.seconds:.0f} s, best: {self.best_step})"
        )


def _column(values: torch.Tensor) -> NDArray[np.float64]:
    found: NDArray[np.float64] = values.numpy().astype(np.float64)
    if found.ndim != 1:
        msg = f"a column of a history has the shape {found.shape}"
        raise ValueError(msg)
    return found


def is_best(config: SelectionConfig, metrics: Log, best_step: int | None) -> bool:
    """Whether the last evaluation beats that of ``best_step``.

    A metric that isn't finite counts as worse than any other.

    Args:
        config: The rule.
        metrics: All evaluations so far.
        best_step: The step of the model that is kept so far; None if there is none.

    Raises:
        RecipeError: If a metric of the rule isn't evaluated.
    """
    names = config.metrics or tuple(n for n in metrics.names if n != "step")
    for name in names:
        if name not in metrics.names:
            there = ", ".join(n for n in metrics.names if n != "step") or "none"
            msg = f"the selection names the metric {name!r}, which isn't evaluated; there are: {there}"
            raise RecipeError(msg)
    values = np.stack([metrics[name] for name in names], axis=1)
    values[~np.isfinite(values)] = math.inf
    if config.rule == "rank_sum":
        values = stats.rankdata(values, axis=0)
    scores = values.sum(axis=1)
    if best_step is None:
        return True
    (held,) = np.flatnonzero(metrics["step"] == best_step)
    return bool(scores[-1] < scores[held])


def too_few_steps(history: History, warmup: int, events: int) -> str | None:
    """What a training lacks that ran out of time before it meant anything; None if it lacks nothing.

    A training whose steps are as few as its recipe says is what it was to be.

    Args:
        history: Its history.
        warmup: Steps over which its learning rate rises.
        events: The number of its events.
    """
    steps, seen = len(history.losses), history.events
    if history.status != "time":
        return None
    if steps < _FEWEST:
        return f"{steps} steps"
    if steps <= warmup:
        return f"{steps} steps, and its learning rate was to rise for {warmup}"
    if steps < _FEW and seen < events:
        return f"{steps} steps, which have seen {seen / events:.0%} of the events"
    return None
