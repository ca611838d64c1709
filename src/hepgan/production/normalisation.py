"""What generated events weigh, so that their yields are those of a training sample or a cross section."""

from __future__ import annotations

from typing import Self

import torch

from hepgan.config import Config
from hepgan.errors import InputError, OutputError
from hepgan.events import EventBatch, EventSchema, Field
from hepgan.events.header import Header
from hepgan.events.runs import Runs
from hepgan.events.weights import marked, weight_names
from hepgan.generator import EventGenerator
from hepgan.generator.yields import Yields

__all__ = ["Normalisation"]

_WEIGHT = "genWeight"
_NANOAOD = "Events"


class Normalisation(Config):
    """How the events of a production are weighted, and what their yields are to be divided by.

    Attributes:
        weight: What each event weighs, but for its sign.
        counted: Events before the selection for each generated one.
        summed: Sum of weights before the selection for each unit of weight.
        squared: The same of squared weights.
        runs: Whether files have the tree ``Runs``.
        cross_section: In pb, where one was given.
        luminosity: In 1/pb.
    """

    weight: float
    counted: float = 1.0
    summed: float = 1.0
    squared: float = 1.0
    runs: bool = False
    cross_section: float | None = None
    luminosity: float = 1.0

    @classmethod
    def of(
        cls,
        generator: EventGenerator,
        n: int,
        schema: EventSchema,
        *,
        cross_section: float | None = None,
        luminosity: float | None = None,
        efficiency: float = 1.0,
    ) -> Self | None:
        """The normalisation of n events; None if they have no weights.

        Events have the sum of weights of the training sample; or with a cross section, that times the
        luminosity, and times the share of the weight that is left after the selection, where the training
        sample's ``Runs`` tell it.

        Args:
            generator: What makes the events.
            n: Their number.
            schema: What they hold.
            cross_section: In pb, before any selection that ``Runs`` tell of.
            luminosity: In 1/pb, to go with it; 1 if None.
            efficiency: The share of all events that these are chosen from, so of all weights, too.

        Raises:
            InputError: If a number is not positive, or there is a luminosity without a cross section.
        """
        if luminosity is not None and cross_section is None:
            msg = "a luminosity needs a cross section, by which it is multiplied"
            raise InputError(msg)
        for name, value in (("cross section", cross_section), ("luminosity", luminosity)):
            if value is not None and not 0 < value < float("inf"):
                msg = f"the {name} must be positive and finite, not {value:g}"
                raise InputError(msg)
        if schema.weight is None and cross_section is None:
            return None
        yields = Yields.of(generator.summary)
        factors = yields.before_selection()
        total = float(n) if yields.sum_of_weights is None else yields.sum_of_weights
        if cross_section is not None:
            total = cross_section * (luminosity or 1.0) / factors.summed
        # Of events of either sign, those above 0 make up for those below.
        share = yields.asymmetry if generator.recipe.events.signs else 1.0
        nanoaod = schema.tree == _NANOAOD and (
            yields.runs is not None or (schema.weight or _WEIGHT) == _WEIGHT
        )
        return cls(
            weight=efficiency * total / (n * share),
            counted=factors.counted / efficiency,
            summed=factors.summed / efficiency,
            squared=factors.squared / efficiency,
            runs=nanoaod,
            cross_section=cross_section,
            luminosity=luminosity or 1.0,
        )

    def schema_of(self, schema: EventSchema) -> EventSchema:
        """What the events of files hold: weights that any number fits into, and that are known by their name.

        Raises:
            OutputError: If there is no weight, and a number has its name.
        """
        if schema.weight is None:
            if _WEIGHT in (*schema.scalar_names, *schema.collection_names):
                msg = f"the events have a number {_WEIGHT} that is no weight, so they cannot get weights"
                raise OutputError(msg)
            one = Field(name=_WEIGHT, branches=(_WEIGHT,), dtype="float32")
            schema = schema.model_copy(update={"scalars": (*schema.scalars, one), "weight": _WEIGHT})

        def wide(f: Field) -> Field:
            whole = f.name == schema.weight and not f.dtype.startswith("float")
            return f.model_copy(update={"dtype": "float64"}) if whole else f

        schema = schema.model_copy(update={"scalars": tuple(map(wide, schema.scalars))})
        if self.cross_section is not None:
            header = (schema.header or Header()).with_cross_section(self.cross_section / self.summed)
            schema = schema.model_copy(update={"header": header})
        known = next(iter(weight_names(schema.scalars)), None) == schema.weight
        return schema if known else marked(schema)

    def weighted(self, events: EventBatch, schema: EventSchema) -> EventBatch:
        """The events with their weights, in a schema that :meth:`schema_of` gave."""
        ones = torch.ones(len(events), dtype=torch.float64) if events.weight is None else events.weight
        scalars = {**events.scalars, str(schema.weight): ones.to(torch.float64) * self.weight}
        return EventBatch(schema, events.collections, scalars, len(events))

    def runs_of(self, first: int, size: int, sum_of_weights: float, sum_of_squares: float) -> Runs:
        """What there was before the selection of some events.

        Counts of files that follow one another add up to that of all.

        Args:
            first: The number of the first event.
            size: How many there are.
            sum_of_weights: Their sum of weights.
            sum_of_squares: Their sum of squared weights.
        """
        count = round((first + size) * self.counted) - round(first * self.counted)
        # Weights of few events may have any sum.
        return Runs.model_construct(
            count=count,
            sum_of_weights=sum_of_weights * self.summed,
            sum_of_squares=sum_of_squares * self.squared,
        )
