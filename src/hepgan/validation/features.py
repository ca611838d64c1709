"""Events in the variables that a model's network sees: its features, and what they are before scaling."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from hepgan.errors import InputError
from hepgan.events import EventSchema, to_batch
from hepgan.events.weights import NO_WEIGHT
from hepgan.observables import Observable
from hepgan.validation.histograms import with_ranges
from hepgan.validation.samples import Portion, Sample, SampleBuilder

if TYPE_CHECKING:
    from hepgan.generator import EventGenerator, Latents

__all__ = ["FeatureGatherer", "FeaturePortion", "FeatureSample", "FeatureView"]

Floats = NDArray[np.float64]

NOTHING = EventSchema()
"""What encoded events hold besides their features."""

KEPT = 200_000
"""Events of each sample that are kept for unbinned metrics: all of a table's columns are."""

INVERTED = 10_000
"""Events whose latents are found: flow matching takes many steps."""

MOST_LOST = 0.02
"""Larger shares of events without features are an error: the model is for other events."""


@dataclass(frozen=True)
class FeatureSample:
    """One sample in the features of a model.

    Attributes:
        scaled: The features.
        physical: The columns before their transforms; only its histograms are of use.
        lost: The number of events without features, and why the first has none.
    """

    scaled: Sample
    physical: Sample
    lost: tuple[int, str]


class FeatureView:
    """Encodes events as a model does.

    Args:
        model: A generator, or its file.

    Attributes:
        name: The model's name.
        scaled: An observable for each feature; ranges are known after `prepare`.
        physical: An observable for each column before its transform.
        weight: The scalar that is the weight of the model's training events, or ``none``.
        latents: Of the reference's first events, with their weights; None of a model that cannot be
            inverted, and of an ensemble.

    Raises:
        ModelFileError: If the file is no model.
    """

    def __init__(self, model: EventGenerator | str | Path) -> None:
        # Models need torch's optimisers and all networks, which other comparisons do without.
        from hepgan.generator import EventGenerator

        generator = model if isinstance(model, EventGenerator) else EventGenerator.load(model, device="cpu")
        self.name = generator.recipe.name if isinstance(model, EventGenerator) else str(model)
        self._generator, self._representation = generator, generator.representation
        self.latents: tuple[Latents, Floats] | None = None
        # A generator that has just been trained on a GPU is still there.
        self._device = next(self._representation.buffers()).device
        schema = self._representation.schema
        weight = schema.weight
        self.weight = weight or NO_WEIGHT
        # Weights are those of the comparison; here they would only have to be there.
        self._schema = schema.model_copy(
            update={"weight": None, "scalars": tuple(f for f in schema.scalars if f.name != weight)}
        )
        names = self._names()
        self._shown = tuple(names)
        self.scaled = {
            n: Observable(n, function=partial(_column, key=f"x{i}"), label=f"{n}, scaled")
            for i, n in names.items()
        }
        self.physical = {
            n: Observable(n, function=partial(_column, key=f"c{i}"), label=n, unit=_unit(n, schema.unit))
            for i, n in names.items()
        }

    def _names(self) -> dict[int, str]:
        """The features that are shown, by number: all but those that are cells of images.

        Raises:
            InputError: If there are no others.
        """
        cells = set(self._representation.cells)
        found = {i: n for i, n in enumerate(self._representation.names) if i not in cells}
        if cells and not found:
            msg = f"all features of {self.name} are cells, which are compared as images, not one by one"
            raise InputError(msg)
        if cells:
            self.name += f" (but for {len(cells):,} cells)"
        return found

    @property
    def prepared(self) -> Mapping[str, str]:
        """What is made of events that enter the model."""
        return self._generator.recipe.events.preparation.expressions

    @property
    def needs(self) -> EventSchema:
        """What events have to hold."""
        return self._schema

    def prepare(self, events: ak.Array, weights: Floats, source: str) -> None:
        """Finds the ranges of the histograms, and the latents.

        Raises:
            InputError: If the events do not fit the model.
        """
        encoded, _ = self.encode(events, source)
        self.scaled = with_ranges(self.scaled, encoded)
        self.physical = {n: o for n, o in with_ranges(self.physical, encoded).items() if n in self.scaled}
        if self._generator.has_likelihood and self._generator.members == 1:
            found, shown = self._generator.latents(events[:INVERTED]), list(self._shown)
            latents = type(found)(tuple(found.names[i] for i in shown), found.values[:, shown])
            self.latents = latents, weights[:INVERTED]

    def encode(self, events: ak.Array, source: str, first: int = 0) -> tuple[ak.Array, tuple[int, str]]:
        """The features of events, and how many have none.

        Args:
            events: N events.
            source: What errors call them.
            first: The number of the first one, for errors.

        Returns:
            N records with a field for each feature, None where it does not exist in the event and NaN where
            the event has no features at all; and the number of the latter with the reason of the first.

        Raises:
            InputError: If the events do not fit the model, or many of them have no features.
        """
        lost: list[tuple[int, InputError]] = []
        x, columns, mask = self._numbers(events, first, lost, max(20, int(MOST_LOST * len(events))), source)
        fields = {f"x{i}": _optional(x[:, i], mask[:, i]) for i in self._shown}
        fields |= {f"c{i}": _optional(columns[:, i], mask[:, i]) for i in self._shown}
        reason = "" if not lost else str(lost[0][1].message)
        return ak.zip(fields, depth_limit=1), (len(lost), reason)

    def _numbers(
        self, events: ak.Array, first: int, lost: list[tuple[int, InputError]], most: int, source: str
    ) -> tuple[Floats, Floats, NDArray[np.bool_]]:
        """Features, columns and presence (N, D); events that cannot be encoded are found by halving."""
        try:
            entering = self._generator.parts.derived.entering(events)
            features = self._representation.encode(to_batch(entering, self._schema).to(self._device))
            columns = self._representation.columns(features.x).cpu().numpy()
        except InputError as error:
            if error.entry is None:
                msg = f"{error.message}, which the model {self.name} needs"
                raise InputError(msg, file=source, branch=error.branch) from error
            if len(events) > 1:
                middle = len(events) // 2
                parts = (
                    self._numbers(events[:middle], first, lost, most, source),
                    self._numbers(events[middle:], first + middle, lost, most, source),
                )
                return tuple(np.concatenate(p) for p in zip(*parts, strict=True))  # type: ignore[return-value]
            lost.append((first, error))
            if len(lost) > most:
                msg = f"{len(lost)} events have no features of {self.name}; the first: {lost[0][1].message}"
                raise InputError(msg, file=source, branch=lost[0][1].branch, entry=lost[0][0]) from error
            nothing = np.full((1, self._representation.size), np.nan)
            return nothing, nothing, np.ones(nothing.shape, dtype=np.bool_)
        x = features.x.cpu().numpy()
        mask = np.ones(x.shape, dtype=np.bool_) if features.mask is None else features.mask.cpu().numpy()
        return x, columns, mask

    def gather(
        self, source: str, *, seed: int, max_events: int, groups: bool, total: int | None = None
    ) -> FeatureGatherer:
        """What collects a sample's features, chunk by chunk."""
        return FeatureGatherer(
            self,
            source,
            partial(SampleBuilder, NOTHING, seed=seed, groups=groups, source=source, total=total),
            min(max_events, KEPT),
        )

    def __getstate__(self) -> dict[str, Any]:
        """What other processes need to encode."""
        return {**vars(self), "_representation": None, "latents": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _representation=state["_generator"].representation)


@dataclass(frozen=True)
class FeaturePortion:
    """What a chunk of a sample adds in features.

    Attributes:
        scaled: The features.
        physical: The columns before their transforms.
        lost: The number of events without features, and why the first has none.
    """

    scaled: Portion
    physical: Portion
    lost: tuple[int, str]

    def over(self, change: Callable[[Any], Any]) -> FeaturePortion:
        """The same with other events, which a function makes of these, and nothing but them."""
        scaled, physical = (
            replace(p, events=change(p.events), flat={}) for p in (self.scaled, self.physical)
        )
        return FeaturePortion(scaled, physical, self.lost)


class FeatureGatherer:
    """Gathers a sample's features, chunk by chunk."""

    def __init__(
        self, view: FeatureView, source: str, builder: Callable[..., SampleBuilder], max_events: int
    ) -> None:
        self._view, self._source = view, source
        self._scaled = builder(view.scaled, max_events=max_events)
        self._physical = builder(view.physical, max_events=1)
        self._lost, self._reason = 0, ""

    def portion(self, events: ak.Array, weights: Floats, *, number: int, before: int) -> FeaturePortion:
        """What a chunk adds.

        Args:
            events: N events.
            weights: Their weights (N,).
            number: The number of the chunk.
            before: The number of events in the chunks before it.

        Raises:
            InputError: If the events do not fit the model, or many of them have no features.
        """
        encoded, lost = self._view.encode(events, self._source, before)
        where = {"number": number, "before": before}
        scaled, physical = (b.portion(encoded, weights, **where) for b in (self._scaled, self._physical))
        return FeaturePortion(scaled, physical, lost)

    def take(self, portion: FeaturePortion) -> None:
        """Adds what the next chunk adds."""
        self._scaled.take(portion.scaled)
        self._physical.take(portion.physical)
        lost, reason = portion.lost
        self._lost, self._reason = self._lost + lost, self._reason or reason

    def finish(self) -> FeatureSample:
        """The gathered sample."""
        return FeatureSample(self._scaled.finish(), self._physical.finish(), (self._lost, self._reason))


def _column(events: ak.Array, key: str) -> ak.Array:
    return events[key]


def _optional(values: Floats, present: NDArray[np.bool_]) -> ak.Array:
    """Single precision, which is more than a picture or a distance of distributions needs."""
    numbers = values.astype(np.float32)
    return ak.Array(numbers) if present.all() else ak.from_numpy(np.ma.MaskedArray(numbers, ~present))


def _unit(name: str, unit: str) -> str:
    """The unit of a column, where its name tells, of events with momenta in a unit."""
    owner, _, last = name.rpartition(".")
    if "." in owner:  # parts of a system, which may be logarithms
        return ""
    if last in ("pt", "px", "py", "pz", "mass", "energy", "p"):
        return unit
    return "rad" if last in ("phi", "theta", "phi_star") else ""
