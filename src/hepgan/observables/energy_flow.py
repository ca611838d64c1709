"""All energy flow polynomials of objects at once."""

from __future__ import annotations

import awkward as ak
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from hepgan.arguments import checked
from hepgan.observables.evaluate import evaluate_of_objects
from hepgan.observables.language import parse
from hepgan.observables.shapes import basis, fractions
from hepgan.observables.values import Value, where_exists

__all__ = ["energy_flow_polynomials"]


@checked
def energy_flow_polynomials(events: ak.Array, objects: str) -> NDArray[np.float64]:
    """The 36 energy flow polynomials of at most four edges, of objects at a hadron collider.

    Each is what ``efp(objects, n)`` gives; they are several times as fast together, since they share their
    sums.

    Args:
        events: N events.
        objects: The objects, an expression: ``Jet``, ``Constituent[Constituent.pt > 1]``.

    Returns:
        (N, 36), in the order of ``hepgan.observables.shapes.GRAPHS``; 0 in events without such objects.

    Raises:
        RecipeError: If the expression is of no objects with momenta.
        InputError: If a column that it uses is not made of numbers.
    """

    def polynomials(value: Value) -> Tensor:
        z, squared, exists = fractions(value, "energy flow", hadronic=True)
        return where_exists(basis(z, squared.sqrt()), exists.unsqueeze(1), 0.0)

    return np.asarray(evaluate_of_objects(parse(objects), events, polynomials).numpy(), dtype=np.float64)
