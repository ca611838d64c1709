"""Where a number of the events is found: which collection, which of its objects, which field."""

from __future__ import annotations

import re
from collections.abc import Container
from typing import NamedTuple

__all__ = ["Address"]

_PATTERN = re.compile(r"\s*([^\s.\[\]][^.\[\]]*?)(?:\[(\d+)\])?(?:\.([^\s\[\]][^\[\]]*?))?\s*")


class Address(NamedTuple):
    """What ``Muon[0].pt``, ``Muon.pt``, ``npvs``, ``Muon[0]`` or ``MET`` stands for.

    A number of the event has no collection. Whole objects have no field: ``Muon[0]`` is
    ``Address("Muon", 0, "")``, all muons, or the only ``MET``, are ``Address("Muon", None, "")``.

    Attributes:
        collection: The collection; None for a number of the event.
        slot: Which object; None for all of them, or for the only one.
        field: The field, or the number of the event; empty for whole objects.

    Example:
        >>> Address.parse("Muon[0].pt")
        Address(collection='Muon', slot=0, field='pt')
        >>> str(Address(None, None, "npvs"))
        'npvs'
        >>> Address.parse("MET", collections=["Muon", "MET"])
        Address(collection='MET', slot=None, field='')
    """

    collection: str | None
    slot: int | None
    field: str

    @classmethod
    def parse(cls, text: str, collections: Container[str] = ()) -> Address:
        """Reads what ``str`` writes.

        Args:
            text: The address.
            collections: The collections that there are: a single word is one of these, or else a number of
                the event.

        Raises:
            ValueError: If it is malformed.
        """
        found = _PATTERN.fullmatch(text)
        if found is None:
            msg = f"cannot read {text!r}: expected Muon[0].pt, Muon.pt, Muon[0] or the name of a scalar"
            raise ValueError(msg)
        name, slot, field = found.groups()
        if slot is None and field is None and name not in collections:
            return cls(None, None, name)
        return cls(name, None if slot is None else int(slot), field or "")

    @property
    def name(self) -> str:
        """The collection, or the number of the event."""
        return self.field if self.collection is None else self.collection

    @property
    def owner(self) -> str:
        """Whose number it is, as text: ``Muon[0]`` of ``Muon[0].pt``; empty for a number of the event."""
        if self.collection is None:
            return ""
        return self.collection if self.slot is None else f"{self.collection}[{self.slot}]"

    def __str__(self) -> str:
        return ".".join(part for part in (self.owner, self.field) if part)
