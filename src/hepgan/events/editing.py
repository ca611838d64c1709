"""Other schemas from a schema: a part of it, or with kinds chosen by hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hepgan.events.schema import Collection, EventSchema, Field, Kind

__all__ = ["select", "with_kinds"]


def select(schema: EventSchema, names: Iterable[str]) -> EventSchema:
    """The schema of a part of what the events hold.

    Args:
        schema: The whole.
        names: Collections (``Muon``), fields (``Jet.pt``) and scalars (``beam_energy``). Identifiers and the
            weight stay.

    Returns:
        The part, in the whole's order.

    Raises:
        KeyError: If there is no such thing.
    """
    whole: set[str] = set()
    some: dict[str, set[str]] = {}
    for name in names:
        first, dot, rest = name.partition(".")
        if name in schema.scalar_names or name in {f.name for f in schema.identifiers}:
            whole.add(name)
        elif dot:
            some.setdefault(first, set()).add(schema.collection(first).field(rest).name)
        elif first in schema.collection_names:
            whole.add(first)
        else:
            known = ", ".join((*schema.collection_names, *schema.scalar_names)) or "nothing"
            msg = f"nothing is called {name!r}; there are {known}"
            raise KeyError(msg)
    collections: list[Collection] = []
    for c in schema.collections:
        if c.name in whole:
            collections.append(c)
        elif c.name in some:
            kept = tuple(f for f in c.fields if f.name in some[c.name])
            collections.append(c.model_copy(update={"fields": kept}))
    scalars = tuple(f for f in schema.scalars if f.name in whole or f.name == schema.weight)
    return schema.model_copy(update={"collections": tuple(collections), "scalars": scalars})


def with_kinds(
    schema: EventSchema, kinds: Mapping[str, str | Kind | Mapping[str, Any] | Field]
) -> EventSchema:
    """The same schema with some fields' kinds chosen by hand.

    Args:
        schema: The schema.
        kinds: What to change, by ``Muon.charge`` or the name of a scalar: a kind (``"category"``,
            ``"integer"``, ``"continuous"``), or a mapping with any of a field's attributes
            (``{"kind": "category", "values": [-1, 1]}``, ``{"atoms": []}``, ``{"low": 0}``). A category that
            is to be made of an integer without values takes all integers from its low to its high.

    Raises:
        KeyError: If there is no such field.
        ValueError: If the kind does not exist, or a category's values are not known.

    Example:
        >>> from hepgan.events import Collection, EventSchema, Field
        >>> charge = Field(name="charge", branches=("Muon_charge",), dtype="int32", low=-1, high=1)
        >>> muons = Collection(name="Muon", layout="jagged", fields=(charge,), max_count=2)
        >>> schema = with_kinds(EventSchema(collections=(muons,)), {"Muon.charge": "category"})
        >>> schema.collection("Muon").field("charge").values
        (-1, 0, 1)
    """
    for name, wanted in kinds.items():
        first, dot, rest = name.partition(".")
        if dot and name not in schema.scalar_names:
            c = schema.collection(first)
            new = _changed(c.field(rest), wanted)
            fields = tuple(new if f.name == rest else f for f in c.fields)
            changed = c.model_copy(update={"fields": fields})
            update: dict[str, Any] = {
                "collections": tuple(changed if x.name == first else x for x in schema.collections)
            }
        else:
            new = _changed(schema.scalar(name), wanted)
            update = {"scalars": tuple(new if f.name == name else f for f in schema.scalars)}
        schema = schema.model_copy(update=update)
    return schema


def _changed(field: Field, wanted: str | Kind | Mapping[str, Any] | Field) -> Field:
    if isinstance(wanted, Field):
        return wanted
    update: dict[str, Any] = {"kind": Kind(wanted)} if isinstance(wanted, str) else dict(wanted)
    kind = Kind(update.get("kind", field.kind))
    values = update.get("values", field.values)
    if kind is Kind.CATEGORY and not values:
        if field.low is None or field.high is None or not field.dtype.startswith(("int", "uint")):
            msg = f"{field.name}: give the values of the category, as {{'kind': 'category', 'values': [...]}}"
            raise ValueError(msg)
        update["values"] = tuple(range(int(field.low), int(field.high) + 1))
    if kind is Kind.CATEGORY:
        update.setdefault("atoms", ())
    else:
        update["values"] = None
    if "values" in update and update["values"] is not None:
        update["values"] = tuple(sorted(update["values"]))
    return Field.model_validate({**field.model_dump(), **update, "kind": kind})
