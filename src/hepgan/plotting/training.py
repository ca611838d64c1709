"""Pictures of a training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hepgan.training.history import History

__all__ = ["plot_history"]


def plot_history(history: History) -> Figure:
    """Losses, gradient norms, metrics and diagnostics against the step.

    Losses are means over 1/200 of the training, so that their noise doesn't hide them. Of diagnostics,
    values are solid, floors dotted. A hybrid has a panel for how its likelihood and its guides agree.
    """
    from hepgan.plotting.readable import ReadableFigure

    metrics = [n for n in history.metrics.names if n != "step"]
    terms = history.terms
    hybrid = "guides/agreement" in history.diagnostics.names
    panels = 2 + bool(metrics) + 2 * bool(terms) + hybrid
    figure = ReadableFigure(figsize=(8.0, 1.5 + 2.5 * panels), layout="constrained")
    axes = figure.subplots(panels, 1, sharex=True)
    if terms:
        first = 2 + bool(metrics)
        _diagnostics(history, terms, *axes[first : first + 2])
    if hybrid:
        _agreement(history, axes[-1])
    width = max(1, len(history.losses) // 200)
    step = _averaged(history.losses["step"], width) if len(history.losses) else np.empty(0)
    losses = [n for n in history.losses.names if n not in ("step", "lr")]
    phases = [n.split("/")[0] for n in losses if not n.endswith(("/total", "/gradient"))]
    for name in losses:
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


def _diagnostics(history: History, terms: tuple[str, ...], values: Any, gradients: Any) -> None:
    table = history.diagnostics
    sizes = np.abs([table[f"{term}/{part}"] for term in terms for part in ("value", "floor")])
    # Terms that don't count yet may be no numbers without harm.
    largest = sizes[np.isfinite(sizes)].max(initial=0.0)
    for term in terms:
        (line,) = values.plot(table["step"], table[f"{term}/value"], label=term, lw=1)
        values.plot(table["step"], table[f"{term}/floor"], color=line.get_color(), ls=":", lw=1)
        gradients.plot(table["step"], table[f"{term}/gradient"], color=line.get_color(), label=term, lw=1)
    values.set_ylabel("terms, floors (dotted)")
    # Unbiased terms are negative at times.
    values.set_yscale("symlog", linthresh=max(1e-3 * float(largest), 1e-12))
    gradients.set_ylabel("gradient norm of terms")
    if any((table[f"{term}/gradient"] > 0).any() for term in terms):
        gradients.set_yscale("log")


def _agreement(history: History, axis: Any) -> None:
    """How likelihood and guides agree, with the shares of their gradients that are no noise (dotted)."""
    table = history.diagnostics
    width = max(1, len(table) // 20)
    step = _averaged(table["step"], width)
    for name in (n for n in table.names if n.endswith("/coherence")):
        axis.plot(step, _averaged(table[name], width), ls=":", label=name, lw=1)
    axis.plot(*history.agreement(width), label="agreement of likelihood and guides", lw=1)
    axis.axhline(0.0, color="black", lw=0.5)
    axis.set_ylim(-1.05, 1.05)
    axis.set_ylabel("cosines of gradients")


def _averaged(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    usable = len(values) // width * width
    means: NDArray[np.float64] = values[:usable].reshape(-1, width).mean(axis=1)
    return means
