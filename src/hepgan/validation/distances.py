"""Fréchet and kernel physics distances of samples, in their observables and in energy flow polynomials."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from hepgan.observables import energy_flow_polynomials
from hepgan.observables.shapes import GRAPHS
from hepgan.observables.table import Table
from hepgan.runtime import doing
from hepgan.stats.frechet import MIN_EVENTS, PhysicsDistances, physics_distances
from hepgan.stats.metrics import Once, random_for
from hepgan.validation.samples import Sample

__all__ = ["MOST_POLYNOMIALS", "distances_in_observables", "distances_in_polynomials"]

Floats = NDArray[np.float64]

MOST_POLYNOMIALS = 50_000
"""Events of each sample whose polynomials are computed."""


def distances_in_observables(
    reference: Table, generated: Table, train: Table | None, seed: int, once: Once
) -> PhysicsDistances | str:
    """Distances in the observables that are one number an event.

    Where some events lack one, it is 0 in these, and whether they have it is a feature, too.

    Args:
        reference: True events.
        generated: Generated events, with the same columns.
        train: Training events, with the same columns.
        seed: Seed of splits and batches.
        once: Keeps floors for other samples.

    Returns:
        The distances, or why there are none.
    """
    names = [n for n in reference.names if n in reference.observables]
    tables = [t.select(names) for t in (reference, generated, train) if t is not None]
    # A number that is the same in all events is at no distance, or alone makes all of it.
    names = [n for n in names if any(_varies(t.column(n)) for t in tables)]
    if not names:
        return "needs an observable that is one number an event, and varies"
    tables = [t.select(names) for t in tables]
    lacking = [n for n in names if any(np.isnan(t.column(n)).any() for t in tables)]
    doing(f"physics distances in {len(names)} observables")
    return _distances(
        (*names, *(f"has {n}" for n in lacking)),
        [(_complete(t, lacking), t.weights) for t in tables],
        "observables",
        seed,
        once,
    )


def distances_in_polynomials(
    objects: str, reference: Sample, generated: Sample, train: Sample | None, seed: int, once: Once
) -> PhysicsDistances | str:
    """Distances in the energy flow polynomials of at most four edges of some objects.

    Args:
        objects: The objects, an expression.
        reference: True events.
        generated: Generated events.
        train: Training events.
        seed: Seed of splits and batches.
        once: Keeps polynomials of true events, and floors, for other samples.

    Returns:
        The distances, or why there are none.
    """
    true = [s for s in (reference, train) if s is not None]

    def polynomials(sample: Sample) -> tuple[Floats, Floats]:
        doing(f"energy flow polynomials of {objects}")
        rows = slice(MOST_POLYNOMIALS)
        return energy_flow_polynomials(sample.events[rows], objects), sample.weights[rows]

    of_true = once(
        ("energy flow", objects), random_for(seed, objects), lambda: [polynomials(s) for s in true]
    )
    found = [of_true[0], polynomials(generated), *of_true[1:]]
    # The polynomial without an edge is the sum of all fractions, which is 1.
    parts = [(x[:, 1:], w) for x, w in found]
    return _distances(
        tuple(f"efp({objects}, {k})" for k in range(1, len(GRAPHS))), parts, objects, seed, once
    )


def _distances(
    names: tuple[str, ...], samples: list[tuple[Floats, Floats]], what: str, seed: int, once: Once
) -> PhysicsDistances | str:
    for x, w in samples:
        if not w.sum() > 0:
            return f"the weights of the {len(x)} events that are used have no positive sum"
    reference, generated, *others = samples
    rng = random_for(seed, f"physics distances in {what}")
    train = others[0] if others else None
    found = physics_distances(names, reference, generated, train, rng=rng, once=once)
    sizes = f"{len(reference[0])} and {len(generated[0])}"
    return found or f"needs {MIN_EVENTS} events of each sample; there are {sizes}"


def _complete(table: Table, lacking: list[str]) -> Floats:
    there = np.isfinite(np.column_stack([table.column(n) for n in lacking])) if lacking else None
    values = np.nan_to_num(table.values, nan=0.0)
    return values if there is None else np.column_stack([values, there])


def _varies(column: Floats) -> bool:
    known = column[np.isfinite(column)]
    return bool(len(known) and (len(known) < len(column) or not math.isclose(known.min(), known.max())))
