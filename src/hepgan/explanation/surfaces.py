"""Surfaces of a loss around the weights that a training found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import awkward as ak
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hepgan.arguments import checked
from hepgan.errors import InputError
from hepgan.events import EventsLike
from hepgan.explanation.activations import encoded
from hepgan.learners import Learner, Phase
from hepgan.models import Refined, Student
from hepgan.objectives import Term, total

if TYPE_CHECKING:
    from hepgan.features import FeatureBatch
    from hepgan.generator import EventGenerator

__all__ = ["LossSurface", "loss_surface", "loss_terms"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LossSurface:
    """A term of a loss in a plane through the weights.

    Attributes:
        term: The term's name.
        phase: The phase of training whose parameters change.
        coordinates: Steps (K,) along each of the two directions, in units of the weights' own norms.
        values: The term (K, K), by the step along the first and along the second direction.
    """

    term: str
    phase: str
    coordinates: Floats
    values: Floats

    @property
    def roughness(self) -> float:
        """The share of the surface's variance that no paraboloid describes: 0 for a smooth bowl.

        Points where the term is not finite do not count.
        """
        a, b = (g.ravel() for g in np.meshgrid(self.coordinates, self.coordinates, indexing="ij"))
        z = self.values.ravel()
        good = np.isfinite(z)
        design = np.stack([np.ones_like(a), a, b, a * a, a * b, b * b], axis=1)[good]
        z = z[good]
        if len(z) <= design.shape[1] or not np.ptp(z) > 0:
            return 0.0
        fit = np.linalg.lstsq(design, z, rcond=None)[0]
        return float(np.square(z - design @ fit).sum() / np.square(z - z.mean()).sum())


@checked
def loss_terms(generator: EventGenerator, events: ak.Array) -> dict[str, str]:
    """The terms of a model's loss and the phase that minimises each: ``{"critic": "critic", ...}``.

    Args:
        generator: A trained generator.
        events: Events of its kind.

    Raises:
        InputError: If the model does not learn from events.
    """
    learner, batch = _ready(generator, events, 256)
    return {t.name: phase.name for phase in learner.phases for t in _terms(learner, phase, batch, 0)}


@checked
def loss_surface(
    generator: EventGenerator,
    events: EventsLike,
    term: str = "total",
    *,
    phase: str | None = None,
    span: float = 1.0,
    points: int = 21,
    n: int = 1024,
    seed: int = 0,
) -> LossSurface:
    """A term of the loss on two random directions around the weights, with filter normalisation.

    The directions are normal random numbers, scaled so that each row of a matrix (the weights of one unit)
    has the norm of the row that it is added to; so surfaces of networks can be compared whatever the scale of
    their weights. Biases and other vectors stay as they are. Every point sees the same events and random
    numbers, without dropout.

    Reference: H. Li et al., Visualizing the loss landscape of neural nets, arXiv:1712.09913.

    Args:
        generator: A trained generator.
        events: Events of its kind.
        term: A term of the loss (:func:`loss_terms`), or ``total`` for the weighted sum of a phase's terms.
        phase: The phase of the training whose parameters change, and whose terms are taken; that which
            minimises the term, and for ``total`` the last, that of what makes events, if None.
        span: The largest step, in units of the weights' norms.
        points: Steps along each direction; with an odd number the weights themselves are one.
        n: Number of events.
        seed: Seed of the directions and of all random numbers of the loss.

    Raises:
        InputError: If there is no such term or phase, or the model does not learn from events.
        ValueError: If a number is out of range.
    """
    if points < 3 or not span > 0 or n < 2:
        msg = f"points must be at least 3, span positive and n at least 2, not {points}, {span} and {n}"
        raise ValueError(msg)
    learner, batch = _ready(generator, events, n)
    chosen = _chosen(learner, batch, term, phase)
    parameters = chosen.parameters
    directions = _directions(parameters, seed)

    def value() -> float:
        found = _terms(learner, chosen, batch, seed)
        value = total(found) if term == "total" else next(t for t in found if t.name == term).value
        return float(value.detach())

    steps = np.linspace(-span, span, points)
    return LossSurface(term, chosen.name, steps, _scan(parameters, directions, steps, value))


def _scan(
    parameters: Sequence[Tensor],
    directions: Sequence[list[Tensor]],
    steps: Floats,
    value: Callable[[], float],
) -> Floats:
    """The values on the grid; the parameters are as before afterwards, whatever happens."""
    start = [p.detach().clone() for p in parameters]
    values = np.full((len(steps), len(steps)), np.nan)
    first, second = directions
    try:
        for i, a in enumerate(steps):
            for j, b in enumerate(steps):
                with torch.no_grad():
                    for p, s, u, v in zip(parameters, start, first, second, strict=True):
                        p.copy_(s + float(a) * u + float(b) * v)
                values[i, j] = value()
    finally:
        with torch.no_grad():
            for p, s in zip(parameters, start, strict=True):
                p.copy_(s)
    return values


def _directions(parameters: Sequence[Tensor], seed: int) -> tuple[list[Tensor], list[Tensor]]:
    """Two random directions with the norms of the weights, row by row; 0 for vectors."""
    rng = torch.Generator().manual_seed(seed)

    def direction(p: Tensor) -> Tensor:
        drawn = torch.randn(p.shape, generator=rng, dtype=p.dtype).to(p.device)
        if p.ndim < 2:
            return torch.zeros_like(p)
        rows, own = drawn.flatten(1), p.detach().flatten(1)
        scale = own.norm(dim=1, keepdim=True) / rows.norm(dim=1, keepdim=True).clamp_min(1e-12)
        scaled: Tensor = rows * scale
        return scaled.reshape(p.shape)

    return [direction(p) for p in parameters], [direction(p) for p in parameters]


def _ready(generator: EventGenerator, events: ak.Array, n: int) -> tuple[Learner, FeatureBatch]:
    """By what the model has learned, and events as it learns from."""
    parts = generator.parts.alone()
    if isinstance(parts.model, Student | Refined):
        kind = "student" if isinstance(parts.model, Student) else "refined model"
        msg = f"a {kind} does not learn from events, so it has no loss of them"
        raise InputError(msg)
    features, _ = encoded(parts, events, n)
    precision = next(parts.model.parameters()).dtype
    return parts.learner(generator.recipe), features.to(dtype=precision)


def _terms(learner: Learner, phase: Phase, batch: FeatureBatch, seed: int) -> list[Term]:
    """The terms of a phase at the end of the training, for one choice of random numbers."""
    rng = torch.Generator(batch.x.device).manual_seed(seed)
    with torch.enable_grad():
        return learner.loss(phase, batch, rng, 1.0)


def _chosen(learner: Learner, batch: FeatureBatch, term: str, phase: str | None) -> Phase:
    """The phase that has the term."""
    known = {p.name: p for p in learner.phases}
    if phase is not None and phase not in known:
        msg = f"no phase {phase!r} of training; there are {', '.join(known)}"
        raise InputError(msg)
    if term == "total":
        return known[list(known)[-1] if phase is None else phase]
    asked = {n: p for n, p in known.items() if phase in (None, n)}
    there = {n: [t.name for t in _terms(learner, p, batch, 0)] for n, p in asked.items()}
    for name, terms in there.items():
        if term in terms:
            return known[name]
    names = ", ".join(["total", *(t for terms in there.values() for t in terms)])
    msg = f"no term {term!r} of the loss; there are {names}"
    raise InputError(msg)
