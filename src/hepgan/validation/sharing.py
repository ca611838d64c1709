"""What samples are compared in: what all of them have; and what has to be read of each for it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from hepgan.errors import InputError
from hepgan.events import EventSchema, select
from hepgan.events.common import names_in
from hepgan.events.schema import Address
from hepgan.events.weights import NO_WEIGHT
from hepgan.generator.ensembles import MEMBER, member_field
from hepgan.observables import Observable, needs
from hepgan.validation.weighting import weighting

__all__ = ["Layouts", "layouts", "shared_names"]


@dataclass(frozen=True)
class Layouts:
    """What is read of each sample.

    Attributes:
        shared: Names of what all samples have, in the reference's order.
        read: The part of each sample's schema that is needed, by label.
    """

    shared: list[str]
    read: dict[str, EventSchema]


def layouts(
    schemas: Mapping[str, EventSchema],
    observables: Sequence[Observable],
    besides: EventSchema | None,
    weight: str | None,
    sources: Mapping[str, str],
    expressions: Sequence[str] = (),
) -> Layouts:
    """What has to be read of each sample: what all have, what observables need, and the weight.

    Args:
        schemas: All that the samples hold, by label: ``reference``, ``train`` if there is one, others.
        observables: The observables; none for those of what all have, which a warning then tells.
        besides: What else is needed where a sample has it.
        weight: The number that is the weight of true events, or ``none``; None if it is not asked for.
        sources: What errors call the samples.
        expressions: Further expressions that are evaluated.

    Raises:
        InputError: If the samples have nothing in common, or lack the weight.
    """
    made = {label: s for label, s in schemas.items() if label not in ("reference", "train")}
    true, others = weighting(schemas["reference"], made, weight, sources["reference"])
    known = {"reference": true, **others}
    if "train" in schemas:
        by = weight or true.weight or NO_WEIGHT
        known["train"] = weighting(schemas["train"], made, by, sources["train"])[0]
    rest = {label: s for label, s in known.items() if label != "reference"}
    shared = shared_names(true, rest, sources, tell=not observables)
    used = [*expressions, *(text for o in observables for text in (o.expression, o.weight))]
    read = {}
    for label, schema in known.items():
        wanted = [*shared, *needs(used, schema)]
        if besides is not None:
            here = {*names_in(schema)}
            wanted += [n for n in names_in(besides) if n in here]
        if member_field(schemas[label]) is not None and MEMBER in schema.scalar_names:
            wanted.append(str(Address(None, None, MEMBER)))
        # What names an event is no physics of it.
        read[label] = select(schema, wanted).model_copy(update={"identifiers": ()})
    return Layouts(shared, read)


def shared_names(
    reference: EventSchema,
    others: Mapping[str, EventSchema],
    sources: Mapping[str, str] = MappingProxyType({}),
    tell: bool = True,
) -> list[str]:
    """The names of what all samples have, weights aside.

    Args:
        reference: What the true events hold.
        others: What other samples hold, by label.
        sources: What errors call the samples.
        tell: Whether a warning tells what others lack.

    Raises:
        InputError: If that is nothing.
    """
    names = names_in(reference)
    if not names:
        what = "nothing" if reference.weight is None else f"only their weight, {reference.weight}"
        msg = f"the reference events hold {what}: there is nothing to compare"
        raise InputError(msg, file=sources.get("reference"))
    for label, schema in others.items():
        there = {*names_in(schema)}
        lacking = [name for name in names if name not in there]
        names = [name for name in names if name in there]
        if not names:
            msg = f"the {label} events have nothing of what the reference has ({_few(lacking)})"
            raise InputError(msg, file=sources.get(label))
        if lacking and tell:
            msg = f"not compared, since the {label} events lack it: {_few(lacking)}"
            warnings.warn(msg, UserWarning, stacklevel=4)
    return names


def _few(names: list[str]) -> str:
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
