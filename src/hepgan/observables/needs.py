"""What of events expressions need, so that nothing else has to be read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hepgan.arguments import checked
from hepgan.errors import InputError
from hepgan.events.schema import Address, EventSchema
from hepgan.observables.language import parse

__all__ = ["needs"]


@checked
def needs(expressions: Iterable[Any], schema: EventSchema) -> list[str]:
    """The fields and scalars that expressions use, as far as events have them.

    Args:
        expressions: Expressions as text, or None, which needs nothing.
        schema: What the events hold.

    Returns:
        Names as of `hepgan.events.select`. Momenta need all their coordinates, and a number of objects any
        of their fields.

    Raises:
        RecipeError: If an expression is not of the language.
        InputError: If it is no text.

    Example:
        >>> from hepgan.events import Collection, EventSchema, Field
        >>> fields = tuple(Field(name=n, branches=(f"Jet_{n}",)) for n in ("pt", "btag", "area"))
        >>> jets = Collection(name="Jet", layout="jagged", fields=fields, max_count=9)
        >>> needs(["nJet", "count(Jet.btag > 0.5)"], EventSchema(collections=(jets,)))
        ['Jet.btag']
    """
    found: dict[str, None] = {}
    for text in expressions:
        if text is None:
            continue
        if not isinstance(text, str):
            msg = f"expressions must be text, not {text!r:.80}"
            raise InputError(msg)
        expression = parse(text)
        found |= {str(Address(None, None, n)): None for n in schema.scalar_names if n in expression.names}
        for c in schema.collections:
            if not {c.name, f"n{c.name}"} & expression.names:
                continue
            used = {*expression.attributes, *c.coordinates}
            names = [n for n in c.field_names if n in used] or [c.field_names[0]]
            found |= {str(Address(c.name, None, n)): None for n in names}
    return list(found)
