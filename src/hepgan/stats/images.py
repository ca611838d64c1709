"""Histograms of fields with a shape: mean images, occupancies, and the spectrum of contents."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import hist
import numpy as np
from numpy.typing import ArrayLike, NDArray

from hepgan.errors import InputError

__all__ = ["GridAxis", "difference", "intensity_spectrum", "mean_image", "occupancy"]

Floats = NDArray[np.float64]

_BINS_PER_DECADE = 10


class GridAxis(Protocol):
    """An axis of a field with a shape: uniform cells from ``low`` to ``high``."""

    @property
    def name(self) -> str:
        """Its name, such as ``eta``."""

    @property
    def low(self) -> float:
        """Where its first cell begins."""

    @property
    def high(self) -> float:
        """Where its last cell ends."""

    @property
    def unit(self) -> str:
        """Its unit; empty if there is none."""


def mean_image(images: ArrayLike, weight: ArrayLike | None = None, axes: Sequence[GridAxis] = ()) -> Any:
    """The mean content of each cell.

    Args:
        images: The contents (N, ...) of N events.
        weight: Event weights (N,), of either sign; 1 if None.
        axes: One for each index of the shape; indices themselves where there are none.

    Returns:
        A ``hist.Hist`` with Weight storage: means, and the variances of the means; NaN where the weights do
        not sum to a positive number.

    Raises:
        InputError: If there is not one weight for each image, or the axes are not those of the shape.
    """
    contents, w = _checked(images, weight)
    return _means(contents, w, axes, "mean content")


def occupancy(images: ArrayLike, weight: ArrayLike | None = None, axes: Sequence[GridAxis] = ()) -> Any:
    """The share of events in which each cell is not 0; arguments, result and errors as of `mean_image`."""
    contents, w = _checked(images, weight)
    return _means(contents != 0, w, axes, "share of events")


def difference(first: Any, second: Any) -> Any:
    """What the first of two histograms of means has more than the second, with the variances of both.

    Args:
        first: What `mean_image` or `occupancy` gives.
        second: The same of other events.

    Raises:
        InputError: If their axes differ.
    """
    if tuple(first.axes) != tuple(second.axes):
        msg = "the axes of the two images differ"
        raise InputError(msg)
    made = first.copy()
    a, b = first.view(), second.view()
    made.view()["value"], made.view()["variance"] = a["value"] - b["value"], a["variance"] + b["variance"]
    return made


def intensity_spectrum(
    images: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    range: tuple[float, float] | None = None,
    bins: int | None = None,
    unit: str = "",
) -> Any:
    """The spectrum of the contents that are larger than 0, for one event, in logarithmic bins.

    Args:
        images: The contents (N, ...) of N events.
        weight: Event weights (N,), of either sign; 1 if None.
        range: Where it begins and ends; whole decades around all contents if None.
        bins: The number of bins; 10 in each decade if None.
        unit: The unit of the contents.

    Returns:
        A ``hist.Hist`` with Weight storage: cells an event, whose variances know that those of one event are
        not independent; under- and overflow hold what is beyond the range.

    Raises:
        InputError: If there is not one weight for each image, the range is none, or no content is above 0.
    """
    contents, w = _checked(images, weight)
    event, *cell = np.nonzero(contents > 0)
    values = contents[(event, *cell)].astype(np.float64)
    if range is None:
        if not values.size:
            msg = "no content is above 0, so there is no spectrum"
            raise InputError(msg)
        low, high = (float(10.0**e) for e in _decades(values))
    else:
        low, high = map(float, range)
    if not (0 < low < high < math.inf):
        msg = f"a spectrum in logarithmic bins needs 0 < low < high, not {low:g} and {high:g}"
        raise InputError(msg)
    bins = bins or max(1, round(_BINS_PER_DECADE * math.log10(high / low)))
    label = f"content of a cell [{unit}]" if unit else "content of a cell"
    axis = hist.axis.Regular(bins, low, high, transform=hist.axis.transform.log, name="content", label=label)
    found = hist.Hist(axis, storage=hist.storage.Weight(), name="cells an event")
    total = float(w.sum())
    size = bins + 2
    place = axis.index(values) + 1
    # What each event has in each bin, which it has as a whole.
    each, number = np.unique(event * size + place, return_counts=True)
    filled = w[each // size] * number
    view = found.view(flow=True)
    sums = [np.bincount(each % size, part, size) for part in (filled, filled * number * w[each // size])]
    with np.errstate(divide="ignore", invalid="ignore"):
        view["value"] = sums[0] / total if total > 0 else np.nan
        # What all events have in common is no fluctuation.
        variance = (
            sums[1]
            - 2 * view["value"] * np.bincount(each % size, filled * w[each // size], size)
            + view["value"] ** 2 * float((w**2).sum())
        )
        view["variance"] = np.maximum(variance, 0) / total**2 if total > 0 else np.nan
    return found


def _decades(values: Floats) -> tuple[int, int]:
    low, high = math.log10(float(values.min())), math.log10(float(values.max()))
    first, last = math.floor(low), math.ceil(high)
    return first, last if last > first else first + 1


def _checked(images: ArrayLike, weight: ArrayLike | None) -> tuple[NDArray[Any], Floats]:
    contents = np.asarray(images)
    if contents.ndim < 2 or not len(contents) or contents.dtype.kind not in "biuf":
        msg = f"images must be numbers (N, ...) of one event at least, not {contents.dtype} {contents.shape}"
        raise InputError(msg)
    w = np.ones(len(contents)) if weight is None else np.asarray(weight, dtype=np.float64)
    if w.shape != (len(contents),):
        msg = f"{len(contents)} images need as many weights, not {w.shape}"
        raise InputError(msg)
    return contents, w


def _means(contents: NDArray[Any], w: Floats, axes: Sequence[GridAxis], name: str) -> Any:
    shape = contents.shape[1:]
    if len(axes) not in (0, len(shape)):
        named = ", ".join(a.name for a in axes)
        msg = f"images of {len(shape)} indices have as many axes, not {len(axes)} ({named})"
        raise InputError(msg)
    found = hist.Hist(*_axes(shape, axes), storage=hist.storage.Weight(), name=name)
    total, squares = float(w.sum()), float((w**2).sum())
    mean, variance = np.full(shape, np.nan), np.full(shape, np.nan)
    if total > 0:
        mean = np.tensordot(w, contents, 1) / total
        # The variance of a mean of weighted events.
        flat, at = contents.reshape(len(w), -1), mean.reshape(-1)
        second, first = (w**2) @ _squared(flat), (w**2) @ flat
        variance = np.maximum(second - 2 * at * first + at**2 * squares, 0).reshape(shape) / total**2
    view = found.view()
    view["value"], view["variance"] = mean, variance
    return found


def _squared(contents: NDArray[Any]) -> NDArray[Any]:
    return contents if contents.dtype == bool else np.square(contents, dtype=np.float64)


def _axes(shape: tuple[int, ...], axes: Sequence[GridAxis]) -> list[Any]:
    options = {"underflow": False, "overflow": False}
    if not axes:
        return [
            hist.axis.Integer(0, size, name=f"index{k}", label=f"index {k}", **options)
            for k, size in enumerate(shape)
        ]
    return [
        hist.axis.Regular(
            size, a.low, a.high, name=a.name, label=f"{a.name} [{a.unit}]" if a.unit else a.name, **options
        )
        for size, a in zip(shape, axes, strict=True)
    ]
