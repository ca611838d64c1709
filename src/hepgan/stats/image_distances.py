"""How far generated arrays of one shape are from true ones: means, occupancies, contents, neighbours."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from hepgan.stats.images import GridAxis, intensity_spectrum, mean_image, occupancy
from hepgan.stats.memorisation import Memorisation, Nearest, of_distances
from hepgan.stats.metrics import Metric, Once, Values, unbinned
from hepgan.stats.moments import effective_size

__all__ = ["EVERYTHING", "ImageComparison", "Images", "Neighbours", "compare_images"]

Floats = NDArray[np.float64]

EVERYTHING = "all events"
"""What the events of all classes together are called."""

REPLICATES, SPLITS = 12, 8
"""Bootstraps for errors, and pairs of true samples for floors."""

DECADES = 4
"""Decades of the spectrum, below the largest content."""

QUERIES, SEARCHED = 1_000, 20_000
"""Images whose nearest training image is searched, and training images."""

SHOWN = 6
"""Single images that are kept."""


class Images(NamedTuple):
    """One array of each of N events.

    Attributes:
        contents: (N, ...).
        weights: Event weights (N,).
        classes: The class of each (N,), a number; all 0 if there are none.
    """

    contents: NDArray[Any]
    weights: Floats
    classes: NDArray[np.int64]

    def of_class(self, number: int | None) -> tuple[NDArray[Any], Floats]:
        """Contents and weights of a class; of all events if None."""
        if number is None:
            return self.contents, self.weights
        rows = self.classes == number
        return self.contents[rows], self.weights[rows]


@dataclass(frozen=True)
class Neighbours:
    """Generated images beside the training images that are nearest to them.

    Attributes:
        generated: Some generated images (K, ...), those nearest to a training image first.
        training: The nearest training image of each (K, ...).
        distances: How far apart they are (K,), the root of the sum of squared differences.
        memorisation: Distances of many generated and true images.
    """

    generated: NDArray[Any]
    training: NDArray[Any]
    distances: Floats
    memorisation: Memorisation


@dataclass(frozen=True)
class ImageComparison:
    """Generated against true arrays of one shape.

    Attributes:
        mean_image: Sum of the absolute differences of the mean contents, over the sum of the true ones'
            absolute values; of each class and of all events.
        occupancy: The same of the shares of events in which cells are not 0.
        content: The first Wasserstein distance of the logarithms of contents above 0, in units of the true
            ones' standard deviation.
        means: Mean images of ``reference`` and ``generated`` events, by class.
        occupancies: Their occupancies.
        spectra: Their spectra of contents; empty where no content is above 0.
        examples: Some of their images (K, ...).
        neighbours: None without training events.
    """

    mean_image: Mapping[str, Metric]
    occupancy: Metric
    content: Metric | None
    means: Mapping[str, tuple[Any, Any]]
    occupancies: tuple[Any, Any]
    spectra: tuple[Any, Any] | None
    examples: tuple[NDArray[Any], NDArray[Any]]
    neighbours: Neighbours | None = field(default=None, repr=False)

    def histograms(self) -> dict[str, tuple[Any, Any]]:
        """The histograms of ``reference`` and ``generated`` events, by name."""
        named = {f"mean {name}": pair for name, pair in self.means.items()}
        found = {**named, "occupancy": self.occupancies}
        return found if self.spectra is None else {**found, "spectrum": self.spectra}

    def to_dict(self) -> dict[str, Any]:
        """JSON-able metrics."""
        found: dict[str, Any] = {
            "mean_image": {name: m.to_dict() for name, m in self.mean_image.items()},
            "occupancy": self.occupancy.to_dict(),
        }
        if self.content is not None:
            found["log_content"] = self.content.to_dict()
        if self.neighbours is not None:
            m = self.neighbours.memorisation
            found["neighbours"] = {
                "ratio_of_medians": m.ratio_of_medians.to_dict(),
                "close_fraction": m.close_fraction.to_dict(),
                "train_images": m.n_train,
            }
        return found


def compare_images(
    reference: Images,
    generated: Images,
    train: Images | None = None,
    *,
    names: Sequence[str] = (),
    axes: Sequence[GridAxis] = (),
    unit: str = "",
    rng: np.random.Generator,
    once: Once | None = None,
    of: str = "",
) -> ImageComparison:
    """Compares arrays of one shape.

    Floors are the same distances between random subsets of the training images and the reference, or between
    halves of the reference, scaled to the numbers of events compared, as other distances are.

    Args:
        reference: True images.
        generated: Generated images.
        train: Training images.
        names: Names of the classes, if there are any.
        axes: What the indices stand for.
        unit: The unit of contents.
        rng: Source of splits and bootstraps.
        once: Keeps what is of true images alone for other generated samples.
        of: What the images are of, among all that ``once`` keeps.
    """
    once = once or Once()
    numbers: dict[str, int | None] = {EVERYTHING: None}
    if len(names) > 1:
        numbers |= {name: k for k, name in enumerate(names)}
    samples = [reference, generated] + ([] if train is None else [train])
    means, distances = {}, {}
    for name, number in numbers.items():
        parts = [s.of_class(number) for s in samples]
        if any(not (len(w) > 1 and w.sum() > 0) for _, w in parts):
            continue
        a, b = ((x.reshape(len(x), -1), w) for x, w in parts[:2])
        others = None if train is None else (parts[2][0].reshape(len(parts[2][0]), -1), parts[2][1])
        distances[name] = _distance(a, b, others, rng, once, (of, name))
        means[name] = mean_image(*parts[0], axes), mean_image(*parts[1], axes)
    filled = [((s.contents != 0).reshape(len(s.contents), -1), s.weights) for s in samples]
    occupied = _distance(filled[0], filled[1], filled[2] if train else None, rng, once, (of, "occupancy"))
    logarithms = [_logarithms(s) for s in samples]
    content = spectra = None
    if all(len(v.values) for v in logarithms):
        distance = unbinned(*logarithms, rng=rng, name=f"contents of {of}", once=once)["wasserstein"]
        content = distance if math.isfinite(distance.value) else None
        spectra = _spectra(reference, generated, unit)
    neighbours = None if train is None else _neighbours(reference, generated, train, rng, once, of)
    return ImageComparison(
        distances,
        occupied,
        content,
        means,
        (
            occupancy(reference.contents, reference.weights, axes),
            occupancy(generated.contents, generated.weights, axes),
        ),
        spectra,
        (_examples(reference), _examples(generated)),
        neighbours,
    )


Part = tuple[NDArray[Any], Floats]


def _distance(
    reference: Part,
    generated: Part,
    train: Part | None,
    rng: np.random.Generator,
    once: Once,
    key: tuple[str, str],
) -> Metric:
    """Of means over events of rows (N, D): the sum of absolute differences over that of true values."""
    (x, v), (y, w) = reference, generated
    truth = _means(v[None], x)
    norm = float(np.abs(truth).sum())
    if not norm > 0:
        return Metric(math.nan)

    def apart(first: Part, second: Part) -> Floats:
        """Distances (K,) of means with K sets of weights (K, N) each."""
        return np.asarray(np.abs(_means(first[1], first[0]) - _means(second[1], second[0])).sum(1) / norm)

    def of_true_events() -> Floats:
        if train is None:
            half = rng.random((SPLITS, len(v))) < 0.5
            pair = (x, v * half), (x, v * ~half)
        else:
            share = len(w) / len(train[1])
            number = SPLITS if share < 1 else 1
            chosen = rng.random((number, len(train[1]))) < share
            pair = (train[0], train[1] * chosen), (x, np.broadcast_to(v, (number, len(v))))
        scale = sum(1 / np.array([effective_size(u) or np.nan for u in part[1]]) for part in pair)
        return apart(*pair) / np.sqrt(scale)

    size = None if train is None else len(w)
    compared = math.sqrt(1 / effective_size(v) + 1 / effective_size(w))
    floors = once(("images", *key, size), rng, of_true_events) * compared
    boots = apart(
        (x, v * rng.poisson(1.0, (REPLICATES, len(v)))), (y, w * rng.poisson(1.0, (REPLICATES, len(w))))
    )
    floors, boots = floors[np.isfinite(floors)], boots[np.isfinite(boots)]
    return Metric(
        float(apart((x, v[None]), (y, w[None]))[0]),
        float(floors.mean()) if len(floors) else None,
        float(boots.std(ddof=1)) if len(boots) > 1 else None,
        float(floors.std(ddof=1)) if len(floors) > 1 else None,
    )


def _means(weights: Floats, rows: NDArray[Any]) -> Floats:
    """Means (K, D) of rows (N, D) with weights (K, N); NaN where they do not sum to a positive number."""
    total = weights.sum(axis=1, keepdims=True)
    sums = weights.astype(np.float32) @ rows.astype(np.float32, copy=False)
    return np.asarray(sums / np.where(total > 0, total, np.nan), dtype=np.float64)


def _logarithms(images: Images) -> Values:
    event, *cell = np.nonzero(images.contents > 0)
    contents = images.contents[(event, *cell)].astype(np.float64)
    return Values(np.log10(contents), event.astype(np.int64), images.weights)


def _spectra(reference: Images, generated: Images, unit: str) -> tuple[Any, Any]:
    top = math.ceil(math.log10(max(float(i.contents.max()) for i in (reference, generated))))
    least = min(float(i.contents[i.contents > 0].min()) for i in (reference, generated))
    low = max(math.floor(math.log10(least)), top - DECADES)
    span = (10.0**low, 10.0**top)
    first, second = (
        intensity_spectrum(i.contents, i.weights, range=span, unit=unit) for i in (reference, generated)
    )
    return first, second


def _neighbours(
    reference: Images, generated: Images, train: Images, rng: np.random.Generator, once: Once, of: str
) -> Neighbours | None:
    def queried(images: Images) -> tuple[NDArray[Any], Floats]:
        # At random: files may have one class of events after another.
        rows = rng.permutation(len(images.contents))[:QUERIES]
        return images.contents[rows], images.weights[rows]

    def of_true_images() -> tuple[NDArray[Any], Any, Nearest]:
        rows = rng.permutation(len(train.contents))[:SEARCHED]
        searched = train.contents[rows]
        index = NearestNeighbors(n_neighbors=1, algorithm="brute", n_jobs=1).fit(_flat(searched))
        contents, weights = queried(reference)
        return searched, index, Nearest(index.kneighbors(_flat(contents))[0][:, 0], weights)

    searched, index, true = once(("neighbours", of), rng, of_true_images)
    contents, weights = queried(generated)
    distances, place = (found[:, 0] for found in index.kneighbors(_flat(contents)))
    if not (true.quantile(0.5) > 0 and len(true.distances) > 1):
        return None
    # Nearest and usual ones: every so many in the order of their distances.
    order = np.argsort(distances)
    shown = order[np.unique(np.linspace(0, len(order) - 1, min(SHOWN, len(order))).astype(int))]
    return Neighbours(
        contents[shown],
        searched[place[shown]],
        distances[shown],
        of_distances(true, Nearest(distances, weights), len(searched), rng),
    )


def _flat(contents: NDArray[Any]) -> NDArray[np.float32]:
    return np.asarray(contents.reshape(len(contents), -1), dtype=np.float32)


def _examples(images: Images) -> NDArray[Any]:
    """As many images of each class as of the others, in the order of the events."""
    rank = np.empty(len(images.classes), dtype=np.int64)
    for number in np.unique(images.classes):
        rows = np.flatnonzero(images.classes == number)
        rank[rows] = np.arange(len(rows))
    first = np.argsort(rank, kind="stable")[:SHOWN]
    return images.contents[first[np.argsort(images.classes[first], kind="stable")]]
