"""Trackers: TensorBoard, MLflow, Weights & Biases, and lines of text."""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hepgan.errors import InputError, printable
from hepgan.training.tracking import Tracker

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Lines", "MLflow", "TensorBoard", "WandB", "tracker_of"]

_LONGEST = 500
"""Longer texts among the settings are cut, since MLflow takes no longer ones."""

_MOST = 100
"""So many settings at once, the most that MLflow takes."""


def _module(name: str, extra: str, of: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        msg = f'{of} needs {name.partition(".")[0]}: pip install "hepgan[{extra}]"'
        raise InputError(msg) from error


class TensorBoard:
    """Writes TensorBoard's event files (``tensorboard --logdir FOLDER``).

    Args:
        folder: Where; a training that goes on writes another file into it.

    Raises:
        InputError: If tensorboard is not installed.
    """

    name = "tensorboard"

    def __init__(self, folder: str | Path) -> None:
        _module("tensorboard", "tensorboard", "--track tensorboard")
        self._folder = Path(folder)
        self._writer: Any = None

    def start(self, settings: Mapping[str, Any], run: str | None, step: int) -> str | None:
        """Opens a file, and writes the settings as a table."""
        from torch.utils.tensorboard import SummaryWriter

        writer: Any = SummaryWriter
        self._writer = writer(str(self._folder), purge_step=step + 1 if run else None)
        rows = "\n".join(f"| {name} | {_text(value)} |" for name, value in settings.items())
        self._writer.add_text("settings", f"| setting | value |\n|---|---|\n{rows}", step)
        return str(self._folder)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """A scalar for each value."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def figure(self, step: int, name: str, figure: Figure) -> None:
        """The picture as an image."""
        self._writer.add_figure(name, figure, step, close=False)

    def end(self, status: str) -> None:
        """Closes the file."""
        self._writer.add_text("status", status)
        self._writer.close()


class MLflow:
    """A run of MLflow (``mlflow ui``).

    Args:
        experiment: The experiment's name.
        run: The run's name; MLflow's own if None.
        uri: Where runs are kept: a server or a database; if None, what the variable ``MLFLOW_TRACKING_URI``
            says, or else MLflow's own choice, the file ``mlflow.db``.

    Raises:
        InputError: If MLflow is not installed.
    """

    name = "mlflow"

    def __init__(self, experiment: str, run: str | None = None, uri: str | None = None) -> None:
        self._mlflow = _module("mlflow", "mlflow", "--track mlflow")
        self._experiment, self._named, self._uri = experiment, run, uri
        self._client: Any = None
        self._run = ""

    def start(self, settings: Mapping[str, Any], run: str | None, step: int) -> str | None:
        """Begins a run, or goes on with one."""
        self._client = self._mlflow.MlflowClient(self._uri)
        if run is not None:
            self._client.update_run(run, "RUNNING")
            self._run = run
            return run
        found = self._client.get_experiment_by_name(self._experiment)
        experiment = (
            self._client.create_experiment(self._experiment) if found is None else found.experiment_id
        )
        self._run = self._client.create_run(experiment, run_name=self._named).info.run_id
        entity = self._mlflow.entities.Param
        rows = [entity(name, _text(value)) for name, value in settings.items()]
        for first in range(0, len(rows), _MOST):
            self._client.log_batch(self._run, params=rows[first : first + _MOST])
        return self._run

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """A metric for each value."""
        entity, now = self._mlflow.entities.Metric, round(1000 * time.time())
        metrics = [entity(_slug(name), value, now, step) for name, value in values.items()]
        self._client.log_batch(self._run, metrics=metrics)

    def figure(self, step: int, name: str, figure: Figure) -> None:
        """The picture as an artifact."""
        self._client.log_figure(self._run, figure, f"{_slug(name)}.png")

    def end(self, status: str) -> None:
        """Ends the run."""
        self._client.set_tag(self._run, "hepgan.status", status)
        ended = {"failed": "FAILED", "interrupted": "KILLED"}.get(status, "FINISHED")
        self._client.set_terminated(self._run, ended)


class WandB:
    """A run of Weights & Biases.

    Without a network, ``WANDB_MODE=offline`` keeps it in a folder for ``wandb sync``.

    Args:
        project: The project's name.
        run: The run's name; theirs if None.
        folder: Where they keep what they write; theirs if None.

    Raises:
        InputError: If wandb is not installed.
    """

    name = "wandb"

    def __init__(self, project: str, run: str | None = None, folder: str | Path | None = None) -> None:
        self._wandb = _module("wandb", "wandb", "--track wandb")
        self._project, self._named, self._folder = project, run, folder
        self._run: Any = None

    def start(self, settings: Mapping[str, Any], run: str | None, step: int) -> str | None:
        """Begins a run, or goes on with one."""
        self._run = self._wandb.init(
            project=self._project,
            name=self._named,
            dir=None if self._folder is None else str(self._folder),
            config={name: _text(v) if isinstance(v, str) else v for name, v in settings.items()},
            id=run,
            resume=None if run is None else "allow",
            settings=self._wandb.Settings(silent=True, console="off"),
        )
        return str(self._run.id)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """All values of a step."""
        self._run.log(dict(values), step=step)

    def figure(self, step: int, name: str, figure: Figure) -> None:
        """The picture as an image."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        self._run.log({name: self._wandb.Image(np.asarray(canvas.buffer_rgba()))}, step=step)

    def end(self, status: str) -> None:
        """Ends the run."""
        self._run.summary["status"] = status
        self._run.finish(1 if status == "failed" else 0)


class Lines:
    """Lines of text on stderr, for the logs of batch systems."""

    name = "lines"

    def start(self, settings: Mapping[str, Any], run: str | None, step: int) -> str | None:
        """Nothing is to be said."""
        return None

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """A line with totals, metrics and the learning rate."""
        kept = {
            name.partition("/")[2].removesuffix("/total"): value
            for name, value in values.items()
            if name.endswith(("/total", "/lr")) or name.startswith("metric/")
        }
        if kept:
            text = ", ".join(f"{name} {value:.4g}" for name, value in kept.items())
            print(printable(f"step {step:,}: {text}"), file=sys.stderr, flush=True)

    def figure(self, step: int, name: str, figure: Figure) -> None:
        """There are no pictures among lines."""

    def end(self, status: str) -> None:
        """Nothing is to be said."""


_KINDS: dict[str, Callable[[str, str], Tracker]] = {
    "tensorboard": lambda where, run: TensorBoard(where or f"runs/{run}"),
    "mlflow": lambda where, run: MLflow(where or "hepgan", run),
    "wandb": lambda where, run: WandB(where or "hepgan", run),
}


def tracker_of(text: str, run: str) -> Tracker:
    """The tracker that ``tensorboard:FOLDER``, ``mlflow:EXPERIMENT`` or ``wandb:PROJECT`` stands for.

    Args:
        text: What the user asks for; without a colon, ``runs/RUN``, or ``hepgan``.
        run: What the run is called.

    Raises:
        InputError: If there is no such tracker, or its package is not installed.
    """
    kind, _, where = text.partition(":")
    if kind not in _KINDS:
        kinds = ", ".join(_KINDS)
        msg = f"--track {text!r}: expected {kinds}, with a colon and where, as in tensorboard:runs/a"
        raise InputError(msg)
    return _KINDS[kind](where, run)


def _text(value: Any) -> str:
    return str(value)[:_LONGEST]


def _slug(name: str) -> str:
    """A name of letters that MLflow takes."""
    return "".join(c if c.isalnum() or c in "_-. /" else "_" for c in name)
