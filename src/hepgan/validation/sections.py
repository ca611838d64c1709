"""What a report may tell beyond the comparison of samples: of latent space, of ensembles, of weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from hepgan.arguments import checked
from hepgan.stats.correlations import largest_correlation
from hepgan.stats.distances import ks_from_normal
from hepgan.stats.histograms import Band
from hepgan.stats.moments import checked_weights
from hepgan.stats.weights import TAIL, effective_sample_size

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hepgan.generator import Latents
    from hepgan.observables import Observable
    from hepgan.observables.table import Table
    from hepgan.reweighting import Reweighter

__all__ = ["Section", "latent_metrics", "latent_section", "members_section", "weights_section"]


@dataclass(frozen=True)
class Section:
    """A part of a report.

    Attributes:
        title: Its heading.
        note: What its pictures show.
        metrics: Numbers by name, for the report's table and for ``metrics.json``. They may be nested; with a
            floor, a number is a mapping of ``value`` and ``floor``.
        figures: What draws each picture, by its caption.
        wide: Whether all pictures are as wide as the page; else the first.
    """

    title: str
    note: str
    metrics: Mapping[str, Any] = field(default_factory=dict)
    figures: Mapping[str, Callable[[], Figure]] = field(default_factory=dict)
    wide: bool = False

    def rows(self) -> list[tuple[str, str]]:
        """The numbers as a table of names and values."""
        return list(_rows(self.metrics, ""))


def _rows(metrics: Mapping[str, Any], before: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name, value in metrics.items():
        title = before + (name if "." in name else name.replace("_", " "))
        if isinstance(value, Mapping):
            found += [(title, _with_floor(value))] if "value" in value else _rows(value, f"{title}, ")
        elif value is not None:
            found.append((title, _number(value)))
    return found


def _with_floor(metric: Mapping[str, Any]) -> str:
    text = f"{_number(metric['value'])} (floor {_number(metric['floor'])})"
    return ", ".join([text, *metric.get("features", ())])


def _number(value: Any) -> str:
    return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}"


@checked
def latent_metrics(latents: Latents, weights: ArrayLike | None = None) -> dict[str, Any]:
    """How far latents are from independent standard normal numbers.

    Args:
        latents: Of N events.
        weights: (N,) of the events; 1 if None.

    Returns:
        By feature, ``ks`` with the distance from the normal distribution and its ``floor``, the mean for
        as many normal numbers; and ``largest_correlation`` with its ``value``, ``floor`` (the median of the
        largest for as many independent ones) and the ``features``.
    """
    values = latents.values
    w = checked_weights(weights, len(values))
    ks = {}
    for name, z in zip(latents.names, values.T, strict=True):
        there = np.isfinite(z)
        if there.sum() > 1:
            value, floor = ks_from_normal(z[there], w[there])
            ks[name] = {"value": value, "floor": floor}
    largest = None
    if (found := largest_correlation(values, w)) is not None:
        r, floor, pair = found
        largest = {"value": r, "floor": floor, "features": [latents.names[i] for i in pair]}
    return {"events": len(values), "ks": ks, "largest_correlation": largest}


def latent_section(latents: Latents, weights: Any = None) -> Section:
    """What a report tells of latent space: metrics and a corner plot."""
    note = (
        "The noise of which the model would make the reference's events: independent standard normal "
        "numbers, if it is right; of angles, uniform noise made normal. Diagonal: each, and the normal "
        "distribution. Below: observed over expected numbers of events in the plane of two, grey where too "
        "few are expected. The features shown are those farthest from normal."
    )
    metrics = latent_metrics(latents, weights)
    return Section("Latent space", note, metrics, {"corner plot": partial(_corner, latents, weights)})


def members_section(
    observables: Mapping[str, Observable], bands: Mapping[str, Mapping[str, Band]]
) -> Section:
    """What a report tells of ensembles: the pulls of each observable of each sample.

    Args:
        observables: The observables.
        bands: By label and observable.
    """
    several = len(bands) > 1
    metrics: dict[str, Any] = {
        (f"{label}, {name}" if several else name): found.summary()
        for label, by_name in bands.items()
        for name, found in by_name.items()
    }
    everything = np.concatenate([b.pulls for by_name in bands.values() for b in by_name.values()])
    known = everything[np.isfinite(everything)]
    if known.size:
        metrics = {"bins within one sigma": float(np.mean(np.abs(known) < 1)), **metrics}
    note = (
        "Pulls: generated minus true content of a bin, over the root of the sum of the variances of the "
        "generated events, of the training (the spread of the ensemble's members, from which their "
        "statistical fluctuations are subtracted), and of the reference. Where the bands cover, 68% of the "
        "bins are within one sigma. In the plots of observables the band around a generated histogram is the "
        "root of the first two."
    )
    figures = {
        f"pulls of {label}" if several else "pulls": partial(_pulls, dict(by_name))
        for label, by_name in bands.items()
    }
    return Section("Ensemble", note, metrics, figures)


def weights_section(
    reweighter: Reweighter,
    table: Table,
    planes: Sequence[tuple[Observable, Observable]],
    metrics: Mapping[str, Any] | None = None,
) -> Section:
    """What a report tells of weights: both tails, effective sample size, calibration, maps.

    Args:
        reweighter: What made the weights.
        table: Per-event observables of some weighted events.
        planes: Pairs of these observables on whose planes the mean weight is shown.
        metrics: More numbers.
    """
    weight = reweighter.fitted_weights.weight
    size = effective_sample_size(weight)
    tails = {f"{q:g}": float(np.quantile(weight, q)) for q in (0.001, TAIL, 1 - TAIL, 0.999)}
    before, after = reweighter.reliability_before, reweighter.reliability
    numbers = {
        "events": len(weight),
        "effective_sample_size": size,
        "effective_share": size / len(weight),
        "quantiles_of_the_weights": tails,
        "chi2_of_the_reliability": {"before_calibration": before.chi2, "after_calibration": after.chi2},
        **(metrics or {}),
    }
    figures: dict[str, Callable[[], Figure]] = {
        "Weights, and reliability of the classifiers": partial(_weights, reweighter)
    }
    for x, y in planes if np.ptp(table.weights) > 0 else ():
        figures[f"{x.name} and {y.name}"] = partial(_weight_map, x, y, table)
    note = (
        "Weights that make generated events follow the reference, by members of the ensemble that did not "
        "know the event. Left: their distribution; a tail to the left holds events that should not be there, "
        "one to the right events that stand for many. Right: how often an event is true that the classifier "
        "finds so. Maps: the mean weight."
    )
    return Section("Weights", note, numbers, figures)


# Who wants no picture need not wait for matplotlib.


def _corner(latents: Latents, weights: Any) -> Figure:
    from hepgan.plotting.latents import plot_latents

    return plot_latents(latents, weights)


def _pulls(bands: Mapping[str, Band]) -> Figure:
    from hepgan.plotting.densities import pulls_of_members

    return pulls_of_members(bands)


def _weights(reweighter: Reweighter) -> Figure:
    from hepgan.plotting.weights import plot_weights

    return plot_weights(reweighter)


def _weight_map(x: Observable, y: Observable, table: Table) -> Figure:
    from hepgan.plotting.weights import weight_map

    return weight_map(x, y, table.column(x.name), table.column(y.name), table.weights)
