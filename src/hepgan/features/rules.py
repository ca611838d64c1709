"""Rules: what every event of a recipe fulfils, within bounds and by conditions."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from hepgan.errors import InputError, RecipeError
from hepgan.events.batch import EventBatch
from hepgan.events.grids import rounded
from hepgan.events.schema import Address, EventSchema, Field
from hepgan.features.config import FeaturesConfig
from hepgan.features.reading import within
from hepgan.observables import Condition

__all__ = ["Restrictions", "as_stored"]


class Restrictions:
    """The bounds and rules of a recipe, which generated events keep.

    Both are judged by the numbers as a file will have them, rounded to the types of its branches.

    Args:
        config: The recipe's settings.
    """

    def __init__(self, config: FeaturesConfig) -> None:
        self._bounds = config.bounds
        self._rules = [Condition(text) for text in config.rules]

    def check_schema(self, schema: EventSchema) -> None:
        """Checks that the rules fit what the events hold.

        Raises:
            RecipeError: If one does not.
        """
        for rule in self._rules:
            if schema.weight in rule.names:
                msg = f"rules: {rule.expression}: {schema.weight} is the event weight, which is not generated"
                raise RecipeError(msg)
            try:
                rule.check(schema)
            except RecipeError as error:
                msg = f"rules: {error.message}"
                raise RecipeError(msg) from None

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._bounds) or bool(self._rules)

    @property
    def has_rules(self) -> bool:
        """Whether there are rules besides bounds."""
        return bool(self._rules)

    def kept(self, events: EventBatch) -> Tensor:
        """Which events (N,) keep all of them."""
        kept = self._inside(events)
        for _, held in self._held(events):
            kept = kept & held
        return kept

    def broken(self, events: EventBatch) -> dict[str, Tensor]:
        """Which events (N,) break each; ``features.bounds`` are one."""
        found = {"features.bounds": ~self._inside(events)} if self._bounds else {}
        return found | {rule.expression: ~held for rule, held in self._held(events)}

    def check(self, events: EventBatch) -> None:
        """Checks the training events.

        Raises:
            InputError: If some break a bound or a rule.
        """
        for name, broken in self.broken(events).items():
            if bool(broken.any()):
                number, entry = int(broken.sum()), int(broken.nonzero()[0])
                what = (
                    "are outside the recipe's features.bounds"
                    if name == "features.bounds"
                    else f"break the recipe's rule {name}"
                )
                msg = f"{number} of {len(events)} events {what}"
                raise InputError(msg, entry=entry)

    def _inside(self, events: EventBatch) -> Tensor:
        names = frozenset(Address.parse(text).name for text in self._bounds)
        return within(as_stored(events, names) if names else events, self._bounds)

    def _held(self, events: EventBatch) -> list[tuple[Condition, Tensor]]:
        if not self._rules:
            return []
        rounded = as_stored(events, frozenset().union(*(rule.names for rule in self._rules)))
        return [(rule, rule(rounded)) for rule in self._rules]


@torch.no_grad()
def as_stored(events: EventBatch, names: frozenset[str]) -> EventBatch:
    """The collections and scalars of these names, with numbers rounded as a file has them, in float64."""

    def stored(values: Tensor, field: Field | None) -> Tensor:
        if field is None or not values.is_floating_point():
            return values
        kind = _TYPES.get(np.dtype(field.dtype).name)
        values = rounded(values, field)
        return values if kind is None else values.to(kind).to(torch.float64)

    schema = events.schema
    counted = {name[1:] for name in names if name.startswith("n")}
    collections = {}
    for name, objects in events.collections.items():
        if name in names:
            fields = {f.name: f for f in schema.collection(name).fields}
            objects = objects.with_fields({n: stored(v, fields.get(n)) for n, v in objects.fields.items()})
        if name in names | counted:
            collections[name] = objects
    scalars = {n: stored(v, schema.scalar(n)) for n, v in events.scalars.items() if n in names}
    return EventBatch(schema, collections, scalars, len(events))


_TYPES = {"float16": torch.float16, "float32": torch.float32}
