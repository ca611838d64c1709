"""Fields with a shape in comparisons: what is compared of them, and what the report shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from hepgan.errors import InputError
from hepgan.events.schema import Field
from hepgan.runtime import doing
from hepgan.stats.convolution import Grids
from hepgan.stats.image_distances import ImageComparison, Images, compare_images
from hepgan.stats.metrics import Once, random_for
from hepgan.validation.samples import Sample
from hepgan.validation.sections import Section

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["MOST_EVENTS", "chosen_rows", "compared_images", "grids_of", "images_section", "shaped_fields"]

MOST_EVENTS, MOST_NUMBERS = 50_000, 40_000_000
"""Events of each sample whose arrays are compared, at most, and numbers in them."""


def shaped_fields(reference: Sample, others: list[Sample]) -> dict[str, Field]:
    """The fields with a shape that all samples have.

    Raises:
        InputError: If a sample has another shape.
    """
    found = {f.name: f for f in reference.schema.scalars if f.shape and f.name != reference.schema.weight}
    for other in others:
        there = {f.name: f for f in other.schema.scalars if f.shape}
        found = {n: f for n, f in found.items() if n in there}
        for name, f in found.items():
            if there[name].shape != f.shape:
                msg = f"the shape is {there[name].shape}, where the reference has {f.shape}"
                raise InputError(msg, branch=name)
    return found


def chosen_rows(sample: Sample, fields: Mapping[str, Field], seed: int) -> NDArray[np.int64]:
    """The events of which arrays are compared: all, or a random part of them."""
    numbers = max((int(np.prod(f.shape)) for f in fields.values()), default=1)
    most = min(MOST_EVENTS, max(MOST_NUMBERS // numbers, 1))
    size = len(sample.weights)
    if size <= most:
        return np.arange(size)
    return np.sort(random_for(seed, "images").choice(size, most, replace=False))


def grids_of(
    sample: Sample, fields: Mapping[str, Field], seed: int, columns: NDArray[np.float64] | None = None
) -> Grids:
    """What a convolutional classifier sees of a sample.

    Args:
        sample: The sample.
        fields: The fields with a shape.
        seed: Seed of the choice of events.
        columns: Numbers (N, K) of all its events that it sees besides.
    """
    rows = chosen_rows(sample, fields, seed)
    contents = {n: _contents(sample, n, rows) for n in fields}
    besides = np.zeros((len(rows), 0)) if columns is None else columns[rows]
    return Grids(contents, besides, sample.weights[rows])


def _contents(sample: Sample, name: str, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    return np.asarray(ak.to_numpy(sample.events[name][rows]), dtype=np.float32)


def compared_images(
    reference: Sample,
    generated: Sample,
    train: Sample | None,
    fields: Mapping[str, Field],
    names: tuple[str, ...],
    numbers: Sequence[NDArray[np.int64]],
    seed: int,
    once: Once,
) -> dict[str, ImageComparison]:
    """Compares all fields with a shape.

    Args:
        reference: True events.
        generated: Generated events.
        train: Training events.
        fields: The fields.
        names: Names of classes; none if there are none.
        numbers: The class of each event of each of these samples, -1 for none of them.
        seed: Seed of all that is random.
        once: Keeps what is of true events alone for other samples.
    """
    samples = [reference, generated] + ([] if train is None else [train])
    rows = [chosen_rows(s, fields, seed) for s in samples]
    found = {}
    known = numbers or [np.zeros(len(s.weights), np.int64) for s in samples]
    for name, f in fields.items():
        doing(f"comparing {name} of {len(rows[1]):,} events")
        parts = [
            Images(_contents(s, name, r), s.weights[r], k[r])
            for s, r, k in zip(samples, rows, known, strict=True)
        ]
        if any(not p.weights.sum() > 0 for p in parts):
            continue
        found[name] = compare_images(
            *parts,
            names=names,
            axes=f.axes,
            rng=random_for(seed, f"images of {name}"),
            once=once,
            of=name,
        )
    return found


def images_section(results: Mapping[str, Mapping[str, ImageComparison]]) -> Section | None:
    """What the report shows of fields with a shape: of each, all samples together.

    Args:
        results: By label and field.
    """
    figures: dict[str, Callable[[], Figure]] = {}
    for name in dict.fromkeys(n for found in results.values() for n in found):
        parts = {label: found[name] for label, found in results.items() if name in found}
        axes = len(next(iter(parts.values())).occupancies[0].axes)
        figures[f"{name}: mean contents, and their differences"] = partial(_drawn, "means", parts)
        figures[f"{name}: share of events in which a cell is not 0"] = partial(_drawn, "occupancies", parts)
        if any(p.spectra is not None for p in parts.values()):
            figures[f"{name}: spectrum of contents"] = partial(_drawn, "spectra", parts)
        figures[f"{name}: single events"] = partial(_drawn, "examples", parts)
        if any(p.neighbours is not None for p in parts.values()):
            for label, p in parts.items():
                if p.neighbours is not None and axes <= 2:
                    caption = f"{name}: generated events and the nearest training events"
                    caption = caption if len(parts) == 1 else f"{caption}, {label}"
                    figures[caption] = partial(_drawn, "neighbours", {label: p})
            caption = f"{name}: distances to the nearest training event"
            figures[caption] = partial(_drawn, "distances", parts)
    if not figures:
        return None
    note = (
        "Fields with a shape. Means of contents over all events have one logarithmic scale; differences "
        "are generated minus true, on a scale of their own. Spectra count cells an event. Two events"
        " are apart by the root of the sum of squared differences of all cells; generated events that lie "
        "nearer to training events than true ones do are memorised."
    )
    return Section("Images", note, {}, figures, wide=True)


def _drawn(what: str, parts: Mapping[str, ImageComparison]) -> Figure:
    """A picture; who wants none need not wait for matplotlib."""
    from hepgan.plotting import images

    draw: Any = getattr(images, f"plot_{what}")
    made: Figure = draw(parts)
    return made
