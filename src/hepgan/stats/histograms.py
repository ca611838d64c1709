"""Histograms beside each other: tests with their floors, pulls, and the bands of ensembles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import hist
import numpy as np
from numpy.typing import NDArray
from scipy import stats

from hepgan.stats import distances
from hepgan.stats.distances import Chi2Result, chi2_binned
from hepgan.stats.metrics import Metric, Once, random_for

__all__ = ["Band", "band", "binned", "edges_of", "per_event", "pulls", "shape"]

Floats = NDArray[np.float64]

MIN_ENTRIES = 10.0
"""Bins are merged until they hold this many effective entries, below which chi2 is not chi2-distributed."""


def edges_of(axis: Any) -> Floats:
    """Bin edges; whole numbers stand in the middle of their bins."""
    edges = np.asarray(axis.edges, dtype=np.float64)
    return edges - 0.5 if isinstance(axis, hist.axis.Integer) else edges


def shape(a: Any, b: Any) -> Chi2Result:
    """The chi2 test of two histograms' shapes (see :func:`hepgan.stats.distances.chi2_binned`).

    Under- and overflow count as bins, and neighbouring bins are merged until they hold 10 effective entries.

    Args:
        a: Contents of a histogram with their variances, ``h.view(flow=True)`` with Weight storage.
        b: Those of another, with the same axis.

    Returns:
        chi2, ndf and p-value; NaN, 0 and NaN where a histogram has no net contents.
    """
    if not (a["value"].sum() > 0 and b["value"].sum() > 0):
        return Chi2Result(math.nan, 0, math.nan)
    return chi2_binned(a["value"], a["variance"], b["value"], b["variance"], min_entries=MIN_ENTRIES)


def per_event(a: Any, b: Any) -> Chi2Result:
    """The chi2 test of two histograms that are sums of weights per event, which are not normalised again.

    Bins that are known to no better than 10 effective entries count as one; ndf is the number of bins.
    Contents of bins are taken to be independent, which those of one event are not quite: the floor tells
    more than the p-value.

    Args:
        a: Contents of a histogram with their variances, ``h.view(flow=True)`` with Weight storage.
        b: Those of another, with the same axis.

    Returns:
        chi2, ndf and p-value; NaN, 0 and NaN where neither histogram has contents.
    """
    total, variance = a["value"] + b["value"], a["variance"] + b["variance"]
    difference = b["value"] - a["value"]
    few = total**2 < MIN_ENTRIES * variance
    difference, variance = (np.append(x[~few], x[few].sum()) for x in (difference, variance))
    filled = variance > 0
    ndf = int(filled.sum())
    if not ndf:
        return Chi2Result(math.nan, 0, math.nan)
    chi2 = float((difference[filled] ** 2 / variance[filled]).sum())
    return Chi2Result(chi2, ndf, float(stats.chi2.sf(chi2, ndf)))


def pulls(first: Any, second: Any, *, weighted: bool = False) -> Floats:
    """Differences of the contents, second less first, over their errors, bin by bin.

    Args:
        first: The reference histogram (``hist.Hist`` with Weight storage, one axis).
        second: The generated one, with the same axis.
        weighted: Whether they are sums of weights per event; else both are normalised.

    Returns:
        One pull a bin, without under- and overflow; NaN where both are empty.
    """
    if weighted:
        a, b = first.view(), second.view()
        error = np.sqrt(a["variance"] + b["variance"])
        known = np.where(error > 0, error, np.nan)
        return np.asarray((b["value"] - a["value"]) / known)
    a, b = first.view(flow=True), second.view(flow=True)
    if not (a["value"].sum() > 0 and b["value"].sum() > 0):
        return np.full(len(first.axes[0]), np.nan)
    result = distances.pulls(a["value"], a["variance"], b["value"], b["variance"])
    start = 1 if first.axes[0].traits.underflow else 0
    return np.asarray(result[start : start + len(first.axes[0])])


def binned(
    reference: Any,
    generated: Any,
    name: str,
    groups: Sequence[Any] = (),
    seed: int = 0,
    *,
    weighted: bool = False,
    once: Once | None = None,
) -> Metric:
    """Chi2/ndf of an observable's histograms, with its floor.

    The floor is the mean over 10 random halvings of all true events: one pair of samples would do for many
    bins, but for few ones chi2/ndf scatters too much to be divided by.

    Args:
        reference: Histogram of true events.
        generated: Histogram of generated events.
        name: The observable, for the seed.
        groups: Histograms of random groups of true events, of the reference and of the training sample.
        seed: Seed of the choice of halves.
        weighted: Whether the histograms are sums of weights per event, not to be normalised again.
        once: Keeps the floor for other generated samples.
    """
    test = per_event if weighted else shape
    found = test(reference.view(flow=True), generated.view(flow=True))
    if found.ndf < 1:
        return Metric(math.nan, None, None, None, found.p, found.ndf)
    floor = spread = None
    if groups:
        rng = random_for(seed, name + "/groups")
        halves = (once or Once())((name, "chi2"), rng, lambda: _of_halves(groups, rng, weighted))
        if halves:
            floor = float(np.mean(halves))
            spread = float(np.std(halves, ddof=1)) if len(halves) > 1 else None
    return Metric(found.chi2 / found.ndf, floor, math.sqrt(2 / found.ndf), spread, found.p, found.ndf)


def _of_halves(groups: Sequence[Any], rng: np.random.Generator, weighted: bool) -> list[float]:
    """Chi2/ndf of random halves of the groups against the others."""
    test, together = (per_event, _mean) if weighted else (shape, _sum)
    contents = np.concatenate([g.view(flow=True) for g in groups])
    contents = contents[np.isfinite(contents["value"]).all(axis=1)]
    found = []
    for _ in range(10 if len(contents) > 1 else 0):
        order = rng.permutation(len(contents))
        halves = test(together(contents[order[::2]]), together(contents[order[1::2]]))
        if halves.ndf > 0:
            found.append(halves.chi2 / halves.ndf)
    return found


def _sum(views: Any) -> dict[str, Any]:
    """The contents of several histograms together."""
    return {name: views[name].sum(axis=0) for name in ("value", "variance")}


def _mean(views: Any) -> dict[str, Any]:
    """The contents per event of several equally large groups of events together."""
    return {"value": views["value"].mean(axis=0), "variance": views["variance"].sum(axis=0) / len(views) ** 2}


@dataclass(frozen=True)
class Band:
    """What is known of an ensemble's histogram, bin by bin.

    Contents are shares of all events; of a weighted observable sums of weights per event. Under- and overflow
    are not among the B bins.

    Attributes:
        members: The number of members.
        content: The contents (B,) of the events of all members.
        statistical: Their variances (B,) from the finite number of generated events.
        spread: The variances (B,) between members, without what they have from their finite numbers of
            events. They start from other weights and learn from other bootstrap samples, so this is how far
            the training, with events as few as there were, may have led the ensemble astray.
        true: The variances (B,) of the reference's contents from its finite number of events.
        pulls: Difference from the reference over the root of the sum of all three variances (B,); NaN where
            both are empty.
    """

    members: int
    content: Floats
    statistical: Floats
    spread: Floats
    true: Floats
    pulls: Floats

    @property
    def variance(self) -> Floats:
        """The whole variance (B,) of the ensemble's contents."""
        return self.statistical + self.spread

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able dict with standard deviations and pulls of the bins, and a summary of the pulls."""
        return {
            **self.summary(),
            "statistical": [math.sqrt(v) for v in self.statistical.tolist()],
            "spread": [math.sqrt(v) for v in self.spread.tolist()],
            "pulls": [p if math.isfinite(p) else None for p in self.pulls.tolist()],
        }

    def summary(self) -> dict[str, Any]:
        """Mean and width of the pulls, and the shares of bins where they are below 1 and 2."""
        known = self.pulls[np.isfinite(self.pulls)]
        if not known.size:
            return {"members": self.members}
        return {
            "members": self.members,
            "within_one_sigma": float(np.mean(np.abs(known) < 1)),
            "within_two_sigma": float(np.mean(np.abs(known) < 2)),
            "mean_of_pulls": float(known.mean()),
            "width_of_pulls": float(known.std()),
        }


def band(reference: Any, generated: Any, members: Any, *, weighted: bool = False) -> Band | None:
    """The uncertainties of an ensemble's histogram, and its pulls.

    The variance between members is that of their histograms less the mean of their statistical variances;
    where chance makes it negative, it is 0. The spread is that of one member: an ensemble of any size learns
    from the same events, and its mean shares most of their fluctuation.

    Args:
        reference: The reference's histogram (``hist.Hist`` with Weight storage, one axis).
        generated: That of all members' events.
        members: The same with an axis of members before.
        weighted: Whether they are sums of weights per event; else all are normalised.

    Returns:
        The band; None if fewer than two members have events.
    """
    first = 1 if reference.axes[0].traits.underflow else 0
    inside = slice(first, first + len(reference.axes[0]))
    every = [_contents(view, weighted) for view in members.view(flow=True)]
    known = [one for one in every if one is not None]
    true, made = (_contents(h.view(flow=True), weighted) for h in (reference, generated))
    if len(known) < 2 or true is None or made is None:
        return None
    shares, errors = (np.stack(part)[:, inside] for part in zip(*known, strict=True))
    spread = np.maximum(shares.var(axis=0, ddof=1) - errors.mean(axis=0), 0.0)
    (t, v_t), (g, v_g) = ((x[inside], v[inside]) for x, v in (true, made))
    variance = v_g + spread + v_t
    pulls = np.divide(g - t, np.sqrt(variance), out=np.full_like(g, np.nan), where=variance > 0)
    return Band(len(known), g, v_g, spread, v_t, pulls)


def _contents(view: Any, weighted: bool) -> tuple[Floats, Floats] | None:
    """Contents and their variances, normalised unless they are per event; None if there are none."""
    value, variance = (np.asarray(view[n], dtype=np.float64) for n in ("value", "variance"))
    if weighted:
        return (value, variance) if np.isfinite(value).all() else None
    total = float(value.sum())
    if not total > 0:
        return None
    share = value / total
    # The numerator is a part of the denominator.
    error = ((1 - 2 * share) * variance + share**2 * variance.sum()) / total**2
    return share, np.maximum(error, 0.0)
