"""Pictures of a training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hepgan.training.history import History

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_history"]


def plot_history(history: History) -> Figure:
    """Losses, gradient norms and metrics against the step.

    Losses are means over 1/200 of the training, so that their noise doesn't hide them.
    """
    from matplotlib.figure import Figure

    metrics = [n for n in history.metrics.names if n != "step"]
    figure = Figure(figsize=(8.0, 9.0 if metrics else 6.5), layout="constrained")
    axes = figure.subplots(3 if metrics else 2, 1, sharex=True)
    width = max(1, len(history.losses) // 200)
    step = _averaged(history.losses["step"], width) if len(history.losses) else np.empty(0)
    terms = [n for n in history.losses.names if n not in ("step", "lr")]
    phases = [n.split("/")[0] for n in terms if not n.endswith(("/total", "/gradient"))]
    for name in terms:
        if name.endswith("/total") and phases.count(name.split("/")[0]) == 1:
            continue
        axis = axes[1] if name.endswith("/gradient") else axes[0]
        axis.plot(step, _averaged(history.losses[name], width), label=name.removesuffix("/gradient"), lw=1)
    axes[0].set_ylabel("loss terms")
    axes[1].set_ylabel("gradient norm")
    axes[1].set_yscale("log")
    for name in metrics:
        axes[2].plot(history.metrics["step"], history.metrics[name], ".-", label=name, lw=1)
    if metrics:
        axes[2].set_ylabel("metrics")
        if any((history.metrics[name] > 0).any() for name in metrics):
            axes[2].set_yscale("log")
    for axis in axes:
        if history.best_step is not None:
            axis.axvline(history.best_step, color="black", ls=":", lw=1, label="kept")
        if axis.get_legend_handles_labels()[1]:
            axis.legend(fontsize="small")
    axes[-1].set_xlabel("step")
    return figure


def _averaged(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    usable = len(values) // width * width
    means: NDArray[np.float64] = values[:usable].reshape(-1, width).mean(axis=1)
    return means
