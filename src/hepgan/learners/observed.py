"""What the terms of a loss see of a batch: events, decoded once, and observables, each evaluated once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor

from hepgan.errors import RecipeError
from hepgan.features.batch import FeatureBatch
from hepgan.objectives import Points
from hepgan.observables.values import Flat

__all__ = ["Decode", "Observed", "TensorObservable"]

Decode = Callable[[FeatureBatch], Any]
"""Events of features."""


class TensorObservable(Protocol):
    """The part of an observable that learners need."""

    def __call__(self, events: Any) -> tuple[Tensor, Tensor | None]:
        """Values (N,) or, of objects, (N, M), and where there are any (None: everywhere)."""

    def flat(self, events: Any) -> Flat:
        """All values (n,), with the number of the event and the own weight of each."""

    def dense(self, batch: Any, fill: float = 0.0) -> tuple[Tensor, Tensor | None]:
        """One value for each event (N,), and where there is one (None: everywhere)."""


class Observed:
    """A batch with its observables, as critics and penalties see it.

    Args:
        batch: The events' features.
        weight: The event weights (N,); 1 if None.
        decode: Events of features.
        observables: The observables by name.
    """

    def __init__(
        self,
        batch: FeatureBatch,
        weight: Tensor | None,
        decode: Decode,
        observables: Mapping[str, TensorObservable],
    ) -> None:
        self.batch = batch
        self.weight = weight
        self._decode = decode
        self._observables = observables
        self._dense: dict[str, tuple[Tensor, Tensor]] = {}
        self._flat: dict[str, Flat] = {}

    @property
    def full_weight(self) -> Tensor:
        """The event weights (N,), 1 where there are none."""
        return torch.ones_like(self.batch.weight) if self.weight is None else self.weight

    @cached_property
    def events(self) -> Any:
        """The events."""
        return self._decode(self.batch)

    def dense(self, name: str) -> tuple[Tensor, Tensor]:
        """An observable's value in each event (N,), 0 where there is none, and 1 where there is, else 0."""
        if name not in self._dense:
            values, mask = self._observables[name].dense(self.events)
            there = torch.ones_like(values) if mask is None else mask.to(values.dtype)
            self._dense[name] = values, there
        return self._dense[name]

    def elements(self, names: Sequence[str]) -> Tensor:
        """Observables of objects (N, M, d), 0 where there are none, and as last column 1 where there are.

        Raises:
            RecipeError: If they are not of the same objects.
        """
        found = [self._observables[name](self.events) for name in names]
        shapes = {tuple(data.shape) for data, _ in found}
        if len(shapes) != 1 or found[0][0].ndim != 2:
            msg = f"a set needs observables of the same objects, which {', '.join(names)} are not"
            raise RecipeError(msg)
        there = torch.ones_like(found[0][0], dtype=torch.bool)
        for _, mask in found:
            there = there if mask is None else there & mask
        columns = [torch.where(there, data.double(), 0.0) for data, _ in found]
        return torch.stack([*columns, there.double()], dim=2)

    def sample(self, names: Sequence[str], *, features: bool = False) -> Points:
        """The values of one or several observables, and of the features; one row for each set of values.

        Observables of events may be joined with observables of objects, whose event they are of.

        Raises:
            RecipeError: If the observables are of different objects.
        """
        flats = [self._flat_values(name) for name in names]
        event = torch.arange(len(self.batch), device=self.batch.x.device)
        if flats:
            event = max((f.index for f in flats), key=len)
            if any(len(f.index) != len(event) or not torch.equal(f.index, event) for f in flats):
                flats, event = self._matched(names, flats)
        columns = [f.values for f in flats]
        if features:
            x = self.batch.x.double()
            columns += list((x if not flats else x[event]).unbind(1))
        weight = self.full_weight
        full = weight[event].to(columns[0].dtype)
        for f in flats:
            full = full if f.weight is None else full * f.weight
        values = columns[0] if len(columns) == 1 and not features else torch.stack(columns, dim=1)
        return Points(values, full, event, weight)

    def _flat_values(self, name: str) -> Flat:
        if name not in self._flat:
            flat: Flat = self._observables[name].flat(self.events)
            if not flat.values.is_floating_point():
                flat = flat._replace(values=flat.values.double())
            self._flat[name] = flat
        return self._flat[name]

    def _matched(self, names: Sequence[str], flats: list[Flat]) -> tuple[list[Flat], Tensor]:
        """The observables where all of them exist; those of events are repeated for each object."""
        size = len(self.batch)
        per_event = [bool((f.index.diff() > 0).all()) for f in flats]
        of_objects = [f for f, single in zip(flats, per_event, strict=True) if not single]
        index = of_objects[0].index if of_objects else torch.arange(size, device=self.batch.x.device)
        if any(not torch.equal(f.index, index) for f in of_objects):
            msg = f"{', '.join(names)} are not of the same objects, so they have no joint distribution"
            raise RecipeError(msg)
        there = torch.ones_like(index, dtype=torch.bool)
        matched = []
        for flat, single in zip(flats, per_event, strict=True):
            if not single:
                matched.append(flat)
                continue
            place = torch.full((size,), -1, device=index.device).index_put(
                (flat.index,), torch.arange(len(flat.index), device=index.device)
            )[index]
            there = there & (place >= 0)
            place = place.clamp_min(0)
            weight = None if flat.weight is None else flat.weight[place]
            matched.append(Flat(flat.values[place], index, weight))
        index = index[there]
        kept = [Flat(f.values[there], index, None if f.weight is None else f.weight[there]) for f in matched]
        return kept, index
