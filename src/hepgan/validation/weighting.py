"""By which of their numbers the samples of a comparison are weighted."""

from __future__ import annotations

from collections.abc import Mapping

from hepgan.errors import InputError
from hepgan.events import EventSchema, weighted_by
from hepgan.events.weights import NO_WEIGHT, is_written

__all__ = ["told_weights", "weighting"]


def weighting(
    reference: EventSchema,
    generated: Mapping[str, EventSchema],
    weight: str | None,
    source: str | None = None,
) -> tuple[EventSchema, dict[str, EventSchema]]:
    """The samples' schemas with the weights by which they are to be compared.

    True events are weighted by what is asked for; else by that of their numbers which is the weight of
    generated events, or else by what their names tell. Generated events are weighted by what hepgan has
    written as their weight, by what is asked for if they have it, or by what their names tell. What is the
    weight of one sample is no physics of the others.

    Args:
        reference: What the true events hold.
        generated: What generated events hold, by label.
        weight: The scalar that is the weight, or ``none``; None if it is not asked for.
        source: What errors call the true events.

    Raises:
        InputError: If the true events lack the weight that is asked for.
    """
    made = {label: _of_generated(schema, weight) for label, schema in generated.items()}
    known = [s.weight for s in made.values() if s.weight in reference.scalar_names]
    try:
        true = weighted_by(reference, weight or next(iter(known), None))
    except InputError as error:
        raise InputError(error.message, file=source) from None
    every = {true.weight, reference.weight, *(s.weight for s in (*generated.values(), *made.values()))}
    return _only(true, every), {label: _only(schema, every) for label, schema in made.items()}


def _of_generated(schema: EventSchema, weight: str | None) -> EventSchema:
    if weight == NO_WEIGHT:
        return weighted_by(schema, weight)
    return schema if is_written(schema) or weight not in schema.scalar_names else weighted_by(schema, weight)


def _only(schema: EventSchema, weights: set[str | None]) -> EventSchema:
    """The schema without what is the weight of others."""
    scalars = tuple(f for f in schema.scalars if f.name == schema.weight or f.name not in weights)
    return schema.model_copy(update={"scalars": scalars})


def told_weights(schemas: Mapping[str, EventSchema]) -> dict[str, str]:
    """The weight of each sample, in words; empty where no sample has any."""
    if all(s.weight is None for s in schemas.values()):
        return {}
    return {label: s.weight or "all weigh 1" for label, s in schemas.items()}
